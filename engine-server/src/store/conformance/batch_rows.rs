//! The rows of batches.

use bytes::Bytes;

use super::world::bytes;
use super::{Subject, World};
use crate::store::{BatchKey, BatchRow, BatchWrite, Epoch, NamespaceId, ShardId, StoreError};

fn key(shard: i32, batch_id: &str) -> BatchKey {
    BatchKey { shard: ShardId(shard), namespace: NamespaceId(1), batch_id: batch_id.to_owned() }
}

fn write(key: &BatchKey, replaces: i64, is_active: bool, value: Bytes) -> BatchWrite {
    BatchWrite { key: key.clone(), replaces, row: Some((is_active, value)) }
}

fn row(key: &BatchKey, revision: i64, is_active: bool, batch: Bytes) -> BatchRow {
    BatchRow { key: key.clone(), revision, is_active, batch }
}

impl World {
    async fn put_batch(&self, write: &BatchWrite) -> bool {
        self.store.write_batch(self.epochs[&write.key.shard], write).await.expect("write")
    }

    async fn batch_row(&self, key: &BatchKey) -> Option<BatchRow> {
        self.store.batch(key.namespace, &key.batch_id).await.expect("read")
    }
}

/// Created, replaced, deleted, each only from the revision that its writer knows; and all of it survives a restart.
pub async fn a_batch_is_written_only_over_the_revision_that_its_writer_knows(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let key = key(3, "stop ü'\"%\\");
    assert_eq!(world.batch_row(&key).await, None);
    assert!(!world.put_batch(&write(&key, 1, true, bytes(1, 1))).await, "there is nothing to replace");
    assert!(world.put_batch(&write(&key, 0, true, bytes(1, 1))).await);
    assert!(!world.put_batch(&write(&key, 0, true, bytes(1, 2))).await, "there is one");
    assert_eq!(world.batch_row(&key).await, Some(row(&key, 1, true, bytes(1, 1))));
    assert!(world.put_batch(&write(&key, 1, false, bytes(1, 3))).await);
    assert!(!world.put_batch(&write(&key, 1, true, bytes(1, 4))).await, "another was faster");
    world = world.restart(subject).await;
    assert_eq!(world.batch_row(&key).await, Some(row(&key, 2, false, bytes(1, 3))));
    let delete = |replaces| BatchWrite { key: key.clone(), replaces, row: None };
    assert!(!world.put_batch(&delete(1)).await);
    assert!(world.put_batch(&delete(2)).await);
    assert_eq!(world.batch_row(&key).await, None);
    assert!(world.put_batch(&write(&key, 0, true, bytes(1, 5))).await, "it can be made again");
}

/// The fence is the same as that of commits.
pub async fn a_batch_is_not_written_under_an_old_epoch(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let key = key(2, "stop");
    let old = world.epochs[&key.shard];
    assert!(world.put_batch(&write(&key, 0, true, bytes(1, 1))).await);
    world.own_everything().await;
    for epoch in [old, Epoch(i64::MAX)] {
        for change in [write(&key, 1, false, bytes(1, 2)), BatchWrite { key: key.clone(), replaces: 1, row: None }] {
            let error = world.store.write_batch(epoch, &change).await.expect_err("fenced");
            assert!(matches!(error, StoreError::Fenced(shard) if shard == key.shard), "{error:?}");
        }
    }
    assert_eq!(world.batch_row(&key).await, Some(row(&key, 1, true, bytes(1, 1))));
}

/// Those at work by shard, all of them by namespace and id.
pub async fn batches_are_found_by_shard_while_they_work_and_listed_by_id(subject: &dyn Subject) {
    let world = World::create(subject).await;
    for (shard, id, is_active) in [(5, "b", true), (1, "a", true), (1, "d", false), (7, "ä", true), (2, "c", true)] {
        assert!(world.put_batch(&write(&key(shard, id), 0, is_active, bytes(1, 1))).await);
    }
    let other = BatchKey { namespace: NamespaceId(2), ..key(1, "other") };
    assert!(world.put_batch(&write(&other, 0, true, bytes(1, 1))).await);
    let active = async |shards: &[i32]| {
        let shards: Vec<_> = shards.iter().copied().map(ShardId).collect();
        let rows = world.store.active_batches(&shards).await.expect("read");
        assert!(rows.iter().all(|row| row.is_active && row.batch == bytes(1, 1)));
        rows.into_iter().map(|row| row.key.batch_id).collect::<Vec<_>>()
    };
    assert_eq!(active(&[1, 5]).await, ["a", "b", "other"]);
    assert_eq!(active(&[3]).await, [""; 0]);
    assert_eq!(active(&[]).await, [""; 0]);
    let list = async |namespace, after: &str, limit| {
        let rows = world.store.list_batches(NamespaceId(namespace), after, limit).await.expect("list");
        rows.into_iter().map(|row| row.key.batch_id).collect::<Vec<_>>()
    };
    assert_eq!(list(1, "", 10).await, ["a", "b", "c", "d", "ä"], "by bytes");
    assert_eq!(list(1, "b", 2).await, ["c", "d"]);
    assert_eq!(list(2, "", 10).await, ["other"]);
}
