//! Closing a run, and the run that may follow it.
//!
//! | cause                        | events                                                             | next run             |
//! |------------------------------|--------------------------------------------------------------------|----------------------|
//! | CompleteWorkflow (command)   | WorkflowCompleted                                                  | —                    |
//! | CancelWorkflow (command)     | WorkflowCanceled                                                   | —                    |
//! | FailWorkflow (command)       | WorkflowFailed                                                     | by the retry policy  |
//! | Terminate                    | (forced end), WorkflowTerminated                                   | —                    |
//! | run timeout                  | (forced end), WorkflowTimedOut                                     | by the retry policy  |
//! | execution deadline           | (forced end), WorkflowTimedOut                                     | —                    |
//!
//! The forced end of a workflow task that is started or in doubt: `WorkflowTaskScheduled`, `WorkflowTaskStarted`,
//! `WorkflowTaskFailed(ForceClosed)`, then what was buffered. Without such a task the close event comes alone.
//!
//! A run whose cancellation was requested is not retried: the next run would not know of the request.
//! Invariant: the close event is the last, and after it nothing is open: tasks are withdrawn, rows of progress deleted.

use crate::event::{EventKind, WorkflowFailed, WorkflowStarted, WorkflowTaskFailureCause, WorkflowTimedOut};
use crate::execution::deadline::Source;
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution};
use crate::failure::{Failure, RetryState, TimeoutKind};
use crate::ids::{EventId, mix};
use crate::retry::RetryDecision;
use crate::time::Timestamp;

impl Draft<'_> {
    /// Closes the run with `kind`, which must be a close event.
    pub(super) fn close(&mut self, kind: EventKind) {
        let Some(status) = kind.close_status() else { return };
        self.push(kind);
        // A task that ended in this transition was handed in by its worker; only one that is elsewhere has to be taken back.
        if self.task != super::draft::Task::Completed && self.run.workflow_task.is_offered_or_running() {
            self.effect(Effect::WithdrawWorkflowTask);
        }
        for (scheduled_event_id, activity) in self.run.activities.iter() {
            if activity.stored {
                self.progress(scheduled_event_id);
            }
            if activity.is_offered_or_running() && !self.overlay.ended_activities.contains(&scheduled_event_id) {
                self.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: activity.attempt });
            }
        }
        self.effect(Effect::Closed(status));
    }

    /// Before a close from outside: ends the workflow task, if a worker has or may have it, so that what was buffered gets its
    /// numbers.
    pub(super) fn end_task_by_force(&mut self) {
        if let Some((token, identity)) = self.run.running_task_token(self.clock()) {
            let failure = Failure::server("the run was closed while the workflow task was running", true);
            self.push_task_failed(&token, &identity, WorkflowTaskFailureCause::ForceClosed, failure, "");
        }
        self.flush_buffer();
    }

    /// Closes the run as failed, and begins its next try if its retry policy has one.
    pub(super) fn close_failed(&mut self, failure: Failure, workflow_task_completed_event_id: EventId) {
        let (retry_state, next) = self.next_try(&failure);
        let new_run_id = next.as_ref().map(|started| started.run_id);
        self.close(EventKind::WorkflowFailed(WorkflowFailed {
            workflow_task_completed_event_id,
            failure,
            retry_state,
            new_run_id,
        }));
        self.start_next(next);
    }

    /// Closes the run because its run timeout or its chain's deadline has passed.
    pub(super) fn close_timed_out(&mut self, source: Source) {
        self.end_task_by_force();
        let (retry_state, next) = match source {
            Source::Run => self.next_try(&Failure::timeout(TimeoutKind::StartToClose, None)),
            Source::Execution | Source::WorkflowTask | Source::Timer(_) | Source::Activity(_) => {
                (RetryState::Timeout, None)
            }
        };
        let new_run_id = next.as_ref().map(|started| started.run_id);
        self.close(EventKind::WorkflowTimedOut(WorkflowTimedOut { retry_state, new_run_id }));
        self.start_next(next);
    }

    /// The run that follows when this one closes with the next event because of `failure`.
    fn next_try(&self, failure: &Failure) -> (RetryState, Option<Box<WorkflowStarted>>) {
        let started = &self.run.started;
        let Some(policy) = &started.retry_policy else {
            return (RetryState::RetryPolicyNotSet, None);
        };
        if self.run.cancel_requested {
            return (RetryState::CancelRequested, None);
        }
        let deadline = started.execution_deadline.unwrap_or(Timestamp::MAX);
        let seed = mix(started.run_id.seed());
        match policy.after_failure(failure, started.attempt, started.attempt, self.now, deadline, seed) {
            RetryDecision::GiveUp(reason) => (reason, None),
            RetryDecision::RetryAt(at) => {
                let next = WorkflowStarted {
                    run_id: started.run_id.successor(self.next_event_id(), self.now),
                    attempt: started.attempt.saturating_add(1),
                    continued_from: Some(started.run_id),
                    continued_failure: Some(failure.clone()),
                    first_task_backoff: at.since(self.now),
                    request_id: None,
                    ..WorkflowStarted::clone(started)
                };
                (RetryState::InProgress, Some(Box::new(next)))
            }
        }
    }

    fn start_next(&mut self, next: Option<Box<WorkflowStarted>>) {
        if let Some(started) = next {
            self.effect(Effect::StartRun(started));
        }
    }
}

impl Execution {
    pub(super) fn apply_closed(&mut self, kind: &EventKind, at: Timestamp) {
        self.closed = kind.close_status().map(|status| (status, at));
        self.workflow_task.end();
        self.activities.clear();
        self.timers = super::timer::Timers::default();
        self.buffer.clear();
        self.deadlines.clear();
    }

    /// When this run must be over, if it must. The pause before the first workflow task does not count.
    pub(super) fn run_deadline(&self) -> Option<Timestamp> {
        self.started.run_timeout.map(|timeout| self.started_at + self.started.first_task_backoff + timeout)
    }
}
