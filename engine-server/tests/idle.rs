//! What a server does while nobody asks it for anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_server::NodeOptions;
use support::*;

#[tokio::test(start_paused = true)]
async fn an_idle_server_asks_the_store_for_nothing_but_its_lease() {
    let store = store().await;
    let lease = Duration::from_secs(9);
    let server = start(Arc::clone(&store), NodeOptions { lease, ..options() }).await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;

    let before = store.stats();
    // Virtual time: the clock jumps from one thing that waits to the next.
    tokio::time::sleep(Duration::from_secs(90)).await;
    let after = store.stats();
    assert_eq!(after.commits, before.commits);
    let renewals = after.round_trips - before.round_trips;
    assert!((29..=31).contains(&renewals), "one every 3 s: {renewals}");
    server.shutdown().await;
}
