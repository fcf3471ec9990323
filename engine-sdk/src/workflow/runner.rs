//! One run on this worker: polls the workflow's code until nothing moves.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine_core::command::Command;
use engine_core::event::{ContinueAsNewReasons, Event, UpdateRequest, WorkflowTaskFailureCause};
use engine_core::execution::RejectedUpdate;
use engine_core::failure::Failure;
use engine_core::ids::EventId;
use engine_core::limits;
use engine_core::payload::Payload;
use engine_core::replay::{Activation, ReplayError};
use engine_core::version::VersioningBehavior;
use tracing::dispatcher::{self, Dispatch};

use super::context::{WorkflowContext, WorkflowInfo, system_time};
use super::query::{self, QueryReply};
use super::state::{Random, Shared};
use super::step::{StepEnd, StepWork};
use super::update::{self, RunningHandler};
use crate::data::{self, DataError};
use crate::definition::{BoxFuture, WorkflowCode};
use crate::error::WorkflowError;

/// Polls of the code in one workflow task after which it is held to spin: code that waits for the engine is polled about once
/// for each thing that happened.
const POLLS_PER_TASK_MAX: u64 = 1_000_000;

const FOREIGN_AWAIT: &str = "the workflow awaited something that is not the workflow's own (tokio, a socket, a channel fed \
     from outside): do it in an activity, or use ctx.sleep, ctx.signals and the other futures of WorkflowContext";

/// A workflow without its types, as a worker registers it.
pub trait ErasedWorkflow: Send + Sync {
    /// The name under which it is registered and recorded.
    fn name(&self) -> &'static str;

    /// How its runs follow versions, if it says so.
    fn versioning(&self) -> Option<VersioningBehavior>;

    /// The future of one run.
    fn start(&self, ctx: WorkflowContext, input: Vec<Payload>) -> Result<BoxFuture<WorkflowEnd>, DataError>;
}

/// How a workflow's code ended.
#[derive(Debug)]
pub enum WorkflowEnd {
    /// It returned a value; `None` for `()`.
    Completed(Option<Payload>),
    /// It returned an error.
    Failed(WorkflowError),
    /// It returned a value that cannot be encoded.
    NotEncodable(DataError),
}

struct Erased<W>(W);

impl<W: WorkflowCode> ErasedWorkflow for Erased<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn versioning(&self) -> Option<VersioningBehavior> {
        W::VERSIONING
    }

    fn start(&self, ctx: WorkflowContext, input: Vec<Payload>) -> Result<BoxFuture<WorkflowEnd>, DataError> {
        let input = W::decode_input(input)?;
        let code = self.0.execute(ctx, input);
        Ok(Box::pin(async move {
            match code.await {
                Ok(output) => match data::encode_result(&output) {
                    Ok(payload) => WorkflowEnd::Completed((payload.data.as_ref() != b"null").then_some(payload)),
                    Err(error) => WorkflowEnd::NotEncodable(error),
                },
                Err(error) => WorkflowEnd::Failed(error),
            }
        }))
    }
}

/// Takes the types off a workflow.
pub fn erase<W: WorkflowCode>(workflow: W) -> Arc<dyn ErasedWorkflow> {
    Arc::new(Erased(workflow))
}

/// What the code asks for in answer to a workflow task.
#[derive(Debug, Default)]
pub struct Advance {
    /// In order.
    pub commands: Vec<Command>,
    /// Behaviour flags to record with the task's completion.
    pub new_flags: Vec<u32>,
    /// Updates of the task that the code refused.
    pub rejected_updates: Vec<RejectedUpdate>,
    /// Whether the run is over: the last command closes it, or the history has its close event.
    pub closed: bool,
    /// Steps that began and are to be run. Their ends come back with [`WorkflowRun::end_step`].
    pub steps: Vec<StepWork>,
    /// The task is not over, because steps are at work: there are no commands yet. Before the task times out
    /// [`WorkflowRun::extend`] gives those that there are.
    pub waits_for_steps: bool,
    /// Whether the code asked for something by now, if `waits_for_steps`.
    pub has_commands: bool,
    /// Whether another task must follow at once.
    pub force_new_task: bool,
}

/// Why the code could not be moved forward: the workflow task fails with it and is tried again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", failure.message)]
pub struct WorkflowTaskError {
    /// Why, for programs.
    pub cause: WorkflowTaskFailureCause,
    /// Why, for people.
    pub failure: Box<Failure>,
}

impl WorkflowTaskError {
    pub(super) fn new(cause: WorkflowTaskFailureCause, type_name: &str, message: impl Into<String>) -> Self {
        Self { cause, failure: Box::new(Failure::application(type_name, message)) }
    }
}

/// Why [`WorkflowRun::advance`] gave no commands. The run must be dropped in either case.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdvanceError {
    /// The workflow task fails.
    #[error(transparent)]
    TaskFailed(WorkflowTaskError),
    /// The events do not continue those seen before: make a new run and give it the whole history.
    #[error("the history goes on at event {actual}, but the worker's copy of the run expects event {expected}")]
    OutOfStep {
        /// The event that would continue.
        expected: EventId,
        /// The event that came.
        actual: EventId,
    },
}

impl From<ReplayError> for AdvanceError {
    fn from(error: ReplayError) -> Self {
        let (cause, type_name) = match error {
            ReplayError::OutOfStep { expected, actual } => return AdvanceError::OutOfStep { expected, actual },
            ReplayError::Nondeterminism(_) => (WorkflowTaskFailureCause::Nondeterminism, "Nondeterminism"),
            ReplayError::Corrupt { .. } => (WorkflowTaskFailureCause::WorkerFailure, "CorruptHistory"),
        };
        AdvanceError::TaskFailed(WorkflowTaskError::new(cause, type_name, error.to_string()))
    }
}

/// One run of a workflow on this worker, with its code stopped where the history ends.
///
/// It does no I/O and needs no runtime: [`WorkflowRun::advance`] computes on the calling thread until the code waits. Dropping
/// it forgets the run, nothing more: given the whole history, another one gets to the same point.
pub struct WorkflowRun {
    workflow: Arc<dyn ErasedWorkflow>,
    shared: Arc<Shared>,
    waker: Waker,
    code: Option<BoxFuture<WorkflowEnd>>,
    /// Handlers of updates at work, in the order in which these were accepted.
    handlers: Vec<RunningHandler>,
    /// The task that begins has no news but updates.
    brings_updates_only: bool,
}

impl WorkflowRun {
    /// A run of which nothing is known yet.
    pub fn new(workflow: Arc<dyn ErasedWorkflow>) -> Self {
        let shared = Shared::new();
        let waker = Waker::from(Arc::clone(&shared.root));
        Self { workflow, shared, waker, code: None, handlers: Vec::new(), brings_updates_only: false }
    }

    /// Its steps make no pauses between their attempts: for tests, whose time skips.
    #[cfg(feature = "testing")]
    pub(crate) fn without_step_pauses(self) -> Self {
        self.shared.lock().has_no_step_pauses = true;
        self
    }

    /// Its code must ask for the same values again, not only for the same commands: for tests, which replay it by the build that ran it.
    #[cfg(feature = "testing")]
    pub(crate) fn with_values_compared(self) -> Self {
        self.shared.lock().replayer.compare_values(data::is_same_value);
        self
    }

    /// Its first random values are these.
    #[cfg(feature = "testing")]
    pub(crate) fn with_random(self, values: std::collections::VecDeque<u64>) -> Self {
        self.shared.lock().given_random = values;
        self
    }

    /// Runs the code over `events`, which continue those seen before: the first call begins with `WorkflowStarted`, and the
    /// last event is the `WorkflowTaskStarted` of the task to answer. A history that ends otherwise, for instance with the
    /// run's close event, is replayed and checked, and there are no commands. So a long history can be given in parts, each
    /// but the last ending before a `WorkflowTaskScheduled`.
    pub fn advance(&mut self, events: Vec<Event>) -> Result<Advance, AdvanceError> {
        if self.shared.root.is_foreign() {
            return Err(foreign_await());
        }
        self.shared.lock().replayer.feed(events)?;
        loop {
            let activation = self.shared.lock().replayer.next_activation()?;
            let Some(activation) = activation else { break };
            let replaying = activation.replaying;
            self.run_task(activation)?;
            if !replaying {
                return self.settle(Vec::new());
            }
            while let Some(waker) = self.next_recorded_step() {
                self.resume(waker, true)?;
            }
            self.shared.lock().replayer.finish_activation()?;
        }
        self.answer(Vec::new(), false)
    }

    /// A step that this run began is over: hands its end to the code. An end that nobody waits for changes nothing.
    pub fn end_step(&mut self, end: StepEnd) -> Result<Advance, AdvanceError> {
        let waker = {
            let mut state = self.shared.lock();
            if end.copy != self.shared.root.id() || !state.expects(&end) {
                drop(state);
                return self.settle(Vec::new());
            }
            state.replayer.finish_step(end.handle, end.outcome, end.attempt, end.took);
            // What it was begun with is done with; the slot stays until the code takes the result.
            state.end_step(end.handle);
            state.take_handle_waker(end.handle)
        };
        self.resume(waker, false)?;
        self.settle(Vec::new())
    }

    /// Answers the task although steps are at work: another one must follow at once.
    pub fn extend(&mut self) -> Result<Advance, AdvanceError> {
        let commands = self.shared.lock().replayer.finish_activation()?.unwrap_or_default();
        self.answer(commands, true)
    }

    /// The code of a live task has come to rest: answers, unless steps are at work.
    fn settle(&mut self, mut steps: Vec<StepWork>) -> Result<Advance, AdvanceError> {
        let mut state = self.shared.lock();
        if !state.replayer.is_closed() {
            let seed = state.replayer.started().map_or(0, |started| started.original_run_id().seed());
            steps.extend(state.launch_steps(self.shared.root.id(), seed));
            if !state.steps.is_empty() {
                let has_commands = state.replayer.has_commands();
                return Ok(Advance { steps, waits_for_steps: true, has_commands, ..Advance::default() });
            }
        }
        let commands = state.replayer.finish_activation()?.unwrap_or_default();
        drop(state);
        self.answer(commands, false)
    }

    /// While a task is replayed: the next step whose end the code learned of in it, with who waits for it.
    fn next_recorded_step(&self) -> Option<Option<Waker>> {
        let mut state = self.shared.lock();
        let handle = state.replayer.next_recorded_step()?;
        Some(state.take_handle_waker(handle))
    }

    fn answer(&mut self, commands: Vec<Command>, force_new_task: bool) -> Result<Advance, AdvanceError> {
        if commands.len() > limits::COMMANDS_PER_TASK_MAX {
            let message = format!(
                "the workflow asked for {} commands in one workflow task; at most {} are allowed: await some before issuing more",
                commands.len(),
                limits::COMMANDS_PER_TASK_MAX
            );
            let cause = WorkflowTaskFailureCause::BadCommand;
            return Err(AdvanceError::TaskFailed(WorkflowTaskError::new(cause, "TooManyCommands", message)));
        }
        let mut state = self.shared.lock();
        Ok(Advance {
            commands,
            new_flags: state.replayer.take_new_flags(),
            rejected_updates: state.replayer.take_rejected_updates(),
            closed: state.replayer.is_closed(),
            force_new_task,
            ..Advance::default()
        })
    }

    /// Asks the code a question about where it stands. It changes nothing; a run that answers [`QueryReply::Broken`] must be
    /// dropped.
    pub fn query(&self, name: &str, input: Vec<Payload>) -> QueryReply {
        query::ask(&self.shared, self.workflow.name(), name, input)
    }

    /// Hands over the updates that came with the workflow task which the next [`WorkflowRun::advance`] ends with.
    pub fn bring_updates(&mut self, updates: Vec<UpdateRequest>) {
        self.shared.lock().replayer.bring_updates(updates);
    }

    /// Whether events from `first` on continue what the code has seen, with the task that it answered last or, if the server
    /// dropped that, without it.
    pub fn is_continued_by(&self, first: EventId) -> bool {
        let state = self.shared.lock();
        let last = [Some(state.replayer.last_event_id()), state.replayer.last_event_id_if_dropped()];
        last.into_iter().flatten().any(|last| last.next() == first)
    }

    /// The last event that the code has seen.
    pub fn last_event_id(&self) -> EventId {
        self.shared.lock().replayer.last_event_id()
    }

    /// Bytes that the run keeps in memory, roughly: what the code itself allocated is not counted.
    pub fn memory_size(&self) -> usize {
        let code = self.code.as_ref().map_or(0, |code| size_of_val(&**code));
        size_of::<Self>() + 2048 + code + self.shared.lock().memory_size()
    }

    fn run_task(&mut self, activation: Activation) -> Result<(), AdvanceError> {
        let replaying = activation.replaying;
        let is_first = self.code.is_none() && !self.shared.lock().replayer.is_closed();
        if is_first {
            self.begin()?;
        }
        self.brings_updates_only = !is_first && activation.outcomes.is_empty() && !activation.updates.is_empty();
        let mut wakers = self.shared.lock().begin(activation);
        if is_first {
            wakers.push(self.waker.clone());
        }
        self.resume(wakers, replaying)
    }

    /// Lets the code go on until it comes to rest.
    fn resume(&mut self, wakers: impl IntoIterator<Item = Waker>, replaying: bool) -> Result<(), AdvanceError> {
        let shared = Arc::clone(&self.shared);
        let polled = shared.root.enter(|| {
            for waker in wakers {
                waker.wake();
            }
            let mut run = || {
                let pump = shared.lock().methods.as_ref().map(|methods| Arc::clone(&methods.pump));
                if let Some(pump) = pump {
                    pump(&mut Context::from_waker(&self.waker));
                }
                let is_any_accepted = update::decide(&shared);
                // The server may drop a task whose updates are all refused, so the code must not have noticed it.
                let is_unnoticed = std::mem::take(&mut self.brings_updates_only) && !is_any_accepted;
                let polled = if is_unnoticed { Ok(None) } else { self.poll_code() };
                update::refuse_rest(&mut shared.lock());
                polled
            };
            // A subscriber that hears nothing is set for this thread: whatever the user installed, a replay is silent.
            if replaying { dispatcher::with_default(&Dispatch::none(), run) } else { run() }
        });
        // Closures of the user's, which may panic when they are dropped.
        let given_up = shared.lock().take_given_up();
        let _ = shared.root.enter(|| drop(given_up));
        let end = match polled {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => return Err(AdvanceError::TaskFailed(error)),
            Err(panic) => return Err(AdvanceError::TaskFailed(panic_error(&panic))),
        };
        if let Some(error) = shared.lock().fatal.take() {
            return Err(AdvanceError::TaskFailed(error));
        }
        if shared.root.is_foreign() {
            return Err(foreign_await());
        }
        match end {
            Some(end) => self.close(end),
            None if self.code.is_none() || shared.lock().is_waiting() => Ok(()),
            None => Err(foreign_await()),
        }
    }

    fn begin(&mut self) -> Result<(), AdvanceError> {
        let input = {
            let mut state = self.shared.lock();
            let started_at = state.replayer.started_at();
            let Some(started) = state.replayer.started() else {
                return Err(ReplayError::Corrupt { event_id: EventId::FIRST, problem: "no WorkflowStarted" }.into());
            };
            let info = WorkflowInfo {
                namespace: started.namespace.clone(),
                workflow_id: started.workflow_id.clone(),
                run_id: started.run_id,
                first_run_id: started.first_run_id,
                continued_from: started.continued_from,
                workflow_type: started.workflow_type.clone(),
                task_queue: started.task_queue.clone(),
                attempt: started.attempt,
                started_at: system_time(started_at),
                run_timeout: started.run_timeout,
                history_length: 0,
                history_size_bytes: 0,
                suggest_continue_as_new: ContinueAsNewReasons::default(),
            };
            state.random = Random::from_seed(started.original_run_id().seed());
            state.info = Some(Arc::new(info));
            state.replayer.take_input()
        };
        let ctx = WorkflowContext::new(&self.shared);
        let code = self.shared.root.enter(|| self.workflow.start(ctx, input));
        let code = code.map_err(|panic| AdvanceError::TaskFailed(panic_error(&panic)))?;
        self.code = Some(code.map_err(|error| {
            let message = format!("the input of workflow {} cannot be used: {error}", self.workflow.name());
            let cause = WorkflowTaskFailureCause::WorkerFailure;
            AdvanceError::TaskFailed(WorkflowTaskError::new(cause, "DataError", message))
        })?);
        Ok(())
    }

    /// Polls until nothing moves. Called within the task, so that wakes count.
    fn poll_code(&mut self) -> Result<Option<WorkflowEnd>, WorkflowTaskError> {
        let Some(code) = &mut self.code else { return Ok(None) };
        // Tokio's channels would otherwise pause by themselves when the worker's own task has used up its budget.
        let mut code = tokio::task::coop::unconstrained(code.as_mut());
        let mut polls = 0;
        let mut cx = Context::from_waker(&self.waker);
        // Whether something may have made a condition true since the conditions were asked.
        let mut conditions_due = true;
        loop {
            let progress = self.shared.lock().progress;
            let mut polls_now = 0;
            while self.shared.root.take_woken() {
                update::poll_handlers(&self.shared, &mut self.handlers, &mut cx);
                if let Poll::Ready(end) = std::pin::Pin::new(&mut code).poll(&mut cx) {
                    // Dropped within the task: what it still held is canceled before the run closes.
                    self.code = None;
                    self.handlers.clear();
                    return Ok(Some(end));
                }
                polls_now += 1;
                polls += 1;
                if polls > POLLS_PER_TASK_MAX {
                    let message =
                        "the workflow's code does not come to rest: it wakes itself without waiting for anything";
                    let cause = WorkflowTaskFailureCause::ForeignAwait;
                    return Err(WorkflowTaskError::new(cause, "Spinning", message));
                }
            }
            let mut state = self.shared.lock();
            if state.fatal.is_some() {
                return Ok(None);
            }
            // Being asked accounts for one poll; whatever goes beyond that moved something.
            conditions_due |= polls_now > 1 || state.progress != progress;
            if !conditions_due || state.condition_waiters.is_empty() {
                return Ok(None);
            }
            conditions_due = false;
            let waiters = state.condition_waiters.take();
            drop(state);
            waiters.for_each(Waker::wake);
        }
    }

    fn close(&mut self, end: WorkflowEnd) -> Result<(), AdvanceError> {
        let mut state = self.shared.lock();
        let command = match end {
            WorkflowEnd::Completed(result) => Command::CompleteWorkflow { result },
            WorkflowEnd::Failed(mut error) => match error.take_continue_as_new() {
                Some(Ok(mut next)) => {
                    next.unread_signals = state.take_unread_signals();
                    Command::ContinueAsNew(next)
                }
                Some(Err(problem)) => {
                    let message = format!("the workflow cannot continue as new: {problem}");
                    let cause = WorkflowTaskFailureCause::BadCommand;
                    return Err(AdvanceError::TaskFailed(WorkflowTaskError::new(cause, "InvalidCall", message)));
                }
                None => {
                    // An activity that was canceled because the run was asked to cancel is the request's doing, not an error.
                    let canceled =
                        error.is_canceled() || (error.is_canceled_activity() && state.cancel_reason.is_some());
                    if canceled {
                        Command::CancelWorkflow { details: error.into_canceled_details() }
                    } else {
                        Command::FailWorkflow { failure: error.into_failure() }
                    }
                }
            },
            WorkflowEnd::NotEncodable(error) => {
                let message = format!("the workflow completed with a value that cannot be recorded: {error}");
                let cause = WorkflowTaskFailureCause::BadCommand;
                return Err(AdvanceError::TaskFailed(WorkflowTaskError::new(cause, "DataError", message)));
            }
        };
        state.replayer.close(command);
        Ok(())
    }
}

impl Drop for WorkflowRun {
    fn drop(&mut self) {
        self.shared.root.retire();
        // Code is free to panic in a destructor, but not to take the worker with it.
        let code = (self.code.take(), std::mem::take(&mut self.handlers));
        let _ = self.shared.root.enter(|| drop(code));
        // Steps that are at work belong to this copy of the run.
        let steps = {
            let mut state = self.shared.lock();
            let handles: Vec<_> = state.steps.keys().copied().collect();
            handles.into_iter().for_each(|handle| state.end_step(handle));
            state.take_given_up()
        };
        let _ = self.shared.root.enter(|| drop(steps));
    }
}

impl std::fmt::Debug for WorkflowRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowRun")
            .field("workflow", &self.workflow.name())
            .field("last_event_id", &self.last_event_id())
            .finish_non_exhaustive()
    }
}

fn foreign_await() -> AdvanceError {
    let cause = WorkflowTaskFailureCause::ForeignAwait;
    AdvanceError::TaskFailed(WorkflowTaskError::new(cause, "ForeignAwait", FOREIGN_AWAIT))
}

fn panic_error(text: &str) -> WorkflowTaskError {
    // Tokio's timers and sockets panic where there is no runtime. Their text talks of runtimes, which is no help here.
    if text.contains("Tokio 1.x") {
        let message = format!("{FOREIGN_AWAIT} (tokio said: {text})");
        return WorkflowTaskError::new(WorkflowTaskFailureCause::ForeignAwait, "ForeignAwait", message);
    }
    WorkflowTaskError::new(WorkflowTaskFailureCause::Panic, "Panic", format!("the workflow panicked: {text}"))
}
