//! Updates: messages that the workflow code answers.
//!
//! | stage     | input                                       | facts and events                              | next      |
//! |-----------|---------------------------------------------|-----------------------------------------------|-----------|
//! | unknown   | Update                                      | admitted (fact)                               | admitted  |
//! | unknown   | Update, the run is closed                   | — (refused: already closed)                   |           |
//! | any other | Update with the same id                     | — (answers the stage)                         |           |
//! | admitted  | StartWorkflowTask                           | sent (fact)                                   | admitted  |
//! | any       | AcceptUpdate (command)                      | WorkflowUpdateAccepted                        | accepted  |
//! | admitted  | CompleteWorkflowTask that rejects it        | rejected (fact)                               | unknown   |
//! | admitted  | … that had it and says nothing of it        | rejected (fact)                               | unknown   |
//! | accepted  | CompleteUpdate (command)                    | WorkflowUpdateCompleted                       | completed |
//! | admitted  | the run closes                              | — (its sender is told)                        | unknown   |
//! | accepted  | the run closes                              | — (its outcome is a failure that says so)     | completed |
//!
//! An admitted update is in memory only: a restart of the server forgets it, and its sender, who waits, sends it again. It needs a
//! workflow task, but it is no news that a history would show. So a task that was needed for updates only, and whose answer has no
//! commands, is *dropped*: nothing is written, and no number is used (`workflow_task`). A rejected update leaves no trace.
//!
//! In a run that began by a reset, updates that the base run had accepted behind the point are admitted again by events
//! (`WorkflowUpdateAdmitted`). Those are news, and are answered by the workflow task that brings them, whatever it says of them.
//!
//! Invariant: while an update is admitted, a workflow task is pending.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{EventKind, UpdateOutcome, UpdateRequest, WorkflowUpdateAccepted, WorkflowUpdateCompleted};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::execution::{
    Effect, Execution, Fact, RejectedUpdate, Rejection, Reply, Transition, UpdateAnswer, UpdateStanding,
    WorkflowTaskToken,
};
use crate::failure::Failure;
use crate::ids::{EventId, UpdateId, UpdateName};
use crate::limits;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Type name of the failure with which an accepted update ends that the run left behind when it closed.
pub const CLOSED_BEFORE_COMPLETION: &str = "WorkflowClosedBeforeUpdateCompleted";

/// The updates of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Updates {
    /// In order of arrival. Volatile.
    admitted: Vec<Admitted>,
    /// Accepted and completed ones.
    recorded: BTreeMap<UpdateId, Recorded>,
    /// How many of `recorded` are not completed.
    incomplete: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Admitted {
    request: UpdateRequest,
    at: Timestamp,
    /// The handing-out of the workflow task that brought it to a worker last.
    sent_with: Option<WorkflowTaskToken>,
    /// Whether the history has it: the run began by a reset. Those come before all others.
    recorded: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Recorded {
    name: UpdateName,
    accepted_event_id: EventId,
    accepted_at: Timestamp,
    /// [`EventId::NONE`] until it is completed.
    completed_event_id: EventId,
}

/// What a transition does to updates, on top of the run's own state.
#[derive(Debug, Default)]
pub(super) struct UpdateOverlay {
    accepted: BTreeMap<UpdateId, EventId>,
    completed: BTreeSet<UpdateId>,
    rejected: BTreeSet<UpdateId>,
}

impl UpdateOverlay {
    fn has_answered(&self, id: &UpdateId) -> bool {
        self.accepted.contains_key(id) || self.rejected.contains(id)
    }
}

impl Updates {
    /// Whether any is in memory only.
    pub(super) fn has_admitted(&self) -> bool {
        !self.admitted.is_empty()
    }

    /// Those that the next workflow task brings: in order of arrival, as many as fit.
    fn batch(&self) -> usize {
        let mut bytes = 0;
        let fitting = self.admitted.iter().take_while(|admitted| {
            bytes += admitted.request.size();
            bytes <= limits::UPDATE_BYTES_PER_TASK_MAX
        });
        fitting.count().max(usize::from(self.has_admitted()))
    }

    pub(super) fn requests_to_send(&self) -> Vec<UpdateRequest> {
        self.admitted[..self.batch()].iter().map(|admitted| admitted.request.clone()).collect()
    }

    fn in_flight(&self) -> usize {
        self.admitted.len() + self.incomplete
    }

    /// How many the history has.
    pub(super) fn recorded_len(&self) -> usize {
        self.recorded.len()
    }

    pub(super) fn len(&self) -> usize {
        self.admitted.len() + self.recorded.len()
    }

    /// Size of the payloads in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.admitted.iter().map(|admitted| admitted.request.size()).sum()
    }

    pub(super) fn forget_volatile(&mut self) {
        self.admitted.retain(|admitted| admitted.recorded);
        self.admitted.iter_mut().for_each(|admitted| admitted.sent_with = None);
    }

    /// The run closed.
    pub(super) fn close(&mut self) {
        self.admitted.clear();
    }

    /// Whether the update is accepted and not completed, and by which event.
    pub(super) fn open_acceptance(&self, id: &UpdateId) -> Option<EventId> {
        let recorded = self.recorded.get(id)?;
        (!recorded.completed_event_id.is_some()).then_some(recorded.accepted_event_id)
    }

    pub(super) fn is_recorded(&self, id: &UpdateId) -> bool {
        self.recorded.contains_key(id)
    }
}

/// An update that is under way, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpdate {
    /// The sender's key.
    pub update_id: UpdateId,
    /// Which handler.
    pub name: UpdateName,
    /// Its acceptance; [`EventId::NONE`] while it is admitted.
    pub accepted_event_id: EventId,
    /// When it reached this stage.
    pub since: Timestamp,
}

impl Execution {
    pub(super) fn decide_update(&self, request: UpdateRequest, now: Timestamp) -> Result<Transition, Rejection> {
        // Before the check for a closed run: a repeat finds its outcome after the close too.
        if let Some(standing) = self.update_standing(&request.id) {
            return Ok(Transition::reply(Reply::Update(standing)));
        }
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        check::payload_size("input", request.size())?;
        if self.updates.in_flight() >= limits::UPDATES_IN_FLIGHT_MAX {
            return Err(Rejection::Exhausted(format!(
                "the run has {} updates under way, which is the limit; try again when one is answered",
                self.updates.in_flight()
            )));
        }
        if self.updates.len() >= limits::UPDATES_PER_RUN_MAX {
            return Err(Rejection::Exhausted(format!(
                "the run has taken {} updates, which is the limit; try again when it has continued as new",
                self.updates.len()
            )));
        }
        let mut draft = Draft::new(self, now);
        let at = draft.clock();
        draft.fact(Fact::UpdateAdmitted { request: Box::new(request), at });
        draft.needs_task_for_updates();
        Ok(draft.finish(Reply::Update(UpdateStanding::Admitted)))
    }

    /// Where the update stands; `None` if the run does not know it: it never came, was rejected, or was admitted and forgotten.
    pub fn update_standing(&self, id: &UpdateId) -> Option<UpdateStanding> {
        if let Some(recorded) = self.updates.recorded.get(id) {
            return Some(if recorded.completed_event_id.is_some() {
                UpdateStanding::Completed { event_id: recorded.completed_event_id }
            } else if self.closed.is_some() {
                UpdateStanding::LeftBehind
            } else {
                UpdateStanding::Accepted { event_id: recorded.accepted_event_id }
            });
        }
        let is_admitted = self.updates.admitted.iter().any(|admitted| admitted.request.id == *id);
        is_admitted.then_some(UpdateStanding::Admitted)
    }

    /// Updates that are under way: accepted ones in order of acceptance, then admitted ones in order of arrival.
    pub fn pending_updates(&self) -> Vec<PendingUpdate> {
        if self.closed.is_some() {
            return Vec::new();
        }
        let open = self.updates.recorded.iter().filter(|(_, recorded)| !recorded.completed_event_id.is_some());
        let mut pending: Vec<PendingUpdate> = open
            .map(|(id, recorded)| PendingUpdate {
                update_id: id.clone(),
                name: recorded.name.clone(),
                accepted_event_id: recorded.accepted_event_id,
                since: recorded.accepted_at,
            })
            .collect();
        pending.sort_by_key(|update| update.accepted_event_id);
        pending.extend(self.updates.admitted.iter().map(|admitted| PendingUpdate {
            update_id: admitted.request.id.clone(),
            name: admitted.request.name.clone(),
            accepted_event_id: EventId::NONE,
            since: admitted.at,
        }));
        pending
    }

    pub(super) fn apply_update_admitted(&mut self, request: &UpdateRequest, at: Timestamp) {
        self.updates.admitted.push(Admitted { request: request.clone(), at, sent_with: None, recorded: false });
    }

    /// The history has an update that the run which was reset had accepted.
    pub(super) fn apply_update_readmitted(&mut self, request: &UpdateRequest, at: Timestamp) {
        let admitted = Admitted { request: request.clone(), at, sent_with: None, recorded: true };
        self.updates.admitted.push(admitted);
    }

    /// A workflow task completed, which had brought as many recorded updates as fit into one: what the code did not accept of
    /// them, it refused. Returns whether any are left for the next.
    pub(super) fn apply_readmitted_updates_answered(&mut self) -> bool {
        let answered = self.updates.admitted[..self.updates.batch()].iter().take_while(|admitted| admitted.recorded);
        let answered = answered.count();
        self.updates.admitted.drain(..answered);
        self.updates.admitted.first().is_some_and(|admitted| admitted.recorded)
    }

    pub(super) fn apply_updates_sent(&mut self, token: WorkflowTaskToken) {
        let sent = self.updates.batch();
        self.updates.admitted[..sent].iter_mut().for_each(|admitted| admitted.sent_with = Some(token));
    }

    pub(super) fn apply_update_rejected(&mut self, id: &UpdateId) {
        self.updates.admitted.retain(|admitted| admitted.request.id != *id);
    }

    pub(super) fn apply_update_accepted(&mut self, id: EventId, at: Timestamp, accepted: &WorkflowUpdateAccepted) {
        let request = &accepted.update;
        self.apply_update_rejected(&request.id);
        let recorded = Recorded {
            name: request.name.clone(),
            accepted_event_id: id,
            accepted_at: at,
            completed_event_id: EventId::NONE,
        };
        if self.updates.recorded.insert(request.id.clone(), recorded).is_none() {
            self.updates.incomplete += 1;
        }
    }

    pub(super) fn apply_update_completed(&mut self, id: EventId, update_id: &UpdateId) {
        if let Some(recorded) = self.updates.recorded.get_mut(update_id)
            && !recorded.completed_event_id.is_some()
        {
            recorded.completed_event_id = id;
            self.updates.incomplete -= 1;
        }
    }

    /// After a transition: what is still admitted needs a task, if none is pending.
    pub(super) fn need_task_for_updates(&mut self) {
        let Some(first) = self.updates.admitted.first() else { return };
        if self.closed.is_some() || self.workflow_task.is_pending() {
            return;
        }
        let at = self.clock.max(first.at);
        self.change_task(|task| task.schedule(at));
    }
}

impl Draft<'_> {
    /// Whether updates are left that this transition did not answer.
    pub(super) fn leaves_updates(&self) -> bool {
        let overlay = &self.overlay.updates;
        self.run.updates.admitted.iter().any(|admitted| !overlay.has_answered(&admitted.request.id))
    }

    pub(super) fn accept_update(&mut self, update: UpdateRequest, completed: EventId) -> Result<(), BadField> {
        let id = update.id.clone();
        if self.run.updates.is_recorded(&id) || self.overlay.updates.accepted.contains_key(&id) {
            return Err(BadField::new("update_id", format!("update {id:?} was accepted before")));
        }
        check::payload_size("input", update.size())?;
        let accepted = WorkflowUpdateAccepted { workflow_task_completed_event_id: completed, update };
        let event_id = self.push(EventKind::WorkflowUpdateAccepted(Box::new(accepted)));
        self.overlay.updates.accepted.insert(id.clone(), event_id);
        self.effect(Effect::UpdateAnswered { update_id: id, answer: UpdateAnswer::Accepted { event_id } });
        Ok(())
    }

    pub(super) fn complete_update(
        &mut self,
        update_id: UpdateId,
        outcome: UpdateOutcome,
        completed: EventId,
    ) -> Result<(), BadField> {
        let overlay = &self.overlay.updates;
        let accepted = match overlay.accepted.get(&update_id) {
            Some(event_id) => Some(*event_id),
            None => self.run.updates.open_acceptance(&update_id),
        };
        let accepted = accepted.filter(|_| !overlay.completed.contains(&update_id));
        let Some(accepted_event_id) = accepted else {
            return Err(BadField::new(
                "update_id",
                format!("no accepted update with id {update_id:?} waits for its outcome"),
            ));
        };
        let outcome = match outcome {
            UpdateOutcome::Completed { result } => {
                check::payload_size("result", result.as_ref().map_or(0, Payload::size))?;
                UpdateOutcome::Completed { result }
            }
            UpdateOutcome::Failed { failure } => UpdateOutcome::Failed { failure: failure.within_limits() },
        };
        self.overlay.updates.completed.insert(update_id.clone());
        self.push(EventKind::WorkflowUpdateCompleted(WorkflowUpdateCompleted {
            workflow_task_completed_event_id: completed,
            update_id: update_id.clone(),
            accepted_event_id,
            outcome: outcome.clone(),
        }));
        self.effect(Effect::UpdateAnswered { update_id, answer: UpdateAnswer::Completed { outcome } });
        Ok(())
    }

    /// Rejects what the worker rejected, and what it was given with `token` and says nothing of: it does not know updates.
    /// `accepted` are those that it takes on.
    pub(super) fn reject_updates(
        &mut self,
        token: &WorkflowTaskToken,
        rejected: Vec<RejectedUpdate>,
        accepted: &BTreeSet<UpdateId>,
    ) {
        let mut answers: BTreeMap<UpdateId, Failure> =
            rejected.into_iter().map(|rejected| (rejected.update_id, rejected.failure.within_limits())).collect();
        let updates = &self.run.updates;
        let brought = updates.batch();
        for (index, admitted) in updates.admitted.iter().enumerate() {
            let id = &admitted.request.id;
            if accepted.contains(id) {
                continue;
            }
            let failure = match answers.remove(id) {
                Some(failure) => failure,
                // After a crash nobody remembers what was sent, but those that the history has go first, as many as fit.
                None if admitted.sent_with == Some(*token) || (admitted.recorded && index < brought) => {
                    Failure::server("the worker did not answer the update: it may not support updates", true)
                }
                None => continue,
            };
            self.overlay.updates.rejected.insert(id.clone());
            // The end of the task says so already of those that the history has.
            if !admitted.recorded {
                self.fact(Fact::UpdateRejected { update_id: id.clone() });
            }
            let answer = UpdateAnswer::Rejected { failure };
            self.effect(Effect::UpdateAnswered { update_id: id.clone(), answer });
        }
    }

    /// The run closes: tells who waits for updates that it leaves behind.
    pub(super) fn leave_updates_behind(&mut self) {
        let run = self.run;
        for admitted in &run.updates.admitted {
            let id = &admitted.request.id;
            if !self.overlay.updates.has_answered(id) {
                self.effect(Effect::UpdateAnswered { update_id: id.clone(), answer: UpdateAnswer::RunClosed });
            }
        }
        let recorded = run.updates.recorded.iter().filter(|(_, recorded)| !recorded.completed_event_id.is_some());
        let accepted: Vec<UpdateId> =
            recorded.map(|(id, _)| id).chain(self.overlay.updates.accepted.keys()).cloned().collect();
        for id in accepted {
            if !self.overlay.updates.completed.contains(&id) {
                let answer = UpdateAnswer::Completed { outcome: left_behind() };
                self.effect(Effect::UpdateAnswered { update_id: id, answer });
            }
        }
    }
}

/// The outcome of an accepted update that was not completed when its run closed.
pub fn left_behind() -> UpdateOutcome {
    let message = "the workflow closed before the update was completed";
    UpdateOutcome::Failed { failure: Failure::application(CLOSED_BEFORE_COMPLETION, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Input;
    use crate::execution::support::*;

    /// A run that waits for a timer, its history 5 events long.
    fn idle() -> Run {
        let mut run = Run::start();
        run.turn(vec![start_timer("t", seconds(60))]);
        run
    }

    #[test]
    fn an_update_of_an_idle_run_is_in_memory_only_and_asks_for_a_workflow_task() {
        let run = check(
            idle(),
            |run| {
                run.update("u");
                run.update("u");
                run.update("v");
            },
            "
                ~ update u admitted
                > OfferWorkflowTask attempt=1
                = update admitted
                = update admitted
                ~ update v admitted
                = update admitted
            ",
        );
        assert_eq!(run.history.len(), 5);
        assert_eq!(run.execution.wake_at(), BEGIN + seconds(60), "a crash leaves only the timer");
        assert!(!run.execution.is_idle(), "it may not be dropped from memory");
    }

    #[test]
    fn accepted_and_completed_lie_where_the_code_put_them_among_its_commands() {
        let mut run = idle();
        run.update("sync");
        run.update("async");
        let run = check(
            run,
            |run| {
                let commands = vec![accept("sync"), answer("sync"), accept("async"), start_timer("u", seconds(1))];
                run.turn(commands);
                run.advance(seconds(1));
                run.due();
                run.turn(vec![answer("async")]);
            },
            "
                ~ task started attempt=1
                ~ updates sent
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 WorkflowUpdateAccepted sync set task=8
                10 WorkflowUpdateCompleted sync accepted=9 task=8
                11 WorkflowUpdateAccepted async set task=8
                12 TimerStarted u task=8 duration=1s
                > UpdateAnswered sync accepted
                > UpdateAnswered sync completed
                > UpdateAnswered async accepted
                13 TimerFired u started=12
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                14 WorkflowTaskScheduled attempt=1
                15 WorkflowTaskStarted scheduled=14
                16 WorkflowTaskCompleted scheduled=14 started=15
                17 WorkflowUpdateCompleted async accepted=11 task=16
                > UpdateAnswered async completed
            ",
        );
        let standing = |id| run.execution.update_standing(&UpdateId::from_trusted(id));
        assert_eq!(standing("sync"), Some(UpdateStanding::Completed { event_id: EventId(10) }));
        assert_eq!(standing("none"), None);
    }

    #[test]
    fn rejected_updates_leave_no_trace_and_no_gap() {
        let mut run = idle();
        run.update("bad");
        run.update("worse");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.answer_task(token, vec![], &["bad", "worse"]);
                run.signal("go");
            },
            "
                ~ task started attempt=1
                ~ updates sent
                ~ update bad rejected
                ~ update worse rejected
                ~ task dropped
                > UpdateAnswered bad rejected: no
                > UpdateAnswered worse rejected: no
                = dropped
                6 WorkflowSignaled go
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_rejection_beside_news_is_written_without_the_update() {
        let mut run = idle();
        run.update("bad");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.signal("go");
                run.answer_task(token, vec![], &["bad"]);
            },
            "
                ~ task started attempt=1
                ~ updates sent
                ~ buffered WorkflowSignaled go
                ~ update bad rejected
                ~ buffer flushed
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 WorkflowSignaled go
                > UpdateAnswered bad rejected: no
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_signal_that_came_while_a_worker_had_only_updates_survives_a_crash() {
        let mut run = idle();
        run.update("u");
        let token = run.take_task();
        run.signal("go");
        check(
            run,
            |run| {
                run.crash();
                run.finish_task(token, vec![accept("u"), answer("u")]);
            },
            "
                crash
                ~ buffer flushed
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 WorkflowUpdateAccepted u set task=8
                10 WorkflowUpdateCompleted u accepted=9 task=8
                11 WorkflowSignaled go
                > UpdateAnswered u accepted
                > UpdateAnswered u completed
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_crash_forgets_what_was_not_accepted_and_a_repeat_is_a_new_start() {
        let mut run = idle();
        run.update("u");
        let token = run.take_task();
        check(
            run,
            |run| {
                run.crash();
                run.finish_task(token, vec![accept("u")]);
                run.update("u");
                run.turn(vec![accept("u"), answer("u")]);
                run.crash();
                run.update("u");
            },
            "
                crash
                ! workflow task is stale: scheduled event 6, attempt 1 came, but the run waits for no workflow task
                ~ update u admitted
                > OfferWorkflowTask attempt=1
                = update admitted
                ~ task started attempt=1
                ~ updates sent
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 WorkflowUpdateAccepted u set task=8
                10 WorkflowUpdateCompleted u accepted=9 task=8
                > UpdateAnswered u accepted
                > UpdateAnswered u completed
                crash
                = update completed 10
            ",
        );
    }

    #[test]
    fn an_update_that_comes_while_the_code_runs_waits_for_the_next_task() {
        let mut run = idle();
        run.signal("go");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.update("late");
                run.finish_task(token, vec![]);
                run.turn(vec![accept("late")]);
            },
            "
                ~ task started attempt=1
                ~ update late admitted
                = update admitted
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                ~ updates sent
                10 WorkflowTaskScheduled attempt=1
                11 WorkflowTaskStarted scheduled=10
                12 WorkflowTaskCompleted scheduled=10 started=11
                13 WorkflowUpdateAccepted late set task=12
                > UpdateAnswered late accepted
            ",
        );
    }

    #[test]
    fn a_worker_that_says_nothing_of_an_update_does_not_know_updates() {
        let mut run = idle();
        run.update("u");
        check(
            run,
            |run| run.turn(vec![start_timer("u", seconds(5))]),
            "
                ~ task started attempt=1
                ~ updates sent
                ~ update u rejected
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskCompleted scheduled=6 started=7
                9 TimerStarted u task=8 duration=5s
                > UpdateAnswered u rejected: the worker did not answer the update: it may not support updates
            ",
        );
    }

    #[test]
    fn a_close_tells_who_waits_and_keeps_outcomes_for_repeats() {
        let mut run = idle();
        run.update("done");
        run.turn(vec![accept("done"), answer("done")]);
        run.update("taken");
        run.turn(vec![accept("taken")]);
        run.signal("go");
        let token = run.take_task();
        run.update("unseen");
        let run = check(
            run,
            |run| {
                run.finish_task(token, vec![complete()]);
                run.update("done");
                run.update("taken");
                run.update("unseen");
            },
            "
                16 WorkflowTaskScheduled attempt=1
                17 WorkflowTaskStarted scheduled=16
                18 WorkflowTaskCompleted scheduled=16 started=17
                19 WorkflowCompleted task=18
                > UpdateAnswered unseen run closed
                > UpdateAnswered taken failed: the workflow closed before the update was completed
                > Closed Completed
                = update completed 10
                = update left behind
                ! workflow execution already completed
            ",
        );
        assert_eq!(run.execution.pending_updates(), []);
    }

    #[test]
    fn a_termination_of_a_run_whose_task_was_needed_by_updates_only_writes_the_close_event_only() {
        let mut run = idle();
        run.update("u");
        run.take_task();
        check(
            run,
            |run| run.terminate(),
            "
                6 WorkflowTerminated enough
                > WithdrawWorkflowTask
                > UpdateAnswered u run closed
                > Closed Terminated
            ",
        );
    }

    #[test]
    fn a_task_that_fails_over_an_update_is_tried_again_with_it() {
        let mut run = idle();
        run.update("u");
        check(
            run,
            |run| {
                let token = run.take_task();
                run.fail_task(token);
                run.turn(vec![accept("u"), answer("u")]);
            },
            "
                ~ task started attempt=1
                ~ updates sent
                6 WorkflowTaskScheduled attempt=1
                7 WorkflowTaskStarted scheduled=6
                8 WorkflowTaskFailed scheduled=6 started=7 cause=Panic
                > OfferWorkflowTask attempt=2
                ~ task started attempt=2
                ~ updates sent
                9 WorkflowTaskScheduled attempt=2
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskCompleted scheduled=9 started=10
                12 WorkflowUpdateAccepted u set task=11
                13 WorkflowUpdateCompleted u accepted=12 task=11
                > UpdateAnswered u accepted
                > UpdateAnswered u completed
            ",
        );
    }

    #[test]
    fn an_answer_to_what_was_not_accepted_is_a_bad_command_and_the_update_stays() {
        let mut run = idle();
        run.update("u");
        run.turn(vec![answer("u")]);
        assert_eq!(
            run.log.last().unwrap(),
            "= refused BadCommand: commands[0] (CompleteUpdate): update_id: no accepted update with id \"u\" waits for its outcome"
        );
        run.turn(vec![accept("u"), accept("u")]);
        assert_eq!(
            run.log.last().unwrap(),
            "= refused BadCommand: commands[1] (AcceptUpdate): update_id: update \"u\" was accepted before"
        );
        assert_eq!(run.execution.pending_updates().len(), 1);
    }

    /// So many updates come, are accepted and completed.
    fn answered(run: &mut Run, count: usize) {
        for n in 0..count {
            let id = format!("u{n}");
            let transition = run.execution.decide(Input::Update(Box::new(update(&id))), BEGIN).unwrap();
            run.execution.absorb(&transition);
            let kind = WorkflowUpdateAccepted { workflow_task_completed_event_id: EventId(4), update: update(&id) };
            let accepted = EventId(run.execution.next_event_id().0);
            run.execution.apply_update_accepted(accepted, BEGIN, &kind);
            run.execution.apply_update_completed(accepted, &UpdateId::from_trusted(&id));
        }
    }

    #[test]
    fn many_updates_suggest_to_continue_as_new() {
        let suggests = |count| {
            let mut run = idle();
            answered(&mut run, count);
            let start = Input::StartWorkflowTask { identity: String::new(), history_size_bytes: 0 };
            let Reply::WorkflowTask(task) = run.execution.decide(start, BEGIN).unwrap().reply else {
                panic!("no task")
            };
            task.token.suggest_continue_as_new.updates
        };
        assert!(!suggests(limits::UPDATES_SUGGEST - 1));
        assert!(suggests(limits::UPDATES_SUGGEST));
    }

    #[test]
    fn the_number_of_updates_under_way_and_per_run_is_limited() {
        let refusal = |run: &mut Run, id: &str| run.send(Input::Update(Box::new(update(id)))).unwrap_err().to_string();
        let mut run = idle();
        (0..limits::UPDATES_IN_FLIGHT_MAX).for_each(|n| run.update(&format!("u{n}")));
        assert_eq!(
            refusal(&mut run, "more"),
            "the run has 10 updates under way, which is the limit; try again when one is answered"
        );
        let mut run = idle();
        answered(&mut run, limits::UPDATES_PER_RUN_MAX);
        let error = run.execution.decide(Input::Update(Box::new(update("more"))), BEGIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the run has taken 2000 updates, which is the limit; try again when it has continued as new"
        );
    }

    #[test]
    fn a_task_brings_as_many_updates_as_fit_a_message() {
        let mut run = idle();
        let large = |id: &str| {
            let mut update = update(id);
            update.input = vec![Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX - 100])];
            Input::Update(Box::new(update))
        };
        ["a", "b", "c"].into_iter().for_each(|id| drop(run.send(large(id)).unwrap()));
        let token = run.take_task();
        assert_eq!(run.execution.updates.requests_to_send().len(), 2);
        run.finish_task(token, vec![accept("a"), accept("b")]);
        assert_eq!(run.log.last().unwrap(), "> OfferWorkflowTask attempt=1", "the third waits for the next task");
    }
}
