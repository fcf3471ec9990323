//! How an attempt moves between its queue and workers, and how it says that it is alive. See the table in [`super`].

use super::{Activity, Attempt};
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{
    ActivityRef, ActivityToken, Effect, Execution, Fact, Rejection, Reply, StartedActivity, Transition,
};
use crate::failure::{Failure, RetryState};
use crate::ids::EventId;
use crate::payload::Payload;
use crate::time::Timestamp;

/// An activity without an outcome, as an input named it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) scheduled_event_id: EventId,
    pub(super) activity: &'a Activity,
    /// The token of the attempt, if the input came with one.
    pub(super) token: Option<ActivityToken>,
}

impl Execution {
    pub(in crate::execution) fn decide_start_activity(
        &self,
        scheduled_event_id: EventId,
        attempt: u32,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let started_at = self.clock.max(now);
        let token = ActivityToken { scheduled_event_id, attempt, started_at };
        let Named { activity, .. } = self.activity_by_token(token)?;
        if self.is_paused() {
            return Err(stale(format!("attempt {attempt} was offered, but the run is paused")));
        }
        if activity.paused.is_some() {
            return Err(stale(format!("attempt {attempt} was offered, but the activity is paused")));
        }
        if !matches!(activity.state, Attempt::Offered { .. }) {
            return Err(stale(format!("attempt {attempt} was offered, but {}", standing(activity))));
        }
        let scheduled = &activity.scheduled;
        let timeouts = *activity.timeouts_in_force();
        let start_to_close = timeouts.start_to_close.map_or(Timestamp::MAX, |timeout| started_at + timeout);
        let schedule_to_close = activity.schedule_to_close_deadline(&self.deadlines.time);
        let task = StartedActivity {
            token,
            activity_id: scheduled.activity_id.clone(),
            activity_type: scheduled.activity_type.clone(),
            task_queue: activity.task_queue().clone(),
            input: scheduled.input.clone(),
            scheduled_at: activity.scheduled_at,
            timeouts,
            deadline: schedule_to_close.min(start_to_close),
            retry_policy: activity.retry_policy().clone(),
            heartbeat_details: activity.heartbeat_details.clone(),
            last_failure: activity.last_failure.clone(),
        };
        let mut draft = Draft::new(self, now);
        draft.start_attempt(activity, token, identity);
        Ok(draft.finish(Reply::ActivityTask(Box::new(task))))
    }

    pub(in crate::execution) fn decide_claim_activity(
        &self,
        token: ActivityToken,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let Named { activity, scheduled_event_id, .. } = self.activity_by_token(token)?;
        let mut draft = Draft::new(self, now);
        match &activity.state {
            Attempt::Started { token: current, .. } if *current != token => {
                return Err(stale("another worker has the attempt by now".to_owned()));
            }
            Attempt::Paused { .. } => return Err(stale(standing(activity))),
            Attempt::Offered { .. } => {
                draft.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: token.attempt });
            }
            Attempt::Started { .. } | Attempt::InDoubt => {}
        }
        draft.start_attempt(activity, token, identity);
        // A claim is a sign of life: the heartbeat timeout must not strike for the time in which nobody listened.
        draft.fact(Fact::ActivityHeartbeat { scheduled_event_id, at: now, details: None });
        if activity.cancel_requested_event_id.is_some() {
            draft.effect(Effect::CancelActivity { scheduled_event_id, attempt: token.attempt });
        } else if activity.paused.is_some() {
            draft.effect(Effect::PauseActivity { scheduled_event_id, attempt: token.attempt });
        }
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_heartbeat_activity(
        &self,
        activity: &ActivityRef,
        details: Option<Payload>,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.activity(activity)?;
        check::payload_size("details", details.as_ref().map_or(0, Payload::size))?;
        let scheduled_event_id = named.scheduled_event_id;
        let mut draft = Draft::new(self, now);
        if let (Attempt::InDoubt, Some(token)) = (&named.activity.state, named.token) {
            let identity = named.activity.durable_start.as_ref().map_or(String::new(), |(_, who)| who.clone());
            draft.start_attempt(named.activity, token, identity);
        }
        if details.is_some() {
            draft.progress(scheduled_event_id);
        }
        draft.fact(Fact::ActivityHeartbeat { scheduled_event_id, at: now, details });
        let cancel_requested = named.activity.cancel_requested_event_id.is_some();
        let paused = named.activity.paused.is_some();
        Ok(draft.finish(Reply::Heartbeat { cancel_requested, paused }))
    }

    pub(in crate::execution) fn decide_release_activity(
        &self,
        token: ActivityToken,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        let named = self.held_activity(token)?;
        let (scheduled_event_id, activity) = (named.scheduled_event_id, named.activity);
        let mut draft = Draft::new(self, now);
        if let Some(requested) = activity.cancel_requested_event_id {
            // Nobody has it, so there is nobody to ask.
            draft.resolve_unstarted(scheduled_event_id, activity, requested);
            return Ok(draft.finish(Reply::Done));
        }
        draft.offer_attempt(scheduled_event_id, activity, activity.attempt);
        if activity.durable_start.is_some() {
            draft.progress(scheduled_event_id);
        }
        Ok(draft.finish(Reply::Done))
    }

    /// The activity that an input names, if it has no outcome.
    pub(super) fn activity(&self, activity: &ActivityRef) -> Result<Named<'_>, Rejection> {
        match activity {
            ActivityRef::Token(token) => {
                let named = self.activity_by_token(*token)?;
                if let Attempt::Paused { .. } = named.activity.state {
                    return Err(stale(standing(named.activity)));
                }
                Ok(named)
            }
            ActivityRef::Id(activity_id) => {
                if self.closed.is_some() {
                    return Err(Rejection::AlreadyClosed);
                }
                let Some((scheduled_event_id, activity)) = self.activities.with_id(activity_id) else {
                    return Err(Rejection::UnknownActivity(activity_id.clone()));
                };
                if activity.has_outcome {
                    return Err(stale(format!("activity {activity_id:?} has an outcome already")));
                }
                Ok(Named { scheduled_event_id, activity, token: None })
            }
        }
    }

    /// The activity whose current attempt is the token's. A late word of an older attempt is stale.
    fn activity_by_token(&self, token: ActivityToken) -> Result<Named<'_>, Rejection> {
        let scheduled_event_id = token.scheduled_event_id;
        if self.closed.is_some() {
            return Err(stale("the run is closed".to_owned()));
        }
        let Some(activity) = self.activities.get(scheduled_event_id).filter(|activity| !activity.has_outcome) else {
            return Err(stale(format!("no activity with scheduled event {scheduled_event_id} is open")));
        };
        if activity.attempt != token.attempt {
            return Err(stale(format!(
                "expected attempt {} of the activity with scheduled event {scheduled_event_id}; got attempt {}",
                activity.attempt, token.attempt
            )));
        }
        Ok(Named { scheduled_event_id, activity, token: Some(token) })
    }

    /// The activity that is at the worker that got this very token.
    pub(super) fn held_activity(&self, token: ActivityToken) -> Result<Named<'_>, Rejection> {
        let named = self.activity_by_token(token)?;
        match &named.activity.state {
            Attempt::InDoubt => Ok(named),
            Attempt::Started { token: current, .. } if *current == token => Ok(named),
            Attempt::Started { .. } | Attempt::Offered { .. } | Attempt::Paused { .. } => {
                Err(stale(format!("it is not at the worker that had it: {}", standing(named.activity))))
            }
        }
    }
}

impl Draft<'_> {
    fn start_attempt(&mut self, activity: &Activity, token: ActivityToken, identity: String) {
        if activity.runs_only_once() {
            self.progress(token.scheduled_event_id);
        }
        self.fact(Fact::ActivityStarted { token, identity });
    }

    /// Puts `attempt` into its queue. Of a paused run, or paused itself, it waits.
    pub(super) fn offer_attempt(&mut self, scheduled_event_id: EventId, activity: &Activity, attempt: u32) {
        self.fact(Fact::ActivityOffered { scheduled_event_id, at: self.now });
        if self.run.is_paused() || activity.paused.is_some() {
            return;
        }
        let task_queue = activity.task_queue().clone();
        self.effect(Effect::OfferActivity { scheduled_event_id, attempt, task_queue });
    }

    /// The grace after a recovery is over: decides about each activity that is still in doubt.
    pub(in crate::execution) fn end_activity_grace(&mut self) {
        let run = self.run;
        for scheduled_event_id in run.activities.in_doubt() {
            let Some(activity) = run.activities.get(scheduled_event_id) else { continue };
            if activity.offer_at > self.now && activity.durable_start.is_none() {
                // Nobody can have it: `Fact::GraceEnded` puts it back into its pause. One that is stored as in somebody's hand was
                // offered, whatever a clock that was set back says.
                continue;
            }
            let lost =
                Failure::worker_lost("the server restarted; a worker may have had this attempt, and none claimed it");
            if activity.runs_only_once() && activity.durable_start.is_some() {
                self.resolve_failed(scheduled_event_id, activity, lost, RetryState::MaximumAttemptsReached, "");
            } else if let Some(requested) = activity.cancel_requested_event_id {
                if activity.runs_only_once() {
                    self.resolve_unstarted(scheduled_event_id, activity, requested);
                } else {
                    self.resolve_failed(scheduled_event_id, activity, lost, RetryState::CancelRequested, "");
                }
            } else if activity.runs_only_once() {
                self.offer_attempt(scheduled_event_id, activity, activity.attempt);
            } else {
                let retry_at = self.now;
                self.fact(Fact::ActivityAttemptFailed { scheduled_event_id, failure: lost, retry_at, counted: false });
                self.progress(scheduled_event_id);
                self.offer_attempt(scheduled_event_id, activity, activity.attempt.saturating_add(1));
            }
        }
    }
}

pub(super) fn standing(activity: &Activity) -> String {
    match &activity.state {
        Attempt::Offered { .. } => "the attempt is in its queue".to_owned(),
        Attempt::Started { identity, .. } => format!("worker {identity:?} has the attempt"),
        Attempt::Paused { .. } => format!("attempt {} is not due", activity.attempt),
        Attempt::InDoubt => "a worker may still have the attempt".to_owned(),
    }
}

pub(super) fn stale(why: String) -> Rejection {
    Rejection::StaleTask { what: "activity task", why }
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

    fn once() -> Run {
        with_activity(|activity| activity.retry_policy = Some(retry(1)))
    }

    fn heartbeat(token: ActivityToken, details: &'static str) -> Input {
        let details = (!details.is_empty()).then(|| Payload::json(details));
        Input::HeartbeatActivity { activity: ActivityRef::Token(token), details }
    }

    #[test]
    fn starting_an_attempt_writes_nothing_unless_it_may_run_only_once() {
        check(
            with_activity(|_| {}),
            |run| {
                run.take_activity("a");
            },
            "
                ~ activity 5 started attempt=1
            ",
        );
        check(
            once(),
            |run| {
                run.take_activity("a");
            },
            "
                ~ activity 5 started attempt=1
                % 5 attempt=1 counted=0 started
            ",
        );
    }

    #[test]
    fn an_attempt_is_handed_out_once() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        check(
            run,
            |run| {
                let again = |attempt| Input::StartActivity {
                    scheduled_event_id: token.scheduled_event_id,
                    attempt,
                    identity: "other".into(),
                };
                let _ = run.send(again(1));
                let _ = run.send(again(2));
            },
            r#"
                ! activity task is stale: attempt 1 was offered, but worker "worker" has the attempt
                ! activity task is stale: expected attempt 1 of the activity with scheduled event 5; got attempt 2
            "#,
        );
    }

    #[test]
    fn the_deadline_of_an_attempt_is_the_earlier_of_two_timeouts() {
        let deadline = |schedule_to_close| {
            let mut run =
                with_activity(|activity| activity.timeouts.schedule_to_close = Some(seconds(schedule_to_close)));
            run.advance(seconds(2));
            let start = Input::StartActivity { scheduled_event_id: EventId(5), attempt: 1, identity: String::new() };
            let Reply::ActivityTask(task) = run.send(start).unwrap().reply else { panic!("no task") };
            task.deadline.since(BEGIN).as_secs()
        };
        assert_eq!([deadline(60), deadline(11)], [12, 11]);
    }

    #[test]
    fn heartbeats_keep_an_attempt_alive_and_hand_their_details_to_the_next() {
        let mut run = with_activity(|activity| activity.timeouts.heartbeat = Some(seconds(3)));
        let token = run.take_activity("a");
        run.advance(seconds(2));
        let mut run = check(
            run,
            |run| {
                run.send(heartbeat(token, "")).unwrap();
                run.advance(seconds(2));
                run.due();
                run.send(heartbeat(token, "7")).unwrap();
                run.send(heartbeat(token, "")).unwrap();
                run.advance(seconds(3));
                run.due();
                run.advance_to_deadline();
            },
            "
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=false
                = unchanged
                ~ activity 5 heartbeat details
                % 5 attempt=1 counted=0 details
                = heartbeat cancel_requested=false
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=false
                ~ activity 5 attempt failed counted=true: heartbeat timeout
                % 5 attempt=2 counted=1 details
                > WithdrawActivity 5 attempt=1
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
        let start = Input::StartActivity { scheduled_event_id: EventId(5), attempt: 2, identity: String::new() };
        let Reply::ActivityTask(task) = run.send(start).unwrap().reply else { panic!("no task") };
        assert_eq!(task.heartbeat_details, Some(Payload::json("7")));
        assert_eq!(task.last_failure.unwrap().message, "heartbeat timeout");
    }

    #[test]
    fn a_heartbeat_tells_that_the_workflow_wants_it_to_stop() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.signal("go");
        run.turn(vec![cancel_activity("a")]);
        check(
            run,
            |run| {
                run.send(heartbeat(token, "")).unwrap();
                let by_id = ActivityRef::Id(crate::ids::ActivityId::from_trusted("a"));
                run.send(Input::HeartbeatActivity { activity: by_id, details: None }).unwrap();
            },
            "
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=true
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=true
            ",
        );
    }

    #[test]
    fn heartbeats_of_older_attempts_and_with_large_details_are_refused() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        let large = Some(Payload::json(vec![b'1'; crate::limits::PAYLOAD_BYTES_MAX]));
        let large = Input::HeartbeatActivity { activity: ActivityRef::Token(token), details: large };
        assert!(run.send(large).unwrap_err().to_string().starts_with("details: is 2097162 bytes large"));
        run.fail_activity(token, Failure::application("Busy", "later"));
        check(
            run,
            |run| {
                let _ = run.send(heartbeat(token, ""));
                let _ = run.send(heartbeat(ActivityToken { attempt: 2, ..token }, ""));
                let _ = run.send(heartbeat(ActivityToken { scheduled_event_id: EventId(99), ..token }, ""));
            },
            "
                ! activity task is stale: expected attempt 2 of the activity with scheduled event 5; got attempt 1
                ! activity task is stale: attempt 2 is not due
                ! activity task is stale: no activity with scheduled event 99 is open
            ",
        );
    }

    #[test]
    fn a_released_attempt_is_offered_again_without_a_trace() {
        for run in [with_activity(|_| {}), once()] {
            let mut run = run;
            let token = run.take_activity("a");
            run.send(Input::ReleaseActivity { token }).unwrap();
            assert!(run.progress.is_empty());
            let again = run.take_activity("a");
            assert_eq!(again.attempt, 1);
        }
        let mut run = with_activity(|_| {});
        let first = run.take_activity("a");
        run.send(Input::ReleaseActivity { token: first }).unwrap();
        run.advance(seconds(1));
        run.take_activity("a");
        check(
            run,
            |run| {
                let _ = run.send(Input::ReleaseActivity { token: first });
                let _ = run.send(Input::LoseActivity { token: first });
                let _ = run.send(Input::ClaimActivity { token: first, identity: "late".into() });
            },
            r#"
                ! activity task is stale: it is not at the worker that had it: worker "worker" has the attempt
                ! activity task is stale: it is not at the worker that had it: worker "worker" has the attempt
                ! activity task is stale: another worker has the attempt by now
            "#,
        );
    }

    #[test]
    fn a_released_attempt_that_was_to_stop_is_canceled() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.signal("go");
        run.turn(vec![cancel_activity("a")]);
        check(
            run,
            |run| {
                run.send(Input::ReleaseActivity { token }).unwrap();
            },
            "
                11 ActivityCanceled scheduled=5 started=0 requested=10
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn an_attempt_in_doubt_is_claimed_and_its_heartbeat_counts_from_the_claim() {
        let mut run = with_activity(|activity| activity.timeouts.heartbeat = Some(seconds(3)));
        let token = run.take_activity("a");
        run.crash();
        run.advance(seconds(4));
        let mut run = check(
            run,
            |run| {
                run.due();
                run.send(Input::ClaimActivity { token, identity: "worker".into() }).unwrap();
                run.send(Input::EndGrace).unwrap();
                run.complete_activity(token);
            },
            "
                = unchanged
                ~ activity 5 started attempt=1
                ~ activity 5 heartbeat
                = unchanged
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityCompleted scheduled=5 started=6
                > OfferWorkflowTask attempt=1
            ",
        );
        assert_eq!(run.history.last().unwrap().at, BEGIN + seconds(4));
        run.turn(vec![]);
    }

    #[test]
    fn a_heartbeat_is_a_claim() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.crash();
        check(
            run,
            |run| {
                run.send(heartbeat(token, "")).unwrap();
                run.send(Input::EndGrace).unwrap();
            },
            "
                ~ activity 5 started attempt=1
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=false
                = unchanged
            ",
        );
    }

    #[test]
    fn a_claim_of_an_activity_that_is_to_stop_tells_its_worker_again() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.signal("go");
        run.turn(vec![cancel_activity("a")]);
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::ClaimActivity { token, identity: "worker".into() }).unwrap();
            },
            "
                ~ activity 5 started attempt=1
                ~ activity 5 heartbeat
                > CancelActivity 5 attempt=1
            ",
        );
    }

    #[test]
    fn an_attempt_that_nobody_claims_fails_uncounted_and_is_offered_again() {
        let mut run = with_activity(|activity| activity.retry_policy = Some(retry(2)));
        let token = run.take_activity("a");
        run.crash();
        let mut run = check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                run.complete_activity(token);
                let token = run.take_activity("a");
                run.fail_activity(token, Failure::application("Busy", "later"));
            },
            "
                ~ activity 5 attempt failed counted=false: the server restarted; a worker may have had this attempt, and none claimed it
                ~ activity 5 offered
                ~ grace ended
                % 5 attempt=2 counted=0
                > OfferActivity 5 attempt=2 queue=orders
                ! activity task is stale: expected attempt 2 of the activity with scheduled event 5; got attempt 1
                ~ activity 5 started attempt=2
                ~ activity 5 attempt failed counted=true: later
                % 5 attempt=3 counted=1
            ",
        );
        run.advance_to_deadline();
        check(
            run,
            |run| {
                let token = run.take_activity("a");
                run.fail_activity(token, Failure::application("Busy", "later"));
            },
            r#"
                ~ activity 5 started attempt=3
                6 ActivityStarted scheduled=5 attempt=3 last_failure="later"
                7 ActivityFailed scheduled=5 started=6 retry_state=MaximumAttemptsReached failure="later"
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_activity_that_may_run_only_once_never_runs_again_after_a_start_that_nobody_claims() {
        let mut run = once();
        run.take_activity("a");
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            r#"
                ~ grace ended
                6 ActivityStarted scheduled=5 attempt=1
                7 ActivityFailed scheduled=5 started=6 retry_state=MaximumAttemptsReached failure="the server restarted; a worker may have had this attempt, and none claimed it"
                % 5 deleted
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn an_activity_that_may_run_only_once_is_offered_after_a_crash_before_its_start() {
        let mut run = once();
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                run.take_activity("a");
            },
            "
                ~ activity 5 offered
                ~ grace ended
                > OfferActivity 5 attempt=1 queue=orders
                ~ activity 5 started attempt=1
                % 5 attempt=1 counted=0 started
            ",
        );
    }

    #[test]
    fn a_pause_that_was_not_over_at_the_crash_goes_on() {
        let mut run = with_activity(|_| {});
        let token = run.take_activity("a");
        run.fail_activity(token, Failure::application("Busy", "later"));
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                run.advance_to_deadline();
            },
            "
                ~ grace ended
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn a_canceled_activity_whose_worker_is_lost_in_a_crash_is_not_tried_again() {
        let mut run = with_activity(|_| {});
        run.take_activity("a");
        run.signal("go");
        run.turn(vec![cancel_activity("a")]);
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            r#"
                ~ grace ended
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityFailed scheduled=5 started=11 retry_state=CancelRequested failure="the server restarted; a worker may have had this attempt, and none claimed it"
                > OfferWorkflowTask attempt=1
            "#,
        );
    }
}
