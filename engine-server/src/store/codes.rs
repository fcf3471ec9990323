//! The numbers that stand for words in the databases. Once released, never reused.

use engine_core::event::CloseStatus;

use super::StoreError;

/// How a close status is stored. An open run has none: it is stored as null.
pub(super) fn status_code(status: CloseStatus) -> i16 {
    match status {
        CloseStatus::Completed => 1,
        CloseStatus::Failed => 2,
        CloseStatus::Canceled => 3,
        CloseStatus::Terminated => 4,
        CloseStatus::TimedOut => 5,
        CloseStatus::ContinuedAsNew => 6,
    }
}

/// The inverse of [`status_code`].
pub(super) fn status_of_code(code: i64) -> Result<CloseStatus, StoreError> {
    match code {
        1 => Ok(CloseStatus::Completed),
        2 => Ok(CloseStatus::Failed),
        3 => Ok(CloseStatus::Canceled),
        4 => Ok(CloseStatus::Terminated),
        5 => Ok(CloseStatus::TimedOut),
        6 => Ok(CloseStatus::ContinuedAsNew),
        _ => Err(StoreError::Corrupt(format!("{code} is no close status"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_read_back_as_it_was_written() {
        for status in [
            CloseStatus::Completed,
            CloseStatus::Failed,
            CloseStatus::Canceled,
            CloseStatus::Terminated,
            CloseStatus::TimedOut,
            CloseStatus::ContinuedAsNew,
        ] {
            assert_eq!(status_of_code(i64::from(status_code(status))).unwrap(), status);
        }
        assert!(matches!(status_of_code(0), Err(StoreError::Corrupt(_))));
    }
}
