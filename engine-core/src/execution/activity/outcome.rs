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
        match activity.passed_timeout(self.now) {
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
                let state = match (activity.cancel_requested_event_id, timeout) {
                    (Some(_), _) => RetryState::CancelRequested,
                    (None, TimeoutKind::ScheduleToClose) => RetryState::Timeout,
                    (None, TimeoutKind::ScheduleToStart | TimeoutKind::StartToClose | TimeoutKind::Heartbeat) => {
                        RetryState::NonRetryableFailure
                    }
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
        activity.scheduled.retry_policy.after_failure(
            failure,
            activity.attempt,
            activity.counted.saturating_add(u32::from(counts(failure))),
            self.now,
            activity.schedule_to_close_deadline(),
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
            self.arrive(end(EventId::NONE));
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
        self.arrive(EventKind::ActivityCanceled(end));
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
            self.push(end(started_event_id));
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
