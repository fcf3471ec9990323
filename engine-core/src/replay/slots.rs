//! What the code has under way: activities, timers and steps, by handle.
//!
//! | state of a slot | left by |
//! |---|---|
//! | issued, not recorded | recorded · withdrawn (freed) |
//! | recorded | resolved · closed (a canceled timer, freed) |
//! | resolved | taken (freed); at once if nobody wants it |

use std::collections::BTreeMap;

use super::matching::Place;
use crate::failure::{Failure, RetryState};
use crate::ids::{ActivityId, EventId, RunId, StepName, TimerId, WorkflowId};
use crate::payload::Payload;

/// Stands for an activity, timer or step that the code issued. Small numbers, reused.
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
    /// The activity or step returned a value.
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
    Activity {
        id: ActivityId,
    },
    Timer {
        id: TimerId,
    },
    Child {
        id: WorkflowId,
    },
    /// A message to another workflow: it cannot be taken back.
    Message,
    /// Not in history before it is over.
    Step {
        id: u64,
        name: StepName,
    },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) thing: Thing,
    /// Index among the task's commands; meaningless once recorded.
    pub(super) issued_at: usize,
    /// The event that began it; none until recorded.
    pub(super) event_id: EventId,
    pub(super) attempt: u32,
    /// The run of a child that started, and the event that said so.
    pub(super) child_run: Option<(RunId, EventId)>,
    pub(super) cancel_requested: bool,
    pub(super) wanted: bool,
    pub(super) resolution: Option<Resolution>,
    /// Where in the code a step was begun: its marker is issued when it is over.
    pub(super) place: Option<Place>,
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
            child_run: None,
            cancel_requested: false,
            wanted: true,
            resolution: None,
            place: None,
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
            Thing::Child { .. } | Thing::Message => None,
            Thing::Timer { .. } | Thing::Step { .. } => None,
        }
    }

    pub(super) fn step_name(&self, handle: Handle) -> Option<&StepName> {
        match &self.slots.get(handle.index())?.as_ref()?.thing {
            Thing::Step { name, .. } => Some(name),
            Thing::Activity { .. } | Thing::Timer { .. } | Thing::Child { .. } | Thing::Message => None,
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

    /// The child that event `id` asked for runs. `None` if it is not known; `Some(None)` if nobody wants to know.
    pub(super) fn child_started(&mut self, id: EventId, run_id: RunId, started: EventId) -> Option<Option<Handle>> {
        let handle = *self.by_event.get(&id)?;
        let slot = self.get_mut(handle)?;
        slot.child_run = Some((run_id, started));
        Some(slot.wanted.then_some(handle))
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

    /// Leaves the handle with nothing recorded; what was recorded goes on under a handle that nobody wants.
    pub(super) fn split_off(&mut self, handle: Handle) -> Option<(Handle, Thing)> {
        let slot = self.get_mut(handle)?;
        let (thing, event_id, issued_at) = (slot.thing.clone(), slot.event_id, slot.issued_at);
        slot.event_id = EventId::NONE;
        let rest = self.open(thing.clone(), issued_at);
        if let Some(slot) = self.get_mut(rest) {
            slot.event_id = event_id;
            slot.wanted = false;
            slot.cancel_requested = true;
        }
        if event_id.is_some() {
            self.by_event.insert(event_id, rest);
        }
        Some((rest, thing))
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

    /// The open step with this number, and its name.
    pub(super) fn step(&self, step_id: u64) -> Option<(Handle, &StepName)> {
        self.slots.iter().enumerate().find_map(|(index, slot)| match slot.as_ref()? {
            Slot { thing: Thing::Step { id, name }, resolution: None, .. } if *id == step_id => {
                Some((Handle(u32::try_from(index).ok()?), name))
            }
            Slot { .. } => None,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
