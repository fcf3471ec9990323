//! The shards of one lane: requests in, batches and releases out. Nothing here waits, reads a clock or touches the store.
//!
//! | what happens | method | what the driver does next |
//! |---|---|---|
//! | a request arrived | `handle` | load what `take_loads` names |
//! | rows were read | `loaded`, `scanned` | |
//! | a deadline passed | `due` | scan what `take_scans` names |
//! | the store is free | `cut` | commit the batch |
//! | the batch is durable | `committed` | let go what `take_ready` gives |
//! | the batch is in doubt | `in_doubt` | acquire the lane's shards again |
//! | a shard was acquired | `acquired` | scan it |
//!
//! Invariants:
//! - A workflow id that is not in memory has no change that is not durable, so the store tells the truth about it.
//! - A run in memory with work to do by itself has a row with `wake_at <= now` in the store: a crash loses no run.
//! - Everything a release speaks of is durable when it leaves ([`Gather`]).
//! - What a scan read of a run that was in memory since is not used: it may be older than what is durable.
//! - Nothing is built on a start that the store may leave out: what reaches its workflow id waits for the answer.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | the table above |
//! | `requests` | what each kind of request does |
//! | `start` | how a run begins |
//! | `reset` | how one begins with the history of another |
//! | `absorb` | what a transition does: rows, releases, the shard's sets |
//! | `due` | what time does: graces, deadlines, parking |
//! | `hand_over` | what a stop in order writes |
//! | `parting` | what runs owe others, closed ones too |
//! | `shard` | one shard, and its sets of deadlines and idle runs |

mod absorb;
mod due;
mod hand_over;
mod parting;
mod requests;
mod reset;
mod shard;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine_core::execution::UpdateAnswer;
use engine_core::ids::{RunId, UpdateId};
use engine_core::time::Timestamp;

use crate::hash::{HashMap, HashSet};
use crate::limits;
use crate::shard::gather::{Gather, Release};
use crate::shard::request::{LocalKey, News, Request, RequestKind, Responder, ServerError};
use crate::shard::updates::UpdateWatchers;
use crate::store::{Batch, Epoch, ExecutionRow, RunKey, ShardId, StoredRun, WorkflowKey};

use shard::{Loading, Shard, Slot};

/// What a lane's shards may use, and how patient they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardOptions {
    /// How long a recovered shard waits for workers to claim what they had in hand.
    pub(crate) recovery_grace: Duration,
    /// Budget for runs in memory, in bytes, for this lane.
    pub(crate) cache_bytes: usize,
    /// How long an idle run stays in memory.
    pub(crate) park_after: Duration,
}

/// The shards of one lane.
#[derive(Debug)]
pub(crate) struct Shards {
    options: ShardOptions,
    shards: HashMap<ShardId, Shard>,
    gather: Gather,
    wanted_loads: Vec<WorkflowKey>,
    wanted_scans: Vec<Scan>,
    /// Runs that the last batch was to begin and did not, until the releases of that batch have been dealt with.
    left_out: Vec<RunId>,
    cached_bytes: usize,
    /// Set when the lane stops in order: the runs that are still to be handed over.
    handing_over: Option<Vec<(ShardId, LocalKey)>>,
}

/// A look at the store for runs whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) shard: ShardId,
    pub(crate) until: Timestamp,
    /// Where the page before ended.
    pub(crate) after: Option<(Timestamp, RunId)>,
}

impl Scan {
    /// For runs that were in memory when the shard's last owner stopped.
    fn recovery(shard: ShardId) -> Self {
        Self { shard, until: hand_over::HANDED_OVER, after: None }
    }

    /// Whether it is for runs of the shard's last owner.
    pub(crate) fn is_recovery(&self) -> bool {
        self.until == hand_over::HANDED_OVER
    }

    /// For parked runs whose time has come. Runs whose row says "at once" are in memory already.
    fn due(shard: ShardId, now: Timestamp) -> Self {
        Self { shard, until: now, after: Some((Timestamp::EPOCH, RunId::from_uuid(uuid::Uuid::max()))) }
    }
}

/// What a scan found: one page, so that a shard with a million runs that are due takes no more memory than one with a few.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) runs: Vec<StoredRun>,
    /// The place of the last run of the page, if there may be more.
    pub(crate) more_after: Option<(Timestamp, RunId)>,
    /// The earliest `wake_at` behind the page.
    pub(crate) next_wake: Timestamp,
}

/// The latest run of a workflow id that is not in memory.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// There is none.
    Nothing,
    /// It is closed.
    Closed(Box<ExecutionRow>),
    /// It is open.
    Open(Box<StoredRun>),
    /// What is stored cannot be understood.
    Corrupt(String),
    /// The store could not be read.
    Failed(String),
}

impl Loaded {
    /// What a scan read of the run stands in for a look-up that failed: nothing else would bring the run back to memory.
    fn or_scanned(self, scanned: Option<Box<StoredRun>>) -> Self {
        match (self, scanned) {
            (Self::Failed(_), Some(scanned)) => Self::Open(scanned),
            (loaded, _) => loaded,
        }
    }
}

impl Shards {
    pub(crate) fn new(options: ShardOptions) -> Self {
        Self {
            options,
            shards: HashMap::default(),
            gather: Gather::new(),
            wanted_loads: Vec::new(),
            wanted_scans: Vec::new(),
            left_out: Vec::new(),
            cached_bytes: 0,
            handing_over: None,
        }
    }

    /// A shard is this lane's from now on. Runs that were in memory at its last owner are scanned for.
    pub(crate) fn acquired(&mut self, id: ShardId, epoch: Epoch, now: Timestamp) {
        let shard = Shard {
            id,
            epoch,
            slots: HashMap::default(),
            deadlines: BTreeSet::new(),
            idle: BTreeSet::new(),
            subscriptions: HashMap::default(),
            update_watchers: UpdateWatchers::default(),
            parting: HashMap::default(),
            // Without a grace it ends at once, and not before it begins: an attempt that a worker may have made is another one
            // than its repeat, even if that worker cannot come back.
            grace_until: Some(now + self.options.recovery_grace),
            in_doubt: Vec::new(),
            scanning: true,
            left: HashSet::default(),
            next_wake: Timestamp::MAX,
        };
        self.shards.insert(id, shard);
        self.wanted_scans.push(Scan::recovery(id));
    }

    /// Those of `runs` that are in these shards and not in memory, and the epochs under which they are owned.
    pub(crate) fn deletable(&self, runs: Vec<RunKey>) -> (Vec<(ShardId, Epoch)>, Vec<RunKey>) {
        let mut epochs = BTreeMap::new();
        let mut absent = Vec::new();
        for key in runs {
            let Some(shard) = self.shards.get(&key.shard) else {
                continue;
            };
            let local = LocalKey { namespace: key.namespace, workflow_id: key.workflow_id.as_str().into() };
            let is_free = match shard.slots.get(&local) {
                None => true,
                Some(Slot::Hot(run)) => run.run_id() != key.run_id,
                Some(Slot::Loading(_) | Slot::Starting(_)) => false,
            };
            if is_free {
                epochs.insert(key.shard, shard.epoch);
                absent.push(key);
            }
        }
        (epochs.into_iter().collect(), absent)
    }

    pub(crate) fn owns(&self, id: ShardId) -> bool {
        self.shards.contains_key(&id)
    }

    /// Something arrived for a shard that this lane owns.
    pub(crate) fn handle(&mut self, request: Request, now: Timestamp) {
        let Request { shard: id, key, kind } = request;
        let Some(shard) = self.shards.get_mut(&id) else {
            return self.refuse(kind, &ServerError::unavailable("the workflow's shard is being recovered"));
        };
        match shard.slots.get_mut(&key) {
            Some(Slot::Hot(_)) => self.handle_hot(id, key, kind, now),
            Some(Slot::Loading(loading)) => loading.waiting.push(kind),
            Some(Slot::Starting(starting)) => starting.waiting.push(kind),
            None => match kind {
                // What comes along with a start must be in its transaction, which one that is presumed may not have.
                RequestKind::Start(start) if start.with.is_none() => self.start_unseen(id, key, *start, now),
                kind => self.look_up(id, key, vec![kind]),
            },
        }
    }

    /// Asks for the latest run of a workflow id that is not in memory; `waiting` is handled once it is known.
    fn look_up(&mut self, id: ShardId, key: LocalKey, waiting: Vec<RequestKind>) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let workflow_id = key.workflow_id.as_ref().to_owned();
        self.wanted_loads.push(WorkflowKey { shard: id, namespace: key.namespace, workflow_id });
        shard.slots.insert(key, Slot::Loading(Loading { waiting, scanned: None }));
    }

    /// Workflow ids that must be looked up. The driver answers each with `loaded`.
    pub(crate) fn take_loads(&mut self) -> Vec<WorkflowKey> {
        let many = self.wanted_loads.len().min(limits::LOAD_RUNS_MAX);
        self.wanted_loads.drain(..many).collect()
    }

    /// Scans that must be made. The driver answers each with `scanned`.
    pub(crate) fn take_scans(&mut self) -> Vec<Scan> {
        std::mem::take(&mut self.wanted_scans)
    }

    /// The store answered a look-up.
    pub(crate) fn loaded(&mut self, id: ShardId, key: LocalKey, loaded: Loaded, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if !matches!(shard.slots.get(&key), Some(Slot::Loading(_))) {
            return;
        }
        let Some(Slot::Loading(Loading { waiting, scanned })) = shard.slots.remove(&key) else {
            return;
        };
        let mut latest = None;
        match loaded.or_scanned(scanned) {
            Loaded::Nothing => {}
            Loaded::Closed(row) => latest = Some(row),
            Loaded::Open(stored) => {
                if let Err(problem) = self.revive(id, *stored, now) {
                    tracing::error!(workflow_id = %key.workflow_id, %problem, "quarantined a run: its history cannot be replayed");
                    let error = ServerError::Internal(problem);
                    return waiting.into_iter().for_each(|kind| self.refuse(kind, &error));
                }
            }
            Loaded::Corrupt(problem) => {
                let error = ServerError::Internal(problem);
                return waiting.into_iter().for_each(|kind| self.refuse(kind, &error));
            }
            Loaded::Failed(problem) => {
                let error = ServerError::unavailable(problem);
                return waiting.into_iter().for_each(|kind| self.refuse(kind, &error));
            }
        }
        for kind in waiting {
            let is_hot = self.shards.get(&id).is_some_and(|shard| shard.slots.contains_key(&key));
            if is_hot {
                self.handle_hot(id, key.clone(), kind, now);
            } else {
                self.handle_absent(id, &key, kind, latest.as_deref(), now);
            }
        }
    }

    /// A scan found a page of runs whose time has come.
    pub(crate) fn scanned(&mut self, scan: Scan, found: Scanned, now: Timestamp) {
        for stored in found.runs {
            let key = LocalKey {
                namespace: stored.row.key.namespace,
                workflow_id: stored.row.key.workflow_id.as_str().into(),
            };
            let run_id = stored.row.key.run_id;
            if stored.row.status.is_some() {
                if let Err(problem) = self.resume_parting(scan.shard, &key, stored, now) {
                    tracing::error!(workflow_id = %key.workflow_id, %run_id, %problem, "what a closed run owes others is lost: its history cannot be replayed");
                }
                continue;
            }
            let Some(shard) = self.shards.get_mut(&scan.shard) else {
                return;
            };
            if shard.left.contains(&key) {
                continue;
            }
            match shard.slots.get_mut(&key) {
                None => {}
                Some(Slot::Loading(loading)) => {
                    loading.scanned = Some(Box::new(stored));
                    continue;
                }
                Some(Slot::Hot(_) | Slot::Starting(_)) => continue,
            }
            if let Err(problem) = self.revive(scan.shard, stored, now) {
                tracing::error!(workflow_id = %key.workflow_id, %run_id, %problem, "quarantined a run: its history cannot be replayed");
            }
        }
        let Some(shard) = self.shards.get_mut(&scan.shard) else {
            return;
        };
        shard.page_ends(found.more_after.is_none());
        match found.more_after {
            Some(_) => self.wanted_scans.push(Scan { after: found.more_after, ..scan }),
            None => shard.next_wake = shard.next_wake.min(found.next_wake),
        }
    }

    /// When `due` has something to do.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.shards.values().filter_map(|shard| shard.next_due(self.options)).min()
    }

    /// Does everything whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) {
        let ids: Vec<ShardId> = self
            .shards
            .values()
            .filter(|s| s.next_due(self.options).is_some_and(|at| at <= now))
            .map(|s| s.id)
            .collect();
        for id in ids {
            self.end_grace(id, now);
            self.fire_deadlines(id, now);
            self.wake_parked(id, now);
            self.park_old(id, now);
        }
    }

    /// Keeps the runs in memory within the budget.
    pub(crate) fn trim_cache(&mut self, now: Timestamp) {
        while self.cached_bytes > self.options.cache_bytes {
            let oldest =
                self.shards.values().filter_map(|s| s.idle.first().map(|(at, key)| (*at, s.id, key.clone()))).min();
            let Some((_, id, key)) = oldest else {
                return;
            };
            self.park(id, &key, now);
        }
    }

    /// Whether the batch is full, so that no more requests should be handled before it is cut.
    pub(crate) fn is_full(&self) -> bool {
        self.gather.is_full()
    }

    /// Whether there is anything to commit.
    pub(crate) fn has_batch(&self) -> bool {
        self.gather.has_batch()
    }

    /// The batch to commit, if there is one. Only while none is at the store.
    pub(crate) fn cut(&mut self) -> Option<Batch> {
        self.gather.cut()
    }

    /// The batch is durable, but for the runs that the store left out of it.
    pub(crate) fn committed(&mut self, left_out: Vec<RunId>) {
        self.left_out = left_out;
        self.gather.committed();
    }

    /// The batch is in doubt: forgets everything, refuses everything that waited. Returns the shards to acquire again.
    pub(crate) fn in_doubt(&mut self, why: &str) -> Vec<ShardId> {
        let error = ServerError::unavailable(why);
        for release in self.gather.in_doubt() {
            self.refuse_release(release, &error);
        }
        let shards = std::mem::take(&mut self.shards);
        self.cached_bytes = 0;
        self.wanted_loads.clear();
        self.wanted_scans.clear();
        let ids = shards.keys().copied().collect();
        for shard in shards.into_values() {
            for (_, slot) in shard.slots {
                match slot {
                    Slot::Loading(loading) => loading.waiting.into_iter().for_each(|kind| self.refuse(kind, &error)),
                    Slot::Starting(starting) => {
                        self.refuse(RequestKind::Start(Box::new(starting.request)), &error);
                        starting.waiting.into_iter().for_each(|kind| self.refuse(kind, &error));
                    }
                    Slot::Hot(_) => {}
                }
            }
            for (_, news) in shard.subscriptions {
                news.send_modify(|news| news.lost = true);
            }
            shard.update_watchers.lose();
        }
        ids
    }

    /// What may leave.
    pub(crate) fn take_ready(&mut self) -> Vec<Release> {
        self.gather.take_ready()
    }

    /// A closed run is durable: it leaves memory, unless a new run of its id has taken its place.
    pub(crate) fn forget(&mut self, id: ShardId, key: &LocalKey, run_id: RunId) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if matches!(shard.slots.get(key), Some(Slot::Hot(run)) if run.run_id() == run_id)
            && let Some(Slot::Hot(run)) = shard.slots.remove(key)
        {
            self.cached_bytes -= run.counted_bytes;
            shard.leaves(key);
        }
    }

    /// A parked run's row is durable: it leaves memory, unless it was touched since.
    pub(crate) fn parked(&mut self, id: ShardId, key: &LocalKey, run_id: RunId) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get(key) else {
            return;
        };
        if run.run_id() != run_id || run.parking_in != Some(run.last_batch) {
            return;
        }
        let (wake_at, bytes, deadline) = (run.durable_wake_at, run.counted_bytes, run.registered_deadline);
        shard.slots.remove(key);
        shard.leaves(key);
        if let Some(at) = deadline {
            shard.deadlines.remove(&(at, key.clone()));
        }
        shard.next_wake = shard.next_wake.min(wake_at);
        self.cached_bytes -= bytes;
    }

    /// News of a run became durable.
    pub(crate) fn publish(&mut self, id: ShardId, run_id: RunId, news: News) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let closed = news.closed.is_some();
        if let Some(sender) = shard.subscriptions.get(&run_id) {
            let listened = sender.send(news).is_ok();
            if closed || !listened {
                shard.subscriptions.remove(&run_id);
            }
        }
    }

    /// News of an update became durable.
    pub(crate) fn publish_update(&mut self, id: ShardId, run_id: RunId, update_id: UpdateId, answer: UpdateAnswer) {
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.update_watchers.publish(run_id, update_id, answer);
        }
    }

    /// Refuses a request that cannot be handled here and now.
    pub(crate) fn refuse(&mut self, kind: RequestKind, error: &ServerError) {
        let release = match kind {
            RequestKind::Start(start) => Release::Started(start.reply, Err(error.clone())),
            RequestKind::Reset(reset) => Release::Reset(reset.reply, Err(error.clone())),
            RequestKind::Input { responder, .. } => Release::Reply(responder, Err(error.clone())),
            RequestKind::Message(message) => Release::Reply(Responder::Call(message.reply), Err(error.clone())),
            RequestKind::HandOut { task, session } => Release::Refund(session, task.queue.kind),
            RequestKind::Claim(claim) => Release::Claimed(claim, Err(error.clone())),
            RequestKind::Describe { reply, .. } => Release::Described(reply, Err(error.clone())),
            RequestKind::Subscribe { reply, .. } => Release::Subscribed(reply, Err(error.clone())),
            RequestKind::Query { reply, .. } => Release::QueryTurn(reply, Err(error.clone())),
            RequestKind::Update { reply, .. } => Release::UpdateWatched(reply, Err(error.clone())),
        };
        self.gather.release_after(0, release);
    }

    /// A release whose state was lost: who waits is told, and what would have left does not.
    fn refuse_release(&mut self, release: Release, error: &ServerError) {
        let refused = match release {
            Release::Reply(responder, _) => Release::Reply(responder, Err(error.clone())),
            Release::Started(reply, _) => Release::Started(reply, Err(error.clone())),
            Release::Reset(reply, _) => Release::Reset(reply, Err(error.clone())),
            Release::Claimed(claim, _) => Release::Claimed(claim, Err(error.clone())),
            Release::Described(reply, _) => Release::Described(reply, Err(error.clone())),
            Release::Subscribed(reply, _) => Release::Subscribed(reply, Err(error.clone())),
            Release::QueryTurn(reply, _) => Release::QueryTurn(reply, Err(error.clone())),
            Release::UpdateWatched(reply, _) => Release::UpdateWatched(reply, Err(error.clone())),
            Release::Queried(turn, _) => Release::Queried(turn, Err(error.clone())),
            Release::HandOut(out) => Release::Refund(out.session, out.task.queue.kind),
            Release::Refund(session, kind) => Release::Refund(session, kind),
            Release::Offer(_)
            | Release::Withdraw(_)
            | Release::Send(..)
            | Release::News { .. }
            | Release::Deliver(_)
            | Release::Begun(..)
            | Release::UpdateNews { .. }
            | Release::Forget(..)
            | Release::Parked(..) => return,
        };
        self.gather.release_after(0, refused);
    }
}
