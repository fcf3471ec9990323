//! Why something went wrong, in a form that survives the wire: type name, message and chain of causes.

use std::time::Duration;

use crate::ids::{ActivityId, ActivityType, EventId};
use crate::payload::Payload;

/// A recorded error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// Who made it and what it means.
    pub kind: FailureKind,
    /// What caused it. Chains deeper than [`crate::limits::FAILURE_CAUSES_MAX`] are cut when they enter the engine.
    pub cause: Option<Box<Failure>>,
}

/// Who made a [`Failure`] and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The user's code returned an error or panicked.
    Application {
        /// The error's type name, matched against `RetryPolicy::non_retryable_types`.
        type_name: String,
        /// Whether the code asked never to be retried.
        non_retryable: bool,
        /// A value that the code attached.
        details: Option<Payload>,
        /// When set, the next attempt comes after this time instead of the policy's back-off.
        next_retry_delay: Option<Duration>,
    },
    /// A deadline passed.
    Timeout {
        /// Which one.
        timeout: TimeoutKind,
        /// The last heartbeat's details, if there were any.
        last_heartbeat_details: Option<Payload>,
    },
    /// It was asked to stop and did.
    Canceled {
        /// A value that the code attached.
        details: Option<Payload>,
    },
    /// It was stopped unasked.
    Terminated,
    /// The worker that ran it vanished: its stream broke and did not come back within the grace, or the server
    /// restarted and the worker did not claim the task.
    WorkerLost,
    /// The engine refused it, for instance for a limit.
    Server {
        /// Whether a retry would fail the same way.
        non_retryable: bool,
    },
    /// An activity did not complete; the cause says why. Made where a workflow sees an activity's failure.
    Activity {
        /// The activity's scheduled event.
        scheduled_event_id: EventId,
        /// Its id.
        activity_id: ActivityId,
        /// Its type.
        activity_type: ActivityType,
        /// Why there was no further attempt.
        retry_state: RetryState,
    },
}

/// Which of the deadlines passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeoutKind {
    /// From the worker's start to the end of one attempt.
    StartToClose,
    /// From scheduling to a worker's start.
    ScheduleToStart,
    /// From scheduling to the end of the last attempt.
    ScheduleToClose,
    /// From one heartbeat to the next.
    Heartbeat,
}

/// Why there was, or was not, another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryState {
    /// Another attempt follows.
    InProgress,
    /// The failure was marked as non-retryable, by flag or by type.
    NonRetryableFailure,
    /// The next attempt would have begun after the schedule-to-close, run or execution deadline.
    Timeout,
    /// `max_attempts` were used up.
    MaximumAttemptsReached,
    /// There is no retry policy.
    RetryPolicyNotSet,
    /// Cancellation was requested.
    CancelRequested,
}

impl Failure {
    /// An application failure that the retry policy may retry.
    pub fn application(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: FailureKind::Application {
                type_name: type_name.into(),
                non_retryable: false,
                details: None,
                next_retry_delay: None,
            },
            cause: None,
        }
    }

    /// A failure made by the engine itself.
    pub fn server(message: impl Into<String>, non_retryable: bool) -> Self {
        Self { message: message.into(), kind: FailureKind::Server { non_retryable }, cause: None }
    }

    /// A passed deadline.
    pub fn timeout(timeout: TimeoutKind, last_heartbeat_details: Option<Payload>) -> Self {
        let name = match timeout {
            TimeoutKind::StartToClose => "start-to-close",
            TimeoutKind::ScheduleToStart => "schedule-to-start",
            TimeoutKind::ScheduleToClose => "schedule-to-close",
            TimeoutKind::Heartbeat => "heartbeat",
        };
        Self {
            message: format!("{name} timeout"),
            kind: FailureKind::Timeout { timeout, last_heartbeat_details },
            cause: None,
        }
    }

    /// The worker vanished.
    pub fn worker_lost(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: FailureKind::WorkerLost, cause: None }
    }

    /// The chain from this failure to its root cause.
    pub fn chain(&self) -> impl Iterator<Item = &Failure> {
        std::iter::successors(Some(self), |failure| failure.cause.as_deref())
    }

    /// Its size for the limits, in bytes.
    pub fn size(&self) -> usize {
        self.chain()
            .map(|failure| {
                let kind = match &failure.kind {
                    FailureKind::Application { type_name, details, .. } => {
                        type_name.len() + details.as_ref().map_or(0, Payload::size)
                    }
                    FailureKind::Timeout { last_heartbeat_details: details, .. }
                    | FailureKind::Canceled { details } => details.as_ref().map_or(0, Payload::size),
                    FailureKind::Activity { activity_id, activity_type, .. } => {
                        activity_id.as_str().len() + activity_type.as_str().len()
                    }
                    FailureKind::Terminated | FailureKind::WorkerLost | FailureKind::Server { .. } => 0,
                };
                failure.message.len() + kind + 16
            })
            .sum()
    }
}
