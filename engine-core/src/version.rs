//! Versions of workers: which build of which deployment runs a run's code, and how the run follows them.
//!
//! What is not here: what a run does with them (`execution::versioning`), and which version new runs go to (the server's routing).

use std::fmt;
use std::sync::Arc;

use crate::ids::{BuildId, DeploymentName, RequestId};

/// A build of a deployment: what a worker announces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerVersion {
    /// The deployment: the builds of one program, which take each other's place.
    pub deployment: DeploymentName,
    /// The build.
    pub build_id: BuildId,
}

impl fmt::Display for WorkerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "build {} of deployment {}", self.build_id, self.deployment)
    }
}

/// How a run follows the versions of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersioningBehavior {
    /// It stays with the version that has it.
    Pinned,
    /// Its workflow tasks go to the version that new runs go to.
    AutoUpgrade,
}

impl VersioningBehavior {
    /// Its name, as filters write it.
    pub fn name(self) -> &'static str {
        match self {
            VersioningBehavior::Pinned => "Pinned",
            VersioningBehavior::AutoUpgrade => "AutoUpgrade",
        }
    }
}

/// How a run follows versions, whatever its code says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersioningOverride {
    /// It stays with this version.
    Pinned(Arc<WorkerVersion>),
    /// Its workflow tasks go to the version that new runs go to.
    AutoUpgrade,
}

impl VersioningOverride {
    /// Which of the two.
    pub fn behavior(&self) -> VersioningBehavior {
        match self {
            VersioningOverride::Pinned(_) => VersioningBehavior::Pinned,
            VersioningOverride::AutoUpgrade => VersioningBehavior::AutoUpgrade,
        }
    }
}

/// What a run begins with of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartVersioning {
    /// The version that it stays with until its code has said how it follows versions: that of the run that it continues, or of its
    /// parent, if that one was pinned.
    pub inherited: Option<Arc<WorkerVersion>>,
    /// How it follows versions, whatever its code says.
    pub versioning_override: Option<VersioningOverride>,
}

/// The version of the worker that completed a workflow task, beside its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskVersioning {
    /// The deployment that the worker's build is of.
    pub deployment: DeploymentName,
    /// How the run follows versions, as its code says.
    pub behavior: VersioningBehavior,
}

/// An operator changed which workers the run goes to. Takes effect when it arrives, even if it is buffered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowOptionsUpdated {
    /// How the run follows versions from here on, whatever its code says. `None`: as its code says.
    pub versioning_override: Option<VersioningOverride>,
    /// Why, for people.
    pub reason: String,
    /// Who did it, for people.
    pub identity: String,
    /// Makes the request safe to repeat.
    pub request_id: Option<RequestId>,
}
