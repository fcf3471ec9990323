//! How attempts end, and whether another follows. See the table in [`super`].
//!
//! | the attempt                                 | another attempt follows                | none follows                         |
//! |---------------------------------------------|----------------------------------------|--------------------------------------|
//! | failed                                      | if the policy says so                  | ActivityFailed                       |
//! | failed; the next would come too late        |                                        | ActivityFailed (retry state Timeout) |
//! | took too long, or fell silent               | if the policy says so                  | ActivityTimedOut of that kind        |
//! | …; the next would come too late             |                                        | ActivityTimedOut (schedule-to-close) |
//! | lost with its worker                        | if the policy says so, without pause   | ActivityFailed                       |
//! | refused by a worker or by the engine        | yes; the attempt does not count        | ActivityFailed                       |
//! | ended in any way after a request to cancel  | never                                  | as above (CancelRequested)           |

use super::attempt::Named;
use super::{Activity, Attempt};
use crate::event::{ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityStarted, ActivityTimedOut, EventKind};
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{ActivityRef, ActivityToken, Effect, Execution, Fact, Rejection, Reply, Transition};
use crate::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use crate::ids::{EventId, mix};
use crate::payload::Payload;
use crate::retry::RetryDecision;
use crate::time::Timestamp;

impl Execution {
    pub(in crate::execution) fn decide_complete_activity(
        &self,
        activity: &ActivityRef,
        result: Option<Payload>,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.activity(activity)?;
        check::payload_size("result", result.as_ref().map_or(0, Payload::size))?;
        let scheduled_event_id = named.scheduled_event_id;
        let mut draft = Draft::new(self, now);
        draft.withdraw_from_others(&named);
        draft.resolve(scheduled_event_id, named.activity, named.token, &identity, |started_event_id| {
            EventKind::ActivityCompleted(ActivityCompleted {
                scheduled_event_id,
                started_event_id,
                result,
                identity: identity.clone(),
            })
        });
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_fail_activity(
        &self,
        activity: &ActivityRef,
        failure: Failure,
        identity: &str,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.activity(activity)?;
        let mut draft = Draft::new(self, now);
        draft.withdraw_from_others(&named);
        draft.fail_attempt(named.scheduled_event_id, named.activity, named.token, failure.within_limits(), identity);
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_cancel_activity(
        &self,
        activity: &ActivityRef,
        details: Option<Payload>,
        identity: &str,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.activity(activity)?;
        check::payload_size("details", details.as_ref().map_or(0, Payload::size))?;
        let scheduled_event_id = named.scheduled_event_id;
        let mut draft = Draft::new(self, now);
        draft.withdraw_from_others(&named);
        match named.activity.cancel_requested_event_id {
            Some(cancel_requested_event_id) => {
                draft.resolve(scheduled_event_id, named.activity, named.token, identity, |started_event_id| {
                    EventKind::ActivityCanceled(ActivityCanceled {
                        scheduled_event_id,
                        started_event_id,
                        cancel_requested_event_id,
                        details,
                        identity: identity.to_owned(),
                    })
                });
            }
            None if named.activity.paused.is_some() => {
                let failure = Failure::server("the attempt stopped because the activity was paused", false);
                draft.retry(scheduled_event_id, named.activity, failure, now);
            }
            None => {
                let failure = Failure {
                    message: "the activity stopped as canceled, but nobody had asked it to".to_owned(),
                    kind: FailureKind::Canceled { details },
                    cause: None,
                };
                draft.fail_attempt(scheduled_event_id, named.activity, named.token, failure, identity);
            }
        }
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_lose_activity(
        &self,
        token: ActivityToken,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.held_activity(token)?;
        let mut draft = Draft::new(self, now);
        let failure = Failure::worker_lost("the connection of the worker broke, and it did not come back in time");
        draft.fail_attempt(named.scheduled_event_id, named.activity, named.token, failure, "");
        Ok(draft.finish(Reply::Done))
    }
}

impl Draft<'_> {
    /// The activity's deadline has come: a timeout, or the end of a pause.
    pub(in crate::execution) fn activity_due(&mut self, scheduled_event_id: EventId) {
        let Some(activity) = self.run.activities.get(scheduled_event_id) else { return };
        match activity.passed_timeout(&self.run.deadlines.time, self.now) {
            Some(timeout) => self.time_out(scheduled_event_id, activity, timeout),
            None => {
                if matches!(activity.state, Attempt::Paused { until } if until <= self.now) {
                    self.offer_attempt(scheduled_event_id, activity, activity.attempt);
                }
            }
        }
    }

    fn time_out(&mut self, scheduled_event_id: EventId, activity: &Activity, timeout: TimeoutKind) {
        if activity.is_offered_or_running() {
            self.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: activity.attempt });
        }
        let failure = Failure::timeout(timeout, activity.heartbeat_details.clone());
        match timeout {
            TimeoutKind::StartToClose | TimeoutKind::Heartbeat => {
                match self.next_attempt(scheduled_event_id, activity, &failure) {
                    RetryDecision::RetryAt(at) => self.retry(scheduled_event_id, activity, failure, at),
                    RetryDecision::GiveUp(RetryState::Timeout) => {
                        let closing =
                            Failure::timeout(TimeoutKind::ScheduleToClose, activity.heartbeat_details.clone());
                        let closing = Failure { cause: Some(Box::new(failure)), ..closing };
                        self.resolve_timed_out(scheduled_event_id, activity, closing, RetryState::Timeout);
                    }
                    RetryDecision::GiveUp(state) => {
                        let cause = activity.last_failure.clone().map(Box::new);
                        self.resolve_timed_out(scheduled_event_id, activity, Failure { cause, ..failure }, state);
                    }
                }
            }
            TimeoutKind::ScheduleToStart | TimeoutKind::ScheduleToClose => {
                let state = match activity.cancel_requested_event_id {
                    Some(_) => RetryState::CancelRequested,
                    None => RetryState::Timeout,
                };
                let cause = activity.last_failure.clone().map(Box::new);
                self.resolve_timed_out(scheduled_event_id, activity, Failure { cause, ..failure }, state);
            }
        }
    }

    fn fail_attempt(
        &mut self,
        scheduled_event_id: EventId,
        activity: &Activity,
        token: Option<ActivityToken>,
        failure: Failure,
        identity: &str,
    ) {
        match self.next_attempt(scheduled_event_id, activity, &failure) {
            RetryDecision::RetryAt(at) => self.retry(scheduled_event_id, activity, failure, at),
            RetryDecision::GiveUp(retry_state) => {
                self.resolve_failed_with(scheduled_event_id, activity, token, failure, retry_state, identity);
            }
        }
    }

    fn next_attempt(&self, scheduled_event_id: EventId, activity: &Activity, failure: &Failure) -> RetryDecision {
        if activity.cancel_requested_event_id.is_some() {
            return RetryDecision::GiveUp(RetryState::CancelRequested);
        }
        activity.retry_policy().after_failure(
            failure,
            activity.attempt - activity.forgotten,
            activity.counted.saturating_add(u32::from(counts(failure))),
            self.now,
            activity.schedule_to_close_deadline(&self.run.deadlines.time),
            mix(self.run.started.run_id.seed() ^ scheduled_event_id.0),
        )
    }

    fn retry(&mut self, scheduled_event_id: EventId, activity: &Activity, failure: Failure, at: Timestamp) {
        let counted = counts(&failure);
        self.fact(Fact::ActivityAttemptFailed { scheduled_event_id, failure, retry_at: at, counted });
        self.progress(scheduled_event_id);
        if at <= self.now {
            self.offer_attempt(scheduled_event_id, activity, activity.attempt.saturating_add(1));
        }
    }

    /// An outcome that did not come from who has the attempt, or came although it is in its queue again: takes it back.
    fn withdraw_from_others(&mut self, named: &Named<'_>) {
        let elsewhere = match named.activity.state {
            Attempt::Offered { .. } => true,
            Attempt::Started { token, .. } => named.token != Some(token),
            Attempt::InDoubt => named.token.is_none(),
            Attempt::Paused { .. } => false,
        };
        if elsewhere {
            let (scheduled_event_id, attempt) = (named.scheduled_event_id, named.activity.attempt);
            self.effect(Effect::WithdrawActivity { scheduled_event_id, attempt });
        }
    }

    pub(super) fn resolve_failed(
        &mut self,
        scheduled_event_id: EventId,
        activity: &Activity,
        failure: Failure,
        retry_state: RetryState,
        identity: &str,
    ) {
        self.resolve_failed_with(scheduled_event_id, activity, None, failure, retry_state, identity);
    }

    fn resolve_failed_with(
        &mut self,
        scheduled_event_id: EventId,
        activity: &Activity,
        token: Option<ActivityToken>,
        failure: Failure,
        retry_state: RetryState,
        identity: &str,
    ) {
        self.resolve(scheduled_event_id, activity, token, identity, |started_event_id| {
            EventKind::ActivityFailed(ActivityFailed {
                scheduled_event_id,
                started_event_id,
                failure,
                retry_state,
                identity: identity.to_owned(),
            })
        });
    }

    fn resolve_timed_out(
        &mut self,
        scheduled_event_id: EventId,
        activity: &Activity,
        failure: Failure,
        retry_state: RetryState,
    ) {
        let end = |started_event_id| {
            EventKind::ActivityTimedOut(ActivityTimedOut { scheduled_event_id, started_event_id, failure, retry_state })
        };
        if matches!(activity.state, Attempt::Started { .. }) || activity.durable_start.is_some() {
            self.resolve(scheduled_event_id, activity, None, "", end);
        } else {
            self.delete_progress(scheduled_event_id, activity);
            self.record_end(scheduled_event_id, end(EventId::NONE));
        }
    }

    /// Ends an activity that nobody has, because it was asked to stop.
    pub(super) fn resolve_unstarted(&mut self, scheduled_event_id: EventId, activity: &Activity, requested: EventId) {
        self.delete_progress(scheduled_event_id, activity);
        self.push_canceled(scheduled_event_id, EventId::NONE, requested, None, "");
    }

    /// Appends or buffers `ActivityCanceled`.
    pub(super) fn push_canceled(
        &mut self,
        scheduled_event_id: EventId,
        started_event_id: EventId,
        cancel_requested_event_id: EventId,
        details: Option<Payload>,
        identity: &str,
    ) {
        let end = ActivityCanceled {
            scheduled_event_id,
            started_event_id,
            cancel_requested_event_id,
            details,
            identity: identity.to_owned(),
        };
        self.record_end(scheduled_event_id, EventKind::ActivityCanceled(end));
    }

    /// Ends the activity: `ActivityStarted` of the last attempt, then `end`, appended or buffered. `token` and `reporter` say
    /// when and at whom the attempt started if the run does not know.
    fn resolve(
        &mut self,
        scheduled_event_id: EventId,
        activity: &Activity,
        token: Option<ActivityToken>,
        reporter: &str,
        end: impl FnOnce(EventId) -> EventKind,
    ) {
        self.delete_progress(scheduled_event_id, activity);
        let (started_at, identity) = match (&activity.state, &activity.durable_start, token) {
            (Attempt::Started { token, identity, .. }, _, _) => (token.started_at, identity.as_str()),
            (_, Some((at, identity)), _) => (*at, identity.as_str()),
            (_, None, Some(token)) => (token.started_at, reporter),
            (_, None, None) => (self.clock(), reporter),
        };
        let start = EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id,
            attempt: activity.attempt,
            identity: identity.to_owned(),
            last_failure: activity.last_failure.clone(),
        });
        if self.is_buffering() {
            self.buffer_at(started_at, start);
            self.buffer_at(self.clock(), end(EventId::NONE));
        } else {
            let started_event_id = self.push_at(started_at, start);
            self.record_end(scheduled_event_id, end(started_event_id));
        }
    }

    fn delete_progress(&mut self, scheduled_event_id: EventId, activity: &Activity) {
        if activity.stored {
            self.progress(scheduled_event_id);
        }
    }
}

/// Whether a failed attempt counts towards `maximum_attempts`: not if the engine or a worker refused it, so that no user code
/// ran.
fn counts(failure: &Failure) -> bool {
    !matches!(failure.kind, FailureKind::Server { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Input;
    use crate::execution::support::*;

    fn with_activity(change: impl FnOnce(&mut crate::command::ScheduleActivity)) -> Run {
        let mut run = Run::start();
        run.turn(vec![schedule_with("a", change)]);
        run
    }

    fn busy() -> Failure {
        Failure::application("Busy", "later")
    }

    fn stop_as_canceled(run: &mut Run, token: ActivityToken) {
        let activity = ActivityRef::Token(token);
        let _ = run.send(Input::CancelActivity { activity, details: None, identity: "worker".into() });
    }

    #[test]
    fn a_completed_attempt_is_written_with_its_start() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.advance(seconds(3));
        let run = check(
            run,
            |run| run.complete_activity(token),
            "
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityCompleted scheduled=5 started=6
                > OfferWorkflowTask attempt=1
            ",
        );
        assert_eq!(run.history[5].at, BEGIN, "the start is written with its own time");
    }

    #[test]
    fn failed_attempts_are_retried_unseen_by_the_history() {
        check(
            with_activity(|_| {}),
            |run| {
                for _ in 0..2 {
                    let token = run.take_activity("a");
                    run.fail_activity(token, busy());
                    run.advance_to_deadline();
                }
                let token = run.take_activity("a");
                run.complete_activity(token);
            },
            r#"
                ~ activity 5 started attempt=1
                ~ activity 5 attempt failed counted=true: later
                % 5 attempt=2 counted=1
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
                ~ activity 5 started attempt=2
                ~ activity 5 attempt failed counted=true: later
                % 5 attempt=3 counted=2
                ~ activity 5 offered
                > OfferActivity 5 attempt=3 queue=orders
                ~ activity 5 started attempt=3
                6 ActivityStarted scheduled=5 attempt=3 last_failure="later"
                7 ActivityCompleted scheduled=5 started=6
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn the_last_of_the_attempts_fails_the_activity() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(2)));
        let token = run.take_activity("a");
        run.fail_activity(token, busy());
        run.advance_to_deadline();
        check(
            run,
            |run| {
                let token = run.take_activity("a");
                run.fail_activity(token, Failure::application("Busy", "still"));
            },
            r#"
                ~ activity 5 started attempt=2
                6 ActivityStarted scheduled=5 attempt=2 last_failure="later"
                7 ActivityFailed scheduled=5 started=6 retry_state=MaximumAttemptsReached failure="still"
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn a_late_result_of_an_older_attempt_is_stale_and_so_is_a_second_result() {
        let mut run = with_activity(|_| {});
        let first = run.take_activity("a");
        run.advance_to_deadline();
        run.advance_to_deadline();
        let second = run.take_activity("a");
        check(
            run,
            |run| {
                run.complete_activity(first);
                run.complete_activity(second);
                run.complete_activity(second);
                run.complete_activity("a");
            },
            r#"
                ! activity task is stale: expected attempt 2 of the activity with scheduled event 5; got attempt 1
                6 ActivityStarted scheduled=5 attempt=2 last_failure="start-to-close timeout"
                7 ActivityCompleted scheduled=5 started=6
                % 5 deleted
                > OfferWorkflowTask attempt=1
                ! activity task is stale: no activity with scheduled event 5 is open
                ! no open activity with id "a"
            "#,
        );
    }

    #[test]
    fn a_second_result_while_the_first_is_buffered_is_stale() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.signal("go");
        run.take_task();
        check(
            run,
            |run| {
                run.complete_activity(token);
                run.complete_activity(token);
                run.complete_activity("a");
                run.advance(seconds(9));
                run.due();
            },
            r#"
                ~ buffered ActivityStarted scheduled=5 attempt=1
                ~ buffered ActivityCompleted scheduled=5 started=0
                ! activity task is stale: no activity with scheduled event 5 is open
                ! activity task is stale: activity "a" has an outcome already
                = unchanged
            "#,
        );
    }

    #[test]
    fn an_activity_may_be_completed_from_elsewhere_by_its_id() {
        let mut running = with_activity(|_| {});
        running.take_activity("a");
        check(
            running,
            |run| run.complete_activity("a"),
            "
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityCompleted scheduled=5 started=6
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            ",
        );
        check(
            with_activity(|_| {}),
            |run| run.complete_activity("a"),
            "
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityCompleted scheduled=5 started=6
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            ",
        );
        check(
            with_activity(|_| {}),
            |run| run.complete_activity("b"),
            r#"
                ! no open activity with id "b"
            "#,
        );
        let mut closed = with_activity(|_| {});
        closed.terminate();
        check(
            closed,
            |run| run.complete_activity("a"),
            "
                ! workflow execution already completed
            ",
        );
    }

    #[test]
    fn a_result_over_the_limit_is_refused_and_leaves_the_attempt_open() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        let result = Some(Payload::json(vec![b'1'; crate::limits::PAYLOAD_BYTES_MAX]));
        let activity = ActivityRef::Token(token);
        let large = Input::CompleteActivity { activity, result, identity: String::new() };
        assert!(run.send(large).unwrap_err().to_string().starts_with("result: is 2097162 bytes large"));
        run.complete_activity(token);
        assert_eq!(run.execution.pending_activities(), []);
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_taken_back_and_retried() {
        let mut run = with_activity(|_| {});
        run.take_activity("a");
        check(
            run,
            |run| {
                run.advance_to_deadline();
                run.advance_to_deadline();
            },
            "
                ~ activity 5 attempt failed counted=true: start-to-close timeout
                % 5 attempt=2 counted=1
                > WithdrawActivity 5 attempt=1
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn the_last_attempt_that_takes_too_long_times_the_activity_out() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(1)));
        run.take_activity("a");
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityTimedOut scheduled=5 started=6 retry_state=MaximumAttemptsReached failure="start-to-close timeout"
                % 5 deleted
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_activity_that_no_worker_takes_in_time_is_not_retried() {
        let run = with_activity(|activity| activity.timeouts.schedule_to_start = Some(seconds(3)));
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityTimedOut scheduled=5 started=0 retry_state=Timeout failure="schedule-to-start timeout"
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_activity_that_no_worker_takes_before_it_should_be_over_says_so() {
        let unset = |activity: &mut crate::command::ScheduleActivity| {
            activity.timeouts.schedule_to_start = None;
            activity.timeouts.schedule_to_close = Some(seconds(5));
        };
        check(
            with_activity(unset),
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityTimedOut scheduled=5 started=0 retry_state=Timeout failure="schedule-to-start timeout"
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
        // A later attempt has less time left than that.
        let mut run = with_activity(unset);
        let token = run.take_activity("a");
        run.advance(seconds(1));
        run.fail_activity(token, busy());
        run.advance_to_deadline();
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityTimedOut scheduled=5 started=0 retry_state=Timeout failure="schedule-to-close timeout < later"
                % 5 deleted
                > WithdrawActivity 5 attempt=2
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn schedule_to_start_counts_anew_for_each_attempt() {
        let mut run = with_activity(|activity| activity.timeouts.schedule_to_start = Some(seconds(3)));
        run.advance(seconds(2));
        let token = run.take_activity("a");
        run.advance(seconds(2));
        run.fail_activity(token, busy());
        run.advance_to_deadline();
        assert_eq!(run.now, BEGIN + seconds(5));
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityTimedOut scheduled=5 started=0 retry_state=Timeout failure="schedule-to-start timeout < later"
                % 5 deleted
                > WithdrawActivity 5 attempt=2
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn schedule_to_close_ends_a_running_attempt() {
        let mut run = with_activity(|activity| activity.timeouts.schedule_to_close = Some(seconds(5)));
        run.take_activity("a");
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityTimedOut scheduled=5 started=6 retry_state=Timeout failure="schedule-to-close timeout"
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn no_attempt_begins_after_the_schedule_to_close_deadline() {
        let given = || {
            let mut run = with_activity(|activity| {
                activity.timeouts.schedule_to_close = Some(seconds(4));
                activity.timeouts.start_to_close = Some(seconds(3));
                activity.retry_policy.as_mut().unwrap().initial_interval = seconds(2);
            });
            let token = run.take_activity("a");
            run.advance(seconds(3));
            (run, token)
        };
        let (run, token) = given();
        check(
            run,
            |run| run.fail_activity(token, busy()),
            r#"
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityFailed scheduled=5 started=6 retry_state=Timeout failure="later"
                > OfferWorkflowTask attempt=1
            "#,
        );
        let (run, _) = given();
        check(
            run,
            |run| run.due(),
            r#"
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityTimedOut scheduled=5 started=6 retry_state=Timeout failure="schedule-to-close timeout < start-to-close timeout"
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn a_lost_worker_costs_an_attempt_and_no_time() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(2)));
        let token = run.take_activity("a");
        let run = check(
            run,
            |run| {
                run.send(Input::LoseActivity { token }).unwrap();
            },
            "
                ~ activity 5 attempt failed counted=true: the connection of the worker broke, and it did not come back in time
                ~ activity 5 offered
                % 5 attempt=2 counted=1
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
        check(
            run,
            |run| {
                let token = run.take_activity("a");
                run.send(Input::LoseActivity { token }).unwrap();
            },
            r#"
                ~ activity 5 started attempt=2
                6 ActivityStarted scheduled=5 attempt=2 last_failure="the connection of the worker broke, and it did not come back in time"
                7 ActivityFailed scheduled=5 started=6 retry_state=MaximumAttemptsReached failure="the connection of the worker broke, and it did not come back in time"
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_attempt_that_a_worker_refused_does_not_count() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(1)));
        let token = run.take_activity("a");
        check(
            run,
            |run| {
                run.fail_activity(token, Failure::server("no activity type \"charge\" here", false));
                run.advance_to_deadline();
                let token = run.take_activity("a");
                run.complete_activity(token);
            },
            r#"
                ~ activity 5 attempt failed counted=false: no activity type "charge" here
                % 5 attempt=2 counted=0
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
                ~ activity 5 started attempt=2
                % 5 attempt=2 counted=0 started
                6 ActivityStarted scheduled=5 attempt=2 last_failure="no activity type \"charge\" here"
                7 ActivityCompleted scheduled=5 started=6
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_activity_that_stops_as_asked_is_canceled() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.signal("go");
        run.turn(vec![cancel_activity("a")]);
        check(
            run,
            |run| stop_as_canceled(run, token),
            "
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityCanceled scheduled=5 started=11 requested=10
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn an_activity_that_stops_unasked_has_failed() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        check(
            run,
            |run| stop_as_canceled(run, token),
            r#"
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityFailed scheduled=5 started=6 retry_state=NonRetryableFailure failure="the activity stopped as canceled, but nobody had asked it to"
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn after_a_request_to_cancel_there_is_no_other_attempt() {
        let given = || {
            let mut run = with_activity(|_| {});
            let token = run.take_activity("a");
            run.signal("go");
            run.turn(vec![cancel_activity("a")]);
            (run, token)
        };
        let (run, token) = given();
        check(
            run,
            |run| run.fail_activity(token, busy()),
            r#"
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityFailed scheduled=5 started=11 retry_state=CancelRequested failure="later"
                > OfferWorkflowTask attempt=1
            "#,
        );
        let (run, _) = given();
        check(
            run,
            |run| run.advance_to_deadline(),
            r#"
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityTimedOut scheduled=5 started=11 retry_state=CancelRequested failure="start-to-close timeout"
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            "#,
        );
        let (run, token) = given();
        check(
            run,
            |run| {
                run.send(Input::LoseActivity { token }).unwrap();
            },
            r#"
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityFailed scheduled=5 started=11 retry_state=CancelRequested failure="the connection of the worker broke, and it did not come back in time"
                > OfferWorkflowTask attempt=1
            "#,
        );
        let (run, token) = given();
        check(
            run,
            |run| run.complete_activity(token),
            "
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityCompleted scheduled=5 started=11
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn an_error_may_set_the_next_delay() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        let mut failure = busy();
        if let FailureKind::Application { next_retry_delay, .. } = &mut failure.kind {
            *next_retry_delay = Some(seconds(77));
        }
        run.fail_activity(token, failure);
        assert_eq!(run.execution.next_deadline(), Some(BEGIN + seconds(77)));
    }
}
