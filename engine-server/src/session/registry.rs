//! All streams of this node, and the activities whose stream broke and whose grace runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine_core::event::WorkerVersion;
use engine_core::execution::Input;
use engine_core::ids::EventId;
use engine_proto::token::{ActivityToken, WorkflowTaskToken};
use engine_proto::v1;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::hash::HashMap;
use crate::node::NodeContext;
use crate::queue::{SessionId, TaskId, TaskKind};
use crate::session::{InHand, Outbound, Session};
use crate::shard::lane::release_input;
use crate::shard::request::{Claim, LocalKey, Request, RequestKind, Responder};
use crate::store::{NamespaceId, ShardId};

/// All streams of this node.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    next_id: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<SessionId, Arc<Session>>,
    by_worker: HashMap<Uuid, SessionId>,
    /// Activities whose stream broke, until their grace is over or their worker is back.
    lost: HashMap<TaskId, Lost>,
}

#[derive(Debug)]
struct Lost {
    session: SessionId,
    worker_id: Uuid,
    task: InHand,
}

impl Sessions {
    /// Opens a session. A session of the same worker that is still open is ended: its stream is dead, or the worker would not
    /// have opened another. Returns also the tasks that the worker had, so that those that it does not name can be released.
    pub(crate) fn open(
        &self,
        hello: &v1::Hello,
        worker_id: Uuid,
        namespace: NamespaceId,
        version: Option<Arc<WorkerVersion>>,
        outbound: mpsc::UnboundedSender<Outbound>,
    ) -> (Arc<Session>, Option<Arc<Session>>, HashMap<TaskId, InHand>) {
        let id = SessionId(self.next_id.fetch_add(1, Ordering::Relaxed) + 1);
        let session = Arc::new(Session::new(id, hello, worker_id, namespace, version, outbound));
        let mut inner = self.inner.lock();
        let lost: Vec<TaskId> =
            inner.lost.iter().filter(|(_, lost)| lost.worker_id == worker_id).map(|(id, _)| *id).collect();
        let mut had: HashMap<TaskId, InHand> =
            lost.into_iter().filter_map(|id| inner.lost.remove(&id).map(|lost| (id, lost.task))).collect();
        inner.by_id.insert(id, Arc::clone(&session));
        let replaced = inner.by_worker.insert(worker_id, id).and_then(|old| inner.by_id.remove(&old));
        if let Some(old) = &replaced {
            had.extend(old.close());
            old.send(Outbound::Reset("the worker opened another stream"));
        }
        (session, replaced, had)
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.inner.lock().by_id.get(&id).cloned()
    }

    /// The stream of a worker, if it has one.
    pub(crate) fn of_worker(&self, worker_id: Uuid) -> Option<Arc<Session>> {
        let inner = self.inner.lock();
        inner.by_id.get(inner.by_worker.get(&worker_id)?).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.inner.lock().by_id.values().cloned().collect()
    }

    /// How many workflow tasks workers have in hand, and the tokens of the activities.
    pub(crate) fn in_hand(&self) -> (usize, Vec<bytes::Bytes>) {
        let (mut workflow_tasks, mut activities) = (0, Vec::new());
        for (id, task) in self.inner.lock().by_id.values().flat_map(|session| session.tasks()) {
            if id.activity == EventId::NONE {
                workflow_tasks += 1;
            } else {
                activities.push(task.token);
            }
        }
        (workflow_tasks, activities)
    }

    /// Claims, in the name of connected workers, of the tasks that they have of some shards: this node lost its memory of them.
    pub(crate) fn claims_of(&self, context: &NodeContext, wanted: impl Fn(ShardId) -> bool) -> Vec<Request> {
        let mut claims = Vec::new();
        for session in self.all() {
            for (id, task) in session.tasks() {
                let shard = context.shard_of(task.namespace, &task.workflow_id);
                if wanted(shard)
                    && let Some(input) = claim_input(&id, &task, &session.identity)
                {
                    let key = LocalKey { namespace: task.namespace, workflow_id: Arc::clone(&task.workflow_id) };
                    let claim = Claim { task: id, input, in_hand: task, session: Arc::clone(&session), reply: None };
                    claims.push(Request { shard, key, kind: RequestKind::Claim(Box::new(claim)) });
                }
            }
        }
        claims
    }

    /// The stream ended. Workflow tasks go to another worker at once, since repeating them does no harm; activities wait for
    /// `grace`, in which the worker may come back with them.
    pub(crate) async fn end(&self, context: &Arc<NodeContext>, session: &Arc<Session>, grace: Duration) {
        // Before the tasks leave the session, until their inputs are with their lane or their grace runs.
        let _busy = context.options.clock.busy();
        {
            let mut inner = self.inner.lock();
            inner.by_id.remove(&session.id);
            if inner.by_worker.get(&session.worker_id) == Some(&session.id) {
                inner.by_worker.remove(&session.worker_id);
            }
        }
        let pushes = context.queues.lock().close_session(session.id);
        pushes.into_iter().for_each(|push| context.deliver(push));
        let (activities, workflow_tasks): (Vec<_>, Vec<_>) =
            session.close().into_iter().partition(|(id, _)| id.activity != EventId::NONE);
        if context.is_stopping() {
            return;
        }
        for (id, task) in workflow_tasks {
            release(context, id, &task).await;
        }
        if activities.is_empty() {
            return;
        }
        tracing::info!(worker = %session.identity, activities = activities.len(), ?grace, "a worker's stream broke");
        {
            let mut inner = self.inner.lock();
            for (id, task) in activities {
                inner.lost.insert(id, Lost { session: session.id, worker_id: session.worker_id, task });
            }
        }
        let context = Arc::clone(context);
        let session = session.id;
        let pause = context.options.clock.sleep_until(Some(context.now() + grace));
        tokio::spawn(async move {
            let _busy = pause.await;
            context.sessions.give_up(&context, session).await;
        });
    }

    /// The grace of a broken stream is over: what its worker did not claim is lost.
    async fn give_up(&self, context: &NodeContext, session: SessionId) {
        let lost: Vec<(TaskId, Lost)> = {
            let mut inner = self.inner.lock();
            let ids: Vec<TaskId> =
                inner.lost.iter().filter(|(_, lost)| lost.session == session).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| inner.lost.remove(&id).map(|lost| (id, lost))).collect()
        };
        for (id, lost) in lost {
            lose(context, id, &lost.task).await;
        }
    }
}

/// The worker that had the activity is gone for good.
pub(crate) async fn lose(context: &NodeContext, id: TaskId, task: &InHand) {
    if let Ok(token) = ActivityToken::decode(&task.token) {
        send(context, id, task, Input::LoseActivity { token: token.task }).await;
    }
}

/// The worker does not have the task, so it goes to another.
pub(crate) async fn release(context: &NodeContext, id: TaskId, task: &InHand) {
    let kind = if id.activity == EventId::NONE { TaskKind::Workflow } else { TaskKind::Activity };
    if let Some(input) = release_input(kind, &task.token) {
        send(context, id, task, input).await;
    }
}

async fn send(context: &NodeContext, id: TaskId, task: &InHand, input: Input) {
    let key = LocalKey { namespace: task.namespace, workflow_id: Arc::clone(&task.workflow_id) };
    let kind = RequestKind::Input { run_id: Some(id.run_id), input: Box::new(input), responder: Responder::Nobody };
    context.send(Request { shard: context.shard_of(task.namespace, &task.workflow_id), key, kind }).await;
}

/// The input with which a worker claims a task; `None` if the token is not a token.
pub(crate) fn claim_input(id: &TaskId, task: &InHand, identity: &str) -> Option<Input> {
    let identity = identity.to_owned();
    if id.activity == EventId::NONE {
        let token = WorkflowTaskToken::decode(&task.token).ok()?;
        Some(Input::ClaimWorkflowTask { token: token.task, identity })
    } else {
        let token = ActivityToken::decode(&task.token).ok()?;
        Some(Input::ClaimActivity { token: token.task, identity })
    }
}
