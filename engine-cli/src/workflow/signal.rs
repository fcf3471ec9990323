//! `engine workflow signal`.

use engine_proto::v1;
use serde_json::json;
use uuid::Uuid;

use super::start::repeatable;
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::payload;
use crate::workflow::args::SignalArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: SignalArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let input = payload::read_inputs(&arguments.input)?;
    let mut client = Client::connect(connection).await?;
    let request_id = arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let request = v1::SignalWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        signal_name: arguments.name.clone(),
        input,
        request_id: request_id.clone(),
        identity: client.identity.clone(),
    };
    let response = client.service.signal_workflow(client::request(request)).await;
    let run_id = response.map_err(|status| repeatable(&client, &status, &request_id))?.into_inner().run_id;
    let workflow_id = arguments.run.workflow_id;
    match output.format() {
        Format::Json => output.json(&json!({ "workflow_id": workflow_id, "run_id": run_id }))?,
        Format::Text => {
            output.line(&format!("sent signal {} to workflow {workflow_id}, run {run_id}", arguments.name))?;
        }
    }
    Ok(Exit::Done)
}
