//! Schedules: lists and descriptions.

use engine_core::schedule::ranges_text;
use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use serde_json::{Value, json};

use super::table::{self, Columns};
use super::{run, text, time};

/// The instant as programs and people write it; empty if it makes no sense.
pub(crate) fn instant_text(at: prost_types::Timestamp) -> String {
    instant(Some(at)).map(time::rfc3339).unwrap_or_default()
}

fn instant(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| convert::timestamp_from_proto("", at).ok())
}

/// A table of schedules.
pub(crate) fn list(schedules: &[v1::ScheduleSummary], now: Timestamp, width: Option<u16>) -> String {
    let row = |summary: &v1::ScheduleSummary| {
        let next = match instant(summary.next_time) {
            _ if summary.paused => "paused".to_owned(),
            Some(at) => time::until(at, now),
            None => "never".to_owned(),
        };
        let latest = summary.latest.as_ref().map(outcome).unwrap_or_default();
        vec![
            text::one_line(&summary.schedule_id, text::SHORT),
            text::one_line(&summary.workflow_type, text::SHORT),
            next,
            latest,
            times(summary.spec.as_ref()),
        ]
    };
    let columns = Columns { header: &["SCHEDULE", "TYPE", "NEXT", "LATEST", "TIMES"], right: &[], wrapping: &[4] };
    table::table(columns, schedules.iter().map(row).collect(), width)
}

/// The times in a line: `30 2 * * * in Europe/Berlin`.
fn times(spec: Option<&v1::ScheduleSpec>) -> String {
    let Some(spec) = spec.and_then(|spec| convert::schedule_spec_from_proto(spec.clone()).ok()) else {
        return String::new();
    };
    let mut parts: Vec<String> = spec.crons.clone();
    parts.extend(spec.intervals.iter().map(|interval| format!("every {}", time::words(interval.every))));
    for calendar in &spec.calendars {
        let or = |ranges: &[_], empty: &str| match ranges {
            [] => empty.to_owned(),
            ranges => ranges_text(ranges),
        };
        parts.push(format!(
            "{} {} {} {} {} {} {}",
            or(&calendar.second, "0"),
            or(&calendar.minute, "0"),
            or(&calendar.hour, "0"),
            or(&calendar.day_of_month, "*"),
            or(&calendar.month, "*"),
            or(&calendar.day_of_week, "*"),
            or(&calendar.year, "*"),
        ));
    }
    let zone = if spec.time_zone.is_empty() { "" } else { " in " };
    text::one_line(&format!("{}{zone}{}", parts.join("; "), spec.time_zone), text::SHORT)
}

fn outcome(start: &v1::ScheduleStart) -> String {
    match start.status() {
        _ if start.refused => "REFUSED".to_owned(),
        v1::WorkflowStatus::Unspecified => "GONE".to_owned(),
        status => run::status(status).to_owned(),
    }
}

/// A schedule, for people.
pub(crate) fn describe(
    schedule_id: &str,
    described: &v1::DescribeScheduleResponse,
    now: Timestamp,
    width: Option<u16>,
) -> String {
    let status = described.status.clone().unwrap_or_default();
    let schedule = described.schedule.clone().unwrap_or_default();
    let start = schedule.start.unwrap_or_default();
    let policies = schedule.policies.unwrap_or_default();
    let at = |at| instant(at).map(time::date_time).unwrap_or_default();
    let state = if status.paused { "paused" } else { "active" };
    let counters = status.counters.unwrap_or_default();
    let mut facts = vec![
        ("Schedule", schedule_id.to_owned()),
        ("State", state.to_owned()),
        ("Starts", format!("{} on queue {} as {}-…", start.workflow_type, start.task_queue, start.workflow_id)),
        ("Times", times(schedule.spec.as_ref())),
        ("Overlap", overlap_text(policies.overlap()).to_owned()),
        ("Version", status.version.to_string()),
        ("Created", at(status.created_at)),
        ("Updated", at(status.updated_at)),
    ];
    if !status.note.is_empty() {
        facts.push(("Note", text::one_line(&status.note, usize::MAX)));
    }
    if policies.pause_on_failure {
        facts.push(("On failure", "pauses".to_owned()));
    }
    if let Some(remaining) = status.remaining {
        facts.push(("Remaining", format!("{remaining} starts")));
    }
    facts.push((
        "So far",
        format!(
            "{} started, {} skipped, {} missed, {} dropped, {} refused",
            counters.started, counters.skipped, counters.missed, counters.dropped, counters.refused
        ),
    ));
    if status.waiting > 0 {
        facts.push(("Waiting", status.waiting.to_string()));
    }
    if status.backfills > 0 {
        facts.push(("Backfills", status.backfills.to_string()));
    }
    for running in &status.running {
        facts.push(("Running", text::one_line(&running.workflow_id, text::SHORT)));
    }
    for next in status.next_times.iter().take(5).filter_map(|next| instant(Some(*next))) {
        facts.push(("Next", format!("{} ({})", time::date_time(next), time::until(next, now))));
    }
    let mut page = table::facts(&facts);
    if !status.recent.is_empty() {
        let row = |start: &v1::ScheduleStart| {
            let workflow_id = text::one_line(&start.workflow_id, text::SHORT);
            vec![at(start.at), outcome(start), workflow_id, text::one_line(&start.problem, text::SHORT)]
        };
        let columns = Columns { header: &["STARTED", "STATUS", "WORKFLOW", "WHY"], right: &[], wrapping: &[3] };
        page.push_str("\n\n");
        page.push_str(&table::table(columns, status.recent.iter().rev().map(row).collect(), width));
    }
    page
}

fn overlap_text(policy: v1::OverlapPolicy) -> &'static str {
    match policy {
        v1::OverlapPolicy::Unspecified | v1::OverlapPolicy::Skip => "skip",
        v1::OverlapPolicy::BufferOne => "buffer-one",
        v1::OverlapPolicy::BufferAll => "buffer-all",
        v1::OverlapPolicy::CancelOther => "cancel-other",
        v1::OverlapPolicy::TerminateOther => "terminate-other",
        v1::OverlapPolicy::AllowAll => "allow-all",
    }
}

fn instant_value(at: Option<prost_types::Timestamp>) -> Value {
    instant(at).map_or(Value::Null, |at| time::rfc3339(at).into())
}

fn start_value(start: &v1::ScheduleStart) -> Value {
    json!({
        "number": start.number,
        "nominal": instant_value(start.nominal),
        "at": instant_value(start.at),
        "workflow_id": start.workflow_id,
        "run_id": if start.run_id.is_empty() { Value::Null } else { start.run_id.as_str().into() },
        "status": outcome(start),
        "problem": start.problem,
    })
}

/// A schedule in a list, for programs.
pub(crate) fn summary_value(summary: &v1::ScheduleSummary) -> Value {
    json!({
        "schedule_id": summary.schedule_id,
        "workflow_type": summary.workflow_type,
        "times": times(summary.spec.as_ref()),
        "paused": summary.paused,
        "note": summary.note,
        "next_time": instant_value(summary.next_time),
        "latest": summary.latest.as_ref().map(start_value),
    })
}

/// A schedule, for programs.
pub(crate) fn describe_value(schedule_id: &str, described: &v1::DescribeScheduleResponse) -> Value {
    let status = described.status.clone().unwrap_or_default();
    let schedule = described.schedule.clone().unwrap_or_default();
    let start = schedule.start.unwrap_or_default();
    let policies = schedule.policies.unwrap_or_default();
    let counters = status.counters.unwrap_or_default();
    json!({
        "schedule_id": schedule_id,
        "version": status.version,
        "workflow_type": start.workflow_type,
        "task_queue": start.task_queue,
        "workflow_id": start.workflow_id,
        "times": times(schedule.spec.as_ref()),
        "overlap": overlap_text(policies.overlap()),
        "pause_on_failure": policies.pause_on_failure,
        "paused": status.paused,
        "note": status.note,
        "remaining": status.remaining,
        "created_at": instant_value(status.created_at),
        "updated_at": instant_value(status.updated_at),
        "next_times": status.next_times.iter().map(|at| instant_value(Some(*at))).collect::<Vec<_>>(),
        "recent": status.recent.iter().map(start_value).collect::<Vec<_>>(),
        "running": status.running.iter().map(|run| run.workflow_id.clone()).collect::<Vec<_>>(),
        "waiting": status.waiting,
        "backfills": status.backfills,
        "counters": {
            "started": counters.started,
            "refused": counters.refused,
            "skipped": counters.skipped,
            "dropped": counters.dropped,
            "missed": counters.missed,
        },
    })
}
