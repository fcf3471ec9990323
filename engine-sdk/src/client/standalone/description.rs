//! Where a standalone activity stands.

use std::collections::BTreeMap;

use engine_core::event::{ActivityTimeouts, CloseStatus};
use engine_core::ids::{ActivityId, ActivityType, RunId, TaskQueueName};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;
use engine_proto::convert::{
    ConvertError, activity_timeouts_from_proto, close_status_from_proto, optional_run_id, payload_from_proto,
    payloads_from_proto, required, required_id, retry_policy_from_proto, run_id as parse_run_id,
    search_attributes_from_proto, timestamp_from_proto,
};
use engine_proto::v1;

use super::StandaloneFailure;
use super::outcome;
use crate::client::PendingActivity;

/// What lists show of a standalone activity.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActivitySummary {
    /// The user's key.
    pub activity_id: ActivityId,
    /// The run.
    pub run_id: RunId,
    /// The code that it runs.
    pub activity_type: ActivityType,
    /// Where it is offered.
    pub task_queue: TaskQueueName,
    /// How it ended; `None` if it is open. [`CloseStatus::ContinuedAsNew`]: it had ended without a result and was run again, as another
    /// run.
    pub status: Option<CloseStatus>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended; `None` if it is open.
    pub closed_at: Option<Timestamp>,
    /// By what else it is listed: read it with [`SearchKey::get`](crate::search::SearchKey::get).
    pub search_attributes: SearchAttributes,
    /// Whether an operator has it paused: see [`ActivityHandle::open`](super::ActivityHandle::open).
    pub is_paused: bool,
}

/// The state of a standalone activity.
#[derive(Debug)]
#[non_exhaustive]
pub struct ActivityDescription {
    /// What lists show.
    pub summary: ActivitySummary,
    /// Arguments.
    pub input: Vec<Payload>,
    /// Its timeouts.
    pub timeouts: ActivityTimeouts,
    /// How its attempts follow each other.
    pub retry_policy: RetryPolicy,
    /// Where it stands, if it is open; who paused it and why, if it is paused.
    pub pending: Option<PendingActivity>,
    /// Why it has no result, if it has ended without one: of a dead letter, its reason.
    pub failure: Option<StandaloneFailure>,
    /// Which try was the last, if it has ended; 0 if no worker ever had it.
    pub last_attempt: u32,
    /// Who had that try; empty if it is open.
    pub last_worker_identity: String,
    /// Whether it was asked to stop.
    pub cancel_requested: bool,
    /// The run that this one runs again, if it does.
    pub continued_from: Option<RunId>,
    /// Facts for people, by name.
    pub memo: BTreeMap<String, Payload>,
    /// One line about it, for people; may be empty.
    pub text_summary: String,
    /// More about it, for people; may be empty.
    pub details: String,
    /// Who started it, for people.
    pub identity: String,
}

impl TryFrom<v1::ActivitySummary> for ActivitySummary {
    type Error = ConvertError;

    fn try_from(message: v1::ActivitySummary) -> Result<Self, ConvertError> {
        let started_at = required("start_time", message.start_time)?;
        Ok(Self {
            activity_id: required_id("activity_id", &message.activity_id, ActivityId::parse)?,
            run_id: parse_run_id("run_id", &message.run_id)?,
            activity_type: required_id("activity_type", &message.activity_type, ActivityType::parse)?,
            task_queue: required_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
            status: close_status_from_proto("status", message.status)?,
            started_at: timestamp_from_proto("start_time", started_at)?,
            closed_at: message.close_time.map(|at| timestamp_from_proto("close_time", at)).transpose()?,
            search_attributes: search_attributes_from_proto(message.search_attributes)?,
            is_paused: message.paused,
        })
    }
}

impl TryFrom<v1::DescribeActivityResponse> for ActivityDescription {
    type Error = ConvertError;

    fn try_from(message: v1::DescribeActivityResponse) -> Result<Self, ConvertError> {
        // How it ended is in its outcome: the summary of one that was run again says only that.
        let failure = match message.outcome {
            Some(ended) => match close_status_from_proto("outcome.status", ended.status)? {
                None | Some(CloseStatus::Completed) => None,
                Some(status) => Some(outcome::failure(status, ended.failure)?),
            },
            None => None,
        };
        Ok(Self {
            summary: required("summary", message.summary)?.try_into()?,
            input: payloads_from_proto(message.input),
            timeouts: activity_timeouts_from_proto(message.timeouts.unwrap_or_default())?,
            retry_policy: retry_policy_from_proto(message.retry_policy.unwrap_or_default())?,
            pending: message.pending.map(PendingActivity::try_from).transpose()?,
            failure,
            last_attempt: message.last_attempt,
            last_worker_identity: message.last_worker_identity,
            cancel_requested: message.cancel_requested,
            continued_from: optional_run_id("continued_from_run_id", &message.continued_from_run_id)?,
            memo: message.memo.into_iter().map(|(key, value)| (key, payload_from_proto(value))).collect(),
            text_summary: message.text_summary,
            details: message.details,
            identity: message.identity,
        })
    }
}
