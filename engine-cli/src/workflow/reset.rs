//! `engine workflow reset` and `engine workflow repair`.

use engine_proto::v1;
use serde_json::json;
use uuid::Uuid;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::payload;
use crate::workflow::args::{RepairArgs, ResetArgs};

pub(super) async fn reset(
    connection: &ConnectionArgs,
    arguments: ResetArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let point = match (arguments.event, arguments.first_task, arguments.last_task) {
        (Some(_), _, _) => v1::ResetPoint::WorkflowTask,
        (None, true, _) => v1::ResetPoint::FirstWorkflowTask,
        (None, false, _) => v1::ResetPoint::LastWorkflowTask,
    };
    let mut client = Client::connect(connection).await?;
    let request = v1::ResetWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        point: point.into(),
        event_id: arguments.event.unwrap_or(0),
        exclude_signals: arguments.exclude_signals,
        exclude_updates: arguments.exclude_updates,
        reason: arguments.reason,
        identity: client.identity.clone(),
        request_id: arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
    };
    let answer = client.operations.reset_workflow(client::request(request)).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    tell(&arguments.run.workflow_id, &answer, output)
}

pub(super) async fn repair(
    connection: &ConnectionArgs,
    arguments: RepairArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let result = arguments.result.as_deref().map(|text| payload::json_payload(text, "--result")).transpose()?;
    let mut client = Client::connect(connection).await?;
    let request = v1::RepairWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        activity_id: arguments.activity.unwrap_or_default(),
        result,
        exclude_signals: arguments.exclude_signals,
        exclude_updates: arguments.exclude_updates,
        reason: arguments.reason,
        identity: client.identity.clone(),
        request_id: arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
    };
    let answer = client.operations.repair_workflow(client::request(request)).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    tell(&arguments.run.workflow_id, &answer, output)
}

fn tell(workflow_id: &str, answer: &v1::ResetWorkflowResponse, output: &mut Output) -> Result<Exit, CliError> {
    let v1::ResetWorkflowResponse { run_id, forked_at_event_id } = answer;
    match output.format() {
        Format::Json => output.json(&json!({
            "workflow_id": workflow_id,
            "run_id": run_id,
            "forked_at_event_id": forked_at_event_id,
        }))?,
        Format::Text => {
            output
                .line(&format!("workflow {workflow_id} goes on before event {forked_at_event_id}, in run {run_id}"))?;
        }
    }
    Ok(Exit::Done)
}
