//! Events and failures as JSON. The form is documented in `docs/history-json.md` and is stable: fields are added, never renamed
//! or removed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::event::{
    ActivityTimeouts, ContinueAsNewReasons, Event, EventKind, Marker, StepOutcome, UpdateOutcome, VersioningBehavior,
    VersioningOverride, WorkerMetadata, WorkerVersion, WorkflowStarted, WorkflowTaskFailureCause,
};
use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use engine_core::ids::{EventId, RunId};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_proto::convert;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{payload, search, time};

/// An event as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct EventObject {
    event_id: u64,
    time: String,
    #[serde(rename = "type")]
    name: &'static str,
    attributes: Value,
    /// The form of this object.
    format: u32,
    /// The event as it is stored, whole: what code is replayed against.
    encoded: String,
}

/// An event for programs.
pub(crate) fn event(event: &Event) -> EventObject {
    EventObject {
        event_id: event.id.0,
        time: time::rfc3339(event.at),
        name: event.kind.name(),
        attributes: attributes(&event.kind),
        format: convert::HISTORY_JSON_FORMAT,
        encoded: STANDARD.encode(convert::encode_event(event)),
    }
}

fn attributes(kind: &EventKind) -> Value {
    match kind {
        EventKind::WorkflowStarted(it) => started(it),
        EventKind::WorkflowCompleted(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "result": optional_payload(it.result.as_ref()),
            "new_run_id": run(it.new_run_id),
        }),
        EventKind::WorkflowFailed(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "failure": failure(&it.failure),
            "retry_state": retry_state(it.retry_state),
            "new_run_id": run(it.new_run_id),
        }),
        EventKind::WorkflowTimedOut(it) => json!({
            "retry_state": retry_state(it.retry_state),
            "new_run_id": run(it.new_run_id),
            "failure": it.failure.as_ref().map(failure),
        }),
        EventKind::WorkflowCanceled(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "details": optional_payload(it.details.as_ref()),
        }),
        EventKind::WorkflowTerminated(it) => json!({
            "reason": it.reason,
            "details": optional_payload(it.details.as_ref()),
            "identity": it.identity,
            "reset_to_run_id": run(it.reset_to.map(|to| to.run_id)),
            "reset_forked_at_event_id": it.reset_to.map(|to| to.forked_at.0),
        }),
        EventKind::WorkflowRepaired(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "has_result": it.has_result,
            "reason": it.reason,
            "identity": it.identity,
        }),
        EventKind::Peer(it) => super::peer::value(it),
        EventKind::WorkflowContinuedAsNew(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "new_run_id": it.new_run_id.to_string(),
        }),
        EventKind::WorkflowCancelRequested(it) => json!({
            "reason": it.reason,
            "identity": it.identity,
            "request_id": it.request_id.as_ref().map(|id| id.as_str()),
        }),
        EventKind::WorkflowPaused(it) | EventKind::WorkflowResumed(it) => json!({
            "reason": it.reason,
            "identity": it.identity,
            "request_id": it.request_id.as_ref().map(|id| id.as_str()),
        }),
        EventKind::WorkflowOptionsUpdated(it) => json!({
            "versioning_override": it.versioning_override.as_ref().map(versioning_override),
            "reason": it.reason,
            "identity": it.identity,
            "request_id": it.request_id.as_ref().map(|id| id.as_str()),
        }),
        EventKind::WorkflowSignaled(it) => json!({
            "signal_name": it.name.as_str(),
            "input": payloads(&it.input),
            "identity": it.identity,
            "request_id": it.request_id.as_ref().map(|id| id.as_str()),
        }),
        EventKind::WorkflowTaskScheduled(it) => json!({
            "task_queue": it.task_queue.as_str(),
            "start_to_close": time::seconds(it.start_to_close),
            "attempt": it.attempt,
        }),
        EventKind::WorkflowTaskStarted(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "identity": it.identity,
            "history_size_bytes": it.history_size_bytes,
            "suggest_continue_as_new": reasons(it.suggest_continue_as_new),
        }),
        EventKind::WorkflowTaskCompleted(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": it.started_event_id.0,
            "identity": it.identity,
            "worker": worker(&it.worker),
        }),
        EventKind::WorkflowTaskFailed(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": it.started_event_id.0,
            "cause": cause(it.cause),
            "failure": failure(&it.failure),
            "identity": it.identity,
        }),
        EventKind::WorkflowTaskTimedOut(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": it.started_event_id.0,
            "timeout": timeout(it.timeout),
        }),
        EventKind::ActivityScheduled(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "activity_id": it.activity_id.as_str(),
            "activity_type": it.activity_type.as_str(),
            "task_queue": it.task_queue.as_str(),
            "input": payloads(&it.input),
            "timeouts": timeouts(&it.timeouts),
            "retry_policy": retry_policy(&it.retry_policy),
            "summary": it.summary,
        }),
        EventKind::ActivityStarted(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "attempt": it.attempt,
            "identity": it.identity,
            "last_failure": it.last_failure.as_ref().map(failure),
        }),
        EventKind::ActivityCompleted(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": it.started_event_id.0,
            "result": optional_payload(it.result.as_ref()),
            "identity": it.identity,
        }),
        EventKind::ActivityFailed(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": it.started_event_id.0,
            "failure": failure(&it.failure),
            "retry_state": retry_state(it.retry_state),
            "identity": it.identity,
        }),
        EventKind::ActivityTimedOut(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": reference(it.started_event_id),
            "failure": failure(&it.failure),
            "retry_state": retry_state(it.retry_state),
        }),
        EventKind::ActivityCancelRequested(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "scheduled_event_id": it.scheduled_event_id.0,
        }),
        EventKind::ActivityCanceled(it) => json!({
            "scheduled_event_id": it.scheduled_event_id.0,
            "started_event_id": reference(it.started_event_id),
            "cancel_requested_event_id": it.cancel_requested_event_id.0,
            "details": optional_payload(it.details.as_ref()),
            "identity": it.identity,
        }),
        EventKind::TimerStarted(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "timer_id": it.timer_id.as_str(),
            "duration": time::seconds(it.duration),
            "summary": it.summary,
        }),
        EventKind::TimerFired(it) => json!({
            "timer_id": it.timer_id.as_str(),
            "started_event_id": it.started_event_id.0,
        }),
        EventKind::TimerCanceled(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "timer_id": it.timer_id.as_str(),
            "started_event_id": it.started_event_id.0,
        }),
        EventKind::WorkflowUpdateAdmitted(it) => json!({
            "update_id": it.id.as_str(),
            "update_name": it.name.as_str(),
            "input": payloads(&it.input),
            "identity": it.identity,
        }),
        EventKind::WorkflowUpdateAccepted(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "update_id": it.update.id.as_str(),
            "update_name": it.update.name.as_str(),
            "input": payloads(&it.update.input),
            "identity": it.update.identity,
        }),
        EventKind::WorkflowUpdateCompleted(it) => {
            let (result, failed) = match &it.outcome {
                UpdateOutcome::Completed { result } => (optional_payload(result.as_ref()), Value::Null),
                UpdateOutcome::Failed { failure: error } => (Value::Null, failure(error)),
            };
            json!({
                "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
                "update_id": it.update_id.as_str(),
                "accepted_event_id": it.accepted_event_id.0,
                "result": result,
                "failure": failed,
            })
        }
        EventKind::StatePublished(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "name": it.name.as_str(),
            "value": payload::value(&it.value),
        }),
        EventKind::MarkerRecorded(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "marker": marker(&it.marker),
        }),
        EventKind::SearchAttributesUpserted(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "search_attributes": search::changes(&it.changes),
        }),
        EventKind::PropertiesModified(it) => json!({
            "workflow_task_completed_event_id": it.workflow_task_completed_event_id.0,
            "memo": it.changes.memo.iter().map(|(key, value)| (key.clone(), optional_payload(value.as_ref()))).collect::<Map<_, _>>(),
            "current_details": it.changes.current_details,
        }),
    }
}

fn marker(marker: &Marker) -> Value {
    match marker {
        Marker::Patch { patch_id, deprecated } => {
            json!({ "kind": marker.kind(), "patch_id": patch_id.as_str(), "deprecated": deprecated })
        }
        Marker::Step(step) => {
            let mut value = json!({
                "kind": marker.kind(),
                "step_id": step.step_id,
                "name": step.name.as_str(),
                "attempt": step.attempt,
                "took": time::seconds(step.took),
            });
            match &step.outcome {
                StepOutcome::Completed { result } => value["result"] = optional_payload(result.as_ref()),
                StepOutcome::Failed { failure: failed, retry_state: state } => {
                    value["failure"] = failure(failed);
                    value["retry_state"] = json!(retry_state(*state));
                }
            }
            value
        }
    }
}

/// What a run was started with.
pub(crate) fn started(it: &WorkflowStarted) -> Value {
    let memo: Map<String, Value> = it.memo.iter().map(|(key, value)| (key.clone(), payload::value(value))).collect();
    json!({
        "namespace": it.namespace.as_str(),
        "workflow_id": it.workflow_id.as_str(),
        "run_id": it.run_id.to_string(),
        "workflow_type": it.workflow_type.as_str(),
        "task_queue": it.task_queue.as_str(),
        "input": payloads(&it.input),
        "execution_timeout": duration(it.execution_timeout),
        "run_timeout": duration(it.run_timeout),
        "task_timeout": time::seconds(it.task_timeout),
        "execution_deadline": it.execution_deadline.map(time::rfc3339),
        "retry_policy": it.retry_policy.as_ref().map(retry_policy),
        "attempt": it.attempt,
        "continued_from_run_id": run(it.continued_from),
        "first_run_id": it.first_run_id.to_string(),
        "continued_failure": it.continued_failure.as_ref().map(failure),
        "last_result": optional_payload(it.last_result.as_ref()),
        "cron": it.cron.as_ref().map(|cron| json!({ "expression": cron.expression, "time_zone": cron.time_zone })),
        "first_task_backoff": time::seconds(it.first_task_backoff),
        "request_id": it.request_id.as_ref().map(|id| id.as_str()),
        "identity": it.identity,
        "memo": memo,
        "search_attributes": search::attributes(&it.search_attributes),
        "summary": it.summary,
        "details": it.details,
        "parent": it.parent.as_ref().map(|parent| json!({
            "workflow_id": parent.workflow_id.as_str(),
            "run_id": parent.run_id.to_string(),
            "initiated_event_id": parent.initiated_event_id.0,
        })),
        "activity": it.activity.as_ref().map(|activity| json!({
            "timeouts": timeouts(&activity.timeouts),
            "retry_policy": retry_policy(&activity.retry_policy),
        })),
        "inherited_version": it.versioning.as_ref().and_then(|it| it.inherited.as_deref()).map(worker_version),
        "versioning_override": it.versioning.as_ref().and_then(|it| it.versioning_override.as_ref()).map(versioning_override),
        "seen_request_ids": it.seen_request_ids.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "reset": it.reset.as_ref().map(|reset| json!({
            "base_run_id": reset.base_run_id.to_string(),
            "original_run_id": reset.original_run_id.to_string(),
            "forked_at_event_id": reset.forked_at.0,
            "forks": reset.forks.iter().map(|fork| json!({
                "run_id": fork.run_id.to_string(),
                "until_event_id": fork.until.0,
            })).collect::<Vec<_>>(),
            "reason": reset.reason,
            "identity": reset.identity,
        })),
    })
}

fn reasons(it: ContinueAsNewReasons) -> Vec<&'static str> {
    let all = [(it.history_events, "HISTORY_EVENTS"), (it.history_bytes, "HISTORY_BYTES"), (it.updates, "UPDATES")];
    all.into_iter().filter(|(is_one, _)| *is_one).map(|(_, name)| name).collect()
}

/// A failure with its causes.
pub(crate) fn failure(it: &Failure) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("message", json!(it.message));
    set("cause", it.cause.as_deref().map_or(Value::Null, failure));
    match &it.kind {
        FailureKind::Application { type_name, non_retryable, details, next_retry_delay } => {
            set("kind", json!("APPLICATION"));
            set("type_name", json!(type_name));
            set("non_retryable", json!(non_retryable));
            set("details", optional_payload(details.as_ref()));
            set("next_retry_delay", duration(*next_retry_delay));
        }
        FailureKind::Timeout { timeout: kind, last_heartbeat_details } => {
            set("kind", json!("TIMEOUT"));
            set("timeout", json!(timeout(*kind)));
            set("last_heartbeat_details", optional_payload(last_heartbeat_details.as_ref()));
        }
        FailureKind::Canceled { details } => {
            set("kind", json!("CANCELED"));
            set("details", optional_payload(details.as_ref()));
        }
        FailureKind::Terminated => {
            set("kind", json!("TERMINATED"));
        }
        FailureKind::WorkerLost => {
            set("kind", json!("WORKER_LOST"));
        }
        FailureKind::Server { non_retryable } => {
            set("kind", json!("SERVER"));
            set("non_retryable", json!(non_retryable));
        }
        FailureKind::Activity { scheduled_event_id, activity_id, activity_type, retry_state: state } => {
            set("kind", json!("ACTIVITY"));
            set("scheduled_event_id", json!(scheduled_event_id.0));
            set("activity_id", json!(activity_id.as_str()));
            set("activity_type", json!(activity_type.as_str()));
            set("retry_state", json!(retry_state(*state)));
        }
        FailureKind::ChildWorkflow {
            namespace,
            workflow_id,
            run_id,
            workflow_type,
            initiated_event_id,
            started_event_id,
            retry_state: state,
        } => {
            set("kind", json!("CHILD_WORKFLOW"));
            set("namespace", json!(namespace.as_str()));
            set("workflow_id", json!(workflow_id.as_str()));
            set("run_id", json!(run(*run_id)));
            set("workflow_type", json!(workflow_type.as_str()));
            set("initiated_event_id", json!(initiated_event_id.0));
            set("started_event_id", json!(started_event_id.0));
            set("retry_state", json!(retry_state(*state)));
        }
    }
    Value::Object(object)
}

/// A payload, or null.
pub(crate) fn optional_payload(it: Option<&Payload>) -> Value {
    it.map_or(Value::Null, payload::value)
}

pub(super) fn payloads(them: &[Payload]) -> Vec<Value> {
    them.iter().map(payload::value).collect()
}

pub(super) fn timeouts(it: &ActivityTimeouts) -> Value {
    json!({
        "schedule_to_close": duration(it.schedule_to_close),
        "schedule_to_start": duration(it.schedule_to_start),
        "start_to_close": duration(it.start_to_close),
        "heartbeat": duration(it.heartbeat),
    })
}

pub(super) fn retry_policy(it: &RetryPolicy) -> Value {
    json!({
        "initial_interval": time::seconds(it.initial_interval),
        "backoff_coefficient": it.backoff_coefficient,
        "maximum_interval": time::seconds(it.maximum_interval),
        "maximum_attempts": it.maximum_attempts,
        "non_retryable_types": it.non_retryable_types,
        "jitter": it.jitter,
    })
}

fn worker(it: &WorkerMetadata) -> Value {
    json!({
        "sdk_name": it.sdk_name,
        "sdk_version": it.sdk_version,
        "build_id": it.build_id,
        "flags": it.flags,
        "deployment_name": it.versioning.as_ref().map(|versioning| versioning.deployment.as_str()),
        "versioning_behavior": it.versioning.as_ref().map(|versioning| behavior(versioning.behavior)),
    })
}

fn versioning_override(it: &VersioningOverride) -> Value {
    let version = match it {
        VersioningOverride::Pinned(version) => Some(worker_version(version)),
        VersioningOverride::AutoUpgrade => None,
    };
    json!({ "behavior": behavior(it.behavior()), "version": version })
}

fn behavior(it: VersioningBehavior) -> &'static str {
    convert::versioning_behavior_to_proto(it).as_str_name().trim_start_matches("VERSIONING_BEHAVIOR_")
}

fn worker_version(it: &WorkerVersion) -> Value {
    json!({ "deployment_name": it.deployment.as_str(), "build_id": it.build_id.as_str() })
}

pub(super) fn duration(it: Option<Duration>) -> Value {
    it.map_or(Value::Null, |duration| json!(time::seconds(duration)))
}

fn run(it: Option<RunId>) -> Value {
    it.map_or(Value::Null, |run| json!(run.to_string()))
}

fn reference(it: EventId) -> Value {
    if it.is_some() { json!(it.0) } else { Value::Null }
}

// Enum values are printed under their names in the .proto files, without the enum's own name in front.

pub(super) fn retry_state(it: RetryState) -> &'static str {
    convert::retry_state_to_proto(it).as_str_name().trim_start_matches("RETRY_STATE_")
}

fn timeout(it: TimeoutKind) -> &'static str {
    convert::timeout_kind_to_proto(it).as_str_name().trim_start_matches("TIMEOUT_KIND_")
}

fn cause(it: WorkflowTaskFailureCause) -> &'static str {
    convert::workflow_task_failure_cause_to_proto(it).as_str_name().trim_start_matches("WORKFLOW_TASK_FAILURE_CAUSE_")
}

#[cfg(test)]
mod tests {
    use engine_core::event::{ActivityFailed, TimerStarted};
    use engine_core::ids::TimerId;
    use engine_core::time::Timestamp;

    use super::*;

    /// What the document says about each type is what is printed for it.
    #[test]
    fn the_document_lists_every_field_of_every_event() {
        let document = include_str!("../../../docs/history-json.md");
        let samples = crate::workflow::sample_history();
        assert!(samples.len() > 10);
        for sample in samples {
            let name = sample.kind.name();
            let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect(name);
            for field in attributes(&sample.kind).as_object().expect("attributes are an object").keys() {
                assert!(row.contains(&format!("`{field}`")), "{name}: {field}");
            }
        }
    }

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

    /// The documented form. A change here breaks programs of our users.
    #[test]
    fn the_printed_form_is_pinned() {
        let timer = Event {
            id: EventId(5),
            at: AT,
            kind: EventKind::TimerStarted(TimerStarted {
                workflow_task_completed_event_id: EventId(4),
                timer_id: TimerId::from_trusted("1"),
                duration: Duration::from_millis(1500),
                summary: "until the offer ends".into(),
            }),
        };
        let printed = serde_json::to_string(&event(&timer)).unwrap();
        let (for_people, encoded) = printed.split_once(r#","encoded":""#).unwrap();
        assert_eq!(
            for_people,
            r#"{"event_id":5,"time":"2023-11-14T22:13:20.123456Z","type":"TimerStarted","attributes":{"duration":"1.5s","summary":"until the offer ends","timer_id":"1","workflow_task_completed_event_id":4},"format":1"#
        );
        // What it is replayed from is the event as it is stored.
        let stored = STANDARD.decode(encoded.strip_suffix("\"}").unwrap()).unwrap();
        assert_eq!(stored, convert::encode_event(&timer));
        let declined = Failure::application("shop::Declined", "no");
        let failed = Event {
            id: EventId(9),
            at: AT,
            kind: EventKind::ActivityFailed(ActivityFailed {
                scheduled_event_id: EventId(5),
                started_event_id: EventId(8),
                failure: Failure { cause: Some(Box::new(declined)), ..Failure::worker_lost("gone") },
                retry_state: RetryState::MaximumAttemptsReached,
                identity: "w@h".into(),
            }),
        };
        let expected = json!({
            "scheduled_event_id": 5,
            "started_event_id": 8,
            "retry_state": "MAXIMUM_ATTEMPTS_REACHED",
            "identity": "w@h",
            "failure": {
                "message": "gone",
                "kind": "WORKER_LOST",
                "cause": {
                    "message": "no",
                    "kind": "APPLICATION",
                    "type_name": "shop::Declined",
                    "non_retryable": false,
                    "details": null,
                    "next_retry_delay": null,
                    "cause": null,
                },
            },
        });
        assert_eq!(event(&failed).attributes, expected);
    }
}
