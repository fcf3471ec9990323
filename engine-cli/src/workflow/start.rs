//! `engine workflow start`.

use std::collections::BTreeMap;

use engine_proto::{convert, v1};
use serde_json::json;
use uuid::Uuid;

use super::result;
use crate::args::{ConflictPolicy, ConnectionArgs, ResultArgs, ReusePolicy, RunArgs, StartArgs};
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::namespace;
use crate::output::{Format, Output};
use crate::view::{payload, search};

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: StartArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let wait = arguments.wait.then_some(arguments.timeout);
    let signal = signal(&arguments)?;
    let attributes = split(&arguments.search_attribute)?;
    let mut request = request(arguments)?;
    let mut client = Client::connect(connection).await?;
    if !attributes.is_empty() {
        let namespace = namespace::describe(&mut client, connection.namespace.clone()).await?;
        request.search_attributes = typed(attributes, &namespace)?;
    }
    request.namespace.clone_from(&client.namespace);
    request.identity.clone_from(&client.identity);
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

fn request(arguments: StartArgs) -> Result<v1::StartWorkflowRequest, CliError> {
    let input = payload::read_inputs(&arguments.input)?;
    let memo = memo(&arguments.memo)?;
    Ok(v1::StartWorkflowRequest {
        namespace: String::new(),
        workflow_id: arguments.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        workflow_type: arguments.workflow_type,
        task_queue: arguments.queue,
        input,
        execution_timeout: arguments.execution_timeout.map(convert::duration_to_proto),
        run_timeout: arguments.run_timeout.map(convert::duration_to_proto),
        task_timeout: arguments.task_timeout.map(convert::duration_to_proto),
        retry_policy: arguments
            .max_attempts
            .map(|maximum_attempts| v1::RetryPolicy { maximum_attempts, ..v1::RetryPolicy::default() }),
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
        request_id: arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        identity: String::new(),
        memo,
        ..v1::StartWorkflowRequest::default()
    })
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

/// Names and values of search attributes.
fn split(words: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let attribute = |word: &String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--search-attribute {word:?} is not of the form NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(attribute).collect()
}

/// Search attributes as the namespace has them registered.
fn typed(
    attributes: Vec<(String, String)>,
    namespace: &v1::Namespace,
) -> Result<BTreeMap<String, v1::SearchValue>, CliError> {
    let typed = |(name, value): (String, String)| {
        let wrong = |problem: String| CliError::usage(format!("--search-attribute {name}={value}: {problem}"));
        let known = || namespace.search_attributes.keys().cloned().collect::<Vec<_>>().join(", ");
        let search_type = namespace
            .search_attributes
            .get(&name)
            .and_then(|number| convert::search_type_from_proto("search_attributes", *number).ok())
            .ok_or_else(|| {
                wrong(format!("namespace {:?} has no such search attribute; it has: {}", namespace.name, known()))
            })?;
        let value = search::read(&value, search_type).map_err(wrong)?;
        Ok((name, convert::search_value_to_proto(&value)))
    };
    attributes.into_iter().map(typed).collect()
}

fn memo(words: &[String]) -> Result<BTreeMap<String, v1::Payload>, CliError> {
    let fact = |word: &String| {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--memo {word:?} is not of the form KEY=JSON")))?;
        Ok((key.to_owned(), payload::json_payload(value, &format!("the value of --memo {key}"))?))
    };
    words.iter().map(fact).collect()
}

/// The error of a call whose effect is unknown if the connection was lost: says how to repeat it without harm.
pub(super) fn repeatable(client: &Client, status: &tonic::Status, request_id: &str) -> CliError {
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
    use crate::args::{Cli, Command, Verb};

    fn parse(words: &[&str]) -> StartArgs {
        let start = ["engine", "workflow", "start", "--type", "checkout", "--queue", "orders"];
        let Command::Workflow(workflow) = Cli::try_parse_from(start.iter().chain(words)).unwrap().command else {
            panic!("it is a workflow command")
        };
        match workflow.verb {
            Verb::Start(start) => start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_is_left_to_the_server_but_ids_are_made() {
        let request = request(parse(&[])).unwrap();
        assert_eq!((request.workflow_type.as_str(), request.task_queue.as_str()), ("checkout", "orders"));
        assert!(Uuid::parse_str(&request.workflow_id).is_ok() && Uuid::parse_str(&request.request_id).is_ok());
        assert_eq!(request.id_conflict_policy(), v1::WorkflowIdConflictPolicy::Fail);
        assert_eq!((request.retry_policy, request.run_timeout, request.input.len()), (None, None, 0));
    }

    #[test]
    fn options_reach_the_request() {
        let words = [
            "--id",
            "order-42",
            "-i",
            "{\"cents\":1}",
            "--max-attempts",
            "3",
            "--run-timeout",
            "90s",
            "--id-conflict-policy",
            "use-existing",
            "--memo",
            "ticket=\"A=7\"",
        ];
        let request = request(parse(&words)).unwrap();
        assert_eq!(request.workflow_id, "order-42");
        assert_eq!(request.input[0].data, "{\"cents\":1}");
        assert_eq!(request.retry_policy.unwrap().maximum_attempts, 3);
        assert_eq!(request.run_timeout.unwrap().seconds, 90);
        assert_eq!(request.id_conflict_policy, i32::from(v1::WorkflowIdConflictPolicy::UseExisting));
        assert_eq!(request.memo["ticket"].data, "\"A=7\"");
    }

    #[test]
    fn a_search_attribute_has_the_type_that_is_registered() {
        let types = [("Total", v1::SearchAttributeType::Int), ("Tags", v1::SearchAttributeType::KeywordList)];
        let namespace = v1::Namespace {
            name: "shop".into(),
            search_attributes: types.map(|(name, kind)| (name.to_owned(), kind.into())).into(),
            ..Default::default()
        };
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            typed(split(&words)?, &namespace)
        };
        let values = read(&["Total=-7", "Tags=new, vip"]).unwrap();
        assert_eq!(values["Total"].value, Some(v1::search_value::Value::Int(-7)));
        let words = v1::KeywordList { words: vec!["new".into(), "vip".into()] };
        assert_eq!(values["Tags"].value, Some(v1::search_value::Value::KeywordList(words)));
        for (wrong, expected) in [
            ("Total", "is not of the form NAME=VALUE"),
            ("Total=many", "is no integer"),
            ("Sum=1", "namespace \"shop\" has no such search attribute; it has: Tags, Total"),
        ] {
            let CliError::Told(told) = read(&[wrong]).unwrap_err() else { panic!("it says something") };
            assert!(told.message.contains(expected), "{}", told.message);
        }
    }

    #[test]
    fn a_memo_must_be_key_and_json() {
        assert!(request(parse(&["--memo", "ticket"])).is_err());
        assert!(request(parse(&["--memo", "ticket=A-7"])).is_err());
    }
}
