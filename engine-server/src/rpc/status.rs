//! Errors as gRPC statuses with google.rpc details.

use std::time::Duration;

use engine_core::execution::Rejection;
use engine_proto::convert::ConvertError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::shard::request::ServerError;
use crate::store::StoreError;

/// The code of an error.
pub(crate) fn code(error: &ServerError) -> Code {
    match error {
        ServerError::Rejected(rejection) => match rejection {
            Rejection::AlreadyClosed | Rejection::StaleTask { .. } | Rejection::UnknownActivity(_) => Code::NotFound,
            Rejection::Invalid { .. } => Code::InvalidArgument,
            Rejection::Exhausted(_) => Code::ResourceExhausted,
        },
        ServerError::NotFound { .. } | ServerError::NotCurrent(_) | ServerError::Closed { .. } => Code::NotFound,
        ServerError::NotKept(_) => Code::NotFound,
        ServerError::AlreadyStarted { .. } | ServerError::Exists { .. } => Code::AlreadyExists,
        ServerError::Conflict(_) => Code::Aborted,
        ServerError::Invalid { .. } => Code::InvalidArgument,
        ServerError::Unanswerable(_) | ServerError::Refused(_) => Code::FailedPrecondition,
        ServerError::Overdue(_) => Code::DeadlineExceeded,
        ServerError::Unavailable { .. } => Code::Unavailable,
        ServerError::Exhausted { .. } => Code::ResourceExhausted,
        ServerError::Internal(_) => Code::DataLoss,
    }
}

/// The status of an error: one sentence, and the details that programs read.
pub(crate) fn to_status(error: ServerError) -> Status {
    let code = code(&error);
    let message = error.to_string();
    let details = match error {
        ServerError::Rejected(Rejection::Invalid { field, problem }) | ServerError::Invalid { field, problem } => {
            ErrorDetails::with_bad_request_violation(field, problem)
        }
        ServerError::Rejected(Rejection::Exhausted(_)) => ErrorDetails::with_retry_info(Some(Duration::from_secs(1))),
        ServerError::Rejected(Rejection::AlreadyClosed) => resource("workflow_execution", "", &message),
        ServerError::Rejected(Rejection::StaleTask { what, .. }) => resource(what, "", &message),
        ServerError::Rejected(Rejection::UnknownActivity(ref id)) => resource("activity", id.as_str(), &message),
        ServerError::Closed { ref workflow_id } => resource("workflow_execution", workflow_id, &message),
        ServerError::NotKept(run_id) => resource("run", &run_id.to_string(), &message),
        ServerError::NotFound { kind, ref name } | ServerError::Exists { kind, ref name } => {
            resource(kind, name, &message)
        }
        ServerError::NotCurrent(run_id) => resource("run", &run_id.to_string(), &message),
        ServerError::AlreadyStarted { run_id, .. } => resource("run", &run_id.to_string(), &message),
        ServerError::Unavailable { retry_after, .. } | ServerError::Exhausted { retry_after, .. } => {
            ErrorDetails::with_retry_info(Some(retry_after))
        }
        ServerError::Conflict(_)
        | ServerError::Internal(_)
        | ServerError::Unanswerable(_)
        | ServerError::Refused(_)
        | ServerError::Overdue(_) => ErrorDetails::new(),
    };
    Status::with_error_details(code, message, details)
}

fn resource(kind: &str, name: &str, description: &str) -> ErrorDetails {
    ErrorDetails::with_resource_info(kind, name, "", description)
}

/// INVALID_ARGUMENT that names the field.
pub(crate) fn invalid(field: &str, problem: &str) -> Status {
    to_status(ServerError::Invalid { field: field.to_owned(), problem: problem.to_owned() })
}

impl From<ConvertError> for ServerError {
    fn from(error: ConvertError) -> Self {
        ServerError::Invalid { field: error.field, problem: error.problem }
    }
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(problem) => ServerError::Internal(problem),
            StoreError::Fenced(_)
            | StoreError::Unavailable(_)
            | StoreError::Unusable(_)
            | StoreError::NamespaceExists(_) => ServerError::unavailable(error.to_string()),
        }
    }
}
