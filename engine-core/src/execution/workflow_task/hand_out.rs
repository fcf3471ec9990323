//! How the workflow task moves between its queue and workers. Nothing of it is written. See the table in [`super`].

use super::State;
use crate::event::{Event, EventKind, WorkflowTaskScheduled, WorkflowTaskStarted};
use crate::execution::draft::{Draft, Task};
use crate::execution::{Effect, Execution, Fact, Rejection, Reply, StartedWorkflowTask, Transition, WorkflowTaskToken};
use crate::limits;
use crate::time::Timestamp;

impl Execution {
    pub(in crate::execution) fn decide_start_task(
        &self,
        identity: String,
        history_size_bytes: u64,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        if self.workflow_task.state != State::Scheduled {
            return Err(stale(format!("it was offered, but {}", self.task_standing())));
        }
        let token = self.new_token(history_size_bytes, now);
        let events = self.provisional_events(&token, &identity);
        let start_to_close = self.started.task_timeout;
        let mut draft = Draft::new(self, now);
        draft.fact(Fact::WorkflowTaskStarted { token, identity });
        Ok(draft.finish(Reply::WorkflowTask(Box::new(StartedWorkflowTask { token, events, start_to_close }))))
    }

    pub(in crate::execution) fn decide_claim_task(
        &self,
        token: WorkflowTaskToken,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        if let State::Started { token: current, .. } = &self.workflow_task.state
            && *current != token
        {
            return Err(stale("another worker has it by now".to_owned()));
        }
        let mut draft = Draft::new(self, now);
        if self.workflow_task.state == State::Scheduled {
            draft.effect(Effect::WithdrawWorkflowTask);
        }
        draft.fact(Fact::WorkflowTaskStarted { token, identity });
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_release_task(
        &self,
        token: WorkflowTaskToken,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        match &self.workflow_task.state {
            State::InDoubt => {}
            State::Started { token: current, .. } if *current == token => {}
            State::Started { .. } | State::Unneeded | State::Delayed | State::Scheduled | State::Paused { .. } => {
                return Err(stale(format!("it is not at the worker that released it: {}", self.task_standing())));
            }
        }
        let mut draft = Draft::new(self, now);
        draft.release_task();
        Ok(draft.finish(Reply::Done))
    }

    /// A token for handing the task out at `now`.
    fn new_token(&self, history_size_bytes: u64, now: Timestamp) -> WorkflowTaskToken {
        let events = self.next_event_id.0 - 1;
        WorkflowTaskToken {
            scheduled_event_id: self.next_event_id,
            attempt: self.workflow_task.attempt,
            scheduled_at: self.workflow_task.scheduled_at,
            started_at: self.clock.max(now),
            history_size_bytes,
            suggest_continue_as_new: events >= limits::HISTORY_EVENTS_SUGGEST
                || history_size_bytes >= limits::HISTORY_BYTES_SUGGEST,
        }
    }

    /// The token and the holder of the task that a worker has or may have.
    pub(in crate::execution) fn running_task_token(&self, now: Timestamp) -> Option<(WorkflowTaskToken, String)> {
        match &self.workflow_task.state {
            State::Started { token, identity } => Some((*token, identity.clone())),
            State::InDoubt => Some((self.new_token(0, now), String::new())),
            State::Unneeded | State::Delayed | State::Scheduled | State::Paused { .. } => None,
        }
    }

    /// The `WorkflowTaskScheduled` and `WorkflowTaskStarted` that are written when the task ends.
    pub(super) fn provisional_events(&self, token: &WorkflowTaskToken, identity: &str) -> [Event; 2] {
        let scheduled = EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: self.started.task_queue.clone(),
            start_to_close: self.started.task_timeout,
            attempt: token.attempt,
        });
        let started = EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id: token.scheduled_event_id,
            identity: identity.to_owned(),
            history_size_bytes: token.history_size_bytes,
            suggest_continue_as_new: token.suggest_continue_as_new,
        });
        [
            Event { id: token.scheduled_event_id, at: token.scheduled_at, kind: scheduled },
            Event { id: token.scheduled_event_id.next(), at: token.started_at, kind: started },
        ]
    }

    /// Refuses a token that does not name the task that the run waits for.
    ///
    /// The scheduled event's number stands for all that came before it, so a task with that number and try is the right one
    /// even if the server forgot that it had handed it out. Tries after the first are forgotten too: in doubt the number is
    /// enough.
    pub(super) fn check_task_token(&self, token: &WorkflowTaskToken) -> Result<(), Rejection> {
        let task = &self.workflow_task;
        let any_attempt = match task.state {
            State::Unneeded | State::Paused { .. } => {
                return Err(stale(format!(
                    "scheduled event {}, attempt {} came, but {}",
                    token.scheduled_event_id,
                    token.attempt,
                    self.task_standing()
                )));
            }
            State::Started { .. } => false,
            State::InDoubt => true,
            State::Delayed | State::Scheduled => !task.handed_out,
        };
        let expected = self.next_event_id;
        if token.scheduled_event_id != expected || (token.attempt != task.attempt && !any_attempt) {
            return Err(stale(format!(
                "expected scheduled event {expected}, attempt {}; got scheduled event {}, attempt {}",
                task.attempt, token.scheduled_event_id, token.attempt
            )));
        }
        // A token that this run gave out cannot be older than its history: the clock of the code never runs backwards.
        if token.started_at < self.clock || token.attempt == 0 {
            return Err(stale(format!(
                "a token of scheduled event {expected} cannot have these numbers: it is forged"
            )));
        }
        Ok(())
    }

    fn task_standing(&self) -> String {
        match &self.workflow_task.state {
            _ if self.closed.is_some() => "the run is closed".to_owned(),
            State::Unneeded => "the run waits for no workflow task".to_owned(),
            State::Delayed => "the run's first workflow task is not due".to_owned(),
            State::Scheduled => "the task is in its queue".to_owned(),
            State::Started { identity, .. } => format!("worker {identity:?} has it"),
            State::Paused { .. } => format!("attempt {} is not due", self.workflow_task.attempt),
            State::InDoubt => "a worker may still have it".to_owned(),
        }
    }
}

impl Draft<'_> {
    /// Puts the task back into its queue, with the same try and with what was buffered numbered, so that the next worker sees
    /// it.
    fn release_task(&mut self) {
        self.fact(Fact::WorkflowTaskReleased);
        self.task = Task::Pending;
        self.flush_buffer();
        self.offer_workflow_task(self.run.workflow_task.attempt);
    }

    /// The grace after a recovery is over: offers the task if it is still in doubt. Returns whether it was.
    pub(in crate::execution) fn end_task_grace(&mut self) -> bool {
        let task = &self.run.workflow_task;
        if task.state != State::InDoubt {
            return false;
        }
        if task.delayed_until.is_some_and(|until| until > self.now) {
            // Nobody can have it: `Fact::GraceEnded` puts it back into its pause.
            self.task = Task::Pending;
            self.flush_buffer();
        } else {
            self.release_task();
        }
        true
    }
}

pub(super) fn stale(why: String) -> Rejection {
    Rejection::StaleTask { what: "workflow task", why }
}
