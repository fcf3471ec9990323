//! A context without a worker or an engine, for unit tests of what workflow code is made of.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::failure::{FailureKind, RetryState};
use engine_core::ids::WorkflowId;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_core::version::VersioningBehavior;
use parking_lot::Mutex;
use serde::Serialize;

use super::script::{Open, Script};
use crate::data::{self, DataError};
use crate::definition::{Activity, BoxFuture, Signal, Workflow};
use crate::error::{ActivityError, WorkflowError};
use crate::workflow::{Advance, AdvanceError, ErasedWorkflow, WorkflowContext, WorkflowEnd, WorkflowRun};

/// 2030-01-01T00:00:00Z: what the context's clock shows unless a test says otherwise.
const START: Timestamp = Timestamp::from_micros(1_893_456_000_000_000);

/// Builds a [`TestRun`]. Made by [`WorkflowContext::for_test`].
#[derive(Debug, Clone)]
pub struct TestRunBuilder {
    start: Timestamp,
    workflow_id: WorkflowId,
    attempt: u32,
    random: VecDeque<u64>,
    last_result: Option<Payload>,
}

impl TestRunBuilder {
    pub(crate) fn new() -> Self {
        Self {
            start: START,
            workflow_id: WorkflowId::from_trusted("test-workflow"),
            attempt: 1,
            random: VecDeque::new(),
            last_result: None,
        }
    }

    /// What `ctx.now()` shows first: 2030-01-01T00:00:00Z unless set here. It moves when a timer fires.
    #[must_use]
    pub fn now(mut self, now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.start = Timestamp::EPOCH + since;
        self
    }

    /// What `ctx.random_u64()` gives first, and all that is made of it. Without, and after that, the values are the same in each test.
    #[must_use]
    pub fn random(mut self, values: impl IntoIterator<Item = u64>) -> Self {
        self.random.extend(values);
        self
    }

    /// The workflow id in `ctx.info()`; `test-workflow` unless set here.
    ///
    /// # Panics
    /// If it is not a valid id: empty, over 1000 bytes, or with control characters.
    #[must_use]
    pub fn workflow_id(mut self, id: &str) -> Self {
        self.workflow_id = WorkflowId::parse(id).expect("a valid workflow id");
        self
    }

    /// Which try of its chain the run is, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// What `ctx.last_result()` finds.
    ///
    /// # Panics
    /// If the value cannot be encoded.
    #[must_use]
    pub fn last_result<T: Serialize + ?Sized>(mut self, result: &T) -> Self {
        self.last_result = Some(data::encode(result).expect("a result that can be encoded"));
        self
    }

    /// Calls `code` with a context and polls its future until it waits for something.
    ///
    /// # Panics
    /// If it panics, awaits what is not the workflow's own, or asks for something that the engine refuses, with the reason.
    #[track_caller]
    pub fn run<F, T>(self, code: impl FnOnce(WorkflowContext) -> F + Send + Sync + 'static) -> TestRun<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let output = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&output);
        let begin = move |ctx: WorkflowContext| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let code = code(ctx);
            Box::pin(async move {
                let value = code.await;
                *slot.lock() = Some(value);
            })
        };
        let code = Arc::new(Code { begin: Mutex::new(Some(Box::new(begin))) });
        let run = WorkflowRun::new(code).without_step_pauses().with_random(self.random);
        let script = Script::new(self.start, self.workflow_id, self.attempt, self.last_result);
        let mut test = TestRun { run, script, output };
        test.advance();
        test
    }
}

type Begin = dyn FnOnce(WorkflowContext) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The code under test in the place of a workflow.
struct Code {
    begin: Mutex<Option<Box<Begin>>>,
}

impl ErasedWorkflow for Code {
    fn name(&self) -> &'static str {
        "test_workflow"
    }

    fn versioning(&self) -> Option<VersioningBehavior> {
        None
    }

    fn start(&self, ctx: WorkflowContext, _input: Vec<Payload>) -> Result<BoxFuture<WorkflowEnd>, DataError> {
        let begin = self.begin.lock().take().expect("a test's code is started once");
        let code = begin(ctx);
        Ok(Box::pin(async move {
            code.await;
            WorkflowEnd::Completed(None)
        }))
    }
}

/// Code that uses a [`WorkflowContext`], without a worker or an engine: it runs when the test calls a method here, until it waits for
/// something, and what it waits for is what the test makes happen. Made by [`TestRunBuilder::run`].
///
/// Nothing is replayed and nothing is retried; that is for [`super::TestEngine`]. Closures of `ctx.step(..)` run, at once and without pauses
/// between their attempts.
pub struct TestRun<T> {
    run: WorkflowRun,
    script: Script,
    output: Arc<Mutex<Option<T>>>,
}

impl<T> TestRun<T> {
    /// What the code has asked for so far, in order, as text: `ScheduleActivity charge_card "4242", 700`, `StartTimer 14d 00:00:00`.
    pub fn commands(&self) -> Vec<String> {
        self.script.asked().to_vec()
    }

    /// What the code came to; `None` while it waits, and after the first call.
    pub fn output(&mut self) -> Option<T> {
        self.output.lock().take()
    }

    /// What `ctx.now()` shows.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.script.now().since(Timestamp::EPOCH)
    }

    /// Lets time pass: timers fire that are due by then, each at its time and one after the other.
    ///
    /// # Panics
    /// Like [`TestRunBuilder::run`].
    #[track_caller]
    pub fn sleep(&mut self, duration: Duration) {
        let until = self.script.now() + duration;
        while let Some(timer) = self.script.next_timer(until) {
            self.script.fire(timer);
            self.advance();
        }
        self.script.wait_until(until);
    }

    /// Delivers a signal.
    ///
    /// # Panics
    /// If it cannot be encoded, and like [`TestRunBuilder::run`].
    #[track_caller]
    pub fn signal<S: Signal>(&mut self, signal: S) {
        self.signal_named(S::NAME, &signal);
    }

    /// Delivers a signal by its name.
    ///
    /// # Panics
    /// Like [`TestRun::signal`].
    #[track_caller]
    pub fn signal_named<V: Serialize + ?Sized>(&mut self, name: &str, value: &V) {
        self.script.signal(name, data::encode(value).expect("a signal that can be encoded"));
        self.advance();
    }

    /// Asks the code to stop.
    ///
    /// # Panics
    /// Like [`TestRunBuilder::run`].
    #[track_caller]
    pub fn cancel(&mut self, reason: &str) {
        self.script.cancel(reason);
        self.advance();
    }

    /// The inputs of all calls of an activity that are not answered, in order.
    ///
    /// # Panics
    /// If one cannot be decoded.
    pub fn open<A: Activity>(&self, activity: A) -> Vec<A::Input> {
        let _ = activity;
        let open = self.script.open_activities(A::NAME).into_iter();
        open.map(|(_, input)| A::decode_input(input).expect("the input of the activity")).collect()
    }

    /// Answers the oldest open call of an activity with a value.
    ///
    /// # Panics
    /// If none is open, and like [`TestRunBuilder::run`].
    #[track_caller]
    pub fn complete<A: Activity>(&mut self, activity: A, output: A::Output) {
        let _ = activity;
        let open = self.open_activity(A::NAME);
        let result = data::encode_result(&output).expect("a result that can be encoded");
        self.script.activity_completed(open, result);
        self.advance();
    }

    /// Answers the oldest open call of an activity with its last error: there is no further attempt.
    ///
    /// # Panics
    /// Like [`TestRun::complete`].
    #[track_caller]
    pub fn fail<A: Activity>(&mut self, activity: A, error: ActivityError) {
        let _ = activity;
        let open = self.open_activity(A::NAME);
        let failure = error.into_failure();
        let is_final = matches!(failure.kind, FailureKind::Application { non_retryable: true, .. });
        let state = if is_final { RetryState::NonRetryableFailure } else { RetryState::MaximumAttemptsReached };
        self.script.activity_failed(open, failure, state);
        self.advance();
    }

    #[track_caller]
    fn open_activity(&self, name: &str) -> Open {
        match self.script.open_activities(name).first() {
            Some((open, _)) => *open,
            None => panic!("no call of activity {name} is open; the code asked for {:?}", self.commands()),
        }
    }

    /// Answers the oldest open child of a workflow with what it returned.
    ///
    /// # Panics
    /// If none is open, and like [`TestRunBuilder::run`].
    #[track_caller]
    pub fn complete_child<W: Workflow>(&mut self, workflow: W, output: W::Output) {
        let _ = workflow;
        let result = data::encode_result(&output).expect("a result that can be encoded");
        self.close_child(W::NAME, Ok(result));
    }

    /// Answers the oldest open child of a workflow with its error.
    ///
    /// # Panics
    /// Like [`TestRun::complete_child`].
    #[track_caller]
    pub fn fail_child<W: Workflow>(&mut self, workflow: W, error: WorkflowError) {
        let _ = workflow;
        self.close_child(W::NAME, Err(error));
    }

    #[track_caller]
    fn close_child(&mut self, name: &str, outcome: Result<Payload, WorkflowError>) {
        let Some(child) = self.script.open_child(name) else {
            panic!("no child {name} is open; the code asked for {:?}", self.commands());
        };
        self.script.child_closed(child, outcome.map_err(WorkflowError::into_failure));
        self.advance();
    }

    /// Hands the news to the code and records what it asks for. Children begin and messages arrive at once.
    #[track_caller]
    fn advance(&mut self) {
        while self.script.has_news() {
            let advance = self.run.advance(self.script.begin_task());
            let mut advance = self.expect_fine(advance);
            let mut steps = VecDeque::from(std::mem::take(&mut advance.steps));
            while let Some(step) = steps.pop_front() {
                // On a thread of its own, since the test may be within a runtime.
                let end = std::thread::scope(|scope| {
                    let run = || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        runtime.expect("a runtime for a step").block_on(step.run())
                    };
                    scope.spawn(run).join().expect("a step's panics are caught")
                });
                if let Some(end) = end {
                    let next = self.run.end_step(end);
                    advance = self.expect_fine(next);
                    steps.extend(std::mem::take(&mut advance.steps));
                }
            }
            self.script.complete_task(advance.commands, &advance.new_flags);
        }
    }

    #[track_caller]
    fn expect_fine(&self, advance: Result<Advance, AdvanceError>) -> Advance {
        match advance {
            Ok(advance) => advance,
            Err(AdvanceError::TaskFailed(error)) if error.cause == WorkflowTaskFailureCause::Panic => {
                panic!("{error}; it had asked for {:?}", self.commands())
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl<T> fmt::Debug for TestRun<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRun").field("commands", &self.commands()).finish_non_exhaustive()
    }
}
