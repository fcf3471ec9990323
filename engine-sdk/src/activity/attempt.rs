//! What is known of an attempt.

use std::fmt;

use bytes::Bytes;
use engine_core::event::ActivityTimeouts;
use engine_core::failure::Failure;
use engine_core::ids::{ActivityId, ActivityType, Namespace, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_core::time::Timestamp;

/// What is known of one attempt of an activity.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActivityAttempt {
    /// Namespace of the run.
    pub namespace: Namespace,
    /// The workflow whose run asked for the activity; `None` if it is a standalone one.
    pub workflow_id: Option<WorkflowId>,
    /// The run that asked for the activity; of a standalone one, its own.
    pub run_id: RunId,
    /// The workflow's type; `None` if the activity is a standalone one.
    pub workflow_type: Option<WorkflowType>,
    /// The activity's id: within the run, or of a standalone one the user's key.
    pub activity_id: ActivityId,
    /// The code that it runs.
    pub activity_type: ActivityType,
    /// The queue that it came from: the worker's own one, if that is where it was offered (`Worker::own_queue`).
    pub task_queue: TaskQueueName,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When the activity was scheduled, by the server's clock.
    pub scheduled_at: Timestamp,
    /// When this attempt began, by the server's clock.
    pub started_at: Timestamp,
    /// When this attempt is over at the latest, by the server's clock.
    pub deadline: Timestamp,
    /// The activity's timeouts.
    pub timeouts: ActivityTimeouts,
    /// The activity's retry policy.
    pub retry_policy: RetryPolicy,
    /// Why the attempt before failed.
    pub last_failure: Option<Failure>,
    /// Names this attempt in `Client::complete_activity` and its siblings. [`ActivityAttempt::token_text`] is for systems that
    /// keep text.
    pub token: Bytes,
    /// Details of the last heartbeat of an earlier attempt.
    pub(crate) heartbeat_details: Option<Payload>,
}

impl ActivityAttempt {
    /// The same for every attempt of this activity, and for no other activity.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.run_id, self.activity_id)
    }

    /// The token in hexadecimal, for systems that keep text.
    pub fn token_text(&self) -> String {
        use fmt::Write;
        self.token.iter().fold(String::with_capacity(self.token.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes any text");
            text
        })
    }
}

/// Why an attempt should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The workflow asked. A result still counts.
    Requested,
    /// The run closed, or the attempt was given up by the server: its result is no longer wanted.
    NotWanted,
    /// An operator paused the activity. A result still counts; an attempt that stops as canceled does not count, and another follows
    /// once the activity is unpaused.
    Paused,
    /// The attempt's deadline has passed: its result comes too late.
    DeadlinePassed,
    /// The worker shuts down, and the time it had to finish its activities is over.
    WorkerShutdown,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CancelReason::Requested => "the workflow asked the activity to stop",
            CancelReason::NotWanted => "the activity's result is no longer wanted",
            CancelReason::Paused => "an operator paused the activity",
            CancelReason::DeadlinePassed => "the attempt's deadline has passed",
            CancelReason::WorkerShutdown => "the worker shuts down",
        })
    }
}
