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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::limits;

    #[test]
    fn a_run_whose_task_is_merely_scheduled_gets_the_close_event_only() {
        check(
            Run::start(),
            |run| run.terminate(),
            "
                2 WorkflowTerminated enough
                > WithdrawWorkflowTask
                > Closed Terminated
            ",
        );
    }

    #[test]
    fn a_running_workflow_task_fails_first_and_what_was_buffered_is_kept() {
        let mut run = Run::start();
        run.take_task();
        run.signal("a");
        check(
            run,
            |run| run.terminate(),
            "
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=ForceClosed
                5 WorkflowSignaled a
                6 WorkflowTerminated enough
                > WithdrawWorkflowTask
                > Closed Terminated
            ",
        );
    }

    #[test]
    fn a_workflow_task_in_doubt_counts_as_running() {
        let mut run = Run::start();
        run.take_task();
        run.crash();
        check(
            run,
            |run| run.terminate(),
            "
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=ForceClosed
                5 WorkflowTerminated enough
                > WithdrawWorkflowTask
                > Closed Terminated
            ",
        );
    }

    #[test]
    fn what_is_open_is_taken_back() {
        let mut run = Run::start();
        run.turn(vec![schedule("queued"), schedule("running"), schedule("paused"), start_timer("t", seconds(9))]);
        run.take_activity("running");
        let token = run.take_activity("paused");
        run.fail_activity(token, crate::failure::Failure::application("Busy", "later"));
        let run = check(
            run,
            |run| run.terminate(),
            "
                9 WorkflowTerminated enough
                % 7 deleted
                > WithdrawActivity 5 attempt=1
                > WithdrawActivity 6 attempt=1
                > Closed Terminated
            ",
        );
        assert_eq!(run.execution.next_deadline(), None);
        assert_eq!(run.execution.pending_activities(), []);
    }

    #[test]
    fn a_closed_run_refuses_and_details_have_a_limit() {
        let mut run = Run::start();
        let details = Some(Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX]));
        let large = Input::Terminate { reason: String::new(), details, identity: String::new() };
        assert!(run.send(large).unwrap_err().to_string().starts_with("details: is 2097162 bytes large"));
        run.terminate();
        check(
            run,
            |run| run.terminate(),
            "
                ! workflow execution already completed
            ",
        );
    }
}
