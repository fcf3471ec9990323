//! A store that fails when it is told to: for tests of what comes after a failure.
//!
//! It stands in front of a real store. Faults are set for commits by their number, counted from the first one that the
//! store sees, so a test can go through them one by one. All waiting is by notification.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Acquisition, Batch, BatchRow, BatchStore, BatchWrite, Committed, DeploymentKey, DeploymentRow, DeploymentStore,
    Epoch, ExecutionRow, HistoryRow, ListFilter, NamespaceId, NamespaceRow, Node, RunKey, ScheduleKey, ScheduleRow,
    ScheduleStore, ScheduleWrite, Search, ShardId, Store, StoreError, StoreStats, StoredRun, WakePlace, WorkflowKey,
};

/// What befalls one commit.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is not applied, and reported as [`StoreError::Unavailable`].
    FailBefore,
    /// It is applied, and reported as [`StoreError::Unavailable`].
    FailAfter,
    /// It waits at the gate, and is then applied and reported truthfully.
    HoldBefore(Gate),
    /// It is applied, and its answer waits at the gate.
    HoldAfter(Gate),
    /// It is reported as [`StoreError::Unavailable`] at once, and tried only when the gate opens: a packet that was
    /// delayed. What came of it is at [`FaultyStore::late_outcome`].
    ApplyLate(Gate),
}

/// Where a held commit waits. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    reached: Arc<watch::Sender<bool>>,
    open: Arc<watch::Sender<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { reached: Arc::new(watch::Sender::new(false)), open: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits until a commit waits here.
    pub async fn reached(&self) {
        wait(&self.reached).await;
    }

    /// Lets the commit go on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.reached.send_replace(true);
        wait(&self.open).await;
    }
}

async fn wait(flag: &watch::Sender<bool>) {
    flag.subscribe().wait_for(|set| *set).await.expect("the sender is borrowed");
}

/// A store that fails when it is told to.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Mutex<Faults>,
    seen: watch::Sender<u64>,
    outage: AtomicBool,
    late: Arc<watch::Sender<Option<bool>>>,
}

#[derive(Debug, Default)]
struct Faults {
    planned: BTreeMap<u64, Fault>,
    planned_schedules: BTreeMap<u64, Fault>,
    schedule_writes: u64,
    planned_batches: BTreeMap<u64, Fault>,
    batch_writes: u64,
}

impl FaultyStore {
    /// A store that passes all on to `inner`, until told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::default(),
            seen: watch::Sender::new(0),
            outage: AtomicBool::new(false),
            late: Arc::new(watch::Sender::new(None)),
        })
    }

    /// Plans a fault for the commit of that number, counted from 0.
    pub fn plan(&self, commit: u64, fault: Fault) {
        self.faults.lock().planned.insert(commit, fault);
    }

    /// Plans a fault for the next commit.
    pub fn plan_next(&self, fault: Fault) {
        let next = *self.seen.borrow();
        self.plan(next, fault);
    }

    /// Plans a fault for the write of a batch's row of that number, counted from 0. [`Fault::ApplyLate`] is as for a commit.
    pub fn plan_batch_write(&self, write: u64, fault: Fault) {
        self.faults.lock().planned_batches.insert(write, fault);
    }

    /// Plans a fault for the write of a schedule of that number, counted from 0. [`Fault::ApplyLate`] is as for a commit.
    pub fn plan_schedule_write(&self, write: u64, fault: Fault) {
        self.faults.lock().planned_schedules.insert(write, fault);
    }

    /// How many commits it has been asked for.
    pub fn commits_seen(&self) -> u64 {
        *self.seen.borrow()
    }

    /// Waits until it has been asked for that many commits.
    pub async fn wait_for_commits(&self, count: u64) {
        self.seen.subscribe().wait_for(|seen| *seen >= count).await.expect("the sender is in `self`");
    }

    /// While set, every call but `describe`, `stats` and `close` fails with [`StoreError::Unavailable`] without effect.
    pub fn set_outage(&self, outage: bool) {
        self.outage.store(outage, Ordering::SeqCst);
    }

    /// Waits for the outcome of a commit under [`Fault::ApplyLate`]: whether it was applied.
    pub async fn late_outcome(&self) -> bool {
        let mut late = self.late.subscribe();
        let outcome = late.wait_for(Option::is_some).await.expect("the sender is in `self`");
        outcome.expect("waited for")
    }

    fn inner(&self) -> Result<&Arc<dyn Store>, StoreError> {
        if self.outage.load(Ordering::SeqCst) {
            return Err(unavailable("an outage was planned"));
        }
        Ok(&self.inner)
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

#[async_trait]
impl ScheduleStore for FaultyStore {
    async fn write_schedule(&self, epoch: Epoch, write: &ScheduleWrite) -> Result<bool, StoreError> {
        let fault = {
            let mut faults = self.faults.lock();
            let number = faults.schedule_writes;
            faults.schedule_writes += 1;
            faults.planned_schedules.remove(&number)
        };
        let inner = self.inner()?;
        match fault {
            None => inner.write_schedule(epoch, write).await,
            Some(Fault::FailBefore) => Err(unavailable("a failure was planned before this write")),
            Some(Fault::FailAfter) => {
                inner.write_schedule(epoch, write).await?;
                Err(unavailable("a failure was planned after this write"))
            }
            Some(Fault::HoldBefore(gate)) => {
                gate.pass().await;
                inner.write_schedule(epoch, write).await
            }
            Some(Fault::HoldAfter(gate)) => {
                let outcome = inner.write_schedule(epoch, write).await;
                gate.pass().await;
                outcome
            }
            Some(Fault::ApplyLate(gate)) => {
                let (inner, write, late) = (Arc::clone(inner), write.clone(), Arc::clone(&self.late));
                tokio::spawn(async move {
                    gate.pass().await;
                    let outcome = inner.write_schedule(epoch, &write).await;
                    late.send_replace(Some(outcome.is_ok_and(|written| written)));
                });
                Err(unavailable("this write was planned to arrive late"))
            }
        }
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRow>, StoreError> {
        self.inner()?.schedule(key).await
    }

    async fn due_schedules(
        &self,
        shards: &[ShardId],
        until: Timestamp,
        after: &WakePlace,
        limit: u32,
    ) -> Result<(Vec<ScheduleRow>, Timestamp), StoreError> {
        self.inner()?.due_schedules(shards, until, after, limit).await
    }

    async fn list_schedules(
        &self,
        namespace: NamespaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        self.inner()?.list_schedules(namespace, after, limit).await
    }
}

#[async_trait]
impl DeploymentStore for FaultyStore {
    async fn write_deployment(
        &self,
        key: &DeploymentKey,
        replaces: i64,
        deployment: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        self.inner()?.write_deployment(key, replaces, deployment).await
    }

    async fn deployment(&self, key: &DeploymentKey) -> Result<Option<DeploymentRow>, StoreError> {
        self.inner()?.deployment(key).await
    }

    async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError> {
        self.inner()?.deployments().await
    }
}

#[async_trait]
impl BatchStore for FaultyStore {
    async fn write_batch(&self, epoch: Epoch, write: &BatchWrite) -> Result<bool, StoreError> {
        let fault = {
            let mut faults = self.faults.lock();
            let number = faults.batch_writes;
            faults.batch_writes += 1;
            faults.planned_batches.remove(&number)
        };
        let inner = self.inner()?;
        match fault {
            None => inner.write_batch(epoch, write).await,
            Some(Fault::FailBefore) => Err(unavailable("a failure was planned before this write")),
            Some(Fault::FailAfter) => {
                inner.write_batch(epoch, write).await?;
                Err(unavailable("a failure was planned after this write"))
            }
            Some(Fault::HoldBefore(gate)) => {
                gate.pass().await;
                inner.write_batch(epoch, write).await
            }
            Some(Fault::HoldAfter(gate)) => {
                let outcome = inner.write_batch(epoch, write).await;
                gate.pass().await;
                outcome
            }
            Some(Fault::ApplyLate(gate)) => {
                let (inner, write, late) = (Arc::clone(inner), write.clone(), Arc::clone(&self.late));
                tokio::spawn(async move {
                    gate.pass().await;
                    let outcome = inner.write_batch(epoch, &write).await;
                    late.send_replace(Some(outcome.is_ok_and(|written| written)));
                });
                Err(unavailable("this write was planned to arrive late"))
            }
        }
    }

    async fn batch(&self, namespace: NamespaceId, batch_id: &str) -> Result<Option<BatchRow>, StoreError> {
        self.inner()?.batch(namespace, batch_id).await
    }

    async fn active_batches(&self, shards: &[ShardId]) -> Result<Vec<BatchRow>, StoreError> {
        self.inner()?.active_batches(shards).await
    }

    async fn list_batches(&self, namespace: NamespaceId, after: &str, limit: u32) -> Result<Vec<BatchRow>, StoreError> {
        self.inner()?.list_batches(namespace, after, limit).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn describe(&self) -> String {
        format!("{} (with planned faults)", self.inner.describe())
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    async fn migrate(&self, shards: u32) -> Result<(), StoreError> {
        self.inner()?.migrate(shards).await
    }

    async fn check(&self, allow_unsafe: bool) -> Result<(), StoreError> {
        self.inner()?.check(allow_unsafe).await
    }

    async fn shard_count(&self) -> Result<u32, StoreError> {
        self.inner()?.shard_count().await
    }

    async fn renew_lease(&self, node: &Node, lease: Duration) -> Result<bool, StoreError> {
        self.inner()?.renew_lease(node, lease).await
    }

    async fn release_lease(&self, node: &Node) -> Result<(), StoreError> {
        self.inner()?.release_lease(node).await
    }

    async fn acquire_shards(&self, node: &Node, wanted: Option<&[ShardId]>) -> Result<Acquisition, StoreError> {
        self.inner()?.acquire_shards(node, wanted).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let number = *self.seen.borrow();
        let fault = self.faults.lock().planned.remove(&number);
        self.seen.send_modify(|seen| *seen += 1);
        let inner = self.inner()?;
        match fault {
            None => inner.commit(batch).await,
            Some(Fault::FailBefore) => Err(unavailable("a failure was planned before this commit")),
            Some(Fault::FailAfter) => {
                inner.commit(batch).await?;
                Err(unavailable("a failure was planned after this commit"))
            }
            Some(Fault::HoldBefore(gate)) => {
                gate.pass().await;
                inner.commit(batch).await
            }
            Some(Fault::HoldAfter(gate)) => {
                let outcome = inner.commit(batch).await;
                gate.pass().await;
                outcome
            }
            Some(Fault::ApplyLate(gate)) => {
                let (inner, batch, late) = (Arc::clone(inner), batch.clone(), Arc::clone(&self.late));
                tokio::spawn(async move {
                    gate.pass().await;
                    let outcome = inner.commit(&batch).await;
                    late.send_replace(Some(outcome.is_ok()));
                });
                Err(unavailable("this commit was planned to arrive late"))
            }
        }
    }

    async fn latest_runs(&self, keys: &[WorkflowKey]) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
        self.inner()?.latest_runs(keys).await
    }

    async fn load_runs(&self, keys: &[RunKey]) -> Result<Vec<Option<StoredRun>>, StoreError> {
        self.inner()?.load_runs(keys).await
    }

    async fn due_runs(
        &self,
        shard: ShardId,
        until: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: u32,
    ) -> Result<(Vec<ExecutionRow>, Timestamp), StoreError> {
        self.inner()?.due_runs(shard, until, after, limit).await
    }

    async fn owing_runs(
        &self,
        shard: ShardId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        self.inner()?.owing_runs(shard, after, limit).await
    }

    async fn execution(&self, key: &RunKey) -> Result<Option<ExecutionRow>, StoreError> {
        self.inner()?.execution(key).await
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
        self.inner()?.read_history(shard, run_id, from, reverse, max_rows, max_bytes).await
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError> {
        self.inner()?.list(filter).await
    }

    async fn search(&self, search: &Search) -> Result<Vec<ExecutionRow>, StoreError> {
        self.inner()?.search(search).await
    }

    async fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Vec<(String, u64)>, StoreError> {
        self.inner()?.count(namespace, filter).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.inner()?.namespaces().await
    }

    async fn create_namespace(&self, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError> {
        self.inner()?.create_namespace(name, settings).await
    }

    async fn update_namespace(&self, id: NamespaceId, version: i64, settings: &[u8]) -> Result<bool, StoreError> {
        self.inner()?.update_namespace(id, version, settings).await
    }

    async fn delete_namespace(&self, id: NamespaceId) -> Result<(), StoreError> {
        self.inner()?.delete_namespace(id).await
    }

    async fn earliest_runs(
        &self,
        namespace: NamespaceId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        self.inner()?.earliest_runs(namespace, after, limit).await
    }

    async fn delete_runs(&self, shards: &[(ShardId, Epoch)], runs: &[RunKey]) -> Result<(), StoreError> {
        self.inner()?.delete_runs(shards, runs).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
