//! How a worker works, checked.

use std::time::Duration;

use engine_core::ids::{DeploymentName, TaskQueueName};
use uuid::Uuid;

/// What a worker's loop needs to know.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) queues: Vec<TaskQueueName>,
    /// Those of them that it alone serves.
    pub(super) own_queues: Vec<String>,
    pub(super) identity: String,
    /// The same on each stream of this worker.
    pub(super) worker_id: Uuid,
    /// What `build_id` is a build of.
    pub(super) deployment: Option<DeploymentName>,
    pub(super) build_id: String,
    pub(super) workflow_slots: u32,
    pub(super) activity_slots: u32,
    pub(super) cache_runs: usize,
    pub(super) cache_bytes: usize,
    /// The server's default if `None`.
    pub(super) activity_grace: Option<Duration>,
    pub(super) shutdown_grace: Duration,
}
