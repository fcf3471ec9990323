//! What reaches a shard, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{CloseStatus, WorkflowStarted};
use engine_core::execution::{IdConflictPolicy, IdReusePolicy};
use engine_core::execution::{Input, Rejection, Reply};
use engine_core::execution::{PendingActivity, PendingTimer, PendingWorkflowTask};
use engine_core::ids::{EventId, RunId};
use tokio::sync::{oneshot, watch};

use crate::queue::{QueuedTask, TaskId};
use crate::session::{InHand, Session};
use crate::store::{ExecutionRow, NamespaceId, ShardId};

/// Names a workflow id within a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LocalKey {
    /// Its namespace.
    pub(crate) namespace: NamespaceId,
    /// The workflow id.
    pub(crate) workflow_id: Arc<str>,
}

/// What reaches a shard.
#[derive(Debug)]
pub(crate) struct Request {
    /// The shard.
    pub(crate) shard: ShardId,
    /// The workflow id it is about.
    pub(crate) key: LocalKey,
    /// What it is.
    pub(crate) kind: RequestKind,
}

/// The kinds of request.
#[derive(Debug)]
pub(crate) enum RequestKind {
    /// Start a run.
    Start(Box<StartRequest>),
    /// Something for a run.
    Input {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// What.
        input: Box<Input>,
        /// Who waits.
        responder: Responder,
    },
    /// A task found its session: start it and send it there.
    HandOut {
        /// The task.
        task: QueuedTask,
        /// Who gets it.
        session: Arc<Session>,
    },
    /// A worker came back with a task in hand.
    Claim(Box<Claim>),
    /// Tell the state of the current run.
    Describe {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// Who waits.
        reply: oneshot::Sender<Result<Described, ServerError>>,
    },
    /// Tell about news of a run as they become durable.
    Subscribe {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// Who waits.
        reply: oneshot::Sender<Result<Subscribed, ServerError>>,
    },
}

/// A task that a worker says it still has.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The task.
    pub(crate) task: TaskId,
    /// `ClaimWorkflowTask` or `ClaimActivity`.
    pub(crate) input: Input,
    /// What the worker's session is to remember.
    pub(crate) in_hand: InHand,
    /// The worker's stream.
    pub(crate) session: Arc<Session>,
    /// Who waits, if anybody does.
    pub(crate) reply: Option<oneshot::Sender<Result<(), ServerError>>>,
}

/// A start.
#[derive(Debug)]
pub(crate) struct StartRequest {
    /// The first event's attributes. The run id is a proposal: the shard makes it later than the latest run's.
    pub(crate) started: WorkflowStarted,
    /// If the workflow id has a closed run.
    pub(crate) reuse: IdReusePolicy,
    /// If the workflow id has an open run.
    pub(crate) conflict: IdConflictPolicy,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<StartReply, ServerError>>,
}

/// What a start did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartReply {
    /// The run.
    pub(crate) run_id: RunId,
    /// Whether this request, or the one that it repeats, started it.
    pub(crate) started: bool,
}

/// Who waits for the answer to an input.
#[derive(Debug)]
pub(crate) enum Responder {
    /// A call.
    Call(oneshot::Sender<Result<Replied, ServerError>>),
    /// A result that came up a worker's stream.
    Result(Box<SessionResult>),
    /// A heartbeat that came up a worker's stream.
    Heartbeat {
        /// The stream.
        session: Arc<Session>,
        /// The activity's token, as the worker has it.
        token: bytes::Bytes,
    },
    /// Nobody.
    Nobody,
}

/// A result that came up a worker's stream.
#[derive(Debug)]
pub(crate) struct SessionResult {
    /// The stream.
    pub(crate) session: Arc<Session>,
    /// The worker's number for it.
    pub(crate) result_id: u64,
    /// The task that it is the result of.
    pub(crate) task: TaskId,
    /// Set if the worker keeps the run in its cache, its code having seen this event.
    pub(crate) cached_up_to: Option<EventId>,
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replied {
    /// The run that took it.
    pub(crate) run_id: RunId,
    /// What it answered.
    pub(crate) reply: Reply,
}

/// The answer to a describe.
#[derive(Debug)]
pub(crate) enum Described {
    /// The run is open.
    Open(Box<Description>),
    /// The run is closed: the store has all there is to know.
    Closed(Box<ExecutionRow>),
}

/// The state of an open run.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    /// Its row.
    pub(crate) row: ExecutionRow,
    /// Its start.
    pub(crate) started: WorkflowStarted,
    /// Number of its events.
    pub(crate) history_length: u64,
    /// Their size in bytes.
    pub(crate) history_bytes: u64,
    /// Its workflow task.
    pub(crate) workflow_task: Option<PendingWorkflowTask>,
    /// Its activities.
    pub(crate) activities: Vec<PendingActivity>,
    /// Its timers.
    pub(crate) timers: Vec<PendingTimer>,
    /// Whether it was asked to stop.
    pub(crate) cancel_requested: bool,
    /// Events that wait for its workflow task.
    pub(crate) buffered: usize,
}

/// The answer to a subscription.
#[derive(Debug)]
pub(crate) enum Subscribed {
    /// The run is open; news come here.
    Open {
        /// The run.
        run_id: RunId,
        /// The latest news.
        news: watch::Receiver<News>,
    },
    /// The run is closed.
    Closed(Box<ExecutionRow>),
}

/// The latest that is durable of a watched run.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    /// Its last event.
    pub(crate) last_event_id: EventId,
    /// How it closed, with the encoded close event.
    pub(crate) closed: Option<(CloseStatus, bytes::Bytes)>,
    /// The shard was lost: subscribe again.
    pub(crate) lost: bool,
}

/// Why a request was refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ServerError {
    /// The rules refuse it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no such thing.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// "workflow", "namespace", "run".
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The run that was named is not the latest of its workflow id; the store knows whether it exists.
    #[error("run {0} is not the current run")]
    NotCurrent(RunId),
    /// The workflow, or the run of it that was named, is closed.
    #[error("workflow execution already completed: workflow {workflow_id:?} has no such open run")]
    Closed {
        /// The workflow id.
        workflow_id: String,
    },
    /// The workflow id has a run that the policies protect.
    #[error("{message}")]
    AlreadyStarted {
        /// The run.
        run_id: RunId,
        /// Which policy refused, and what to do.
        message: String,
    },
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// It may or may not have taken effect; try again.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much at once; nothing changed; try again later.
    #[error("{message}")]
    Exhausted {
        /// What is exhausted.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What is stored cannot be understood.
    #[error("{0}")]
    Internal(String),
}

impl ServerError {
    /// The commit's outcome is unknown, or the shard is being recovered.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: Duration::from_millis(200) }
    }
}
