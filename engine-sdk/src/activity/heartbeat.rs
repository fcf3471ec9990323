//! Heartbeats on their way from the activity's code to the worker's stream.
//!
//! The code puts the latest details into its slot and, unless it did so already, tells the worker that there is something to
//! take. So an activity that beats a million times a second costs the worker one message per interval, and no queue grows.

use std::fmt;
use std::time::Duration;

use engine_core::payload::Payload;
use parking_lot::Mutex;

/// Longest time between two heartbeats that are sent, and the interval when there is no heartbeat timeout.
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Share of the heartbeat timeout after which the next heartbeat is sent: two may be lost or late before the timeout.
const TIMEOUT_SHARE: f64 = 0.4;

/// How much time passes at least between two heartbeats of an attempt with this heartbeat timeout.
pub(crate) fn throttle_interval(heartbeat_timeout: Option<Duration>) -> Duration {
    heartbeat_timeout.map_or(INTERVAL_MAX, |timeout| timeout.mul_f64(TIMEOUT_SHARE).min(INTERVAL_MAX))
}

/// Called with news: a heartbeat waits in the slot and the worker was not told yet.
pub(crate) type Notify = Box<dyn Fn() + Send + Sync>;

/// The latest heartbeat of one attempt that was not sent yet.
pub(crate) struct HeartbeatSlot {
    waiting: Mutex<Option<Waiting>>,
    notify: Notify,
}

/// A heartbeat that waits.
struct Waiting {
    /// The latest details since the last heartbeat that was sent, if one of the heartbeats had some.
    details: Option<Payload>,
}

impl HeartbeatSlot {
    pub(crate) fn new(notify: Notify) -> Self {
        Self { waiting: Mutex::new(None), notify }
    }

    /// The code is alive. `None` keeps the details of the heartbeat before.
    pub(crate) fn beat(&self, details: Option<Payload>) {
        let is_news = {
            let mut slot = self.waiting.lock();
            match &mut *slot {
                Some(waiting) => {
                    if details.is_some() {
                        waiting.details = details;
                    }
                    false
                }
                None => {
                    *slot = Some(Waiting { details });
                    true
                }
            }
        };
        if is_news {
            (self.notify)();
        }
    }

    /// Takes the heartbeat that waits: `None` if there is none, else its details.
    pub(crate) fn take(&self) -> Option<Option<Payload>> {
        self.waiting.lock().take().map(|waiting| waiting.details)
    }
}

impl fmt::Debug for HeartbeatSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatSlot").field("waits", &self.waiting.lock().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_worker_is_told_once_and_takes_the_latest_details() {
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let slot = HeartbeatSlot::new(Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        slot.beat(Some(Payload::json("1")));
        slot.beat(Some(Payload::json("2")));
        slot.beat(None);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert_eq!(slot.take(), Some(Some(Payload::json("2"))));
        assert_eq!(slot.take(), None);
        slot.beat(None);
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert_eq!(slot.take(), Some(None));
    }

    #[test]
    fn the_interval_is_a_share_of_the_timeout_with_a_cap() {
        assert_eq!(throttle_interval(Some(Duration::from_secs(10))), Duration::from_secs(4));
        assert_eq!(throttle_interval(Some(Duration::from_secs(600))), Duration::from_secs(30));
        assert_eq!(throttle_interval(None), Duration::from_secs(30));
    }
}
