//! A node: the process that owns shards. Its lease, its lanes, and what lanes, sessions and services share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::registry::Batches;
use crate::clock::Clock;
use crate::deployment::registry::{self as deployments, Deployments};
use crate::hash::HashMap;
use crate::housekeeping;
use crate::limits;
use crate::namespaces::Namespaces;
use crate::queue::{Push, TaskQueues};
use crate::schedule::registry::Schedules;
use crate::schedule::{self, ScheduleClock};
use crate::session::Outbound;
use crate::session::registry::Sessions;
use crate::shard::lane::{self, Internal, Lane, LaneHandle};
use crate::shard::request::{Request, ServerError};
use crate::shard::{ShardOptions, shard_of};
use crate::store::{NamespaceId, Node as NodeName, RunKey, ShardId, Store, StoreError};

/// How a node behaves.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// What survives a restart; see [`crate::store::Node`].
    pub name: String,
    /// How many lanes commit side by side.
    pub lanes: usize,
    /// How long the node's shards are safe from others after it was last heard of.
    pub lease: Duration,
    /// How long a recovered shard waits for workers to claim what they had in hand.
    pub recovery_grace: Duration,
    /// How long the activities of a broken stream wait for their worker, unless it asked otherwise.
    pub activity_grace: Duration,
    /// Budget for runs in memory, in bytes, for each lane.
    pub cache_bytes: usize,
    /// How long an idle run stays in memory.
    pub park_after: Duration,
    /// The time by which the node acts. Leases, keep-alives and the patience of calls go by the machine's.
    pub clock: Clock,
    /// The time by which schedules act: the node's, unless a test sets another.
    pub schedule_clock: ScheduleClock,
}

impl NodeOptions {
    /// The defaults: a lane for each core, at most four; a lease of 10 s; graces of 5 s and 2 s.
    pub fn new(name: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            name: name.into(),
            lanes: cores.min(4),
            lease: limits::LEASE_DEFAULT,
            recovery_grace: limits::RECOVERY_GRACE_DEFAULT,
            activity_grace: limits::ACTIVITY_GRACE_DEFAULT,
            cache_bytes: limits::CACHE_BYTES_DEFAULT,
            park_after: limits::PARK_AFTER,
            clock: Clock::default(),
            schedule_clock: ScheduleClock::default(),
        }
    }
}

/// What lanes, sessions and services share.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: NodeOptions,
    pub(crate) namespaces: Namespaces,
    /// Locked for short, never across a wait.
    pub(crate) queues: Mutex<TaskQueues>,
    pub(crate) sessions: Sessions,
    pub(crate) schedules: Schedules,
    pub(crate) batches: Batches,
    pub(crate) deployments: Deployments,
    /// A task waits in a sticky line: its patience must be watched.
    pub(crate) sticky_waiting: Notify,
    /// There is something to delete: a round need not wait for its time.
    pub(crate) housekeeping_wanted: Notify,
    /// Namespaces that are being deleted and were found empty, and since when. Held for the length of a look at the store.
    pub(crate) unburied: tokio::sync::Mutex<HashMap<NamespaceId, tokio::time::Instant>>,
    /// Shards whose memory a lane lost.
    pub(crate) lost_shards: mpsc::UnboundedSender<Vec<ShardId>>,
    shard_count: u32,
    lanes: OnceLock<Vec<LaneHandle>>,
    stopping: CancellationToken,
}

impl NodeContext {
    pub(crate) fn shard_of(&self, namespace: NamespaceId, workflow_id: &str) -> ShardId {
        shard_of(namespace, workflow_id, self.shard_count)
    }

    fn lane_index(&self, shard: ShardId) -> usize {
        usize::try_from(shard.0).unwrap_or(0) % self.options.lanes
    }

    fn lane(&self, shard: ShardId) -> &LaneHandle {
        &self.lanes.get().expect("lanes are set before anything runs")[self.lane_index(shard)]
    }

    /// The instant, by the node's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Hands a push to the lane that knows its task.
    pub(crate) fn deliver(&self, push: Push) {
        self.lane(push.task.shard).internal.send(Internal::HandOut(push)).ok();
    }

    /// Sends a message of another workflow's run to its lane, in order and without waiting: lanes must not wait for each other. What
    /// is on its way is bounded by the sender ([`limits::MESSAGES_IN_FLIGHT_MAX`]).
    pub(crate) fn post(&self, request: Request) {
        self.lane(request.shard).internal.send(Internal::Message(request)).ok();
    }

    /// Sends a request to its lane, waiting while the lane is behind.
    pub(crate) async fn send(&self, request: Request) {
        self.lane(request.shard).requests.send(request).await.ok();
    }

    /// Sends a start to its lane, unless the lane is so far behind that accepted work would suffer.
    pub(crate) async fn send_start(&self, request: Request) -> Result<(), ServerError> {
        let lane = self.lane(request.shard);
        let waiting = lane.requests.max_capacity() - lane.requests.capacity();
        if waiting >= limits::LANE_SHED_STARTS {
            return Err(ServerError::Exhausted {
                message: format!("the server is behind by {waiting} requests and accepts no starts for now"),
                retry_after: Duration::from_millis(500),
            });
        }
        lane.requests.send(request).await.ok();
        Ok(())
    }

    /// Deletes closed runs, with everything beside them, of those shards that this node owns. Returns how many.
    pub(crate) async fn delete_runs(&self, runs: Vec<RunKey>) -> Result<u64, ServerError> {
        let mut by_lane: BTreeMap<usize, Vec<RunKey>> = BTreeMap::new();
        for key in runs {
            by_lane.entry(self.lane_index(key.shard)).or_default().push(key);
        }
        let mut deleted = 0;
        for (index, runs) in by_lane {
            let (reply, answer) = oneshot::channel();
            let lane = &self.lanes.get().expect("lanes are set before anything runs")[index];
            lane.internal.send(Internal::Delete(runs, reply)).ok();
            deleted += answer.await.map_err(|_| ServerError::unavailable("the server is stopping"))??;
        }
        Ok(deleted)
    }

    /// Whether the node stops: what its sessions had in hand is left for its successor to recover.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends when the node stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) context: Arc<NodeContext>,
    name: NodeName,
    tasks: TaskTracker,
    /// Set when the node may not go on, with the reason.
    failed: tokio::sync::watch::Receiver<Option<String>>,
}

impl Node {
    /// Takes a lease, acquires every shard that is to be had, and starts its lanes.
    pub(crate) async fn start(store: Arc<dyn Store>, mut options: NodeOptions) -> Result<Node, StoreError> {
        if options.clock.is_skipping() {
            // The lane knows when nothing is under way, so there is one.
            options.lanes = 1;
        }
        let name = NodeName { name: options.name.clone(), incarnation: uuid::Uuid::now_v7() };
        let shard_count = store.shard_count().await?;
        store.renew_lease(&name, options.lease).await?;
        let acquisition = store.acquire_shards(&name, None).await?;
        let namespaces = Namespaces::load(&store).await?;
        let deployments = Deployments::load(&store).await?;
        let (lost_shards, lost) = mpsc::unbounded_channel();
        let (lanes, inboxes): (Vec<_>, Vec<_>) = (0..options.lanes).map(|_| lane::channel()).unzip();
        let shard_options = ShardOptions {
            recovery_grace: options.recovery_grace,
            cache_bytes: options.cache_bytes,
            park_after: options.park_after,
        };
        let tasks = TaskTracker::new();
        let stopping = CancellationToken::new();
        let schedules = Schedules::new(options.schedule_clock.of(&options.clock), tasks.clone(), stopping.clone());
        let batches = Batches::new(tasks.clone(), stopping.clone());
        let context = Arc::new(NodeContext {
            store,
            options,
            namespaces,
            queues: Mutex::default(),
            sessions: Sessions::default(),
            schedules,
            batches,
            deployments,
            sticky_waiting: Notify::new(),
            housekeeping_wanted: Notify::new(),
            unburied: tokio::sync::Mutex::default(),
            lost_shards,
            shard_count,
            lanes: OnceLock::from(lanes),
            stopping,
        });
        // Before any task is offered, or a worker connects.
        deployments::put_routes(&context);
        for inbox in inboxes {
            tasks.spawn(Lane::new(Arc::clone(&context), shard_options, inbox).run());
        }
        let owned = acquisition.owned.iter().map(|shard| shard.id).collect();
        distribute(&context, acquisition);
        let (fail, failed) = tokio::sync::watch::channel(None);
        let ownership = Ownership { context: Arc::clone(&context), name: name.clone(), owned, shard_count };
        tasks.spawn(ownership.run(lost, fail));
        tasks.spawn(watch_sticky_lines(Arc::clone(&context)));
        tasks.spawn(housekeeping::run(Arc::clone(&context)));
        tasks.spawn(schedule::keep(Arc::clone(&context)));
        tasks.spawn(deployments::keep(Arc::clone(&context)));
        Ok(Node { context, name, tasks, failed })
    }

    /// Ends with the reason when the node may not go on, or never.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        // Cloned out of the watch at once: its guard cannot cross a wait, and `Server::serve` shall be a future that is `Send`.
        let reason = failed.wait_for(Option::is_some).await.ok().map(|reason| reason.clone().unwrap_or_default());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Tells workers to go elsewhere. New tasks are no longer handed out; results are still taken.
    pub(crate) fn drain(&self) {
        for session in self.context.sessions.all() {
            let pushes = self.context.queues.lock().drain(session.id);
            drop(pushes);
            session.send(Outbound::Drain);
        }
    }

    /// Whether any worker still has a workflow task.
    pub(crate) fn has_workflow_tasks_in_hand(&self) -> bool {
        let is_workflow_task = |(id, _): &(crate::queue::TaskId, crate::session::InHand)| !id.activity.is_some();
        self.context.sessions.all().iter().any(|session| session.tasks().iter().any(is_workflow_task))
    }

    /// Commits what was gathered, stops, and gives up lease and shards, so that a successor need not wait.
    pub(crate) async fn stop(&self) {
        self.context.stopping.cancel();
        let lanes = self.context.lanes.get().expect("lanes are set before anything runs");
        for lane in lanes {
            let (stopped, wait) = oneshot::channel();
            if lane.internal.send(Internal::Stop(stopped)).is_ok() {
                wait.await.ok();
            }
        }
        for session in self.context.sessions.all() {
            session.send(Outbound::Reset("the server stopped"));
        }
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.context.store.release_lease(&self.name).await {
            tracing::warn!(%error, "could not give up the lease; it runs out by itself");
        }
    }
}

fn distribute(context: &Arc<NodeContext>, acquisition: crate::store::Acquisition) {
    context.schedules.foreign(acquisition.foreign.iter().map(|shard| shard.id));
    context.batches.foreign(acquisition.foreign.iter().map(|shard| shard.id));
    for (index, lane) in context.lanes.get().expect("lanes are set before anything runs").iter().enumerate() {
        let owned: Vec<_> =
            acquisition.owned.iter().filter(|shard| context.lane_index(shard.id) == index).copied().collect();
        if !owned.is_empty() {
            lane.internal.send(Internal::Acquired(owned)).ok();
        }
        let foreign: Vec<_> =
            acquisition.foreign.iter().filter(|shard| context.lane_index(shard.id) == index).cloned().collect();
        if !foreign.is_empty() {
            lane.internal.send(Internal::Foreign(foreign)).ok();
        }
    }
    // After the lanes: what schedules start, and what batches do, goes there.
    context.schedules.acquired(&acquisition.owned);
    context.batches.acquired(context, &acquisition.owned);
}

/// Keeps the lease, and acquires what is not owned: shards that lanes lost, and those of dead nodes.
struct Ownership {
    context: Arc<NodeContext>,
    name: NodeName,
    owned: BTreeSet<ShardId>,
    shard_count: u32,
}

impl Ownership {
    async fn run(
        mut self,
        mut lost: mpsc::UnboundedReceiver<Vec<ShardId>>,
        fail: tokio::sync::watch::Sender<Option<String>>,
    ) {
        let lease = self.context.options.lease;
        let stopping = self.context.stopping();
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + lease / 3, lease / 3);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retry = Retry::default();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                Some(shards) = lost.recv() => {
                    shards.iter().for_each(|shard| { self.owned.remove(shard); });
                    self.acquire(&mut retry).await;
                }
                () = retry.wait(), if retry.is_due() => self.acquire(&mut retry).await,
                _ = renewal.tick() => match self.context.store.renew_lease(&self.name, lease).await {
                    Ok(true) => if self.owned.len() < self.shard_count as usize { self.acquire(&mut retry).await },
                    Ok(false) => {
                        let name = &self.name.name;
                        fail.send(Some(format!("another server runs under the node name {name:?}; this one stops"))).ok();
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "could not renew the lease"),
                },
            }
        }
    }

    async fn acquire(&mut self, retry: &mut Retry) {
        let all = (0..i32::try_from(self.shard_count).unwrap_or(i32::MAX)).map(ShardId);
        let wanted: Vec<ShardId> = all.filter(|shard| !self.owned.contains(shard)).collect();
        if wanted.is_empty() {
            return retry.succeeded();
        }
        // The lease may have run out while the database was away.
        let lease = self.context.options.lease;
        let renewed = self.context.store.renew_lease(&self.name, lease).await;
        let acquired = match renewed {
            Ok(true) => self.context.store.acquire_shards(&self.name, Some(&wanted)).await,
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match acquired {
            Ok(acquisition) => {
                retry.succeeded();
                self.owned.extend(acquisition.owned.iter().map(|shard| shard.id));
                if !acquisition.owned.is_empty() {
                    tracing::info!(shards = acquisition.owned.len(), "acquired shards");
                }
                // The first lease to run out is looked at then, so that a dead server's work goes on at once.
                if let Some(left) = acquisition.foreign.iter().map(|shard| shard.lease_left).min() {
                    retry.after(left);
                }
                distribute(&self.context, acquisition);
            }
            Err(error) => {
                tracing::warn!(%error, "could not acquire shards; trying again");
                retry.failed();
            }
        }
    }
}

/// Pauses between attempts to reach a database that is away: 20 ms, doubled up to half a second, so that service is back soon
/// after the database is.
#[derive(Debug, Default)]
struct Retry {
    at: Option<tokio::time::Instant>,
    failures: u32,
}

impl Retry {
    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self) {
        let pause = Duration::from_millis(20 << self.failures.min(5)).min(Duration::from_millis(500));
        self.failures += 1;
        self.at = Some(tokio::time::Instant::now() + pause);
    }

    fn after(&mut self, pause: Duration) {
        self.at = Some(tokio::time::Instant::now() + pause.max(Duration::from_millis(20)));
    }

    fn is_due(&self) -> bool {
        self.at.is_some()
    }

    async fn wait(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Lets others take workflow tasks that waited too long for the worker that has their run cached. Sleeps while there are none.
async fn watch_sticky_lines(context: Arc<NodeContext>) {
    let stopping = context.stopping();
    loop {
        let due = context.queues.lock().next_due();
        tokio::select! {
            () = stopping.cancelled() => return,
            () = context.sticky_waiting.notified() => {}
            _busy = context.options.clock.sleep_until(due) => {
                let pushes = context.queues.lock().due(context.now());
                pushes.into_iter().for_each(|push| context.deliver(push));
            }
        }
    }
}
