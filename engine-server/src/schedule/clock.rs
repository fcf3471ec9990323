//! The time by which schedules act: the machine's, or one that a test sets.

use engine_core::time::Timestamp;
use tokio::sync::watch;

use crate::clock;

/// The time by which schedules act. By default the machine's.
#[derive(Debug, Clone, Default)]
pub struct ScheduleClock(Option<watch::Receiver<Timestamp>>);

impl ScheduleClock {
    /// A clock that shows `at` until another instant is sent: for tests, which then need not wait. Only schedules go by it.
    pub fn manual(at: Timestamp) -> (ScheduleClock, watch::Sender<Timestamp>) {
        let (set, shown) = watch::channel(at);
        (ScheduleClock(Some(shown)), set)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(clock::now, |shown| *shown.borrow())
    }

    /// Waits until `at`, or for ever.
    pub(super) async fn sleep_until(&self, at: Option<Timestamp>) {
        match (&self.0, at) {
            (None, at) => clock::sleep_until(at).await,
            (Some(shown), Some(at)) => {
                // Whoever set the clock is gone: it stands.
                if shown.clone().wait_for(|now| *now >= at).await.is_err() {
                    std::future::pending().await
                }
            }
            (Some(_), None) => std::future::pending().await,
        }
    }
}
