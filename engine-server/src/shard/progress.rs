//! The stored form of an activity's progress.

use bytes::Bytes;
use engine_core::execution::{ActivityOptions, ActivityProgress, CorruptHistory, Paused};
use engine_core::ids::{EventId, TaskQueueName};
use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use prost::Message;

/// An activity's progress as stored. Field numbers are for ever.
#[derive(Clone, PartialEq, Message)]
struct StoredProgress {
    #[prost(uint64, tag = "1")]
    scheduled_event_id: u64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(uint32, tag = "3")]
    counted_attempts: u32,
    #[prost(int64, tag = "4")]
    offer_at_us: i64,
    #[prost(int64, optional, tag = "5")]
    started_at_us: Option<i64>,
    #[prost(string, tag = "6")]
    identity: String,
    #[prost(message, optional, tag = "7")]
    last_failure: Option<v1::Failure>,
    #[prost(message, optional, tag = "8")]
    heartbeat_details: Option<v1::Payload>,
    #[prost(message, optional, tag = "9")]
    paused: Option<v1::Paused>,
    #[prost(uint32, tag = "10")]
    forgotten_attempts: u32,
    #[prost(message, optional, tag = "11")]
    options: Option<v1::StoredActivityOptions>,
}

pub(crate) fn encode(progress: &ActivityProgress) -> Bytes {
    let stored = StoredProgress {
        scheduled_event_id: progress.scheduled_event_id.0,
        attempt: progress.attempt,
        counted_attempts: progress.counted_attempts,
        offer_at_us: progress.offer_at.as_micros(),
        started_at_us: progress.started_at.map(Timestamp::as_micros),
        identity: progress.identity.clone(),
        last_failure: progress.last_failure.as_ref().map(convert::failure_to_proto),
        heartbeat_details: progress.heartbeat_details.as_ref().map(convert::payload_to_proto),
        paused: progress.paused.as_ref().map(paused_to_proto),
        forgotten_attempts: progress.forgotten_attempts,
        options: progress.options.as_deref().map(options_to_proto),
    };
    Bytes::from(stored.encode_to_vec())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<ActivityProgress, CorruptHistory> {
    let corrupt = |problem: String| CorruptHistory { event_id: EventId::NONE, problem };
    let stored = StoredProgress::decode(bytes).map_err(|e| corrupt(format!("activity progress: {e}")))?;
    Ok(ActivityProgress {
        scheduled_event_id: EventId(stored.scheduled_event_id),
        attempt: stored.attempt,
        counted_attempts: stored.counted_attempts,
        offer_at: Timestamp::from_micros(stored.offer_at_us),
        started_at: stored.started_at_us.map(Timestamp::from_micros),
        identity: stored.identity,
        last_failure: stored
            .last_failure
            .map(convert::failure_from_proto)
            .transpose()
            .map_err(|e| corrupt(format!("activity progress: {e}")))?,
        heartbeat_details: stored.heartbeat_details.map(convert::payload_from_proto),
        paused: stored
            .paused
            .map(paused_from_proto)
            .transpose()
            .map_err(|e| corrupt(format!("activity progress: {e}")))?,
        forgotten_attempts: stored.forgotten_attempts,
        options: stored
            .options
            .map(options_from_proto)
            .transpose()
            .map_err(|e| corrupt(format!("activity progress: {e}")))?
            .map(Box::new),
    })
}

/// That something is paused, as a message.
pub(crate) fn paused_to_proto(paused: &Paused) -> v1::Paused {
    v1::Paused {
        since: Some(convert::timestamp_to_proto(paused.since)),
        reason: paused.reason.clone(),
        identity: paused.identity.clone(),
    }
}

fn paused_from_proto(message: v1::Paused) -> Result<Paused, convert::ConvertError> {
    let since = convert::timestamp_from_proto("since", convert::required("since", message.since)?)?;
    Ok(Paused { since, reason: message.reason, identity: message.identity })
}

fn options_to_proto(options: &ActivityOptions) -> v1::StoredActivityOptions {
    v1::StoredActivityOptions {
        task_queue: options.task_queue.as_str().to_owned(),
        timeouts: Some(convert::activity_timeouts_to_proto(&options.timeouts)),
        retry_policy: Some(convert::retry_policy_to_proto(&options.retry_policy)),
    }
}

fn options_from_proto(message: v1::StoredActivityOptions) -> Result<ActivityOptions, convert::ConvertError> {
    Ok(ActivityOptions {
        task_queue: TaskQueueName::from_trusted(message.task_queue),
        timeouts: convert::activity_timeouts_from_proto(convert::required("timeouts", message.timeouts)?)?,
        retry_policy: convert::retry_policy_from_proto(convert::required("retry_policy", message.retry_policy)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use engine_core::event::ActivityTimeouts;
    use engine_core::failure::Failure;
    use engine_core::payload::Payload;
    use engine_core::retry::RetryPolicy;

    #[test]
    fn progress_survives_storage() {
        let progress = ActivityProgress {
            scheduled_event_id: EventId(5),
            attempt: 3,
            counted_attempts: 2,
            offer_at: Timestamp::from_micros(77),
            started_at: Some(Timestamp::from_micros(78)),
            identity: "worker-1".into(),
            last_failure: Some(Failure::application("Busy", "later")),
            heartbeat_details: Some(Payload::json("17")),
            paused: Some(Paused {
                since: Timestamp::from_micros(79),
                reason: "the bank is closed".into(),
                identity: "desk-3".into(),
            }),
            forgotten_attempts: 1,
            options: Some(Box::new(ActivityOptions {
                task_queue: TaskQueueName::from_trusted("gpu"),
                timeouts: ActivityTimeouts { heartbeat: Some(Duration::from_secs(3)), ..Default::default() },
                retry_policy: RetryPolicy { maximum_attempts: 7, ..Default::default() },
            })),
        };
        assert_eq!(decode(&encode(&progress)), Ok(progress));
    }
}
