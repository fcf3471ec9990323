//! `DeploymentService`: which build of a program gets which runs.

use engine_proto::v1::{self, deployment_service_server::DeploymentService};
use tonic::{Request as Call, Response, Status};

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DeploymentCalls;

#[tonic::async_trait]
impl DeploymentService for DeploymentCalls {
    async fn list_deployments(
        &self,
        _: Call<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        Err(unimplemented())
    }

    async fn describe_deployment(
        &self,
        _: Call<v1::DescribeDeploymentRequest>,
    ) -> Result<Response<v1::DescribeDeploymentResponse>, Status> {
        Err(unimplemented())
    }

    async fn set_current_version(
        &self,
        _: Call<v1::SetCurrentVersionRequest>,
    ) -> Result<Response<v1::SetCurrentVersionResponse>, Status> {
        Err(unimplemented())
    }

    async fn set_ramping_version(
        &self,
        _: Call<v1::SetRampingVersionRequest>,
    ) -> Result<Response<v1::SetRampingVersionResponse>, Status> {
        Err(unimplemented())
    }

    async fn delete_version(
        &self,
        _: Call<v1::DeleteVersionRequest>,
    ) -> Result<Response<v1::DeleteVersionResponse>, Status> {
        Err(unimplemented())
    }
}

fn unimplemented() -> Status {
    Status::unimplemented("this server does not route by versions")
}
