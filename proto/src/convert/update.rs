//! Updates.

use engine_core::event::{UpdateOutcome, UpdateRequest};
use engine_core::execution::RejectedUpdate;
use engine_core::ids::{UpdateId, UpdateName};

use super::error::Inside as _;
use super::field::{required, required_id};
use super::{
    ConvertError, failure_from_outside, failure_from_proto, failure_to_proto, payload_from_proto, payload_to_proto,
    payloads_from_proto, payloads_to_proto,
};
use crate::v1;
use v1::update_outcome::Outcome;

/// An update as a message.
pub fn update_request_to_proto(request: &UpdateRequest) -> v1::UpdateRequest {
    v1::UpdateRequest {
        update_id: request.id.to_string(),
        update_name: request.name.to_string(),
        input: payloads_to_proto(&request.input),
        identity: request.identity.clone(),
    }
}

/// An update from a message, its identifiers validated.
pub fn update_request_from_proto(message: v1::UpdateRequest) -> Result<UpdateRequest, ConvertError> {
    Ok(UpdateRequest {
        id: required_id("update_id", &message.update_id, UpdateId::parse)?,
        name: required_id("update_name", &message.update_name, UpdateName::parse)?,
        input: payloads_from_proto(message.input),
        identity: message.identity,
    })
}

/// An update from a message that was validated before it was stored or sent.
pub fn update_request_from_trusted(message: v1::UpdateRequest) -> UpdateRequest {
    UpdateRequest {
        id: UpdateId::from_trusted(message.update_id),
        name: UpdateName::from_trusted(message.update_name),
        input: payloads_from_proto(message.input),
        identity: message.identity,
    }
}

/// How an update ended, as a message.
pub fn update_outcome_to_proto(outcome: &UpdateOutcome) -> v1::UpdateOutcome {
    let outcome = match outcome {
        UpdateOutcome::Completed { result } => {
            Outcome::Completed(v1::UpdateResult { result: result.as_ref().map(payload_to_proto) })
        }
        UpdateOutcome::Failed { failure } => Outcome::Failed(failure_to_proto(failure)),
    };
    v1::UpdateOutcome { outcome: Some(outcome) }
}

/// How an update ended, from a message of ours.
pub fn update_outcome_from_proto(message: v1::UpdateOutcome) -> Result<UpdateOutcome, ConvertError> {
    Ok(match required("outcome", message.outcome)? {
        Outcome::Completed(completed) => UpdateOutcome::Completed { result: completed.result.map(payload_from_proto) },
        Outcome::Failed(failure) => UpdateOutcome::Failed { failure: failure_from_proto(failure).inside("failed")? },
    })
}

/// How an update ended, from a worker's message: a failure is cut to the limits.
pub(super) fn update_outcome_from_outside(message: v1::UpdateOutcome) -> Result<UpdateOutcome, ConvertError> {
    Ok(match required("outcome", message.outcome)? {
        Outcome::Completed(completed) => UpdateOutcome::Completed { result: completed.result.map(payload_from_proto) },
        Outcome::Failed(failure) => UpdateOutcome::Failed { failure: failure_from_outside(failure).inside("failed")? },
    })
}

/// A refused update as a message.
pub fn rejected_update_to_proto(rejected: &RejectedUpdate) -> v1::UpdateRejection {
    v1::UpdateRejection {
        update_id: rejected.update_id.to_string(),
        failure: Some(failure_to_proto(&rejected.failure)),
    }
}

/// Refused updates from a worker's message; an error names the update by its position, `rejected_updates[3]`.
pub fn rejected_updates_from_proto(messages: Vec<v1::UpdateRejection>) -> Result<Vec<RejectedUpdate>, ConvertError> {
    let convert = |message: v1::UpdateRejection| {
        Ok(RejectedUpdate {
            update_id: required_id("update_id", &message.update_id, UpdateId::parse)?,
            failure: failure_from_outside(message.failure.unwrap_or_default()).inside("failure")?,
        })
    };
    let convert = |(index, message)| {
        convert(message).map_err(|error: ConvertError| error.inside(format_args!("rejected_updates[{index}]")))
    };
    messages.into_iter().enumerate().map(convert).collect()
}
