//! Durable sleep.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::limits;
use engine_core::replay::Handle;

use super::state::Shared;

/// A timer, made by [`super::WorkflowContext::sleep`]. It runs from when it is made, awaited or not. Dropping it cancels it.
#[must_use = "a timer that is dropped is canceled: await it"]
pub struct Sleep {
    shared: Arc<Shared>,
    /// `None` once it fired, or if it was made outside of the workflow's code.
    handle: Option<Handle>,
    fired: bool,
}

impl Sleep {
    #[track_caller]
    pub(super) fn start(shared: &Arc<Shared>, duration: Duration, summary: String) -> Self {
        let (place, duration) = (Location::caller(), duration.min(limits::DURATION_MAX));
        let handle = shared.lock_as_code().map(|mut state| {
            state.progress += 1;
            state.replayer.at(place, |replayer| replayer.start_timer(duration, summary))
        });
        Self { shared: Arc::clone(shared), handle, fired: false }
    }

    /// Whether it fired.
    pub fn is_elapsed(&self) -> bool {
        self.fired
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.fired {
            return Poll::Ready(());
        }
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        if state.replayer.take_resolution(handle).is_none() {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        }
        state.take_handle_waker(handle);
        state.progress += 1;
        self.handle = None;
        self.fired = true;
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(handle) = self.handle
            && let Some(mut state) = self.shared.lock_as_code()
        {
            state.take_handle_waker(handle);
            state.replayer.abandon(handle);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("fired", &self.fired).finish_non_exhaustive()
    }
}
