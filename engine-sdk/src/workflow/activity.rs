//! Calling activities.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::command::ScheduleActivity;
use engine_core::event::{ActivityTimeouts, WorkflowTaskFailureCause};
use engine_core::ids::{ActivityId, ActivityType, TaskQueueName};
use engine_core::payload::Payload;
use engine_core::replay::{Handle, Place, Resolution, Resolved};
use engine_core::retry::RetryPolicy;
use serde::de::DeserializeOwned;

use super::state::{Shared, State};
use crate::data::{self, DataError};
use crate::definition::ActivityOptions;
use crate::error::ActivityFailure;

/// How long an attempt may take when neither start-to-close nor schedule-to-close is given: an activity whose worker hangs must
/// not hang its workflow for ever.
pub(super) const START_TO_CLOSE_DEFAULT: Duration = Duration::from_secs(600);

/// What becomes of an activity when its call or its scope is canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CancellationType {
    /// It is asked to stop, and the call ends when it has: with its result, or as canceled.
    #[default]
    WaitForCompletion,
    /// It is asked to stop, and the call ends at once as canceled.
    TryCancel,
    /// It goes on, and the call ends at once as canceled.
    Abandon,
}

type Encode = Box<dyn FnOnce() -> Result<Vec<Payload>, DataError> + Send>;

/// An activity about to be called, made by [`super::WorkflowContext::run`]. The methods change the options of its attribute for
/// this call.
///
/// It is a future: the activity is scheduled when it is awaited (or polled by `join!` and the like) for the first time, or at
/// once by [`ActivityCall::start`]. Dropping it afterwards asks the activity to stop.
#[must_use = "an activity is scheduled when its call is awaited, or by `.start()`"]
pub struct ActivityCall<T> {
    call: Call<T>,
}

enum Call<T> {
    Planned(Box<Plan>),
    Started(ActivityFuture<T>),
}

struct Plan {
    shared: Arc<Shared>,
    activity_type: ActivityType,
    activity_id: Option<String>,
    encode: Encode,
    options: ActivityOptions,
    scope: Option<usize>,
    cancellation: CancellationType,
    summary: String,
    place: Place,
}

impl<T: DeserializeOwned> ActivityCall<T> {
    #[track_caller]
    pub(super) fn new(
        shared: &Arc<Shared>,
        scope: Option<usize>,
        activity_type: &str,
        options: ActivityOptions,
        encode: Encode,
    ) -> Self {
        let plan = Plan {
            shared: Arc::clone(shared),
            activity_type: ActivityType::from_trusted(activity_type),
            activity_id: None,
            encode,
            options,
            scope,
            cancellation: CancellationType::default(),
            summary: String::new(),
            place: Location::caller(),
        };
        Self { call: Call::Planned(Box::new(plan)) }
    }

    fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        match &mut self.call {
            Call::Planned(plan) => change(plan),
            // Only a call that was polled is started, and then it was pinned: by value it is planned.
            Call::Started(_) => {}
        }
        self
    }

    /// Longest time from a worker's start to the end of that attempt.
    pub fn start_to_close(self, timeout: Duration) -> Self {
        self.with(|plan| plan.options.start_to_close = Some(timeout))
    }

    /// Longest time from scheduling to the end of the last attempt.
    pub fn schedule_to_close(self, timeout: Duration) -> Self {
        self.with(|plan| plan.options.schedule_to_close = Some(timeout))
    }

    /// Longest time from scheduling of an attempt to a worker's start; schedule-to-close unless set. An activity that no worker
    /// takes in time is not tried again.
    pub fn schedule_to_start(self, timeout: Duration) -> Self {
        self.with(|plan| plan.options.schedule_to_start = Some(timeout))
    }

    /// Longest time from one heartbeat to the next.
    pub fn heartbeat(self, timeout: Duration) -> Self {
        self.with(|plan| plan.options.heartbeat = Some(timeout))
    }

    /// How attempts follow each other.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.with(|plan| plan.options.retry = Some(policy))
    }

    /// Most attempts, counting the first; zero means no limit. The rest of the retry policy stays.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|plan| plan.options.retry.get_or_insert_default().maximum_attempts = attempts)
    }

    /// The queue to offer it in, instead of the workflow's own.
    pub fn task_queue(self, name: impl Into<String>) -> Self {
        self.with(|plan| plan.options.task_queue = Some(name.into()))
    }

    /// Its id, unique among the run's open activities, instead of the next number.
    pub fn activity_id(self, id: impl Into<String>) -> Self {
        self.with(|plan| plan.activity_id = Some(id.into()))
    }

    /// What becomes of it when the call or its scope is canceled; [`CancellationType::WaitForCompletion`] unless set.
    pub fn cancellation(self, cancellation: CancellationType) -> Self {
        self.with(|plan| plan.cancellation = cancellation)
    }

    /// A line for people that says what it is for; shown by describe and in the history. At most 400 bytes.
    pub fn summary(self, summary: impl Into<String>) -> Self {
        self.with(|plan| plan.summary = summary.into())
    }

    /// Schedules the activity at once and returns the future of its result.
    pub fn start(self) -> ActivityFuture<T> {
        match self.call {
            Call::Planned(plan) => plan.start(),
            Call::Started(future) => future,
        }
    }
}

impl Plan {
    fn start<T>(self: Box<Self>) -> ActivityFuture<T> {
        let Plan { shared, activity_type, activity_id, encode, options, scope, cancellation, summary, place } = *self;
        let issued = issue(&shared, place, &activity_type, activity_id.as_deref(), encode, options, summary);
        if let Some((handle, _)) = &issued
            && let Some(mut state) = shared.lock_as_code()
        {
            state.join_scope(scope, *handle, cancellation);
        }
        let (handle, activity_id) = match issued {
            Some((handle, id)) => (Some(handle), id),
            None => (None, ActivityId::from_trusted(activity_id.unwrap_or_default())),
        };
        ActivityFuture { shared, activity_type, activity_id, handle, scope, cancellation, result: PhantomData }
    }
}

fn issue(
    shared: &Shared,
    place: Place,
    activity_type: &ActivityType,
    activity_id: Option<&str>,
    encode: Encode,
    options: ActivityOptions,
    summary: String,
) -> Option<(Handle, ActivityId)> {
    let is_wanted = shared.lock_as_code()?.replayer.wants_values();
    // Arguments are not compared with history, so they are encoded only for the server. Without the lock: it is the user's code.
    let input = if is_wanted { encode() } else { Ok(Vec::new()) };
    let mut state = shared.lock_as_code()?;
    let checked = Names::check(activity_type, activity_id, options.task_queue.as_deref());
    let (names, input) = match (checked, input) {
        (Ok(names), Ok(input)) => (names, input),
        (checked, input) => {
            let wrong = [checked.err(), input.err().map(|error| error.to_string())];
            let wrong = wrong.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let message = format!("the call of activity {activity_type} cannot be sent: {wrong}");
            state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidCall", message);
            return None;
        }
    };
    state.progress += 1;
    let handle = state.replayer.at(place, |replayer| {
        replayer.schedule_activity(names.activity_id, activity_type.clone(), |activity_id, activity_type| {
            ScheduleActivity {
                activity_id,
                activity_type,
                task_queue: names.task_queue,
                input,
                timeouts: timeouts(&options),
                retry_policy: options.retry,
                summary,
            }
        })
    });
    let id = state.replayer.activity_id(handle).cloned()?;
    Some((handle, id))
}

/// The names that the code chose for a call.
struct Names {
    activity_id: Option<ActivityId>,
    task_queue: Option<TaskQueueName>,
}

impl Names {
    /// `Err` names the fields at fault.
    fn check(
        activity_type: &ActivityType,
        activity_id: Option<&str>,
        task_queue: Option<&str>,
    ) -> Result<Self, String> {
        let type_error = ActivityType::parse(activity_type.as_str()).err();
        let activity_id = activity_id.map(ActivityId::parse).transpose();
        let task_queue = task_queue.map(TaskQueueName::parse).transpose();
        match (type_error, activity_id, task_queue) {
            (None, Ok(activity_id), Ok(task_queue)) => Ok(Self { activity_id, task_queue }),
            (type_error, activity_id, task_queue) => {
                let wrong = [
                    type_error.map(|error| format!("activity_type {error}")),
                    activity_id.err().map(|error| format!("activity_id {error}")),
                    task_queue.err().map(|error| format!("task_queue {error}")),
                ];
                Err(wrong.into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The timeouts that options mean.
pub(crate) fn timeouts(options: &ActivityOptions) -> ActivityTimeouts {
    let unlimited = options.start_to_close.is_none() && options.schedule_to_close.is_none();
    ActivityTimeouts {
        schedule_to_close: options.schedule_to_close,
        schedule_to_start: options.schedule_to_start,
        start_to_close: if unlimited { Some(START_TO_CLOSE_DEFAULT) } else { options.start_to_close },
        heartbeat: options.heartbeat,
    }
}

impl<T: DeserializeOwned> Future for ActivityCall<T> {
    type Output = Result<T, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Call::Planned(plan) = &mut self.call {
            let unused: Encode = Box::new(|| Ok(Vec::new()));
            let taken = Plan {
                shared: Arc::clone(&plan.shared),
                activity_type: plan.activity_type.clone(),
                activity_id: plan.activity_id.take(),
                encode: std::mem::replace(&mut plan.encode, unused),
                options: std::mem::take(&mut plan.options),
                scope: plan.scope,
                cancellation: plan.cancellation,
                summary: std::mem::take(&mut plan.summary),
                place: plan.place,
            };
            self.call = Call::Started(Box::new(taken).start());
        }
        match &mut self.call {
            Call::Started(future) => Pin::new(future).poll(cx),
            Call::Planned(_) => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for ActivityCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let activity_type = match &self.call {
            Call::Planned(plan) => &plan.activity_type,
            Call::Started(future) => &future.activity_type,
        };
        f.debug_struct("ActivityCall").field("activity_type", activity_type).finish_non_exhaustive()
    }
}

/// The result of a scheduled activity. Dropping it before it is ready asks the activity to stop, recorded;
/// [`ActivityFuture::detach`] lets it go on.
#[must_use = "an activity whose future is dropped is asked to stop: await it, or detach it"]
pub struct ActivityFuture<T> {
    shared: Arc<Shared>,
    activity_type: ActivityType,
    activity_id: ActivityId,
    /// `None` once the result was taken, or if it was made outside of the workflow's code.
    handle: Option<Handle>,
    scope: Option<usize>,
    cancellation: CancellationType,
    result: PhantomData<fn() -> T>,
}

impl<T> ActivityFuture<T> {
    /// Its id within the run.
    pub fn activity_id(&self) -> &str {
        self.activity_id.as_str()
    }

    /// Cancels the call as its [`CancellationType`] says. By default that asks the activity to stop, and goes on waiting: it
    /// resolves with a failure for which [`ActivityFailure::is_canceled`] holds, or with what the activity made of the request.
    /// A repeat does nothing.
    pub fn cancel(&mut self) {
        let Some(handle) = self.handle else { return };
        let Some(mut state) = self.shared.lock_as_code() else { return };
        state.progress += 1;
        let waker = state.cancel_member(handle, self.cancellation);
        drop(state);
        // It may be resolved at once: one that was scheduled in this workflow task is withdrawn.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets the activity go on without anybody who waits for it. Its result is recorded all the same.
    pub fn detach(mut self) {
        let Some(handle) = self.handle.take() else { return };
        if let Some(mut state) = self.shared.lock_as_code() {
            state.take_handle_waker(handle);
            state.leave_scope(self.scope, handle);
            state.replayer.detach(handle);
        }
    }
}

impl<T: DeserializeOwned> ActivityFuture<T> {
    fn result(&self, state: &mut State, resolved: Resolved) -> Poll<Result<T, ActivityFailure>> {
        match resolved.resolution {
            Resolution::Completed { result } => match data::decode_result(result.as_ref()) {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => {
                    // Not an error of the activity's: a deploy with the right type heals the run.
                    let message =
                        format!("activity {} returned something else than expected: {error}", self.activity_type);
                    state.fail_task(WorkflowTaskFailureCause::WorkerFailure, "DataError", message);
                    Poll::Pending
                }
            },
            Resolution::Failed { failure, retry_state } => Poll::Ready(Err(ActivityFailure::new(
                self.activity_type.clone(),
                self.activity_id.clone(),
                resolved.event_id,
                resolved.attempt,
                retry_state,
                *failure,
            ))),
            Resolution::Fired => Poll::Pending,
        }
    }
}

impl<T: DeserializeOwned> Future for ActivityFuture<T> {
    type Output = Result<T, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        let Some(resolved) = state.replayer.take_resolution(handle) else {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        };
        state.take_handle_waker(handle);
        state.leave_scope(self.scope, handle);
        state.progress += 1;
        self.handle = None;
        self.result(&mut state, resolved)
    }
}

impl<T> Drop for ActivityFuture<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle
            && let Some(mut state) = self.shared.lock_as_code()
        {
            state.take_handle_waker(handle);
            state.leave_scope(self.scope, handle);
            state.replayer.abandon(handle);
        }
    }
}

impl<T> fmt::Debug for ActivityFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityFuture")
            .field("activity_type", &self.activity_type)
            .field("activity_id", &self.activity_id)
            .finish_non_exhaustive()
    }
}
