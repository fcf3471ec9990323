//! Peers: children, and other workflows that the code signals or asks to stop.
//!
//! | state                  | what happens                    | events                                    | next      |
//! |------------------------|---------------------------------|-------------------------------------------|-----------|
//! | —                      | a command                       | an initiated event                        | initiated |
//! | initiated              | PeerAnswered: accepted, child   | ChildStarted                              | started   |
//! | initiated              | PeerAnswered: accepted, else    | ExternalSignaled, ExternalCancelRequested | closed    |
//! | initiated              | PeerAnswered: refused           | the Failed of its kind                    | closed    |
//! | initiated              | ChildClosed                     | ChildStarted, Child…                      | closed    |
//! | started                | ChildClosed                     | Child…                                    | closed    |
//! | closed, or never known | PeerAnswered, ChildClosed       | — (answers `Unchanged`)                   |           |
//!
//! What arrives while a workflow task runs is buffered like all news.
//!
//! An initiated event without outcome *is* the outbox: the driver delivers [`Execution::outgoing`] again and again until the
//! answer is recorded, after a crash too. A message that is repeated does no harm: a start and a signal carry request ids made
//! of this run and the initiated event, requests to stop are idempotent, and a child's end counts once for its initiated event.
//!
//! A run that closes may still owe messages: its end to its parent, the parent-close policy to its children, and whatever was
//! initiated and not answered. They too are derived from the history ([`Execution::undelivered`]).
//!
//! Invariant: a run that owes a message is not idle.

use std::collections::BTreeMap;

use crate::event::{EventKind, WorkflowStarted};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::execution::start::check_started;
use crate::execution::{Effect, Execution, Input, Reply, Transition};
use crate::ids::{EventId, RequestId, RunId, WorkflowId, WorkflowType};
use crate::limits;
use crate::payload;
use crate::peer::{
    CancelPeer, ChildOutcome, Outgoing, Parent, ParentClosePolicy, PeerCommand, PeerEvent, PeerFailureCause,
    PeerMessage, PeerTarget, SignalPeer, StartChild,
};
use crate::time::Timestamp;

/// What the receiver of a message said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAnswer {
    /// It is done, durably, by this run.
    Accepted {
        /// The run.
        run_id: RunId,
    },
    /// It will never be done.
    Refused(PeerFailureCause),
}

/// Another workflow that a run deals with, for describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingChild {
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// Its type.
    pub workflow_type: WorkflowType,
    /// Its `StartChildInitiated`.
    pub initiated_event_id: EventId,
    /// A run of its chain; `None` before it started.
    pub run_id: Option<RunId>,
    /// What becomes of it when this run closes first.
    pub parent_close_policy: ParentClosePolicy,
}

#[derive(Debug, Clone, PartialEq)]
enum Dealing {
    Child(Box<Child>),
    Signal(SignalPeer),
    Cancel(CancelPeer),
}

#[derive(Debug, Clone, PartialEq)]
struct Child {
    start: StartChild,
    /// Its `ChildStarted`, [`EventId::NONE`] while that is buffered, and its run.
    started: Option<(EventId, RunId)>,
    /// Its end waits in the buffer.
    has_outcome: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Peer {
    dealing: Dealing,
    initiated_at: Timestamp,
    /// The answer is recorded, or waits in the buffer.
    answered: bool,
}

/// The dealings of a run with others that are under way, and what it owes them once it is closed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Peers {
    open: BTreeMap<EventId, Peer>,
    unanswered: usize,
    bytes: usize,
    parting: BTreeMap<EventId, Outgoing>,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no message is owed.
    pub(super) fn are_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// The `ChildStarted` of an open child that has started, and its run.
    pub(super) fn started_child(&self, initiated_event_id: EventId) -> Option<(EventId, RunId)> {
        match &self.open.get(&initiated_event_id)?.dealing {
            Dealing::Child(child) => child.started,
            Dealing::Signal(_) | Dealing::Cancel(_) => None,
        }
    }

    /// The event that asked for the open child with this workflow id.
    fn child_with_id(&self, workflow_id: &WorkflowId) -> Option<EventId> {
        let is_it =
            |peer: &Peer| matches!(&peer.dealing, Dealing::Child(child) if child.start.workflow_id == *workflow_id);
        self.open.iter().find(|(_, peer)| is_it(peer)).map(|(id, _)| *id)
    }

    pub(super) fn is_open(&self, initiated_event_id: EventId) -> bool {
        self.open.contains_key(&initiated_event_id)
    }

    /// Whether the child's end may be buffered: it is open and none is.
    pub(super) fn may_buffer(&self, event: &PeerEvent) -> bool {
        let Some(peer) = event.initiated_event_id().and_then(|id| self.open.get(&id)) else { return false };
        match (&peer.dealing, event) {
            (Dealing::Child(child), PeerEvent::ChildClosed { .. }) => !child.has_outcome,
            _ => !peer.answered,
        }
    }

    /// Whether the message must wait: it is for a child whose start has no answer, and must not come before it.
    fn is_held(&self, peer: &Peer) -> bool {
        let Some(target) = peer.target().filter(|target| target.child_only) else { return false };
        self.open.values().any(|other| match &other.dealing {
            Dealing::Child(child) => !other.answered && child.start.workflow_id == target.workflow_id,
            Dealing::Signal(_) | Dealing::Cancel(_) => false,
        })
    }

    fn answer(&mut self, initiated_event_id: EventId) -> Option<&mut Peer> {
        let peer = self.open.get_mut(&initiated_event_id)?;
        if !std::mem::replace(&mut peer.answered, true) {
            self.unanswered -= 1;
        }
        Some(peer)
    }

    fn remove(&mut self, initiated_event_id: EventId) {
        self.answer(initiated_event_id);
        if let Some(peer) = self.open.remove(&initiated_event_id) {
            self.bytes -= peer.size();
        }
    }
}

impl Peer {
    /// For whom a message is.
    fn target(&self) -> Option<&PeerTarget> {
        match &self.dealing {
            Dealing::Signal(signal) => Some(&signal.target),
            Dealing::Cancel(cancel) => Some(&cancel.target),
            Dealing::Child(_) => None,
        }
    }

    fn size(&self) -> usize {
        match &self.dealing {
            Dealing::Child(child) => payload::total_size(&child.start.input) + child.start.details.len(),
            Dealing::Signal(signal) => payload::total_size(&signal.input),
            Dealing::Cancel(_) => 0,
        }
    }
}

impl Draft<'_> {
    pub(super) fn deal_with_peer(
        &mut self,
        command: PeerCommand,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        if self.run.peers.len() + self.overlay.initiated_peers >= limits::PENDING_PEERS_MAX {
            let limit = limits::PENDING_PEERS_MAX;
            let problem = format!("{limit} children and messages to others are under way, which is the limit");
            return Err(BadField::new("workflow_id", problem));
        }
        let event = match command {
            PeerCommand::StartChild(mut child) => {
                child.task_queue.get_or_insert_with(|| self.run.started.task_queue.clone());
                child.task_timeout.get_or_insert(limits::WORKFLOW_TASK_TIMEOUT_DEFAULT);
                check_started(&self.run.child_started(&child, self.next_event_id(), self.clock()))?;
                PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child }
            }
            PeerCommand::Signal(signal) => {
                check::payload_size("input", payload::total_size(&signal.input))?;
                PeerEvent::SignalInitiated { workflow_task_completed_event_id, signal }
            }
            PeerCommand::RequestCancel(mut cancel) => {
                crate::failure::cut(&mut cancel.reason, limits::REASON_BYTES_MAX);
                PeerEvent::CancelInitiated { workflow_task_completed_event_id, cancel }
            }
        };
        let initiated_event_id = self.push(EventKind::Peer(Box::new(event)));
        self.overlay.initiated_peers += 1;
        self.effect(Effect::Deliver { initiated_event_id });
        Ok(())
    }

    /// Messages to a child wait for the answer to its start, which is there: they can go.
    fn deliver_held(&mut self, child: &WorkflowId) {
        for (initiated_event_id, peer) in &self.run.peers.open {
            if !peer.answered && peer.target().is_some_and(|target| target.child_only && target.workflow_id == *child) {
                self.effect(Effect::Deliver { initiated_event_id: *initiated_event_id });
            }
        }
    }

    fn arrive_from_peer(&mut self, event: PeerEvent) {
        self.arrive(EventKind::Peer(Box::new(event)));
    }
}

impl Execution {
    pub(super) fn decide_peer_answered(
        &self,
        initiated_event_id: EventId,
        answer: PeerAnswer,
        now: Timestamp,
    ) -> Transition {
        let Some(peer) = self.peers.open.get(&initiated_event_id).filter(|peer| !peer.answered) else {
            return Transition::reply(Reply::Unchanged);
        };
        let event = match (&peer.dealing, answer) {
            (Dealing::Child(child), PeerAnswer::Accepted { run_id }) => PeerEvent::ChildStarted {
                initiated_event_id,
                workflow_id: child.start.workflow_id.clone(),
                workflow_type: child.start.workflow_type.clone(),
                run_id,
            },
            (Dealing::Child(child), PeerAnswer::Refused(cause)) => PeerEvent::StartChildFailed {
                initiated_event_id,
                workflow_id: child.start.workflow_id.clone(),
                workflow_type: child.start.workflow_type.clone(),
                cause,
            },
            (Dealing::Signal(signal), PeerAnswer::Accepted { run_id }) => {
                PeerEvent::Signaled { initiated_event_id, workflow_id: signal.target.workflow_id.clone(), run_id }
            }
            (Dealing::Signal(signal), PeerAnswer::Refused(cause)) => {
                PeerEvent::SignalFailed { initiated_event_id, workflow_id: signal.target.workflow_id.clone(), cause }
            }
            (Dealing::Cancel(cancel), PeerAnswer::Accepted { run_id }) => PeerEvent::CancelDelivered {
                initiated_event_id,
                workflow_id: cancel.target.workflow_id.clone(),
                run_id,
            },
            (Dealing::Cancel(cancel), PeerAnswer::Refused(cause)) => {
                PeerEvent::CancelFailed { initiated_event_id, workflow_id: cancel.target.workflow_id.clone(), cause }
            }
        };
        let mut draft = Draft::new(self, now);
        draft.arrive_from_peer(event);
        if let Dealing::Child(child) = &peer.dealing {
            draft.deliver_held(&child.start.workflow_id);
        }
        draft.finish(Reply::Done)
    }

    pub(super) fn decide_child_closed(
        &self,
        initiated_event_id: EventId,
        run_id: RunId,
        outcome: ChildOutcome,
        now: Timestamp,
    ) -> Transition {
        let child = match self.peers.open.get(&initiated_event_id).map(|peer| &peer.dealing) {
            Some(Dealing::Child(child)) if !child.has_outcome => child,
            Some(Dealing::Child(_) | Dealing::Signal(_) | Dealing::Cancel(_)) | None => {
                return Transition::reply(Reply::Unchanged);
            }
        };
        let (workflow_id, workflow_type) = (child.start.workflow_id.clone(), child.start.workflow_type.clone());
        let mut draft = Draft::new(self, now);
        let started_event_id = match child.started {
            Some((event_id, _)) => event_id,
            None => {
                // The child's end overtook the answer to its start.
                let (workflow_id, workflow_type) = (workflow_id.clone(), workflow_type.clone());
                draft.deliver_held(&workflow_id);
                let id = if draft.is_buffering() { EventId::NONE } else { draft.next_event_id() };
                draft.arrive_from_peer(PeerEvent::ChildStarted {
                    initiated_event_id,
                    workflow_id,
                    workflow_type,
                    run_id,
                });
                id
            }
        };
        draft.arrive_from_peer(PeerEvent::ChildClosed {
            initiated_event_id,
            started_event_id,
            workflow_id,
            workflow_type,
            run_id,
            outcome,
        });
        draft.finish(Reply::Done)
    }

    pub(super) fn apply_peer(&mut self, id: EventId, at: Timestamp, event: &PeerEvent) {
        let dealing = match event {
            PeerEvent::StartChildInitiated { child, .. } => {
                Dealing::Child(Box::new(Child { start: child.clone(), started: None, has_outcome: false }))
            }
            PeerEvent::SignalInitiated { signal, .. } => Dealing::Signal(signal.clone()),
            PeerEvent::CancelInitiated { cancel, .. } => Dealing::Cancel(cancel.clone()),
            PeerEvent::ChildStarted { initiated_event_id, run_id, .. } => {
                return self.apply_child_started(*initiated_event_id, id, *run_id);
            }
            PeerEvent::StartChildFailed { initiated_event_id, .. }
            | PeerEvent::ChildClosed { initiated_event_id, .. }
            | PeerEvent::Signaled { initiated_event_id, .. }
            | PeerEvent::SignalFailed { initiated_event_id, .. }
            | PeerEvent::CancelDelivered { initiated_event_id, .. }
            | PeerEvent::CancelFailed { initiated_event_id, .. } => return self.peers.remove(*initiated_event_id),
        };
        let peer = Peer { dealing, initiated_at: at, answered: false };
        self.peers.bytes += peer.size();
        self.peers.unanswered += 1;
        self.peers.open.insert(id, peer);
    }

    pub(super) fn apply_peer_in_buffer(&mut self, event: &PeerEvent) {
        let Some(initiated_event_id) = event.initiated_event_id() else { return };
        if let PeerEvent::ChildStarted { run_id, .. } = event {
            return self.apply_child_started(initiated_event_id, EventId::NONE, *run_id);
        }
        if let Some(Peer { dealing: Dealing::Child(child), .. }) = self.peers.answer(initiated_event_id)
            && let PeerEvent::ChildClosed { .. } | PeerEvent::StartChildFailed { .. } = event
        {
            child.has_outcome = true;
        }
    }

    fn apply_child_started(&mut self, initiated_event_id: EventId, id: EventId, run_id: RunId) {
        let mut freed = 0;
        if let Some(peer) = self.peers.answer(initiated_event_id) {
            let before = peer.size();
            if let Dealing::Child(child) = &mut peer.dealing {
                child.started = Some((id, run_id));
                // They went to the child.
                child.start.input = Vec::new();
                child.start.memo = Vec::new();
                child.start.details = String::new();
            }
            freed = before - peer.size();
        }
        self.peers.bytes -= freed;
    }

    /// The run closed with `kind`: what it still owes others is all that is left of its dealings.
    pub(super) fn apply_parting(&mut self, kind: &EventKind) {
        let mut open = std::mem::take(&mut self.peers).open;
        let reset_to = if let EventKind::WorkflowTerminated(end) = kind { end.reset_to } else { None };
        if let Some(to) = reset_to {
            // The run that goes on deals with them.
            open.retain(|initiated_event_id, _| *initiated_event_id >= to.forked_at);
        }
        let leaves_children_alone = matches!(kind, EventKind::WorkflowContinuedAsNew(_));
        for (id, peer) in open {
            let message = match &peer.dealing {
                Dealing::Child(child) if leaves_children_alone || child.has_outcome => {
                    (!peer.answered).then(|| self.message(id, &peer))
                }
                Dealing::Child(child) => match child.start.parent_close_policy {
                    // One whose start is on its way is not there yet, or is reached behind its start.
                    ParentClosePolicy::Terminate => Some(self.to_child(
                        id,
                        child,
                        Input::Terminate {
                            reason: format!("its parent, workflow {}, is closed", self.started.workflow_id),
                            details: None,
                            identity: self.peer_identity(),
                        },
                    )),
                    ParentClosePolicy::RequestCancel => Some(self.to_child(
                        id,
                        child,
                        Input::RequestCancel {
                            reason: format!("its parent, workflow {}, is closed", self.started.workflow_id),
                            identity: self.peer_identity(),
                            request_id: None,
                        },
                    )),
                    ParentClosePolicy::Abandon => (!peer.answered).then(|| self.message(id, &peer)),
                },
                Dealing::Signal(_) | Dealing::Cancel(_) => (!peer.answered).then(|| self.message(id, &peer)),
            };
            if let Some(message) = message {
                self.peers.parting.insert(id, message);
            }
        }
        if let Some(message) = self.end_for_parent(kind).filter(|_| reset_to.is_none()) {
            self.peers.parting.insert(EventId::NONE, message);
        }
    }

    /// What the parent is told when the run closes with `kind`: nothing if another run of the chain follows.
    fn end_for_parent(&self, kind: &EventKind) -> Option<Outgoing> {
        let parent = self.started.parent.as_ref()?;
        let outcome = if let EventKind::WorkflowCompleted(end) = kind
            && end.new_run_id.is_none()
        {
            ChildOutcome::Completed { result: end.result.clone() }
        } else if let EventKind::WorkflowFailed(end) = kind
            && end.new_run_id.is_none()
        {
            ChildOutcome::Failed { failure: end.failure.clone(), retry_state: end.retry_state }
        } else if let EventKind::WorkflowCanceled(end) = kind {
            ChildOutcome::Canceled { details: end.details.clone() }
        } else if let EventKind::WorkflowTimedOut(end) = kind
            && end.new_run_id.is_none()
        {
            ChildOutcome::TimedOut { retry_state: end.retry_state }
        } else if let EventKind::WorkflowTerminated(_) = kind {
            ChildOutcome::Terminated
        } else {
            return None;
        };
        let (initiated_event_id, run_id) = (parent.initiated_event_id, self.started.run_id);
        Some(Outgoing {
            workflow_id: parent.workflow_id.clone(),
            run_id: Some(parent.run_id),
            child_of: None,
            message: PeerMessage::Input(Box::new(Input::ChildClosed { initiated_event_id, run_id, outcome })),
        })
    }

    fn to_child(&self, initiated_event_id: EventId, child: &Child, input: Input) -> Outgoing {
        Outgoing {
            workflow_id: child.start.workflow_id.clone(),
            run_id: None,
            child_of: Some(self.initiator(initiated_event_id)),
            message: PeerMessage::Input(Box::new(input)),
        }
    }

    fn to_target(&self, target: &PeerTarget, input: Input) -> Outgoing {
        Outgoing {
            workflow_id: target.workflow_id.clone(),
            run_id: target.run_id,
            child_of: target.child_only.then(|| match self.peers.child_with_id(&target.workflow_id) {
                Some(initiated_event_id) => self.initiator(initiated_event_id),
                None => self.started.run_id,
            }),
            message: PeerMessage::Input(Box::new(input)),
        }
    }

    /// The message of a dealing that has no answer.
    fn message(&self, initiated_event_id: EventId, peer: &Peer) -> Outgoing {
        match &peer.dealing {
            Dealing::Child(child) => {
                let started = self.child_started(&child.start, initiated_event_id, peer.initiated_at);
                Outgoing {
                    workflow_id: child.start.workflow_id.clone(),
                    run_id: None,
                    child_of: None,
                    message: PeerMessage::Start { started: Box::new(started), reuse: child.start.id_reuse_policy },
                }
            }
            Dealing::Signal(signal) => self.to_target(
                &signal.target,
                Input::Signal {
                    name: signal.name.clone(),
                    input: signal.input.clone(),
                    identity: self.peer_identity(),
                    request_id: Some(self.message_id(initiated_event_id)),
                },
            ),
            Dealing::Cancel(cancel) => self.to_target(
                &cancel.target,
                Input::RequestCancel {
                    reason: cancel.reason.clone(),
                    identity: self.peer_identity(),
                    request_id: Some(self.message_id(initiated_event_id)),
                },
            ),
        }
    }

    /// The first event of a child.
    fn child_started(&self, child: &StartChild, initiated_event_id: EventId, at: Timestamp) -> WorkflowStarted {
        let run_id = self.started.run_id.successor(initiated_event_id, at);
        WorkflowStarted {
            namespace: self.started.namespace.clone(),
            workflow_id: child.workflow_id.clone(),
            run_id,
            workflow_type: child.workflow_type.clone(),
            task_queue: child.task_queue.clone().unwrap_or_else(|| self.started.task_queue.clone()),
            input: child.input.clone(),
            execution_timeout: child.execution_timeout,
            run_timeout: child.run_timeout,
            task_timeout: child.task_timeout.unwrap_or(limits::WORKFLOW_TASK_TIMEOUT_DEFAULT),
            execution_deadline: None,
            retry_policy: child.retry_policy.clone(),
            attempt: 1,
            continued_from: None,
            first_run_id: run_id,
            continued_failure: None,
            last_result: None,
            versioning: self.versioning_of_child(),
            cron: None,
            first_task_backoff: std::time::Duration::ZERO,
            request_id: Some(self.message_id(initiated_event_id)),
            identity: self.peer_identity(),
            memo: child.memo.clone(),
            search_attributes: child.search_attributes.clone(),
            summary: child.summary.clone(),
            details: child.details.clone(),
            seen_request_ids: Vec::new(),
            reset: None,
            parent: Some(Box::new(Parent {
                workflow_id: self.started.workflow_id.clone(),
                run_id: self.initiator(initiated_event_id),
                initiated_event_id,
            })),
            activity: None,
        }
    }

    /// Makes a message safe to repeat.
    fn message_id(&self, initiated_event_id: EventId) -> RequestId {
        RequestId::from_trusted(format!("{}/{initiated_event_id}", self.initiator(initiated_event_id)))
    }

    /// Who sends, for people.
    fn peer_identity(&self) -> String {
        format!("workflow {}", self.started.workflow_id)
    }

    /// The message that the run owes for this initiated event ([`EventId::NONE`]: its end to its parent); `None` if it owes
    /// none, or no longer.
    pub fn outgoing(&self, initiated_event_id: EventId) -> Option<Outgoing> {
        if self.closed.is_some() {
            return self.peers.parting.get(&initiated_event_id).cloned();
        }
        let peer = self.peers.open.get(&initiated_event_id).filter(|peer| !peer.answered)?;
        if self.peers.is_held(peer) {
            return None;
        }
        Some(self.message(initiated_event_id, peer))
    }

    /// The initiated events of all messages that the run owes. Of a closed run it does not show which were delivered: that is
    /// known to whoever delivers, and after a crash all are delivered again.
    pub fn undelivered(&self) -> Vec<EventId> {
        if self.closed.is_some() {
            return self.peers.parting.keys().copied().collect();
        }
        if self.peers.are_idle() {
            return Vec::new();
        }
        self.peers.open.iter().filter(|(_, peer)| !peer.answered).map(|(id, _)| *id).collect()
    }

    /// Children that were asked for and whose end is not recorded, in order.
    pub fn pending_children(&self) -> Vec<PendingChild> {
        let child = |(id, peer): (&EventId, &Peer)| match &peer.dealing {
            Dealing::Child(child) if !child.has_outcome => Some(PendingChild {
                workflow_id: child.start.workflow_id.clone(),
                workflow_type: child.start.workflow_type.clone(),
                initiated_event_id: *id,
                run_id: child.started.map(|(_, run_id)| run_id),
                parent_close_policy: child.start.parent_close_policy,
            }),
            Dealing::Child(_) | Dealing::Signal(_) | Dealing::Cancel(_) => None,
        };
        self.peers.open.iter().filter_map(child).collect()
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
