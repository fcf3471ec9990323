//! Events about other workflows, in words and as JSON.

use engine_core::event::{ChildOutcome, PeerEvent, PeerFailureCause, PeerTarget, StartChild};
use serde_json::{Map, Value, json};

use super::{json as values, payload, search, text, words};

pub(super) fn words(event: &PeerEvent, limit: usize) -> Vec<String> {
    let workflow = |id: &engine_core::ids::WorkflowId| format!("workflow {}", text::one_line(id.as_str(), limit));
    match event {
        PeerEvent::StartChildInitiated { child, .. } => vec![
            workflow(&child.workflow_id),
            format!("type {}", text::one_line(child.workflow_type.as_str(), limit)),
            words::input(&child.input, limit),
        ],
        PeerEvent::StartChildFailed { workflow_id, cause, .. }
        | PeerEvent::SignalFailed { workflow_id, cause, .. }
        | PeerEvent::CancelFailed { workflow_id, cause, .. } => {
            vec![workflow(workflow_id), cause_words(*cause).to_owned()]
        }
        PeerEvent::ChildStarted { workflow_id, run_id, .. }
        | PeerEvent::Signaled { workflow_id, run_id, .. }
        | PeerEvent::CancelDelivered { workflow_id, run_id, .. } => {
            vec![workflow(workflow_id), format!("run {run_id}")]
        }
        PeerEvent::ChildClosed { workflow_id, outcome, .. } => vec![
            workflow(workflow_id),
            match outcome {
                ChildOutcome::Completed { result } => words::result(result.as_ref(), limit),
                ChildOutcome::Failed { failure, .. } => super::failure::one_line_words(failure, limit),
                ChildOutcome::Canceled { details } => words::details(details.as_ref(), limit),
                ChildOutcome::TimedOut { .. } => "took too long".to_owned(),
                ChildOutcome::Terminated => String::new(),
            },
        ],
        PeerEvent::SignalInitiated { signal, .. } => vec![
            format!("signal {}", text::one_line(signal.name.as_str(), limit)),
            format!("to {}", workflow(&signal.target.workflow_id)),
            words::input(&signal.input, limit),
        ],
        PeerEvent::CancelInitiated { cancel, .. } => {
            vec![workflow(&cancel.target.workflow_id), words::reason(&cancel.reason, limit)]
        }
    }
}

fn cause_words(cause: PeerFailureCause) -> &'static str {
    match cause {
        PeerFailureCause::NotFound => "there is no such open workflow",
        PeerFailureCause::AlreadyStarted => "its id is taken",
        PeerFailureCause::Refused => "the engine refused it",
    }
}

fn cause_name(cause: PeerFailureCause) -> &'static str {
    match cause {
        PeerFailureCause::NotFound => "NOT_FOUND",
        PeerFailureCause::AlreadyStarted => "ALREADY_STARTED",
        PeerFailureCause::Refused => "REFUSED",
    }
}

pub(super) fn value(event: &PeerEvent) -> Value {
    match event {
        PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child } => json!({
            "workflow_task_completed_event_id": workflow_task_completed_event_id.0,
            "child": child_value(child),
        }),
        PeerEvent::StartChildFailed { initiated_event_id, workflow_id, workflow_type, cause } => json!({
            "initiated_event_id": initiated_event_id.0,
            "workflow_id": workflow_id.as_str(),
            "workflow_type": workflow_type.as_str(),
            "cause": cause_name(*cause),
        }),
        PeerEvent::ChildStarted { initiated_event_id, workflow_id, workflow_type, run_id } => json!({
            "initiated_event_id": initiated_event_id.0,
            "workflow_id": workflow_id.as_str(),
            "workflow_type": workflow_type.as_str(),
            "run_id": run_id.to_string(),
        }),
        PeerEvent::ChildClosed {
            initiated_event_id,
            started_event_id,
            workflow_id,
            workflow_type,
            run_id,
            outcome,
        } => {
            let child = json!({
                "initiated_event_id": initiated_event_id.0,
                "started_event_id": started_event_id.0,
                "workflow_id": workflow_id.as_str(),
                "workflow_type": workflow_type.as_str(),
                "run_id": run_id.to_string(),
            });
            match outcome {
                ChildOutcome::Completed { result } => {
                    json!({ "child": child, "result": values::optional_payload(result.as_ref()) })
                }
                ChildOutcome::Failed { failure, retry_state } => json!({
                    "child": child,
                    "failure": values::failure(failure),
                    "retry_state": values::retry_state(*retry_state),
                }),
                ChildOutcome::Canceled { details } => {
                    json!({ "child": child, "details": values::optional_payload(details.as_ref()) })
                }
                ChildOutcome::TimedOut { retry_state } => {
                    json!({ "child": child, "retry_state": values::retry_state(*retry_state) })
                }
                ChildOutcome::Terminated => json!({ "child": child }),
            }
        }
        PeerEvent::SignalInitiated { workflow_task_completed_event_id, signal } => json!({
            "workflow_task_completed_event_id": workflow_task_completed_event_id.0,
            "signal": {
                "target": target_value(&signal.target),
                "signal_name": signal.name.as_str(),
                "input": values::payloads(&signal.input),
            },
        }),
        PeerEvent::CancelInitiated { workflow_task_completed_event_id, cancel } => json!({
            "workflow_task_completed_event_id": workflow_task_completed_event_id.0,
            "cancel": { "target": target_value(&cancel.target), "reason": cancel.reason },
        }),
        PeerEvent::Signaled { initiated_event_id, workflow_id, run_id }
        | PeerEvent::CancelDelivered { initiated_event_id, workflow_id, run_id } => json!({
            "initiated_event_id": initiated_event_id.0,
            "workflow_id": workflow_id.as_str(),
            "run_id": run_id.to_string(),
        }),
        PeerEvent::SignalFailed { initiated_event_id, workflow_id, cause }
        | PeerEvent::CancelFailed { initiated_event_id, workflow_id, cause } => json!({
            "initiated_event_id": initiated_event_id.0,
            "workflow_id": workflow_id.as_str(),
            "cause": cause_name(*cause),
        }),
    }
}

fn target_value(target: &PeerTarget) -> Value {
    json!({
        "workflow_id": target.workflow_id.as_str(),
        "run_id": target.run_id.map(|run_id| run_id.to_string()),
        "child_only": target.child_only,
    })
}

fn child_value(child: &StartChild) -> Value {
    let memo: Map<String, Value> = child.memo.iter().map(|(key, value)| (key.clone(), payload::value(value))).collect();
    json!({
        "workflow_id": child.workflow_id.as_str(),
        "workflow_type": child.workflow_type.as_str(),
        "task_queue": child.task_queue.as_ref().map(|queue| queue.as_str()),
        "input": values::payloads(&child.input),
        "execution_timeout": values::duration(child.execution_timeout),
        "run_timeout": values::duration(child.run_timeout),
        "task_timeout": values::duration(child.task_timeout),
        "retry_policy": child.retry_policy.as_ref().map(values::retry_policy),
        "parent_close_policy": engine_proto::convert::parent_close_policy_to_proto(child.parent_close_policy)
            .as_str_name()
            .trim_start_matches("PARENT_CLOSE_POLICY_"),
        "id_reuse_policy": engine_proto::convert::reuse_policy_to_proto(child.id_reuse_policy)
            .as_str_name()
            .trim_start_matches("WORKFLOW_ID_REUSE_POLICY_"),
        "memo": memo,
        "search_attributes": search::attributes(&child.search_attributes),
        "summary": child.summary,
        "details": child.details,
    })
}
