//! Histories for people: a line for each event, with the time since the run's start.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use engine_core::event::{Event, EventKind, Marker};
use engine_core::failure::Failure;
use engine_core::ids::EventId;
use engine_core::payload::Payload;
use engine_core::peer::PeerEvent;

/// A history as a table: number, time since the start, event, what it says. Workflow tasks that went well are left out.
pub fn timeline(history: &[Event]) -> String {
    let mut text = String::new();
    let Some(first) = history.first() else {
        return "(no events)".to_owned();
    };
    if let EventKind::WorkflowStarted(started) = &first.kind {
        let _ = writeln!(text, "{} {:?}, run {}", started.workflow_type, started.workflow_id.as_str(), started.run_id);
    }
    let names = Names::of(history);
    for event in history {
        let is_routine = matches!(
            event.kind,
            EventKind::WorkflowTaskScheduled(_)
                | EventKind::WorkflowTaskStarted(_)
                | EventKind::WorkflowTaskCompleted(_)
        );
        if is_routine {
            continue;
        }
        let after = since(event.at.since(first.at));
        let (id, name, what) = (event.id, event.kind.name(), names.what(&event.kind));
        let _ = writeln!(text, "  {id:>4}  {after:>16}  {name:<24}  {what}", id = id.0);
    }
    text
}

/// A time for people: whole seconds without decimals, days first.
pub(super) fn since(duration: Duration) -> String {
    let (days, rest) = (duration.as_secs() / 86_400, duration.as_secs() % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    let millis = duration.subsec_millis();
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}");
    let clock = if millis > 0 { format!("{clock}.{millis:03}") } else { clock };
    if days > 0 { format!("{days}d {clock}") } else { clock }
}

/// What events refer to by number.
struct Names<'a> {
    activities: HashMap<EventId, &'a str>,
}

impl<'a> Names<'a> {
    fn of(history: &'a [Event]) -> Self {
        let activity = |event: &'a Event| match &event.kind {
            EventKind::ActivityScheduled(scheduled) => Some((event.id, scheduled.activity_type.as_str())),
            _ => None,
        };
        Self { activities: history.iter().filter_map(activity).collect() }
    }

    fn activity(&self, id: EventId) -> &str {
        self.activities.get(&id).copied().unwrap_or("an activity")
    }

    fn what(&self, kind: &EventKind) -> String {
        match kind {
            EventKind::WorkflowStarted(started) => values(&started.input),
            EventKind::WorkflowCompleted(completed) => completed.result.as_ref().map(value).unwrap_or_default(),
            EventKind::WorkflowFailed(failed) => failure(&failed.failure),
            EventKind::WorkflowTerminated(terminated) => terminated.reason.clone(),
            EventKind::WorkflowCancelRequested(requested) => requested.reason.clone(),
            EventKind::WorkflowSignaled(signaled) => format!("{} {}", signaled.name.as_str(), values(&signaled.input)),
            EventKind::WorkflowTaskFailed(failed) => failed.failure.message.clone(),
            EventKind::ActivityScheduled(scheduled) => {
                format!("{} {}", scheduled.activity_type.as_str(), values(&scheduled.input))
            }
            EventKind::ActivityStarted(started) => {
                let name = self.activity(started.scheduled_event_id);
                match &started.last_failure {
                    Some(last) => format!("{name}, attempt {}; the one before: {}", started.attempt, failure(last)),
                    None => format!("{name}, attempt {}", started.attempt),
                }
            }
            EventKind::ActivityCompleted(completed) => {
                let result = completed.result.as_ref().map(value).unwrap_or_default();
                format!("{} {result}", self.activity(completed.scheduled_event_id))
            }
            EventKind::ActivityFailed(failed) => {
                format!("{}: {}", self.activity(failed.scheduled_event_id), failure(&failed.failure))
            }
            EventKind::ActivityTimedOut(timed_out) => {
                format!("{}: {}", self.activity(timed_out.scheduled_event_id), failure(&timed_out.failure))
            }
            EventKind::ActivityCancelRequested(requested) => self.activity(requested.scheduled_event_id).to_owned(),
            EventKind::ActivityCanceled(canceled) => self.activity(canceled.scheduled_event_id).to_owned(),
            EventKind::TimerStarted(started) => {
                format!("timer {} for {}", started.timer_id.as_str(), since(started.duration))
            }
            EventKind::TimerFired(fired) => format!("timer {}", fired.timer_id.as_str()),
            EventKind::TimerCanceled(canceled) => format!("timer {}", canceled.timer_id.as_str()),
            EventKind::StatePublished(published) => {
                format!("{} = {}", published.name.as_str(), value(&published.value))
            }
            EventKind::MarkerRecorded(recorded) => match &recorded.marker {
                Marker::Patch { .. } => "a patch".to_owned(),
                Marker::Step(step) => format!("step {}", step.name),
            },
            EventKind::Peer(peer) => match peer.as_ref() {
                PeerEvent::StartChildInitiated { child, .. } => {
                    format!("{} {:?}", child.workflow_type, child.workflow_id.as_str())
                }
                PeerEvent::ChildStarted { workflow_id, .. } | PeerEvent::ChildClosed { workflow_id, .. } => {
                    format!("{:?}", workflow_id.as_str())
                }
                _ => String::new(),
            },
            _ => String::new(),
        }
    }
}

pub(super) fn values(payloads: &[Payload]) -> String {
    payloads.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// A value, shortened: a timeline is read, not parsed.
pub(super) fn value(payload: &Payload) -> String {
    const MOST: usize = 120;
    let text = match std::str::from_utf8(&payload.data) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes)", payload.data.len()),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(super) fn failure(failure: &Failure) -> String {
    match &failure.cause {
        Some(cause) => format!("{}: {}", failure.message, self::failure(cause)),
        None => failure.message.clone(),
    }
}
