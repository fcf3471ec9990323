//! What came of replaying many runs.

use std::fmt;
use std::time::Duration;

use engine_core::ids::{RunId, WorkflowId, WorkflowType};

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The code follows its history.
    Same,
    /// It does not: what differs, side by side.
    Different(String),
    /// There is no code for its type.
    NoCode,
    /// Its history could not be read, for instance because it was deleted meanwhile.
    Unreadable(String),
}

/// One run and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// The user's key.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// Its code.
    pub workflow_type: WorkflowType,
    /// How many events were replayed.
    pub events: usize,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of all runs. As text: a line of numbers for each workflow type, then each run that is not the same with its difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// By workflow type and id.
    pub runs: Vec<RunReport>,
    /// How long it took.
    pub took: Duration,
}

impl ReplayReport {
    /// Whether the code follows every history. Also if there were no runs.
    pub fn is_same(&self) -> bool {
        self.runs.iter().all(|run| run.verdict == Verdict::Same)
    }

    /// The runs that are not the same.
    pub fn troubled(&self) -> impl Iterator<Item = &RunReport> {
        self.runs.iter().filter(|run| run.verdict != Verdict::Same)
    }

    fn types(&self) -> Vec<&WorkflowType> {
        let mut types: Vec<&WorkflowType> = self.runs.iter().map(|run| &run.workflow_type).collect();
        types.sort();
        types.dedup();
        types
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types();
        let width =
            types.iter().map(|name| name.as_str().chars().count()).max().unwrap_or(0).max("WORKFLOW TYPE".len());
        writeln!(f, "{:width$}  {:>8}  {:>8}  {:>9}  {:>8}", "WORKFLOW TYPE", "RUNS", "SAME", "DIFFERENT", "UNKNOWN")?;
        for name in types {
            let of = |wanted: fn(&Verdict) -> bool| {
                self.runs.iter().filter(|run| run.workflow_type == *name && wanted(&run.verdict)).count()
            };
            let (all, same) = (of(|_| true), of(|verdict| *verdict == Verdict::Same));
            let different = of(|verdict| matches!(verdict, Verdict::Different(_)));
            let unknown = all - same - different;
            writeln!(f, "{:width$}  {all:>8}  {same:>8}  {different:>9}  {unknown:>8}", name.as_str())?;
        }
        let events: usize = self.runs.iter().map(|run| run.events).sum();
        write!(f, "{} runs of {events} events in {:.1?}", self.runs.len(), self.took)?;
        for run in self.troubled() {
            let (workflow_id, run_id) = (run.workflow_id.as_str(), run.run_id);
            write!(f, "\n\n{} {workflow_id:?}, run {run_id}: ", run.workflow_type.as_str())?;
            match &run.verdict {
                Verdict::Same => {}
                Verdict::Different(difference) => f.write_str(difference)?,
                Verdict::NoCode => f.write_str("this program has no code for its type")?,
                Verdict::Unreadable(problem) => f.write_str(problem)?,
            }
        }
        Ok(())
    }
}
