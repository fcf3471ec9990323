//! `engine workflow pause` and `engine workflow resume`.

use engine_proto::v1;
use serde_json::json;
use uuid::Uuid;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::PauseArgs;

pub(super) async fn pause(
    connection: &ConnectionArgs,
    arguments: PauseArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::PauseWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        reason: arguments.reason,
        identity: client.identity.clone(),
        request_id: Uuid::now_v7().to_string(),
    };
    let answer = client.operations.pause_workflow(client::request(request)).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    let words = if answer.changed { "paused" } else { "was paused already:" };
    tell(&arguments.run.workflow_id, &answer.run_id, answer.changed, words, output)
}

pub(super) async fn resume(
    connection: &ConnectionArgs,
    arguments: PauseArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::ResumeWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        reason: arguments.reason,
        identity: client.identity.clone(),
        request_id: Uuid::now_v7().to_string(),
    };
    let answer = client.operations.resume_workflow(client::request(request)).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    let words = if answer.changed { "resumed" } else { "was not paused:" };
    tell(&arguments.run.workflow_id, &answer.run_id, answer.changed, words, output)
}

fn tell(workflow_id: &str, run_id: &str, changed: bool, words: &str, output: &mut Output) -> Result<Exit, CliError> {
    match output.format() {
        Format::Json => {
            output.json(&json!({ "workflow_id": workflow_id, "run_id": run_id, "changed": changed }))?;
        }
        Format::Text => output.line(&format!("{words} workflow {workflow_id}"))?,
    }
    Ok(Exit::Done)
}
