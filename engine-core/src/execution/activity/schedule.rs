//! The commands of the workflow code that concern activities. See the table in [`super`].

use crate::command::ScheduleActivity;
use crate::event::{ActivityCancelRequested, ActivityScheduled, ActivityTimeouts, EventKind};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::execution::properties::check_text;
use crate::execution::{Effect, Execution};
use crate::ids::{ActivityId, EventId};
use crate::limits;
use crate::payload;
use crate::retry::RetryPolicy;

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
            summary: command.summary,
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
        if self.run.is_paused() {
            return;
        }
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
    /// timeout, and a missing schedule-to-start or start-to-close is schedule-to-close.
    pub(super) fn fill_in(&self, asked: ActivityTimeouts) -> ActivityTimeouts {
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
            schedule_to_start: capped(asked.schedule_to_start.or(schedule_to_close), schedule_to_close),
            start_to_close,
            heartbeat: capped(asked.heartbeat, start_to_close),
        }
    }
}

fn check_schedule(command: &ScheduleActivity) -> Result<(), BadField> {
    check_options(&command.timeouts, command.retry_policy.as_ref())?;
    check_text("summary", &command.summary, limits::SUMMARY_BYTES_MAX)?;
    check::payload_size("input", payload::total_size(&command.input))
}

/// Checks how an activity is to be run.
pub(super) fn check_options(timeouts: &ActivityTimeouts, retry_policy: Option<&RetryPolicy>) -> Result<(), BadField> {
    check::timeout("schedule_to_close", timeouts.schedule_to_close)?;
    check::timeout("schedule_to_start", timeouts.schedule_to_start)?;
    check::timeout("start_to_close", timeouts.start_to_close)?;
    check::timeout("heartbeat", timeouts.heartbeat)?;
    if timeouts.start_to_close.is_none() && timeouts.schedule_to_close.is_none() {
        return Err(BadField::new("start_to_close", "one of start_to_close and schedule_to_close must be set"));
    }
    match retry_policy {
        Some(policy) => policy.validate().map_err(|invalid| BadField::new("retry_policy", invalid.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::execution::support::*;

    #[test]
    fn a_scheduled_activity_is_offered_in_its_own_queue_or_the_run_s() {
        check(
            Run::start(),
            |run| {
                let elsewhere = schedule_with("b", |activity| {
                    activity.task_queue = Some(crate::ids::TaskQueueName::from_trusted("gpu"));
                });
                run.turn(vec![schedule("a"), elsewhere]);
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 ActivityScheduled b task=4
                > OfferActivity 5 attempt=1 queue=orders
                > OfferActivity 6 attempt=1 queue=gpu
            ",
        );
    }

    #[test]
    fn missing_timeouts_are_filled_in_and_capped() {
        let filled = |run_timeout: Option<u64>, asked: ActivityTimeouts| {
            let run = Run::start_with(|started| started.run_timeout = run_timeout.map(seconds));
            let filled = run.execution.fill_in(asked);
            [filled.schedule_to_close, filled.schedule_to_start, filled.start_to_close, filled.heartbeat]
                .map(|timeout| timeout.map(|timeout| timeout.as_secs()))
        };
        let none = ActivityTimeouts::default();
        let asked = ActivityTimeouts { start_to_close: Some(seconds(5)), ..none };
        assert_eq!(filled(None, asked), [None, None, Some(5), None]);
        assert_eq!(filled(Some(60), asked), [Some(60), Some(60), Some(5), None]);
        assert_eq!(filled(Some(3), asked), [Some(3), Some(3), Some(3), None]);
        let asked = ActivityTimeouts { schedule_to_close: Some(seconds(9)), ..none };
        assert_eq!(filled(None, asked), [Some(9), Some(9), Some(9), None]);
        let all = Some(seconds(100));
        let asked =
            ActivityTimeouts { schedule_to_close: all, schedule_to_start: all, start_to_close: all, heartbeat: all };
        assert_eq!(filled(Some(60), asked), [Some(60); 4]);
    }

    #[test]
    fn invalid_schedules_fail_the_task_naming_the_field() {
        let refused = |change: fn(&mut ScheduleActivity)| {
            let mut run = Run::start();
            run.turn(vec![schedule("open"), schedule_with("a", change)]);
            let last = run.take_log().lines().last().unwrap().to_owned();
            last.strip_prefix("= refused BadCommand: commands[1] (ScheduleActivity): ").expect(&last).to_owned()
        };
        assert_eq!(
            refused(|activity| activity.timeouts = ActivityTimeouts::default()),
            "start_to_close: one of start_to_close and schedule_to_close must be set"
        );
        assert_eq!(
            refused(|activity| activity.timeouts.heartbeat = Some(Duration::ZERO)),
            "heartbeat: must be more than zero; leave it unset for no limit"
        );
        assert_eq!(
            refused(|activity| activity.retry_policy = Some(RetryPolicy { jitter: 2.0, ..retry(0) })),
            "retry_policy: jitter must be a number from 0 to 1"
        );
        assert_eq!(
            refused(|activity| activity.activity_id = ActivityId::from_trusted("open")),
            r#"activity_id: an activity with id "open" is already open"#
        );
        let large = refused(|activity| {
            activity.input.push(payload::Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX]));
        });
        assert!(large.starts_with("input: is 2097162 bytes large"), "{large}");
    }

    #[test]
    fn an_activity_that_nobody_has_is_canceled_at_once() {
        let mut run = Run::start();
        run.turn(vec![schedule("queued"), schedule("paused")]);
        let token = run.take_activity("paused");
        run.fail_activity(token, crate::failure::Failure::application("Busy", "later"));
        run.signal("go");
        check(
            run,
            |run| run.turn(vec![cancel_activity("queued"), cancel_activity("paused")]),
            "
                ~ task started attempt=1
                8 WorkflowTaskScheduled attempt=1
                9 WorkflowTaskStarted scheduled=8
                10 WorkflowTaskCompleted scheduled=8 started=9
                11 ActivityCancelRequested scheduled=5 task=10
                12 ActivityCanceled scheduled=5 started=0 requested=11
                13 ActivityCancelRequested scheduled=6 task=10
                14 ActivityCanceled scheduled=6 started=0 requested=13
                % 6 deleted
                > WithdrawActivity 5 attempt=1
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn an_activity_may_be_scheduled_and_canceled_in_one_task_and_its_id_used_again() {
        check(
            Run::start(),
            |run| run.turn(vec![schedule("a"), cancel_activity("a"), schedule("a")]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 ActivityCancelRequested scheduled=5 task=4
                7 ActivityCanceled scheduled=5 started=0 requested=6
                8 ActivityScheduled a task=4
                > OfferActivity 8 attempt=1 queue=orders
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn the_worker_of_a_running_activity_is_asked_to_stop() {
        let mut run = Run::start();
        run.turn(vec![schedule("a")]);
        run.take_activity("a");
        run.signal("go");
        check(
            run,
            |run| run.turn(vec![cancel_activity("a")]),
            "
                ~ task started attempt=1
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 ActivityCancelRequested scheduled=5 task=9
                > CancelActivity 5 attempt=1
            ",
        );
    }

    #[test]
    fn a_request_to_stop_an_activity_that_ended_meanwhile_is_recorded_and_no_more() {
        let mut run = Run::start();
        run.turn(vec![schedule("a")]);
        let activity = run.take_activity("a");
        run.signal("go");
        let task = run.take_task();
        run.complete_activity(activity);
        check(
            run,
            |run| run.finish_task(task, vec![cancel_activity("a")]),
            "
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 ActivityCancelRequested scheduled=5 task=9
                11 ActivityStarted scheduled=5 attempt=1
                12 ActivityCompleted scheduled=5 started=11
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn an_unknown_activity_cannot_be_canceled() {
        let mut run = Run::start();
        run.turn(vec![cancel_activity("a")]);
        assert_eq!(
            run.log.last().unwrap(),
            r#"= refused BadCommand: commands[0] (RequestCancelActivity): activity_id: no activity with id "a" is open"#
        );
    }

    #[test]
    fn the_number_of_open_activities_is_limited() {
        let mut run = Run::start();
        run.turn((0..limits::PENDING_ACTIVITIES_MAX).map(|n| schedule(&n.to_string())).collect());
        run.signal("go");
        run.turn(vec![cancel_activity("0"), schedule("swapped")]);
        run.turn(vec![schedule("one more")]);
        assert_eq!(
            run.log.last().unwrap(),
            "= refused BadCommand: commands[0] (ScheduleActivity): activity_id: \
             the run has 10000 open activities, which is the limit"
        );
    }
}
