//! What is open in a run, for people: the workflow task, activities and timers that describe shows.

use crate::event::{ActivityTimeouts, WorkflowTaskFailureCause};
use crate::execution::activity::Attempt;
use crate::execution::workflow_task::State;
use crate::execution::{Execution, Paused};
use crate::failure::Failure;
use crate::ids::{ActivityId, ActivityType, EventId, TaskQueueName, TimerId};
use crate::payload::Payload;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// Where a pending task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PendingTaskState {
    /// It waits for a worker.
    Scheduled,
    /// A worker has it.
    Started,
    /// It failed, or is held back, and waits for its next attempt.
    BackingOff,
    /// The worker that runs it was asked to stop.
    CancelRequested,
    /// The server restarted; the worker that may have it has time to claim it.
    InDoubt,
}

/// A workflow task that waits for a worker or runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingWorkflowTask {
    /// Where it stands.
    pub state: PendingTaskState,
    /// Where it waits.
    pub task_queue: TaskQueueName,
    /// When the run had news.
    pub scheduled_at: Timestamp,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// Which try, from 1.
    pub attempt: u32,
    /// Why the try before failed.
    pub last_failure: Option<Failure>,
    /// The same for programs; `None` also if the try timed out.
    pub last_failure_cause: Option<WorkflowTaskFailureCause>,
    /// Who has it; empty if nobody has.
    pub worker_identity: String,
    /// When it is offered again, if it backs off.
    pub next_attempt_at: Option<Timestamp>,
}

/// An open activity.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingActivity {
    /// Its id.
    pub activity_id: ActivityId,
    /// Its type.
    pub activity_type: ActivityType,
    /// Where it stands.
    pub state: PendingTaskState,
    /// Its `ActivityScheduled` event.
    pub scheduled_event_id: EventId,
    /// Where it is offered.
    pub task_queue: TaskQueueName,
    /// Which try, from 1.
    pub attempt: u32,
    /// Most tries; 0 is no limit.
    pub maximum_attempts: u32,
    /// Its timeouts, as they are now.
    pub timeouts: ActivityTimeouts,
    /// Its retry policy, as it is now.
    pub retry_policy: RetryPolicy,
    /// Set while an operator has it paused.
    pub paused: Option<Paused>,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// When a worker took the current try.
    pub started_at: Option<Timestamp>,
    /// When the next try is offered, if it backs off.
    pub next_attempt_at: Option<Timestamp>,
    /// The last heartbeat of the current try.
    pub last_heartbeat_at: Option<Timestamp>,
    /// The details of the last heartbeat that had any.
    pub heartbeat_details: Option<Payload>,
    /// Why the try before failed.
    pub last_failure: Option<Failure>,
    /// Who has it; empty if nobody has.
    pub worker_identity: String,
    /// One line about it, for people; may be empty.
    pub summary: String,
}

/// An open timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTimer {
    /// Its id.
    pub timer_id: TimerId,
    /// Its `TimerStarted` event.
    pub started_event_id: EventId,
    /// When it fires.
    pub fire_at: Timestamp,
    /// One line about it, for people; may be empty.
    pub summary: String,
}

impl Execution {
    /// The type of an open activity.
    pub fn activity_type(&self, scheduled_event_id: EventId) -> Option<&ActivityType> {
        self.activities.get(scheduled_event_id).map(|activity| &activity.scheduled.activity_type)
    }

    /// The workflow task that waits for a worker or runs; `None` if the run has no news for its code.
    pub fn pending_workflow_task(&self) -> Option<PendingWorkflowTask> {
        let task = &self.workflow_task;
        let mut pending = PendingWorkflowTask {
            state: PendingTaskState::Scheduled,
            task_queue: self.started.task_queue.clone(),
            scheduled_at: task.scheduled_at,
            started_at: None,
            attempt: task.attempt,
            last_failure: task.last_failure.as_ref().map(|last| last.failure.clone()),
            last_failure_cause: task.last_failure.as_ref().and_then(|last| last.cause),
            worker_identity: String::new(),
            next_attempt_at: None,
        };
        match &task.state {
            State::Unneeded => return None,
            State::Scheduled => {}
            State::InDoubt => pending.state = PendingTaskState::InDoubt,
            State::Delayed => {
                pending.state = PendingTaskState::BackingOff;
                pending.next_attempt_at = task.delayed_until;
            }
            State::Paused { until } => {
                pending.state = PendingTaskState::BackingOff;
                pending.next_attempt_at = Some(*until);
            }
            State::Started { token, identity } => {
                pending.state = PendingTaskState::Started;
                pending.started_at = Some(token.started_at);
                pending.worker_identity.clone_from(identity);
            }
        }
        Some(pending)
    }

    /// Open activities in order of scheduling, less those whose end waits for the running workflow task.
    pub fn pending_activities(&self) -> Vec<PendingActivity> {
        self.activities
            .iter()
            .filter(|(_, activity)| !activity.has_outcome)
            .map(|(scheduled_event_id, activity)| {
                let mut pending = PendingActivity {
                    activity_id: activity.scheduled.activity_id.clone(),
                    activity_type: activity.scheduled.activity_type.clone(),
                    state: PendingTaskState::Scheduled,
                    scheduled_event_id,
                    task_queue: activity.task_queue().clone(),
                    attempt: activity.attempt,
                    maximum_attempts: activity.retry_policy().maximum_attempts,
                    timeouts: *activity.timeouts_in_force(),
                    retry_policy: activity.retry_policy().clone(),
                    paused: activity.paused.clone(),
                    scheduled_at: activity.scheduled_at,
                    started_at: None,
                    next_attempt_at: None,
                    last_heartbeat_at: None,
                    heartbeat_details: activity.heartbeat_details.clone(),
                    last_failure: activity.last_failure.clone(),
                    worker_identity: String::new(),
                    summary: activity.scheduled.summary.clone(),
                };
                match &activity.state {
                    Attempt::Offered { .. } => {}
                    Attempt::Started { token, identity, last_heartbeat_at } => {
                        pending.state = PendingTaskState::Started;
                        pending.started_at = Some(token.started_at);
                        pending.last_heartbeat_at = *last_heartbeat_at;
                        pending.worker_identity.clone_from(identity);
                    }
                    Attempt::Paused { until } => {
                        pending.state = PendingTaskState::BackingOff;
                        pending.next_attempt_at = Some(*until);
                    }
                    Attempt::InDoubt => {
                        pending.state = PendingTaskState::InDoubt;
                        if let Some((at, identity)) = &activity.durable_start {
                            pending.started_at = Some(*at);
                            pending.worker_identity.clone_from(identity);
                        }
                    }
                }
                if activity.cancel_requested_event_id.is_some() && activity.is_running() {
                    pending.state = PendingTaskState::CancelRequested;
                }
                pending
            })
            .collect()
    }

    /// Open timers in order of firing, less those that fired and wait for the running workflow task.
    pub fn pending_timers(&self) -> Vec<PendingTimer> {
        let mut timers: Vec<PendingTimer> = self
            .timers
            .iter()
            .filter_map(|(started_event_id, timer)| {
                Some(PendingTimer {
                    timer_id: timer.timer_id.clone(),
                    started_event_id,
                    fire_at: timer.fire_at?,
                    summary: timer.summary.as_deref().unwrap_or_default().to_owned(),
                })
            })
            .collect();
        timers.sort_by_key(|timer| (timer.fire_at, timer.started_event_id));
        timers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;

    #[test]
    fn a_workflow_task_tells_where_it_stands() {
        let standing = |run: &Run| {
            let pending = run.execution.pending_workflow_task()?;
            Some((pending.state, pending.attempt, pending.worker_identity, pending.next_attempt_at))
        };
        let mut run = Run::start_with(|started| started.first_task_backoff = seconds(5));
        assert_eq!(standing(&run), Some((PendingTaskState::BackingOff, 1, String::new(), Some(BEGIN + seconds(5)))));
        run.advance_to_deadline();
        assert_eq!(standing(&run), Some((PendingTaskState::Scheduled, 1, String::new(), None)));
        let token = run.take_task();
        assert_eq!(standing(&run), Some((PendingTaskState::Started, 1, "worker".into(), None)));
        assert_eq!(run.execution.pending_workflow_task().unwrap().started_at, Some(run.now));
        run.fail_task(token);
        let token = run.take_task();
        run.fail_task(token);
        let later = Some(run.now + seconds(1));
        assert_eq!(standing(&run), Some((PendingTaskState::BackingOff, 3, String::new(), later)));
        assert_eq!(run.execution.pending_workflow_task().unwrap().last_failure.unwrap().message, "boom");
        run.crash();
        assert_eq!(standing(&run), Some((PendingTaskState::InDoubt, 2, String::new(), None)));
        let mut done = Run::start();
        done.turn(vec![]);
        assert_eq!(standing(&done), None);
    }

    #[test]
    fn activities_tell_where_they_stand_in_order_of_scheduling() {
        let mut run = Run::start();
        run.turn(["queued", "running", "paused", "stopping", "ended"].map(schedule).to_vec());
        let [_, paused, _, ended] = ["running", "paused", "stopping", "ended"].map(|id| run.take_activity(id));
        run.fail_activity(paused, Failure::application("Busy", "later"));
        run.signal("go");
        run.turn(vec![cancel_activity("stopping")]);
        run.signal("go");
        run.take_task();
        run.complete_activity(ended);
        let states = |run: &Run| -> Vec<(String, PendingTaskState, u32)> {
            let pending = run.execution.pending_activities().into_iter();
            pending.map(|activity| (activity.activity_id.to_string(), activity.state, activity.attempt)).collect()
        };
        use PendingTaskState::{BackingOff, CancelRequested, InDoubt, Scheduled, Started};
        let expect = |list: [(&str, PendingTaskState, u32); 4]| list.map(|(id, state, n)| (id.to_owned(), state, n));
        assert_eq!(
            states(&run),
            expect([
                ("queued", Scheduled, 1),
                ("running", Started, 1),
                ("paused", BackingOff, 2),
                ("stopping", CancelRequested, 1)
            ])
        );
        let paused = &run.execution.pending_activities()[2];
        assert_eq!(paused.next_attempt_at, Some(BEGIN + seconds(1)));
        assert_eq!(paused.last_failure.as_ref().unwrap().message, "later");
        run.crash();
        assert_eq!(
            states(&run),
            expect([
                ("queued", InDoubt, 1),
                ("running", InDoubt, 1),
                ("paused", InDoubt, 2),
                ("stopping", CancelRequested, 1)
            ])
        );
    }

    #[test]
    fn timers_are_told_in_order_of_firing_less_those_that_fired() {
        let mut run = Run::start();
        run.turn(vec![
            start_timer("late", seconds(9)),
            start_timer("b", seconds(5)),
            start_timer("a", seconds(5)),
            start_timer("fired", seconds(1)),
        ]);
        run.signal("go");
        run.take_task();
        run.advance(seconds(1));
        run.due();
        let ids: Vec<String> =
            run.execution.pending_timers().into_iter().map(|timer| timer.timer_id.to_string()).collect();
        assert_eq!(ids, ["b", "a", "late"]);
    }
}
