//! What operators do to workflows, from Rust.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use engine_sdk::client::{ClientError, PendingState, ResetFrom, ResetOptions};
use engine_sdk::prelude::*;
use futures::TryStreamExt as _;

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

struct Bank {
    is_open: AtomicBool,
    charges: AtomicU32,
}

#[activity(start_to_close = "30s", retry(max_attempts = 1))]
async fn charge(ctx: ActivityContext, cents: u32) -> Result<u32, ActivityError> {
    let bank = ctx.state::<Arc<Bank>>();
    bank.charges.fetch_add(1, Ordering::SeqCst);
    if bank.is_open.load(Ordering::SeqCst) {
        return Ok(cents);
    }
    Err(ActivityError::non_retryable("the bank is closed"))
}

#[workflow]
async fn pay(ctx: WorkflowContext, cents: u32) -> Result<String, WorkflowError> {
    let key = ctx.uuid();
    let paid = ctx.run(charge, cents).await?;
    let twice = ctx.run(charge, paid).await?;
    Ok(format!("{twice} with {key}"))
}

#[tokio::test]
async fn a_failed_workflow_goes_on_at_its_failed_step() {
    let engine = Engine::open("memory:").await.unwrap();
    let bank = Arc::new(Bank { is_open: AtomicBool::new(false), charges: AtomicU32::new(0) });
    let worker = Worker::new(engine.client(), "bank").workflow(pay).activity(charge).state(Arc::clone(&bank));
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(worker.run());
    let handle = engine.client().workflow(pay).id("p").queue("bank").start(7).await.unwrap();
    handle.result().await.unwrap_err();
    // The first step is given a result, by somebody who looked into the bank's books; the second one runs, and fails.
    let current = engine.client().handle_named::<String>("p");
    let because = || ResetOptions::because("the desk saw the receipt");
    let second = current.reset(ResetFrom::failed_activity_with(&9_u32).unwrap(), because()).await.unwrap();
    second.result().await.unwrap_err();
    assert_eq!(bank.charges.load(Ordering::SeqCst), 2);
    // Now it is open, and the failed step runs again: the first one does not.
    bank.is_open.store(true, Ordering::SeqCst);
    let third = current.reset(ResetFrom::failed_activity(), because()).await.unwrap();
    let result = third.result().await.unwrap();
    assert!(result.starts_with("9 with "), "{result}");
    assert_eq!(bank.charges.load(Ordering::SeqCst), 3);
    // Replayed from the start it draws the same random values.
    let again = current.reset(ResetFrom::LastWorkflowTask, because()).await.unwrap();
    assert_eq!(again.result().await.unwrap(), result);
    let from_start = current.reset(ResetFrom::FirstWorkflowTask, because().without_signals()).await.unwrap();
    assert_eq!(from_start.result().await.unwrap(), format!("7{}", &result[1..]));
    let described = from_start.describe().await.unwrap();
    assert_eq!(described.started.reset.unwrap().reason, "the desk saw the receipt");
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}

#[activity(start_to_close = "30s", retry(initial_interval = "1h"))]
async fn call_the_bank(ctx: ActivityContext) -> Result<u32, ActivityError> {
    let bank = ctx.state::<Arc<Bank>>();
    bank.charges.fetch_add(1, Ordering::SeqCst);
    match bank.is_open.load(Ordering::SeqCst) {
        true => Ok(ctx.attempt()),
        false => Err(ActivityError::retryable("the bank does not answer")),
    }
}

#[workflow]
async fn ask(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    Ok(ctx.run(call_the_bank, ()).await?)
}

#[tokio::test]
async fn an_open_activity_is_paused_changed_and_tried_again_at_once() {
    let engine = Engine::open("memory:").await.unwrap();
    let handle = engine.client().workflow(ask).id("a").queue("bank").start(()).await.unwrap();
    let bank = Arc::new(Bank { is_open: AtomicBool::new(false), charges: AtomicU32::new(0) });
    let worker = Worker::new(engine.client(), "bank").workflow(ask).activity(call_the_bank).state(Arc::clone(&bank));
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(worker.run());
    // Its second attempt would come in an hour.
    let pending = loop {
        let pending = handle.describe().await.unwrap().pending_activities;
        match pending.into_iter().next() {
            Some(activity) if activity.state == PendingState::BackingOff => break activity,
            _ => tokio::task::yield_now().await,
        }
    };
    let activity = handle.activity(pending.activity_id.as_str());
    activity.pause("the bank is closed").await.unwrap();
    activity.set_start_to_close(std::time::Duration::from_secs(300)).await.unwrap();
    let shown = handle.describe().await.unwrap().pending_activities.remove(0);
    assert_eq!(shown.paused.unwrap().reason, "the bank is closed");
    assert_eq!(shown.timeouts.start_to_close, Some(std::time::Duration::from_secs(300)));
    bank.is_open.store(true, Ordering::SeqCst);
    activity.unpause_and_reset().await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 2);
    assert_eq!(bank.charges.load(Ordering::SeqCst), 2);
    let refusal = handle.activity("nobody").reset().await.unwrap_err();
    assert!(matches!(refusal, ClientError::NotFound { .. } | ClientError::Closed { .. }), "{refusal:?}");
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}

#[workflow]
async fn leaf(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    Ok(ctx.signals::<Approve>().recv().await.by)
}

#[workflow]
async fn parent(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let child = ctx.child(leaf).id("leaf").start(()).await?;
    Ok(child.result().await?)
}

#[tokio::test]
async fn a_child_deals_with_the_run_that_its_parent_was_reset_to() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", directory.path().join("engine.db").display());
    for url in ["memory:", &sqlite] {
        let engine = Engine::open(url).await.unwrap();
        let client = engine.client();
        let worker = Worker::new(client.clone(), "families").workflow(parent).workflow(leaf);
        let shutdown = worker.shutdown_handle();
        let running = tokio::spawn(worker.run());
        let handle = client.workflow(parent).id("parent").queue("families").start(()).await.unwrap();
        // The code has seen that its child runs.
        let is_done = |event: &engine_sdk::event::Event| event.kind.name() == "WorkflowTaskCompleted";
        let mut events = std::pin::pin!(handle.watch());
        let mut completed = 0;
        while completed < 2 {
            completed += usize::from(is_done(&events.try_next().await.unwrap().expect("the run is open")));
        }
        let because = ResetOptions::because("to see what becomes of the child");
        let reset = handle.reset(ResetFrom::LastWorkflowTask, because).await.unwrap();
        assert_ne!(reset.run_id(), handle.run_id());
        assert!(handle.result().await.unwrap_err().to_string().contains("to see what becomes"));
        client.handle_named::<String>("leaf").signal(Approve { by: "desk-3".into() }).await.unwrap();
        assert_eq!(reset.result().await.unwrap(), "desk-3");
        assert_eq!(client.count("WorkflowType = 'leaf'").await.unwrap(), 1, "the child was not started again");
        shutdown.shutdown();
        running.await.unwrap().unwrap();
        engine.shutdown().await;
    }
}

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

#[workflow]
async fn account(ctx: WorkflowContext, opening: u64) -> Result<u64, WorkflowError> {
    let mut deposits = ctx.updates::<Deposit>();
    let mut balance = opening;
    loop {
        let deposit = deposits.recv().await;
        balance += deposit.cents;
        let is_last = deposit.cents == 0;
        deposit.complete(balance);
        if is_last {
            return Ok(balance);
        }
    }
}

#[tokio::test]
async fn updates_are_answered_again_by_the_run_that_goes_on() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = Worker::new(client.clone(), "accounts").workflow(account);
    let shutdown = worker.shutdown_handle();
    let running = tokio::spawn(worker.run());
    client.workflow(account).id("a").queue("accounts").start(100).await.unwrap();
    let current = client.handle_named::<u64>("a");
    assert_eq!(current.update(Deposit { cents: 5 }).id("first").await.unwrap(), 105);
    assert_eq!(current.update(Deposit { cents: 7 }).id("second").await.unwrap(), 112);
    current.reset(ResetFrom::FirstWorkflowTask, ResetOptions::because("again")).await.unwrap();
    // The same updates, by their ids, and not two more.
    assert_eq!(current.update(Deposit { cents: 5 }).id("first").await.unwrap(), 105);
    assert_eq!(current.update(Deposit { cents: 7 }).id("second").await.unwrap(), 112);
    let without = ResetOptions::because("and without them").without_updates();
    let last = current.reset(ResetFrom::FirstWorkflowTask, without).await.unwrap();
    assert_eq!(current.update(Deposit { cents: 0 }).await.unwrap(), 100);
    assert_eq!(last.result().await.unwrap(), 100);
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}
