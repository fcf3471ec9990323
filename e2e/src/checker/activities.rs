//! Activities and timers of one history.

use std::collections::{BTreeMap, BTreeSet};

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;

use super::{Rule, Run, Violations};

pub(super) fn check(run: &Run, losses: u32, violations: &mut Violations) {
    activities_end_once(run, violations);
    references(run, violations);
    attempt_limit(run, losses, violations);
    timers(run, violations);
}

/// An activity as its history tells of it.
#[derive(Debug)]
pub(super) struct Activity<'a> {
    pub(super) scheduled_event_id: u64,
    pub(super) scheduled: &'a v1::ActivityScheduled,
    /// The last attempt, if it ended with one.
    pub(super) attempt: Option<u32>,
    pub(super) end: Option<&'a Attributes>,
    /// The number of that event.
    pub(super) end_event_id: Option<u64>,
}

impl Activity<'_> {
    /// Most attempts that its policy allows; 0 is without limit.
    pub(super) fn max_attempts(&self) -> u32 {
        self.scheduled.retry_policy.as_ref().map_or(0, |policy| policy.maximum_attempts)
    }
}

/// All activities of the run, by the number of their ActivityScheduled event.
pub(super) fn of(run: &Run) -> BTreeMap<u64, Activity<'_>> {
    let mut activities = BTreeMap::new();
    for (id, fact) in run.facts() {
        if let Attributes::ActivityScheduled(scheduled) = fact {
            activities.insert(
                id,
                Activity { scheduled_event_id: id, scheduled, attempt: None, end: None, end_event_id: None },
            );
        } else if let Attributes::ActivityStarted(started) = fact {
            if let Some(activity) = activities.get_mut(&started.scheduled_event_id) {
                activity.attempt = activity.attempt.max(Some(started.attempt));
            }
        } else if let Some(end) = activity_end(fact)
            && let Some(activity) = activities.get_mut(&end.scheduled)
        {
            (activity.end, activity.end_event_id) = (Some(fact), Some(id));
        }
    }
    activities
}

struct End {
    scheduled: u64,
    started: u64,
    /// Whether an activity can end so without having started.
    may_lack_start: bool,
}

fn activity_end(fact: &Attributes) -> Option<End> {
    let end = |scheduled, started, may_lack_start| Some(End { scheduled, started, may_lack_start });
    match fact {
        Attributes::ActivityCompleted(event) => end(event.scheduled_event_id, event.started_event_id, false),
        Attributes::ActivityFailed(event) => end(event.scheduled_event_id, event.started_event_id, false),
        Attributes::ActivityTimedOut(event) => end(event.scheduled_event_id, event.started_event_id, true),
        Attributes::ActivityCanceled(event) => end(event.scheduled_event_id, event.started_event_id, true),
        _ => None,
    }
}

fn activities_end_once(run: &Run, violations: &mut Violations) {
    let mut ends: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (id, fact) in run.facts() {
        if matches!(fact, Attributes::ActivityScheduled(_)) {
            ends.entry(id).or_default();
        } else if let Some(end) = activity_end(fact) {
            ends.entry(end.scheduled).or_default().push(id);
        }
    }
    let completed = matches!(run.close(), Some(Attributes::WorkflowCompleted(_)));
    for (scheduled, ends) in ends {
        let right = ends.len() == 1 || (ends.is_empty() && !completed);
        violations.require(right, Rule::ActivityEndsOnce, &run.workflow_id, || {
            format!("activity {scheduled} ends in events {ends:?}")
        });
    }
}

fn references(run: &Run, violations: &mut Violations) {
    let is_earlier = |id: u64, referred: u64| referred < id;
    let mut open_ids = BTreeSet::new();
    for (id, fact) in run.facts() {
        let mut require = |holds: bool, problem: String| {
            violations.require(holds, Rule::References, &run.workflow_id, || format!("event {id} {problem}: {fact:?}"));
        };
        let is_scheduled = |referred: u64| {
            is_earlier(id, referred) && matches!(run.attributes(referred), Some(Attributes::ActivityScheduled(_)))
        };
        let is_timer = |referred: u64, timer_id: &str| {
            is_earlier(id, referred)
                && matches!(run.attributes(referred), Some(Attributes::TimerStarted(start)) if start.timer_id == timer_id)
        };
        match fact {
            Attributes::ActivityScheduled(event) => {
                let fresh = open_ids.insert(event.activity_id.as_str());
                require(fresh, "schedules an activity under the id of one that is open".to_owned());
            }
            Attributes::ActivityStarted(event) => {
                require(is_scheduled(event.scheduled_event_id), "starts what was not scheduled".to_owned());
                require(event.attempt >= 1, "has an attempt that is not counted from 1".to_owned());
                let ended = run.attributes(id + 1).and_then(activity_end);
                let by_next = ended.is_some_and(|end| end.scheduled == event.scheduled_event_id && end.started == id);
                require(by_next, "is a start that the next event does not end".to_owned());
            }
            Attributes::ActivityCancelRequested(event) => {
                require(is_scheduled(event.scheduled_event_id), "cancels what was not scheduled".to_owned());
            }
            Attributes::ActivityCanceled(event) => {
                let request = run.attributes(event.cancel_requested_event_id);
                let asked = matches!(request, Some(Attributes::ActivityCancelRequested(request)) if request.scheduled_event_id == event.scheduled_event_id);
                require(
                    asked && is_earlier(id, event.cancel_requested_event_id),
                    "is canceled without a request".to_owned(),
                );
            }
            Attributes::TimerFired(event) => {
                require(is_timer(event.started_event_id, &event.timer_id), "fires an unknown timer".to_owned());
            }
            Attributes::TimerCanceled(event) => {
                require(is_timer(event.started_event_id, &event.timer_id), "cancels an unknown timer".to_owned());
            }
            _ => {}
        }
        if let Some(end) = activity_end(fact) {
            require(is_scheduled(end.scheduled), "ends an activity that was not scheduled".to_owned());
            let started = run.attributes(end.started);
            let right = match started {
                Some(Attributes::ActivityStarted(start)) => {
                    start.scheduled_event_id == end.scheduled && is_earlier(id, end.started)
                }
                _ => end.started == 0 && end.may_lack_start,
            };
            require(right, format!("names event {} as the activity's start", end.started));
            if let Some(Attributes::ActivityScheduled(scheduled)) = run.attributes(end.scheduled) {
                open_ids.remove(scheduled.activity_id.as_str());
            }
        }
    }
}

fn attempt_limit(run: &Run, losses: u32, violations: &mut Violations) {
    for activity in of(run).values() {
        let (limit, attempt) = (activity.max_attempts(), activity.attempt.unwrap_or(0));
        // What may run only once is not offered again, so that nothing is lost uncounted.
        let limit = if limit > 1 { limit + losses } else { limit };
        violations.require(limit == 0 || attempt <= limit, Rule::AttemptLimit, &run.workflow_id, || {
            format!("activity {} has attempt {attempt} of at most {limit}", activity.scheduled_event_id)
        });
    }
}

fn timers(run: &Run, violations: &mut Violations) {
    let mut ended = BTreeSet::new();
    for (id, fact) in run.facts() {
        let started = match fact {
            Attributes::TimerFired(event) => event.started_event_id,
            Attributes::TimerCanceled(event) => event.started_event_id,
            _ => continue,
        };
        violations.require(ended.insert(started), Rule::Timers, &run.workflow_id, || {
            format!("timer {started} ends again in event {id}")
        });
        if let (Attributes::TimerFired(_), Some(start), Some(fired)) = (fact, run.event(started), run.event(id))
            && let Some(Attributes::TimerStarted(timer)) = &start.attributes
        {
            let duration = timer.duration.unwrap_or_default();
            let micros = duration.seconds * 1_000_000 + i64::from(duration.nanos) / 1_000;
            let due = start.event_time_us + micros;
            violations.require(fired.event_time_us >= due, Rule::Timers, &run.workflow_id, || {
                format!("timer {started} was due at {due} and fired at {}", fired.event_time_us)
            });
        }
    }
}
