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
        if !matches!(activity.state, Attempt::Offered { .. }) {
            return Err(stale(format!("attempt {attempt} was offered, but {}", standing(activity))));
        }
        let scheduled = &activity.scheduled;
        let start_to_close = scheduled.timeouts.start_to_close.map_or(Timestamp::MAX, |timeout| started_at + timeout);
        let task = StartedActivity {
            token,
            activity_id: scheduled.activity_id.clone(),
            activity_type: scheduled.activity_type.clone(),
            task_queue: scheduled.task_queue.clone(),
            input: scheduled.input.clone(),
            scheduled_at: activity.scheduled_at,
            timeouts: scheduled.timeouts,
            deadline: activity.schedule_to_close_deadline().min(start_to_close),
            retry_policy: scheduled.retry_policy.clone(),
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
        Ok(draft.finish(Reply::Heartbeat { cancel_requested }))
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

    /// Puts `attempt` into its queue.
    pub(super) fn offer_attempt(&mut self, scheduled_event_id: EventId, activity: &Activity, attempt: u32) {
        self.fact(Fact::ActivityOffered { scheduled_event_id, at: self.now });
        let task_queue = activity.scheduled.task_queue.clone();
        self.effect(Effect::OfferActivity { scheduled_event_id, attempt, task_queue });
    }

    /// The grace after a recovery is over: decides about each activity that is still in doubt.
    pub(in crate::execution) fn end_activity_grace(&mut self) {
        let run = self.run;
        for scheduled_event_id in run.activities.in_doubt() {
            let Some(activity) = run.activities.get(scheduled_event_id) else { continue };
            if activity.offer_at > self.now {
                // Nobody can have it: `Fact::GraceEnded` puts it back into its pause.
                continue;
            }
            let lost = Failure::worker_lost(
                "the server restarted and the worker that may have had this attempt did not claim it",
            );
            if activity.durable_start.is_some() {
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
