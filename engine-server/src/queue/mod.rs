//! Task queues: what waits for a worker, and which worker gets it.
//!
//! A pure state machine: `offer`, `grant` and `due` return the pushes that they cause, and whoever drives it (lanes and
//! sessions, under one short lock) carries them out. Nothing here is durable: shards offer again what they still need.
//!
//! Rules:
//! - A task goes to a session that serves its queue, against one of the session's credits.
//! - A workflow task goes first to the session that has its run cached; if that session has no credit the task waits for it,
//!   but no longer than [`STICKY_PATIENCE`].
//! - Else to the session with the most free credits of those that know the task's type; if none on the queue knows the type,
//!   to any, which will refuse it with a sentence that describe shows.
//! - Without a credit anywhere the task waits, first in, first out.
//! - A queue that belongs to a deployment has a part for each version, and one for workers without a version. Its route (`route`) says
//!   which part a task goes to, when it is offered; when the route changes, what waits is offered anew.
//!
//! Invariant: a task is in at most one place: the backlog, one session's sticky line, or handed out (then it is not here).

mod backlog;
mod route;
mod session_pool;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::WorkerVersion;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use uuid::Uuid;

use crate::hash::HashMap;
use crate::store::{NamespaceId, ShardId};
use backlog::Backlog;
pub use route::{Route, SHARE_OF_ALL};
pub use session_pool::SessionSpec;
use session_pool::{Pool, PooledSession};

/// How long a workflow task waits for the session that has its run cached before any other may take it. Replaying
/// elsewhere costs more than a short wait, but a hung worker must not hold its runs.
pub const STICKY_PATIENCE: Duration = Duration::from_millis(500);

/// A worker's stream, numbered by this server process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Which of the two kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// Move workflow code forward.
    Workflow,
    /// Run an activity once.
    Activity,
}

/// Names a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: TaskKind,
    /// The version whose workers serve this part of it; `None`: the part of workers without a version, which is all of a queue that
    /// belongs to no deployment.
    pub version: Option<Arc<WorkerVersion>>,
}

/// Names a task: a run has one workflow task at a time, and one current attempt of each activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The run.
    pub run_id: RunId,
    /// The activity, or [`EventId::NONE`] for the workflow task.
    pub activity: EventId,
}

/// A task that waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    /// Its name.
    pub id: TaskId,
    /// The shard that knows it.
    pub shard: ShardId,
    /// The namespace in the key of its run; that of its queue, or the standalone activities' of it.
    pub namespace: NamespaceId,
    /// The workflow id of its run.
    pub workflow_id: Arc<str>,
    /// Which try.
    pub attempt: u32,
    /// Its workflow or activity type.
    pub type_name: Arc<str>,
    /// Its queue. Which part of it is for the queues to say when it is offered.
    pub queue: QueueKey,
    /// The version that its run is pinned to.
    pub pin: Option<Arc<WorkerVersion>>,
    /// For workflow tasks: the worker that has the run cached.
    pub preferred_worker: Option<Uuid>,
}

/// A task that found its session. One credit was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Who gets it.
    pub session: SessionId,
    /// What.
    pub task: QueuedTask,
}

/// The routes of queues that belong to deployments, by namespace and name.
pub type Routes = HashMap<(NamespaceId, Arc<str>), Arc<Route>>;

/// All task queues of this node.
#[derive(Debug, Default)]
pub struct TaskQueues {
    sessions: HashMap<SessionId, PooledSession>,
    by_worker: HashMap<Uuid, SessionId>,
    pools: HashMap<QueueKey, Pool>,
    backlogs: HashMap<QueueKey, Backlog>,
    routes: Routes,
    /// Where a waiting task is, so that it can be withdrawn.
    places: HashMap<TaskId, Place>,
    /// Sticky lines by the instant their patience ends.
    sticky_due: BTreeSet<(Timestamp, TaskId)>,
    next_ticket: u64,
}

#[derive(Debug, Clone)]
enum Place {
    Backlog(QueueKey, u64),
    Sticky(SessionId, Timestamp),
}

impl TaskQueues {
    /// Adds a session without credits. A session of the same worker that is still here keeps its place until it is closed, but
    /// the worker's cache now belongs to the new one.
    pub fn open_session(&mut self, id: SessionId, spec: SessionSpec) {
        self.by_worker.insert(spec.worker_id, id);
        for key in spec.queue_keys() {
            self.pools.entry(key).or_default().set_credits(id, 0, 0);
        }
        self.sessions.insert(id, PooledSession::new(spec));
    }

    /// Removes a session; what waited for it alone waits for anybody now.
    pub fn close_session(&mut self, id: SessionId) -> Vec<Push> {
        let Some(session) = self.sessions.remove(&id) else {
            return Vec::new();
        };
        if self.by_worker.get(&session.spec.worker_id) == Some(&id) {
            self.by_worker.remove(&session.spec.worker_id);
        }
        for key in session.spec.queue_keys() {
            let credits = session.credits(key.kind);
            if let Some(pool) = self.pools.get_mut(&key) {
                pool.remove(id, credits);
                if pool.is_empty() {
                    self.pools.remove(&key);
                }
            }
        }
        self.offer_to_all(session.sticky)
    }

    /// Gives a session more credits, and pushes what waits.
    pub fn grant(&mut self, id: SessionId, kind: TaskKind, credits: u32) -> Vec<Push> {
        if self.sessions.get(&id).is_none_or(|session| session.draining) {
            return Vec::new();
        }
        self.change_credits(id, kind, i64::from(credits));
        let mut pushes = Vec::new();
        while let Some(push) = self.next_for(id, kind) {
            pushes.push(push);
        }
        pushes
    }

    /// A session wants no further task, whatever it grants. What waited for it alone waits for anybody now.
    pub fn drain(&mut self, id: SessionId) -> Vec<Push> {
        for kind in [TaskKind::Workflow, TaskKind::Activity] {
            let credits = self.sessions.get(&id).map_or(0, |session| session.credits(kind));
            self.change_credits(id, kind, -i64::from(credits));
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        session.draining = true;
        let line = std::mem::take(&mut session.sticky);
        self.offer_to_all(line)
    }

    /// A task wants a worker. Replaces the same task if it is already waiting.
    pub fn offer(&mut self, mut task: QueuedTask, now: Timestamp) -> Option<Push> {
        self.withdraw(&task.id);
        task.queue.version = self.target(&task.queue, task.pin.as_ref(), &task.workflow_id);
        if let Some(session) = self.sticky_session(&task) {
            if self.sessions[&session].credits(task.queue.kind) > 0 {
                return Some(self.push(session, task));
            }
            let until = now + STICKY_PATIENCE;
            self.places.insert(task.id, Place::Sticky(session, until));
            self.sticky_due.insert((until, task.id));
            self.sessions.get_mut(&session).expect("the sticky session is open").sticky.push_back(task);
            return None;
        }
        match self.best_session(&task) {
            Some(session) => Some(self.push(session, task)),
            None => {
                self.enqueue(task);
                None
            }
        }
    }

    /// A task no longer wants a worker. No effect if it is not waiting.
    pub fn withdraw(&mut self, id: &TaskId) {
        match self.places.remove(id) {
            Some(Place::Backlog(key, ticket)) => self.remove_from_backlog(&key, ticket),
            Some(Place::Sticky(session, until)) => {
                self.sticky_due.remove(&(until, *id));
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.sticky.retain(|task| task.id != *id);
                }
            }
            None => {}
        }
    }

    /// Whether a task waits for a worker.
    pub fn is_waiting(&self, id: &TaskId) -> bool {
        self.places.contains_key(id)
    }

    /// Forgets all waiting tasks of a shard: its owner forgot it, and will offer again what it still needs.
    pub fn withdraw_shard(&mut self, shard: ShardId) {
        let in_backlogs = self.backlogs.values().flat_map(Backlog::tasks);
        let in_lines = self.sessions.values().flat_map(|session| session.sticky.iter());
        let ids: Vec<TaskId> =
            in_backlogs.chain(in_lines).filter(|task| task.shard == shard).map(|task| task.id).collect();
        for id in ids {
            self.withdraw(&id);
        }
    }

    /// When [`TaskQueues::due`] has something to do.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.sticky_due.first().map(|(at, _)| *at)
    }

    /// Lets others take workflow tasks whose own session kept them waiting too long.
    pub fn due(&mut self, now: Timestamp) -> Vec<Push> {
        let mut pushes = Vec::new();
        while let Some((at, id)) = self.sticky_due.first().copied() {
            if at > now {
                break;
            }
            let Some(Place::Sticky(session, _)) = self.places.get(&id) else {
                unreachable!("each entry of sticky_due has its place");
            };
            let line = &mut self.sessions.get_mut(session).expect("a sticky line belongs to an open session").sticky;
            let index = line.iter().position(|task| task.id == id).expect("a sticky place names its line");
            let mut task = line.remove(index).expect("the index was just found");
            self.forget_sticky(&id);
            task.preferred_worker = None;
            pushes.extend(self.offer(task, now));
        }
        pushes
    }

    /// Takes these routes in the place of those before. What waits where that changes something is offered anew, in the order in which it
    /// came; what is handed out already ends where it is.
    pub fn set_routes(&mut self, routes: Routes, now: Timestamp) -> Vec<Push> {
        let before = std::mem::replace(&mut self.routes, routes);
        let place = |queue: &QueueKey| (queue.namespace, Arc::clone(&queue.name));
        let differs = |queue: &QueueKey| before.get(&place(queue)) != self.routes.get(&place(queue));
        let is_elsewhere =
            |task: &QueuedTask| self.target(&task.queue, task.pin.as_ref(), &task.workflow_id) != task.queue.version;
        // A build that only begins to serve a queue moves nothing, however much waits there.
        let in_backlogs =
            self.backlogs.iter().filter(|(key, backlog)| differs(key) && backlog.tasks().any(is_elsewhere));
        let mut changed: HashSet<_> = in_backlogs.map(|(key, _)| place(key)).collect();
        let in_lines = || self.sessions.values().flat_map(|session| session.sticky.iter());
        let moved_in_lines = in_lines().filter(|task| differs(&task.queue) && is_elsewhere(task));
        changed.extend(moved_in_lines.map(|task| place(&task.queue)));
        if changed.is_empty() {
            return Vec::new();
        }
        let backlogs = self.backlogs.iter().filter(|(key, _)| changed.contains(&place(key)));
        let in_lines = in_lines().filter(|task| changed.contains(&place(&task.queue)));
        let mut moved: Vec<QueuedTask> =
            backlogs.flat_map(|(_, backlog)| backlog.tasks()).chain(in_lines).cloned().collect();
        // A ticket of a backlog says when a task came; one that waits in a line came after all that the worker had no credit for.
        moved.sort_by_key(|task| self.ticket(&task.id));
        moved.into_iter().filter_map(|task| self.offer(task, now)).collect()
    }

    fn ticket(&self, id: &TaskId) -> u64 {
        match self.places.get(id) {
            Some(Place::Backlog(_, ticket)) => *ticket,
            Some(Place::Sticky(..)) | None => u64::MAX,
        }
    }

    /// The version whose workers get a task of this queue; `None`: workers without one.
    pub fn target(
        &self,
        queue: &QueueKey,
        pin: Option<&Arc<WorkerVersion>>,
        workflow_id: &str,
    ) -> Option<Arc<WorkerVersion>> {
        if self.routes.is_empty() {
            return None;
        }
        let route = self.routes.get(&(queue.namespace, Arc::clone(&queue.name)))?;
        route.target(queue.kind, pin, workflow_id)
    }

    /// Sessions whose code of this type can be asked, the preferred worker's first, else by most credits.
    pub fn sessions_with(&self, queue: &QueueKey, type_name: &str, preferred: Option<Uuid>) -> Vec<SessionId> {
        let Some(pool) = self.pools.get(queue) else { return Vec::new() };
        let fits = |id: &SessionId| {
            let session = &self.sessions[id];
            !session.draining && session.spec.knows(queue.kind, type_name)
        };
        let preferred = preferred.and_then(|worker| self.by_worker.get(&worker)).copied();
        let mut sessions: Vec<SessionId> = pool.sessions().filter(fits).collect();
        sessions.reverse();
        sessions.sort_by_key(|id| Some(*id) != preferred);
        sessions
    }

    /// Whether any worker serves the queue.
    pub fn is_served(&self, queue: &QueueKey) -> bool {
        self.pools.get(queue).is_some_and(|pool| pool.sessions().any(|id| !self.sessions[&id].draining))
    }

    /// How many tasks wait, for people and for shedding.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// How many tasks wait in queues that somebody serves.
    pub fn waiting_for_workers(&self) -> usize {
        let is_served = |place: &&Place| match place {
            Place::Backlog(queue, _) => self.is_served(queue),
            Place::Sticky(..) => true,
        };
        self.places.values().filter(is_served).count()
    }

    fn sticky_session(&self, task: &QueuedTask) -> Option<SessionId> {
        let session = *self.by_worker.get(&task.preferred_worker?)?;
        let open = self.sessions.get(&session)?;
        (!open.draining && open.spec.serves(&task.queue)).then_some(session)
    }

    fn best_session(&self, task: &QueuedTask) -> Option<SessionId> {
        let pool = self.pools.get(&task.queue)?;
        let knows = |id: &SessionId| self.sessions[id].spec.knows(task.queue.kind, &task.type_name);
        if let Some(id) = pool.by_most_credits().find(knows) {
            return Some(id);
        }
        // Waiting for a busy worker that knows the type beats a refusal by an idle one that does not.
        if pool.sessions().any(|id| knows(&id)) {
            return None;
        }
        pool.by_most_credits().next()
    }

    /// The next waiting task for a session that has credits: its own line first, then the oldest of its queues' backlogs.
    fn next_for(&mut self, id: SessionId, kind: TaskKind) -> Option<Push> {
        let session = self.sessions.get_mut(&id)?;
        if session.credits(kind) == 0 || session.draining {
            return None;
        }
        if kind == TaskKind::Workflow
            && let Some(task) = session.sticky.pop_front()
        {
            self.forget_sticky(&task.id);
            return Some(self.push(id, task));
        }
        let session = &self.sessions[&id];
        let candidates = session.spec.queue_keys().filter(|key| key.kind == kind).filter_map(|key| {
            let backlog = self.backlogs.get(&key)?;
            let known_elsewhere = |type_name: &str| {
                self.pools.get(&key).is_some_and(|pool| {
                    pool.sessions().any(|other| other != id && self.sessions[&other].spec.knows(kind, type_name))
                })
            };
            let fits = |type_name: &str| session.spec.knows(kind, type_name) || !known_elsewhere(type_name);
            backlog.first_of(fits).map(|ticket| (ticket, key))
        });
        let (ticket, key) = candidates.min()?;
        let task = self.backlogs.get_mut(&key)?.remove(ticket)?;
        self.drop_empty_backlog(&key);
        self.places.remove(&task.id);
        Some(self.push(id, task))
    }

    fn push(&mut self, session: SessionId, task: QueuedTask) -> Push {
        self.change_credits(session, task.queue.kind, -1);
        Push { session, task }
    }

    fn offer_to_all(&mut self, line: VecDeque<QueuedTask>) -> Vec<Push> {
        let mut pushes = Vec::new();
        for mut task in line {
            self.forget_sticky(&task.id);
            task.preferred_worker = None;
            pushes.extend(self.offer(task, Timestamp::EPOCH));
        }
        pushes
    }

    fn change_credits(&mut self, id: SessionId, kind: TaskKind, by: i64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let before = session.credits(kind);
        let after = u32::try_from((i64::from(before) + by).max(0)).unwrap_or(u32::MAX);
        session.set_credits(kind, after);
        for key in session.spec.queue_keys().filter(|key| key.kind == kind) {
            if let Some(pool) = self.pools.get_mut(&key) {
                pool.set_credits(id, before, after);
            }
        }
    }

    fn enqueue(&mut self, task: QueuedTask) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.places.insert(task.id, Place::Backlog(task.queue.clone(), ticket));
        self.backlogs.entry(task.queue.clone()).or_default().insert(ticket, task);
    }

    fn remove_from_backlog(&mut self, key: &QueueKey, ticket: u64) {
        if let Some(backlog) = self.backlogs.get_mut(key) {
            backlog.remove(ticket);
            self.drop_empty_backlog(key);
        }
    }

    fn drop_empty_backlog(&mut self, key: &QueueKey) {
        if self.backlogs.get(key).is_some_and(Backlog::is_empty) {
            self.backlogs.remove(key);
        }
    }

    fn forget_sticky(&mut self, id: &TaskId) {
        if let Some(Place::Sticky(_, until)) = self.places.remove(id) {
            self.sticky_due.remove(&(until, *id));
        }
    }
}

#[cfg(test)]
mod tests;
