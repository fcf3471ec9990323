//! Deployments: which build of a program gets which runs.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | one deployment: where new runs go, and versions that are forgotten |
//! | `description` | where a deployment and its versions stand |

mod description;

use std::fmt;
use std::future::IntoFuture;

use engine_core::ids::BuildId;
use engine_proto::convert::{optional_id, required};
use engine_proto::v1;

pub use self::description::{
    DeploymentDescription, DeploymentSummary, RampingBuild, VersionDescription, VersionStatus,
};
use super::{Client, ClientError, until_answered};
use crate::definition::BoxFuture;

impl Client {
    /// All deployments of the namespace, by name.
    pub async fn deployments(&self) -> Result<Vec<DeploymentSummary>, ClientError> {
        let request = v1::ListDeploymentsRequest { namespace: self.namespace_text() };
        let service = self.transport().deployments();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_deployments(request).await }
        });
        Ok(answer.await?.deployments.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
    }

    /// The deployment of this name, which its workers gave it ([`Worker::deployment`](crate::worker::Worker::deployment)). Asks nothing.
    pub fn deployment(&self, name: impl Into<String>) -> DeploymentHandle {
        DeploymentHandle { client: self.clone(), name: name.into() }
    }
}

/// A deployment, by its name. Made by [`Client::deployment`]. Cheap to clone.
///
/// ```no_run
/// # use engine_sdk::prelude::*;
/// # use engine_sdk::client::ClientError;
/// # async fn doc(client: Client) -> Result<(), ClientError> {
/// let shop = client.deployment("shop");
/// shop.ramp("build-43", 10.0).await?; // one of ten workflow ids
/// shop.set_current("build-43").await?; // and all
/// for version in shop.describe().await?.versions {
///     println!("{}: {:?}, {} runs are pinned to it", version.build_id, version.status, version.pinned_runs);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DeploymentHandle {
    client: Client,
    name: String,
}

impl DeploymentHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands, with how many open runs each of its versions has.
    pub async fn describe(&self) -> Result<DeploymentDescription, ClientError> {
        let request = v1::DescribeDeploymentRequest {
            namespace: self.client.namespace_text(),
            deployment_name: self.name.clone(),
        };
        let service = self.client.transport().deployments();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_deployment(request).await }
        });
        Ok(required("deployment", answer.await?.deployment)?.try_into()?)
    }

    /// Lets new runs, and those that follow versions, go to this build. If it was ramping, nothing ramps any more.
    pub fn set_current(&self, build_id: impl Into<String>) -> RoutingChange {
        self.change(Routing::Current { build_id: build_id.into() })
    }

    /// Lets them go to workers without a version, as before there was one. A ramping build keeps its share: stop that apart.
    pub fn unset_current(&self) -> RoutingChange {
        self.set_current("")
    }

    /// Lets a share of what would go to the current build go to this one: `percentage` of the workflow ids, 0 to 100 in steps of 0.01. A
    /// workflow id stays on its side while the share stays, and stays with the build while it grows.
    pub fn ramp(&self, build_id: impl Into<String>, percentage: f32) -> RoutingChange {
        self.change(Routing::Ramping { build_id: build_id.into(), percentage })
    }

    /// Lets all go to the current build.
    pub fn stop_ramping(&self) -> RoutingChange {
        self.ramp("", 0.0)
    }

    /// Forgets a build; with the last one, the deployment, whose queues are free then. Refused while it is current or ramping, while open
    /// runs are pinned to it, and while a worker of it is connected.
    pub async fn delete_version(&self, build_id: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::DeleteVersionRequest {
            namespace: self.client.namespace_text(),
            deployment_name: self.name.clone(),
            build_id: build_id.into(),
        };
        let service = self.client.transport().deployments();
        let mut tries = 0;
        let answer = until_answered(self.client.patience(), |attempt| {
            tries = attempt;
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.delete_version(request).await }
        });
        match answer.await {
            Ok(v1::DeleteVersionResponse {}) => Ok(()),
            // The try before may have forgotten it.
            Err(ClientError::NotFound { .. }) if tries > 1 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn change(&self, routing: Routing) -> RoutingChange {
        RoutingChange {
            deployment: self.clone(),
            routing,
            allow_unknown: false,
            allow_missing_task_queues: false,
            revision: 0,
        }
    }
}

/// A change of where new runs go, which takes effect when it is awaited. Made by [`DeploymentHandle::set_current`] and
/// [`DeploymentHandle::ramp`].
///
/// It is durable then, and counts for tasks that wait, too; another server of the same database follows within 10 seconds.
#[must_use = "nothing changes until it is awaited"]
pub struct RoutingChange {
    deployment: DeploymentHandle,
    routing: Routing,
    allow_unknown: bool,
    allow_missing_task_queues: bool,
    revision: i64,
}

#[derive(Debug, Clone)]
enum Routing {
    Current { build_id: String },
    Ramping { build_id: String, percentage: f32 },
}

impl RoutingChange {
    /// Accepts a build that no worker has announced yet: tasks wait until one does.
    pub fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }

    /// Accepts a build that does not serve a queue which the current build serves: tasks there wait until it does.
    pub fn allow_missing_task_queues(mut self) -> Self {
        self.allow_missing_task_queues = true;
        self
    }

    /// Only if the deployment still has this [revision](DeploymentDescription::revision): [`ClientError::Conflict`] if somebody else changed
    /// it since it was read. After an answer that was lost, that may have been this call itself.
    pub fn if_revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    async fn send(self) -> Result<RoutingChanged, ClientError> {
        let Self { deployment, routing, allow_unknown, allow_missing_task_queues, revision } = self;
        let DeploymentHandle { client, name: deployment_name } = deployment;
        let (namespace, identity) = (client.namespace_text(), client.identity().to_owned());
        let service = client.transport().deployments();
        let (changed, build_id, percentage) = match routing {
            Routing::Current { build_id } => {
                let request = v1::SetCurrentVersionRequest {
                    namespace,
                    deployment_name,
                    build_id,
                    allow_unknown,
                    allow_missing_task_queues,
                    revision,
                    identity,
                };
                let answer = until_answered(client.patience(), |_| {
                    let (mut service, request) = (service.clone(), request.clone());
                    async move { service.set_current_version(request).await }
                });
                let answer = answer.await?;
                (answer.deployment, answer.previous_build_id, 0.0)
            }
            Routing::Ramping { build_id, percentage } => {
                let request = v1::SetRampingVersionRequest {
                    namespace,
                    deployment_name,
                    build_id,
                    percentage,
                    allow_unknown,
                    allow_missing_task_queues,
                    revision,
                    identity,
                };
                let answer = until_answered(client.patience(), |_| {
                    let (mut service, request) = (service.clone(), request.clone());
                    async move { service.set_ramping_version(request).await }
                });
                let answer = answer.await?;
                (answer.deployment, answer.previous_build_id, answer.previous_percentage)
            }
        };
        Ok(RoutingChanged {
            deployment: required("deployment", changed)?.try_into()?,
            previous_build_id: optional_id("previous_build_id", &build_id, BuildId::parse)?,
            previous_percentage: percentage,
        })
    }
}

impl IntoFuture for RoutingChange {
    type Output = Result<RoutingChanged, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for RoutingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingChange")
            .field("deployment", &self.deployment.name)
            .field("routing", &self.routing)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Where new runs go, and where they went before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RoutingChanged {
    /// The deployment as it is now.
    pub deployment: DeploymentDescription,
    /// The build that was current before, or ramping, whichever was changed; `None` if none was.
    pub previous_build_id: Option<BuildId>,
    /// The share that the build before had, if it was ramping.
    pub previous_percentage: f32,
}
