//! Migrations and namespaces.

use super::Subject;
use super::world::SHARDS;
use crate::store::{DEFAULT_NAMESPACE, StoreError};

/// The number of shards is that of the first call.
pub async fn migrating_twice_changes_nothing(subject: &dyn Subject) {
    let store = subject.open().await;
    store.migrate(SHARDS).await.expect("migrate");
    store.create_namespace("sales", b"").await.expect("create a namespace");
    store.migrate(SHARDS + 1).await.expect("migrate again");
    assert_eq!(store.shard_count().await.expect("count"), SHARDS);
    store.check(false).await.expect("check");
    let store = subject.restart(store).await;
    store.migrate(1).await.expect("migrate after a restart");
    assert_eq!(store.shard_count().await.expect("count"), SHARDS);
    assert_eq!(store.namespaces().await.expect("namespaces").len(), 2);
}

/// However many start at once, one bootstraps.
pub async fn concurrent_migrations_wait_for_each_other(subject: &dyn Subject) {
    let (one, two) = (subject.open().await, subject.open().await);
    let (first, second, third) = tokio::join!(one.migrate(4), two.migrate(5), two.migrate(6));
    first.and(second).and(third).expect("migrate");
    let count = one.shard_count().await.expect("count");
    assert!((4..=6).contains(&count), "{count}");
    assert_eq!(two.shard_count().await.expect("count"), count);
    let names: Vec<_> = one.namespaces().await.expect("namespaces").into_iter().map(|row| row.name).collect();
    assert_eq!(names, [DEFAULT_NAMESPACE]);
    two.check(false).await.expect("check");
}

/// The sentence names the command.
pub async fn a_store_that_was_not_migrated_says_what_to_do(subject: &dyn Subject) {
    let store = subject.open().await;
    for error in [store.check(false).await.expect_err("check"), store.shard_count().await.expect_err("count")] {
        assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
        assert!(error.to_string().contains("migrate"), "{error}");
    }
}

/// Zero, or more than can be useful.
pub async fn a_senseless_number_of_shards_is_refused(subject: &dyn Subject) {
    let store = subject.open().await;
    for shards in [0, crate::store::SHARDS_MAX + 1, u32::MAX] {
        let error = store.migrate(shards).await.expect_err("refused");
        assert!(error.to_string().contains(&shards.to_string()), "{error}");
    }
    store.migrate(1).await.expect("migrate");
    assert_eq!(store.shard_count().await.expect("count"), 1);
}

/// A name that exists is told apart from other failures.
pub async fn namespaces_are_numbered_and_their_names_unique(subject: &dyn Subject) {
    let (one, two) = (subject.open().await, subject.open().await);
    one.migrate(SHARDS).await.expect("migrate");
    let sales = one.create_namespace("sales", b"").await.expect("create");
    let error = two.create_namespace("sales", b"").await.expect_err("exists");
    assert!(matches!(&error, StoreError::NamespaceExists(name) if name == "sales"), "{error:?}");
    let support = two.create_namespace("support", b"").await.expect("create");
    let all = one.namespaces().await.expect("namespaces");
    let default = all[0].clone();
    assert_eq!(default.name, DEFAULT_NAMESPACE);
    assert_eq!(all, [default.clone(), sales.clone(), support.clone()]);
    assert!(default.id < sales.id && sales.id < support.id);
}

/// An update counts, one that was made with an older look is refused, and numbers are not used twice.
pub async fn a_namespace_is_updated_by_who_saw_its_latest_version(subject: &dyn Subject) {
    let (one, two) = (subject.open().await, subject.open().await);
    one.migrate(SHARDS).await.expect("migrate");
    let settings = [0, 255, 7];
    let sales = one.create_namespace("sales", &settings).await.expect("create");
    assert_eq!((sales.version, &sales.settings[..]), (1, &settings[..]));
    assert!(two.update_namespace(sales.id, 1, b"second").await.expect("update"));
    assert!(!one.update_namespace(sales.id, 1, b"late").await.expect("update"));
    let read = one.namespaces().await.expect("namespaces").pop().expect("two of them");
    assert_eq!((read.id, read.version, &read.settings[..]), (sales.id, 2, &b"second"[..]));
    one.delete_namespace(sales.id).await.expect("delete");
    one.delete_namespace(sales.id).await.expect("delete again");
    assert_eq!(one.namespaces().await.expect("namespaces").len(), 1);
    assert!(!one.update_namespace(sales.id, 2, b"gone").await.expect("update"));
    assert!(two.create_namespace("sales", b"").await.expect("create").id > sales.id);
}
