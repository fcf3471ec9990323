//! Namespaces from Rust: created, changed, read and deleted, with what their runs are listed by.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use engine_sdk::SearchType;
use engine_sdk::client::{ClientError, Retention};
use engine_sdk::event::CloseStatus;
use engine_sdk::prelude::*;
use futures::TryStreamExt as _;

const CENTS: SearchKey<i64> = SearchKey::int("Cents");

#[tokio::test]
async fn a_namespace_is_created_changed_read_and_deleted() {
    let engine = Engine::open("memory:").await.unwrap();
    let namespaces = engine.client().namespaces();
    let retention = Retention::of(days(7)).closed_as(CloseStatus::Failed, days(90));
    let created =
        namespaces.create("shop").owner("desk 3").retention(retention).search_attribute(CENTS).send().await.unwrap();
    assert_eq!((created.retention, created.owner.as_str()), (retention, "desk 3"));
    let again = namespaces.create("shop").send().await.unwrap_err();
    assert!(matches!(&again, ClientError::AlreadyStarted { .. }), "{again:?}");

    let change = namespaces.update("shop").description("the web shop").search_attribute_named("Vip", SearchType::Bool);
    let changed = change.without_search_attribute("Cents").send().await.unwrap();
    let types: Vec<_> = changed.search_attributes.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    assert_eq!((types, changed.retention), (vec![("Vip", SearchType::Bool)], retention));
    assert_eq!(namespaces.describe("shop").await.unwrap(), changed);
    let names: Vec<_> = namespaces.list().await.unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["default", "shop"]);

    namespaces.delete("shop").await.unwrap();
    assert!(matches!(namespaces.describe("shop").await, Err(ClientError::NotFound { .. })));
    engine.shutdown().await;
}

#[tokio::test]
async fn a_client_of_a_namespace_lists_its_runs_by_its_attributes() {
    let engine = Engine::open("memory:").await.unwrap();
    engine.client().namespaces().create("shop").search_attribute(CENTS).send().await.unwrap();
    let client = Client::builder().namespace("shop").over(engine.client().transport().clone()).unwrap();
    for cents in [100, 300] {
        let start = client.workflow_named::<()>("order").id(format!("order-{cents}")).queue("orders");
        start.search_attributes([CENTS.set(cents)]).start(vec![]).await.unwrap();
    }
    let listed = client.list("Cents > 200").map_ok(|run| CENTS.get(&run.search_attributes));
    assert_eq!(listed.try_collect::<Vec<_>>().await.unwrap(), [Some(300)]);
    // Elsewhere nobody knows it.
    let elsewhere = engine.client().count("Cents > 200").await.unwrap_err();
    assert!(matches!(&elsewhere, ClientError::InvalidArgument { field, .. } if field == "query"), "{elsewhere:?}");

    let refusal = client.namespaces().delete("shop").await.unwrap_err();
    assert!(refusal.to_string().contains("has 2 open runs"), "{refusal}");
    client.namespaces().terminate_and_delete("shop").await.unwrap();
    engine.shutdown().await;
}
