//! What operators do to open activities, without their workflow's code. Nothing of it is in the history; all is stored as progress.
//!
//! | the activity      | input                  | what follows                                                              |
//! |-------------------|------------------------|---------------------------------------------------------------------------|
//! | offered           | Pause                  | leaves its queue                                                          |
//! | backing off       | Pause                  | its next attempt waits for the end of the pause, when it is due           |
//! | at a worker       | Pause                  | the worker is told, and again at each heartbeat; a result still counts    |
//! | paused            | the attempt stops      | as if it had failed, but it does not count, and none follows yet          |
//! | paused, offered   | Unpause                | back into its queue; schedule-to-start counts anew                        |
//! | any               | Reset                  | its attempts so far count no more; one that backs off is offered at once  |
//! | any               | ChangeOptions          | new timeouts and policy from here on; an offered one moves to the queue   |
//!
//! A paused activity's schedule-to-start timeout does not strike; its other timeouts go on. The number of an attempt never falls back,
//! so that a late word of an older attempt stays recognizable: a reset only forgets how many there were.

use std::time::Duration;

use super::attempt::Named;
use super::{Activity, Attempt};
use crate::event::ActivityTimeouts;
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{ActivityRef, Effect, Execution, Fact, Paused, Rejection, Reply, Transition};
use crate::ids::{ActivityId, EventId, TaskQueueName};
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// What an operator does to an open activity.
#[derive(Debug, Clone, PartialEq)]
pub enum ActivityOperation {
    /// No attempt of it is handed out until it is unpaused. A second request changes nothing.
    Pause {
        /// Why, for people.
        reason: String,
        /// Who does it, for people.
        identity: String,
    },
    /// It goes on. Changes nothing of one that is not paused.
    Unpause {
        /// Its attempts so far count no more.
        forget_attempts: bool,
    },
    /// Its attempts so far count no more, and the next one need not wait.
    Reset {
        /// It stays paused, if it is.
        keep_paused: bool,
        /// The next attempt does not get the details of the last heartbeat.
        forget_heartbeat: bool,
    },
    /// Other timeouts, another policy, another queue.
    ChangeOptions(Box<ActivityOptionChanges>),
}

/// What changes of an activity's options; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivityOptionChanges {
    /// Where it is offered.
    pub task_queue: Option<TaskQueueName>,
    /// From scheduling to the end of the last attempt.
    pub schedule_to_close: Option<Duration>,
    /// From offering an attempt to a worker's start.
    pub schedule_to_start: Option<Duration>,
    /// From a worker's start to the end of that attempt.
    pub start_to_close: Option<Duration>,
    /// From one heartbeat to the next.
    pub heartbeat: Option<Duration>,
    /// How attempts follow each other, as a whole.
    pub retry_policy: Option<RetryPolicy>,
}

/// The options of an activity that were changed since it was scheduled, as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityOptions {
    /// Where it is offered.
    pub task_queue: TaskQueueName,
    /// Its timeouts.
    pub timeouts: ActivityTimeouts,
    /// Its retry policy.
    pub retry_policy: RetryPolicy,
}

/// A change of an activity by an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum ActivityChange {
    /// It is paused.
    Paused(Paused),
    /// It is not any more.
    Unpaused,
    /// Its attempts so far count no more.
    AttemptsForgotten {
        /// Neither does its last heartbeat.
        heartbeat: bool,
    },
    /// These options are in force.
    Options(Box<ActivityOptions>),
}

impl Execution {
    pub(in crate::execution) fn decide_operate_activity(
        &self,
        activity_id: ActivityId,
        operation: ActivityOperation,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let Named { scheduled_event_id: id, activity, .. } = self.activity(&ActivityRef::Id(activity_id))?;
        let mut draft = Draft::new(self, now);
        match operation {
            ActivityOperation::Pause { reason, identity } => {
                if activity.paused.is_some() {
                    return Ok(Transition::reply(Reply::Unchanged));
                }
                draft.change_activity(id, ActivityChange::Paused(Paused { since: draft.clock(), reason, identity }));
                let attempt = activity.attempt;
                match activity.state {
                    Attempt::Offered { .. } => {
                        draft.effect(Effect::WithdrawActivity { scheduled_event_id: id, attempt })
                    }
                    Attempt::Started { .. } => draft.effect(Effect::PauseActivity { scheduled_event_id: id, attempt }),
                    Attempt::Paused { .. } | Attempt::InDoubt => {}
                }
            }
            ActivityOperation::Unpause { forget_attempts } => {
                if activity.paused.is_none() {
                    return Ok(Transition::reply(Reply::Unchanged));
                }
                draft.change_activity(id, ActivityChange::Unpaused);
                if forget_attempts {
                    draft.change_activity(id, ActivityChange::AttemptsForgotten { heartbeat: false });
                }
                let backs_off = matches!(activity.state, Attempt::Paused { .. });
                if activity.is_offered() || (backs_off && forget_attempts) {
                    draft.put_into_queue(id, activity.attempt, activity.task_queue().clone());
                }
            }
            ActivityOperation::Reset { keep_paused, forget_heartbeat } => {
                draft.change_activity(id, ActivityChange::AttemptsForgotten { heartbeat: forget_heartbeat });
                let was_paused = activity.paused.is_some();
                if was_paused && !keep_paused {
                    draft.change_activity(id, ActivityChange::Unpaused);
                }
                let backs_off = matches!(activity.state, Attempt::Paused { .. });
                if was_paused && keep_paused {
                    if backs_off {
                        draft.fact(Fact::ActivityOffered { scheduled_event_id: id, at: now });
                    }
                } else if backs_off || (was_paused && activity.is_offered()) {
                    draft.put_into_queue(id, activity.attempt, activity.task_queue().clone());
                }
            }
            ActivityOperation::ChangeOptions(changes) => {
                let options = activity.options_with(*changes)?;
                if options == activity.options_in_force() {
                    return Ok(Transition::reply(Reply::Unchanged));
                }
                let moves_to = (options.task_queue != *activity.task_queue()).then(|| options.task_queue.clone());
                draft.change_activity(id, ActivityChange::Options(Box::new(options)));
                if let Some(queue) = moves_to.filter(|_| activity.is_offered() && activity.paused.is_none()) {
                    draft.effect(Effect::WithdrawActivity { scheduled_event_id: id, attempt: activity.attempt });
                    draft.put_into_queue(id, activity.attempt, queue);
                }
            }
        }
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn apply_activity_operated(
        &mut self,
        scheduled_event_id: EventId,
        at: Timestamp,
        change: &ActivityChange,
    ) {
        self.change_activity(scheduled_event_id, |activity| match change {
            ActivityChange::Paused(paused) => activity.paused = Some(paused.clone()),
            ActivityChange::Unpaused => activity.paused = None,
            ActivityChange::AttemptsForgotten { heartbeat } => {
                activity.counted = 0;
                activity.forgotten = activity.attempt - 1;
                activity.offer_at = activity.offer_at.min(at);
                if *heartbeat {
                    activity.heartbeat_details = None;
                }
            }
            ActivityChange::Options(options) => {
                activity.options = Some(options.clone());
                activity.remember_start(at);
            }
        });
    }
}

impl Draft<'_> {
    fn change_activity(&mut self, scheduled_event_id: EventId, change: ActivityChange) {
        self.fact(Fact::ActivityOperated { scheduled_event_id, at: self.now, change });
        self.progress(scheduled_event_id);
    }

    /// Puts an attempt that is held back by nothing but the run into `task_queue`.
    fn put_into_queue(&mut self, scheduled_event_id: EventId, attempt: u32, task_queue: TaskQueueName) {
        self.fact(Fact::ActivityOffered { scheduled_event_id, at: self.now });
        if !self.run.is_paused() {
            self.effect(Effect::OfferActivity { scheduled_event_id, attempt, task_queue });
        }
    }
}

impl Activity {
    /// Where its attempts are offered.
    pub(in crate::execution) fn task_queue(&self) -> &TaskQueueName {
        self.options.as_ref().map_or(&self.scheduled.task_queue, |options| &options.task_queue)
    }

    /// The timeouts that are in force.
    pub(in crate::execution) fn timeouts_in_force(&self) -> &ActivityTimeouts {
        self.options.as_ref().map_or(&self.scheduled.timeouts, |options| &options.timeouts)
    }

    /// The retry policy that is in force.
    pub(in crate::execution) fn retry_policy(&self) -> &RetryPolicy {
        self.options.as_ref().map_or(&self.scheduled.retry_policy, |options| &options.retry_policy)
    }

    fn options_in_force(&self) -> ActivityOptions {
        ActivityOptions {
            task_queue: self.task_queue().clone(),
            timeouts: *self.timeouts_in_force(),
            retry_policy: self.retry_policy().clone(),
        }
    }

    fn options_with(&self, changes: ActivityOptionChanges) -> Result<ActivityOptions, Rejection> {
        check::timeout("schedule_to_close", changes.schedule_to_close)?;
        check::timeout("schedule_to_start", changes.schedule_to_start)?;
        check::timeout("start_to_close", changes.start_to_close)?;
        check::timeout("heartbeat", changes.heartbeat)?;
        if let Some(policy) = &changes.retry_policy {
            let invalid = |problem: String| Rejection::Invalid { field: "retry_policy".to_owned(), problem };
            policy.validate().map_err(|problem| invalid(problem.to_string()))?;
        }
        let mut options = self.options_in_force();
        let timeouts = &mut options.timeouts;
        timeouts.schedule_to_close = changes.schedule_to_close.or(timeouts.schedule_to_close);
        timeouts.schedule_to_start = changes.schedule_to_start.or(timeouts.schedule_to_start);
        timeouts.start_to_close = changes.start_to_close.or(timeouts.start_to_close);
        timeouts.heartbeat = changes.heartbeat.or(timeouts.heartbeat);
        options.task_queue = changes.task_queue.unwrap_or(options.task_queue);
        options.retry_policy = changes.retry_policy.unwrap_or(options.retry_policy);
        Ok(options)
    }

    /// An activity that may run only once from here on, and that a worker has or may have: a crash must not forget that.
    fn remember_start(&mut self, at: Timestamp) {
        if !self.runs_only_once() || self.durable_start.is_some() {
            return;
        }
        match &self.state {
            Attempt::Started { token, identity, .. } => {
                self.durable_start = Some((token.started_at, identity.clone()));
            }
            Attempt::InDoubt => self.durable_start = Some((at, String::new())),
            Attempt::Offered { .. } | Attempt::Paused { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;
    use crate::execution::{ActivityToken, Input};
    use crate::failure::Failure;

    fn with_activity(change: impl FnOnce(&mut crate::command::ScheduleActivity)) -> Run {
        let mut run = Run::start();
        run.turn(vec![schedule_with("a", change)]);
        run
    }

    fn operate(run: &mut Run, operation: ActivityOperation) {
        let _ = run.send(Input::OperateActivity { activity_id: ActivityId::from_trusted("a"), operation });
    }

    fn pause(run: &mut Run) {
        operate(run, ActivityOperation::Pause { reason: "bank".into(), identity: "desk".into() });
    }

    fn unpause(run: &mut Run) {
        operate(run, ActivityOperation::Unpause { forget_attempts: false });
    }

    fn reset(run: &mut Run, keep_paused: bool) {
        operate(run, ActivityOperation::Reset { keep_paused, forget_heartbeat: true });
    }

    fn busy(run: &mut Run, token: ActivityToken) {
        run.fail_activity(token, Failure::application("Busy", "later"));
    }

    #[test]
    fn a_paused_activity_leaves_its_queue_and_comes_back() {
        check(
            with_activity(|activity| activity.timeouts.schedule_to_start = Some(seconds(5))),
            |run| {
                pause(run);
                pause(run);
                run.advance(seconds(60));
                run.due();
                let start =
                    Input::StartActivity { scheduled_event_id: EventId(5), attempt: 1, identity: "late".into() };
                let _ = run.send(start);
                unpause(run);
                unpause(run);
                assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(5)));
            },
            "
                ~ activity 5 operated: paused
                % 5 attempt=1 counted=0
                > WithdrawActivity 5 attempt=1
                = unchanged
                = unchanged
                ! activity task is stale: attempt 1 was offered, but the activity is paused
                ~ activity 5 operated: unpaused
                ~ activity 5 offered
                % 5 deleted
                > OfferActivity 5 attempt=1 queue=orders
                = unchanged
            ",
        );
    }

    #[test]
    fn a_pause_survives_a_crash() {
        let mut run = with_activity(|_| {});
        pause(&mut run);
        run.crash();
        run.send(Input::EndGrace).unwrap();
        let pending = &run.execution.pending_activities()[0];
        assert_eq!(pending.paused.as_ref().unwrap().reason, "bank");
        assert_eq!(run.execution.offers(), []);
        run.log.clear();
        check(
            run,
            unpause,
            "
                ~ activity 5 operated: unpaused
                ~ activity 5 offered
                % 5 attempt=2 counted=0
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn the_worker_of_a_paused_activity_is_told_and_what_it_does_then_does_not_count() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(2)));
        let token = run.take_activity("a");
        let mut run = check(
            run,
            |run| {
                pause(run);
                let activity = ActivityRef::Token(token);
                run.send(Input::HeartbeatActivity { activity: activity.clone(), details: None }).unwrap();
                run.send(Input::CancelActivity { activity, details: None, identity: "worker".into() }).unwrap();
                run.due();
            },
            "
                ~ activity 5 operated: paused
                % 5 attempt=1 counted=0
                > PauseActivity 5 attempt=1
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=false paused
                ~ activity 5 attempt failed counted=false: the attempt stopped because the activity was paused
                ~ activity 5 offered
                % 5 attempt=2 counted=0
                = unchanged
            ",
        );
        unpause(&mut run);
        let token = run.take_activity("a");
        assert_eq!(token.attempt, 2);
        run.complete_activity(token);
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityCompleted");
    }

    #[test]
    fn a_result_of_a_paused_activity_counts() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        pause(&mut run);
        run.complete_activity(token);
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityCompleted");
        assert!(run.progress.is_empty());
    }

    #[test]
    fn a_reset_forgets_attempts_and_the_pause_before_the_next() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(2)));
        let token = run.take_activity("a");
        busy(&mut run, token);
        let mut run = check(
            run,
            |run| reset(run, false),
            "
                ~ activity 5 operated: attempts forgotten
                ~ activity 5 offered
                % 5 attempt=2 counted=0
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
        // Two more attempts, the first of them followed by the first pause of the policy.
        let token = run.take_activity("a");
        busy(&mut run, token);
        assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(1)));
        run.advance_to_deadline();
        let token = run.take_activity("a");
        busy(&mut run, token);
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityFailed");
    }

    #[test]
    fn a_reset_may_keep_the_pause() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        busy(&mut run, token);
        pause(&mut run);
        reset(&mut run, true);
        assert_eq!(run.execution.offers(), []);
        run.log.clear();
        check(
            run,
            unpause,
            "
                ~ activity 5 operated: unpaused
                ~ activity 5 offered
                % 5 attempt=2 counted=0
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn changed_options_are_in_force_at_once_and_after_a_crash() {
        let mut run = with_activity(|_| {});
        let changes = ActivityOptionChanges {
            task_queue: Some(TaskQueueName::from_trusted("gpu")),
            start_to_close: Some(seconds(3)),
            retry_policy: Some(retry(1)),
            ..ActivityOptionChanges::default()
        };
        run = check(
            run,
            |run| {
                operate(run, ActivityOperation::ChangeOptions(Box::new(changes.clone())));
                operate(run, ActivityOperation::ChangeOptions(Box::new(changes.clone())));
            },
            "
                ~ activity 5 operated: options
                ~ activity 5 offered
                % 5 attempt=1 counted=0
                > WithdrawActivity 5 attempt=1
                > OfferActivity 5 attempt=1 queue=gpu
                = unchanged
            ",
        );
        run.crash();
        run.send(Input::EndGrace).unwrap();
        let pending = run.execution.pending_activities().remove(0);
        assert_eq!((pending.task_queue.as_str(), pending.maximum_attempts), ("gpu", 1));
        let token = run.take_activity("a");
        assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(3)));
        busy(&mut run, token);
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityFailed");
    }

    #[test]
    fn an_activity_that_may_run_only_once_from_now_on_is_remembered_as_started() {
        let mut run = with_activity(|_| {});
        run.take_activity("a");
        let changes = ActivityOptionChanges { retry_policy: Some(retry(1)), ..ActivityOptionChanges::default() };
        operate(&mut run, ActivityOperation::ChangeOptions(Box::new(changes)));
        run.crash();
        run.send(Input::EndGrace).unwrap();
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityFailed");
    }

    #[test]
    fn what_is_wrong_with_new_options_is_told_by_its_field_and_changes_nothing() {
        let mut run = with_activity(|_| {});
        let mut refused = |changes: ActivityOptionChanges| {
            let operation = ActivityOperation::ChangeOptions(Box::new(changes));
            let activity_id = ActivityId::from_trusted("a");
            run.send(Input::OperateActivity { activity_id, operation }).unwrap_err().to_string()
        };
        let zero = ActivityOptionChanges { heartbeat: Some(Duration::ZERO), ..Default::default() };
        assert_eq!(refused(zero), "heartbeat: must be more than zero; leave it unset for no limit");
        let policy = RetryPolicy { jitter: 2.0, ..retry(0) };
        let odd = ActivityOptionChanges { retry_policy: Some(policy), ..Default::default() };
        assert_eq!(refused(odd), "retry_policy: jitter must be a number from 0 to 1");
        let unknown = Input::OperateActivity {
            activity_id: ActivityId::from_trusted("b"),
            operation: ActivityOperation::Unpause { forget_attempts: true },
        };
        assert_eq!(run.send(unknown).unwrap_err().to_string(), "no open activity with id \"b\"");
    }

    #[test]
    fn a_paused_activity_of_a_paused_run_waits_for_both() {
        let mut run = with_activity(|_| {});
        pause(&mut run);
        run.pause();
        unpause(&mut run);
        assert_eq!(run.execution.offers(), []);
        pause(&mut run);
        run.log.clear();
        check(
            run,
            |run| {
                run.resume();
                unpause(run);
            },
            "
                7 WorkflowResumed go on
                ~ activity 5 operated: unpaused
                ~ activity 5 offered
                % 5 deleted
                > OfferActivity 5 attempt=1 queue=orders
            ",
        );
    }
}
