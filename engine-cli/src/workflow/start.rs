//! `engine workflow start`.

use std::time::Duration;

use engine_proto::{convert, v1};
use serde_json::json;
use uuid::Uuid;

use super::result;
use super::update::{self, Sent};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::options::Attributes;
use crate::output::{Format, Output};
use crate::view::payload;
use crate::workflow::args::{ConflictPolicy, ResultArgs, ReusePolicy, RunArgs, StartArgs, UpdateWait};

/// How long an answer to an update that goes along with a start is waited for.
const UPDATE_WAIT_DEFAULT: Duration = Duration::from_secs(20);

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: StartArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let wait = arguments.wait.then_some(arguments.timeout);
    let timeout = arguments.timeout;
    let signal = signal(&arguments)?;
    let update = update_of(&arguments)?;
    let (mut request, attributes) = request(arguments)?;
    let mut client = Client::connect(connection).await?;
    request.search_attributes = attributes.read(&mut client).await?;
    request.namespace.clone_from(&client.namespace);
    request.identity.clone_from(&client.identity);
    if let Some(update) = update {
        return with_update(&mut client, request, update, timeout.unwrap_or(UPDATE_WAIT_DEFAULT), output).await;
    }
    let (workflow_id, request_id) = (request.workflow_id.clone(), request.request_id.clone());
    let response = match signal {
        Some(signal) => {
            let request = v1::SignalWithStartRequest { start: Some(request), ..signal };
            client.service.signal_with_start(client::request(request)).await
        }
        None => client.service.start_workflow(client::request(request)).await,
    };
    let started = response.map_err(|status| repeatable(&client, &status, &request_id))?.into_inner();
    match output.format() {
        // With --wait the outcome is the answer.
        Format::Json if wait.is_some() => {}
        Format::Json => {
            let answer = json!({ "workflow_id": workflow_id, "run_id": started.run_id, "started": started.started });
            output.json(&answer)?;
        }
        Format::Text => {
            let did = if started.started { "started" } else { "was running already:" };
            let line = format!("{did} workflow {workflow_id}, run {}", started.run_id);
            // With --wait, standard output holds nothing but the result.
            if wait.is_some() { eprintln!("{line}") } else { output.line(&line)? }
        }
    }
    let Some(timeout) = wait else { return Ok(Exit::Done) };
    let run = RunArgs { workflow_id, run_id: Some(started.run_id) };
    let arguments = ResultArgs { run, timeout, patience: result::PATIENCE_DEFAULT };
    result::wait(&mut client, &arguments, output).await
}

fn request(arguments: StartArgs) -> Result<(v1::StartWorkflowRequest, Attributes), CliError> {
    let (options, attributes) = arguments.workflow.request()?;
    let request = v1::StartWorkflowRequest {
        workflow_id: arguments.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        id_reuse_policy: match arguments.id_reuse_policy {
            ReusePolicy::AllowDuplicate => v1::WorkflowIdReusePolicy::AllowDuplicate,
            ReusePolicy::AllowDuplicateFailedOnly => v1::WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
            ReusePolicy::RejectDuplicate => v1::WorkflowIdReusePolicy::RejectDuplicate,
        }
        .into(),
        id_conflict_policy: match arguments.id_conflict_policy {
            ConflictPolicy::Fail => v1::WorkflowIdConflictPolicy::Fail,
            ConflictPolicy::UseExisting => v1::WorkflowIdConflictPolicy::UseExisting,
            ConflictPolicy::TerminateExisting => v1::WorkflowIdConflictPolicy::TerminateExisting,
        }
        .into(),
        cron: arguments.cron.map(|expression| v1::Cron { expression, time_zone: arguments.time_zone }),
        request_id: arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        ..options
    };
    Ok((request, attributes))
}

/// The signal that goes along, if there is one.
fn signal(arguments: &StartArgs) -> Result<Option<v1::SignalWithStartRequest>, CliError> {
    let Some(name) = &arguments.signal else { return Ok(None) };
    let input = arguments.signal_input.iter().map(|text| payload::json_payload(text, "--signal-input"));
    Ok(Some(v1::SignalWithStartRequest {
        start: None,
        signal_name: name.clone(),
        input: input.collect::<Result<_, _>>()?,
    }))
}

/// The update that goes along, if there is one.
fn update_of(arguments: &StartArgs) -> Result<Option<v1::UpdateRequest>, CliError> {
    let Some(name) = &arguments.update else { return Ok(None) };
    let input = arguments.update_input.iter().map(|text| payload::json_payload(text, "--update-input"));
    Ok(Some(v1::UpdateRequest {
        update_id: arguments.update_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string()),
        update_name: name.clone(),
        input: input.collect::<Result<_, _>>()?,
        identity: String::new(),
    }))
}

/// Sends an update along with the start, and prints its answer.
async fn with_update(
    client: &mut Client,
    mut start: v1::StartWorkflowRequest,
    update: v1::UpdateRequest,
    timeout: Duration,
    output: &mut Output,
) -> Result<Exit, CliError> {
    // It is for the run that is open, if there is one; a repeat of the command finds the run that it started.
    if start.id_conflict_policy() == v1::WorkflowIdConflictPolicy::Fail {
        start.set_id_conflict_policy(v1::WorkflowIdConflictPolicy::UseExisting);
    }
    let update = v1::UpdateRequest { identity: client.identity.clone(), ..update };
    let (workflow_id, request_id) = (start.workflow_id.clone(), start.request_id.clone());
    let request = v1::UpdateWithStartRequest {
        start: Some(start),
        update: Some(update.clone()),
        wait_stage: v1::UpdateStage::Completed.into(),
        wait: Some(convert::duration_to_proto(timeout)),
    };
    let response = client.service.update_with_start(client::request_that_waits(request, timeout)).await;
    let answer = response
        .map_err(|status| repeatable(client, &status, &format!("{request_id} --update-id {}", update.update_id)))?
        .into_inner();
    let so_far = answer.update.unwrap_or_default();
    let did = if answer.started { "started" } else { "was running already:" };
    // Standard output holds nothing but the answer.
    if output.format() == Format::Text {
        eprintln!("{did} workflow {workflow_id}, run {}", so_far.run_id);
    }
    let sent = Sent { workflow_id: &workflow_id, name: &update.update_name, id: &update.update_id };
    update::tell(sent, UpdateWait::Completed, so_far, output)
}

/// The error of a call whose effect is unknown if the connection was lost: says how to repeat it without harm.
pub(crate) fn repeatable(client: &Client, status: &tonic::Status, request_id: &str) -> CliError {
    match client.error(status) {
        CliError::Told(mut told) if client::is_connection_lost(status) => {
            told.message.push_str(&format!(
                "; it may have taken effect: to repeat it without harm, add --request-id {request_id} and the same id"
            ));
            CliError::Told(told)
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::workflow::args::Verb;

    fn parse(words: &[&str]) -> StartArgs {
        let start = ["engine", "workflow", "start", "--type", "checkout", "--queue", "orders"];
        let Command::Workflow(workflow) = Cli::try_parse_from(start.iter().chain(words)).unwrap().command else {
            panic!("it is a workflow command")
        };
        match workflow.verb {
            Verb::Start(start) => *start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_are_made_unless_they_are_said() {
        let (request, _) = request(parse(&[])).unwrap();
        assert_eq!((request.workflow_type.as_str(), request.task_queue.as_str()), ("checkout", "orders"));
        assert!(Uuid::parse_str(&request.workflow_id).is_ok() && Uuid::parse_str(&request.request_id).is_ok());
        assert_eq!(request.id_conflict_policy(), v1::WorkflowIdConflictPolicy::Fail);
    }

    #[test]
    fn what_is_said_of_the_id_reaches_the_request() {
        let words =
            ["--id", "order-42", "--id-conflict-policy", "use-existing", "--request-id", "r", "--summary", "Ada"];
        let (request, _) = request(parse(&words)).unwrap();
        assert_eq!((request.workflow_id.as_str(), request.request_id.as_str()), ("order-42", "r"));
        assert_eq!(request.id_conflict_policy(), v1::WorkflowIdConflictPolicy::UseExisting);
        assert_eq!(request.summary, "Ada");
    }

    #[test]
    fn a_cron_reaches_the_request_and_excludes_a_delay() {
        let (request, _) = request(parse(&["--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"])).unwrap();
        let cron = v1::Cron { expression: "30 2 * * *".into(), time_zone: "Europe/Berlin".into() };
        assert_eq!(request.cron, Some(cron));
        let both = ["engine", "wf", "start", "-t", "t", "-q", "q", "--cron", "@daily", "--start-delay", "1m"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
