//! What a test engine changes about its worker: where the code comes from, and who hears of what goes wrong.

use std::fmt;
use std::sync::Arc;

use engine_server::Clock;
use engine_server::clock::Mail;

use super::registry::ErasedActivity;
use crate::activity::SharedState;
use crate::workflow::ErasedWorkflow;

/// The test engine behind a worker.
pub(crate) trait TestHost: Send + Sync {
    /// The code of an activity.
    fn activity(&self, name: &str) -> Option<ErasedActivity>;
    /// The code of a workflow.
    fn workflow(&self, name: &str) -> Option<Arc<dyn ErasedWorkflow>>;
    /// What activities share, as it is now.
    fn state(&self) -> Arc<SharedState>;
    /// A workflow task failed.
    fn workflow_task_failed(&self, token: &[u8], message: &str);
    /// A workflow task is done: whether the worker dies now, before anybody learns of it.
    fn dies(&self, run_id: &str) -> bool;
}

/// The test engine and its clock.
#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) host: Arc<dyn TestHost>,
    pub(crate) clock: Clock,
}

impl Hooks {
    pub(super) fn activity(&self, name: &str) -> Option<ErasedActivity> {
        self.host.activity(name)
    }

    pub(super) fn workflow(&self, name: &str) -> Option<Arc<dyn ErasedWorkflow>> {
        self.host.workflow(name)
    }

    /// The attempt has a heartbeat for the server.
    pub(super) fn heartbeat_begins(&self, token: &[u8]) {
        self.clock.posted(Mail::Heartbeat, token);
    }

    /// The attempt was told to stop.
    pub(super) fn stop_arrived(&self, token: &[u8]) {
        self.clock.delivered(Mail::Stop, token);
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("clock", &self.clock).finish_non_exhaustive()
    }
}
