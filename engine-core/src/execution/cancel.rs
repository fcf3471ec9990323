//! Cancellation: a request to the workflow code, which decides what to do.
//!
//! | run    | asked before | events                                |
//! |--------|--------------|---------------------------------------|
//! | open   | no           | WorkflowCancelRequested (or buffered) |
//! | open   | yes          | — (answers `Unchanged`)               |
//! | closed | any          | — (answers `Unchanged`)               |

use crate::event::{EventKind, WorkflowCancelRequested};
use crate::execution::draft::Draft;
use crate::execution::{Execution, Reply, Transition};
use crate::time::Timestamp;

impl Execution {
    pub(super) fn decide_request_cancel(&self, request: WorkflowCancelRequested, now: Timestamp) -> Transition {
        if self.closed.is_some() || self.cancel_requested {
            return Transition::reply(Reply::Unchanged);
        }
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowCancelRequested(request));
        draft.finish(Reply::Done)
    }
}
