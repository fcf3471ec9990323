//! `engine workflow delete`.

use engine_proto::v1;
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::RunArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: RunArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request =
        v1::DeleteWorkflowRequest { namespace: client.namespace.clone(), execution: client::execution(&arguments) };
    let answer = client.operations.delete_workflow(client::request(request)).await;
    let run_id = answer.map_err(|status| client.error(&status))?.into_inner().run_id;
    let workflow_id = arguments.workflow_id;
    match output.format() {
        Format::Json => output.json(&json!({ "workflow_id": workflow_id, "run_id": run_id }))?,
        Format::Text => output.line(&format!("deleted run {run_id} of workflow {workflow_id}"))?,
    }
    Ok(Exit::Done)
}
