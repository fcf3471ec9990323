//! A context without a worker, for unit tests of activities.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::event::ActivityTimeouts;
use engine_core::failure::Failure;
use engine_core::ids::{ActivityId, ActivityType, Namespace, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_core::time::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use super::heartbeat::HeartbeatSlot;
use super::state::{OwnQueue, SharedState};
use super::{ActivityAttempt, ActivityContext, CancelReason, Stop};
use crate::data;

/// Builds an [`ActivityContext`] for a unit test. Made by [`ActivityContext::for_test`].
pub struct TestContext {
    attempt: ActivityAttempt,
    state: SharedState,
    stop: Stop,
    heartbeats: Arc<Mutex<Vec<Payload>>>,
}

impl TestContext {
    pub(super) fn new() -> Self {
        let started_at = Timestamp::from_micros(1_700_000_000_000_000);
        Self {
            attempt: ActivityAttempt {
                namespace: Namespace::from_trusted("test"),
                workflow_id: Some(WorkflowId::from_trusted("test-workflow")),
                run_id: RunId::from_parts(started_at, [1; 10]),
                workflow_type: Some(WorkflowType::from_trusted("test_workflow")),
                activity_id: ActivityId::from_trusted("1"),
                activity_type: ActivityType::from_trusted("test_activity"),
                task_queue: TaskQueueName::from_trusted("test"),
                attempt: 1,
                scheduled_at: started_at,
                started_at,
                deadline: started_at + Duration::from_secs(600),
                timeouts: ActivityTimeouts {
                    start_to_close: Some(Duration::from_secs(600)),
                    ..ActivityTimeouts::default()
                },
                retry_policy: RetryPolicy::default(),
                last_failure: None,
                token: Bytes::from_static(b"test"),
                heartbeat_details: None,
            },
            state: SharedState::default(),
            stop: Stop::default(),
            heartbeats: Arc::default(),
        }
    }

    /// Adds what `ctx.state::<T>()` finds.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(Arc::new(value));
        self
    }

    /// What `ctx.own_queue()` answers.
    #[must_use]
    pub fn own_queue(self, queue: impl Into<String>) -> Self {
        self.state(OwnQueue(queue.into()))
    }

    /// Which try this is, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt.attempt = attempt;
        self
    }

    /// The activity's id.
    ///
    /// # Panics
    /// If it is not a valid id: empty, over 1000 bytes, or with control characters.
    #[must_use]
    pub fn activity_id(mut self, id: &str) -> Self {
        self.attempt.activity_id = ActivityId::parse(id).expect("a valid activity id");
        self
    }

    /// What `ctx.heartbeat_details()` finds.
    ///
    /// # Panics
    /// If the value cannot be encoded.
    #[must_use]
    pub fn heartbeat_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        self.attempt.heartbeat_details = Some(data::encode(details).expect("details that can be encoded"));
        self
    }

    /// Why the attempt before failed.
    #[must_use]
    pub fn last_failure(mut self, failure: Failure) -> Self {
        self.attempt.last_failure = Some(failure);
        self
    }

    /// A function that asks the activity to stop.
    pub fn stopper(&self) -> impl Fn(CancelReason) + Send + Sync + 'static {
        let stop = self.stop.clone();
        move |reason| stop.ask(reason)
    }

    /// A function that tells the details of all heartbeats so far. Here none is left out.
    ///
    /// # Panics
    /// The function panics if details are not JSON, which the context's own encoding rules out.
    pub fn heartbeats(&self) -> impl Fn() -> Vec<serde_json::Value> + Send + Sync + 'static {
        let heartbeats = Arc::clone(&self.heartbeats);
        move || {
            let seen = heartbeats.lock();
            seen.iter().map(|details| data::decode(details).expect("encoded by this context")).collect()
        }
    }

    /// The context.
    pub fn build(self) -> ActivityContext {
        let seen = self.heartbeats;
        let heartbeat = Arc::new_cyclic(|slot: &std::sync::Weak<HeartbeatSlot>| {
            let slot = slot.clone();
            HeartbeatSlot::new(Box::new(move || {
                let details = slot.upgrade().and_then(|slot| slot.take()).flatten();
                seen.lock().extend(details);
            }))
        });
        ActivityContext::new(self.attempt, Arc::new(self.state), self.stop, heartbeat)
    }
}

impl fmt::Debug for TestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestContext").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
