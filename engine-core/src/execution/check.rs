//! Limits of what requests and commands carry.

use std::time::Duration;

use crate::execution::Rejection;
use crate::limits;

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadField {
    pub(super) field: &'static str,
    pub(super) problem: String,
}

impl BadField {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<BadField> for Rejection {
    fn from(bad: BadField) -> Self {
        Rejection::Invalid { field: bad.field.to_owned(), problem: bad.problem }
    }
}

/// Refuses payloads whose total `size` is over [`limits::PAYLOAD_BYTES_MAX`].
pub(super) fn payload_size(field: &'static str, size: usize) -> Result<(), BadField> {
    if size <= limits::PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let limit = limits::PAYLOAD_BYTES_MAX;
    Err(BadField::new(
        field,
        format!("is {size} bytes large; the limit is {limit} bytes: store it elsewhere and pass a reference"),
    ))
}

/// Refuses a duration over [`limits::DURATION_MAX`].
pub(super) fn duration(field: &'static str, duration: Duration) -> Result<(), BadField> {
    if duration <= limits::DURATION_MAX {
        return Ok(());
    }
    Err(BadField::new(field, format!("is {} seconds long; the limit is 100 years", duration.as_secs())))
}

/// Refuses a timeout that is zero or over [`limits::DURATION_MAX`].
pub(super) fn timeout(field: &'static str, timeout: Option<Duration>) -> Result<(), BadField> {
    match timeout {
        None => Ok(()),
        Some(Duration::ZERO) => Err(BadField::new(field, "must be more than zero; leave it unset for no limit")),
        Some(timeout) => duration(field, timeout),
    }
}
