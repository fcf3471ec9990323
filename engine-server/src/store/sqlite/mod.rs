//! Keeps histories in one SQLite file, opened by one process: the embedded default.
//!
//! | file | holds |
//! |---|---|
//! | `connections` | the writer, a few readers, the lock on the file, what errors mean |
//! | `bulk` | statements for many rows at a time |
//! | `migrate` | creating and checking the schema, in `migrations/sqlite` |
//! | `commit` | one batch, one transaction |
//! | `read` | everything else that runs read |
//! | `lease` | nodes, shards and epochs |
//! | `namespace` | namespaces |
//! | `schedules` | the rows of schedules |
//! | `batches` | the rows of batches |
//! | `rows` | database rows to ours |
//!
//! The file is in WAL mode with `synchronous=FULL`: a commit is one sync of the log, and readers never wait for it. All
//! writes go through one connection, one transaction at a time.

mod batches;
mod bulk;
mod commit;
mod connections;
mod deployments;
mod lease;
mod migrate;
mod namespace;
mod read;
mod rows;
mod schedules;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Acquisition, Batch, Committed, Epoch, ExecutionRow, HistoryRow, ListFilter, NamespaceId, NamespaceRow, Node,
    RunKey, Search, ShardId, Store, StoreError, StoreStats, StoredRun, WorkflowKey,
};
use connections::Connections;

/// A store in one file.
pub struct SqliteStore {
    connections: Connections,
    /// Incarnations that this process has taken a lease with: such a one renews, any other takes.
    leased: Mutex<HashSet<Uuid>>,
    commits: AtomicU64,
    rows: AtomicU64,
}

impl SqliteStore {
    /// Opens the file, and creates it if it does not exist; its directory must.
    ///
    /// The file stays this process's until [`Store::close`], or until the store is dropped: whoever else opens it is told so
    /// in one sentence. The exclusion is a lock on `<file>.lock`, which the operating system drops when the process dies.
    pub async fn open(file: impl AsRef<Path>) -> Result<Self, StoreError> {
        let connections = Connections::open(file.as_ref()).await?;
        Ok(Self { connections, leased: Mutex::default(), commits: AtomicU64::new(0), rows: AtomicU64::new(0) })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.connections.description()).finish()
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn describe(&self) -> String {
        self.connections.description().to_owned()
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.commits.load(Ordering::Relaxed),
            round_trips: self.connections.calls(),
            rows: self.rows.load(Ordering::Relaxed),
        }
    }

    async fn migrate(&self, shards: u32) -> Result<(), StoreError> {
        super::check_shard_count(shards)?;
        migrate::migrate(&self.connections, shards).await
    }

    async fn check(&self, _allow_unsafe: bool) -> Result<(), StoreError> {
        // The settings that could be unsafe are this program's own.
        migrate::check(&self.connections).await
    }

    async fn shard_count(&self) -> Result<u32, StoreError> {
        migrate::shard_count(&self.connections).await
    }

    async fn renew_lease(&self, node: &Node, lease: Duration) -> Result<bool, StoreError> {
        let held_before = self.leased.lock().contains(&node.incarnation);
        let held = lease::renew(&self.connections, node, lease, held_before).await?;
        if held {
            self.leased.lock().insert(node.incarnation);
        }
        Ok(held)
    }

    async fn release_lease(&self, node: &Node) -> Result<(), StoreError> {
        lease::release(&self.connections, node).await
    }

    async fn acquire_shards(&self, node: &Node, wanted: Option<&[ShardId]>) -> Result<Acquisition, StoreError> {
        lease::acquire(&self.connections, node, wanted).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let committed = commit::commit(&self.connections, batch).await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(batch.without(&committed.left_out).rows() as u64, Ordering::Relaxed);
        Ok(committed)
    }

    async fn latest_runs(&self, keys: &[WorkflowKey]) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
        read::latest_runs(&self.connections, keys).await
    }

    async fn load_runs(&self, keys: &[RunKey]) -> Result<Vec<Option<StoredRun>>, StoreError> {
        read::load_runs(&self.connections, keys).await
    }

    async fn due_runs(
        &self,
        shard: ShardId,
        until: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: u32,
    ) -> Result<(Vec<ExecutionRow>, Timestamp), StoreError> {
        read::due_runs(&self.connections, shard, until, after, limit).await
    }

    async fn owing_runs(
        &self,
        shard: ShardId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        read::owing_runs(&self.connections, shard, after, limit).await
    }

    async fn execution(&self, key: &RunKey) -> Result<Option<ExecutionRow>, StoreError> {
        read::execution(&self.connections, key).await
    }

    async fn read_history(
        &self,
        shard: ShardId,
        run_id: RunId,
        from: EventId,
        reverse: bool,
        max_rows: u32,
        max_bytes: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        read::history(&self.connections, shard, run_id, from, reverse, max_rows, max_bytes).await
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError> {
        read::list(&self.connections, filter).await
    }

    async fn search(&self, search: &Search) -> Result<Vec<ExecutionRow>, StoreError> {
        read::search(&self.connections, search).await
    }

    async fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Vec<(String, u64)>, StoreError> {
        read::count(&self.connections, namespace, filter).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        read::namespaces(&self.connections).await
    }

    async fn create_namespace(&self, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError> {
        namespace::create(&self.connections, name, settings).await
    }

    async fn update_namespace(&self, id: NamespaceId, version: i64, settings: &[u8]) -> Result<bool, StoreError> {
        namespace::update(&self.connections, id, version, settings).await
    }

    async fn delete_namespace(&self, id: NamespaceId) -> Result<(), StoreError> {
        namespace::delete(&self.connections, id).await
    }

    async fn earliest_runs(
        &self,
        namespace: NamespaceId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        read::earliest_runs(&self.connections, namespace, after, limit).await
    }

    async fn delete_runs(&self, shards: &[(ShardId, Epoch)], runs: &[RunKey]) -> Result<(), StoreError> {
        commit::delete_runs(&self.connections, shards, runs).await
    }

    async fn close(&self) {
        self.connections.close().await;
    }
}
