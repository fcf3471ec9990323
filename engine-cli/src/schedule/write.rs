//! `engine schedule create`, `update`, `pause`, `unpause`, `trigger`, `backfill` and `delete`.

use engine_proto::{convert, v1};
use serde_json::json;
use uuid::Uuid;
use v1::patch_schedule_request::Patch;

use super::args::{BackfillArgs, CreateArgs, DefinitionArgs, IdArgs, NoteArgs, Overlap, TriggerArgs, UpdateArgs};
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::options::Attributes;
use crate::output::{Format, Output};

pub(super) async fn create(
    connection: &ConnectionArgs,
    arguments: CreateArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let remaining = arguments.definition.limit;
    let definition = definition(&arguments.schedule_id, arguments.definition)?;
    let mut client = Client::connect(connection).await?;
    let schedule = completed(definition, &mut client).await?;
    let request = v1::CreateScheduleRequest {
        namespace: client.namespace.clone(),
        schedule_id: arguments.schedule_id.clone(),
        schedule: Some(schedule),
        paused: arguments.paused,
        note: arguments.note,
        remaining,
        trigger: arguments.trigger,
        request_id: arguments.request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
    };
    let response = client.schedules.create_schedule(client::request(request)).await;
    let version = response.map_err(|status| client.error(&status))?.into_inner().version;
    told(output, "created", &arguments.schedule_id, version)
}

pub(super) async fn update(
    connection: &ConnectionArgs,
    arguments: UpdateArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let remaining = arguments.definition.limit;
    let limit = (arguments.no_limit || remaining.is_some()).then_some(v1::StartLimit { remaining });
    let definition = definition(&arguments.schedule_id, arguments.definition)?;
    let mut client = Client::connect(connection).await?;
    let schedule = completed(definition, &mut client).await?;
    let request = v1::UpdateScheduleRequest {
        namespace: client.namespace.clone(),
        schedule_id: arguments.schedule_id.clone(),
        schedule: Some(schedule),
        limit,
        version: arguments.version,
    };
    let response = client.schedules.update_schedule(client::request(request)).await;
    let version = response.map_err(|status| client.error(&status))?.into_inner().version;
    told(output, "updated", &arguments.schedule_id, version)
}

pub(super) async fn pause(
    connection: &ConnectionArgs,
    arguments: NoteArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let patch = Patch::Pause(v1::PauseSchedule { note: arguments.note });
    patched(connection, arguments.schedule_id, None, patch, "paused", output).await
}

pub(super) async fn unpause(
    connection: &ConnectionArgs,
    arguments: NoteArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let patch = Patch::Unpause(v1::UnpauseSchedule { note: arguments.note });
    patched(connection, arguments.schedule_id, None, patch, "unpaused", output).await
}

pub(super) async fn trigger(
    connection: &ConnectionArgs,
    arguments: TriggerArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let patch = Patch::Trigger(v1::TriggerSchedule { overlap: overlap(arguments.overlap).into() });
    patched(connection, arguments.schedule_id, arguments.request_id, patch, "triggered", output).await
}

pub(super) async fn backfill(
    connection: &ConnectionArgs,
    arguments: BackfillArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let patch = Patch::Backfill(v1::BackfillSchedule {
        from: Some(convert::timestamp_to_proto(arguments.from)),
        until: Some(convert::timestamp_to_proto(arguments.until)),
        overlap: overlap(arguments.overlap).into(),
    });
    patched(connection, arguments.schedule_id, arguments.request_id, patch, "began a backfill of", output).await
}

pub(super) async fn delete(
    connection: &ConnectionArgs,
    arguments: IdArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let schedule_id = arguments.schedule_id;
    let request = v1::DeleteScheduleRequest { namespace: client.namespace.clone(), schedule_id: schedule_id.clone() };
    let response = client.schedules.delete_schedule(client::request(request)).await;
    let existed = response.map_err(|status| client.error(&status))?.into_inner().existed;
    match output.format() {
        Format::Json => output.json(&json!({ "schedule_id": schedule_id, "existed": existed }))?,
        Format::Text if existed => output.line(&format!("deleted schedule {schedule_id}"))?,
        Format::Text => output.line(&format!("there was no schedule {schedule_id}"))?,
    }
    Ok(Exit::Done)
}

async fn patched(
    connection: &ConnectionArgs,
    schedule_id: String,
    request_id: Option<String>,
    patch: Patch,
    did: &str,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::PatchScheduleRequest {
        namespace: client.namespace.clone(),
        schedule_id: schedule_id.clone(),
        request_id: request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        patch: Some(patch),
    };
    let response = client.schedules.patch_schedule(client::request(request)).await;
    let version = response.map_err(|status| client.error(&status))?.into_inner().version;
    told(output, did, &schedule_id, version)
}

fn told(output: &mut Output, did: &str, schedule_id: &str, version: u64) -> Result<Exit, CliError> {
    match output.format() {
        Format::Json => output.json(&json!({ "schedule_id": schedule_id, "version": version }))?,
        Format::Text => output.line(&format!("{did} schedule {schedule_id}, version {version}"))?,
    }
    Ok(Exit::Done)
}

/// Adds what needs a connection: who starts what the schedule starts, for people, and by what that is listed.
async fn completed(
    (mut schedule, attributes): (v1::Schedule, Attributes),
    client: &mut Client,
) -> Result<v1::Schedule, CliError> {
    let search_attributes = attributes.read(client).await?;
    if let Some(start) = &mut schedule.start {
        start.identity.clone_from(&client.identity);
        start.search_attributes = search_attributes;
    }
    Ok(schedule)
}

/// The schedule as the arguments say it, and the attributes of what it starts.
fn definition(schedule_id: &str, arguments: DefinitionArgs) -> Result<(v1::Schedule, Attributes), CliError> {
    let (options, attributes) = arguments.workflow.request()?;
    let start =
        v1::StartWorkflowRequest { workflow_id: arguments.id.unwrap_or_else(|| schedule_id.to_owned()), ..options };
    let every = arguments.every.into_iter();
    let intervals =
        every.map(|every| v1::IntervalSpec { every: Some(convert::duration_to_proto(every)), offset: None });
    let spec = v1::ScheduleSpec {
        calendars: arguments.calendar.iter().map(convert::calendar_to_proto).collect(),
        crons: arguments.cron,
        intervals: intervals.collect(),
        excluded: arguments.exclude.iter().map(convert::calendar_to_proto).collect(),
        start_at: arguments.start_at.map(convert::timestamp_to_proto),
        end_at: arguments.end_at.map(convert::timestamp_to_proto),
        jitter: arguments.jitter.map(convert::duration_to_proto),
        time_zone: arguments.time_zone,
    };
    let policies = v1::SchedulePolicies {
        overlap: overlap(Some(arguments.overlap)).into(),
        catch_up_window: arguments.catch_up_window.map(convert::duration_to_proto),
        pause_on_failure: arguments.pause_on_failure,
    };
    Ok((v1::Schedule { spec: Some(spec), start: Some(start), policies: Some(policies) }, attributes))
}

fn overlap(policy: Option<Overlap>) -> v1::OverlapPolicy {
    match policy {
        None => v1::OverlapPolicy::Unspecified,
        Some(Overlap::Skip) => v1::OverlapPolicy::Skip,
        Some(Overlap::BufferOne) => v1::OverlapPolicy::BufferOne,
        Some(Overlap::BufferAll) => v1::OverlapPolicy::BufferAll,
        Some(Overlap::CancelOther) => v1::OverlapPolicy::CancelOther,
        Some(Overlap::TerminateOther) => v1::OverlapPolicy::TerminateOther,
        Some(Overlap::AllowAll) => v1::OverlapPolicy::AllowAll,
    }
}
