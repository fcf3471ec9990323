//! The rows of deployments.

use bytes::Bytes;

use super::world::bytes;
use super::{Subject, World};
use crate::store::{DeploymentKey, DeploymentRow, NamespaceId};

fn key(namespace: i32, name: &str) -> DeploymentKey {
    DeploymentKey { namespace: NamespaceId(namespace), name: name.to_owned() }
}

impl World {
    async fn put_deployment(&self, key: &DeploymentKey, replaces: i64, value: Option<Bytes>) -> bool {
        self.store.write_deployment(key, replaces, value).await.expect("write")
    }
}

/// Created, replaced, deleted, each only from the revision that its writer knows; and all of it survives a restart.
pub async fn a_deployment_is_written_only_over_the_revision_that_its_writer_knows(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let key = key(1, "shop ü'\"%\\");
    let row = async |world: &World| world.store.deployment(&key).await.expect("read");
    assert_eq!(row(&world).await, None);
    assert!(!world.put_deployment(&key, 1, Some(bytes(1, 1))).await, "there is nothing to replace");
    assert!(world.put_deployment(&key, 0, Some(bytes(1, 1))).await);
    assert!(!world.put_deployment(&key, 0, Some(bytes(1, 2))).await, "there is one");
    assert!(world.put_deployment(&key, 1, Some(bytes(1, 3))).await);
    assert!(!world.put_deployment(&key, 1, Some(bytes(1, 4))).await, "another was faster");
    world = world.restart(subject).await;
    assert_eq!(row(&world).await, Some(DeploymentRow { key: key.clone(), revision: 2, deployment: bytes(1, 3) }));
    assert!(!world.put_deployment(&key, 1, None).await);
    assert!(world.put_deployment(&key, 2, None).await);
    assert!(!world.put_deployment(&key, 2, None).await, "it is gone");
    assert_eq!(row(&world).await, None);
    assert!(world.put_deployment(&key, 0, Some(bytes(1, 5))).await, "it can be made again");
}

/// All of them are read at once, and go with their namespace.
pub async fn deployments_come_by_namespace_and_name_and_go_with_their_namespace(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let sales = world.store.create_namespace("sales", &[]).await.expect("create").id;
    for (namespace, name) in [(sales.0, "b"), (1, "ä"), (1, "a"), (1, "b")] {
        assert!(world.put_deployment(&key(namespace, name), 0, Some(bytes(1, 1))).await);
    }
    let all = async || {
        let rows = world.store.deployments().await.expect("read");
        assert!(rows.iter().all(|row| row.revision == 1 && row.deployment == bytes(1, 1)));
        rows.into_iter().map(|row| (row.key.namespace, row.key.name)).collect::<Vec<_>>()
    };
    let own = ["a", "b", "ä"].map(|name| (NamespaceId(1), name.to_owned()));
    assert_eq!(all().await, [&own[..], &[(sales, "b".to_owned())]].concat());
    world.store.delete_namespace(sales).await.expect("delete");
    assert_eq!(all().await, own);
}
