//! What workflow code may do.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use engine_core::event::ContinueAsNewReasons;
use engine_core::ids::{Namespace, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::activity::ActivityCall;
use super::cell::WorkflowState;
use super::child::ChildCall;
use super::combine::Elapsed;
use super::continue_as_new::ContinueAsNew;
use super::external::ExternalWorkflow;
use super::publish;
use super::query;
use super::signal::SignalChannel;
use super::state::Shared;
use super::step::StepCall;
use super::timer::Sleep;
use super::update::{self, UpdateChannel, UpdateHandler};
use super::wait::{self, Canceled};
use crate::data::{self, Arguments, DataError, RawArguments};
use crate::definition::{Activity, ActivityOptions, Query, Signal, Update, Workflow, WorkflowOptions};
use crate::error::{ActivityError, RecordedError, WorkflowError};

/// What workflow code may do: every step that it takes is recorded, and answered from the history when the code runs again.
///
/// Clones are the same context. It works only inside the workflow's own code: carried into a spawned task or another thread it
/// does nothing, and the workflow task fails with a sentence that says so.
#[derive(Clone)]
pub struct WorkflowContext {
    shared: Arc<Shared>,
}

impl WorkflowContext {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Begins a context for unit tests of functions and methods that take one, without an engine. `docs/testing.md` has an example.
    #[cfg(feature = "testing")]
    pub fn for_test() -> crate::testing::TestRunBuilder {
        crate::testing::TestRunBuilder::new()
    }

    /// Calls an activity. Its options can be changed before the call is awaited.
    ///
    /// `input` is the activity's argument; a tuple if it has several; `()` if it has none.
    #[track_caller]
    pub fn run<A: Activity>(&self, activity: A, input: A::Input) -> ActivityCall<A::Output> {
        let encode = Box::new(move || A::encode_input(&input));
        ActivityCall::new(&self.shared, None, A::NAME, activity.options(), encode)
    }

    /// Calls an activity by the name under which it is registered, for code that this program does not have. `args` is a tuple
    /// of its arguments: `()`, `(one,)`, `(one, two)`.
    #[track_caller]
    pub fn run_named<T: DeserializeOwned>(
        &self,
        activity_type: &str,
        args: impl Arguments + Send + 'static,
    ) -> ActivityCall<T> {
        let encode = Box::new(move || args.encode());
        ActivityCall::new(&self.shared, None, activity_type, ActivityOptions::default(), encode)
    }

    /// A durable timer, which outlives workers and servers. It runs from this call, awaited or not, and fires late rather than
    /// early.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::start(&self.shared, duration, String::new())
    }

    /// Like [`WorkflowContext::sleep`], with a line for people that says what the timer is for. At most 400 bytes.
    #[track_caller]
    pub fn sleep_for(&self, duration: Duration, summary: impl Into<String>) -> Sleep {
        Sleep::start(&self.shared, duration, summary.into())
    }

    /// Runs a closure once on this worker, on its tokio runtime, and records what it returns: for small work, such as one request,
    /// that is not worth an activity's round trip. A replay has the recorded value and does not run it again.
    ///
    /// It runs at least once: a worker that dies before the end is recorded runs it again elsewhere, from its first attempt. An
    /// error is retried as its retry policy says; the default is that of activities. While it is at work other news reaches the
    /// workflow late, by up to half of its task timeout; what may take minutes is for an activity.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// # async fn fetch_rate() -> Result<f64, std::io::Error> { Ok(1.1) }
    /// # #[workflow]
    /// # async fn price(ctx: WorkflowContext, cents: f64) -> Result<f64, WorkflowError> {
    /// let rate = ctx.step("exchange rate", || async { Ok(fetch_rate().await?) }).max_attempts(5).await?;
    /// # Ok(cents * rate) }
    /// ```
    #[track_caller]
    pub fn step<T, F, W>(&self, name: &str, work: W) -> StepCall<T>
    where
        T: Serialize + DeserializeOwned,
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<T, ActivityError>> + Send + 'static,
    {
        StepCall::new(&self.shared, None, name, work)
    }

    /// The signals of type `S`.
    pub fn signals<S: Signal>(&self) -> SignalChannel<S> {
        SignalChannel::new(&self.shared, S::NAME)
    }

    /// The signals of this name.
    pub fn signal_channel<T: DeserializeOwned>(&self, name: &str) -> SignalChannel<T> {
        SignalChannel::new(&self.shared, name)
    }

    /// State that the code shares with its queries: see [`WorkflowContext::answer`].
    pub fn state<T>(&self, value: T) -> WorkflowState<T> {
        WorkflowState::new(&self.shared, value)
    }

    /// Answers a query from `state`, from here on: clients ask with [`crate::client::WorkflowHandle::query`]. A handler can only
    /// read. To answer from the beginning, call it before the first `.await`.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// #[payload]
    /// struct Order { paid: bool }
    ///
    /// #[query]
    /// fn is_paid(order: &Order) -> bool { order.paid }
    ///
    /// #[workflow]
    /// async fn checkout(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ///     let order = ctx.state(Order { paid: false });
    ///     ctx.answer(is_paid, &order);
    ///     ctx.sleep(hours(1)).await;
    ///     order.write().paid = true;
    ///     Ok(())
    /// }
    /// ```
    pub fn answer<Q: Query>(&self, query: Q, state: &WorkflowState<Q::State>)
    where
        Q::State: Sync,
    {
        query::answer(&self.shared, query, state);
    }

    /// Answers queries of any name that has no handler of its own. `answer` gets the state, the name and the arguments; it is a
    /// function and not a closure, so that it can only read.
    pub fn answer_any<T, R>(
        &self,
        state: &WorkflowState<T>,
        answer: fn(&T, &str, RawArguments) -> Result<R, WorkflowError>,
    ) where
        T: Send + Sync + 'static,
        R: Serialize + 'static,
    {
        query::answer_any(&self.shared, state, answer);
    }

    /// Shows `value` to whoever asks, under a name, in place of what the name showed before. It is recorded with the workflow
    /// task, and can be read with no worker running and after the run is closed, as it is or as it was at any event: with
    /// [`crate::client::WorkflowHandle::published`], `engine workflow published` and by describe.
    ///
    /// Each call is an event. At most 64 names in a run, at most 32 KiB a value; more fails the workflow task. A run that
    /// continues this one begins with nothing published.
    #[track_caller]
    pub fn publish<T: Serialize + ?Sized>(&self, name: &str, value: &T) {
        publish::publish(&self.shared, name, value);
    }

    /// Answers updates of a type with `handler`, from now on until the run closes. The handler runs beside the workflow's own
    /// code, and several at once run beside each other; it may do all that the workflow may. An update that came before its
    /// handler is given to it, if it came with the same workflow task.
    ///
    /// When the workflow's code returns, handlers that still run are dropped and their senders get an error: see
    /// [`WorkflowContext::wait_all_handlers_finished`].
    pub fn on_update<U, H, F>(&self, handler: H)
    where
        U: Update,
        H: Fn(U) -> F + Send + Sync + 'static,
        F: Future<Output = Result<U::Output, WorkflowError>> + Send + 'static,
    {
        update::on_update(&self.shared, |_: &U| Ok(()), handler);
    }

    /// Like [`WorkflowContext::on_update`], for updates that `validator` lets pass. One that it refuses leaves no trace, and its
    /// sender gets the error. It decides by the update and by the workflow's state, and changes nothing; whatever it asks the
    /// context for, beyond looking, fails the workflow task. In a replay it is not asked.
    pub fn on_validated_update<U, V, H, F>(&self, validator: V, handler: H)
    where
        U: Update,
        V: Fn(&U) -> Result<(), WorkflowError> + Send + Sync + 'static,
        H: Fn(U) -> F + Send + Sync + 'static,
        F: Future<Output = Result<U::Output, WorkflowError>> + Send + 'static,
    {
        update::on_update(&self.shared, validator, handler);
    }

    /// Registers a handler without types, for the updates of this name, or for those of all names that have no handler.
    #[doc(hidden)]
    pub fn register_update_handler(&self, name: Option<&str>, handler: Arc<dyn UpdateHandler>) {
        update::register_handler(&self.shared, name, handler);
    }

    /// The updates of type `U`, to be received and answered one by one. From now on they are accepted when they arrive.
    pub fn updates<U: Update>(&self) -> UpdateChannel<U> {
        UpdateChannel::new(&self.shared, |_: &U| Ok(()))
    }

    /// Like [`WorkflowContext::updates`], for updates that `validator` lets pass: see [`WorkflowContext::on_validated_update`].
    pub fn validated_updates<U, V>(&self, validator: V) -> UpdateChannel<U>
    where
        U: Update,
        V: Fn(&U) -> Result<(), WorkflowError> + Send + Sync + 'static,
    {
        UpdateChannel::new(&self.shared, validator)
    }

    /// The time at which the current workflow task started, by the server's clock. It stands still while the code runs, never
    /// goes backwards, and is the same in a replay.
    pub fn now(&self) -> SystemTime {
        system_time(self.shared.lock().now)
    }

    /// A random number that is the same in a replay. Not for secrets: who knows the run id knows it.
    pub fn random_u64(&self) -> u64 {
        match self.shared.lock_as_code() {
            Some(mut state) => state.next_random(),
            None => 0,
        }
    }

    /// Like [`WorkflowContext::random_u64`], from 0 up to but not including 1.
    pub fn random_f64(&self) -> f64 {
        // 53 bits: the precision of an f64's fraction.
        (self.random_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Like [`WorkflowContext::random_u64`], within a range.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn random_range(&self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "a random number needs a range that is not empty");
        let width = range.end - range.start;
        // Multiplication instead of a remainder: every number is equally likely up to one part in 2^64 / width.
        let scaled = (u128::from(self.random_u64()) * u128::from(width)) >> 64;
        range.start + u64::try_from(scaled).expect("the high half of a product with a 64-bit number")
    }

    /// A random UUID (version 4) that is the same in a replay.
    pub fn uuid(&self) -> Uuid {
        let (high, low) = (self.random_u64(), self.random_u64());
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
    }

    /// What is known of the run.
    pub fn info(&self) -> Arc<WorkflowInfo> {
        self.shared.lock().info.clone().expect("set before the code runs for the first time")
    }

    /// What the last run of the chain that completed returned: for runs that a cron or a schedule makes, and for what they continue as.
    /// `None` if none has completed yet. Of a schedule's runs, as long as the run that returned it is kept.
    pub fn last_result<T: DeserializeOwned>(&self) -> Result<Option<T>, DataError> {
        let result = self.shared.lock().replayer.started().and_then(|started| started.last_result.clone());
        result.as_ref().map(data::decode).transpose()
    }

    /// How the run before this one failed or timed out, if it did: for a retry, and for runs that a cron or a schedule makes.
    pub fn last_failure(&self) -> Option<RecordedError> {
        let failure = self.shared.lock().replayer.started().and_then(|started| started.continued_failure.clone());
        failure.map(RecordedError::from)
    }

    /// A child: another workflow that this one starts and deals with. Its options can be changed before it is started.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// # #[workflow] async fn ship(_ctx: WorkflowContext, order: u32) -> Result<String, WorkflowError> { Ok(order.to_string()) }
    /// #[workflow]
    /// async fn orders(ctx: WorkflowContext, order: u32) -> Result<String, WorkflowError> {
    ///     let parcel = ctx.child(ship).id(format!("ship-{order}")).run(order).await?; // start it and wait for its result
    ///     let handle = ctx.child(ship).start(order).await?;                           // or keep a handle
    ///     handle.signal_named("hurry", &true).await?;
    ///     Ok(format!("{parcel} {}", handle.result().await?))
    /// }
    /// ```
    ///
    /// A child's next tries and continued runs are the same child: its result is that of the last.
    #[track_caller]
    pub fn child<W: Workflow>(&self, workflow: W) -> ChildCall<W::Input, W::Output> {
        ChildCall::new(&self.shared, None, W::NAME, workflow.options(), W::encode_input)
    }

    /// A child of a workflow that this program does not have. Its input is a tuple of arguments: `()`, `(one,)`, `(one, two)`.
    #[track_caller]
    pub fn child_named<I: Arguments + Send, T: DeserializeOwned>(&self, workflow_type: &str) -> ChildCall<I, T> {
        ChildCall::new(&self.shared, None, workflow_type, WorkflowOptions::default(), I::encode)
    }

    /// Another workflow, to be signaled or asked to stop.
    pub fn external(&self, workflow_id: impl Into<String>) -> ExternalWorkflow {
        ExternalWorkflow::new(&self.shared, workflow_id.into())
    }

    /// Goes on in a new run of the same workflow id with an empty history: of this workflow or of another. Return what
    /// awaiting it gives:
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// #[workflow]
    /// async fn counter(ctx: WorkflowContext, mut count: u64) -> Result<u64, WorkflowError> {
    ///     let mut clicks = ctx.signal_channel::<u64>("click");
    ///     loop {
    ///         count += clicks.recv().await;
    ///         if ctx.continue_as_new_suggested() {
    ///             return ctx.continue_as_new(counter, count).await;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// The new run keeps the options of this one but for those that are changed by the methods; another workflow brings those
    /// of its attribute. Signals that the code has not received are handed over, so that none is lost. Whoever waits for the
    /// workflow's result waits for that of the last run.
    pub fn continue_as_new<W: Workflow, T>(&self, workflow: W, input: W::Input) -> ContinueAsNew<T> {
        let is_same = self.info().workflow_type.as_str() == W::NAME;
        let options = if is_same { WorkflowOptions::default() } else { workflow.options() };
        ContinueAsNew::new(W::NAME, options, W::encode_input(&input))
    }

    /// Like [`WorkflowContext::continue_as_new`], as a workflow that this program does not have. `args` is a tuple of its
    /// arguments: `()`, `(one,)`, `(one, two)`.
    pub fn continue_as_new_named<T>(&self, workflow_type: &str, args: impl Arguments) -> ContinueAsNew<T> {
        ContinueAsNew::new(workflow_type, WorkflowOptions::default(), args.encode())
    }

    /// Whether the history has become so long that the code should continue as new:
    /// [`WorkflowInfo::suggest_continue_as_new`] says why.
    pub fn continue_as_new_suggested(&self) -> bool {
        self.info().suggest_continue_as_new.any()
    }

    /// Whether the run was asked to cancel.
    pub fn is_cancel_requested(&self) -> bool {
        self.shared.lock().cancel_reason.is_some()
    }

    /// Why the run was asked to cancel, if it was.
    pub fn cancel_reason(&self) -> Option<String> {
        self.shared.lock().cancel_reason.clone()
    }

    /// Resolves when the run is asked to cancel; at once if it was.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait::cancelled(Arc::clone(&self.shared))
    }

    /// Waits for `future`, but no longer than until the run is asked to cancel; then `future` is dropped, which cancels what it
    /// stood for. With `?` in a workflow the run closes as canceled.
    pub async fn unless_cancelled<F: IntoFuture>(&self, future: F) -> Result<F::Output, Canceled> {
        let mut future = pin!(future.into_future());
        let mut cancelled = pin!(self.cancelled());
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            cancelled.as_mut().poll(cx).map(|()| Err(Canceled))
        })
        .await
    }

    /// Waits until `condition` is true. It is asked after everything that could have changed the workflow's own state, and must
    /// depend on nothing else. With a time limit: `ctx.timeout(d, ctx.wait_until(..))`.
    pub fn wait_until<C: FnMut() -> bool + Send>(&self, condition: C) -> impl Future<Output = ()> + Send + use<C> {
        wait::until(Arc::clone(&self.shared), condition)
    }

    /// Waits for `future`, but no longer than `duration` from this call; then `future` is dropped, which cancels what it stood
    /// for. If both are ready, `future` wins.
    #[track_caller]
    pub fn timeout<F: IntoFuture>(
        &self,
        duration: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
        let timer = self.sleep(duration);
        async move {
            let mut future = pin!(future.into_future());
            let mut timer = pin!(timer);
            poll_fn(|cx| {
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                timer.as_mut().poll(cx).map(|()| Err(Elapsed(duration)))
            })
            .await
        }
    }

    /// Waits until every update that was accepted is answered, by its handler or by the code that received it, and no
    /// asynchronous signal handler of a workflow written as a struct is under way. Those that are when the workflow's code
    /// returns are dropped, which cancels what they wait for.
    pub fn wait_all_handlers_finished(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        wait::until(Arc::clone(&self.shared), move || {
            let state = shared.lock();
            state.handlers_running == 0 && state.updates.are_answered()
        })
    }

    /// Whether the code is being run again over its history. For what must happen once and outside of the history, such as
    /// metrics; never for a decision. `tracing` is silent during replay anyway.
    #[doc(hidden)]
    pub fn is_replaying(&self) -> bool {
        self.shared.lock().replaying
    }
}

impl fmt::Debug for WorkflowContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowContext").field("info", &self.shared.lock().info).finish_non_exhaustive()
    }
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// Its namespace.
    pub namespace: Namespace,
    /// The user's key.
    pub workflow_id: WorkflowId,
    /// This run.
    pub run_id: RunId,
    /// The first run of the chain.
    pub first_run_id: RunId,
    /// The run that this one continues, if any.
    pub continued_from: Option<RunId>,
    /// The code that it runs.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks go, and its activities unless they say otherwise.
    pub task_queue: TaskQueueName,
    /// Which try of the chain this run is, from 1.
    pub attempt: u32,
    /// When the run began, by the server's clock.
    pub started_at: SystemTime,
    /// How long this run may take, if there is a limit.
    pub run_timeout: Option<Duration>,
    /// How many events the history has at the current workflow task.
    pub history_length: u64,
    /// Its size in bytes.
    pub history_size_bytes: u64,
    /// Whether the history has become so long that the code should continue as new, and why.
    pub suggest_continue_as_new: ContinueAsNewReasons,
}

pub(super) fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + at.since(Timestamp::EPOCH)
}
