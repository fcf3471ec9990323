//! What a history is made of: facts, in the past tense, numbered from 1.
//!
//! The vocabulary and the references between events are the field's (see `GLOSSARY.md`): an event that ends something
//! names the event that began it, and a command's event names the workflow task that issued it.
//!
//! Invariants of a history (checked by `Execution::replay`):
//! - ids are contiguous from 1, and the first event is `WorkflowStarted`;
//! - a workflow task appears as `Scheduled, Started` and then `Completed`, `Failed` or `TimedOut`, adjacent;
//! - an activity appears as `Scheduled` and at most one closing event, which follows its `Started` if it started;
//! - at most one close event, and nothing after it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cron::Cron;
use crate::failure::{Failure, RetryState, TimeoutKind};
use crate::ids::{
    ActivityId, ActivityType, EventId, Namespace, PublishedName, RequestId, RunId, SignalName, TaskQueueName, TimerId,
    UpdateId, UpdateName, WorkflowId, WorkflowType,
};
use crate::payload::Payload;
use crate::retry::RetryPolicy;
use crate::search::{SearchAttributeChanges, SearchAttributes};
use crate::time::Timestamp;

pub use crate::marker::{Marker, MarkerRecorded, StepMarker, StepOutcome};
pub use crate::version::{
    StartVersioning, TaskVersioning, VersioningBehavior, VersioningOverride, WorkerVersion, WorkflowOptionsUpdated,
};

pub use crate::peer::{
    CancelPeer, ChildOutcome, Parent, ParentClosePolicy, PeerEvent, PeerFailureCause, PeerTarget, SignalPeer,
    StartChild,
};

/// One fact of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number; [`EventId::NONE`] while it is buffered.
    pub id: EventId,
    /// When it happened, by the server's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is documented by its attributes type")]
pub enum EventKind {
    WorkflowStarted(Box<WorkflowStarted>),
    WorkflowCompleted(WorkflowCompleted),
    WorkflowFailed(WorkflowFailed),
    WorkflowTimedOut(WorkflowTimedOut),
    WorkflowCanceled(WorkflowCanceled),
    WorkflowTerminated(WorkflowTerminated),
    WorkflowContinuedAsNew(WorkflowContinuedAsNew),
    WorkflowCancelRequested(WorkflowCancelRequested),
    WorkflowSignaled(WorkflowSignaled),
    WorkflowTaskScheduled(WorkflowTaskScheduled),
    WorkflowTaskStarted(WorkflowTaskStarted),
    WorkflowTaskCompleted(WorkflowTaskCompleted),
    WorkflowTaskFailed(WorkflowTaskFailed),
    WorkflowTaskTimedOut(WorkflowTaskTimedOut),
    ActivityScheduled(Box<ActivityScheduled>),
    ActivityStarted(ActivityStarted),
    ActivityCompleted(ActivityCompleted),
    ActivityFailed(ActivityFailed),
    ActivityTimedOut(ActivityTimedOut),
    ActivityCancelRequested(ActivityCancelRequested),
    ActivityCanceled(ActivityCanceled),
    TimerStarted(TimerStarted),
    TimerFired(TimerFired),
    TimerCanceled(TimerCanceled),
    StatePublished(StatePublished),
    MarkerRecorded(Box<MarkerRecorded>),
    SearchAttributesUpserted(SearchAttributesUpserted),
    PropertiesModified(PropertiesModified),
    WorkflowUpdateAccepted(Box<WorkflowUpdateAccepted>),
    WorkflowUpdateCompleted(WorkflowUpdateCompleted),
    WorkflowPaused(PauseChange),
    WorkflowResumed(PauseChange),
    WorkflowRepaired(WorkflowRepaired),
    WorkflowUpdateAdmitted(Box<UpdateRequest>),
    WorkflowOptionsUpdated(Box<WorkflowOptionsUpdated>),
    Peer(Box<PeerEvent>),
}

/// A run began. Holds all that is needed to begin it again.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowStarted {
    /// Namespace of the run.
    pub namespace: Namespace,
    /// The user's key.
    pub workflow_id: WorkflowId,
    /// This run.
    pub run_id: RunId,
    /// The code that it runs.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks go, and its activities unless they say otherwise.
    pub task_queue: TaskQueueName,
    /// Arguments.
    pub input: Vec<Payload>,
    /// How long the whole chain of runs may take. `None`: no limit.
    pub execution_timeout: Option<Duration>,
    /// How long this run may take. `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// How long one workflow task may take.
    pub task_timeout: Duration,
    /// When the whole chain must be over, if it must; carried from the first run.
    pub execution_deadline: Option<Timestamp>,
    /// Whether and how a failed run is followed by another.
    pub retry_policy: Option<RetryPolicy>,
    /// Which try of the chain this run is, from 1.
    pub attempt: u32,
    /// The run that this one continues, as its next try or because its code asked for it.
    pub continued_from: Option<RunId>,
    /// The first run of the chain.
    pub first_run_id: RunId,
    /// The failure of the run before, if it failed or timed out and this is its retry or the next run of its cron.
    pub continued_failure: Option<Failure>,
    /// What the last run of the chain that completed returned, if a cron or a schedule made this run.
    pub last_result: Option<Payload>,
    /// At which times the runs of the chain begin, if a cron makes them.
    pub cron: Option<Box<Cron>>,
    /// The first workflow task waits this long: the start's delay, the back-off of a retry, or until the next time of the cron.
    pub first_task_backoff: Duration,
    /// Makes the start safe to repeat.
    pub request_id: Option<RequestId>,
    /// Who started it, for people.
    pub identity: String,
    /// Facts for people, not indexed.
    pub memo: Vec<(String, Payload)>,
    /// What it is listed by.
    pub search_attributes: SearchAttributes,
    /// One line about it, for people. Empty: none.
    pub summary: String,
    /// More about it, for people. Empty: none.
    pub details: String,
    /// Request ids of the last signals of the run that this one continues: a signal that is repeated to this run counts once.
    pub seen_request_ids: Vec<RequestId>,
    /// Who started it as its child, if another workflow did.
    pub parent: Option<Box<Parent>>,
    /// Where its history comes from, if it began by a reset.
    pub reset: Option<Box<ResetOrigin>>,
    /// Set if the run is a standalone activity: one activity and no workflow code.
    pub activity: Option<Box<StandaloneActivity>>,
    /// What it begins with of versions, if there is anything.
    pub versioning: Option<Box<StartVersioning>>,
}

/// What the run of a standalone activity is, beyond what every run has: its workflow id is the activity's id, its workflow type the
/// activity's type, and its first task's back-off the delay before the first attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct StandaloneActivity {
    /// The four timeouts.
    pub timeouts: ActivityTimeouts,
    /// How attempts follow each other.
    pub retry_policy: RetryPolicy,
}

impl WorkflowStarted {
    /// The run from whose id the random values of the code are made: the first of those that were reset one after the other, so that
    /// what is replayed of it gives the same values.
    pub fn original_run_id(&self) -> RunId {
        self.reset.as_ref().map_or(self.run_id, |reset| reset.original_run_id)
    }

    /// The run that wrote the event first: another one if it lies in the part of the history that this run shares with those that it
    /// was reset from.
    pub fn writer(&self, event_id: EventId) -> RunId {
        let forks = self.reset.as_ref().map(|reset| reset.forks.as_slice()).unwrap_or_default();
        forks.iter().find(|fork| event_id < fork.until).map_or(self.run_id, |fork| fork.run_id)
    }
}

/// Where the history of a run comes from that began by a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetOrigin {
    /// The run that was reset.
    pub base_run_id: RunId,
    /// The first of the runs that were reset one after the other.
    pub original_run_id: RunId,
    /// The first event that the two do not share.
    pub forked_at: EventId,
    /// Which run initiated what lies in the shared part, in order.
    pub forks: Vec<Fork>,
    /// Why, for people.
    pub reason: String,
    /// Who did it, for people.
    pub identity: String,
}

/// A part of a history that comes from another run: what lies behind the fork before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The run.
    pub run_id: RunId,
    /// The first event that does not come from it.
    pub until: EventId,
}

/// The run that goes on from an earlier point of one that is closed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetTo {
    /// The run.
    pub run_id: RunId,
    /// The first event that the two do not share.
    pub forked_at: EventId,
}

/// The run begins again before the end of an activity that had failed, which is offered anew, or ended with another result: that
/// follows. Only in a history that began by a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRepaired {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Whether it was given another result.
    pub has_result: bool,
    /// Why, for people.
    pub reason: String,
    /// Who did it, for people.
    pub identity: String,
}

/// The code returned a value. A close event.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowCompleted {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// What it returned.
    pub result: Option<Payload>,
    /// The next run of its cron, if it has one.
    pub new_run_id: Option<RunId>,
}

/// The code returned an error. A close event.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowFailed {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// The error.
    pub failure: Failure,
    /// Why no other run follows, or [`RetryState::InProgress`] if one does.
    pub retry_state: RetryState,
    /// The run that follows, if one does.
    pub new_run_id: Option<RunId>,
}

/// The run or its chain took too long. A close event.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTimedOut {
    /// Why no other run follows, or [`RetryState::InProgress`] if one does.
    pub retry_state: RetryState,
    /// The run that follows, if one does.
    pub new_run_id: Option<RunId>,
    /// Of a standalone activity: which of its deadlines passed, the last attempt's failure as its cause.
    pub failure: Option<Failure>,
}

/// The code accepted a request to cancel. A close event.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowCanceled {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// A value that the code attached.
    pub details: Option<Payload>,
}

/// The run was stopped unasked. A close event.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTerminated {
    /// Why, for people.
    pub reason: String,
    /// A value attached by who did it.
    pub details: Option<Payload>,
    /// Who did it, for people.
    pub identity: String,
    /// The run that goes on in its place, if it was reset.
    pub reset_to: Option<ResetTo>,
}

/// The code asked to go on in a new run with an empty history, which began in the same transaction. A close event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowContinuedAsNew {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// The run that follows. What it runs, and with which arguments, is in its own first event.
    pub new_run_id: RunId,
}

/// The run was asked to stop; its code decides what to do. At most one per run.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowCancelRequested {
    /// Why, for people.
    pub reason: String,
    /// Who asked, for people.
    pub identity: String,
    /// Makes the request safe to repeat.
    pub request_id: Option<RequestId>,
}

/// The run was paused, or resumed: while it is paused nothing of it is handed out, and its time stands still. The event's time is when
/// that began or ended, even if the event was buffered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseChange {
    /// Why, for people.
    pub reason: String,
    /// Who did it, for people.
    pub identity: String,
    /// Makes the request safe to repeat.
    pub request_id: Option<RequestId>,
}

/// A message arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowSignaled {
    /// Which kind of message.
    pub name: SignalName,
    /// Its content.
    pub input: Vec<Payload>,
    /// Who sent it, for people.
    pub identity: String,
    /// Makes the signal safe to repeat.
    pub request_id: Option<RequestId>,
}

/// The run had news for its code. Written together with the task's end, never alone.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTaskScheduled {
    /// Where it was offered.
    pub task_queue: TaskQueueName,
    /// How long a worker has.
    pub start_to_close: Duration,
    /// Which try, from 1.
    pub attempt: u32,
}

/// A worker took the task. Its time is the clock of the workflow code. Written together with the task's end.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTaskStarted {
    /// The task.
    pub scheduled_event_id: EventId,
    /// Who took it, for people.
    pub identity: String,
    /// Size of the history so far.
    pub history_size_bytes: u64,
    /// Whether the code should continue as new, and why.
    pub suggest_continue_as_new: ContinueAsNewReasons,
}

/// Why the code should continue as new. Recorded, so that code may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContinueAsNewReasons {
    /// The history has many events ([`crate::limits::HISTORY_EVENTS_SUGGEST`]).
    pub history_events: bool,
    /// The history is large ([`crate::limits::HISTORY_BYTES_SUGGEST`]).
    pub history_bytes: bool,
    /// The run has accepted many updates ([`crate::limits::UPDATES_SUGGEST`]).
    pub updates: bool,
}

impl ContinueAsNewReasons {
    /// Whether there is any reason.
    pub fn any(self) -> bool {
        self.history_events || self.history_bytes || self.updates
    }
}

/// The code moved forward; the events of its commands follow.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTaskCompleted {
    /// The task.
    pub scheduled_event_id: EventId,
    /// Its start.
    pub started_event_id: EventId,
    /// Who completed it, for people.
    pub identity: String,
    /// What ran the code.
    pub worker: WorkerMetadata,
    /// Whether the code was still at work (a step ran), so that a task follows without news.
    pub force_new_task: bool,
}

/// What ran the code at one workflow task. Read back at replay: an SDK that changes its behaviour sets a flag here, and
/// old histories, which lack the flag, keep the old behaviour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerMetadata {
    /// Name of the SDK.
    pub sdk_name: String,
    /// Version of the SDK.
    pub sdk_version: String,
    /// Build of the user's program.
    pub build_id: String,
    /// Behaviour flags that this task relied on for the first time in the run.
    pub flags: Vec<u32>,
    /// Its version, beside the build. `None`: it has none.
    pub versioning: Option<Box<TaskVersioning>>,
}

/// The code could not be moved forward; the task is tried again. Written for the first failure only.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTaskFailed {
    /// The task.
    pub scheduled_event_id: EventId,
    /// Its start.
    pub started_event_id: EventId,
    /// Why, for programs.
    pub cause: WorkflowTaskFailureCause,
    /// Why, for people.
    pub failure: Failure,
    /// Who said so, for people.
    pub identity: String,
}

/// Why a workflow task failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkflowTaskFailureCause {
    /// The worker reported an error that has no cause of its own here.
    WorkerFailure,
    /// The workflow code panicked.
    Panic,
    /// The code and the history differ.
    Nondeterminism,
    /// The worker has no code of this workflow type.
    UnknownWorkflowType,
    /// The code awaited something that is not the workflow's own.
    ForeignAwait,
    /// A command was invalid.
    BadCommand,
    /// The code closed the run while news had arrived that it had not seen.
    UnhandledCommand,
    /// The run was closed while the task was running.
    ForceClosed,
    /// The run begins again before this task.
    Reset,
}

impl WorkflowTaskFailureCause {
    /// Its name in lists and filters. Never changes: it is stored.
    pub fn name(self) -> &'static str {
        match self {
            WorkflowTaskFailureCause::WorkerFailure => "WorkerFailure",
            WorkflowTaskFailureCause::Panic => "Panic",
            WorkflowTaskFailureCause::Nondeterminism => "Nondeterminism",
            WorkflowTaskFailureCause::UnknownWorkflowType => "UnknownWorkflowType",
            WorkflowTaskFailureCause::ForeignAwait => "ForeignAwait",
            WorkflowTaskFailureCause::BadCommand => "BadCommand",
            WorkflowTaskFailureCause::UnhandledCommand => "UnhandledCommand",
            WorkflowTaskFailureCause::ForceClosed => "ForceClosed",
            WorkflowTaskFailureCause::Reset => "Reset",
        }
    }
}

/// The worker did not finish the task in time; it is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTaskTimedOut {
    /// The task.
    pub scheduled_event_id: EventId,
    /// Its start.
    pub started_event_id: EventId,
    /// Which deadline passed.
    pub timeout: TimeoutKind,
}

/// The code asked for an activity. Holds all that is needed to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityScheduled {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// Its id, unique among the run's open activities.
    pub activity_id: ActivityId,
    /// The code that it runs.
    pub activity_type: ActivityType,
    /// Where it is offered.
    pub task_queue: TaskQueueName,
    /// Arguments.
    pub input: Vec<Payload>,
    /// The four timeouts, filled in.
    pub timeouts: ActivityTimeouts,
    /// How attempts follow each other.
    pub retry_policy: RetryPolicy,
    /// What it is for, for people. Empty: the code did not say.
    pub summary: String,
}

/// The deadlines of an activity. `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActivityTimeouts {
    /// From scheduling to the end of the last attempt.
    pub schedule_to_close: Option<Duration>,
    /// From scheduling of an attempt to a worker's start.
    pub schedule_to_start: Option<Duration>,
    /// From a worker's start to the end of that attempt.
    pub start_to_close: Option<Duration>,
    /// From one heartbeat to the next.
    pub heartbeat: Option<Duration>,
}

/// The last attempt began. Written together with the activity's end, with the number of that attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityStarted {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Which try, from 1.
    pub attempt: u32,
    /// Who ran it, for people.
    pub identity: String,
    /// Why the attempt before failed, if there was one.
    pub last_failure: Option<Failure>,
}

/// The activity returned a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCompleted {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Its start.
    pub started_event_id: EventId,
    /// What it returned.
    pub result: Option<Payload>,
    /// Who completed it, for people.
    pub identity: String,
}

/// The activity returned an error and is not tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityFailed {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Its start.
    pub started_event_id: EventId,
    /// The last attempt's error.
    pub failure: Failure,
    /// Why it is not tried again.
    pub retry_state: RetryState,
    /// Who reported it, for people.
    pub identity: String,
}

/// A deadline of the activity passed and it is not tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityTimedOut {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Its start, if it had started.
    pub started_event_id: EventId,
    /// Which deadline, the last attempt's failure as its cause.
    pub failure: Failure,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

/// The code asked for the activity to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCancelRequested {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// The activity.
    pub scheduled_event_id: EventId,
}

/// The activity stopped as asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCanceled {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Its start, if it had started.
    pub started_event_id: EventId,
    /// The request.
    pub cancel_requested_event_id: EventId,
    /// A value that the activity attached.
    pub details: Option<Payload>,
    /// Who reported it, for people.
    pub identity: String,
}

/// The code asked to be woken. The timer fires this event's time plus `duration`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerStarted {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// Its id, unique among the run's open timers.
    pub timer_id: TimerId,
    /// How long.
    pub duration: Duration,
    /// What it is for, for people. Empty: the code did not say.
    pub summary: String,
}

/// The time had come. Never early by the server's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerFired {
    /// The timer's id.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: EventId,
}

/// The code no longer wants to be woken.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerCanceled {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// The timer's id.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: EventId,
}

/// The code published a value, in place of the one that the name had before.
#[derive(Debug, Clone, PartialEq)]
pub struct StatePublished {
    /// The workflow task that said so.
    pub workflow_task_completed_event_id: EventId,
    /// Under which name.
    pub name: PublishedName,
    /// The value.
    pub value: Payload,
}

/// The code changed the run's search attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAttributesUpserted {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// New values; those that are not named stay as they are.
    pub changes: SearchAttributeChanges,
}

/// The code changed what people are shown of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertiesModified {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// What changes.
    pub changes: PropertyChanges,
}

/// A change of what people are shown of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PropertyChanges {
    /// New entries of the memo, `None` where one is taken away; those that are not named stay as they are.
    pub memo: BTreeMap<String, Option<Payload>>,
    /// What the run is at, if that changes.
    pub current_details: Option<String>,
}

/// The code took an update on: from here on it is durable, and its outcome will be. Holds the whole request.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowUpdateAccepted {
    /// The workflow task that took it on.
    pub workflow_task_completed_event_id: EventId,
    /// The request as it was sent.
    pub update: UpdateRequest,
}

/// An update that somebody sent. As an event (`WorkflowUpdateAdmitted`): a run that goes on from a point before which the update was not
/// accepted yet has it from the run that was reset, and its code is asked again. Its id is the sender's key: within a run a repeat with the same id is the same update.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateRequest {
    /// Unique within the run.
    pub id: UpdateId,
    /// Which handler.
    pub name: UpdateName,
    /// Arguments.
    pub input: Vec<Payload>,
    /// Who sent it, for people.
    pub identity: String,
}

impl UpdateRequest {
    /// Size of its arguments in bytes.
    pub fn size(&self) -> usize {
        crate::payload::total_size(&self.input)
    }
}

/// The code's answer to an update that it had accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowUpdateCompleted {
    /// The workflow task that answered.
    pub workflow_task_completed_event_id: EventId,
    /// The update.
    pub update_id: UpdateId,
    /// Its acceptance.
    pub accepted_event_id: EventId,
    /// The answer.
    pub outcome: UpdateOutcome,
}

/// How an accepted update ended.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateOutcome {
    /// Its handler returned a value.
    Completed {
        /// What it returned.
        result: Option<Payload>,
    },
    /// Its handler returned an error, or the run closed before it returned.
    Failed {
        /// The error.
        failure: Failure,
    },
}

impl EventKind {
    /// The event's name, as histories show it.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::WorkflowStarted(_) => "WorkflowStarted",
            EventKind::WorkflowCompleted(_) => "WorkflowCompleted",
            EventKind::WorkflowFailed(_) => "WorkflowFailed",
            EventKind::WorkflowTimedOut(_) => "WorkflowTimedOut",
            EventKind::WorkflowCanceled(_) => "WorkflowCanceled",
            EventKind::WorkflowTerminated(_) => "WorkflowTerminated",
            EventKind::WorkflowContinuedAsNew(_) => "WorkflowContinuedAsNew",
            EventKind::Peer(event) => event.name(),
            EventKind::WorkflowCancelRequested(_) => "WorkflowCancelRequested",
            EventKind::WorkflowSignaled(_) => "WorkflowSignaled",
            EventKind::WorkflowTaskScheduled(_) => "WorkflowTaskScheduled",
            EventKind::WorkflowTaskStarted(_) => "WorkflowTaskStarted",
            EventKind::WorkflowTaskCompleted(_) => "WorkflowTaskCompleted",
            EventKind::WorkflowTaskFailed(_) => "WorkflowTaskFailed",
            EventKind::WorkflowTaskTimedOut(_) => "WorkflowTaskTimedOut",
            EventKind::ActivityScheduled(_) => "ActivityScheduled",
            EventKind::ActivityStarted(_) => "ActivityStarted",
            EventKind::ActivityCompleted(_) => "ActivityCompleted",
            EventKind::ActivityFailed(_) => "ActivityFailed",
            EventKind::ActivityTimedOut(_) => "ActivityTimedOut",
            EventKind::ActivityCancelRequested(_) => "ActivityCancelRequested",
            EventKind::ActivityCanceled(_) => "ActivityCanceled",
            EventKind::TimerStarted(_) => "TimerStarted",
            EventKind::TimerFired(_) => "TimerFired",
            EventKind::TimerCanceled(_) => "TimerCanceled",
            EventKind::StatePublished(_) => "StatePublished",
            EventKind::MarkerRecorded(_) => "MarkerRecorded",
            EventKind::SearchAttributesUpserted(_) => "SearchAttributesUpserted",
            EventKind::PropertiesModified(_) => "PropertiesModified",
            EventKind::WorkflowUpdateAccepted(_) => "WorkflowUpdateAccepted",
            EventKind::WorkflowUpdateCompleted(_) => "WorkflowUpdateCompleted",
            EventKind::WorkflowPaused(_) => "WorkflowPaused",
            EventKind::WorkflowResumed(_) => "WorkflowResumed",
            EventKind::WorkflowRepaired(_) => "WorkflowRepaired",
            EventKind::WorkflowOptionsUpdated(_) => "WorkflowOptionsUpdated",
            EventKind::WorkflowUpdateAdmitted(_) => "WorkflowUpdateAdmitted",
        }
    }

    /// Whether the event is news for the workflow code: something that it did not cause by itself a moment ago, so that a
    /// workflow task is needed.
    pub fn is_news(&self) -> bool {
        match self {
            EventKind::Peer(event) => event.is_news(),
            EventKind::WorkflowStarted(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityCompleted(_)
            | EventKind::ActivityFailed(_)
            | EventKind::ActivityTimedOut(_)
            | EventKind::ActivityCanceled(_)
            | EventKind::TimerFired(_)
            | EventKind::WorkflowUpdateAdmitted(_) => true,
            // The code is still at work and needs another task.
            EventKind::WorkflowTaskCompleted(end) => end.force_new_task,
            EventKind::WorkflowCompleted(_)
            | EventKind::WorkflowFailed(_)
            | EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowCanceled(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowContinuedAsNew(_)
            | EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::ActivityScheduled(_)
            | EventKind::ActivityStarted(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerCanceled(_)
            | EventKind::StatePublished(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::SearchAttributesUpserted(_)
            | EventKind::PropertiesModified(_)
            | EventKind::WorkflowUpdateAccepted(_)
            | EventKind::WorkflowUpdateCompleted(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowRepaired(_) => false,
        }
    }

    /// The activity that this event ends (its scheduled event) and its start, if it ends one.
    pub fn activity_end(&self) -> Option<(EventId, EventId)> {
        match self {
            EventKind::ActivityCompleted(end) => Some((end.scheduled_event_id, end.started_event_id)),
            EventKind::ActivityFailed(end) => Some((end.scheduled_event_id, end.started_event_id)),
            EventKind::ActivityTimedOut(end) => Some((end.scheduled_event_id, end.started_event_id)),
            EventKind::ActivityCanceled(end) => Some((end.scheduled_event_id, end.started_event_id)),
            EventKind::WorkflowStarted(_)
            | EventKind::WorkflowCompleted(_)
            | EventKind::WorkflowFailed(_)
            | EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowCanceled(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowContinuedAsNew(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityScheduled(_)
            | EventKind::ActivityStarted(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerFired(_)
            | EventKind::TimerCanceled(_)
            | EventKind::StatePublished(_)
            | EventKind::Peer(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::SearchAttributesUpserted(_)
            | EventKind::PropertiesModified(_)
            | EventKind::WorkflowUpdateAccepted(_)
            | EventKind::WorkflowUpdateCompleted(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowRepaired(_)
            | EventKind::WorkflowUpdateAdmitted(_) => None,
        }
    }

    /// The status in which this event leaves the run, if it closes it.
    pub fn close_status(&self) -> Option<CloseStatus> {
        match self {
            EventKind::WorkflowCompleted(_) => Some(CloseStatus::Completed),
            EventKind::WorkflowFailed(_) => Some(CloseStatus::Failed),
            EventKind::WorkflowTimedOut(_) => Some(CloseStatus::TimedOut),
            EventKind::WorkflowCanceled(_) => Some(CloseStatus::Canceled),
            EventKind::WorkflowTerminated(_) => Some(CloseStatus::Terminated),
            EventKind::WorkflowContinuedAsNew(_) => Some(CloseStatus::ContinuedAsNew),
            EventKind::WorkflowStarted(_)
            | EventKind::WorkflowCancelRequested(_)
            | EventKind::WorkflowSignaled(_)
            | EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityScheduled(_)
            | EventKind::ActivityStarted(_)
            | EventKind::ActivityCompleted(_)
            | EventKind::ActivityFailed(_)
            | EventKind::ActivityTimedOut(_)
            | EventKind::ActivityCancelRequested(_)
            | EventKind::ActivityCanceled(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerFired(_)
            | EventKind::TimerCanceled(_)
            | EventKind::StatePublished(_)
            | EventKind::Peer(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::SearchAttributesUpserted(_)
            | EventKind::PropertiesModified(_)
            | EventKind::WorkflowUpdateAccepted(_)
            | EventKind::WorkflowUpdateCompleted(_)
            | EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowRepaired(_)
            | EventKind::WorkflowUpdateAdmitted(_) => None,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseStatus {
    /// It returned a value.
    Completed,
    /// It returned an error.
    Failed,
    /// It accepted a request to cancel.
    Canceled,
    /// It was stopped unasked.
    Terminated,
    /// It took too long.
    TimedOut,
    /// Its code went on in a new run.
    ContinuedAsNew,
}
