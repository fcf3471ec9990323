//! Children, and messages to other workflows.

use engine_core::execution::IdReusePolicy;
use engine_core::ids::{EventId, SignalName, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::peer::{
    CancelPeer, ChildOutcome, Parent, ParentClosePolicy, PeerCommand, PeerEvent, PeerFailureCause, PeerTarget,
    SignalPeer, StartChild,
};
use v1::command::Command as CommandMessage;
use v1::history_event::Attributes;

use super::error::{ConvertError, Inside as _};
use super::field::{optional_id, optional_run_id, required, required_id, run_id, specified};
use super::{
    duration_to_proto, failure_from_proto, failure_to_proto, memo_from_proto, memo_to_proto,
    optional_duration_from_proto, payload_from_proto, payload_to_proto, payloads_from_proto, payloads_to_proto,
    retry_policy_from_proto, retry_policy_to_proto, retry_state_from_proto, retry_state_to_proto,
    search_attributes_from_proto, search_attributes_to_proto,
};
use crate::v1;

/// An id-reuse policy as an enum value.
pub fn reuse_policy_to_proto(policy: IdReusePolicy) -> v1::WorkflowIdReusePolicy {
    match policy {
        IdReusePolicy::AllowDuplicate => v1::WorkflowIdReusePolicy::AllowDuplicate,
        IdReusePolicy::AllowDuplicateFailedOnly => v1::WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
        IdReusePolicy::RejectDuplicate => v1::WorkflowIdReusePolicy::RejectDuplicate,
    }
}

/// An id-reuse policy from an enum number; the default if it is not set.
pub fn reuse_policy_from_proto(field: &str, number: i32) -> Result<IdReusePolicy, ConvertError> {
    Ok(match specified::<v1::WorkflowIdReusePolicy>(field, number)? {
        v1::WorkflowIdReusePolicy::Unspecified | v1::WorkflowIdReusePolicy::AllowDuplicate => {
            IdReusePolicy::AllowDuplicate
        }
        v1::WorkflowIdReusePolicy::AllowDuplicateFailedOnly => IdReusePolicy::AllowDuplicateFailedOnly,
        v1::WorkflowIdReusePolicy::RejectDuplicate => IdReusePolicy::RejectDuplicate,
    })
}

/// A parent-close policy as an enum value.
pub fn parent_close_policy_to_proto(policy: ParentClosePolicy) -> v1::ParentClosePolicy {
    match policy {
        ParentClosePolicy::Terminate => v1::ParentClosePolicy::Terminate,
        ParentClosePolicy::RequestCancel => v1::ParentClosePolicy::RequestCancel,
        ParentClosePolicy::Abandon => v1::ParentClosePolicy::Abandon,
    }
}

fn parent_close_policy_from_proto(number: i32) -> Result<ParentClosePolicy, ConvertError> {
    Ok(match specified::<v1::ParentClosePolicy>("parent_close_policy", number)? {
        v1::ParentClosePolicy::Unspecified | v1::ParentClosePolicy::Terminate => ParentClosePolicy::Terminate,
        v1::ParentClosePolicy::RequestCancel => ParentClosePolicy::RequestCancel,
        v1::ParentClosePolicy::Abandon => ParentClosePolicy::Abandon,
    })
}

fn cause_to_proto(cause: PeerFailureCause) -> i32 {
    match cause {
        PeerFailureCause::NotFound => v1::PeerFailureCause::NotFound,
        PeerFailureCause::AlreadyStarted => v1::PeerFailureCause::AlreadyStarted,
        PeerFailureCause::Refused => v1::PeerFailureCause::Refused,
    }
    .into()
}

fn cause_from_proto(number: i32) -> Result<PeerFailureCause, ConvertError> {
    match specified::<v1::PeerFailureCause>("cause", number)? {
        v1::PeerFailureCause::Unspecified => Err(ConvertError::new("cause", "must be set")),
        v1::PeerFailureCause::NotFound => Ok(PeerFailureCause::NotFound),
        v1::PeerFailureCause::AlreadyStarted => Ok(PeerFailureCause::AlreadyStarted),
        v1::PeerFailureCause::Refused => Ok(PeerFailureCause::Refused),
    }
}

pub(super) fn parent_to_proto(parent: &Parent) -> v1::Parent {
    v1::Parent {
        workflow_id: parent.workflow_id.to_string(),
        run_id: parent.run_id.to_string(),
        initiated_event_id: parent.initiated_event_id.0,
    }
}

pub(super) fn parent_from_proto(message: v1::Parent) -> Result<Parent, ConvertError> {
    Ok(Parent {
        workflow_id: WorkflowId::from_trusted(message.workflow_id),
        run_id: run_id("run_id", &message.run_id)?,
        initiated_event_id: EventId(message.initiated_event_id),
    })
}

fn child_to_proto(child: &StartChild) -> v1::StartChild {
    v1::StartChild {
        workflow_id: child.workflow_id.to_string(),
        workflow_type: child.workflow_type.to_string(),
        task_queue: child.task_queue.as_ref().map(ToString::to_string).unwrap_or_default(),
        input: payloads_to_proto(&child.input),
        execution_timeout: child.execution_timeout.map(duration_to_proto),
        run_timeout: child.run_timeout.map(duration_to_proto),
        task_timeout: child.task_timeout.map(duration_to_proto),
        retry_policy: child.retry_policy.as_ref().map(retry_policy_to_proto),
        parent_close_policy: parent_close_policy_to_proto(child.parent_close_policy).into(),
        id_reuse_policy: reuse_policy_to_proto(child.id_reuse_policy).into(),
        memo: memo_to_proto(&child.memo),
        search_attributes: search_attributes_to_proto(&child.search_attributes),
        summary: child.summary.clone(),
        details: child.details.clone(),
    }
}

fn child_from_proto(message: v1::StartChild) -> Result<StartChild, ConvertError> {
    Ok(StartChild {
        workflow_id: required_id("workflow_id", &message.workflow_id, WorkflowId::parse)?,
        workflow_type: required_id("workflow_type", &message.workflow_type, WorkflowType::parse)?,
        task_queue: optional_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
        input: payloads_from_proto(message.input),
        execution_timeout: optional_duration_from_proto("execution_timeout", message.execution_timeout)?,
        run_timeout: optional_duration_from_proto("run_timeout", message.run_timeout)?,
        task_timeout: optional_duration_from_proto("task_timeout", message.task_timeout)?,
        retry_policy: message.retry_policy.map(retry_policy_from_proto).transpose().inside("retry_policy")?,
        parent_close_policy: parent_close_policy_from_proto(message.parent_close_policy)?,
        id_reuse_policy: reuse_policy_from_proto("id_reuse_policy", message.id_reuse_policy)?,
        memo: memo_from_proto(message.memo),
        search_attributes: search_attributes_from_proto(message.search_attributes)?,
        summary: message.summary,
        details: message.details,
    })
}

fn target_to_proto(target: &PeerTarget) -> v1::PeerTarget {
    v1::PeerTarget {
        workflow_id: target.workflow_id.to_string(),
        run_id: target.run_id.map(|id| id.to_string()).unwrap_or_default(),
        child_only: target.child_only,
    }
}

fn target_from_proto(message: Option<v1::PeerTarget>) -> Result<PeerTarget, ConvertError> {
    let message = required("target", message)?;
    Ok(PeerTarget {
        workflow_id: required_id("target.workflow_id", &message.workflow_id, WorkflowId::parse)?,
        run_id: optional_run_id("target.run_id", &message.run_id)?,
        child_only: message.child_only,
    })
}

fn signal_to_proto(signal: &SignalPeer) -> v1::SignalPeer {
    v1::SignalPeer {
        target: Some(target_to_proto(&signal.target)),
        signal_name: signal.name.to_string(),
        input: payloads_to_proto(&signal.input),
    }
}

fn signal_from_proto(message: v1::SignalPeer) -> Result<SignalPeer, ConvertError> {
    Ok(SignalPeer {
        target: target_from_proto(message.target)?,
        name: required_id("signal_name", &message.signal_name, SignalName::parse)?,
        input: payloads_from_proto(message.input),
    })
}

fn cancel_to_proto(cancel: &CancelPeer) -> v1::CancelPeer {
    v1::CancelPeer { target: Some(target_to_proto(&cancel.target)), reason: cancel.reason.clone() }
}

fn cancel_from_proto(message: v1::CancelPeer) -> Result<CancelPeer, ConvertError> {
    Ok(CancelPeer { target: target_from_proto(message.target)?, reason: message.reason })
}

pub(super) fn command_to_proto(command: &PeerCommand) -> CommandMessage {
    match command {
        PeerCommand::StartChild(child) => CommandMessage::StartChild(child_to_proto(child)),
        PeerCommand::Signal(signal) => CommandMessage::SignalExternal(signal_to_proto(signal)),
        PeerCommand::RequestCancel(cancel) => CommandMessage::RequestCancelExternal(cancel_to_proto(cancel)),
    }
}

/// The message must be one of these three.
pub(super) fn command_from_proto(message: CommandMessage) -> Result<PeerCommand, ConvertError> {
    match message {
        CommandMessage::StartChild(message) => {
            child_from_proto(message).inside("start_child").map(PeerCommand::StartChild)
        }
        CommandMessage::SignalExternal(message) => {
            signal_from_proto(message).inside("signal_external").map(PeerCommand::Signal)
        }
        CommandMessage::RequestCancelExternal(message) => {
            cancel_from_proto(message).inside("request_cancel_external").map(PeerCommand::RequestCancel)
        }
        _ => Err(ConvertError::new("command", "does not deal with another workflow")),
    }
}

pub(super) fn event_to_proto(event: &PeerEvent) -> Attributes {
    match event {
        PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child } => {
            Attributes::StartChildInitiated(v1::StartChildInitiated {
                workflow_task_completed_event_id: workflow_task_completed_event_id.0,
                child: Some(child_to_proto(child)),
            })
        }
        PeerEvent::StartChildFailed { initiated_event_id, workflow_id, workflow_type, cause } => {
            Attributes::StartChildFailed(v1::StartChildFailed {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                workflow_type: workflow_type.to_string(),
                cause: cause_to_proto(*cause),
            })
        }
        PeerEvent::ChildStarted { initiated_event_id, workflow_id, workflow_type, run_id } => {
            Attributes::ChildStarted(v1::ChildStarted {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                workflow_type: workflow_type.to_string(),
                run_id: run_id.to_string(),
            })
        }
        PeerEvent::ChildClosed {
            initiated_event_id,
            started_event_id,
            workflow_id,
            workflow_type,
            run_id,
            outcome,
        } => {
            let child = Some(v1::ClosedChild {
                initiated_event_id: initiated_event_id.0,
                started_event_id: started_event_id.0,
                workflow_id: workflow_id.to_string(),
                workflow_type: workflow_type.to_string(),
                run_id: run_id.to_string(),
            });
            closed_to_proto(child, outcome)
        }
        PeerEvent::SignalInitiated { workflow_task_completed_event_id, signal } => {
            Attributes::SignalExternalInitiated(v1::SignalExternalInitiated {
                workflow_task_completed_event_id: workflow_task_completed_event_id.0,
                signal: Some(signal_to_proto(signal)),
            })
        }
        PeerEvent::Signaled { initiated_event_id, workflow_id, run_id } => {
            Attributes::ExternalSignaled(v1::ExternalSignaled {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                run_id: run_id.to_string(),
            })
        }
        PeerEvent::SignalFailed { initiated_event_id, workflow_id, cause } => {
            Attributes::SignalExternalFailed(v1::SignalExternalFailed {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                cause: cause_to_proto(*cause),
            })
        }
        PeerEvent::CancelInitiated { workflow_task_completed_event_id, cancel } => {
            Attributes::RequestCancelExternalInitiated(v1::RequestCancelExternalInitiated {
                workflow_task_completed_event_id: workflow_task_completed_event_id.0,
                cancel: Some(cancel_to_proto(cancel)),
            })
        }
        PeerEvent::CancelDelivered { initiated_event_id, workflow_id, run_id } => {
            Attributes::ExternalCancelRequested(v1::ExternalCancelRequested {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                run_id: run_id.to_string(),
            })
        }
        PeerEvent::CancelFailed { initiated_event_id, workflow_id, cause } => {
            Attributes::RequestCancelExternalFailed(v1::RequestCancelExternalFailed {
                initiated_event_id: initiated_event_id.0,
                workflow_id: workflow_id.to_string(),
                cause: cause_to_proto(*cause),
            })
        }
    }
}

fn closed_to_proto(child: Option<v1::ClosedChild>, outcome: &ChildOutcome) -> Attributes {
    match outcome {
        ChildOutcome::Completed { result } => {
            Attributes::ChildCompleted(v1::ChildCompleted { child, result: result.as_ref().map(payload_to_proto) })
        }
        ChildOutcome::Failed { failure, retry_state } => Attributes::ChildFailed(v1::ChildFailed {
            child,
            failure: Some(failure_to_proto(failure)),
            retry_state: retry_state_to_proto(*retry_state).into(),
        }),
        ChildOutcome::Canceled { details } => {
            Attributes::ChildCanceled(v1::ChildCanceled { child, details: details.as_ref().map(payload_to_proto) })
        }
        ChildOutcome::TimedOut { retry_state } => Attributes::ChildTimedOut(v1::ChildTimedOut {
            child,
            retry_state: retry_state_to_proto(*retry_state).into(),
        }),
        ChildOutcome::Terminated => Attributes::ChildTerminated(v1::ChildTerminated { child }),
    }
}

/// The attributes must be those of an event about a peer.
pub(super) fn event_from_proto(attributes: Attributes) -> Result<PeerEvent, ConvertError> {
    let workflow = |text: String| WorkflowId::from_trusted(text);
    Ok(match attributes {
        Attributes::StartChildInitiated(message) => PeerEvent::StartChildInitiated {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            child: required("child", message.child)
                .and_then(|child| child_from_proto(child).inside("child"))
                .inside("start_child_initiated")?,
        },
        Attributes::StartChildFailed(message) => PeerEvent::StartChildFailed {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            workflow_type: WorkflowType::from_trusted(message.workflow_type),
            cause: cause_from_proto(message.cause).inside("start_child_failed")?,
        },
        Attributes::ChildStarted(message) => PeerEvent::ChildStarted {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            workflow_type: WorkflowType::from_trusted(message.workflow_type),
            run_id: run_id("child_started.run_id", &message.run_id)?,
        },
        Attributes::ChildCompleted(message) => {
            let result = message.result.map(payload_from_proto);
            closed_from_proto(message.child, ChildOutcome::Completed { result }).inside("child_completed")?
        }
        Attributes::ChildFailed(message) => {
            let failure = required("child_failed.failure", message.failure)
                .and_then(|failure| failure_from_proto(failure).inside("child_failed.failure"))?;
            let retry_state = retry_state_from_proto("child_failed.retry_state", message.retry_state)?;
            closed_from_proto(message.child, ChildOutcome::Failed { failure, retry_state }).inside("child_failed")?
        }
        Attributes::ChildCanceled(message) => {
            let details = message.details.map(payload_from_proto);
            closed_from_proto(message.child, ChildOutcome::Canceled { details }).inside("child_canceled")?
        }
        Attributes::ChildTimedOut(message) => {
            let retry_state = retry_state_from_proto("child_timed_out.retry_state", message.retry_state)?;
            closed_from_proto(message.child, ChildOutcome::TimedOut { retry_state }).inside("child_timed_out")?
        }
        Attributes::ChildTerminated(message) => {
            closed_from_proto(message.child, ChildOutcome::Terminated).inside("child_terminated")?
        }
        Attributes::SignalExternalInitiated(message) => PeerEvent::SignalInitiated {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            signal: required("signal", message.signal)
                .and_then(|signal| signal_from_proto(signal).inside("signal"))
                .inside("signal_external_initiated")?,
        },
        Attributes::ExternalSignaled(message) => PeerEvent::Signaled {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            run_id: run_id("external_signaled.run_id", &message.run_id)?,
        },
        Attributes::SignalExternalFailed(message) => PeerEvent::SignalFailed {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            cause: cause_from_proto(message.cause).inside("signal_external_failed")?,
        },
        Attributes::RequestCancelExternalInitiated(message) => PeerEvent::CancelInitiated {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            cancel: required("cancel", message.cancel)
                .and_then(|cancel| cancel_from_proto(cancel).inside("cancel"))
                .inside("request_cancel_external_initiated")?,
        },
        Attributes::ExternalCancelRequested(message) => PeerEvent::CancelDelivered {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            run_id: run_id("external_cancel_requested.run_id", &message.run_id)?,
        },
        Attributes::RequestCancelExternalFailed(message) => PeerEvent::CancelFailed {
            initiated_event_id: EventId(message.initiated_event_id),
            workflow_id: workflow(message.workflow_id),
            cause: cause_from_proto(message.cause).inside("request_cancel_external_failed")?,
        },
        _ => return Err(ConvertError::new("attributes", "do not deal with another workflow")),
    })
}

fn closed_from_proto(child: Option<v1::ClosedChild>, outcome: ChildOutcome) -> Result<PeerEvent, ConvertError> {
    let child = required("child", child)?;
    Ok(PeerEvent::ChildClosed {
        initiated_event_id: EventId(child.initiated_event_id),
        started_event_id: EventId(child.started_event_id),
        workflow_id: WorkflowId::from_trusted(child.workflow_id),
        workflow_type: WorkflowType::from_trusted(child.workflow_type),
        run_id: run_id("child.run_id", &child.run_id)?,
        outcome,
    })
}
