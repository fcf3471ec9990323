//! The open activities of a run, with what must be known of all of them without looking at each.

use std::collections::{BTreeMap, BTreeSet};

use super::{Activity, Attempt};
use crate::event::ActivityScheduled;
use crate::execution::deadline::{Deadlines, Source};
use crate::execution::pause::RunTime;
use crate::failure::Failure;
use crate::ids::{ActivityId, EventId};
use crate::payload::{self, Payload};
use crate::time::Timestamp;

impl Activity {
    fn sums(&self, time: &RunTime) -> Sums {
        let failure = self.last_failure.as_ref().map_or(0, Failure::size);
        let details = self.heartbeat_details.as_ref().map_or(0, Payload::size);
        Sums {
            deadline: self.deadline(time),
            awake: !matches!(self.state, Attempt::Paused { .. }) || self.has_outcome,
            in_doubt: self.state == Attempt::InDoubt && !self.has_outcome,
            bytes: size_of::<Activity>()
                + 2 * size_of::<ActivityScheduled>()
                + payload::total_size(&self.scheduled.input)
                + failure
                + details,
        }
    }
}

/// What [`Activities`] keeps sums of.
struct Sums {
    deadline: Option<Timestamp>,
    awake: bool,
    in_doubt: bool,
    bytes: usize,
}

/// The open activities of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::execution) struct Activities {
    open: BTreeMap<EventId, Activity>,
    by_id: BTreeMap<ActivityId, EventId>,
    in_doubt: BTreeSet<EventId>,
    /// How many are anything but paused.
    awake: usize,
    bytes: usize,
}

impl Activities {
    pub(in crate::execution) fn len(&self) -> usize {
        self.open.len()
    }

    pub(in crate::execution) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::execution) fn get(&self, scheduled_event_id: EventId) -> Option<&Activity> {
        self.open.get(&scheduled_event_id)
    }

    pub(in crate::execution) fn with_id(&self, activity_id: &ActivityId) -> Option<(EventId, &Activity)> {
        let scheduled_event_id = *self.by_id.get(activity_id)?;
        Some((scheduled_event_id, self.open.get(&scheduled_event_id)?))
    }

    /// In order of scheduling.
    pub(in crate::execution) fn iter(&self) -> impl Iterator<Item = (EventId, &Activity)> {
        self.open.iter().map(|(id, activity)| (*id, activity))
    }

    pub(in crate::execution) fn in_doubt(&self) -> impl Iterator<Item = EventId> {
        self.in_doubt.iter().copied()
    }

    /// Whether all that is open waits for its next attempt.
    pub(in crate::execution) fn are_idle(&self) -> bool {
        self.awake == 0
    }

    pub(in crate::execution) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives back the memory of empty sets, which the standard library keeps.
    pub(in crate::execution) fn shrink(&mut self) {
        if self.open.is_empty() {
            *self = Self { awake: self.awake, bytes: self.bytes, ..Self::default() };
        }
    }

    pub(super) fn insert(&mut self, deadlines: &mut Deadlines, scheduled_event_id: EventId, activity: Activity) {
        self.by_id.insert(activity.scheduled.activity_id.clone(), scheduled_event_id);
        self.add(deadlines, scheduled_event_id, activity.sums(&deadlines.time));
        self.open.insert(scheduled_event_id, activity);
    }

    pub(super) fn remove(&mut self, deadlines: &mut Deadlines, scheduled_event_id: EventId) {
        if let Some(activity) = self.open.remove(&scheduled_event_id) {
            self.by_id.remove(&activity.scheduled.activity_id);
            self.subtract(deadlines, scheduled_event_id, activity.sums(&deadlines.time));
        }
    }

    pub(super) fn change(
        &mut self,
        deadlines: &mut Deadlines,
        scheduled_event_id: EventId,
        change: impl FnOnce(&mut Activity),
    ) {
        let Some(activity) = self.open.get_mut(&scheduled_event_id) else { return };
        let before = activity.sums(&deadlines.time);
        change(activity);
        let after = activity.sums(&deadlines.time);
        self.subtract(deadlines, scheduled_event_id, before);
        self.add(deadlines, scheduled_event_id, after);
    }

    /// Puts the deadline of each among the run's, where none of them is.
    pub(in crate::execution) fn register_deadlines(&self, deadlines: &mut Deadlines) {
        for (scheduled_event_id, activity) in &self.open {
            let deadline = activity.deadline(&deadlines.time);
            deadlines.shift(Source::Activity(*scheduled_event_id), None, deadline);
        }
    }

    fn add(&mut self, deadlines: &mut Deadlines, scheduled_event_id: EventId, sums: Sums) {
        deadlines.shift(Source::Activity(scheduled_event_id), None, sums.deadline);
        self.awake += usize::from(sums.awake);
        self.bytes += sums.bytes;
        if sums.in_doubt {
            self.in_doubt.insert(scheduled_event_id);
        }
    }

    fn subtract(&mut self, deadlines: &mut Deadlines, scheduled_event_id: EventId, sums: Sums) {
        deadlines.shift(Source::Activity(scheduled_event_id), sums.deadline, None);
        self.awake -= usize::from(sums.awake);
        self.bytes -= sums.bytes;
        self.in_doubt.remove(&scheduled_event_id);
    }
}
