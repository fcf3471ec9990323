//! What time it is. The only place of the server that asks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine_core::time::Timestamp;

/// The instant, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::EPOCH + since
}

/// Waits until `at`, or for ever. May return a little early or late: whoever waits looks at the clock again.
pub(crate) async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => std::future::pending().await,
    }
}
