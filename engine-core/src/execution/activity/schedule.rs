//! The commands of the workflow code that concern activities. See the table in [`super`].

use crate::command::ScheduleActivity;
use crate::event::{ActivityCancelRequested, ActivityScheduled, ActivityTimeouts, EventKind};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution};
use crate::ids::{ActivityId, EventId};
use crate::limits;
use crate::payload;

impl Draft<'_> {
    pub(in crate::execution) fn schedule_activity(
        &mut self,
        command: ScheduleActivity,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        check_schedule(&command)?;
        let activity_id = command.activity_id;
        if self.overlay.scheduled_activities.contains_key(&activity_id) || self.open_before(&activity_id).is_some() {
            return Err(BadField::new("activity_id", format!("an activity with id {activity_id:?} is already open")));
        }
        let overlay = &self.overlay;
        let open = self.run.activities.len() - overlay.ended_activities.len() + overlay.scheduled_activities.len();
        if open >= limits::PENDING_ACTIVITIES_MAX {
            return Err(BadField::new(
                "activity_id",
                format!("the run has {open} open activities, which is the limit"),
            ));
        }
        let scheduled = ActivityScheduled {
            workflow_task_completed_event_id,
            activity_id: activity_id.clone(),
            activity_type: command.activity_type,
            task_queue: command.task_queue.unwrap_or_else(|| self.run.started.task_queue.clone()),
            input: command.input,
            timeouts: self.run.fill_in(command.timeouts),
            retry_policy: command.retry_policy.unwrap_or_default(),
        };
        let id = self.push(EventKind::ActivityScheduled(Box::new(scheduled)));
        self.overlay.scheduled_activities.insert(activity_id, id);
        Ok(())
    }

    pub(in crate::execution) fn request_cancel_activity(
        &mut self,
        activity_id: &ActivityId,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        let request = |scheduled_event_id| {
            EventKind::ActivityCancelRequested(ActivityCancelRequested {
                workflow_task_completed_event_id,
                scheduled_event_id,
            })
        };
        if let Some(scheduled_event_id) = self.overlay.scheduled_activities.remove(activity_id) {
            let requested = self.push(request(scheduled_event_id));
            self.push_canceled(scheduled_event_id, EventId::NONE, requested, None, "");
            return Ok(());
        }
        let Some(scheduled_event_id) = self.open_before(activity_id) else {
            return Err(BadField::new("activity_id", format!("no activity with id {activity_id:?} is open")));
        };
        let requested = self.push(request(scheduled_event_id));
        let Some(activity) = self.run.activities.get(scheduled_event_id) else { return Ok(()) };
        if activity.has_outcome {
            // It ended while the task was running; the code will see its end next.
        } else if activity.is_running() {
            self.effect(Effect::CancelActivity { scheduled_event_id, attempt: activity.attempt });
        } else {
            self.overlay.ended_activities.insert(scheduled_event_id);
            if activity.is_offered_or_running() {
                self.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: activity.attempt });
            }
            if activity.stored {
                self.progress(scheduled_event_id);
            }
            self.push_canceled(scheduled_event_id, EventId::NONE, requested, None, "");
        }
        Ok(())
    }

    /// Puts the first attempts of what this transition scheduled into their queues.
    pub(in crate::execution) fn offer_scheduled_activities(&mut self) {
        let mut offers = Vec::new();
        for event in self.events() {
            if let EventKind::ActivityScheduled(scheduled) = &event.kind
                && self.overlay.scheduled_activities.get(&scheduled.activity_id) == Some(&event.id)
            {
                let task_queue = scheduled.task_queue.clone();
                offers.push(Effect::OfferActivity { scheduled_event_id: event.id, attempt: 1, task_queue });
            }
        }
        offers.into_iter().for_each(|offer| self.effect(offer));
    }

    /// The scheduled event of an activity that was open before this transition and is not ended by it.
    fn open_before(&self, activity_id: &ActivityId) -> Option<EventId> {
        let (scheduled_event_id, _) = self.run.activities.with_id(activity_id)?;
        (!self.overlay.ended_activities.contains(&scheduled_event_id)).then_some(scheduled_event_id)
    }
}

impl Execution {
    /// Fills in the timeouts that the command left out: the run timeout caps all, a missing schedule-to-close is the run
    /// timeout, and a missing start-to-close is schedule-to-close.
    fn fill_in(&self, asked: ActivityTimeouts) -> ActivityTimeouts {
        let capped = |timeout: Option<std::time::Duration>, cap: Option<std::time::Duration>| match (timeout, cap) {
            (Some(timeout), Some(cap)) => Some(timeout.min(cap)),
            (timeout, None) => timeout,
            (None, Some(_)) => None,
        };
        let schedule_to_close = asked.schedule_to_close.or(self.started.run_timeout);
        let schedule_to_close = capped(schedule_to_close, self.started.run_timeout);
        let start_to_close = capped(asked.start_to_close.or(schedule_to_close), schedule_to_close);
        ActivityTimeouts {
            schedule_to_close,
            schedule_to_start: capped(asked.schedule_to_start, schedule_to_close),
            start_to_close,
            heartbeat: capped(asked.heartbeat, start_to_close),
        }
    }
}

fn check_schedule(command: &ScheduleActivity) -> Result<(), BadField> {
    let timeouts = &command.timeouts;
    check::timeout("schedule_to_close", timeouts.schedule_to_close)?;
    check::timeout("schedule_to_start", timeouts.schedule_to_start)?;
    check::timeout("start_to_close", timeouts.start_to_close)?;
    check::timeout("heartbeat", timeouts.heartbeat)?;
    if timeouts.start_to_close.is_none() && timeouts.schedule_to_close.is_none() {
        return Err(BadField::new("start_to_close", "one of start_to_close and schedule_to_close must be set"));
    }
    if let Some(policy) = &command.retry_policy {
        policy.validate().map_err(|invalid| BadField::new("retry_policy", invalid.to_string()))?;
    }
    check::payload_size("input", payload::total_size(&command.input))
}
