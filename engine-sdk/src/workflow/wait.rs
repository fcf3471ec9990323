//! Waiting for a condition over the workflow's own state, and for a request to cancel.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::state::{Shared, State, Waiters};

/// The run was asked to cancel. As a workflow's error it closes the run as canceled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workflow was asked to cancel")]
pub struct Canceled;

/// One waker in one of the lists; gone when it is dropped.
struct Registration {
    shared: Arc<Shared>,
    list: fn(&mut State) -> &mut Waiters,
    key: Option<u64>,
}

impl Registration {
    fn set(&mut self, waker: &Waker) {
        if let Some(mut state) = self.shared.lock_as_code() {
            (self.list)(&mut state).register(&mut self.key, waker);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.key.is_some()
            && let Some(mut state) = self.shared.lock_as_code()
        {
            (self.list)(&mut state).remove(self.key);
        }
    }
}

pub(super) async fn until(shared: Arc<Shared>, mut condition: impl FnMut() -> bool + Send) {
    let list: fn(&mut State) -> &mut Waiters = |state| &mut state.condition_waiters;
    let mut registration = Registration { shared: Arc::clone(&shared), list, key: None };
    poll_fn(move |cx| {
        if condition() {
            if let Some(mut state) = shared.lock_as_code() {
                state.progress += 1;
            }
            return Poll::Ready(());
        }
        registration.set(cx.waker());
        Poll::Pending
    })
    .await;
}

pub(super) async fn cancelled(shared: Arc<Shared>) {
    let list: fn(&mut State) -> &mut Waiters = |state| &mut state.cancel_waiters;
    let mut registration = Registration { shared: Arc::clone(&shared), list, key: None };
    poll_fn(move |cx| {
        if shared.lock().cancel_reason.is_some() {
            return Poll::Ready(());
        }
        registration.set(cx.waker());
        Poll::Pending
    })
    .await;
}
