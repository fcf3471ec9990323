//! Children, and messages to other workflows, from the code's point of view.
//!
//! A child is one handle from its start to its end: [`Replayer::child_run`] tells once it runs, [`Replayer::take_resolution`]
//! once it is over or could not be started. A message's handle is resolved when it is delivered, or cannot be.

use super::matching::Step;
use super::slots::{Handle, Resolution, Thing};
use super::{Outcome, Phase, ReplayError, Replayer};
use crate::command::Command;
use crate::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use crate::ids::{EventId, RunId, SignalName, WorkflowId, WorkflowType};
use crate::peer::{
    CancelPeer, ChildOutcome, PeerCommand, PeerEvent, PeerFailureCause, PeerTarget, SignalPeer, StartChild,
};

/// The type name of the failure that says why a child could not be started or a message not be delivered.
pub const PEER_NOT_FOUND: &str = "WorkflowNotFound";
/// The type name of the failure of a child whose workflow id is taken.
pub const CHILD_ALREADY_STARTED: &str = "WorkflowAlreadyStarted";

/// What an event of a peer's is compared by; `None` if it is news.
pub(super) fn step(event: &PeerEvent) -> Option<Step> {
    match event {
        PeerEvent::StartChildInitiated { child, .. } => {
            Some(Step::StartChild { id: child.workflow_id.clone(), workflow_type: child.workflow_type.clone() })
        }
        PeerEvent::SignalInitiated { signal, .. } => {
            Some(Step::SignalExternal { id: signal.target.workflow_id.clone(), name: signal.name.clone() })
        }
        PeerEvent::CancelInitiated { cancel, .. } => {
            Some(Step::RequestCancelExternal { id: cancel.target.workflow_id.clone() })
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

impl Replayer {
    /// The workflow id of the next child that is given none: unique, because it is made of the id of the run that starts it. That is
    /// another one for what this run shares with those that it was reset from.
    pub fn next_child_id(&mut self) -> WorkflowId {
        self.children += 1;
        let run_id = self.started().map(|started| match self.phase {
            Phase::Replaying { completed } => started.writer(completed),
            Phase::Between | Phase::Live | Phase::Answered { .. } | Phase::Closed => started.run_id,
        });
        let run_id = run_id.map(|run_id| run_id.to_string()).unwrap_or_default();
        WorkflowId::from_trusted(format!("{run_id}/{}", self.children))
    }

    /// Issues the start of a child. `command` is asked for the whole command only if it goes to the server.
    pub fn start_child(
        &mut self,
        id: WorkflowId,
        workflow_type: WorkflowType,
        command: impl FnOnce(WorkflowId, WorkflowType) -> StartChild,
    ) -> Handle {
        let thing = Thing::Child { id: id.clone() };
        let handle = self.slots.open(thing, self.issued.len());
        let step = Step::StartChild { id: id.clone(), workflow_type: workflow_type.clone() };
        self.issue(step, Some(handle), || Command::Peer(Box::new(PeerCommand::StartChild(command(id, workflow_type)))));
        handle
    }

    /// Issues a message to another workflow.
    pub fn signal_external(
        &mut self,
        target: PeerTarget,
        name: SignalName,
        input: impl FnOnce() -> Vec<crate::payload::Payload>,
    ) -> Handle {
        let handle = self.slots.open(Thing::Message, self.issued.len());
        let step = Step::SignalExternal { id: target.workflow_id.clone(), name: name.clone() };
        self.issue(step, Some(handle), || {
            Command::Peer(Box::new(PeerCommand::Signal(SignalPeer { target, name, input: input() })))
        });
        handle
    }

    /// Issues a request to another workflow to stop.
    pub fn request_cancel_external(&mut self, target: PeerTarget, reason: String) -> Handle {
        let handle = self.slots.open(Thing::Message, self.issued.len());
        let step = Step::RequestCancelExternal { id: target.workflow_id.clone() };
        self.issue(step, Some(handle), || {
            Command::Peer(Box::new(PeerCommand::RequestCancel(CancelPeer { target, reason })))
        });
        handle
    }

    /// Asks a child of the code's to stop; nobody waits for the answer.
    pub(super) fn request_cancel_child(&mut self, id: WorkflowId) {
        let target = PeerTarget { workflow_id: id, run_id: None, child_only: true };
        let handle = self.request_cancel_external(target, "its parent asks it to stop".to_owned());
        self.detach(handle);
    }

    /// A run of the child that the handle stands for, and its `ChildStarted`, once it is known to run.
    pub fn child_run(&mut self, handle: Handle) -> Option<(RunId, EventId)> {
        self.slots.get_mut(handle)?.child_run
    }

    pub(super) fn absorb_peer(&mut self, id: EventId, event: PeerEvent) -> Result<(), ReplayError> {
        let unknown = || ReplayError::Corrupt { event_id: id, problem: "an answer comes to what was not asked" };
        let (initiated_event_id, resolution) = match event {
            PeerEvent::ChildStarted { initiated_event_id, run_id, .. } => {
                let handle = self.slots.child_started(initiated_event_id, run_id, id).ok_or_else(unknown)?;
                self.outcomes.extend(handle.map(Outcome::Resolved));
                return Ok(());
            }
            PeerEvent::ChildClosed { initiated_event_id, outcome, .. } => (initiated_event_id, child_end(outcome)),
            PeerEvent::Signaled { initiated_event_id, .. } | PeerEvent::CancelDelivered { initiated_event_id, .. } => {
                (initiated_event_id, Resolution::Completed { result: None })
            }
            PeerEvent::StartChildFailed { initiated_event_id, workflow_id, cause, .. }
            | PeerEvent::SignalFailed { initiated_event_id, workflow_id, cause }
            | PeerEvent::CancelFailed { initiated_event_id, workflow_id, cause } => {
                (initiated_event_id, failed(&workflow_id, cause))
            }
            PeerEvent::StartChildInitiated { .. }
            | PeerEvent::SignalInitiated { .. }
            | PeerEvent::CancelInitiated { .. } => return Err(unknown()),
        };
        if let Some(handle) = self.slots.resolve(initiated_event_id, resolution).ok_or_else(unknown)? {
            self.outcomes.push(Outcome::Resolved(handle));
        }
        Ok(())
    }
}

fn child_end(outcome: ChildOutcome) -> Resolution {
    let (failure, retry_state) = match outcome {
        ChildOutcome::Completed { result } => return Resolution::Completed { result },
        ChildOutcome::Failed { failure, retry_state } => (failure, retry_state),
        ChildOutcome::Canceled { details } => {
            let kind = FailureKind::Canceled { details };
            (
                Failure { message: "it accepted a request to cancel".to_owned(), kind, cause: None },
                RetryState::CancelRequested,
            )
        }
        ChildOutcome::TimedOut { retry_state } => (Failure::timeout(TimeoutKind::StartToClose, None), retry_state),
        ChildOutcome::Terminated => {
            let kind = FailureKind::Terminated;
            let message = "it was terminated".to_owned();
            (Failure { message, kind, cause: None }, RetryState::NonRetryableFailure)
        }
    };
    Resolution::Failed { failure: Box::new(failure), retry_state }
}

fn failed(workflow_id: &WorkflowId, cause: PeerFailureCause) -> Resolution {
    let failure = match cause {
        PeerFailureCause::NotFound => {
            Failure::application(PEER_NOT_FOUND, format!("there is no open workflow {workflow_id:?}"))
        }
        PeerFailureCause::AlreadyStarted => Failure::application(
            CHILD_ALREADY_STARTED,
            format!("the workflow id {workflow_id:?} has a run that is open, or that the id-reuse policy protects"),
        ),
        PeerFailureCause::Refused => Failure::server("the engine refused the request", true),
    };
    Resolution::Failed { failure: Box::new(failure), retry_state: RetryState::NonRetryableFailure }
}
