//! What operators do to workflows, from Rust.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use engine_sdk::client::ClientError;
use engine_sdk::prelude::*;

#[tokio::test]
async fn a_closed_workflow_is_deleted() {
    let engine = Engine::open("memory:").await.unwrap();
    let start = engine.client().workflow_named::<()>("order").id("order-1").queue("orders");
    let handle = start.start(vec![]).await.unwrap();
    let refusal = handle.delete().await.unwrap_err();
    assert!(refusal.to_string().contains("terminate it before you delete it"), "{refusal}");
    handle.terminate("a test").await.unwrap();
    handle.delete().await.unwrap();
    assert!(matches!(handle.describe().await, Err(ClientError::NotFound { .. })));
    assert!(matches!(handle.delete().await, Err(ClientError::NotFound { .. })));
    assert_eq!(engine.client().count("").await.unwrap(), 0);
    engine.shutdown().await;
}

#[signal]
struct Approve {
    by: String,
}

#[workflow]
async fn approval(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let approved = ctx.signals::<Approve>().recv().await;
    Ok(approved.by)
}

#[tokio::test]
async fn a_paused_workflow_goes_on_when_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("engine.db").display());
    let engine = Engine::open(&url).await.unwrap();
    let handle = engine.client().workflow(approval).id("a").queue("approvals").start(()).await.unwrap();
    handle.pause("the desk is closed").await.unwrap();
    handle.pause("still").await.unwrap();
    handle.signal(Approve { by: "desk-3".into() }).await.unwrap();
    engine.shutdown().await;

    let engine = Engine::open(&url).await.unwrap();
    let handle = engine.client().handle_named::<String>("a");
    let worker = Worker::new(engine.client(), "approvals").workflow(approval);
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(worker.run());
    let described = handle.describe().await.unwrap();
    assert_eq!(described.paused.unwrap().reason, "the desk is closed");
    assert!(described.summary.is_paused);
    assert_eq!(engine.client().count("Paused = true").await.unwrap(), 1);
    handle.resume("it is open").await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "desk-3");
    let names: Vec<_> = handle.history().await.unwrap().iter().map(|event| event.kind.name()).collect();
    assert_eq!(names[..4], ["WorkflowStarted", "WorkflowPaused", "WorkflowSignaled", "WorkflowResumed"]);
    assert!(matches!(handle.pause("too late").await, Err(ClientError::Closed { .. } | ClientError::NotFound { .. })));
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}
