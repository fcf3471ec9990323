//! Failures, and their limits when they come from outside.
//!
//! A recorded failure is read back as it was written, however long: [`failure_from_proto`]. One that enters the engine is cut to
//! the limits first, because a stack trace must not fail a task: [`failure_from_outside`].

use engine_core::failure::{Failure, FailureKind};
use engine_core::ids::{ActivityId, ActivityType, EventId, Namespace, WorkflowId, WorkflowType};
use engine_core::limits::{FAILURE_BYTES_MAX, FAILURE_CAUSES_MAX, ID_LENGTH_MAX};

use super::error::Inside as _;
use super::field::{optional_run_id, required, required_id};
use super::{
    ConvertError, duration_to_proto, optional_duration_from_proto, payload_from_proto, payload_to_proto,
    retry_state_from_proto, retry_state_to_proto, timeout_kind_from_proto, timeout_kind_to_proto,
};
use crate::v1;

/// Marks the end of a text that was cut.
const CUT: &str = " [cut]";

/// A failure as a message, with all of its causes.
pub fn failure_to_proto(failure: &Failure) -> v1::Failure {
    use v1::failure::Kind;
    let kind = match &failure.kind {
        FailureKind::Application { type_name, non_retryable, details, next_retry_delay } => {
            Kind::Application(v1::ApplicationFailure {
                type_name: type_name.clone(),
                non_retryable: *non_retryable,
                details: details.as_ref().map(payload_to_proto),
                next_retry_delay: next_retry_delay.map(duration_to_proto),
            })
        }
        FailureKind::Timeout { timeout, last_heartbeat_details } => Kind::Timeout(v1::TimeoutFailure {
            timeout: timeout_kind_to_proto(*timeout).into(),
            last_heartbeat_details: last_heartbeat_details.as_ref().map(payload_to_proto),
        }),
        FailureKind::Canceled { details } => {
            Kind::Canceled(v1::CanceledFailure { details: details.as_ref().map(payload_to_proto) })
        }
        FailureKind::Terminated => Kind::Terminated(v1::TerminatedFailure {}),
        FailureKind::WorkerLost => Kind::WorkerLost(v1::WorkerLostFailure {}),
        FailureKind::Server { non_retryable } => Kind::Server(v1::ServerFailure { non_retryable: *non_retryable }),
        FailureKind::Activity { scheduled_event_id, activity_id, activity_type, retry_state } => {
            Kind::Activity(v1::ActivityFailure {
                scheduled_event_id: scheduled_event_id.0,
                activity_id: activity_id.to_string(),
                activity_type: activity_type.to_string(),
                retry_state: retry_state_to_proto(*retry_state).into(),
            })
        }
        FailureKind::ChildWorkflow {
            namespace,
            workflow_id,
            run_id,
            workflow_type,
            initiated_event_id,
            started_event_id,
            retry_state,
        } => Kind::ChildWorkflow(v1::ChildWorkflowFailure {
            namespace: namespace.to_string(),
            workflow_id: workflow_id.to_string(),
            run_id: run_id.map(|id| id.to_string()).unwrap_or_default(),
            workflow_type: workflow_type.to_string(),
            initiated_event_id: initiated_event_id.0,
            started_event_id: started_event_id.0,
            retry_state: retry_state_to_proto(*retry_state).into(),
        }),
    };
    v1::Failure {
        message: failure.message.clone(),
        cause: failure.cause.as_deref().map(failure_to_proto).map(Box::new),
        kind: Some(kind),
    }
}

/// A failure from a message, whole.
pub fn failure_from_proto(message: v1::Failure) -> Result<Failure, ConvertError> {
    Ok(Failure {
        kind: required("kind", message.kind).and_then(kind_from_proto)?,
        cause: message.cause.map(|cause| failure_from_proto(*cause).inside("cause")).transpose()?.map(Box::new),
        message: message.message,
    })
}

fn kind_from_proto(kind: v1::failure::Kind) -> Result<FailureKind, ConvertError> {
    use v1::failure::Kind;
    Ok(match kind {
        Kind::Application(failure) => FailureKind::Application {
            type_name: failure.type_name,
            non_retryable: failure.non_retryable,
            details: failure.details.map(payload_from_proto),
            next_retry_delay: optional_duration_from_proto("application.next_retry_delay", failure.next_retry_delay)?,
        },
        Kind::Timeout(failure) => FailureKind::Timeout {
            timeout: timeout_kind_from_proto("timeout.timeout", failure.timeout)?,
            last_heartbeat_details: failure.last_heartbeat_details.map(payload_from_proto),
        },
        Kind::Canceled(failure) => FailureKind::Canceled { details: failure.details.map(payload_from_proto) },
        Kind::Terminated(v1::TerminatedFailure {}) => FailureKind::Terminated,
        Kind::WorkerLost(v1::WorkerLostFailure {}) => FailureKind::WorkerLost,
        Kind::Server(failure) => FailureKind::Server { non_retryable: failure.non_retryable },
        Kind::Activity(failure) => FailureKind::Activity {
            scheduled_event_id: EventId(failure.scheduled_event_id),
            activity_id: required_id("activity.activity_id", &failure.activity_id, ActivityId::parse)?,
            activity_type: required_id("activity.activity_type", &failure.activity_type, ActivityType::parse)?,
            retry_state: retry_state_from_proto("activity.retry_state", failure.retry_state)?,
        },
        Kind::ChildWorkflow(failure) => FailureKind::ChildWorkflow {
            namespace: required_id("child_workflow.namespace", &failure.namespace, Namespace::parse)?,
            workflow_id: required_id("child_workflow.workflow_id", &failure.workflow_id, WorkflowId::parse)?,
            run_id: optional_run_id("child_workflow.run_id", &failure.run_id)?,
            workflow_type: required_id("child_workflow.workflow_type", &failure.workflow_type, WorkflowType::parse)?,
            initiated_event_id: EventId(failure.initiated_event_id),
            started_event_id: EventId(failure.started_event_id),
            retry_state: retry_state_from_proto("child_workflow.retry_state", failure.retry_state)?,
        },
    })
}

/// A failure that a worker or a client sent, cut to the limits: causes deeper than
/// [`FAILURE_CAUSES_MAX`] are left out, and of texts over [`FAILURE_BYTES_MAX`] the beginning is kept.
pub fn failure_from_outside(mut message: v1::Failure) -> Result<Failure, ConvertError> {
    cut_causes(&mut message);
    let mut failure = failure_from_proto(message)?;
    cut_texts(&mut failure);
    Ok(failure)
}

fn cut_causes(message: &mut v1::Failure) {
    let mut last = message;
    for _ in 0..FAILURE_CAUSES_MAX {
        match &mut last.cause {
            Some(cause) => last = cause,
            None => return,
        }
    }
    last.cause = None;
}

/// Outer failures are kept before inner ones, a failure's message before its details: what a person reads first.
fn cut_texts(failure: &mut Failure) {
    let mut room = FAILURE_BYTES_MAX;
    let mut next = Some(failure);
    while let Some(failure) = next {
        if let FailureKind::Application { type_name, .. } = &mut failure.kind {
            truncate(type_name, ID_LENGTH_MAX);
        }
        let fixed = own_size(failure) - failure.message.len() - details_size(failure);
        room = room.saturating_sub(fixed);
        truncate(&mut failure.message, room);
        room = room.saturating_sub(failure.message.len());
        // Half a payload could not be decoded.
        if details_size(failure) > room {
            drop_details(failure);
        }
        room = room.saturating_sub(details_size(failure));
        // A failure needs some room of its own to say anything.
        if room < 64 {
            failure.cause = None;
        }
        next = failure.cause.as_deref_mut();
    }
}

fn own_size(failure: &Failure) -> usize {
    failure.size() - failure.cause.as_deref().map_or(0, Failure::size)
}

fn details_of(failure: &mut Failure) -> Option<&mut Option<engine_core::payload::Payload>> {
    match &mut failure.kind {
        FailureKind::Application { details, .. }
        | FailureKind::Timeout { last_heartbeat_details: details, .. }
        | FailureKind::Canceled { details } => Some(details),
        FailureKind::Terminated
        | FailureKind::WorkerLost
        | FailureKind::Server { .. }
        | FailureKind::Activity { .. }
        | FailureKind::ChildWorkflow { .. } => None,
    }
}

fn details_size(failure: &mut Failure) -> usize {
    details_of(failure).and_then(|details| details.as_ref()).map_or(0, |details| details.size())
}

fn drop_details(failure: &mut Failure) {
    if let Some(details) = details_of(failure) {
        *details = None;
    }
}

/// Cuts at a character boundary, so that text and mark together fit the limit.
fn truncate(text: &mut String, limit: usize) {
    if text.len() <= limit {
        return;
    }
    text.truncate(text.floor_char_boundary(limit.saturating_sub(CUT.len())));
    if limit >= CUT.len() {
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use engine_core::payload::Payload;

    use super::*;
    use crate::convert::samples;

    #[test]
    fn every_kind_of_failure_survives_a_round_trip() {
        for failure in samples::failures() {
            assert_eq!(failure_from_proto(failure_to_proto(&failure)), Ok(failure.clone()));
            assert_eq!(failure_from_outside(failure_to_proto(&failure)), Ok(failure), "small failures are not cut");
        }
    }

    #[test]
    fn a_failure_from_outside_keeps_at_most_twenty_causes_and_a_recorded_one_keeps_all() {
        let mut failure = Failure::application("Deep", "0");
        for depth in 1..=40 {
            failure = Failure { cause: Some(Box::new(failure)), ..Failure::application("Deep", depth.to_string()) };
        }
        let message = failure_to_proto(&failure);
        assert_eq!(failure_from_proto(message.clone()).unwrap().chain().count(), 41);
        let cut = failure_from_outside(message).unwrap();
        assert_eq!(cut.chain().count(), 1 + FAILURE_CAUSES_MAX);
        assert_eq!(cut.message, "40", "the outermost failures are kept");
    }

    #[test]
    fn long_texts_and_large_details_are_cut_from_the_inside_out() {
        let mut failure = Failure::application("T".repeat(5000), "ä".repeat(FAILURE_BYTES_MAX));
        if let FailureKind::Application { details, .. } = &mut failure.kind {
            *details = Some(Payload::json(vec![b'1'; 1000]));
        }
        failure.cause = Some(Box::new(Failure::application("Inner", "lost")));
        let cut = failure_from_outside(failure_to_proto(&failure)).unwrap();
        assert!(cut.size() <= FAILURE_BYTES_MAX, "{}", cut.size());
        assert!(cut.message.starts_with('ä') && cut.message.ends_with(CUT));
        assert_eq!(cut.cause, None);
        let FailureKind::Application { type_name, details, .. } = cut.kind else { panic!("the kind is kept") };
        assert_eq!(type_name.len(), ID_LENGTH_MAX);
        assert_eq!(details, None);
    }

    #[test]
    fn an_incomplete_failure_names_the_field() {
        let inner = v1::Failure { message: "?".into(), cause: None, kind: None };
        let outer = v1::Failure { cause: Some(Box::new(inner)), ..failure_to_proto(&Failure::application("T", "m")) };
        assert_eq!(failure_from_proto(outer).unwrap_err().to_string(), "cause.kind: must be set");
        let mut message = failure_to_proto(&Failure::application("T", "m"));
        message.kind =
            Some(v1::failure::Kind::Timeout(v1::TimeoutFailure { timeout: 99, last_heartbeat_details: None }));
        assert_eq!(failure_from_proto(message).unwrap_err().to_string(), "timeout.timeout: has the unknown value 99");
    }
}
