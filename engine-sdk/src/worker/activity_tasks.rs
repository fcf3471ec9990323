//! Activities that run: their code, their deadlines, their heartbeats, and their wish to stop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::ActivityTimeouts;
use engine_core::failure::{Failure, FailureKind};
use engine_core::ids::{ActivityId, ActivityType, Namespace, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::limits;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::{
    ConvertError, activity_timeouts_from_proto, failure_from_proto, failure_to_proto, optional_id, payload_from_proto,
    payload_to_proto, payloads_from_proto, required, required_id, retry_policy_from_proto, run_id as parse_run_id,
    timestamp_from_proto,
};
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Instrument;

use super::event::Event;
use super::registry::ErasedActivity;
use crate::activity::{
    ActivityAttempt, ActivityContext, CancelReason, HeartbeatSlot, SharedState, Stop, throttle_interval,
};

/// Names a running attempt within this process.
pub(super) type Key = u64;

/// What an attempt's code came to. The outer error is a panic's message.
pub(super) type CodeResult = Result<Result<Payload, Failure>, String>;

/// Most attempts whose tokens are remembered after they were detached.
const DETACHED_MAX: usize = 10_000;

/// All attempts that run in this worker.
pub(super) struct ActivityTasks {
    state: Arc<SharedState>,
    namespace: Namespace,
    events: mpsc::UnboundedSender<Event>,
    running: BTreeMap<Key, Running>,
    by_token: HashMap<Vec<u8>, Key>,
    timers: BTreeSet<(Instant, Key, Timer)>,
    /// Attempts with a heartbeat to send as soon as a message goes out.
    due: BTreeSet<Key>,
    /// Attempts that go on elsewhere, until their deadline: this worker answers for them while it lives.
    detached: BTreeMap<Vec<u8>, Instant>,
    last_key: Key,
    #[cfg(feature = "testing")]
    hooks: Option<super::hooks::Hooks>,
}

struct Running {
    token: Vec<u8>,
    stop: Stop,
    heartbeat: Arc<HeartbeatSlot>,
    beat_every: Duration,
    beat_sent: Option<Instant>,
    deadline: Instant,
    /// Unset until the code was spawned.
    code: Option<AbortHandle>,
    ctx: ActivityContext,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Deadline,
    Heartbeat,
}

/// What is to be told of an attempt that is over.
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum Finished {
    /// Its result, after the details that it had not sent.
    Result { token: Vec<u8>, outcome: Outcome, heartbeat: Option<v1::ActivityHeartbeat> },
    /// Nothing: nobody wants its result.
    Unwanted,
}

impl ActivityTasks {
    pub(super) fn new(namespace: Namespace, state: SharedState, events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            state: Arc::new(state),
            namespace,
            events,
            running: BTreeMap::new(),
            by_token: HashMap::new(),
            timers: BTreeSet::new(),
            due: BTreeSet::new(),
            detached: BTreeMap::new(),
            last_key: 0,
            #[cfg(feature = "testing")]
            hooks: None,
        }
    }

    /// With the hooks of a test engine.
    #[cfg(feature = "testing")]
    pub(super) fn set_hooks(&mut self, hooks: Option<super::hooks::Hooks>) {
        self.hooks = hooks;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether an attempt runs already: its task was sent twice.
    pub(super) fn has(&self, token: &[u8]) -> bool {
        self.by_token.contains_key(token)
    }

    /// Tokens of all attempts that this worker answers for.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.running.values().map(|running| &running.token).chain(self.detached.keys())
    }

    /// Tokens of attempts that go on elsewhere.
    pub(super) fn detached(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.detached.keys()
    }

    /// Runs an attempt. Its end comes as [`Event::ActivityEnded`].
    pub(super) fn start(&mut self, code: &ErasedActivity, task: v1::ActivityTask) -> Result<(), ConvertError> {
        let token = task.token.clone();
        let (attempt, input) = attempt_of(&self.namespace, task)?;
        self.last_key += 1;
        let key = self.last_key;
        // By the server's clock only in length: the worker's clock may be off.
        let deadline = self.deadline(&attempt);
        let events = self.events.clone();
        #[cfg(feature = "testing")]
        let hooks = self.hooks.clone().map(|hooks| (hooks, token.clone()));
        let heartbeat = Arc::new(HeartbeatSlot::new(Box::new(move || {
            #[cfg(feature = "testing")]
            if let Some((hooks, token)) = &hooks {
                hooks.heartbeat_begins(token);
            }
            // Nobody listens once the worker is gone, and then nobody needs to.
            let _ = events.send(Event::Heartbeat(key));
        })));
        let stop = Stop::default();
        let beat_every = self.beat_every(&attempt);
        let span = tracing::info_span!(
            "activity",
            activity_type = %attempt.activity_type,
            activity_id = %attempt.activity_id,
            workflow_id = attempt.workflow_id.as_ref().map(WorkflowId::as_str),
            run_id = %attempt.run_id,
            attempt = attempt.attempt,
        );
        let ctx = ActivityContext::new(attempt, self.shared_state(), stop.clone(), Arc::clone(&heartbeat));
        let events = self.events.clone();
        let (code, code_ctx) = (Arc::clone(code), ctx.clone());
        let run = async move {
            // The code may panic when it is called as well as when it is polled.
            let result = AssertUnwindSafe(async move { code(code_ctx, input).await }).catch_unwind().await;
            let result = result.map_err(|panic| panic_message(panic.as_ref()));
            let _ = events.send(Event::ActivityEnded(key, result));
        };
        let handle = tokio::spawn(run.instrument(span)).abort_handle();
        self.timers.insert((deadline, key, Timer::Deadline));
        self.by_token.insert(token.clone(), key);
        let code = Some(handle);
        self.running.insert(key, Running { token, stop, heartbeat, beat_every, beat_sent: None, deadline, code, ctx });
        Ok(())
    }

    #[cfg(feature = "testing")]
    fn beat_every(&self, attempt: &ActivityAttempt) -> Duration {
        // A clock that skips has no time in which to wait.
        if self.hooks.is_some() { Duration::ZERO } else { throttle_interval(attempt.timeouts.heartbeat) }
    }

    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, reason = "a test engine's hooks decide it")]
    fn beat_every(&self, attempt: &ActivityAttempt) -> Duration {
        throttle_interval(attempt.timeouts.heartbeat)
    }

    fn shared_state(&self) -> Arc<SharedState> {
        #[cfg(feature = "testing")]
        if let Some(hooks) = &self.hooks {
            return hooks.host.state();
        }
        Arc::clone(&self.state)
    }

    /// How long the worker lets an attempt run before it asks it to stop.
    fn deadline(&self, attempt: &ActivityAttempt) -> Instant {
        let most = attempt.deadline.since(attempt.started_at).min(limits::DURATION_MAX);
        #[cfg(feature = "testing")]
        if self.hooks.is_some() {
            // The server's clock skips, and the server says when the attempt is over.
            return Instant::now() + limits::DURATION_MAX;
        }
        Instant::now() + most
    }

    /// The attempt's code came to its end. `None` if the attempt is not known any more.
    pub(super) fn end(&mut self, key: Key, result: CodeResult) -> Option<Finished> {
        let running = self.forget(key)?;
        let token = running.token;
        let reason = running.stop.reason();
        let is_detached = running.ctx.goes_on_elsewhere() && matches!(result, Ok(Err(_)));
        if is_detached {
            self.remember_detached(token.clone(), running.deadline);
            let outcome = Outcome::ActivityDetached(v1::ActivityTaskDetachment { token: token.clone() });
            let heartbeat = last_details(&running.heartbeat, &token);
            return Some(Finished::Result { token, outcome, heartbeat });
        }
        if reason == Some(CancelReason::NotWanted) {
            return Some(Finished::Unwanted);
        }
        let failure = match result {
            Ok(Ok(payload)) => match oversize(&payload) {
                None => {
                    let result = Some(payload_to_proto(&payload));
                    let outcome =
                        Outcome::ActivityCompleted(v1::ActivityTaskCompletion { token: token.clone(), result });
                    return Some(Finished::Result { token, outcome, heartbeat: None });
                }
                Some(failure) => failure,
            },
            Ok(Err(failure)) => failure,
            Err(message) => Failure::application("panic", format!("the activity panicked: {message}")),
        };
        let heartbeat = last_details(&running.heartbeat, &token);
        let outcome = match (failure.kind.clone(), reason) {
            (FailureKind::Canceled { details }, Some(CancelReason::Requested)) => {
                let details = details.as_ref().map(payload_to_proto);
                Outcome::ActivityCanceled(v1::ActivityTaskCancellation { token: token.clone(), details })
            }
            (FailureKind::Canceled { .. }, Some(CancelReason::WorkerShutdown)) => worker_left(&token),
            _ => failed(&token, &failure),
        };
        Some(Finished::Result { token, outcome, heartbeat })
    }

    /// Notes that a heartbeat waits; it is sent at once or when the last one is old enough.
    pub(super) fn note_heartbeat(&mut self, key: Key, now: Instant) {
        let Some(running) = self.running.get(&key) else { return };
        match running.beat_sent.map(|sent| sent + running.beat_every) {
            Some(next) if next > now => {
                self.timers.insert((next, key, Timer::Heartbeat));
            }
            Some(_) | None => {
                self.due.insert(key);
            }
        }
    }

    pub(super) fn has_due_heartbeats(&self) -> bool {
        !self.due.is_empty()
    }

    /// The heartbeats to send, with the latest details of each attempt.
    pub(super) fn take_due_heartbeats(&mut self, now: Instant) -> Vec<v1::ActivityHeartbeat> {
        let due = std::mem::take(&mut self.due);
        due.into_iter()
            .filter_map(|key| {
                let running = self.running.get_mut(&key)?;
                let details = running.heartbeat.take()?;
                running.beat_sent = Some(now);
                let details = details.as_ref().map(payload_to_proto);
                Some(v1::ActivityHeartbeat { token: running.token.clone(), details })
            })
            .collect()
    }

    /// When [`ActivityTasks::pass_timers`] has something to do.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Does what is due: asks attempts whose deadline has passed to stop, and lets heartbeats out.
    pub(super) fn pass_timers(&mut self, now: Instant) {
        while let Some((at, key, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Heartbeat => {
                    self.due.insert(key);
                }
                Timer::Deadline => {
                    if let Some(running) = self.running.get(&key) {
                        running.stop.ask(CancelReason::DeadlinePassed);
                    }
                }
            }
        }
        self.detached.retain(|_, deadline| *deadline > now);
    }

    /// The server asks an attempt to stop.
    pub(super) fn stop(&mut self, token: &[u8], reason: CancelReason) {
        if reason == CancelReason::NotWanted {
            self.detached.remove(token);
        }
        if let Some(running) = self.by_token.get(token).and_then(|key| self.running.get(key)) {
            running.stop.ask(reason);
        }
        #[cfg(feature = "testing")]
        if let Some(hooks) = &self.hooks {
            hooks.stop_arrived(token);
        }
    }

    /// The worker asks all attempts to stop.
    pub(super) fn stop_all(&self, reason: CancelReason) {
        self.running.values().for_each(|running| running.stop.ask(reason));
    }

    /// Drops the code of all attempts where it stands: what is to be told of each.
    pub(super) fn abort_all(&mut self) -> Vec<Finished> {
        let keys: Vec<Key> = self.running.keys().copied().collect();
        keys.into_iter()
            .filter_map(|key| self.forget(key))
            .map(|running| {
                let heartbeat = last_details(&running.heartbeat, &running.token);
                Finished::Result { outcome: worker_left(&running.token), token: running.token.clone(), heartbeat }
            })
            .collect()
    }

    fn forget(&mut self, key: Key) -> Option<Running> {
        let running = self.running.remove(&key)?;
        self.by_token.remove(&running.token);
        self.timers.remove(&(running.deadline, key, Timer::Deadline));
        self.due.remove(&key);
        if let Some(sent) = running.beat_sent {
            self.timers.remove(&(sent + running.beat_every, key, Timer::Heartbeat));
        }
        if let Some(code) = &running.code {
            code.abort();
        }
        Some(running)
    }

    fn remember_detached(&mut self, token: Vec<u8>, deadline: Instant) {
        if self.detached.len() >= DETACHED_MAX {
            tracing::warn!(
                limit = DETACHED_MAX,
                "too many activities go on elsewhere: one is no longer kept through a restart of the server"
            );
            self.detached.pop_first();
        }
        self.detached.insert(token, deadline);
    }
}

impl Drop for ActivityTasks {
    /// A worker that is dropped takes its activities along.
    fn drop(&mut self) {
        self.running.values().filter_map(|running| running.code.as_ref()).for_each(AbortHandle::abort);
    }
}

/// An attempt's failure that says that its worker left, which costs it no back-off.
fn worker_left(token: &[u8]) -> Outcome {
    failed(token, &Failure::worker_lost("the worker shut down before the activity ended"))
}

pub(super) fn failed(token: &[u8], failure: &Failure) -> Outcome {
    let failure = Some(failure_to_proto(failure));
    Outcome::ActivityFailed(v1::ActivityTaskFailure { token: token.to_vec(), failure })
}

/// Details that were not sent yet: the next attempt shall have them.
fn last_details(slot: &HeartbeatSlot, token: &[u8]) -> Option<v1::ActivityHeartbeat> {
    let details = slot.take()??;
    Some(v1::ActivityHeartbeat { token: token.to_vec(), details: Some(payload_to_proto(&details)) })
}

fn oversize(payload: &Payload) -> Option<Failure> {
    let limit = limits::PAYLOAD_BYTES_MAX;
    let size = payload.size();
    (size > limit).then(|| {
        let message = format!(
            "the activity's result has {size} bytes; the limit is {limit} bytes: store it elsewhere and return its place"
        );
        Failure::server(message, true)
    })
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

fn attempt_of(namespace: &Namespace, task: v1::ActivityTask) -> Result<(ActivityAttempt, Vec<Payload>), ConvertError> {
    let execution = required("execution", task.execution)?;
    let instant = |field: &str, at: Option<prost_types::Timestamp>| timestamp_from_proto(field, required(field, at)?);
    let timeouts: Option<ActivityTimeouts> = task.timeouts.map(activity_timeouts_from_proto).transpose()?;
    let started_at = instant("started_time", task.started_time)?;
    // A standalone activity has none.
    let workflow_type = optional_id("workflow_type", &task.workflow_type, WorkflowType::parse)?;
    let attempt = ActivityAttempt {
        namespace: namespace.clone(),
        workflow_id: match &workflow_type {
            Some(_) => Some(required_id("execution.workflow_id", &execution.workflow_id, WorkflowId::parse)?),
            None => None,
        },
        run_id: run_id_of(&execution.run_id)?,
        workflow_type,
        activity_id: required_id("activity_id", &task.activity_id, ActivityId::parse)?,
        activity_type: required_id("activity_type", &task.activity_type, ActivityType::parse)?,
        task_queue: required_id("task_queue", &task.task_queue, TaskQueueName::parse)?,
        attempt: task.attempt,
        scheduled_at: instant("scheduled_time", task.scheduled_time)?,
        started_at,
        deadline: task.deadline.map_or(Ok(Timestamp::MAX), |at| timestamp_from_proto("deadline", at))?,
        timeouts: timeouts.unwrap_or_default(),
        retry_policy: task.retry_policy.map(retry_policy_from_proto).transpose()?.unwrap_or_default(),
        last_failure: task.last_failure.map(failure_from_proto).transpose()?,
        token: task.token.into(),
        heartbeat_details: task.heartbeat_details.map(payload_from_proto),
    };
    Ok((attempt, payloads_from_proto(task.input)))
}

fn run_id_of(text: &str) -> Result<RunId, ConvertError> {
    parse_run_id("execution.run_id", text)
}
