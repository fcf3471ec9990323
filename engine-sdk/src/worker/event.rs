//! What the worker's own tasks and threads tell its loop.

use super::activity_tasks::{CodeResult, Key};
use super::workflow_tasks::Advanced;

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
}
