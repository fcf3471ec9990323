//! Events from messages.

use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{
    ActivityCancelRequested, ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityScheduled, ActivityStarted,
    ActivityTimedOut, ContinueAsNewReasons, Event, EventKind, MarkerRecorded, PauseChange, PropertiesModified,
    SearchAttributesUpserted, StandaloneActivity, StatePublished, TimerCanceled, TimerFired, TimerStarted,
    WorkflowCancelRequested, WorkflowCanceled, WorkflowCompleted, WorkflowContinuedAsNew, WorkflowFailed,
    WorkflowSignaled, WorkflowStarted, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskScheduled,
    WorkflowTaskStarted, WorkflowTaskTimedOut, WorkflowTerminated, WorkflowTimedOut, WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
};
use engine_core::event::{Fork, ResetOrigin, ResetTo, StartVersioning, WorkflowOptionsUpdated, WorkflowRepaired};
use engine_core::failure::Failure;
use engine_core::ids::{
    ActivityId, ActivityType, EventId, Namespace, PublishedName, RequestId, SignalName, TaskQueueName, TimerId,
    UpdateId, WorkflowId, WorkflowType,
};
use engine_core::time::Timestamp;
use v1::history_event::Attributes;

use super::worker_metadata_from_proto;
use crate::convert::error::Inside as _;
use crate::convert::version::{versioning_override_from_trusted, worker_version_from_trusted};
use crate::convert::{
    ConvertError, activity_timeouts_from_proto, cron_from_proto, duration_from_proto, failure_from_proto,
    marker_from_proto, memo_from_proto, optional_duration_from_proto, optional_run_id, payload_from_proto,
    payloads_from_proto, property_changes_from_proto, required, retry_policy_from_proto, retry_state_from_proto,
    run_id, search_attributes_from_proto, search_changes_from_proto, timeout_kind_from_proto, timestamp_from_proto,
    update_outcome_from_proto, update_request_from_trusted, workflow_task_failure_cause_from_proto,
};
use crate::v1;

/// An event from a message that the engine wrote.
pub fn event_from_proto(message: v1::HistoryEvent) -> Result<Event, ConvertError> {
    Ok(Event {
        id: EventId(message.event_id),
        at: Timestamp::from_micros(message.event_time_us),
        kind: kind(message.attributes.ok_or_else(|| ConvertError::new("attributes", UNKNOWN_KIND))?)?,
    })
}

/// What an event looks like that has a kind which was added later: protobuf drops what it does not know.
const UNKNOWN_KIND: &str = "are of a kind that this build does not know: a newer engine recorded the event";

fn kind(attributes: Attributes) -> Result<EventKind, ConvertError> {
    Ok(match attributes {
        Attributes::WorkflowStarted(message) => {
            EventKind::WorkflowStarted(Box::new(workflow_started_from_proto(message).inside("workflow_started")?))
        }
        Attributes::WorkflowCompleted(message) => EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            result: message.result.map(payload_from_proto),
            new_run_id: optional_run_id("workflow_completed.new_run_id", &message.new_run_id)?,
        }),
        Attributes::WorkflowFailed(message) => {
            EventKind::WorkflowFailed(workflow_failed(message).inside("workflow_failed")?)
        }
        Attributes::WorkflowTimedOut(message) => {
            EventKind::WorkflowTimedOut(workflow_timed_out(message).inside("workflow_timed_out")?)
        }
        Attributes::WorkflowCanceled(message) => EventKind::WorkflowCanceled(WorkflowCanceled {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            details: message.details.map(payload_from_proto),
        }),
        Attributes::WorkflowTerminated(message) => EventKind::WorkflowTerminated(WorkflowTerminated {
            reason: message.reason,
            details: message.details.map(payload_from_proto),
            identity: message.identity,
            reset_to: optional_run_id("workflow_terminated.reset_to_run_id", &message.reset_to_run_id)?
                .map(|run_id| ResetTo { run_id, forked_at: EventId(message.reset_forked_at_event_id) }),
        }),
        Attributes::WorkflowRepaired(message) => EventKind::WorkflowRepaired(WorkflowRepaired {
            scheduled_event_id: EventId(message.scheduled_event_id),
            has_result: message.has_result,
            reason: message.reason,
            identity: message.identity,
        }),
        message @ (Attributes::StartChildInitiated(_)
        | Attributes::StartChildFailed(_)
        | Attributes::ChildStarted(_)
        | Attributes::ChildCompleted(_)
        | Attributes::ChildFailed(_)
        | Attributes::ChildCanceled(_)
        | Attributes::ChildTimedOut(_)
        | Attributes::ChildTerminated(_)
        | Attributes::SignalExternalInitiated(_)
        | Attributes::ExternalSignaled(_)
        | Attributes::SignalExternalFailed(_)
        | Attributes::RequestCancelExternalInitiated(_)
        | Attributes::ExternalCancelRequested(_)
        | Attributes::RequestCancelExternalFailed(_)) => {
            EventKind::Peer(Box::new(super::super::peer::event_from_proto(message)?))
        }
        Attributes::WorkflowContinuedAsNew(message) => EventKind::WorkflowContinuedAsNew(WorkflowContinuedAsNew {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            new_run_id: run_id("workflow_continued_as_new.new_run_id", &message.new_run_id)?,
        }),
        Attributes::WorkflowCancelRequested(message) => EventKind::WorkflowCancelRequested(WorkflowCancelRequested {
            reason: message.reason,
            identity: message.identity,
            request_id: optional_request(&message.request_id),
        }),
        Attributes::WorkflowPaused(message) => EventKind::WorkflowPaused(PauseChange {
            reason: message.reason,
            identity: message.identity,
            request_id: optional_request(&message.request_id),
        }),
        Attributes::WorkflowResumed(message) => EventKind::WorkflowResumed(PauseChange {
            reason: message.reason,
            identity: message.identity,
            request_id: optional_request(&message.request_id),
        }),
        Attributes::WorkflowOptionsUpdated(message) => {
            EventKind::WorkflowOptionsUpdated(Box::new(WorkflowOptionsUpdated {
                versioning_override: message
                    .versioning_override
                    .map(versioning_override_from_trusted)
                    .transpose()
                    .inside("workflow_options_updated.versioning_override")?,
                reason: message.reason,
                identity: message.identity,
                request_id: optional_request(&message.request_id),
            }))
        }
        Attributes::WorkflowSignaled(message) => EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted(message.signal_name),
            input: payloads_from_proto(message.input),
            identity: message.identity,
            request_id: optional_request(&message.request_id),
        }),
        Attributes::WorkflowTaskScheduled(message) => EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: TaskQueueName::from_trusted(message.task_queue),
            start_to_close: required_duration("start_to_close", message.start_to_close)
                .inside("workflow_task_scheduled")?,
            attempt: message.attempt,
        }),
        Attributes::WorkflowTaskStarted(message) => EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            identity: message.identity,
            history_size_bytes: message.history_size_bytes,
            suggest_continue_as_new: reasons(&message.suggest_continue_as_new),
        }),
        Attributes::WorkflowTaskCompleted(message) => EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            identity: message.identity,
            worker: worker_metadata_from_proto(message.worker.unwrap_or_default()),
            force_new_task: message.force_new_task,
        }),
        Attributes::WorkflowTaskFailed(message) => {
            EventKind::WorkflowTaskFailed(workflow_task_failed(message).inside("workflow_task_failed")?)
        }
        Attributes::WorkflowTaskTimedOut(message) => EventKind::WorkflowTaskTimedOut(WorkflowTaskTimedOut {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            timeout: timeout_kind_from_proto("workflow_task_timed_out.timeout", message.timeout)?,
        }),
        Attributes::ActivityScheduled(message) => {
            EventKind::ActivityScheduled(Box::new(activity_scheduled(message).inside("activity_scheduled")?))
        }
        Attributes::ActivityStarted(message) => EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            attempt: message.attempt,
            identity: message.identity,
            last_failure: message
                .last_failure
                .map(failure_from_proto)
                .transpose()
                .inside("activity_started.last_failure")?,
        }),
        Attributes::ActivityCompleted(message) => EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            result: message.result.map(payload_from_proto),
            identity: message.identity,
        }),
        Attributes::ActivityFailed(message) => {
            EventKind::ActivityFailed(activity_failed(message).inside("activity_failed")?)
        }
        Attributes::ActivityTimedOut(message) => {
            EventKind::ActivityTimedOut(activity_timed_out(message).inside("activity_timed_out")?)
        }
        Attributes::ActivityCancelRequested(message) => EventKind::ActivityCancelRequested(ActivityCancelRequested {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            scheduled_event_id: EventId(message.scheduled_event_id),
        }),
        Attributes::ActivityCanceled(message) => EventKind::ActivityCanceled(ActivityCanceled {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            cancel_requested_event_id: EventId(message.cancel_requested_event_id),
            details: message.details.map(payload_from_proto),
            identity: message.identity,
        }),
        Attributes::TimerStarted(message) => EventKind::TimerStarted(TimerStarted {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            timer_id: TimerId::from_trusted(message.timer_id),
            duration: required_duration("duration", message.duration).inside("timer_started")?,
            summary: message.summary,
        }),
        Attributes::TimerFired(message) => EventKind::TimerFired(TimerFired {
            timer_id: TimerId::from_trusted(message.timer_id),
            started_event_id: EventId(message.started_event_id),
        }),
        Attributes::TimerCanceled(message) => EventKind::TimerCanceled(TimerCanceled {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            timer_id: TimerId::from_trusted(message.timer_id),
            started_event_id: EventId(message.started_event_id),
        }),
        Attributes::WorkflowUpdateAdmitted(message) => {
            let update = required("update", message.update).inside("workflow_update_admitted")?;
            EventKind::WorkflowUpdateAdmitted(Box::new(update_request_from_trusted(update)))
        }
        Attributes::WorkflowUpdateAccepted(message) => {
            let update = required("update", message.update).inside("workflow_update_accepted")?;
            EventKind::WorkflowUpdateAccepted(Box::new(WorkflowUpdateAccepted {
                workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
                update: update_request_from_trusted(update),
            }))
        }
        Attributes::WorkflowUpdateCompleted(message) => {
            let outcome = required("outcome", message.outcome)
                .and_then(|outcome| update_outcome_from_proto(outcome).inside("outcome"));
            EventKind::WorkflowUpdateCompleted(WorkflowUpdateCompleted {
                workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
                update_id: UpdateId::from_trusted(message.update_id),
                accepted_event_id: EventId(message.accepted_event_id),
                outcome: outcome.inside("workflow_update_completed")?,
            })
        }
        Attributes::StatePublished(message) => EventKind::StatePublished(StatePublished {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            name: PublishedName::from_trusted(message.name),
            value: payload_from_proto(required("state_published.value", message.value)?),
        }),
        Attributes::MarkerRecorded(message) => EventKind::MarkerRecorded(Box::new(MarkerRecorded {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            marker: required("marker", message.marker).and_then(marker_from_proto).inside("marker_recorded")?,
        })),
        Attributes::SearchAttributesUpserted(message) => {
            EventKind::SearchAttributesUpserted(SearchAttributesUpserted {
                workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
                changes: search_changes_from_proto(message.changes.unwrap_or_default())
                    .inside("search_attributes_upserted")?,
            })
        }
        Attributes::PropertiesModified(message) => EventKind::PropertiesModified(PropertiesModified {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            changes: property_changes_from_proto(message.changes.unwrap_or_default()),
        }),
    })
}

/// What a run was started with, from a message that the engine wrote.
pub fn workflow_started_from_proto(message: v1::WorkflowStarted) -> Result<WorkflowStarted, ConvertError> {
    Ok(WorkflowStarted {
        namespace: Namespace::from_trusted(message.namespace),
        workflow_id: WorkflowId::from_trusted(message.workflow_id),
        run_id: run_id("run_id", &message.run_id)?,
        workflow_type: WorkflowType::from_trusted(message.workflow_type),
        task_queue: TaskQueueName::from_trusted(message.task_queue),
        input: payloads_from_proto(message.input),
        execution_timeout: optional_duration_from_proto("execution_timeout", message.execution_timeout)?,
        run_timeout: optional_duration_from_proto("run_timeout", message.run_timeout)?,
        task_timeout: required_duration("task_timeout", message.task_timeout)?,
        execution_deadline: message
            .execution_deadline
            .map(|at| timestamp_from_proto("execution_deadline", at))
            .transpose()?,
        retry_policy: message.retry_policy.map(retry_policy_from_proto).transpose().inside("retry_policy")?,
        attempt: message.attempt,
        continued_from: optional_run_id("continued_from_run_id", &message.continued_from_run_id)?,
        first_run_id: run_id("first_run_id", &message.first_run_id)?,
        continued_failure: message.continued_failure.map(failure_from_proto).transpose().inside("continued_failure")?,
        last_result: message.last_result.map(payload_from_proto),
        cron: message.cron.map(cron_from_proto).map(Box::new),
        first_task_backoff: optional_duration_from_proto("first_task_backoff", message.first_task_backoff)?
            .unwrap_or_default(),
        request_id: optional_request(&message.request_id),
        identity: message.identity,
        memo: memo_from_proto(message.memo),
        search_attributes: search_attributes_from_proto(message.search_attributes)?,
        summary: message.summary,
        details: message.details,
        parent: message.parent.map(super::super::peer::parent_from_proto).transpose().inside("parent")?.map(Box::new),
        seen_request_ids: message.seen_request_ids.into_iter().map(RequestId::from_trusted).collect(),
        reset: message.reset.map(reset_origin).transpose().inside("reset")?.map(Box::new),
        activity: message.activity.map(standalone_activity).transpose().inside("activity")?.map(Box::new),
        versioning: start_versioning(message.inherited_version, message.versioning_override)
            .inside("versioning_override")?,
    })
}

fn start_versioning(
    inherited: Option<v1::WorkerVersion>,
    versioning_override: Option<v1::VersioningOverride>,
) -> Result<Option<Box<StartVersioning>>, ConvertError> {
    if inherited.is_none() && versioning_override.is_none() {
        return Ok(None);
    }
    let inherited = inherited.map(worker_version_from_trusted).map(Arc::new);
    let versioning_override = versioning_override.map(versioning_override_from_trusted).transpose()?;
    Ok(Some(Box::new(StartVersioning { inherited, versioning_override })))
}

fn standalone_activity(message: v1::StandaloneActivity) -> Result<StandaloneActivity, ConvertError> {
    Ok(StandaloneActivity {
        timeouts: activity_timeouts_from_proto(message.timeouts.unwrap_or_default()).inside("timeouts")?,
        retry_policy: retry_policy_from_proto(message.retry_policy.unwrap_or_default()).inside("retry_policy")?,
    })
}

fn reset_origin(message: v1::ResetOrigin) -> Result<ResetOrigin, ConvertError> {
    let fork = |fork: v1::HistoryFork| {
        Ok(Fork { run_id: run_id("forks.run_id", &fork.run_id)?, until: EventId(fork.until_event_id) })
    };
    Ok(ResetOrigin {
        base_run_id: run_id("base_run_id", &message.base_run_id)?,
        original_run_id: run_id("original_run_id", &message.original_run_id)?,
        forked_at: EventId(message.forked_at_event_id),
        forks: message.forks.into_iter().map(fork).collect::<Result<_, ConvertError>>()?,
        reason: message.reason,
        identity: message.identity,
    })
}

fn workflow_failed(message: v1::WorkflowFailed) -> Result<WorkflowFailed, ConvertError> {
    Ok(WorkflowFailed {
        workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
        failure: required_failure(message.failure)?,
        retry_state: retry_state_from_proto("retry_state", message.retry_state)?,
        new_run_id: optional_run_id("new_run_id", &message.new_run_id)?,
    })
}

fn workflow_timed_out(message: v1::WorkflowTimedOut) -> Result<WorkflowTimedOut, ConvertError> {
    Ok(WorkflowTimedOut {
        retry_state: retry_state_from_proto("retry_state", message.retry_state)?,
        new_run_id: optional_run_id("new_run_id", &message.new_run_id)?,
        failure: message.failure.map(failure_from_proto).transpose().inside("failure")?,
    })
}

fn workflow_task_failed(message: v1::WorkflowTaskFailed) -> Result<WorkflowTaskFailed, ConvertError> {
    Ok(WorkflowTaskFailed {
        scheduled_event_id: EventId(message.scheduled_event_id),
        started_event_id: EventId(message.started_event_id),
        cause: workflow_task_failure_cause_from_proto("cause", message.cause)?,
        failure: required_failure(message.failure)?,
        identity: message.identity,
    })
}

fn activity_scheduled(message: v1::ActivityScheduled) -> Result<ActivityScheduled, ConvertError> {
    Ok(ActivityScheduled {
        workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
        activity_id: ActivityId::from_trusted(message.activity_id),
        activity_type: ActivityType::from_trusted(message.activity_type),
        task_queue: TaskQueueName::from_trusted(message.task_queue),
        input: payloads_from_proto(message.input),
        timeouts: activity_timeouts_from_proto(message.timeouts.unwrap_or_default()).inside("timeouts")?,
        retry_policy: required("retry_policy", message.retry_policy)
            .and_then(|policy| retry_policy_from_proto(policy).inside("retry_policy"))?,
        summary: message.summary,
    })
}

fn activity_failed(message: v1::ActivityFailed) -> Result<ActivityFailed, ConvertError> {
    Ok(ActivityFailed {
        scheduled_event_id: EventId(message.scheduled_event_id),
        started_event_id: EventId(message.started_event_id),
        failure: required_failure(message.failure)?,
        retry_state: retry_state_from_proto("retry_state", message.retry_state)?,
        identity: message.identity,
    })
}

fn activity_timed_out(message: v1::ActivityTimedOut) -> Result<ActivityTimedOut, ConvertError> {
    Ok(ActivityTimedOut {
        scheduled_event_id: EventId(message.scheduled_event_id),
        started_event_id: EventId(message.started_event_id),
        failure: required_failure(message.failure)?,
        retry_state: retry_state_from_proto("retry_state", message.retry_state)?,
    })
}

fn reasons(numbers: &[i32]) -> ContinueAsNewReasons {
    let has = |reason: v1::ContinueAsNewReason| numbers.contains(&reason.into());
    ContinueAsNewReasons {
        history_events: has(v1::ContinueAsNewReason::HistoryEvents),
        history_bytes: has(v1::ContinueAsNewReason::HistoryBytes),
        updates: has(v1::ContinueAsNewReason::Updates),
    }
}

fn required_failure(message: Option<v1::Failure>) -> Result<Failure, ConvertError> {
    required("failure", message).and_then(|failure| failure_from_proto(failure).inside("failure"))
}

fn required_duration(field: &str, message: Option<prost_types::Duration>) -> Result<Duration, ConvertError> {
    required(field, message).and_then(|duration| duration_from_proto(field, duration))
}

fn optional_request(text: &str) -> Option<RequestId> {
    (!text.is_empty()).then(|| RequestId::from_trusted(text))
}
