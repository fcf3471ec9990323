//! Which schedules are in memory, and where they are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine_core::schedule::{Schedule, ScheduleInput};
use engine_core::time::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::Actor;
use super::clock::ScheduleClock;
use crate::clock::Busy;
use crate::hash::HashMap;
use crate::limits;
use crate::node::NodeContext;
use crate::shard::request::ServerError;
use crate::store::{Epoch, OwnedShard, ScheduleKey, ShardId};

/// What a call asks of a schedule.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Make it. Refused if there is one, unless it was made by a request of the same id.
    Create(Box<Schedule>, String),
    /// Tell where it stands.
    Describe,
    /// Give it an input, unless it knows the request id.
    Change(Box<ScheduleInput>, String),
    /// Delete it.
    Delete,
}

/// An ask, and who waits for its answer: the schedule as it is now; nothing if there is none.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) reply: oneshot::Sender<Result<Option<Schedule>, ServerError>>,
}

/// The schedules of a node.
#[derive(Debug)]
pub(crate) struct Schedules {
    pub(crate) clock: ScheduleClock,
    inner: Mutex<Inner>,
    /// There is something to do for the keeper.
    pub(super) news: Notify,
    /// Of the node: what runs here is waited for when it stops.
    tasks: TaskTracker,
    stopping: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    shards: BTreeMap<ShardId, Owned>,
    actors: HashMap<ScheduleKey, mpsc::Sender<Asked>>,
    /// Shards of which everything that is due must be read, also what was read before.
    recover: BTreeSet<ShardId>,
    /// A lower bound of when the next row is due, of those that are not in memory.
    next_wake: Option<Timestamp>,
    /// Until the keeper takes it: there is news that it has not looked at.
    unseen: Option<Busy>,
}

#[derive(Debug)]
struct Owned {
    epoch: Epoch,
    /// Ends the actors of this epoch.
    stop: CancellationToken,
}

/// What the keeper has to do.
#[derive(Debug)]
pub(super) struct Chores {
    pub(super) recover: Vec<ShardId>,
    pub(super) owned: Vec<ShardId>,
    pub(super) next_wake: Option<Timestamp>,
}

impl Schedules {
    pub(crate) fn new(clock: ScheduleClock, tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self { clock, inner: Mutex::default(), news: Notify::new(), tasks, stopping }
    }

    /// Shards that are this node's from now on, under new epochs.
    pub(crate) fn acquired(&self, shards: &[OwnedShard]) {
        let mut inner = self.inner.lock();
        for shard in shards {
            inner.forget(shard.id);
            let owned = Owned { epoch: shard.epoch, stop: self.stopping.child_token() };
            inner.shards.insert(shard.id, owned);
            inner.recover.insert(shard.id);
        }
        self.tell_keeper(inner);
    }

    /// There is something to do for the keeper.
    fn tell_keeper(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.unseen = Some(self.clock.busy());
        drop(inner);
        self.news.notify_one();
    }

    /// Until it is dropped, the keeper works on what it was told.
    pub(super) fn keeper_busy(&self) -> Busy {
        // Taken before the other one is dropped.
        let busy = self.clock.busy();
        let unseen = self.inner.lock().unseen.take();
        drop(unseen);
        busy
    }

    /// Shards that this node may not have.
    pub(crate) fn foreign(&self, shards: impl Iterator<Item = ShardId>) {
        let mut inner = self.inner.lock();
        shards.for_each(|shard| inner.forget(shard));
    }

    /// An actor could not write: what it knew is in doubt.
    pub(super) fn in_doubt(&self, key: &ScheduleKey, epoch: Epoch, is_fenced: bool) {
        let mut inner = self.inner.lock();
        if inner.shards.get(&key.shard).is_none_or(|owned| owned.epoch != epoch) {
            return;
        }
        if is_fenced {
            return inner.forget(key.shard);
        }
        inner.actors.remove(key);
        inner.recover.insert(key.shard);
        self.tell_keeper(inner);
    }

    /// Sends an ask to the schedule, which is read if it is not in memory, and waits for its answer.
    pub(crate) async fn ask(
        &self,
        context: &Arc<NodeContext>,
        key: &ScheduleKey,
        ask: Ask,
    ) -> Result<Option<Schedule>, ServerError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox(context, key)?.try_send(Asked { ask, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ServerError::Exhausted {
                message: format!("{} requests wait for the schedule already", limits::SCHEDULE_INBOX_MAX),
                retry_after: Duration::from_millis(500),
            },
            mpsc::error::TrySendError::Closed(_) => ServerError::unavailable("the schedule is being read again"),
        })?;
        answer.await.map_err(|_| ServerError::unavailable("the schedule's shard is being recovered"))?
    }

    /// Reads a schedule into memory, unless it is there.
    pub(super) fn wake(&self, context: &Arc<NodeContext>, key: &ScheduleKey) {
        // Of a shard that was lost meanwhile nothing is woken.
        self.mailbox(context, key).ok();
    }

    fn mailbox(&self, context: &Arc<NodeContext>, key: &ScheduleKey) -> Result<mpsc::Sender<Asked>, ServerError> {
        let mut inner = self.inner.lock();
        if let Some(mailbox) = inner.actors.get(key) {
            return Ok(mailbox.clone());
        }
        let Some(owned) = inner.shards.get(&key.shard) else {
            let why = "the schedule's shard is another server's, or is being recovered";
            return Err(ServerError::unavailable(why));
        };
        let (mailbox, inbox) = mpsc::channel(limits::SCHEDULE_INBOX_MAX);
        let actor = Actor::new(Arc::clone(context), key.clone(), owned.epoch, inbox);
        let stop = owned.stop.clone();
        let busy = self.clock.busy();
        self.tasks.spawn(actor.run(stop, busy));
        inner.actors.insert(key.clone(), mailbox.clone());
        Ok(mailbox)
    }

    /// Lets an actor with nothing to do leave memory, unless somebody asks it something. The keeper looks at its row at `wake_at`.
    pub(super) fn retire(
        &self,
        key: &ScheduleKey,
        epoch: Epoch,
        inbox: &mpsc::Receiver<Asked>,
        wake_at: Timestamp,
    ) -> bool {
        let mut inner = self.inner.lock();
        if inner.shards.get(&key.shard).is_none_or(|owned| owned.epoch != epoch) {
            return true;
        }
        if !inbox.is_empty() {
            return false;
        }
        inner.actors.remove(key);
        inner.wake_by(wake_at);
        self.tell_keeper(inner);
        true
    }

    /// What there is to do for the keeper, which takes it on.
    pub(super) fn chores(&self) -> Chores {
        let mut inner = self.inner.lock();
        let recover = std::mem::take(&mut inner.recover).into_iter().collect();
        let now = self.clock.now();
        let next_wake = inner.next_wake.filter(|at| *at <= now);
        if next_wake.is_some() {
            inner.next_wake = None;
        }
        Chores { recover, owned: inner.shards.keys().copied().collect(), next_wake }
    }

    /// When the keeper has something to do by itself.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.inner.lock().next_wake
    }

    /// Rows are due at `wake_at`.
    pub(super) fn wake_by(&self, wake_at: Timestamp) {
        self.inner.lock().wake_by(wake_at);
    }

    /// The keeper could not read.
    pub(super) fn recover_again(&self, shards: Vec<ShardId>) {
        let mut inner = self.inner.lock();
        let owned: Vec<ShardId> = shards.into_iter().filter(|shard| inner.shards.contains_key(shard)).collect();
        inner.recover.extend(owned);
    }
}

impl Inner {
    fn forget(&mut self, shard: ShardId) {
        if let Some(owned) = self.shards.remove(&shard) {
            owned.stop.cancel();
        }
        self.actors.retain(|key, _| key.shard != shard);
        self.recover.remove(&shard);
    }

    fn wake_by(&mut self, wake_at: Timestamp) {
        if wake_at < Timestamp::MAX {
            self.next_wake = Some(self.next_wake.map_or(wake_at, |at| at.min(wake_at)));
        }
    }
}
