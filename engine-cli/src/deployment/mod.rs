//! `engine deployment`: which build of a program gets which runs.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | the verbs |
//! | `args` | their command line |
//! | `view` | how a deployment looks |

mod args;
mod view;

use engine_proto::v1;
use serde_json::{Value, json};

pub(crate) use args::DeploymentArgs;
use args::{Conditions, DeploymentVerb, VersionArgs};

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{text, time};

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: DeploymentArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        DeploymentVerb::List => list(connection, output).await,
        DeploymentVerb::Describe { deployment } => describe(connection, deployment, output).await,
        DeploymentVerb::SetCurrent { version: VersionArgs { deployment, build }, conditions } => {
            set_current(connection, deployment, build, &conditions, output).await
        }
        DeploymentVerb::UnsetCurrent { deployment, conditions } => {
            set_current(connection, deployment, String::new(), &conditions, output).await
        }
        DeploymentVerb::Ramp { version: VersionArgs { deployment, build }, percentage, conditions } => {
            ramp(connection, deployment, build, percentage, &conditions, output).await
        }
        DeploymentVerb::Unramp { deployment, conditions } => {
            ramp(connection, deployment, String::new(), 0.0, &conditions, output).await
        }
        DeploymentVerb::DeleteVersion { version } => delete(connection, version, output).await,
    }
}

async fn list(connection: &ConnectionArgs, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::ListDeploymentsRequest { namespace: client.namespace.clone() };
    let response = client.deployments.list_deployments(client::request(request)).await;
    let all = response.map_err(|status| client.error(&status))?.into_inner().deployments;
    match output.format() {
        Format::Json => output.json(&all.iter().map(view::summary_value).collect::<Vec<Value>>())?,
        Format::Text => output.line(&view::list(&all, time::now(), output.width()))?,
    }
    Ok(Exit::Done)
}

async fn describe(connection: &ConnectionArgs, deployment: String, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::DescribeDeploymentRequest { namespace: client.namespace.clone(), deployment_name: deployment };
    let response = client.deployments.describe_deployment(client::request(request)).await;
    let found = response.map_err(|status| client.error(&status))?.into_inner().deployment.unwrap_or_default();
    match output.format() {
        Format::Json => output.json(&view::value(&found))?,
        Format::Text => output.line(&view::describe(&found, time::now(), output.width()))?,
    }
    Ok(Exit::Done)
}

async fn set_current(
    connection: &ConnectionArgs,
    deployment_name: String,
    build_id: String,
    conditions: &Conditions,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::SetCurrentVersionRequest {
        namespace: client.namespace.clone(),
        deployment_name,
        build_id,
        allow_unknown: conditions.allow_unknown,
        allow_missing_task_queues: conditions.allow_missing_queues,
        revision: conditions.revision,
        identity: client.identity.clone(),
    };
    let response = client.deployments.set_current_version(client::request(request)).await;
    let answer = response.map_err(|status| client.error(&status))?.into_inner();
    let now = answer.deployment.unwrap_or_default();
    match output.format() {
        Format::Json => output.json(&json!({
            "deployment": view::value(&now),
            "previous_build_id": view::named(&answer.previous_build_id),
        }))?,
        Format::Text => output.line(&view::current_changed(&now, &answer.previous_build_id))?,
    }
    Ok(Exit::Done)
}

async fn ramp(
    connection: &ConnectionArgs,
    deployment_name: String,
    build_id: String,
    percentage: f32,
    conditions: &Conditions,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::SetRampingVersionRequest {
        namespace: client.namespace.clone(),
        deployment_name,
        build_id,
        percentage,
        allow_unknown: conditions.allow_unknown,
        allow_missing_task_queues: conditions.allow_missing_queues,
        revision: conditions.revision,
        identity: client.identity.clone(),
    };
    let response = client.deployments.set_ramping_version(client::request(request)).await;
    let answer = response.map_err(|status| client.error(&status))?.into_inner();
    let now = answer.deployment.unwrap_or_default();
    match output.format() {
        Format::Json => output.json(&json!({
            "deployment": view::value(&now),
            "previous_build_id": view::named(&answer.previous_build_id),
            "previous_percentage": view::percentage(answer.previous_percentage),
        }))?,
        Format::Text => output.line(&view::ramping_changed(&now))?,
    }
    Ok(Exit::Done)
}

async fn delete(connection: &ConnectionArgs, version: VersionArgs, output: &mut Output) -> Result<Exit, CliError> {
    let VersionArgs { deployment, build } = version;
    let mut client = Client::connect(connection).await?;
    let request = v1::DeleteVersionRequest {
        namespace: client.namespace.clone(),
        deployment_name: deployment.clone(),
        build_id: build.clone(),
    };
    let response = client.deployments.delete_version(client::request(request)).await;
    response.map_err(|status| client.error(&status))?;
    match output.format() {
        Format::Json => output.json(&json!({ "deployment_name": deployment, "build_id": build }))?,
        Format::Text => {
            let line = format!("forgot build {build} of deployment {deployment}");
            output.line(&text::one_line(&line, text::SHORT))?;
        }
    }
    Ok(Exit::Done)
}
