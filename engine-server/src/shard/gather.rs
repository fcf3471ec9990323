//! The batch that a lane gathers while the one before is being committed, and what leaves once each is durable.
//!
//! Three lists of releases keep the promise that nothing leaves before the state it speaks of is durable:
//! `ready` (nothing to wait for), `in_flight` (waits for the batch at the store), `gathering` (waits for the next batch).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use engine_core::event::CloseStatus;
use engine_core::execution::UpdateAnswer;
use engine_core::ids::{EventId, RunId, UpdateId};
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;
use tokio::sync::oneshot;

use crate::hash::HashMap;
use crate::queue::QueuedTask;
use crate::session::{InHand, Outbound, Session};
use crate::shard::messages::Errand;
use crate::shard::request::{
    Claim, Described, LocalKey, QueryPlace, QueryTurn, Replied, ResetReply, Responder, ServerError, StartReply,
    Subscribed, UpdateWatch,
};
use crate::store::{
    Batch, BufferedRow, Epoch, ExecutionChange, ExecutionRow, ExecutionUpdate, HistoryRow, ProgressRow, RunKey, ShardId,
};

/// Something that leaves the shard.
#[derive(Debug)]
pub(crate) enum Release {
    /// Answer an input.
    Reply(Responder, Result<Replied, ServerError>),
    /// Answer a start.
    Started(oneshot::Sender<Result<StartReply, ServerError>>, Result<StartReply, ServerError>),
    /// A start that went to the store unseen was made, unless the store left it out.
    Begun(ShardId, LocalKey, RunId),
    /// Answer a reset.
    Reset(oneshot::Sender<Result<ResetReply, ServerError>>, Result<ResetReply, ServerError>),
    /// Answer a claim.
    Claimed(Box<Claim>, Result<(), ServerError>),
    /// Answer a describe.
    Described(oneshot::Sender<Result<Described, ServerError>>, Result<Described, ServerError>),
    /// Answer a subscription.
    Subscribed(oneshot::Sender<Result<Subscribed, ServerError>>, Result<Subscribed, ServerError>),
    /// Answer who wants to query.
    QueryTurn(oneshot::Sender<Result<QueryTurn, ServerError>>, Result<QueryTurn, ServerError>),
    /// The turn of a query that waited has come, or will not.
    Queried(oneshot::Sender<Result<QueryPlace, ServerError>>, Result<QueryPlace, ServerError>),
    /// Answer an update.
    UpdateWatched(oneshot::Sender<Result<UpdateWatch, ServerError>>, Result<UpdateWatch, ServerError>),
    /// News for who waits for an update.
    UpdateNews { shard: ShardId, run_id: RunId, update_id: UpdateId, answer: UpdateAnswer },
    /// A task wants a worker.
    Offer(QueuedTask),
    /// A task wants none any more.
    Withdraw(crate::queue::TaskId),
    /// A credit that was taken for a task was not used.
    Refund(Arc<Session>, crate::queue::TaskKind),
    /// Hand a task to a worker.
    HandOut(Box<HandOut>),
    /// Tell a worker something.
    Send(Arc<Session>, Outbound),
    /// News for who watches a run.
    News { shard: ShardId, run_id: RunId, last_event_id: EventId, closed: Option<(CloseStatus, Bytes)> },
    /// A run owes another workflow a message.
    Deliver(Errand),
    /// The run is closed for good: it may leave memory.
    Forget(ShardId, LocalKey, RunId),
    /// The run's row says when to look at it: it may leave memory.
    Parked(ShardId, LocalKey, RunId),
}

/// A task on its way to a worker.
#[derive(Debug)]
pub(crate) struct HandOut {
    pub(crate) session: Arc<Session>,
    pub(crate) task: QueuedTask,
    pub(crate) in_hand: InHand,
    pub(crate) message: Outbound,
}

/// The batch being gathered and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// Number of the batch being gathered, from 1.
    number: u64,
    /// Number of the last batch that is durable.
    durable: u64,
    bytes: usize,
    shards: BTreeMap<ShardId, Epoch>,
    new_runs: Vec<ExecutionRow>,
    new_run_index: HashMap<RunId, usize>,
    presumed_first: Vec<RunId>,
    closes: BTreeMap<RunId, ExecutionUpdate>,
    wakes: BTreeMap<RunId, ExecutionUpdate>,
    attributes: BTreeMap<RunId, ExecutionUpdate>,
    history: Vec<HistoryRow>,
    buffered: BTreeMap<RunId, Vec<BufferedRow>>,
    buffered_deletes: BTreeSet<(ShardId, RunId)>,
    progress: BTreeMap<(ShardId, RunId, EventId), Option<Bytes>>,
    ready: Vec<Release>,
    in_flight: Vec<Release>,
    gathering: Vec<Release>,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { number: 1, ..Self::default() }
    }

    /// The number of the batch being gathered: a run that changes remembers it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether everything up to a batch is durable.
    pub(crate) fn is_durable(&self, batch: u64) -> bool {
        batch <= self.durable
    }

    /// Whether the batch is as large as batches may be.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= crate::limits::BATCH_BYTES_MAX || self.rows() >= crate::limits::BATCH_ROWS_MAX
    }

    /// Whether there is anything to write.
    pub(crate) fn has_batch(&self) -> bool {
        !self.shards.is_empty()
    }

    fn rows(&self) -> usize {
        self.new_runs.len()
            + self.closes.len()
            + self.wakes.len()
            + self.attributes.len()
            + self.history.len()
            + self.progress.len()
            + self.buffered.len()
            + self.buffered_deletes.len()
    }

    /// Lets `release` leave once batch `after` is durable.
    pub(crate) fn release_after(&mut self, after: u64, release: Release) {
        if after <= self.durable {
            self.ready.push(release);
        } else if after < self.number {
            self.in_flight.push(release);
        } else {
            self.gathering.push(release);
        }
    }

    /// Names the shard that the next rows belong to.
    pub(crate) fn touch(&mut self, shard: ShardId, epoch: Epoch) {
        self.shards.insert(shard, epoch);
    }

    pub(crate) fn new_run(&mut self, row: ExecutionRow) {
        self.bytes += 200 + row.key.workflow_id.len() + size_of_attributes(&row.search_attributes);
        self.new_run_index.insert(row.key.run_id, self.new_runs.len());
        self.new_runs.push(row);
    }

    /// A new run of this batch is the first of its workflow id for all that is known: the store finds out.
    pub(crate) fn presume_first(&mut self, run_id: RunId) {
        self.presumed_first.push(run_id);
    }

    pub(crate) fn history(&mut self, row: HistoryRow) {
        self.bytes += 64 + row.events.len();
        self.history.push(row);
    }

    /// The run closed: folded into its row if that is in the same batch.
    pub(crate) fn close(&mut self, key: &RunKey, status: CloseStatus, at: Timestamp, history_length: u64) {
        match self.new_run_index.get(&key.run_id) {
            Some(index) => {
                let row = &mut self.new_runs[*index];
                (row.status, row.closed_at, row.history_length) = (Some(status), Some(at), history_length);
            }
            None => {
                self.wakes.remove(&key.run_id);
                let change = ExecutionChange::Close { status, at, history_length };
                self.closes.insert(key.run_id, ExecutionUpdate { key: key.clone(), change });
            }
        }
    }

    pub(crate) fn wake_at(&mut self, key: &RunKey, at: Timestamp) {
        match self.new_run_index.get(&key.run_id) {
            Some(index) => self.new_runs[*index].wake_at = at,
            None => {
                let update = ExecutionUpdate { key: key.clone(), change: ExecutionChange::WakeAt(at) };
                self.wakes.insert(key.run_id, update);
            }
        }
    }

    /// What the run is listed by changed; folded into its row if that is in the same batch.
    pub(crate) fn search_attributes(&mut self, key: &RunKey, all: &SearchAttributes) {
        self.bytes += 64 + size_of_attributes(all);
        match self.new_run_index.get(&key.run_id) {
            Some(index) => self.new_runs[*index].search_attributes.clone_from(all),
            None => {
                let change = ExecutionChange::SearchAttributes(all.clone());
                self.attributes.insert(key.run_id, ExecutionUpdate { key: key.clone(), change });
            }
        }
    }

    pub(crate) fn buffer(&mut self, row: BufferedRow) {
        self.bytes += 64 + row.event.len();
        self.buffered.entry(row.run_id).or_default().push(row);
    }

    /// The buffered events of the run got their numbers or were dropped.
    pub(crate) fn flush_buffer(&mut self, shard: ShardId, run_id: RunId, stored: bool) {
        self.buffered.remove(&run_id);
        if stored {
            self.buffered_deletes.insert((shard, run_id));
        }
    }

    pub(crate) fn progress(&mut self, shard: ShardId, run_id: RunId, activity: EventId, progress: Option<Bytes>) {
        self.bytes += 64 + progress.as_ref().map_or(0, Bytes::len);
        self.progress.insert((shard, run_id, activity), progress);
    }

    /// What may leave at once.
    pub(crate) fn take_ready(&mut self) -> Vec<Release> {
        std::mem::take(&mut self.ready)
    }

    /// Cuts the batch, if there is anything to write. What waited for it but needs no write moves up.
    ///
    /// To be called only while no batch is at the store.
    pub(crate) fn cut(&mut self) -> Option<Batch> {
        debug_assert!(self.in_flight.is_empty(), "the batch before was resolved");
        if self.shards.is_empty() {
            self.ready.append(&mut self.gathering);
            return None;
        }
        let (upserts, deletes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.progress).into_iter().partition(|(_, progress)| progress.is_some());
        let batch = Batch {
            shards: std::mem::take(&mut self.shards).into_iter().collect(),
            new_runs: std::mem::take(&mut self.new_runs),
            presumed_first: std::mem::take(&mut self.presumed_first),
            updates: std::mem::take(&mut self.closes)
                .into_values()
                .chain(std::mem::take(&mut self.wakes).into_values())
                .chain(std::mem::take(&mut self.attributes).into_values())
                .collect(),
            history: std::mem::take(&mut self.history),
            buffered_deletes: std::mem::take(&mut self.buffered_deletes).into_iter().collect(),
            buffered: std::mem::take(&mut self.buffered).into_values().flatten().collect(),
            progress_deletes: deletes
                .into_iter()
                .map(|((shard, run_id, activity), _)| (shard, run_id, activity))
                .collect(),
            progress: upserts
                .into_iter()
                .map(|((shard, run_id, scheduled_event_id), progress)| ProgressRow {
                    shard,
                    run_id,
                    scheduled_event_id,
                    progress: progress.unwrap_or_default(),
                })
                .collect(),
        };
        self.new_run_index.clear();
        self.bytes = 0;
        self.number += 1;
        self.in_flight = std::mem::take(&mut self.gathering);
        Some(batch)
    }

    /// The batch at the store is durable.
    pub(crate) fn committed(&mut self) {
        self.durable = self.number - 1;
        self.ready.append(&mut self.in_flight);
    }

    /// The batch at the store is in doubt: nothing that waited for it, or for what was built on it, may leave.
    pub(crate) fn in_doubt(&mut self) -> Vec<Release> {
        let mut lost = std::mem::take(&mut self.in_flight);
        lost.append(&mut self.gathering);
        let number = self.number + 1;
        let ready = std::mem::take(&mut self.ready);
        *self = Self { number, durable: number - 1, ready, ..Self::default() };
        lost
    }
}

fn size_of_attributes(attributes: &SearchAttributes) -> usize {
    attributes.iter().map(|(name, value)| name.as_str().len() + value.size()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawal(n: u64) -> Release {
        let run_id = RunId::from_uuid(uuid::Uuid::from_u128(u128::from(n)));
        Release::Withdraw(crate::queue::TaskId { run_id, activity: EventId(n) })
    }

    fn numbers(releases: &[Release]) -> Vec<u64> {
        let number = |release: &Release| match release {
            Release::Withdraw(id) => id.activity.0,
            other => panic!("unexpected {other:?}"),
        };
        releases.iter().map(number).collect()
    }

    #[test]
    fn nothing_leaves_before_the_batch_that_it_waits_for() {
        let mut gather = Gather::new();
        gather.release_after(0, withdrawal(1));
        gather.touch(ShardId(1), Epoch(1));
        gather.release_after(gather.number(), withdrawal(2));
        assert_eq!(numbers(&gather.take_ready()), [1]);
        let first = gather.number();
        assert!(gather.cut().is_some());
        gather.release_after(first, withdrawal(3));
        gather.release_after(gather.number(), withdrawal(4));
        assert_eq!(numbers(&gather.take_ready()), [0; 0]);
        gather.committed();
        assert_eq!(numbers(&gather.take_ready()), [2, 3]);
        assert!(gather.cut().is_none(), "4 waited for a batch that turned out to have nothing to write");
        assert_eq!(numbers(&gather.take_ready()), [4]);
    }

    #[test]
    fn a_batch_in_doubt_takes_down_what_was_built_on_it() {
        let mut gather = Gather::new();
        gather.touch(ShardId(1), Epoch(1));
        gather.release_after(gather.number(), withdrawal(1));
        gather.cut();
        gather.touch(ShardId(1), Epoch(1));
        gather.release_after(gather.number(), withdrawal(2));
        assert_eq!(numbers(&gather.in_doubt()), [1, 2]);
        assert!(gather.cut().is_none(), "its rows are gone");
        let after = gather.number();
        gather.touch(ShardId(1), Epoch(2));
        gather.release_after(after, withdrawal(3));
        assert_eq!(gather.cut().map(|batch| batch.shards), Some(vec![(ShardId(1), Epoch(2))]));
        gather.committed();
        assert_eq!(numbers(&gather.take_ready()), [3]);
    }
}
