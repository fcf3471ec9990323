//! Resets: a new run that begins with the history of another one, up to a point, and goes on from there.
//!
//! | point                          | the new history                                                                    |
//! |--------------------------------|------------------------------------------------------------------------------------|
//! | a workflow task                | … WorkflowTaskStarted, WorkflowTaskFailed(Reset), what is kept of what came after  |
//! | before an activity's end       | … WorkflowRepaired, what is kept of what came after                                |
//! | …, with another result         | … WorkflowRepaired, ActivityStarted, ActivityCompleted, what is kept …             |
//!
//! What is kept of what came after the point: signals and accepted updates, unless they are excluded, and the answers of peers to what was
//! initiated before it. Requests to cancel are not. An update is admitted anew, for the code to answer again. The new history begins with the events of the base run, under their numbers; only the
//! first says that this is another run, and where it comes from.
//!
//! What was open at the point is open again. Activities are offered anew, as if they were scheduled at the reset: their attempts
//! since then count no more, and neither do their ends. One that was asked to stop is canceled. Timers fire when they would have
//! fired. The run timeout counts from the reset; the deadline of the chain stays. Children that were asked for before the point
//! deal with the new run, which they find because it knows which run asked for them ([`Execution::initiator`]).
//!
//! The base run, if it is open, is terminated in the same transaction. It leaves the children that go over alone, and owes
//! nobody what the new run owes.

use crate::event::{
    ActivityCanceled, ActivityCompleted, ActivityStarted, ChildOutcome, Event, EventKind, Fork, ParentClosePolicy,
    PeerEvent, ResetOrigin, WorkflowRepaired, WorkflowStarted, WorkflowTaskFailed, WorkflowTaskFailureCause,
};
use crate::execution::deadline::Source;
use crate::execution::{Effect, Execution, Rejection};
use crate::failure::Failure;
use crate::ids::{ActivityId, EventId, RequestId, RunId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// From where a new run is to go on.
#[derive(Debug, Clone, PartialEq)]
pub enum ResetPoint {
    /// The workflow task that this event is of: its start or its end.
    WorkflowTask(EventId),
    /// The first workflow task.
    FirstWorkflowTask,
    /// The last workflow task that ended: of a closed run, the one that closed it.
    LastWorkflowTask,
    /// Before the end of an activity that failed or timed out.
    FailedActivity {
        /// Which; the last that failed if `None`.
        activity_id: Option<ActivityId>,
        /// Ends it with this result instead of running it again.
        result: Option<Payload>,
    },
}

/// A request to go on from an earlier point.
#[derive(Debug, Clone, PartialEq)]
pub struct Reset {
    /// From where.
    pub point: ResetPoint,
    /// Whether signals that came after the point are left out.
    pub excludes_signals: bool,
    /// Whether updates that were accepted after the point are left out.
    pub excludes_updates: bool,
    /// Why, for people.
    pub reason: String,
    /// Who does it, for people.
    pub identity: String,
    /// A repeat with the same id, while the run that it began is the current one, begins none.
    pub request_id: Option<RequestId>,
}

/// Where a history is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The first event that the new run does not share with the base run.
    pub forked_at: EventId,
    /// The activity whose end was there, if it is repaired: its scheduled event.
    repaired: Option<EventId>,
}

impl Reset {
    /// Where `history` is cut. Refuses a point that it does not have.
    pub fn cut(&self, history: &[Event]) -> Result<Cut, Rejection> {
        let started = |event: &&Event| matches!(event.kind, EventKind::WorkflowTaskStarted(_));
        let behind = |event: &Event| Cut { forked_at: event.id.next(), repaired: None };
        let none = |problem: &str| Rejection::Invalid { field: "point".to_owned(), problem: problem.to_owned() };
        let no_task = || none("the run has completed no workflow task: there is nothing to go back to");
        match &self.point {
            ResetPoint::FirstWorkflowTask => history.iter().find(started).map(behind).ok_or_else(no_task),
            ResetPoint::LastWorkflowTask => history.iter().rfind(started).map(behind).ok_or_else(no_task),
            ResetPoint::WorkflowTask(id) => {
                let start = history.iter().filter(started).find(|event| event.id == *id || event.id.next() == *id);
                start.map(behind).ok_or_else(|| {
                    none(&format!(
                        "event {id} is not the start or the end of a workflow task: look at the history for one"
                    ))
                })
            }
            ResetPoint::FailedActivity { activity_id, .. } => {
                let mut found = None;
                for event in history {
                    let failed = matches!(event.kind, EventKind::ActivityFailed(_) | EventKind::ActivityTimedOut(_));
                    let Some((scheduled, started)) = event.kind.activity_end().filter(|_| failed) else { continue };
                    let is_wanted = activity_id.as_ref().is_none_or(|wanted| {
                        matches!(event_of(history, scheduled).map(|event| &event.kind),
                            Some(EventKind::ActivityScheduled(it)) if it.activity_id == *wanted)
                    });
                    if is_wanted {
                        let forked_at = if started.is_some() { started } else { event.id };
                        found = Some(Cut { forked_at, repaired: Some(scheduled) });
                    }
                }
                found.ok_or_else(|| match activity_id {
                    Some(id) => none(&format!("no activity with id {id:?} has failed in this run")),
                    None => none("no activity has failed in this run: reset it to a workflow task instead"),
                })
            }
        }
    }

    /// The events of the new run, which begins at `now` under `run_id`. `history` is the whole history of the base run.
    pub fn begin(&self, cut: Cut, history: &[Event], run_id: RunId, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        let shared = usize::try_from(cut.forked_at.0 - 1).unwrap_or(usize::MAX).min(history.len());
        let (kept, after) = history.split_at(shared);
        let now = history.last().map_or(now, |last| last.at.max(now));
        let mut new = NewRun { events: kept.to_vec(), now };
        let Some(EventKind::WorkflowStarted(started)) = new.events.first_mut().map(|event| &mut event.kind) else {
            let problem = "its history does not begin with its start".to_owned();
            return Err(Rejection::Invalid { field: "execution".to_owned(), problem });
        };
        self.rename(started, cut, run_id);
        // From before its code first said how it follows versions, it goes like a new run.
        if !kept.iter().any(|event| matches!(event.kind, EventKind::WorkflowTaskCompleted(_))) {
            if let Some(versioning) = &mut started.versioning {
                versioning.inherited = None;
            }
            started.versioning.take_if(|versioning| versioning.versioning_override.is_none());
        }
        match cut.repaired {
            None => {
                let started_event_id = EventId(cut.forked_at.0 - 1);
                new.push(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
                    scheduled_event_id: EventId(started_event_id.0 - 1),
                    started_event_id,
                    cause: WorkflowTaskFailureCause::Reset,
                    failure: Failure::server(self.reason.clone(), true),
                    identity: self.identity.clone(),
                }));
            }
            Some(scheduled_event_id) => self.repair(&mut new, scheduled_event_id, history),
        }
        self.cancel_what_was_to_stop(&mut new);
        self.keep(&mut new, after);
        Ok(new.events)
    }

    /// Makes the first event that of the new run.
    fn rename(&self, started: &mut WorkflowStarted, cut: Cut, run_id: RunId) {
        let base = started.reset.take();
        let base_run_id = std::mem::replace(&mut started.run_id, run_id);
        let original_run_id = base.as_ref().map_or(base_run_id, |base| base.original_run_id);
        let mut forks: Vec<Fork> = base.map(|base| base.forks).unwrap_or_default();
        // Who initiated what lies directly before the cut.
        let owner = forks.iter().find(|fork| fork.until >= cut.forked_at).map_or(base_run_id, |fork| fork.run_id);
        forks.retain(|fork| fork.until < cut.forked_at);
        forks.push(Fork { run_id: owner, until: cut.forked_at });
        started.request_id.clone_from(&self.request_id);
        // It is over.
        started.first_task_backoff = std::time::Duration::ZERO;
        started.reset = Some(Box::new(ResetOrigin {
            base_run_id,
            original_run_id,
            forked_at: cut.forked_at,
            forks,
            reason: self.reason.clone(),
            identity: self.identity.clone(),
        }));
    }

    fn repair(&self, new: &mut NewRun, scheduled_event_id: EventId, history: &[Event]) {
        let result = match &self.point {
            ResetPoint::FailedActivity { result, .. } => result.clone(),
            ResetPoint::WorkflowTask(_) | ResetPoint::FirstWorkflowTask | ResetPoint::LastWorkflowTask => None,
        };
        new.push(EventKind::WorkflowRepaired(WorkflowRepaired {
            scheduled_event_id,
            has_result: result.is_some(),
            reason: self.reason.clone(),
            identity: self.identity.clone(),
        }));
        let Some(result) = result else { return };
        let attempt = history.iter().find_map(|event| {
            let EventKind::ActivityStarted(start) = &event.kind else { return None };
            (start.scheduled_event_id == scheduled_event_id).then_some(start.attempt)
        });
        let started_event_id = new.push(EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id,
            attempt: attempt.unwrap_or(1),
            identity: self.identity.clone(),
            last_failure: None,
        }));
        new.push(EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id,
            started_event_id,
            result: Some(result),
            identity: self.identity.clone(),
        }));
    }

    /// Activities that were asked to stop before the point and had not stopped: nobody has them, so nobody is to be asked.
    fn cancel_what_was_to_stop(&self, new: &mut NewRun) {
        let Ok(run) = Execution::replay(new.events.iter().cloned()) else { return };
        for (scheduled_event_id, activity) in run.activities.iter() {
            if let Some(cancel_requested_event_id) = activity.cancel_requested_event_id {
                new.push(EventKind::ActivityCanceled(ActivityCanceled {
                    scheduled_event_id,
                    started_event_id: EventId::NONE,
                    cancel_requested_event_id,
                    details: None,
                    identity: self.identity.clone(),
                }));
            }
        }
    }

    /// Records again what is kept of what came after the point.
    fn keep(&self, new: &mut NewRun, after: &[Event]) {
        let Ok(run) = Execution::replay(new.events.iter().cloned()) else { return };
        let mut children: Vec<(EventId, EventId)> = Vec::new();
        // Of a run that began by a reset itself: what its code has not answered yet.
        let mut unanswered: Vec<EventKind> = Vec::new();
        for event in after {
            if let EventKind::WorkflowUpdateAdmitted(_) = &event.kind {
                unanswered.push(event.kind.clone());
            } else if let EventKind::WorkflowTaskCompleted(_) = &event.kind {
                unanswered.clear();
            }
            if let EventKind::WorkflowSignaled(_) = &event.kind
                && !self.excludes_signals
            {
                new.push(event.kind.clone());
            }
            if let EventKind::WorkflowUpdateAccepted(accepted) = &event.kind
                && !self.excludes_updates
            {
                new.push(EventKind::WorkflowUpdateAdmitted(Box::new(accepted.update.clone())));
            }
            if let EventKind::WorkflowOptionsUpdated(_) = &event.kind {
                // What an operator said of where the run goes holds for the run that goes on.
                new.push(event.kind.clone());
            }
            let EventKind::Peer(peer) = &event.kind else { continue };
            let Some(initiated) = peer.initiated_event_id().filter(|id| run.peers.is_open(*id)) else { continue };
            let mut peer = peer.clone();
            if let PeerEvent::ChildClosed { started_event_id, .. } = &mut *peer
                && let Some((_, number)) = children.iter().find(|(child, _)| *child == initiated)
            {
                *started_event_id = *number;
            }
            let is_start = matches!(*peer, PeerEvent::ChildStarted { .. });
            let number = new.push(EventKind::Peer(peer));
            if is_start {
                children.push((initiated, number));
            }
        }
        if !self.excludes_updates {
            for update in unanswered {
                new.push(update);
            }
        }
        self.end_children_that_went_along(new, after);
    }

    /// Children that were terminated because the base run had closed: they told a run that was no more.
    fn end_children_that_went_along(&self, new: &mut NewRun, after: &[Event]) {
        let closed_by_itself = after.last().is_some_and(|last| {
            let is_reset = matches!(&last.kind, EventKind::WorkflowTerminated(end) if end.reset_to.is_some());
            last.kind.close_status().is_some() && !is_reset
        });
        let Ok(run) = Execution::replay(new.events.iter().cloned()) else { return };
        for child in run.pending_children().into_iter().filter(|_| closed_by_itself) {
            let Some((started_event_id, run_id)) = run.peers.started_child(child.initiated_event_id) else { continue };
            if child.parent_close_policy == ParentClosePolicy::Terminate {
                new.push(EventKind::Peer(Box::new(PeerEvent::ChildClosed {
                    initiated_event_id: child.initiated_event_id,
                    started_event_id,
                    workflow_id: child.workflow_id,
                    workflow_type: child.workflow_type,
                    run_id,
                    outcome: ChildOutcome::Terminated,
                })));
            }
        }
    }
}

/// The history of the new run while it is put together.
struct NewRun {
    events: Vec<Event>,
    now: Timestamp,
}

impl NewRun {
    fn push(&mut self, kind: EventKind) -> EventId {
        let id = EventId(self.events.len() as u64 + 1);
        self.events.push(Event { id, at: self.now, kind });
        id
    }
}

fn event_of(history: &[Event], id: EventId) -> Option<&Event> {
    history.get(usize::try_from(id.0.checked_sub(1)?).ok()?)
}

impl Execution {
    /// The run that initiated what the event says: another one if it lies in the part of the history that this run shares with those
    /// that it was reset from.
    pub fn initiator(&self, initiated_event_id: EventId) -> RunId {
        self.started.writer(initiated_event_id)
    }

    /// What is to be done for a run that was just begun by a reset: what waits for workers, and messages without an answer.
    pub fn begun_by_reset(&self) -> Vec<Effect> {
        let owed = self.undelivered().into_iter();
        let owed = owed.map(|initiated_event_id| Effect::Deliver { initiated_event_id });
        self.offers().into_iter().chain(owed).collect()
    }

    /// The run goes on from here, after a reset at `at`.
    pub(super) fn apply_reset(&mut self, at: Timestamp) {
        let (before, run_before) = (self.execution_deadline(), self.run_deadline());
        // Pauses before the reset moved it; those after it will.
        self.started.execution_deadline = before;
        self.started_at = at;
        let (after, run_after) = (self.execution_deadline(), self.run_deadline());
        self.deadlines.shift(Source::Execution, before, after);
        self.deadlines.shift(Source::Run, run_before, run_after);
        self.schedule_activities_anew(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::limits;

    fn reset(point: ResetPoint) -> Reset {
        let request_id = Some(RequestId::from_trusted("r1"));
        Reset {
            point,
            excludes_signals: false,
            excludes_updates: false,
            reason: "bad deploy".into(),
            identity: "desk".into(),
            request_id,
        }
    }

    fn failed_activity(activity_id: Option<&str>, result: Option<&'static str>) -> ResetPoint {
        ResetPoint::FailedActivity {
            activity_id: activity_id.map(ActivityId::from_trusted),
            result: result.map(Payload::json),
        }
    }

    /// Resets a run: the new one, and the one that it goes on from, which is closed.
    fn carried_out(mut base: Run, reset: &Reset) -> (Run, Run) {
        let cut = reset.cut(&base.history).expect("the run has the point");
        let run_id = base.execution.started().run_id.successor(cut.forked_at, base.now);
        if base.execution.close_status().is_none() {
            let to = crate::event::ResetTo { run_id, forked_at: cut.forked_at };
            let end = Input::GoOnElsewhere { reason: reset.reason.clone(), identity: reset.identity.clone(), to };
            base.send(end).expect("an open run can be closed");
        }
        let events = reset.begin(cut, &base.history, run_id, base.now).expect("the reset is valid");
        let execution = Execution::replay(events.clone()).expect("what a reset writes is a history");
        let new = Run {
            execution,
            history: events,
            buffered: Vec::new(),
            progress: std::collections::BTreeMap::new(),
            now: base.now,
            next_run: None,
            log: Vec::new(),
            worker: base.worker.clone(),
        };
        (new, base)
    }

    #[track_caller]
    fn check_history(run: &Run, expected: &str) {
        let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
        assert_eq!(run.history_text().lines().collect::<Vec<_>>(), expected);
    }

    /// A run whose second workflow task failed it because an activity had failed.
    fn failed() -> Run {
        let mut run = Run::start();
        run.turn(vec![schedule_with("a", |activity| activity.retry_policy = Some(retry(1))), schedule("b")]);
        run.signal("early");
        let token = run.take_activity("a");
        run.fail_activity(token, Failure::application("Declined", "no"));
        run.turn(vec![fail("Declined")]);
        run
    }

    #[test]
    fn a_closed_run_goes_on_from_its_last_workflow_task() {
        let (mut run, base) = carried_out(failed(), &reset(ResetPoint::LastWorkflowTask));
        check_history(
            &run,
            "
                1 WorkflowStarted attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 ActivityScheduled b task=4
                7 WorkflowSignaled early
                8 ActivityStarted scheduled=5 attempt=1
                9 ActivityFailed scheduled=5 started=8 retry_state=MaximumAttemptsReached failure=\"no\"
                10 WorkflowTaskScheduled attempt=1
                11 WorkflowTaskStarted scheduled=10
                12 WorkflowTaskFailed scheduled=10 started=11 cause=Reset
            ",
        );
        let origin = run.execution.started().reset.clone().expect("it says where it comes from");
        assert_eq!((origin.base_run_id, origin.forked_at), (base.execution.started().run_id, EventId(12)));
        assert_eq!(run.execution.started().original_run_id(), base.execution.started().run_id);
        assert_eq!(run.execution.started().request_id, Some(RequestId::from_trusted("r1")));
        let offers = run.execution.begun_by_reset();
        assert!(
            matches!(
                &offers[..],
                [
                    Effect::OfferWorkflowTask { attempt: 1, .. },
                    Effect::OfferActivity { scheduled_event_id: EventId(6), attempt: 1, .. }
                ]
            ),
            "{offers:?}"
        );
        run.turn(vec![complete()]);
        assert_eq!(run.history.last().unwrap().kind.name(), "WorkflowCompleted");
    }

    #[test]
    fn an_open_run_is_closed_and_what_came_after_the_point_is_recorded_again() {
        let mut base = Run::start();
        base.turn(vec![start_timer("t", seconds(60))]);
        base.signal("one");
        base.turn(vec![schedule("a")]);
        let token = base.take_activity("a");
        base.complete_activity(token);
        base.cancel();
        let task = base.take_task();
        base.signal("two");
        let _ = task;
        let (run, base) = carried_out(base, &reset(ResetPoint::FirstWorkflowTask));
        check_history(
            &run,
            "
                1 WorkflowStarted attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=Reset
                5 WorkflowSignaled one
                6 WorkflowSignaled two
            ",
        );
        assert!(!run.execution.cancel_requested());
        let EventKind::WorkflowTerminated(end) = &base.history.last().unwrap().kind else { panic!("not terminated") };
        let to = end.reset_to.expect("it names the run that goes on");
        assert_eq!((to.run_id, to.forked_at), (run.execution.started().run_id, EventId(4)));
    }

    #[test]
    fn updates_that_were_accepted_after_the_point_are_asked_again() {
        let mut base = Run::start();
        base.turn(vec![]);
        base.update("u1");
        base.turn(vec![accept("u1"), answer("u1")]);
        base.update("u2");
        base.turn(vec![accept("u2")]);
        let (mut run, base) = carried_out(base, &reset(ResetPoint::FirstWorkflowTask));
        let tail: Vec<String> = run.history_text().lines().skip(4).map(str::to_owned).collect();
        assert_eq!(tail, ["5 WorkflowUpdateAdmitted u1 set", "6 WorkflowUpdateAdmitted u2 set"]);
        assert_eq!(run.execution.pending_updates().len(), 2);
        run.crash();
        run.send(Input::EndGrace).unwrap();
        // The code answers the first and says nothing of the second: it is refused.
        let token = run.take_task();
        run.finish_task(token, vec![accept("u1"), answer("u1")]);
        assert_eq!(run.execution.pending_updates(), []);
        let id = crate::ids::UpdateId::from_trusted("u2");
        assert_eq!(run.execution.update_standing(&id), None);
        // Of a reset of the reset, the one that is recorded is left.
        let (again, _) = carried_out(run, &reset(ResetPoint::FirstWorkflowTask));
        let names: Vec<&str> = again.history[4..].iter().map(|event| event.kind.name()).collect();
        assert_eq!(names, ["WorkflowUpdateAdmitted"]);
        let without = Reset { excludes_updates: true, ..reset(ResetPoint::FirstWorkflowTask) };
        assert_eq!(carried_out(base, &without).0.history.len(), 4);
    }

    #[test]
    fn updates_that_one_task_cannot_bring_wait_for_the_next() {
        let mut base = Run::start();
        base.turn(vec![]);
        for id in ["u1", "u2", "u3"] {
            let mut request = update(id);
            request.input = vec![Payload::json(vec![b'1'; limits::UPDATE_BYTES_PER_TASK_MAX * 2 / 5])];
            base.send(Input::Update(Box::new(request.clone()))).unwrap();
            base.turn(vec![Command::AcceptUpdate(Box::new(request))]);
        }
        let (mut run, _) = carried_out(base, &reset(ResetPoint::FirstWorkflowTask));
        run.turn(vec![]);
        assert_eq!(run.execution.pending_updates().len(), 1);
        run.crash();
        run.send(Input::EndGrace).unwrap();
        run.turn(vec![]);
        assert_eq!(run.execution.pending_updates(), []);
        assert_eq!(run.execution.pending_workflow_task(), None);
    }

    #[test]
    fn signals_may_be_left_out() {
        let mut base = Run::start();
        base.turn(vec![]);
        base.signal("one");
        let without = Reset { excludes_signals: true, ..reset(ResetPoint::WorkflowTask(EventId(4))) };
        let (run, _) = carried_out(base, &without);
        assert_eq!(run.history.len(), 4);
    }

    #[test]
    fn a_failed_activity_runs_again_as_if_it_were_scheduled_now() {
        let mut base = failed();
        base.advance(seconds(3600));
        let (run, _) = carried_out(base, &reset(failed_activity(None, None)));
        check_history(
            &run,
            "
                1 WorkflowStarted attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 ActivityScheduled a task=4
                6 ActivityScheduled b task=4
                7 WorkflowSignaled early
                8 WorkflowRepaired scheduled=5
            ",
        );
        let pending = run.execution.pending_activities();
        assert_eq!(pending.iter().map(|it| (it.attempt, it.scheduled_at)).collect::<Vec<_>>(), [(1, run.now); 2]);
        check(
            run,
            |run| {
                let token = run.take_activity("a");
                run.complete_activity(token);
            },
            "
                ~ activity 5 started attempt=1
                % 5 attempt=1 counted=0 started
                9 ActivityStarted scheduled=5 attempt=1
                10 ActivityCompleted scheduled=5 started=9
                % 5 deleted
            ",
        );
    }

    #[test]
    fn a_failed_activity_is_given_another_result() {
        let (run, _) = carried_out(failed(), &reset(failed_activity(Some("a"), Some("42"))));
        let tail: Vec<String> = run.history_text().lines().skip(7).map(str::to_owned).collect();
        assert_eq!(
            tail,
            [
                "8 WorkflowRepaired scheduled=5",
                "9 ActivityStarted scheduled=5 attempt=1",
                "10 ActivityCompleted scheduled=5 started=9"
            ]
        );
        let EventKind::ActivityCompleted(end) = &run.history[9].kind else { panic!("not completed") };
        assert_eq!((&end.result, end.identity.as_str()), (&Some(Payload::json("42")), "desk"));
        assert!(run.execution.pending_workflow_task().is_some(), "the code is told");
    }

    #[test]
    fn points_that_a_run_does_not_have_are_refused() {
        let refused = |run: &Run, point| reset(point).cut(&run.history).unwrap_err().to_string();
        let run = failed();
        assert_eq!(
            refused(&run, ResetPoint::WorkflowTask(EventId(5))),
            "point: event 5 is not the start or the end of a workflow task: look at the history for one"
        );
        assert_eq!(
            refused(&run, failed_activity(Some("b"), None)),
            "point: no activity with id \"b\" has failed in this run"
        );
        let new = Run::start();
        assert_eq!(
            refused(&new, ResetPoint::LastWorkflowTask),
            "point: the run has completed no workflow task: there is nothing to go back to"
        );
        assert_eq!(
            refused(&new, failed_activity(None, None)),
            "point: no activity has failed in this run: reset it to a workflow task instead"
        );
    }

    #[test]
    fn children_of_the_kept_part_go_over_and_those_behind_it_do_not() {
        let mut base = Run::start();
        base.turn(vec![start_child("kept"), signal_peer("other")]);
        base.accepted(5);
        base.turn(vec![start_child("late")]);
        base.accepted(11);
        let base_run_id = base.execution.started().run_id;
        let (mut run, base) = carried_out(base, &reset(ResetPoint::LastWorkflowTask));
        let owed = base.execution.undelivered();
        assert_eq!(owed, [EventId(11)], "the late child is terminated, and nobody else hears of it");
        // The signal that had no answer is sent again under the id that it had.
        let Some(out) = run.execution.outgoing(EventId(6)) else { panic!("the new run owes it") };
        let crate::peer::PeerMessage::Input(input) = out.message else { panic!("no input") };
        let Input::Signal { request_id, .. } = *input else { panic!("no signal") };
        assert_eq!(request_id, Some(RequestId::from_trusted(format!("{base_run_id}/6"))));
        assert_eq!(run.execution.initiator(EventId(5)), base_run_id);
        run.child_closed(5, ChildOutcome::Completed { result: None });
        let last = run.history.last().unwrap();
        assert_eq!(last.kind.name(), "ChildCompleted");
        // Its own children know the new run.
        run.turn(vec![start_child("new")]);
        let own = run.execution.pending_children()[0].initiated_event_id;
        assert_eq!(run.execution.initiator(own), run.execution.started().run_id);
    }

    #[test]
    fn the_end_of_a_child_that_came_after_the_point_is_recorded_again() {
        let mut base = Run::start();
        base.turn(vec![start_child("c")]);
        base.signal("go");
        base.turn(vec![]);
        base.accepted(5);
        base.child_closed(5, ChildOutcome::Completed { result: None });
        base.turn(vec![fail("Declined")]);
        let (run, _) = carried_out(base, &reset(ResetPoint::WorkflowTask(EventId(9))));
        let tail: Vec<&str> = run.history[8..].iter().map(|event| event.kind.name()).collect();
        assert_eq!(tail, ["WorkflowTaskFailed", "ChildStarted", "ChildCompleted"]);
        let EventKind::Peer(end) = &run.history[10].kind else { panic!("no peer") };
        assert!(matches!(**end, PeerEvent::ChildClosed { started_event_id: EventId(10), .. }), "{end:?}");
        assert!(run.execution.pending_children().is_empty());
    }

    #[test]
    fn a_reset_of_a_reset_keeps_who_asked_for_what() {
        let mut base = Run::start();
        base.turn(vec![start_child("a")]);
        base.accepted(5);
        base.turn(vec![]);
        let first = base.execution.started().run_id;
        let (mut second, _) = carried_out(base, &reset(ResetPoint::LastWorkflowTask));
        second.turn(vec![start_child("b")]);
        let of_second = second.execution.pending_children()[1].initiated_event_id;
        second.accepted(of_second.0);
        second.turn(vec![]);
        let second_id = second.execution.started().run_id;
        let (third, _) = carried_out(second, &reset(ResetPoint::LastWorkflowTask));
        assert_eq!(third.execution.initiator(EventId(5)), first);
        assert_eq!(third.execution.initiator(of_second), second_id);
        assert_eq!(third.execution.started().original_run_id(), first);
        let (back, _) = carried_out(third, &reset(ResetPoint::WorkflowTask(EventId(8))));
        assert_eq!(back.execution.initiator(EventId(5)), first);
        assert_eq!(back.execution.started().reset.as_ref().unwrap().forks.len(), 1);
    }

    #[test]
    fn the_run_timeout_counts_from_the_reset_and_the_deadline_of_the_chain_stays() {
        let mut base = Run::start_with(|started| {
            started.run_timeout = Some(seconds(100));
            started.execution_timeout = Some(seconds(1000));
        });
        base.turn(vec![]);
        base.advance(seconds(90));
        let (run, _) = carried_out(base, &reset(ResetPoint::LastWorkflowTask));
        assert_eq!(run.execution.next_deadline(), Some(run.now + seconds(100)));
        assert_eq!(run.execution.started_at(), run.now);
        assert_eq!(run.execution.started().execution_deadline, Some(BEGIN + seconds(1000)));
    }

    #[test]
    fn an_activity_that_was_to_stop_is_canceled() {
        let mut base = Run::start();
        base.turn(vec![schedule("a")]);
        base.take_activity("a");
        base.signal("go");
        base.turn(vec![cancel_activity("a")]);
        base.signal("go");
        base.turn(vec![Command::CancelWorkflow { details: None }]);
        let (run, _) = carried_out(base, &reset(ResetPoint::LastWorkflowTask));
        assert!(run.execution.pending_activities().is_empty());
        assert_eq!(run.history.last().unwrap().kind.name(), "ActivityCanceled");
    }
}
