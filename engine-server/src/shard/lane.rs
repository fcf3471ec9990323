//! A lane: the task that owns some shards and is the only one that commits for them.
//!
//! It loops: let go what is ready, handle what arrived, cut a batch if none is at the store, wait for whatever comes first.
//! While a batch is at the store the next one gathers; when idle, a lone request is written at once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use engine_core::execution::{Input, Reply};
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{LaneWork, Mail};
use crate::hash::HashMap;
use crate::limits;
use crate::node::NodeContext;
use crate::queue::{Push, QueuedTask, TaskKind};
use crate::session::{Outbound, Session};
use crate::shard::gather::{HandOut, Release};
use crate::shard::handout;
use crate::shard::messages::{self, Errand};
use crate::shard::request::{LocalKey, News, Replied, Request, RequestKind, Responder, ServerError, SessionResult};
use crate::shard::shards::{Loaded, Scan, Scanned, ShardOptions, Shards};
use crate::store::{Committed, ForeignShard, NamespaceId, OwnedShard, RunKey, ShardId, StoreError, WorkflowKey};

/// Where a lane is reached.
#[derive(Debug, Clone)]
pub(crate) struct LaneHandle {
    /// Bounded: callers wait when the lane is behind.
    pub(crate) requests: mpsc::Sender<Request>,
    /// Unbounded, for what must never wait for a lane (other lanes, and the node): bounded by credits and shards.
    pub(crate) internal: mpsc::UnboundedSender<Internal>,
}

/// From the node and other lanes.
#[derive(Debug)]
pub(crate) enum Internal {
    /// A task of this lane found its session.
    HandOut(Push),
    /// A message of another workflow's run, in the order in which its lane sent them.
    Message(Request),
    /// Shards that are this lane's from now on.
    Acquired(Vec<OwnedShard>),
    /// Shards that this node may not have: what waits for them is refused.
    Foreign(Vec<ForeignShard>),
    /// Delete closed runs with everything beside them; the answer is how many were this lane's to delete.
    Delete(Vec<RunKey>, oneshot::Sender<Result<u64, ServerError>>),
    /// Commit what is gathered and what a successor should know, then stop.
    Stop(oneshot::Sender<()>),
}

/// Receivers of a [`LaneHandle`].
#[derive(Debug)]
pub(crate) struct LaneInbox {
    requests: mpsc::Receiver<Request>,
    internal: mpsc::UnboundedReceiver<Internal>,
}

/// A lane's two ends.
pub(crate) fn channel() -> (LaneHandle, LaneInbox) {
    let (requests, requests_rx) = mpsc::channel(limits::LANE_INBOX_MAX);
    let (internal, internal_rx) = mpsc::unbounded_channel();
    (LaneHandle { requests, internal }, LaneInbox { requests: requests_rx, internal: internal_rx })
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Database work that came to an end.
enum Done {
    /// The receiver of a message answered.
    Answered {
        generation: u64,
        errand: Errand,
        answer: Result<RunId, ServerError>,
    },
    /// A message that could not be delivered is due again.
    DeliverAgain {
        generation: u64,
        errand: Errand,
    },
    Committed(Result<Committed, StoreError>),
    /// Runs were deleted, or not: whoever asked has been told.
    Deleted,
    Loaded {
        generation: u64,
        results: Vec<(WorkflowKey, Loaded)>,
    },
    Scanned {
        generation: u64,
        scan: Scan,
        result: Result<Scanned, StoreError>,
    },
}

pub(crate) struct Lane {
    context: Arc<NodeContext>,
    shards: Shards,
    inbox: LaneInbox,
    /// Requests of the lane to itself.
    own: VecDeque<Request>,
    /// Results of workers for shards that are being recovered.
    held: HashMap<ShardId, Vec<Request>>,
    /// Who owns shards that this node asked for in vain.
    foreign: HashMap<ShardId, String>,
    work: FuturesUnordered<Work>,
    committing: bool,
    loading: bool,
    /// Messages on their way, and those that wait until there are fewer.
    delivering: usize,
    undelivered: VecDeque<Errand>,
    /// Of the work, messages that wait until they are due again.
    pausing: usize,
    /// Counts losses of memory: answers of the store to questions from before are ignored.
    generation: u64,
    stopping: Option<oneshot::Sender<()>>,
}

impl Lane {
    pub(crate) fn new(context: Arc<NodeContext>, options: ShardOptions, inbox: LaneInbox) -> Self {
        Self {
            context,
            shards: Shards::new(options),
            inbox,
            own: VecDeque::new(),
            held: HashMap::default(),
            foreign: HashMap::default(),
            work: FuturesUnordered::new(),
            committing: false,
            loading: false,
            delivering: 0,
            undelivered: VecDeque::new(),
            pausing: 0,
            generation: 0,
            stopping: None,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.settle();
            if self.stopping.is_some()
                && !self.committing
                && self.shards.hand_over(self.context.now())
                && !self.shards.has_batch()
            {
                break;
            }
            // A clock that skips is moved by this lane, which is then awake.
            let clock = self.context.options.clock.clone();
            let due = self.shards.next_due();
            if clock.skip(|| self.work_in_sight(), due) {
                continue;
            }
            let due = due.filter(|_| !clock.is_skipping());
            tokio::select! {
                biased;
                Some(done) = self.work.next() => self.done(done),
                Some(message) = self.inbox.internal.recv() => self.internal(message),
                Some(request) = self.inbox.requests.recv(), if self.stopping.is_none() && !self.shards.is_full() => self.drain(request),
                _ = clock.sleep_until(due) => {}
                () = clock.reconsider() => {}
                else => break,
            }
        }
        if let Some(stopped) = self.stopping.take() {
            stopped.send(()).ok();
        }
    }

    /// What is under way here, in queues and in workers' hands. Exact if this is the node's only lane.
    fn work_in_sight(&self) -> LaneWork {
        let is_busy = self.committing
            || self.loading
            || self.stopping.is_some()
            || self.shards.has_batch()
            || self.work.len() > self.pausing
            || !self.undelivered.is_empty()
            || !self.own.is_empty()
            || !self.held.is_empty()
            || !self.inbox.internal.is_empty()
            || !self.inbox.requests.is_empty();
        let queued = self.context.queues.lock().waiting_for_workers();
        let (workflow_tasks, activities) = self.context.sessions.in_hand();
        LaneWork { is_busy, queued, workflow_tasks, activities }
    }

    /// Goes on until there is nothing to do but wait.
    fn settle(&mut self) {
        loop {
            let now = self.context.now();
            while let Ok(message) = self.inbox.internal.try_recv() {
                self.internal(message);
            }
            if self.shards.next_due().is_some_and(|at| at <= now) {
                self.shards.due(now);
            }
            self.shards.trim_cache(now);
            self.release();
            while let Some(request) = self.own.pop_front() {
                self.dispatch(request, now);
            }
            self.look_up();
            if self.stopping.is_some() {
                self.shards.hand_over(now);
            }
            if !self.committing
                && let Some(batch) = self.shards.cut()
            {
                self.committing = true;
                let store = Arc::clone(&self.context.store);
                self.work.push(Box::pin(async move { Done::Committed(store.commit(&batch).await) }));
            }
            let released = self.release();
            if !released && self.own.is_empty() {
                return;
            }
        }
    }

    fn drain(&mut self, first: Request) {
        let now = self.context.now();
        self.dispatch(first, now);
        for _ in 1..limits::LANE_DRAIN_MAX {
            if self.shards.is_full() {
                return;
            }
            match self.inbox.requests.try_recv() {
                // The time of each: what a request asks for must not begin before it arrived.
                Ok(request) => self.dispatch(request, self.context.now()),
                Err(_) => return,
            }
        }
    }

    fn dispatch(&mut self, request: Request, now: Timestamp) {
        if self.shards.owns(request.shard) {
            return self.shards.handle(request, now);
        }
        let is_result =
            matches!(&request.kind, RequestKind::Input { responder: Responder::Result(_), .. } | RequestKind::Claim(_));
        if is_result {
            let held = self.held.entry(request.shard).or_default();
            if held.len() < limits::HELD_RESULTS_MAX {
                return held.push(request);
            }
        }
        self.refuse(request);
    }

    fn refuse(&mut self, request: Request) {
        let why = match self.foreign.get(&request.shard) {
            Some(owner) => format!("the workflow belongs to server {owner:?}; this one takes over if that one stops"),
            None => "the workflow's shard is being recovered".to_owned(),
        };
        self.shards.refuse(request.kind, &ServerError::unavailable(why));
    }

    fn internal(&mut self, message: Internal) {
        match message {
            Internal::HandOut(push) => {
                if let Some(request) = hand_out_request(&self.context, push) {
                    self.own.push_back(request);
                }
            }
            Internal::Message(request) => self.own.push_back(request),
            Internal::Acquired(shards) => self.acquired(&shards),
            Internal::Foreign(shards) => {
                for shard in shards {
                    let held = self.held.remove(&shard.id).unwrap_or_default();
                    self.foreign.insert(shard.id, shard.owner);
                    held.into_iter().for_each(|request| self.refuse(request));
                }
            }
            Internal::Delete(runs, reply) => self.delete(runs, reply),
            Internal::Stop(stopped) => {
                self.stopping = Some(stopped);
                self.shards.begin_hand_over();
            }
        }
    }

    fn acquired(&mut self, shards: &[OwnedShard]) {
        let now = self.context.now();
        for shard in shards {
            self.foreign.remove(&shard.id);
            self.shards.acquired(shard.id, shard.epoch, now);
        }
        // Workers that are connected still have what this node handed them before it lost its memory.
        let reclaims =
            self.context.sessions.claims_of(&self.context, |shard| shards.iter().any(|owned| owned.id == shard));
        self.own.extend(reclaims);
        for shard in shards {
            self.own.extend(self.held.remove(&shard.id).unwrap_or_default());
        }
    }

    // ---- the store --------------------------------------------------------------------------------------------------

    fn look_up(&mut self) {
        let generation = self.generation;
        for scan in self.shards.take_scans() {
            let store = Arc::clone(&self.context.store);
            self.work.push(Box::pin(async move {
                let result = scan_page(store.as_ref(), scan).await;
                Done::Scanned { generation, scan, result }
            }));
        }
        if self.loading {
            return;
        }
        let keys = self.shards.take_loads();
        if keys.is_empty() {
            return;
        }
        self.loading = true;
        let store = Arc::clone(&self.context.store);
        self.work.push(Box::pin(async move {
            let results = look_up(store.as_ref(), keys).await;
            Done::Loaded { generation, results }
        }));
    }

    fn done(&mut self, done: Done) {
        let now = self.context.now();
        match done {
            Done::Committed(result) => {
                self.committing = false;
                match result {
                    Ok(committed) => self.shards.committed(committed.left_out),
                    Err(error) => self.lose_memory(&error),
                }
            }
            Done::Answered { generation, errand, answer } => {
                self.delivering -= 1;
                if generation == self.generation {
                    self.answered(errand, answer, now);
                }
                self.deliver_waiting();
            }
            Done::Deleted => {}
            Done::DeliverAgain { generation, errand } => {
                self.pausing -= 1;
                if generation == self.generation {
                    self.deliver(errand);
                }
            }
            Done::Loaded { generation, results } => {
                self.loading = false;
                if generation != self.generation {
                    return;
                }
                for (key, loaded) in results {
                    let local = LocalKey { namespace: key.namespace, workflow_id: key.workflow_id.as_str().into() };
                    self.shards.loaded(key.shard, local, loaded, now);
                }
            }
            Done::Scanned { generation, scan, result } if generation == self.generation => match result {
                Ok(found) => self.shards.scanned(scan, found, now),
                Err(error) => {
                    tracing::warn!(%error, shard = scan.shard.0, "a look for due runs failed; the lane's shards are recovered");
                    self.lose_memory(&error);
                }
            },
            Done::Scanned { .. } => {}
        }
    }

    /// Deletes closed runs beside the batches, under the same fence. Runs in memory stay: something about them is under way.
    fn delete(&mut self, runs: Vec<RunKey>, reply: oneshot::Sender<Result<u64, ServerError>>) {
        let (shards, runs) = self.shards.deletable(runs);
        if runs.is_empty() || self.stopping.is_some() {
            reply.send(Ok(0)).ok();
            return;
        }
        let (store, count) = (Arc::clone(&self.context.store), runs.len() as u64);
        // A task of its own: it runs to its end, even if the lane stops meanwhile.
        let deletion = tokio::spawn(async move { store.delete_runs(&shards, &runs).await });
        self.work.push(Box::pin(async move {
            let deleted = deletion.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())));
            // A fence is no failure: the runs are the next owner's to delete.
            let answer = match deleted {
                Ok(()) => Ok(count),
                Err(StoreError::Fenced(_)) => Ok(0),
                Err(error) => Err(ServerError::from(error)),
            };
            reply.send(answer).ok();
            Done::Deleted
        }));
    }

    /// Crash-only: whatever is in doubt is forgotten, and recovered from the store under a new epoch.
    fn lose_memory(&mut self, error: &StoreError) {
        tracing::warn!(%error, "a lane lost its memory; its shards are acquired again");
        self.generation += 1;
        self.loading = false;
        self.undelivered.clear();
        let why = match error {
            StoreError::Fenced(_) => "another server took over the workflow's shard".to_owned(),
            other => other.to_string(),
        };
        let shards = self.shards.in_doubt(&why);
        {
            let mut queues = self.context.queues.lock();
            for shard in &shards {
                queues.withdraw_shard(*shard);
            }
        }
        self.context.lost_shards.send(shards).ok();
    }

    // ---- what leaves ------------------------------------------------------------------------------------------------

    /// Lets go what is ready. `true` if there was anything.
    fn release(&mut self) -> bool {
        let releases = self.shards.take_ready();
        if releases.is_empty() {
            return false;
        }
        let mut offers = Vec::new();
        let mut refunds = Vec::new();
        for release in releases {
            match release {
                // Offers go last: an answer before them may have told where the run is cached.
                Release::Offer(task) => offers.push(task),
                Release::Refund(session, kind) => refunds.push((session, kind)),
                other => self.let_go(other),
            }
        }
        if !offers.is_empty() || !refunds.is_empty() {
            self.offer(offers, refunds);
        }
        true
    }

    fn let_go(&mut self, release: Release) {
        match release {
            Release::Reply(responder, answer) => respond(&self.context, responder, answer),
            Release::Started(reply, answer) => drop(reply.send(answer)),
            Release::Reset(reply, answer) => drop(reply.send(answer)),
            Release::Described(reply, answer) => drop(reply.send(answer)),
            Release::Subscribed(reply, answer) => drop(reply.send(answer)),
            Release::QueryTurn(reply, answer) => drop(reply.send(answer)),
            Release::UpdateWatched(reply, answer) => drop(reply.send(answer)),
            Release::UpdateNews { shard, run_id, update_id, answer } => {
                self.shards.publish_update(shard, run_id, update_id, answer);
            }
            Release::Queried(turn, answer) => drop(turn.send(answer)),
            Release::Claimed(claim, answer) => {
                let (namespace, workflow_id) = (claim.in_hand.namespace, Arc::clone(&claim.in_hand.workflow_id));
                let token = claim.in_hand.token.clone();
                let kind = if claim.task.activity == EventId::NONE { TaskKind::Workflow } else { TaskKind::Activity };
                if answer.is_ok() {
                    if !claim.session.keep(claim.task, claim.in_hand) {
                        // Its stream broke again: as if it had never come back.
                        self.take_back(namespace, workflow_id, claim.task.run_id, kind, &token);
                    } else if kind == TaskKind::Workflow {
                        claim.session.send(handout::durable(claim.task.run_id, &token));
                    }
                }
                if let Some(reply) = claim.reply {
                    reply.send(answer).ok();
                }
            }
            Release::Withdraw(id) => self.context.queues.lock().withdraw(&id),
            Release::Deliver(errand) => self.deliver(errand),
            Release::HandOut(out) => self.hand(*out),
            Release::Send(session, message) => self.send(&session, message),
            Release::News { shard, run_id, last_event_id, closed } => {
                self.shards.publish(shard, run_id, News { last_event_id, closed, lost: false });
            }
            Release::Begun(shard, key, run_id) => self.shards.begun(shard, key, run_id, self.context.now()),
            Release::Forget(shard, key, run_id) => self.shards.forget(shard, &key, run_id),
            Release::Parked(shard, key, run_id) => self.shards.parked(shard, &key, run_id),
            Release::Offer(_) | Release::Refund(..) => unreachable!("the caller keeps these for last"),
        }
    }

    // ---- messages to other workflows --------------------------------------------------------------------------------

    /// Sends what the run owes, unless there is too much on its way, or it owes it no longer.
    fn deliver(&mut self, errand: Errand) {
        if self.delivering >= limits::MESSAGES_IN_FLIGHT_MAX {
            return self.undelivered.push_back(errand);
        }
        let Some(outgoing) = self.shards.outgoing(&errand) else {
            return;
        };
        let namespace = errand.run.1.namespace;
        let answer = messages::send(&self.context, namespace, outgoing, self.context.now());
        let generation = self.generation;
        self.delivering += 1;
        self.work.push(Box::pin(async move { Done::Answered { generation, errand, answer: answer.await } }));
    }

    fn send(&self, session: &Session, message: Outbound) {
        if let Outbound::Stop(stop) = &message {
            self.context.options.clock.posted(Mail::Stop, &stop.token);
        }
        session.send(message);
    }

    fn deliver_waiting(&mut self) {
        while self.delivering < limits::MESSAGES_IN_FLIGHT_MAX
            && let Some(errand) = self.undelivered.pop_front()
        {
            self.deliver(errand);
        }
    }

    fn answered(&mut self, errand: Errand, answer: Result<RunId, ServerError>, now: Timestamp) {
        match messages::outcome(answer) {
            Some(answer) => self.shards.answered(&errand, answer, now),
            None => {
                let generation = self.generation;
                let at = now + errand.pause();
                let errand = errand.failed();
                self.pausing += 1;
                let pause = self.context.options.clock.sleep_until(Some(at));
                self.work.push(Box::pin(async move {
                    drop(pause.await);
                    Done::DeliverAgain { generation, errand }
                }));
            }
        }
    }

    fn hand(&mut self, out: HandOut) {
        let HandOut { session, task, in_hand, message } = out;
        let token = in_hand.token.clone();
        if session.hand(task.id, in_hand, message) {
            return;
        }
        // The stream broke while the task was on its way.
        self.take_back(task.namespace, task.workflow_id, task.id.run_id, task.queue.kind, &token);
    }

    fn take_back(
        &mut self,
        namespace: NamespaceId,
        workflow_id: Arc<str>,
        run_id: RunId,
        kind: TaskKind,
        token: &[u8],
    ) {
        let Some(input) = release_input(kind, token) else {
            return;
        };
        let shard = self.context.shard_of(namespace, &workflow_id);
        let kind = RequestKind::Input { run_id: Some(run_id), input: Box::new(input), responder: Responder::Nobody };
        self.own.push_back(Request { shard, key: LocalKey { namespace, workflow_id }, kind });
    }

    fn offer(&mut self, offers: Vec<QueuedTask>, refunds: Vec<(Arc<Session>, TaskKind)>) {
        let now = self.context.now();
        let mut pushes = Vec::new();
        {
            let mut queues = self.context.queues.lock();
            for task in offers {
                pushes.extend(queues.offer(task, now));
            }
            for (session, kind) in refunds {
                pushes.extend(queues.grant(session.id, kind, 1));
            }
            if queues.next_due().is_some() {
                self.context.sticky_waiting.notify_one();
            }
        }
        for push in pushes {
            if self.shards.owns(push.task.shard) {
                if let Some(request) = hand_out_request(&self.context, push) {
                    self.own.push_back(request);
                }
            } else {
                self.context.deliver(push);
            }
        }
    }
}

/// The request that starts a pushed task for its session; `None` if the session is gone, which offered its tasks again itself.
fn hand_out_request(context: &NodeContext, push: Push) -> Option<Request> {
    let Push { session, task } = push;
    let Some(session) = context.sessions.get(session) else {
        // Between the push and now the session closed. The task was handed to nobody: offer it again.
        let pushes = {
            let mut queues = context.queues.lock();
            // If its run was moved meanwhile, it waits already, for another version.
            match queues.is_waiting(&task.id) {
                true => None,
                false => queues.offer(QueuedTask { preferred_worker: None, ..task }, context.now()),
            }
        };
        pushes.into_iter().for_each(|push| context.deliver(push));
        return None;
    };
    if let Some(worker) = task.preferred_worker.filter(|worker| *worker != session.worker_id) {
        forget_in_cache(context, worker, &session, task.id.run_id);
    }
    let key = LocalKey { namespace: task.namespace, workflow_id: Arc::clone(&task.workflow_id) };
    Some(Request { shard: task.shard, key, kind: RequestKind::HandOut { task, session } })
}

/// A run goes from one version to another: the worker that has it in its cache need not keep it.
fn forget_in_cache(context: &NodeContext, worker: uuid::Uuid, next: &Session, run_id: RunId) {
    if let Some(before) = context.sessions.of_worker(worker)
        && before.version() != next.version()
    {
        before.evicted(&run_id);
        before.send(Outbound::Evict(run_id));
    }
}

/// The input that says that a task came back untouched.
pub(crate) fn release_input(kind: TaskKind, token: &[u8]) -> Option<Input> {
    match kind {
        TaskKind::Workflow => {
            let token = engine_proto::token::WorkflowTaskToken::decode(token).ok()?;
            Some(Input::ReleaseWorkflowTask { token: token.task })
        }
        TaskKind::Activity => {
            let token = engine_proto::token::ActivityToken::decode(token).ok()?;
            Some(Input::ReleaseActivity { token: token.task })
        }
    }
}

fn respond(context: &NodeContext, responder: Responder, answer: Result<Replied, ServerError>) {
    match responder {
        Responder::Call(reply) => drop(reply.send(answer)),
        Responder::Result(result) => acknowledge(*result, answer),
        Responder::Heartbeat { session, token } => {
            // The worker learns from a refused heartbeat that nobody waits for the attempt any more.
            if let Err(ServerError::Rejected(_) | ServerError::NotFound { .. } | ServerError::NotCurrent(_)) = answer {
                session.send(handout::stop(token.clone(), handout::StopReason::NotWanted));
            }
            context.options.clock.delivered(Mail::Heartbeat, &token);
        }
        Responder::Nobody => {}
    }
}

fn acknowledge(result: SessionResult, answer: Result<Replied, ServerError>) {
    let SessionResult { session, result_id, task, cached_up_to } = result;
    let refusal = match answer {
        Ok(Replied { reply: Reply::WorkflowTaskRefused { message, .. }, .. }) => {
            session.evicted(&task.run_id);
            Some((tonic::Code::InvalidArgument, message))
        }
        Ok(Replied { reply: Reply::WorkflowTaskDropped, .. }) => {
            // The task left no trace: the code has seen what came before it, and nothing more.
            match cached_up_to {
                Some(last) => session.set_cached(task.run_id, EventId(last.0.saturating_sub(2))),
                None => session.evicted(&task.run_id),
            }
            None
        }
        Ok(_) => {
            match cached_up_to {
                Some(last) => session.set_cached(task.run_id, last),
                None if task.activity == EventId::NONE => session.evicted(&task.run_id),
                None => {}
            }
            None
        }
        Err(ServerError::Unavailable { .. }) => {
            return session.send(Outbound::Reset("a commit is in doubt: send what is not acknowledged again"));
        }
        Err(error) => {
            if task.activity == EventId::NONE {
                session.evicted(&task.run_id);
            }
            Some((crate::rpc::status::code(&error), error.to_string()))
        }
    };
    session.take_back(&task);
    let (code, refused) = refusal.map_or((0, String::new()), |(code, refused)| (code as i32, refused));
    session.send(Outbound::Ack(engine_proto::v1::ResultAck { result_id, refused, code }));
}

/// One page of due runs with all that is stored of them.
async fn scan_page(store: &dyn crate::store::Store, scan: Scan) -> Result<Scanned, StoreError> {
    let page = u32::try_from(limits::LOAD_RUNS_MAX).unwrap_or(u32::MAX);
    let (rows, next_wake) = store.due_runs(scan.shard, scan.until, scan.after, page).await?;
    let last = rows.last().map(|row| (row.wake_at, row.key.run_id));
    let more_after = last.filter(|_| rows.len() >= limits::LOAD_RUNS_MAX);
    let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
    let mut runs = Vec::new();
    if !keys.is_empty() {
        runs.extend(store.load_runs(&keys).await?.into_iter().flatten());
    }
    if scan.is_recovery() && more_after.is_none() {
        runs.extend(owing_runs(store, scan.shard).await?);
    }
    Ok(Scanned { runs, more_after, next_wake })
}

/// All that is stored of closed runs that owe messages.
async fn owing_runs(
    store: &dyn crate::store::Store,
    shard: ShardId,
) -> Result<Vec<crate::store::StoredRun>, StoreError> {
    let page = u32::try_from(limits::LOAD_RUNS_MAX).unwrap_or(u32::MAX);
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let rows = store.owing_runs(shard, after, page).await?;
        let is_last = rows.len() < limits::LOAD_RUNS_MAX;
        after = rows.last().map(|row| row.key.run_id).or(after);
        let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
        if !keys.is_empty() {
            found.extend(store.load_runs(&keys).await?.into_iter().flatten());
        }
        if is_last {
            return Ok(found);
        }
    }
}

async fn look_up(store: &dyn crate::store::Store, keys: Vec<WorkflowKey>) -> Vec<(WorkflowKey, Loaded)> {
    let failed = |keys: Vec<WorkflowKey>, error: &StoreError| {
        let problem = error.to_string();
        keys.into_iter().map(|key| (key, Loaded::Failed(problem.clone()))).collect()
    };
    let rows = match store.latest_runs(&keys).await {
        Ok(rows) => rows,
        Err(error) => return failed(keys, &error),
    };
    let open: Vec<_> = rows.iter().flatten().filter(|row| row.status.is_none()).map(|row| row.key.clone()).collect();
    let mut stored = Vec::new();
    if !open.is_empty() {
        match store.load_runs(&open).await {
            Ok(runs) => stored = runs,
            Err(StoreError::Corrupt(problem)) => {
                return keys.into_iter().map(|key| (key, Loaded::Corrupt(problem.clone()))).collect();
            }
            Err(error) => return failed(keys, &error),
        }
    }
    let mut stored = stored.into_iter();
    let mut results = Vec::with_capacity(keys.len());
    for (key, row) in keys.into_iter().zip(rows) {
        let loaded = match row {
            None => Loaded::Nothing,
            Some(row) if row.status.is_some() => Loaded::Closed(Box::new(row)),
            Some(row) => match stored.next().flatten() {
                Some(run) => Loaded::Open(Box::new(run)),
                None => Loaded::Corrupt(format!("run {} has a row but no history", row.key.run_id)),
            },
        };
        results.push((key, loaded));
    }
    results
}
