//! What operators and other clients do, on the engine of a test: pauses, resets, batches, standalone activities, search attributes,
//! namespaces, and queues of one host. Whatever it is, time skips to what is due next and to nothing behind it.

use engine_sdk::client::{
    BatchDescription, BatchHandle, BatchReset, BatchState, PendingState, ResetFrom, ResetOptions,
};
use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;
use futures::TryStreamExt as _;

use crate::told;

#[signal]
struct Go {
    number: u32,
}

#[activity(start_to_close = "10s", retry(initial_interval = "1m", backoff = 1.0, jitter = 0.0, max_attempts = 5))]
async fn charge(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[workflow]
async fn sleeps(ctx: WorkflowContext, hours_long: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(hours(hours_long)).await;
    Ok(hours_long)
}

#[workflow]
async fn pays(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    Ok(ctx.run(charge, cents).await?)
}

#[workflow]
async fn waits(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    Ok(ctx.signals::<Go>().recv().await.number)
}

// ---- pauses ------------------------------------------------------------------------------------------------------------

#[engine_sdk::test]
async fn a_paused_run_sleeps_on_where_it_was_when_it_is_resumed(env: TestEngine) {
    let began = env.now();
    let sleeper = env.start(sleeps, 10).await.unwrap();
    env.advance(hours(4)).await;
    sleeper.pause("the desk is closed").await.unwrap();
    // Far past its timer, which stands still.
    env.advance(days(30)).await;
    assert!(sleeper.describe().await.unwrap().paused.is_some());
    sleeper.resume("it is open").await.unwrap();
    assert_eq!(sleeper.result().await.unwrap(), 10);
    assert_eq!(env.now().since(began), days(30) + hours(10));
}

#[engine_sdk::test]
async fn whoever_waits_for_a_paused_run_lets_the_time_of_others_pass(env: TestEngine) {
    let (paused, other) = (env.start(sleeps, 1).await.unwrap(), env.start(sleeps, 48).await.unwrap());
    paused.pause("not yet").await.unwrap();
    let began = env.now();
    let resumed = async {
        other.result().await.unwrap();
        paused.resume("at last").await.unwrap();
    };
    let (result, ()) = futures::join!(paused.result(), resumed);
    assert_eq!(result.unwrap(), 1);
    assert_eq!(env.now().since(began), hours(49));
}

#[engine_sdk::test]
async fn a_paused_activity_is_not_tried_again_before_it_is_resumed(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    charged.fail(1..=1, || ActivityError::retryable("busy"));
    let paying = env.start(pays, 5).await.unwrap();
    env.settle().await;
    let pending = paying.describe().await.unwrap().pending_activities.remove(0);
    assert_eq!(pending.state, PendingState::BackingOff);
    let activity = paying.activity(pending.activity_id.as_str());
    activity.pause("the bank is closed").await.unwrap();
    env.advance(days(1)).await;
    assert_eq!(charged.attempts(), 1);
    activity.unpause().await.unwrap();
    assert_eq!(paying.result().await.unwrap(), 5);
    assert_eq!(charged.attempts(), 2);
}

// ---- resets and repairs ------------------------------------------------------------------------------------------------

#[workflow]
async fn pays_later(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(hours(1)).await;
    let paid = ctx.run(charge, cents).await?;
    ctx.sleep(hours(1)).await;
    Ok(paid)
}

#[engine_sdk::test]
async fn a_reset_run_goes_on_and_its_time_passes(env: TestEngine) {
    env.mock(charge, |_| Err(ActivityError::non_retryable("the card expired")));
    let began = env.now();
    let failed = env.start(pays_later, 5).await.unwrap();
    let error = told(&failed.result().await.unwrap_err());
    assert!(error.contains("the card expired"), "{error}");
    let charged = env.mock(charge, Ok);
    let reset = failed.reset(ResetFrom::failed_activity(), ResetOptions::because("a new card")).await.unwrap();
    assert_eq!(reset.result().await.unwrap(), 5);
    // The first hour was slept already.
    assert_eq!(env.now().since(began), hours(2));
    assert_eq!(charged.calls(), [5, 5], "each of the two runs asked once");
}

#[engine_sdk::test]
async fn a_run_that_is_reset_to_its_beginning_sleeps_again(env: TestEngine) {
    env.mock(charge, Ok);
    let began = env.now();
    let first = env.start(pays_later, 5).await.unwrap();
    assert_eq!(first.result().await.unwrap(), 5);
    let again = first.reset(ResetFrom::FirstWorkflowTask, ResetOptions::because("once more")).await.unwrap();
    assert_eq!(again.result().await.unwrap(), 5);
    assert_eq!(env.now().since(began), hours(4));
}

#[engine_sdk::test]
async fn a_failed_activity_is_repaired_with_a_result(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    charged.fail(1..=1, || ActivityError::non_retryable("the answer was lost"));
    let failed = env.start(pays, 5).await.unwrap();
    failed.result().await.unwrap_err();
    let from = ResetFrom::failed_activity_with(&7_u64).unwrap();
    let repaired = failed.reset(from, ResetOptions::because("the desk saw the receipt")).await.unwrap();
    assert_eq!(repaired.result().await.unwrap(), 7);
    assert_eq!(charged.attempts(), 1);
}

#[engine_sdk::test]
async fn a_closed_run_is_deleted(env: TestEngine) {
    let sleeper = env.start(sleeps, 1).await.unwrap();
    sleeper.result().await.unwrap();
    sleeper.delete().await.unwrap();
    assert_eq!(env.client().count("").await.unwrap(), 0);
}

// ---- standalone activities ---------------------------------------------------------------------------------------------

#[engine_sdk::test]
async fn a_standalone_activity_is_retried_by_the_engines_time(env: TestEngine) {
    let charged = env.mock(charge, Ok);
    charged.fail(1..=2, || ActivityError::retryable("busy"));
    let began = env.now();
    let paid = env.client().activity(charge).id("charge-1").run(5).await.unwrap();
    assert_eq!(paid, 5);
    assert_eq!(env.now().since(began), minutes(2));
    assert_eq!(charged.attempts(), 3);
}

#[engine_sdk::test]
async fn a_standalone_activity_begins_after_its_delay_and_times_out(env: TestEngine) {
    env.mock(charge, Ok).delay(std::time::Duration::MAX);
    let began = env.now();
    let start = env.client().activity(charge).id("charge-1").start_delay(days(2)).max_attempts(1);
    let error = told(&start.run(5).await.unwrap_err());
    assert!(error.contains("start-to-close"), "{error}");
    assert_eq!(env.now().since(began), days(2) + seconds(10));
}

#[engine_sdk::test]
async fn dead_letters_are_run_again(env: TestEngine) {
    env.mock(charge, |_| Err(ActivityError::non_retryable("the bank is closed")));
    let client = env.client();
    let started = client.activity(charge).start_many((1..=3_u64).map(|cents| (format!("charge-{cents}"), cents))).await;
    for activity in started {
        activity.unwrap().result().await.unwrap_err();
    }
    assert_eq!(client.count_activities("Status = 'Failed'").await.unwrap(), 3);
    let charged = env.mock(charge, Ok);
    assert_eq!(client.run_activities_again("ActivityType = 'charge'").await.unwrap().run_again, 3);
    for cents in 1..=3 {
        let handle = client.activity_handle::<charge>(format!("charge-{cents}"));
        assert_eq!(handle.result().await.unwrap(), cents);
    }
    assert_eq!(charged.attempts(), 6);
}

#[engine_sdk::test]
async fn a_standalone_activity_that_nobody_has_is_a_problem_of_the_test(env: TestEngine) {
    let error = told(&env.client().activity(charge).id("charge-1").run(5).await.unwrap_err());
    assert!(error.contains("has no code for it"), "{error}");
    assert!(env.take_problems()[0].contains("charge"));
}

// ---- batches -----------------------------------------------------------------------------------------------------------

async fn ended(env: &TestEngine, batch: &BatchHandle) -> BatchDescription {
    env.settle().await;
    let description = batch.describe().await.unwrap();
    assert_ne!(description.state, BatchState::Running, "{description:?}");
    description
}

#[engine_sdk::test]
async fn a_batch_reaches_all_runs_before_time_passes(env: TestEngine) {
    let mut runs = Vec::new();
    for _ in 0..25 {
        runs.push(env.start(waits, ()).await.unwrap());
    }
    let began = env.now();
    let client = env.client();
    let batch = client.batch("WorkflowType = 'waits'").reason("it is time").rate(1000).signal(Go { number: 7 });
    let description = ended(&env, &batch.await.unwrap()).await;
    assert_eq!((description.state, description.done, description.failed), (BatchState::Completed, 25, 0));
    for run in &runs {
        assert_eq!(run.result().await.unwrap(), 7);
    }
    assert_eq!(env.now(), began);
}

#[engine_sdk::test]
async fn a_batch_pauses_and_resumes_runs_whose_time_stands_meanwhile(env: TestEngine) {
    let sleepers = [env.start(sleeps, 1).await.unwrap(), env.start(sleeps, 2).await.unwrap()];
    let began = env.now();
    let client = env.client();
    ended(&env, &client.batch("WorkflowType = 'sleeps'").pause().await.unwrap()).await;
    env.advance(days(1)).await;
    assert_eq!(client.count("Paused = true").await.unwrap(), 2);
    ended(&env, &client.batch("WorkflowType = 'sleeps'").resume().await.unwrap()).await;
    for sleeper in &sleepers {
        sleeper.result().await.unwrap();
    }
    assert_eq!(env.now().since(began), days(1) + hours(2));
}

#[engine_sdk::test]
async fn a_batch_repairs_failed_runs_which_go_on_in_their_time(env: TestEngine) {
    env.mock(charge, |_| Err(ActivityError::non_retryable("the bank is closed")));
    for cents in [5, 7] {
        env.start(pays_later, cents).await.unwrap().result().await.unwrap_err();
    }
    env.mock(charge, Ok);
    let began = env.now();
    let client = env.client();
    let batch = client.batch("WorkflowType = 'pays_later' AND Status = 'Failed'").reset(BatchReset::failed_activity());
    assert_eq!(ended(&env, &batch.await.unwrap()).await.done, 2);
    assert_eq!(client.count("Status = 'Running'").await.unwrap(), 2);
    env.advance(hours(1)).await;
    assert_eq!(client.count("Status = 'Completed'").await.unwrap(), 2);
    assert_eq!(env.now().since(began), hours(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_and_clients_side_by_side_lose_no_time() {
    let env = TestEngine::new().await;
    env.mock(charge, Ok).delay(seconds(5));
    let client = env.client();
    let sleepers = join_all((1..=20).map(|number| env.start(sleeps, number))).await;
    let sleepers: Vec<_> = sleepers.into_iter().map(Result::unwrap).collect();
    join_all(sleepers.iter().map(|sleeper| sleeper.pause("all at once"))).await.into_iter().for_each(Result::unwrap);
    let began = env.now();
    let paid = join_all((0..20).map(|number| client.activity(charge).id(format!("charge-{number}")).run(number))).await;
    assert!(paid.iter().all(Result::is_ok), "{paid:?}");
    assert!(env.now().since(began) >= seconds(5), "an attempt takes so long, whichever began first");
    ended(&env, &client.batch("Paused = true").rate(1000).resume().await.unwrap()).await;
    let resumed = env.now();
    let results = join_all(sleepers.iter().map(|sleeper| sleeper.result())).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(env.now().since(resumed), hours(20));
    env.check_replay().await.unwrap();
    assert_eq!(env.take_problems(), [""; 0]);
}

// ---- search attributes -------------------------------------------------------------------------------------------------

const CENTS: SearchKey<i64> = SearchKey::int("Cents");
const PLACES: SearchKey<[String]> = SearchKey::keyword_list("Places");

#[workflow]
async fn travels(ctx: WorkflowContext, cents: i64) -> Result<(), WorkflowError> {
    ctx.upsert_search_attributes([CENTS.set(cents), PLACES.set(["home"])]);
    ctx.sleep(days(1)).await;
    ctx.upsert_search_attributes([PLACES.set(["home", "abroad"])]);
    ctx.sleep(days(1)).await;
    ctx.upsert_search_attributes([PLACES.remove()]);
    Ok(())
}

#[engine_sdk::test]
async fn search_attributes_and_lists_of_them_are_asked_for_as_time_passes(env: TestEngine) {
    let client = env.client();
    client.namespaces().update("default").search_attribute(CENTS).search_attribute(PLACES).send().await.unwrap();
    let (cheap, dear) = (env.start(travels, 100).await.unwrap(), env.start(travels, 900).await.unwrap());
    env.settle().await;
    assert_eq!(client.count("Cents > 500").await.unwrap(), 1);
    assert_eq!(client.count("Places = 'home'").await.unwrap(), 2);
    assert_eq!(client.count("Places = 'abroad'").await.unwrap(), 0);
    env.advance(days(1)).await;
    assert_eq!(client.count("Places = 'abroad' AND Cents < 500").await.unwrap(), 1);
    cheap.result().await.unwrap();
    dear.result().await.unwrap();
    assert_eq!(client.count("Places IS NULL").await.unwrap(), 2);
    let dearest: Vec<_> = client.list("Cents > 0 ORDER BY Cents DESC").try_collect().await.unwrap();
    assert_eq!(CENTS.get(&dearest[0].search_attributes), Some(900));
}

// ---- namespaces --------------------------------------------------------------------------------------------------------

#[engine_sdk::test]
async fn a_run_of_another_namespace_obeys_the_same_clock(env: TestEngine) {
    env.workflow(sleeps).activity(charge).workflow(pays);
    let shop = env.namespace("shop").await.unwrap();
    let began = env.now();
    assert_eq!(shop.workflow(sleeps).id("a").run(5).await.unwrap(), 5);
    assert_eq!(env.now().since(began), hours(5));
    assert_eq!(shop.workflow(pays).run(7).await.unwrap(), 7);
    assert_eq!((shop.count("").await.unwrap(), env.client().count("").await.unwrap()), (2, 0));
}

#[engine_sdk::test]
async fn a_namespace_with_runs_is_deleted_with_them(env: TestEngine) {
    env.workflow(waits);
    let shop = env.namespace("shop").await.unwrap();
    let waiting = shop.workflow(waits).id("a").start(()).await.unwrap();
    env.settle().await;
    env.client().namespaces().terminate_and_delete("shop").await.unwrap();
    assert!(waiting.result().await.is_err());
}

// ---- queues of one host ------------------------------------------------------------------------------------------------

#[activity(start_to_close = "10m", retry(max_attempts = 1))]
async fn fetch(ctx: ActivityContext, file: String) -> Result<String, ActivityError> {
    let _ = file;
    Ok(ctx.own_queue().ok_or_else(|| ActivityError::non_retryable("this worker has no queue of its own"))?.to_owned())
}

#[activity(start_to_close = "10m", retry(max_attempts = 1))]
async fn work_on(ctx: ActivityContext, file: String) -> Result<String, ActivityError> {
    Ok(format!("{file} at {}", ctx.info().task_queue))
}

#[workflow]
async fn stays_on_its_host(ctx: WorkflowContext, file: String) -> Result<String, WorkflowError> {
    loop {
        let host = ctx.run(fetch, file.clone()).await?;
        ctx.sleep(hours(1)).await;
        match ctx.run(work_on, file.clone()).task_queue(host).schedule_to_start(minutes(5)).await {
            Err(failure) if failure.is_timeout() => {}
            done => return Ok(done?),
        }
    }
}

#[engine_sdk::test]
async fn a_series_of_activities_stays_on_one_host(env: TestEngine) {
    env.activity(fetch).activity(work_on).own_queue("host-a");
    assert_eq!(env.run(stays_on_its_host, "film".to_owned()).await.unwrap(), "film at host-a");
}

#[engine_sdk::test]
async fn a_series_goes_on_elsewhere_when_its_host_is_gone(env: TestEngine) {
    env.activity(fetch).activity(work_on).own_queue("host-a");
    let began = env.now();
    let film = env.start(stays_on_its_host, "film".to_owned()).await.unwrap();
    env.advance(minutes(30)).await;
    env.own_queue("host-b");
    assert_eq!(film.result().await.unwrap(), "film at host-b");
    // The pause, the wait for the host that is gone, and the pause again.
    assert_eq!(env.now().since(began), hours(2) + minutes(5));
}
