//! The workflow task: "move this code forward". A run has at most one; it is needed as soon as the run has news.
//!
//! | state     | input                              | facts and events                                                | next              |
//! |-----------|------------------------------------|-----------------------------------------------------------------|-------------------|
//! | unneeded  | news                               | the news                                                        | scheduled         |
//! | delayed   | news                               | the news                                                        | delayed           |
//! | delayed   | the first pause is over            | offered (fact)                                                  | scheduled         |
//! | scheduled | StartWorkflowTask                  | started (fact)                                                  | started           |
//! | started   | ReleaseWorkflowTask                | released (fact), buffer                                         | scheduled         |
//! | started   | … for the fifth time in a row      | as a failure                                                    | as a failure      |
//! | started   | CompleteWorkflowTask               | Scheduled Started Completed, commands, buffer                   | unneeded or scheduled |
//! | started   | … that forces a new task           | Scheduled Started Completed, commands, buffer                   | scheduled         |
//! | started   | … with nothing to record           | dropped (fact)                                                  | unneeded or scheduled |
//! | started   | … that is refused                  | as a failure                                                    | as a failure      |
//! | started   | FailWorkflowTask, time-out; try 1  | Scheduled Started Failed or TimedOut, buffer                    | scheduled, try 2  |
//! | started   | FailWorkflowTask, time-out; try 2… | attempt failed (fact), buffer                                   | paused            |
//! | paused    | the pause is over                  | offered (fact)                                                  | scheduled         |
//! | pending   | recovery (`mark_in_doubt`)         |                                                                 | in doubt          |
//! | in doubt  | ClaimWorkflowTask                  | started (fact)                                                  | started           |
//! | in doubt  | completion or failure              | as when started                                                 |                   |
//! | in doubt  | EndGrace                           | offered (fact), buffer                                          | scheduled         |
//!
//! `Scheduled` and `Started` get their numbers when the task is handed out and are written with its end, never alone: a crash
//! before the end leaves no trace. While the task is started or in doubt what reaches the run is buffered (`buffer`), so the
//! number that the task was given stays right.
//!
//! A task may be needed by updates alone (`update`), which histories do not show: then it is pending only in memory, a crash
//! forgets it, and if its completion has no commands it is dropped: nothing is written, and its numbers go to the next events.
//! News that comes meanwhile, or its failure, makes it a task like others.
//!
//! The first failure in a row is written, further ones are not: the history does not grow while a bad deploy loops. The second
//! try follows at once, later ones after a pause that doubles; news does not cut the pause short. A closing command over
//! unseen events (`UnhandledCommand`) is no fault of the code: it is always written and starts the count anew.
//!
//! A completion forces a new task while a step of the code is at work: the task would time out otherwise. That may go on for
//! [`crate::limits::STEP_TIME_MAX`]; then the completion is refused.
//!
//! `hand_out` holds what moves a task between queue and worker, `outcome` how it ends.

mod hand_out;
mod outcome;

use std::time::Duration;

use crate::event::{WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailureCause, WorkflowTaskTimedOut};
use crate::execution::deadline::Source;
use crate::execution::{Execution, WorkflowTaskToken};
use crate::failure::Failure;
use crate::ids::EventId;
use crate::limits;
use crate::time::Timestamp;

/// Where the task stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// The run has no news for its code.
    Unneeded,
    /// Needed, but the first task waits for [`WorkflowTask::delayed_until`].
    Delayed,
    /// In its queue.
    Scheduled,
    /// A worker has it.
    Started { token: WorkflowTaskToken, identity: String },
    /// It failed; it is offered again then.
    Paused { until: Timestamp },
    /// The server restarted, and a worker may have it.
    InDoubt,
}

/// A failed try, for describe.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LastFailure {
    /// `None` if it timed out.
    pub(super) cause: Option<WorkflowTaskFailureCause>,
    pub(super) failure: Failure,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct WorkflowTask {
    pub(super) state: State,
    /// The current try, from 1.
    pub(super) attempt: u32,
    /// When the run first had news, or an update, that the code has not seen. Means nothing while the task is unneeded.
    pub(super) scheduled_at: Timestamp,
    /// When the run first had news that the code has not seen: what is left of `scheduled_at` after a crash. `None` while the task
    /// is not needed, or needed by updates only.
    news_at: Option<Timestamp>,
    /// Why the try before failed.
    pub(super) last_failure: Option<Box<LastFailure>>,
    /// The failure that the history ends with, if it does: what is left of `last_failure` after a crash.
    recorded_failure: Option<Box<LastFailure>>,
    /// The pause before the first task, until that task has ended in a way that histories show.
    pub(super) delayed_until: Option<Timestamp>,
    /// Whether the task was handed out since the state was loaded. If not, a worker that completes it got it before.
    handed_out: bool,
    /// How many workers in a row vanished with it. Volatile.
    losses: u32,
    /// Since when tasks follow each other because a step of the code is at work.
    pub(super) extended_since: Option<Timestamp>,
    /// `WorkflowTaskStarted` of the last completed task.
    pub(super) previous_started_event_id: EventId,
}

impl WorkflowTask {
    /// The task of a run that just started at `at`.
    pub(super) fn first(at: Timestamp, delayed_until: Option<Timestamp>) -> Self {
        Self {
            state: if delayed_until.is_some() { State::Delayed } else { State::Scheduled },
            attempt: 1,
            scheduled_at: at,
            news_at: Some(at),
            last_failure: None,
            recorded_failure: None,
            delayed_until,
            handed_out: false,
            losses: 0,
            extended_since: None,
            previous_started_event_id: EventId::NONE,
        }
    }

    /// That of a run without workflow code.
    pub(super) fn never() -> Self {
        Self { state: State::Unneeded, news_at: None, ..Self::first(Timestamp::EPOCH, None) }
    }

    /// Whether there is one, wherever it is.
    pub(super) fn is_pending(&self) -> bool {
        self.state != State::Unneeded
    }

    /// Whether a worker has or may have it.
    pub(super) fn is_running(&self) -> bool {
        match self.state {
            State::Started { .. } | State::InDoubt => true,
            State::Unneeded | State::Delayed | State::Scheduled | State::Paused { .. } => false,
        }
    }

    /// Whether it is in a queue or at a worker.
    pub(super) fn is_offered_or_running(&self) -> bool {
        self.is_running() || self.state == State::Scheduled
    }

    /// Whether it is in its queue, or would be if the run were not paused.
    pub(super) fn is_offered(&self) -> bool {
        self.state == State::Scheduled
    }

    /// Whether no worker has it, and what is stored says all about it.
    pub(super) fn is_as_stored(&self) -> bool {
        let mut stored = self.clone();
        stored.forget_volatile();
        !self.is_running() && stored == *self
    }

    /// When the worker that has it must have completed it.
    pub(super) fn start_to_close_deadline(&self, task_timeout: Duration) -> Option<Timestamp> {
        if let State::Started { .. } = self.state { self.deadline(task_timeout) } else { None }
    }

    /// Whether the run can be forgotten as far as its task is concerned: the history alone gives the same state again.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Unneeded | State::Delayed)
    }

    /// Whether the history, with what is buffered, needs it.
    pub(super) fn is_news(&self) -> bool {
        self.news_at.is_some()
    }

    /// Like [`WorkflowTask::is_idle`], of what a crash would leave.
    pub(super) fn is_idle_on_disk(&self) -> bool {
        self.is_idle() || !self.is_news()
    }

    /// It is needed from now on.
    pub(super) fn schedule(&mut self, at: Timestamp) {
        self.state = State::Scheduled;
        self.scheduled_at = at;
    }

    /// It ended, or the run closed.
    pub(super) fn end(&mut self) {
        self.state = State::Unneeded;
        self.scheduled_at = Timestamp::EPOCH;
        self.news_at = None;
        self.attempt = 1;
        self.last_failure = None;
        self.recorded_failure = None;
        self.delayed_until = None;
        self.handed_out = false;
        self.losses = 0;
        self.extended_since = None;
    }

    /// Forgets what a crash would lose.
    pub(super) fn forget_volatile(&mut self) {
        self.state = match self.news_at {
            None => State::Unneeded,
            Some(_) if self.delayed_until.is_some() => State::Delayed,
            Some(_) => State::Scheduled,
        };
        self.scheduled_at = self.news_at.unwrap_or(Timestamp::EPOCH);
        self.last_failure.clone_from(&self.recorded_failure);
        self.attempt = if self.recorded_failure.is_some() { 2 } else { 1 };
        self.handed_out = false;
        self.losses = 0;
    }

    pub(super) fn deadline(&self, task_timeout: Duration) -> Option<Timestamp> {
        match &self.state {
            State::Unneeded | State::Scheduled | State::InDoubt => None,
            State::Delayed => self.delayed_until,
            State::Started { token, .. } => Some(token.started_at + task_timeout),
            State::Paused { until } => Some(*until),
        }
    }
}

/// The pause after the failure of try `attempt`, which is at least 2.
fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    (limits::WORKFLOW_TASK_BACKOFF_INITIAL * (1 << doublings)).min(limits::WORKFLOW_TASK_BACKOFF_MAX)
}

impl Execution {
    /// Changes the task and moves its deadline.
    pub(super) fn change_task(&mut self, change: impl FnOnce(&mut WorkflowTask)) {
        let before = self.workflow_task.deadline(self.started.task_timeout);
        change(&mut self.workflow_task);
        let after = self.workflow_task.deadline(self.started.task_timeout);
        self.deadlines.shift(Source::WorkflowTask, before, after);
    }

    /// Notes that the run has news for its code.
    pub(super) fn apply_news(&mut self) {
        self.apply_news_at(self.clock);
    }

    /// Notes that the run has had news for its code since `at`.
    pub(super) fn apply_news_at(&mut self, at: Timestamp) {
        if self.closed.is_some() || self.is_standalone_activity() {
            return;
        }
        self.change_task(|task| {
            task.news_at.get_or_insert(at);
            if !task.is_pending() {
                task.schedule(at);
            }
        });
    }

    /// The task ended without a trace.
    pub(super) fn apply_task_dropped(&mut self) {
        self.change_task(WorkflowTask::end);
    }

    pub(super) fn apply_task_completed(&mut self, event: &WorkflowTaskCompleted, at: Timestamp) {
        self.change_task(|task| {
            let extended_since = event.force_new_task.then(|| task.extended_since.unwrap_or(at));
            task.end();
            task.extended_since = extended_since;
            task.previous_started_event_id = event.started_event_id;
        });
        self.apply_task_completed_by(&event.worker);
        if self.apply_readmitted_updates_answered() {
            self.apply_news_at(at);
        }
    }

    pub(super) fn apply_task_failed(&mut self, event: &WorkflowTaskFailed, at: Timestamp) {
        let failure = match event.cause {
            WorkflowTaskFailureCause::UnhandledCommand | WorkflowTaskFailureCause::Reset => None,
            WorkflowTaskFailureCause::WorkerFailure
            | WorkflowTaskFailureCause::Panic
            | WorkflowTaskFailureCause::Nondeterminism
            | WorkflowTaskFailureCause::UnknownWorkflowType
            | WorkflowTaskFailureCause::ForeignAwait
            | WorkflowTaskFailureCause::BadCommand
            | WorkflowTaskFailureCause::ForceClosed => {
                Some(LastFailure { cause: Some(event.cause), failure: event.failure.clone() })
            }
        };
        self.apply_recorded_failure(failure, at);
        if event.cause == WorkflowTaskFailureCause::Reset {
            self.apply_reset(at);
        }
    }

    /// Why the run is stuck: the kind of failure with which its last workflow task ended, as far as the history shows it; `TimedOut` if it
    /// did not end. `None` once a task has succeeded. The task is tried again, at least once in [`limits::WORKFLOW_TASK_BACKOFF_MAX`].
    pub fn task_failure(&self) -> Option<&'static str> {
        let recorded = self.workflow_task.recorded_failure.as_ref()?;
        Some(recorded.cause.map_or("TimedOut", WorkflowTaskFailureCause::name))
    }

    pub(super) fn apply_task_timed_out(&mut self, event: &WorkflowTaskTimedOut, at: Timestamp) {
        let failure = Failure::timeout(event.timeout, None);
        self.apply_recorded_failure(Some(LastFailure { cause: None, failure }), at);
    }

    fn apply_recorded_failure(&mut self, failure: Option<LastFailure>, at: Timestamp) {
        self.change_task(|task| {
            task.end();
            task.schedule(at);
            task.news_at = Some(at);
            task.attempt = if failure.is_some() { 2 } else { 1 };
            task.recorded_failure = failure.map(Box::new);
            task.last_failure.clone_from(&task.recorded_failure);
        });
    }

    pub(super) fn apply_task_started(&mut self, token: WorkflowTaskToken, identity: &str) {
        self.change_task(|task| {
            task.attempt = token.attempt;
            task.handed_out = true;
            task.state = State::Started { token, identity: identity.to_owned() };
        });
    }

    /// The task goes (back) to its queue.
    pub(super) fn apply_task_offered(&mut self) {
        self.change_task(|task| {
            if task.is_pending() {
                task.state = State::Scheduled;
            }
        });
    }

    /// The worker vanished, or never got the task.
    pub(super) fn apply_task_released(&mut self) {
        if matches!(self.workflow_task.state, State::Started { .. }) {
            self.change_task(|task| task.losses += 1);
        }
        self.apply_task_offered();
    }

    pub(super) fn apply_attempt_failed(
        &mut self,
        attempt: u32,
        cause: Option<WorkflowTaskFailureCause>,
        failure: &Failure,
        retry_at: Timestamp,
    ) {
        self.change_task(|task| {
            task.attempt = attempt.saturating_add(1);
            task.last_failure = Some(Box::new(LastFailure { cause, failure: failure.clone() }));
            task.state = State::Paused { until: retry_at };
            task.losses = 0;
        });
    }

    /// A task in doubt goes back to the pause before the first task.
    pub(super) fn apply_task_grace_ended(&mut self) {
        self.change_task(|task| {
            if task.state == State::InDoubt {
                task.state = if task.delayed_until.is_some() { State::Delayed } else { State::Scheduled };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_the_second_failure_up_to_the_cap() {
        let pauses: Vec<u64> = (2..12).map(|attempt| pause_after(attempt).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(pause_after(u32::MAX), limits::WORKFLOW_TASK_BACKOFF_MAX);
    }
}
