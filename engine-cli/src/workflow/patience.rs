//! How long a waiting command tries to reach a server that was lost.

use std::time::{Duration, Instant};

use tonic::Status;

use crate::client::{Client, is_connection_lost};
use crate::error::CliError;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Counts the time since the server was last heard.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    lost_since: Option<Instant>,
}

impl Patience {
    /// Gives up when the server was not heard for `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, lost_since: None }
    }

    /// The server was heard.
    pub(crate) fn heard(&mut self) {
        self.lost_since = None;
    }

    /// A call failed: returns after a pause if it is worth trying again, else with the error.
    pub(crate) async fn failed(&mut self, client: &Client, status: &Status) -> Result<(), CliError> {
        if !is_connection_lost(status) {
            return Err(client.error(status));
        }
        let lost_since = *self.lost_since.get_or_insert_with(|| {
            if !self.limit.is_zero() {
                eprintln!(
                    "the server at {} is gone; trying to reach it for {}",
                    client.address,
                    humantime::format_duration(self.limit)
                );
            }
            Instant::now()
        });
        if lost_since.elapsed() >= self.limit {
            return Err(client.error(status));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
