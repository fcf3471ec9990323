//! What the code asks for, and takes back.

use std::time::Duration;

use super::matching::{Issued, Place, Step};
use super::slots::{Handle, Resolution, Thing};
use super::values::Values;
use super::{Phase, Replayer, Resolved};
use crate::command::{Command, ScheduleActivity};
use crate::event::{PropertyChanges, UpdateOutcome, UpdateRequest};
use crate::execution::RejectedUpdate;
use crate::failure::Failure;
use crate::ids::{ActivityId, ActivityType, PublishedName, TimerId, UpdateId};
use crate::payload::Payload;
use crate::search::SearchAttributeChanges;

impl Replayer {
    /// Lets the code ask for something, from `place` in its source: a difference names it. It stays here, and is not recorded.
    pub fn at<T>(&mut self, place: Place, ask: impl FnOnce(&mut Self) -> T) -> T {
        self.place = Some(place);
        let asked = ask(self);
        self.place = None;
        asked
    }

    /// Issues an activity. Its id is the next number unless `activity_id` gives one. `command` is asked for the whole command
    /// only if it goes to the server.
    pub fn schedule_activity(
        &mut self,
        activity_id: Option<ActivityId>,
        activity_type: ActivityType,
        command: impl FnOnce(ActivityId, ActivityType) -> ScheduleActivity,
    ) -> Handle {
        self.activities += 1;
        let id = activity_id.unwrap_or_else(|| ActivityId::from_trusted(self.activities.to_string()));
        let handle = self.slots.open(Thing::Activity { id: id.clone() }, self.issued.len());
        let step = Step::ScheduleActivity { id: id.clone(), activity_type: activity_type.clone() };
        self.issue(step, Some(handle), || Command::ScheduleActivity(Box::new(command(id, activity_type))));
        handle
    }

    /// Issues a timer. Its id is the next number. `summary` is for people and may be empty.
    pub fn start_timer(&mut self, duration: Duration, summary: String) -> Handle {
        self.timers += 1;
        let id = TimerId::from_trusted(self.timers.to_string());
        let handle = self.slots.open(Thing::Timer { id: id.clone() }, self.issued.len());
        self.issue(Step::StartTimer { id: id.clone() }, Some(handle), || Command::StartTimer {
            timer_id: id,
            duration,
            summary,
        });
        handle
    }

    /// Issues a value to show. `value` is asked for only if it goes to the server.
    pub fn publish_state(&mut self, name: PublishedName, value: impl FnOnce() -> Payload) {
        self.issue(Step::PublishState { name: name.clone() }, None, || Command::PublishState { name, value: value() });
    }

    /// Changes what the run is listed by.
    pub fn upsert_search_attributes(&mut self, changes: SearchAttributeChanges) {
        self.issue(Step::UpsertSearchAttributes, None, || Command::UpsertSearchAttributes { changes });
    }

    /// Changes what people are shown of the run.
    pub fn modify_properties(&mut self, changes: PropertyChanges) {
        self.issue(Step::ModifyProperties, None, || Command::ModifyProperties(changes));
    }

    /// Takes on an update of this task. Its outcome is owed from here on.
    pub fn accept_update(&mut self, request: UpdateRequest) {
        self.may_be_dropped = false;
        let step = Step::AcceptUpdate { id: request.id.clone() };
        self.issue(step, None, || Command::AcceptUpdate(Box::new(request)));
    }

    /// Refuses an update of this task. It leaves no trace.
    pub fn reject_update(&mut self, update_id: UpdateId, failure: Failure) {
        if self.phase == Phase::Live {
            self.rejected_updates.push(RejectedUpdate { update_id, failure });
        }
    }

    /// The outcome of an update that was accepted.
    pub fn complete_update(&mut self, update_id: UpdateId, outcome: UpdateOutcome) {
        let step = Step::CompleteUpdate { id: update_id.clone() };
        self.issue(step, None, || Command::CompleteUpdate { update_id, outcome });
    }

    /// The updates that were refused since the last call: they go to the server with the task's completion.
    pub fn take_rejected_updates(&mut self) -> Vec<RejectedUpdate> {
        std::mem::take(&mut self.rejected_updates)
    }

    /// Asks an activity to stop; its outcome still comes. Once is enough: a repeat does nothing. An activity that was issued in
    /// this task is withdrawn and resolved as canceled.
    pub fn request_cancel(&mut self, handle: Handle) {
        let Some(slot) = self.slots.get_mut(handle) else { return };
        if slot.resolution.is_some() || slot.cancel_requested {
            return;
        }
        if let Thing::Message = slot.thing {
            // It is on its way.
        } else if let Thing::Step { .. } = slot.thing {
            slot.resolution = Some(Resolution::canceled(None));
        } else if slot.event_id.is_some() {
            slot.cancel_requested = true;
            let thing = slot.thing.clone();
            self.issue_cancel(handle, thing);
        } else {
            slot.resolution = Some(Resolution::canceled(None));
            let issued_at = slot.issued_at;
            self.withdraw(issued_at);
        }
    }

    /// Resolves the handle as canceled at once. With `ask`, what it stands for is asked to stop; without, it goes on. Its own end
    /// means nothing to the code any more.
    pub fn cancel_now(&mut self, handle: Handle, ask: bool) {
        let Some(slot) = self.slots.get_mut(handle) else { return };
        if slot.resolution.is_some() {
            return;
        }
        if slot.event_id.is_some() {
            let was_asked = slot.cancel_requested;
            if let Some((rest, thing)) = self.slots.split_off(handle)
                && ask
                && !was_asked
            {
                self.issue_cancel(rest, thing);
            }
        } else if !matches!(slot.thing, Thing::Step { .. }) {
            let issued_at = slot.issued_at;
            if ask {
                self.withdraw(issued_at);
            } else {
                // It is recorded, but under a handle that nobody has.
                self.hand_over(handle, issued_at);
            }
        }
        if let Some(slot) = self.slots.get_mut(handle) {
            slot.resolution = Some(Resolution::canceled(None));
        }
    }

    /// Nobody waits for the handle any more: what it stands for is asked to stop, or withdrawn if it was issued in this task.
    pub fn abandon(&mut self, handle: Handle) {
        let Some(slot) = self.slots.get_mut(handle) else { return };
        slot.wanted = false;
        if slot.resolution.is_some() || matches!(slot.thing, Thing::Step { .. }) {
            self.slots.free(handle);
        } else if slot.event_id.is_some() {
            if !slot.cancel_requested {
                slot.cancel_requested = true;
                let thing = slot.thing.clone();
                self.issue_cancel(handle, thing);
            }
        } else {
            let issued_at = slot.issued_at;
            self.withdraw(issued_at);
            self.slots.free(handle);
        }
    }

    /// Nobody waits for the handle any more, but what it stands for goes on.
    pub fn detach(&mut self, handle: Handle) {
        let Some(slot) = self.slots.get_mut(handle) else { return };
        slot.wanted = false;
        if slot.resolution.is_some() {
            self.slots.free(handle);
        }
    }

    /// How the handle ended, if it has. Once taken the handle stands for nothing.
    pub fn take_resolution(&mut self, handle: Handle) -> Option<Resolved> {
        let slot = self.slots.get_mut(handle)?;
        let resolution = slot.resolution.take()?;
        let resolved = Resolved { resolution, event_id: slot.event_id, attempt: slot.attempt };
        self.slots.free(handle);
        Some(resolved)
    }

    /// Closes the run with one of the closing commands. Nothing that is issued after it counts.
    pub fn close(&mut self, command: Command) {
        let step = match &command {
            Command::CompleteWorkflow { .. } => Step::CompleteWorkflow,
            Command::FailWorkflow { .. } => Step::FailWorkflow,
            Command::CancelWorkflow { .. } => Step::CancelWorkflow,
            Command::ContinueAsNew(_) => Step::ContinueAsNew,
            Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::PublishState { .. }
            | Command::RecordMarker(_)
            | Command::Peer(_)
            | Command::UpsertSearchAttributes { .. }
            | Command::ModifyProperties(_)
            | Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. } => return,
        };
        self.issue(step, None, || command);
        self.close_issued = true;
    }

    /// Ignores whatever is issued from here on: the run leaves this worker.
    pub fn retire(&mut self) {
        self.close_issued = true;
    }

    /// Whether this behaviour is on: always when the task goes to the server, in which case it is recorded; else if this task
    /// or one before recorded it.
    pub fn use_flag(&mut self, flag: u32) -> bool {
        if self.phase == Phase::Live && self.flags.insert(flag) {
            self.new_flags.push(flag);
        }
        self.flags.contains(&flag)
    }

    fn issue_cancel(&mut self, handle: Handle, thing: Thing) {
        match thing {
            Thing::Activity { id } => {
                let step = Step::RequestCancelActivity { id: id.clone() };
                self.issue(step, Some(handle), || Command::RequestCancelActivity { activity_id: id });
            }
            Thing::Timer { id } => {
                let step = Step::CancelTimer { id: id.clone() };
                self.issue(step, Some(handle), || Command::CancelTimer { timer_id: id });
            }
            Thing::Child { id, .. } => self.request_cancel_child(id),
            Thing::Message => {}
            // The history knows nothing of it yet.
            Thing::Step { .. } => {}
        }
    }

    pub(super) fn issue(&mut self, step: Step, handle: Option<Handle>, command: impl FnOnce() -> Command) {
        if self.close_issued {
            return;
        }
        let mut values = None;
        if self.phase == Phase::Live {
            self.commands.push(Some(command()));
        } else if self.same_payload.is_some() {
            values = Values::of_command(&command());
        }
        self.issued.push(Some(Issued { step, handle, place: self.place, values }));
    }

    /// What was issued as `handle` belongs to a handle of its own, which nobody wants.
    fn hand_over(&mut self, handle: Handle, issued_at: usize) {
        let Some((rest, _)) = self.slots.split_off(handle) else { return };
        if let Some(Some(issued)) = self.issued.get_mut(issued_at) {
            issued.handle = Some(rest);
        }
    }

    fn withdraw(&mut self, issued_at: usize) {
        if let Some(issued) = self.issued.get_mut(issued_at) {
            *issued = None;
        }
        if let Some(command) = self.commands.get_mut(issued_at) {
            *command = None;
        }
    }
}
