//! `engine activity start` and `engine activity run`.

use std::time::Duration;

use engine_proto::{convert, v1};
use serde_json::json;
use uuid::Uuid;

use super::args::{NamedArgs, RunArgs, StartArgs};
use super::look;
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::options::{self, Attributes};
use crate::output::{Format, Output};
use crate::view::payload;
use crate::workflow::args::{ConflictPolicy, ReusePolicy};
use crate::workflow::repeatable;

/// How long an attempt may take if nothing is said: what the SDK says too.
const START_TO_CLOSE_DEFAULT: Duration = Duration::from_secs(600);

pub(super) async fn start(
    connection: &ConnectionArgs,
    arguments: StartArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let (request, attributes) = request(arguments)?;
    let mut client = Client::connect(connection).await?;
    let (activity, started) = send(&mut client, request, attributes).await?;
    match output.format() {
        Format::Json => {
            let answer = json!({
                "activity_id": activity.activity_id,
                "run_id": activity.run_id,
                "started": started,
            });
            output.json(&answer)?;
        }
        Format::Text => output.line(&line(&activity, started))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: RunArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let timeout = arguments.timeout;
    let (request, attributes) = request(arguments.start)?;
    let mut client = Client::connect(connection).await?;
    let (activity, started) = send(&mut client, request, attributes).await?;
    if output.format() == Format::Text {
        // Standard output holds nothing but the result.
        eprintln!("{}", line(&activity, started));
    }
    look::wait(&mut client, activity, timeout, output).await
}

async fn send(
    client: &mut Client,
    mut request: v1::StartActivityRequest,
    attributes: Attributes,
) -> Result<(NamedArgs, bool), CliError> {
    request.search_attributes = attributes.read(client).await?;
    request.namespace.clone_from(&client.namespace);
    request.identity.clone_from(&client.identity);
    let (activity_id, request_id) = (request.activity_id.clone(), request.request_id.clone());
    let response = client.activities.start_activity(client::request(request)).await;
    let response = response.map_err(|status| repeatable(client, &status, &request_id))?.into_inner();
    Ok((NamedArgs { activity_id, run_id: Some(response.run_id) }, response.started))
}

fn line(activity: &NamedArgs, started: bool) -> String {
    let did = if started { "started" } else { "was open already:" };
    let run_id = activity.run_id.as_deref().unwrap_or_default();
    format!("{did} activity {}, run {run_id}", activity.activity_id)
}

fn request(arguments: StartArgs) -> Result<(v1::StartActivityRequest, Attributes), CliError> {
    let attributes = options::split(&arguments.search_attribute)?;
    let duration = |duration: Option<Duration>| duration.map(convert::duration_to_proto);
    let start_to_close = match (arguments.start_to_close, arguments.schedule_to_close) {
        (None, None) => Some(START_TO_CLOSE_DEFAULT),
        (start_to_close, _) => start_to_close,
    };
    let request = v1::StartActivityRequest {
        activity_id: arguments.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        activity_type: arguments.activity_type,
        task_queue: arguments.queue,
        input: payload::read_inputs(&arguments.input)?,
        timeouts: Some(v1::ActivityTimeouts {
            schedule_to_close: duration(arguments.schedule_to_close),
            schedule_to_start: duration(arguments.schedule_to_start),
            start_to_close: duration(start_to_close),
            heartbeat: duration(arguments.heartbeat),
        }),
        retry_policy: Some(v1::RetryPolicy {
            maximum_attempts: arguments.max_attempts,
            initial_interval: duration(arguments.retry_interval),
            maximum_interval: duration(arguments.retry_interval_max),
            ..v1::RetryPolicy::default()
        }),
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
        memo: options::memo(&arguments.memo)?,
        summary: arguments.summary,
        details: arguments.details,
        start_delay: duration(arguments.start_delay),
        ..v1::StartActivityRequest::default()
    };
    Ok((request, attributes))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::ActivityVerb;
    use super::*;
    use crate::args::{Cli, Command};

    fn parse(words: &[&str]) -> v1::StartActivityRequest {
        let start = ["engine", "activity", "start", "--type", "charge", "--queue", "cards"];
        let Command::Activity(activity) = Cli::try_parse_from(start.iter().chain(words)).unwrap().command else {
            panic!("it is an activity command")
        };
        let ActivityVerb::Start(start) = activity.verb else { panic!("it is a start") };
        request(*start).unwrap().0
    }

    #[test]
    fn what_is_not_said_has_a_limit_and_an_id() {
        let request = parse(&[]);
        assert_eq!(request.timeouts.unwrap().start_to_close.unwrap().seconds, 600);
        assert!(Uuid::parse_str(&request.activity_id).is_ok() && Uuid::parse_str(&request.request_id).is_ok());
        let request = parse(&["--schedule-to-close", "1h"]);
        assert_eq!(request.timeouts.unwrap().start_to_close, None);
    }

    #[test]
    fn options_reach_the_request() {
        let words = [
            "--id",
            "a",
            "-i",
            "7",
            "--start-to-close",
            "5s",
            "--schedule-to-start",
            "1m",
            "--heartbeat",
            "2s",
            "--max-attempts",
            "3",
            "--retry-interval",
            "4s",
            "--start-delay",
            "1h",
            "--memo",
            "ticket=1",
            "--id-conflict-policy",
            "use-existing",
        ];
        let request = parse(&words);
        let timeouts = request.timeouts.unwrap();
        let seconds = [timeouts.start_to_close, timeouts.schedule_to_start, timeouts.heartbeat, request.start_delay];
        assert_eq!(seconds.map(|duration| duration.unwrap().seconds), [5, 60, 2, 3600]);
        let policy = request.retry_policy.unwrap();
        assert_eq!((policy.maximum_attempts, policy.initial_interval.unwrap().seconds), (3, 4));
        assert_eq!((request.input[0].data.as_ref(), request.memo.len()), (b"7".as_slice(), 1));
    }
}
