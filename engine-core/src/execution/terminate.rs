//! Termination: the run is closed from outside, and its code does not run again.
//!
//! | run    | events                                                          |
//! |--------|-----------------------------------------------------------------|
//! | open   | WorkflowTerminated, with what `close` puts before it            |
//! | closed | — (refused: already closed)                                     |

use crate::event::{EventKind, WorkflowTerminated};
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{Execution, Rejection, Reply, Transition};
use crate::payload::Payload;
use crate::time::Timestamp;

impl Execution {
    pub(super) fn decide_terminate(
        &self,
        request: WorkflowTerminated,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        check::payload_size("details", request.details.as_ref().map_or(0, Payload::size))?;
        let mut draft = Draft::new(self, now);
        draft.end_task_by_force();
        draft.close(EventKind::WorkflowTerminated(request));
        Ok(draft.finish(Reply::Done))
    }
}
