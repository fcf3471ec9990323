//! Limits of requests that the core does not see.

use engine_core::limits::PAYLOAD_BYTES_MAX;
use engine_core::payload::{self, Payload};

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
