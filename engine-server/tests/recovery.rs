//! What callers and workers see when the store fails, or when two servers want one shard.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_core::time::Timestamp;
use engine_proto::v1;
use engine_server::NodeOptions;
use engine_server::limits;
use engine_server::store::faulty::{Fault, FaultyStore};
use engine_server::store::memory::MemoryStore;
use engine_server::store::{ShardId, Store};
use support::*;
use tonic_types::StatusExt;

async fn faulty() -> Arc<FaultyStore> {
    FaultyStore::new(store().await)
}

fn repeatable(workflow_id: &str) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest { request_id: format!("request of {workflow_id}"), ..start_request(workflow_id) }
}

/// Starts, repeating while the server says that it is unavailable, as a client does.
async fn start_until_accepted(server: &engine_server::Server, request: v1::StartWorkflowRequest) -> (String, u32) {
    let mut refusals = 0;
    loop {
        match client(server).start_workflow(request.clone()).await {
            Ok(response) => return (response.into_inner().run_id, refusals),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
                refusals += 1;
                assert!(refusals < 10_000, "the server never came back: {status:?}");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn one_start_survives(fault: Fault) {
    let store = faulty().await;
    let server = start(Arc::clone(&store) as Arc<dyn Store>, options()).await;
    store.plan_next(fault);
    let (run_id, refusals) = start_until_accepted(&server, repeatable("w")).await;
    assert!(refusals > 0, "the doubtful start was not acknowledged");
    let list = v1::ListWorkflowsRequest { namespace: "default".into(), ..Default::default() };
    let runs = client(&server).list_workflows(list).await.unwrap().into_inner().workflows;
    assert_eq!(runs.iter().map(|run| run.run_id.clone()).collect::<Vec<_>>(), [run_id]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_that_was_written_but_reported_failed_is_started_once() {
    one_start_survives(Fault::FailAfter).await;
}

#[tokio::test]
async fn a_start_that_was_not_written_is_started_once_by_its_repeat() {
    one_start_survives(Fault::FailBefore).await;
}

#[tokio::test]
async fn a_result_in_doubt_ends_the_stream_and_the_worker_sends_it_again() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        let store = faulty().await;
        let server = start(Arc::clone(&store) as Arc<dyn Store>, options()).await;
        client(&server).start_workflow(start_request("w")).await.unwrap();
        let mut worker = Worker::connect(&server, hello(1), 4).await;
        let task = worker.workflow_task().await;
        store.plan_next(fault);
        let done = v1::WorkflowTaskCompletion {
            token: task.token.clone(),
            commands: vec![schedule_activity("1", 0)],
            cached: true,
            ..Default::default()
        };
        worker.result(v1::task_result::Result::WorkflowTaskCompleted(done));
        assert!(worker.ended().await);
        let hello = v1::Hello { workflow_tasks_in_hand: vec![task.token.clone()], ..hello(1) };
        let mut worker = Worker::connect(&server, hello, 4).await;
        // Written the first time, the repeat is stale; else it is accepted. Either way there is one activity.
        if worker.welcome.refused_tasks.is_empty() {
            worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await;
        }
        let activity = worker.activity_task().await;
        worker.complete_activity(&activity).await;
        let names = history(&server, "w").await;
        assert_eq!(names.iter().filter(|name| *name == "ActivityScheduled").count(), 1, "{names:?}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn an_outage_is_told_with_a_retry_hint_and_service_is_back_after_it() {
    let store = faulty().await;
    let server = start(Arc::clone(&store) as Arc<dyn Store>, options()).await;
    client(&server).start_workflow(repeatable("before")).await.unwrap();
    store.set_outage(true);
    let status = client(&server).start_workflow(repeatable("during")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    store.set_outage(false);
    start_until_accepted(&server, repeatable("during")).await;
    assert_eq!(describe(&server, "before").await.summary.unwrap().workflow_id, "before");
    server.shutdown().await;
}

#[tokio::test]
async fn a_second_server_waits_for_the_lease_of_the_first_and_says_whose_it_is() {
    let store = store().await;
    let first = start(Arc::clone(&store), options()).await;
    let second = start(Arc::clone(&store), NodeOptions { name: "second".into(), ..options() }).await;
    client(&first).start_workflow(start_request("w")).await.unwrap();
    let status = client(&second).start_workflow(start_request("v")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("belongs to server \"test\""), "{status:?}");
    client(&first).start_workflow(start_request("v")).await.unwrap();
    second.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn a_server_of_the_same_name_takes_over_at_once_and_the_old_one_cannot_write() {
    let store = store().await;
    let old = start(Arc::clone(&store), options()).await;
    client(&old).start_workflow(repeatable("w")).await.unwrap();
    let new = start(Arc::clone(&store), options()).await;
    let status = signal(&old, "w", "lost?").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    signal(&new, "w", "approve").await.unwrap();
    let mut worker = Worker::connect(&new, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    let names = history(&new, "w").await;
    assert_eq!(names.iter().filter(|name| *name == "WorkflowSignaled").count(), 1, "{names:?}");
    assert_eq!(names.last().map(String::as_str), Some("WorkflowCompleted"));
    new.shutdown().await;
    drop(old);
}

#[tokio::test]
async fn an_attempt_that_a_dead_server_handed_out_is_another_one_than_its_repeat() {
    let store = store().await;
    let old = start(Arc::clone(&store), options()).await;
    client(&old).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&old, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await;
    assert_eq!(worker.activity_task().await.attempt, 1);
    // Without a grace nobody is waited for, but what was in hand may have been done.
    assert_eq!(options().recovery_grace, Duration::ZERO);
    let new = start(store, options()).await;
    let mut worker = Worker::connect(&new, hello(2), 4).await;
    let repeat = worker.activity_task().await;
    assert_eq!(repeat.attempt, 2);
    worker.complete_activity(&repeat).await;
    new.shutdown().await;
    drop(old);
}

#[tokio::test]
async fn a_run_that_was_parked_wakes_at_its_time_after_a_restart() {
    let store = store().await;
    let server = start(Arc::clone(&store), NodeOptions { cache_bytes: 0, ..options() }).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![start_timer("t", 300)]).await;
    drop(worker);
    server.shutdown().await;
    let server = start(store, NodeOptions { recovery_grace: Duration::from_secs(3600), ..options() }).await;
    let mut worker = Worker::connect(&server, hello(2), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    assert!(history(&server, "w").await.contains(&"TimerFired".to_owned()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_stop_in_order_puts_only_what_workers_have_in_doubt() {
    let store = store().await;
    // A grace that no test waits for: what comes at once was not in doubt.
    let patient = || NodeOptions { recovery_grace: Duration::from_secs(3600), ..options() };
    let old = start(Arc::clone(&store), options()).await;
    client(&old).start_workflow(start_request("w")).await.unwrap();
    let mut first = Worker::connect(&old, hello(1), 1).await;
    let task = first.workflow_task().await;
    first.complete_workflow_task(&task, vec![schedule_activity("taken", 0), schedule_activity("queued", 0)]).await;
    let taken = first.activity_task().await;
    old.shutdown().await;
    let new = start(Arc::clone(&store), patient()).await;
    let mut second = Worker::connect(&new, hello(2), 4).await;
    let queued = second.activity_task().await;
    assert_eq!((queued.activity_id.as_str(), queued.attempt), ("queued", 1));
    second.complete_activity(&queued).await;
    // The worker that has the other comes back with it.
    let back = v1::Hello { activity_tasks_in_hand: vec![taken.token.clone()], ..hello(1) };
    let mut first = Worker::connect(&new, back, 0).await;
    assert_eq!(first.welcome.refused_tasks, Vec::<Vec<u8>>::new());
    assert_eq!(first.complete_activity(&taken).await.code, 0);
    assert_eq!(describe(&new, "w").await.pending_activities, []);
    new.shutdown().await;
}

#[tokio::test]
async fn what_a_worker_had_at_a_stop_in_order_and_does_not_claim_is_another_attempt_after_the_grace() {
    let store = store().await;
    let old = start(Arc::clone(&store), options()).await;
    client(&old).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&old, hello(1), 1).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 0)]).await;
    assert_eq!(worker.activity_task().await.attempt, 1);
    old.shutdown().await;
    let new = start(store, options()).await;
    let mut worker = Worker::connect(&new, hello(2), 4).await;
    assert_eq!(worker.activity_task().await.attempt, 2);
    new.shutdown().await;
}

#[tokio::test]
async fn a_stop_in_order_parks_what_is_idle() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let runs = 20;
    let mut worker = Worker::connect(&server, hello(1), 100).await;
    for n in 0..runs {
        client(&server).start_workflow(start_request(&format!("w{n}"))).await.unwrap();
        let task = worker.workflow_task().await;
        worker.complete_workflow_task(&task, vec![start_timer("t", 3_600_000)]).await;
    }
    server.shutdown().await;
    let mut idle = 0;
    for shard in 0..4 {
        let (rows, next) = store.due_runs(ShardId(shard), Timestamp::from_micros(1), None, 1).await.unwrap();
        assert!(rows.is_empty(), "an idle run was left as if it were in memory");
        assert!(next > Timestamp::from_micros(1));
        idle += store.due_runs(ShardId(shard), Timestamp::MAX, None, 100).await.unwrap().0.len();
    }
    assert_eq!(idle, runs);
}

#[tokio::test]
async fn more_runs_than_one_read_loads_are_recovered() {
    let store = MemoryStore::new();
    store.migrate(1).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let old = start(Arc::clone(&store), options()).await;
    let runs = u32::try_from(2 * limits::LOAD_RUNS_MAX + 1).unwrap();
    for n in 0..runs {
        client(&old).start_workflow(start_request(&format!("w{n}"))).await.unwrap();
    }
    // The old one never stops in order: its successor finds all of them as they were in its memory.
    let new = start(store, options()).await;
    let mut worker = Worker::connect(&new, hello(1), runs).await;
    for _ in 0..runs {
        worker.workflow_task().await;
    }
    drop((new, old));
}
