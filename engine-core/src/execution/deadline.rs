//! Deadlines: instants at which a run changes by itself.
//!
//! Each source has at most one deadline, its earliest; the source keeps the instant and moves its entry here when it changes.
//! Looking up and moving cost O(log n), so a run of 10,000 activities is as quick to ask as one of ten.
//!
//! | due                                   | what follows                                             |
//! |---------------------------------------|----------------------------------------------------------|
//! | execution deadline, run timeout       | the run closes (`close`), and nothing else happens       |
//! | workflow task                         | it times out, or its pause is over (`workflow_task`)     |
//! | timers, by (fire time, started event) | they fire (`timer`)                                      |
//! | activities                            | a timeout, or the pause before an attempt is over        |
//!
//! While the run is paused ([`super::pause`]) nothing is due but the workflow task that a worker has.
//!
//! All that is due at one instant happens in one transition, in the order of the table: the workflow task comes before the
//! timers, because events are buffered while it runs and numbered once it has ended.

use std::collections::BTreeSet;

use crate::execution::draft::Draft;
use crate::execution::pause::RunTime;
use crate::execution::{Execution, Reply, Transition};
use crate::ids::EventId;
use crate::time::Timestamp;

/// What has a deadline. In the order in which what is due at the same instant happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The whole chain of runs.
    Execution,
    /// This run.
    Run,
    /// The workflow task: its start-to-close timeout, or the end of a pause.
    WorkflowTask,
    /// A timer, by its started event.
    Timer(EventId),
    /// An activity, by its scheduled event.
    Activity(EventId),
}

/// The deadlines of one run, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Deadlines {
    entries: BTreeSet<(Timestamp, Source)>,
    /// When the run's time stood still. What is in `entries` counts pauses that are over.
    pub(super) time: RunTime,
}

impl Deadlines {
    /// Moves the deadline of `source`.
    pub(super) fn shift(&mut self, source: Source, from: Option<Timestamp>, to: Option<Timestamp>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.entries.remove(&(from, source));
        }
        // An instant that never comes needs no entry.
        if let Some(to) = to.filter(|to| *to != Timestamp::MAX) {
            self.entries.insert((to, source));
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Gives back the memory of an empty set, which the standard library keeps.
    pub(super) fn shrink(&mut self) {
        if self.entries.is_empty() {
            self.entries = BTreeSet::new();
        }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// The next one that is not the workflow task's.
    pub(super) fn next_but_task(&self) -> Option<Timestamp> {
        self.entries.iter().find(|(_, source)| *source != Source::WorkflowTask).map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is due at `now`, earliest first.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = Source> {
        self.entries.iter().take_while(move |(at, _)| *at <= now).map(|(_, source)| *source)
    }
}

impl Execution {
    pub(super) fn decide_deadline_passed(&self, now: Timestamp) -> Transition {
        let mut due: Vec<Source> = self.deadlines.due(now).collect();
        if self.is_paused() {
            let is_overdue = self.next_deadline().is_some_and(|at| at <= now);
            due.retain(|source| is_overdue && *source == Source::WorkflowTask);
        }
        if due.is_empty() {
            return Transition::reply(Reply::Unchanged);
        }
        let mut draft = Draft::new(self, now);
        // The chain's deadline wins over the run's: after it no other run may follow.
        if due.contains(&Source::Execution) {
            draft.close_timed_out(Source::Execution);
            return draft.finish(Reply::Done);
        }
        if due.contains(&Source::Run) {
            draft.close_timed_out(Source::Run);
            return draft.finish(Reply::Done);
        }
        if due.contains(&Source::WorkflowTask) {
            draft.workflow_task_due();
        }
        for source in &due {
            if let Source::Timer(started_event_id) = source {
                draft.fire_timer(*started_event_id);
            }
        }
        for source in &due {
            if let Source::Activity(scheduled_event_id) = source {
                draft.activity_due(*scheduled_event_id);
            }
        }
        draft.finish(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::support::*;

    #[test]
    fn a_look_before_the_time_changes_nothing() {
        let mut run = Run::start();
        run.turn(vec![start_timer("t", seconds(5))]);
        check(
            run,
            |run| run.due(),
            "
                = unchanged
            ",
        );
    }

    #[test]
    fn all_that_is_due_happens_in_one_transition_the_workflow_task_first() {
        let mut run = Run::start();
        run.turn(vec![
            start_timer("t", seconds(5)),
            schedule_with("never started", |activity| activity.timeouts.schedule_to_start = Some(seconds(5))),
            schedule("failed before"),
        ]);
        let token = run.take_activity("failed before");
        run.fail_activity(token, crate::failure::Failure::application("Busy", "later"));
        run.signal("go");
        run.take_task();
        check(
            run,
            |run| {
                run.advance(seconds(60));
                run.due();
            },
            r#"
                ~ activity 7 offered
                9 WorkflowTaskScheduled attempt=1
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskTimedOut scheduled=9 started=10 timeout=StartToClose
                12 TimerFired t started=5
                13 ActivityTimedOut scheduled=6 started=0 retry_state=Timeout failure="schedule-to-start timeout"
                > WithdrawWorkflowTask
                > OfferWorkflowTask attempt=2
                > OfferActivity 7 attempt=2 queue=orders
                > WithdrawActivity 6 attempt=1
            "#,
        );
    }

    #[test]
    fn the_chain_s_deadline_wins_over_the_run_s_and_over_all_else() {
        let mut run = Run::start_with(|started| {
            started.execution_timeout = Some(seconds(5));
            started.run_timeout = Some(seconds(5));
            started.retry_policy = Some(retry(0));
        });
        run.turn(vec![start_timer("t", seconds(5))]);
        check(
            run,
            |run| {
                run.advance(seconds(5));
                run.due();
            },
            "
                6 WorkflowTimedOut retry_state=Timeout
                > Closed TimedOut
            ",
        );
    }
}
