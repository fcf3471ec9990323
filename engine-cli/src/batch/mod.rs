//! `engine batch`: do the same to every run that a filter means. Each verb reads its input first and connects then.

mod args;

use engine_proto::v1;
use serde_json::{Value, json};
use uuid::Uuid;
use v1::batch_operation::Operation;

pub(crate) use args::BatchArgs;
use args::{BatchVerb, IdArgs, ListArgs, Operation as OperationArg, Point, StartArgs, StopArgs};

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::{Format, Output};
use crate::view::{batch, payload, time};

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: BatchArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        BatchVerb::Start(start) => begin(connection, start, output).await,
        BatchVerb::Describe(id) => describe(connection, id, output).await,
        BatchVerb::List(list) => self::list(connection, &list, output).await,
        BatchVerb::Stop(stop) => self::stop(connection, stop, output).await,
        BatchVerb::Delete(id) => delete(connection, id, output).await,
    }
}

async fn begin(connection: &ConnectionArgs, arguments: StartArgs, output: &mut Output) -> Result<Exit, CliError> {
    let request = request(arguments)?;
    let mut client = Client::connect(connection).await?;
    let request =
        v1::StartBatchRequest { namespace: client.namespace.clone(), identity: client.identity.clone(), ..request };
    let batch_id = request.batch_id.clone();
    let response = client.batches.start_batch(client::request(request)).await;
    let total = response.map_err(|status| client.error(&status))?.into_inner().total;
    match output.format() {
        Format::Json => output.json(&json!({ "batch_id": batch_id, "total": total }))?,
        Format::Text => output.line(&format!("started batch {batch_id} over {total} runs"))?,
    }
    Ok(Exit::Done)
}

fn request(arguments: StartArgs) -> Result<v1::StartBatchRequest, CliError> {
    let input = payload::read_inputs(&arguments.input)?;
    if arguments.operation != OperationArg::Reset {
        let given = [
            ("--from", arguments.from.is_some()),
            ("--exclude-signals", arguments.exclude_signals),
            ("--exclude-updates", arguments.exclude_updates),
        ];
        if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given) {
            return Err(CliError::usage(format!("{name} is for --operation reset")));
        }
    }
    let versioning_override = arguments.versioning.read()?;
    let says_where = versioning_override.is_some() || arguments.as_code_says;
    if says_where != (arguments.operation == OperationArg::Move) {
        let problem = match says_where {
            true => "--pin, --auto-upgrade and --as-code-says are for --operation move",
            false => "--operation move needs to know where to: --pin, --auto-upgrade or --as-code-says",
        };
        return Err(CliError::usage(problem.to_owned()));
    }
    let operation = match (arguments.operation, arguments.name) {
        (OperationArg::Signal, Some(signal_name)) => Operation::Signal(v1::BatchSignal { signal_name, input }),
        (OperationArg::Signal, None) => {
            return Err(CliError::usage("--operation signal needs the name of the signal: --name".to_owned()));
        }
        (_, Some(_)) => return Err(CliError::usage("--name is for --operation signal".to_owned())),
        (_, None) if !input.is_empty() => {
            return Err(CliError::usage("--input is for --operation signal".to_owned()));
        }
        (OperationArg::Cancel, None) => Operation::Cancel(v1::BatchCancel {}),
        (OperationArg::Terminate, None) => Operation::Terminate(v1::BatchTerminate {}),
        (OperationArg::Pause, None) => Operation::Pause(v1::BatchPause {}),
        (OperationArg::Resume, None) => Operation::Resume(v1::BatchResume {}),
        (OperationArg::Move, None) => Operation::Move(v1::BatchMove { versioning_override }),
        (OperationArg::Delete, None) => Operation::Delete(v1::BatchDelete {}),
        (OperationArg::Reset, None) => {
            let point = match arguments.from {
                Some(Point::FirstTask) => v1::BatchResetPoint::FirstWorkflowTask,
                Some(Point::LastTask) => v1::BatchResetPoint::LastWorkflowTask,
                Some(Point::FailedActivity) => v1::BatchResetPoint::FailedActivity,
                None => {
                    let problem =
                        "--operation reset needs to know from where: --from first-task, last-task or failed-activity";
                    return Err(CliError::usage(problem.to_owned()));
                }
            };
            Operation::Reset(v1::BatchReset {
                point: point.into(),
                exclude_signals: arguments.exclude_signals,
                exclude_updates: arguments.exclude_updates,
            })
        }
    };
    Ok(v1::StartBatchRequest {
        namespace: String::new(),
        batch_id: arguments.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        query: arguments.query,
        operation: Some(v1::BatchOperation { operation: Some(operation) }),
        reason: arguments.reason,
        identity: String::new(),
        rate: arguments.rate,
    })
}

async fn describe(connection: &ConnectionArgs, arguments: IdArgs, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request =
        v1::DescribeBatchRequest { namespace: client.namespace.clone(), batch_id: arguments.batch_id.clone() };
    let response = client.batches.describe_batch(client::request(request)).await;
    let found = response.map_err(|status| client.error(&status))?.into_inner().batch.unwrap_or_default();
    match output.format() {
        Format::Json => output.json(&batch::value(&found))?,
        Format::Text => output.line(&batch::describe(&found, time::now()))?,
    }
    Ok(Exit::Done)
}

async fn list(connection: &ConnectionArgs, arguments: &ListArgs, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let namespace = client.namespace.clone();
    let (found, more) = listing::pages(arguments.limit, async |page_size, page_token| {
        let request = v1::ListBatchesRequest { namespace: namespace.clone(), page_size, page_token };
        let response = client.batches.list_batches(client::request(request)).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        Ok((page.batches, page.next_page_token))
    })
    .await?;
    match output.format() {
        Format::Json => output.json(&found.iter().map(batch::value).collect::<Vec<Value>>())?,
        Format::Text if found.is_empty() => output.line("no batches")?,
        Format::Text => {
            output.line(&batch::list(&found, time::now(), output.width()))?;
            if more {
                output.line(&format!("there are more than {}: see --limit", arguments.limit))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn stop(connection: &ConnectionArgs, arguments: StopArgs, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let batch_id = arguments.batch_id;
    let request = v1::StopBatchRequest {
        namespace: client.namespace.clone(),
        batch_id: batch_id.clone(),
        reason: arguments.reason,
    };
    let response = client.batches.stop_batch(client::request(request)).await;
    response.map_err(|status| client.error(&status))?;
    match output.format() {
        Format::Json => output.json(&json!({ "batch_id": batch_id }))?,
        Format::Text => output.line(&format!("stopped batch {batch_id}"))?,
    }
    Ok(Exit::Done)
}

async fn delete(connection: &ConnectionArgs, arguments: IdArgs, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let batch_id = arguments.batch_id;
    let request = v1::DeleteBatchRequest { namespace: client.namespace.clone(), batch_id: batch_id.clone() };
    let response = client.batches.delete_batch(client::request(request)).await;
    let existed = response.map_err(|status| client.error(&status))?.into_inner().existed;
    match output.format() {
        Format::Json => output.json(&json!({ "batch_id": batch_id, "existed": existed }))?,
        Format::Text if existed => output.line(&format!("deleted batch {batch_id}"))?,
        Format::Text => output.line(&format!("there was no batch {batch_id}"))?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn read(words: &[&str]) -> Result<v1::StartBatchRequest, CliError> {
        let line = ["engine", "batch", "start", "-q", "WorkflowType = 't'", "--operation"];
        match Cli::try_parse_from(line.iter().chain(words)).unwrap().command {
            Command::Batch(BatchArgs { verb: BatchVerb::Start(start), .. }) => request(start),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_done_reaches_the_request() {
        let canceled = read(&["cancel", "--reason", "superseded", "--rate", "5", "--id", "x"]).unwrap();
        assert_eq!(canceled.operation.unwrap().operation, Some(Operation::Cancel(v1::BatchCancel {})));
        assert_eq!((canceled.reason.as_str(), canceled.rate, canceled.batch_id.as_str()), ("superseded", 5, "x"));
        let signaled = read(&["signal", "--name", "go", "-i", "7"]).unwrap();
        let Some(Operation::Signal(signal)) = signaled.operation.unwrap().operation else { panic!("it is a signal") };
        assert_eq!((signal.signal_name.as_str(), signal.input[0].data.as_ref()), ("go", &b"7"[..]));
        let moved = read(&["move", "--pin", "shop:build-43"]).unwrap().operation.unwrap().operation;
        let version = v1::WorkerVersion { deployment_name: "shop".into(), build_id: "build-43".into() };
        let pinned = v1::VersioningOverride { behavior: v1::VersioningBehavior::Pinned.into(), version: Some(version) };
        assert_eq!(moved, Some(Operation::Move(v1::BatchMove { versioning_override: Some(pinned) })));
        let moved = read(&["move", "--as-code-says"]).unwrap().operation.unwrap().operation;
        assert_eq!(moved, Some(Operation::Move(v1::BatchMove { versioning_override: None })));
        for (from, point) in [
            ("first-task", v1::BatchResetPoint::FirstWorkflowTask),
            ("last-task", v1::BatchResetPoint::LastWorkflowTask),
            ("failed-activity", v1::BatchResetPoint::FailedActivity),
        ] {
            let reset = read(&["reset", "--from", from, "--exclude-updates"]).unwrap().operation.unwrap().operation;
            let expected = v1::BatchReset { point: point.into(), exclude_signals: false, exclude_updates: true };
            assert_eq!(reset, Some(Operation::Reset(expected)));
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_before_anybody_is_asked() {
        for (words, expected) in [
            (&["signal"][..], "needs the name of the signal"),
            (&["cancel", "--name", "go"], "--name is for"),
            (&["terminate", "-i", "7"], "--input is for"),
            (&["reset"], "needs to know from where"),
            (&["cancel", "--from", "last-task"], "--from is for"),
            (&["pause", "--exclude-signals"], "--exclude-signals is for"),
            (&["move"], "needs to know where to"),
            (&["pause", "--auto-upgrade"], "are for --operation move"),
            (&["move", "--pin", "shop"], "not of the form DEPLOYMENT:BUILD"),
        ] {
            let CliError::Told(told) = read(words).unwrap_err() else { panic!("it says something") };
            assert!(told.message.contains(expected), "{}", told.message);
        }
    }
}
