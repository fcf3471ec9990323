//! Workers and the server, message by message, on the memory store.

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_proto::token::WorkflowTaskToken;
use engine_proto::v1;
use engine_server::NodeOptions;
use support::*;

#[tokio::test]
async fn a_one_activity_workflow_runs_to_its_result_with_the_golden_history() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;

    let task = worker.workflow_task().await;
    assert_eq!((task.first_event_id, task.attempt), (1, 1));
    let names: Vec<String> = task.history.as_ref().unwrap().events.iter().map(|e| name(e)).collect();
    assert_eq!(names, ["WorkflowStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]);
    assert_eq!(worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await.refused, "");

    let activity = worker.activity_task().await;
    assert_eq!((activity.activity_type.as_str(), activity.attempt), ("charge", 1));
    assert_eq!(worker.complete_activity(&activity).await.refused, "");

    worker.grant(1, 0);
    let task = worker.workflow_task().await;
    assert_eq!(task.first_event_id, 4, "the worker has the run cached up to the start of its last task");
    assert_eq!(worker.complete_workflow_task(&task, vec![complete_workflow()]).await.refused, "");

    let outcome = result(&server, "w").await;
    assert_eq!(outcome.status(), v1::WorkflowStatus::Completed);
    assert_eq!(
        history(&server, "w").await,
        [
            "WorkflowStarted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivityCompleted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "WorkflowCompleted",
        ]
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_that_waits_is_answered_with_the_outcome_or_without_when_time_is_up() {
    let server = start(store().await, options()).await;
    let waits = |id, nanos| {
        let wait = Some(prost_types::Duration { seconds: 0, nanos });
        v1::StartWorkflowRequest { request_id: "once".into(), wait, ..start_request(id) }
    };
    let early = client(&server).start_workflow(waits("w", 1)).await.unwrap().into_inner();
    assert!(early.started && early.outcome.is_none(), "no worker: the start is durable, the outcome is not known");

    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let again = tokio::spawn({
        let mut client = client(&server);
        let request =
            v1::StartWorkflowRequest { wait: Some(prost_types::Duration { seconds: 60, nanos: 0 }), ..waits("w", 0) };
        async move { client.start_workflow(request).await }
    });
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    // Before or after the close: the repeat is about the same run, and has its outcome.
    let again = again.await.unwrap().unwrap().into_inner();
    assert_eq!((again.run_id, again.started), (early.run_id, true));
    assert_eq!(again.outcome.unwrap().status(), v1::WorkflowStatus::Completed);

    let request = v1::StartWorkflowRequest {
        wait: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..start_request("new")
    };
    let (started, ()) =
        tokio::join!(async { client(&server).start_workflow(request).await.unwrap().into_inner() }, async {
            worker.grant(1, 0);
            let task = worker.workflow_task().await;
            worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
        });
    assert_eq!(started.outcome.unwrap().run_id, started.run_id);
    server.shutdown().await;
}

#[tokio::test]
async fn a_broken_stream_gives_its_tasks_to_another_worker() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut first = Worker::connect(&server, hello(1), 4).await;
    let task = first.workflow_task().await;
    drop(first);
    let mut second = Worker::connect(&server, hello(2), 4).await;
    let again = second.workflow_task().await;
    assert_eq!(again.attempt, task.attempt, "the attempt never happened");
    second.complete_workflow_task(&again, vec![schedule_activity("1", 3)]).await;
    let activity = second.activity_task().await;
    assert_eq!(activity.attempt, 1);
    drop(second);

    let mut third = Worker::connect(&server, hello(3), 4).await;
    let activity = third.activity_task().await;
    assert_eq!(activity.attempt, 2);
    let failure = activity.last_failure.unwrap();
    assert!(matches!(failure.kind, Some(v1::failure::Kind::WorkerLost(_))), "{failure:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_within_the_grace_keeps_its_activity() {
    let grace = NodeOptions { activity_grace: Duration::from_secs(3600), ..options() };
    let server = start(store().await, grace).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 1)]).await;
    let activity = worker.activity_task().await;
    drop(worker);

    let hello = v1::Hello { activity_tasks_in_hand: vec![activity.token.clone()], ..hello(1) };
    let mut worker = Worker::connect(&server, hello, 4).await;
    assert!(worker.welcome.refused_tasks.is_empty());
    assert_eq!(worker.complete_activity(&activity).await.refused, "");
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    assert_eq!(result(&server, "w").await.status(), v1::WorkflowStatus::Completed);
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_restarts_lets_workers_keep_what_they_have() {
    let store = store().await;
    let grace = NodeOptions { recovery_grace: Duration::from_secs(3600), ..options() };
    let server = start(Arc::clone(&store), grace.clone()).await;
    client(&server).start_workflow(start_request("a")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 1)]).await;
    let activity = worker.activity_task().await;
    client(&server).start_workflow(start_request("b")).await.unwrap();
    let workflow_task = worker.workflow_task().await;
    assert_eq!(workflow_task.workflow_id, "b");

    // Dropped without a shutdown, and the worker's stream with it.
    drop(worker);
    let second = start(store, grace).await;
    drop(server);
    let hello = v1::Hello {
        activity_tasks_in_hand: vec![activity.token.clone()],
        workflow_tasks_in_hand: vec![workflow_task.token.clone()],
        ..hello(1)
    };
    let mut worker = Worker::connect(&second, hello, 4).await;
    assert_eq!(worker.welcome.refused_tasks, Vec::<Vec<u8>>::new());
    signal(&second, "b", "approve").await.unwrap();
    assert_eq!(worker.complete_activity(&activity).await.refused, "");
    assert_eq!(worker.complete_workflow_task(&workflow_task, vec![start_timer("t", 3_600_000)]).await.refused, "");
    assert_eq!(
        history(&second, "b").await,
        [
            "WorkflowStarted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "TimerStarted",
            "WorkflowSignaled",
        ]
    );
    second.shutdown().await;
}

#[tokio::test]
async fn a_worker_whose_task_saw_what_was_lost_replays_the_run() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    drop(worker);

    // As if its task had been handed out for news at another time, of which a crash left nothing.
    let mut lost = WorkflowTaskToken::decode(task.token.as_slice()).unwrap();
    lost.task.history_at = lost.task.history_at + Duration::from_micros(1);
    let lost = lost.encode().to_vec();
    let cached = v1::CachedRun { run_id: task.run_id.clone(), last_event_id: 3 };
    let hello = v1::Hello { workflow_tasks_in_hand: vec![lost.clone()], cached_runs: vec![cached], ..hello(1) };
    let mut worker = Worker::connect(&server, hello, 4).await;
    assert_eq!(worker.welcome.refused_tasks, [lost]);
    let again = worker.workflow_task().await;
    assert_eq!(again.first_event_id, 1);
    assert_eq!(again.history.unwrap().events.len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stale_or_forged_token_is_refused_with_a_sentence() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await;
    let activity = worker.activity_task().await;
    worker.complete_activity(&activity).await;
    let stale = worker.complete_activity(&activity).await;
    assert_eq!(stale.code, tonic::Code::NotFound as i32, "{stale:?}");
    assert!(stale.refused.contains("stale"), "{stale:?}");
    let forged = v1::ActivityTask { token: b"not a token".to_vec(), ..activity };
    let forged = worker.complete_activity(&forged).await;
    assert_eq!(forged.code, tonic::Code::InvalidArgument as i32);
    assert!(forged.refused.contains("not a token of this server"), "{forged:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_workflow_asks_an_activity_to_stop_and_its_worker_hears_of_it() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("1", 0)]).await;
    let activity = worker.activity_task().await;
    signal(&server, "w", "stop").await.unwrap();
    let task = worker.workflow_task().await;
    let cancel = v1::RequestCancelActivityCommand { activity_id: "1".into() };
    let cancel = v1::Command { command: Some(v1::command::Command::RequestCancelActivity(cancel)) };
    worker.complete_workflow_task(&task, vec![cancel]).await;
    let stop = worker.stop().await;
    assert_eq!((stop.token.clone(), stop.reason()), (activity.token, v1::ActivityStopReason::CancelRequested));
    server.shutdown().await;
}

#[tokio::test]
async fn timers_fire_and_a_parked_run_wakes_for_its_signal() {
    let server = start(store().await, NodeOptions { cache_bytes: 0, ..options() }).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![start_timer("short", 20)]).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![start_timer("long", 3_600_000)]).await;
    signal(&server, "w", "wake").await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    let names = history(&server, "w").await;
    assert_eq!(names.last().map(String::as_str), Some("WorkflowCompleted"));
    assert!(names.contains(&"TimerFired".to_owned()));
    server.shutdown().await;
}

#[tokio::test]
async fn five_activities_and_five_workers_meet_one_to_one() {
    let server = start(store().await, options()).await;
    let mut workers = Vec::new();
    for n in 1..=5 {
        workers.push(Worker::connect(&server, hello(n), 10).await);
    }
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut tasks = futures::stream::FuturesUnordered::new();
    for worker in &mut workers {
        tasks.push(async move { (worker.workflow_task().await, worker) });
    }
    let (task, worker) = futures::StreamExt::next(&mut tasks).await.unwrap();
    let commands = (1..=5).map(|n| schedule_activity(&n.to_string(), 0)).collect();
    worker.complete_workflow_task(&task, commands).await;
    drop(tasks);
    for worker in &mut workers {
        worker.activity_task().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_draining_worker_is_told_when_no_task_is_on_its_way_and_gets_none_after() {
    let server = start(store().await, options()).await;
    let mut first = Worker::connect(&server, hello(1), 4).await;
    first.send(v1::WorkerMessage { drain: true, ..Default::default() });
    first.drained().await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut second = Worker::connect(&server, hello(2), 4).await;
    let task = second.workflow_task().await;
    assert_eq!(task.workflow_id, "w");
    second.complete_workflow_task(&task, vec![complete_workflow()]).await;
    server.shutdown().await;
}
