//! The buffer: what reached the run while a workflow task was running. Durable at once, numbered when the task ends.
//!
//! | task                    | an event arrives      | the task ends                                    |
//! |-------------------------|-----------------------|--------------------------------------------------|
//! | none, scheduled, paused | numbered              |                                                  |
//! | started, in doubt       | buffered              | numbered behind the events of the task's commands |
//!
//! Order when numbered: signals, timers and the cancel request as they arrived; then ends of activities as they arrived, each
//! `ActivityStarted` directly before its end, which gets its number as `started_event_id`.
//!
//! Invariant: the buffer is empty unless a workflow task is pending.

use std::collections::BTreeSet;

use crate::event::{Event, EventKind};
use crate::execution::{Execution, Rejection};
use crate::ids::EventId;
use crate::limits;
use crate::payload;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Buffer {
    events: Vec<Event>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Size of the payloads in it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += size(&event.kind);
        self.events.push(event);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The events with the instants at which they arrived, in the order in which they get numbers from `first` on. Leaves out
    /// firings of `canceled_timers`: the code that canceled them must not see them.
    pub(super) fn in_order(&self, canceled_timers: &BTreeSet<EventId>, first: EventId) -> Vec<(Timestamp, EventKind)> {
        let (activities, others): (Vec<&Event>, Vec<&Event>) =
            self.events.iter().filter(|event| !is_firing_of(&event.kind, canceled_timers)).partition(|event| {
                matches!(event.kind, EventKind::ActivityStarted(_)) || event.kind.activity_end().is_some()
            });
        let mut started = (EventId::NONE, EventId::NONE);
        (first.0..)
            .zip(others.into_iter().chain(activities))
            .map(|(number, event)| {
                let mut kind = event.kind.clone();
                if let EventKind::ActivityStarted(start) = &kind {
                    started = (start.scheduled_event_id, EventId(number));
                } else if kind.activity_end().is_some_and(|(scheduled, _)| scheduled == started.0) {
                    set_started_event_id(&mut kind, started.1);
                }
                (event.at, kind)
            })
            .collect()
    }

    /// Whether any event would be left after dropping the firings of `canceled_timers`.
    pub(super) fn has_events_besides(&self, canceled_timers: &BTreeSet<EventId>) -> bool {
        self.events.iter().any(|event| !is_firing_of(&event.kind, canceled_timers))
    }
}

fn is_firing_of(kind: &EventKind, timers: &BTreeSet<EventId>) -> bool {
    if let EventKind::TimerFired(fired) = kind { timers.contains(&fired.started_event_id) } else { false }
}

fn set_started_event_id(kind: &mut EventKind, id: EventId) {
    if let EventKind::ActivityCompleted(end) = kind {
        end.started_event_id = id;
    } else if let EventKind::ActivityFailed(end) = kind {
        end.started_event_id = id;
    } else if let EventKind::ActivityTimedOut(end) = kind {
        end.started_event_id = id;
    } else if let EventKind::ActivityCanceled(end) = kind {
        end.started_event_id = id;
    }
}

/// Size of what can be buffered, in bytes.
fn size(kind: &EventKind) -> usize {
    if let EventKind::WorkflowSignaled(signal) = kind {
        payload::total_size(&signal.input)
    } else if let EventKind::ActivityCompleted(end) = kind {
        end.result.as_ref().map_or(0, payload::Payload::size)
    } else if let EventKind::ActivityFailed(end) = kind {
        end.failure.size()
    } else if let EventKind::ActivityTimedOut(end) = kind {
        end.failure.size()
    } else if let EventKind::ActivityCanceled(end) = kind {
        end.details.as_ref().map_or(0, payload::Payload::size)
    } else {
        0
    }
}

impl Execution {
    /// Whether an event that arrives is buffered. An event must not overtake those that are in the buffer, whatever the task's
    /// state is.
    pub(super) fn buffers_events(&self) -> bool {
        self.workflow_task.is_running() || !self.buffer.is_empty()
    }

    /// Refuses a message of `bytes` while the buffer is full. Ends of activities and timers are never refused: their number is
    /// bounded by what is open.
    pub(super) fn check_buffer_room(&self, bytes: usize) -> Result<(), Rejection> {
        if !self.buffers_events() {
            return Ok(());
        }
        if self.buffer.len() >= limits::BUFFERED_EVENTS_MAX {
            return Err(Rejection::Exhausted(format!(
                "{} events wait for the run's workflow task to end, which is the limit; try again later",
                self.buffer.len()
            )));
        }
        if self.buffer.bytes() + bytes > limits::BUFFERED_BYTES_MAX {
            return Err(Rejection::Exhausted(format!(
                "events with {} bytes of payload wait for the run's workflow task to end; the limit is {} bytes; try again later",
                self.buffer.bytes(),
                limits::BUFFERED_BYTES_MAX
            )));
        }
        Ok(())
    }

    pub(super) fn apply_buffered(&mut self, event: &Event) {
        if let EventKind::WorkflowSignaled(signal) = &event.kind {
            self.signals.note(signal.request_id.as_ref());
        } else if let EventKind::WorkflowCancelRequested(_) = &event.kind {
            self.cancel_requested = true;
        } else if let EventKind::TimerFired(fired) = &event.kind {
            self.apply_timer_fired_in_buffer(fired.started_event_id);
        } else if let Some((scheduled_event_id, _)) = event.kind.activity_end() {
            self.apply_activity_end_in_buffer(scheduled_event_id);
        }
        self.buffer.push(event.clone());
    }
}
