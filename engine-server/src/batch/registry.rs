//! Which shards this server owns, and which of their batches are at work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{Actor, Pause};
use crate::node::NodeContext;
use crate::shard::request::ServerError;
use crate::store::{BatchKey, BatchRow, Epoch, OwnedShard, ShardId};

/// The batches of a node.
#[derive(Debug)]
pub(crate) struct Batches {
    inner: Mutex<Inner>,
    /// Of the node: what runs here is waited for when it stops.
    tasks: TaskTracker,
    stopping: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    shards: BTreeMap<ShardId, Owned>,
    /// Of each batch at work: what tells it to look at its row at once.
    at_work: HashMap<BatchKey, (Epoch, CancellationToken)>,
}

#[derive(Debug)]
struct Owned {
    epoch: Epoch,
    /// Ends what works under this epoch.
    lost: CancellationToken,
}

impl Batches {
    pub(crate) fn new(tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self { inner: Mutex::default(), tasks, stopping }
    }

    /// Shards that are this node's from now on, under new epochs: their batches go on.
    pub(crate) fn acquired(&self, context: &Arc<NodeContext>, shards: &[OwnedShard]) {
        if shards.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for shard in shards {
            inner.forget(shard.id);
            let owned = Owned { epoch: shard.epoch, lost: self.stopping.child_token() };
            inner.shards.insert(shard.id, owned);
        }
        drop(inner);
        self.recover(context, shards.iter().map(|shard| shard.id).collect());
    }

    /// Reads which batches of these shards are at work, and sets to work those that are not.
    pub(crate) fn recover(&self, context: &Arc<NodeContext>, shards: Vec<ShardId>) {
        // From here on, not from its first poll: a clock that skips must not pass what is about to work.
        let busy = context.options.clock.busy();
        let recovered = recover(Arc::clone(context), shards);
        self.tasks.spawn(async move {
            let _busy = busy;
            recovered.await;
        });
    }

    /// Shards that this node may not have.
    pub(crate) fn foreign(&self, shards: impl Iterator<Item = ShardId>) {
        let mut inner = self.inner.lock();
        shards.for_each(|shard| inner.forget(shard));
    }

    /// The epoch under which the shard's batches may be written.
    pub(crate) fn epoch(&self, shard: ShardId) -> Result<Epoch, ServerError> {
        let inner = self.inner.lock();
        let owned = inner.shards.get(&shard);
        owned.map(|owned| owned.epoch).ok_or_else(|| {
            ServerError::unavailable("the batch's shard is another server's, or is being recovered".to_owned())
        })
    }

    /// Sets a stored batch to work, unless it is.
    pub(crate) fn begin(&self, context: &Arc<NodeContext>, row: BatchRow) {
        let mut inner = self.inner.lock();
        let Some(owned) = inner.shards.get(&row.key.shard) else { return };
        if inner.at_work.contains_key(&row.key) {
            return;
        }
        let (epoch, lost) = (owned.epoch, owned.lost.child_token());
        let (key, look) = (row.key.clone(), CancellationToken::new());
        if let Some(actor) = Actor::new(Arc::clone(context), row, epoch, lost, look.clone()) {
            inner.at_work.insert(key, (epoch, look));
            // Its pace is the machine's; for a clock that skips it is under way until it is over.
            let busy = context.options.clock.busy();
            self.tasks.spawn(async move {
                let _busy = busy;
                actor.run().await;
            });
        }
    }

    /// The batch's row was written by a call: what is at work on it looks at it now.
    pub(crate) fn look(&self, key: &BatchKey) {
        if let Some((_, look)) = self.inner.lock().at_work.get(key) {
            look.cancel();
        }
    }

    /// A batch is no longer at work under this epoch.
    pub(super) fn ended(&self, key: &BatchKey, epoch: Epoch) {
        let mut inner = self.inner.lock();
        if inner.at_work.get(key).is_some_and(|(of, _)| *of == epoch) {
            inner.at_work.remove(key);
        }
    }
}

impl Inner {
    fn forget(&mut self, shard: ShardId) {
        if let Some(owned) = self.shards.remove(&shard) {
            owned.lost.cancel();
        }
        self.at_work.retain(|key, _| key.shard != shard);
    }
}

async fn recover(context: Arc<NodeContext>, shards: Vec<ShardId>) {
    let stopping = context.stopping();
    let mut pause = Pause::default();
    while !stopping.is_cancelled() {
        match context.store.active_batches(&shards).await {
            Ok(rows) => return rows.into_iter().for_each(|row| context.batches.begin(&context, row)),
            Err(error) => {
                tracing::warn!(%error, "could not read the batches that are at work; trying again");
                pause.wait(&stopping).await;
            }
        }
    }
}
