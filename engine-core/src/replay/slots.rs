//! What the code has under way: activities and timers, by handle.
//!
//! | state of a slot | left by |
//! |---|---|
//! | issued, not recorded | recorded · withdrawn (freed) |
//! | recorded | resolved · closed (a canceled timer, freed) |
//! | resolved | taken (freed); at once if nobody wants it |

use std::collections::BTreeMap;

use crate::failure::{Failure, RetryState};
use crate::ids::{ActivityId, EventId, TimerId};
use crate::payload::Payload;

/// Stands for an activity or timer that the code issued. Small numbers, reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(u32);

impl Handle {
    /// The number, for use as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How something ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// The activity returned a value.
    Completed {
        /// What it returned.
        result: Option<Payload>,
    },
    /// The activity failed, timed out or was canceled, and is not tried again.
    Failed {
        /// The last attempt's failure.
        failure: Box<Failure>,
        /// Why it is not tried again.
        retry_state: RetryState,
    },
    /// The timer fired.
    Fired,
}

#[derive(Debug, Clone)]
pub(super) enum Thing {
    Activity { id: ActivityId },
    Timer { id: TimerId },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) thing: Thing,
    /// Index among the task's commands; meaningless once recorded.
    pub(super) issued_at: usize,
    /// The event that began it; none until recorded.
    pub(super) event_id: EventId,
    pub(super) attempt: u32,
    pub(super) cancel_requested: bool,
    pub(super) wanted: bool,
    pub(super) resolution: Option<Resolution>,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_event: BTreeMap<EventId, Handle>,
}

impl Slots {
    pub(super) fn open(&mut self, thing: Thing, issued_at: usize) -> Handle {
        let slot = Slot {
            thing,
            issued_at,
            event_id: EventId::NONE,
            attempt: 0,
            cancel_requested: false,
            wanted: true,
            resolution: None,
        };
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = Some(slot);
            return Handle(index);
        }
        let index = u32::try_from(self.slots.len()).expect("far fewer than 2^32 things are open at once");
        self.slots.push(Some(slot));
        Handle(index)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Slot> {
        self.slots.get_mut(handle.index())?.as_mut()
    }

    pub(super) fn activity_id(&self, handle: Handle) -> Option<&ActivityId> {
        match &self.slots.get(handle.index())?.as_ref()?.thing {
            Thing::Activity { id } => Some(id),
            Thing::Timer { .. } => None,
        }
    }

    /// What event `id` began.
    pub(super) fn by_event(&self, id: EventId) -> Option<&Thing> {
        let handle = self.by_event.get(&id)?;
        self.slots.get(handle.index())?.as_ref().map(|slot| &slot.thing)
    }

    pub(super) fn recorded(&mut self, handle: Handle, id: EventId) {
        if let Some(slot) = self.get_mut(handle) {
            slot.event_id = id;
            self.by_event.insert(id, handle);
        }
    }

    pub(super) fn attempt_started(&mut self, id: EventId, attempt: u32) -> Option<()> {
        let handle = *self.by_event.get(&id)?;
        self.get_mut(handle)?.attempt = attempt;
        Some(())
    }

    /// What event `id` began is over. `None` if it is not known; `Some(None)` if nobody wants to know.
    pub(super) fn resolve(&mut self, id: EventId, resolution: Resolution) -> Option<Option<Handle>> {
        let handle = self.by_event.remove(&id)?;
        let slot = self.get_mut(handle)?;
        if slot.wanted {
            slot.resolution = Some(resolution);
            return Some(Some(handle));
        }
        self.free(handle);
        Some(None)
    }

    /// A canceled timer: it will not fire.
    pub(super) fn closed(&mut self, handle: Handle) {
        if let Some(slot) = self.get_mut(handle) {
            let id = slot.event_id;
            self.by_event.remove(&id);
            self.free(handle);
        }
    }

    pub(super) fn free(&mut self, handle: Handle) {
        if let Some(slot) = self.slots.get_mut(handle.index())
            && slot.take().is_some()
        {
            self.free.push(handle.0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
