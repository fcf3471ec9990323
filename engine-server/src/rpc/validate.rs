//! Limits of requests that the core does not see.

use std::time::Duration;

use engine_core::ids::WorkflowId;
use engine_core::limits::PAYLOAD_BYTES_MAX;
use engine_core::payload::{self, Payload};
use engine_proto::convert;

use crate::limits;
use crate::shard::request::ServerError;

/// Text for people: bounded, so that it cannot be used as storage.
pub(crate) fn people_text(field: &str, text: &str) -> Result<(), ServerError> {
    if text.len() <= limits::PEOPLE_TEXT_MAX {
        return Ok(());
    }
    let problem = format!("is {} bytes long; the limit is {} bytes", text.len(), limits::PEOPLE_TEXT_MAX);
    Err(ServerError::Invalid { field: field.to_owned(), problem })
}

/// Payloads of one request.
pub(crate) fn payloads(field: &str, payloads: &[Payload]) -> Result<(), ServerError> {
    let size = payload::total_size(payloads);
    if size <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("is {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes: send a reference instead");
    Err(ServerError::Invalid { field: field.to_owned(), problem })
}

/// The memo of a start.
pub(crate) fn memo(memo: &[(String, Payload)]) -> Result<(), ServerError> {
    let size: usize = memo.iter().map(|(key, value)| key.len() + value.size()).sum();
    if size <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("is {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes");
    Err(ServerError::Invalid { field: "memo".to_owned(), problem })
}

/// How long a call may wait at the server; `None` if it does not say.
pub(crate) fn wait(message: Option<prost_types::Duration>, limit: Duration) -> Result<Option<Duration>, ServerError> {
    let wait = convert::optional_duration_from_proto("wait", message)?;
    match wait {
        Some(wait) if wait > limit => {
            let problem = format!("is {} s; the limit is {} s", wait.as_secs(), limit.as_secs());
            Err(ServerError::Invalid { field: "wait".to_owned(), problem })
        }
        wait => Ok(wait),
    }
}

/// The id after which a page of a list by id begins; empty for the first page.
pub(crate) fn token_of_ids(token: Vec<u8>) -> Result<String, ServerError> {
    let id = String::from_utf8(token).ok().filter(|id| id.is_empty() || WorkflowId::parse(id).is_ok());
    id.ok_or_else(|| ServerError::Invalid {
        field: "page_token".to_owned(),
        problem: "is not a token of this call: start again without one".to_owned(),
    })
}

/// A page size: the default for 0.
pub(crate) fn page_size(size: u32, default: u32, limit: u32) -> Result<u32, ServerError> {
    match size {
        0 => Ok(default),
        size if size <= limit => Ok(size),
        size => {
            let problem = format!("is {size}; the limit is {limit}");
            Err(ServerError::Invalid { field: "page_size".to_owned(), problem })
        }
    }
}
