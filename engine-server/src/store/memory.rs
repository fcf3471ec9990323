//! Keeps everything in this process: for tests, and for `memory:`, where losing it all with the process is what was asked for.
//!
//! A [`MemoryStore`] is a handle. Its clones share one set of data, so a test that "restarts" a server keeps a clone and
//! hands it to the next one. Fencing is as real as in the other stores: a batch is checked and applied under one lock.
//! Leases run by tokio's clock, so a test with paused time decides when they end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::schedules::due_and_next;
use super::{
    Acquisition, Batch, BatchRow, BatchStore, BatchWrite, BufferedRow, Committed, DEFAULT_NAMESPACE, DeploymentKey,
    DeploymentRow, DeploymentStore, Epoch, ExecutionChange, ExecutionRow, ForeignShard, GROUPS_MAX, HistoryRow,
    ListFilter, NamespaceId, NamespaceRow, Node, OWES_MESSAGES, OwnedShard, ProgressRow, RunKey, ScheduleKey,
    ScheduleRow, ScheduleStore, ScheduleWrite, Search, ShardId, Store, StoreError, StoreStats, StoredRun, WakePlace,
    WorkflowKey,
};

/// A store in this process's memory. Clones are handles to the same data.
#[derive(Clone, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    stats: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    calls: AtomicU64,
    rows: AtomicU64,
}

#[derive(Default)]
struct Data {
    /// Index is the shard's number; empty until the first `migrate`.
    shards: Vec<Shard>,
    leases: BTreeMap<String, Lease>,
    /// Incarnations that have held a lease: such a one renews, any other takes.
    known: HashSet<Uuid>,
    namespaces: Vec<NamespaceRow>,
    last_namespace: i32,
    executions: BTreeMap<RunKey, ExecutionRow>,
    /// Every run, by what lists are ordered by.
    visible: BTreeMap<(NamespaceId, RunId), RunKey>,
    /// The open runs, by what recovery is ordered by.
    wakes: BTreeMap<(ShardId, Timestamp, RunId), RunKey>,
    history: BTreeMap<(ShardId, RunId, EventId), Bytes>,
    buffered: BTreeMap<(ShardId, RunId, i64), Bytes>,
    progress: BTreeMap<(ShardId, RunId, EventId), Bytes>,
    schedules: BTreeMap<(NamespaceId, String), ScheduleRow>,
    batches: BTreeMap<(NamespaceId, String), BatchRow>,
    deployments: BTreeMap<DeploymentKey, DeploymentRow>,
}

struct Shard {
    owner: Option<Node>,
    epoch: Epoch,
}

struct Lease {
    incarnation: Uuid,
    until: Instant,
}

impl MemoryStore {
    /// An empty store. Like any other it wants [`Store::migrate`] before use.
    pub fn new() -> Self {
        Self::default()
    }

    fn call<T>(&self, body: impl FnOnce(&mut Data) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.stats.calls.fetch_add(1, Ordering::Relaxed);
        body(&mut self.data.lock())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Data {
    /// The rows of a namespace that a filter means.
    fn of_namespace(&self, namespace: NamespaceId, filter: &Filter) -> impl Iterator<Item = &ExecutionRow> {
        let ids = (namespace, RunId::from_uuid(Uuid::nil()))..=(namespace, RunId::from_uuid(Uuid::max()));
        let rows =
            self.visible.range(ids).map(|(_, key)| self.executions.get(key).expect("`visible` names rows that exist"));
        rows.filter(|row| {
            filter.condition.as_ref().is_none_or(|condition| condition.matches(&row.listed()) == Some(true))
        })
    }

    fn migrated(&self) -> Result<(), StoreError> {
        if self.shards.is_empty() {
            return Err(StoreError::Unusable("the memory store is empty: call `migrate` before using it".to_owned()));
        }
        Ok(())
    }

    fn add_namespace(&mut self, name: &str, settings: &[u8]) -> NamespaceRow {
        self.last_namespace += 1;
        let id = NamespaceId(self.last_namespace);
        let row = NamespaceRow { id, name: name.to_owned(), version: 1, settings: Bytes::copy_from_slice(settings) };
        self.namespaces.push(row.clone());
        row
    }

    fn check_epochs(&self, shards: &[(ShardId, Epoch)]) -> Result<(), StoreError> {
        let is_current = |(id, epoch): &&(ShardId, Epoch)| self.shard(*id).is_some_and(|shard| shard.epoch == *epoch);
        match shards.iter().find(|held| !is_current(held)) {
            Some((id, _)) => Err(StoreError::Fenced(*id)),
            None => Ok(()),
        }
    }

    fn delete(&mut self, key: &RunKey) {
        let Some(row) = self.executions.remove(key) else {
            return;
        };
        let (shard, run_id) = (key.shard, key.run_id);
        self.wakes.remove(&(shard, row.wake_at, run_id));
        self.visible.remove(&(key.namespace, run_id));
        let is_other = |of: ShardId, id: RunId| (of, id) != (shard, run_id);
        let all = (shard, run_id, EventId(0))..=(shard, run_id, EventId(u64::MAX));
        let events: Vec<_> = self.history.range(all.clone()).map(|(key, _)| *key).collect();
        events.iter().for_each(|key| drop(self.history.remove(key)));
        self.buffered.retain(|(of, id, _), _| is_other(*of, *id));
        let activities: Vec<_> = self.progress.range(all).map(|(key, _)| *key).collect();
        activities.iter().for_each(|key| drop(self.progress.remove(key)));
    }

    fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.shards.get(usize::try_from(id.0).ok()?)
    }

    /// The runs that are presumed to be the first of their workflow ids and are not.
    fn not_first(&self, batch: &Batch) -> Vec<RunId> {
        let presumed: HashSet<RunId> = batch.presumed_first.iter().copied().collect();
        let presumed = batch.new_runs.iter().map(|row| &row.key).filter(|key| presumed.contains(&key.run_id));
        let has_runs = |key: &&RunKey| {
            let bound = |run_id| RunKey { run_id: RunId::from_uuid(run_id), ..(*key).clone() };
            self.executions.range(bound(Uuid::nil())..=bound(Uuid::max())).next().is_some()
        };
        presumed.filter(has_runs).map(|key| key.run_id).collect()
    }

    /// Fails without having changed anything if the batch breaks what its author promised.
    fn verify(&self, batch: &Batch) -> Result<(), StoreError> {
        self.check_epochs(&batch.shards)?;
        let mut keys = BTreeSet::new();
        for row in &batch.new_runs {
            if self.executions.contains_key(&row.key) || !keys.insert(&row.key) {
                return Err(StoreError::Corrupt(format!("run {} was to be created but exists", row.key.run_id)));
            }
        }
        for update in &batch.updates {
            if !self.executions.contains_key(&update.key) {
                return Err(StoreError::Corrupt(format!("run {} was to be updated but has no row", update.key.run_id)));
            }
        }
        let mut keys = BTreeSet::new();
        for row in &batch.history {
            let key = (row.shard, row.run_id, row.first_event_id);
            if self.history.contains_key(&key) || !keys.insert(key) {
                return Err(StoreError::Corrupt(format!(
                    "event {} of run {} was to be appended but exists",
                    row.first_event_id, row.run_id
                )));
            }
        }
        let mut keys = BTreeSet::new();
        for row in &batch.buffered {
            let key = (row.shard, row.run_id, row.position);
            let replaced = batch.buffered_deletes.contains(&(row.shard, row.run_id));
            if (self.buffered.contains_key(&key) && !replaced) || !keys.insert(key) {
                return Err(StoreError::Corrupt(format!(
                    "buffered event {} of run {} was to be added but exists",
                    row.position, row.run_id
                )));
            }
        }
        Ok(())
    }

    fn put_execution(&mut self, row: ExecutionRow) {
        let key = row.key.clone();
        if let Some(old) = self.executions.get(&key)
            && old.status.is_none()
        {
            self.wakes.remove(&(key.shard, old.wake_at, key.run_id));
        }
        if row.status.is_none() {
            self.wakes.insert((key.shard, row.wake_at, key.run_id), key.clone());
        }
        self.visible.insert((key.namespace, key.run_id), key.clone());
        self.executions.insert(key, row);
    }

    fn apply(&mut self, batch: &Batch) {
        for row in &batch.new_runs {
            self.put_execution(row.clone());
        }
        for update in &batch.updates {
            let mut row = self.executions.get(&update.key).expect("verified before anything was applied").clone();
            match &update.change {
                ExecutionChange::Close { status, at, history_length } => {
                    row.status = Some(*status);
                    row.closed_at = Some(*at);
                    row.history_length = *history_length;
                }
                ExecutionChange::WakeAt(at) => row.wake_at = *at,
                ExecutionChange::SearchAttributes(all) => row.search_attributes.clone_from(all),
            }
            self.put_execution(row);
        }
        for row in &batch.history {
            self.history.insert((row.shard, row.run_id, row.first_event_id), row.events.clone());
        }
        for (shard, run_id) in &batch.buffered_deletes {
            let positions: Vec<_> = self.buffered_range(*shard, *run_id).map(|(key, _)| *key).collect();
            for key in positions {
                self.buffered.remove(&key);
            }
        }
        for row in &batch.buffered {
            self.buffered.insert((row.shard, row.run_id, row.position), row.event.clone());
        }
        for key in &batch.progress_deletes {
            self.progress.remove(key);
        }
        for row in &batch.progress {
            self.progress.insert((row.shard, row.run_id, row.scheduled_event_id), row.progress.clone());
        }
    }

    fn buffered_range(&self, shard: ShardId, run_id: RunId) -> impl Iterator<Item = (&(ShardId, RunId, i64), &Bytes)> {
        self.buffered.range((shard, run_id, i64::MIN)..=(shard, run_id, i64::MAX))
    }

    fn history_rows(
        &self,
        shard: ShardId,
        run_id: RunId,
        from: EventId,
        to: EventId,
    ) -> impl DoubleEndedIterator<Item = HistoryRow> {
        self.history.range((shard, run_id, from)..=(shard, run_id, to)).map(|(key, events)| HistoryRow {
            shard: key.0,
            run_id: key.1,
            first_event_id: key.2,
            events: events.clone(),
        })
    }

    fn load(&self, key: &RunKey) -> Option<StoredRun> {
        let row = self.executions.get(key)?.clone();
        let (shard, run_id) = (key.shard, key.run_id);
        let history = self.history_rows(shard, run_id, EventId(0), EventId(u64::MAX)).collect();
        let buffered = self
            .buffered_range(shard, run_id)
            .map(|(key, event)| BufferedRow { shard, run_id, position: key.2, event: event.clone() })
            .collect();
        let progress = self
            .progress
            .range((shard, run_id, EventId(0))..=(shard, run_id, EventId(u64::MAX)))
            .map(|(key, progress)| ProgressRow { shard, run_id, scheduled_event_id: key.2, progress: progress.clone() })
            .collect();
        Some(StoredRun { row, history, buffered, progress })
    }
}

#[async_trait]
impl ScheduleStore for MemoryStore {
    async fn write_schedule(&self, epoch: Epoch, write: &ScheduleWrite) -> Result<bool, StoreError> {
        self.call(|data| {
            let ScheduleWrite { key, replaces, row } = write;
            if data.shard(key.shard).is_none_or(|shard| shard.epoch != epoch) {
                return Err(StoreError::Fenced(key.shard));
            }
            let place = (key.namespace, key.schedule_id.clone());
            if data.schedules.get(&place).map_or(0, |row| row.revision) != *replaces {
                return Ok(false);
            }
            match row {
                None => Ok(data.schedules.remove(&place).is_some()),
                Some((wake_at, schedule)) => {
                    let (revision, wake_at, schedule) = (replaces + 1, *wake_at, schedule.clone());
                    data.schedules.insert(place, ScheduleRow { key: key.clone(), revision, wake_at, schedule });
                    Ok(true)
                }
            }
        })
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRow>, StoreError> {
        self.call(|data| Ok(data.schedules.get(&(key.namespace, key.schedule_id.clone())).cloned()))
    }

    async fn due_schedules(
        &self,
        shards: &[ShardId],
        until: Timestamp,
        after: &WakePlace,
        limit: u32,
    ) -> Result<(Vec<ScheduleRow>, Timestamp), StoreError> {
        self.call(|data| {
            let place = |row: &ScheduleRow| (row.wake_at, row.key.namespace, row.key.schedule_id.clone());
            let of_shards = data.schedules.values().filter(|row| shards.contains(&row.key.shard));
            let mut rows: Vec<_> = of_shards.filter(|row| place(row) > *after).cloned().collect();
            rows.sort_by_key(place);
            Ok(due_and_next(rows, until, limit))
        })
    }

    async fn list_schedules(
        &self,
        namespace: NamespaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        self.call(|data| {
            let after = (namespace, after.to_owned());
            let rows = data.schedules.range((Excluded(after), Unbounded)).map(|(_, row)| row);
            Ok(rows.take_while(|row| row.key.namespace == namespace).take(limit as usize).cloned().collect())
        })
    }
}

#[async_trait]
impl BatchStore for MemoryStore {
    async fn write_batch(&self, epoch: Epoch, write: &BatchWrite) -> Result<bool, StoreError> {
        self.call(|data| {
            let BatchWrite { key, replaces, row } = write;
            if data.shard(key.shard).is_none_or(|shard| shard.epoch != epoch) {
                return Err(StoreError::Fenced(key.shard));
            }
            let place = (key.namespace, key.batch_id.clone());
            if data.batches.get(&place).map_or(0, |row| row.revision) != *replaces {
                return Ok(false);
            }
            match row {
                None => Ok(data.batches.remove(&place).is_some()),
                Some((is_active, batch)) => {
                    let (revision, is_active, batch) = (replaces + 1, *is_active, batch.clone());
                    data.batches.insert(place, BatchRow { key: key.clone(), revision, is_active, batch });
                    Ok(true)
                }
            }
        })
    }

    async fn batch(&self, namespace: NamespaceId, batch_id: &str) -> Result<Option<BatchRow>, StoreError> {
        self.call(|data| Ok(data.batches.get(&(namespace, batch_id.to_owned())).cloned()))
    }

    async fn active_batches(&self, shards: &[ShardId]) -> Result<Vec<BatchRow>, StoreError> {
        self.call(|data| {
            let rows = data.batches.values().filter(|row| row.is_active && shards.contains(&row.key.shard));
            Ok(rows.cloned().collect())
        })
    }

    async fn list_batches(&self, namespace: NamespaceId, after: &str, limit: u32) -> Result<Vec<BatchRow>, StoreError> {
        self.call(|data| {
            let after = (namespace, after.to_owned());
            let rows = data.batches.range((Excluded(after), Unbounded)).map(|(_, row)| row);
            Ok(rows.take_while(|row| row.key.namespace == namespace).take(limit as usize).cloned().collect())
        })
    }
}

#[async_trait]
impl DeploymentStore for MemoryStore {
    async fn write_deployment(
        &self,
        key: &DeploymentKey,
        replaces: i64,
        deployment: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        self.call(|data| {
            if data.deployments.get(key).map_or(0, |row| row.revision) != replaces {
                return Ok(false);
            }
            match deployment {
                None => Ok(data.deployments.remove(key).is_some()),
                Some(deployment) => {
                    let row = DeploymentRow { key: key.clone(), revision: replaces + 1, deployment };
                    data.deployments.insert(key.clone(), row);
                    Ok(true)
                }
            }
        })
    }

    async fn deployment(&self, key: &DeploymentKey) -> Result<Option<DeploymentRow>, StoreError> {
        self.call(|data| Ok(data.deployments.get(key).cloned()))
    }

    async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError> {
        self.call(|data| Ok(data.deployments.values().cloned().collect()))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory (nothing outlives this process)".to_owned()
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.stats.commits.load(Ordering::Relaxed),
            round_trips: self.stats.calls.load(Ordering::Relaxed),
            rows: self.stats.rows.load(Ordering::Relaxed),
        }
    }

    async fn migrate(&self, shards: u32) -> Result<(), StoreError> {
        super::check_shard_count(shards)?;
        self.call(|data| {
            if data.shards.is_empty() {
                data.shards = (0..shards).map(|_| Shard { owner: None, epoch: Epoch(0) }).collect();
                data.add_namespace(DEFAULT_NAMESPACE, &[]);
            }
            Ok(())
        })
    }

    async fn check(&self, _allow_unsafe: bool) -> Result<(), StoreError> {
        self.call(|data| data.migrated())
    }

    async fn shard_count(&self) -> Result<u32, StoreError> {
        self.call(|data| {
            data.migrated()?;
            Ok(u32::try_from(data.shards.len()).expect("created from a u32"))
        })
    }

    async fn renew_lease(&self, node: &Node, lease: Duration) -> Result<bool, StoreError> {
        self.call(|data| {
            data.migrated()?;
            let lost = data.leases.get(&node.name).is_some_and(|held| held.incarnation != node.incarnation);
            if lost && data.known.contains(&node.incarnation) {
                return Ok(false);
            }
            data.known.insert(node.incarnation);
            let until = Instant::now() + lease;
            data.leases.insert(node.name.clone(), Lease { incarnation: node.incarnation, until });
            Ok(true)
        })
    }

    async fn release_lease(&self, node: &Node) -> Result<(), StoreError> {
        self.call(|data| {
            if data.leases.get(&node.name).is_some_and(|held| held.incarnation == node.incarnation) {
                data.leases.remove(&node.name);
                for shard in &mut data.shards {
                    if shard.owner.as_ref() == Some(node) {
                        shard.owner = None;
                    }
                }
            }
            Ok(())
        })
    }

    async fn acquire_shards(&self, node: &Node, wanted: Option<&[ShardId]>) -> Result<Acquisition, StoreError> {
        self.call(|data| {
            data.migrated()?;
            if data.leases.get(&node.name).is_none_or(|held| held.incarnation != node.incarnation) {
                return Err(super::lease_not_held(node));
            }
            let now = Instant::now();
            let mut acquisition = Acquisition::default();
            for (index, shard) in data.shards.iter_mut().enumerate() {
                let id = ShardId(i32::try_from(index).expect("the shard count is bounded"));
                if wanted.is_some_and(|wanted| !wanted.contains(&id)) {
                    continue;
                }
                let live = shard
                    .owner
                    .as_ref()
                    .filter(|owner| owner.name != node.name)
                    .and_then(|owner| Some((owner, data.leases.get(&owner.name)?)))
                    .filter(|(_, lease)| lease.until > now);
                if let Some((owner, lease)) = live {
                    let lease_left = lease.until - now;
                    acquisition.foreign.push(ForeignShard { id, owner: owner.name.clone(), lease_left });
                } else {
                    shard.epoch.0 += 1;
                    shard.owner = Some(node.clone());
                    acquisition.owned.push(OwnedShard { id, epoch: shard.epoch });
                }
            }
            Ok(acquisition)
        })
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let (left_out, rows) = self.call(|data| {
            data.migrated()?;
            let left_out = data.not_first(batch);
            let batch = batch.without(&left_out);
            data.verify(&batch)?;
            data.apply(&batch);
            Ok((left_out, batch.rows()))
        })?;
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.stats.rows.fetch_add(rows as u64, Ordering::Relaxed);
        Ok(Committed { left_out })
    }

    async fn latest_runs(&self, keys: &[WorkflowKey]) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
        self.call(|data| {
            let latest = |key: &WorkflowKey| {
                let bound = |run_id| RunKey {
                    shard: key.shard,
                    namespace: key.namespace,
                    workflow_id: key.workflow_id.clone(),
                    run_id: RunId::from_uuid(run_id),
                };
                data.executions.range(bound(Uuid::nil())..=bound(Uuid::max())).next_back().map(|(_, row)| row.clone())
            };
            Ok(keys.iter().map(latest).collect())
        })
    }

    async fn load_runs(&self, keys: &[RunKey]) -> Result<Vec<Option<StoredRun>>, StoreError> {
        self.call(|data| Ok(keys.iter().map(|key| data.load(key)).collect()))
    }

    async fn due_runs(
        &self,
        shard: ShardId,
        until: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: u32,
    ) -> Result<(Vec<ExecutionRow>, Timestamp), StoreError> {
        self.call(|data| {
            let start = match after {
                Some((at, run_id)) => Excluded((shard, at, run_id)),
                None => Included((shard, Timestamp::from_micros(i64::MIN), RunId::from_uuid(Uuid::nil()))),
            };
            let mut coming = data.wakes.range((start, Unbounded)).take_while(|(key, _)| key.0 == shard).peekable();
            let mut rows = Vec::new();
            while rows.len() < limit as usize
                && let Some((_, key)) = coming.next_if(|(key, _)| key.1 <= until)
            {
                rows.push(data.executions.get(key).expect("`wakes` names rows that exist").clone());
            }
            let next = coming.peek().map_or(Timestamp::MAX, |(key, _)| key.1);
            Ok((rows, next))
        })
    }

    async fn owing_runs(
        &self,
        shard: ShardId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        self.call(|data| {
            let owes = |row: &&ExecutionRow| {
                row.key.shard == shard
                    && row.status.is_some()
                    && row.wake_at <= OWES_MESSAGES
                    && after.is_none_or(|after| row.key.run_id > after)
            };
            let mut rows: Vec<ExecutionRow> = data.executions.values().filter(owes).cloned().collect();
            rows.sort_by_key(|row| row.key.run_id);
            rows.truncate(limit as usize);
            Ok(rows)
        })
    }

    async fn execution(&self, key: &RunKey) -> Result<Option<ExecutionRow>, StoreError> {
        self.call(|data| Ok(data.executions.get(key).cloned()))
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
        self.call(|data| {
            let rows: &mut dyn Iterator<Item = HistoryRow> = if reverse {
                let last = if from.is_some() { from } else { EventId(u64::MAX) };
                &mut data.history_rows(shard, run_id, EventId(0), last).rev()
            } else {
                let first = data.history_rows(shard, run_id, EventId(0), from).next_back();
                let first = first.map_or(EventId(0), |row| row.first_event_id);
                &mut data.history_rows(shard, run_id, first, EventId(u64::MAX))
            };
            let mut bytes = 0;
            let mut page = Vec::new();
            for row in rows.take(max_rows as usize) {
                if !page.is_empty() && bytes >= max_bytes {
                    break;
                }
                bytes += row.events.len();
                page.push(row);
            }
            Ok(page)
        })
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError> {
        self.call(|data| {
            let first = (filter.namespace, RunId::from_uuid(Uuid::nil()));
            let end = match filter.before {
                Some(before) => Excluded((filter.namespace, before)),
                None => Included((filter.namespace, RunId::from_uuid(Uuid::max()))),
            };
            if filter.before == Some(first.1) {
                return Ok(Vec::new());
            }
            let rows = data.visible.range((Included(first), end)).rev();
            let rows = rows.map(|(_, key)| data.executions.get(key).expect("`visible` names rows that exist"));
            let matching = rows.filter(|row| {
                filter.status.is_none_or(|status| row.status == status)
                    && filter.workflow_type.as_ref().is_none_or(|kind| row.workflow_type == *kind)
                    && filter.workflow_id.as_ref().is_none_or(|id| row.key.workflow_id == *id)
            });
            Ok(matching.take(filter.limit as usize).cloned().collect())
        })
    }

    async fn search(&self, search: &Search) -> Result<Vec<ExecutionRow>, StoreError> {
        let Search { namespace, filter, after, limit } = search;
        self.call(|data| {
            let order = &filter.order;
            let mut found: Vec<_> =
                data.of_namespace(*namespace, filter).map(|row| (row.listed().order_key(order), row)).collect();
            if let Some((key, run_id)) = after {
                found.retain(|(own, row)| order.compare((own, row.key.run_id), (key, *run_id)).is_gt());
            }
            found.sort_by(|(one, a), (other, b)| order.compare((one, a.key.run_id), (other, b.key.run_id)));
            Ok(found.into_iter().take(*limit as usize).map(|(_, row)| row.clone()).collect())
        })
    }

    async fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Vec<(String, u64)>, StoreError> {
        self.call(|data| {
            let mut groups: BTreeMap<String, u64> = BTreeMap::new();
            for row in data.of_namespace(namespace, filter) {
                *groups
                    .entry(filter.group_by.as_ref().map_or_else(String::new, |column| row.listed().group(column)))
                    .or_default() += 1;
            }
            if filter.group_by.is_none() {
                groups.entry(String::new()).or_default();
            }
            let mut groups: Vec<(String, u64)> = groups.into_iter().collect();
            // Stable: groups of one size stay in the order of their names.
            groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            groups.truncate(GROUPS_MAX as usize);
            Ok(groups)
        })
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.call(|data| Ok(data.namespaces.clone()))
    }

    async fn create_namespace(&self, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError> {
        self.call(|data| {
            data.migrated()?;
            if data.namespaces.iter().any(|row| row.name == name) {
                return Err(StoreError::NamespaceExists(name.to_owned()));
            }
            Ok(data.add_namespace(name, settings))
        })
    }

    async fn update_namespace(&self, id: NamespaceId, version: i64, settings: &[u8]) -> Result<bool, StoreError> {
        self.call(|data| {
            let row = data.namespaces.iter_mut().find(|row| row.id == id && row.version == version);
            let Some(row) = row else {
                return Ok(false);
            };
            row.version += 1;
            row.settings = Bytes::copy_from_slice(settings);
            Ok(true)
        })
    }

    async fn delete_namespace(&self, id: NamespaceId) -> Result<(), StoreError> {
        self.call(|data| {
            data.namespaces.retain(|row| row.id != id);
            data.deployments.retain(|key, _| key.namespace != id);
            Ok(())
        })
    }

    async fn earliest_runs(
        &self,
        namespace: NamespaceId,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        self.call(|data| {
            let start = match after {
                Some(after) => Excluded((namespace, after)),
                None => Included((namespace, RunId::from_uuid(Uuid::nil()))),
            };
            let runs = data.visible.range((start, Unbounded)).take_while(|((of, _), _)| *of == namespace);
            let runs = runs.map(|(_, key)| data.executions.get(key).expect("`visible` names rows that exist").clone());
            Ok(runs.take(limit as usize).collect())
        })
    }

    async fn delete_runs(&self, shards: &[(ShardId, Epoch)], runs: &[RunKey]) -> Result<(), StoreError> {
        self.call(|data| {
            data.check_epochs(shards)?;
            runs.iter().for_each(|key| data.delete(key));
            Ok(())
        })
    }

    async fn close(&self) {}
}
