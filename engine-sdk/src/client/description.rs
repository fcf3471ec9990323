//! Where a run stands.

use std::collections::BTreeMap;

use engine_core::event::{ActivityTimeouts, CloseStatus, WorkflowStarted, WorkflowTaskFailureCause};
use engine_core::failure::Failure;
use engine_core::ids::{
    ActivityId, ActivityType, EventId, PublishedName, RunId, TaskQueueName, TimerId, UpdateId, UpdateName, WorkflowId,
    WorkflowType,
};
use engine_core::payload::Payload;
use engine_core::peer::ParentClosePolicy;
use engine_core::retry::RetryPolicy;
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;
use engine_core::version::{VersioningBehavior, WorkerVersion};
use engine_proto::convert::{
    ConvertError, activity_timeouts_from_proto, close_status_from_proto, failure_from_proto, optional_run_id,
    payload_from_proto, required, required_id, retry_policy_from_proto, run_id as parse_run_id,
    search_attributes_from_proto, timestamp_from_proto, versioning_behavior_from_proto, worker_version_from_proto,
    workflow_started_from_proto, workflow_task_failure_cause_from_proto,
};
use engine_proto::v1;

use super::RunVersioning;

/// What lists show of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunSummary {
    /// The user's key.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// The code that it runs.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks go.
    pub task_queue: TaskQueueName,
    /// How it ended; `None` if it is open.
    pub status: Option<CloseStatus>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it closed; `None` if it is open.
    pub closed_at: Option<Timestamp>,
    /// Number of events. In lists zero while the run is open.
    pub history_length: u64,
    /// By what else it is listed: read it with [`SearchKey::get`](crate::search::SearchKey::get).
    pub search_attributes: SearchAttributes,
    /// Whether an operator has it paused.
    pub is_paused: bool,
    /// Why it is stuck: the kind of failure of its last workflow task, such as `Nondeterminism`. `None` once a task has succeeded. The
    /// task is tried again every minute or sooner; `describe` says what is wrong.
    pub task_failure: Option<String>,
    /// The version that it stays with, or that last moved it forward; `None`: its workers had none.
    pub version: Option<WorkerVersion>,
    /// How it follows versions, by an operator's word or its code's; `None`: it has met none.
    pub versioning_behavior: Option<VersioningBehavior>,
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// What lists show, with the current history length.
    pub summary: RunSummary,
    /// Size of the history, in bytes.
    pub history_size_bytes: u64,
    /// What it was started with.
    pub started: WorkflowStarted,
    /// The workflow task that waits for a worker or runs; `None` if the run has no news for its code.
    pub pending_workflow_task: Option<PendingWorkflowTask>,
    /// Open activities, in order of scheduling.
    pub pending_activities: Vec<PendingActivity>,
    /// Open timers, in order of firing.
    pub pending_timers: Vec<PendingTimer>,
    /// Children whose end is not recorded, in order of asking.
    pub pending_children: Vec<PendingChild>,
    /// Updates that are under way: accepted ones in order of acceptance, then those that wait for a worker.
    pub pending_updates: Vec<PendingUpdate>,
    /// Whether the run was asked to stop.
    pub cancel_requested: bool,
    /// Set while an operator has it paused. Its timers fire later by as long as that takes.
    pub paused: Option<Paused>,
    /// Events that wait for the running workflow task to end.
    pub buffered_events: u32,
    /// What the run has published, by name.
    pub published: Vec<Published>,
    /// Facts for people, by name.
    pub memo: BTreeMap<String, Payload>,
    /// What its code says that it is at; empty if it says nothing.
    pub current_details: String,
    /// How it follows the versions of its workers; `None`: it has met none.
    pub versioning: Option<RunVersioning>,
}

/// That a run is paused: see [`super::WorkflowHandle::pause`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Who paused it.
    pub identity: String,
}

/// What a run shows under one name: see [`crate::workflow::WorkflowContext::publish`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Published {
    /// The name.
    pub name: PublishedName,
    /// The event that recorded it.
    pub event_id: EventId,
    /// When it was published.
    pub at: Timestamp,
    /// The value.
    pub value: Payload,
}

/// Where a pending task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PendingState {
    /// It waits for a worker.
    Scheduled,
    /// A worker has it.
    Started,
    /// It failed and waits for its next attempt.
    BackingOff,
    /// The worker that runs it was asked to stop.
    CancelRequested,
    /// The server restarted; the worker that may have it has time to claim it.
    InDoubt,
}

/// A workflow task that waits for a worker or runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PendingWorkflowTask {
    /// Where it stands.
    pub state: PendingState,
    /// Where it waits.
    pub task_queue: TaskQueueName,
    /// When the run had news.
    pub scheduled_at: Option<Timestamp>,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// Which try, from 1.
    pub attempt: u32,
    /// Why the try before failed.
    pub last_failure: Option<Failure>,
    /// Why the try before failed, for programs.
    pub last_failure_cause: Option<WorkflowTaskFailureCause>,
    /// Who has it; empty: nobody.
    pub worker_identity: String,
    /// When it is offered again, if it backs off.
    pub next_attempt_at: Option<Timestamp>,
}

/// An open activity.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PendingActivity {
    /// Its id.
    pub activity_id: ActivityId,
    /// Its type.
    pub activity_type: ActivityType,
    /// Where it stands.
    pub state: PendingState,
    /// Its `ActivityScheduled` event.
    pub scheduled_event_id: EventId,
    /// Where it is offered.
    pub task_queue: TaskQueueName,
    /// Which try, from 1.
    pub attempt: u32,
    /// Most tries. Zero: no limit.
    pub maximum_attempts: u32,
    /// When it was scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// When a worker took the current try.
    pub started_at: Option<Timestamp>,
    /// When the next try is offered, if it backs off.
    pub next_attempt_at: Option<Timestamp>,
    /// The last heartbeat.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Its details.
    pub heartbeat_details: Option<Payload>,
    /// Why the try before failed.
    pub last_failure: Option<Failure>,
    /// Who has it; empty: nobody.
    pub worker_identity: String,
    /// Set while an operator has it paused.
    pub paused: Option<Paused>,
    /// Its timeouts, as they are now.
    pub timeouts: ActivityTimeouts,
    /// Its retry policy, as it is now.
    pub retry_policy: RetryPolicy,
    /// One line about it, for people; may be empty.
    pub summary: String,
}

/// A child whose end is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingChild {
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// Its type.
    pub workflow_type: WorkflowType,
    /// Its `StartChildInitiated` event.
    pub initiated_event_id: EventId,
    /// A run of its chain; `None` before it started.
    pub run_id: Option<RunId>,
    /// What becomes of it when this run closes first.
    pub parent_close_policy: ParentClosePolicy,
}

/// An update that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingUpdate {
    /// The sender's key.
    pub update_id: UpdateId,
    /// Which handler it is for.
    pub name: UpdateName,
    /// Its `WorkflowUpdateAccepted` event; none while it waits for a worker, in the server's memory only.
    pub accepted_event_id: EventId,
    /// When it was accepted, or came.
    pub since: Option<Timestamp>,
}

impl PendingUpdate {
    /// Whether the code has accepted it, which is durable.
    pub fn is_accepted(&self) -> bool {
        self.accepted_event_id.is_some()
    }
}

/// An open timer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PendingTimer {
    /// Its id.
    pub timer_id: TimerId,
    /// Its `TimerStarted` event.
    pub started_event_id: EventId,
    /// When it fires.
    pub fire_at: Option<Timestamp>,
    /// One line about it, for people; may be empty.
    pub summary: String,
}

impl TryFrom<v1::WorkflowSummary> for RunSummary {
    type Error = ConvertError;

    fn try_from(message: v1::WorkflowSummary) -> Result<Self, ConvertError> {
        Ok(RunSummary {
            workflow_id: required_id("workflow_id", &message.workflow_id, WorkflowId::parse)?,
            run_id: parse_run_id("run_id", &message.run_id)?,
            workflow_type: required_id("workflow_type", &message.workflow_type, WorkflowType::parse)?,
            task_queue: required_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
            status: close_status_from_proto("status", message.status)?,
            started_at: timestamp_from_proto("start_time", required("start_time", message.start_time)?)?,
            closed_at: instant("close_time", message.close_time)?,
            history_length: message.history_length,
            search_attributes: search_attributes_from_proto(message.search_attributes)?,
            is_paused: message.paused,
            task_failure: Some(message.task_failure).filter(|failure| !failure.is_empty()),
            version: message.version.as_ref().map(worker_version_from_proto).transpose()?,
            versioning_behavior: versioning_behavior_from_proto(message.versioning_behavior),
        })
    }
}

impl TryFrom<v1::DescribeWorkflowResponse> for Description {
    type Error = ConvertError;

    fn try_from(message: v1::DescribeWorkflowResponse) -> Result<Self, ConvertError> {
        Ok(Description {
            summary: required("summary", message.summary)?.try_into()?,
            history_size_bytes: message.history_size_bytes,
            started: workflow_started_from_proto(required("started", message.started)?)?,
            pending_workflow_task: message.pending_workflow_task.map(TryInto::try_into).transpose()?,
            pending_activities: message
                .pending_activities
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            pending_children: message.pending_children.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            pending_timers: message.pending_timers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            pending_updates: message.pending_updates.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            cancel_requested: message.cancel_requested,
            paused: message.paused.map(TryInto::try_into).transpose()?,
            buffered_events: message.buffered_events,
            published: message.published.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            memo: message.memo.into_iter().map(|(key, value)| (key, payload_from_proto(value))).collect(),
            current_details: message.current_details,
            versioning: message.versioning.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<v1::Paused> for Paused {
    type Error = ConvertError;

    fn try_from(message: v1::Paused) -> Result<Self, ConvertError> {
        let since = timestamp_from_proto("paused.since", required("paused.since", message.since)?)?;
        Ok(Paused { since, reason: message.reason, identity: message.identity })
    }
}

impl TryFrom<v1::PendingWorkflowTask> for PendingWorkflowTask {
    type Error = ConvertError;

    fn try_from(message: v1::PendingWorkflowTask) -> Result<Self, ConvertError> {
        let cause = message.last_failure_cause;
        Ok(PendingWorkflowTask {
            state: state("pending_workflow_task.state", message.state)?,
            task_queue: required_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
            scheduled_at: instant("scheduled_time", message.scheduled_time)?,
            started_at: instant("started_time", message.started_time)?,
            attempt: message.attempt,
            last_failure: message.last_failure.map(failure_from_proto).transpose()?,
            // Zero stands for none here.
            last_failure_cause: (cause != 0)
                .then(|| workflow_task_failure_cause_from_proto("last_failure_cause", cause))
                .transpose()?,
            worker_identity: message.worker_identity,
            next_attempt_at: instant("next_attempt_time", message.next_attempt_time)?,
        })
    }
}

impl TryFrom<v1::PendingActivity> for PendingActivity {
    type Error = ConvertError;

    fn try_from(message: v1::PendingActivity) -> Result<Self, ConvertError> {
        Ok(PendingActivity {
            activity_id: required_id("activity_id", &message.activity_id, ActivityId::parse)?,
            activity_type: required_id("activity_type", &message.activity_type, ActivityType::parse)?,
            state: state("pending_activities.state", message.state)?,
            scheduled_event_id: EventId(message.scheduled_event_id),
            task_queue: required_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
            attempt: message.attempt,
            maximum_attempts: message.maximum_attempts,
            scheduled_at: instant("scheduled_time", message.scheduled_time)?,
            started_at: instant("started_time", message.started_time)?,
            next_attempt_at: instant("next_attempt_time", message.next_attempt_time)?,
            last_heartbeat_at: instant("last_heartbeat_time", message.last_heartbeat_time)?,
            heartbeat_details: message.heartbeat_details.map(payload_from_proto),
            last_failure: message.last_failure.map(failure_from_proto).transpose()?,
            worker_identity: message.worker_identity,
            paused: message.paused.map(TryInto::try_into).transpose()?,
            timeouts: message.timeouts.map(activity_timeouts_from_proto).transpose()?.unwrap_or_default(),
            retry_policy: message.retry_policy.map(retry_policy_from_proto).transpose()?.unwrap_or_default(),
            summary: message.summary,
        })
    }
}

impl TryFrom<v1::PendingChild> for PendingChild {
    type Error = ConvertError;

    fn try_from(message: v1::PendingChild) -> Result<Self, ConvertError> {
        let parent_close_policy = message.parent_close_policy();
        Ok(PendingChild {
            workflow_id: required_id("workflow_id", &message.workflow_id, WorkflowId::parse)?,
            workflow_type: required_id("workflow_type", &message.workflow_type, WorkflowType::parse)?,
            initiated_event_id: EventId(message.initiated_event_id),
            run_id: optional_run_id("run_id", &message.run_id)?,
            parent_close_policy: match parent_close_policy {
                v1::ParentClosePolicy::Unspecified | v1::ParentClosePolicy::Terminate => ParentClosePolicy::Terminate,
                v1::ParentClosePolicy::RequestCancel => ParentClosePolicy::RequestCancel,
                v1::ParentClosePolicy::Abandon => ParentClosePolicy::Abandon,
            },
        })
    }
}

impl TryFrom<v1::PendingUpdate> for PendingUpdate {
    type Error = ConvertError;

    fn try_from(message: v1::PendingUpdate) -> Result<Self, ConvertError> {
        Ok(PendingUpdate {
            update_id: required_id("update_id", &message.update_id, UpdateId::parse)?,
            name: required_id("update_name", &message.update_name, UpdateName::parse)?,
            accepted_event_id: EventId(message.accepted_event_id),
            since: instant("since", message.since)?,
        })
    }
}

impl TryFrom<v1::PendingTimer> for PendingTimer {
    type Error = ConvertError;

    fn try_from(message: v1::PendingTimer) -> Result<Self, ConvertError> {
        Ok(PendingTimer {
            timer_id: required_id("timer_id", &message.timer_id, TimerId::parse)?,
            started_event_id: EventId(message.started_event_id),
            fire_at: instant("fire_time", message.fire_time)?,
            summary: message.summary,
        })
    }
}

impl TryFrom<v1::PublishedValue> for Published {
    type Error = ConvertError;

    fn try_from(message: v1::PublishedValue) -> Result<Self, ConvertError> {
        Ok(Published {
            name: required_id("name", &message.name, PublishedName::parse)?,
            event_id: EventId(message.event_id),
            at: timestamp_from_proto("time", required("time", message.time)?)?,
            value: payload_from_proto(required("value", message.value)?),
        })
    }
}

fn instant(field: &str, message: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, ConvertError> {
    message.map(|message| timestamp_from_proto(field, message)).transpose()
}

fn state(field: &str, number: i32) -> Result<PendingState, ConvertError> {
    match v1::PendingTaskState::try_from(number) {
        Ok(v1::PendingTaskState::Scheduled) => Ok(PendingState::Scheduled),
        Ok(v1::PendingTaskState::Started) => Ok(PendingState::Started),
        Ok(v1::PendingTaskState::BackingOff) => Ok(PendingState::BackingOff),
        Ok(v1::PendingTaskState::CancelRequested) => Ok(PendingState::CancelRequested),
        Ok(v1::PendingTaskState::InDoubt) => Ok(PendingState::InDoubt),
        Ok(v1::PendingTaskState::Unspecified) | Err(_) => {
            Err(ConvertError::new(field, format_args!("has the unknown value {number}")))
        }
    }
}
