//! `engine workflow update`.

use engine_core::event::UpdateOutcome;
use engine_proto::{convert, v1};
use serde_json::json;
use uuid::Uuid;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{failure, json, payload, run};
use crate::workflow::args::{UpdateArgs, UpdateWait};

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: UpdateArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let input = payload::read_inputs(&arguments.input)?;
    let mut client = Client::connect(connection).await?;
    let update_id = arguments.update_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let stage = match arguments.wait {
        UpdateWait::Accepted => v1::UpdateStage::Accepted,
        UpdateWait::Completed => v1::UpdateStage::Completed,
    };
    let update = v1::UpdateRequest {
        update_id: update_id.clone(),
        update_name: arguments.name.clone(),
        input,
        identity: client.identity.clone(),
    };
    let request = v1::UpdateWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        update: Some(update),
        wait_stage: stage.into(),
        wait: Some(convert::duration_to_proto(arguments.timeout)),
    };
    let response = client.service.update_workflow(client::request_that_waits(request, arguments.timeout)).await;
    let answer = response.map_err(|status| repeatable(&client, &status, &update_id))?.into_inner();
    let sent = Sent { workflow_id: &arguments.run.workflow_id, name: &arguments.name, id: &update_id };
    tell(sent, arguments.wait, answer, output)
}

/// An update that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) workflow_id: &'a str,
    pub(super) name: &'a str,
    pub(super) id: &'a str,
}

/// Prints what the server says of an update, and says by the exit code whether that is what was waited for.
pub(super) fn tell(
    sent: Sent<'_>,
    wait: UpdateWait,
    answer: v1::UpdateWorkflowResponse,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let Sent { workflow_id, name, id: update_id } = sent;
    let stage = answer.stage();
    let rejection = run::failure_of(answer.rejection.as_ref());
    let outcome = answer.outcome.map(convert::update_outcome_from_proto).transpose();
    let outcome = outcome.map_err(|error| CliError::new(Exit::Failed, format!("the server's answer: {error}")))?;
    let (result, error) = match outcome {
        Some(UpdateOutcome::Completed { result }) => (result, None),
        Some(UpdateOutcome::Failed { failure }) => (None, Some(failure)),
        None => (None, None),
    };
    if output.format() == Format::Json {
        output.json(&json!({
            "workflow_id": workflow_id,
            "run_id": answer.run_id,
            "update_id": update_id,
            "stage": stage.as_str_name().trim_start_matches("UPDATE_STAGE_"),
            "result": json::optional_payload(result.as_ref()),
            "failure": error.as_ref().or(rejection.as_ref()).map(json::failure),
        }))?;
    }
    let failed = |did: &str, error| {
        let why = failure::lines(error);
        CliError::new(Exit::Failed, format!("update {name:?} {did}: {why}"))
    };
    match (stage, rejection, error) {
        (_, None, None) => {}
        _ if output.format() == Format::Json => return Ok(Exit::Failed),
        (_, Some(error), _) => return Err(failed("was refused", &error)),
        (_, None, Some(error)) => return Err(failed("failed", &error)),
    }
    let is_enough = match stage {
        v1::UpdateStage::Completed => true,
        v1::UpdateStage::Accepted => wait == UpdateWait::Accepted,
        v1::UpdateStage::Unspecified | v1::UpdateStage::Admitted | v1::UpdateStage::Rejected => false,
    };
    if output.format() == Format::Text {
        let line = match stage {
            v1::UpdateStage::Completed => {
                result.as_ref().map_or_else(|| "null".to_owned(), |it| payload::words(it, usize::MAX))
            }
            _ if is_enough => format!("update {name} was accepted; its id is {update_id}"),
            _ => String::new(),
        };
        if !line.is_empty() {
            output.line(&line)?;
        }
    }
    if is_enough {
        return Ok(Exit::Done);
    }
    let waits_for = if stage == v1::UpdateStage::Accepted { "its answer" } else { "a worker" };
    let message = format!(
        "update {name} still waits for {waits_for}: the same command with --update-id {update_id} goes on waiting"
    );
    Err(CliError::new(Exit::StillRunning, message))
}

/// The error of a call whose effect is unknown if the connection was lost: says how to repeat it without harm.
fn repeatable(client: &Client, status: &tonic::Status, update_id: &str) -> CliError {
    match client.error(status) {
        CliError::Told(mut told) if client::is_connection_lost(status) => {
            let hint = format!("; it may have taken effect: to repeat it without harm, add --update-id {update_id}");
            told.message.push_str(&hint);
            CliError::Told(told)
        }
        error => error,
    }
}
