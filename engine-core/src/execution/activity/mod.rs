//! Activities: steps that touch the world, run at least once, with retries and timeouts.
//!
//! | state      | input                                | facts and events                                             | next       |
//! |------------|--------------------------------------|--------------------------------------------------------------|------------|
//! | —          | ScheduleActivity (command)           | ActivityScheduled                                            | offered    |
//! | offered    | StartActivity                        | started (fact; durable if it may run only once)              | started    |
//! | started    | ReleaseActivity                      | offered (fact)                                               | offered    |
//! | started    | HeartbeatActivity                    | heartbeat (fact; durable with details)                       | started    |
//! | started    | CompleteActivity                     | ActivityStarted ActivityCompleted                            | ended      |
//! | started    | FailActivity, LoseActivity, time-out | attempt failed (fact, durable), if the policy has another    | paused     |
//! | started    | … if it has none                     | ActivityStarted, ActivityFailed or ActivityTimedOut          | ended      |
//! | started    | RequestCancelActivity (command)      | ActivityCancelRequested; the worker is told                  | started    |
//! | started    | CancelActivity, after a request      | ActivityStarted ActivityCanceled                             | ended      |
//! | offered, paused | RequestCancelActivity (command) | ActivityCancelRequested ActivityCanceled                     | ended      |
//! | offered    | schedule-to-start time-out           | ActivityTimedOut                                             | ended      |
//! | any        | schedule-to-close time-out           | (ActivityStarted) ActivityTimedOut                           | ended      |
//! | paused     | the pause is over                    | offered (fact)                                               | offered    |
//! | open       | recovery (`mark_in_doubt`)           |                                                              | in doubt   |
//! | in doubt   | ClaimActivity, HeartbeatActivity     | started (fact)                                               | started    |
//! | in doubt   | a result                             | as when started                                              |            |
//! | in doubt   | EndGrace; may run only once, start durable | ActivityStarted ActivityFailed (worker lost)           | ended      |
//! | in doubt   | EndGrace; may run only once, else    | offered (fact): it was never handed out                      | offered    |
//! | started, in doubt | RecordInHand                  | start recorded (fact, durable)                               | the same   |
//! | in doubt   | EndGrace                             | attempt failed (fact, durable, not counted), offered (fact)  | offered    |
//!
//! Nothing is written when an attempt starts: `ActivityStarted` is written with the end, with the number of the last attempt and
//! the failure before it. While a workflow task runs the end is buffered; the activity stays open to the workflow code until it
//! is numbered, but has an outcome: a second result is stale.
//!
//! Invariants: each scheduled activity ends at most once; an open one has at most one entry among the run's deadlines, the
//! earliest of its own; changes go through [`Activities::change`], which keeps entry and sums right, so that no input but
//! closing the run costs more than what it touches.
//!
//! `open` holds the open activities of a run with their sums, `schedule` the commands, `attempt` what moves an attempt between queue and worker, `outcome` how attempts end, `operate` what operators do, `standalone`
//! activities without a workflow.

mod attempt;
mod open;
mod operate;
mod outcome;
mod schedule;
mod standalone;

pub(super) use open::Activities;
pub use operate::{ActivityChange, ActivityOperation, ActivityOptionChanges, ActivityOptions};
use standalone::STANDALONE;
pub(super) use standalone::check_standalone;

use crate::event::ActivityScheduled;
use crate::execution::pause::RunTime;
use crate::execution::{ActivityProgress, ActivityToken, Execution, Paused};
use crate::failure::{Failure, TimeoutKind};
use crate::ids::EventId;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Where the current attempt stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attempt {
    /// In its queue since `at`.
    Offered { at: Timestamp },
    /// A worker has it.
    Started { token: ActivityToken, identity: String, last_heartbeat_at: Option<Timestamp> },
    /// The attempt before failed; this one is offered then.
    Paused { until: Timestamp },
    /// The server restarted, and a worker may have it.
    InDoubt,
}

/// An activity that has not ended in the history.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activity {
    pub(super) scheduled: Box<ActivityScheduled>,
    pub(super) scheduled_at: Timestamp,
    /// The current attempt, from 1.
    pub(super) attempt: u32,
    /// How many attempts before it count towards `maximum_attempts`.
    pub(super) counted: u32,
    pub(super) state: Attempt,
    /// When the current attempt may be offered at the earliest; [`Timestamp::EPOCH`] for the first.
    pub(super) offer_at: Timestamp,
    /// When and to whom the current attempt was handed out, if that is stored.
    pub(super) durable_start: Option<(Timestamp, String)>,
    pub(super) last_failure: Option<Failure>,
    pub(super) heartbeat_details: Option<Payload>,
    /// The first request to cancel it.
    pub(super) cancel_requested_event_id: Option<EventId>,
    /// Whether its end waits in the buffer.
    pub(super) has_outcome: bool,
    /// Whether there is a row of its progress.
    pub(super) stored: bool,
    /// Set while an operator has it paused.
    pub(super) paused: Option<Paused>,
    /// How many attempts an operator had it forget.
    pub(super) forgotten: u32,
    /// Its options, if an operator changed them.
    pub(super) options: Option<Box<ActivityOptions>>,
}

impl Activity {
    fn new(scheduled: &ActivityScheduled, at: Timestamp) -> Self {
        let mut scheduled = Box::new(scheduled.clone());
        scheduled.input.iter_mut().for_each(Payload::detach);
        Self {
            scheduled,
            scheduled_at: at,
            attempt: 1,
            counted: 0,
            state: Attempt::Offered { at },
            offer_at: Timestamp::EPOCH,
            durable_start: None,
            last_failure: None,
            heartbeat_details: None,
            cancel_requested_event_id: None,
            has_outcome: false,
            stored: false,
            paused: None,
            forgotten: 0,
            options: None,
        }
    }

    /// Whether no second attempt may ever follow a first that a worker got.
    pub(super) fn runs_only_once(&self) -> bool {
        self.retry_policy().maximum_attempts == 1
    }

    /// Whether the attempt is in a queue, or a worker has or may have it.
    pub(super) fn is_offered_or_running(&self) -> bool {
        !self.has_outcome
            && match self.state {
                Attempt::Offered { .. } | Attempt::Started { .. } | Attempt::InDoubt => true,
                Attempt::Paused { .. } => false,
            }
    }

    /// Whether a worker has or may have the attempt.
    pub(super) fn is_running(&self) -> bool {
        match self.state {
            Attempt::Started { .. } | Attempt::InDoubt => true,
            Attempt::Offered { .. } | Attempt::Paused { .. } => false,
        }
    }

    /// Whether the attempt is in its queue, or would be if the run were not paused.
    pub(super) fn is_offered(&self) -> bool {
        !self.has_outcome && matches!(self.state, Attempt::Offered { .. })
    }

    /// Whether no worker has the attempt, and what is stored says all about it.
    pub(super) fn is_as_stored(&self) -> bool {
        self.has_outcome || self.state == self.recovered_state()
    }

    pub(super) fn schedule_to_close_deadline(&self, time: &RunTime) -> Timestamp {
        let timeout = self.timeouts_in_force().schedule_to_close;
        timeout.map_or(Timestamp::MAX, |timeout| time.after(self.scheduled_at, timeout))
    }

    /// The timeouts that run, with their instants.
    fn timeouts(&self, time: &RunTime) -> [(TimeoutKind, Timestamp); 3] {
        let after = |start: Timestamp, timeout: Option<std::time::Duration>| {
            timeout.map_or(Timestamp::MAX, |timeout| time.after(start, timeout))
        };
        let timeouts = self.timeouts_in_force();
        let never = (TimeoutKind::StartToClose, Timestamp::MAX);
        let close = (TimeoutKind::ScheduleToClose, self.schedule_to_close_deadline(time));
        match &self.state {
            // No worker is to take it.
            Attempt::Offered { .. } if self.paused.is_some() => [close, never, never],
            Attempt::Offered { at } => {
                [close, (TimeoutKind::ScheduleToStart, after(*at, timeouts.schedule_to_start)), never]
            }
            Attempt::Started { token, last_heartbeat_at, .. } => {
                let alive_at = last_heartbeat_at.unwrap_or(token.started_at);
                [
                    close,
                    (TimeoutKind::StartToClose, after(token.started_at, timeouts.start_to_close)),
                    (TimeoutKind::Heartbeat, after(alive_at, timeouts.heartbeat)),
                ]
            }
            Attempt::Paused { .. } | Attempt::InDoubt => [close, never, never],
        }
    }

    /// The timeout that has passed at `now`; schedule-to-close before the others, since no attempt can follow it. Only that no
    /// worker came in time says more, if that was the first to pass.
    fn passed_timeout(&self, time: &RunTime, now: Timestamp) -> Option<TimeoutKind> {
        let timeouts = self.timeouts(time);
        let (_, close_at) = timeouts[0];
        let is_first = |(kind, at): &(TimeoutKind, Timestamp)| *kind == TimeoutKind::ScheduleToStart && *at <= close_at;
        let passed = || timeouts.iter().filter(|(_, at)| *at <= now);
        passed().find(|timeout| is_first(timeout)).or_else(|| passed().next()).map(|(kind, _)| *kind)
    }

    fn deadline(&self, time: &RunTime) -> Option<Timestamp> {
        if self.has_outcome {
            return None;
        }
        let timeout = self.timeouts(time).into_iter().map(|(_, at)| at).min();
        match self.state {
            Attempt::Paused { until } => timeout.map(|timeout| timeout.min(until)),
            Attempt::Offered { .. } | Attempt::Started { .. } | Attempt::InDoubt => timeout,
        }
        .filter(|at| *at != Timestamp::MAX)
    }

    /// What a crash must not lose and the history does not say.
    fn progress(&self, scheduled_event_id: EventId) -> Option<ActivityProgress> {
        let says_nothing = self.attempt == 1
            && self.counted == 0
            && self.durable_start.is_none()
            && self.last_failure.is_none()
            && self.heartbeat_details.is_none()
            && self.paused.is_none()
            && self.forgotten == 0
            && self.options.is_none();
        if says_nothing || self.has_outcome {
            return None;
        }
        let (started_at, identity) = match &self.durable_start {
            Some((at, identity)) => (Some(*at), identity.clone()),
            None => (None, String::new()),
        };
        Some(ActivityProgress {
            scheduled_event_id,
            attempt: self.attempt,
            counted_attempts: self.counted,
            offer_at: self.offer_at,
            started_at,
            identity,
            last_failure: self.last_failure.clone(),
            heartbeat_details: self.heartbeat_details.clone(),
            paused: self.paused.clone(),
            forgotten_attempts: self.forgotten,
            options: self.options.clone(),
        })
    }

    /// The state that progress and history alone give.
    fn recovered_state(&self) -> Attempt {
        if self.offer_at == Timestamp::EPOCH {
            Attempt::Offered { at: self.scheduled_at }
        } else {
            Attempt::Paused { until: self.offer_at }
        }
    }
}

impl Execution {
    /// What must be stored of an open activity's progress: `None` if its history says all.
    pub fn activity_progress(&self, scheduled_event_id: EventId) -> Option<ActivityProgress> {
        self.activities.get(scheduled_event_id)?.progress(scheduled_event_id)
    }

    fn change_activity(&mut self, scheduled_event_id: EventId, change: impl FnOnce(&mut Activity)) {
        self.activities.change(&mut self.deadlines, scheduled_event_id, change);
    }

    pub(super) fn apply_activity_scheduled(&mut self, id: EventId, at: Timestamp, scheduled: &ActivityScheduled) {
        self.activities.insert(&mut self.deadlines, id, Activity::new(scheduled, at));
    }

    pub(super) fn apply_activity_cancel_requested(&mut self, scheduled_event_id: EventId, request: EventId) {
        self.change_activity(scheduled_event_id, |activity| {
            activity.cancel_requested_event_id.get_or_insert(request);
        });
    }

    /// The run was asked to stop, which is its activity if it is one.
    pub(super) fn apply_standalone_cancel_requested(&mut self, request: EventId) {
        if self.is_standalone_activity() {
            self.apply_activity_cancel_requested(STANDALONE, request);
        }
    }

    pub(super) fn apply_activity_ended(&mut self, scheduled_event_id: EventId) {
        self.activities.remove(&mut self.deadlines, scheduled_event_id);
    }

    pub(super) fn apply_activity_end_in_buffer(&mut self, scheduled_event_id: EventId) {
        self.change_activity(scheduled_event_id, |activity| activity.has_outcome = true);
    }

    pub(super) fn apply_activity_started(&mut self, token: ActivityToken, identity: &str) {
        self.change_activity(token.scheduled_event_id, |activity| {
            if activity.runs_only_once() {
                activity.durable_start = Some((token.started_at, identity.to_owned()));
            }
            activity.state = Attempt::Started { token, identity: identity.to_owned(), last_heartbeat_at: None };
        });
    }

    pub(super) fn apply_activity_attempt_failed(
        &mut self,
        scheduled_event_id: EventId,
        failure: &Failure,
        retry_at: Timestamp,
        counted: bool,
    ) {
        self.change_activity(scheduled_event_id, |activity| {
            activity.attempt = activity.attempt.saturating_add(1);
            activity.counted = activity.counted.saturating_add(u32::from(counted));
            activity.last_failure = Some(failure.clone());
            activity.durable_start = None;
            activity.offer_at = retry_at;
            activity.state = Attempt::Paused { until: retry_at };
        });
    }

    pub(super) fn apply_activity_offered(&mut self, scheduled_event_id: EventId, at: Timestamp) {
        self.change_activity(scheduled_event_id, |activity| {
            activity.durable_start = None;
            activity.state = Attempt::Offered { at };
        });
    }

    pub(super) fn apply_activity_in_hand_recorded(
        &mut self,
        scheduled_event_id: EventId,
        at: Timestamp,
        identity: &str,
    ) {
        self.change_activity(scheduled_event_id, |activity| activity.durable_start = Some((at, identity.to_owned())));
    }

    pub(super) fn apply_activity_heartbeat(
        &mut self,
        scheduled_event_id: EventId,
        at: Timestamp,
        details: Option<&Payload>,
    ) {
        self.change_activity(scheduled_event_id, |activity| {
            if let Some(details) = details {
                let mut details = details.clone();
                details.detach();
                activity.heartbeat_details = Some(details);
            }
            if let Attempt::Started { last_heartbeat_at, .. } = &mut activity.state {
                *last_heartbeat_at = Some(at);
            }
        });
    }

    /// Notes whether the activity has a row of progress, as the driver wrote or read it.
    pub(super) fn note_progress_stored(&mut self, scheduled_event_id: EventId) {
        let stored = self.activity_progress(scheduled_event_id).is_some();
        self.change_activity(scheduled_event_id, |activity| activity.stored = stored);
    }

    /// Takes over a stored row. `false` if no open activity has this number.
    pub(super) fn restore_activity(&mut self, progress: ActivityProgress) -> bool {
        let id = progress.scheduled_event_id;
        if self.activities.get(id).is_none() {
            return false;
        }
        self.change_activity(id, |activity| {
            activity.attempt = progress.attempt;
            activity.counted = progress.counted_attempts;
            activity.offer_at = progress.offer_at;
            activity.durable_start = progress.started_at.map(|at| (at, progress.identity));
            activity.last_failure = progress.last_failure;
            activity.heartbeat_details = progress.heartbeat_details;
            activity.paused = progress.paused;
            activity.forgotten = progress.forgotten_attempts;
            activity.options = progress.options;
            activity.stored = true;
            activity.state = activity.recovered_state();
        });
        true
    }

    /// Changes every activity that has no outcome.
    pub(super) fn change_unresolved_activities(&mut self, change: impl Fn(&mut Activity)) {
        let ids: Vec<EventId> =
            self.activities.iter().filter(|(_, activity)| !activity.has_outcome).map(|(id, _)| id).collect();
        for id in ids {
            self.change_activity(id, &change);
        }
    }

    /// Forgets what a crash would lose.
    pub(super) fn forget_volatile_of_activities(&mut self) {
        let ids: Vec<EventId> = self.activities.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.change_activity(id, |activity| {
                if activity.has_outcome {
                    // Its row is gone, and nothing of its progress matters any more.
                    let fresh = Activity::new(&activity.scheduled, activity.scheduled_at);
                    let cancel_requested_event_id = activity.cancel_requested_event_id;
                    *activity = Activity { has_outcome: true, cancel_requested_event_id, ..fresh };
                }
                activity.state = activity.recovered_state();
            });
        }
    }

    /// Every open activity counts as scheduled at `at`: nobody has an attempt of it.
    pub(super) fn schedule_activities_anew(&mut self, at: Timestamp) {
        self.change_unresolved_activities(|activity| {
            activity.scheduled_at = at;
            activity.state = Attempt::Offered { at };
        });
    }

    /// The grace is over: what is still in doubt cannot have been handed out and goes back to its pause.
    pub(super) fn apply_activity_grace_ended(&mut self) {
        let ids: Vec<EventId> = self.activities.in_doubt().collect();
        for id in ids {
            self.change_activity(id, |activity| activity.state = activity.recovered_state());
        }
    }
}
