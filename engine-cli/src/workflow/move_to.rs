//! `engine workflow move`.

use engine_proto::v1;
use serde_json::json;
use uuid::Uuid;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::MoveArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: MoveArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    // Without any of its flags clap has refused the command, so what says nothing is `--as-code-says`.
    let versioning_override = arguments.versioning.read()?;
    let words = match &versioning_override {
        Some(v1::VersioningOverride { version: Some(version), .. }) => {
            format!("stays with build {} of deployment {}", version.build_id, version.deployment_name)
        }
        Some(_) => "follows the routing".to_owned(),
        None => "follows versions as its code says".to_owned(),
    };
    let mut client = Client::connect(connection).await?;
    let request = v1::MoveWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        versioning_override,
        allow_unknown: arguments.allow_unknown,
        reason: arguments.reason,
        identity: client.identity.clone(),
        request_id: Uuid::now_v7().to_string(),
    };
    let answer = client.operations.move_workflow(client::request(request)).await;
    let v1::MoveWorkflowResponse { run_id, changed } = answer.map_err(|status| client.error(&status))?.into_inner();
    let workflow_id = arguments.run.workflow_id;
    match output.format() {
        Format::Json => {
            output.json(&json!({ "workflow_id": workflow_id, "run_id": run_id, "changed": changed }))?;
        }
        Format::Text => {
            let already = if changed { "" } else { " already" };
            output.line(&format!("workflow {workflow_id} {words}{already}"))?;
        }
    }
    Ok(Exit::Done)
}
