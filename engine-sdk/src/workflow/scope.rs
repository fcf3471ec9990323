//! Cancellation scopes: a tree of what can be canceled together.
//!
//! | what was begun in a scope | when the scope is canceled |
//! |---|---|
//! | activity | as its [`CancellationType`] says |
//! | timer | canceled; the sleep ends with [`Canceled`] |
//! | step | given up where it stands; it ends with a failure that is canceled |
//! | child workflow | as its [`ChildCancellation`](super::child::ChildCancellation) says |
//! | scope | canceled too, unless it is detached |
//!
//! The root of the tree is the run: its scopes are canceled when the run is asked to cancel. What is begun with the
//! [`WorkflowContext`] itself belongs to no scope and goes on.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity::{ActivityCall, CancellationType};
use super::child::ChildCall;
use super::context::WorkflowContext;
use super::state::{Shared, State, Waiters};
use super::step::StepCall;
use super::timer::Sleep;
use super::wait::Canceled;
use crate::data::Arguments;
use crate::definition::{Activity, ActivityOptions, Workflow, WorkflowOptions};
use crate::error::ActivityError;
use engine_core::replay::Handle;

/// A scope: what is begun with it is canceled with it. Made by [`WorkflowContext::scope`] and [`Scope::scope`]; clones are the
/// same scope. Dropping it cancels nothing.
#[derive(Clone)]
pub struct Scope {
    shared: Arc<Shared>,
    node: usize,
}

/// A scope's place in the tree.
#[derive(Default)]
pub(super) struct Node {
    parent: Option<usize>,
    /// Not reached by the cancellation of what is above.
    detached: bool,
    canceled: bool,
    members: Vec<(Handle, CancellationType)>,
    waiters: Waiters,
}

impl State {
    fn add_scope(&mut self, parent: Option<usize>, detached: bool) -> usize {
        let above = parent.map_or(self.cancel_reason.is_some(), |parent| self.scopes[parent].canceled);
        self.scopes.push(Node { parent, detached, canceled: above && !detached, ..Node::default() });
        self.scopes.len() - 1
    }

    /// Makes what the handle stands for part of the scope. If the scope is canceled already, so is this.
    pub(super) fn join_scope(&mut self, scope: Option<usize>, handle: Handle, cancellation: CancellationType) {
        let Some(node) = scope.and_then(|scope| self.scopes.get_mut(scope)) else { return };
        if node.canceled {
            // Nothing begins in it.
            self.end_step(handle);
            self.replayer.request_cancel(handle);
        } else {
            node.members.push((handle, cancellation));
        }
    }

    pub(super) fn leave_scope(&mut self, scope: Option<usize>, handle: Handle) {
        if let Some(node) = scope.and_then(|scope| self.scopes.get_mut(scope)) {
            node.members.retain(|(member, _)| *member != handle);
        }
    }

    pub(super) fn is_scope_canceled(&self, scope: Option<usize>) -> bool {
        scope.and_then(|scope| self.scopes.get(scope)).is_some_and(|node| node.canceled)
    }

    /// Cancels a scope, or all scopes that the run's own cancellation reaches, in the order in which they were made. The wakers
    /// must be woken without the lock.
    pub(super) fn cancel_scopes(&mut self, scope: Option<usize>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for index in scope.unwrap_or(0)..self.scopes.len() {
            let node = &self.scopes[index];
            // Parents come before their children, so whether they are canceled is known here.
            let from_above = !node.detached
                && match node.parent {
                    Some(parent) => self.scopes[parent].canceled,
                    None => scope.is_none(),
                };
            if node.canceled || (scope != Some(index) && !from_above) {
                continue;
            }
            let node = &mut self.scopes[index];
            node.canceled = true;
            wakers.extend(node.waiters.take());
            for (handle, cancellation) in std::mem::take(&mut node.members) {
                wakers.extend(self.cancel_member(handle, cancellation));
            }
        }
        self.progress += 1;
        wakers
    }

    pub(super) fn cancel_member(&mut self, handle: Handle, cancellation: CancellationType) -> Option<Waker> {
        self.end_step(handle);
        match cancellation {
            CancellationType::WaitForCompletion => self.replayer.request_cancel(handle),
            CancellationType::TryCancel => self.replayer.cancel_now(handle, true),
            CancellationType::Abandon => self.replayer.cancel_now(handle, false),
        }
        self.take_handle_waker(handle)
    }
}

impl Scope {
    pub(super) fn new(shared: &Arc<Shared>, parent: Option<usize>, detached: bool) -> Self {
        // From outside of the workflow's code it is a scope of nothing.
        let node = shared.lock_as_code().map_or(usize::MAX, |mut state| state.add_scope(parent, detached));
        Self { shared: Arc::clone(shared), node }
    }

    /// Cancels what was begun in this scope and in the scopes within it, and whatever will be. A repeat does nothing.
    pub fn cancel(&self) {
        let Some(mut state) = self.shared.lock_as_code() else { return };
        let wakers = state.cancel_scopes(Some(self.node));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is canceled, by itself or with what is above it.
    pub fn is_canceled(&self) -> bool {
        self.shared.lock().is_scope_canceled(Some(self.node))
    }

    /// A scope within this one.
    pub fn scope(&self) -> Scope {
        Scope::new(&self.shared, Some(self.node), false)
    }

    /// Calls an activity. See [`WorkflowContext::run`].
    #[track_caller]
    pub fn run<A: Activity>(&self, activity: A, input: A::Input) -> ActivityCall<A::Output> {
        let encode = Box::new(move || A::encode_input(&input));
        ActivityCall::new(&self.shared, Some(self.node), A::NAME, activity.options(), encode)
    }

    /// Calls an activity by the name under which it is registered. See [`WorkflowContext::run_named`].
    #[track_caller]
    pub fn run_named<T: DeserializeOwned>(
        &self,
        activity_type: &str,
        args: impl Arguments + Send + 'static,
    ) -> ActivityCall<T> {
        let encode = Box::new(move || args.encode());
        ActivityCall::new(&self.shared, Some(self.node), activity_type, ActivityOptions::default(), encode)
    }

    /// A child workflow. When the scope is canceled, [`ChildCall::cancellation`] says what becomes of it; in a scope that is canceled no
    /// child begins. See [`WorkflowContext::child`].
    #[track_caller]
    pub fn child<W: Workflow>(&self, workflow: W) -> ChildCall<W::Input, W::Output> {
        ChildCall::new(&self.shared, Some(self.node), W::NAME, workflow.options(), W::encode_input)
    }

    /// A child of a workflow that this program does not have. See [`WorkflowContext::child_named`].
    #[track_caller]
    pub fn child_named<I: Arguments + Send, T: DeserializeOwned>(&self, workflow_type: &str) -> ChildCall<I, T> {
        ChildCall::new(&self.shared, Some(self.node), workflow_type, WorkflowOptions::default(), I::encode)
    }

    /// Runs a closure once on this worker. See [`WorkflowContext::step`].
    #[track_caller]
    pub fn step<T, F, W>(&self, name: &str, work: W) -> StepCall<T>
    where
        T: Serialize + DeserializeOwned,
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<T, ActivityError>> + Send + 'static,
    {
        StepCall::new(&self.shared, Some(self.node), name, work)
    }

    /// A durable timer that ends early, with [`Canceled`], when the scope is canceled. See [`WorkflowContext::sleep`].
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = Result<(), Canceled>> + Send + use<> {
        let timer = match self.is_canceled() {
            true => None,
            false => Some(Sleep::start(&self.shared, duration, String::new())),
        };
        let scope = self.clone();
        async move {
            let Some(timer) = timer else { return Err(Canceled) };
            scope.unless_canceled(timer).await
        }
    }

    /// Resolves when the scope is canceled; at once if it is.
    pub fn canceled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut registration = Registration { scope: self.clone(), key: None };
        poll_fn(move |cx| registration.poll(cx.waker()))
    }

    /// Waits for `future`, but no longer than until the scope is canceled; then `future` is dropped, which cancels what it
    /// stood for. If both are so, `future` wins.
    pub async fn unless_canceled<F: IntoFuture>(&self, future: F) -> Result<F::Output, Canceled> {
        let mut future = pin!(future.into_future());
        let mut canceled = pin!(self.canceled());
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            canceled.as_mut().poll(cx).map(|()| Err(Canceled))
        })
        .await
    }
}

impl WorkflowContext {
    /// A scope: what is begun with it can be canceled together, and is when the run is asked to cancel.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// # #[activity]
    /// # async fn ask(_ctx: ActivityContext, _shop: u32) -> Result<u32, ActivityError> { Ok(1) }
    /// # #[workflow]
    /// # async fn first_offer(ctx: WorkflowContext, _n: u32) -> Result<u32, WorkflowError> {
    /// let scope = ctx.scope();
    /// let asked = (1..=3).map(|shop| scope.run(ask, shop));
    /// let (_, first) = race(asked).await;
    /// scope.cancel();
    /// # Ok(first?) }
    /// ```
    pub fn scope(&self) -> Scope {
        Scope::new(self.shared(), None, false)
    }

    /// A scope that only [`Scope::cancel`] cancels: for cleaning up after the run was asked to cancel.
    pub fn detached_scope(&self) -> Scope {
        Scope::new(self.shared(), None, true)
    }
}

/// One waker among those who wait for a scope's cancellation; gone when it is dropped.
struct Registration {
    scope: Scope,
    key: Option<u64>,
}

impl Registration {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let Some(mut state) = self.scope.shared.lock_as_code() else { return Poll::Pending };
        match state.scopes.get_mut(self.scope.node) {
            Some(node) if node.canceled => Poll::Ready(()),
            Some(node) => {
                node.waiters.register(&mut self.key, waker);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.key.is_some()
            && let Some(mut state) = self.scope.shared.lock_as_code()
            && let Some(node) = state.scopes.get_mut(self.scope.node)
        {
            node.waiters.remove(self.key);
        }
    }
}

impl State {
    pub(super) fn waits_in_scopes(&self) -> bool {
        self.scopes.iter().any(|node| !node.waiters.is_empty())
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("is_canceled", &self.is_canceled()).finish_non_exhaustive()
    }
}
