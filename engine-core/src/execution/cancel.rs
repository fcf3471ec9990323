//! Cancellation: a request to the workflow code, which decides what to do.
//!
//! | run    | asked before | events                                |
//! |--------|--------------|---------------------------------------|
//! | open   | no           | WorkflowCancelRequested (or buffered) |
//! | open   | yes          | — (answers `Unchanged`)               |
//! | closed | any          | — (answers `Unchanged`)               |
//!
//! A standalone activity has no code that decides: `activity::standalone` says what a request does to it.

use crate::event::{EventKind, WorkflowCancelRequested};
use crate::execution::draft::Draft;
use crate::execution::{Execution, Reply, Transition};
use crate::time::Timestamp;

impl Execution {
    pub(super) fn decide_request_cancel(&self, request: WorkflowCancelRequested, now: Timestamp) -> Transition {
        if self.closed.is_some() || self.cancel_requested {
            return Transition::reply(Reply::Unchanged);
        }
        if self.is_standalone_activity() {
            return self.decide_cancel_standalone(request, now);
        }
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowCancelRequested(request));
        draft.finish(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::support::*;

    #[test]
    fn the_first_request_is_recorded_and_repeats_change_nothing() {
        check(
            Run::start(),
            |run| {
                run.cancel();
                run.cancel();
            },
            "
                2 WorkflowCancelRequested stop
                = unchanged
            ",
        );
    }

    #[test]
    fn a_request_during_a_workflow_task_is_buffered_once() {
        check(
            Run::start(),
            |run| {
                let token = run.take_task();
                run.cancel();
                run.cancel();
                run.finish_task(token, vec![]);
                run.cancel();
            },
            "
                ~ task started attempt=1
                ~ buffered WorkflowCancelRequested stop
                = unchanged
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowCancelRequested stop
                > OfferWorkflowTask attempt=1
                = unchanged
            ",
        );
    }

    #[test]
    fn a_request_to_a_closed_run_succeeds_and_changes_nothing() {
        let mut run = Run::start();
        run.turn(vec![complete()]);
        check(
            run,
            |run| run.cancel(),
            "
                = unchanged
            ",
        );
    }
}
