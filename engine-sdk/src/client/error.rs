//! Why a request failed.

use std::time::Duration;

use engine_core::ids::{InvalidId, RunId};
use engine_proto::convert::ConvertError;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::data::DataError;
use crate::transport::{InvalidTarget, is_unavailable};

/// Why a request failed. What the server refused changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not one.
    #[error(transparent)]
    InvalidTarget(#[from] InvalidTarget),
    /// There is no such thing: namespace, workflow, activity; or, of an open workflow, not any more.
    #[error("{message}")]
    NotFound {
        /// What kind of thing, such as "workflow"; empty if the server did not say.
        what: String,
        /// Its name; empty if the server did not say.
        name: String,
        /// For people.
        message: String,
    },
    /// The workflow id is taken, by the policies of the start. Another id, or another policy, may start it.
    #[error("{message}")]
    AlreadyStarted {
        /// The run that has the id, if the server said.
        run_id: Option<RunId>,
        /// For people.
        message: String,
    },
    /// A field of the request is wrong, or over its limit. The same request will fail again.
    #[error("{message}")]
    InvalidArgument {
        /// The field; empty if the server did not say.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The workflow, or the run of it that was named, is closed: it cannot do that any more.
    #[error("{message}")]
    Closed {
        /// For people.
        message: String,
    },
    /// It cannot be done as things stand: the message says what stands against it, and what to do first.
    #[error("{message}")]
    Refused {
        /// For people.
        message: String,
    },
    /// The engine could not be reached, or could not do its work, for as long as the client was ready to try. The request
    /// may have taken effect.
    #[error("{message}")]
    Unavailable {
        /// For people.
        message: String,
    },
    /// The engine has too much to do, and had for as long as the client was ready to try. Nothing changed.
    #[error("{message}")]
    Overloaded {
        /// When to try again, if the server said.
        retry_after: Option<Duration>,
        /// For people.
        message: String,
    },
    /// Somebody else changed it since it was read: read it again, and decide again.
    #[error("{message}")]
    Conflict {
        /// For people.
        message: String,
    },
    /// A value of the program could not be encoded or decoded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The server's answer makes no sense to this version of the SDK.
    #[error("the server's answer cannot be understood: {0}")]
    Malformed(#[from] ConvertError),
    /// Any other answer.
    #[error("{code:?}: {message}")]
    Other {
        /// The gRPC code.
        code: Code,
        /// For people.
        message: String,
    },
}

impl ClientError {
    /// An identifier that was refused before it was sent.
    pub(crate) fn invalid_id(field: &str, error: InvalidId) -> Self {
        ClientError::InvalidArgument { field: field.to_owned(), message: format!("{field} {error}") }
    }

    /// The same error again, for another start that the same answer is about.
    pub(crate) fn repeated(&self) -> Self {
        match self {
            ClientError::Unavailable { message } => ClientError::Unavailable { message: message.clone() },
            ClientError::Overloaded { retry_after, message } => {
                ClientError::Overloaded { retry_after: *retry_after, message: message.clone() }
            }
            ClientError::NotFound { what, name, message } => {
                ClientError::NotFound { what: what.clone(), name: name.clone(), message: message.clone() }
            }
            ClientError::InvalidArgument { field, message } => {
                ClientError::InvalidArgument { field: field.clone(), message: message.clone() }
            }
            ClientError::Other { code, message } => ClientError::Other { code: *code, message: message.clone() },
            other => ClientError::Other { code: Code::Unknown, message: other.to_string() },
        }
    }

    /// What the server, or the way to it, answered.
    pub(crate) fn from_status(status: &Status) -> Self {
        let message = status.message().to_owned();
        if is_unavailable(status) {
            let message = if message.is_empty() { "the engine cannot be reached".to_owned() } else { message };
            return ClientError::Unavailable { message };
        }
        let details = status.get_error_details();
        match status.code() {
            Code::NotFound => {
                let (what, name) = details
                    .resource_info()
                    .map(|info| (info.resource_type.clone(), info.resource_name.clone()))
                    .unwrap_or_default();
                // It exists, but it is over: callers act differently on that than on a wrong id.
                if what == "workflow_execution" {
                    return ClientError::Closed { message };
                }
                ClientError::NotFound { what, name, message }
            }
            Code::AlreadyExists => {
                // The name ends with the run: `workflow id/run id`.
                let run_id = details
                    .resource_info()
                    .and_then(|info| info.resource_name.rsplit('/').next().and_then(|text| RunId::parse(text).ok()));
                ClientError::AlreadyStarted { run_id, message }
            }
            Code::InvalidArgument => {
                let violation = details.bad_request().and_then(|request| request.field_violations.first());
                ClientError::InvalidArgument { field: violation.map(|v| v.field.clone()).unwrap_or_default(), message }
            }
            Code::Aborted => ClientError::Conflict { message },
            Code::FailedPrecondition => ClientError::Refused { message },
            Code::ResourceExhausted => ClientError::Overloaded { retry_after: retry_delay(status), message },
            code => ClientError::Other { code, message },
        }
    }
}

/// When to make the call again, if the server said.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|info| info.retry_delay)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_of_an_error_are_decoded() {
        let run_id = RunId::parse("0199a3b4-0000-7000-8000-000000000001").unwrap();
        let details = ErrorDetails::with_resource_info("workflow", format!("a/b/{run_id}"), "", "");
        let status = Status::with_error_details(Code::AlreadyExists, "taken", details);
        assert!(matches!(ClientError::from_status(&status),
            ClientError::AlreadyStarted { run_id: Some(found), message } if found == run_id && message == "taken"));

        let details = ErrorDetails::with_bad_request_violation("workflow_id", "must not be empty");
        let status = Status::with_error_details(Code::InvalidArgument, "workflow_id must not be empty", details);
        assert!(matches!(ClientError::from_status(&status),
            ClientError::InvalidArgument { field, .. } if field == "workflow_id"));

        let details = ErrorDetails::with_resource_info("workflow", "order-1", "", "");
        let status = Status::with_error_details(Code::NotFound, "no workflow \"order-1\"", details);
        let error = ClientError::from_status(&status);
        assert_eq!(error.to_string(), "no workflow \"order-1\"");
        assert!(matches!(error, ClientError::NotFound { what, name, .. } if what == "workflow" && name == "order-1"));

        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(70)));
        let status = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert!(matches!(ClientError::from_status(&status),
            ClientError::Overloaded { retry_after: Some(after), .. } if after == Duration::from_millis(70)));
    }

    #[test]
    fn an_error_without_details_is_still_told_apart() {
        let of = |code| ClientError::from_status(&Status::new(code, "text"));
        assert!(matches!(of(Code::NotFound), ClientError::NotFound { .. }));
        let details = ErrorDetails::with_resource_info("workflow_execution", "order-1", "", "");
        let closed = Status::with_error_details(Code::NotFound, "workflow execution already completed", details);
        assert!(matches!(ClientError::from_status(&closed), ClientError::Closed { .. }));
        assert!(matches!(of(Code::AlreadyExists), ClientError::AlreadyStarted { run_id: None, .. }));
        assert!(matches!(of(Code::Unavailable), ClientError::Unavailable { .. }));
        assert!(matches!(of(Code::ResourceExhausted), ClientError::Overloaded { retry_after: None, .. }));
        assert!(matches!(of(Code::FailedPrecondition), ClientError::Refused { .. }));
        assert_eq!(of(Code::Unimplemented).to_string(), "Unimplemented: text");
    }

    #[test]
    fn an_internal_error_of_the_server_is_not_taken_for_a_broken_connection() {
        assert!(matches!(ClientError::from_status(&Status::internal("bug")), ClientError::Other { .. }));
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert!(matches!(ClientError::from_status(&broken), ClientError::Unavailable { .. }));
    }
}
