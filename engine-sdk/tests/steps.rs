//! Steps, scopes and delayed starts in a whole engine.

use std::sync::atomic::{AtomicU32, Ordering};

use engine_core::event::{EventKind, Marker};
use engine_sdk::engine::Engine;
use engine_sdk::prelude::*;
use futures::StreamExt;
use tokio::sync::Notify;

static RUNS: AtomicU32 = AtomicU32::new(0);
static GO: Notify = Notify::const_new();

#[workflow]
async fn quoted(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let rate = ctx
        .step("rate", || async {
            RUNS.fetch_add(1, Ordering::Relaxed);
            // A place where only tokio's own can wait.
            tokio::task::yield_now().await;
            Ok(3_u64)
        })
        .await?;
    ctx.signal_channel::<()>("go").recv().await;
    Ok(cents * rate)
}

#[workflow]
async fn patient(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    ctx.step("long", || async {
        GO.notified().await;
        Ok(())
    })
    .await?;
    Ok("done".to_owned())
}

async fn engine_with_worker() -> (Engine, Client, impl FnOnce() -> tokio::task::JoinHandle<()>) {
    let engine = Engine::open("memory:").await.expect("memory is there");
    let client = engine.client();
    let worker = Worker::new(client.clone(), "orders").workflow(quoted).workflow(patient);
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(async move { worker.run().await.expect("the worker ends well") });
    let stop = move || {
        shutdown.shutdown();
        running
    };
    (engine, client, stop)
}

#[tokio::test]
async fn a_step_is_recorded_with_its_task_and_runs_once() {
    let (engine, client, stop) = engine_with_worker().await;
    let handle = client.workflow(quoted).id("q-1").queue("orders").summary("a quote").start(7).await.unwrap();
    let mut events = Box::pin(handle.watch());
    let mut names = Vec::new();
    loop {
        let event = events.next().await.unwrap().unwrap();
        names.push(event.kind.name());
        if let EventKind::MarkerRecorded(recorded) = &event.kind {
            assert!(
                matches!(&recorded.marker, Marker::Step(step) if step.name.as_str() == "rate" && step.attempt == 1)
            );
            break;
        }
    }
    assert_eq!(
        names,
        ["WorkflowStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "MarkerRecorded"]
    );
    // Another worker has nothing but the history.
    stop().await.unwrap();
    let worker = Worker::new(client.clone(), "orders").workflow(quoted);
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(worker.run());
    handle.signal_named("go", &()).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 21);
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_long_step_outlives_its_workflow_task() {
    let (engine, client, stop) = engine_with_worker().await;
    let start = client.workflow(patient).id("p-1").queue("orders").task_timeout(millis(200));
    let handle = start.start(()).await.unwrap();
    let mut events = Box::pin(handle.watch());
    let mut forced = 0;
    while forced < 2 {
        let event = events.next().await.unwrap().unwrap();
        // On a loaded machine a task may time out; the step begins again then.
        if let EventKind::WorkflowTaskCompleted(end) = event.kind {
            forced += u32::from(end.force_new_task);
        }
    }
    GO.notify_waiters();
    GO.notify_one();
    assert_eq!(handle.result().await.unwrap(), "done");
    stop().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_delayed_start_records_signals_and_waits_all_the_same() {
    let (engine, client, stop) = engine_with_worker().await;
    let start = client.workflow(quoted).id("d-1").queue("orders").start_delay(hours(1)).details("on hold");
    let handle = start.start(1).await.unwrap();
    handle.signal_named("go", &()).await.unwrap();
    let names: Vec<_> = handle.history().await.unwrap().iter().map(|event| event.kind.name()).collect();
    assert_eq!(names, ["WorkflowStarted", "WorkflowSignaled"]);
    handle.terminate("enough").await.unwrap();
    stop().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_by_the_start() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let start = client.workflow(quoted).queue("orders").summary("x".repeat(401));
    let error = start.start(1).await.unwrap_err().to_string();
    assert!(error.contains("summary: is 401 bytes long; the limit is 400 bytes"), "{error}");
    engine.shutdown().await;
}
