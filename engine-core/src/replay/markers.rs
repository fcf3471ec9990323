//! What history has recorded of the code's own doing: patches, which tell old runs from new ones, and steps, which ran on the
//! worker.
//!
//! Both are read ahead: when a task is replayed its markers are known before its code runs.
//!
//! **Patches.** The first time that the code asks for a patch decides for the run: yes, recorded, if the task goes to the server;
//! else yes if the task being replayed has the marker, and no if it does not.
//!
//! | history has | the code asks | then |
//! |---|---|---|
//! | (live) | yes | a marker is recorded; true |
//! | marker | yes | they match; true |
//! | marker | no | nondeterminism, unless the marker is deprecated |
//! | no marker | yes | false, nothing recorded |
//!
//! **Steps.** The history knows nothing of a step before it is over. Its marker stands where the code learned of its end: when a
//! live task's code has come to rest, one ended step at a time is handed to it ([`Replayer::finish_step`]). A replay does the same
//! in the order of the markers ([`Replayer::next_recorded_step`]), so a step that has a marker does not run again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::matching::Step;
use super::slots::{Handle, Resolution, Thing};
use super::{Phase, Replayer};
use crate::command::Command;
use crate::event::{EventKind, Marker, StepMarker, StepOutcome};
use crate::ids::{PatchId, StepName};

#[derive(Debug, Default)]
pub(super) struct Markers {
    /// What the code was told of each patch that it asked for.
    decided: BTreeMap<PatchId, bool>,
    /// Patches of the task that is replayed.
    patches: BTreeSet<PatchId>,
    /// Ended steps of the task that is replayed, in order.
    steps: VecDeque<StepMarker>,
}

impl Replayer {
    /// Reads the markers behind the completion that was walked over last.
    pub(super) fn look_ahead(&mut self) {
        self.markers.patches.clear();
        self.markers.steps.clear();
        if !matches!(self.phase, Phase::Replaying { .. }) {
            return;
        }
        for event in &self.incoming {
            if let EventKind::WorkflowTaskScheduled(_) = event.kind {
                return;
            }
            if let EventKind::MarkerRecorded(recorded) = &event.kind {
                match &recorded.marker {
                    Marker::Patch { patch_id, .. } => drop(self.markers.patches.insert(patch_id.clone())),
                    Marker::Step(step) => self.markers.steps.push_back(step.clone()),
                }
            }
        }
    }

    /// Whether the run is to take the new path of a change. The first answer holds for the whole run. `deprecated`: the code has
    /// nothing but the new path any more.
    pub fn patched(&mut self, patch_id: PatchId, deprecated: bool) -> bool {
        if let Some(decided) = self.markers.decided.get(&patch_id) {
            return *decided;
        }
        let is_new = self.phase == Phase::Live || self.markers.patches.contains(&patch_id);
        self.markers.decided.insert(patch_id.clone(), is_new);
        if is_new {
            let step = Step::Patch { id: patch_id.clone() };
            self.issue(step, None, || Command::RecordMarker(Box::new(Marker::Patch { patch_id, deprecated })));
        }
        is_new
    }

    /// The code began a step. It must be run unless its end is in history: see [`Replayer::next_recorded_step`].
    pub fn begin_step(&mut self, name: StepName) -> Handle {
        self.steps += 1;
        let handle = self.slots.open(Thing::Step { id: self.steps, name }, 0);
        if let Some(slot) = self.slots.get_mut(handle) {
            slot.place = self.place;
        }
        handle
    }

    /// The name of an open step, while the handle stands for one.
    pub fn step_name(&self, handle: Handle) -> Option<&StepName> {
        self.slots.step_name(handle)
    }

    /// While a task is replayed, and once its code has come to rest: the next step whose end the code learned of in this task.
    /// It is resolved when this returns.
    pub fn next_recorded_step(&mut self) -> Option<Handle> {
        let marker = self.markers.steps.pop_front()?;
        let (handle, name) = self.slots.step(marker.step_id)?;
        if *name != marker.name {
            // The comparison at the end of the task will find that history has another.
            let step = Step::Closure { id: marker.step_id, name: name.clone() };
            self.markers.steps.clear();
            self.issue_marker(handle, step, marker);
            return None;
        }
        self.resolve_step(handle, marker);
        Some(handle)
    }

    /// While a task is live, and once its code has come to rest: a step is over, and its end is recorded here. Returns whether
    /// anybody waits for it; if not, nothing is recorded.
    pub fn finish_step(
        &mut self,
        handle: Handle,
        outcome: StepOutcome,
        attempt: u32,
        took: std::time::Duration,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(handle) else { return false };
        let (Thing::Step { id, name }, None) = (&slot.thing, &slot.resolution) else { return false };
        let marker = StepMarker { step_id: *id, name: name.clone(), outcome, attempt, took };
        self.resolve_step(handle, marker);
        true
    }

    fn resolve_step(&mut self, handle: Handle, marker: StepMarker) {
        if let Some(slot) = self.slots.get_mut(handle) {
            slot.attempt = marker.attempt;
            slot.resolution = Some(match marker.outcome.clone() {
                StepOutcome::Completed { result } => Resolution::Completed { result },
                StepOutcome::Failed { failure, retry_state } => {
                    Resolution::Failed { failure: Box::new(failure), retry_state }
                }
            });
        }
        let step = Step::Closure { id: marker.step_id, name: marker.name.clone() };
        self.issue_marker(handle, step, marker);
    }

    fn issue_marker(&mut self, handle: Handle, step: Step, marker: StepMarker) {
        self.place = self.slots.get_mut(handle).and_then(|slot| slot.place);
        self.issue(step, None, || Command::RecordMarker(Box::new(Marker::Step(marker))));
        self.place = None;
    }
}
