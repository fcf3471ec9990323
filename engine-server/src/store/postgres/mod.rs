//! Keeps histories in a Postgres 15+ database: the database of record.
//!
//! | file | holds |
//! |---|---|
//! | `connections` | a few connections of our own, each statement bounded in time, what errors mean |
//! | `migrate` | creating and checking the schema, in `migrations/postgres` |
//! | `commit` | one batch, one round trip |
//! | `read` | everything else that runs read |
//! | `lease` | nodes, shards and epochs |
//! | `namespace` | namespaces |
//! | `schedules` | the rows of schedules |
//! | `batches` | the rows of batches |
//! | `rows` | database rows to ours and back |
//!
//! All tables are in the schema `engine`. No statement but a migration runs inside an explicit transaction, so a
//! connection that dies never leaves locks behind for longer than its statement takes.

mod batches;
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
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use parking_lot::Mutex;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::{
    Acquisition, Batch, Committed, Epoch, ExecutionRow, HistoryRow, ListFilter, NamespaceId, NamespaceRow, Node,
    RunKey, Search, ShardId, Store, StoreError, StoreStats, StoredRun, WorkflowKey,
};
use connections::Connections;

/// How to use the database.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Most connections at a time. They are opened when first needed.
    pub max_connections: u32,
    /// How long one statement may take, waiting for a connection included. Then its connection is thrown away, and the server
    /// gives the statement up at about the same time.
    pub statement_timeout: Duration,
}

impl Default for PostgresOptions {
    /// 16 connections, 10 s.
    fn default() -> Self {
        Self { max_connections: 16, statement_timeout: Duration::from_secs(10) }
    }
}

/// A store in a Postgres database.
pub struct PostgresStore {
    connections: Connections,
    /// For migrations, which may take long and hold a session lock.
    unbounded: PgConnectOptions,
    description: String,
    /// Incarnations that this process has taken a lease with: such a one renews, any other takes.
    leased: Mutex<HashSet<Uuid>>,
    commits: AtomicU64,
    rows: AtomicU64,
}

impl PostgresStore {
    /// Connects to the database that `url` (`postgres://user:password@host:port/database?sslmode=…`) names.
    ///
    /// The first connection is made at once, so that a wrong URL, password or database name is told here. Errors never
    /// contain the password. The schema is not looked at: that is for [`Store::migrate`] and [`Store::check`].
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let parsed = PgConnectOptions::from_str(url).map_err(|error| {
            StoreError::Unusable(format!(
                "the database URL is not valid ({error}); it should look like postgres://user:password@host:5432/database"
            ))
        })?;
        let mut unbounded = parsed.disable_statement_logging();
        if unbounded.get_application_name().is_none() {
            unbounded = unbounded.application_name("engine");
        }
        let description = describe(&unbounded);
        let connections = Connections::open(unbounded.clone(), &options, description.clone()).await?;
        Ok(Self {
            connections,
            unbounded,
            description,
            leased: Mutex::default(),
            commits: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        })
    }
}

fn describe(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("Postgres database {database:?} at {}", socket.display()),
        None => format!("Postgres database {database:?} at {}:{}", options.get_host(), options.get_port()),
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.description).finish()
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.commits.load(Ordering::Relaxed),
            round_trips: self.connections.round_trips(),
            rows: self.rows.load(Ordering::Relaxed),
        }
    }

    async fn migrate(&self, shards: u32) -> Result<(), StoreError> {
        super::check_shard_count(shards)?;
        migrate::migrate(&self.unbounded, &self.description, shards).await
    }

    async fn check(&self, allow_unsafe: bool) -> Result<(), StoreError> {
        migrate::check(&self.connections, &self.description, allow_unsafe).await
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
        Ok(read::executions(&self.connections, std::slice::from_ref(key)).await?.pop().flatten())
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
