//! Events as messages.

use engine_core::event::{ContinueAsNewReasons, Event, EventKind, WorkflowStarted};
use engine_core::event::{Fork, ResetOrigin};
use engine_core::ids::{RequestId, RunId};
use v1::history_event::Attributes;

use super::super::version::{versioning_override_to_proto, worker_version_to_proto};
use super::worker_metadata_to_proto;
use crate::convert::{
    activity_timeouts_to_proto, cron_to_proto, duration_to_proto, failure_to_proto, marker_to_proto, memo_to_proto,
    payload_to_proto, payloads_to_proto, property_changes_to_proto, retry_policy_to_proto, retry_state_to_proto,
    search_attributes_to_proto, search_changes_to_proto, timeout_kind_to_proto, timestamp_to_proto,
    update_outcome_to_proto, update_request_to_proto, workflow_task_failure_cause_to_proto,
};
use crate::v1;

/// An event as a message.
pub fn event_to_proto(event: &Event) -> v1::HistoryEvent {
    v1::HistoryEvent {
        event_id: event.id.0,
        event_time_us: event.at.as_micros(),
        attributes: Some(attributes(&event.kind)),
    }
}

fn attributes(kind: &EventKind) -> Attributes {
    match kind {
        EventKind::WorkflowStarted(it) => Attributes::WorkflowStarted(workflow_started_to_proto(it)),
        EventKind::WorkflowCompleted(it) => Attributes::WorkflowCompleted(v1::WorkflowCompleted {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            result: it.result.as_ref().map(payload_to_proto),
            new_run_id: optional_run(it.new_run_id),
        }),
        EventKind::WorkflowFailed(it) => Attributes::WorkflowFailed(v1::WorkflowFailed {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            failure: Some(failure_to_proto(&it.failure)),
            retry_state: retry_state_to_proto(it.retry_state).into(),
            new_run_id: optional_run(it.new_run_id),
        }),
        EventKind::WorkflowTimedOut(it) => Attributes::WorkflowTimedOut(v1::WorkflowTimedOut {
            retry_state: retry_state_to_proto(it.retry_state).into(),
            new_run_id: optional_run(it.new_run_id),
            failure: it.failure.as_ref().map(failure_to_proto),
        }),
        EventKind::WorkflowCanceled(it) => Attributes::WorkflowCanceled(v1::WorkflowCanceled {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            details: it.details.as_ref().map(payload_to_proto),
        }),
        EventKind::WorkflowTerminated(it) => Attributes::WorkflowTerminated(v1::WorkflowTerminated {
            reason: it.reason.clone(),
            details: it.details.as_ref().map(payload_to_proto),
            identity: it.identity.clone(),
            reset_to_run_id: optional_run(it.reset_to.map(|to| to.run_id)),
            reset_forked_at_event_id: it.reset_to.map_or(0, |to| to.forked_at.0),
        }),
        EventKind::WorkflowUpdateAdmitted(it) => {
            Attributes::WorkflowUpdateAdmitted(v1::WorkflowUpdateAdmitted { update: Some(update_request_to_proto(it)) })
        }
        EventKind::WorkflowRepaired(it) => Attributes::WorkflowRepaired(v1::WorkflowRepaired {
            scheduled_event_id: it.scheduled_event_id.0,
            has_result: it.has_result,
            reason: it.reason.clone(),
            identity: it.identity.clone(),
        }),
        EventKind::Peer(it) => super::super::peer::event_to_proto(it),
        EventKind::WorkflowContinuedAsNew(it) => Attributes::WorkflowContinuedAsNew(v1::WorkflowContinuedAsNew {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            new_run_id: it.new_run_id.to_string(),
        }),
        EventKind::WorkflowCancelRequested(it) => Attributes::WorkflowCancelRequested(v1::WorkflowCancelRequested {
            reason: it.reason.clone(),
            identity: it.identity.clone(),
            request_id: optional_request(it.request_id.as_ref()),
        }),
        EventKind::WorkflowPaused(it) => Attributes::WorkflowPaused(v1::WorkflowPaused {
            reason: it.reason.clone(),
            identity: it.identity.clone(),
            request_id: optional_request(it.request_id.as_ref()),
        }),
        EventKind::WorkflowOptionsUpdated(it) => Attributes::WorkflowOptionsUpdated(v1::WorkflowOptionsUpdated {
            versioning_override: it.versioning_override.as_ref().map(versioning_override_to_proto),
            reason: it.reason.clone(),
            identity: it.identity.clone(),
            request_id: optional_request(it.request_id.as_ref()),
        }),
        EventKind::WorkflowResumed(it) => Attributes::WorkflowResumed(v1::WorkflowResumed {
            reason: it.reason.clone(),
            identity: it.identity.clone(),
            request_id: optional_request(it.request_id.as_ref()),
        }),
        EventKind::WorkflowSignaled(it) => Attributes::WorkflowSignaled(v1::WorkflowSignaled {
            signal_name: it.name.to_string(),
            input: payloads_to_proto(&it.input),
            identity: it.identity.clone(),
            request_id: optional_request(it.request_id.as_ref()),
        }),
        EventKind::WorkflowTaskScheduled(it) => Attributes::WorkflowTaskScheduled(v1::WorkflowTaskScheduled {
            task_queue: it.task_queue.to_string(),
            start_to_close: Some(duration_to_proto(it.start_to_close)),
            attempt: it.attempt,
        }),
        EventKind::WorkflowTaskStarted(it) => Attributes::WorkflowTaskStarted(v1::WorkflowTaskStarted {
            scheduled_event_id: it.scheduled_event_id.0,
            identity: it.identity.clone(),
            history_size_bytes: it.history_size_bytes,
            suggest_continue_as_new: reasons(it.suggest_continue_as_new),
        }),
        EventKind::WorkflowTaskCompleted(it) => Attributes::WorkflowTaskCompleted(v1::WorkflowTaskCompleted {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            identity: it.identity.clone(),
            worker: Some(worker_metadata_to_proto(&it.worker)),
            force_new_task: it.force_new_task,
        }),
        EventKind::WorkflowTaskFailed(it) => Attributes::WorkflowTaskFailed(v1::WorkflowTaskFailed {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            cause: workflow_task_failure_cause_to_proto(it.cause).into(),
            failure: Some(failure_to_proto(&it.failure)),
            identity: it.identity.clone(),
        }),
        EventKind::WorkflowTaskTimedOut(it) => Attributes::WorkflowTaskTimedOut(v1::WorkflowTaskTimedOut {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            timeout: timeout_kind_to_proto(it.timeout).into(),
        }),
        EventKind::ActivityScheduled(it) => Attributes::ActivityScheduled(v1::ActivityScheduled {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            activity_id: it.activity_id.to_string(),
            activity_type: it.activity_type.to_string(),
            task_queue: it.task_queue.to_string(),
            input: payloads_to_proto(&it.input),
            timeouts: Some(activity_timeouts_to_proto(&it.timeouts)),
            retry_policy: Some(retry_policy_to_proto(&it.retry_policy)),
            summary: it.summary.clone(),
        }),
        EventKind::ActivityStarted(it) => Attributes::ActivityStarted(v1::ActivityStarted {
            scheduled_event_id: it.scheduled_event_id.0,
            attempt: it.attempt,
            identity: it.identity.clone(),
            last_failure: it.last_failure.as_ref().map(failure_to_proto),
        }),
        EventKind::ActivityCompleted(it) => Attributes::ActivityCompleted(v1::ActivityCompleted {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            result: it.result.as_ref().map(payload_to_proto),
            identity: it.identity.clone(),
        }),
        EventKind::ActivityFailed(it) => Attributes::ActivityFailed(v1::ActivityFailed {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            failure: Some(failure_to_proto(&it.failure)),
            retry_state: retry_state_to_proto(it.retry_state).into(),
            identity: it.identity.clone(),
        }),
        EventKind::ActivityTimedOut(it) => Attributes::ActivityTimedOut(v1::ActivityTimedOut {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            failure: Some(failure_to_proto(&it.failure)),
            retry_state: retry_state_to_proto(it.retry_state).into(),
        }),
        EventKind::ActivityCancelRequested(it) => Attributes::ActivityCancelRequested(v1::ActivityCancelRequested {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            scheduled_event_id: it.scheduled_event_id.0,
        }),
        EventKind::ActivityCanceled(it) => Attributes::ActivityCanceled(v1::ActivityCanceled {
            scheduled_event_id: it.scheduled_event_id.0,
            started_event_id: it.started_event_id.0,
            cancel_requested_event_id: it.cancel_requested_event_id.0,
            details: it.details.as_ref().map(payload_to_proto),
            identity: it.identity.clone(),
        }),
        EventKind::TimerStarted(it) => Attributes::TimerStarted(v1::TimerStarted {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            timer_id: it.timer_id.to_string(),
            duration: Some(duration_to_proto(it.duration)),
            summary: it.summary.clone(),
        }),
        EventKind::TimerFired(it) => Attributes::TimerFired(v1::TimerFired {
            timer_id: it.timer_id.to_string(),
            started_event_id: it.started_event_id.0,
        }),
        EventKind::TimerCanceled(it) => Attributes::TimerCanceled(v1::TimerCanceled {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            timer_id: it.timer_id.to_string(),
            started_event_id: it.started_event_id.0,
        }),
        EventKind::WorkflowUpdateAccepted(it) => Attributes::WorkflowUpdateAccepted(v1::WorkflowUpdateAccepted {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            update: Some(update_request_to_proto(&it.update)),
        }),
        EventKind::WorkflowUpdateCompleted(it) => Attributes::WorkflowUpdateCompleted(v1::WorkflowUpdateCompleted {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            update_id: it.update_id.to_string(),
            accepted_event_id: it.accepted_event_id.0,
            outcome: Some(update_outcome_to_proto(&it.outcome)),
        }),
        EventKind::StatePublished(it) => Attributes::StatePublished(v1::StatePublished {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            name: it.name.to_string(),
            value: Some(payload_to_proto(&it.value)),
        }),
        EventKind::MarkerRecorded(it) => Attributes::MarkerRecorded(v1::MarkerRecorded {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            marker: Some(marker_to_proto(&it.marker)),
        }),
        EventKind::SearchAttributesUpserted(it) => Attributes::SearchAttributesUpserted(v1::SearchAttributesUpserted {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            changes: Some(search_changes_to_proto(&it.changes)),
        }),
        EventKind::PropertiesModified(it) => Attributes::PropertiesModified(v1::PropertiesModified {
            workflow_task_completed_event_id: it.workflow_task_completed_event_id.0,
            changes: Some(property_changes_to_proto(&it.changes)),
        }),
    }
}

/// What a run was started with, as a message.
pub fn workflow_started_to_proto(started: &WorkflowStarted) -> v1::WorkflowStarted {
    v1::WorkflowStarted {
        namespace: started.namespace.to_string(),
        workflow_id: started.workflow_id.to_string(),
        run_id: started.run_id.to_string(),
        workflow_type: started.workflow_type.to_string(),
        task_queue: started.task_queue.to_string(),
        input: payloads_to_proto(&started.input),
        execution_timeout: started.execution_timeout.map(duration_to_proto),
        run_timeout: started.run_timeout.map(duration_to_proto),
        task_timeout: Some(duration_to_proto(started.task_timeout)),
        execution_deadline: started.execution_deadline.map(timestamp_to_proto),
        retry_policy: started.retry_policy.as_ref().map(retry_policy_to_proto),
        attempt: started.attempt,
        continued_from_run_id: optional_run(started.continued_from),
        first_run_id: started.first_run_id.to_string(),
        continued_failure: started.continued_failure.as_ref().map(failure_to_proto),
        last_result: started.last_result.as_ref().map(payload_to_proto),
        cron: started.cron.as_deref().map(cron_to_proto),
        // Left out when there is none, which is nearly always: it costs bytes in every history.
        first_task_backoff: (!started.first_task_backoff.is_zero())
            .then(|| duration_to_proto(started.first_task_backoff)),
        request_id: optional_request(started.request_id.as_ref()),
        identity: started.identity.clone(),
        memo: memo_to_proto(&started.memo),
        search_attributes: search_attributes_to_proto(&started.search_attributes),
        summary: started.summary.clone(),
        details: started.details.clone(),
        parent: started.parent.as_deref().map(super::super::peer::parent_to_proto),
        seen_request_ids: started.seen_request_ids.iter().map(ToString::to_string).collect(),
        reset: started.reset.as_deref().map(reset_origin),
        activity: started.activity.as_ref().map(|activity| v1::StandaloneActivity {
            timeouts: Some(activity_timeouts_to_proto(&activity.timeouts)),
            retry_policy: Some(retry_policy_to_proto(&activity.retry_policy)),
        }),
        inherited_version: started
            .versioning
            .as_ref()
            .and_then(|it| it.inherited.as_deref())
            .map(worker_version_to_proto),
        versioning_override: started
            .versioning
            .as_ref()
            .and_then(|it| it.versioning_override.as_ref())
            .map(versioning_override_to_proto),
    }
}

fn reset_origin(origin: &ResetOrigin) -> v1::ResetOrigin {
    let fork = |fork: &Fork| v1::HistoryFork { run_id: fork.run_id.to_string(), until_event_id: fork.until.0 };
    v1::ResetOrigin {
        base_run_id: origin.base_run_id.to_string(),
        original_run_id: origin.original_run_id.to_string(),
        forked_at_event_id: origin.forked_at.0,
        forks: origin.forks.iter().map(fork).collect(),
        reason: origin.reason.clone(),
        identity: origin.identity.clone(),
    }
}

fn reasons(reasons: ContinueAsNewReasons) -> Vec<i32> {
    let ContinueAsNewReasons { history_events, history_bytes, updates } = reasons;
    let all = [
        (history_events, v1::ContinueAsNewReason::HistoryEvents),
        (history_bytes, v1::ContinueAsNewReason::HistoryBytes),
        (updates, v1::ContinueAsNewReason::Updates),
    ];
    all.into_iter().filter(|(is_one, _)| *is_one).map(|(_, reason)| reason.into()).collect()
}

fn optional_run(run_id: Option<RunId>) -> String {
    run_id.map(|id| id.to_string()).unwrap_or_default()
}

fn optional_request(request_id: Option<&RequestId>) -> String {
    request_id.map(ToString::to_string).unwrap_or_default()
}
