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

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::WorkflowStarted;
use engine_core::execution::{Effect, Execution, Fact, Input, Rejection, Reply, Transition};
use engine_core::execution::{LatestRun, StartDecision, decide_start};
use engine_core::ids::{EventId, RequestId, RunId};
use engine_core::time::Timestamp;
use tokio::sync::watch;

use crate::limits;
use crate::queue::QueuedTask;
use crate::session::Session;
use crate::shard::gather::{Gather, Release};
use crate::shard::handout;
use crate::shard::load;
use crate::shard::progress;
use crate::shard::request::{
    Claim, Described, Description, LocalKey, News, Replied, Request, RequestKind, Responder, ServerError, StartReply,
    StartRequest, Subscribed,
};
use crate::shard::run::{Holder, HotRun, encode_turn};
use crate::store::{Batch, BufferedRow, Epoch, ExecutionRow, HistoryRow, RunKey, ShardId, StoredRun, WorkflowKey};

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
    cached_bytes: usize,
}

/// A look at the store for runs whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) shard: ShardId,
    pub(crate) until: Timestamp,
    /// Whether runs that were in memory when their owner stopped are looked for too.
    pub(crate) recovery: bool,
}

#[derive(Debug)]
struct Shard {
    id: ShardId,
    epoch: Epoch,
    slots: HashMap<LocalKey, Slot>,
    deadlines: BTreeSet<(Timestamp, LocalKey)>,
    idle: BTreeSet<(Timestamp, LocalKey)>,
    subscriptions: HashMap<RunId, watch::Sender<News>>,
    /// Until then workers may claim what they had in hand.
    grace_until: Option<Timestamp>,
    in_doubt: Vec<LocalKey>,
    scanning: bool,
    /// The earliest that a parked run must be looked at.
    next_wake: Timestamp,
}

#[derive(Debug)]
enum Slot {
    /// The store is being asked; what arrives meanwhile waits.
    Loading(Vec<RequestKind>),
    Hot(Box<HotRun>),
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

impl Shards {
    pub(crate) fn new(options: ShardOptions) -> Self {
        Self {
            options,
            shards: HashMap::new(),
            gather: Gather::new(),
            wanted_loads: Vec::new(),
            wanted_scans: Vec::new(),
            cached_bytes: 0,
        }
    }

    /// A shard is this lane's from now on. Runs that were in memory at its last owner are scanned for.
    pub(crate) fn acquired(&mut self, id: ShardId, epoch: Epoch, now: Timestamp) {
        let shard = Shard {
            id,
            epoch,
            slots: HashMap::new(),
            deadlines: BTreeSet::new(),
            idle: BTreeSet::new(),
            subscriptions: HashMap::new(),
            // Without a grace it ends at once, and not before it begins: an attempt that a worker may have made is another one
            // than its repeat, even if that worker cannot come back.
            grace_until: Some(now + self.options.recovery_grace),
            in_doubt: Vec::new(),
            scanning: true,
            next_wake: Timestamp::MAX,
        };
        self.shards.insert(id, shard);
        self.wanted_scans.push(Scan { shard: id, until: now, recovery: true });
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
            Some(Slot::Loading(waiting)) => waiting.push(kind),
            None => {
                self.wanted_loads.push(WorkflowKey {
                    shard: id,
                    namespace: key.namespace,
                    workflow_id: key.workflow_id.as_ref().to_owned(),
                });
                shard.slots.insert(key, Slot::Loading(vec![kind]));
            }
        }
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
        let Some(Slot::Loading(waiting)) = shard.slots.remove(&key) else {
            return;
        };
        let mut latest = None;
        match loaded {
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

    /// A scan found runs whose time has come.
    pub(crate) fn scanned(&mut self, scan: Scan, runs: Vec<StoredRun>, next_wake: Option<Timestamp>, now: Timestamp) {
        for stored in runs {
            let key = LocalKey {
                namespace: stored.row.key.namespace,
                workflow_id: stored.row.key.workflow_id.as_str().into(),
            };
            let run_id = stored.row.key.run_id;
            let known = self.shards.get(&scan.shard).is_none_or(|shard| shard.slots.contains_key(&key));
            if known {
                continue;
            }
            if let Err(problem) = self.revive(scan.shard, stored, now) {
                tracing::error!(workflow_id = %key.workflow_id, %run_id, %problem, "quarantined a run: its history cannot be replayed");
            }
        }
        if let (Some(shard), Some(next_wake)) = (self.shards.get_mut(&scan.shard), next_wake) {
            shard.scanning = false;
            shard.next_wake = shard.next_wake.min(next_wake);
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

    /// The batch to commit, if there is one. Only while none is at the store.
    pub(crate) fn cut(&mut self) -> Option<Batch> {
        self.gather.cut()
    }

    /// The batch is durable.
    pub(crate) fn committed(&mut self) {
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
                if let Slot::Loading(waiting) = slot {
                    waiting.into_iter().for_each(|kind| self.refuse(kind, &error));
                }
            }
            for (_, news) in shard.subscriptions {
                news.send_modify(|news| news.lost = true);
            }
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

    // ---- what requests do -------------------------------------------------------------------------------------------

    fn handle_hot(&mut self, id: ShardId, key: LocalKey, kind: RequestKind, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(&key) else {
            return;
        };
        match kind {
            RequestKind::Start(start) => self.start(id, key, *start, None, now),
            RequestKind::Input { run_id, input, responder } => {
                if let Err(error) = check_current(run, run_id) {
                    return self.gather.release_after(run.last_batch, Release::Reply(responder, Err(error)));
                }
                self.input(id, key, *input, responder, now);
            }
            RequestKind::HandOut { task, session } => {
                if run.run_id() != task.id.run_id {
                    return self.gather.release_after(0, Release::Refund(session, task.queue.kind));
                }
                self.hand_out(id, key, task, session, now);
            }
            RequestKind::Claim(claim) => {
                if let Err(error) = check_current(run, Some(claim.task.run_id)) {
                    let after = run.last_batch;
                    return self.gather.release_after(after, Release::Claimed(claim, Err(error)));
                }
                self.claim(id, key, claim, now);
            }
            RequestKind::Describe { run_id, reply } => {
                let answer = check_current(run, run_id).map(|()| describe(run));
                self.gather.release_after(run.last_batch, Release::Described(reply, answer));
            }
            RequestKind::Subscribe { run_id, reply } => {
                let answer = check_current(run, run_id).map(|()| {
                    if run.execution.close_status().is_some() {
                        Subscribed::Closed(Box::new(run.row()))
                    } else {
                        let run_id = run.run_id();
                        Subscribed::Open { run_id, news: subscribe(&mut shard.subscriptions, run_id) }
                    }
                });
                let after = run.last_batch;
                self.gather.release_after(after, Release::Subscribed(reply, answer));
            }
        }
    }

    /// What a request means to a workflow id whose latest run is closed, or that has none.
    fn handle_absent(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        kind: RequestKind,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let not_found = || ServerError::NotFound { kind: "workflow", name: key.workflow_id.as_ref().to_owned() };
        let closed_row = |run_id: Option<RunId>| match latest {
            None => Err(not_found()),
            Some(row) => match run_id {
                Some(wanted) if wanted != row.key.run_id => Err(ServerError::NotCurrent(wanted)),
                Some(_) | None => Ok(Box::new(row.clone())),
            },
        };
        match kind {
            RequestKind::Start(start) => self.start(id, key.clone(), *start, latest, now),
            RequestKind::Input { run_id, input, responder } => {
                let answer = closed_row(run_id).and_then(|row| match *input {
                    // Asking a closed run to stop is a silent success: it has stopped.
                    Input::RequestCancel { .. } => Ok(Replied { run_id: row.key.run_id, reply: Reply::Unchanged }),
                    _ => Err(ServerError::Rejected(Rejection::AlreadyClosed)),
                });
                self.gather.release_after(0, Release::Reply(responder, answer));
            }
            RequestKind::HandOut { task, session } => {
                self.gather.release_after(0, Release::Refund(session, task.queue.kind));
            }
            RequestKind::Claim(claim) => {
                let error = closed_row(Some(claim.task.run_id)).err();
                let error = error.unwrap_or(ServerError::Rejected(Rejection::AlreadyClosed));
                self.gather.release_after(0, Release::Claimed(claim, Err(error)));
            }
            RequestKind::Describe { run_id, reply } => {
                let answer = closed_row(run_id).map(Described::Closed);
                self.gather.release_after(0, Release::Described(reply, answer));
            }
            RequestKind::Subscribe { run_id, reply } => {
                let answer = closed_row(run_id).map(Subscribed::Closed);
                self.gather.release_after(0, Release::Subscribed(reply, answer));
            }
        }
    }

    fn start(
        &mut self,
        id: ShardId,
        key: LocalKey,
        request: StartRequest,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let StartRequest { mut started, reuse, conflict, reply } = request;
        let hot = self.shards.get(&id).and_then(|shard| match shard.slots.get(&key) {
            Some(Slot::Hot(run)) => Some(run),
            Some(Slot::Loading(_)) | None => None,
        });
        let after = hot.map_or(0, |run| run.last_batch);
        let latest = match hot {
            Some(run) => Some(LatestRun {
                run_id: run.run_id(),
                status: run.execution.close_status(),
                request_id: run.execution.started().request_id.clone(),
            }),
            None => latest.map(|row| LatestRun {
                run_id: row.key.run_id,
                status: row.status,
                request_id: (!row.request_id.is_empty()).then(|| RequestId::from_trusted(&row.request_id)),
            }),
        };
        if let Some(latest) = &latest
            && started.run_id <= latest.run_id
        {
            started.run_id = latest.run_id.successor(EventId::FIRST, now);
        }
        started.first_run_id = started.run_id;
        let run_id = started.run_id;
        match decide_start(latest.as_ref(), started.request_id.as_ref(), reuse, conflict) {
            StartDecision::Existing { run_id, started_by_this_request } => {
                let answer = Ok(StartReply { run_id, started: started_by_this_request });
                return self.gather.release_after(after, Release::Started(reply, answer));
            }
            StartDecision::AlreadyStarted { run_id, status } => {
                let error = already_started(&key, run_id, status);
                return self.gather.release_after(after, Release::Started(reply, Err(error)));
            }
            StartDecision::Start => {}
            StartDecision::TerminateAndStart(_) => {
                // Checked before the old run is touched: a refused start changes nothing.
                if let Err(rejection) = Execution::begin(started.clone(), now) {
                    return self.gather.release_after(after, Release::Started(reply, Err(rejection.into())));
                }
                let input = Input::Terminate {
                    reason: "a new run was started with the id-conflict policy TERMINATE_EXISTING".into(),
                    details: None,
                    identity: started.identity.clone(),
                };
                self.input(id, key.clone(), input, Responder::Nobody, now);
            }
        }
        match self.begin(id, &key, started, now) {
            Ok(()) => {
                let answer = Ok(StartReply { run_id, started: true });
                self.gather.release_after(self.gather.number(), Release::Started(reply, answer));
            }
            Err(rejection) => self.gather.release_after(after, Release::Started(reply, Err(rejection.into()))),
        }
    }

    /// Begins a run in the place of whatever the workflow id has in memory.
    fn begin(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        started: WorkflowStarted,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let run_key = RunKey {
            shard: id,
            namespace: key.namespace,
            workflow_id: key.workflow_id.as_ref().to_owned(),
            run_id: started.run_id,
        };
        let transition = Execution::begin(started, now)?;
        let execution = Execution::replay(transition.events.clone()).expect("a first event replays");
        let run = HotRun::new(run_key, execution, now);
        self.gather.new_run(run.row());
        let shard = self.shards.get_mut(&id).expect("the caller found the shard");
        if let Some(Slot::Hot(old)) = shard.slots.insert(key.clone(), Slot::Hot(Box::new(run))) {
            self.cached_bytes -= old.counted_bytes;
            shard.unregister(key, &old);
        }
        // The state has its first event already: only what follows from it is left to do.
        self.write(id, key, &transition, now);
        self.finish(id, key, transition.effects, now);
        Ok(())
    }

    fn input(&mut self, id: ShardId, key: LocalKey, input: Input, responder: Responder, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        let run_id = run.run_id();
        let held = handout::held_task(&input);
        let transition = match run.execution.decide(input, now) {
            Ok(transition) => transition,
            Err(rejection) => {
                let after = run.last_batch;
                return self.gather.release_after(after, Release::Reply(responder, Err(rejection.into())));
            }
        };
        if let Some(activity) = held {
            run.holders.remove(&activity);
        }
        match &responder {
            Responder::Result(result) if matches!(transition.reply, Reply::Done | Reply::Unchanged) => {
                if result.task.activity == EventId::NONE {
                    run.sticky_worker = result.cached_up_to.map(|_| result.session.worker_id);
                }
            }
            Responder::Result(_) => run.sticky_worker = None,
            Responder::Call(_) | Responder::Heartbeat { .. } | Responder::Nobody => {}
        }
        if let Responder::Heartbeat { session, token } = &responder
            && transition.reply == (Reply::Heartbeat { cancel_requested: true })
        {
            let stop = handout::stop(token.clone(), handout::StopReason::CancelRequested);
            self.gather.release_after(run.last_batch, Release::Send(Arc::clone(session), stop));
        }
        let reply = transition.reply.clone();
        let after = self.absorb(id, &key, transition, now);
        self.gather.release_after(after, Release::Reply(responder, Ok(Replied { run_id, reply })));
    }

    fn hand_out(&mut self, id: ShardId, key: LocalKey, task: QueuedTask, session: Arc<Session>, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        let input = handout::start_input(&task, &session, run.history_bytes);
        let Ok(transition) = run.execution.decide(input, now) else {
            let after = run.last_batch;
            return self.gather.release_after(after, Release::Refund(session, task.queue.kind));
        };
        let out = handout::message(run, &task, &session, &transition.reply);
        let Some(out) = out else {
            let after = run.last_batch;
            return self.gather.release_after(after, Release::Refund(session, task.queue.kind));
        };
        run.holders.insert(task.id.activity, Holder { session, token: out.in_hand.token.clone() });
        let after = self.absorb(id, &key, transition, now);
        self.gather.release_after(after, Release::HandOut(Box::new(out)));
    }

    /// A worker came back with a task in hand.
    fn claim(&mut self, id: ShardId, key: LocalKey, claim: Box<Claim>, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        match run.execution.decide(claim.input.clone(), now) {
            Ok(transition) => {
                let holder = Holder { session: Arc::clone(&claim.session), token: claim.in_hand.token.clone() };
                run.holders.insert(claim.task.activity, holder);
                let after = self.absorb(id, &key, transition, now);
                self.gather.release_after(after, Release::Claimed(claim, Ok(())));
            }
            Err(rejection) => {
                let after = run.last_batch;
                self.gather.release_after(after, Release::Claimed(claim, Err(rejection.into())));
            }
        }
    }

    // ---- what transitions do ----------------------------------------------------------------------------------------

    /// Writes and absorbs a transition. Returns the batch after which its reply may leave.
    fn absorb(&mut self, id: ShardId, key: &LocalKey, transition: Transition, now: Timestamp) -> u64 {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(key)) else {
            return 0;
        };
        run.execution.absorb(&transition);
        self.write(id, key, &transition, now);
        self.finish(id, key, transition.effects, now)
    }

    /// Puts what the transition makes durable into the batch. The state has absorbed it already.
    fn write(&mut self, id: ShardId, key: &LocalKey, transition: &Transition, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return;
        };
        let gather = &mut self.gather;
        run.touched_at_changes(&mut shard.idle, key, now);
        run.parking_in = None;
        if transition.is_durable() {
            gather.touch(id, shard.epoch);
            run.last_batch = gather.number();
        }
        for fact in &transition.facts {
            match fact {
                Fact::EventBuffered(event) => {
                    let event = engine_proto::convert::encode_event(event);
                    let position = run.next_buffer_position;
                    run.next_buffer_position += 1;
                    run.has_stored_buffer = true;
                    gather.buffer(BufferedRow { shard: id, run_id: run.run_id(), position, event });
                }
                Fact::BufferFlushed => {
                    gather.flush_buffer(id, run.run_id(), std::mem::take(&mut run.has_stored_buffer));
                }
                Fact::WorkflowTaskStarted { .. }
                | Fact::WorkflowTaskReleased
                | Fact::WorkflowTaskAttemptFailed { .. }
                | Fact::WorkflowTaskOffered
                | Fact::ActivityStarted { .. }
                | Fact::ActivityAttemptFailed { .. }
                | Fact::ActivityOffered { .. }
                | Fact::ActivityHeartbeat { .. }
                | Fact::GraceEnded => {}
            }
        }
        for activity in &transition.progress {
            let stored = run.execution.activity_progress(*activity).map(|progress| progress::encode(&progress));
            gather.progress(id, run.run_id(), *activity, stored);
        }
        let Some(last) = transition.events.last() else {
            return;
        };
        let (encoded, row) = encode_turn(&transition.events);
        run.history_bytes += row.len() as u64;
        let close_event = encoded.last().cloned().unwrap_or_default();
        for (event, bytes) in transition.events.iter().zip(encoded) {
            run.tail.push(event.id, bytes);
        }
        gather.history(HistoryRow {
            shard: id,
            run_id: run.run_id(),
            first_event_id: transition.events[0].id,
            events: row,
        });
        let status = last.kind.close_status();
        if let Some(status) = status {
            gather.close(&run.key, status, last.at, last.id.0);
        }
        if shard.subscriptions.contains_key(&run.run_id()) {
            let closed = status.map(|status| (status, close_event));
            let news = Release::News { shard: id, run_id: run.run_id(), last_event_id: last.id, closed };
            gather.release_after(run.last_batch, news);
        }
    }

    /// Turns effects into releases, keeps the shard's sets in step with the run, and begins the next run of a chain.
    fn finish(&mut self, id: ShardId, key: &LocalKey, effects: Vec<Effect>, now: Timestamp) -> u64 {
        let Some(shard) = self.shards.get_mut(&id) else {
            return 0;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return 0;
        };
        let gather = &mut self.gather;
        let mut next_run = None;
        for effect in effects {
            let release = match effect {
                Effect::StartRun(started) => {
                    next_run = Some(started);
                    continue;
                }
                other => handout::release(run, id, key, other),
            };
            for release in release {
                gather.release_after(run.last_batch, release);
            }
        }
        let needed = run.execution.wake_at();
        if run.execution.close_status().is_none() && needed < run.durable_wake_at {
            run.durable_wake_at = Timestamp::EPOCH;
            gather.touch(id, shard.epoch);
            run.last_batch = gather.number();
            gather.wake_at(&run.key, Timestamp::EPOCH);
        }
        shard.register(key, now);
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return 0;
        };
        let size = run.memory_size();
        self.cached_bytes = self.cached_bytes + size - run.counted_bytes;
        run.counted_bytes = size;
        let after = run.last_batch;
        if let Some(started) = next_run
            && let Err(rejection) = self.begin(id, key, *started, now)
        {
            tracing::error!(workflow_id = %key.workflow_id, %rejection, "the next run of a chain was refused by the rules");
        }
        after
    }

    // ---- what time does ---------------------------------------------------------------------------------------------

    fn end_grace(&mut self, id: ShardId, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if shard.scanning || shard.grace_until.is_none_or(|until| until > now) {
            return;
        }
        shard.grace_until = None;
        for key in std::mem::take(&mut shard.in_doubt) {
            self.input(id, key, Input::EndGrace, Responder::Nobody, now);
        }
    }

    fn fire_deadlines(&mut self, id: ShardId, now: Timestamp) {
        while let Some(shard) = self.shards.get_mut(&id) {
            match shard.deadlines.first() {
                Some((at, _)) if *at <= now => {}
                Some(_) | None => return,
            }
            let Some((at, key)) = shard.deadlines.pop_first() else {
                return;
            };
            let Some(Slot::Hot(run)) = shard.slots.get_mut(&key) else {
                continue;
            };
            run.registered_deadline = None;
            self.input(id, key.clone(), Input::DeadlinePassed, Responder::Nobody, now);
            // A decision that left its own deadline in the past would spin here for ever.
            if let Some(Slot::Hot(run)) = self.shards.get(&id).and_then(|shard| shard.slots.get(&key)) {
                debug_assert!(run.registered_deadline.is_none_or(|next| next > at), "a due deadline was dealt with");
            }
        }
    }

    fn wake_parked(&mut self, id: ShardId, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if !shard.scanning && shard.next_wake <= now {
            shard.scanning = true;
            shard.next_wake = Timestamp::MAX;
            self.wanted_scans.push(Scan { shard: id, until: now, recovery: false });
        }
    }

    fn park_old(&mut self, id: ShardId, now: Timestamp) {
        loop {
            let Some(shard) = self.shards.get(&id) else {
                return;
            };
            let Some((touched, key)) = shard.idle.first() else {
                return;
            };
            if *touched + self.options.park_after > now || self.gather.is_full() {
                return;
            }
            let key = key.clone();
            self.park(id, &key, now);
        }
    }

    /// Begins to park an idle run: its row is made to say when to look at it, and once that is durable it leaves memory.
    fn park(&mut self, id: ShardId, key: &LocalKey, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return;
        };
        shard.idle.remove(&(run.touched_at, key.clone()));
        run.registered_idle = false;
        let wake_at = run.execution.wake_at();
        let over_budget = self.cached_bytes > self.options.cache_bytes;
        if !over_budget && wake_at < now + limits::PARK_HORIZON {
            return;
        }
        if run.durable_wake_at != wake_at {
            run.durable_wake_at = wake_at;
            self.gather.touch(id, shard.epoch);
            run.last_batch = self.gather.number();
            self.gather.wake_at(&run.key, wake_at);
        }
        run.parking_in = Some(run.last_batch);
        let run_id = run.run_id();
        let after = run.last_batch;
        // It counts as gone from here on, so that trimming does not pick ever more runs while this batch is on its way.
        self.cached_bytes -= std::mem::take(&mut run.counted_bytes);
        self.gather.release_after(after, Release::Parked(id, key.clone(), run_id));
    }

    /// Puts a run that was read back into memory, and offers what waits in it.
    fn revive(&mut self, id: ShardId, stored: StoredRun, now: Timestamp) -> Result<(), String> {
        let shard = self.shards.get_mut(&id).ok_or("the shard was lost")?;
        let key =
            LocalKey { namespace: stored.row.key.namespace, workflow_id: stored.row.key.workflow_id.as_str().into() };
        let mut run = load::hot_run(stored, now).map_err(|e| e.to_string())?;
        // A row that says "at once" belonged to a run in memory, whose tasks workers may have in hand.
        let in_doubt = shard.grace_until.is_some() && run.durable_wake_at == Timestamp::EPOCH;
        let effects = if in_doubt {
            run.execution.mark_in_doubt();
            shard.in_doubt.push(key.clone());
            Vec::new()
        } else {
            run.execution.offers()
        };
        shard.slots.insert(key.clone(), Slot::Hot(Box::new(run)));
        self.finish(id, &key, effects, now);
        Ok(())
    }

    // ---- refusals ---------------------------------------------------------------------------------------------------

    /// Refuses a request that cannot be handled here and now.
    pub(crate) fn refuse(&mut self, kind: RequestKind, error: &ServerError) {
        let release = match kind {
            RequestKind::Start(start) => Release::Started(start.reply, Err(error.clone())),
            RequestKind::Input { responder, .. } => Release::Reply(responder, Err(error.clone())),
            RequestKind::HandOut { task, session } => Release::Refund(session, task.queue.kind),
            RequestKind::Claim(claim) => Release::Claimed(claim, Err(error.clone())),
            RequestKind::Describe { reply, .. } => Release::Described(reply, Err(error.clone())),
            RequestKind::Subscribe { reply, .. } => Release::Subscribed(reply, Err(error.clone())),
        };
        self.gather.release_after(0, release);
    }

    /// A release whose state was lost: who waits is told, and what would have left does not.
    fn refuse_release(&mut self, release: Release, error: &ServerError) {
        let refused = match release {
            Release::Reply(responder, _) => Release::Reply(responder, Err(error.clone())),
            Release::Started(reply, _) => Release::Started(reply, Err(error.clone())),
            Release::Claimed(claim, _) => Release::Claimed(claim, Err(error.clone())),
            Release::Described(reply, _) => Release::Described(reply, Err(error.clone())),
            Release::Subscribed(reply, _) => Release::Subscribed(reply, Err(error.clone())),
            Release::HandOut(out) => Release::Refund(out.session, out.task.queue.kind),
            Release::Refund(session, kind) => Release::Refund(session, kind),
            Release::Offer(_)
            | Release::Withdraw(_)
            | Release::Send(..)
            | Release::News { .. }
            | Release::Forget(..)
            | Release::Parked(..) => return,
        };
        self.gather.release_after(0, refused);
    }
}

impl Shard {
    fn next_due(&self, options: ShardOptions) -> Option<Timestamp> {
        let grace = self.grace_until.filter(|_| !self.scanning);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let wake = (!self.scanning && self.next_wake < Timestamp::MAX).then_some(self.next_wake);
        let park = self.idle.first().map(|(touched, _)| *touched + options.park_after);
        [grace, deadline, wake, park].into_iter().flatten().min()
    }

    /// Keeps the sets of deadlines and of idle runs in step with the run.
    fn register(&mut self, key: &LocalKey, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.slots.get_mut(key) else {
            return;
        };
        let deadline = run.execution.next_deadline();
        if deadline != run.registered_deadline {
            if let Some(old) = run.registered_deadline {
                self.deadlines.remove(&(old, key.clone()));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, key.clone()));
            }
            run.registered_deadline = deadline;
        }
        let idle = run.execution.is_idle() && run.parking_in.is_none();
        if idle != run.registered_idle {
            if idle {
                run.touched_at = now;
                self.idle.insert((now, key.clone()));
            } else {
                self.idle.remove(&(run.touched_at, key.clone()));
            }
            run.registered_idle = idle;
        }
    }

    /// A run left its slot: nothing in the sets may lead to it.
    fn unregister(&mut self, key: &LocalKey, run: &HotRun) {
        if let Some(deadline) = run.registered_deadline {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        if run.registered_idle {
            self.idle.remove(&(run.touched_at, key.clone()));
        }
    }
}

impl HotRun {
    /// The run changed: among the idle runs it becomes the youngest.
    fn touched_at_changes(&mut self, idle: &mut BTreeSet<(Timestamp, LocalKey)>, key: &LocalKey, now: Timestamp) {
        if std::mem::take(&mut self.registered_idle) {
            idle.remove(&(self.touched_at, key.clone()));
        }
        self.touched_at = now;
    }
}

fn subscribe(subscriptions: &mut HashMap<RunId, watch::Sender<News>>, run_id: RunId) -> watch::Receiver<News> {
    if subscriptions.len() >= 64 && subscriptions.len().is_power_of_two() {
        subscriptions.retain(|_, sender| sender.receiver_count() > 0);
    }
    subscriptions.entry(run_id).or_insert_with(|| watch::Sender::new(News::default())).subscribe()
}

/// Whether a request that names a run means the current one.
fn check_current(run: &HotRun, wanted: Option<RunId>) -> Result<(), ServerError> {
    match wanted {
        Some(wanted) if wanted != run.run_id() => Err(ServerError::NotCurrent(wanted)),
        Some(_) | None => Ok(()),
    }
}

fn describe(run: &HotRun) -> Described {
    let execution = &run.execution;
    if execution.close_status().is_some() {
        return Described::Closed(Box::new(run.row()));
    }
    Described::Open(Box::new(Description {
        row: run.row(),
        started: execution.started().clone(),
        history_length: execution.next_event_id().0 - 1,
        history_bytes: run.history_bytes,
        workflow_task: execution.pending_workflow_task(),
        activities: execution.pending_activities(),
        timers: execution.pending_timers(),
        cancel_requested: execution.cancel_requested(),
        buffered: execution.buffered_len(),
    }))
}

fn already_started(key: &LocalKey, run_id: RunId, status: Option<engine_core::event::CloseStatus>) -> ServerError {
    let id = &key.workflow_id;
    let message = match status {
        None => format!(
            "workflow {id:?} is already running as run {run_id}; use its handle, or set id_conflict_policy to USE_EXISTING or TERMINATE_EXISTING"
        ),
        Some(status) => format!(
            "workflow {id:?} has a closed run {run_id} ({status:?}) that id_reuse_policy protects; choose another workflow id or policy"
        ),
    };
    ServerError::AlreadyStarted { run_id, message }
}
