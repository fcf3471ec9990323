//! One worker's stream as the rest of the server sees it: somewhere to send tasks, and a record of what is in hand.

use std::sync::Arc;

use bytes::Bytes;
use engine_core::event::WorkerVersion;
use engine_core::ids::{EventId, RunId};
use engine_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::hash::HashMap;
use crate::limits;
use crate::queue::{SessionId, TaskId};
use crate::store::NamespaceId;

/// What goes down a stream. The writer of the stream gathers what is ready into one message.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A workflow task.
    WorkflowTask(Box<v1::WorkflowTask>),
    /// An activity task.
    ActivityTask(Box<v1::ActivityTask>),
    /// A question to a run's code.
    Query(Box<v1::QueryTask>),
    /// A result is dealt with.
    Ack(v1::ResultAck),
    /// An activity should stop.
    Stop(v1::ActivityStop),
    /// A run must leave the worker's cache.
    Evict(RunId),
    /// The news of an early workflow task is durable.
    Durable(v1::DurableTask),
    /// The server shuts down.
    Drain,
    /// The worker asked for no more tasks, and none is queued for it any more.
    Drained,
    /// The stream must end, so that the worker opens a new one and sends again what was not acknowledged.
    Reset(&'static str),
}

/// One worker's stream.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its number in this server process.
    pub(crate) id: SessionId,
    /// The worker process, the same on each of its streams.
    pub(crate) worker_id: Uuid,
    /// For people.
    pub(crate) identity: String,
    /// Its namespace.
    pub(crate) namespace: NamespaceId,
    /// What runs the code.
    pub(crate) worker: engine_core::event::WorkerMetadata,
    version: Option<Arc<WorkerVersion>>,
    outbound: mpsc::UnboundedSender<Outbound>,
    hands: Mutex<Hands>,
}

/// What the worker has.
#[derive(Debug, Default)]
struct Hands {
    /// Set when the stream broke: nothing can be handed to it any more.
    closed: bool,
    /// Set when the worker wants no more tasks.
    draining: bool,
    tasks: HashMap<TaskId, InHand>,
    /// Runs in its cache, with the last event that the cached code has seen.
    cached: HashMap<RunId, EventId>,
    /// Queries that it has not answered, by their number on this stream.
    queries: HashMap<u64, oneshot::Sender<v1::QueryAnswer>>,
    last_query: u64,
}

/// Why a worker is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAsked {
    /// Its stream is gone, or it is about to leave.
    Gone,
    /// It has as many queries in hand as a worker may have.
    Busy,
}

/// A task that a worker has.
#[derive(Debug, Clone)]
pub(crate) struct InHand {
    /// The task's token, as the worker has it.
    pub(crate) token: Bytes,
    /// The namespace in the key of its run.
    pub(crate) namespace: NamespaceId,
    /// The workflow id of its run, where messages about it go.
    pub(crate) workflow_id: Arc<str>,
}

impl Session {
    /// A session that sends into `outbound`. Unbounded, because what goes in is bounded elsewhere: tasks by credits, acknowledgements
    /// by results that came up the stream.
    pub(crate) fn new(
        id: SessionId,
        hello: &v1::Hello,
        worker_id: Uuid,
        namespace: NamespaceId,
        version: Option<Arc<WorkerVersion>>,
        outbound: mpsc::UnboundedSender<Outbound>,
    ) -> Self {
        let worker = hello.worker.clone().map(engine_proto::convert::worker_metadata_from_proto).unwrap_or_default();
        Self {
            id,
            worker_id,
            identity: hello.identity.clone(),
            namespace,
            worker,
            version,
            outbound,
            hands: Mutex::new(Hands::default()),
        }
    }

    /// The version that it announced, if it did.
    pub(crate) fn version(&self) -> Option<&Arc<WorkerVersion>> {
        self.version.as_ref()
    }

    /// Hands the task to the worker: records it as in its hand, and sends the message that carries it. `false`: the stream is gone
    /// or wants no more tasks, so the task must be offered again.
    pub(crate) fn hand(&self, id: TaskId, task: InHand, message: Outbound) -> bool {
        let mut hands = self.hands.lock();
        if hands.closed || hands.draining {
            return false;
        }
        hands.tasks.insert(id, task);
        // Under the lock, so that no task follows the answer to a drain.
        self.send(message);
        true
    }

    /// Records a task that the worker brought along. `false`: the stream is gone.
    pub(crate) fn keep(&self, id: TaskId, task: InHand) -> bool {
        let mut hands = self.hands.lock();
        if !hands.closed {
            hands.tasks.insert(id, task);
        }
        !hands.closed
    }

    /// The worker wants no more tasks; tells it when none is on its way any more.
    pub(crate) fn drain(&self) {
        let mut hands = self.hands.lock();
        hands.draining = true;
        self.send(Outbound::Drained);
    }

    /// The task is no longer the worker's.
    pub(crate) fn take_back(&self, id: &TaskId) -> Option<InHand> {
        self.hands.lock().tasks.remove(id)
    }

    /// Sends, unless the stream is gone; then whoever closed it deals with what is in hand.
    pub(crate) fn send(&self, message: Outbound) {
        self.outbound.send(message).ok();
    }

    /// Asks a run's code. The answer never comes if the stream breaks before it.
    pub(crate) fn ask(&self, mut query: v1::QueryTask) -> Result<oneshot::Receiver<v1::QueryAnswer>, NotAsked> {
        let mut hands = self.hands.lock();
        if hands.closed || hands.draining {
            return Err(NotAsked::Gone);
        }
        // Those that nobody waits for any more count too: the worker still works on them.
        if hands.queries.len() >= limits::QUERIES_IN_HAND_MAX {
            return Err(NotAsked::Busy);
        }
        hands.last_query += 1;
        query.query_id = hands.last_query;
        let (sender, answer) = oneshot::channel();
        hands.queries.insert(query.query_id, sender);
        self.send(Outbound::Query(Box::new(query)));
        Ok(answer)
    }

    /// The worker answered a query. One that is not known was answered before.
    pub(crate) fn answered(&self, answer: v1::QueryAnswer) {
        let asked = self.hands.lock().queries.remove(&answer.query_id);
        if let Some(asked) = asked {
            asked.send(answer).ok();
        }
    }

    /// Ends the stream's hold on its tasks and returns them. Further tasks are refused.
    pub(crate) fn close(&self) -> HashMap<TaskId, InHand> {
        let mut hands = self.hands.lock();
        hands.closed = true;
        hands.cached.clear();
        hands.queries.clear();
        std::mem::take(&mut hands.tasks)
    }

    /// All tasks in hand.
    pub(crate) fn tasks(&self) -> Vec<(TaskId, InHand)> {
        self.hands.lock().tasks.iter().map(|(id, task)| (*id, task.clone())).collect()
    }

    /// The worker has the run in its cache, its code having seen everything up to `last`.
    pub(crate) fn set_cached(&self, run: RunId, last: EventId) {
        self.hands.lock().cached.insert(run, last);
    }

    /// The worker dropped the run from its cache.
    pub(crate) fn evicted(&self, run: &RunId) {
        self.hands.lock().cached.remove(run);
    }

    /// What the worker's cached code of the run has seen, if it has it.
    pub(crate) fn cached_up_to(&self, run: &RunId) -> Option<EventId> {
        self.hands.lock().cached.get(run).copied()
    }
}
