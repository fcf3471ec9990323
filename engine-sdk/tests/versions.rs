//! Builds of a program side by side, while runs go from one to the other. `docs/versions.md` has its examples from here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use engine_sdk::client::{BatchState, ClientError, MoveTo, VersionStatus};
use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;
use futures::future::LocalBoxFuture;

#[signal]
struct Payment {
    cents: u64,
}

#[activity]
async fn check_fraud(_ctx: ActivityContext, cents: u64) -> Result<bool, ActivityError> {
    Ok(cents < 1_000_000)
}

/// As build 42 has it.
#[workflow(name = "order", versioning = "pinned")]
async fn order_42(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let payment = ctx.signals::<Payment>().recv().await;
    Ok(format!("{} cents, taken by build 42", payment.cents))
}

/// As build 43 has it: runs of build 42 could not follow this code.
#[workflow(name = "order", versioning = "pinned")]
async fn order_43(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    ctx.sleep(millis(1)).await;
    let payment = ctx.signals::<Payment>().recv().await;
    if !ctx.run(check_fraud, payment.cents).await? {
        return Err(WorkflowError::non_retryable("fraud"));
    }
    Ok(format!("{} cents, checked by build 43", payment.cents))
}

/// Adds up payments until there are 100 cents.
#[workflow(versioning = "auto_upgrade")]
async fn savings(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (mut payments, mut saved) = (ctx.signals::<Payment>(), 0);
    while saved < 100 {
        saved += payments.recv().await.cents;
        ctx.publish("saved", &saved);
    }
    Ok(saved)
}

fn build_42(client: &Client) -> Worker {
    Worker::new(client.clone(), "orders").deployment("shop", "build-42").workflow(order_42).workflow(savings)
}

fn build_43(client: &Client) -> Worker {
    let worker = Worker::new(client.clone(), "orders").deployment("shop", "build-43");
    worker.workflow(order_43).activity(check_fraud).workflow(savings)
}

/// Does `work` while a worker of each build runs. Boxed: `work` is large.
fn with_both_builds<'a, T: 'a>(client: &Client, work: impl Future<Output = T> + 'a) -> LocalBoxFuture<'a, T> {
    let (old, new) = (build_42(client), build_43(client));
    Box::pin(async move { old.run_until(new.run_until(work)).await.unwrap().unwrap() })
}

async fn start_order(client: &Client, id: &str) -> WorkflowHandle<String> {
    client.workflow_named("order").id(id).queue("orders").start(vec![]).await.unwrap()
}

/// The build that has the run, once one has.
async fn build_of<T>(run: &WorkflowHandle<T>) -> String {
    loop {
        if let Some(version) = run.describe().await.unwrap().versioning.and_then(|it| it.version) {
            return version.build_id.to_string();
        }
        tokio::task::yield_now().await;
    }
}

async fn try_build_43(account: &WorkflowHandle<u64>) -> Result<(), ClientError> {
    account.move_to(MoveTo::version("shop", "build-43")).because("its customer is a tester").await
}

async fn try_no_more(account: &WorkflowHandle<u64>) -> Result<(), ClientError> {
    account.move_to(MoveTo::AsCodeSays).await
}

/// Waits until the code of a `savings` has seen so many cents.
async fn saved(run: &WorkflowHandle<u64>, cents: u64) {
    while run.published::<u64>("saved").await.unwrap() != Some(cents) {
        tokio::task::yield_now().await;
    }
}

async fn status_of(client: &Client, build_id: &str) -> (VersionStatus, u64) {
    let shop = client.deployment("shop").describe().await.unwrap();
    let version = shop.version(build_id).unwrap();
    (version.status, version.pinned_runs)
}

#[tokio::test]
async fn a_build_takes_the_place_of_another_while_runs_of_that_one_go_on() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        let shop = client.deployment("shop");
        shop.set_current("build-42").await.unwrap();
        let old = start_order(&client, "order-1").await;
        assert_eq!(build_of(&old).await, "build-42");

        shop.set_current("build-43").await.unwrap();
        let new = start_order(&client, "order-2").await;
        assert_eq!(build_of(&new).await, "build-43");
        assert_eq!(status_of(&client, "build-42").await, (VersionStatus::Draining, 1));

        old.signal(Payment { cents: 700 }).await.unwrap();
        new.signal(Payment { cents: 700 }).await.unwrap();
        assert_eq!(old.result().await.unwrap(), "700 cents, taken by build 42");
        assert_eq!(new.result().await.unwrap(), "700 cents, checked by build 43");
        assert_eq!(status_of(&client, "build-42").await, (VersionStatus::Drained, 0));
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_run_that_follows_versions_goes_over_and_back_with_its_next_news() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        let shop = client.deployment("shop");
        shop.set_current("build-42").await.unwrap();
        let account = client.workflow(savings).queue("orders").start(()).await.unwrap();
        for (current, cents) in [("build-42", 10), ("build-43", 20), ("build-42", 30)] {
            shop.set_current(current).await.unwrap();
            account.signal(Payment { cents: 10 }).await.unwrap();
            saved(&account, cents).await;
            assert_eq!(build_of(&account).await, current);
        }
        account.signal(Payment { cents: 70 }).await.unwrap();
        assert_eq!(account.result().await.unwrap(), 100);
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_share_of_the_new_runs_tries_a_build() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        let shop = client.deployment("shop");
        shop.set_current("build-42").await.unwrap();
        shop.ramp("build-43", 20.0).await.unwrap();
        for number in 0..100 {
            start_order(&client, &format!("order-{number}")).await;
        }
        let count = async |filter: &str| client.count(filter).await.unwrap();
        while count("Deployment = 'shop'").await < 100 {
            tokio::task::yield_now().await;
        }
        let tried = count("BuildId = 'build-43'").await;
        assert!((5..=40).contains(&tried), "{tried} of 100");
        assert_eq!(status_of(&client, "build-43").await, (VersionStatus::Ramping, tried));

        // The build is bad: no more of it, and what it has goes back to the beginning elsewhere.
        shop.stop_ramping().await.unwrap();
        assert_eq!(status_of(&client, "build-43").await, (VersionStatus::Draining, tried));
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn one_run_tries_a_build_before_any_other_goes_there() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        client.deployment("shop").set_current("build-42").await.unwrap();
        let trial = client.workflow(order_43).id("trial").queue("orders").pinned_to("shop", "build-43");
        let trial = trial.start(()).await.unwrap();
        trial.signal(Payment { cents: 700 }).await.unwrap();
        assert_eq!(trial.result().await.unwrap(), "700 cents, checked by build 43");
        let other = start_order(&client, "other").await;
        assert_eq!(build_of(&other).await, "build-42");
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_run_is_moved_whatever_its_code_says() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        client.deployment("shop").set_current("build-42").await.unwrap();
        let account = client.workflow(savings).queue("orders").start(()).await.unwrap();
        account.signal(Payment { cents: 10 }).await.unwrap();
        saved(&account, 10).await;

        try_build_43(&account).await.unwrap();
        account.signal(Payment { cents: 10 }).await.unwrap();
        saved(&account, 20).await;
        assert_eq!(build_of(&account).await, "build-43");

        try_no_more(&account).await.unwrap();
        account.signal(Payment { cents: 80 }).await.unwrap();
        assert_eq!(account.result().await.unwrap(), 100);
        assert_eq!(build_of(&account).await, "build-42");
        let names: Vec<_> = account.history().await.unwrap().iter().map(|event| event.kind.name()).collect();
        assert_eq!(names.iter().filter(|name| **name == "WorkflowOptionsUpdated").count(), 2);
        assert!(matches!(account.move_to(MoveTo::AutoUpgrade).await, Err(ClientError::Closed { .. })));
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn many_runs_are_moved_at_once() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    with_both_builds(&client, async {
        client.deployment("shop").set_current("build-42").await.unwrap();
        let mut accounts = Vec::new();
        for _ in 0..3 {
            let account = client.workflow(savings).queue("orders").start(()).await.unwrap();
            assert_eq!(build_of(&account).await, "build-42");
            accounts.push(account);
        }
        let moved = client.batch("Deployment = 'shop' AND BuildId = 'build-42'").reason("build 42 is bad");
        let moved = moved.move_to(MoveTo::version("shop", "build-43")).await.unwrap();
        while moved.describe().await.unwrap().state == BatchState::Running {
            tokio::task::yield_now().await;
        }
        for account in accounts {
            account.signal(Payment { cents: 100 }).await.unwrap();
            assert_eq!(account.result().await.unwrap(), 100);
            assert_eq!(build_of(&account).await, "build-43");
        }
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn tasks_wait_for_a_build_if_one_says_that_they_may() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let elsewhere = Worker::new(client.clone(), "returns").deployment("shop", "build-44").workflow(savings);
    let work = async {
        let shop = client.deployment("shop");
        shop.set_current("build-42").await.unwrap();
        let lacks = shop.set_current("build-44").await.unwrap_err();
        assert!(matches!(&lacks, ClientError::Refused { message } if message.contains("orders")), "{lacks:?}");
        shop.set_current("build-44").allow_missing_task_queues().await.unwrap();
        let waiting = client.workflow(savings).queue("orders").start(()).await.unwrap();
        let shown = waiting.describe().await.unwrap().versioning.unwrap();
        assert_eq!((shown.version, shown.target.unwrap().build_id.as_str()), (None, "build-44"));

        let unknown = waiting.move_to(MoveTo::version("shop", "build-45")).await.unwrap_err();
        assert!(matches!(&unknown, ClientError::Refused { message } if message.contains("build-45")), "{unknown:?}");
        waiting.move_to(MoveTo::version("shop", "build-45")).allow_unknown().await.unwrap();
        waiting.move_to(MoveTo::AutoUpgrade).await.unwrap();
        shop.set_current("build-46").allow_unknown().await.unwrap();
        assert_eq!(status_of(&client, "build-46").await, (VersionStatus::Current, 0));
        shop.set_current("build-43").await.unwrap();
        assert_eq!(build_of(&waiting).await, "build-43");
    };
    elsewhere.run_until(with_both_builds(&client, work)).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_build_is_checked_against_the_runs_that_it_would_get() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    build_42(&client)
        .run_until(async {
            client.deployment("shop").set_current("build-42").await.unwrap();
            let pinned = start_order(&client, "order-1").await;
            let follows = client.workflow(savings).id("savings-1").queue("orders").start(()).await.unwrap();
            assert_eq!((build_of(&pinned).await, build_of(&follows).await), ("build-42".into(), "build-42".into()));
        })
        .await
        .unwrap();
    // The order stays with build 42, whatever build 43 would make of it.
    let report = build_43(&client).check_open_runs().await.unwrap();
    assert!(report.is_same(), "{report}");
    assert_eq!(report.runs.iter().map(|run| run.workflow_id.as_str()).collect::<Vec<_>>(), ["savings-1"]);
    assert_eq!(build_42(&client).check_open_runs().await.unwrap().runs.len(), 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_a_sentence() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let shop = client.deployment("shop");
    assert!(matches!(shop.describe().await, Err(ClientError::NotFound { .. })));
    assert!(matches!(shop.set_current("build-42").await, Err(ClientError::NotFound { .. })));
    assert_eq!(client.deployments().await.unwrap(), []);
    with_both_builds(&client, async {
        let listed = client.deployments().await.unwrap();
        assert_eq!((listed[0].name.as_str(), &listed[0].current, listed[0].versions), ("shop", &None, 2));
        assert_eq!(status_of(&client, "build-42").await, (VersionStatus::Inactive, 0));

        let unknown = shop.set_current("build-44").await.unwrap_err();
        assert!(matches!(&unknown, ClientError::Refused { message } if message.contains("build-44")), "{unknown:?}");
        let too_much = shop.ramp("build-43", 101.0).await.unwrap_err();
        assert!(
            matches!(&too_much, ClientError::InvalidArgument { field, .. } if field == "percentage"),
            "{too_much:?}"
        );

        let changed = shop.set_current("build-42").await.unwrap();
        assert_eq!(changed.previous_build_id, None);
        let revision = changed.deployment.revision;
        let ramped = shop.ramp("build-43", 12.34).if_revision(revision).await.unwrap().deployment;
        let ramping = ramped.ramping.unwrap();
        assert_eq!((ramping.build_id.as_str(), ramping.percentage), ("build-43", 12.34));
        let stale = shop.set_current("build-43").if_revision(revision).await.unwrap_err();
        assert!(matches!(stale, ClientError::Conflict { .. }), "{stale:?}");
        let used = shop.delete_version("build-42").await.unwrap_err();
        assert!(matches!(&used, ClientError::Refused { message } if message.contains("current")), "{used:?}");

        let back = shop.unset_current().await.unwrap();
        assert_eq!((back.deployment.current, back.previous_build_id.unwrap().as_str()), (None, "build-42"));
        assert_eq!(status_of(&client, "build-42").await, (VersionStatus::Drained, 0));
        let elsewhere = client.workflow(savings).queue("orders").pinned_to("shop", "build-44").start(()).await;
        assert!(matches!(elsewhere, Err(ClientError::Refused { .. })), "{elsewhere:?}");
        // The queue belongs to the shop.
        let thief = Worker::new(client.clone(), "orders").deployment("bank", "1").workflow(savings);
        let refused = thief.run().await.unwrap_err().to_string();
        assert!(refused.contains("orders") && refused.contains("shop"), "{refused}");
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_worker_alone_on_its_queue_is_found_there_whatever_its_build() {
    #[activity]
    async fn fetch(ctx: ActivityContext) -> Result<String, ActivityError> {
        Ok(ctx.own_queue().map(str::to_owned).unwrap_or_default())
    }

    #[workflow(versioning = "auto_upgrade")]
    async fn visit(ctx: WorkflowContext, host: String) -> Result<String, WorkflowError> {
        Ok(ctx.run(fetch, ()).task_queue(host).await?)
    }

    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = |build_id: &str, host: &str| {
        let worker = Worker::new(client.clone(), "visits").own_queue(host).deployment("studio", build_id);
        worker.workflow(visit).activity(fetch)
    };
    let work = async {
        client.deployment("studio").set_current("2").await.unwrap();
        let first = client.workflow(visit).queue("visits").run("host-1".to_owned());
        assert_eq!(first.await.unwrap(), "host-1");
        let studio = client.deployment("studio").describe().await.unwrap();
        assert_eq!(studio.task_queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["visits"]);
    };
    worker("1", "host-1").run_until(worker("2", "host-2").run_until(work)).await.unwrap().unwrap();
    engine.shutdown().await;
}

#[engine_sdk::test]
async fn builds_run_side_by_side_in_a_test_engine_too(env: TestEngine) {
    let client = env.client();
    with_both_builds(&client, async {
        let shop = client.deployment("shop");
        shop.set_current("build-42").await.unwrap();
        let old = start_order(&client, "order-1").await;
        assert_eq!(build_of(&old).await, "build-42");
        shop.set_current("build-43").await.unwrap();
        let new = start_order(&client, "order-2").await;
        for order in [&old, &new] {
            order.signal(Payment { cents: 700 }).await.unwrap();
        }
        assert_eq!(old.result().await.unwrap(), "700 cents, taken by build 42");
        assert_eq!(new.result().await.unwrap(), "700 cents, checked by build 43");
    })
    .await;
}

#[test]
fn every_example_of_the_document_is_in_this_file() {
    let (document, tests) = (include_str!("../../docs/versions.md"), include_str!("versions.rs"));
    let blocks: Vec<&str> = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        assert!(tests.contains(block.trim_end()), "not in this file:\n{block}");
    }
}
