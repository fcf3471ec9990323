//! Child workflows.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::execution::IdReusePolicy;
use engine_core::failure::{Failure, RetryState};
use engine_core::ids::{EventId, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::payload::Payload;
use engine_core::peer::{ParentClosePolicy, StartChild};
use engine_core::replay::{Handle, Place, Resolution, Resolved};
use engine_core::retry::RetryPolicy;
use engine_core::search::SearchAttributes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity::CancellationType;
use super::external::{self, ExternalWorkflow};
use super::state::{Shared, State};
use crate::data::{self, DataError};
use crate::definition::{MethodSignal, Signal, WorkflowOptions};
use crate::error::{FailedChild, PeerFailure};
use crate::search::SearchChange;

/// What happens when the code cancels a child or its scope, or drops the future of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChildCancellation {
    /// The child is asked to stop, and the code waits for what it makes of that.
    #[default]
    Wait,
    /// The child is asked to stop, and the code goes on at once as if it had.
    Try,
    /// The child is left alone, and the code goes on at once.
    Abandon,
}

impl From<ChildCancellation> for CancellationType {
    fn from(cancellation: ChildCancellation) -> Self {
        match cancellation {
            ChildCancellation::Wait => CancellationType::WaitForCompletion,
            ChildCancellation::Try => CancellationType::TryCancel,
            ChildCancellation::Abandon => CancellationType::Abandon,
        }
    }
}

/// A child about to be started, made by [`super::WorkflowContext::child`]. The methods change the options of its attribute for
/// this child.
#[must_use = "a child is started by `.run(input).await` or `.start(input).await`"]
pub struct ChildCall<I, T> {
    shared: Arc<Shared>,
    scope: Option<usize>,
    workflow_type: String,
    encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    workflow_id: Option<String>,
    queue: Option<String>,
    options: WorkflowOptions,
    parent_close_policy: ParentClosePolicy,
    id_reuse_policy: IdReusePolicy,
    cancellation: ChildCancellation,
    memo: Vec<(String, Result<Payload, DataError>)>,
    search: Vec<SearchChange>,
    summary: String,
    details: String,
    place: Place,
    output: PhantomData<fn() -> T>,
}

impl<I, T: DeserializeOwned> ChildCall<I, T> {
    #[track_caller]
    pub(super) fn new(
        shared: &Arc<Shared>,
        scope: Option<usize>,
        workflow_type: &str,
        options: WorkflowOptions,
        encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            scope,
            workflow_type: workflow_type.to_owned(),
            encode,
            workflow_id: None,
            queue: None,
            options,
            parent_close_policy: ParentClosePolicy::default(),
            id_reuse_policy: IdReusePolicy::default(),
            cancellation: ChildCancellation::default(),
            memo: Vec::new(),
            search: Vec::new(),
            summary: String::new(),
            details: String::new(),
            place: Location::caller(),
            output: PhantomData,
        }
    }

    /// Its workflow id. One that is unique to this run and this child unless set here.
    pub fn id(mut self, workflow_id: impl Into<String>) -> Self {
        self.workflow_id = Some(workflow_id.into());
        self
    }

    /// Where its workflow tasks go, instead of the parent's queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// How long the whole chain of its runs may take.
    pub fn execution_timeout(mut self, timeout: Duration) -> Self {
        self.options.execution_timeout = Some(timeout);
        self
    }

    /// How long one of its runs may take.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.options.run_timeout = Some(timeout);
        self
    }

    /// How long one of its workflow tasks may take.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.options.task_timeout = Some(timeout);
        self
    }

    /// Whether and how a run that fails or times out is followed by another.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// What becomes of it when this workflow closes first: it is terminated, unless set here.
    pub fn parent_close_policy(mut self, policy: ParentClosePolicy) -> Self {
        self.parent_close_policy = policy;
        self
    }

    /// What to do if its workflow id has a closed run.
    pub fn id_reuse_policy(mut self, policy: crate::client::IdReusePolicy) -> Self {
        self.id_reuse_policy = match policy {
            crate::client::IdReusePolicy::AllowDuplicate => IdReusePolicy::AllowDuplicate,
            crate::client::IdReusePolicy::AllowDuplicateFailedOnly => IdReusePolicy::AllowDuplicateFailedOnly,
            crate::client::IdReusePolicy::RejectDuplicate => IdReusePolicy::RejectDuplicate,
        };
        self
    }

    /// What happens when the child or its scope is canceled, or the future of its result dropped.
    pub fn cancellation(mut self, cancellation: ChildCancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Adds a fact for people, shown with the child and not indexed.
    pub fn memo<V: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &V) -> Self {
        self.memo.push((key.into(), data::encode(value)));
        self
    }

    /// Sets what it is listed by. Names and types are registered in the namespace: one that is not known there, or has another type,
    /// fails the workflow task.
    pub fn search_attributes(mut self, attributes: impl IntoIterator<Item = SearchChange>) -> Self {
        self.search.extend(attributes);
        self
    }

    /// One line about it, for people. At most 400 bytes.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// More about it, for people. At most 20,000 bytes.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Starts it and waits for what it returns. Dropping the future does what [`ChildCall::cancellation`] says.
    pub async fn run(self, input: I) -> Result<T, PeerFailure> {
        self.begin(&input).await
    }

    /// Starts it, and waits until it runs. Fails if its workflow id is taken.
    pub async fn start(self, input: I) -> Result<ChildHandle<T>, PeerFailure> {
        let mut future = self.begin(&input);
        let run_id = poll_fn(|cx| future.poll_started(cx)).await?;
        Ok(ChildHandle { future, run_id })
    }

    fn begin(self, input: &I) -> ChildFuture<T> {
        let (shared, scope) = (Arc::clone(&self.shared), self.scope);
        let cancellation = self.cancellation;
        let workflow_type = WorkflowType::from_trusted(self.workflow_type.clone());
        let (handle, workflow_id) = match self.issue(input) {
            Some((handle, id)) => (Some(handle), id),
            None => (None, String::new()),
        };
        ChildFuture { shared, scope, workflow_id, workflow_type, handle, cancellation, output: PhantomData }
    }

    fn issue(self, input: &I) -> Option<(Handle, String)> {
        let is_wanted = self.shared.lock_as_code()?.replayer.wants_values();
        // Arguments are not compared with history, so they are encoded only for the server.
        let input = if is_wanted { (self.encode)(input) } else { Ok(Vec::new()) };
        let mut wrong: Vec<String> = Vec::new();
        let mut noted = |field: &str, error: &dyn fmt::Display| wrong.push(format!("{field} {error}"));
        let input = input.unwrap_or_else(|error| {
            noted("input:", &error);
            Vec::new()
        });
        let mut memo = Vec::new();
        for (key, value) in self.memo {
            match value {
                Ok(value) => memo.push((key, value)),
                Err(error) => noted("memo:", &error),
            }
        }
        let mut search_attributes = SearchAttributes::new();
        for change in self.search {
            match change.into_parts() {
                Ok((name, Some(value))) => drop(search_attributes.insert(name, value)),
                Ok((_, None)) => {}
                Err(problem) => noted("search_attributes:", &problem),
            }
        }
        let workflow_type =
            WorkflowType::parse(&self.workflow_type).map_err(|error| noted("workflow_type", &error)).ok();
        let queue = self.queue.as_deref().map(TaskQueueName::parse).transpose();
        let queue = queue.map_err(|error| noted("queue", &error)).ok().flatten();
        let id = self.workflow_id.as_deref().map(WorkflowId::parse).transpose();
        let id = id.map_err(|error| noted("id", &error)).ok().flatten();
        let mut state = self.shared.lock_as_code()?;
        let (Some(workflow_type), true) = (workflow_type, wrong.is_empty()) else {
            let message = format!("child {} cannot be started: {}", self.workflow_type, wrong.join(", "));
            state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidCall", message);
            return None;
        };
        state.progress += 1;
        let id = match id {
            Some(id) => id,
            None => state.replayer.next_child_id(),
        };
        let text = id.to_string();
        let WorkflowOptions { execution_timeout, run_timeout, task_timeout, retry } = self.options;
        let (parent_close_policy, id_reuse_policy) = (self.parent_close_policy, self.id_reuse_policy);
        let command = |workflow_id, workflow_type| StartChild {
            workflow_id,
            workflow_type,
            task_queue: queue,
            input,
            execution_timeout,
            run_timeout,
            task_timeout,
            retry_policy: retry,
            parent_close_policy,
            id_reuse_policy,
            memo,
            search_attributes,
            summary: self.summary,
            details: self.details,
        };
        let handle = state.replayer.at(self.place, |replayer| replayer.start_child(id, workflow_type, command));
        state.join_scope(self.scope, handle, self.cancellation.into());
        Some((handle, text))
    }
}

impl<I, T> fmt::Debug for ChildCall<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildCall").field("workflow_type", &self.workflow_type).finish_non_exhaustive()
    }
}

/// A child that runs.
pub struct ChildHandle<T> {
    future: ChildFuture<T>,
    run_id: RunId,
}

impl<T> ChildHandle<T> {
    /// Its workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.future.workflow_id
    }

    /// The run that it began with.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Sends it a message. After `Ok` the message is durable in the child's history.
    #[track_caller]
    pub fn signal<S: Signal>(&self, signal: S) -> impl Future<Output = Result<(), PeerFailure>> {
        self.as_external().deliver(S::NAME, move || external::content(&signal))
    }

    /// Sends it a signal that a method of its code handles: `child.send(Order::PAY, card)`. See [`ChildHandle::signal`].
    #[track_caller]
    pub fn send<S: MethodSignal>(&self, signal: S, input: S::Input) -> impl Future<Output = Result<(), PeerFailure>> {
        let _ = signal;
        self.as_external().deliver(S::NAME, move || S::encode_input(&input))
    }

    /// Sends it a message by its name.
    #[track_caller]
    pub fn signal_named<V: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &V,
    ) -> impl Future<Output = Result<(), PeerFailure>> {
        self.as_external().deliver(name, move || external::content(value))
    }

    fn as_external(&self) -> ExternalWorkflow {
        ExternalWorkflow::child(&self.future.shared, self.future.workflow_id.clone())
    }

    /// Cancels it as [`ChildCall::cancellation`] says; [`ChildHandle::result`] tells how it ended. A repeat does nothing.
    pub fn cancel(&mut self) {
        self.future.cancel();
    }

    /// The future of what it returns.
    pub fn result(self) -> ChildFuture<T> {
        self.future
    }

    /// Lets the child go on without anybody who waits for it. Its end is recorded all the same.
    pub fn detach(self) {
        self.future.detach();
    }
}

impl<T> fmt::Debug for ChildHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workflow_id = &self.future.workflow_id;
        f.debug_struct("ChildHandle").field("workflow_id", workflow_id).field("run_id", &self.run_id).finish()
    }
}

/// What a child returns. Dropping it before it is ready does what [`ChildCall::cancellation`] says;
/// [`ChildFuture::detach`] lets the child go on.
#[must_use = "a child whose future is dropped is asked to stop: await it, or detach it"]
pub struct ChildFuture<T> {
    shared: Arc<Shared>,
    scope: Option<usize>,
    workflow_id: String,
    workflow_type: WorkflowType,
    /// `None` once the result was taken, or if it was made outside of the workflow's code.
    handle: Option<Handle>,
    cancellation: ChildCancellation,
    output: PhantomData<fn() -> T>,
}

impl<T> ChildFuture<T> {
    /// Its workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// Cancels the child as [`ChildCall::cancellation`] says. A repeat does nothing.
    pub fn cancel(&mut self) {
        let Some(handle) = self.handle else { return };
        let Some(mut state) = self.shared.lock_as_code() else { return };
        state.progress += 1;
        let waker = state.cancel_member(handle, self.cancellation.into());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets the child go on without anybody who waits for it. Its end is recorded all the same.
    pub fn detach(mut self) {
        let Some(handle) = self.handle.take() else { return };
        if let Some(mut state) = self.shared.lock_as_code() {
            state.take_handle_waker(handle);
            state.leave_scope(self.scope, handle);
            state.replayer.detach(handle);
        }
    }

    /// How the child ended, or that it could not be started, with the run and the event with which it began.
    fn take_end(&mut self, state: &mut State, handle: Handle) -> Option<(Resolved, Option<(RunId, EventId)>)> {
        let began = state.replayer.child_run(handle);
        let resolved = state.replayer.take_resolution(handle)?;
        state.take_handle_waker(handle);
        state.leave_scope(self.scope, handle);
        state.progress += 1;
        self.handle = None;
        Some((resolved, began))
    }

    fn failure(
        &self,
        state: &State,
        initiated_event_id: EventId,
        began: Option<(RunId, EventId)>,
        (failure, retry_state): (Failure, RetryState),
    ) -> PeerFailure {
        let info = state.info.as_ref().expect("set before the code runs for the first time");
        let child = FailedChild {
            namespace: info.namespace.clone(),
            workflow_type: self.workflow_type.clone(),
            run_id: began.map(|(run_id, _)| run_id),
            initiated_event_id,
            started_event_id: began.map_or(EventId::NONE, |(_, event_id)| event_id),
            retry_state,
        };
        PeerFailure::of_child(self.workflow_id.clone(), child, failure)
    }

    fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<Result<RunId, PeerFailure>> {
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        if let Some((run_id, _)) = state.replayer.child_run(handle) {
            state.take_handle_waker(handle);
            state.progress += 1;
            return Poll::Ready(Ok(run_id));
        }
        // It could not be started, or was withdrawn.
        let Some((resolved, began)) = self.take_end(&mut state, handle) else {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        };
        match resolved.resolution {
            Resolution::Failed { failure, retry_state } => {
                Poll::Ready(Err(self.failure(&state, resolved.event_id, began, (*failure, retry_state))))
            }
            Resolution::Completed { .. } | Resolution::Fired => Poll::Pending,
        }
    }
}

impl<T: DeserializeOwned> Future for ChildFuture<T> {
    type Output = Result<T, PeerFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        let Some((resolved, began)) = self.take_end(&mut state, handle) else {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        };
        match resolved.resolution {
            Resolution::Completed { result } => match data::decode_result(result.as_ref()) {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => {
                    // Not an error of the child's: a deploy with the right type heals the run.
                    let message = format!("child {} returned something else than expected: {error}", self.workflow_id);
                    state.fail_task(WorkflowTaskFailureCause::WorkerFailure, "DataError", message);
                    Poll::Pending
                }
            },
            Resolution::Failed { failure, retry_state } => {
                Poll::Ready(Err(self.failure(&state, resolved.event_id, began, (*failure, retry_state))))
            }
            Resolution::Fired => Poll::Pending,
        }
    }
}

impl<T> Drop for ChildFuture<T> {
    fn drop(&mut self) {
        let Some(handle) = self.handle else { return };
        let Some(mut state) = self.shared.lock_as_code() else { return };
        state.take_handle_waker(handle);
        state.leave_scope(self.scope, handle);
        match self.cancellation {
            ChildCancellation::Wait | ChildCancellation::Try => state.replayer.abandon(handle),
            ChildCancellation::Abandon => state.replayer.detach(handle),
        }
    }
}

impl<T> fmt::Debug for ChildFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildFuture").field("workflow_id", &self.workflow_id).finish_non_exhaustive()
    }
}
