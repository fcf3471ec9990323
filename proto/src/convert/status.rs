//! Where things stand and why they ended: the closed lists.

use engine_core::event::{CloseStatus, WorkflowTaskFailureCause};
use engine_core::failure::{RetryState, TimeoutKind};

use super::ConvertError;
use super::field::specified;
use crate::v1;

/// Writes both directions of a list from one table; each direction is checked for completeness by its `match`.
macro_rules! list {
    ($(#[$to_doc:meta])* $to:ident, $(#[$from_doc:meta])* $from:ident, $core:ident <-> $proto:ident { $($name:ident = $message:ident),* $(,)? }) => {
        $(#[$to_doc])*
        pub fn $to(value: $core) -> v1::$proto {
            match value {
                $($core::$name => v1::$proto::$message,)*
            }
        }

        $(#[$from_doc])*
        pub fn $from(field: &str, number: i32) -> Result<$core, ConvertError> {
            match specified::<v1::$proto>(field, number)? {
                v1::$proto::Unspecified => Err(ConvertError::new(field, "must be set")),
                $(v1::$proto::$message => Ok($core::$name),)*
            }
        }
    };
}

list! {
    /// A timeout kind as an enum value.
    timeout_kind_to_proto,
    /// A timeout kind from an enum number.
    timeout_kind_from_proto,
    TimeoutKind <-> TimeoutKind {
        StartToClose = StartToClose,
        ScheduleToStart = ScheduleToStart,
        ScheduleToClose = ScheduleToClose,
        Heartbeat = Heartbeat,
    }
}

list! {
    /// A retry state as an enum value.
    retry_state_to_proto,
    /// A retry state from an enum number.
    retry_state_from_proto,
    RetryState <-> RetryState {
        InProgress = InProgress,
        NonRetryableFailure = NonRetryableFailure,
        Timeout = Timeout,
        MaximumAttemptsReached = MaximumAttemptsReached,
        RetryPolicyNotSet = RetryPolicyNotSet,
        CancelRequested = CancelRequested,
    }
}

list! {
    /// The cause of a workflow task's failure as an enum value.
    workflow_task_failure_cause_to_proto,
    /// The cause of a workflow task's failure from an enum number.
    workflow_task_failure_cause_from_proto,
    WorkflowTaskFailureCause <-> WorkflowTaskFailureCause {
        WorkerFailure = WorkerFailure,
        Panic = Panic,
        Nondeterminism = Nondeterminism,
        UnknownWorkflowType = UnknownWorkflowType,
        ForeignAwait = ForeignAwait,
        BadCommand = BadCommand,
        UnhandledCommand = UnhandledCommand,
        ForceClosed = ForceClosed,
        Reset = Reset,
    }
}

/// The status of a run: closed in this way, or `None` for open.
pub fn close_status_to_proto(status: Option<CloseStatus>) -> v1::WorkflowStatus {
    match status {
        None => v1::WorkflowStatus::Running,
        Some(CloseStatus::Completed) => v1::WorkflowStatus::Completed,
        Some(CloseStatus::Failed) => v1::WorkflowStatus::Failed,
        Some(CloseStatus::Canceled) => v1::WorkflowStatus::Canceled,
        Some(CloseStatus::Terminated) => v1::WorkflowStatus::Terminated,
        Some(CloseStatus::TimedOut) => v1::WorkflowStatus::TimedOut,
        Some(CloseStatus::ContinuedAsNew) => v1::WorkflowStatus::ContinuedAsNew,
    }
}

/// The status of a run from an enum number: `None` for open.
pub fn close_status_from_proto(field: &str, number: i32) -> Result<Option<CloseStatus>, ConvertError> {
    Ok(match specified::<v1::WorkflowStatus>(field, number)? {
        v1::WorkflowStatus::Unspecified => return Err(ConvertError::new(field, "must be set")),
        v1::WorkflowStatus::Running => None,
        v1::WorkflowStatus::Completed => Some(CloseStatus::Completed),
        v1::WorkflowStatus::Failed => Some(CloseStatus::Failed),
        v1::WorkflowStatus::Canceled => Some(CloseStatus::Canceled),
        v1::WorkflowStatus::Terminated => Some(CloseStatus::Terminated),
        v1::WorkflowStatus::TimedOut => Some(CloseStatus::TimedOut),
        v1::WorkflowStatus::ContinuedAsNew => Some(CloseStatus::ContinuedAsNew),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;

    #[test]
    fn every_value_survives_a_round_trip() {
        for kind in samples::TIMEOUT_KINDS {
            assert_eq!(timeout_kind_from_proto("f", timeout_kind_to_proto(kind).into()), Ok(kind));
        }
        for state in samples::RETRY_STATES {
            assert_eq!(retry_state_from_proto("f", retry_state_to_proto(state).into()), Ok(state));
        }
        for cause in samples::CAUSES {
            let number = workflow_task_failure_cause_to_proto(cause).into();
            assert_eq!(workflow_task_failure_cause_from_proto("f", number), Ok(cause));
        }
        for status in samples::CLOSE_STATUSES {
            assert_eq!(close_status_from_proto("f", close_status_to_proto(status).into()), Ok(status));
        }
    }

    #[test]
    fn an_unset_or_unknown_value_is_refused() {
        assert_eq!(retry_state_from_proto("retry_state", 0).unwrap_err().to_string(), "retry_state: must be set");
        let error = close_status_from_proto("status", 77).unwrap_err();
        assert_eq!(error.to_string(), "status: has the unknown value 77");
    }
}
