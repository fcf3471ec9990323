//! Standalone activities and queues of one worker, on the whole engine in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use engine_core::event::CloseStatus;
use engine_sdk::client::{ActivityTarget, ClientError, IdConflictPolicy, IdReusePolicy, PendingState};
use engine_sdk::prelude::*;
use futures::TryStreamExt;
use tokio::sync::Notify;

/// Whether the printer works, and how often it was asked.
#[derive(Default)]
struct Printer {
    works: AtomicBool,
    asked: AtomicU32,
}

#[activity(start_to_close = "10s", retry(max_attempts = 2, initial_interval = "1ms"))]
async fn print(ctx: ActivityContext, page: u32, copies: u32) -> Result<String, ActivityError> {
    let printer = ctx.state::<Arc<Printer>>();
    printer.asked.fetch_add(1, Ordering::Relaxed);
    if !printer.works.load(Ordering::Relaxed) {
        return Err(ActivityError::retryable("out of paper"));
    }
    let info = ctx.info();
    assert_eq!((&info.workflow_id, &info.workflow_type), (&None, &None), "no workflow asked");
    Ok(format!("page {page} {copies} times by {}", info.activity_id))
}

/// Runs until it is asked to stop, and says when it has begun.
#[activity]
async fn linger(ctx: ActivityContext) -> Result<(), ActivityError> {
    ctx.heartbeat("begun");
    ctx.state::<Arc<Notify>>().notify_one();
    ctx.cancelled().await;
    Err(ctx.canceled())
}

fn worker(client: &Client, printer: &Arc<Printer>) -> (Worker, Arc<Notify>) {
    let begun = Arc::new(Notify::new());
    let worker = Worker::new(client.clone(), "printer")
        .activity(print)
        .activity(linger)
        .state(Arc::clone(printer))
        .state(Arc::clone(&begun));
    (worker, begun)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_runs_without_a_workflow() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let printer = Arc::new(Printer { works: true.into(), ..Printer::default() });
    let (worker, _) = worker(&client, &printer);
    let work = async {
        let printed = client.activity(print).id("letter").queue("printer").run((1, 2)).await.unwrap();
        assert_eq!(printed, "page 1 2 times by letter");
        let named = client.activity_named::<String>("print").id("form").queue("printer").start_to_close(seconds(5));
        assert_eq!(named.run(vec![3.into(), 4.into()]).await.unwrap(), "page 3 4 times by form");

        let again =
            client.activity(print).id("letter").queue("printer").id_reuse_policy(IdReusePolicy::RejectDuplicate);
        let taken = again.start((1, 2)).await.unwrap_err();
        assert!(matches!(taken, ClientError::AlreadyStarted { .. }), "{taken:?}");
        let handle = client.activity_handle::<print>("letter");
        assert_eq!(handle.result().await.unwrap(), printed, "a result is kept");
        let described = handle.describe().await.unwrap();
        assert_eq!(described.summary.status, Some(CloseStatus::Completed));
        assert_eq!((described.last_attempt, described.retry_policy.maximum_attempts), (1, 2));
        assert!(described.failure.is_none() && described.pending.is_none());
        let none = client.activity_handle::<print>("none").result().await.unwrap_err();
        assert!(matches!(none, StandaloneFailure::Client(ClientError::NotFound { .. })), "{none:?}");
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_with_their_reason_and_run_again() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let printer = Arc::new(Printer::default());
    let (worker, _) = worker(&client, &printer);
    let work = async {
        let pages = (1..=4).map(|page| (format!("page-{page}"), (page, 1)));
        let started = client.activity(print).queue("printer").start_many(pages).await;
        for handle in started {
            let failure = handle.unwrap().result().await.unwrap_err();
            assert_eq!(failure.to_string(), "the activity failed: ActivityError: out of paper");
        }
        assert_eq!(printer.asked.load(Ordering::Relaxed), 8, "two attempts each");
        let failed: Vec<_> = client.activities("Status = 'Failed' ORDER BY ActivityId").try_collect().await.unwrap();
        let ids: Vec<_> = failed.iter().map(|activity| activity.activity_id.to_string()).collect();
        assert_eq!(ids, ["page-1", "page-2", "page-3", "page-4"]);
        let handle = client.activity_handle::<print>("page-1");
        let described = handle.describe().await.unwrap();
        assert_eq!(described.last_attempt, 2);
        assert!(matches!(described.failure, Some(StandaloneFailure::Failed(_))), "{described:?}");

        printer.works.store(true, Ordering::Relaxed);
        let first = handle.run_again().await.unwrap();
        assert_eq!(first.result().await.unwrap(), "page 1 1 times by page-1");
        assert_eq!(first.describe().await.unwrap().continued_from, Some(described.summary.run_id));
        let mut steps = 0;
        let filter = "ActivityType = 'print' AND ActivityId != 'page-4'";
        let progress = client.run_activities_again_with(filter, 100, |_| steps += 1).await.unwrap();
        assert_eq!((progress.found, progress.run_again, progress.passed_over), (2, 2, 0));
        assert!(steps >= 1);
        for page in ["page-2", "page-3"] {
            client.activity_handle::<print>(page).result().await.unwrap();
        }
        assert_eq!(client.count_activities("Status = 'Failed'").await.unwrap(), 1);
        let groups = client.count_activities_by_group("GROUP BY Status").await.unwrap();
        let expected = [("Completed", 3), ("ContinuedAsNew", 3), ("Failed", 1)];
        assert_eq!(groups, expected.map(|(status, count)| (status.to_owned(), count)));
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_is_described_asked_to_stop_and_terminated() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let (worker, begun) = worker(&client, &Arc::default());
    let work = async {
        let start = |id: &str| client.activity(linger).id(id).queue("printer");
        let handle = start("a").summary("waits for Godot").start(()).await.unwrap();
        begun.notified().await;
        let described = handle.describe().await.unwrap();
        assert_eq!(described.text_summary, "waits for Godot");
        let pending = described.pending.unwrap();
        assert_eq!((pending.state, pending.attempt), (PendingState::Started, 1));
        let open = start("a").id_conflict_policy(IdConflictPolicy::UseExisting).start(()).await.unwrap();
        assert_eq!((open.run_id(), open.is_new()), (handle.run_id(), false));
        let early = handle.run_again().await.unwrap_err();
        assert!(early.to_string().contains("has not ended"), "{early}");
        handle.cancel("never mind").await.unwrap();
        assert!(matches!(handle.result().await, Err(StandaloneFailure::Canceled { .. })));
        handle.cancel("never mind").await.unwrap();

        let handle = start("b").start(()).await.unwrap();
        begun.notified().await;
        handle.terminate("stuck").await.unwrap();
        let ended = handle.result().await.unwrap_err();
        assert_eq!(ended.to_string(), "the activity was terminated: stuck");
        assert!(matches!(handle.terminate("stuck").await, Err(ClientError::Closed { .. })));

        // Nobody serves this queue.
        let late = client.activity(print).id("late").queue("nowhere").schedule_to_start(millis(1)).run((1, 1)).await;
        assert_eq!(late.unwrap_err().to_string(), "the activity timed out: schedule-to-start timeout");
        let elsewhere = client.activity(print).id("elsewhere").queue("nowhere").start((1, 1)).await.unwrap();
        client.complete_activity(&ActivityTarget::standalone("elsewhere"), "by hand").await.unwrap();
        assert_eq!(elsewhere.result().await.unwrap(), "by hand");
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn an_activity_has_search_attributes_and_a_memo() {
    const ROOM: SearchKey<str> = SearchKey::keyword("Room");
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    client.namespaces().update("default").search_attribute(ROOM).send().await.unwrap();
    let start = client.activity(print).id("a").queue("printer").memo("ticket", "A-7");
    let handle = start.search_attributes([ROOM.set("3.14")]).start((1, 1)).await.unwrap();
    let found = client.list_activities("Room = '3.14' AND Status = 'Running'").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(ROOM.get(&found[0].search_attributes), Some("3.14"));
    assert_eq!(handle.describe().await.unwrap().memo["ticket"].data.as_ref(), b"\"A-7\"");
    let unknown = client.list_activities("Floor = 3").await.unwrap_err();
    assert!(matches!(unknown, ClientError::InvalidArgument { .. }), "{unknown:?}");
    handle.open().pause("out of ink").await.unwrap();
    let described = handle.describe().await.unwrap();
    assert!(described.summary.is_paused);
    assert_eq!(described.pending.unwrap().paused.unwrap().reason, "out of ink");
    assert_eq!(client.list_activities("Paused = true").await.unwrap()[0].activity_id.as_str(), "a");
    handle.open().unpause().await.unwrap();
    assert!(!handle.describe().await.unwrap().summary.is_paused);
    handle.cancel("").await.unwrap();
    engine.shutdown().await;
}

/// Which of the hosts is this?
struct Host(&'static str);

#[activity]
async fn fetch(ctx: ActivityContext) -> Result<String, ActivityError> {
    let queue = ctx.own_queue().ok_or_else(|| ActivityError::non_retryable("the worker has no queue of its own"))?;
    assert_eq!(queue, ctx.state::<Host>().0);
    Ok(queue.to_owned())
}

#[activity]
async fn render(ctx: ActivityContext) -> Result<String, ActivityError> {
    assert_eq!(ctx.own_queue(), Some(ctx.info().task_queue.as_str()), "it came by the queue of its own");
    Ok(ctx.state::<Host>().0.to_owned())
}

/// Fetches on any host, and renders three times where the file is.
#[workflow]
async fn film(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let host = ctx.run(fetch, ()).await?;
    let mut hosts = vec![host.clone()];
    for _ in 0..3 {
        hosts.push(ctx.run(render, ()).task_queue(&host).schedule_to_start(minutes(1)).await?);
    }
    Ok(hosts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_of_activities_stays_on_one_host() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let on = |host| {
        let worker = Worker::new(client.clone(), "films").own_queue(host).state(Host(host));
        worker.workflow(film).activity(fetch).activity(render)
    };
    let other = on("host-b");
    let stop = other.shutdown_handle();
    let other = tokio::spawn(other.run());
    let work = async {
        for _ in 0..8 {
            let hosts = client.workflow(film).queue("films").run(()).await.unwrap();
            assert!(hosts.iter().all(|host| *host == hosts[0]), "{hosts:?}");
        }
    };
    on("host-a").run_until(work).await.unwrap();
    stop.shutdown();
    other.await.unwrap().unwrap();
    engine.shutdown().await;
}
