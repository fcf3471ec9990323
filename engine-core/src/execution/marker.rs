//! Markers: what the code had recorded. They change nothing in the state of a run; the worker reads them back at replay.
//!
//! | input                  | events         |
//! |------------------------|----------------|
//! | RecordMarker (command) | MarkerRecorded |

use crate::event::EventKind;
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::ids::EventId;
use crate::marker::{Marker, MarkerRecorded, StepOutcome};
use crate::payload::Payload;

impl Draft<'_> {
    pub(super) fn record_marker(
        &mut self,
        mut marker: Marker,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        if let Marker::Step(step) = &mut marker {
            match &mut step.outcome {
                StepOutcome::Completed { result } => {
                    check::payload_size("result", result.as_ref().map_or(0, Payload::size))?;
                }
                StepOutcome::Failed { failure, .. } => {
                    let within_limits = std::mem::replace(failure, crate::failure::Failure::server("", false));
                    *failure = within_limits.within_limits();
                }
            }
        }
        let recorded = MarkerRecorded { workflow_task_completed_event_id, marker };
        self.push(EventKind::MarkerRecorded(Box::new(recorded)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::Command;
    use crate::execution::support::*;
    use crate::ids::{PatchId, StepName};
    use crate::limits;
    use crate::marker::StepMarker;

    fn step(result: Option<Payload>) -> Command {
        Command::RecordMarker(Box::new(Marker::Step(StepMarker {
            step_id: 1,
            name: StepName::from_trusted("quote"),
            outcome: StepOutcome::Completed { result },
            attempt: 1,
            took: Duration::ZERO,
        })))
    }

    #[test]
    fn markers_stand_where_the_code_asked_for_them_and_bring_no_task() {
        let patch = Marker::Patch { patch_id: PatchId::from_trusted("use-courier"), deprecated: false };
        check(
            Run::start(),
            |run| {
                run.turn(vec![Command::RecordMarker(Box::new(patch)), schedule("a"), step(Some(Payload::json("7")))]);
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 MarkerRecorded Patch use-courier task=4
                6 ActivityScheduled a task=4
                7 MarkerRecorded Step 1 quote task=4
                > OfferActivity 6 attempt=1 queue=orders
            ",
        );
    }

    #[test]
    fn a_result_over_the_limit_fails_the_task() {
        check(
            Run::start(),
            |run| run.turn(vec![step(Some(Payload::json("1".repeat(limits::PAYLOAD_BYTES_MAX + 1))))]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=BadCommand
                > OfferWorkflowTask attempt=2
                = refused BadCommand: commands[0] (RecordMarker): result: is 2097163 bytes large; the limit is 2097152 bytes: store it elsewhere and pass a reference
            ",
        );
    }
}
