//! Steps: closures of the workflow's own code that run once, on its worker, and whose end is recorded.
//!
//! A step costs no round trip to the server and no task queue: its result travels with the workflow task that is under way. While
//! a step is at work its workflow task stays open; before the task would time out it is completed and the next one follows at
//! once. So steps are for small things; what may take minutes is an activity's work.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::event::{StepOutcome, WorkflowTaskFailureCause};
use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use engine_core::ids::StepName;
use engine_core::limits;
use engine_core::payload::Payload;
use engine_core::replay::{Handle, Place, Resolution, Resolved};
use engine_core::retry::{RetryDecision, RetryPolicy};
use engine_core::time::Timestamp;
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::{Shared, State};
use crate::data;
use crate::definition::BoxFuture;
use crate::error::{ActivityError, RecordedError};

/// How long one attempt of a step may take unless the call says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long all attempts of a step may take: less than the server lets workflow tasks follow each other, so that the step fails
/// with a sentence of its own.
const ALL_ATTEMPTS_MAX: Duration = limits::STEP_TIME_MAX.saturating_sub(Duration::from_secs(60));

type Work = Box<dyn FnMut() -> BoxFuture<Result<Option<Payload>, ActivityError>> + Send>;

/// A step did not complete, and there is no further attempt.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("step {name} {verb}: {source}", verb = verb(source))]
pub struct StepFailure {
    name: StepName,
    attempt: u32,
    retry_state: RetryState,
    source: RecordedError,
}

fn verb(reason: &RecordedError) -> &'static str {
    match Failure::from(reason.clone()).kind {
        FailureKind::Timeout { .. } => "timed out",
        FailureKind::Canceled { .. } => "was canceled",
        FailureKind::Application { .. }
        | FailureKind::Terminated
        | FailureKind::WorkerLost
        | FailureKind::Server { .. }
        | FailureKind::Activity { .. }
        | FailureKind::ChildWorkflow { .. } => "failed",
    }
}

impl StepFailure {
    /// What the code calls the step.
    pub fn step(&self) -> &str {
        self.name.as_str()
    }

    /// The last attempt, from 1; 0 if none ended.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why there was no further attempt.
    pub fn retry_state(&self) -> RetryState {
        self.retry_state
    }

    /// The last attempt's failure.
    pub fn reason(&self) -> &RecordedError {
        &self.source
    }

    /// The type name of the error that the closure returned; `None` if it did not return one.
    pub fn error_type(&self) -> Option<&str> {
        self.source.error_type()
    }

    /// Whether its scope was canceled.
    pub fn is_canceled(&self) -> bool {
        self.retry_state == RetryState::CancelRequested
    }
}

/// A step about to run, made by [`super::WorkflowContext::step`]. It begins when it is awaited, or at once by
/// [`StepCall::start`].
#[must_use = "a step begins when its call is awaited, or by `.start()`"]
pub struct StepCall<T> {
    plan: Option<Box<Plan>>,
    started: Option<StepFuture<T>>,
}

struct Plan {
    shared: Arc<Shared>,
    scope: Option<usize>,
    name: String,
    work: Work,
    options: StepOptions,
    place: Place,
}

#[derive(Debug, Clone)]
struct StepOptions {
    timeout: Duration,
    retry: RetryPolicy,
}

impl<T: Serialize + DeserializeOwned> StepCall<T> {
    #[track_caller]
    pub(super) fn new<F, W>(shared: &Arc<Shared>, scope: Option<usize>, name: &str, mut work: W) -> Self
    where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<T, ActivityError>> + Send + 'static,
    {
        let work: Work = Box::new(move || {
            let attempt = work();
            Box::pin(async move {
                let payload = data::encode_result(&attempt.await?).map_err(ActivityError::non_retryable)?;
                Ok((payload.data.as_ref() != b"null").then_some(payload))
            })
        });
        let options = StepOptions { timeout: TIMEOUT_DEFAULT, retry: RetryPolicy::default() };
        let place = Location::caller();
        let plan = Plan { shared: Arc::clone(shared), scope, name: name.to_owned(), work, options, place };
        Self { plan: Some(Box::new(plan)), started: None }
    }

    fn with(mut self, change: impl FnOnce(&mut StepOptions)) -> Self {
        if let Some(plan) = &mut self.plan {
            change(&mut plan.options);
        }
        self
    }

    /// Longest time of one attempt; 30 s unless set. All attempts together may take 29 minutes.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = timeout)
    }

    /// How attempts follow each other. The default is that of activities: after 1 s, 2 s, 4 s … up to 100 s, without end.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.with(|options| options.retry = policy)
    }

    /// Most attempts, counting the first; zero means no limit. The rest of the retry policy stays.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|options| options.retry.maximum_attempts = attempts)
    }

    /// Begins the step at once and returns the future of its result.
    pub fn start(mut self) -> StepFuture<T> {
        self.begin()
    }

    fn begin(&mut self) -> StepFuture<T> {
        match self.plan.take() {
            Some(plan) => (*plan).begin(),
            None => self.started.take().expect("a call has a plan until it is started"),
        }
    }
}

impl Plan {
    fn begin<T>(self) -> StepFuture<T> {
        let Plan { shared, scope, name, work, options, place } = self;
        let handle = begin(&shared, place, scope, &name, work, options);
        StepFuture { shared, scope, name, handle, result: PhantomData }
    }
}

fn begin(
    shared: &Shared,
    place: Place,
    scope: Option<usize>,
    name: &str,
    work: Work,
    options: StepOptions,
) -> Option<Handle> {
    let mut state = shared.lock_as_code()?;
    let wrong = match (StepName::parse(name), options.retry.validate()) {
        (Err(error), _) => format!("the name {name:?} {error}"),
        (_, Err(error)) => format!("retry: {error}"),
        (Ok(_), Ok(())) if options.timeout.is_zero() => "timeout: must be more than zero".to_owned(),
        (Ok(name), Ok(())) => {
            state.progress += 1;
            let handle = state.replayer.at(place, |replayer| replayer.begin_step(name));
            state.steps.insert(handle, StepState::Planned(Task { work, options }));
            state.join_scope(scope, handle, super::activity::CancellationType::TryCancel);
            return Some(handle);
        }
    };
    let message = format!("ctx.step({name:?}) cannot begin: {wrong}");
    state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidCall", message);
    None
}

impl<T: Serialize + DeserializeOwned> Future for StepCall<T> {
    type Output = Result<T, StepFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.plan.is_some() {
            let started = self.begin();
            self.started = Some(started);
        }
        match &mut self.started {
            Some(future) => Pin::new(future).poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for StepCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.plan.as_ref().map(|plan| &plan.name).or(self.started.as_ref().map(|started| &started.name));
        f.debug_struct("StepCall").field("name", &name).finish_non_exhaustive()
    }
}

/// The result of a step that began. Dropping it before it is ready ends the step where it stands, and nothing is recorded.
#[must_use = "a step whose future is dropped is given up: await it"]
pub struct StepFuture<T> {
    shared: Arc<Shared>,
    scope: Option<usize>,
    name: String,
    /// `None` once the result was taken, or if the step could not begin.
    handle: Option<Handle>,
    result: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> StepFuture<T> {
    fn result(&self, state: &mut State, resolved: Resolved) -> Poll<Result<T, StepFailure>> {
        match resolved.resolution {
            Resolution::Completed { result } => match data::decode_result(result.as_ref()) {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => {
                    let message = format!("step {} returned something else than expected: {error}", self.name);
                    state.fail_task(WorkflowTaskFailureCause::WorkerFailure, "DataError", message);
                    Poll::Pending
                }
            },
            Resolution::Failed { failure, retry_state } => Poll::Ready(Err(StepFailure {
                name: StepName::from_trusted(&self.name),
                attempt: resolved.attempt,
                retry_state,
                source: RecordedError::from(*failure),
            })),
            Resolution::Fired => Poll::Pending,
        }
    }
}

impl<T: DeserializeOwned> Future for StepFuture<T> {
    type Output = Result<T, StepFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        let Some(resolved) = state.replayer.take_resolution(handle) else {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        };
        state.take_handle_waker(handle);
        state.end_step(handle);
        state.leave_scope(self.scope, handle);
        state.progress += 1;
        self.handle = None;
        self.result(&mut state, resolved)
    }
}

impl<T> Drop for StepFuture<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle
            && let Some(mut state) = self.shared.lock_as_code()
        {
            state.take_handle_waker(handle);
            state.leave_scope(self.scope, handle);
            state.end_step(handle);
            state.replayer.abandon(handle);
        }
    }
}

impl<T> fmt::Debug for StepFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepFuture").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A step that has begun and is not over.
pub(super) enum StepState {
    /// It does not run yet: it may be over in the history that is replayed.
    Planned(Task),
    /// It runs.
    Running { launch: u64, abort: AbortHandle },
}

/// What there is to do.
pub(super) struct Task {
    work: Work,
    options: StepOptions,
}

/// A step to run on the worker: the future gives its end, or `None` if it was given up.
pub struct StepWork {
    run: BoxFuture<Option<StepEnd>>,
}

impl StepWork {
    /// Runs it to its end. Needs tokio's timers.
    pub async fn run(self) -> Option<StepEnd> {
        self.run.await
    }
}

impl fmt::Debug for StepWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepWork").finish_non_exhaustive()
    }
}

/// How a step ended. Goes back to the run that began it, with [`super::WorkflowRun::end_step`].
#[derive(Debug)]
pub struct StepEnd {
    /// The run's copy on this worker: another one replays, and begins the step again.
    pub(super) copy: u64,
    pub(super) handle: Handle,
    /// Handles are reused; this number is not.
    pub(super) launch: u64,
    pub(super) outcome: StepOutcome,
    pub(super) attempt: u32,
    pub(super) took: Duration,
}

impl Task {
    /// Makes it run.
    pub(super) fn launch(
        self,
        copy: u64,
        handle: Handle,
        launch: u64,
        seed: u64,
        has_pauses: bool,
    ) -> (StepWork, AbortHandle) {
        let (abort, registration) = AbortHandle::new_pair();
        let run = Abortable::new(self.attempts(seed, has_pauses), registration);
        let run = async move {
            let (outcome, attempt, took) = run.await.ok()?;
            Some(StepEnd { copy, handle, launch, outcome, attempt, took })
        };
        (StepWork { run: Box::pin(run) }, abort)
    }

    async fn attempts(mut self, seed: u64, has_pauses: bool) -> (StepOutcome, u32, Duration) {
        let began = tokio::time::Instant::now();
        let deadline = Timestamp::EPOCH + ALL_ATTEMPTS_MAX;
        let mut attempt = 1;
        loop {
            let left = ALL_ATTEMPTS_MAX.saturating_sub(began.elapsed());
            let failure = match self.attempt(self.options.timeout.min(left)).await {
                Ok(result) => return (StepOutcome::Completed { result }, attempt, began.elapsed()),
                Err(failure) => failure,
            };
            let now = Timestamp::EPOCH + began.elapsed();
            match self.options.retry.after_failure(&failure, attempt, attempt, now, deadline, seed) {
                RetryDecision::RetryAt(_) if !has_pauses => {}
                RetryDecision::RetryAt(at) => tokio::time::sleep_until(began + at.since(Timestamp::EPOCH)).await,
                RetryDecision::GiveUp(retry_state) => {
                    return (StepOutcome::Failed { failure, retry_state }, attempt, began.elapsed());
                }
            }
            attempt = attempt.saturating_add(1);
        }
    }

    async fn attempt(&mut self, timeout: Duration) -> Result<Option<Payload>, Failure> {
        let work = &mut self.work;
        // The closure may panic when it is called as well as when its future is polled.
        let attempt = AssertUnwindSafe(async move { work().await }).catch_unwind();
        let result = match tokio::time::timeout(timeout, attempt).await {
            Err(_) => return Err(Failure::timeout(TimeoutKind::StartToClose, None)),
            Ok(Err(panic)) => {
                let message = super::waker::panic_text(panic.as_ref());
                return Err(Failure::application("panic", format!("the step panicked: {message}")));
            }
            Ok(Ok(result)) => result.map_err(ActivityError::into_failure)?,
        };
        let size = result.as_ref().map_or(0, Payload::size);
        if size > limits::PAYLOAD_BYTES_MAX {
            let limit = limits::PAYLOAD_BYTES_MAX;
            let message = format!("the result is {size} bytes large; the limit is {limit} bytes: store it elsewhere");
            return Err(ActivityError::non_retryable(message).into_failure());
        }
        Ok(result)
    }
}
