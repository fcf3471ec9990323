//! Where histories are kept. One trait, three implementations that share one conformance suite:
//!
//! | module | keeps it in |
//! |---|---|
//! | `memory` | this process; for tests, and for `memory:` |
//! | `sqlite` | one file, opened by one process; the embedded default |
//! | `postgres` | a Postgres 15+ database; the database of record |
//!
//! Invariants that every implementation upholds:
//! - A [`Batch`] is applied whole or not at all, and only if every shard that it names still has the given epoch.
//! - After [`Store::commit`] returned `Ok`, no crash of this process, or of the database on intact disks, loses the batch.
//! - Reads see every batch whose commit returned `Ok` before they began.
//! - Rows of one run are only ever written by its shard's owner; stores never decide anything.
//!
//! What is not here: when to write (`shard::lane`, the only caller of `commit`), what to write (`engine-core`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::event::CloseStatus;
use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;

mod attributes;
mod batches;
mod codes;
#[cfg(feature = "testing")]
pub mod conformance;
mod deployments;
#[cfg(feature = "testing")]
pub mod faulty;
pub mod memory;
mod open;
pub mod postgres;
mod schedules;
mod schema;
mod search;
pub mod sqlite;

pub use batches::{BatchKey, BatchRow, BatchStore, BatchWrite};
pub use deployments::{DeploymentKey, DeploymentRow, DeploymentStore};
pub use open::{open, open_with};
pub use schedules::{ScheduleKey, ScheduleRow, ScheduleStore, ScheduleWrite, WakePlace};
pub use search::{GROUPS_MAX, Search};

/// The namespace that [`Store::migrate`] creates.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The `wake_at` of a closed run that still owes messages to other workflows.
pub const OWES_MESSAGES: Timestamp = Timestamp::from_micros(-1);

/// Most shards that a store can be bootstrapped with. More would cost memory and recovery time on each node, and gain
/// nothing: a lane commits all its shards together.
pub const SHARDS_MAX: u32 = 4096;

/// A part of the workflow ids that has one writer at a time. From 0 up to the number chosen when the store was bootstrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub i32);

/// The fencing number of a shard's ownership: bumped by each acquisition, checked inside each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// The number of a namespace, from 1, given when it is created; negated where it is about its standalone activities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub i32);

impl NamespaceId {
    /// Under which number the rows of the namespace's standalone activities are kept: they have ids, lists and indexes of their own, and
    /// a list of workflows never reads past them. Numbers of namespaces are positive.
    pub fn of_activities(self) -> Self {
        Self(-self.home().0)
    }

    /// The namespace itself, whichever of its rows a number is of.
    pub fn home(self) -> Self {
        Self(self.0.abs())
    }

    /// Whether rows of this number are of standalone activities.
    pub fn is_of_activities(self) -> bool {
        self.0 < 0
    }
}

/// A store failed, or refused. Says what the caller may assume.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A shard of the batch belongs to another owner by now. Nothing was written. Stop the shard, forget it, acquire it again.
    #[error("fenced: shard {} has a newer owner", .0.0)]
    Fenced(ShardId),
    /// The outcome is unknown: the database did not answer, or answered with an error. For a commit: discard the memory of the
    /// shards involved, acquire them anew, reload. For a read: try again.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// What was read back cannot have been written by this program. Quarantine the run.
    #[error("corrupt data: {0}")]
    Corrupt(String),
    /// The store cannot be used as it is; the text says why and what to do. Do not retry.
    #[error("{0}")]
    Unusable(String),
    /// A namespace of this name exists.
    #[error("namespace {0:?} already exists")]
    NamespaceExists(String),
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its number in other rows.
    pub id: NamespaceId,
    /// Its name.
    pub name: String,
    /// Counts its updates, from 1.
    pub version: i64,
    /// What is known of it beyond its name: bytes of the server's own making, empty at first.
    pub settings: Bytes,
}

/// A shard that was acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnedShard {
    /// Which.
    pub id: ShardId,
    /// The new epoch.
    pub epoch: Epoch,
}

/// A shard that another live node owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignShard {
    /// Which.
    pub id: ShardId,
    /// Name of the node that owns it.
    pub owner: String,
    /// When that node's lease runs out unless it renews it, from now, by the database's clock.
    pub lease_left: Duration,
}

/// What an attempt to acquire shards gave.
#[derive(Debug, Clone, Default)]
pub struct Acquisition {
    /// Shards that are now this node's.
    pub owned: Vec<OwnedShard>,
    /// Shards that were asked for but belong to a live node.
    pub foreign: Vec<ForeignShard>,
}

/// A process that owns shards.
///
/// `name` is what survives a restart (by default its listening address): a node takes over at once what a node of the same
/// name owned, since that one's address is now this one's, so it must be dead; the epoch fences it if it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Survives a restart.
    pub name: String,
    /// Differs at each start.
    pub incarnation: uuid::Uuid,
}

/// The key of one run's row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// Its shard, a function of namespace and workflow id.
    pub shard: ShardId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its workflow id.
    pub workflow_id: String,
    /// The run.
    pub run_id: RunId,
}

/// Names a workflow id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowKey {
    /// Its shard.
    pub shard: ShardId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The workflow id.
    pub workflow_id: String,
}

/// The row of one run: what lists show, what decides about a start, and when to look at the run.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionRow {
    /// Its key.
    pub key: RunKey,
    /// The code that it runs.
    pub workflow_type: String,
    /// Where its workflow tasks go.
    pub task_queue: String,
    /// `None` while it is open.
    pub status: Option<CloseStatus>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it closed.
    pub closed_at: Option<Timestamp>,
    /// Number of its events; valid once it is closed, 0 before.
    pub history_length: u64,
    /// A lower bound of when the engine must look at the run by itself. [`Timestamp::EPOCH`]: at once when the shard is acquired.
    /// [`Timestamp::MAX`]: never by itself. Of a closed run only [`OWES_MESSAGES`] has a meaning.
    pub wake_at: Timestamp,
    /// The start's request id, empty if it had none.
    pub request_id: String,
    /// By what it is listed, beyond what every run has.
    pub search_attributes: SearchAttributes,
}

/// A change of a run's row.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionUpdate {
    /// Which row.
    pub key: RunKey,
    /// What changes.
    pub change: ExecutionChange,
}

/// What changes in a run's row.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutionChange {
    /// The run closed.
    Close {
        /// How.
        status: CloseStatus,
        /// When.
        at: Timestamp,
        /// Number of its events.
        history_length: u64,
    },
    /// The run was parked, or must be looked at earlier than its row says.
    WakeAt(Timestamp),
    /// Its search attributes, all of them.
    SearchAttributes(SearchAttributes),
}

/// One turn of a run: events that were appended together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The run's shard.
    pub shard: ShardId,
    /// The run.
    pub run_id: RunId,
    /// Number of its first event.
    pub first_event_id: EventId,
    /// The events, as an encoded `engine.v1.History`.
    pub events: Bytes,
}

/// An event that waits for the running workflow task to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferedRow {
    /// The run's shard.
    pub shard: ShardId,
    /// The run.
    pub run_id: RunId,
    /// Its place in the order of arrival; unique and ascending within the run's buffer.
    pub position: i64,
    /// The event, as an encoded `engine.v1.HistoryEvent` with id 0.
    pub event: Bytes,
}

/// The progress of an open activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressRow {
    /// The run's shard.
    pub shard: ShardId,
    /// The run.
    pub run_id: RunId,
    /// The activity.
    pub scheduled_event_id: EventId,
    /// An encoded record of the shard's own making.
    pub progress: Bytes,
}

/// What one group commit writes. Bounded in rows and bytes by the lane that makes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Every shard that the rows below belong to, with the epoch that the writer holds. Each once.
    pub shards: Vec<(ShardId, Epoch)>,
    /// New runs. Their keys are new.
    pub new_runs: Vec<ExecutionRow>,
    /// Those of `new_runs` whose workflow ids nobody has looked up: each is presumed to be the first of its id. One whose id
    /// has a run already is left out, with its rows in `history`, and the rest of the batch is applied. All other rows here
    /// are of other runs.
    pub presumed_first: Vec<RunId>,
    /// Changes of rows; at most one of each kind for a run, and never of a run in `new_runs` (the lane folds those).
    pub updates: Vec<ExecutionUpdate>,
    /// Rows to append. Their keys are new.
    pub history: Vec<HistoryRow>,
    /// Buffered events to delete: all of each run's that were stored before this batch. Applied before `buffered`.
    pub buffered_deletes: Vec<(ShardId, RunId)>,
    /// Buffered events to add.
    pub buffered: Vec<BufferedRow>,
    /// Progress to delete. Each key in at most one of this and `progress`.
    pub progress_deletes: Vec<(ShardId, RunId, EventId)>,
    /// Progress to insert or replace.
    pub progress: Vec<ProgressRow>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// The batch without the rows of runs that turned out not to be the first of their workflow ids.
    fn without(&self, left_out: &[RunId]) -> Cow<'_, Batch> {
        if left_out.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut batch = self.clone();
        batch.new_runs.retain(|row| !left_out.contains(&row.key.run_id));
        batch.history.retain(|row| !left_out.contains(&row.run_id));
        Cow::Owned(batch)
    }

    /// Number of row operations.
    pub fn rows(&self) -> usize {
        self.new_runs.len()
            + self.updates.len()
            + self.history.len()
            + self.buffered_deletes.len()
            + self.buffered.len()
            + self.progress_deletes.len()
            + self.progress.len()
    }
}

/// What became of a batch that was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Runs of [`Batch::presumed_first`] that were left out, because their workflow ids have a run. In any order.
    pub left_out: Vec<RunId>,
}

/// All that is stored of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// Its row.
    pub row: ExecutionRow,
    /// Its whole history, in order.
    pub history: Vec<HistoryRow>,
    /// Its buffered events, by position.
    pub buffered: Vec<BufferedRow>,
    /// The progress of its activities, by scheduled event.
    pub progress: Vec<ProgressRow>,
}

/// Which runs to list. Latest run first: run ids are UUIDv7, so that is by time of start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFilter {
    /// Only of this namespace.
    pub namespace: NamespaceId,
    /// Only runs with this status; `Some(None)` is the open ones.
    pub status: Option<Option<CloseStatus>>,
    /// Only runs of this type.
    pub workflow_type: Option<String>,
    /// Only runs of this workflow id.
    pub workflow_id: Option<String>,
    /// Only runs with a smaller id than this (the last of the page before).
    pub before: Option<RunId>,
    /// Most rows.
    pub limit: u32,
}

/// What a store has done since it was opened. The numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Batches that were applied, as far as this process knows.
    pub commits: u64,
    /// Times that the database was asked for something and its answer awaited, to prepare a statement included, to connect
    /// not. A store in this process counts its calls.
    pub round_trips: u64,
    /// Row operations in those batches.
    pub rows: u64,
}

/// What a store says when it is to be bootstrapped with a number of shards that makes no sense.
fn check_shard_count(shards: u32) -> Result<(), StoreError> {
    if (1..=SHARDS_MAX).contains(&shards) {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "a store cannot have {shards} shards: choose a number from 1 to {SHARDS_MAX} (64 suits nearly everyone)"
    )))
}

/// What [`Store::acquire_shards`] says to a node that holds no lease.
fn lease_not_held(node: &Node) -> StoreError {
    StoreError::Unusable(format!(
        "node {:?} does not hold its lease: another process of that name has started, or the lease was released; \
         give each running node a name of its own",
        node.name
    ))
}

/// Where histories are kept. See the module for the invariants.
///
/// None of the futures may be dropped half-way by a caller that serves requests: only tasks that run to completion call them.
#[async_trait]
pub trait Store: ScheduleStore + BatchStore + DeploymentStore + fmt::Debug + Send + Sync + 'static {
    /// For people: what this is and where, without secrets.
    fn describe(&self) -> String;

    /// What it has done so far.
    fn stats(&self) -> StoreStats;

    /// Brings the schema up to date, and creates `shards` shards and the namespace `default` if the store is empty.
    ///
    /// Concurrent calls wait for each other. A crash in between leaves a schema that the next call completes.
    async fn migrate(&self, shards: u32) -> Result<(), StoreError>;

    /// Verifies that the schema is the one this program writes, and that the database keeps what it acknowledges (Postgres:
    /// `fsync`, `full_page_writes` and `synchronous_commit` are on, unless `allow_unsafe`). Writes nothing.
    async fn check(&self, allow_unsafe: bool) -> Result<(), StoreError>;

    /// How many shards the store was bootstrapped with.
    async fn shard_count(&self) -> Result<u32, StoreError>;

    /// Takes or renews the node's lease for `lease` from now by the database's clock. An incarnation that has not held it yet
    /// takes it, from whichever has. `false`: another incarnation of the same name took it since, so this process must stop.
    /// A crash after it leaves a lease that runs out.
    async fn renew_lease(&self, node: &Node, lease: Duration) -> Result<bool, StoreError>;

    /// Ends the node's lease, if it is still this incarnation's, and gives up its shards, so that others need not wait.
    async fn release_lease(&self, node: &Node) -> Result<(), StoreError>;

    /// Takes each shard of `wanted` (all, if `None`) that is free, was owned by this node's name (including this incarnation:
    /// the epoch is bumped again), or whose owner's lease has run out. Each gets a new epoch; a batch with the old one fails
    /// from then on with [`StoreError::Fenced`].
    ///
    /// It waits for batches under way. The node must hold a lease: if another incarnation has it by now, or none, it is
    /// refused as [`StoreError::Unusable`]. Numbers that are no shards are left out of the answer. If the answer is lost
    /// the shards are taken nonetheless: call again, and use only the epochs of the last answer.
    async fn acquire_shards(&self, node: &Node, wanted: Option<&[ShardId]>) -> Result<Acquisition, StoreError>;

    /// Applies the batch whole, if all its epochs are current, in one round trip.
    ///
    /// After `Ok` a crash loses nothing of what was applied: all but [`Committed::left_out`]. After [`StoreError::Fenced`] nothing was written, nor after [`StoreError::Corrupt`],
    /// which says that a key promised new exists, or a row to change does not. After any other error either may be true,
    /// and the batch may even be applied later, but not once an [`Store::acquire_shards`] for its shards has returned.
    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError>;

    /// The rows of the latest runs of workflow ids, in the order of `keys`; `None` where there is none. One round trip.
    async fn latest_runs(&self, keys: &[WorkflowKey]) -> Result<Vec<Option<ExecutionRow>>, StoreError>;

    /// All that is stored of runs, in the order of `keys`; `None` where there is none.
    async fn load_runs(&self, keys: &[RunKey]) -> Result<Vec<Option<StoredRun>>, StoreError>;

    /// Open runs of a shard with `wake_at <= until`, earliest first (ties by run id), at most `limit`, after `after`; and the
    /// `wake_at` of the open run that comes next ([`Timestamp::MAX`] if there is none). If that is not after `until`, ask again.
    async fn due_runs(
        &self,
        shard: ShardId,
        until: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: u32,
    ) -> Result<(Vec<ExecutionRow>, Timestamp), StoreError>;

    /// Closed runs of a shard that owe messages ([`OWES_MESSAGES`]), by run id, after `after`, at most `limit`.
    async fn owing_runs(
        &self,
        shard: ShardId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError>;

    /// One run's row.
    async fn execution(&self, key: &RunKey) -> Result<Option<ExecutionRow>, StoreError>;

    /// History rows of a run. Forward: from the row that contains event `from`, ascending. `reverse`: from the row that contains
    /// `from` (or the last, if `from` is [`EventId::NONE`]), descending. At least one row if there is one, then until `max_rows` or
    /// about `max_bytes`.
    async fn read_history(
        &self,
        shard: ShardId,
        run_id: RunId,
        from: EventId,
        reverse: bool,
        max_rows: u32,
        max_bytes: usize,
    ) -> Result<Vec<HistoryRow>, StoreError>;

    /// Lists runs.
    async fn list(&self, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError>;

    /// Lists runs by a filter.
    async fn search(&self, search: &Search) -> Result<Vec<ExecutionRow>, StoreError>;

    /// Counts runs by a filter: by group if it has one, largest first and at most [`GROUPS_MAX`], else in one row without a name.
    async fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Vec<(String, u64)>, StoreError>;

    /// All namespaces.
    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError>;

    /// Creates a namespace, with version 1. After a lost answer a repeat gives [`StoreError::NamespaceExists`].
    async fn create_namespace(&self, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError>;

    /// Replaces the settings of a namespace if it still has this version, which grows by one. `false`: it has another version,
    /// or is gone. After a lost answer a repeat gives `false`.
    async fn update_namespace(&self, id: NamespaceId, version: i64, settings: &[u8]) -> Result<bool, StoreError>;

    /// Deletes the row of a namespace; its runs must have been deleted before. A repeat changes nothing. Its number is never
    /// used again.
    async fn delete_namespace(&self, id: NamespaceId) -> Result<(), StoreError>;

    /// Runs of a namespace from the earliest start on, open and closed, of any shard, behind `after`, at most `limit`: one page of an
    /// index, whatever the runs are.
    async fn earliest_runs(
        &self,
        namespace: NamespaceId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError>;

    /// Deletes runs with everything beside them, whole or not at all, if every shard that they belong to still has the given
    /// epoch. Runs that are not there are passed over, so a repeat is harmless: after a crash either may be true.
    async fn delete_runs(&self, shards: &[(ShardId, Epoch)], runs: &[RunKey]) -> Result<(), StoreError>;

    /// Closes connections. What was acknowledged stays.
    async fn close(&self);
}
