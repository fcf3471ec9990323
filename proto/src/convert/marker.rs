//! Markers.

use engine_core::ids::{PatchId, StepName};
use engine_core::marker::{Marker, StepMarker, StepOutcome};

use super::error::{ConvertError, Inside as _};
use super::field::{required, required_id};
use super::{
    duration_from_proto, duration_to_proto, failure_from_outside, failure_to_proto, payload_from_proto,
    payload_to_proto, retry_state_from_proto, retry_state_to_proto,
};
use crate::v1;
use v1::marker::Marker as Message;

/// A marker as a message.
pub fn marker_to_proto(marker: &Marker) -> v1::Marker {
    let message = match marker {
        Marker::Patch { patch_id, deprecated } => {
            Message::Patch(v1::PatchMarker { patch_id: patch_id.to_string(), deprecated: *deprecated })
        }
        Marker::Step(step) => Message::Step(step_to_proto(step)),
    };
    v1::Marker { marker: Some(message) }
}

/// A marker from a message. A failure in it is cut to the limits.
pub fn marker_from_proto(message: v1::Marker) -> Result<Marker, ConvertError> {
    Ok(match required("marker", message.marker)? {
        Message::Patch(patch) => Marker::Patch {
            patch_id: required_id("patch.patch_id", &patch.patch_id, PatchId::parse)?,
            deprecated: patch.deprecated,
        },
        Message::Step(step) => Marker::Step(step_from_proto(step).inside("step")?),
    })
}

fn step_to_proto(step: &StepMarker) -> v1::StepMarker {
    let mut message = v1::StepMarker {
        step_id: step.step_id,
        name: step.name.to_string(),
        attempt: step.attempt,
        took: Some(duration_to_proto(step.took)),
        ..v1::StepMarker::default()
    };
    match &step.outcome {
        StepOutcome::Completed { result } => message.result = result.as_ref().map(payload_to_proto),
        StepOutcome::Failed { failure, retry_state } => {
            message.failure = Some(failure_to_proto(failure));
            message.retry_state = retry_state_to_proto(*retry_state).into();
        }
    }
    message
}

fn step_from_proto(message: v1::StepMarker) -> Result<StepMarker, ConvertError> {
    let outcome = match message.failure {
        None => StepOutcome::Completed { result: message.result.map(payload_from_proto) },
        Some(failure) => StepOutcome::Failed {
            failure: failure_from_outside(failure).inside("failure")?,
            retry_state: retry_state_from_proto("retry_state", message.retry_state)?,
        },
    };
    Ok(StepMarker {
        step_id: message.step_id,
        name: required_id("name", &message.name, StepName::parse)?,
        outcome,
        attempt: message.attempt,
        took: message.took.map(|took| duration_from_proto("took", took)).transpose()?.unwrap_or_default(),
    })
}
