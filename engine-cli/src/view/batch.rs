//! Batches: lists and descriptions.

use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use serde_json::{Value, json};
use v1::batch_operation::Operation;

use super::table::{self, Columns};
use super::{payload, text, time};

fn instant(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| convert::timestamp_from_proto("", at).ok())
}

fn state(batch: &v1::Batch) -> &'static str {
    match batch.state() {
        v1::BatchState::Unspecified => "UNKNOWN",
        v1::BatchState::Running => "RUNNING",
        v1::BatchState::Completed => "COMPLETED",
        v1::BatchState::Stopped => "STOPPED",
        v1::BatchState::Failed => "FAILED",
    }
}

fn operation(batch: &v1::Batch) -> Option<&Operation> {
    batch.operation.as_ref().and_then(|operation| operation.operation.as_ref())
}

/// The name of a point, as `engine batch start --from` has it.
fn point_words(reset: v1::BatchReset) -> &'static str {
    match reset.point() {
        v1::BatchResetPoint::Unspecified => "unknown",
        v1::BatchResetPoint::FirstWorkflowTask => "first-task",
        v1::BatchResetPoint::LastWorkflowTask => "last-task",
        v1::BatchResetPoint::FailedActivity => "failed-activity",
    }
}

/// Which workers the runs are to go to.
fn target_words(to: &v1::BatchMove) -> String {
    let Some(said) = &to.versioning_override else { return "where the code says".to_owned() };
    match &said.version {
        Some(version) => format!("build {} of {}", version.build_id, version.deployment_name),
        None => "where the routing says".to_owned(),
    }
}

fn operation_words(batch: &v1::Batch) -> String {
    match operation(batch) {
        None => String::new(),
        Some(Operation::Signal(signal)) => text::one_line(&format!("signal {}", signal.signal_name), text::SHORT),
        Some(Operation::Cancel(_)) => "cancel".to_owned(),
        Some(Operation::Terminate(_)) => "terminate".to_owned(),
        Some(Operation::Pause(_)) => "pause".to_owned(),
        Some(Operation::Resume(_)) => "resume".to_owned(),
        Some(Operation::Move(to)) => text::one_line(&format!("move to {}", target_words(to)), text::SHORT),
        Some(Operation::Delete(_)) => "delete".to_owned(),
        Some(Operation::Reset(reset)) => format!("reset from {}", point_words(*reset)),
    }
}

/// `12 of 40, 3 failed`.
fn progress(batch: &v1::Batch) -> String {
    let failed = if batch.failed == 0 { String::new() } else { format!(", {} failed", batch.failed) };
    format!("{} of {}{failed}", batch.done + batch.failed, batch.total)
}

/// A table of batches.
pub(crate) fn list(batches: &[v1::Batch], now: Timestamp, width: Option<u16>) -> String {
    let row = |batch: &v1::Batch| {
        vec![
            text::one_line(&batch.batch_id, text::SHORT),
            state(batch).to_owned(),
            operation_words(batch),
            progress(batch),
            instant(batch.start_time).map(|at| time::ago(at, now)).unwrap_or_default(),
            text::one_line(&batch.query, text::SHORT),
        ]
    };
    let header = &["BATCH", "STATE", "OPERATION", "RUNS", "STARTED", "FILTER"];
    table::table(Columns { header, right: &[], wrapping: &[5] }, batches.iter().map(row).collect(), width)
}

/// A batch, for people.
pub(crate) fn describe(batch: &v1::Batch, now: Timestamp) -> String {
    let at = |at| instant(at).map(|at| format!("{} ({})", time::date_time(at), time::ago(at, now))).unwrap_or_default();
    let mut facts = vec![
        ("Batch", text::one_line(&batch.batch_id, usize::MAX)),
        ("State", state(batch).to_owned()),
        ("Filter", text::one_line(&batch.query, usize::MAX)),
        ("Operation", operation_words(batch)),
        ("Runs", progress(batch)),
        ("Rate", format!("at most {} runs a second", batch.rate)),
        ("Started", at(batch.start_time)),
    ];
    if batch.close_time.is_some() {
        facts.push(("Over", at(batch.close_time)));
    }
    let told = [
        ("Reason", &batch.reason),
        ("Started by", &batch.identity),
        ("Stopped for", &batch.stop_reason),
        ("Problem", &batch.problem),
    ];
    for (name, words) in told {
        if !words.is_empty() {
            facts.push((name, text::one_line(words, usize::MAX)));
        }
    }
    for failure in &batch.failures {
        let words = format!("{}, run {}: {}", failure.workflow_id, failure.run_id, failure.problem);
        facts.push(("Refused by", text::one_line(&words, usize::MAX)));
    }
    table::facts(&facts)
}

/// A batch, for programs.
pub(crate) fn value(batch: &v1::Batch) -> Value {
    let operation = match operation(batch) {
        None => Value::Null,
        Some(Operation::Signal(signal)) => {
            let input = convert::payloads_from_proto(signal.input.clone());
            let input: Vec<Value> = input.iter().map(payload::value).collect();
            json!({ "kind": "SIGNAL", "signal_name": signal.signal_name, "input": input })
        }
        Some(Operation::Cancel(_)) => json!({ "kind": "CANCEL" }),
        Some(Operation::Terminate(_)) => json!({ "kind": "TERMINATE" }),
        Some(Operation::Pause(_)) => json!({ "kind": "PAUSE" }),
        Some(Operation::Resume(_)) => json!({ "kind": "RESUME" }),
        Some(Operation::Move(to)) => {
            let said = to.versioning_override.as_ref();
            let behavior = said.map(|said| said.behavior().as_str_name().trim_start_matches("VERSIONING_BEHAVIOR_"));
            let version = said.and_then(|said| said.version.as_ref());
            json!({
                "kind": "MOVE",
                "behavior": behavior,
                "deployment_name": version.map(|version| &version.deployment_name),
                "build_id": version.map(|version| &version.build_id),
            })
        }
        Some(Operation::Delete(_)) => json!({ "kind": "DELETE" }),
        Some(Operation::Reset(reset)) => json!({
            "kind": "RESET",
            "from": point_words(*reset),
            "exclude_signals": reset.exclude_signals,
            "exclude_updates": reset.exclude_updates,
        }),
    };
    let failure = |failure: &v1::BatchFailure| {
        json!({
            "workflow_id": failure.workflow_id,
            "run_id": failure.run_id,
            "problem": failure.problem,
        })
    };
    json!({
        "batch_id": batch.batch_id,
        "state": state(batch),
        "query": batch.query,
        "operation": operation,
        "total": batch.total,
        "done": batch.done,
        "failed": batch.failed,
        "failures": batch.failures.iter().map(failure).collect::<Vec<_>>(),
        "rate": batch.rate,
        "reason": batch.reason,
        "identity": batch.identity,
        "stop_reason": batch.stop_reason,
        "problem": batch.problem,
        "start_time": instant(batch.start_time).map(time::rfc3339),
        "close_time": instant(batch.close_time).map(time::rfc3339),
    })
}
