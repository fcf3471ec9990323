//! The buffer: what reached the run while a workflow task was running. Durable at once, numbered when the task ends.
//!
//! | task                    | an event arrives      | the task ends                                    |
//! |-------------------------|-----------------------|--------------------------------------------------|
//! | none, scheduled, paused | numbered              |                                                  |
//! | started, in doubt       | buffered              | numbered behind the events of the task's commands |
//!
//! Order when numbered: signals, timers and the cancel request as they arrived; then ends of activities as they arrived, each
//! `ActivityStarted` directly before its end (a `ChildStarted` stays where it came, and ends of children come with those of
//! activities), which gets its number as `started_event_id`.
//!
//! Invariant: the buffer is empty unless a workflow task is pending. A buffered event is news, so a task that was needed for
//! updates only is from then on needed by the history too.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, EventKind, WorkflowSignaled};
use crate::execution::{Execution, Rejection};
use crate::ids::EventId;
use crate::limits;
use crate::payload;
use crate::peer::PeerEvent;
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

    pub(super) fn push(&mut self, mut event: Event) {
        self.bytes += size(&event.kind);
        detach(&mut event.kind);
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
                matches!(event.kind, EventKind::ActivityStarted(_))
                    || event.kind.activity_end().is_some()
                    || is_child_end(&event.kind)
            });
        let mut started = (EventId::NONE, EventId::NONE);
        let mut children = BTreeMap::new();
        (first.0..)
            .zip(others.into_iter().chain(activities))
            .map(|(number, event)| {
                let mut kind = event.kind.clone();
                if let EventKind::ActivityStarted(start) = &kind {
                    started = (start.scheduled_event_id, EventId(number));
                } else if kind.activity_end().is_some_and(|(scheduled, _)| scheduled == started.0) {
                    set_started_event_id(&mut kind, started.1);
                }
                if let EventKind::Peer(peer) = &mut kind {
                    wire_child(peer, EventId(number), &mut children);
                }
                (event.at, kind)
            })
            .collect()
    }

    /// Whether any event would be left after dropping the firings of `canceled_timers`, and signals if they are handed over.
    pub(super) fn has_events_besides(&self, canceled_timers: &BTreeSet<EventId>, signals: bool) -> bool {
        self.events.iter().any(|event| {
            let is_handed_over = signals && matches!(event.kind, EventKind::WorkflowSignaled(_));
            !is_handed_over && !is_firing_of(&event.kind, canceled_timers)
        })
    }

    /// The signals in it, as they arrived.
    pub(super) fn signals(&self) -> impl Iterator<Item = &WorkflowSignaled> {
        self.events
            .iter()
            .filter_map(|event| if let EventKind::WorkflowSignaled(signal) = &event.kind { Some(signal) } else { None })
    }
}

fn is_firing_of(kind: &EventKind, timers: &BTreeSet<EventId>) -> bool {
    if let EventKind::TimerFired(fired) = kind { timers.contains(&fired.started_event_id) } else { false }
}

fn is_child_end(kind: &EventKind) -> bool {
    if let EventKind::Peer(peer) = kind { matches!(**peer, PeerEvent::ChildClosed { .. }) } else { false }
}

/// Tells the end of a child the number that its start has got.
fn wire_child(peer: &mut PeerEvent, number: EventId, children: &mut BTreeMap<EventId, EventId>) {
    if let PeerEvent::ChildStarted { initiated_event_id, .. } = peer {
        children.insert(*initiated_event_id, number);
    } else if let PeerEvent::ChildClosed { initiated_event_id, started_event_id, .. } = peer
        && let Some(number) = children.get(initiated_event_id)
    {
        *started_event_id = *number;
    }
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
    } else if let EventKind::Peer(peer) = kind {
        peer.size()
    } else {
        0
    }
}

/// Gives what can be buffered memory of its own: a worker that hangs must not make small signals hold large buffers.
fn detach(kind: &mut EventKind) {
    if let EventKind::WorkflowSignaled(signal) = kind {
        signal.input.iter_mut().for_each(payload::Payload::detach);
    } else if let EventKind::ActivityCompleted(end) = kind {
        end.result.iter_mut().for_each(payload::Payload::detach);
    } else if let EventKind::ActivityCanceled(end) = kind {
        end.details.iter_mut().for_each(payload::Payload::detach);
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
        } else if let EventKind::Peer(peer) = &event.kind {
            self.apply_peer_in_buffer(peer);
        } else if let EventKind::WorkflowPaused(_) | EventKind::WorkflowResumed(_) = &event.kind {
            self.apply_pause_change_in_buffer(&event.kind, event.at);
        } else if let EventKind::WorkflowOptionsUpdated(change) = &event.kind {
            self.apply_options_updated_in_buffer(change);
        }
        self.buffer.push(event.clone());
        if event.kind.is_news() {
            self.apply_news_at(event.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::support::*;

    #[test]
    fn ends_of_activities_are_numbered_behind_the_rest_each_with_its_start() {
        let mut run = Run::start();
        run.turn(vec![schedule("a"), schedule("b"), start_timer("t", seconds(1))]);
        let (a, b) = (run.take_activity("a"), run.take_activity("b"));
        run.signal("go");
        check(
            run,
            |run| {
                let task = run.take_task();
                run.complete_activity(b);
                run.signal("first");
                run.complete_activity(a);
                run.advance(seconds(1));
                run.due();
                run.signal("second");
                run.finish_task(task, vec![start_timer("u", seconds(1))]);
            },
            "
                ~ task started attempt=1
                ~ buffered ActivityStarted scheduled=6 attempt=1
                ~ buffered ActivityCompleted scheduled=6 started=0
                ~ buffered WorkflowSignaled first
                ~ buffered ActivityStarted scheduled=5 attempt=1
                ~ buffered ActivityCompleted scheduled=5 started=0
                ~ buffered TimerFired t started=7
                ~ buffered WorkflowSignaled second
                ~ buffer flushed
                9 WorkflowTaskScheduled attempt=1
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskCompleted scheduled=9 started=10
                12 TimerStarted u task=11 duration=1s
                13 WorkflowSignaled first
                14 TimerFired t started=7
                15 WorkflowSignaled second
                16 ActivityStarted scheduled=6 attempt=1
                17 ActivityCompleted scheduled=6 started=16
                18 ActivityStarted scheduled=5 attempt=1
                19 ActivityCompleted scheduled=5 started=18
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_crash_keeps_what_was_buffered_and_its_order() {
        let mut run = Run::start();
        run.take_task();
        run.signal("first");
        check(
            run,
            |run| {
                run.crash();
                run.signal("second");
                run.send(crate::execution::Input::EndGrace).unwrap();
                run.turn(vec![]);
            },
            "
                crash
                ~ buffered WorkflowSignaled second
                ~ task released
                ~ buffer flushed
                ~ grace ended
                2 WorkflowSignaled first
                3 WorkflowSignaled second
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                4 WorkflowTaskScheduled attempt=1
                5 WorkflowTaskStarted scheduled=4
                6 WorkflowTaskCompleted scheduled=4 started=5
            ",
        );
    }

    #[test]
    fn without_a_grace_events_do_not_overtake_those_in_the_buffer() {
        let mut run = Run::start();
        let token = run.take_task();
        run.signal("first");
        run.execution = run.recovered();
        check(
            run,
            |run| {
                run.signal("second");
                run.finish_task(token, vec![]);
            },
            "
                ~ buffered WorkflowSignaled second
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowSignaled first
                6 WorkflowSignaled second
                > WithdrawWorkflowTask
                > OfferWorkflowTask attempt=1
            ",
        );
    }
}
