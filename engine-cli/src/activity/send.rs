//! `engine activity cancel`, `terminate` and `rerun`.

use engine_proto::v1;
use serde_json::{Value, json};

use super::args::{RerunArgs, StopArgs};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};

pub(super) async fn cancel(
    connection: &ConnectionArgs,
    arguments: StopArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let activity_id = arguments.activity.activity_id;
    let request = v1::CancelActivityRequest {
        namespace: client.namespace.clone(),
        activity_id: activity_id.clone(),
        run_id: arguments.activity.run_id.unwrap_or_default(),
        reason: arguments.reason,
        identity: client.identity.clone(),
    };
    client.activities.cancel_activity(client::request(request)).await.map_err(|status| client.error(&status))?;
    match output.format() {
        Format::Json => output.json(&json!({ "activity_id": activity_id }))?,
        Format::Text => output.line(&format!("asked activity {activity_id} to stop"))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn terminate(
    connection: &ConnectionArgs,
    arguments: StopArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let activity_id = arguments.activity.activity_id;
    let request = v1::TerminateActivityRequest {
        namespace: client.namespace.clone(),
        activity_id: activity_id.clone(),
        run_id: arguments.activity.run_id.unwrap_or_default(),
        reason: arguments.reason,
        identity: client.identity.clone(),
    };
    client.activities.terminate_activity(client::request(request)).await.map_err(|status| client.error(&status))?;
    match output.format() {
        Format::Json => output.json(&json!({ "activity_id": activity_id }))?,
        Format::Text => output.line(&format!("terminated activity {activity_id}"))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn rerun(
    connection: &ConnectionArgs,
    arguments: RerunArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    match (arguments.activity_id, arguments.query) {
        (Some(activity_id), _) => one(&mut client, activity_id, output).await,
        (None, query) => all(&mut client, query.unwrap_or_default(), arguments.limit, output).await,
    }
}

async fn one(client: &mut Client, activity_id: String, output: &mut Output) -> Result<Exit, CliError> {
    let request = v1::RunActivityAgainRequest {
        namespace: client.namespace.clone(),
        activity_id: activity_id.clone(),
        run_id: String::new(),
        identity: client.identity.clone(),
    };
    let response = client.activities.run_activity_again(client::request(request)).await;
    let again = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => output.json(&json!({
            "activity_id": activity_id,
            "run_id": again.run_id,
            "repeated_run_id": again.repeated_run_id,
        }))?,
        Format::Text => output.line(&format!("activity {activity_id} runs again, run {}", again.run_id))?,
    }
    Ok(Exit::Done)
}

/// Tells how far it has come: in words on standard error, so that standard output holds the end; as JSON a line for each step.
async fn all(client: &mut Client, query: String, limit: u32, output: &mut Output) -> Result<Exit, CliError> {
    let request = v1::RunActivitiesAgainRequest {
        namespace: client.namespace.clone(),
        query,
        limit,
        identity: client.identity.clone(),
    };
    // No deadline: it takes as long as it takes.
    let response = client.activities.run_activities_again(request).await;
    let mut messages = response.map_err(|status| client.error(&status))?.into_inner();
    while let Some(message) = messages.message().await.map_err(|status| client.error(&status))? {
        match output.format() {
            Format::Json => output.json_line(&progress_value(&message))?,
            Format::Text if message.done => output.line(&words(&message))?,
            Format::Text => eprintln!("{}", words(&message)),
        }
        if message.done {
            return Ok(Exit::Done);
        }
    }
    let message = "the server stopped before all was run again: the same command goes on, and runs nothing twice";
    Err(CliError::new(Exit::Unavailable, message.to_owned()))
}

fn words(progress: &v1::RunActivitiesAgainProgress) -> String {
    let passed_over = match progress.passed_over {
        0 => String::new(),
        count => format!("; {count} had been started anew meanwhile"),
    };
    format!("{} of {} run again{passed_over}", progress.run_again, progress.found)
}

fn progress_value(progress: &v1::RunActivitiesAgainProgress) -> Value {
    json!({
        "found": progress.found,
        "run_again": progress.run_again,
        "passed_over": progress.passed_over,
        "done": progress.done,
    })
}
