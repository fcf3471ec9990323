//! What a command carries besides its name and id, for replays that compare it: see [`Replayer::compare_values`].
//!
//! A deploy may change arguments and durations for runs under way, so they are not compared there. The code of one build gives the same
//! again, or it reads a clock, chance, or the order of a hash map.
//!
//! Not compared: options and texts for people, failures, search attributes and memos, and what the next run of a chain begins with, which is
//! in that run's history.

use std::fmt;
use std::time::Duration;

use super::Replayer;
use crate::command::Command;
use crate::event::{EventKind, UpdateOutcome};
use crate::payload::Payload;
use crate::peer::{PeerCommand, PeerEvent};

/// Most characters of a value that are shown.
const SHOWN_MAX: usize = 200;

/// Whether two payloads are the same value.
pub type SamePayload = fn(&Payload, &Payload) -> bool;

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Payloads(Vec<Payload>),
    Duration(Duration),
}

impl Values {
    pub(super) fn of_command(command: &Command) -> Option<Self> {
        match command {
            Command::ScheduleActivity(activity) => Some(Values::Payloads(activity.input.clone())),
            Command::StartTimer { duration, .. } => Some(Values::of_timer(*duration)),
            Command::PublishState { value, .. } => Some(Values::Payloads(vec![value.clone()])),
            Command::CompleteUpdate { outcome, .. } => Values::of_outcome(outcome),
            Command::CompleteWorkflow { result } => Some(Values::Payloads(result.iter().cloned().collect())),
            Command::Peer(peer) => match &**peer {
                PeerCommand::StartChild(child) => Some(Values::Payloads(child.input.clone())),
                PeerCommand::Signal(signal) => Some(Values::Payloads(signal.input.clone())),
                PeerCommand::RequestCancel(_) => None,
            },
            Command::RequestCancelActivity { .. }
            | Command::CancelTimer { .. }
            | Command::RecordMarker(_)
            | Command::UpsertSearchAttributes { .. }
            | Command::ModifyProperties(_)
            | Command::AcceptUpdate(_)
            | Command::FailWorkflow { .. }
            | Command::CancelWorkflow { .. }
            | Command::ContinueAsNew(_) => None,
        }
    }

    /// The same of the event that a command became; `None` if there is nothing to compare.
    pub(super) fn of_event(event: &EventKind) -> Option<Self> {
        match event {
            EventKind::ActivityScheduled(activity) => Some(Values::Payloads(activity.input.clone())),
            EventKind::TimerStarted(timer) => Some(Values::of_timer(timer.duration)),
            EventKind::StatePublished(published) => Some(Values::Payloads(vec![published.value.clone()])),
            EventKind::WorkflowUpdateCompleted(completed) => Values::of_outcome(&completed.outcome),
            EventKind::WorkflowCompleted(completed) => {
                Some(Values::Payloads(completed.result.iter().cloned().collect()))
            }
            EventKind::Peer(peer) => match &**peer {
                PeerEvent::StartChildInitiated { child, .. } => Some(Values::Payloads(child.input.clone())),
                PeerEvent::SignalInitiated { signal, .. } => Some(Values::Payloads(signal.input.clone())),
                PeerEvent::StartChildFailed { .. }
                | PeerEvent::ChildStarted { .. }
                | PeerEvent::ChildClosed { .. }
                | PeerEvent::Signaled { .. }
                | PeerEvent::SignalFailed { .. }
                | PeerEvent::CancelInitiated { .. }
                | PeerEvent::CancelDelivered { .. }
                | PeerEvent::CancelFailed { .. } => None,
            },
            EventKind::WorkflowStarted(_)
            | EventKind::WorkflowFailed(_)
            | EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowCanceled(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowContinuedAsNew(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityStarted(_)
            | EventKind::ActivityCompleted(_)
            | EventKind::ActivityFailed(_)
            | EventKind::ActivityTimedOut(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::ActivityCanceled(_)
            | EventKind::TimerFired(_)
            | EventKind::TimerCanceled(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::SearchAttributesUpserted(_)
            | EventKind::PropertiesModified(_)
            | EventKind::WorkflowUpdateAdmitted(_)
            | EventKind::WorkflowUpdateAccepted(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowRepaired(_) => None,
        }
    }

    /// A timer's duration is kept in microseconds.
    fn of_timer(duration: Duration) -> Self {
        Values::Duration(Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    fn of_outcome(outcome: &UpdateOutcome) -> Option<Self> {
        match outcome {
            UpdateOutcome::Completed { result } => Some(Values::Payloads(result.iter().cloned().collect())),
            UpdateOutcome::Failed { .. } => None,
        }
    }

    /// Whether the code's agree with the history's. A history without them says nothing: workers get theirs without arguments of activities.
    pub(super) fn agree(&self, history: &Self, same: SamePayload) -> bool {
        match (self, history) {
            (Values::Payloads(_), Values::Payloads(history)) if history.is_empty() => true,
            (Values::Payloads(own), Values::Payloads(history)) => {
                own.len() == history.len() && own.iter().zip(history).all(|(own, history)| same(own, history))
            }
            (Values::Payloads(_) | Values::Duration(_), _) => self == history,
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Values::Duration(duration) => format!("{duration:?}"),
            Values::Payloads(payloads) => {
                let texts: Vec<_> = payloads.iter().map(|it| String::from_utf8_lossy(&it.data)).collect();
                if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
            }
        };
        match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

impl Replayer {
    /// Compares arguments, durations, published values and results too, by `same`: for code that is replayed by the build that ran it.
    pub fn compare_values(&mut self, same: SamePayload) {
        self.same_payload = Some(same);
    }

    /// Whether what a command carries matters: it goes to the server, or is compared. Else it need not be encoded.
    pub fn wants_values(&self) -> bool {
        !self.is_replaying() || self.same_payload.is_some()
    }
}
