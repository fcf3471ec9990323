//! Sessions as queues see them: what they serve, what they know, how many credits they have.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use engine_core::event::WorkerVersion;
use uuid::Uuid;

use super::{QueueKey, QueuedTask, SessionId, TaskKind};
use crate::store::NamespaceId;

/// What a session said in its hello.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The worker process, the same on each of its streams.
    pub worker_id: Uuid,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The queues that it serves.
    pub queues: Vec<Arc<str>>,
    /// Its version, if it has one.
    pub version: Option<Arc<WorkerVersion>>,
    /// Those of its queues that it alone serves: they belong to no deployment.
    pub own_queues: HashSet<Arc<str>>,
    /// The workflow types that it has.
    pub workflow_types: HashSet<String>,
    /// The activity types that it has.
    pub activity_types: HashSet<String>,
    /// Whether it has code for workflow types that it does not name.
    pub any_workflow_type: bool,
    /// Whether it has code for activity types that it does not name.
    pub any_activity_type: bool,
}

impl SessionSpec {
    /// Each queue that it serves, in both kinds of which it has any type.
    pub(super) fn queue_keys(&self) -> impl Iterator<Item = QueueKey> + '_ {
        self.kinds().flat_map(move |kind| {
            self.queues.iter().map(move |name| QueueKey {
                namespace: self.namespace,
                name: Arc::clone(name),
                kind,
                version: self.version_in(name).cloned(),
            })
        })
    }

    /// Which part of a queue it serves.
    fn version_in(&self, queue: &Arc<str>) -> Option<&Arc<WorkerVersion>> {
        self.version.as_ref().filter(|_| !self.own_queues.contains(queue))
    }

    pub(super) fn serves(&self, key: &QueueKey) -> bool {
        self.namespace == key.namespace
            && self.queues.contains(&key.name)
            && self.version_in(&key.name) == key.version.as_ref()
    }

    pub(super) fn knows(&self, kind: TaskKind, type_name: &str) -> bool {
        match kind {
            TaskKind::Workflow => self.any_workflow_type || self.workflow_types.contains(type_name),
            TaskKind::Activity => self.any_activity_type || self.activity_types.contains(type_name),
        }
    }

    /// A worker without any activity is a worker for workflows only: it is not asked to refuse activities.
    fn kinds(&self) -> impl Iterator<Item = TaskKind> + use<> {
        let workflows = (self.any_workflow_type || !self.workflow_types.is_empty()).then_some(TaskKind::Workflow);
        let activities = (self.any_activity_type || !self.activity_types.is_empty()).then_some(TaskKind::Activity);
        workflows.into_iter().chain(activities)
    }
}

/// An open session.
#[derive(Debug)]
pub(super) struct PooledSession {
    pub(super) spec: SessionSpec,
    pub(super) draining: bool,
    /// Workflow tasks of runs in its cache, waiting for its credits.
    pub(super) sticky: VecDeque<QueuedTask>,
    workflow_credits: u32,
    activity_credits: u32,
}

impl PooledSession {
    pub(super) fn new(spec: SessionSpec) -> Self {
        Self { spec, draining: false, sticky: VecDeque::new(), workflow_credits: 0, activity_credits: 0 }
    }

    pub(super) fn credits(&self, kind: TaskKind) -> u32 {
        match kind {
            TaskKind::Workflow => self.workflow_credits,
            TaskKind::Activity => self.activity_credits,
        }
    }

    pub(super) fn set_credits(&mut self, kind: TaskKind, credits: u32) {
        match kind {
            TaskKind::Workflow => self.workflow_credits = credits,
            TaskKind::Activity => self.activity_credits = credits,
        }
    }
}

/// The sessions that serve one queue, ordered by free credits.
#[derive(Debug, Default)]
pub(super) struct Pool {
    by_credits: BTreeSet<(u32, SessionId)>,
}

impl Pool {
    pub(super) fn set_credits(&mut self, id: SessionId, before: u32, after: u32) {
        self.by_credits.remove(&(before, id));
        self.by_credits.insert((after, id));
    }

    pub(super) fn remove(&mut self, id: SessionId, credits: u32) {
        self.by_credits.remove(&(credits, id));
    }

    /// Sessions with a credit, those with most first.
    pub(super) fn by_most_credits(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.by_credits.iter().rev().take_while(|(credits, _)| *credits > 0).map(|(_, id)| *id)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.by_credits.iter().map(|(_, id)| *id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_credits.is_empty()
    }
}
