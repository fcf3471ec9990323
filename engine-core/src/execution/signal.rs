//! Signals: messages to the workflow code, in the order in which they were made durable.
//!
//! | run    | request id         | events                          |
//! |--------|--------------------|---------------------------------|
//! | open   | unknown, or none   | WorkflowSignaled (or buffered)  |
//! | open   | seen before        | — (answers `Unchanged`)         |
//! | closed | any                | — (refused: already closed)     |
//!
//! A signal is never refused because the run is about to close: while a workflow task runs it is buffered, and a completion that
//! would close the run over it fails (`workflow_task`). During the pause before the first task a signal is recorded, and the
//! pause goes on.

use std::collections::{BTreeSet, VecDeque};

use crate::event::{EventKind, WorkflowSignaled};
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{Execution, Rejection, Reply, Transition};
use crate::ids::RequestId;
use crate::limits;
use crate::payload;
use crate::time::Timestamp;

/// The request ids of the last signals, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SeenRequests {
    order: VecDeque<RequestId>,
    known: BTreeSet<RequestId>,
}

impl SeenRequests {
    /// Remembers `request_id`, at the cost of the oldest when there are too many. A buffered signal passes here twice, when it
    /// arrives and when it is numbered, and counts once.
    pub(super) fn note(&mut self, request_id: Option<&RequestId>) {
        let Some(request_id) = request_id else { return };
        if !self.known.insert(request_id.clone()) {
            return;
        }
        self.order.push_back(request_id.clone());
        if self.order.len() > limits::SIGNAL_REQUEST_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

impl Execution {
    pub(super) fn decide_signal(&self, signal: WorkflowSignaled, now: Timestamp) -> Result<Transition, Rejection> {
        // Before the check for a closed run: the sender of a signal that got through must not be told that it did not.
        if signal.request_id.as_ref().is_some_and(|id| self.signals.known.contains(id)) {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        let size = payload::total_size(&signal.input);
        check::payload_size("input", size)?;
        self.check_buffer_room(size)?;
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowSignaled(signal));
        Ok(draft.finish(Reply::Done))
    }
}
