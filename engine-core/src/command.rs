//! What workflow code asks for, in the imperative. A completed workflow task carries them in order; each becomes one
//! event, in that order.

use std::time::Duration;

use crate::event::{ActivityTimeouts, PropertyChanges, UpdateOutcome, UpdateRequest};
use crate::failure::Failure;
use crate::ids::{ActivityId, ActivityType, PublishedName, SignalName, TaskQueueName, TimerId, UpdateId, WorkflowType};
use crate::marker::Marker;
use crate::payload::Payload;
use crate::peer::PeerCommand;
use crate::retry::RetryPolicy;
use crate::search::SearchAttributeChanges;

/// One request of the workflow code.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Run an activity: becomes `ActivityScheduled`.
    ScheduleActivity(Box<ScheduleActivity>),
    /// Ask an activity to stop: becomes `ActivityCancelRequested`.
    RequestCancelActivity {
        /// The activity.
        activity_id: ActivityId,
    },
    /// Wake me later: becomes `TimerStarted`.
    StartTimer {
        /// Unique among the run's open timers.
        timer_id: TimerId,
        /// How long from the task's completion.
        duration: Duration,
        /// What it is for, for people. May be empty.
        summary: String,
    },
    /// Do not wake me: becomes `TimerCanceled`, even if the timer fired while the task was running.
    CancelTimer {
        /// The timer.
        timer_id: TimerId,
    },
    /// Show this to whoever asks: becomes `StatePublished`.
    PublishState {
        /// Under which name, in place of the value it had before.
        name: PublishedName,
        /// The value.
        value: Payload,
    },
    /// Record what the code did: becomes `MarkerRecorded`.
    RecordMarker(Box<Marker>),
    /// Change what the run is listed by: becomes `SearchAttributesUpserted`.
    UpsertSearchAttributes {
        /// New values; those that are not named stay as they are.
        changes: SearchAttributeChanges,
    },
    /// Change what people are shown of the run: becomes `PropertiesModified`.
    ModifyProperties(PropertyChanges),

    /// Take an update on: becomes `WorkflowUpdateAccepted`. Carries the whole request, so that it takes effect even at a
    /// server that restarted and forgot it.
    AcceptUpdate(Box<UpdateRequest>),
    /// Answer an update that was accepted: becomes `WorkflowUpdateCompleted`.
    CompleteUpdate {
        /// The update.
        update_id: UpdateId,
        /// The answer.
        outcome: UpdateOutcome,
    },
    /// Close the run as completed.
    CompleteWorkflow {
        /// What the code returned.
        result: Option<Payload>,
    },
    /// Close the run as failed, or begin its next try.
    FailWorkflow {
        /// The error that the code returned.
        failure: Failure,
    },
    /// Close the run as canceled.
    CancelWorkflow {
        /// A value that the code attached.
        details: Option<Payload>,
    },
    /// Deal with another workflow: a child, or one to signal or to cancel.
    Peer(Box<PeerCommand>),
    /// Close the run and begin another one of its chain, with an empty history.
    ContinueAsNew(Box<ContinueAsNew>),
}

/// How a run goes on in a new one. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContinueAsNew {
    /// The code to run.
    pub workflow_type: Option<WorkflowType>,
    /// Where its workflow tasks go.
    pub task_queue: Option<TaskQueueName>,
    /// Arguments.
    pub input: Vec<Payload>,
    /// How long the new run may take.
    pub run_timeout: Option<Duration>,
    /// How long one of its workflow tasks may take.
    pub task_timeout: Option<Duration>,
    /// Whether and how it is followed by another run when it fails.
    pub retry_policy: Option<RetryPolicy>,
    /// Facts for people.
    pub memo: Option<Vec<(String, Payload)>>,
    /// Signals that reached this run and that its code did not receive: they are the new run's first news.
    pub unread_signals: Vec<UnreadSignal>,
}

/// A signal that is handed to the next run.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadSignal {
    /// Which kind of message.
    pub name: SignalName,
    /// Its content.
    pub input: Vec<Payload>,
}

/// All about an activity that is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleActivity {
    /// Unique among the run's open activities.
    pub activity_id: ActivityId,
    /// The code to run.
    pub activity_type: ActivityType,
    /// Where to offer it; the run's own queue if `None`.
    pub task_queue: Option<TaskQueueName>,
    /// Arguments.
    pub input: Vec<Payload>,
    /// At least one of start-to-close and schedule-to-close must be set.
    pub timeouts: ActivityTimeouts,
    /// The default policy if `None`.
    pub retry_policy: Option<RetryPolicy>,
    /// What it is for, for people. May be empty.
    pub summary: String,
}

impl Command {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            Command::ScheduleActivity(_) => "ScheduleActivity",
            Command::RequestCancelActivity { .. } => "RequestCancelActivity",
            Command::StartTimer { .. } => "StartTimer",
            Command::CancelTimer { .. } => "CancelTimer",
            Command::PublishState { .. } => "PublishState",
            Command::RecordMarker(_) => "RecordMarker",
            Command::UpsertSearchAttributes { .. } => "UpsertSearchAttributes",
            Command::ModifyProperties(_) => "ModifyProperties",
            Command::AcceptUpdate(_) => "AcceptUpdate",
            Command::CompleteUpdate { .. } => "CompleteUpdate",
            Command::CompleteWorkflow { .. } => "CompleteWorkflow",
            Command::FailWorkflow { .. } => "FailWorkflow",
            Command::CancelWorkflow { .. } => "CancelWorkflow",
            Command::ContinueAsNew(_) => "ContinueAsNew",
            Command::Peer(command) => command.name(),
        }
    }

    /// Whether the command closes the run. Such a command is the last of its task.
    pub fn closes(&self) -> bool {
        match self {
            Command::CompleteWorkflow { .. }
            | Command::FailWorkflow { .. }
            | Command::CancelWorkflow { .. }
            | Command::ContinueAsNew(_) => true,
            Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::Peer(_)
            | Command::PublishState { .. }
            | Command::RecordMarker(_)
            | Command::UpsertSearchAttributes { .. }
            | Command::ModifyProperties(_)
            | Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. } => false,
        }
    }
}
