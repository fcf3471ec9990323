//! Whether code follows the histories of runs that older code began: [`Replayer`], and [`Worker::check_open_runs`] before a new build
//! takes work.
//!
//! ```no_run
//! # use engine_sdk::prelude::*;
//! # #[workflow] async fn checkout(ctx: WorkflowContext) -> Result<u64, WorkflowError> { Ok(7) }
//! use engine_sdk::replay::Replayer;
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let replayer = Replayer::new().workflow(checkout);
//! replayer.replay_file("histories/checkout.json")?; // what `engine workflow history ID --output json` printed
//! let report = replayer.replay_runs(&client, "WorkflowType = 'checkout' AND Status = 'Running'").await?;
//! assert!(report.is_same(), "{report}");
//! # Ok(()) }
//! ```
//!
//! Replaying runs the workflow's code over the history and compares each command. It starts nothing, calls no activity and changes nothing.
//!
//! [`Worker::check_open_runs`]: crate::worker::Worker::check_open_runs
//!
//! | file | noun |
//! |---|---|
//! | `mod` | [`Replayer`] |
//! | `check` | [`CheckRuns`]: many runs of an engine |
//! | `report` | what came of it |
//! | `json` | histories as files |

mod check;
mod json;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use engine_core::event::{Event, EventKind};

pub use self::check::CheckRuns;
pub use self::json::{UnreadableHistory, from_json, to_json};
pub use self::report::{ReplayReport, RunReport, Verdict};
use crate::client::{Client, ClientError, ListFilter};
use crate::definition::WorkflowCode;
use crate::workflow::{AdvanceError, ErasedWorkflow, WorkflowRun, erase};

/// Replays histories with the code that it was given. Cheap to clone.
#[derive(Clone, Default)]
#[must_use = "a replayer does nothing before it is given a history"]
pub struct Replayer {
    workflows: BTreeMap<String, Arc<dyn ErasedWorkflow>>,
    any: Option<Arc<dyn ErasedWorkflow>>,
}

impl Replayer {
    /// A replayer without code.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow's code.
    pub fn workflow<W: WorkflowCode>(self, workflow: W) -> Self {
        self.with(W::NAME, erase(workflow))
    }

    pub(crate) fn with(mut self, name: &str, code: Arc<dyn ErasedWorkflow>) -> Self {
        self.workflows.insert(name.to_owned(), code);
        self
    }

    pub(crate) fn with_any(mut self, code: Option<Arc<dyn ErasedWorkflow>>) -> Self {
        self.any = code;
        self
    }

    /// Whether it has code for workflows of this type.
    pub fn knows(&self, workflow_type: &str) -> bool {
        self.code(workflow_type).is_some()
    }

    fn code(&self, workflow_type: &str) -> Option<&Arc<dyn ErasedWorkflow>> {
        self.workflows.get(workflow_type).or(self.any.as_ref())
    }

    /// Replays a history, from `WorkflowStarted` to any later event.
    ///
    /// # Errors
    /// If the code does not follow it, panics or awaits what is not the workflow's; if there is no code for its type; if it is no history.
    pub fn replay(&self, history: &[Event]) -> Result<(), ReplayFailure> {
        match self.verdict(history.to_vec()) {
            Verdict::Same => Ok(()),
            Verdict::Different(difference) => Err(ReplayFailure::Different(difference)),
            Verdict::NoCode => Err(ReplayFailure::NoCode(workflow_type_of(history))),
            Verdict::Unreadable(problem) => Err(ReplayFailure::Unreadable(problem)),
        }
    }

    /// Replays a history from JSON: what `engine workflow history ID --output json` prints, or [`to_json`] makes.
    ///
    /// # Errors
    /// Like [`Replayer::replay`], and if it cannot be read.
    pub fn replay_json(&self, json: &str) -> Result<(), ReplayFailure> {
        let history = from_json(json).map_err(|error| ReplayFailure::Unreadable(error.to_string()))?;
        self.replay(&history)
    }

    /// Replays a history from a JSON file. See [`Replayer::replay_json`].
    ///
    /// # Errors
    /// Like [`Replayer::replay_json`], and if the file cannot be read.
    pub fn replay_file(&self, path: impl AsRef<Path>) -> Result<(), ReplayFailure> {
        let path = path.as_ref();
        let json = std::fs::read_to_string(path)
            .map_err(|error| ReplayFailure::Unreadable(format!("cannot read {}: {error}", path.display())))?;
        self.replay_json(&json)
    }

    /// Replays the runs that a filter means (`docs/filters.md`), from the engine.
    ///
    /// # Errors
    /// If the engine cannot be reached or refuses the filter. A run that cannot be replayed is in the report.
    pub async fn replay_runs(&self, client: &Client, filter: impl Into<String>) -> Result<ReplayReport, ClientError> {
        CheckRuns::new(self.clone(), client.clone(), vec![ListFilter::query(filter)]).await
    }

    fn verdict(&self, history: Vec<Event>) -> Verdict {
        let Some(EventKind::WorkflowStarted(started)) = history.first().map(|event| &event.kind) else {
            return Verdict::Unreadable("the history does not begin with WorkflowStarted".to_owned());
        };
        let Some(code) = self.code(started.workflow_type.as_str()) else {
            return Verdict::NoCode;
        };
        let mut run = WorkflowRun::new(Arc::clone(code));
        // Panics of the code are caught by the run; this one keeps a bug of ours from ending the check of all runs.
        let advanced = std::panic::catch_unwind(AssertUnwindSafe(|| run.advance(history)));
        match advanced {
            Ok(Ok(_)) => Verdict::Same,
            Ok(Err(AdvanceError::TaskFailed(error))) => Verdict::Different(error.to_string()),
            Ok(Err(error @ AdvanceError::OutOfStep { .. })) => Verdict::Unreadable(error.to_string()),
            Err(_) => Verdict::Unreadable("the replayer panicked".to_owned()),
        }
    }
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer").field("workflows", &self.workflows.keys()).finish_non_exhaustive()
    }
}

fn workflow_type_of(history: &[Event]) -> String {
    match history.first().map(|event| &event.kind) {
        Some(EventKind::WorkflowStarted(started)) => started.workflow_type.as_str().to_owned(),
        _ => String::new(),
    }
}

/// Why a history was not replayed to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayFailure {
    /// The code does not follow it: what differs, side by side.
    #[error("{0}")]
    Different(String),
    /// The replayer has no code for its type.
    #[error("the replayer has no code for workflows of type {0:?}: add it with `.workflow(..)`")]
    NoCode(String),
    /// It is no history.
    #[error("the history cannot be read: {0}")]
    Unreadable(String),
}
