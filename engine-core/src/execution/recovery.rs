//! From what is stored back to the state: replay of a history, the rows beside it, and what a crash leaves in doubt.
//!
//! A crash loses what is volatile: who has which task, further tries of a workflow task, heartbeats without details. After it,
//! workers may still have what they were given. So at the recovery of a shard what may be in a worker's hand is *in doubt*
//! ([`Execution::mark_in_doubt`]): workers have a grace to claim it or to complete it, what arrives is buffered as if the
//! workflow task were running, and [`super::Input::EndGrace`] offers again whatever nobody claimed.
//!
//! The invariants of a history that replay checks are those in [`crate::event`].

use crate::event::{Event, EventKind};
use crate::execution::activity::Attempt;
use crate::execution::draft::Draft;
use crate::execution::workflow_task::State;
use crate::execution::{ActivityProgress, CorruptHistory, Effect, Execution, Fact, Reply, Transition};
use crate::ids::EventId;
use crate::time::Timestamp;

impl Execution {
    /// Rebuilds the state from the history. Fails only on a history that this code could not have written.
    pub fn replay(history: impl IntoIterator<Item = Event>) -> Result<Execution, CorruptHistory> {
        let mut run: Option<Execution> = None;
        let mut check = Check::default();
        let mut last = EventId::NONE;
        for event in history {
            let corrupt = |problem: String| CorruptHistory { event_id: event.id, problem };
            if event.id != last.next() {
                return Err(corrupt(format!("expected event {}", last.next())));
            }
            last = event.id;
            match &mut run {
                Some(run) => {
                    check.check(run, &event).map_err(corrupt)?;
                    run.apply(&event);
                }
                None => {
                    let EventKind::WorkflowStarted(started) = &event.kind else {
                        let name = event.kind.name();
                        return Err(corrupt(format!("a history begins with WorkflowStarted, not {name}")));
                    };
                    run = Some(Execution::from_start(started, event.at));
                }
            }
        }
        let corrupt = |problem: String| CorruptHistory { event_id: last, problem };
        let run = run.ok_or_else(|| corrupt("it is empty".to_owned()))?;
        check.at_end().map_err(corrupt)?;
        Ok(run)
    }

    /// Takes over what is stored beside the history: progress of activities, and buffered events in order of arrival.
    pub fn restore(&mut self, buffered: Vec<Event>, progress: Vec<ActivityProgress>) -> Result<(), CorruptHistory> {
        for row in progress {
            let event_id = row.scheduled_event_id;
            if !self.restore_activity(row) {
                let problem = "there is progress of an activity that is not open".to_owned();
                return Err(CorruptHistory { event_id, problem });
            }
        }
        for event in buffered {
            if self.closed.is_some() {
                let problem = format!("{} is buffered, but the run is closed", event.kind.name());
                return Err(CorruptHistory { event_id: event.id, problem });
            }
            if let Some((scheduled_event_id, _)) = event.kind.activity_end()
                && self.activities.get(scheduled_event_id).is_none_or(|activity| activity.has_outcome)
            {
                let problem = format!("{} is buffered, but the activity is not open", event.kind.name());
                return Err(CorruptHistory { event_id: scheduled_event_id, problem });
            }
            if let EventKind::Peer(peer) = &event.kind
                && !self.peers.may_buffer(peer)
            {
                let problem = format!("{} is buffered, but what it answers is not open", event.kind.name());
                return Err(CorruptHistory { event_id: event.id, problem });
            }
            self.apply_buffered(&event);
        }
        Ok(())
    }

    /// To be called after loading at the recovery of a shard: what a worker may have in hand becomes in doubt.
    pub fn mark_in_doubt(&mut self) {
        if self.workflow_task.is_pending() {
            self.change_task(|task| task.state = State::InDoubt);
        }
        // A pause may have been over before the crash; `EndGrace`, which knows the time, tells.
        self.change_unresolved_activities(|activity| activity.state = Attempt::InDoubt);
    }

    /// To be called after loading a run whose last owner stopped in order ([`super::Input::RecordInHand`]): what is stored as in a
    /// worker's hand becomes in doubt, and nothing else. Returns whether there is any; the rest is in [`Execution::offers`].
    pub fn mark_recorded_in_doubt(&mut self) -> bool {
        self.change_unresolved_activities(|activity| {
            if activity.durable_start.is_some() {
                activity.state = Attempt::InDoubt;
            }
        });
        self.activities.in_doubt().next().is_some()
    }

    /// What waits in queues, as effects: for a run that was loaded and not marked as in doubt.
    pub fn offers(&self) -> Vec<Effect> {
        if self.is_paused() { Vec::new() } else { self.waiting() }
    }

    /// What waits for a worker, as effects that offer it.
    pub(super) fn waiting(&self) -> Vec<Effect> {
        let task = &self.workflow_task;
        let workflow_task = (task.state == State::Scheduled)
            .then(|| Effect::OfferWorkflowTask { task_queue: self.started.task_queue.clone(), attempt: task.attempt });
        let activities = self
            .activities
            .iter()
            .filter(|(_, activity)| !activity.has_outcome && matches!(activity.state, Attempt::Offered { .. }))
            .filter(|(_, activity)| activity.paused.is_none());
        let activities = activities.map(|(scheduled_event_id, activity)| Effect::OfferActivity {
            scheduled_event_id,
            attempt: activity.attempt,
            task_queue: activity.task_queue().clone(),
        });
        workflow_task.into_iter().chain(activities).collect()
    }

    pub(super) fn decide_record_in_hand(&self, now: Timestamp) -> Transition {
        let mut draft = Draft::new(self, now);
        for (scheduled_event_id, activity) in self.activities.iter() {
            let (at, identity) = match &activity.state {
                Attempt::Started { token, identity, .. } => (token.started_at, identity.clone()),
                // In its pause nobody can have it.
                Attempt::InDoubt if activity.offer_at <= now => (now, String::new()),
                Attempt::InDoubt | Attempt::Offered { .. } | Attempt::Paused { .. } => continue,
            };
            // What may run only once was stored before it was handed out: if it was not, nobody has it.
            if activity.has_outcome || activity.durable_start.is_some() || activity.runs_only_once() {
                continue;
            }
            draft.fact(Fact::ActivityInHandRecorded { scheduled_event_id, at, identity });
            draft.progress(scheduled_event_id);
        }
        draft.finish(Reply::Done)
    }

    pub(super) fn decide_end_grace(&self, now: Timestamp) -> Transition {
        let mut draft = Draft::new(self, now);
        let task_in_doubt = draft.end_task_grace();
        if !task_in_doubt && self.activities.in_doubt().next().is_none() {
            return Transition::reply(Reply::Unchanged);
        }
        draft.end_activity_grace();
        draft.fact(Fact::GraceEnded);
        draft.finish(Reply::Done)
    }

    /// The run as a crash at this moment would leave it: equal to what [`Execution::replay`] and [`Execution::restore`] give
    /// from what is stored.
    pub fn durable_view(&self) -> Execution {
        let mut view = self.clone();
        view.change_task(super::workflow_task::WorkflowTask::forget_volatile);
        view.updates.forget_volatile();
        view.forget_volatile_of_activities();
        view
    }
}

/// What the next event must be.
#[derive(Debug, Default)]
enum Expected {
    #[default]
    Any,
    TaskStarted {
        scheduled_event_id: EventId,
    },
    TaskEnd {
        scheduled_event_id: EventId,
        started_event_id: EventId,
    },
    ActivityEnd {
        scheduled_event_id: EventId,
        started_event_id: EventId,
    },
}

/// Verifies the invariants of a history, event by event.
#[derive(Debug, Default)]
struct Check {
    expected: Expected,
    last_completed: EventId,
}

impl Check {
    /// Checks `event` against the state after the events before it.
    fn check(&mut self, run: &Execution, event: &Event) -> Result<(), String> {
        if run.closed.is_some() {
            return Err(format!("{} follows the close event", event.kind.name()));
        }
        if !self.check_adjacent(run, &event.kind)? {
            self.check_open(run, &event.kind)?;
        }
        self.expected = match &event.kind {
            EventKind::WorkflowTaskScheduled(_) => Expected::TaskStarted { scheduled_event_id: event.id },
            EventKind::WorkflowTaskStarted(start) => {
                Expected::TaskEnd { scheduled_event_id: start.scheduled_event_id, started_event_id: event.id }
            }
            EventKind::ActivityStarted(start) => {
                Expected::ActivityEnd { scheduled_event_id: start.scheduled_event_id, started_event_id: event.id }
            }
            EventKind::WorkflowTaskCompleted(_) => {
                self.last_completed = event.id;
                Expected::Any
            }
            EventKind::WorkflowStarted(_)
            | EventKind::WorkflowCompleted(_)
            | EventKind::WorkflowFailed(_)
            | EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowCanceled(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowContinuedAsNew(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityScheduled(_)
            | EventKind::Peer(_)
            | EventKind::ActivityCompleted(_)
            | EventKind::ActivityFailed(_)
            | EventKind::ActivityTimedOut(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::ActivityCanceled(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerFired(_)
            | EventKind::TimerCanceled(_)
            | EventKind::StatePublished(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::SearchAttributesUpserted(_)
            | EventKind::PropertiesModified(_)
            | EventKind::WorkflowUpdateAccepted(_)
            | EventKind::WorkflowUpdateCompleted(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowRepaired(_)
            | EventKind::WorkflowUpdateAdmitted(_) => Expected::Any,
        };
        Ok(())
    }

    fn at_end(&self) -> Result<(), String> {
        match self.expected {
            Expected::Any => Ok(()),
            Expected::TaskStarted { .. } | Expected::TaskEnd { .. } => {
                Err("it ends in the middle of a workflow task".to_owned())
            }
            Expected::ActivityEnd { .. } => Err("it ends in the middle of an activity".to_owned()),
        }
    }

    /// Checks events that belong directly behind each other. Returns whether `kind` is the second or third of such.
    fn check_adjacent(&self, run: &Execution, kind: &EventKind) -> Result<bool, String> {
        let task_end = if let EventKind::WorkflowTaskCompleted(end) = kind {
            Some((end.scheduled_event_id, end.started_event_id))
        } else if let EventKind::WorkflowTaskFailed(end) = kind {
            Some((end.scheduled_event_id, end.started_event_id))
        } else if let EventKind::WorkflowTaskTimedOut(end) = kind {
            Some((end.scheduled_event_id, end.started_event_id))
        } else {
            None
        };
        let fits = match self.expected {
            Expected::Any => {
                if task_end.is_some() || matches!(kind, EventKind::WorkflowTaskStarted(_)) {
                    return Err(format!("{} does not follow the task's other events", kind.name()));
                }
                return Ok(false);
            }
            Expected::TaskStarted { scheduled_event_id } => {
                matches!(kind, EventKind::WorkflowTaskStarted(start) if start.scheduled_event_id == scheduled_event_id)
            }
            Expected::TaskEnd { scheduled_event_id, started_event_id } => {
                task_end == Some((scheduled_event_id, started_event_id))
            }
            Expected::ActivityEnd { scheduled_event_id, started_event_id } => {
                kind.activity_end() == Some((scheduled_event_id, started_event_id))
                    || (run.is_standalone_activity() && kind.close_status().is_some())
            }
        };
        if fits { Ok(true) } else { Err(format!("{} is not what must follow: {:?}", kind.name(), self.expected)) }
    }

    /// Checks that what an event refers to is open, and that a command's event names its task.
    fn check_open(&self, run: &Execution, kind: &EventKind) -> Result<(), String> {
        let activity = |id: EventId| match run.activities.get(id) {
            Some(_) => Ok(()),
            None => Err(format!("{} refers to event {id}, which is no open activity", kind.name())),
        };
        let timer = |id: EventId| match run.timers.get(id) {
            Some(_) => Ok(()),
            None => Err(format!("{} refers to event {id}, which is no open timer", kind.name())),
        };
        let task = |id: EventId| match self.last_completed == id && (id.is_some() || run.is_standalone_activity()) {
            true => Ok(()),
            false => {
                Err(format!("{} refers to event {id}, which is not the last completed workflow task", kind.name()))
            }
        };
        match kind {
            EventKind::Peer(peer) => match (peer.command_of(), peer.initiated_event_id()) {
                (Some(completed), _) => task(completed),
                (None, Some(id)) if run.peers.is_open(id) => Ok(()),
                (None, id) => {
                    let id = id.unwrap_or_default();
                    Err(format!("{} refers to event {id}, which is under way no more", kind.name()))
                }
            },
            EventKind::WorkflowStarted(_) => Err("WorkflowStarted comes twice".to_owned()),
            EventKind::WorkflowCancelRequested(_) if run.cancel_requested => {
                Err("WorkflowCancelRequested comes twice".to_owned())
            }
            EventKind::WorkflowCompleted(_) | EventKind::WorkflowFailed(_) if run.is_standalone_activity() => {
                Err(format!("{} does not follow ActivityStarted", kind.name()))
            }
            EventKind::WorkflowCompleted(end) => task(end.workflow_task_completed_event_id),
            EventKind::WorkflowFailed(end) => task(end.workflow_task_completed_event_id),
            EventKind::WorkflowCanceled(end) => task(end.workflow_task_completed_event_id),
            EventKind::WorkflowContinuedAsNew(end) => task(end.workflow_task_completed_event_id),
            EventKind::ActivityScheduled(scheduled) => {
                if run.activities.with_id(&scheduled.activity_id).is_some() {
                    return Err(format!("an activity with id {:?} is already open", scheduled.activity_id));
                }
                task(scheduled.workflow_task_completed_event_id)
            }
            EventKind::ActivityStarted(start) => activity(start.scheduled_event_id),
            EventKind::ActivityCancelRequested(request) => {
                activity(request.scheduled_event_id)?;
                task(request.workflow_task_completed_event_id)
            }
            EventKind::ActivityCompleted(_) | EventKind::ActivityFailed(_) => {
                Err(format!("{} does not follow ActivityStarted", kind.name()))
            }
            EventKind::ActivityTimedOut(_) | EventKind::ActivityCanceled(_) => match kind.activity_end() {
                Some((scheduled_event_id, EventId::NONE)) => activity(scheduled_event_id),
                _started => Err(format!("{} does not follow its ActivityStarted", kind.name())),
            },
            EventKind::TimerStarted(start) => {
                if run.timers.with_id(&start.timer_id).is_some() {
                    return Err(format!("a timer with id {:?} is already open", start.timer_id));
                }
                task(start.workflow_task_completed_event_id)
            }
            EventKind::TimerFired(fired) => timer(fired.started_event_id),
            EventKind::TimerCanceled(canceled) => {
                timer(canceled.started_event_id)?;
                task(canceled.workflow_task_completed_event_id)
            }
            EventKind::StatePublished(published) => task(published.workflow_task_completed_event_id),
            EventKind::MarkerRecorded(recorded) => task(recorded.workflow_task_completed_event_id),
            EventKind::SearchAttributesUpserted(upserted) => task(upserted.workflow_task_completed_event_id),
            EventKind::PropertiesModified(modified) => task(modified.workflow_task_completed_event_id),
            EventKind::WorkflowUpdateAccepted(accepted) => {
                let id = &accepted.update.id;
                if run.updates.is_recorded(id) {
                    return Err(format!("update {id:?} is accepted twice"));
                }
                task(accepted.workflow_task_completed_event_id)
            }
            EventKind::WorkflowUpdateCompleted(end) => {
                if run.updates.open_acceptance(&end.update_id) != Some(end.accepted_event_id) {
                    let id = &end.update_id;
                    return Err(format!("WorkflowUpdateCompleted refers to update {id:?}, which is not open"));
                }
                task(end.workflow_task_completed_event_id)
            }
            EventKind::WorkflowPaused(_) if run.is_paused() => Err("WorkflowPaused comes twice".to_owned()),
            EventKind::WorkflowResumed(_) if !run.is_paused() => {
                Err("WorkflowResumed comes although the run is not paused".to_owned())
            }
            EventKind::WorkflowUpdateAdmitted(request) if run.update_standing(&request.id).is_some() => {
                Err(format!("update {:?} is admitted although the run knows it", request.id))
            }
            EventKind::WorkflowRepaired(repaired) => activity(repaired.scheduled_event_id),
            EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowUpdateAdmitted(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TimerFired, WorkflowSignaled, WorkflowTerminated};
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::failure::Failure;
    use crate::ids::{SignalName, TimerId};

    /// A history with a bit of everything.
    fn history() -> Vec<Event> {
        let mut run = Run::start();
        run.turn(vec![schedule("a"), start_timer("t", seconds(1))]);
        let token = run.take_activity("a");
        run.complete_activity(token);
        run.advance(seconds(1));
        run.due();
        run.turn(vec![complete()]);
        run.history
    }

    fn corrupt(change: impl FnOnce(&mut Vec<Event>)) -> String {
        let mut history = history();
        change(&mut history);
        Execution::replay(history).unwrap_err().to_string()
    }

    fn renumbered(history: &mut [Event]) {
        for (event, number) in history.iter_mut().zip(1..) {
            event.id = EventId(number);
        }
    }

    #[test]
    fn what_the_engine_writes_replays() {
        assert_eq!(Execution::replay(history()).unwrap().next_event_id(), EventId(14));
    }

    #[test]
    fn a_history_that_breaks_an_invariant_is_refused_at_the_first_event_that_does() {
        assert_eq!(corrupt(Vec::clear), "corrupt history at event 0: it is empty");
        assert_eq!(corrupt(|history| drop(history.remove(0))), "corrupt history at event 2: expected event 1");
        assert_eq!(corrupt(|history| drop(history.remove(5))), "corrupt history at event 7: expected event 6");
        assert_eq!(
            corrupt(|history| {
                history.remove(0);
                renumbered(history);
            }),
            "corrupt history at event 1: a history begins with WorkflowStarted, not WorkflowTaskScheduled"
        );
        assert_eq!(
            corrupt(|history| {
                history.remove(2);
                renumbered(history);
            }),
            "corrupt history at event 3: WorkflowTaskCompleted is not what must follow: TaskStarted { scheduled_event_id: EventId(2) }"
        );
        assert_eq!(
            corrupt(|history| history.truncate(2)),
            "corrupt history at event 2: it ends in the middle of a workflow task"
        );
        assert_eq!(
            corrupt(|history| history.truncate(7)),
            "corrupt history at event 7: it ends in the middle of an activity"
        );
        assert_eq!(
            corrupt(|history| {
                let again = history[7].clone();
                history.insert(8, again);
                renumbered(history);
            }),
            "corrupt history at event 9: ActivityCompleted does not follow ActivityStarted"
        );
        assert_eq!(
            corrupt(|history| {
                let fired = TimerFired { timer_id: TimerId::from_trusted("t"), started_event_id: EventId(6) };
                history[8].kind = EventKind::TimerFired(TimerFired { started_event_id: EventId(5), ..fired });
            }),
            "corrupt history at event 9: TimerFired refers to event 5, which is no open timer"
        );
        assert_eq!(
            corrupt(|history| {
                let kind = WorkflowTerminated {
                    reason: String::new(),
                    details: None,
                    identity: String::new(),
                    reset_to: None,
                };
                history.push(Event { id: EventId(14), at: BEGIN, kind: EventKind::WorkflowTerminated(kind) });
            }),
            "corrupt history at event 14: WorkflowTerminated follows the close event"
        );
    }

    #[test]
    fn rows_that_do_not_fit_the_history_are_refused() {
        let mut idle = Run::start();
        idle.turn(vec![]);
        let mut closed = Run::start();
        closed.turn(vec![complete()]);
        let signal = EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted("a"),
            input: Vec::new(),
            identity: String::new(),
            request_id: None,
        });
        let buffered = Event { id: EventId::NONE, at: BEGIN, kind: signal };
        let error = closed.execution.restore(vec![buffered], Vec::new()).unwrap_err();
        assert_eq!(error.problem, "WorkflowSignaled is buffered, but the run is closed");
        let row = ActivityProgress { scheduled_event_id: EventId(2), ..ActivityProgress::default() };
        let error = idle.execution.restore(Vec::new(), vec![row]).unwrap_err();
        assert_eq!(error.to_string(), "corrupt history at event 2: there is progress of an activity that is not open");
    }

    #[test]
    fn a_loaded_run_tells_what_waits_in_queues() {
        let mut run = Run::start();
        run.turn(vec![schedule("queued"), schedule("paused"), schedule("ended")]);
        let token = run.take_activity("paused");
        run.fail_activity(token, Failure::application("Busy", "later"));
        let ended = run.take_activity("ended");
        run.signal("go");
        run.take_task();
        run.complete_activity(ended);
        let offers = run.recovered().offers();
        let expected = [
            Effect::OfferWorkflowTask { task_queue: run.execution.started().task_queue.clone(), attempt: 1 },
            Effect::OfferActivity {
                scheduled_event_id: EventId(5),
                attempt: 1,
                task_queue: run.execution.started().task_queue.clone(),
            },
        ];
        assert_eq!(offers, expected);
    }

    #[test]
    fn a_stop_in_order_leaves_in_doubt_what_workers_have_and_nothing_else() {
        let mut run = Run::start();
        let once = |name| schedule_with(name, |activity| activity.retry_policy = Some(retry(1)));
        run.turn(vec![schedule("taken"), schedule("queued"), once("taken once"), once("queued once")]);
        run.take_activity("taken");
        run.take_activity("taken once");
        let run = check(
            run,
            Run::hand_over,
            "
                ~ activity 5 recorded as in hand
                % 5 attempt=1 counted=0 started
                handed over
            ",
        );
        let offered: Vec<EventId> = run
            .execution
            .offers()
            .iter()
            .map(|offer| match offer {
                Effect::OfferActivity { scheduled_event_id, attempt: 1, .. } => *scheduled_event_id,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(offered, [EventId(6), EventId(8)]);
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
            },
            r#"
                ~ activity 5 attempt failed counted=false: the server restarted; a worker may have had this attempt, and none claimed it
                ~ activity 5 offered
                ~ grace ended
                9 ActivityStarted scheduled=7 attempt=1
                10 ActivityFailed scheduled=7 started=9 retry_state=MaximumAttemptsReached failure="the server restarted; a worker may have had this attempt, and none claimed it"
                % 5 attempt=2 counted=0
                % 7 deleted
                > OfferActivity 5 attempt=2 queue=orders
                > OfferWorkflowTask attempt=1
            "#,
        );
    }

    #[test]
    fn what_was_recorded_as_in_hand_may_still_be_completed() {
        let mut run = Run::start();
        run.turn(vec![schedule("a")]);
        let token = run.take_activity("a");
        run.hand_over();
        run.complete_activity(token);
        assert!(run.execution.pending_activities().is_empty());
        assert!(run.progress.is_empty(), "the row of its progress is gone");
    }

    #[test]
    fn a_grace_ends_once() {
        let mut run = Run::start();
        run.crash();
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                run.send(Input::EndGrace).unwrap();
            },
            "
                ~ task released
                ~ grace ended
                > OfferWorkflowTask attempt=1
                = unchanged
            ",
        );
    }

    #[test]
    fn only_a_run_that_waits_for_others_or_for_time_may_be_dropped_from_memory() {
        let mut run = Run::start();
        assert!(!run.execution.is_idle(), "its first task is due");
        assert_eq!(run.execution.wake_at(), Timestamp::EPOCH);
        run.turn(vec![start_timer("t", seconds(60))]);
        assert!(run.execution.is_idle());
        assert_eq!(run.execution.wake_at(), BEGIN + seconds(60));
        run.signal("go");
        run.turn(vec![cancel_timer("t")]);
        assert_eq!(run.execution.wake_at(), Timestamp::MAX, "it waits for a signal only");
        run.signal("go");
        run.turn(vec![schedule("a")]);
        assert!(!run.execution.is_idle(), "an activity is in its queue");
        let token = run.take_activity("a");
        assert!(!run.execution.is_idle(), "an activity runs");
        run.fail_activity(token, Failure::application("Busy", "later"));
        assert!(run.execution.is_idle(), "its next attempt is stored");
        assert_eq!(run.execution.wake_at(), BEGIN + seconds(1));
        run.crash();
        assert!(!run.execution.is_idle(), "somebody may have the attempt");
        run.terminate();
        assert_eq!((run.execution.is_idle(), run.execution.wake_at()), (false, Timestamp::MAX));
    }

    #[test]
    fn the_memory_of_a_run_is_told_and_given_back() {
        let mut run = Run::start();
        run.turn(vec![]);
        let empty = run.execution.memory_size();
        run.signal("go");
        let large =
            schedule_with("a", |activity| activity.input.push(crate::payload::Payload::json(vec![b'1'; 100_000])));
        run.turn(vec![large]);
        assert!(run.execution.memory_size() > empty + 100_000);
        let token = run.take_activity("a");
        run.complete_activity(token);
        assert_eq!(run.execution.memory_size(), empty);
    }
}
