//! How a try of the workflow task ends. See the table in [`super`].

use super::hand_out::stale;
use super::{State, pause_after};
use crate::command::Command;
use crate::event::{
    EventKind, WorkerMetadata, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailureCause,
    WorkflowTaskTimedOut,
};
use crate::execution::command::Refusal;
use crate::execution::draft::{Draft, Task};
use crate::execution::{Effect, Execution, Fact, Rejection, Reply, Transition, WorkflowTaskToken};
use crate::failure::{Failure, TimeoutKind};
use crate::ids::EventId;
use crate::time::Timestamp;

impl Execution {
    pub(in crate::execution) fn decide_complete_task(
        &self,
        token: WorkflowTaskToken,
        commands: Vec<Command>,
        worker: WorkerMetadata,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        let mut draft = Draft::new(self, now);
        let refusal = match draft.complete_task(&token, commands, worker, &identity) {
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
        draft.fail_task(&token, cause, failure.within_limits(), identity);
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

impl Draft<'_> {
    fn complete_task(
        &mut self,
        token: &WorkflowTaskToken,
        commands: Vec<Command>,
        worker: WorkerMetadata,
        identity: &str,
    ) -> Result<(), Refusal> {
        self.withdraw_from_queue();
        let started_event_id = self.push_provisional(token, self.run.starter(token, identity));
        let completed = self.push(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: token.scheduled_event_id,
            started_event_id,
            identity: identity.to_owned(),
            worker,
        }));
        self.task = Task::Completed;
        self.stop_buffering();
        self.carry_out(commands, completed)
    }

    /// Ends the try as failed: written if it is the first in a row or no fault of the code, else noted only.
    fn fail_task(
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
