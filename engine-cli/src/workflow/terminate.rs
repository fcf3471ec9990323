//! `engine workflow terminate`.

use engine_proto::v1;
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::TerminateArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: TerminateArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::TerminateWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        reason: arguments.reason,
        details: None,
        identity: client.identity.clone(),
    };
    client.service.terminate_workflow(client::request(request)).await.map_err(|status| client.error(&status))?;
    let workflow_id = arguments.run.workflow_id;
    match output.format() {
        Format::Json => output.json(&json!({ "workflow_id": workflow_id }))?,
        Format::Text => output.line(&format!("terminated workflow {workflow_id}"))?,
    }
    Ok(Exit::Done)
}
