//! `engine schedule describe`, `list` and `times`.

use engine_proto::{convert, v1};
use serde_json::Value;

use super::args::{IdArgs, ListArgs, TimesArgs};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::{Format, Output};
use crate::view::{schedule, time};

pub(super) async fn describe(
    connection: &ConnectionArgs,
    arguments: IdArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request =
        v1::DescribeScheduleRequest { namespace: client.namespace.clone(), schedule_id: arguments.schedule_id.clone() };
    let response = client.schedules.describe_schedule(client::request(request)).await;
    let described = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => output.json(&schedule::describe_value(&arguments.schedule_id, &described))?,
        Format::Text => {
            output.line(&schedule::describe(&arguments.schedule_id, &described, time::now(), output.width()))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn list(
    connection: &ConnectionArgs,
    arguments: &ListArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let namespace = client.namespace.clone();
    let (found, more) = listing::pages(arguments.limit, async |page_size, page_token| {
        let request = v1::ListSchedulesRequest { namespace: namespace.clone(), page_size, page_token };
        let response = client.schedules.list_schedules(client::request(request)).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        Ok((page.schedules, page.next_page_token))
    })
    .await?;
    match output.format() {
        Format::Json => output.json(&found.iter().map(schedule::summary_value).collect::<Vec<Value>>())?,
        Format::Text if found.is_empty() => output.line("no schedules")?,
        Format::Text => {
            output.line(&schedule::list(&found, time::now(), output.width()))?;
            if more {
                output.line(&format!("there are more than {}: see --limit", arguments.limit))?;
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn times(
    connection: &ConnectionArgs,
    arguments: TimesArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::ListScheduleTimesRequest {
        namespace: client.namespace.clone(),
        schedule_id: arguments.schedule_id,
        after: arguments.after.map(convert::timestamp_to_proto),
        until: arguments.until.map(convert::timestamp_to_proto),
        limit: arguments.limit,
    };
    let response = client.schedules.list_schedule_times(client::request(request)).await;
    let times = response.map_err(|status| client.error(&status))?.into_inner().times;
    let times: Vec<String> = times.into_iter().map(schedule::instant_text).collect();
    match output.format() {
        Format::Json => output.json(&times)?,
        Format::Text if times.is_empty() => output.line("no times")?,
        Format::Text => output.line(&times.join("\n"))?,
    }
    Ok(Exit::Done)
}
