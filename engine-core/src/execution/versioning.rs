//! Which workers a run goes to: the version that moved it forward, and what an operator says instead.
//!
//! | run    | what happens                        | events                                | from here on                    |
//! |--------|-------------------------------------|---------------------------------------|---------------------------------|
//! | open   | a workflow task is completed        | WorkflowTaskCompleted                 | as the code of its worker says  |
//! | open   | Move that changes something         | WorkflowOptionsUpdated (or buffered)  | as the operator says            |
//! | open   | Move that changes nothing, a repeat | — (answers `Unchanged`)               | as before                       |
//! | closed | Move                                | — (refused: already closed)           |                                 |
//!
//! A run is pinned to a version if an operator (or its start) said so, or else if the code that completed its last workflow task did;
//! a run that began as the next of a pinned one, or as its child, is pinned until its first workflow task is completed. All others
//! go where the server's routing says, which the rules do not know. A move takes effect when it arrives, even if it is buffered: what
//! waits for a worker is offered anew. What a worker has in hand ends there.
//!
//! A run without versions records none: its events have the bytes that they would have without this file.

use std::sync::Arc;

use crate::event::{
    EventKind, StartVersioning, VersioningBehavior, VersioningOverride, WorkerMetadata, WorkerVersion, WorkflowStarted,
};
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution, Rejection, Reply, Transition};
use crate::ids::{BuildId, RequestId};
use crate::time::Timestamp;
use crate::version::WorkflowOptionsUpdated;

/// How a run follows versions.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Versioning {
    /// The version that completed the last workflow task; until one is completed, the inherited one.
    version: Option<Arc<WorkerVersion>>,
    /// How the run follows versions, as its code said then.
    behavior: Option<VersioningBehavior>,
    versioning_override: Option<VersioningOverride>,
    /// The last move: a repeat of it must not undo what came after.
    last_request: Option<RequestId>,
    /// How many of its events are buffered: they count since they arrived, and not again when they are numbered.
    buffered: u32,
}

impl Versioning {
    pub(super) fn of_start(started: &WorkflowStarted) -> Self {
        let Some(versioning) = started.versioning.as_deref() else { return Self::default() };
        Self {
            version: versioning.inherited.clone(),
            behavior: versioning.inherited.as_ref().map(|_| VersioningBehavior::Pinned),
            versioning_override: versioning.versioning_override.clone(),
            ..Self::default()
        }
    }

    fn pin(&self) -> Option<&Arc<WorkerVersion>> {
        match (&self.versioning_override, self.behavior) {
            (Some(VersioningOverride::Pinned(version)), _) => Some(version),
            (None, Some(VersioningBehavior::Pinned)) => self.version.as_ref(),
            (Some(VersioningOverride::AutoUpgrade), _) | (None, Some(VersioningBehavior::AutoUpgrade) | None) => None,
        }
    }

    fn change(&mut self, change: &WorkflowOptionsUpdated) {
        self.versioning_override.clone_from(&change.versioning_override);
        self.last_request.clone_from(&change.request_id);
    }

    fn completed_by(&mut self, worker: &WorkerMetadata) {
        let Some(versioning) = worker.versioning.as_deref() else {
            self.version = None;
            self.behavior = None;
            return;
        };
        self.behavior = Some(versioning.behavior);
        let is_same = self.version.as_ref().is_some_and(|version| {
            version.build_id.as_str() == worker.build_id && version.deployment == versioning.deployment
        });
        if !is_same {
            let build_id = BuildId::from_trusted(&worker.build_id);
            self.version = Some(Arc::new(WorkerVersion { deployment: versioning.deployment.clone(), build_id }));
        }
    }

    /// What the next run of the chain begins with. The next run of a cron begins anew, but for what was said instead of its code.
    fn for_next(&self, is_by_cron: bool) -> Option<Box<StartVersioning>> {
        let is_pinned_by_code = self.versioning_override.is_none() && !is_by_cron;
        let inherited = self.pin().filter(|_| is_pinned_by_code).cloned();
        let versioning_override = self.versioning_override.clone();
        (inherited.is_some() || versioning_override.is_some())
            .then(|| Box::new(StartVersioning { inherited, versioning_override }))
    }
}

/// How a run follows versions, for people and for lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunVersioning {
    /// The version that completed its last workflow task, or that it inherited.
    pub version: Option<Arc<WorkerVersion>>,
    /// How it follows versions, as its code said then.
    pub behavior: Option<VersioningBehavior>,
    /// What an operator, or its start, said instead.
    pub versioning_override: Option<VersioningOverride>,
}

impl Execution {
    /// The version that the run stays with; `None` if it goes where the routing says.
    pub fn pinned_to(&self) -> Option<&Arc<WorkerVersion>> {
        self.versioning.pin()
    }

    /// How it follows versions.
    pub fn versioning(&self) -> RunVersioning {
        let Versioning { version, behavior, versioning_override, last_request: _, buffered: _ } = &self.versioning;
        RunVersioning {
            version: version.clone(),
            behavior: *behavior,
            versioning_override: versioning_override.clone(),
        }
    }

    /// The version by which the run is listed, and how it follows versions: the one that it stays with, else the one that moved it
    /// forward last. `None` if there is none.
    pub fn listed_version(&self) -> Option<(Arc<WorkerVersion>, VersioningBehavior)> {
        match self.pinned_to() {
            Some(version) => Some((Arc::clone(version), VersioningBehavior::Pinned)),
            None => self.versioning.version.clone().map(|version| (version, VersioningBehavior::AutoUpgrade)),
        }
    }

    pub(super) fn decide_move(&self, change: WorkflowOptionsUpdated, now: Timestamp) -> Result<Transition, Rejection> {
        // Before the check for a closed run, as for signals.
        if change.request_id.is_some() && change.request_id == self.versioning.last_request {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        if change.versioning_override == self.versioning.versioning_override {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        let mut after = self.versioning.clone();
        after.change(&change);
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowOptionsUpdated(Box::new(change)));
        if after.pin() != self.pinned_to() {
            self.offers().into_iter().for_each(|offer| draft.effect(offer));
        }
        Ok(draft.finish(Reply::Done))
    }

    /// A numbered event of a move. One that was buffered counts since then.
    pub(super) fn apply_options_updated(&mut self, change: &WorkflowOptionsUpdated) {
        if self.versioning.buffered > 0 {
            self.versioning.buffered -= 1;
        } else {
            self.versioning.change(change);
        }
    }

    pub(super) fn apply_options_updated_in_buffer(&mut self, change: &WorkflowOptionsUpdated) {
        self.versioning.buffered += 1;
        self.versioning.change(change);
    }

    pub(super) fn apply_task_completed_by(&mut self, worker: &WorkerMetadata) {
        if worker.versioning.is_some() || self.versioning.version.is_some() {
            self.versioning.completed_by(worker);
        }
    }

    /// What a child begins with of versions.
    pub(super) fn versioning_of_child(&self) -> Option<Box<StartVersioning>> {
        let inherited = self.pinned_to()?.clone();
        Some(Box::new(StartVersioning { inherited: Some(inherited), versioning_override: None }))
    }

    /// What is buffered goes to the next run, or is no more.
    pub(super) fn end_moves(&mut self) {
        self.versioning.buffered = 0;
    }
}

impl Draft<'_> {
    /// What the next run of the chain begins with: the workflow task that this transition completes counts.
    pub(super) fn versioning_of_next(&self, is_by_cron: bool) -> Option<Box<StartVersioning>> {
        self.versioning().for_next(is_by_cron)
    }

    fn versioning(&self) -> Versioning {
        let mut versioning = self.run.versioning.clone();
        for event in self.events() {
            if let EventKind::WorkflowTaskCompleted(end) = &event.kind {
                versioning.completed_by(&end.worker);
            }
        }
        versioning
    }

    /// Offers anew what waits, if the run stays with another version than before by the workflow task that this transition completed.
    pub(super) fn follow_version(&mut self, has_version: bool) {
        if !has_version && self.run.versioning.version.is_none() {
            return;
        }
        let has_closed = self.events().last().is_some_and(|event| event.kind.close_status().is_some());
        if has_closed || self.versioning().pin() == self.run.pinned_to() {
            return;
        }
        for offer in self.run.offers() {
            if let Effect::OfferActivity { scheduled_event_id, .. } = &offer
                && !self.overlay.ended_activities.contains(scheduled_event_id)
            {
                self.effect(offer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::Command;
    use crate::cron::Cron;
    use crate::execution::support::*;
    use crate::execution::{Cut, Input, Reset, ResetPoint};
    use crate::ids::RunId;
    use VersioningBehavior::{AutoUpgrade, Pinned};

    /// A run whose first workflow task was completed by this build.
    fn served_by(build_id: &str, behavior: VersioningBehavior) -> Run {
        let mut run = Run::start();
        run.served_by(build_id, behavior);
        run.turn(vec![schedule("a")]);
        run.take_log();
        run
    }

    fn pin(run: &Run) -> Option<String> {
        run.execution.pinned_to().map(|version| version.build_id.to_string())
    }

    fn listed(run: &Run) -> Option<(String, VersioningBehavior)> {
        run.execution.listed_version().map(|(version, behavior)| (version.build_id.to_string(), behavior))
    }

    #[test]
    fn a_run_is_pinned_if_the_code_that_moved_it_forward_last_says_so() {
        let mut run = served_by("1", Pinned);
        assert_eq!((pin(&run), listed(&run)), (Some("1".to_owned()), Some(("1".to_owned(), Pinned))));
        run.served_by("2", AutoUpgrade);
        run.signal("go");
        run.turn(vec![]);
        assert_eq!((pin(&run), listed(&run)), (None, Some(("2".to_owned(), AutoUpgrade))));
        run.worker = WorkerMetadata::default();
        run.signal("go");
        run.turn(vec![]);
        assert_eq!((pin(&run), listed(&run)), (None, None));
        assert_eq!(run.recovered().versioning(), RunVersioning::default());
    }

    #[test]
    fn a_move_is_recorded_and_offers_anew_what_waits() {
        let mut run = served_by("1", Pinned);
        run.signal("go");
        run.take_log();
        let mut run = check(
            run,
            |run| {
                run.send(moved(Some(pinned("2")))).unwrap();
                run.send(moved(Some(pinned("2")))).unwrap();
            },
            "
                7 WorkflowOptionsUpdated pinned to build 2 of deployment shop
                > OfferWorkflowTask attempt=1
                > OfferActivity 5 attempt=1 queue=orders
                = unchanged
            ",
        );
        assert_eq!(pin(&run), Some("2".to_owned()));
        run.turn(vec![]);
        assert_eq!(
            pin(&run),
            Some("2".to_owned()),
            "the code of build 1 completed a task that it had, and the move holds"
        );
        run.send(moved(Some(VersioningOverride::AutoUpgrade))).unwrap();
        assert_eq!((pin(&run), listed(&run)), (None, Some(("1".to_owned(), AutoUpgrade))));
        run.send(moved(None)).unwrap();
        assert_eq!(pin(&run), Some("1".to_owned()));
    }

    #[test]
    fn a_move_while_a_worker_has_the_task_holds_at_once_and_is_recorded_behind_it() {
        let mut run = served_by("1", Pinned);
        run.signal("go");
        let token = run.take_task();
        run.take_log();
        let mut run = check(
            run,
            |run| {
                run.send(moved(Some(pinned("2")))).unwrap();
                assert_eq!(pin(run), Some("2".to_owned()));
                run.finish_task(token, vec![schedule("b")]);
            },
            "
                ~ buffered WorkflowOptionsUpdated pinned to build 2 of deployment shop
                > OfferActivity 5 attempt=1 queue=orders
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 ActivityScheduled b task=9
                11 WorkflowOptionsUpdated pinned to build 2 of deployment shop
                > OfferActivity 10 attempt=1 queue=orders
            ",
        );
        run.crash();
        assert_eq!(pin(&run), Some("2".to_owned()));
    }

    #[test]
    fn a_run_that_becomes_pinned_takes_its_waiting_activities_along() {
        let mut run = served_by("1", AutoUpgrade);
        run.signal("go");
        run.served_by("2", Pinned);
        let token = run.take_task();
        run.take_log();
        check(
            run,
            |run| run.finish_task(token, vec![]),
            "
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                > OfferActivity 5 attempt=1 queue=orders
            ",
        );
    }

    #[test]
    fn a_repeated_move_does_not_undo_what_came_after_and_a_closed_run_is_not_moved() {
        let mut run = served_by("1", Pinned);
        let first = |build_id| {
            let Input::Move(mut change) = moved(Some(pinned(build_id))) else { unreachable!("it is a move") };
            change.request_id = Some(RequestId::from_trusted("once"));
            Input::Move(change)
        };
        run.send(first("2")).unwrap();
        run.send(moved(Some(pinned("3")))).unwrap();
        run.send(first("4")).unwrap();
        run.send(first("2")).unwrap();
        assert_eq!(pin(&run), Some("4".to_owned()), "an id counts for the last move only");
        run.signal("go");
        run.turn(vec![complete()]);
        run.take_log();
        run.send(first("2")).unwrap();
        let _ = run.send(moved(None));
        assert_eq!(run.take_log(), "= unchanged\n! workflow execution already completed");
    }

    #[test]
    fn a_paused_run_is_moved_without_being_offered() {
        let mut run = served_by("1", Pinned);
        run.pause();
        run.take_log();
        check(
            run,
            |run| {
                run.send(moved(Some(VersioningOverride::AutoUpgrade))).unwrap();
            },
            "7 WorkflowOptionsUpdated auto-upgrade",
        );
    }

    #[test]
    fn the_next_run_stays_with_the_version_of_a_pinned_one() {
        let next = |behavior, over: Option<VersioningOverride>| {
            let mut run = Run::start();
            run.served_by("1", behavior);
            if over.is_some() {
                run.send(moved(over)).unwrap();
            }
            run.turn(vec![Command::ContinueAsNew(Box::default())]);
            run.next_run.expect("a run follows").started.versioning.map(|it| *it)
        };
        let inherited = Some(Arc::new(version("1")));
        assert_eq!(next(Pinned, None), Some(StartVersioning { inherited, versioning_override: None }));
        assert_eq!(next(AutoUpgrade, None), None);
        let said = |over| Some(StartVersioning { inherited: None, versioning_override: Some(over) });
        assert_eq!(next(Pinned, Some(pinned("2"))), said(pinned("2")));
        assert_eq!(next(Pinned, Some(VersioningOverride::AutoUpgrade)), said(VersioningOverride::AutoUpgrade));
    }

    #[test]
    fn an_inherited_version_holds_until_the_code_has_said_how_the_run_follows() {
        let mut run = Run::start_with(|started| {
            let inherited = Some(Arc::new(version("1")));
            started.versioning = Some(Box::new(StartVersioning { inherited, versioning_override: None }));
        });
        assert_eq!(pin(&run), Some("1".to_owned()));
        run.served_by("1", AutoUpgrade);
        run.turn(vec![]);
        assert_eq!((pin(&run), listed(&run)), (None, Some(("1".to_owned(), AutoUpgrade))));
    }

    #[test]
    fn the_next_run_of_a_cron_begins_anew_but_for_what_an_operator_said() {
        let next = |over: Option<VersioningOverride>| {
            let mut run = Run::start_with(|started| {
                started.cron = Some(Box::new(Cron { expression: "* * * * *".into(), time_zone: String::new() }));
                started.continued_from = Some(started.run_id);
            });
            run.served_by("1", Pinned);
            run.send(moved(over)).unwrap();
            run.turn(vec![complete()]);
            run.next_run.expect("a run follows").started.versioning.map(|it| *it)
        };
        assert_eq!(next(None), None);
        let said = StartVersioning { inherited: None, versioning_override: Some(pinned("2")) };
        assert_eq!(next(Some(pinned("2"))), Some(said));
    }

    #[test]
    fn a_child_of_a_pinned_run_begins_with_its_version() {
        let mut run = served_by("1", Pinned);
        run.signal("go");
        run.turn(vec![start_child("c")]);
        let inherited = run.execution.versioning_of_child().and_then(|it| it.inherited);
        assert_eq!(inherited, Some(Arc::new(version("1"))));
        run.send(moved(Some(VersioningOverride::AutoUpgrade))).unwrap();
        assert_eq!(run.execution.versioning_of_child(), None);
    }

    #[test]
    fn a_run_that_was_reset_goes_where_its_kept_history_says_but_a_move_after_the_point_holds() {
        let begun = |run: &Run, point| {
            let reset = Reset {
                point,
                excludes_signals: true,
                excludes_updates: true,
                reason: "again".into(),
                identity: "desk".into(),
                request_id: None,
            };
            let cut: Cut = reset.cut(&run.history).unwrap();
            let events = reset.begin(cut, &run.history, RunId::from_parts(BEGIN, [9; 10]), run.now).unwrap();
            let new = Execution::replay(events).unwrap();
            new.pinned_to().map(|version| version.build_id.to_string())
        };
        let mut run = served_by("1", Pinned);
        run.served_by("2", Pinned);
        run.signal("go");
        run.turn(vec![]);
        assert_eq!(begun(&run, ResetPoint::FirstWorkflowTask), None);
        assert_eq!(begun(&run, ResetPoint::LastWorkflowTask), Some("1".to_owned()));
        run.send(moved(Some(pinned("3")))).unwrap();
        assert_eq!(begun(&run, ResetPoint::FirstWorkflowTask), Some("3".to_owned()));

        let mut next = Run::start_with(|started| {
            let inherited = Some(Arc::new(version("1")));
            started.versioning = Some(Box::new(StartVersioning { inherited, versioning_override: None }));
        });
        next.served_by("1", Pinned);
        next.turn(vec![]);
        assert_eq!(begun(&next, ResetPoint::FirstWorkflowTask), None, "what it inherited is no way out of a bad build");
    }

    #[test]
    fn events_of_a_run_without_versions_say_nothing_of_them() {
        let mut run = Run::start();
        run.turn(vec![start_child("c")]);
        run.signal("go");
        run.turn(vec![Command::ContinueAsNew(Box::default())]);
        assert_eq!(run.next_run.expect("a run follows").started.versioning, None);
        for event in &run.history {
            if let EventKind::WorkflowTaskCompleted(end) = &event.kind {
                assert_eq!(end.worker.versioning, None);
            }
        }
    }
}
