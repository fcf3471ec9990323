//! `DeploymentService`.

use engine_proto::v1;

use crate::cases::{Case, TOO_LONG, long, refused};
use crate::world::World;

/// What names of deployments and builds say that are too long.
const TOO_LONG_FOR_BUILDS: &str = "is 201 bytes long; the limit is 200 bytes";

fn long_build() -> String {
    "x".repeat(201)
}

/// The cases that each call about a deployment has: `$good` names `fleet`.
macro_rules! about_deployments {
    ($cases:expr, $client:expr, $call:literal, $method:ident, $good:expr) => {{
        let with = |namespace: &str, deployment_name: &str| {
            let mut request = $good;
            request.namespace = namespace.to_owned();
            request.deployment_name = deployment_name.to_owned();
            request
        };
        refused!($cases, $client, $call, $method, [
            with("", "fleet") => InvalidArgument, "namespace: must not be empty";
            with("nowhere", "fleet") => NotFound, "namespace \"nowhere\" not found";
            with("default", "") => InvalidArgument, "deployment_name: must not be empty";
            with("default", &long_build()) => InvalidArgument, format!("deployment_name: {TOO_LONG_FOR_BUILDS}");
            with("default", "other") => NotFound, "deployment \"other\" not found";
        ]);
    }};
}

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    let client = world.deployments();
    let (namespace, deployment_name) = (|| "default".to_owned(), || "fleet".to_owned());
    let list = |namespace: &str| v1::ListDeploymentsRequest { namespace: namespace.into() };
    refused!(cases, client, "DeploymentService.ListDeployments", list_deployments, [
        list("") => InvalidArgument, "namespace: must not be empty";
        list("nowhere") => NotFound, "namespace \"nowhere\" not found";
    ]);
    let describe = || v1::DescribeDeploymentRequest { namespace: namespace(), deployment_name: deployment_name() };
    about_deployments!(cases, client, "DeploymentService.DescribeDeployment", describe_deployment, describe());
    let current = |build_id: &str| v1::SetCurrentVersionRequest {
        namespace: namespace(),
        deployment_name: deployment_name(),
        build_id: build_id.into(),
        ..Default::default()
    };
    about_deployments!(cases, client, "DeploymentService.SetCurrentVersion", set_current_version, current("two"));
    refused!(cases, client, "DeploymentService.SetCurrentVersion", set_current_version, [
        current(&long_build()) => InvalidArgument, format!("build_id: {TOO_LONG_FOR_BUILDS}");
        v1::SetCurrentVersionRequest { identity: long(), ..current("two") } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::SetCurrentVersionRequest { revision: 99, ..current("two") } => Aborted, "deployment \"fleet\" has revision";
        current("two") => FailedPrecondition, "";
    ]);
    let ramping = |build_id: &str, percentage: f32| v1::SetRampingVersionRequest {
        namespace: namespace(),
        deployment_name: deployment_name(),
        build_id: build_id.into(),
        percentage,
        ..Default::default()
    };
    about_deployments!(cases, client, "DeploymentService.SetRampingVersion", set_ramping_version, ramping("two", 5.0));
    refused!(cases, client, "DeploymentService.SetRampingVersion", set_ramping_version, [
        ramping(&long_build(), 5.0) => InvalidArgument, format!("build_id: {TOO_LONG_FOR_BUILDS}");
        ramping("two", -1.0) => InvalidArgument, "percentage: is -1; it must be from 0 to 100";
        ramping("two", 100.5) => InvalidArgument, "percentage: is 100.5; it must be from 0 to 100";
        ramping("two", f32::NAN) => InvalidArgument, "percentage: is NaN; it must be from 0 to 100";
        ramping("", 5.0) => InvalidArgument, "percentage: must be 0 if no build_id is set";
        v1::SetRampingVersionRequest { identity: long(), ..ramping("two", 5.0) } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::SetRampingVersionRequest { revision: 99, ..ramping("two", 5.0) } => Aborted, "deployment \"fleet\" has revision";
        ramping("two", 5.0) => FailedPrecondition, "";
    ]);
    let delete = |build_id: &str| v1::DeleteVersionRequest {
        namespace: namespace(),
        deployment_name: deployment_name(),
        build_id: build_id.into(),
    };
    about_deployments!(cases, client, "DeploymentService.DeleteVersion", delete_version, delete("one"));
    refused!(cases, client, "DeploymentService.DeleteVersion", delete_version, [
        delete("") => InvalidArgument, "build_id: must not be empty";
        delete(&long_build()) => InvalidArgument, format!("build_id: {TOO_LONG_FOR_BUILDS}");
        delete("two") => NotFound, "version \"two\" not found";
        delete("one") => FailedPrecondition, "build \"one\" of deployment \"fleet\" is current or ramping";
    ]);
    cases
}
