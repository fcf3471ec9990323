//! `engine activity list`, `count`, `describe` and `result`.

use std::time::{Duration, Instant};

use engine_proto::{convert, v1};
use serde_json::Value;

use super::args::{CountArgs, ListArgs, NamedArgs, ResultArgs};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::{Format, Output};
use crate::view::{activity, time};
use crate::workflow::patience::Patience;

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
    let namespace = client.namespace.clone();
    let (activities, more) = listing::pages(arguments.limit, async |page_size, page_token| {
        let (namespace, query) = (namespace.clone(), arguments.query.clone());
        let request = v1::ListActivitiesRequest { namespace, query, page_size, page_token };
        let response = client.activities.list_activities(client::request(request)).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        Ok((page.activities, page.next_page_token))
    })
    .await?;
    match output.format() {
        Format::Json => output.json(&activities.iter().map(activity::summary_value).collect::<Vec<Value>>())?,
        Format::Text if activities.is_empty() => output.line("no activities")?,
        Format::Text => {
            output.line(&activity::list(&activities, time::now(), output.width()))?;
            if more {
                output.line(&format!("there are more than {}: see --limit and --query", arguments.limit))?;
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
    let noun = if count == 1 { "activity" } else { "activities" };
    listing::print_count(count, &groups, &format!("{count} {noun}"), output)
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
            let v1::ActivityOutcome { run_id, status, result, failure } = outcome;
            let outcome = v1::GetWorkflowResultResponse { run_id, status, result, failure };
            return listing::print_outcome(&outcome, &format!("activity {}", request.activity_id), output);
        }
        if let Some(timeout) = timeout.filter(|timeout| begun.elapsed() >= *timeout) {
            let waited = if timeout.is_zero() { String::new() } else { format!(" after {}", time::words(timeout)) };
            let message = format!("activity {} is still open{waited}", request.activity_id);
            return Err(CliError::new(Exit::StillRunning, message));
        }
    }
}
