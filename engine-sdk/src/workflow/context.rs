//! What workflow code may do.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use engine_core::ids::{Namespace, RunId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::time::Timestamp;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::activity::ActivityCall;
use super::combine::Elapsed;
use super::signal::SignalChannel;
use super::state::Shared;
use super::timer::Sleep;
use super::wait::{self, Canceled};
use crate::data::Arguments;
use crate::definition::{Activity, ActivityOptions, Signal};

/// What workflow code may do: every step that it takes is recorded, and answered from the history when the code runs again.
///
/// Clones are the same context. It works only inside the workflow's own code: carried into a spawned task or another thread it
/// does nothing, and the workflow task fails with a sentence that says so.
#[derive(Clone)]
pub struct WorkflowContext {
    shared: Arc<Shared>,
}

impl WorkflowContext {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Calls an activity. Its options can be changed before the call is awaited.
    ///
    /// `input` is the activity's argument; a tuple if it has several; `()` if it has none.
    pub fn run<A: Activity>(&self, activity: A, input: A::Input) -> ActivityCall<A::Output> {
        let encode = Box::new(move || A::encode_input(&input));
        ActivityCall::new(&self.shared, A::NAME, activity.options(), encode)
    }

    /// Calls an activity by the name under which it is registered, for code that this program does not have. `args` is a tuple
    /// of its arguments: `()`, `(one,)`, `(one, two)`.
    pub fn run_named<T: DeserializeOwned>(
        &self,
        activity_type: &str,
        args: impl Arguments + Send + 'static,
    ) -> ActivityCall<T> {
        let encode = Box::new(move || args.encode());
        ActivityCall::new(&self.shared, activity_type, ActivityOptions::default(), encode)
    }

    /// A durable timer, which outlives workers and servers. It runs from this call, awaited or not, and fires late rather than
    /// early.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::start(&self.shared, duration)
    }

    /// The signals of type `S`.
    pub fn signals<S: Signal>(&self) -> SignalChannel<S> {
        SignalChannel::new(&self.shared, S::NAME)
    }

    /// The signals of this name.
    pub fn signal_channel<T: DeserializeOwned>(&self, name: &str) -> SignalChannel<T> {
        SignalChannel::new(&self.shared, name)
    }

    /// The time at which the current workflow task started, by the server's clock. It stands still while the code runs, never
    /// goes backwards, and is the same in a replay.
    pub fn now(&self) -> SystemTime {
        system_time(self.shared.lock().now)
    }

    /// A random number that is the same in a replay. Not for secrets: who knows the run id knows it.
    pub fn random_u64(&self) -> u64 {
        match self.shared.lock_as_code() {
            Some(mut state) => state.random.next(),
            None => 0,
        }
    }

    /// Like [`WorkflowContext::random_u64`], from 0 up to but not including 1.
    pub fn random_f64(&self) -> f64 {
        // 53 bits: the precision of an f64's fraction.
        (self.random_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Like [`WorkflowContext::random_u64`], within a range.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn random_range(&self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "a random number needs a range that is not empty");
        let width = range.end - range.start;
        // Multiplication instead of a remainder: every number is equally likely up to one part in 2^64 / width.
        let scaled = (u128::from(self.random_u64()) * u128::from(width)) >> 64;
        range.start + u64::try_from(scaled).expect("the high half of a product with a 64-bit number")
    }

    /// A random UUID (version 4) that is the same in a replay.
    pub fn uuid(&self) -> Uuid {
        let (high, low) = (self.random_u64(), self.random_u64());
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
    }

    /// What is known of the run.
    pub fn info(&self) -> Arc<WorkflowInfo> {
        self.shared.lock().info.clone().expect("set before the code runs for the first time")
    }

    /// Whether the run was asked to cancel.
    pub fn is_cancel_requested(&self) -> bool {
        self.shared.lock().cancel_reason.is_some()
    }

    /// Why the run was asked to cancel, if it was.
    pub fn cancel_reason(&self) -> Option<String> {
        self.shared.lock().cancel_reason.clone()
    }

    /// Resolves when the run is asked to cancel; at once if it was.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        wait::cancelled(Arc::clone(&self.shared))
    }

    /// Waits for `future`, but no longer than until the run is asked to cancel; then `future` is dropped, which cancels what it
    /// stood for. With `?` in a workflow the run closes as canceled.
    pub async fn unless_cancelled<F: IntoFuture>(&self, future: F) -> Result<F::Output, Canceled> {
        let mut future = pin!(future.into_future());
        let mut cancelled = pin!(self.cancelled());
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            cancelled.as_mut().poll(cx).map(|()| Err(Canceled))
        })
        .await
    }

    /// Waits until `condition` is true. It is asked after everything that could have changed the workflow's own state, and must
    /// depend on nothing else. With a time limit: `ctx.timeout(d, ctx.wait_until(..))`.
    pub fn wait_until<C: FnMut() -> bool + Send>(&self, condition: C) -> impl Future<Output = ()> + Send + use<C> {
        wait::until(Arc::clone(&self.shared), condition)
    }

    /// Waits for `future`, but no longer than `duration` from this call; then `future` is dropped, which cancels what it stood
    /// for. If both are ready, `future` wins.
    pub fn timeout<F: IntoFuture>(
        &self,
        duration: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
        let timer = self.sleep(duration);
        async move {
            let mut future = pin!(future.into_future());
            let mut timer = pin!(timer);
            poll_fn(|cx| {
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                timer.as_mut().poll(cx).map(|()| Err(Elapsed(duration)))
            })
            .await
        }
    }

    /// Whether the code is being run again over its history. For what must happen once and outside of the history, such as
    /// metrics; never for a decision. `tracing` is silent during replay anyway.
    #[doc(hidden)]
    pub fn is_replaying(&self) -> bool {
        self.shared.lock().replaying
    }
}

impl fmt::Debug for WorkflowContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowContext").field("info", &self.shared.lock().info).finish_non_exhaustive()
    }
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// Its namespace.
    pub namespace: Namespace,
    /// The user's key.
    pub workflow_id: WorkflowId,
    /// This run.
    pub run_id: RunId,
    /// The first run of the chain.
    pub first_run_id: RunId,
    /// The run that this one continues, if any.
    pub continued_from: Option<RunId>,
    /// The code that it runs.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks go, and its activities unless they say otherwise.
    pub task_queue: TaskQueueName,
    /// Which try of the chain this run is, from 1.
    pub attempt: u32,
    /// When the run began, by the server's clock.
    pub started_at: SystemTime,
    /// How long this run may take, if there is a limit.
    pub run_timeout: Option<Duration>,
    /// How many events the history has at the current workflow task.
    pub history_length: u64,
    /// Its size in bytes.
    pub history_size_bytes: u64,
    /// Whether the history has become long enough that the code should continue as new.
    pub suggest_continue_as_new: bool,
}

pub(super) fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + at.since(Timestamp::EPOCH)
}
