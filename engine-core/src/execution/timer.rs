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
use crate::execution::deadline::{Deadlines, Source};
use crate::execution::draft::Draft;
use crate::execution::properties::check_text;
use crate::ids::{EventId, TimerId};
use crate::limits;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timer {
    pub(super) timer_id: TimerId,
    /// When it was started.
    started_at: Timestamp,
    /// `None` once the timer fired and waits in the buffer.
    pub(super) fire_at: Option<Timestamp>,
    /// For people; most have none.
    pub(super) summary: Option<Box<str>>,
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

    /// Gives each open timer the instant that `moved` says, from its instant and its start, and registers it.
    pub(super) fn move_by(&mut self, deadlines: &mut Deadlines, moved: impl Fn(Timestamp, Timestamp) -> Timestamp) {
        for (started_event_id, timer) in &mut self.by_started_event {
            timer.fire_at = timer.fire_at.map(|fire_at| moved(fire_at, timer.started_at));
            deadlines.shift(Source::Timer(*started_event_id), None, timer.fire_at);
        }
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
        summary: String,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        check::duration("duration", duration)?;
        check_text("summary", &summary, limits::SUMMARY_BYTES_MAX)?;
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
            summary,
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
        let summary = (!timer.summary.is_empty()).then(|| timer.summary.as_str().into());
        let open = Timer { timer_id: timer.timer_id.clone(), started_at: at, fire_at, summary };
        self.timers.by_started_event.insert(started_event_id, open);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;

    fn with_timers(timers: &[(&str, u64)]) -> Run {
        let mut run = Run::start();
        run.turn(timers.iter().map(|(id, duration)| start_timer(id, seconds(*duration))).collect());
        run
    }

    #[test]
    fn a_timer_fires_at_its_time_and_not_before() {
        check(
            with_timers(&[("t", 5)]),
            |run| {
                run.advance(seconds(5) - Duration::from_micros(1));
                run.due();
                run.advance(Duration::from_micros(1));
                run.due();
            },
            "
                = unchanged
                6 TimerFired t started=5
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn all_due_timers_fire_together_by_time_and_then_by_start() {
        check(
            with_timers(&[("late", 3), ("b", 1), ("a", 1), ("later", 60)]),
            |run| {
                run.advance(seconds(10));
                run.due();
            },
            "
                9 TimerFired b started=6
                10 TimerFired a started=7
                11 TimerFired late started=5
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_canceled_timer_does_not_fire() {
        let mut run = with_timers(&[("t", 5)]);
        run.signal("go");
        let run = check(
            run,
            |run| run.turn(vec![cancel_timer("t")]),
            "
                ~ task started attempt=1
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 TimerCanceled t started=5 task=9
            ",
        );
        assert_eq!(run.execution.next_deadline(), None);
    }

    #[test]
    fn a_timer_that_fires_during_a_workflow_task_is_buffered() {
        let mut run = with_timers(&[("t", 5)]);
        run.signal("go");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.advance(seconds(5));
                run.due();
                run.due();
                run.finish_task(token, vec![]);
            },
            "
                ~ task started attempt=1
                ~ buffered TimerFired t started=5
                = unchanged
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 TimerFired t started=5
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn canceling_a_timer_that_fired_meanwhile_drops_the_firing() {
        let mut run = with_timers(&[("t", 5), ("u", 5)]);
        run.signal("go");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.advance(seconds(5));
                run.due();
                run.finish_task(token, vec![cancel_timer("t")]);
            },
            "
                ~ task started attempt=1
                ~ buffered TimerFired t started=5
                ~ buffered TimerFired u started=6
                ~ buffer flushed
                8 WorkflowTaskScheduled attempt=1
                9 WorkflowTaskStarted scheduled=8
                10 WorkflowTaskCompleted scheduled=8 started=9
                11 TimerCanceled t started=5 task=10
                12 TimerFired u started=6
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_run_may_close_over_a_firing_that_its_code_canceled() {
        let mut run = with_timers(&[("t", 5)]);
        run.signal("go");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.advance(seconds(5));
                run.due();
                run.finish_task(token, vec![cancel_timer("t"), complete()]);
            },
            "
                ~ task started attempt=1
                ~ buffered TimerFired t started=5
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 TimerCanceled t started=5 task=9
                11 WorkflowCompleted task=9
                > Closed Completed
            ",
        );
    }

    #[test]
    fn an_id_may_be_used_again_once_its_timer_is_canceled_even_in_one_task() {
        let mut run = with_timers(&[("t", 5)]);
        run.signal("go");
        let run = check(
            run,
            |run| {
                run.turn(vec![
                    cancel_timer("t"),
                    start_timer("t", seconds(7)),
                    cancel_timer("t"),
                    start_timer("t", seconds(9)),
                ]);
            },
            "
                ~ task started attempt=1
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 TimerCanceled t started=5 task=9
                11 TimerStarted t task=9 duration=7s
                12 TimerCanceled t started=11 task=9
                13 TimerStarted t task=9 duration=9s
            ",
        );
        assert_eq!(run.execution.next_deadline(), Some(BEGIN + seconds(9)));
    }

    #[test]
    fn a_timer_of_no_time_fires_at_once() {
        check(
            with_timers(&[("t", 0)]),
            |run| run.due(),
            "
                6 TimerFired t started=5
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn invalid_timer_commands_fail_the_task_naming_the_field() {
        let refused = |commands| {
            let mut run = with_timers(&[("t", 5)]);
            run.signal("go");
            run.turn(commands);
            run.take_log().lines().last().unwrap().to_owned()
        };
        let twice = vec![start_timer("u", seconds(1)), start_timer("t", seconds(1))];
        assert_eq!(
            refused(twice),
            r#"= refused BadCommand: commands[1] (StartTimer): timer_id: a timer with id "t" is already open"#
        );
        assert_eq!(
            refused(vec![cancel_timer("x")]),
            r#"= refused BadCommand: commands[0] (CancelTimer): timer_id: no timer with id "x" is open"#
        );
        assert_eq!(
            refused(vec![start_timer("u", limits::DURATION_MAX + seconds(1))]),
            "= refused BadCommand: commands[0] (StartTimer): duration: is 3153600001 seconds long; the limit is 100 years"
        );
    }

    #[test]
    fn the_number_of_open_timers_is_limited() {
        let mut run = Run::start();
        run.turn((0..limits::PENDING_TIMERS_MAX).map(|n| start_timer(&n.to_string(), seconds(60))).collect());
        run.signal("go");
        let swap = vec![cancel_timer("0"), start_timer("swapped", seconds(1))];
        run.turn(swap);
        run.signal("go");
        run.log.clear();
        run.turn(vec![start_timer("one more", seconds(1))]);
        assert_eq!(
            run.log.last().unwrap(),
            "= refused BadCommand: commands[0] (StartTimer): timer_id: the run has 10000 open timers, which is the limit"
        );
    }
}
