//! Messages to other workflows on their way: from the lane of the run that owes them to the lane of their receiver, and the
//! answer back.
//!
//! There is no table of messages. The run that owes one keeps owing it until the answer is recorded in its history
//! ([`engine_core::execution::Execution::outgoing`]); after a crash it is sent again, and the receiver recognizes the repeat.
//! A message leaves only when the event that initiated it is durable, and is answered only when its effect is.

use std::future::Future;
use std::time::Duration;

use engine_core::execution::{IdConflictPolicy, PeerAnswer, Rejection};
use engine_core::ids::{EventId, RunId};
use engine_core::peer::{Outgoing, PeerFailureCause, PeerMessage};
use engine_core::time::Timestamp;
use tokio::sync::oneshot;

use crate::limits;
use crate::node::NodeContext;
use crate::shard::request::{LocalKey, MessageRequest, Request, RequestKind, ServerError, StartRequest};
use crate::store::{NamespaceId, ShardId};

/// A message that a run owes. Names it only: what it says is asked of the run when it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    /// The run that owes it.
    pub(crate) run: (ShardId, LocalKey, RunId),
    /// The event that initiated it; none for a child's end.
    pub(crate) initiated_event_id: EventId,
    /// Whether the run owes it because it is closed. An open run's message, still on its way, is not mistaken for it.
    pub(crate) parting: bool,
    /// How often it could not be delivered.
    pub(crate) failures: u32,
}

impl Errand {
    /// How long to wait before it is sent again.
    pub(crate) fn pause(&self) -> Duration {
        (limits::MESSAGE_RETRY_INITIAL * (1 << self.failures.min(10))).min(limits::MESSAGE_RETRY_MAX)
    }

    /// The same after another failure.
    pub(crate) fn failed(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }
}

/// Sends a message to its receiver's lane. The answer is the run that took it.
pub(crate) fn send(
    context: &NodeContext,
    namespace: NamespaceId,
    outgoing: Outgoing,
    now: Timestamp,
) -> impl Future<Output = Result<RunId, ServerError>> + Send + 'static {
    let Outgoing { workflow_id, run_id, child_of, message } = outgoing;
    let shard = context.shard_of(namespace, workflow_id.as_str());
    let key = LocalKey { namespace, workflow_id: workflow_id.as_str().into() };
    let (started, replied) = match message {
        PeerMessage::Start { mut started, reuse } => {
            let (reply, answer) = oneshot::channel();
            // Made later than the latest run of its id by its shard; here it is made to tell when it began.
            started.run_id = started.run_id.max(started.run_id.successor(EventId::FIRST, now));
            let start = StartRequest {
                again: None,
                started: *started,
                reuse,
                conflict: IdConflictPolicy::Fail,
                with: None,
                watch: false,
                reply,
            };
            context.post(Request { shard, key, kind: RequestKind::Start(Box::new(start)) });
            (Some(answer), None)
        }
        PeerMessage::Input(input) => {
            let (reply, answer) = oneshot::channel();
            let message = MessageRequest { run_id, child_of, input: *input, reply };
            context.post(Request { shard, key, kind: RequestKind::Message(Box::new(message)) });
            (None, Some(answer))
        }
    };
    async move {
        let lost = || ServerError::unavailable("the receiver's lane stopped");
        match (started, replied) {
            (Some(answer), _) => answer.await.map_err(|_| lost())?.map(|reply| reply.run_id),
            (None, Some(answer)) => answer.await.map_err(|_| lost())?.map(|reply| reply.run_id),
            (None, None) => Err(lost()),
        }
    }
}

/// What an answer means to the run that sent the message; `None` if it must be sent again.
pub(crate) fn outcome(answer: Result<RunId, ServerError>) -> Option<PeerAnswer> {
    let refused = |cause| Some(PeerAnswer::Refused(cause));
    match answer {
        Ok(run_id) => Some(PeerAnswer::Accepted { run_id }),
        Err(error) => match error {
            ServerError::Unavailable { .. }
            | ServerError::Exhausted { .. }
            | ServerError::Internal(_)
            | ServerError::Rejected(Rejection::Exhausted(_)) => None,
            ServerError::AlreadyStarted { .. } => refused(PeerFailureCause::AlreadyStarted),
            ServerError::NotFound { .. }
            | ServerError::NotCurrent(_)
            | ServerError::Closed { .. }
            | ServerError::Rejected(Rejection::AlreadyClosed) => refused(PeerFailureCause::NotFound),
            _ => refused(PeerFailureCause::Refused),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_told() {
        assert_eq!(outcome(Err(ServerError::unavailable("recovering"))), None);
        assert_eq!(outcome(Err(ServerError::Internal("quarantined".into()))), None);
        let closed = ServerError::Rejected(Rejection::AlreadyClosed);
        assert_eq!(outcome(Err(closed)), Some(PeerAnswer::Refused(PeerFailureCause::NotFound)));
        let run_id = RunId::from_parts(Timestamp::EPOCH, [1; 10]);
        assert_eq!(outcome(Ok(run_id)), Some(PeerAnswer::Accepted { run_id }));
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let key = LocalKey { namespace: NamespaceId(1), workflow_id: "w".into() };
        let run_id = RunId::from_parts(Timestamp::EPOCH, [1; 10]);
        let mut errand =
            Errand { run: (ShardId(1), key, run_id), initiated_event_id: EventId(5), parting: false, failures: 0 };
        assert_eq!(errand.pause(), limits::MESSAGE_RETRY_INITIAL);
        errand = errand.failed();
        assert_eq!(errand.pause(), 2 * limits::MESSAGE_RETRY_INITIAL);
        errand.failures = u32::MAX;
        assert_eq!(errand.failed().pause(), limits::MESSAGE_RETRY_MAX);
    }
}
