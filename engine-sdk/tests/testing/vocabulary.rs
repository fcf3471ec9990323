//! Workflows that use all of the vocabulary, with their worker dying at each of their tasks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;
use engine_sdk::testing::{TestEngine, run};

#[activity(retry(initial_interval = "1m", jitter = 0.0))]
async fn charge(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[signal]
struct Hurry {
    by: String,
}

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

#[update(returns = u64)]
struct Close {}

/// A child that is told to hurry.
#[workflow]
async fn parcel(ctx: WorkflowContext, number: u64) -> Result<u64, WorkflowError> {
    let mut hurries = ctx.signals::<Hurry>();
    select! {
        _ = hurries.recv() => Ok(number),
        _ = ctx.sleep(days(7)) => Err(WorkflowError::non_retryable("too late")),
    }
}

/// A child that is asked to stop.
#[workflow]
async fn watcher(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.cancelled().await;
    Err(WorkflowError::canceled())
}

const CENTS: SearchKey<i64> = SearchKey::int("Cents");

/// Everything that code may ask for, one after the other, in two runs of a chain.
#[workflow]
async fn order(ctx: WorkflowContext, round: u64, carried: u64) -> Result<u64, WorkflowError> {
    let id = ctx.info().workflow_id.clone();
    ctx.publish("round", &round);
    ctx.upsert_search_attributes([CENTS.set(i64::try_from(carried)?)]);
    ctx.upsert_memo("round", &round);
    ctx.set_current_details(format!("round {round}"));
    let fee = ctx.step("fee", || async { Ok::<u64, ActivityError>(1) }).await?;
    let discount = if ctx.patched("discount") { 1 } else { 0 };
    // An activity that is given up for a timer, and one that is not.
    let given_up = ctx.scope();
    let slow = given_up.run(charge, 99).start_to_close(days(30)).task_queue("nobody").start();
    ctx.sleep(hours(1)).await;
    given_up.cancel();
    let is_canceled = slow.await.is_err_and(|failure| failure.is_canceled());
    let charged = ctx.run(charge, carried + fee).await?;
    // Children: one that is told, one that is told by its id, one that is asked to stop.
    let parcel_one = ctx.child(parcel).id(format!("{id}/one")).start(1).await?;
    let parcel_two = ctx.child(parcel).id(format!("{id}/two")).start(2).await?;
    let mut watched = ctx.child(watcher).id(format!("{id}/watcher")).start(()).await?;
    parcel_one.signal(Hurry { by: "the order".to_owned() }).await?;
    ctx.external(format!("{id}/two")).signal(Hurry { by: "the order".to_owned() }).await?;
    let parcels = try_join_all([parcel_one.result(), parcel_two.result()]).await?;
    watched.cancel();
    let has_stopped = watched.result().await.is_err();
    let nobody = ctx.external("nobody").cancel("not there").await.is_err();
    ctx.detached_scope().run(charge, 1).await?;
    let sum = charged + discount + parcels.iter().sum::<u64>() + u64::from(is_canceled && has_stopped && nobody);
    if round == 0 {
        return ctx.continue_as_new(order, (1, sum)).await;
    }
    Ok(sum)
}

async fn with_attributes(env: &TestEngine) {
    env.client().namespaces().update("default").search_attribute(CENTS).send().await.unwrap();
    env.activity(charge).workflow(parcel).workflow(watcher);
}

#[engine_sdk::test(timeout = "3m")]
async fn all_commands_survive_a_worker_that_dies_at_any_point(env: TestEngine) {
    with_attributes(&env).await;
    env.crash_at_every_await(order, (0, 100)).await;
}

#[engine_sdk::test(timeout = "3m")]
async fn all_commands_survive_activities_that_run_twice_or_fail_once(env: TestEngine) {
    with_attributes(&env).await;
    env.every_activity_twice(order, (0, 100)).await;
    env.every_activity_fails_once(order, (0, 100)).await;
}

/// Takes updates, by handler and by channel, and signals.
#[workflow]
async fn account(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let balance = Arc::new(AtomicU64::new(0));
    let (of_handler, context) = (Arc::clone(&balance), ctx.clone());
    let validator = |deposit: &Deposit| match deposit.cents {
        0 => Err(WorkflowError::non_retryable("a deposit must be more than nothing")),
        _ => Ok(()),
    };
    ctx.on_validated_update(validator, move |deposit: Deposit| {
        let (balance, ctx) = (Arc::clone(&of_handler), context.clone());
        async move {
            let booked = ctx.run(charge, deposit.cents).await?;
            Ok(balance.fetch_add(booked, Ordering::Relaxed) + booked)
        }
    });
    let hurried = ctx.signals::<Hurry>().recv().await.by;
    ctx.publish("hurried", &hurried);
    let close = ctx.updates::<Close>().recv().await;
    ctx.wait_until(|| balance.load(Ordering::Relaxed) > 0).await;
    close.complete(balance.load(Ordering::Relaxed));
    ctx.wait_all_handlers_finished().await;
    Ok(balance.load(Ordering::Relaxed))
}

#[engine_sdk::test(timeout = "3m")]
async fn updates_and_signals_survive_a_worker_that_dies_at_any_point(env: TestEngine) {
    env.activity(charge);
    let clock = env.clone();
    env.crash_at_every_await_with(account, (), |handle| {
        let clock = clock.clone();
        async move {
            handle.update(Deposit { cents: 0 }).await.unwrap_err();
            assert_eq!(handle.update(Deposit { cents: 5 }).await.unwrap(), 5);
            handle.signal(Hurry { by: "the desk".to_owned() }).await.unwrap();
            // Else it is chance whether a worker that dies now has its successor see both at once.
            clock.settle().await;
            assert_eq!(handle.update(Deposit { cents: 7 }).await.unwrap(), 12);
            assert_eq!(handle.update(Close {}).await.unwrap(), 12);
        }
    })
    .await;
}

/// Undoes what it did when it is asked to stop.
#[workflow]
async fn undone(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let charged = ctx.run(charge, 5).await?;
    match ctx.unless_cancelled(ctx.sleep(days(14))).await {
        Ok(()) => Ok(charged),
        Err(_) => {
            ctx.detached_scope().run(charge, 0).await?;
            Err(WorkflowError::canceled())
        }
    }
}

#[engine_sdk::test]
async fn a_canceled_workflow_undoes_the_same_whenever_its_worker_dies(env: TestEngine) {
    env.activity(charge);
    let clock = env.clone();
    env.crash_at_every_await_with(undone, (), |handle| {
        let clock = clock.clone();
        async move {
            clock.settle().await;
            handle.cancel("changed my mind").await.unwrap();
        }
    })
    .await;
}

/// The panic of a test, as text.
fn panic_of(test: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(AssertUnwindSafe(test)).expect_err("the test fails");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// The second run of its chain asks for something that depends on how often code ran.
#[workflow]
async fn differs_in_its_second_run(ctx: WorkflowContext, round: u64) -> Result<(), WorkflowError> {
    if round == 0 {
        ctx.sleep(hours(1)).await;
        return ctx.continue_as_new(differs_in_its_second_run, 1).await;
    }
    let is_first = ROUNDS.fetch_add(1, Ordering::Relaxed) == 0;
    ctx.set_current_details(if is_first { "first" } else { "again" });
    Ok(())
}

#[test]
fn a_difference_in_a_later_run_of_the_chain_is_found() {
    let text = panic_of(|| {
        run("differs", seconds(60), async |env: TestEngine| {
            env.crash_at_every_await(differs_in_its_second_run, 0).await;
        });
    });
    assert!(text.contains("PropertiesModified") && text.contains("again"), "{text}");
}
