//! How a worker is asked to stop.

use tokio_util::sync::CancellationToken;

/// Asks a worker to shut down. Cheap to clone, and usable from anywhere.
#[derive(Debug, Clone, Default)]
pub struct ShutdownHandle {
    token: CancellationToken,
}

impl ShutdownHandle {
    /// Asks the worker to take no more tasks, to end those that it has within its grace, and then to return from
    /// `Worker::run`. A repeat changes nothing.
    pub fn shutdown(&self) {
        self.token.cancel();
    }

    pub(super) async fn requested(&self) {
        self.token.cancelled().await;
    }
}
