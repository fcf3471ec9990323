//! Standalone activities: runs that are one activity and have no workflow code, so never a workflow task.
//!
//! | activity          | input                              | events                                                      |
//! |-------------------|------------------------------------|-------------------------------------------------------------|
//! | —                 | start                              | WorkflowStarted (with `activity`)                           |
//! | in hand           | completed                          | ActivityStarted WorkflowCompleted                           |
//! | in hand           | failed, no attempt follows         | ActivityStarted WorkflowFailed                              |
//! | in hand           | timed out, no attempt follows      | ActivityStarted WorkflowTimedOut                            |
//! | offered, paused   | timed out, no attempt follows      | WorkflowTimedOut                                            |
//! | in hand           | RequestCancel                      | WorkflowCancelRequested; the worker is told                 |
//! | in hand           | stopped as canceled, after that    | ActivityStarted WorkflowCanceled                            |
//! | offered, paused   | RequestCancel                      | WorkflowCancelRequested WorkflowCanceled                    |
//! | any               | Terminate                          | WorkflowTerminated                                          |
//!
//! All else is as for an activity of a workflow (the table in [`super`]): attempts, back-off, timeouts, heartbeats, losses, doubt. A
//! life without trouble is two rows of history, the start and the end.
//!
//! Its number as an activity is that of the first event: there is no `ActivityScheduled`, since the start says it all. The events
//! that end a run take the place of those that end an activity.
//!
//! Invariant: a standalone activity is open exactly as long as its run is.

use super::{Activity, Attempt};
use crate::event::{
    ActivityScheduled, EventKind, WorkflowCancelRequested, WorkflowCanceled, WorkflowCompleted, WorkflowFailed,
    WorkflowStarted, WorkflowTimedOut,
};
use crate::execution::check::BadField;
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution, Paused, Reply, Transition};
use crate::ids::{ActivityId, ActivityType, EventId};
use crate::time::Timestamp;

/// The number that a standalone activity has among the activities of its run.
pub(in crate::execution) const STANDALONE: EventId = EventId::FIRST;

/// Checks what only the start of a standalone activity has.
pub(in crate::execution) fn check_standalone(started: &WorkflowStarted) -> Result<(), BadField> {
    let Some(activity) = &started.activity else { return Ok(()) };
    super::schedule::check_options(&activity.timeouts, Some(&activity.retry_policy))
}

impl Execution {
    /// Whether the run is a standalone activity.
    pub fn is_standalone_activity(&self) -> bool {
        self.started.activity.is_some()
    }

    /// The pause under way, if the run is a standalone activity that is paused.
    pub fn standalone_paused(&self) -> Option<&Paused> {
        self.is_standalone_activity().then(|| self.activities.get(STANDALONE)?.paused.as_ref()).flatten()
    }

    /// Opens the activity of a run that is one.
    pub(in crate::execution) fn open_standalone(&mut self, started: &WorkflowStarted, at: Timestamp) {
        let Some(options) = &started.activity else { return };
        let scheduled = ActivityScheduled {
            workflow_task_completed_event_id: EventId::NONE,
            activity_id: ActivityId::from_trusted(started.workflow_id.as_str()),
            activity_type: ActivityType::from_trusted(started.workflow_type.as_str()),
            task_queue: started.task_queue.clone(),
            input: started.input.clone(),
            timeouts: self.fill_in(options.timeouts),
            retry_policy: options.retry_policy.clone(),
            summary: started.summary.clone(),
        };
        // The delay does not count towards any timeout.
        let mut activity = Activity::new(&scheduled, at + started.first_task_backoff);
        if !started.first_task_backoff.is_zero() {
            activity.offer_at = activity.scheduled_at;
            activity.state = Attempt::Paused { until: activity.scheduled_at };
        }
        self.activities.insert(&mut self.deadlines, STANDALONE, activity);
    }

    pub(in crate::execution) fn decide_cancel_standalone(
        &self,
        request: WorkflowCancelRequested,
        now: Timestamp,
    ) -> Transition {
        let mut draft = Draft::new(self, now);
        draft.push(EventKind::WorkflowCancelRequested(request));
        let Some(activity) = self.activities.get(STANDALONE) else { return draft.finish(Reply::Done) };
        if activity.is_running() {
            draft.effect(Effect::CancelActivity { scheduled_event_id: STANDALONE, attempt: activity.attempt });
        } else {
            draft.close(EventKind::WorkflowCanceled(WorkflowCanceled {
                workflow_task_completed_event_id: EventId::NONE,
                details: None,
            }));
        }
        draft.finish(Reply::Done)
    }
}

impl Draft<'_> {
    /// Records how an activity ended: among the events of its workflow, or as the end of the run that it is.
    pub(super) fn record_end(&mut self, scheduled_event_id: EventId, end: EventKind) {
        if self.run.is_standalone_activity() {
            // Whoever had the attempt has handed it in, or was told already.
            self.overlay.ended_activities.insert(scheduled_event_id);
            self.close(close_event(end));
        } else {
            self.arrive(end);
        }
    }
}

/// The event that ends the run, for one that ends the activity.
fn close_event(end: EventKind) -> EventKind {
    let workflow_task_completed_event_id = EventId::NONE;
    if let EventKind::ActivityCompleted(end) = end {
        return EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id,
            result: end.result,
            new_run_id: None,
        });
    }
    if let EventKind::ActivityFailed(end) = end {
        return EventKind::WorkflowFailed(WorkflowFailed {
            workflow_task_completed_event_id,
            failure: end.failure,
            retry_state: end.retry_state,
            new_run_id: None,
        });
    }
    if let EventKind::ActivityTimedOut(end) = end {
        return EventKind::WorkflowTimedOut(WorkflowTimedOut {
            retry_state: end.retry_state,
            new_run_id: None,
            failure: Some(end.failure),
        });
    }
    if let EventKind::ActivityCanceled(end) = end {
        return EventKind::WorkflowCanceled(WorkflowCanceled {
            workflow_task_completed_event_id,
            details: end.details,
        });
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CloseStatus, StandaloneActivity};
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::execution::{ActivityRef, ActivityToken};
    use crate::failure::Failure;

    fn standalone(change: impl FnOnce(&mut WorkflowStarted, &mut StandaloneActivity)) -> Run {
        Run::start_with(|started| {
            let template = activity("unused");
            let mut options = StandaloneActivity { timeouts: template.timeouts, retry_policy: retry(2) };
            change(started, &mut options);
            started.activity = Some(Box::new(options));
        })
    }

    fn running() -> (Run, ActivityToken) {
        let mut run = standalone(|_, _| {});
        let token = run.take_activity("order-1");
        (run, token)
    }

    fn stop_as_canceled(run: &mut Run, token: ActivityToken) {
        let activity = ActivityRef::Token(token);
        let _ = run.send(Input::CancelActivity { activity, details: None, identity: "worker".into() });
    }

    #[test]
    fn a_life_without_trouble_is_a_start_and_an_end() {
        let mut run = standalone(|_, _| {});
        assert_eq!(run.take_log(), "1 WorkflowStarted attempt=1\n> OfferActivity 1 attempt=1 queue=orders");
        let run = check(
            run,
            |run| {
                let token = run.take_activity("order-1");
                run.complete_activity(token);
            },
            "
                ~ activity 1 started attempt=1
                2 ActivityStarted scheduled=1 attempt=1
                3 WorkflowCompleted task=0
                > Closed Completed
            ",
        );
        assert_eq!(run.execution.close_status(), Some(CloseStatus::Completed));
        assert_eq!(run.execution.pending_activities(), []);
        assert_eq!(run.execution.next_deadline(), None);
    }

    #[test]
    fn it_is_retried_and_its_last_failure_closes_it() {
        let (run, token) = running();
        check(
            run,
            |run| {
                run.fail_activity(token, Failure::application("Busy", "later"));
                run.advance_to_deadline();
                let token = run.take_activity("order-1");
                run.fail_activity(token, Failure::application("Busy", "later"));
            },
            r#"
                ~ activity 1 attempt failed counted=true: later
                % 1 attempt=2 counted=1
                ~ activity 1 offered
                > OfferActivity 1 attempt=2 queue=orders
                ~ activity 1 started attempt=2
                2 ActivityStarted scheduled=1 attempt=2 last_failure="later"
                3 WorkflowFailed task=0 retry_state=MaximumAttemptsReached
                % 1 deleted
                > Closed Failed
            "#,
        );
    }

    #[test]
    fn one_that_no_worker_takes_in_time_times_out_and_says_why() {
        let run = standalone(|_, options| options.timeouts.schedule_to_start = Some(seconds(3)));
        let run = check(
            run,
            |run| run.advance_to_deadline(),
            "
                2 WorkflowTimedOut retry_state=Timeout
                > WithdrawActivity 1 attempt=1
                > Closed TimedOut
            ",
        );
        let EventKind::WorkflowTimedOut(end) = &run.history[1].kind else { panic!("not timed out") };
        assert_eq!(end.failure.as_ref().unwrap().message, "schedule-to-start timeout");
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_taken_back_and_the_last_one_closes_it() {
        let (run, _) = running();
        check(
            run,
            |run| {
                run.advance_to_deadline();
                run.advance_to_deadline();
                run.take_activity("order-1");
                run.advance_to_deadline();
            },
            r#"
                ~ activity 1 attempt failed counted=true: start-to-close timeout
                % 1 attempt=2 counted=1
                > WithdrawActivity 1 attempt=1
                ~ activity 1 offered
                > OfferActivity 1 attempt=2 queue=orders
                ~ activity 1 started attempt=2
                2 ActivityStarted scheduled=1 attempt=2 last_failure="start-to-close timeout"
                3 WorkflowTimedOut retry_state=MaximumAttemptsReached
                % 1 deleted
                > WithdrawActivity 1 attempt=2
                > Closed TimedOut
            "#,
        );
    }

    #[test]
    fn one_that_nobody_has_is_canceled_at_once() {
        let run = check(
            standalone(|_, _| {}),
            |run| {
                run.cancel();
                run.cancel();
            },
            "
                2 WorkflowCancelRequested stop
                3 WorkflowCanceled task=0
                > WithdrawActivity 1 attempt=1
                > Closed Canceled
                = unchanged
            ",
        );
        assert!(run.execution.cancel_requested());
        let (mut paused, token) = running();
        paused.fail_activity(token, Failure::application("Busy", "later"));
        check(
            paused,
            |run| run.cancel(),
            "
                2 WorkflowCancelRequested stop
                3 WorkflowCanceled task=0
                % 1 deleted
                > Closed Canceled
            ",
        );
    }

    #[test]
    fn the_worker_of_a_running_one_is_asked_to_stop_and_decides() {
        let (run, token) = running();
        let asked = check(
            run,
            |run| {
                run.cancel();
                run.cancel();
            },
            "
                2 WorkflowCancelRequested stop
                > CancelActivity 1 attempt=1
                = unchanged
            ",
        );
        check(
            asked.clone(),
            |run| stop_as_canceled(run, token),
            "
                3 ActivityStarted scheduled=1 attempt=1
                4 WorkflowCanceled task=0
                > Closed Canceled
            ",
        );
        check(
            asked.clone(),
            |run| run.complete_activity(token),
            "
                3 ActivityStarted scheduled=1 attempt=1
                4 WorkflowCompleted task=0
                > Closed Completed
            ",
        );
        check(
            asked,
            |run| run.fail_activity(token, Failure::application("Busy", "later")),
            "
                3 ActivityStarted scheduled=1 attempt=1
                4 WorkflowFailed task=0 retry_state=CancelRequested
                > Closed Failed
            ",
        );
    }

    #[test]
    fn a_request_to_cancel_outlives_a_crash() {
        let (mut run, token) = running();
        run.cancel();
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::ClaimActivity { token, identity: "worker".into() }).unwrap();
                stop_as_canceled(run, token);
            },
            "
                ~ activity 1 started attempt=1
                ~ activity 1 heartbeat
                > CancelActivity 1 attempt=1
                3 ActivityStarted scheduled=1 attempt=1
                4 WorkflowCanceled task=0
                > Closed Canceled
            ",
        );
    }

    #[test]
    fn after_a_crash_it_waits_for_its_worker_and_then_runs_again() {
        let (mut run, token) = running();
        run.crash();
        let doubtful = run.clone();
        check(
            run,
            |run| run.complete_activity(token),
            "
                2 ActivityStarted scheduled=1 attempt=1
                3 WorkflowCompleted task=0
                > Closed Completed
            ",
        );
        check(
            doubtful,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            "
                ~ activity 1 attempt failed counted=false: the server restarted; a worker may have had this attempt, and none claimed it
                ~ activity 1 offered
                ~ grace ended
                % 1 attempt=2 counted=0
                > OfferActivity 1 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn one_that_may_run_only_once_is_never_run_twice() {
        let once = || standalone(|_, options| options.retry_policy = retry(1));
        let mut started = once();
        started.take_activity("order-1");
        started.crash();
        check(
            started,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            "
                ~ grace ended
                2 ActivityStarted scheduled=1 attempt=1
                3 WorkflowFailed task=0 retry_state=MaximumAttemptsReached
                % 1 deleted
                > Closed Failed
            ",
        );
        let mut offered = once();
        offered.crash();
        check(
            offered,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            "
                ~ activity 1 offered
                ~ grace ended
                > OfferActivity 1 attempt=1 queue=orders
            ",
        );
    }

    #[test]
    fn a_delay_holds_the_first_attempt_back_and_counts_towards_no_timeout() {
        let mut run = standalone(|started, options| {
            started.first_task_backoff = seconds(60);
            options.timeouts.schedule_to_close = Some(seconds(5));
        });
        assert_eq!(run.take_log(), "1 WorkflowStarted attempt=1");
        assert!(run.execution.is_idle(), "it may be parked");
        assert_eq!(run.execution.wake_at(), BEGIN + seconds(60));
        check(
            run,
            |run| {
                run.advance_to_deadline();
                run.advance_to_deadline();
            },
            "
                ~ activity 1 offered
                > OfferActivity 1 attempt=1 queue=orders
                2 WorkflowTimedOut retry_state=Timeout
                > WithdrawActivity 1 attempt=1
                > Closed TimedOut
            ",
        );
    }

    #[test]
    fn terminated_is_closed_at_once_and_a_late_result_is_stale() {
        let (run, token) = running();
        check(
            run,
            |run| {
                run.terminate();
                run.complete_activity(token);
                run.terminate();
            },
            "
                2 WorkflowTerminated enough
                > WithdrawActivity 1 attempt=1
                > Closed Terminated
                ! activity task is stale: the run is closed
                ! workflow execution already completed
            ",
        );
    }

    #[test]
    fn an_invalid_one_is_refused_naming_the_field() {
        let refusal = |change: fn(&mut StandaloneActivity)| {
            let mut started = start_attributes();
            let mut options = StandaloneActivity { timeouts: activity("unused").timeouts, retry_policy: retry(2) };
            change(&mut options);
            started.activity = Some(Box::new(options));
            Run::begin(started, BEGIN).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(|options| options.timeouts = Default::default()),
            "start_to_close: one of start_to_close and schedule_to_close must be set"
        );
        assert_eq!(
            refusal(|options| options.retry_policy.jitter = 2.0),
            "retry_policy: jitter must be a number from 0 to 1"
        );
    }

    #[test]
    fn a_history_that_ends_it_without_an_attempt_is_corrupt() {
        let (mut run, token) = running();
        run.complete_activity(token);
        run.history.remove(1);
        run.history[1].id = EventId(2);
        assert_eq!(
            Execution::replay(run.history).unwrap_err().to_string(),
            "corrupt history at event 2: WorkflowCompleted does not follow ActivityStarted"
        );
    }
}
