//! `engine workflow cancel`.

use engine_proto::v1;
use serde_json::json;
use uuid::Uuid;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::CancelArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: CancelArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::CancelWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        reason: arguments.reason,
        request_id: Uuid::now_v7().to_string(),
        identity: client.identity.clone(),
    };
    client.service.cancel_workflow(client::request(request)).await.map_err(|status| client.error(&status))?;
    let workflow_id = arguments.run.workflow_id;
    match output.format() {
        Format::Json => output.json(&json!({ "workflow_id": workflow_id }))?,
        Format::Text => output.line(&format!("asked workflow {workflow_id} to stop; its code decides how"))?,
    }
    Ok(Exit::Done)
}
