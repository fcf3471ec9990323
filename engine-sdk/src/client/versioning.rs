//! How a run follows the versions of its workers: what is told of it, and how an operator changes it.

use std::fmt;
use std::future::IntoFuture;

use engine_core::version::{VersioningBehavior, VersioningOverride, WorkerVersion};
use engine_proto::convert::{
    ConvertError, versioning_behavior_from_proto, versioning_override_from_proto, worker_version_from_proto,
};
use engine_proto::v1;

use super::{Client, ClientError, WorkflowHandle, new_request_id, until_answered};
use crate::definition::BoxFuture;

/// How a run follows the versions of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunVersioning {
    /// The version that completed its last workflow task, or that it inherited; `None`: its workers had none.
    pub version: Option<WorkerVersion>,
    /// How it follows versions, as its code said then.
    pub behavior: Option<VersioningBehavior>,
    /// What an operator, or its start, said instead.
    pub versioning_override: Option<VersioningOverride>,
    /// Where its next workflow task goes; `None`: to workers without a version.
    pub target: Option<WorkerVersion>,
}

impl TryFrom<v1::WorkflowVersioning> for RunVersioning {
    type Error = ConvertError;

    fn try_from(message: v1::WorkflowVersioning) -> Result<Self, ConvertError> {
        let version = |version: Option<v1::WorkerVersion>| version.as_ref().map(worker_version_from_proto).transpose();
        Ok(RunVersioning {
            version: version(message.version)?,
            behavior: versioning_behavior_from_proto(message.behavior),
            versioning_override: message
                .versioning_override
                .as_ref()
                .map(versioning_override_from_proto)
                .transpose()?,
            target: version(message.target)?,
        })
    }
}

/// Which workers a run is to go to: see [`WorkflowHandle::move_to`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveTo {
    /// Those of this version; it stays with them, whatever its code says.
    Version {
        /// The deployment.
        deployment: String,
        /// The build.
        build_id: String,
    },
    /// Those that new runs go to, at each workflow task, whatever its code says.
    AutoUpgrade,
    /// As its code says: takes back what an operator, or its start, said.
    AsCodeSays,
}

impl MoveTo {
    /// Those of this build of a deployment.
    pub fn version(deployment: impl Into<String>, build_id: impl Into<String>) -> Self {
        Self::Version { deployment: deployment.into(), build_id: build_id.into() }
    }

    pub(super) fn into_override(self) -> Option<v1::VersioningOverride> {
        match self {
            MoveTo::Version { deployment: deployment_name, build_id } => Some(v1::VersioningOverride {
                behavior: v1::VersioningBehavior::Pinned.into(),
                version: Some(v1::WorkerVersion { deployment_name, build_id }),
            }),
            MoveTo::AutoUpgrade => {
                Some(v1::VersioningOverride { behavior: v1::VersioningBehavior::AutoUpgrade.into(), version: None })
            }
            MoveTo::AsCodeSays => None,
        }
    }
}

impl<T> WorkflowHandle<T> {
    /// Changes which workers the workflow goes to, from here on and for the runs that continue it: `handle.move_to(MoveTo::version("shop",
    /// "build-43")).await?`. What waits for a worker is offered anew; what a worker has in hand ends there. Durable after `Ok`, and recorded
    /// in the history. The code of the version must follow the run's history, or its workflow task fails until it is moved elsewhere.
    /// Refused if no worker has announced the version, or not with the workflow's queue. A closed workflow is an error.
    pub fn move_to(&self, target: MoveTo) -> MoveWorkflow {
        let (client, execution) = (self.client.clone(), self.execution());
        MoveWorkflow { client, execution, target, allow_unknown: false, reason: String::new() }
    }
}

/// A move of a workflow, which takes effect when it is awaited. Made by [`WorkflowHandle::move_to`].
#[must_use = "nothing moves until it is awaited"]
pub struct MoveWorkflow {
    client: Client,
    /// The error of a handle's bad workflow id waits here.
    execution: Result<v1::WorkflowExecution, ClientError>,
    target: MoveTo,
    allow_unknown: bool,
    reason: String,
}

impl MoveWorkflow {
    /// Why, for people: it is in the history. At most 1000 bytes.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Accepts a version that no worker has announced, or that does not serve the workflow's queue: the workflow waits until one does.
    pub fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }

    async fn send(self) -> Result<(), ClientError> {
        let Self { client, execution, target, allow_unknown, reason } = self;
        let request = v1::MoveWorkflowRequest {
            namespace: client.namespace_text(),
            execution: Some(execution?),
            versioning_override: target.into_override(),
            allow_unknown,
            reason,
            identity: client.identity().to_owned(),
            request_id: new_request_id(),
        };
        let service = client.transport().operations();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.move_workflow(request).await }
        });
        answer.await.map(|v1::MoveWorkflowResponse { .. }| ())
    }
}

impl IntoFuture for MoveWorkflow {
    type Output = Result<(), ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for MoveWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveWorkflow")
            .field("execution", &self.execution)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
