//! Making a call until it is answered.
//!
//! Calls that change something carry a request id made before the first try, so a repeat of a call that had taken effect
//! changes nothing. A refusal is final; UNAVAILABLE, a broken connection, and RESOURCE_EXHAUSTED with a retry hint are not.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Response, Status};

use super::error::{ClientError, retry_delay};
use crate::backoff::Backoff;
use crate::transport::is_unavailable;

/// The failed try of a call at which people are told.
const WARN_AT: u32 = 3;

/// First pause between two tries.
pub(super) const PAUSE_INITIAL: Duration = Duration::from_millis(50);

/// Longest pause between two tries: a server that is back is found within it.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Longest pause that a server's hint can ask for.
const HINT_MAX: Duration = Duration::from_secs(30);

/// How long to make a call again, and how long to wait for one answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// No new try begins after this time; `None`: without end.
    pub(crate) retry_for: Option<Duration>,
    /// A try without an answer after this time counts as UNAVAILABLE.
    pub(crate) answer_within: Duration,
}

/// Makes `call` until it succeeds, is refused, or patience is at its end. `call` gets the number of the try, from 1.
pub(crate) async fn until_answered<T, F, A>(patience: Patience, mut call: F) -> Result<T, ClientError>
where
    F: FnMut(u32) -> A,
    A: Future<Output = Result<Response<T>, Status>>,
{
    let began = Instant::now();
    let mut backoff = Backoff::new(PAUSE_INITIAL, PAUSE_MAX);
    for attempt in 1.. {
        let status = match tokio::time::timeout(patience.answer_within, call(attempt)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable(format!("the engine did not answer within {:?}", patience.answer_within)),
        };
        let hint = retry_delay(&status).map(|hint| hint.min(HINT_MAX));
        let may_retry = is_unavailable(&status) || (status.code() == Code::ResourceExhausted && hint.is_some());
        let pause = hint.unwrap_or_default().max(backoff.pause());
        if !may_retry || patience.retry_for.is_some_and(|limit| began.elapsed() + pause > limit) {
            return Err(ClientError::from_status(&status));
        }
        // Told once: a blink is nobody's business, but who waits should know for what.
        if attempt == WARN_AT {
            tracing::warn!(reason = status.message(), "the engine does not answer; trying the call again and again");
        }
        tracing::debug!(code = ?status.code(), message = status.message(), attempt, ?pause, "will try the call again");
        tokio::time::sleep(pause).await;
    }
    unreachable!("the loop ends by an answer")
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    const PATIENCE: Patience =
        Patience { retry_for: Some(Duration::from_secs(10)), answer_within: Duration::from_secs(1) };

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_engine_is_asked_again_until_patience_ends() {
        let began = Instant::now();
        let mut tries = 0;
        let error = until_answered(PATIENCE, |attempt| {
            tries = attempt;
            async { Err::<Response<()>, _>(Status::unavailable("down")) }
        })
        .await
        .unwrap_err();
        assert!(matches!(error, ClientError::Unavailable { .. }));
        assert!(began.elapsed() <= Duration::from_secs(10));
        assert!((20..60).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_and_a_hint_is_honoured() {
        let began = Instant::now();
        let answer = until_answered(PATIENCE, |attempt| async move {
            let hint = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
            match attempt {
                1 => Err(Status::with_error_details(Code::ResourceExhausted, "busy", hint)),
                _ => Err::<Response<()>, _>(Status::not_found("no")),
            }
        });
        assert!(matches!(answer.await.unwrap_err(), ClientError::NotFound { .. }));
        assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_too_large_is_not_sent_again() {
        let mut tries = 0;
        let answer = until_answered(PATIENCE, |attempt| {
            tries = attempt;
            async { Err::<Response<()>, _>(Status::resource_exhausted("message too large")) }
        });
        assert!(matches!(answer.await.unwrap_err(), ClientError::Overloaded { retry_after: None, .. }));
        assert_eq!(tries, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_engine_counts_as_unavailable() {
        let answer = until_answered(PATIENCE, |attempt| async move {
            if attempt == 1 {
                std::future::pending::<()>().await
            }
            Ok(Response::new(attempt))
        });
        assert_eq!(answer.await.unwrap(), 2);
    }
}
