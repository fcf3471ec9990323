//! Steps at work: their ends on the way back to their runs, and runs between two tasks that follow each other because of them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::cache::Cached;
use super::event::Event;
use crate::workflow::{StepEnd, StepWork, WorkflowRun};

/// A task that has commands to send waits no longer than this for steps: the commands are not to wait for what they have nothing
/// to do with.
const WITH_COMMANDS: Duration = Duration::from_secs(1);

/// Most runs that are kept outside of the cache because steps of theirs are at work.
const EXTENDED_MAX: usize = 1000;

/// What this worker's steps left behind for their runs.
#[derive(Default)]
pub(super) struct Steps {
    /// By run id, in the order in which they ended.
    ends: HashMap<String, VecDeque<StepEnd>>,
    /// Runs whose task was completed while a step was at work, by run id: the next task follows at once, and finds the step.
    extended: HashMap<String, Cached<WorkflowRun>>,
    /// Steps of such runs that have not begun, because the news that led to them was not durable.
    waiting: HashMap<String, Vec<StepWork>>,
}

impl Steps {
    /// Has steps run on tokio. Their ends come as [`Event::StepEnded`].
    pub(super) fn spawn(steps: Vec<StepWork>, run_id: &str, events: &mpsc::UnboundedSender<Event>) {
        for step in steps {
            let (run_id, events) = (run_id.to_owned(), events.clone());
            let span = tracing::info_span!("step", run_id);
            let run = async move {
                if let Some(end) = step.run().await {
                    let _ = events.send(Event::StepEnded { run_id, end: Box::new(end) });
                }
            };
            tokio::spawn(run.instrument(span));
        }
    }

    /// A step of a run is over.
    pub(super) fn note(&mut self, run_id: String, end: StepEnd) {
        self.ends.entry(run_id).or_default().push_back(end);
    }

    /// The next end for a run.
    pub(super) fn take(&mut self, run_id: &str) -> Option<StepEnd> {
        let ends = self.ends.get_mut(run_id)?;
        let end = ends.pop_front();
        if ends.is_empty() {
            self.ends.remove(run_id);
        }
        end
    }

    /// Steps that begin with the next task of their run.
    pub(super) fn put_waiting(&mut self, run_id: &str, steps: Vec<StepWork>) {
        if !steps.is_empty() {
            self.waiting.insert(run_id.to_owned(), steps);
        }
    }

    pub(super) fn take_waiting(&mut self, run_id: &str) -> Vec<StepWork> {
        self.waiting.remove(run_id).unwrap_or_default()
    }

    /// Ends for a run that is gone mean nothing, and its steps do not begin.
    pub(super) fn forget(&mut self, run_id: &str) {
        self.ends.remove(run_id);
        self.waiting.remove(run_id);
    }

    /// Keeps a run until its next task. Gives it back if there are too many.
    pub(super) fn keep(&mut self, run_id: &str, run: Cached<WorkflowRun>) -> Result<(), Cached<WorkflowRun>> {
        if self.extended.len() >= EXTENDED_MAX {
            return Err(run);
        }
        self.extended.insert(run_id.to_owned(), run);
        Ok(())
    }

    pub(super) fn take_run(&mut self, run_id: &str) -> Option<Cached<WorkflowRun>> {
        self.extended.remove(run_id)
    }

    /// The runs that are kept, with the last event that each has seen.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&str, u64)> {
        self.extended.iter().map(|(run_id, cached)| (run_id.as_str(), cached.last_event_id))
    }
}

/// How long a task may wait for steps before it is completed and another one follows: the rest of its time is for the way.
pub(super) fn patience(start_to_close: Duration, has_commands: bool) -> Duration {
    let half = start_to_close / 2;
    if has_commands { half.min(WITH_COMMANDS) } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_do_not_wait_long_for_steps() {
        let task = Duration::from_secs(10);
        assert_eq!(patience(task, false), Duration::from_secs(5));
        assert_eq!(patience(task, true), Duration::from_secs(1));
        assert_eq!(patience(Duration::from_secs(1), true), Duration::from_millis(500));
    }
}
