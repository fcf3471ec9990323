//! What the worker's own tasks and threads tell its loop.

use super::activity_tasks::{CodeResult, Key};
use super::queries::Answered;
use super::workflow_tasks::Advanced;
use crate::workflow::StepEnd;

/// News from inside the worker.
///
/// The channel that carries them has no bound of its own: each task that runs has at most one of each kind on the way, and
/// the slots bound the tasks.
pub(super) enum Event {
    /// An attempt's code came to its end.
    ActivityEnded(Key, CodeResult),
    /// An attempt has a heartbeat to send. Not sent again before that one was taken.
    Heartbeat(Key),
    /// Workflow code was moved forward, or could not be.
    WorkflowAdvanced(Box<Advanced>),
    /// A step came to its end.
    StepEnded {
        /// The run that began it.
        run_id: String,
        /// Its end.
        end: Box<StepEnd>,
    },
    /// A task has waited long enough for steps.
    StepsOverdue {
        /// The task's run.
        run_id: String,
        /// The task.
        token: Vec<u8>,
    },
    /// Workflow code was asked.
    QueryAnswered(Box<Answered>),
}
