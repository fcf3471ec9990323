//! `engine activity list`, `count`, `describe` and `result`.

use std::time::{Duration, Instant};

use engine_proto::{convert, v1};
use serde_json::{Value, json};

use super::args::{CountArgs, ListArgs, NamedArgs, ResultArgs};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{activity, failure, payload, run, text, time};
use crate::workflow::patience::Patience;

/// Most activities that are asked for at once.
const PAGE: usize = 1000;

/// How long one call waits for an outcome.
const POLL: Duration = Duration::from_secs(20);

/// How long to try to reach a server that was lost.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn list(
    connection: &ConnectionArgs,
    arguments: ListArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    let mut request = v1::ListActivitiesRequest {
        namespace: client.namespace.clone(),
        query: arguments.query,
        page_size: 0,
        page_token: Vec::new(),
    };
    let mut activities = Vec::new();
    let more = loop {
        request.page_size = u32::try_from((limit - activities.len()).min(PAGE)).expect("a page is small");
        let response = client.activities.list_activities(client::request(request.clone())).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        activities.extend(page.activities);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || activities.len() >= limit {
            break !request.page_token.is_empty();
        }
    };
    match output.format() {
        Format::Json => output.json(&activities.iter().map(activity::summary_value).collect::<Vec<Value>>())?,
        Format::Text if activities.is_empty() => output.line("no activities")?,
        Format::Text => {
            output.line(&activity::list(&activities, time::now(), output.width()))?;
            if more {
                output.line(&format!("there are more than {limit}: see --limit and --query"))?;
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn count(
    connection: &ConnectionArgs,
    arguments: CountArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::CountActivitiesRequest { namespace: client.namespace.clone(), query: arguments.query };
    let response = client.activities.count_activities(client::request(request)).await;
    let v1::CountActivitiesResponse { count, groups } = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => {
            let groups: Vec<Value> =
                groups.iter().map(|group| json!({ "value": group.value, "count": group.count })).collect();
            output.json(&json!({ "count": count, "groups": groups }))?;
        }
        Format::Text if groups.is_empty() => {
            let noun = if count == 1 { "activity" } else { "activities" };
            output.line(&format!("{count} {noun}"))?;
        }
        Format::Text => {
            for group in groups {
                output.line(&format!("{:>10}  {}", group.count, text::one_line(&group.value, text::SHORT)))?;
            }
            output.line(&format!("{count:>10}  in all"))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn describe(
    connection: &ConnectionArgs,
    arguments: NamedArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::DescribeActivityRequest {
        namespace: client.namespace.clone(),
        activity_id: arguments.activity_id,
        run_id: arguments.run_id.unwrap_or_default(),
    };
    let response = client.activities.describe_activity(client::request(request)).await;
    let description = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => output.json(&activity::describe_value(&description))?,
        Format::Text => output.line(&activity::describe(&description, time::now()))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn result(
    connection: &ConnectionArgs,
    arguments: ResultArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    wait(&mut client, arguments.activity, arguments.timeout, output).await
}

/// Waits for the activity to end, prints its outcome, and says by the exit code whether it completed.
pub(super) async fn wait(
    client: &mut Client,
    activity: NamedArgs,
    timeout: Option<Duration>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let mut patience = Patience::new(PATIENCE);
    let mut request = v1::GetActivityResultRequest {
        namespace: client.namespace.clone(),
        activity_id: activity.activity_id,
        run_id: activity.run_id.unwrap_or_default(),
        wait: None,
    };
    loop {
        let left = timeout.map_or(POLL, |timeout| timeout.saturating_sub(begun.elapsed()).min(POLL));
        request.wait = Some(convert::duration_to_proto(left));
        let response = client.activities.get_activity_result(client::request_that_waits(request.clone(), left)).await;
        let outcome = match response {
            Ok(response) => response.into_inner(),
            Err(status) => {
                patience.failed(client, &status).await?;
                continue;
            }
        };
        patience.heard();
        // From the first answer on this waits for one run, not for whichever is the latest.
        request.run_id.clone_from(&outcome.run_id);
        if outcome.status() != v1::WorkflowStatus::Running {
            return print(&outcome, &request.activity_id, output);
        }
        if let Some(timeout) = timeout.filter(|timeout| begun.elapsed() >= *timeout) {
            let waited = if timeout.is_zero() { String::new() } else { format!(" after {}", time::words(timeout)) };
            let message = format!("activity {} is still open{waited}", request.activity_id);
            return Err(CliError::new(Exit::StillRunning, message));
        }
    }
}

fn print(outcome: &v1::ActivityOutcome, activity_id: &str, output: &mut Output) -> Result<Exit, CliError> {
    let is_completed = outcome.status() == v1::WorkflowStatus::Completed;
    match (output.format(), &outcome.result) {
        (Format::Json, _) => output.json(&activity::outcome_value(outcome))?,
        (Format::Text, Some(result)) if is_completed => {
            output.line(&payload::words(&convert::payload_from_proto(result.clone()), usize::MAX))?;
        }
        (Format::Text, _) if is_completed => output.line("null")?,
        (Format::Text, _) => {
            let how = run::status(outcome.status()).to_lowercase().replace('_', " ");
            let why = run::failure_of(outcome.failure.as_ref());
            let why = why.map(|it| format!("\n  {}", failure::lines(&it))).unwrap_or_default();
            eprintln!("activity {activity_id} {how}{why}");
        }
    }
    Ok(if is_completed { Exit::Done } else { Exit::WorkflowFailed })
}
