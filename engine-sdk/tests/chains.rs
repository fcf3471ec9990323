//! What runs of one chain know of those before: retries, crons, schedules; on the whole engine in this process.

use engine_sdk::client::WorkflowFailure;
use engine_sdk::error::WorkflowError;
use engine_sdk::prelude::*;
use tokio::sync::mpsc;

/// Tells the test what ran.
struct Desk(mpsc::UnboundedSender<String>);

#[activity]
async fn deliver(ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    Ok(ctx.state::<Desk>().0.send(text)?)
}

/// Counts the runs that completed; the third run fails.
#[workflow]
async fn counted(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let before: Option<u64> = ctx.last_result()?;
    let failure = ctx.last_failure().map(|failure| failure.to_string());
    ctx.run(deliver, format!("{before:?} {failure:?}")).await?;
    if before == Some(2) && failure.is_none() {
        return Err(WorkflowError::non_retryable("out of paper").with_type("Stuck"));
    }
    Ok(before.unwrap_or_default() + 1)
}

#[workflow]
async fn tried(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    match ctx.last_failure() {
        None => Err(WorkflowError::retryable("busy").with_type("Busy")),
        Some(failure) => Ok(format!("{} after {failure}", ctx.info().attempt)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_starts_run_after_run_each_knowing_the_one_before() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let (desk, mut delivered) = mpsc::unbounded_channel();
    let worker = Worker::new(client.clone(), "reports").workflow(counted).activity(deliver).state(Desk(desk));
    let work = async {
        let start = client.workflow(counted).id("numbers").queue("reports").cron("* * * * * *");
        let first = start.start(()).await.unwrap();
        let failed = "Some(\"Stuck: out of paper\")";
        for expected in ["None None", "Some(1) None", "Some(2) None", &format!("Some(2) {failed}"), "Some(3) None"] {
            assert_eq!(delivered.recv().await.unwrap(), expected);
        }
        client.handle::<counted>("numbers").cancel("enough").await.unwrap();
        let last = first.result().await.unwrap();
        assert!(last >= 4, "the handle of the first run waits for the last: {last}");
        let runs = client.count("WorkflowId = 'numbers'").await.unwrap();
        assert!(runs >= 5, "{runs:?}");
        assert_eq!(client.count("WorkflowId = 'numbers' AND Status = 'Running'").await.unwrap(), 0);
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_knows_why_it_is_one() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = Worker::new(client.clone(), "reports").workflow(tried);
    let work = async {
        let policy = RetryPolicy { initial_interval: millis(1), ..RetryPolicy::default() };
        let result = client.workflow(tried).queue("reports").retry(policy).run(()).await.unwrap();
        assert_eq!(result, "2 after Busy: busy");
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_schedule_know_the_result_and_the_failure_of_those_before() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let (desk, mut delivered) = mpsc::unbounded_channel();
    let worker = Worker::new(client.clone(), "reports").workflow(counted).activity(deliver).state(Desk(desk));
    let work = async {
        let schedule = client.workflow(counted).queue("reports").schedule("numbers").cron("@yearly").paused();
        let schedule = schedule.create(()).await.unwrap();
        for _ in 0..5 {
            // Each waits until the schedule knows how the one before ended.
            schedule.trigger_with(OverlapPolicy::BufferAll).await.unwrap();
        }
        let failed = "Some(\"Stuck: out of paper\")";
        for expected in ["None None", "Some(1) None", "Some(2) None", &format!("Some(2) {failed}"), "Some(3) None"] {
            assert_eq!(delivered.recv().await.unwrap(), expected);
        }
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_start_whose_cron_cannot_be_is_refused_by_its_field() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let start = || client.workflow(counted).queue("reports");
    let refused = |failure: WorkflowFailure| failure.to_string();
    let wrong = start().cron("61 * * * *").run(()).await.unwrap_err();
    assert!(refused(wrong).contains("cron: expression.minute: has 61-61"));
    let wrong = start().cron("@daily").cron_time_zone("Mars/Base").run(()).await.unwrap_err();
    assert!(refused(wrong).contains("cron: time_zone: "));
    let wrong = start().cron("@daily").start_delay(seconds(1)).run(()).await.unwrap_err();
    assert!(refused(wrong).contains("start_delay: cannot go with a cron"));
    assert_eq!(client.count("").await.unwrap(), 0);
    let wrong = start().cron("@daily").schedule("s").cron("@daily").create(()).await.unwrap_err();
    assert!(wrong.to_string().contains("schedule.start.cron: must be left empty"), "{wrong}");
    engine.shutdown().await;
}
