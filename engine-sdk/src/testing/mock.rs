//! Code that a test replaces, watches and makes to fail.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_core::version::VersioningBehavior;
use engine_server::Clock;
use futures::FutureExt;
use parking_lot::Mutex;

use super::code::{Arguments, Trouble, pause, worker_lost};
use crate::activity::ActivityContext;
use crate::data::{self, DataError};
use crate::definition::{Activity, BoxFuture, Workflow};
use crate::error::{ActivityError, WorkflowError};
use crate::worker::registry::ErasedActivity;
use crate::workflow::{ErasedWorkflow, WorkflowContext, WorkflowEnd};

/// One attempt of an activity that a test watches.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call<I> {
    /// What it was called with.
    pub input: I,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// The workflow that asked for it; empty if it is a standalone activity.
    pub workflow_id: String,
    /// The activity's id in its run.
    pub activity_id: String,
}

/// An activity that a test replaced with [`TestEngine::mock`](super::TestEngine::mock) or watches with
/// [`TestEngine::spy`](super::TestEngine::spy). What is set here holds for attempts that begin later. Clones are the same mock.
pub struct Mock<A> {
    watch: Arc<ActivityWatch>,
    activity: PhantomData<fn() -> A>,
}

impl<A> Clone for Mock<A> {
    fn clone(&self) -> Self {
        Self { watch: Arc::clone(&self.watch), activity: PhantomData }
    }
}

impl<A> fmt::Debug for Mock<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("attempts", &self.watch.inner.lock().calls.len()).finish_non_exhaustive()
    }
}

impl<A: Activity> Mock<A> {
    pub(super) fn new(watch: Arc<ActivityWatch>) -> Self {
        Self { watch, activity: PhantomData }
    }

    /// How many attempts began, failures and repeats included.
    pub fn attempts(&self) -> usize {
        self.watch.inner.lock().calls.len()
    }

    /// The inputs of all attempts, in the order in which they began.
    ///
    /// # Panics
    /// If an input is not what this activity takes.
    pub fn calls(&self) -> Vec<A::Input> {
        self.attempts_seen().into_iter().map(|call| call.input).collect()
    }

    /// All attempts, in the order in which they began.
    ///
    /// # Panics
    /// If an input is not what this activity takes.
    pub fn attempts_seen(&self) -> Vec<Call<A::Input>> {
        let calls = self.watch.inner.lock().calls.clone();
        calls
            .into_iter()
            .map(|call| Call {
                input: A::decode_input(call.input).unwrap_or_else(|error| panic!("an input of {}: {error}", A::NAME)),
                attempt: call.attempt,
                workflow_id: call.workflow_id,
                activity_id: call.activity_id,
            })
            .collect()
    }

    /// These attempts of each activity fail with what `error` makes, before the code runs: `mock.fail(1..=2, || ActivityError::retryable("busy"))`.
    pub fn fail(
        &self,
        attempts: impl RangeBounds<u32>,
        error: impl Fn() -> ActivityError + Send + Sync + 'static,
    ) -> &Self {
        self.fault(attempts, Fault::Fails(Arc::new(move || error().into_failure())))
    }

    /// These attempts of each activity are done, and their worker dies before anybody learns of it.
    pub fn lose_worker(&self, attempts: impl RangeBounds<u32>) -> &Self {
        self.fault(attempts, Fault::LosesWorker)
    }

    /// Each attempt takes so much of the engine's time before its code runs; [`Duration::MAX`] is for ever. An attempt that is asked to stop
    /// meanwhile ends as canceled.
    pub fn delay(&self, delay: Duration) -> &Self {
        self.watch.inner.lock().delay = Some(delay);
        self
    }

    fn fault(&self, attempts: impl RangeBounds<u32>, fault: Fault) -> &Self {
        let range = (attempts.start_bound().cloned(), attempts.end_bound().cloned());
        self.watch.inner.lock().faults.push((range, fault));
        self
    }
}

type AttemptRange = (std::ops::Bound<u32>, std::ops::Bound<u32>);

#[derive(Clone)]
enum Fault {
    Fails(Arc<dyn Fn() -> Failure + Send + Sync>),
    LosesWorker,
}

/// An activity of the test engine.
#[derive(Default)]
pub(super) struct ActivityWatch {
    inner: Mutex<WatchInner>,
}

#[derive(Default)]
struct WatchInner {
    code: Option<ErasedActivity>,
    calls: Vec<Call<Arguments>>,
    faults: Vec<(AttemptRange, Fault)>,
    delay: Option<Duration>,
}

impl ActivityWatch {
    pub(super) fn replace(&self, code: ErasedActivity) {
        self.inner.lock().code = Some(code);
    }

    /// What the worker runs for an attempt.
    pub(super) fn code(self: Arc<Self>, clock: Clock, trouble: Option<Trouble>) -> ErasedActivity {
        Arc::new(move |ctx, input| Arc::clone(&self).attempt(clock.clone(), trouble, ctx, input).boxed())
    }

    async fn attempt(
        self: Arc<Self>,
        clock: Clock,
        trouble: Option<Trouble>,
        ctx: ActivityContext,
        input: Arguments,
    ) -> Result<Payload, Failure> {
        let attempt = ctx.attempt();
        let (code, delay, fault) = {
            let mut inner = self.inner.lock();
            inner.calls.push(Call {
                input: input.clone(),
                attempt,
                workflow_id: ctx.info().workflow_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                activity_id: ctx.info().activity_id.as_str().to_owned(),
            });
            let fault =
                inner.faults.iter().find(|(attempts, _)| attempts.contains(&attempt)).map(|(_, fault)| fault.clone());
            (inner.code.clone(), inner.delay, fault)
        };
        // An activity with one attempt is promised to run at most once.
        let trouble = trouble.filter(|_| attempt == 1 && ctx.info().retry_policy.maximum_attempts != 1);
        if let Some(delay) = delay {
            pause(&clock, &ctx, delay).await.map_err(ActivityError::into_failure)?;
        }
        if trouble == Some(Trouble::FailsOnce) {
            return Err(Failure::application("TestFailure", "the test had the first attempt fail"));
        }
        if let Some(Fault::Fails(failure)) = &fault {
            return Err(failure());
        }
        let code = code.expect("an activity is watched once it has code");
        let result = code(ctx, input).await;
        if matches!(fault, Some(Fault::LosesWorker)) || trouble == Some(Trouble::RunsTwice) {
            return Err(worker_lost());
        }
        result
    }
}

/// A workflow that a test replaced with [`TestEngine::mock_workflow`](super::TestEngine::mock_workflow). Clones are the same mock.
pub struct WorkflowMock<W> {
    watch: Arc<WorkflowWatch>,
    workflow: PhantomData<fn() -> W>,
}

impl<W> Clone for WorkflowMock<W> {
    fn clone(&self) -> Self {
        Self { watch: Arc::clone(&self.watch), workflow: PhantomData }
    }
}

impl<W> fmt::Debug for WorkflowMock<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowMock").field("runs", &self.watch.inner.lock().calls.len()).finish_non_exhaustive()
    }
}

impl<W: Workflow> WorkflowMock<W> {
    pub(super) fn new(watch: Arc<WorkflowWatch>) -> Self {
        Self { watch, workflow: PhantomData }
    }

    /// The inputs of all runs, in the order in which they began.
    ///
    /// # Panics
    /// If an input is not what this workflow takes.
    pub fn calls(&self) -> Vec<W::Input> {
        let calls = self.watch.inner.lock().calls.clone();
        let decode = |input| W::decode_input(input).unwrap_or_else(|error| panic!("an input of {}: {error}", W::NAME));
        calls.into_iter().map(decode).collect()
    }

    /// Each run sleeps so long before it ends.
    pub fn delay(&self, delay: Duration) -> &Self {
        self.watch.inner.lock().delay = Some(delay);
        self
    }
}

type MockedEnd = Arc<dyn Fn(Arguments) -> Result<Result<Option<Payload>, WorkflowError>, DataError> + Send + Sync>;

/// A workflow of the test engine that is not the real one.
pub(super) struct WorkflowWatch {
    name: &'static str,
    code: MockedEnd,
    inner: Mutex<WorkflowWatchInner>,
}

#[derive(Default)]
struct WorkflowWatchInner {
    calls: Vec<Arguments>,
    /// By run: the code is called once for each, however often the run is replayed. An error is made anew, by a call that is not counted.
    values: HashMap<RunId, Option<Option<Payload>>>,
    delay: Option<Duration>,
}

impl WorkflowWatch {
    pub(super) fn new<W: Workflow>(
        code: impl Fn(W::Input) -> Result<W::Output, WorkflowError> + Send + Sync + 'static,
    ) -> Self {
        let code: MockedEnd = Arc::new(move |input| {
            Ok(match code(W::decode_input(input)?) {
                Ok(output) => Ok(Some(data::encode_result(&output)?)),
                Err(error) => Err(error),
            })
        });
        Self { name: W::NAME, code, inner: Mutex::default() }
    }
}

impl ErasedWorkflow for WorkflowWatch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn versioning(&self) -> Option<VersioningBehavior> {
        None
    }

    fn start(&self, ctx: WorkflowContext, input: Vec<Payload>) -> Result<BoxFuture<WorkflowEnd>, DataError> {
        let run_id = ctx.info().run_id;
        let (known, delay) = {
            let mut inner = self.inner.lock();
            if !inner.values.contains_key(&run_id) {
                inner.calls.push(input.clone());
            }
            (inner.values.get(&run_id).cloned().flatten(), inner.delay)
        };
        let end = match known {
            Some(value) => WorkflowEnd::Completed(value),
            None => {
                let end = (self.code)(input)?;
                self.inner.lock().values.insert(run_id, end.as_ref().ok().cloned());
                match end {
                    Ok(value) => WorkflowEnd::Completed(value),
                    Err(error) => WorkflowEnd::Failed(error),
                }
            }
        };
        Ok(Box::pin(async move {
            if let Some(delay) = delay {
                ctx.sleep(delay).await;
            }
            end
        }))
    }
}
