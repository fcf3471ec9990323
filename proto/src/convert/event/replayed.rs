//! Events as a worker replays them: only what replay looks at is decoded.
//!
//! Most of a long history are events of workflow tasks and activities, and most of their bytes are for people and for the server: who ran it,
//! the queue, timeouts, arguments. Each text costs an allocation to decode and another to convert. Those of the commonest kinds are
//! skipped here; every other kind is decoded whole.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use engine_core::event::{
    ActivityCompleted, ActivityScheduled, ActivityStarted, ActivityTimeouts, Event, EventKind, WorkerMetadata,
    WorkflowTaskCompleted, WorkflowTaskScheduled,
};
use engine_core::ids::{ActivityId, ActivityType, EventId, TaskQueueName};
use engine_core::retry::RetryPolicy;
use engine_core::time::Timestamp;
use prost::{Message, Oneof};

use super::event_from_proto;
use crate::convert::{ConvertError, payload_from_proto};
use crate::v1;

/// `engine.v1.HistoryEvent` without the fields that are skipped.
#[derive(Clone, PartialEq, Message)]
struct Replayed {
    #[prost(uint64, tag = "1")]
    event_id: u64,
    #[prost(int64, tag = "2")]
    event_time_us: i64,
    #[prost(oneof = "Attributes", tags = "20, 22, 30, 31, 32")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Attributes {
    #[prost(message, tag = "20")]
    WorkflowTaskScheduled(TaskScheduled),
    #[prost(message, tag = "22")]
    WorkflowTaskCompleted(TaskCompleted),
    #[prost(message, tag = "30")]
    ActivityScheduled(Scheduled),
    #[prost(message, tag = "31")]
    ActivityStarted(Started),
    #[prost(message, tag = "32")]
    ActivityCompleted(Completed),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TaskScheduled {
    #[prost(uint32, tag = "3")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TaskCompleted {
    #[prost(uint64, tag = "1")]
    scheduled_event_id: u64,
    #[prost(uint64, tag = "2")]
    started_event_id: u64,
    #[prost(message, optional, tag = "4")]
    worker: Option<Worker>,
    #[prost(bool, tag = "5")]
    force_new_task: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Worker {
    #[prost(uint32, repeated, tag = "4")]
    flags: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Scheduled {
    #[prost(uint64, tag = "1")]
    workflow_task_completed_event_id: u64,
    #[prost(string, tag = "2")]
    activity_id: String,
    #[prost(string, tag = "3")]
    activity_type: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Started {
    #[prost(uint64, tag = "1")]
    scheduled_event_id: u64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Completed {
    #[prost(uint64, tag = "1")]
    scheduled_event_id: u64,
    #[prost(uint64, tag = "2")]
    started_event_id: u64,
    #[prost(message, optional, tag = "3")]
    result: Option<v1::Payload>,
}

/// An encoded event, for replay: of `WorkflowTaskScheduled`, `WorkflowTaskCompleted`, `ActivityScheduled`, `ActivityStarted` and
/// `ActivityCompleted` the ids, numbers, flags and results are there, and all else has its default. The others are whole.
pub fn event_for_replay(encoded: Bytes) -> Result<Event, ConvertError> {
    let malformed = |error| ConvertError::new("", format_args!("cannot be decoded: {error}"));
    let event = Replayed::decode(encoded.clone()).map_err(malformed)?;
    let Some(attributes) = event.attributes else {
        return event_from_proto(v1::HistoryEvent::decode(encoded).map_err(malformed)?);
    };
    Ok(Event { id: EventId(event.event_id), at: Timestamp::from_micros(event.event_time_us), kind: kind(attributes) })
}

fn kind(attributes: Attributes) -> EventKind {
    match attributes {
        Attributes::WorkflowTaskScheduled(message) => EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: no_queue(),
            start_to_close: Duration::ZERO,
            attempt: message.attempt,
        }),
        Attributes::WorkflowTaskCompleted(message) => EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            identity: String::new(),
            worker: WorkerMetadata { flags: message.worker.unwrap_or_default().flags, ..WorkerMetadata::default() },
            force_new_task: message.force_new_task,
        }),
        Attributes::ActivityScheduled(message) => EventKind::ActivityScheduled(Box::new(ActivityScheduled {
            workflow_task_completed_event_id: EventId(message.workflow_task_completed_event_id),
            activity_id: ActivityId::from_trusted(message.activity_id),
            activity_type: ActivityType::from_trusted(message.activity_type),
            task_queue: no_queue(),
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: RetryPolicy::default(),
            summary: String::new(),
        })),
        Attributes::ActivityStarted(message) => EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            attempt: message.attempt,
            identity: String::new(),
            last_failure: None,
        }),
        Attributes::ActivityCompleted(message) => EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id: EventId(message.scheduled_event_id),
            started_event_id: EventId(message.started_event_id),
            result: message.result.map(payload_from_proto),
            identity: String::new(),
        }),
    }
}

/// The queue that was not decoded.
fn no_queue() -> TaskQueueName {
    static NONE: LazyLock<TaskQueueName> = LazyLock::new(|| TaskQueueName::from_trusted(""));
    NONE.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{encode_event, samples};

    /// What is left of an event for replay, written down once more, against the messages above.
    fn for_replay(mut event: Event) -> Event {
        match &mut event.kind {
            EventKind::WorkflowTaskScheduled(scheduled) => {
                (scheduled.task_queue, scheduled.start_to_close) = (no_queue(), Duration::ZERO);
            }
            EventKind::WorkflowTaskCompleted(completed) => {
                completed.identity.clear();
                completed.worker =
                    WorkerMetadata { flags: completed.worker.flags.clone(), ..WorkerMetadata::default() };
            }
            EventKind::ActivityScheduled(scheduled) => {
                scheduled.task_queue = no_queue();
                scheduled.input.clear();
                scheduled.timeouts = ActivityTimeouts::default();
                scheduled.retry_policy = RetryPolicy::default();
                scheduled.summary.clear();
            }
            EventKind::ActivityStarted(started) => {
                started.identity.clear();
                started.last_failure = None;
            }
            EventKind::ActivityCompleted(completed) => completed.identity.clear(),
            _ => {}
        }
        event
    }

    #[test]
    fn replay_gets_of_each_event_what_it_looks_at() {
        for event in samples::events() {
            assert_eq!(event_for_replay(encode_event(&event)), Ok(for_replay(event)));
        }
    }

    #[test]
    fn bytes_that_are_no_event_are_refused() {
        let error = event_for_replay(Bytes::from_static(&[0xff; 3])).unwrap_err();
        assert!(error.to_string().contains("cannot be decoded"), "{error}");
        let hole = v1::HistoryEvent { event_id: 7, event_time_us: 0, attributes: None };
        assert_eq!(
            event_for_replay(hole.encode_to_vec().into()).unwrap_err().to_string(),
            "attributes: are of a kind that this build does not know: a newer engine recorded the event"
        );
    }
}
