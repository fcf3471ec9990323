//! Workflows written as a struct whose methods are run, signal and query handlers: `#[workflow] impl Order { … }`.
//!
//! The struct is the workflow's state, and lives in a slot. A synchronous handler gets `&mut` of it for as long as it runs. An
//! asynchronous one, `#[run]` among them, has a [`Running`] in the place of `self`: the first access to a field takes the struct
//! out of the slot, and each `.await` puts it back before it waits. `#[workflow]` writes that down: `future.await` becomes
//! `future.give_back(self).await`, and because `give_back` needs `self` mutably, the borrow checker refuses code that keeps a
//! reference into the state while it waits. So methods take turns at their awaits, and each sees plain fields in between.
//!
//! Order within a workflow task: signals in the order of the history, each handled up to its first await; then handlers that
//! were waiting; then updates; then `#[run]`.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};

use engine_core::failure::Failure;
use engine_core::ids::SignalName;
use engine_core::payload::Payload;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;

use super::context::WorkflowContext;
use super::query;
use super::state::{MethodSignals, Pump, Shared};
use super::update::{HandledUpdate, UpdateHandler};
use super::wait;
use crate::data::DataError;
use crate::definition::{BoxFuture, Query};
use crate::error::WorkflowError;

const KEPT: &str = "another method of the workflow waits and keeps its state: state is given back at `.await` and in `select!`, \
     but not by other macros that wait; await with a function there, such as `join_all([..]).await`";

type Slot<S> = Arc<Mutex<Option<Box<S>>>>;

fn take<S>(slot: &Slot<S>) -> Box<S> {
    slot.lock().take().expect(KEPT)
}

/// The workflow's struct in an asynchronous method, in the place of `self`. It has the struct's fields and methods.
pub struct Running<S> {
    call: MethodCall<S>,
    /// Taken out of the slot by the first access since the last await.
    held: OnceCell<Box<S>>,
    is_changed: bool,
}

impl<S> Running<S> {
    /// Puts the state back, so that other methods see it.
    fn put_back(&mut self) {
        if let Some(state) = self.held.take() {
            *self.call.slot.lock() = Some(state);
        }
        if std::mem::take(&mut self.is_changed) {
            self.call.note_change();
        }
    }
}

impl<S: Send + 'static> Running<S> {
    /// The state in the place of `self`, for a unit test of an asynchronous method: within a [`crate::testing::TestRun`].
    #[cfg(feature = "testing")]
    pub fn for_test(ctx: &WorkflowContext, state: S) -> Self {
        let slot = Arc::new(Mutex::new(Some(Box::new(state))));
        let call = MethodCall { ctx: ctx.clone(), shared: Arc::clone(ctx.shared()), slot };
        call.running()
    }

    /// Waits until `condition` is true of the state. It is asked after everything that could have changed the state. With a
    /// time limit: `ctx.timeout(d, self.wait_until(..))`.
    pub fn wait_until(
        &self,
        mut condition: impl FnMut(&S) -> bool + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let slot = Arc::clone(&self.call.slot);
        let condition = move || condition(slot.lock().as_deref().expect(KEPT));
        wait::until(Arc::clone(&self.call.shared), condition)
    }
}

impl<S> Deref for Running<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.held.get_or_init(|| take(&self.call.slot))
    }
}

impl<S> DerefMut for Running<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.is_changed = true;
        self.held.get_or_init(|| take(&self.call.slot));
        self.held.get_mut().expect("it was just taken")
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        self.put_back();
    }
}

impl<S> fmt::Debug for Running<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// What `.await` becomes in an asynchronous method of a workflow.
pub trait GiveBack: IntoFuture + Sized {
    /// Puts the state back before the future is awaited.
    fn give_back<S>(self, running: &mut Running<S>) -> Self::IntoFuture {
        running.put_back();
        self.into_future()
    }
}

impl<F: IntoFuture> GiveBack for F {}

/// What `select!` does before it waits, in an asynchronous method of a workflow.
#[doc(hidden)]
pub fn give_back<S>(running: &mut Running<S>) {
    running.put_back();
}

/// How a handler is called.
pub struct MethodCall<S> {
    ctx: WorkflowContext,
    shared: Arc<Shared>,
    slot: Slot<S>,
}

impl<S> MethodCall<S> {
    /// The workflow's context.
    pub fn context(&self) -> WorkflowContext {
        self.ctx.clone()
    }

    /// For a synchronous handler.
    pub fn with<T>(&self, handler: impl FnOnce(&mut S) -> T) -> T {
        let mut state = take(&self.slot);
        let output = handler(&mut state);
        *self.slot.lock() = Some(state);
        self.note_change();
        output
    }

    /// For an asynchronous handler.
    pub fn running(&self) -> Running<S> {
        Running { call: self.clone(), held: OnceCell::new(), is_changed: false }
    }

    fn note_change(&self) {
        if let Some(mut state) = self.shared.lock_as_code() {
            state.progress += 1;
        }
    }
}

impl<S> Clone for MethodCall<S> {
    fn clone(&self) -> Self {
        Self { ctx: self.ctx.clone(), shared: Arc::clone(&self.shared), slot: Arc::clone(&self.slot) }
    }
}

impl<S> fmt::Debug for MethodCall<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodCall").finish_non_exhaustive()
    }
}

/// What a signal handler returns: nothing, or a `Result` whose error fails the workflow.
#[diagnostic::on_unimplemented(
    message = "a signal handler cannot return `{Self}`",
    label = "nobody waits for what a signal handler returns",
    note = "return nothing, or `Result<(), WorkflowError>`: an error fails the workflow"
)]
pub trait HandlerOutput {
    /// The error that fails the workflow, if there is one.
    fn into_result(self) -> Result<(), WorkflowError>;
}

impl HandlerOutput for () {
    fn into_result(self) -> Result<(), WorkflowError> {
        Ok(())
    }
}

impl<E: Into<WorkflowError>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), WorkflowError> {
        self.map_err(Into::into)
    }
}

/// What became of a signal.
#[expect(missing_debug_implementations, reason = "futures have none")]
pub enum Handled {
    /// The handler is through.
    Done(Result<(), WorkflowError>),
    /// It waits for something.
    Runs(BoxFuture<Result<(), WorkflowError>>),
}

/// Handles a signal: its name and its content.
pub type SignalHandler<S> = fn(&MethodCall<S>, &str, Vec<Payload>) -> Result<Handled, DataError>;

/// An update's method under way.
pub type UpdateFuture = BoxFuture<HandledUpdate>;

/// How an update's method is called.
#[expect(missing_debug_implementations, reason = "functions have no names")]
pub struct UpdateMethod<S> {
    /// Whether the update is to be accepted.
    pub validate: fn(&S, &[Payload]) -> Result<(), WorkflowError>,
    /// Handles one that was accepted.
    pub handle: fn(&MethodCall<S>, Vec<Payload>) -> Result<UpdateFuture, DataError>,
}

struct BoundUpdate<S> {
    call: MethodCall<S>,
    method: UpdateMethod<S>,
}

impl<S: Send + 'static> UpdateHandler for BoundUpdate<S> {
    fn validate(&self, _name: &str, input: &[Payload]) -> Result<(), Failure> {
        let state = self.call.slot.lock();
        (self.method.validate)(state.as_deref().expect(KEPT), input).map_err(WorkflowError::into_failure)
    }

    fn handle(&self, _name: &str, input: Vec<Payload>) -> Result<UpdateFuture, DataError> {
        (self.method.handle)(&self.call, input)
    }
}

/// The handlers of one run, while it begins. `#[workflow]` on an `impl` makes the calls.
pub struct Methods<S> {
    call: MethodCall<S>,
    signals: BTreeMap<&'static str, SignalHandler<S>>,
    any_signal: Option<SignalHandler<S>>,
    updates: Vec<(&'static str, UpdateMethod<S>)>,
}

impl<S: Send + 'static> Methods<S> {
    /// A run with this state.
    pub fn new(ctx: &WorkflowContext, state: S) -> Self {
        let slot = Arc::new(Mutex::new(Some(Box::new(state))));
        let call = MethodCall { ctx: ctx.clone(), shared: Arc::clone(ctx.shared()), slot };
        Self { call, signals: BTreeMap::new(), any_signal: None, updates: Vec::new() }
    }

    /// Handles the signals of a name.
    pub fn signal(&mut self, name: &'static str, handler: SignalHandler<S>) {
        self.signals.insert(name, handler);
    }

    /// Handles the signals that nobody else handles.
    pub fn any_signal(&mut self, handler: SignalHandler<S>) {
        self.any_signal = Some(handler);
    }

    /// Answers the updates of a name.
    pub fn update(&mut self, name: &'static str, method: UpdateMethod<S>) {
        self.updates.push((name, method));
    }

    /// Answers a query.
    pub fn query<Q: Query<State = S>>(&mut self, query: Q) {
        let slot = Arc::clone(&self.call.slot);
        query::answer_from(&self.call.shared, query, move |answer| answer(slot.lock().as_deref().expect(KEPT)));
    }

    /// Answers the queries that nobody else answers.
    pub fn any_query(&mut self, answer: fn(&S, &str, Vec<Payload>) -> Result<Payload, WorkflowError>) {
        let slot = Arc::clone(&self.call.slot);
        let answer = move |name: &str, input| answer(slot.lock().as_deref().expect(KEPT), name, input);
        query::answer_any_from(&self.call.shared, answer);
    }

    /// The run: `code` and the handlers, until `code` is through. Handlers that wait then are dropped, which cancels what they
    /// wait for: [`WorkflowContext::wait_all_handlers_finished`] lets them end.
    pub fn run<T: 'static>(
        self,
        code: impl FnOnce(Running<S>) -> BoxFuture<Result<T, WorkflowError>>,
    ) -> BoxFuture<Result<T, WorkflowError>> {
        let Self { call, signals, any_signal, updates } = self;
        for (name, method) in updates {
            call.ctx.register_update_handler(Some(name), Arc::new(BoundUpdate { call: call.clone(), method }));
        }
        let mut code = code(call.running());
        let shared = Arc::clone(&call.shared);
        let handlers = Handlers { call, signals, any_signal, running: FuturesUnordered::new(), failed: None };
        let names = handlers.signals.keys().map(|name| SignalName::from_trusted(*name)).collect();
        let any = handlers.any_signal.is_some();
        let handlers = Arc::new(Mutex::new(handlers));
        if let Some(mut state) = shared.lock_as_code() {
            let pumped = Arc::clone(&handlers);
            let pump: Pump = Arc::new(move |cx| pumped.lock().poll(cx));
            state.methods = Some(MethodSignals { names, any, waker: None, pump });
        }
        Box::pin(poll_fn(move |cx| {
            let failed = {
                let mut handlers = handlers.lock();
                handlers.poll(cx);
                handlers.failed.take()
            };
            match failed {
                Some(error) => Poll::Ready(Err(error)),
                None => code.as_mut().poll(cx),
            }
        }))
    }
}

impl<S> fmt::Debug for Methods<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").field("signals", &self.signals.keys()).finish_non_exhaustive()
    }
}

struct Handlers<S> {
    call: MethodCall<S>,
    signals: BTreeMap<&'static str, SignalHandler<S>>,
    any_signal: Option<SignalHandler<S>>,
    running: FuturesUnordered<BoxFuture<Result<(), WorkflowError>>>,
    /// Fails the workflow.
    failed: Option<WorkflowError>,
}

impl<S: Send + 'static> Handlers<S> {
    /// Handles what came, and lets handlers that wait go on. An error of one is kept.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.failed.is_none() {
            self.failed = self.try_poll(cx).err();
        }
    }

    fn try_poll(&mut self, cx: &mut Context<'_>) -> Result<(), WorkflowError> {
        loop {
            let next = self.call.shared.lock_as_code().and_then(|mut state| state.next_method_signal(cx.waker()));
            let Some((name, input)) = next else { break };
            let handler = self.signals.get(name.as_str()).or(self.any_signal.as_ref());
            let Some(handler) = handler else { continue };
            match handler(&self.call, name.as_str(), input) {
                Ok(Handled::Done(result)) => result?,
                Ok(Handled::Runs(future)) => {
                    self.running.push(future);
                    self.poll_running(cx)?;
                }
                // What a sender got wrong must not stop the workflow.
                Err(error) => tracing::error!(signal = %name, %error, "skipped a signal that cannot be decoded"),
            }
        }
        self.poll_running(cx)
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Result<(), WorkflowError> {
        while let Poll::Ready(Some(result)) = self.running.poll_next_unpin(cx) {
            result?;
        }
        if let Some(mut state) = self.call.shared.lock_as_code()
            && state.handlers_running != self.running.len()
        {
            state.handlers_running = self.running.len();
            state.progress += 1;
        }
        Ok(())
    }
}
