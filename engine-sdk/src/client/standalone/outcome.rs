//! How a standalone activity ended.

use engine_core::event::CloseStatus;
use engine_core::failure::{Failure, FailureKind};
use engine_core::payload::Payload;
use engine_proto::convert::{ConvertError, close_status_from_proto, failure_from_proto, payload_from_proto};
use engine_proto::v1;
use serde::de::DeserializeOwned;

use crate::client::ClientError;
use crate::data::{self, DataError};
use crate::error::RecordedError;

/// Why a standalone activity has no result: how it ended, or why that is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandaloneFailure {
    /// Its last attempt returned an error. The source is the error with its causes. It stays listed, and may be run again.
    #[error("the activity failed: {0}")]
    Failed(#[source] RecordedError),
    /// It took longer than its timeouts allow, and was not tried again. The source says which one, and the failure before.
    #[error("the activity timed out: {0}")]
    TimedOut(#[source] RecordedError),
    /// It stopped because it was asked to.
    #[error("the activity was canceled")]
    Canceled {
        /// A value that its code attached.
        details: Option<Payload>,
    },
    /// It was ended unasked.
    #[error("the activity was terminated: {reason}")]
    Terminated {
        /// Why, by who did it.
        reason: String,
    },
    /// It completed, and its result is not what this program expects.
    #[error(transparent)]
    Undecodable(DataError),
    /// The engine refused the request, or could not be reached: the activity may be open.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<ConvertError> for StandaloneFailure {
    fn from(error: ConvertError) -> Self {
        StandaloneFailure::Client(error.into())
    }
}

/// The outcome in an answer; `None` if the activity is open.
pub(super) fn outcome<T: DeserializeOwned>(answer: v1::ActivityOutcome) -> Option<Result<T, StandaloneFailure>> {
    match close_status_from_proto("status", answer.status) {
        Ok(None) => None,
        Ok(Some(CloseStatus::Completed)) => {
            let payload = answer.result.map(payload_from_proto);
            Some(data::decode_result(payload.as_ref()).map_err(StandaloneFailure::Undecodable))
        }
        Ok(Some(status)) => Some(Err(failure(status, answer.failure).unwrap_or_else(StandaloneFailure::from))),
        Err(error) => Some(Err(error.into())),
    }
}

/// How it ended other than by completing.
pub(super) fn failure(status: CloseStatus, failure: Option<v1::Failure>) -> Result<StandaloneFailure, ConvertError> {
    let failure = failure.map(failure_from_proto).transpose().map_err(|error| error.inside("failure"))?;
    let recorded = |failure: Option<Failure>| {
        RecordedError::from(failure.unwrap_or_else(|| Failure::application("", "the reason was not recorded")))
    };
    Ok(match status {
        CloseStatus::Canceled => {
            let details = match failure.map(|failure| failure.kind) {
                Some(FailureKind::Canceled { details }) => details,
                _ => None,
            };
            StandaloneFailure::Canceled { details }
        }
        CloseStatus::Terminated => {
            StandaloneFailure::Terminated { reason: failure.map(|failure| failure.message).unwrap_or_default() }
        }
        CloseStatus::TimedOut => StandaloneFailure::TimedOut(recorded(failure)),
        // The first is told by its result, and the last only in lists.
        CloseStatus::Completed | CloseStatus::Failed | CloseStatus::ContinuedAsNew => {
            StandaloneFailure::Failed(recorded(failure))
        }
    })
}

#[cfg(test)]
mod tests {
    use engine_core::failure::TimeoutKind;
    use engine_proto::convert::{failure_to_proto, payload_to_proto};

    use super::*;

    fn answer(status: v1::WorkflowStatus, failure: Option<Failure>) -> v1::ActivityOutcome {
        v1::ActivityOutcome {
            status: status.into(),
            failure: failure.as_ref().map(failure_to_proto),
            ..Default::default()
        }
    }

    #[test]
    fn each_way_to_end_is_told_apart() {
        assert!(outcome::<u32>(answer(v1::WorkflowStatus::Running, None)).is_none());
        let mut completed = answer(v1::WorkflowStatus::Completed, None);
        completed.result = Some(payload_to_proto(&Payload::json("7")));
        assert_eq!(outcome::<u32>(completed.clone()).unwrap().unwrap(), 7);
        assert!(matches!(outcome::<bool>(completed).unwrap(), Err(StandaloneFailure::Undecodable(_))));

        let text = |status, failure| outcome::<u32>(answer(status, Some(failure))).unwrap().unwrap_err().to_string();
        let declined = Failure::application("CardDeclined", "no");
        assert_eq!(text(v1::WorkflowStatus::Failed, declined), "the activity failed: CardDeclined: no");
        let late = Failure::timeout(TimeoutKind::ScheduleToClose, None);
        assert_eq!(text(v1::WorkflowStatus::TimedOut, late), "the activity timed out: schedule-to-close timeout");
        let stuck = Failure { message: "stuck".into(), kind: FailureKind::Terminated, cause: None };
        assert_eq!(text(v1::WorkflowStatus::Terminated, stuck), "the activity was terminated: stuck");
        let details = Some(Payload::json("\"half done\""));
        let kind = FailureKind::Canceled { details: details.clone() };
        let canceled = Failure { message: String::new(), kind, cause: None };
        assert!(matches!(outcome::<u32>(answer(v1::WorkflowStatus::Canceled, Some(canceled))).unwrap(),
            Err(StandaloneFailure::Canceled { details: found }) if found == details));
    }
}
