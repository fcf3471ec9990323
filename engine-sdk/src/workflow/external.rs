//! Other workflows, to be signaled or asked to stop.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::ids::{RunId, SignalName, WorkflowId};
use engine_core::payload::Payload;
use engine_core::peer::PeerTarget;
use engine_core::replay::{Handle, Place, Resolution};
use serde::Serialize;

use super::state::Shared;
use crate::data::{self, DataError};
use crate::definition::{MethodSignal, Signal};
use crate::error::PeerFailure;

/// Another workflow of the same namespace, made by [`super::WorkflowContext::external`].
///
/// A message to it is sent when the method's future is awaited for the first time, and cannot be taken back. The engine delivers
/// it once, through crashes of both sides; what was sent reaches the other workflow even if this one closes without waiting.
#[derive(Clone)]
pub struct ExternalWorkflow {
    shared: Arc<Shared>,
    workflow_id: String,
    run_id: Option<RunId>,
    child_only: bool,
}

impl ExternalWorkflow {
    pub(super) fn new(shared: &Arc<Shared>, workflow_id: String) -> Self {
        Self { shared: Arc::clone(shared), workflow_id, run_id: None, child_only: false }
    }

    /// A workflow that counts only while it is a child of this run.
    pub(super) fn child(shared: &Arc<Shared>, workflow_id: String) -> Self {
        Self { child_only: true, ..Self::new(shared, workflow_id) }
    }

    /// The same workflow, but only this run.
    #[must_use]
    pub fn with_run_id(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// Its workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// Sends it a message. After `Ok` the message is durable in its history. Fails if there is no such open workflow.
    #[track_caller]
    pub fn signal<S: Signal>(&self, signal: S) -> impl Future<Output = Result<(), PeerFailure>> {
        self.clone().deliver(S::NAME, move || content(&signal))
    }

    /// Sends it a signal that a method of its code handles: `order.send(Order::PAY, card)`. See [`ExternalWorkflow::signal`].
    #[track_caller]
    pub fn send<S: MethodSignal>(&self, signal: S, input: S::Input) -> impl Future<Output = Result<(), PeerFailure>> {
        let _ = signal;
        self.clone().deliver(S::NAME, move || S::encode_input(&input))
    }

    /// Sends it a message by its name. See [`ExternalWorkflow::signal`].
    #[track_caller]
    pub fn signal_named<V: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &V,
    ) -> impl Future<Output = Result<(), PeerFailure>> {
        self.clone().deliver(name, move || content(value))
    }

    /// Asks it to stop; its code decides what to do. After `Ok` the request is durable, or the workflow is closed already.
    #[track_caller]
    pub fn cancel(&self, reason: impl Into<String>) -> impl Future<Output = Result<(), PeerFailure>> {
        let (place, reason) = (Location::caller(), reason.into());
        async move { self.message(self.issue_cancel(place, reason)).await }
    }

    /// The message is encoded and sent when the future is awaited for the first time.
    #[track_caller]
    pub(super) fn deliver(
        self,
        name: &str,
        encode: impl FnOnce() -> Result<Vec<Payload>, DataError>,
    ) -> impl Future<Output = Result<(), PeerFailure>> {
        let place = Location::caller();
        async move {
            // Encoded without the lock: the value's code is the user's.
            let input = encode();
            self.message(self.issue_signal(place, name, input)).await
        }
    }

    fn message(&self, handle: Option<Handle>) -> Message {
        Message { shared: Arc::clone(&self.shared), workflow_id: self.workflow_id.clone(), handle }
    }

    /// `Err` says what is wrong with the id.
    fn target(&self) -> Result<PeerTarget, String> {
        let workflow_id = WorkflowId::parse(&self.workflow_id).map_err(|error| format!("workflow_id {error}"))?;
        Ok(PeerTarget { workflow_id, run_id: self.run_id, child_only: self.child_only })
    }

    fn issue_signal(&self, place: Place, name: &str, input: Result<Vec<Payload>, DataError>) -> Option<Handle> {
        let mut state = self.shared.lock_as_code()?;
        let name = SignalName::parse(name).map_err(|error| format!("signal name {error}"));
        let input = input.map_err(|error| error.to_string());
        match (self.target(), name, input) {
            (Ok(target), Ok(name), Ok(input)) => {
                state.progress += 1;
                Some(state.replayer.at(place, |replayer| replayer.signal_external(target, name, || input)))
            }
            (target, name, input) => {
                let wrong =
                    [target.err(), name.err(), input.err()].into_iter().flatten().collect::<Vec<_>>().join(", ");
                let message = format!("the signal to workflow {:?} cannot be sent: {wrong}", self.workflow_id);
                state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidCall", message);
                None
            }
        }
    }

    fn issue_cancel(&self, place: Place, reason: String) -> Option<Handle> {
        let mut state = self.shared.lock_as_code()?;
        match self.target() {
            Ok(target) => {
                state.progress += 1;
                Some(state.replayer.at(place, |replayer| replayer.request_cancel_external(target, reason)))
            }
            Err(wrong) => {
                let message = format!("workflow {:?} cannot be asked to stop: {wrong}", self.workflow_id);
                state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidCall", message);
                None
            }
        }
    }
}

/// A signal's content.
pub(super) fn content<V: Serialize + ?Sized>(value: &V) -> Result<Vec<Payload>, DataError> {
    data::encode(value).map(|value| vec![value])
}

impl fmt::Debug for ExternalWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("ExternalWorkflow");
        text.field("workflow_id", &self.workflow_id).field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

/// A message on its way.
struct Message {
    shared: Arc<Shared>,
    workflow_id: String,
    /// `None` once the answer was taken, or if it was made outside of the workflow's code.
    handle: Option<Handle>,
}

impl Future for Message {
    type Output = Result<(), PeerFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle else { return Poll::Pending };
        let shared = Arc::clone(&self.shared);
        let Some(mut state) = shared.lock_as_code() else { return Poll::Pending };
        let Some(resolved) = state.replayer.take_resolution(handle) else {
            state.wait_for(handle, cx.waker());
            return Poll::Pending;
        };
        state.take_handle_waker(handle);
        state.progress += 1;
        self.handle = None;
        match resolved.resolution {
            Resolution::Completed { .. } => Poll::Ready(Ok(())),
            Resolution::Failed { failure, .. } => {
                Poll::Ready(Err(PeerFailure::new(self.workflow_id.clone(), *failure)))
            }
            Resolution::Fired => Poll::Pending,
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(handle) = self.handle
            && let Some(mut state) = self.shared.lock_as_code()
        {
            state.take_handle_waker(handle);
            // It was sent: whoever stops waiting does not take it back.
            state.replayer.detach(handle);
        }
    }
}
