//! Updates end to end: a client, the engine and a worker in this process, in memory and on SQLite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::client::ClientError;
use engine_sdk::engine::Engine;
use engine_sdk::event::{CloseStatus, EventKind};
use engine_sdk::ids::EventId;
use engine_sdk::prelude::*;
use futures::TryStreamExt;
use futures::future::join;

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

/// Closes the account and tells what was on it.
#[update(returns = u64)]
struct Close {}

#[signal]
struct Rename {
    to: String,
}

#[workflow]
async fn account(ctx: WorkflowContext, opening: u64) -> Result<String, WorkflowError> {
    let balance = Arc::new(AtomicU64::new(opening));
    let of_handler = Arc::clone(&balance);
    let validate = |deposit: &Deposit| match deposit.cents {
        0 => Err(WorkflowError::non_retryable("a deposit must be more than nothing").with_type("EmptyDeposit")),
        _ => Ok(()),
    };
    ctx.on_validated_update(validate, move |deposit: Deposit| {
        let balance = Arc::clone(&of_handler);
        async move { Ok(balance.fetch_add(deposit.cents, Ordering::Relaxed) + deposit.cents) }
    });
    let mut name = String::from("unnamed");
    let mut renames = ctx.signals::<Rename>();
    let mut closings = ctx.updates::<Close>();
    let closing = loop {
        select! {
            rename = renames.recv() => name = rename.to,
            closing = closings.recv() => break closing,
        }
    };
    let total = balance.load(Ordering::Relaxed);
    closing.complete(total);
    ctx.wait_all_handlers_finished().await;
    Ok(format!("{name} had {total}"))
}

struct Scene {
    engine: Engine,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn each() -> [Scene; 2] {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let sqlite = format!("sqlite://{}", directories[1].path().join("engine.db").display());
        let [first, second] = directories;
        [Scene::open("memory:", first).await, Scene::open(&sqlite, second).await]
    }

    async fn open(url: &str, directory: tempfile::TempDir) -> Scene {
        let engine = Engine::open(url).await.unwrap();
        let client = engine.client();
        Scene { engine, client, _directory: directory }
    }

    fn worker(&self) -> Worker {
        Worker::new(self.client.clone(), "accounts").workflow(account)
    }

    /// Runs `code` while a worker works.
    async fn with_worker<T>(&self, code: impl Future<Output = T>) -> T {
        let worker = self.worker();
        let shutdown = worker.shutdown_handle();
        let code = async {
            let output = code.await;
            shutdown.shutdown();
            output
        };
        let (ended, output) = join(Box::pin(worker.run()), code).await;
        ended.unwrap();
        output
    }
}

fn names(history: &[engine_sdk::event::Event]) -> Vec<&'static str> {
    history.iter().map(|event| event.kind.name()).collect()
}

#[tokio::test]
async fn updates_are_answered_and_found_again_by_their_id_also_after_the_close() {
    for scene in Scene::each().await {
        scene
            .with_worker(Box::pin(async {
                let start = scene.client.workflow(account).id("a").queue("accounts");
                let handle = start.start(100).await.unwrap();
                assert_eq!(handle.update(Deposit { cents: 5 }).id("first").await.unwrap(), 105);
                assert_eq!(handle.update(Deposit { cents: 5 }).id("first").await.unwrap(), 105, "the same update");
                assert_eq!(handle.update(Deposit { cents: 7 }).await.unwrap(), 112);
                let closing = handle.update(Close {}).id("closing").start().await.unwrap();
                assert_eq!(closing.result().await.unwrap(), 112);
                assert_eq!(handle.result().await.unwrap(), "unnamed had 112");
                let again = handle.update_handle::<Close>("closing").unwrap();
                assert_eq!(again.result().await.unwrap(), 112);
                assert_eq!(handle.update(Deposit { cents: 1 }).id("first").await.unwrap(), 105);
                let late = handle.update(Deposit { cents: 1 }).await.unwrap_err();
                assert!(matches!(&late, UpdateFailure::Client(ClientError::Closed { .. })), "{late:?}");
                let history = handle.history().await.unwrap();
                let task = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"];
                let update = ["WorkflowUpdateAccepted", "WorkflowUpdateCompleted"];
                let mut expected = vec!["WorkflowStarted"];
                expected.extend(task);
                for _ in 0..3 {
                    expected.extend(task);
                    expected.extend(update);
                }
                expected.push("WorkflowCompleted");
                // The first update may come with the first workflow task.
                let mut early = expected.clone();
                early.drain(4..7);
                let found = names(&history);
                assert!(found == expected || found == early, "{found:?}");
            }))
            .await;
        scene.engine.shutdown().await;
    }
}

#[tokio::test]
async fn refused_updates_leave_no_event_and_no_gap_and_say_why() {
    for scene in Scene::each().await {
        scene
            .with_worker(Box::pin(async {
                let handle = scene.client.workflow(account).id("a").queue("accounts").start(0).await.unwrap();
                assert_eq!(handle.update(Deposit { cents: 3 }).await.unwrap(), 3);
                let before = handle.history().await.unwrap();
                for _ in 0..2 {
                    let refused = handle.update(Deposit { cents: 0 }).await.unwrap_err();
                    let UpdateFailure::Rejected(error) = &refused else { panic!("{refused:?}") };
                    assert_eq!(error.error_type(), Some("EmptyDeposit"));
                }
                let unknown = handle.update_named::<u64>("Withdraw", &1).await.unwrap_err();
                assert!(unknown.to_string().contains("no handler for update \"Withdraw\""), "{unknown}");
                assert_eq!(handle.history().await.unwrap(), before, "refused updates leave no trace");
                // The worker's copy of the run is still good: what follows continues the same history.
                assert_eq!(handle.update(Deposit { cents: 4 }).await.unwrap(), 7);
                let history = handle.history().await.unwrap();
                assert_eq!(history.len(), before.len() + 5);
                assert!(history.iter().zip(1..).all(|(event, number)| event.id == EventId(number)));
            }))
            .await;
        scene.engine.shutdown().await;
    }
}

#[tokio::test]
async fn signals_and_updates_that_come_with_a_start_reach_the_run_that_is_open() {
    for scene in Scene::each().await {
        scene
            .with_worker(Box::pin(async {
                let start = || scene.client.workflow(account).id("a").queue("accounts");
                let first = start().signal_with_start(10, Rename { to: "Ada".into() }).await.unwrap();
                assert!(first.is_new());
                let second = start().signal_with_start(99, Rename { to: "Ben".into() }).await.unwrap();
                assert!(!second.is_new());
                assert_eq!(second.run_id(), first.run_id());
                let (handle, balance) = start().update_with_start(99, Deposit { cents: 5 }).await.unwrap();
                assert_eq!((handle.run_id(), balance), (first.run_id(), 15));
                assert_eq!(handle.update(Close {}).await.unwrap(), 15);
                assert_eq!(handle.result().await.unwrap(), "Ben had 15");
                let (next, balance) = start().update_with_start(1, Deposit { cents: 1 }).await.unwrap();
                assert!(next.is_new() && next.run_id() != first.run_id());
                assert_eq!(balance, 2);
                let history = first.history().await.unwrap();
                assert!(matches!(history[1].kind, EventKind::WorkflowSignaled(_)), "{:?}", names(&history));
                assert_eq!(history.last().unwrap().kind.close_status(), Some(CloseStatus::Completed));
            }))
            .await;
        scene.engine.shutdown().await;
    }
}

#[tokio::test]
async fn an_update_waits_for_a_worker_and_is_described_meanwhile() {
    for scene in Scene::each().await {
        let handle = scene.client.workflow(account).id("a").queue("accounts").start(0).await.unwrap();
        let sent = handle.update(Deposit { cents: 9 }).id("waits");
        let answer = tokio::spawn(sent.into_future());
        loop {
            let pending = handle.describe().await.unwrap().pending_updates;
            if let [update] = &pending[..] {
                assert_eq!(
                    (update.update_id.as_str(), update.name.as_str(), update.is_accepted()),
                    ("waits", "Deposit", false)
                );
                break;
            }
            tokio::task::yield_now().await;
        }
        let balance = scene.with_worker(Box::pin(async { answer.await.unwrap().unwrap() })).await;
        assert_eq!(balance, 9);
        scene.engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_run_that_is_terminated_tells_who_waits_for_an_update() {
    for scene in Scene::each().await {
        let handle = scene.client.workflow(account).id("a").queue("accounts").start(0).await.unwrap();
        let answer = tokio::spawn(handle.update(Deposit { cents: 9 }).into_future());
        while handle.describe().await.unwrap().pending_updates.is_empty() {
            tokio::task::yield_now().await;
        }
        handle.terminate("enough").await.unwrap();
        let error = answer.await.unwrap().unwrap_err();
        assert!(matches!(error, UpdateFailure::Client(ClientError::Closed { .. })), "{error:?}");
        scene.engine.shutdown().await;
    }
}

/// Counts what its methods are told, until it is enough.
struct Counter {
    sum: u64,
}

#[workflow]
impl Counter {
    #[init]
    fn new(sum: u64) -> Self {
        Self { sum }
    }

    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        let patience = ctx.sleep_for(days(9), "until nobody counts any more");
        select! {
            _ = self.wait_until(|counter| counter.sum >= 100) => {}
            _ = patience => {}
        }
        ctx.wait_all_handlers_finished().await;
        Ok(self.sum)
    }

    #[signal]
    fn add(&mut self, number: u64) {
        self.sum += number;
    }

    #[update]
    fn add_and_tell(&mut self, number: u64) -> Result<u64, WorkflowError> {
        self.sum += number;
        Ok(self.sum)
    }
}

const DESK: SearchKey<str> = SearchKey::keyword("Desk");

#[workflow]
async fn counts_by_others(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let child = ctx.child(Counter::WORKFLOW).id("child").summary("counts for its parent").details("in steps of 60");
    let child = child.search_attributes([DESK.set("3")]).start(0).await?;
    child.send(Counter::ADD, 40).await?;
    ctx.external("other").send(Counter::ADD, 1).await?;
    ctx.signal_channel::<()>("go on").recv().await;
    child.send(Counter::ADD, 60).await?;
    Ok(child.result().await?)
}

#[tokio::test]
async fn methods_are_reached_with_a_start_and_by_other_workflows() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    client.namespaces().update("default").search_attribute(DESK).send().await.unwrap();
    let worker = Worker::new(client.clone(), "counters").workflow(Counter::WORKFLOW).workflow(counts_by_others);
    let work = async {
        let start = || client.workflow(Counter::WORKFLOW).id("other").queue("counters");
        let first = start().send_with_start(1, Counter::ADD, 1).await.unwrap();
        assert!(first.is_new());
        let add = || start().update_id("u-1").call_with_start(50, Counter::ADD_AND_TELL, 8);
        let (same, sum) = add().await.unwrap();
        assert_eq!((same.is_new(), same.run_id(), sum), (false, first.run_id(), 10));
        assert_eq!(add().await.unwrap().1, 10, "a repeat with the same key is the same update");
        assert_eq!(first.update_handle_named::<u64>("u-1").unwrap().result().await.unwrap(), 10);
        let described = first.describe().await.unwrap();
        assert_eq!(described.pending_timers[0].summary, "until nobody counts any more");

        let parent = client.workflow(counts_by_others).id("parent").queue("counters").start(()).await.unwrap();
        // The child is there once the parent's first message to it is recorded.
        parent.signal_named("go on", &()).await.unwrap();
        assert_eq!(parent.result().await.unwrap(), 100);
        let child = client.handle_named::<u64>("child").describe().await.unwrap();
        assert_eq!(
            (child.started.summary.as_str(), child.started.details.as_str()),
            ("counts for its parent", "in steps of 60")
        );
        let listed: Vec<_> = client.list("Desk = '3'").try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(first.call(Counter::ADD_AND_TELL, 89).await.unwrap(), 100);
        assert_eq!(first.result().await.unwrap(), 100);
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}
