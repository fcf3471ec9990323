//! Peers: other workflows that a run deals with, as its commands and events tell of them. Its children are such, and the
//! workflows that it signals or asks to stop.
//!
//! Each dealing begins with an *initiated* event and ends with the event of its outcome. An initiated event without outcome
//! stands for a message that is still to be delivered: nothing else is stored of it.

use std::time::Duration;

use crate::event::WorkflowStarted;
use crate::execution::IdReusePolicy;
use crate::failure::{Failure, RetryState};
use crate::ids::{EventId, RunId, SignalName, TaskQueueName, WorkflowId, WorkflowType};
use crate::payload::Payload;
use crate::retry::RetryPolicy;
use crate::search::SearchAttributes;

/// What workflow code asks of another workflow.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is in a box wherever it is kept")]
pub enum PeerCommand {
    /// Start a child: becomes `StartChildInitiated`.
    StartChild(StartChild),
    /// Send a message: becomes `SignalExternalInitiated`.
    Signal(SignalPeer),
    /// Ask it to stop: becomes `RequestCancelExternalInitiated`.
    RequestCancel(CancelPeer),
}

/// A workflow that is to run as a child.
#[derive(Debug, Clone, PartialEq)]
pub struct StartChild {
    /// Its workflow id, in the parent's namespace.
    pub workflow_id: WorkflowId,
    /// The code to run.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks go; the parent's queue if `None`, which events never have.
    pub task_queue: Option<TaskQueueName>,
    /// Arguments.
    pub input: Vec<Payload>,
    /// How long the whole chain of its runs may take.
    pub execution_timeout: Option<Duration>,
    /// How long one of its runs may take.
    pub run_timeout: Option<Duration>,
    /// How long one of its workflow tasks may take; the default if `None`.
    pub task_timeout: Option<Duration>,
    /// Whether and how a failed run is followed by another.
    pub retry_policy: Option<RetryPolicy>,
    /// What becomes of it when the parent closes before it.
    pub parent_close_policy: ParentClosePolicy,
    /// What to do if the workflow id has a closed run. An open run always fails the start.
    pub id_reuse_policy: IdReusePolicy,
    /// Facts for people.
    pub memo: Vec<(String, Payload)>,
    /// What it is listed by.
    pub search_attributes: SearchAttributes,
    /// One line about it, for people.
    pub summary: String,
    /// More about it, for people.
    pub details: String,
}

/// What becomes of a child when its parent closes first. A parent that continues as new leaves its children alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParentClosePolicy {
    /// It is terminated.
    #[default]
    Terminate,
    /// It is asked to stop.
    RequestCancel,
    /// It goes on.
    Abandon,
}

/// Which workflow a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTarget {
    /// Its workflow id, in the sender's namespace.
    pub workflow_id: WorkflowId,
    /// Only this run; the current one if `None`.
    pub run_id: Option<RunId>,
    /// Only if it is a child of the sender.
    pub child_only: bool,
}

/// A message for another workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalPeer {
    /// For whom.
    pub target: PeerTarget,
    /// Which kind of message.
    pub name: SignalName,
    /// Its content.
    pub input: Vec<Payload>,
}

/// A request to another workflow to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelPeer {
    /// Which.
    pub target: PeerTarget,
    /// Why, for people.
    pub reason: String,
}

/// Why a peer could not be reached, or a child not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerFailureCause {
    /// There is no such open workflow.
    NotFound,
    /// The child's workflow id has a run that is open, or that its reuse policy protects.
    AlreadyStarted,
    /// The engine refused the request.
    Refused,
}

/// How a child ended: the outcome of its chain's last run.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildOutcome {
    /// It returned a value.
    Completed {
        /// The value.
        result: Option<Payload>,
    },
    /// It returned an error.
    Failed {
        /// The error.
        failure: Failure,
        /// Why no other run follows.
        retry_state: RetryState,
    },
    /// It accepted a request to cancel.
    Canceled {
        /// A value that its code attached.
        details: Option<Payload>,
    },
    /// It took too long.
    TimedOut {
        /// Why no other run follows.
        retry_state: RetryState,
    },
    /// It was stopped unasked.
    Terminated,
}

/// The parent of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its workflow id, in the same namespace.
    pub workflow_id: WorkflowId,
    /// The run that started the child. A later run of the parent's chain is not told of the child.
    pub run_id: RunId,
    /// Its `StartChildInitiated`.
    pub initiated_event_id: EventId,
}

/// A fact about the dealings with another workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerEvent {
    /// The code asked for a child. Holds all that is needed to start it.
    StartChildInitiated {
        /// The workflow task that asked.
        workflow_task_completed_event_id: EventId,
        /// The child, with queue and task timeout filled in.
        child: StartChild,
    },
    /// The child could not be started.
    StartChildFailed {
        /// The request.
        initiated_event_id: EventId,
        /// The child's workflow id.
        workflow_id: WorkflowId,
        /// Its type.
        workflow_type: WorkflowType,
        /// Why.
        cause: PeerFailureCause,
    },
    /// The child runs.
    ChildStarted {
        /// The request.
        initiated_event_id: EventId,
        /// The child's workflow id.
        workflow_id: WorkflowId,
        /// Its type.
        workflow_type: WorkflowType,
        /// A run of its chain: the first, unless the parent learned of the start late.
        run_id: RunId,
    },
    /// The child's last run closed. Histories name it after the outcome: `ChildCompleted`, `ChildFailed` and so on.
    ChildClosed {
        /// The request.
        initiated_event_id: EventId,
        /// Its start.
        started_event_id: EventId,
        /// The child's workflow id.
        workflow_id: WorkflowId,
        /// Its type.
        workflow_type: WorkflowType,
        /// The last run of its chain.
        run_id: RunId,
        /// How it ended.
        outcome: ChildOutcome,
    },
    /// The code sent a message to another workflow. Holds all that is needed to deliver it.
    SignalInitiated {
        /// The workflow task that asked.
        workflow_task_completed_event_id: EventId,
        /// The message.
        signal: SignalPeer,
    },
    /// The message is durable in the other workflow's history.
    Signaled {
        /// The request.
        initiated_event_id: EventId,
        /// Who got it.
        workflow_id: WorkflowId,
        /// The run that got it.
        run_id: RunId,
    },
    /// The message could not be delivered.
    SignalFailed {
        /// The request.
        initiated_event_id: EventId,
        /// Who should have got it.
        workflow_id: WorkflowId,
        /// Why.
        cause: PeerFailureCause,
    },
    /// The code asked another workflow to stop. Holds all that is needed to deliver it.
    CancelInitiated {
        /// The workflow task that asked.
        workflow_task_completed_event_id: EventId,
        /// The request.
        cancel: CancelPeer,
    },
    /// The other workflow knows of the request, or is closed already.
    CancelDelivered {
        /// The request.
        initiated_event_id: EventId,
        /// Who got it.
        workflow_id: WorkflowId,
        /// The run that got it.
        run_id: RunId,
    },
    /// The request could not be delivered.
    CancelFailed {
        /// The request.
        initiated_event_id: EventId,
        /// Who should have got it.
        workflow_id: WorkflowId,
        /// Why.
        cause: PeerFailureCause,
    },
}

impl PeerCommand {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            PeerCommand::StartChild(_) => "StartChild",
            PeerCommand::Signal(_) => "SignalExternal",
            PeerCommand::RequestCancel(_) => "RequestCancelExternal",
        }
    }
}

impl PeerEvent {
    /// The event's name, as histories show it.
    pub fn name(&self) -> &'static str {
        match self {
            PeerEvent::StartChildInitiated { .. } => "StartChildInitiated",
            PeerEvent::StartChildFailed { .. } => "StartChildFailed",
            PeerEvent::ChildStarted { .. } => "ChildStarted",
            PeerEvent::ChildClosed { outcome, .. } => match outcome {
                ChildOutcome::Completed { .. } => "ChildCompleted",
                ChildOutcome::Failed { .. } => "ChildFailed",
                ChildOutcome::Canceled { .. } => "ChildCanceled",
                ChildOutcome::TimedOut { .. } => "ChildTimedOut",
                ChildOutcome::Terminated => "ChildTerminated",
            },
            PeerEvent::SignalInitiated { .. } => "SignalExternalInitiated",
            PeerEvent::Signaled { .. } => "ExternalSignaled",
            PeerEvent::SignalFailed { .. } => "SignalExternalFailed",
            PeerEvent::CancelInitiated { .. } => "RequestCancelExternalInitiated",
            PeerEvent::CancelDelivered { .. } => "ExternalCancelRequested",
            PeerEvent::CancelFailed { .. } => "RequestCancelExternalFailed",
        }
    }

    /// The `WorkflowTaskCompleted` of the command that it records; `None` if it records an outcome.
    pub fn command_of(&self) -> Option<EventId> {
        match self {
            PeerEvent::StartChildInitiated { workflow_task_completed_event_id, .. }
            | PeerEvent::SignalInitiated { workflow_task_completed_event_id, .. }
            | PeerEvent::CancelInitiated { workflow_task_completed_event_id, .. } => {
                Some(*workflow_task_completed_event_id)
            }
            PeerEvent::StartChildFailed { .. }
            | PeerEvent::ChildStarted { .. }
            | PeerEvent::ChildClosed { .. }
            | PeerEvent::Signaled { .. }
            | PeerEvent::SignalFailed { .. }
            | PeerEvent::CancelDelivered { .. }
            | PeerEvent::CancelFailed { .. } => None,
        }
    }

    /// The initiated event whose outcome, or step towards it, this is; `None` if it is an initiated event itself.
    pub fn initiated_event_id(&self) -> Option<EventId> {
        match self {
            PeerEvent::StartChildInitiated { .. }
            | PeerEvent::SignalInitiated { .. }
            | PeerEvent::CancelInitiated { .. } => None,
            PeerEvent::StartChildFailed { initiated_event_id, .. }
            | PeerEvent::ChildStarted { initiated_event_id, .. }
            | PeerEvent::ChildClosed { initiated_event_id, .. }
            | PeerEvent::Signaled { initiated_event_id, .. }
            | PeerEvent::SignalFailed { initiated_event_id, .. }
            | PeerEvent::CancelDelivered { initiated_event_id, .. }
            | PeerEvent::CancelFailed { initiated_event_id, .. } => Some(*initiated_event_id),
        }
    }

    /// Whether it is news for the workflow code.
    pub fn is_news(&self) -> bool {
        self.command_of().is_none()
    }

    /// Size of its payloads, in bytes.
    pub fn size(&self) -> usize {
        match self {
            PeerEvent::ChildClosed { outcome, .. } => match outcome {
                ChildOutcome::Completed { result } => result.as_ref().map_or(0, Payload::size),
                ChildOutcome::Failed { failure, .. } => failure.size(),
                ChildOutcome::Canceled { details } => details.as_ref().map_or(0, Payload::size),
                ChildOutcome::TimedOut { .. } | ChildOutcome::Terminated => 0,
            },
            PeerEvent::StartChildInitiated { child, .. } => crate::payload::total_size(&child.input),
            PeerEvent::SignalInitiated { signal, .. } => crate::payload::total_size(&signal.input),
            PeerEvent::StartChildFailed { .. }
            | PeerEvent::ChildStarted { .. }
            | PeerEvent::Signaled { .. }
            | PeerEvent::SignalFailed { .. }
            | PeerEvent::CancelInitiated { .. }
            | PeerEvent::CancelDelivered { .. }
            | PeerEvent::CancelFailed { .. } => 0,
        }
    }
}

/// A message that a run owes another workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// For whom, in the sender's namespace.
    pub workflow_id: WorkflowId,
    /// Only for this run; the current one if `None`.
    pub run_id: Option<RunId>,
    /// Only if the receiver was started as a child by this run.
    pub child_of: Option<RunId>,
    /// What it says. Safe to repeat: the receiver recognizes what it has had.
    pub message: PeerMessage,
}

/// What one workflow's run tells another.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// Begin. The run id is a proposal.
    Start {
        /// The first event's attributes.
        started: Box<WorkflowStarted>,
        /// What to do if the workflow id has a closed run.
        reuse: IdReusePolicy,
    },
    /// Anything else is an input.
    Input(Box<crate::execution::Input>),
}
