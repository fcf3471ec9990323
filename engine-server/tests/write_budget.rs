//! What one workflow costs the database, counted. Fails when somebody adds a commit, a round trip or a row.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use engine_proto::v1;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::v1::start_workflow_outcome::Outcome;
use engine_server::NodeOptions;
use engine_server::store::postgres::{PostgresOptions, PostgresStore};
use engine_server::store::{Store, StoreStats};
use engine_testkit::postgres::{fresh_database, shared_cluster};
use support::*;

/// A server that has just started reads for a while what its shards have left to do: the cheapest of so many is what a workflow costs.
const REPETITIONS: usize = 10;

/// Commits, round trips and rows between two looks.
fn cost(before: &StoreStats, after: &StoreStats) -> (u64, u64, u64) {
    (after.commits - before.commits, after.round_trips - before.round_trips, after.rows - before.rows)
}

#[tokio::test]
async fn a_one_activity_workflow_costs_four_commits_of_one_round_trip_each() {
    let cluster = shared_cluster().await.unwrap();
    let url = fresh_database(cluster.url()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap());
    store.migrate(4).await.unwrap();
    let server = start(Arc::clone(&store), options()).await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    // The first use of each statement on a connection prepares it.
    one_activity(&server, &mut worker, "warm-up").await;

    let mut costs = Vec::new();
    for number in 0..REPETITIONS {
        let before = store.stats();
        one_activity(&server, &mut worker, &format!("measured-{number}")).await;
        costs.push(cost(&before, &store.stats()));
    }
    // Commits: start · task done · activity done · task done. Round trips: one for each, and none to look up the workflow id. Rows: four
    // of history, one insert and one update of the run's row.
    assert_eq!(costs.iter().min(), Some(&(4, 4, 6)), "commits, round trips, rows: {costs:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn many_starts_in_one_call_cost_few_commits_and_two_rows_each() {
    const STARTS: usize = 500;
    let cluster = shared_cluster().await.unwrap();
    let url = fresh_database(cluster.url()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap());
    store.migrate(4).await.unwrap();
    let server = start(Arc::clone(&store), NodeOptions { lanes: 1, ..options() }).await;
    client(&server).start_workflow(start_request("warm-up")).await.unwrap();

    let before = store.stats();
    let starts = (0..STARTS).map(|number| start_request(&format!("w-{number}"))).collect();
    let answer = client(&server).start_workflows(v1::StartWorkflowsRequest { starts }).await.unwrap().into_inner();
    let is_started = |outcome: &v1::StartWorkflowOutcome| matches!(outcome.outcome, Some(Outcome::Started(_)));
    assert!(answer.outcomes.iter().all(is_started) && answer.outcomes.len() == STARTS);
    let after = store.stats();
    // The server may still be reading what its shards have left to do; a look for each start would show.
    let reads = (after.round_trips - before.round_trips) - (after.commits - before.commits);
    assert!(reads <= STARTS as u64 / 10, "{before:?} {after:?}");
    // As many as gather while the first is at the store: how many are sent meanwhile is up to the machine, but not most.
    assert!(after.commits - before.commits <= STARTS as u64 / 10, "{before:?} {after:?}");
    assert_eq!(after.rows - before.rows, 2 * STARTS as u64, "the run's row and its first turn");
    server.shutdown().await;
}

#[tokio::test]
async fn search_attributes_cost_no_round_trip_and_their_changes_one_row() {
    let cluster = shared_cluster().await.unwrap();
    let url = fresh_database(cluster.url()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap());
    store.migrate(4).await.unwrap();
    let server = start(Arc::clone(&store), options()).await;
    let register = v1::UpdateNamespaceRequest {
        namespace: "default".into(),
        add_search_attributes: [("Total".to_owned(), v1::SearchAttributeType::Int.into())].into(),
        ..Default::default()
    };
    NamespaceServiceClient::new(server.service()).update_namespace(register).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let total = |value| {
        let value = v1::SearchValue { value: Some(v1::search_value::Value::Int(value)) };
        std::collections::BTreeMap::from([("Total".to_owned(), value)])
    };
    let mut run = async |workflow_id: &str| {
        let request = v1::StartWorkflowRequest { search_attributes: total(5), ..start_request(workflow_id) };
        client(&server).start_workflow(request).await.unwrap();
        let task = worker.workflow_task().await;
        let changes = v1::SearchAttributeChanges { set: total(7), removed: Vec::new() };
        let upsert = v1::Command { command: Some(v1::command::Command::UpsertSearchAttributes(changes)) };
        worker.complete_workflow_task(&task, vec![upsert]).await;
        worker.grant(1, 0);
    };
    run("warm-up").await;
    let mut costs = Vec::new();
    for number in 0..REPETITIONS {
        let before = store.stats();
        run(&format!("measured-{number}")).await;
        costs.push(cost(&before, &store.stats()));
    }
    // Commits: start · task done. Rows: two of history, one insert of the run's row, one update of its attributes.
    assert_eq!(costs.iter().min(), Some(&(2, 2, 4)), "commits, round trips, rows: {costs:?}");
    server.shutdown().await;
}

async fn one_activity(server: &engine_server::Server, worker: &mut Worker, workflow_id: &str) {
    client(server).start_workflow(start_request(workflow_id)).await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await;
    let activity = worker.activity_task().await;
    worker.complete_activity(&activity).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    worker.grant(2, 1);
}
