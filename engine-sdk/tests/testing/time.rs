//! Time stands while anything is under way, and skips when somebody waits.

use std::time::Instant;

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;
use engine_sdk::time::Timestamp;

use crate::told;

#[signal]
struct Approval {
    by: String,
}

#[workflow]
async fn approval(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let mut approvals = ctx.signals::<Approval>();
    let by = select! {
        given = approvals.recv() => given.by,
        _ = ctx.sleep(days(14)) => "nobody".to_owned(),
    };
    Ok(by)
}

#[workflow]
async fn sleeper(ctx: WorkflowContext, nights: u64) -> Result<u64, WorkflowError> {
    for _ in 0..nights {
        ctx.sleep(days(1)).await;
    }
    Ok(nights)
}

#[activity(
    start_to_close = "10s",
    heartbeat = "30s",
    retry(max_attempts = 4, initial_interval = "1m", backoff = 2.0, jitter = 0.0, max_interval = "1h")
)]
async fn charge(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[workflow]
async fn pay(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    Ok(ctx.run(charge, cents).await?)
}

#[engine_sdk::test]
async fn a_month_takes_no_time(env: TestEngine) {
    let (began, wall) = (env.now(), Instant::now());
    assert_eq!(env.run(sleeper, 30).await.unwrap(), 30);
    assert_eq!(env.now().since(began), days(30));
    assert!(wall.elapsed() < seconds(10), "{:?}", wall.elapsed());
}

#[engine_sdk::test]
async fn time_stands_until_somebody_waits(env: TestEngine) {
    let began = env.now();
    let handle = env.start(approval, ()).await.unwrap();
    env.settle().await;
    assert_eq!(env.now(), began);
    handle.signal(Approval { by: "desk-3".into() }).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "desk-3");
    assert_eq!(env.now(), began);
}

#[engine_sdk::test]
async fn advance_lets_what_is_due_happen_and_nothing_else(env: TestEngine) {
    let began = env.now();
    let handle = env.start(approval, ()).await.unwrap();
    env.advance(days(13)).await;
    assert_eq!(env.now().since(began), days(13));
    assert!(handle.describe().await.unwrap().summary.status.is_none());
    env.advance(days(1)).await;
    assert!(handle.describe().await.unwrap().summary.status.is_some());
    assert_eq!(handle.result().await.unwrap(), "nobody");
    assert_eq!(env.now().since(began), days(14));
}

#[engine_sdk::test]
async fn retries_wait_for_the_engines_time(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    charged.fail(1..=3, || ActivityError::retryable("busy"));
    let began = env.now();
    assert_eq!(env.run(pay, 5).await.unwrap(), 5);
    // One minute, two, four.
    assert_eq!(env.now().since(began), minutes(7));
    assert_eq!(charged.attempts(), 4);
}

#[engine_sdk::test]
async fn an_attempt_times_out_by_the_engines_time(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    charged.delay(hours(1));
    let began = env.now();
    let error = told(&env.run(pay, 5).await.unwrap_err());
    assert!(error.contains("start-to-close"), "{error}");
    // Four attempts of ten seconds, and the pauses between them.
    assert_eq!(env.now().since(began), seconds(40) + minutes(7));
    assert_eq!(charged.attempts(), 4);
}

#[activity(start_to_close = "1h", heartbeat = "30s", retry(max_attempts = 1))]
async fn import(_ctx: ActivityContext) -> Result<u32, ActivityError> {
    Ok(0)
}

#[workflow]
async fn importer(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    Ok(ctx.run(import, ()).await?)
}

#[engine_sdk::test]
async fn heartbeats_keep_an_attempt_alive_and_their_end_ends_it(env: TestEngine) {
    let clock = env.clone();
    env.mock_async(import, move |ctx, ()| {
        let clock = clock.clone();
        async move {
            for row in 0..100 {
                ctx.heartbeat(&row);
                clock.pause(&ctx, seconds(20)).await?;
            }
            Ok(100)
        }
    });
    let began = env.now();
    assert_eq!(env.run(importer, ()).await.unwrap(), 100);
    assert_eq!(env.now().since(began), seconds(2000));

    let clock = env.clone();
    env.mock_async(import, move |ctx, ()| {
        let clock = clock.clone();
        async move {
            ctx.heartbeat(&1);
            clock.pause(&ctx, std::time::Duration::MAX).await?;
            Ok(0)
        }
    });
    let began = env.now();
    let error = told(&env.run(importer, ()).await.unwrap_err());
    assert!(error.contains("heartbeat"), "{error}");
    assert_eq!(env.now().since(began), seconds(30));
}

#[workflow]
async fn nightly(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.run(charge, 1).await?;
    Ok(())
}

#[engine_sdk::test]
async fn schedules_go_by_the_same_clock(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    env.workflow(nightly);
    let client = env.client();
    let schedule = client.workflow(nightly).schedule("nightly").cron("30 2 * * *").create(()).await.unwrap();
    env.advance(days(7)).await;
    assert_eq!(charged.attempts(), 7);
    schedule.delete().await.unwrap();
    env.advance(days(7)).await;
    assert_eq!(charged.attempts(), 7);
}

/// Run by a cron: how many nights there were.
#[workflow]
async fn counts_nights(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let before: Option<u64> = ctx.last_result()?;
    ctx.run(charge, 1).await?;
    Ok(before.unwrap_or(0) + 1)
}

#[engine_sdk::test]
async fn a_cron_goes_by_the_same_clock(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    env.workflow(counts_nights);
    let client = env.client();
    client.workflow(counts_nights).id("nights").cron("30 2 * * *").start(()).await.unwrap();
    env.advance(days(30)).await;
    assert_eq!(charged.attempts(), 30);
    client.handle::<counts_nights>("nights").terminate("winter").await.unwrap();
    env.advance(days(30)).await;
    assert_eq!(charged.attempts(), 30);
}

#[activity(
    schedule_to_start = "2h",
    schedule_to_close = "3h",
    retry(max_attempts = 0, initial_interval = "1h", backoff = 1.0, jitter = 0.0),
    task_queue = "elsewhere"
)]
async fn elsewhere(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow]
async fn asks_elsewhere(ctx: WorkflowContext, queue: String) -> Result<(), WorkflowError> {
    ctx.run(elsewhere, ()).task_queue(queue).await?;
    Ok(())
}

#[engine_sdk::test]
async fn what_no_worker_takes_and_what_is_tried_too_long_times_out_by_the_engines_time(env: TestEngine) {
    let tried = env.mock(elsewhere, |()| Err(ActivityError::retryable("closed")));
    let began = env.now();
    let error = told(&env.run(asks_elsewhere, "nobody".to_owned()).await.unwrap_err());
    assert!(error.contains("schedule-to-start"), "{error}");
    assert_eq!((env.now().since(began), tried.attempts()), (hours(2), 0));

    let began = env.now();
    let error = told(&env.run(asks_elsewhere, "elsewhere".to_owned()).await.unwrap_err());
    assert!(error.contains("closed"), "{error}");
    // At once, and after one hour and two: a fourth attempt would begin when the time is over.
    assert!(env.now().since(began) <= hours(3), "{:?}", env.now().since(began));
    assert_eq!(tried.attempts(), 3);
}

#[engine_sdk::test]
async fn what_is_canceled_while_it_takes_its_time_stops_at_once(env: TestEngine) {
    #[workflow]
    async fn impatient(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
        let charged = ctx.run(charge, 1);
        Ok(ctx.timeout(seconds(5), charged).await.is_err())
    }
    env.mock(charge, Ok).delay(hours(10));
    let began = env.now();
    assert!(env.run(impatient, ()).await.unwrap());
    env.settle().await;
    assert_eq!(env.now().since(began), seconds(5));
}

#[engine_sdk::test]
async fn the_clock_begins_where_a_test_wants(env: TestEngine) {
    let at = Timestamp::from_micros(1_000_000_000_000_000);
    let engine = TestEngine::builder().start_at(at).build().await.unwrap();
    assert_eq!(engine.run(sleeper, 2).await.unwrap(), 2);
    assert_eq!(engine.now(), at + days(2));
    // Another engine's time is its own.
    assert_ne!(env.now(), engine.now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_works_on_a_runtime_of_many_threads() {
    let engine = TestEngine::new().await;
    let began = engine.now();
    let runs = (0..50).map(|_| engine.run(sleeper, 10));
    let results = join_all(runs).await;
    assert!(results.iter().all(|result| matches!(result, Ok(10))), "{results:?}");
    // All began at the same instant: whoever was ready waited for those that were not.
    assert!(engine.now().since(began) >= days(10));
}
