//! What reaches a shard, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{CloseStatus, Event, UpdateRequest, WorkerVersion, WorkflowStarted};
use engine_core::execution::{IdConflictPolicy, IdReusePolicy};
use engine_core::execution::{
    Input, Paused, PendingActivity, PendingChild, PendingTimer, PendingUpdate, PendingWorkflowTask, PublishedValue,
    Rejection, Reply, Reset, RunVersioning, UpdateStanding,
};
use engine_core::ids::{EventId, RunId, UpdateId};
use engine_core::payload::Payload;
use engine_core::search::SearchAttributes;
use tokio::sync::{oneshot, watch};

use crate::queue::{QueuedTask, TaskId};
use crate::session::{InHand, Session};
use crate::shard::updates::UpdateNews;
use crate::store::{ExecutionRow, NamespaceId, ShardId};

/// Names a workflow id within a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LocalKey {
    /// Its namespace.
    pub(crate) namespace: NamespaceId,
    /// The workflow id.
    pub(crate) workflow_id: Arc<str>,
}

impl LocalKey {
    /// What people call what it names.
    pub(crate) fn noun(&self) -> &'static str {
        if self.namespace.is_of_activities() { "activity" } else { "workflow" }
    }
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
    /// Go on from an earlier point, in a new run.
    Reset(Box<ResetRequest>),
    /// Something for a run.
    Input {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// What.
        input: Box<Input>,
        /// Who waits.
        responder: Responder,
    },
    /// A message from another workflow's run.
    Message(Box<MessageRequest>),
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
    /// Tell where the run's code can be asked, and when.
    Query {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// Who waits.
        reply: oneshot::Sender<Result<QueryTurn, ServerError>>,
    },
    /// Send an update, or ask for one, and watch it.
    Update {
        /// The run; the current one if `None`.
        run_id: Option<RunId>,
        /// Which.
        ask: UpdateAsk,
        /// Who waits.
        reply: oneshot::Sender<Result<UpdateWatch, ServerError>>,
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

/// A message from another workflow's run.
#[derive(Debug)]
pub(crate) struct MessageRequest {
    /// The run that it is for; the current one if `None`.
    pub(crate) run_id: Option<RunId>,
    /// Set if it is only for a child of this run.
    pub(crate) child_of: Option<RunId>,
    /// What.
    pub(crate) input: Input,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<Replied, ServerError>>,
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
    /// Whether the caller will wait for the outcome.
    pub(crate) watch: bool,
    /// A signal or an update that reaches the run in the same transaction.
    pub(crate) with: Option<Box<Input>>,
    /// Start only as what follows this run: the latest of its id, and closed. If it is not listed as completed it is listed as continued
    /// from then on.
    pub(crate) again: Option<RunId>,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<StartReply, ServerError>>,
}

/// A reset of a workflow id's latest run.
#[derive(Debug)]
pub(crate) struct ResetRequest {
    /// The run.
    pub(crate) base: RunId,
    /// Its whole history, as it was when the call read it.
    pub(crate) history: Vec<Event>,
    /// From where to go on, and how.
    pub(crate) reset: Reset,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<ResetReply, ServerError>>,
}

/// What a reset did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResetReply {
    /// The run that goes on.
    pub(crate) run_id: RunId,
    /// The first event that it does not share with the base run; none if the request was a repeat.
    pub(crate) forked_at: EventId,
}

/// What a start did.
#[derive(Debug)]
pub(crate) struct StartReply {
    /// The run.
    pub(crate) run_id: RunId,
    /// Whether this request, or the one that it repeats, started it.
    pub(crate) started: bool,
    /// News of the run, if it is new and the caller wants to wait for its outcome.
    pub(crate) news: Option<watch::Receiver<News>>,
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
    /// Its children.
    pub(crate) children: Vec<PendingChild>,
    /// Its timers.
    pub(crate) timers: Vec<PendingTimer>,
    /// Its updates that are under way.
    pub(crate) updates: Vec<PendingUpdate>,
    /// Whether it was asked to stop.
    pub(crate) cancel_requested: bool,
    /// That it is paused.
    pub(crate) paused: Option<Paused>,
    /// Events that wait for its workflow task.
    pub(crate) buffered: usize,
    /// What it shows.
    pub(crate) published: Vec<PublishedValue>,
    /// What it is listed by.
    pub(crate) search_attributes: SearchAttributes,
    /// Facts for people.
    pub(crate) memo: BTreeMap<String, Payload>,
    /// What its code says that it is at.
    pub(crate) current_details: String,
    /// How it follows versions.
    pub(crate) versioning: RunVersioning,
    /// The version that it is pinned to.
    pub(crate) pin: Option<Arc<WorkerVersion>>,
}

/// When a run's code can be asked.
#[derive(Debug)]
pub(crate) enum QueryTurn {
    /// Now.
    Now(QueryPlace),
    /// After the workflow task that shows it what reached the run before the query.
    Later {
        /// Where workers are needed for that.
        place: QueryPlace,
        /// Comes when it may be asked.
        turn: oneshot::Receiver<Result<QueryPlace, ServerError>>,
    },
}

/// Where a run's code can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryPlace {
    /// The version that the run is pinned to.
    pub(crate) pin: Option<Arc<WorkerVersion>>,
    /// The run.
    pub(crate) run_id: RunId,
    /// Its code.
    pub(crate) workflow_type: String,
    /// Whose workers have it.
    pub(crate) task_queue: String,
    /// The last event of its history.
    pub(crate) last_event_id: EventId,
    /// Code that has seen this event has seen all that it may be asked about. None: the run is closed.
    pub(crate) seen_event_id: EventId,
    /// The worker that has it in its cache.
    pub(crate) preferred_worker: Option<uuid::Uuid>,
}

/// Which update is meant.
#[derive(Debug, Clone)]
pub(crate) enum UpdateAsk {
    /// This one: sent, unless the run knows it.
    Send(Box<UpdateRequest>),
    /// The one with this id, if the run knows it.
    Poll(UpdateId),
}

impl UpdateAsk {
    /// The update's id.
    pub(crate) fn update_id(&self) -> &UpdateId {
        match self {
            UpdateAsk::Send(request) => &request.id,
            UpdateAsk::Poll(update_id) => update_id,
        }
    }
}

/// The answer to an update.
#[derive(Debug)]
pub(crate) enum UpdateWatch {
    /// The run has it.
    Open {
        /// The run.
        run_id: RunId,
        /// Where it stands.
        standing: UpdateStanding,
        /// What follows.
        news: watch::Receiver<UpdateNews>,
    },
    /// The run is closed: its history knows.
    Closed(Box<ExecutionRow>),
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

impl News {
    /// Whether there will be no more.
    pub(crate) fn is_last(&self) -> bool {
        self.closed.is_some() || self.lost
    }
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
    /// There is such a thing already.
    #[error("{kind} {name:?} already exists")]
    Exists {
        /// "namespace", "schedule".
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The state of something does not allow it. A sentence says which and what to do.
    #[error("{0}")]
    Refused(String),
    /// There is no such run, in a namespace that does not keep runs for ever.
    #[error("run {0} not found: there was none, or it was deleted when the namespace's retention was over")]
    NotKept(RunId),
    /// It was changed since it was read. A sentence says what to do.
    #[error("{0}")]
    Conflict(String),
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Nobody can answer the query now. A sentence says what is missing.
    #[error("{0}")]
    Unanswerable(String),
    /// The answer to the query did not come in time. A sentence says what it was waiting for.
    #[error("{0}")]
    Overdue(String),
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
