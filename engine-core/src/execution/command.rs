//! The commands of a completed workflow task: each becomes one event, in order, or none of them does.
//!
//! | command               | owner             |
//! |-----------------------|-------------------|
//! | ScheduleActivity      | `activity`        |
//! | RequestCancelActivity | `activity`        |
//! | StartTimer            | `timer`           |
//! | CancelTimer           | `timer`           |
//! | CompleteWorkflow      | `close`           |
//! | FailWorkflow          | `close`           |
//! | CancelWorkflow        | `close`           |
//!
//! Invariant: a command that closes the run is the last, and only if the code has seen all that reached the run.

use crate::command::Command;
use crate::event::{EventKind, WorkflowCanceled, WorkflowCompleted, WorkflowTaskFailureCause};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::ids::EventId;
use crate::limits;
use crate::payload::Payload;

/// Why the commands of a task were refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: WorkflowTaskFailureCause,
    pub(super) message: String,
}

impl Refusal {
    fn bad(message: String) -> Self {
        Self { cause: WorkflowTaskFailureCause::BadCommand, message }
    }
}

impl Draft<'_> {
    /// Carries out `commands` after the `WorkflowTaskCompleted` event `completed`, then numbers what was buffered. After an error
    /// the draft is to be thrown away.
    pub(super) fn carry_out(&mut self, commands: Vec<Command>, completed: EventId) -> Result<(), Refusal> {
        let count = commands.len();
        if count > limits::COMMANDS_PER_TASK_MAX {
            let limit = limits::COMMANDS_PER_TASK_MAX;
            return Err(Refusal::bad(format!(
                "commands: there are {count}; the limit is {limit} in one workflow task"
            )));
        }
        let mut closing = None;
        for (index, command) in commands.into_iter().enumerate() {
            let name = command.name();
            let at =
                |bad: BadField| Refusal::bad(format!("commands[{index}] ({name}): {}: {}", bad.field, bad.problem));
            if command.closes() {
                if index + 1 < count {
                    let later = count - index - 1;
                    return Err(Refusal::bad(format!(
                        "commands[{index}] ({name}): closes the run, but {later} commands follow it; it must be the last"
                    )));
                }
                check_closing(&command).map_err(at)?;
                closing = Some(command);
            } else {
                self.open_or_cancel(command, completed).map_err(at)?;
            }
        }
        match closing {
            Some(command) => self.close_by_command(command, completed),
            None => {
                self.flush_buffer();
                self.offer_scheduled_activities();
                Ok(())
            }
        }
    }

    fn open_or_cancel(&mut self, command: Command, completed: EventId) -> Result<(), BadField> {
        match command {
            Command::ScheduleActivity(command) => self.schedule_activity(*command, completed),
            Command::RequestCancelActivity { activity_id } => self.request_cancel_activity(&activity_id, completed),
            Command::StartTimer { timer_id, duration } => self.start_timer(timer_id, duration, completed),
            Command::CancelTimer { timer_id } => self.cancel_timer(timer_id, completed),
            Command::CompleteWorkflow { .. } | Command::FailWorkflow { .. } | Command::CancelWorkflow { .. } => Ok(()),
        }
    }

    fn close_by_command(&mut self, command: Command, completed: EventId) -> Result<(), Refusal> {
        if self.run.buffer.has_events_besides(&self.overlay.canceled_timers) {
            return Err(Refusal {
                cause: WorkflowTaskFailureCause::UnhandledCommand,
                message:
                    "UnhandledCommand: events arrived while the task was running, and the code closed the run without \
                          having seen them"
                        .to_owned(),
            });
        }
        self.flush_buffer();
        match command {
            Command::CompleteWorkflow { result } => {
                self.close(EventKind::WorkflowCompleted(WorkflowCompleted {
                    workflow_task_completed_event_id: completed,
                    result,
                }));
            }
            Command::FailWorkflow { failure } => self.close_failed(failure.within_limits(), completed),
            Command::CancelWorkflow { details } => {
                self.close(EventKind::WorkflowCanceled(WorkflowCanceled {
                    workflow_task_completed_event_id: completed,
                    details,
                }));
            }
            Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. } => {}
        }
        Ok(())
    }
}

fn check_closing(command: &Command) -> Result<(), BadField> {
    match command {
        Command::CompleteWorkflow { result } => check::payload_size("result", result.as_ref().map_or(0, Payload::size)),
        Command::CancelWorkflow { details } => {
            check::payload_size("details", details.as_ref().map_or(0, Payload::size))
        }
        // A failure is cut to its limits instead.
        Command::FailWorkflow { .. }
        | Command::ScheduleActivity(_)
        | Command::RequestCancelActivity { .. }
        | Command::StartTimer { .. }
        | Command::CancelTimer { .. } => Ok(()),
    }
}
