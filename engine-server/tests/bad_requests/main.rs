//! Requests that cannot be served, for every call of every service: each is refused with one sentence that names the field and the
//! limit, under the right code, and nothing is written. A call that the protocol gains without a case here fails a test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod activities;
mod batches;
mod cases;
mod deployments;
mod namespaces;
mod operations;
mod schedules;
#[path = "../support/mod.rs"]
mod support;
mod workers;
mod workflows;
mod world;

use std::collections::BTreeSet;

use engine_proto::DESCRIPTORS;
use engine_server::store::postgres::{PostgresOptions, PostgresStore};
use engine_testkit::postgres::{fresh_database, shared_cluster};
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::cases::Case;
use crate::world::World;

/// `WorkflowService.StartWorkflow` and so on: every call of the protocol.
fn calls() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors are readable").file;
    let services = files.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| service.method.iter().map(|method| format!("{}.{}", service.name(), method.name())))
        .collect()
}

fn cases(world: &World) -> Vec<Case> {
    let mut cases = workflows::cases(world);
    cases.extend(activities::cases(world));
    cases.extend(operations::cases(world));
    cases.extend(schedules::cases(world));
    cases.extend(batches::cases(world));
    cases.extend(namespaces::cases(world));
    cases.extend(deployments::cases(world));
    cases.extend(workers::cases(world));
    cases
}

async fn refuses_all(world: World) {
    let before = world.snapshot().await;
    let mut wrong = Vec::new();
    for case in cases(&world) {
        wrong.extend(case.check().await.err());
    }
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.snapshot().await, before, "a refused request changed something");
    world.server.shutdown().await;
}

#[tokio::test]
async fn every_call_refuses_what_cannot_be_served_and_writes_nothing() {
    Box::pin(refuses_all(World::new(support::store().await).await)).await;
}

#[tokio::test]
async fn every_call_refuses_the_same_on_postgres() {
    use engine_server::store::Store as _;
    let cluster = shared_cluster().await.unwrap();
    let url = fresh_database(cluster.url()).await.unwrap();
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    store.migrate(4).await.unwrap();
    Box::pin(refuses_all(World::new(std::sync::Arc::new(store)).await)).await;
}

#[tokio::test]
async fn no_call_of_the_protocol_is_without_a_case() {
    let world = World::new(support::store().await).await;
    let tried: BTreeSet<String> = cases(&world).iter().map(|case| case.call.to_owned()).collect();
    // What takes no argument cannot be called wrongly.
    let cannot = BTreeSet::from(["NamespaceService.ListNamespaces".to_owned()]);
    let all = calls();
    assert!(all.len() > 50, "only {} calls were found", all.len());
    let tried_or_exempt: BTreeSet<String> = tried.union(&cannot).cloned().collect();
    assert_eq!(tried_or_exempt, all, "add cases for what is on the right alone");
    world.server.shutdown().await;
}
