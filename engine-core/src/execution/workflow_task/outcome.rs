//! How a try of the workflow task ends. See the table in [`super`].

use std::collections::BTreeSet;

use super::hand_out::stale;
use super::{State, pause_after};
use crate::command::Command;
use crate::event::{
    EventKind, WorkerMetadata, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailureCause,
    WorkflowTaskTimedOut,
};
use crate::execution::command::Refusal;
use crate::execution::draft::{Draft, Task};
use crate::execution::{Effect, Execution, Fact, RejectedUpdate, Rejection, Reply, Transition, WorkflowTaskToken};
use crate::failure::{Failure, TimeoutKind};
use crate::ids::{EventId, UpdateId};
use crate::limits;
use crate::time::Timestamp;

impl Execution {
    #[expect(clippy::too_many_arguments, reason = "one for each field of the input")]
    pub(in crate::execution) fn decide_complete_task(
        &self,
        token: WorkflowTaskToken,
        commands: Vec<Command>,
        rejected_updates: Vec<RejectedUpdate>,
        worker: WorkerMetadata,
        force_new_task: bool,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        let mut draft = Draft::new(self, now);
        let accepted = accepted_updates(&commands);
        draft.reject_updates(&token, rejected_updates, &accepted);
        let has_nothing_to_record = commands.is_empty() && worker.flags.is_empty() && !force_new_task;
        if has_nothing_to_record && !self.workflow_task.is_news() && self.buffer.is_empty() {
            draft.drop_task();
            return Ok(draft.finish(Reply::WorkflowTaskDropped));
        }
        let refusal = match draft.complete_task(&token, commands, worker, force_new_task, &identity) {
            Ok(()) => return Ok(draft.finish(Reply::Done)),
            Err(refusal) => refusal,
        };
        let mut draft = Draft::new(self, now);
        let failure = Failure::server(refusal.message.clone(), true);
        draft.fail_task(&token, refusal.cause, failure, &identity);
        Ok(draft.finish(Reply::WorkflowTaskRefused { cause: refusal.cause, message: refusal.message }))
    }

    pub(in crate::execution) fn decide_fail_task(
        &self,
        token: WorkflowTaskToken,
        cause: WorkflowTaskFailureCause,
        failure: Failure,
        identity: &str,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        if let State::Started { token: current, .. } = &self.workflow_task.state
            && *current != token
        {
            // A completion would be welcome from either worker, but one worker's failure says nothing about the other.
            return Err(stale("another worker has it by now".to_owned()));
        }
        let mut draft = Draft::new(self, now);
        draft.fail_task(&token, as_reported(cause), failure.within_limits(), identity);
        Ok(draft.finish(Reply::Done))
    }

    /// Who took the task, as far as it is known.
    fn starter<'a>(&'a self, token: &WorkflowTaskToken, reporter: &'a str) -> &'a str {
        match &self.workflow_task.state {
            State::Started { token: current, identity } if current == token => identity,
            State::Started { .. }
            | State::Unneeded
            | State::Delayed
            | State::Scheduled
            | State::Paused { .. }
            | State::InDoubt => reporter,
        }
    }
}

/// The updates that commands accept.
fn accepted_updates(commands: &[Command]) -> BTreeSet<UpdateId> {
    let id =
        |command: &Command| if let Command::AcceptUpdate(update) = command { Some(update.id.clone()) } else { None };
    commands.iter().filter_map(id).collect()
}

impl Draft<'_> {
    /// Ends the task without a trace.
    fn drop_task(&mut self) {
        self.withdraw_from_queue();
        self.fact(Fact::WorkflowTaskDropped);
        self.task = Task::Completed;
    }

    fn complete_task(
        &mut self,
        token: &WorkflowTaskToken,
        commands: Vec<Command>,
        worker: WorkerMetadata,
        force_new_task: bool,
        identity: &str,
    ) -> Result<(), Refusal> {
        if force_new_task {
            self.check_extension()?;
        }
        self.withdraw_from_queue();
        let has_version = worker.versioning.is_some();
        let started_event_id = self.push_provisional(token, self.run.starter(token, identity));
        let completed = self.push(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: token.scheduled_event_id,
            started_event_id,
            identity: identity.to_owned(),
            worker,
            force_new_task,
        }));
        self.task = Task::Completed;
        self.stop_buffering();
        self.carry_out(commands, completed)?;
        self.follow_version(has_version);
        Ok(())
    }

    /// Refuses to let tasks follow each other for ever.
    fn check_extension(&self) -> Result<(), Refusal> {
        let limit = limits::STEP_TIME_MAX;
        match self.run.workflow_task.extended_since {
            Some(since) if self.now.since(since) >= limit => Err(Refusal {
                cause: WorkflowTaskFailureCause::BadCommand,
                message: format!(
                    "force_new_task: a step of the workflow has been at work for over {} minutes, which is the limit: \
                     use an activity",
                    limit.as_secs() / 60
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the try as failed: written if it is the first in a row or no fault of the code, else noted only.
    pub(super) fn fail_task(
        &mut self,
        token: &WorkflowTaskToken,
        cause: WorkflowTaskFailureCause,
        failure: Failure,
        identity: &str,
    ) {
        self.withdraw_from_queue();
        self.task = Task::Pending;
        let is_unhandled = cause == WorkflowTaskFailureCause::UnhandledCommand;
        if token.attempt > 1 && !is_unhandled {
            self.note_attempt_failed(token.attempt, Some(cause), failure);
            return;
        }
        let starter = self.run.starter(token, identity);
        self.push_task_failed(token, starter, cause, failure, identity);
        self.flush_buffer();
        self.offer_workflow_task(if is_unhandled { 1 } else { 2 });
    }

    /// The task's deadline has come: its try took too long, or its pause is over.
    pub(in crate::execution) fn workflow_task_due(&mut self) {
        match &self.run.workflow_task.state {
            State::Started { token, identity } => {
                self.task = Task::Pending;
                self.effect(Effect::WithdrawWorkflowTask);
                let timeout = TimeoutKind::StartToClose;
                if token.attempt > 1 {
                    self.note_attempt_failed(token.attempt, None, Failure::timeout(timeout, None));
                    return;
                }
                let started_event_id = self.push_provisional(token, identity);
                self.push(EventKind::WorkflowTaskTimedOut(WorkflowTaskTimedOut {
                    scheduled_event_id: token.scheduled_event_id,
                    started_event_id,
                    timeout,
                }));
                self.flush_buffer();
                self.offer_workflow_task(2);
            }
            State::Delayed | State::Paused { .. } => {
                self.task = Task::Pending;
                self.fact(Fact::WorkflowTaskOffered);
                self.offer_workflow_task(self.run.workflow_task.attempt);
            }
            State::Unneeded | State::Scheduled | State::InDoubt => {}
        }
    }

    /// A failure that histories do not show. What was buffered is numbered, so that the next try sees it.
    fn note_attempt_failed(&mut self, attempt: u32, cause: Option<WorkflowTaskFailureCause>, failure: Failure) {
        let retry_at = self.now + pause_after(attempt);
        self.fact(Fact::WorkflowTaskAttemptFailed { attempt, cause, failure, retry_at });
        self.flush_buffer();
    }

    /// Appends `Scheduled`, `Started`, `Failed`.
    pub(in crate::execution) fn push_task_failed(
        &mut self,
        token: &WorkflowTaskToken,
        starter: &str,
        cause: WorkflowTaskFailureCause,
        failure: Failure,
        identity: &str,
    ) {
        let started_event_id = self.push_provisional(token, starter);
        self.push(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id: token.scheduled_event_id,
            started_event_id,
            cause,
            failure,
            identity: identity.to_owned(),
        }));
    }

    /// Appends `Scheduled` and `Started`; returns the number of the latter.
    fn push_provisional(&mut self, token: &WorkflowTaskToken, starter: &str) -> EventId {
        let [scheduled, started] = self.run.provisional_events(token, starter);
        self.push_at(scheduled.at, scheduled.kind);
        self.push_at(started.at, started.kind)
    }

    /// A task that ends although it is in its queue: a worker had it before a crash.
    fn withdraw_from_queue(&mut self) {
        if self.run.workflow_task.state == State::Scheduled {
            self.effect(Effect::WithdrawWorkflowTask);
        }
    }
}

/// A cause that a worker may give. Only the engine knows whether the code closed the run over unseen events: from a worker that
/// would be a way to fail without end and without pause.
fn as_reported(cause: WorkflowTaskFailureCause) -> WorkflowTaskFailureCause {
    match cause {
        WorkflowTaskFailureCause::UnhandledCommand
        | WorkflowTaskFailureCause::ForceClosed
        | WorkflowTaskFailureCause::Reset => WorkflowTaskFailureCause::WorkerFailure,
        WorkflowTaskFailureCause::WorkerFailure
        | WorkflowTaskFailureCause::Panic
        | WorkflowTaskFailureCause::Nondeterminism
        | WorkflowTaskFailureCause::UnknownWorkflowType
        | WorkflowTaskFailureCause::ForeignAwait
        | WorkflowTaskFailureCause::BadCommand => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Input;
    use crate::execution::support::*;

    #[test]
    fn a_completed_task_is_written_as_three_events() {
        check(
            Run::start(),
            |run| run.turn(vec![]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
            ",
        );
    }

    #[test]
    fn a_step_at_work_brings_the_next_task_without_news() {
        check(
            Run::start(),
            |run| {
                let token = run.take_task();
                run.extend_task(token, vec![]);
                run.turn(vec![complete()]);
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3 forces a task
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                5 WorkflowTaskScheduled attempt=1
                6 WorkflowTaskStarted scheduled=5
                7 WorkflowTaskCompleted scheduled=5 started=6
                8 WorkflowCompleted task=7
                > Closed Completed
            ",
        );
    }

    #[test]
    fn tasks_follow_each_other_no_longer_than_the_limit() {
        let mut run = Run::start();
        let extend = |run: &mut Run| {
            let token = run.take_task();
            run.log.clear();
            run.extend_task(token, vec![]);
            run.take_log()
        };
        extend(&mut run);
        run.advance(limits::STEP_TIME_MAX - seconds(1));
        assert!(extend(&mut run).ends_with("> OfferWorkflowTask attempt=1"));
        run.advance(seconds(1));
        assert!(extend(&mut run).ends_with(
            "= refused BadCommand: force_new_task: a step of the workflow has been at work for over 30 minutes, \
             which is the limit: use an activity"
        ));
        assert!(extend(&mut run).ends_with("> OfferWorkflowTask attempt=1"), "the next try has its own time");
    }

    #[test]
    fn a_repeated_completion_is_stale() {
        let mut run = Run::start();
        let token = run.take_task();
        run.finish_task(token, vec![]);
        check(
            run,
            |run| run.finish_task(token, vec![complete()]),
            "
                ! workflow task is stale: scheduled event 2, attempt 1 came, but the run waits for no workflow task
            ",
        );
    }

    #[test]
    fn the_first_failure_is_written_and_further_ones_are_not() {
        let run = check(
            Run::start(),
            |run| {
                let token = run.take_task();
                run.fail_task(token);
                let token = run.take_task();
                run.fail_task(token);
                run.due();
                run.advance_to_deadline();
                let token = run.take_task();
                run.fail_task(token);
                run.advance_to_deadline();
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=Panic
                > OfferWorkflowTask attempt=2
                ~ task started attempt=2
                ~ task attempt 2 failed cause=Some(Panic)
                = unchanged
                ~ task offered
                > OfferWorkflowTask attempt=3
                ~ task started attempt=3
                ~ task attempt 3 failed cause=Some(Panic)
                ~ task offered
                > OfferWorkflowTask attempt=4
            ",
        );
        assert_eq!(run.now, BEGIN + seconds(1 + 2));
        let pending = run.execution.pending_workflow_task().unwrap();
        assert_eq!((pending.attempt, pending.last_failure_cause), (4, Some(WorkflowTaskFailureCause::Panic)));
    }

    #[test]
    fn a_success_after_failures_is_written_with_the_number_of_its_try() {
        let mut run = Run::start();
        let token = run.take_task();
        run.fail_task(token);
        let token = run.take_task();
        run.fail_task(token);
        run.advance_to_deadline();
        check(
            run,
            |run| {
                run.turn(vec![]);
                run.signal("a");
                let token = run.take_task();
                run.fail_task(token);
            },
            "
                ~ task started attempt=3
                5 WorkflowTaskScheduled attempt=3
                6 WorkflowTaskStarted scheduled=5
                7 WorkflowTaskCompleted scheduled=5 started=6
                8 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                9 WorkflowTaskScheduled attempt=1
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskFailed scheduled=9 started=10 cause=Panic
                > OfferWorkflowTask attempt=2
            ",
        );
    }

    #[test]
    fn a_task_that_takes_too_long_fails_and_its_late_completion_is_stale() {
        let mut run = Run::start();
        let token = run.take_task();
        run.signal("a");
        check(
            run,
            |run| {
                run.advance_to_deadline();
                run.finish_task(token, vec![complete()]);
                let token = run.take_task();
                run.advance_to_deadline();
                run.finish_task(token, vec![complete()]);
            },
            "
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskTimedOut scheduled=2 started=3 timeout=StartToClose
                5 WorkflowSignaled a
                > WithdrawWorkflowTask
                > OfferWorkflowTask attempt=2
                ! workflow task is stale: expected scheduled event 6, attempt 2; got scheduled event 2, attempt 1
                ~ task started attempt=2
                ~ task attempt 2 failed cause=None
                > WithdrawWorkflowTask
                ! workflow task is stale: scheduled event 6, attempt 2 came, but attempt 3 is not due
            ",
        );
    }

    #[test]
    fn news_does_not_cut_the_pause_short_and_is_seen_by_the_next_try() {
        let mut run = Run::start();
        let token = run.take_task();
        run.fail_task(token);
        let token = run.take_task();
        run.signal("during");
        check(
            run,
            |run| {
                run.fail_task(token);
                run.signal("in the pause");
                run.due();
                run.advance_to_deadline();
                run.turn(vec![complete()]);
            },
            "
                ~ task attempt 2 failed cause=Some(Panic)
                ~ buffer flushed
                5 WorkflowSignaled during
                6 WorkflowSignaled in the pause
                = unchanged
                ~ task offered
                > OfferWorkflowTask attempt=3
                ~ task started attempt=3
                7 WorkflowTaskScheduled attempt=3
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 WorkflowCompleted task=9
                > Closed Completed
            ",
        );
    }

    #[test]
    fn after_a_crash_the_try_is_the_second_if_the_history_ends_with_a_failure() {
        let mut run = Run::start();
        for _ in 0..4 {
            let token = run.take_task();
            run.fail_task(token);
            run.advance(seconds(60));
            run.due();
        }
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                let token = run.take_task();
                run.fail_task(token);
            },
            "
                ~ task released
                ~ grace ended
                > OfferWorkflowTask attempt=2
                ~ task started attempt=2
                ~ task attempt 2 failed cause=Some(Panic)
            ",
        );
    }

    #[test]
    fn a_task_in_doubt_may_fail() {
        let mut run = Run::start();
        let token = run.take_task();
        run.crash();
        check(
            run,
            |run| run.fail_task(token),
            "
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=Panic
                > OfferWorkflowTask attempt=2
            ",
        );
    }

    #[test]
    fn a_worker_cannot_claim_a_cause_that_only_the_engine_can_know() {
        let mut run = Run::start();
        let token = run.take_task();
        check(
            run,
            |run| {
                let cause = WorkflowTaskFailureCause::UnhandledCommand;
                let failure = Failure::application("Odd", "no");
                let _ = run.send(Input::FailWorkflowTask { token, cause, failure, identity: "worker".into() });
            },
            "
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=WorkerFailure
                > OfferWorkflowTask attempt=2
            ",
        );
    }

    #[test]
    fn a_cached_worker_is_told_what_it_has_seen() {
        let mut run = Run::start();
        assert_eq!(run.execution.previous_started_event_id(), EventId::NONE);
        run.turn(vec![]);
        assert_eq!(run.execution.previous_started_event_id(), EventId(3));
        run.signal("a");
        let token = run.take_task();
        run.fail_task(token);
        assert_eq!(run.execution.previous_started_event_id(), EventId(3), "a failed task has shown nothing");
    }
}
