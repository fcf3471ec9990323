//! Runs: lists and descriptions.

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use serde_json::{Value, json};

use super::{failure, json, payload, search, table, text, time, version, words};

/// Runs as a table. Their versions have a column if one of them has one.
pub(crate) fn list(runs: &[v1::WorkflowSummary], now: Timestamp, width: Option<u16>) -> String {
    let has_versions = runs.iter().any(|run| run.version.is_some());
    let row = |run: &v1::WorkflowSummary| {
        let started = instant(run.start_time);
        let took = match (started, instant(run.close_time)) {
            (Some(started), Some(closed)) => time::since(started, closed).trim_start_matches('+').to_owned(),
            _ => "open".to_owned(),
        };
        let mut cells = vec![
            text::one_line(&run.workflow_id, text::SHORT),
            run.run_id.clone(),
            text::one_line(&run.workflow_type, text::SHORT),
            standing(run),
            started.map(|at| time::ago(at, now)).unwrap_or_default(),
            took,
        ];
        cells.extend(has_versions.then(|| version::listed(run)));
        cells
    };
    let header = ["WORKFLOW ID", "RUN ID", "TYPE", "STATUS", "STARTED", "TOOK", "VERSION"];
    let header = if has_versions { &header[..] } else { &header[..6] };
    let columns = table::Columns { header, right: &[], wrapping: &[0, 2, 4, 6] };
    table::table(columns, runs.iter().map(row).collect(), width)
}

/// The status of a run, whether it is paused, and why it is stuck.
fn standing(run: &v1::WorkflowSummary) -> String {
    let mut standing = status(run.status()).to_owned();
    if run.paused {
        standing.push_str(" (paused)");
    }
    if !run.task_failure.is_empty() {
        standing.push_str(&format!(" (stuck: {})", run.task_failure));
    }
    standing
}

/// A run in a list, for programs.
pub(crate) fn summary_value(run: &v1::WorkflowSummary) -> Value {
    json!({
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "workflow_type": run.workflow_type,
        "task_queue": run.task_queue,
        "status": status(run.status()),
        "paused": run.paused,
        "task_failure": run.task_failure,
        "start_time": instant_value(run.start_time),
        "close_time": instant_value(run.close_time),
        "history_length": run.history_length,
        "version": run.version.as_ref().map(version::value),
        "versioning_behavior": version::behavior(run.versioning_behavior),
        "search_attributes": convert::search_attributes_from_proto(run.search_attributes.clone())
            .ok()
            .map(|attributes| search::attributes(&attributes)),
    })
}

/// A run's state for people: what it is, and above all what it waits for.
pub(crate) fn describe(run: &v1::DescribeWorkflowResponse, now: Timestamp, width: Option<u16>) -> String {
    let mut sections = vec![overview(run, now)];
    sections.extend(shown(run));
    let is_open = run.summary.as_ref().is_some_and(|summary| summary.status() == v1::WorkflowStatus::Running);
    match &run.pending_workflow_task {
        Some(task) => sections.push(format!("Pending workflow task\n  {}", workflow_task(task, now).join("\n  "))),
        None if is_open
            && run.pending_activities.is_empty()
            && run.pending_children.is_empty()
            && run.pending_timers.is_empty() =>
        {
            sections.push("Waits for news: a signal, or a request to cancel.".to_owned());
        }
        None => {}
    }
    if !run.pending_activities.is_empty() {
        sections.push(format!("Pending activities\n{}", activities(&run.pending_activities, now, width)));
    }
    if !run.pending_children.is_empty() {
        sections.push(format!("Pending children\n{}", children(&run.pending_children, width)));
    }
    if !run.pending_timers.is_empty() {
        sections.push(format!("Pending timers\n{}", timers(&run.pending_timers, now, width)));
    }
    if !run.pending_updates.is_empty() {
        sections.push(format!("Updates under way\n{}", updates(&run.pending_updates, now, width)));
    }
    if !run.published.is_empty() {
        sections.push(format!("Published\n{}", indent(&published(&run.published, now, width.map(narrower)))));
    }
    sections.join("\n\n")
}

/// What people are told of a run.
fn shown(run: &v1::DescribeWorkflowResponse) -> Option<String> {
    let mut lines = Vec::new();
    if let Some(started) = &run.started {
        lines.extend([&started.summary, &started.details].map(|text| text::one_line(text, text::SHORT)));
    }
    lines.push(text::one_line(&run.current_details, text::SHORT));
    for (name, value) in search_attributes(run).iter().flatten() {
        lines.push(format!("{name} = {}", text::one_line(&search::words(value), text::SHORT)));
    }
    for (key, value) in &run.memo {
        let value = payload::words(&convert::payload_from_proto(value.clone()), text::SHORT);
        lines.push(format!("memo {} = {value}", text::one_line(key, text::SHORT)));
    }
    lines.retain(|line| !line.is_empty());
    (!lines.is_empty()).then(|| format!("About\n  {}", lines.join("\n  ")))
}

fn search_attributes(run: &v1::DescribeWorkflowResponse) -> Option<SearchAttributes> {
    convert::search_attributes_from_proto(run.search_attributes.clone()).ok()
}

/// What a run shows, as a table.
pub(crate) fn published(values: &[v1::PublishedValue], now: Timestamp, width: Option<u16>) -> String {
    let row = |value: &v1::PublishedValue| {
        vec![
            text::one_line(&value.name, 60),
            value
                .value
                .clone()
                .map(|it| payload::words(&convert::payload_from_proto(it), text::SHORT))
                .unwrap_or_default(),
            value.event_id.to_string(),
            instant(value.time).map(|at| time::ago(at, now)).unwrap_or_default(),
        ]
    };
    let columns = table::Columns { header: &["NAME", "VALUE", "EVENT", "PUBLISHED"], right: &[2], wrapping: &[1] };
    table::table(columns, values.iter().map(row).collect(), width)
}

/// What a run shows, for programs: by name.
pub(crate) fn published_value(values: &[v1::PublishedValue]) -> Value {
    let entry = |value: &v1::PublishedValue| {
        let payload = value.value.clone().map(convert::payload_from_proto);
        let entry = json!({
            "value": json::optional_payload(payload.as_ref()),
            "event_id": value.event_id,
            "time": instant_value(value.time),
        });
        (value.name.clone(), entry)
    };
    Value::Object(values.iter().map(entry).collect())
}

/// The times at which the runs of a chain begin.
pub(crate) fn cron(expression: &str, time_zone: &str) -> String {
    let zone = if time_zone.is_empty() { String::new() } else { format!(" in {time_zone}") };
    text::one_line(&format!("cron {expression}{zone}"), text::SHORT)
}

fn narrower(width: u16) -> u16 {
    width.saturating_sub(2)
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn overview(run: &v1::DescribeWorkflowResponse, now: Timestamp) -> String {
    let summary = run.summary.clone().unwrap_or_default();
    let at = |message| match instant(message) {
        Some(at) => format!("{} ({})", time::date_time(at), time::ago(at, now)),
        None => String::new(),
    };
    let mut rows = vec![
        ("Workflow id", text::one_line(&summary.workflow_id, usize::MAX)),
        ("Run id", summary.run_id.clone()),
        ("Type", text::one_line(&summary.workflow_type, usize::MAX)),
        ("Queue", text::one_line(&summary.task_queue, usize::MAX)),
        ("Status", standing(&summary)),
        ("Started", at(summary.start_time)),
    ];
    if summary.close_time.is_some() {
        rows.push(("Closed", at(summary.close_time)));
    }
    let mut history =
        format!("{}, {}", text::count(summary.history_length, "event"), text::size(run.history_size_bytes));
    if run.buffered_events > 0 {
        history.push_str(&format!(", {} more behind the running workflow task", run.buffered_events));
    }
    rows.push(("History", history));
    if let Some(paused) = &run.paused {
        rows.push(("Paused", paused_words(paused, now)));
    }
    rows.extend(run.versioning.iter().flat_map(version::facts));
    if run.cancel_requested {
        rows.push(("Cancel", "was requested".to_owned()));
    }
    if let Some(started) = &run.started {
        let input = convert::payloads_from_proto(started.input.clone());
        if !input.is_empty() {
            rows.push(("Input", payload::list_words(&input, text::SHORT)));
        }
        for (key, value) in convert::memo_from_proto(started.memo.clone()) {
            rows.push(("Memo", format!("{} = {}", text::one_line(&key, 40), payload::words(&value, text::SHORT))));
        }
        if started.attempt > 1 {
            rows.push(("Attempt", started.attempt.to_string()));
        }
        if let Some(it) = &started.cron {
            rows.push(("Next runs", cron(&it.expression, &it.time_zone)));
        }
    }
    table::facts(&rows)
}

/// Since when something is paused, who did it and why.
pub(super) fn paused_words(paused: &v1::Paused, now: Timestamp) -> String {
    let since = instant(paused.since);
    let since = since.map(|at| format!("{} ({})", time::date_time(at), time::ago(at, now))).unwrap_or_default();
    let by = if paused.identity.is_empty() { String::new() } else { format!(", by {}", paused.identity) };
    let why = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
    text::one_line(&format!("{since}{by}{why}"), text::SHORT)
}

fn workflow_task(task: &v1::PendingWorkflowTask, now: Timestamp) -> Vec<String> {
    let queue = text::one_line(&task.task_queue, text::SHORT);
    let waits = waits_since(task.scheduled_time, now);
    let worker = text::one_line(&task.worker_identity, text::SHORT);
    let state = match task.state() {
        v1::PendingTaskState::Unspecified => "its state is unknown".to_owned(),
        v1::PendingTaskState::Scheduled => {
            format!("no worker has taken it from queue {queue}{waits}: is a worker of that queue running?")
        }
        v1::PendingTaskState::Started | v1::PendingTaskState::CancelRequested => {
            format!("{worker} has it{}", since(task.started_time, now))
        }
        v1::PendingTaskState::BackingOff => {
            format!("it failed and is offered again on queue {queue} {}", next(task.next_attempt_time, now))
        }
        v1::PendingTaskState::InDoubt => {
            "the server restarted; the worker that may have it has time to claim it".to_owned()
        }
    };
    let mut lines = vec![format!("attempt {}: {state}", task.attempt)];
    if let Some(last) = failure_of(task.last_failure.as_ref()) {
        let cause = convert::workflow_task_failure_cause_from_proto("cause", task.last_failure_cause);
        let cause = cause.map(|cause| format!("{}: ", words::cause_words(cause))).unwrap_or_default();
        lines.push(format!("last failure: {cause}{}", failure::lines(&last).replace('\n', "\n  ")));
    }
    lines
}

fn activities(pending: &[v1::PendingActivity], now: Timestamp, width: Option<u16>) -> String {
    let row = |activity: &v1::PendingActivity| {
        let most = match activity.maximum_attempts {
            0 => String::new(),
            most => format!(" of {most}"),
        };
        vec![
            text::one_line(&activity.activity_id, 40),
            text::one_line(&activity.activity_type, 60),
            text::one_line(&activity.task_queue, 40),
            format!("{}{most}", activity.attempt),
            activity_state(activity, now),
            failure_of(activity.last_failure.as_ref())
                .map(|failure| failure::one_line_words(&failure, text::SHORT))
                .unwrap_or_default(),
            text::one_line(&activity.summary, text::SHORT),
        ]
    };
    let columns = table::Columns {
        header: &["ID", "TYPE", "QUEUE", "ATTEMPT", "STATE", "LAST FAILURE", "ABOUT"],
        right: &[],
        wrapping: &[4, 5, 6],
    };
    let has_about = pending.iter().any(|activity| !activity.summary.is_empty());
    indented_with_about(columns, pending.iter().map(row).collect(), has_about, width)
}

pub(super) fn activity_state(activity: &v1::PendingActivity, now: Timestamp) -> String {
    let worker = text::one_line(&activity.worker_identity, 60);
    let mut state = match activity.state() {
        v1::PendingTaskState::Unspecified => "unknown".to_owned(),
        v1::PendingTaskState::Scheduled => {
            let waits = if activity.attempt > 1 { String::new() } else { waits_since(activity.scheduled_time, now) };
            format!("no worker has taken it{waits}")
        }
        v1::PendingTaskState::Started => format!("{worker} runs it{}", since(activity.started_time, now)),
        v1::PendingTaskState::BackingOff => format!("next attempt {}", next(activity.next_attempt_time, now)),
        v1::PendingTaskState::CancelRequested if worker.is_empty() => "asked to stop".to_owned(),
        v1::PendingTaskState::CancelRequested => format!("{worker} runs it and was asked to stop"),
        v1::PendingTaskState::InDoubt => "the server restarted; its worker has time to claim it".to_owned(),
    };
    if let Some(paused) = &activity.paused {
        let reason = text::one_line(&paused.reason, 60);
        state.push_str(&if reason.is_empty() { ", paused".to_owned() } else { format!(", paused: {reason}") });
    }
    if let Some(at) = instant(activity.last_heartbeat_time) {
        state.push_str(&format!(", heartbeat {}", time::ago(at, now)));
        if let Some(details) = &activity.heartbeat_details {
            let details = convert::payload_from_proto(details.clone());
            state.push_str(&format!(": {}", payload::words(&details, 60)));
        }
    }
    state
}

fn children(pending: &[v1::PendingChild], width: Option<u16>) -> String {
    let row = |child: &v1::PendingChild| {
        let policy = convert_policy(child.parent_close_policy());
        let standing = if child.run_id.is_empty() { "to be started".to_owned() } else { child.run_id.clone() };
        vec![
            text::one_line(&child.workflow_id, 60),
            text::one_line(&child.workflow_type, 40),
            standing,
            policy.to_owned(),
        ]
    };
    let columns = table::Columns { header: &["ID", "TYPE", "RUN", "IF THIS CLOSES"], right: &[], wrapping: &[0] };
    indented(columns, pending.iter().map(row).collect(), width)
}

fn convert_policy(policy: v1::ParentClosePolicy) -> &'static str {
    match policy {
        v1::ParentClosePolicy::Unspecified | v1::ParentClosePolicy::Terminate => "terminated",
        v1::ParentClosePolicy::RequestCancel => "asked to stop",
        v1::ParentClosePolicy::Abandon => "goes on",
    }
}

fn timers(pending: &[v1::PendingTimer], now: Timestamp, width: Option<u16>) -> String {
    let row = |timer: &v1::PendingTimer| {
        let fires = instant(timer.fire_time)
            .map(|at| format!("{} ({})", time::until(at, now), time::date_time(at)))
            .unwrap_or_default();
        vec![text::one_line(&timer.timer_id, 40), fires, text::one_line(&timer.summary, text::SHORT)]
    };
    let columns = table::Columns { header: &["ID", "FIRES", "ABOUT"], right: &[], wrapping: &[1, 2] };
    let has_about = pending.iter().any(|timer| !timer.summary.is_empty());
    indented_with_about(columns, pending.iter().map(row).collect(), has_about, width)
}

fn updates(pending: &[v1::PendingUpdate], now: Timestamp, width: Option<u16>) -> String {
    let row = |update: &v1::PendingUpdate| {
        let stage = match update.stage() {
            v1::UpdateStage::Accepted => "accepted, not answered",
            v1::UpdateStage::Admitted
            | v1::UpdateStage::Unspecified
            | v1::UpdateStage::Completed
            | v1::UpdateStage::Rejected => "waits for a worker",
        };
        let since = instant(update.since).map(|at| time::ago(at, now)).unwrap_or_default();
        vec![text::one_line(&update.update_id, 40), text::one_line(&update.update_name, 40), stage.to_owned(), since]
    };
    let columns = table::Columns { header: &["ID", "NAME", "STAGE", "SINCE"], right: &[], wrapping: &[1] };
    indented(columns, pending.iter().map(row).collect(), width)
}

/// The last column is left out if there is nothing in it.
fn indented_with_about(
    mut columns: table::Columns<'_>,
    mut rows: Vec<Vec<String>>,
    has_about: bool,
    width: Option<u16>,
) -> String {
    if !has_about {
        let about = columns.header.len() - 1;
        columns.header = &columns.header[..about];
        columns.wrapping = &columns.wrapping[..columns.wrapping.len() - 1];
        rows.iter_mut().for_each(|row| row.truncate(about));
    }
    indented(columns, rows, width)
}

fn indented(columns: table::Columns<'_>, rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    indent(&table::table(columns, rows, width.map(narrower)))
}

fn waits_since(at: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    match instant(at) {
        Some(at) if now.since(at).as_secs() >= 1 => {
            format!("; it waits for {}", time::words(std::time::Duration::from_secs(now.since(at).as_secs())))
        }
        _ => String::new(),
    }
}

fn since(at: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    instant(at).map(|at| format!(" since {} ({})", time::date_time(at), time::ago(at, now))).unwrap_or_default()
}

fn next(at: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    instant(at).map_or_else(|| "later".to_owned(), |at| time::until(at, now))
}

/// A run's state for programs.
pub(crate) fn describe_value(run: &v1::DescribeWorkflowResponse) -> Value {
    let started = run.started.clone().and_then(|started| convert::workflow_started_from_proto(started).ok());
    json!({
        "workflow": run.summary.as_ref().map(summary_value),
        "history_size_bytes": run.history_size_bytes,
        "started": started.as_ref().map(json::started),
        "cancel_requested": run.cancel_requested,
        "paused": run.paused.as_ref().map(paused_value),
        "buffered_events": run.buffered_events,
        "pending_workflow_task": run.pending_workflow_task.as_ref().map(workflow_task_value),
        "pending_activities": run.pending_activities.iter().map(activity_value).collect::<Vec<_>>(),
        "pending_children": run.pending_children.iter().map(|child| json!({
            "workflow_id": child.workflow_id,
            "workflow_type": child.workflow_type,
            "initiated_event_id": child.initiated_event_id,
            "run_id": (!child.run_id.is_empty()).then_some(&child.run_id),
            "parent_close_policy": child.parent_close_policy().as_str_name().trim_start_matches("PARENT_CLOSE_POLICY_"),
        })).collect::<Vec<_>>(),
        "pending_timers": run.pending_timers.iter().map(|timer| json!({
            "timer_id": timer.timer_id,
            "started_event_id": timer.started_event_id,
            "fire_time": instant_value(timer.fire_time),
            "summary": timer.summary,
        })).collect::<Vec<_>>(),
        "pending_updates": run.pending_updates.iter().map(|update| json!({
            "update_id": update.update_id,
            "update_name": update.update_name,
            "stage": update.stage().as_str_name().trim_start_matches("UPDATE_STAGE_"),
            "accepted_event_id": update.accepted_event_id,
            "since": instant_value(update.since),
        })).collect::<Vec<_>>(),
        "published": published_value(&run.published),
        "search_attributes": search_attributes(run).map(|attributes| search::attributes(&attributes)),
        "memo": run.memo.iter().map(|(key, value)| (key.clone(), payload::value(&convert::payload_from_proto(value.clone())))).collect::<serde_json::Map<_, _>>(),
        "current_details": run.current_details,
        "versioning": run.versioning.as_ref().map(version::versioning_value),
    })
}

fn workflow_task_value(task: &v1::PendingWorkflowTask) -> Value {
    let cause = task
        .last_failure
        .as_ref()
        .map(|_| task.last_failure_cause().as_str_name().trim_start_matches("WORKFLOW_TASK_FAILURE_CAUSE_"));
    json!({
        "state": pending_state(task.state()),
        "task_queue": task.task_queue,
        "scheduled_time": instant_value(task.scheduled_time),
        "started_time": instant_value(task.started_time),
        "attempt": task.attempt,
        "last_failure": failure_of(task.last_failure.as_ref()).as_ref().map(json::failure),
        "last_failure_cause": cause,
        "worker_identity": task.worker_identity,
        "next_attempt_time": instant_value(task.next_attempt_time),
    })
}

pub(super) fn activity_value(activity: &v1::PendingActivity) -> Value {
    let details = activity.heartbeat_details.clone().map(convert::payload_from_proto);
    json!({
        "activity_id": activity.activity_id,
        "activity_type": activity.activity_type,
        "state": pending_state(activity.state()),
        "scheduled_event_id": activity.scheduled_event_id,
        "task_queue": activity.task_queue,
        "attempt": activity.attempt,
        "maximum_attempts": activity.maximum_attempts,
        "scheduled_time": instant_value(activity.scheduled_time),
        "started_time": instant_value(activity.started_time),
        "next_attempt_time": instant_value(activity.next_attempt_time),
        "last_heartbeat_time": instant_value(activity.last_heartbeat_time),
        "heartbeat_details": json::optional_payload(details.as_ref()),
        "last_failure": failure_of(activity.last_failure.as_ref()).as_ref().map(json::failure),
        "worker_identity": activity.worker_identity,
        "paused": activity.paused.as_ref().map(paused_value),
        "summary": activity.summary,
    })
}

fn paused_value(paused: &v1::Paused) -> Value {
    json!({
        "since": instant_value(paused.since),
        "reason": paused.reason,
        "identity": paused.identity,
    })
}

/// How a run ended, for programs.
pub(crate) fn outcome_value(outcome: &v1::GetWorkflowResultResponse) -> Value {
    let result: Option<Payload> = outcome.result.clone().map(convert::payload_from_proto);
    json!({
        "run_id": outcome.run_id,
        "status": status(outcome.status()),
        "result": json::optional_payload(result.as_ref()),
        "failure": failure_of(outcome.failure.as_ref()).as_ref().map(json::failure),
    })
}

/// A failure that the server sent, if it sent one that can be understood.
pub(crate) fn failure_of(message: Option<&v1::Failure>) -> Option<Failure> {
    message.and_then(|message| convert::failure_from_proto(message.clone()).ok())
}

/// A status under its name in the .proto file, without the enum's name in front.
pub(crate) fn status(status: v1::WorkflowStatus) -> &'static str {
    status.as_str_name().trim_start_matches("WORKFLOW_STATUS_")
}

fn pending_state(state: v1::PendingTaskState) -> &'static str {
    state.as_str_name().trim_start_matches("PENDING_TASK_STATE_")
}

pub(super) fn instant(message: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    message.and_then(|message| convert::timestamp_from_proto("time", message).ok())
}

pub(super) fn instant_value(message: Option<prost_types::Timestamp>) -> Value {
    instant(message).map_or(Value::Null, |at| json!(time::rfc3339(at)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_200_000_000);

    fn earlier(seconds: u64) -> Option<prost_types::Timestamp> {
        Some(convert::timestamp_to_proto(NOW - Duration::from_secs(seconds)))
    }

    fn summary() -> v1::WorkflowSummary {
        v1::WorkflowSummary {
            workflow_id: "order-42".into(),
            run_id: "018bcfe5-687b-7101-8101-010101010101".into(),
            workflow_type: "checkout".into(),
            task_queue: "orders".into(),
            status: v1::WorkflowStatus::Running.into(),
            start_time: earlier(200),
            history_length: 12,
            ..v1::WorkflowSummary::default()
        }
    }

    #[test]
    fn a_list_is_one_line_for_each_run() {
        let closed =
            v1::WorkflowSummary { status: v1::WorkflowStatus::TimedOut.into(), close_time: earlier(140), ..summary() };
        let expected = "\
WORKFLOW ID  RUN ID                                TYPE      STATUS     STARTED     TOOK
order-42     018bcfe5-687b-7101-8101-010101010101  checkout  RUNNING    3m 20s ago  open
order-42     018bcfe5-687b-7101-8101-010101010101  checkout  TIMED_OUT  3m 20s ago  1m00.000s";
        assert_eq!(list(&[summary(), closed], NOW, None), expected);
    }

    #[test]
    fn a_run_that_waits_for_a_worker_says_so() {
        let run = v1::DescribeWorkflowResponse {
            summary: Some(summary()),
            history_size_bytes: 3174,
            pending_workflow_task: Some(v1::PendingWorkflowTask {
                state: v1::PendingTaskState::Scheduled.into(),
                task_queue: "orders".into(),
                scheduled_time: earlier(200),
                attempt: 1,
                ..v1::PendingWorkflowTask::default()
            }),
            ..v1::DescribeWorkflowResponse::default()
        };
        let expected = "\
Workflow id  order-42
Run id       018bcfe5-687b-7101-8101-010101010101
Type         checkout
Queue        orders
Status       RUNNING
Started      2023-11-14 22:13:20.000Z (3m 20s ago)
History      12 events, 3.1 KiB

Pending workflow task
  attempt 1: no worker has taken it from queue orders; it waits for 3m 20s: is a worker of that queue running?";
        assert_eq!(describe(&run, NOW, None), expected);
        assert_eq!(describe_value(&run)["pending_workflow_task"]["state"], "SCHEDULED");
    }

    #[test]
    fn a_pending_activity_shows_attempt_failure_and_next_try() {
        let declined = Failure::application("shop::Declined", "card declined");
        let run = v1::DescribeWorkflowResponse {
            summary: Some(summary()),
            pending_activities: vec![v1::PendingActivity {
                activity_id: "5".into(),
                activity_type: "charge_card".into(),
                state: v1::PendingTaskState::BackingOff.into(),
                task_queue: "orders".into(),
                attempt: 3,
                maximum_attempts: 5,
                next_attempt_time: Some(convert::timestamp_to_proto(NOW + Duration::from_secs(4))),
                last_failure: Some(convert::failure_to_proto(&declined)),
                ..v1::PendingActivity::default()
            }],
            ..v1::DescribeWorkflowResponse::default()
        };
        let text = describe(&run, NOW, None);
        let section = text.split("\n\n").last().unwrap();
        let expected = "\
Pending activities
  ID  TYPE         QUEUE   ATTEMPT  STATE               LAST FAILURE
  5   charge_card  orders  3 of 5   next attempt in 4s  shop::Declined: card declined";
        assert_eq!(section, expected);
        let mut about = run.clone();
        about.pending_activities[0].summary = "Ada's order".into();
        let text = describe(&about, NOW, None);
        assert!(text.ends_with("  shop::Declined: card declined  Ada's order"), "{text}");
        let value = describe_value(&run);
        assert_eq!(value["pending_activities"][0]["last_failure"]["type_name"], "shop::Declined");
        assert_eq!(value["pending_activities"][0]["state"], "BACKING_OFF");
    }

    #[test]
    fn timers_show_what_they_are_for() {
        let timer = |id: &str, summary: &str| v1::PendingTimer {
            timer_id: id.into(),
            started_event_id: 5,
            fire_time: Some(convert::timestamp_to_proto(NOW + Duration::from_secs(4))),
            summary: summary.into(),
        };
        let expected = "  ID  FIRES                             ABOUT\n  1   in 4s (2023-11-14 22:16:44.000Z)";
        assert_eq!(timers(&[timer("1", "")], NOW, None), expected.replace("                             ABOUT", ""));
        let both = format!("{expected}\n  2   in 4s (2023-11-14 22:16:44.000Z)  the offer ends");
        assert_eq!(timers(&[timer("1", ""), timer("2", "the offer ends")], NOW, None), both);
    }

    #[test]
    fn what_is_published_is_shown_with_its_event_and_age() {
        let run = v1::DescribeWorkflowResponse {
            summary: Some(summary()),
            published: vec![v1::PublishedValue {
                name: "status".into(),
                event_id: 7,
                time: earlier(10),
                value: Some(convert::payload_to_proto(&Payload::json("\"packed\""))),
            }],
            ..v1::DescribeWorkflowResponse::default()
        };
        let text = describe(&run, NOW, None);
        let expected = "\
Published
  NAME    VALUE     EVENT  PUBLISHED
  status  \"packed\"      7  10s ago";
        assert_eq!(text.split("\n\n").last().unwrap(), expected);
        let value = describe_value(&run);
        assert_eq!(value["published"]["status"]["value"]["data"], "packed");
        assert_eq!(value["published"]["status"]["event_id"], 7);
    }

    #[test]
    fn a_workflow_task_that_failed_shows_why_and_when_it_is_tried_again() {
        let task = v1::PendingWorkflowTask {
            state: v1::PendingTaskState::BackingOff.into(),
            task_queue: "orders".into(),
            attempt: 2,
            next_attempt_time: Some(convert::timestamp_to_proto(NOW + Duration::from_secs(10))),
            last_failure: Some(convert::failure_to_proto(&Failure::application("", "expected StartTimer"))),
            last_failure_cause: v1::WorkflowTaskFailureCause::Nondeterminism.into(),
            ..v1::PendingWorkflowTask::default()
        };
        assert_eq!(
            workflow_task(&task, NOW),
            [
                "attempt 2: it failed and is offered again on queue orders in 10s",
                "last failure: the code and the history differ: error: expected StartTimer"
            ]
        );
    }
}
