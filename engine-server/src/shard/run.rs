//! A run in memory: its state, the encoded end of its history, and who has its tasks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use engine_core::event::{Event, EventKind, VersioningBehavior, WorkerVersion};
use engine_core::execution::Execution;
use engine_core::ids::{BuildId, DeploymentName, EventId, RunId, SearchAttributeName};
use engine_core::search::{
    BUILD_ID, DEPLOYMENT, PAUSED, SearchAttributes, SearchValue, TASK_FAILURE, VERSIONING_BEHAVIOR,
};
use engine_core::time::Timestamp;
use engine_proto::EncodedHistory;
use uuid::Uuid;

use crate::limits;
use crate::session::Session;
use crate::shard::queries::Queries;
use crate::store::{ExecutionRow, RunKey};

/// A run in memory.
#[derive(Debug)]
pub(crate) struct HotRun {
    pub(crate) key: RunKey,
    pub(crate) execution: Execution,
    pub(crate) tail: Tail,
    /// Size of the whole history, in bytes.
    pub(crate) history_bytes: u64,
    /// What the run's row says, counting updates that are on their way.
    pub(crate) durable_wake_at: Timestamp,
    /// What the run's row says of how it stands. `None`: something else than it should.
    pub(crate) listed_as: Option<Standing>,
    /// Whether the store may hold buffered events of this run.
    pub(crate) has_stored_buffer: bool,
    pub(crate) next_buffer_position: i64,
    /// The batch that holds the run's last change; 0 if none does.
    pub(crate) last_batch: u64,
    /// The batch that must be durable before a workflow task of the run leaves: that of its last change, unless the news in it may
    /// be seen early ([`may_be_seen_early`]).
    pub(crate) task_after: u64,
    /// The deadline that the shard's set of deadlines has for it.
    pub(crate) registered_deadline: Option<Timestamp>,
    /// The worker that completed the last workflow task and kept the run in its cache.
    pub(crate) sticky_worker: Option<Uuid>,
    /// Who has which task: the workflow task under [`EventId::NONE`], activities under their scheduled event.
    pub(crate) holders: BTreeMap<EventId, Holder>,
    /// Queries that wait for its workflow task.
    pub(crate) queries: Queries,
    /// When it last changed; the oldest idle runs are parked first.
    pub(crate) touched_at: Timestamp,
    /// Whether the shard's set of idle runs has it, under `touched_at`.
    pub(crate) registered_idle: bool,
    /// The batch after which it leaves memory, unless it is touched before.
    pub(crate) parking_in: Option<u64>,
    /// What it counts in the cache.
    pub(crate) counted_bytes: usize,
}

/// A worker that has a task of the run.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) session: Arc<Session>,
    pub(crate) token: Bytes,
}

impl HotRun {
    pub(crate) fn new(key: RunKey, execution: Execution, now: Timestamp) -> Self {
        Self {
            key,
            execution,
            tail: Tail::default(),
            history_bytes: 0,
            durable_wake_at: Timestamp::EPOCH,
            listed_as: Some(Standing::default()),
            has_stored_buffer: false,
            next_buffer_position: 1,
            last_batch: 0,
            task_after: 0,
            registered_deadline: None,
            sticky_worker: None,
            holders: BTreeMap::new(),
            queries: Queries::default(),
            touched_at: now,
            registered_idle: false,
            parking_in: None,
            counted_bytes: 0,
        }
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.key.run_id
    }

    /// Approximate size in memory.
    pub(crate) fn memory_size(&self) -> usize {
        size_of::<Self>() + self.execution.memory_size() + self.tail.bytes + 2 * self.key.workflow_id.len()
    }

    /// Gives back memory that the run does not need while it is idle.
    pub(crate) fn shrink(&mut self) {
        self.execution.shrink();
        if self.holders.is_empty() {
            self.holders = BTreeMap::new();
        }
        self.tail.events.shrink_to_fit();
    }

    /// The run's row, as it is while the run is open.
    pub(crate) fn row(&self) -> ExecutionRow {
        let started = self.execution.started();
        ExecutionRow {
            key: self.key.clone(),
            workflow_type: started.workflow_type.as_str().to_owned(),
            task_queue: started.task_queue.as_str().to_owned(),
            status: self.execution.close_status(),
            started_at: self.execution.started_at(),
            closed_at: self.execution.closed_at(),
            history_length: self.execution.close_status().map_or(0, |_| self.execution.next_event_id().0 - 1),
            wake_at: self.durable_wake_at,
            request_id: started.request_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            search_attributes: self.listed_by(),
        }
    }

    /// The search attributes of its row: its own, and how it stands.
    pub(crate) fn listed_by(&self) -> SearchAttributes {
        let mut all = self.execution.search_attributes().clone();
        let Standing { paused, task_failure, version } = Standing::of(&self.execution);
        let keyword = |word: &str| SearchValue::Keyword(word.to_owned());
        let (version, behavior) = version.unzip();
        let own = [
            (PAUSED, paused.then_some(SearchValue::Bool(true))),
            (TASK_FAILURE, task_failure.map(keyword)),
            (DEPLOYMENT, version.as_ref().map(|version| keyword(version.deployment.as_str()))),
            (BUILD_ID, version.as_ref().map(|version| keyword(version.build_id.as_str()))),
            (VERSIONING_BEHAVIOR, behavior.map(|behavior| keyword(behavior.name()))),
        ];
        let given = own.into_iter().filter_map(|(name, value)| Some((SearchAttributeName::from_trusted(name), value?)));
        all.extend(given);
        all
    }
}

/// The version by which a row lists its run, and how the run follows versions: what [`HotRun::listed_by`] has put there.
pub(crate) fn listed_version(attributes: &SearchAttributes) -> Option<(WorkerVersion, VersioningBehavior)> {
    let word = |wanted: &str| {
        attributes.iter().find_map(|(name, value)| match value {
            SearchValue::Keyword(word) if name.as_str() == wanted => Some(word.as_str()),
            _ => None,
        })
    };
    let deployment = DeploymentName::from_trusted(word(DEPLOYMENT)?);
    let build_id = BuildId::from_trusted(word(BUILD_ID)?);
    let behaviors = [VersioningBehavior::Pinned, VersioningBehavior::AutoUpgrade];
    let behavior = word(VERSIONING_BEHAVIOR).and_then(|word| behaviors.into_iter().find(|it| it.name() == word))?;
    Some((WorkerVersion { deployment, build_id }, behavior))
}

/// Whether workflow code may see the news of these events while they are on their way to the store.
///
/// What code makes of them can only become durable in a later batch of the same lane, so a crash that loses them loses that
/// too; then the task's token no longer fits the history, and its worker drops the run from its cache. Not worth it while more news
/// is expected, which would have to be buffered until the task ends, or comes from outside, where who sends once may send again.
pub(crate) fn may_be_seen_early(events: &[Event], execution: &Execution) -> bool {
    let is_own = |event: &Event| {
        matches!(
            event.kind,
            EventKind::ActivityStarted(_)
                | EventKind::ActivityCompleted(_)
                | EventKind::ActivityFailed(_)
                | EventKind::ActivityTimedOut(_)
                | EventKind::ActivityCanceled(_)
                | EventKind::TimerFired(_)
        )
    };
    !events.is_empty() && events.iter().all(is_own) && execution.expects_no_more_news()
}

/// How a run stands, in the engine's own search attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    paused: bool,
    task_failure: Option<&'static str>,
    version: Option<(Arc<WorkerVersion>, VersioningBehavior)>,
}

impl Standing {
    pub(crate) fn of(execution: &Execution) -> Self {
        let paused = execution.paused().or_else(|| execution.standalone_paused());
        Self { paused: paused.is_some(), task_failure: execution.task_failure(), version: execution.listed_version() }
    }
}

/// The end of a run's history, encoded. Its beginning is dropped when it grows too long: workers read that from the store.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Events in order, each with its number.
    events: VecDeque<(EventId, Bytes)>,
    bytes: usize,
}

impl Tail {
    /// Appends events that were just encoded, or read back.
    pub(crate) fn push(&mut self, id: EventId, encoded: Bytes) {
        self.bytes += encoded.len() + size_of::<(EventId, Bytes)>();
        self.events.push_back((id, encoded));
        while self.bytes > limits::HISTORY_TAIL_BYTES && self.events.len() > 1 {
            if let Some((_, dropped)) = self.events.pop_front() {
                self.bytes -= dropped.len() + size_of::<(EventId, Bytes)>();
            }
        }
    }

    /// The events from `from` on, or as many of them as are here, and the number of the first.
    pub(crate) fn since(&self, from: EventId, next: EventId) -> (EventId, Vec<Bytes>) {
        let Some((first, _)) = self.events.front() else {
            return (next, Vec::new());
        };
        let skip = usize::try_from(from.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let events: Vec<Bytes> = self.events.iter().skip(skip).map(|(_, bytes)| bytes.clone()).collect();
        (if events.is_empty() { next } else { EventId(first.0.max(from.0)) }, events)
    }
}

/// Encodes events of one turn: each for the tail, and all as the bytes of one row. The events are slices of the row.
pub(crate) fn encode_turn(events: &[Event]) -> (Vec<Bytes>, Bytes) {
    let row = engine_proto::convert::encode_row(events);
    let history = EncodedHistory::from_row(row.clone()).expect("a row that was just encoded is a row");
    (history.events, row)
}
