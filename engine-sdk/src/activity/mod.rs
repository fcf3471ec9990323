//! What an activity's code has in hand: [`ActivityContext`].
//!
//! | file | holds |
//! |---|---|
//! | `attempt` | what is known of the attempt, and why it should stop |
//! | `heartbeat` | heartbeats on their way to the server: the latest counts |
//! | `state` | values that the worker's activities share |
//! | `testing` | a context for unit tests |
//!
//! The worker's half, which runs activities and sends what they report, is in `worker`.

mod attempt;
mod heartbeat;
mod state;
mod testing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use self::attempt::{ActivityAttempt, CancelReason};
pub(crate) use self::heartbeat::{HeartbeatSlot, throttle_interval};
pub(crate) use self::state::{OwnQueue, SharedState};
pub use self::testing::TestContext;
use crate::data::{self, DataError};
use crate::error::ActivityError;

/// The first argument of every activity: its shared state, its sign of life, its wish to stop, and what is known about it.
///
/// Cheap to clone, and usable from any thread: code that runs in `spawn_blocking` may take a clone along.
#[derive(Clone)]
pub struct ActivityContext {
    inner: Arc<Inner>,
}

struct Inner {
    attempt: ActivityAttempt,
    state: Arc<SharedState>,
    stop: Stop,
    heartbeat: Arc<HeartbeatSlot>,
    goes_on_elsewhere: AtomicBool,
}

/// The wish that an attempt stops: a token to wait on and, set before the token, the reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    reason: Arc<std::sync::OnceLock<CancelReason>>,
}

impl Stop {
    /// Asks the code to stop. The first reason stays.
    pub(crate) fn ask(&self, reason: CancelReason) {
        // Set before the token: whoever sees the token sees a reason. It is lost only to an earlier reason.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.reason.get().copied()
    }
}

impl ActivityContext {
    pub(crate) fn new(
        attempt: ActivityAttempt,
        state: Arc<SharedState>,
        stop: Stop,
        heartbeat: Arc<HeartbeatSlot>,
    ) -> Self {
        Self { inner: Arc::new(Inner { attempt, state, stop, heartbeat, goes_on_elsewhere: AtomicBool::new(false) }) }
    }

    /// Begins a context for a unit test: `my_activity.execute(ActivityContext::for_test().state(gateway).build(), input)`.
    pub fn for_test() -> TestContext {
        TestContext::new()
    }

    /// The value of type `T` that was registered with `Worker::state`.
    ///
    /// # Panics
    /// If there is none. The attempt then fails with a sentence that names the type, and its retry policy decides what
    /// follows; [`ActivityContext::try_state`] leaves the choice to the code.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        match self.try_state() {
            Some(value) => value,
            None => panic!("{}", self.inner.state.missing::<T>(&self.inner.attempt.activity_type)),
        }
    }

    /// The value of type `T` that was registered with `Worker::state`, if there is one.
    pub fn try_state<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.inner.state.get()
    }

    /// Like [`ActivityContext::state`], for code that must own what it uses.
    ///
    /// # Panics
    /// Like [`ActivityContext::state`].
    pub fn state_arc<T: Send + Sync + 'static>(&self) -> Arc<T> {
        match self.inner.state.get_arc() {
            Some(value) => value,
            None => panic!("{}", self.inner.state.missing::<T>(&self.inner.attempt.activity_type)),
        }
    }

    /// The queue that this worker alone serves ([`Worker::own_queue`](crate::worker::Worker::own_queue)); `None` if it has none. An
    /// activity that returns it lets its workflow, or whoever started it, send what follows to the same host.
    pub fn own_queue(&self) -> Option<&str> {
        self.try_state::<OwnQueue>().map(|queue| queue.0.as_str())
    }

    /// Tells the server that the attempt is alive and how far it is. `details` reach the next attempt
    /// ([`ActivityContext::heartbeat_details`]) if this one fails, at most 2 MiB.
    ///
    /// Never blocks; call it as often as you like. The first is sent at once, then at most one in 40 % of the heartbeat
    /// timeout (30 s if there is none), always with the latest details. Details that were not sent yet go out before the
    /// attempt's failure does; those of a worker that dies are lost. Details that cannot be encoded are left out, with a
    /// warning in the log.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) {
        match data::encode(details) {
            Ok(payload) => self.inner.heartbeat.beat(Some(payload)),
            Err(error) => {
                tracing::warn!(activity_id = %self.inner.attempt.activity_id, %error, "sent a heartbeat without its details");
                self.inner.heartbeat.beat(None);
            }
        }
    }

    /// The details of the last heartbeat of an earlier attempt; `None` if there was none.
    pub fn heartbeat_details<T: DeserializeOwned>(&self) -> Result<Option<T>, DataError> {
        self.inner.attempt.heartbeat_details.as_ref().map(data::decode).transpose()
    }

    /// Canceled when the attempt should stop: see [`CancelReason`]. What follows is the code's choice; an attempt that
    /// stops returns [`ActivityContext::canceled`].
    pub fn cancellation_token(&self) -> CancellationToken {
        self.inner.stop.token.clone()
    }

    /// Whether the attempt should stop.
    pub fn is_cancelled(&self) -> bool {
        self.inner.stop.token.is_cancelled()
    }

    /// Waits until the attempt should stop.
    pub async fn cancelled(&self) -> CancelReason {
        self.inner.stop.token.cancelled().await;
        self.inner.stop.reason().unwrap_or(CancelReason::Requested)
    }

    /// Why the attempt should stop; `None` while it should not.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        if self.is_cancelled() { Some(self.inner.stop.reason().unwrap_or(CancelReason::Requested)) } else { None }
    }

    /// What an attempt returns that stopped as it was asked to: `return Err(ctx.canceled())`.
    ///
    /// If the workflow asked, the activity closes as canceled. If the worker shuts down, another worker runs it again.
    pub fn canceled(&self) -> ActivityError {
        ActivityError::canceled()
    }

    /// Which try this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt.attempt
    }

    /// Ids, types, times and deadline of the attempt.
    pub fn info(&self) -> &ActivityAttempt {
        &self.inner.attempt
    }

    /// A key that is the same for every attempt of this activity and for no other activity: pass it to whatever the
    /// activity calls, so that an attempt that is repeated after a crash has its effect once.
    pub fn idempotency_key(&self) -> String {
        self.inner.attempt.idempotency_key()
    }

    /// What an attempt returns that ends elsewhere: `return Err(ctx.complete_later())`.
    ///
    /// The worker's slot is free again, and the worker may go; somebody calls `Client::complete_activity` or
    /// `Client::fail_activity`, by [`ActivityAttempt::token`] or by id. The activity's timeouts go on, heartbeats included. If
    /// the server restarts while this worker is not running, the activity is tried again.
    #[must_use = "return it: `return Err(ctx.complete_later())`"]
    pub fn complete_later(&self) -> ActivityError {
        self.inner.goes_on_elsewhere.store(true, Ordering::Release);
        ActivityError::non_retryable("the activity is completed elsewhere")
    }

    /// Whether [`ActivityContext::complete_later`] was called.
    pub(crate) fn goes_on_elsewhere(&self) -> bool {
        self.inner.goes_on_elsewhere.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for ActivityContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActivityContext")
            .field("activity_type", &self.inner.attempt.activity_type)
            .field("activity_id", &self.inner.attempt.activity_id)
            .field("run_id", &self.inner.attempt.run_id)
            .field("attempt", &self.inner.attempt.attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gateway(u32);

    #[test]
    fn state_is_found_by_its_type_and_a_missing_one_is_named() {
        let ctx = ActivityContext::for_test().state(Gateway(7)).build();
        assert_eq!(ctx.state::<Gateway>().0, 7);
        assert_eq!(ctx.state_arc::<Gateway>().0, 7);
        assert!(ctx.try_state::<String>().is_none());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ctx.state::<String>().len())).unwrap_err();
        assert_eq!(
            panic.downcast_ref::<String>().unwrap(),
            "activity test_activity asks for state of type `alloc::string::String`, which this worker does not have: \
             register it with `Worker::state(value)`"
        );
    }

    #[test]
    fn the_idempotency_key_is_the_same_for_each_attempt() {
        let first = ActivityContext::for_test().attempt(1).build();
        let second = ActivityContext::for_test().attempt(2).build();
        assert_eq!(second.attempt(), 2);
        assert_eq!(first.idempotency_key(), second.idempotency_key());
        let other = ActivityContext::for_test().activity_id("2").build();
        assert_ne!(first.idempotency_key(), other.idempotency_key());
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_stays() {
        let test = ActivityContext::for_test();
        let stop = test.stopper();
        let ctx = test.build();
        assert!(!ctx.is_cancelled());
        assert_eq!(ctx.cancel_reason(), None);
        stop(CancelReason::DeadlinePassed);
        stop(CancelReason::Requested);
        assert_eq!(ctx.cancelled().await, CancelReason::DeadlinePassed);
        assert_eq!(ctx.cancel_reason(), Some(CancelReason::DeadlinePassed));
        assert!(ctx.cancellation_token().is_cancelled());
    }

    #[test]
    fn details_of_the_attempt_before_are_decoded() {
        let ctx = ActivityContext::for_test().heartbeat_details(&(3, "rows")).build();
        assert_eq!(ctx.heartbeat_details::<(u32, String)>().unwrap(), Some((3, "rows".to_owned())));
        assert!(ctx.heartbeat_details::<bool>().is_err());
        assert_eq!(ActivityContext::for_test().build().heartbeat_details::<bool>().unwrap(), None);
    }

    #[test]
    fn heartbeats_of_a_test_are_seen_by_the_test() {
        let test = ActivityContext::for_test();
        let heartbeats = test.heartbeats();
        let ctx = test.build();
        ctx.heartbeat(&1);
        ctx.heartbeat("two");
        assert_eq!(heartbeats(), [serde_json::json!(1), serde_json::json!("two")]);
    }
}
