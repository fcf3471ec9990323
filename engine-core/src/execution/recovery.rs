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
            if self.closed.is_some() || !self.workflow_task.is_pending() {
                let problem = format!("{} is buffered, but no workflow task is pending", event.kind.name());
                return Err(CorruptHistory { event_id: event.id, problem });
            }
            if let Some((scheduled_event_id, _)) = event.kind.activity_end()
                && self.activities.get(scheduled_event_id).is_none_or(|activity| activity.has_outcome)
            {
                let problem = format!("{} is buffered, but the activity is not open", event.kind.name());
                return Err(CorruptHistory { event_id: scheduled_event_id, problem });
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

    /// What waits in queues, as effects: for a run that was loaded and not marked as in doubt.
    pub fn offers(&self) -> Vec<Effect> {
        let task = &self.workflow_task;
        let workflow_task = (task.state == State::Scheduled)
            .then(|| Effect::OfferWorkflowTask { task_queue: self.started.task_queue.clone(), attempt: task.attempt });
        let activities = self
            .activities
            .iter()
            .filter(|(_, activity)| !activity.has_outcome && matches!(activity.state, Attempt::Offered { .. }));
        let activities = activities.map(|(scheduled_event_id, activity)| Effect::OfferActivity {
            scheduled_event_id,
            attempt: activity.attempt,
            task_queue: activity.scheduled.task_queue.clone(),
        });
        workflow_task.into_iter().chain(activities).collect()
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
        if !self.check_adjacent(&event.kind)? {
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
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityScheduled(_)
            | EventKind::ActivityCompleted(_)
            | EventKind::ActivityFailed(_)
            | EventKind::ActivityTimedOut(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::ActivityCanceled(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerFired(_)
            | EventKind::TimerCanceled(_) => Expected::Any,
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
    fn check_adjacent(&self, kind: &EventKind) -> Result<bool, String> {
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
        let task = |id: EventId| match self.last_completed == id && id.is_some() {
            true => Ok(()),
            false => {
                Err(format!("{} refers to event {id}, which is not the last completed workflow task", kind.name()))
            }
        };
        match kind {
            EventKind::WorkflowStarted(_) => Err("WorkflowStarted comes twice".to_owned()),
            EventKind::WorkflowCancelRequested(_) if run.cancel_requested => {
                Err("WorkflowCancelRequested comes twice".to_owned())
            }
            EventKind::WorkflowCompleted(end) => task(end.workflow_task_completed_event_id),
            EventKind::WorkflowFailed(end) => task(end.workflow_task_completed_event_id),
            EventKind::WorkflowCanceled(end) => task(end.workflow_task_completed_event_id),
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
            EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowTerminated(_)
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
