//! The rows of schedules.

use bytes::Bytes;
use engine_core::time::Timestamp;

use super::world::bytes;
use super::{Subject, World};
use crate::store::{Epoch, NamespaceId, ScheduleKey, ScheduleRow, ScheduleWrite, ShardId, StoreError, WakePlace};

const FIRST: WakePlace = (Timestamp::from_micros(i64::MIN), NamespaceId(0), String::new());

fn key(shard: i32, schedule_id: &str) -> ScheduleKey {
    ScheduleKey { shard: ShardId(shard), namespace: NamespaceId(1), schedule_id: schedule_id.to_owned() }
}

fn write(key: &ScheduleKey, replaces: i64, wake_at: i64, value: Bytes) -> ScheduleWrite {
    ScheduleWrite { key: key.clone(), replaces, row: Some((Timestamp::from_micros(wake_at), value)) }
}

fn row(key: &ScheduleKey, revision: i64, wake_at: i64, schedule: Bytes) -> ScheduleRow {
    ScheduleRow { key: key.clone(), revision, wake_at: Timestamp::from_micros(wake_at), schedule }
}

impl World {
    async fn put(&self, write: &ScheduleWrite) -> bool {
        self.store.write_schedule(self.epochs[&write.key.shard], write).await.expect("write")
    }
}

/// Created, replaced, deleted, each only from the revision that its writer knows; and all of it survives a restart.
pub async fn a_schedule_is_written_only_over_the_revision_that_its_writer_knows(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let key = key(3, "nightly ü'\"%\\");
    assert_eq!(world.store.schedule(&key).await.expect("read"), None);
    assert!(!world.put(&write(&key, 1, 5, bytes(1, 1))).await, "there is nothing to replace");
    assert!(world.put(&write(&key, 0, 5, bytes(1, 1))).await);
    assert!(!world.put(&write(&key, 0, 6, bytes(1, 2))).await, "there is one");
    assert_eq!(world.store.schedule(&key).await.expect("read"), Some(row(&key, 1, 5, bytes(1, 1))));
    assert!(world.put(&write(&key, 1, i64::MAX, bytes(1, 3))).await);
    assert!(!world.put(&write(&key, 1, 7, bytes(1, 4))).await, "another was faster");
    world = world.restart(subject).await;
    assert_eq!(world.store.schedule(&key).await.expect("read"), Some(row(&key, 2, i64::MAX, bytes(1, 3))));
    let delete = |replaces| ScheduleWrite { key: key.clone(), replaces, row: None };
    assert!(!world.put(&delete(1)).await);
    assert!(world.put(&delete(2)).await);
    assert_eq!(world.store.schedule(&key).await.expect("read"), None);
    assert!(world.put(&write(&key, 0, 8, bytes(1, 5))).await, "it can be made again");
}

/// The fence is the same as that of batches.
pub async fn a_schedule_is_not_written_under_an_old_epoch(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let key = key(2, "nightly");
    let old = world.epochs[&key.shard];
    assert!(world.put(&write(&key, 0, 5, bytes(1, 1))).await);
    world.own_everything().await;
    for epoch in [old, Epoch(i64::MAX)] {
        for change in [write(&key, 1, 9, bytes(1, 2)), ScheduleWrite { key: key.clone(), replaces: 1, row: None }] {
            let error = world.store.write_schedule(epoch, &change).await.expect_err("fenced");
            assert!(matches!(error, StoreError::Fenced(shard) if shard == key.shard), "{error:?}");
        }
    }
    assert_eq!(world.store.schedule(&key).await.expect("read"), Some(row(&key, 1, 5, bytes(1, 1))));
}

/// Only of the shards asked for; equal instants by namespace and id.
pub async fn due_schedules_come_in_pages_and_tell_the_next_instant(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let rows = [(1, "b", 0), (2, "a", 0), (1, "c", 10), (2, "d", 20), (1, "e", 30), (3, "f", 5), (1, "g", i64::MAX)];
    for (shard, id, wake_at) in rows {
        assert!(world.put(&write(&key(shard, id), 0, wake_at, bytes(9, 9))).await);
    }
    let shards = [ShardId(1), ShardId(2)];
    let due = async |until: i64, after: &WakePlace, limit| {
        let until = Timestamp::from_micros(until);
        let (rows, next) = world.store.due_schedules(&shards, until, after, limit).await.expect("read");
        assert!(rows.iter().all(|row| row.schedule == bytes(9, 9) && row.revision == 1));
        (rows.into_iter().map(|row| row.key.schedule_id).collect::<Vec<_>>(), next.as_micros())
    };
    assert_eq!(due(20, &FIRST, 10).await, (vec!["a".into(), "b".into(), "c".into(), "d".into()], 30));
    assert_eq!(due(20, &FIRST, 2).await, (vec!["a".into(), "b".into()], 10));
    let after_b = (Timestamp::EPOCH, NamespaceId(1), "b".to_owned());
    assert_eq!(due(20, &after_b, 10).await, (vec!["c".into(), "d".into()], 30));
    let after_a = (Timestamp::EPOCH, NamespaceId(1), "a".to_owned());
    assert_eq!(due(0, &after_a, 10).await, (vec!["b".into()], 10));
    assert_eq!(due(-1, &FIRST, 10).await, (vec![], 0));
    assert_eq!(due(30, &after_b, 10).await, (vec!["c".into(), "d".into(), "e".into()], i64::MAX));
    let (rows, next) = world.store.due_schedules(&[], Timestamp::MAX, &FIRST, 10).await.expect("read");
    assert_eq!((rows, next), (vec![], Timestamp::MAX));
}

/// Of one namespace, whatever their shards.
pub async fn schedules_are_listed_by_id_in_pages(subject: &dyn Subject) {
    let world = World::create(subject).await;
    for (shard, id) in [(5, "b"), (1, "a"), (7, "ä"), (2, "c")] {
        assert!(world.put(&write(&key(shard, id), 0, 1, bytes(1, 1))).await);
    }
    let other = ScheduleKey { namespace: NamespaceId(2), ..key(1, "other") };
    assert!(world.put(&write(&other, 0, 1, bytes(1, 1))).await);
    let list = async |namespace, after: &str, limit| {
        let rows = world.store.list_schedules(NamespaceId(namespace), after, limit).await.expect("list");
        rows.into_iter().map(|row| row.key.schedule_id).collect::<Vec<_>>()
    };
    assert_eq!(list(1, "", 10).await, ["a", "b", "c", "ä"], "by bytes");
    assert_eq!(list(1, "", 2).await, ["a", "b"]);
    assert_eq!(list(1, "b", 2).await, ["c", "ä"]);
    assert_eq!(list(2, "", 10).await, ["other"]);
}
