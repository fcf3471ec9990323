//! Why a query has no answer.

use engine_core::failure::Failure;
use tonic::Code;

use super::ClientError;
use crate::data::DataError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The workflow's code answered with an error.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// Nobody could answer: no worker has the code, the run's workflow tasks fail, or it took too long. Another try may succeed.
    #[error("{message}")]
    Unanswered {
        /// What is missing, for people.
        message: String,
    },
    /// The request was refused: an unknown workflow, an unknown query, arguments that it cannot take.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl QueryError {
    pub(super) fn from_refusal(error: ClientError) -> Self {
        match error {
            ClientError::Refused { message } => QueryError::Unanswered { message },
            ClientError::Other { code: Code::DeadlineExceeded, message } => QueryError::Unanswered { message },
            error => QueryError::Client(error),
        }
    }
}

impl From<DataError> for QueryError {
    fn from(error: DataError) -> Self {
        QueryError::Client(error.into())
    }
}
