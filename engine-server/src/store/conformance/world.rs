//! What the tests start from: a bootstrapped store, a node that owns its shards, and runs to write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::ids::{EventId, RunId};
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;
use uuid::Uuid;

use super::Subject;
use crate::store::{
    Batch, BufferedRow, Epoch, ExecutionRow, HistoryRow, NamespaceId, Node, ProgressRow, RunKey, ShardId, Store,
    StoredRun, WorkflowKey,
};

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// How many shards the tests' stores have.
pub(super) const SHARDS: u32 = 8;

/// A node that has just started.
pub fn node(name: &str) -> Node {
    Node { name: name.to_owned(), incarnation: Uuid::now_v7() }
}

/// A bootstrapped store, and a node that owns all its shards.
#[derive(Debug)]
pub struct World {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The node.
    pub node: Node,
    /// Its epochs.
    pub epochs: BTreeMap<ShardId, Epoch>,
}

impl World {
    /// Bootstraps an empty store.
    pub async fn create(subject: &dyn Subject) -> World {
        let store = subject.open().await;
        store.migrate(SHARDS).await.expect("migrate");
        let mut world = World { store, node: node("alpha"), epochs: BTreeMap::new() };
        world.own_everything().await;
        world
    }

    /// Takes the lease and all shards.
    pub async fn own_everything(&mut self) {
        assert!(self.store.renew_lease(&self.node, LONG).await.expect("take the lease"));
        let acquisition = self.store.acquire_shards(&self.node, None).await.expect("acquire");
        assert_eq!(acquisition.foreign, []);
        self.epochs = acquisition.owned.into_iter().map(|shard| (shard.id, shard.epoch)).collect();
    }

    /// The process dies and another takes its place, with what is on disk.
    pub async fn restart(self, subject: &dyn Subject) -> World {
        let store = subject.restart(self.store).await;
        let mut world = World { store, node: node(&self.node.name), epochs: BTreeMap::new() };
        world.own_everything().await;
        world
    }

    /// An empty batch for all shards.
    pub fn batch(&self) -> Batch {
        Batch { shards: self.epochs.iter().map(|(id, epoch)| (*id, *epoch)).collect(), ..Batch::default() }
    }

    /// Writes runs: their rows and all that belongs to them.
    pub async fn write<'a>(&self, runs: impl IntoIterator<Item = &'a Run>) {
        let mut batch = self.batch();
        for run in runs {
            run.add_to(&mut batch);
        }
        self.store.commit(&batch).await.expect("commit");
    }

    /// What is stored of a run.
    pub async fn load(&self, key: &RunKey) -> Option<StoredRun> {
        self.store.load_runs(std::slice::from_ref(key)).await.expect("load").remove(0)
    }
}

/// A run to write. All of it differs from all of another number's.
#[derive(Debug, Clone)]
pub struct Run {
    /// What the store should give back.
    pub stored: StoredRun,
}

impl Run {
    /// An open run with three turns, two buffered events and two activities in progress. Numbers order by start.
    pub fn new(shard: i32, number: u64) -> Run {
        let mut run = Run::bare(shard, number);
        let (shard, run_id) = (run.key().shard, run.key().run_id);
        run.stored.history = [1, 4, 9]
            .map(|first| HistoryRow { shard, run_id, first_event_id: EventId(first), events: bytes(number, first) })
            .to_vec();
        run.stored.buffered = [-3, 12]
            .map(|position: i64| BufferedRow {
                shard,
                run_id,
                position,
                event: bytes(number, position.cast_unsigned()),
            })
            .to_vec();
        run.stored.progress = [5, 6]
            .map(|event| ProgressRow {
                shard,
                run_id,
                scheduled_event_id: EventId(event),
                progress: bytes(number, event),
            })
            .to_vec();
        run
    }

    /// An open run with a row and nothing else.
    pub fn bare(shard: i32, number: u64) -> Run {
        let started_at = Timestamp::from_micros(1_700_000_000_000_000 + number.cast_signed() * 1000);
        let row = ExecutionRow {
            key: RunKey {
                shard: ShardId(shard),
                namespace: NamespaceId(1),
                workflow_id: format!("order/{number} ü'\"%\\"),
                run_id: RunId::from_parts(started_at, [number as u8; 10]),
            },
            workflow_type: "checkout".to_owned(),
            task_queue: "orders".to_owned(),
            status: None,
            started_at,
            closed_at: None,
            history_length: 0,
            wake_at: Timestamp::EPOCH,
            request_id: format!("request-{number}"),
            search_attributes: SearchAttributes::new(),
        };
        Run { stored: StoredRun { row, history: Vec::new(), buffered: Vec::new(), progress: Vec::new() } }
    }

    /// Its key.
    pub fn key(&self) -> &RunKey {
        &self.stored.row.key
    }

    /// The key of its workflow id.
    pub fn workflow(&self) -> WorkflowKey {
        let key = self.key().clone();
        WorkflowKey { shard: key.shard, namespace: key.namespace, workflow_id: key.workflow_id }
    }

    /// Adds the whole run to a batch.
    pub fn add_to(&self, batch: &mut Batch) {
        batch.new_runs.push(self.stored.row.clone());
        batch.history.extend(self.stored.history.iter().cloned());
        batch.buffered.extend(self.stored.buffered.iter().cloned());
        batch.progress.extend(self.stored.progress.iter().cloned());
    }
}

/// Bytes that no encoding survives by accident: all values, zero and invalid UTF-8 included.
pub(super) fn bytes(number: u64, salt: u64) -> Bytes {
    (0..=255_u8).map(|byte| byte ^ (number as u8) ^ (salt as u8)).collect()
}
