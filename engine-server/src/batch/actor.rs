//! One batch at work: reads runs page by page, does what it does to each, and writes how far it has come.

use std::sync::Arc;
use std::time::Duration;

use engine_core::filter::{Column, Comparison, Condition, Filter, OrderKey, Value, parse_count};
use engine_core::ids::RunId;
use engine_proto::{convert, v1};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prost::Message;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use v1::BatchState;

use super::operation::{Operation, Standing};
use crate::limits;
use crate::node::NodeContext;
use crate::store::{BatchKey, BatchRow, BatchWrite, Epoch, ExecutionRow, Search, StoreError};

pub(super) struct Actor {
    context: Arc<NodeContext>,
    key: BatchKey,
    epoch: Epoch,
    /// The shard is no longer ours, or the server stops.
    lost: CancellationToken,
    /// A call wrote the row.
    look: CancellationToken,
    revision: i64,
    stored: v1::StoredBatch,
    /// Before this the rate allows no further run.
    next_run: Instant,
}

/// What became of the runs of a page.
#[derive(Default)]
struct Reached {
    /// Of those that were begun, the last.
    last: Option<RunId>,
    done: u64,
    failures: Vec<v1::BatchFailure>,
}

impl Actor {
    /// `None` if the row cannot be read: it is left alone until its shard is acquired by a server that can.
    pub(super) fn new(
        context: Arc<NodeContext>,
        row: BatchRow,
        epoch: Epoch,
        lost: CancellationToken,
        look: CancellationToken,
    ) -> Option<Self> {
        let BatchRow { key, revision, batch, .. } = row;
        match v1::StoredBatch::decode(batch) {
            Ok(stored) => Some(Self { context, key, epoch, lost, look, revision, stored, next_run: Instant::now() }),
            Err(error) => {
                tracing::error!(%error, batch_id = %key.batch_id, "quarantined a batch: it cannot be read");
                None
            }
        }
    }

    /// Runs until the batch is over or its shard is lost. Waits for the database are never cut short, only pauses are.
    pub(super) async fn run(mut self) {
        let mut pause = Pause::default();
        while !self.lost.is_cancelled() {
            match self.work().await {
                Ok(()) | Err(StoreError::Fenced(_)) => break,
                Err(error) => {
                    tracing::warn!(%error, batch_id = %self.key.batch_id, "a batch could not go on; it is read again");
                    pause.wait(&self.lost).await;
                    // What was written is in doubt: the row says it.
                    match self.reload().await {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            tracing::warn!(%error, batch_id = %self.key.batch_id, "a batch could not be read");
                        }
                    }
                }
            }
        }
        self.context.batches.ended(&self.key, self.epoch);
    }

    async fn work(&mut self) -> Result<(), StoreError> {
        let operation = match self.stored.batch.as_ref().map(Operation::of) {
            Some(Ok(operation)) => operation,
            Some(Err(problem)) => return self.finish(BatchState::Failed, problem).await,
            None => return self.finish(BatchState::Failed, "it is stored without content".to_owned()).await,
        };
        let filter = match self.filter(&operation) {
            Ok(filter) => filter,
            Err(problem) => return self.finish(BatchState::Failed, problem).await,
        };
        while !self.lost.is_cancelled() {
            if self.stored.stop_requested {
                return self.finish(BatchState::Stopped, String::new()).await;
            }
            let rows = self.next_runs(&filter).await?;
            if rows.is_empty() {
                return self.finish(BatchState::Completed, String::new()).await;
            }
            let reached = self.reach(rows, &operation).await;
            self.count(reached);
            self.write(true).await?;
        }
        Ok(())
    }

    /// The runs of the batch's query to which the operation can be done.
    fn filter(&self, operation: &Operation) -> Result<Filter, String> {
        let namespace = self.context.namespaces.by_id(self.key.namespace);
        let namespace = namespace.filter(|namespace| !namespace.settings.deleting);
        let namespace = namespace.ok_or("its namespace was deleted")?;
        let query = self.stored.batch.as_ref().map_or("", |batch| batch.query.as_str());
        let filter = parse_count(query, &namespace.settings.search_types).map_err(|error| error.to_string())?;
        meant(filter, operation.standing())
    }

    async fn next_runs(&self, filter: &Filter) -> Result<Vec<ExecutionRow>, StoreError> {
        let after = convert::optional_run_id("after_run_id", &self.stored.after_run_id)
            .map_err(|error| StoreError::Corrupt(format!("batch {:?}: {error}", self.key.batch_id)))?;
        let search = Search {
            namespace: self.key.namespace,
            filter: filter.clone(),
            after: after.map(|run_id| (OrderKey::Run, run_id)),
            // About a second's work: so often is written how far it has come.
            limit: self.rate().min(limits::BATCH_RUNS_PER_READ),
        };
        self.context.store.search(&search).await
    }

    fn rate(&self) -> u32 {
        let rate = self.stored.batch.as_ref().map_or(0, |batch| batch.rate);
        rate.clamp(1, limits::BATCH_RATE_MAX)
    }

    /// Does it to the runs, as fast as the rate allows, until somebody wants the batch to stop.
    async fn reach(&mut self, rows: Vec<ExecutionRow>, operation: &Operation) -> Reached {
        let pace = Duration::from_secs(1) / self.rate();
        let mut next = self.next_run.max(Instant::now());
        let mut rows = rows.into_iter();
        let mut waiting = rows.next();
        let mut under_way = FuturesUnordered::new();
        let mut reached = Reached::default();
        while waiting.is_some() || !under_way.is_empty() {
            let has_room = under_way.len() < operation.under_way_max();
            tokio::select! {
                biased;
                () = self.lost.cancelled() => break,
                () = self.look.cancelled(), if waiting.is_some() => waiting = None,
                Some(end) = under_way.next() => match end {
                    Ok(()) => reached.done += 1,
                    Err(failure) => reached.failures.push(failure),
                },
                () = tokio::time::sleep_until(next), if waiting.is_some() && has_room => {
                    let Some(row) = waiting.take() else { continue };
                    reached.last = Some(row.key.run_id);
                    waiting = rows.next();
                    if operation.has_begun(&row) {
                        continue;
                    }
                    under_way.push(operation.apply(&self.context, row));
                    next += pace;
                }
            }
        }
        drop(under_way);
        self.next_run = next;
        reached
    }

    fn count(&mut self, reached: Reached) {
        let Some(batch) = &mut self.stored.batch else { return };
        batch.done += reached.done;
        batch.failed += reached.failures.len() as u64;
        let room = limits::BATCH_FAILURES_KEPT.saturating_sub(batch.failures.len());
        batch.failures.extend(reached.failures.into_iter().take(room));
        if let Some(last) = reached.last {
            self.stored.after_run_id = last.to_string();
        }
    }

    async fn finish(&mut self, state: BatchState, problem: String) -> Result<(), StoreError> {
        if let Some(batch) = &mut self.stored.batch {
            batch.state = state.into();
            batch.problem = problem;
            batch.close_time = Some(convert::timestamp_to_proto(self.context.now()));
        }
        self.write(false).await
    }

    /// Writes the row. If a call wrote it meanwhile, takes what that asks for, and writes again.
    async fn write(&mut self, is_active: bool) -> Result<(), StoreError> {
        loop {
            if self.lost.is_cancelled() {
                return Err(StoreError::Fenced(self.key.shard));
            }
            let row = Some((is_active, self.stored.encode_to_vec().into()));
            let write = BatchWrite { key: self.key.clone(), replaces: self.revision, row };
            if self.context.store.write_batch(self.epoch, &write).await? {
                self.revision += 1;
                return Ok(());
            }
            let Some((_, written)) = self.read().await? else {
                // Only a batch that is over is deleted.
                return Err(StoreError::Fenced(self.key.shard));
            };
            self.stored.stop_requested |= written.stop_requested;
            if let (Some(batch), Some(written)) = (&mut self.stored.batch, written.batch) {
                batch.stop_reason = written.stop_reason;
            }
        }
    }

    /// Takes what the row says. Whether the batch is at work.
    async fn reload(&mut self) -> Result<bool, StoreError> {
        let Some((is_active, stored)) = self.read().await? else { return Ok(false) };
        self.stored = stored;
        Ok(is_active)
    }

    /// The row as it is, whose revision the next write replaces, and whether it says that the batch is at work.
    async fn read(&mut self) -> Result<Option<(bool, v1::StoredBatch)>, StoreError> {
        let Some(row) = self.context.store.batch(self.key.namespace, &self.key.batch_id).await? else {
            return Ok(None);
        };
        self.revision = row.revision;
        let corrupt = |error| StoreError::Corrupt(format!("batch {:?}: {error}", self.key.batch_id));
        v1::StoredBatch::decode(row.batch).map(|stored| Some((row.is_active, stored))).map_err(corrupt)
    }
}

/// The runs that stand so, of those that `filter` means.
pub(crate) fn meant(filter: Filter, standing: Standing) -> Result<Filter, String> {
    if filter.group_by.is_some() {
        return Err("has GROUP BY, which is for counts".to_owned());
    }
    let open = Condition::Compare(Column::Status, Comparison::Equal, Value::Status(None));
    let state = match standing {
        Standing::Open => open,
        Standing::Closed => Condition::Not(Box::new(open)),
        Standing::Any => return Ok(Filter { condition: filter.condition, ..Filter::default() }),
    };
    let conditions = filter.condition.into_iter().chain([state]).collect();
    Ok(Filter { condition: Some(Condition::All(conditions)), ..Filter::default() })
}

/// Pauses between tries, doubled up to a limit.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    pub(super) async fn wait(&mut self, until: &CancellationToken) {
        let pause = limits::BATCH_RETRY_INITIAL * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        tokio::select! {
            () = until.cancelled() => {}
            () = tokio::time::sleep(pause.min(limits::BATCH_RETRY_MAX)) => {}
        }
    }
}
