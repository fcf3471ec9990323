//! Timers: durable sleeps that outlive the worker that asked for them.
//!
//! | state   | input                  | events                                     | next   |
//! |---------|------------------------|--------------------------------------------|--------|
//! | —       | StartTimer (command)   | TimerStarted                               | open   |
//! | open    | its time has come      | TimerFired                                 | closed |
//! | open    | …while a task runs     | TimerFired, buffered                       | fired  |
//! | open    | CancelTimer (command)  | TimerCanceled                              | closed |
//! | fired   | CancelTimer (command)  | TimerCanceled; the buffered firing is gone | closed |
//! | fired   | the task ends          | TimerFired gets its number                 | closed |
//!
//! A timer never fires early by the server's clock; all that are due fire in one transition, by (fire time, started event).
//! Invariant: an open timer is among the run's deadlines, a fired one is in the buffer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{EventKind, TimerCanceled, TimerFired, TimerStarted};
use crate::execution::Execution;
use crate::execution::check::{self, BadField};
use crate::execution::deadline::Source;
use crate::execution::draft::Draft;
use crate::ids::{EventId, TimerId};
use crate::limits;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timer {
    pub(super) timer_id: TimerId,
    /// `None` once the timer fired and waits in the buffer.
    pub(super) fire_at: Option<Timestamp>,
}

/// The open timers of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Timers {
    by_started_event: BTreeMap<EventId, Timer>,
    by_id: BTreeMap<TimerId, EventId>,
}

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.by_started_event.len()
    }

    pub(super) fn get(&self, started_event_id: EventId) -> Option<&Timer> {
        self.by_started_event.get(&started_event_id)
    }

    pub(super) fn with_id(&self, timer_id: &TimerId) -> Option<EventId> {
        self.by_id.get(timer_id).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EventId, &Timer)> {
        self.by_started_event.iter().map(|(id, timer)| (*id, timer))
    }
}

impl Draft<'_> {
    /// The started event of the open timer with this id, as the workflow code sees it at this point of its commands.
    fn open_timer(&self, timer_id: &TimerId) -> Option<EventId> {
        if let Some(started_event_id) = self.overlay.started_timers.get(timer_id) {
            return Some(*started_event_id);
        }
        let started_event_id = self.run.timers.with_id(timer_id)?;
        (!self.overlay.canceled_timers.contains(&started_event_id)).then_some(started_event_id)
    }

    pub(super) fn start_timer(
        &mut self,
        timer_id: TimerId,
        duration: Duration,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        check::duration("duration", duration)?;
        if self.open_timer(&timer_id).is_some() {
            return Err(BadField::new("timer_id", format!("a timer with id {timer_id:?} is already open")));
        }
        let overlay = &self.overlay;
        if self.run.timers.len() - overlay.canceled_timers.len() + overlay.started_timers.len()
            >= limits::PENDING_TIMERS_MAX
        {
            let limit = limits::PENDING_TIMERS_MAX;
            return Err(BadField::new("timer_id", format!("the run has {limit} open timers, which is the limit")));
        }
        let kind = EventKind::TimerStarted(TimerStarted {
            workflow_task_completed_event_id,
            timer_id: timer_id.clone(),
            duration,
        });
        let started_event_id = self.push(kind);
        self.overlay.started_timers.insert(timer_id, started_event_id);
        Ok(())
    }

    pub(super) fn cancel_timer(
        &mut self,
        timer_id: TimerId,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        let Some(started_event_id) = self.open_timer(&timer_id) else {
            return Err(BadField::new("timer_id", format!("no timer with id {timer_id:?} is open")));
        };
        if self.overlay.started_timers.remove(&timer_id).is_none() {
            self.overlay.canceled_timers.insert(started_event_id);
        }
        self.push(EventKind::TimerCanceled(TimerCanceled {
            workflow_task_completed_event_id,
            timer_id,
            started_event_id,
        }));
        Ok(())
    }

    pub(super) fn fire_timer(&mut self, started_event_id: EventId) {
        if let Some(timer) = self.run.timers.get(started_event_id) {
            self.arrive(EventKind::TimerFired(TimerFired { timer_id: timer.timer_id.clone(), started_event_id }));
        }
    }
}

impl Execution {
    pub(super) fn apply_timer_started(&mut self, started_event_id: EventId, at: Timestamp, timer: &TimerStarted) {
        let fire_at = Some(at + timer.duration);
        self.timers.by_id.insert(timer.timer_id.clone(), started_event_id);
        self.timers.by_started_event.insert(started_event_id, Timer { timer_id: timer.timer_id.clone(), fire_at });
        self.deadlines.shift(Source::Timer(started_event_id), None, fire_at);
    }

    pub(super) fn apply_timer_closed(&mut self, started_event_id: EventId) {
        if let Some(timer) = self.timers.by_started_event.remove(&started_event_id) {
            self.timers.by_id.remove(&timer.timer_id);
            self.deadlines.shift(Source::Timer(started_event_id), timer.fire_at, None);
        }
    }

    pub(super) fn apply_timer_fired_in_buffer(&mut self, started_event_id: EventId) {
        if let Some(timer) = self.timers.by_started_event.get_mut(&started_event_id) {
            self.deadlines.shift(Source::Timer(started_event_id), timer.fire_at.take(), None);
        }
    }
}
