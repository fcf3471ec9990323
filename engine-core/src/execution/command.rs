//! The commands of a completed workflow task: each becomes one event, in order, or none of them does.
//!
//! | command               | owner             |
//! |-----------------------|-------------------|
//! | ScheduleActivity      | `activity`        |
//! | RequestCancelActivity | `activity`        |
//! | StartTimer            | `timer`           |
//! | CancelTimer           | `timer`           |
//! | PublishState          | `publish`         |
//! | RecordMarker          | `marker`          |
//! | UpsertSearchAttributes | `properties`     |
//! | ModifyProperties      | `properties`      |
//! | AcceptUpdate          | `update`          |
//! | CompleteUpdate        | `update`          |
//! | CompleteWorkflow      | `close`           |
//! | FailWorkflow          | `close`           |
//! | CancelWorkflow        | `close`           |
//! | StartChild, SignalExternal, RequestCancelExternal | `peer` |
//! | ContinueAsNew         | `continue_as_new` |
//!
//! Invariant: a command that closes the run is the last, and only if the code has seen all that reached the run.

use crate::command::Command;
use crate::event::{EventKind, WorkflowCanceled, WorkflowTaskFailureCause};
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
                self.check_closing(&command).map_err(at)?;
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
            Command::StartTimer { timer_id, duration, summary } => {
                self.start_timer(timer_id, duration, summary, completed)
            }
            Command::CancelTimer { timer_id } => self.cancel_timer(timer_id, completed),
            Command::PublishState { name, value } => self.publish_state(name, value, completed),
            Command::RecordMarker(marker) => self.record_marker(*marker, completed),
            Command::Peer(command) => self.deal_with_peer(*command, completed),
            Command::UpsertSearchAttributes { changes } => self.upsert_search_attributes(changes, completed),
            Command::ModifyProperties(changes) => self.modify_properties(changes, completed),
            Command::AcceptUpdate(update) => self.accept_update(*update, completed),
            Command::CompleteUpdate { update_id, outcome } => self.complete_update(update_id, outcome, completed),
            Command::CompleteWorkflow { .. }
            | Command::FailWorkflow { .. }
            | Command::CancelWorkflow { .. }
            | Command::ContinueAsNew(_) => Ok(()),
        }
    }

    fn close_by_command(&mut self, command: Command, completed: EventId) -> Result<(), Refusal> {
        let hands_over_signals = matches!(command, Command::ContinueAsNew(_));
        if self.run.buffer.has_events_besides(&self.overlay.canceled_timers, hands_over_signals) {
            return Err(Refusal {
                cause: WorkflowTaskFailureCause::UnhandledCommand,
                message: "events arrived while the task was running, and the code closed the run without \
                          having seen them"
                    .to_owned(),
            });
        }
        if !hands_over_signals {
            self.flush_buffer();
        }
        match command {
            Command::CompleteWorkflow { result } => self.close_completed(result, completed),
            Command::FailWorkflow { failure } => self.close_failed(failure.within_limits(), completed),
            Command::CancelWorkflow { details } => {
                self.close(EventKind::WorkflowCanceled(WorkflowCanceled {
                    workflow_task_completed_event_id: completed,
                    details,
                }));
            }
            Command::ContinueAsNew(command) => self.continue_as_new(*command, completed),
            Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::PublishState { .. }
            | Command::RecordMarker(_)
            | Command::Peer(_)
            | Command::UpsertSearchAttributes { .. }
            | Command::ModifyProperties(_)
            | Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. } => {}
        }
        Ok(())
    }

    fn check_closing(&self, command: &Command) -> Result<(), BadField> {
        match command {
            Command::CompleteWorkflow { result } => {
                check::payload_size("result", result.as_ref().map_or(0, Payload::size))
            }
            Command::CancelWorkflow { details } => {
                check::payload_size("details", details.as_ref().map_or(0, Payload::size))
            }
            Command::ContinueAsNew(command) => self.check_continue_as_new(command),
            // A failure is cut to its limits instead.
            Command::FailWorkflow { .. }
            | Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::PublishState { .. }
            | Command::RecordMarker(_)
            | Command::Peer(_)
            | Command::UpsertSearchAttributes { .. }
            | Command::ModifyProperties(_)
            | Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;
    use crate::failure::{Failure, FailureKind};

    #[test]
    fn commands_become_events_in_their_order() {
        check(
            Run::start(),
            |run| {
                run.turn(vec![schedule("a"), start_timer("t", seconds(1)), schedule("b"), cancel_timer("t")]);
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 TimerStarted t task=4 duration=1s
                7 ActivityScheduled b task=4
                8 TimerCanceled t started=6 task=4
                > OfferActivity 5 attempt=1 queue=orders
                > OfferActivity 7 attempt=1 queue=orders
            ",
        );
    }

    #[test]
    fn one_bad_command_fails_the_task_and_none_takes_effect() {
        let run = check(
            Run::start(),
            |run| run.turn(vec![schedule("a"), cancel_timer("none"), complete()]),
            r#"
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=BadCommand
                > OfferWorkflowTask attempt=2
                = refused BadCommand: commands[1] (CancelTimer): timer_id: no timer with id "none" is open
            "#,
        );
        assert_eq!(run.execution.pending_activities(), []);
    }

    #[test]
    fn a_closing_command_must_be_the_last() {
        check(Run::start(), |run| run.turn(vec![complete(), schedule("a")]), "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=BadCommand
                > OfferWorkflowTask attempt=2
                = refused BadCommand: commands[0] (CompleteWorkflow): closes the run, but 1 commands follow it; it must be the last
            ");
        check(Run::start(), |run| run.turn(vec![complete(), complete()]), "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=BadCommand
                > OfferWorkflowTask attempt=2
                = refused BadCommand: commands[0] (CompleteWorkflow): closes the run, but 1 commands follow it; it must be the last
            ");
    }

    #[test]
    fn the_number_of_commands_is_limited() {
        let mut run = Run::start();
        run.turn(vec![cancel_timer("t"); limits::COMMANDS_PER_TASK_MAX + 1]);
        assert_eq!(
            run.log.last().unwrap(),
            "= refused BadCommand: commands: there are 20001; the limit is 20000 in one workflow task"
        );
    }

    #[test]
    fn a_result_over_the_limit_fails_the_task_and_a_failure_over_it_is_cut() {
        let large = Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX]);
        let mut run = Run::start();
        run.turn(vec![Command::CompleteWorkflow { result: Some(large) }]);
        assert!(run.log.last().unwrap().contains("commands[0] (CompleteWorkflow): result: is 2097162 bytes large"));
        let failure = Failure::application("Long", "x".repeat(limits::FAILURE_BYTES_MAX));
        run.turn(vec![Command::FailWorkflow { failure }]);
        let EventKind::WorkflowFailed(end) = &run.history.last().unwrap().kind else { panic!("it did not fail") };
        assert!(end.failure.size() <= limits::FAILURE_BYTES_MAX);
        assert!(matches!(&end.failure.kind, FailureKind::Application { type_name, .. } if type_name == "Long"));
    }

    #[test]
    fn closing_over_unseen_events_fails_the_task_and_shows_them_next() {
        let mut run = Run::start();
        let token = run.take_task();
        run.signal("unseen");
        check(
            run,
            |run| {
                run.finish_task(token, vec![complete()]);
                run.turn(vec![complete()]);
            },
            "
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=UnhandledCommand
                5 WorkflowSignaled unseen
                > OfferWorkflowTask attempt=1
                = refused UnhandledCommand: events arrived while the task was running, and the code closed the run without having seen them
                ~ task started attempt=1
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 WorkflowCompleted task=8
                > Closed Completed
            ",
        );
    }

    #[test]
    fn every_unhandled_command_is_written_and_the_count_of_failures_begins_anew() {
        let mut run = Run::start();
        let token = run.take_task();
        run.fail_task(token);
        let token = run.take_task();
        run.signal("unseen");
        check(
            run,
            |run| {
                run.finish_task(token, vec![complete()]);
                let token = run.take_task();
                run.fail_task(token);
            },
            "
                ~ buffer flushed
                5 WorkflowTaskScheduled attempt=2
                6 WorkflowTaskStarted scheduled=5
                7 WorkflowTaskFailed scheduled=5 started=6 cause=UnhandledCommand
                8 WorkflowSignaled unseen
                > OfferWorkflowTask attempt=1
                = refused UnhandledCommand: events arrived while the task was running, and the code closed the run without having seen them
                ~ task started attempt=1
                9 WorkflowTaskScheduled attempt=1
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskFailed scheduled=9 started=10 cause=Panic
                > OfferWorkflowTask attempt=2
            ",
        );
    }

    #[test]
    fn a_run_may_close_as_canceled() {
        let mut run = Run::start();
        run.cancel();
        check(
            run,
            |run| run.turn(vec![Command::CancelWorkflow { details: None }]),
            "
                ~ task started attempt=1
                3 WorkflowTaskScheduled attempt=1
                4 WorkflowTaskStarted scheduled=3
                5 WorkflowTaskCompleted scheduled=3 started=4
                6 WorkflowCanceled task=5
                > Closed Canceled
            ",
        );
    }
}
