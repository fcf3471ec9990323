//! Pauses: a run that an operator stopped for a while, with its time.
//!
//! | run            | input  | events                        | next    |
//! |----------------|--------|-------------------------------|---------|
//! | open           | Pause  | WorkflowPaused (or buffered)  | paused  |
//! | paused         | Resume | WorkflowResumed (or buffered) | open    |
//! | paused         | Pause  | — (answers `Unchanged`)       | paused  |
//! | open           | Resume | — (answers `Unchanged`)       | open    |
//! | closed         | any    | — (refused: already closed)   | closed  |
//!
//! While a run is paused nothing of it is handed out: its workflow task and the attempts of its activities leave their queues. What
//! workers have in hand goes on, and what they report is recorded; a completed workflow task takes effect, but what it asks for
//! waits. Signals, results and requests to cancel are recorded and wait for the code. Terminating works as ever. A pause takes
//! effect when it arrives, even if it is buffered.
//!
//! The run's time stands still: timers, the timeouts of the run and its chain, the delay of its first task and the timeouts of
//! activities go on, once it is resumed, with what was left of them. The time of a workflow task that a worker has does not
//! stand still, so that a worker that hangs is noticed. Pauses before the next attempt of an activity or workflow task do not
//! either: they are over or not when the run is resumed.
//!
//! Invariant: what a deadline is depends on the history alone ([`RunTime::after`]), so a run that is loaded again has the same.

use crate::event::{EventKind, PauseChange};
use crate::execution::deadline::Source;
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution, Rejection, Reply, Transition};
use crate::ids::RequestId;
use crate::limits;
use crate::time::Timestamp;

/// When the time of a run stood still.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct RunTime {
    /// Pauses that are over, in order: from when to when.
    past: Vec<(Timestamp, Timestamp)>,
    /// Since when it stands still.
    still_since: Option<Timestamp>,
}

impl RunTime {
    /// When it last stopped or went on. What happens later must not seem to happen before, whatever the server's clock says.
    pub(super) fn changed_at(&self) -> Timestamp {
        let over = self.past.last().map(|(_, to)| *to);
        self.still_since.or(over).unwrap_or(Timestamp::EPOCH)
    }

    /// The instant at which `duration` of the run's time has passed since `start`, if it is not paused from here on.
    pub(super) fn after(&self, start: Timestamp, duration: std::time::Duration) -> Timestamp {
        self.moved(start + duration, start)
    }

    /// What has become of `instant`, which was set at `start`, by the pauses since.
    pub(super) fn moved(&self, instant: Timestamp, start: Timestamp) -> Timestamp {
        self.past.iter().fold(instant, |instant, pause| move_by(*pause, instant, start))
    }

    pub(super) fn len(&self) -> usize {
        self.past.len()
    }
}

/// What becomes of an instant that was set at `start`, by a pause: it comes later by as much of the pause as lay before it.
fn move_by((from, to): (Timestamp, Timestamp), instant: Timestamp, start: Timestamp) -> Timestamp {
    let from = from.max(start);
    if instant > from && to > from { instant + to.since(from) } else { instant }
}

/// A run's pauses.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pauses {
    /// The one under way.
    current: Option<Paused>,
    /// The last request to pause: a repeat of it after the resumption must not pause again.
    last_request: Option<RequestId>,
    /// How many of its events are buffered: they count since they arrived, and not again when they are numbered.
    buffered: u32,
}

/// A pause under way, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Who paused it.
    pub identity: String,
}

impl Execution {
    /// The pause under way, if the run is paused.
    pub fn paused(&self) -> Option<&Paused> {
        self.pauses.current.as_ref()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pauses.current.is_some()
    }

    pub(super) fn decide_pause(&self, change: PauseChange, now: Timestamp) -> Result<Transition, Rejection> {
        // Before the check for a closed run, as for signals.
        if change.request_id.is_some() && change.request_id == self.pauses.last_request {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        if self.is_paused() {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        if self.deadlines.time.len() >= limits::PAUSES_MAX {
            let problem = format!("the run was paused {} times, which is the limit", limits::PAUSES_MAX);
            return Err(Rejection::Invalid { field: "execution".to_owned(), problem });
        }
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowPaused(change));
        if self.workflow_task.is_offered() {
            draft.effect(Effect::WithdrawWorkflowTask);
        }
        for (scheduled_event_id, activity) in self.activities.iter().filter(|(_, activity)| activity.is_offered()) {
            draft.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: activity.attempt });
        }
        Ok(draft.finish(Reply::Done))
    }

    pub(super) fn decide_resume(&self, change: PauseChange, now: Timestamp) -> Result<Transition, Rejection> {
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        if !self.is_paused() {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowResumed(change));
        self.waiting().into_iter().for_each(|offer| draft.effect(offer));
        Ok(draft.finish(Reply::Done))
    }

    /// A numbered event of a pause. One that was buffered counts since then.
    pub(super) fn apply_pause_change(&mut self, kind: &EventKind, at: Timestamp) {
        if self.pauses.buffered > 0 {
            self.pauses.buffered -= 1;
        } else {
            self.change_pause(kind, at);
        }
    }

    pub(super) fn apply_pause_change_in_buffer(&mut self, kind: &EventKind, at: Timestamp) {
        self.pauses.buffered += 1;
        self.change_pause(kind, at);
    }

    fn change_pause(&mut self, kind: &EventKind, at: Timestamp) {
        if let EventKind::WorkflowPaused(change) = kind {
            self.deadlines.time.still_since.get_or_insert(at);
            self.pauses.last_request.clone_from(&change.request_id);
            let PauseChange { reason, identity, request_id: _ } = change.clone();
            self.pauses.current.get_or_insert(Paused { since: at, reason, identity });
        } else if let Some(since) = self.deadlines.time.still_since.take() {
            self.pauses.current = None;
            self.time_goes_on((since, at.max(since)));
        }
    }

    /// Moves every deadline behind the pause that is over.
    fn time_goes_on(&mut self, pause: (Timestamp, Timestamp)) {
        self.deadlines.clear();
        self.deadlines.time.past.push(pause);
        let started_at = self.started_at;
        if let Some(until) = &mut self.workflow_task.delayed_until {
            *until = move_by(pause, *until, started_at);
        }
        self.deadlines.shift(Source::Execution, None, self.execution_deadline());
        self.deadlines.shift(Source::Run, None, self.run_deadline());
        self.deadlines.shift(Source::WorkflowTask, None, self.workflow_task.deadline(self.started.task_timeout));
        self.timers.move_by(&mut self.deadlines, |fire_at, started_at| move_by(pause, fire_at, started_at));
        self.activities.register_deadlines(&mut self.deadlines);
    }

    pub(super) fn end_pauses(&mut self) {
        self.pauses = Pauses { last_request: self.pauses.last_request.take(), ..Pauses::default() };
        self.deadlines.time.still_since = None;
    }

    /// Whether a paused run may leave memory: workers have nothing of it, and what is stored gives the same state again.
    pub(super) fn is_paused_and_at_rest(&self) -> bool {
        self.is_paused()
            && self.buffer.is_empty()
            && self.workflow_task.is_as_stored()
            && self.activities.iter().all(|(_, activity)| activity.is_as_stored())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;
    use crate::execution::{ActivityRef, Input};
    use crate::failure::Failure;

    /// A run that waits for a timer of a minute, paused 20 seconds after it was started.
    fn paused() -> Run {
        let mut run = Run::start_with(|started| started.run_timeout = Some(seconds(100)));
        run.turn(vec![start_timer("t", seconds(60))]);
        run.advance(seconds(20));
        run.pause();
        run
    }

    #[test]
    fn a_pause_takes_what_waits_out_of_its_queues_and_a_resumption_puts_it_back() {
        let mut run = Run::start();
        run.turn(vec![schedule("a"), schedule("b")]);
        run.take_activity("b");
        run.signal("go");
        check(
            run,
            |run| {
                run.pause();
                run.pause();
                run.signal("more");
                let _ = run.send(Input::StartWorkflowTask { identity: "late".into(), history_size_bytes: 1 });
                run.crash();
                run.send(Input::EndGrace).unwrap();
                run.resume();
                run.resume();
            },
            "
                8 WorkflowPaused wait
                > WithdrawWorkflowTask
                > WithdrawActivity 5 attempt=1
                = unchanged
                9 WorkflowSignaled more
                ! workflow task is stale: it was offered, but the run is paused
                crash
                ~ task released
                ~ activity 5 attempt failed counted=false: the server restarted; a worker may have had this attempt, and none claimed it
                ~ activity 5 offered
                ~ activity 6 attempt failed counted=false: the server restarted; a worker may have had this attempt, and none claimed it
                ~ activity 6 offered
                ~ grace ended
                % 5 attempt=2 counted=0
                % 6 attempt=2 counted=0
                10 WorkflowResumed go on
                > OfferWorkflowTask attempt=1
                > OfferActivity 5 attempt=2 queue=orders
                > OfferActivity 6 attempt=2 queue=orders
                = unchanged
            ",
        );
    }

    #[test]
    fn timers_and_timeouts_go_on_with_what_was_left_of_them() {
        let mut run = paused();
        assert_eq!(run.execution.next_deadline(), None);
        run.advance(seconds(3600));
        run.due();
        assert_eq!(run.history.last().unwrap().kind.name(), "WorkflowPaused");
        run.crash();
        run.send(Input::EndGrace).unwrap();
        run.resume();
        let resumed_at = run.now;
        assert_eq!(run.execution.next_deadline(), Some(resumed_at + seconds(40)));
        assert_eq!(run.execution.pending_timers()[0].fire_at, resumed_at + seconds(40));
        run.pause();
        run.advance(seconds(10));
        run.resume();
        run.advance(seconds(40));
        check(
            run,
            |run| {
                run.due();
                run.turn(vec![]);
                run.advance_to_deadline();
            },
            "
                10 TimerFired t started=5
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                11 WorkflowTaskScheduled attempt=1
                12 WorkflowTaskStarted scheduled=11
                13 WorkflowTaskCompleted scheduled=11 started=12
                14 WorkflowTimedOut retry_state=RetryPolicyNotSet
                > Closed TimedOut
            ",
        );
    }

    #[test]
    fn a_paused_run_may_leave_memory_and_stays_paused() {
        let mut run = paused();
        run.signal("go");
        assert!(run.execution.is_idle());
        assert_eq!(run.execution.wake_at(), Timestamp::MAX);
        run.execution = run.recovered();
        let paused = run.execution.paused().unwrap();
        assert_eq!((paused.reason.as_str(), paused.since), ("wait", BEGIN + seconds(20)));
        assert_eq!(run.execution.offers(), []);
        check(
            run,
            |run| run.resume(),
            "
                8 WorkflowResumed go on
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_workflow_task_in_hand_takes_effect_and_what_it_asks_for_waits() {
        let run = Run::start();
        let mut run = check(
            run,
            |run| {
                let token = run.take_task();
                run.pause();
                run.advance(seconds(5));
                run.finish_task(token, vec![schedule("a"), start_timer("t", seconds(60))]);
                run.advance(seconds(100));
                run.resume();
            },
            "
                ~ task started attempt=1
                ~ buffered WorkflowPaused wait
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 TimerStarted t task=4 duration=60s
                7 WorkflowPaused wait
                8 WorkflowResumed go on
                > OfferActivity 5 attempt=1 queue=orders
            ",
        );
        assert_eq!(run.execution.pending_timers()[0].fire_at, run.now + seconds(60));
        run.take_activity("a");
    }

    #[test]
    fn code_that_closes_the_run_meanwhile_closes_it_after_the_resumption() {
        check(
            Run::start(),
            |run| {
                let token = run.take_task();
                run.pause();
                run.finish_task(token, vec![complete()]);
                run.resume();
                run.turn(vec![complete()]);
            },
            "
                ~ task started attempt=1
                ~ buffered WorkflowPaused wait
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=UnhandledCommand
                5 WorkflowPaused wait
                = refused UnhandledCommand: events arrived while the task was running, and the code closed the run without having seen them
                6 WorkflowResumed go on
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 WorkflowCompleted task=9
                > Closed Completed
            ",
        );
    }

    #[test]
    fn the_timeouts_of_an_attempt_in_hand_stand_still_and_its_failure_waits() {
        let mut run = Run::start();
        run.turn(vec![schedule_with("a", |activity| activity.timeouts.start_to_close = Some(seconds(10)))]);
        let token = run.take_activity("a");
        run.advance(seconds(4));
        run.pause();
        run.advance(seconds(600));
        run.due();
        run.resume();
        assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(6)));
        run.pause();
        check(
            run,
            |run| {
                let activity = ActivityRef::Token(token);
                run.send(Input::HeartbeatActivity { activity, details: None }).unwrap();
                run.fail_activity(token, Failure::application("Busy", "later"));
                run.advance(seconds(600));
                run.due();
                run.resume();
                run.due();
            },
            "
                ~ activity 5 heartbeat
                = heartbeat cancel_requested=false
                ~ activity 5 attempt failed counted=true: later
                % 5 attempt=2 counted=1
                = unchanged
                9 WorkflowResumed go on
                ~ activity 5 offered
                > OfferActivity 5 attempt=2 queue=orders
            ",
        );
    }

    #[test]
    fn a_delayed_start_stands_still_and_a_workflow_task_in_hand_does_not() {
        let mut run = Run::start_with(|started| started.first_task_backoff = seconds(60));
        run.advance(seconds(10));
        run.pause();
        run.advance(seconds(100));
        run.crash();
        run.send(Input::EndGrace).unwrap();
        run.due();
        run.resume();
        assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(50)));
        run.advance_to_deadline();
        run.take_task();
        run.pause();
        check(
            run,
            |run| run.advance_to_deadline(),
            "
                ~ buffer flushed
                4 WorkflowTaskScheduled attempt=1
                5 WorkflowTaskStarted scheduled=4
                6 WorkflowTaskTimedOut scheduled=4 started=5 timeout=StartToClose
                7 WorkflowPaused wait
                > WithdrawWorkflowTask
            ",
        );
    }

    #[test]
    fn the_deadline_of_the_chain_moves_on_to_its_next_run() {
        let mut run = Run::start_with(|started| {
            started.retry_policy = Some(retry(0));
            started.execution_timeout = Some(seconds(600));
        });
        run.pause();
        run.advance(seconds(1000));
        run.resume();
        run.turn(vec![fail("Declined")]);
        let next = run.next_run.expect("a run follows");
        assert_eq!(next.started.execution_deadline, Some(BEGIN + seconds(1600)));
    }

    #[test]
    fn a_repeated_request_does_not_pause_a_run_that_was_resumed_meanwhile_and_a_closed_run_is_not_paused() {
        let request = |id| Input::Pause(pause_change("wait", Some(id)));
        check(
            Run::start(),
            |run| {
                let _ = run.send(request("p1"));
                run.resume();
                let _ = run.send(request("p1"));
                let _ = run.send(request("p2"));
                run.terminate();
                assert_eq!(run.execution.paused(), None);
                let _ = run.send(request("p3"));
                run.resume();
            },
            "
                2 WorkflowPaused wait
                > WithdrawWorkflowTask
                3 WorkflowResumed go on
                > OfferWorkflowTask attempt=1
                = unchanged
                4 WorkflowPaused wait
                > WithdrawWorkflowTask
                5 WorkflowTerminated enough
                > WithdrawWorkflowTask
                > Closed Terminated
                ! workflow execution already completed
                ! workflow execution already completed
            ",
        );
    }

    #[test]
    fn a_run_is_not_paused_more_often_than_the_limit() {
        let mut run = Run::start();
        for _ in 0..limits::PAUSES_MAX {
            run.execution.change_pause(&EventKind::WorkflowPaused(pause_change("", None)), run.now);
            run.execution.change_pause(&EventKind::WorkflowResumed(pause_change("", None)), run.now);
        }
        let refusal = run.execution.decide(Input::Pause(pause_change("", None)), run.now).unwrap_err();
        assert_eq!(refusal.to_string(), "execution: the run was paused 1000 times, which is the limit");
    }

    #[test]
    fn a_pause_that_comes_twice_in_a_history_is_corrupt() {
        let mut run = paused();
        let mut twice = run.history.last().unwrap().clone();
        twice.id = twice.id.next();
        run.history.push(twice);
        let problem = Execution::replay(run.history).unwrap_err().to_string();
        assert_eq!(problem, "corrupt history at event 7: WorkflowPaused comes twice");
    }
}
