//! `DeploymentService`: which build of a program gets which runs.

use std::sync::Arc;

use engine_core::ids::{BuildId, DeploymentName};
use engine_core::version::VersioningBehavior;
use engine_proto::convert;
use engine_proto::v1::{self, deployment_service_server::DeploymentService};
use tonic::{Request as Call, Response, Status};

use crate::deployment::registry::{self, Known, Write, key_of};
use crate::deployment::state::{Accepts, Change, Deployment, percentage, share_of};
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::rpc::validate;
use crate::shard::request::ServerError;
use crate::store::DeploymentKey;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DeploymentCalls {
    pub(crate) context: Arc<NodeContext>,
}

#[tonic::async_trait]
impl DeploymentService for DeploymentCalls {
    async fn list_deployments(
        &self,
        call: Call<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        self.list(&call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn describe_deployment(
        &self,
        call: Call<v1::DescribeDeploymentRequest>,
    ) -> Result<Response<v1::DescribeDeploymentResponse>, Status> {
        self.describe(&call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn set_current_version(
        &self,
        call: Call<v1::SetCurrentVersionRequest>,
    ) -> Result<Response<v1::SetCurrentVersionResponse>, Status> {
        self.set_current(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn set_ramping_version(
        &self,
        call: Call<v1::SetRampingVersionRequest>,
    ) -> Result<Response<v1::SetRampingVersionResponse>, Status> {
        self.set_ramping(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn delete_version(
        &self,
        call: Call<v1::DeleteVersionRequest>,
    ) -> Result<Response<v1::DeleteVersionResponse>, Status> {
        self.delete(&call.into_inner()).await.map(Response::new).map_err(to_status)
    }
}

/// A change of routing that was asked for.
struct Asked {
    change: Change,
    accepts: Accepts,
    /// Only if the deployment has this revision; 0: whichever it has.
    revision: i64,
    identity: String,
}

impl DeploymentCalls {
    async fn list(&self, request: &v1::ListDeploymentsRequest) -> Result<v1::ListDeploymentsResponse, ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", &request.namespace).await?;
        registry::refresh(&self.context).await?;
        let known = self.context.deployments.of_namespace(namespace);
        let deployments = known.iter().map(|known| summary(&known.deployment)).collect();
        Ok(v1::ListDeploymentsResponse { deployments })
    }

    async fn describe(
        &self,
        request: &v1::DescribeDeploymentRequest,
    ) -> Result<v1::DescribeDeploymentResponse, ServerError> {
        let (key, _) = self.parse(&request.namespace, &request.deployment_name).await?;
        registry::refresh(&self.context).await?;
        let known = self.context.deployments.get(&key).ok_or_else(|| not_found(&key))?;
        Ok(v1::DescribeDeploymentResponse { deployment: Some(self.told(&key, &known).await?) })
    }

    async fn set_current(
        &self,
        request: v1::SetCurrentVersionRequest,
    ) -> Result<v1::SetCurrentVersionResponse, ServerError> {
        let (key, name) = self.parse(&request.namespace, &request.deployment_name).await?;
        let build = convert::optional_id("build_id", &request.build_id, BuildId::parse)?;
        validate::people_text("identity", &request.identity)?;
        let asked = Asked {
            change: Change::Current(build),
            accepts: Accepts { unknown: request.allow_unknown, missing_queues: request.allow_missing_task_queues },
            revision: request.revision,
            identity: request.identity,
        };
        let (before, deployment) = self.change(key, name, asked).await?;
        let previous_build_id = before.and_then(|before| before.current).map(|build| build.to_string());
        Ok(v1::SetCurrentVersionResponse {
            deployment: Some(deployment),
            previous_build_id: previous_build_id.unwrap_or_default(),
        })
    }

    async fn set_ramping(
        &self,
        request: v1::SetRampingVersionRequest,
    ) -> Result<v1::SetRampingVersionResponse, ServerError> {
        let (key, name) = self.parse(&request.namespace, &request.deployment_name).await?;
        let build = convert::optional_id("build_id", &request.build_id, BuildId::parse)?;
        validate::people_text("identity", &request.identity)?;
        let invalid = |problem: String| ServerError::Invalid { field: "percentage".to_owned(), problem };
        let share = share_of(request.percentage)
            .ok_or_else(|| invalid(format!("is {}; it must be from 0 to 100", request.percentage)))?;
        if build.is_none() && share > 0 {
            return Err(invalid("must be 0 if no build_id is set, which lets no build ramp".to_owned()));
        }
        let asked = Asked {
            change: Change::Ramping(build.map(|build| (build, share))),
            accepts: Accepts { unknown: request.allow_unknown, missing_queues: request.allow_missing_task_queues },
            revision: request.revision,
            identity: request.identity,
        };
        let (before, deployment) = self.change(key, name, asked).await?;
        let previous = before.and_then(|before| before.ramping);
        Ok(v1::SetRampingVersionResponse {
            deployment: Some(deployment),
            previous_percentage: previous.as_ref().map_or(0.0, |(_, share)| percentage(*share)),
            previous_build_id: previous.map(|(build, _)| build.to_string()).unwrap_or_default(),
        })
    }

    /// Changes the routing. Returns the deployment as it was before, if there was one, and as it is told now.
    async fn change(
        &self,
        key: DeploymentKey,
        name: DeploymentName,
        asked: Asked,
    ) -> Result<(Option<Deployment>, v1::Deployment), ServerError> {
        let now = self.context.now();
        let (of, context) = (key.clone(), Arc::clone(&self.context));
        let before = registry::change(&self.context, key.clone(), move |before| {
            let Asked { change, accepts, revision, identity } = &asked;
            if let Some(before) = before.filter(|before| *revision != 0 && before.revision != *revision) {
                return Err(ServerError::Conflict(format!(
                    "deployment {:?} has revision {} and not {revision}: look at it again, and repeat the change if it still fits",
                    of.name, before.revision
                )));
            }
            let mut deployment = match before {
                Some(before) => before.deployment.clone(),
                None if accepts.unknown && *revision == 0 => {
                    registry::check_room(&context, of.namespace)?;
                    Deployment::new(name.clone(), now)
                }
                None => return Err(not_found(&of)),
            };
            let write = match deployment.change(change.clone(), *accepts, identity, now)? {
                true => Write::Put(deployment),
                false => Write::Nothing,
            };
            Ok((write, before.map(|before| before.deployment.clone())))
        })
        .await?;
        let known = self.context.deployments.get(&key).ok_or_else(|| not_found(&key))?;
        Ok((before, self.told(&key, &known).await?))
    }

    async fn delete(&self, request: &v1::DeleteVersionRequest) -> Result<v1::DeleteVersionResponse, ServerError> {
        let (key, _) = self.parse(&request.namespace, &request.deployment_name).await?;
        let build = convert::required_id("build_id", &request.build_id, BuildId::parse)?;
        let pinned = registry::open_runs(&self.context, &key, Some(VersioningBehavior::Pinned)).await?;
        let pinned = pinned.get(build.as_str()).copied().unwrap_or(0);
        let workers = registry::workers_of(&self.context, &key).get(&build).copied().unwrap_or(0);
        let of = key.clone();
        registry::change(&self.context, key, move |before| {
            let mut deployment = before.ok_or_else(|| not_found(&of))?.deployment.clone();
            if !deployment.versions.contains_key(&build) {
                return Err(ServerError::NotFound { kind: "version", name: build.to_string() });
            }
            let refused = |why: String| {
                ServerError::Refused(format!("build {:?} of deployment {:?} {why}", build.as_str(), of.name))
            };
            if deployment.is_in_use(&build) {
                return Err(refused("is current or ramping: let another build take its place first".to_owned()));
            }
            if pinned > 0 {
                return Err(refused(format!(
                    "has {pinned} open runs that are pinned to it: wait for them, or move them"
                )));
            }
            if workers > 0 {
                return Err(refused(format!("has {workers} workers that are connected: stop them first")));
            }
            deployment.versions.remove(&build);
            let is_last = deployment.versions.is_empty();
            Ok((if is_last { Write::Delete } else { Write::Put(deployment) }, ()))
        })
        .await?;
        Ok(v1::DeleteVersionResponse {})
    }

    async fn parse(&self, namespace: &str, name: &str) -> Result<(DeploymentKey, DeploymentName), ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", namespace).await?;
        let name = convert::required_id("deployment_name", name, DeploymentName::parse)?;
        Ok((key_of(namespace, &name), name))
    }

    /// All that is to be told of a deployment.
    async fn told(&self, key: &DeploymentKey, known: &Known) -> Result<v1::Deployment, ServerError> {
        let pinned = registry::open_runs(&self.context, key, Some(VersioningBehavior::Pinned)).await?;
        let following = registry::open_runs(&self.context, key, Some(VersioningBehavior::AutoUpgrade)).await?;
        let workers = registry::workers_of(&self.context, key);
        let mut told = known.deployment.to_message(known.revision);
        for version in &mut told.versions {
            version.pinned_runs = pinned.get(&version.build_id).copied().unwrap_or(0);
            version.following_runs = following.get(&version.build_id).copied().unwrap_or(0);
            version.workers = workers.get(&BuildId::from_trusted(&version.build_id)).copied().unwrap_or(0);
            let status = if told.current_build_id == version.build_id {
                v1::VersionStatus::Current
            } else if told.ramping_build_id == version.build_id {
                v1::VersionStatus::Ramping
            } else if version.pinned_runs > 0 {
                v1::VersionStatus::Draining
            } else if version.left_time.is_some() {
                v1::VersionStatus::Drained
            } else {
                v1::VersionStatus::Inactive
            };
            version.set_status(status);
        }
        Ok(told)
    }
}

fn not_found(key: &DeploymentKey) -> ServerError {
    ServerError::NotFound { kind: "deployment", name: key.name.clone() }
}

fn summary(deployment: &Deployment) -> v1::DeploymentSummary {
    let v1::Deployment { name, current_build_id, ramping_build_id, ramping_percentage, versions, create_time, .. } =
        deployment.to_message(0);
    v1::DeploymentSummary {
        name,
        current_build_id,
        ramping_build_id,
        ramping_percentage,
        versions: u32::try_from(versions.len()).unwrap_or(u32::MAX),
        create_time,
    }
}
