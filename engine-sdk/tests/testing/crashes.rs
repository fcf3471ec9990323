//! A workflow run again for each point at which something may go wrong.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;
use engine_sdk::testing::{TestEngine, run};

#[activity]
async fn debit(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[activity]
async fn credit(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[signal]
struct Confirm;

#[workflow]
async fn transfer(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let debited = ctx.run(debit, cents).await?;
    ctx.sleep(hours(1)).await;
    let fee = ctx.step("fee", || async { Ok::<u64, ActivityError>(1) }).await?;
    Ok(ctx.run(credit, debited - fee).await?)
}

#[workflow]
async fn confirmed(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let debited = ctx.run(debit, cents).await?;
    ctx.signals::<Confirm>().recv().await;
    Ok(ctx.run(credit, debited).await?)
}

static TALLY: AtomicU64 = AtomicU64::new(0);

/// Its outcome depends on how often its code ran.
#[workflow]
async fn counts_itself(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    ctx.sleep(hours(1)).await;
    Ok(TALLY.fetch_add(1, Ordering::Relaxed))
}

#[engine_sdk::test]
async fn a_workflow_survives_a_worker_that_dies_at_any_point(env: TestEngine) {
    env.activity(debit).activity(credit);
    env.crash_at_every_await(transfer, 100).await;
}

#[engine_sdk::test]
async fn a_workflow_that_needs_signals_is_driven(env: TestEngine) {
    env.activity(debit).activity(credit);
    env.crash_at_every_await_with(confirmed, 100, |handle| async move { handle.signal(Confirm).await.unwrap() }).await;
}

#[engine_sdk::test]
async fn activities_run_twice_and_fail_once(env: TestEngine) {
    let (debits, credits) = (env.spy(debit), env.spy(credit));
    env.every_activity_twice(transfer, 100).await;
    assert_eq!((debits.attempts(), credits.attempts()), (3, 3));
    env.every_activity_fails_once(transfer, 100).await;
    assert_eq!((debits.attempts(), credits.attempts()), (6, 6));
}

#[test]
fn effects_that_are_not_safe_to_repeat_are_found() {
    let test = || {
        run("unsafe", seconds(60), async |env: TestEngine| {
            let balance = Arc::new(AtomicU64::new(0));
            let account = Arc::clone(&balance);
            env.mock(debit, move |cents| Ok(account.fetch_add(cents, Ordering::Relaxed)));
            env.activity(credit);
            env.every_activity_twice(transfer, 100).await;
        });
    };
    let panic = std::panic::catch_unwind(AssertUnwindSafe(test)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("transfer: every activity ran twice"), "{text}");
    assert!(text.contains("undisturbed it came to") && text.contains("ActivityStarted"), "{text}");
}

#[test]
fn an_outcome_that_depends_on_how_often_the_code_ran_is_found_with_its_point() {
    let test = || {
        run("counts", seconds(60), async |env: TestEngine| env.crash_at_every_await(counts_itself, ()).await);
    };
    let panic = std::panic::catch_unwind(AssertUnwindSafe(test)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("the worker died after workflow task 1 of 2 was computed"), "{text}");
}

#[activity]
async fn reserve(ctx: ActivityContext) -> Result<u32, ActivityError> {
    Ok(ctx.attempt())
}

/// Its result depends on how often an activity had to be tried.
#[workflow]
async fn tells_attempts(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    Ok(ctx.run(reserve, ()).await?)
}

/// Its deadline comes before the pause after a failure is over.
#[workflow]
async fn has_no_patience(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let reserved = ctx.run(reserve, ()).schedule_to_close(millis(100)).await;
    Ok(if reserved.is_ok() { "reserved" } else { "sold out" }.to_owned())
}

#[test]
fn a_workflow_that_does_not_survive_a_failure_is_found() {
    let found = |test: fn()| {
        let panic = std::panic::catch_unwind(test).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let text = found(|| {
        run("attempts", seconds(60), async |env: TestEngine| {
            env.activity(reserve).every_activity_fails_once(tells_attempts, ()).await;
        });
    });
    assert!(text.contains("tells_attempts: every activity failed once, and it did not go on as if nothing"), "{text}");
    assert!(text.contains("undisturbed it came to the result 1, disturbed to the result 2"), "{text}");
    // The history of the disturbed run tells why.
    assert!(text.contains("reserve, attempt 2; the one before: "), "{text}");

    let text = found(|| {
        run("patience", seconds(60), async |env: TestEngine| {
            env.activity(reserve).every_activity_fails_once(has_no_patience, ()).await;
        });
    });
    let outcomes = r#"undisturbed it came to the result "reserved", disturbed to the result "sold out""#;
    assert!(text.contains(outcomes), "{text}");
}

#[workflow]
async fn pays_at_most_once(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    Ok(ctx.run(debit, cents).max_attempts(1).await?)
}

#[engine_sdk::test]
async fn activities_that_run_at_most_once_are_left_alone(env: TestEngine) {
    let debits = env.spy(debit);
    env.every_activity_twice(pays_at_most_once, 100).await;
    env.every_activity_fails_once(pays_at_most_once, 100).await;
    assert_eq!(debits.attempts(), 4, "one in each run, two undisturbed and two disturbed");
}

#[engine_sdk::test]
async fn a_worker_that_is_killed_leaves_its_work_to_the_next(env: TestEngine) {
    let clock = env.clone();
    let debits = env.mock_async(debit, move |ctx, cents| {
        let clock = clock.clone();
        async move {
            if ctx.attempt() == 1 {
                clock.pause(&ctx, std::time::Duration::MAX).await?;
            }
            Ok(cents)
        }
    });
    env.activity(credit);
    let handle = env.start(transfer, 100).await.unwrap();
    env.settle().await;
    assert_eq!(debits.attempts(), 1);
    env.kill_worker().await;
    assert_eq!(handle.result().await.unwrap(), 99);
    assert_eq!(debits.attempts(), 2);
}
