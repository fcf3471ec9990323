//! How a run ended.

use engine_core::failure::{Failure, FailureKind};
use engine_core::payload::Payload;
use engine_proto::convert::{ConvertError, close_status_from_proto, failure_from_proto, payload_from_proto};
use engine_proto::v1;
use serde::de::DeserializeOwned;

use super::ClientError;
use crate::data::{self, DataError};
use crate::error::RecordedError;

/// Why there is no result: how the workflow closed, or why it is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowFailure {
    /// The code returned an error, and no further run follows. The source is the error with its causes.
    #[error("the workflow failed: {0}")]
    Failed(#[source] RecordedError),
    /// The code accepted a request to cancel.
    #[error("the workflow was canceled")]
    Canceled {
        /// A value that the code attached.
        details: Option<Payload>,
    },
    /// It was stopped unasked.
    #[error("the workflow was terminated: {reason}")]
    Terminated {
        /// Why, by who did it.
        reason: String,
    },
    /// It, or the chain of its runs, took longer than its timeouts allow.
    #[error("the workflow timed out")]
    TimedOut,
    /// It completed, and its result is not what this program expects.
    #[error(transparent)]
    Undecodable(DataError),
    /// The engine refused the request, or could not be reached: the workflow may be open.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<DataError> for WorkflowFailure {
    fn from(error: DataError) -> Self {
        WorkflowFailure::Undecodable(error)
    }
}

impl From<ConvertError> for WorkflowFailure {
    fn from(error: ConvertError) -> Self {
        WorkflowFailure::Client(error.into())
    }
}

/// The outcome in an answer; `None` if the run is open.
pub(super) fn outcome<T: DeserializeOwned>(
    answer: v1::GetWorkflowResultResponse,
) -> Option<Result<T, WorkflowFailure>> {
    use engine_core::event::CloseStatus;
    let status = match close_status_from_proto("status", answer.status) {
        Ok(status) => status?,
        Err(error) => return Some(Err(error.into())),
    };
    let failure = answer.failure.map(failure_from_proto).transpose();
    let failure = match failure {
        Ok(failure) => failure,
        Err(error) => return Some(Err(error.inside("failure").into())),
    };
    Some(match status {
        CloseStatus::Completed => {
            let payload = answer.result.map(payload_from_proto);
            data::decode_result(payload.as_ref()).map_err(WorkflowFailure::Undecodable)
        }
        CloseStatus::Failed => {
            let failure = failure.unwrap_or_else(|| Failure::application("", "the reason was not recorded"));
            Err(WorkflowFailure::Failed(failure.into()))
        }
        CloseStatus::Canceled => Err(WorkflowFailure::Canceled { details: failure.and_then(canceled_details) }),
        CloseStatus::Terminated => {
            Err(WorkflowFailure::Terminated { reason: failure.map(|failure| failure.message).unwrap_or_default() })
        }
        CloseStatus::TimedOut => Err(WorkflowFailure::TimedOut),
        // Its next run is open, or was when the server looked: ask again.
        CloseStatus::ContinuedAsNew => return None,
    })
}

fn canceled_details(failure: Failure) -> Option<Payload> {
    match failure.kind {
        FailureKind::Canceled { details } => details,
        FailureKind::Application { .. }
        | FailureKind::Timeout { .. }
        | FailureKind::Terminated
        | FailureKind::WorkerLost
        | FailureKind::Server { .. }
        | FailureKind::Activity { .. }
        | FailureKind::ChildWorkflow { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use engine_proto::convert::{failure_to_proto, payload_to_proto};

    use super::*;

    fn answer(status: v1::WorkflowStatus, failure: Option<Failure>) -> v1::GetWorkflowResultResponse {
        v1::GetWorkflowResultResponse {
            status: status.into(),
            failure: failure.as_ref().map(failure_to_proto),
            ..Default::default()
        }
    }

    #[test]
    fn each_way_to_close_is_told_apart() {
        assert!(outcome::<u32>(answer(v1::WorkflowStatus::Running, None)).is_none());
        let mut completed = answer(v1::WorkflowStatus::Completed, None);
        completed.result = Some(payload_to_proto(&Payload::json("7")));
        assert_eq!(outcome::<u32>(completed.clone()).unwrap().unwrap(), 7);
        assert!(matches!(outcome::<bool>(completed).unwrap(), Err(WorkflowFailure::Undecodable(_))));
        outcome::<()>(answer(v1::WorkflowStatus::Completed, None)).unwrap().unwrap();

        let mut failure = Failure::application("CardDeclined", "no");
        failure.cause = Some(Box::new(Failure::application("", "insufficient funds")));
        let error = outcome::<u32>(answer(v1::WorkflowStatus::Failed, Some(failure))).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the workflow failed: CardDeclined: no");
        let cause = std::error::Error::source(&error).and_then(|source| source.source()).unwrap();
        assert_eq!(cause.to_string(), "insufficient funds");

        let details = Some(Payload::json("\"half done\""));
        let canceled =
            Failure { message: String::new(), kind: FailureKind::Canceled { details: details.clone() }, cause: None };
        assert!(matches!(outcome::<u32>(answer(v1::WorkflowStatus::Canceled, Some(canceled))).unwrap(),
            Err(WorkflowFailure::Canceled { details: found }) if found == details));

        let terminated = Failure { message: "stuck".into(), kind: FailureKind::Terminated, cause: None };
        let error = outcome::<u32>(answer(v1::WorkflowStatus::Terminated, Some(terminated))).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the workflow was terminated: stuck");
        let timed_out = outcome::<u32>(answer(v1::WorkflowStatus::TimedOut, None)).unwrap();
        assert!(matches!(timed_out, Err(WorkflowFailure::TimedOut)));
    }
}
