//! Why something went wrong, in a form that survives the wire: type name, message and chain of causes.

use std::time::Duration;

use crate::ids::{ActivityId, ActivityType, EventId, Namespace, RunId, WorkflowId, WorkflowType};
use crate::limits;
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
    /// A child workflow did not complete, or could not be started; the cause says why. Made where a workflow sees its child's failure.
    ChildWorkflow {
        /// The child's namespace.
        namespace: Namespace,
        /// Its workflow id.
        workflow_id: WorkflowId,
        /// The run that it began with; `None` if it did not begin.
        run_id: Option<RunId>,
        /// Its type.
        workflow_type: WorkflowType,
        /// The parent's `StartChildInitiated`.
        initiated_event_id: EventId,
        /// The parent's `ChildStarted`; [`EventId::NONE`] if it did not begin.
        started_event_id: EventId,
        /// Why there was no further run.
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

    /// The failure within [`limits::FAILURE_CAUSES_MAX`] and [`limits::FAILURE_BYTES_MAX`]: causes that are too deep are
    /// dropped, then details, and long messages are cut. An error report must never fail because it is long.
    pub fn within_limits(mut self) -> Self {
        self.drop_causes_below(limits::FAILURE_CAUSES_MAX);
        if self.size() > limits::FAILURE_BYTES_MAX {
            let share = limits::FAILURE_BYTES_MAX / (limits::FAILURE_CAUSES_MAX + 1) / 2 - 16;
            let mut link = Some(&mut self);
            while let Some(failure) = link {
                cut(&mut failure.message, share);
                match &mut failure.kind {
                    FailureKind::Application { type_name, details, .. } => {
                        cut(type_name, share);
                        *details = None;
                    }
                    FailureKind::Timeout { last_heartbeat_details: details, .. }
                    | FailureKind::Canceled { details } => *details = None,
                    FailureKind::Terminated
                    | FailureKind::WorkerLost
                    | FailureKind::Server { .. }
                    | FailureKind::Activity { .. }
                    | FailureKind::ChildWorkflow { .. } => {}
                }
                link = failure.cause.as_deref_mut();
            }
        }
        self
    }

    fn drop_causes_below(&mut self, depth: usize) {
        let mut link = self;
        for _ in 0..depth {
            match link.cause.as_deref_mut() {
                Some(cause) => link = cause,
                None => return,
            }
        }
        link.cause = None;
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
                    FailureKind::ChildWorkflow { namespace, workflow_id, workflow_type, .. } => {
                        namespace.as_str().len() + workflow_id.as_str().len() + workflow_type.as_str().len() + 16
                    }
                    FailureKind::Terminated | FailureKind::WorkerLost | FailureKind::Server { .. } => 0,
                };
                failure.message.len() + kind + 16
            })
            .sum()
    }
}

/// Cuts `text` to about `limit` bytes, at a character's edge, and says so in it.
pub(crate) fn cut(text: &mut String, limit: usize) {
    const MARK: &str = " … (cut)";
    if text.len() <= limit {
        return;
    }
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_and_long_failure_is_cut_to_the_limits_and_keeps_its_head() {
        let mut failure = Failure::application("Root", "é".repeat(limits::FAILURE_BYTES_MAX));
        for depth in 0..50 {
            let outer = Failure::application("Outer", format!("{depth} {}", "x".repeat(20_000)));
            failure = Failure { cause: Some(Box::new(failure)), ..outer };
        }
        let cut = failure.within_limits();
        assert_eq!(cut.chain().count(), limits::FAILURE_CAUSES_MAX + 1);
        assert!(cut.size() <= limits::FAILURE_BYTES_MAX, "{}", cut.size());
        assert!(cut.message.starts_with("49 xxx") && cut.message.ends_with("(cut)"));
    }

    #[test]
    fn a_failure_within_the_limits_is_untouched() {
        let failure = Failure { cause: Some(Box::new(Failure::worker_lost("gone"))), ..Failure::application("A", "b") };
        assert_eq!(failure.clone().within_limits(), failure);
    }
}
