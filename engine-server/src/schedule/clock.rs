//! The time by which schedules act: the node's, or one that a test sets.

use engine_core::time::Timestamp;
use tokio::sync::watch;

use crate::clock::{Busy, Clock};

/// The time by which schedules act. By default the node's.
#[derive(Debug, Clone)]
pub struct ScheduleClock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Node(Clock),
    Set(watch::Receiver<Timestamp>),
}

impl Default for ScheduleClock {
    fn default() -> Self {
        ScheduleClock(Kind::Node(Clock::default()))
    }
}

impl ScheduleClock {
    /// A clock that shows `at` until another instant is sent: for tests, which then need not wait. Only schedules go by it.
    pub fn manual(at: Timestamp) -> (ScheduleClock, watch::Sender<Timestamp>) {
        let (set, shown) = watch::channel(at);
        (ScheduleClock(Kind::Set(shown)), set)
    }

    /// This one on a node with `clock`.
    pub(crate) fn of(&self, clock: &Clock) -> ScheduleClock {
        match &self.0 {
            Kind::Node(_) => ScheduleClock(Kind::Node(clock.clone())),
            Kind::Set(_) => self.clone(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::Node(clock) => clock.now(),
            Kind::Set(shown) => *shown.borrow(),
        }
    }

    /// Something about a schedule is under way until the guard is dropped.
    pub(super) fn busy(&self) -> Busy {
        match &self.0 {
            Kind::Node(clock) => clock.busy(),
            Kind::Set(_) => Clock::default().busy(),
        }
    }

    /// Waits until `at`, or for ever.
    pub(super) fn sleep_until(&self, at: Option<Timestamp>) -> impl Future<Output = Busy> + Send + use<> {
        let by_node = match &self.0 {
            Kind::Node(clock) => Ok(clock.sleep_until(at)),
            Kind::Set(shown) => Err(shown.clone()),
        };
        async move {
            match (by_node, at) {
                (Ok(sleep), _) => sleep.await,
                (Err(mut shown), Some(at)) => {
                    // Whoever set the clock is gone: it stands.
                    if shown.wait_for(|now| *now >= at).await.is_err() {
                        std::future::pending().await
                    }
                    Clock::default().busy()
                }
                (Err(_), None) => std::future::pending().await,
            }
        }
    }
}
