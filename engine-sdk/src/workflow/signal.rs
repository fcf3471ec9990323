//! Signals as typed channels.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine_core::ids::SignalName;
use serde::de::DeserializeOwned;

use super::state::Shared;
use crate::data;

/// The signals of one name, in the order of the history. Signals that arrived before the channel was made are in it.
///
/// Several channels of one name share their signals: each signal is received once. A signal whose content cannot be decoded is
/// logged and skipped: what a sender got wrong must not stop the workflow.
pub struct SignalChannel<T> {
    shared: Arc<Shared>,
    name: SignalName,
    content: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> SignalChannel<T> {
    pub(super) fn new(shared: &Arc<Shared>, name: &str) -> Self {
        Self { shared: Arc::clone(shared), name: SignalName::from_trusted(name), content: PhantomData }
    }

    /// The next signal. Waits until there is one. Dropping the future loses none.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { channel: self, key: None }
    }

    /// The next signal, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut state = self.shared.lock_as_code()?;
        loop {
            let input = state.next_signal(&self.name)?;
            match data::decode_signal(&input) {
                Ok(value) => return Some(value),
                Err(error) => {
                    tracing::error!(signal = %self.name, %error, "skipped a signal that cannot be decoded");
                }
            }
        }
    }

    /// How many signals wait to be received, those that cannot be decoded included.
    pub fn len(&self) -> usize {
        self.shared.lock().signal_count(&self.name)
    }

    /// Whether no signal waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The signal's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl<T> fmt::Debug for SignalChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalChannel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The next signal, made by [`SignalChannel::recv`].
#[must_use = "a signal is received when this is awaited"]
pub struct Recv<'a, T> {
    channel: &'a mut SignalChannel<T>,
    key: Option<u64>,
}

impl<T: DeserializeOwned> Future for Recv<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.channel.try_recv() {
            return Poll::Ready(value);
        }
        let Self { channel, key } = &mut *self;
        if let Some(mut state) = channel.shared.lock_as_code() {
            state.signal_waiters(&channel.name).register(key, cx.waker());
        }
        Poll::Pending
    }
}

impl<T> Drop for Recv<'_, T> {
    fn drop(&mut self) {
        if self.key.is_some()
            && let Some(mut state) = self.channel.shared.lock_as_code()
        {
            state.signal_waiters(&self.channel.name).remove(self.key);
        }
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").field("name", &self.channel.name).finish_non_exhaustive()
    }
}
