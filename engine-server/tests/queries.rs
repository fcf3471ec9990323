//! Queries: who is asked, when, and what the caller is told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_proto::v1::query_answer::Outcome;
use engine_proto::{convert, v1};
use engine_server::Server;
use support::*;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

fn request(name: &str) -> v1::QueryWorkflowRequest {
    v1::QueryWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w"),
        query_name: name.into(),
        input: vec![convert::payload_to_proto(&Payload::json("1"))],
        wait: Some(convert::duration_to_proto(Duration::from_secs(30))),
    }
}

/// Asks in a task of its own, which has begun when this returns.
async fn ask(server: &Server, name: &str) -> JoinHandle<Result<v1::QueryWorkflowResponse, Status>> {
    let (mut client, request) = (client(server), request(name));
    let call = tokio::spawn(async move { client.query_workflow(request).await.map(tonic::Response::into_inner) });
    tokio::task::yield_now().await;
    call
}

async fn asked(server: &Server, request: v1::QueryWorkflowRequest) -> Result<v1::QueryWorkflowResponse, Status> {
    client(server).query_workflow(request).await.map(tonic::Response::into_inner)
}

fn answer(worker: &Worker, query: &v1::QueryTask, outcome: Outcome) {
    let answer = v1::QueryAnswer { query_id: query.query_id, outcome: Some(outcome) };
    worker.send(v1::WorkerMessage { query_answers: vec![answer], ..Default::default() });
}

fn value(json: &'static str) -> Outcome {
    Outcome::Result(v1::QueryResult { value: Some(convert::payload_to_proto(&Payload::json(json))) })
}

#[track_caller]
fn text(answer: Result<v1::QueryWorkflowResponse, Status>) -> String {
    let payload = convert::payload_from_proto(answer.unwrap().result.unwrap());
    String::from_utf8_lossy(&payload.data).into_owned()
}

/// A run whose first workflow task is completed by the worker, which keeps the run in its cache.
async fn begun(server: &Server) -> Worker {
    client(server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![]).await;
    worker
}

#[tokio::test]
async fn a_query_goes_to_the_worker_that_has_the_run_and_leaves_no_trace() {
    let server = start(store().await, options()).await;
    let mut other = Worker::connect(&server, hello(2), 0).await;
    let mut worker = begun(&server).await;
    let before = history(&server, "w").await;
    let call = ask(&server, "status").await;
    let query = worker.query().await;
    assert_eq!((query.workflow_id.as_str(), query.workflow_type.as_str()), ("w", "checkout"));
    assert_eq!((query.query_name.as_str(), query.input.len()), ("status", 1));
    assert_eq!((query.last_event_id, query.seen_event_id), (4, 3));
    answer(&worker, &query, value("\"packed\""));
    assert_eq!(text(call.await.unwrap()), "\"packed\"");
    assert_eq!(history(&server, "w").await, before);

    // Its worker leaves: any other that has the code is asked.
    drop(worker);
    let call = ask(&server, "status").await;
    let query = other.query().await;
    answer(&other, &query, value("\"replayed\""));
    assert_eq!(text(call.await.unwrap()), "\"replayed\"");
}

#[tokio::test]
async fn a_query_waits_until_the_code_has_seen_each_signal_that_was_acknowledged_before_it() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    signal(&server, "w", "first").await.unwrap();
    let task = worker.workflow_task().await;
    // The task does not show this one to the code: it is buffered.
    signal(&server, "w", "second").await.unwrap();
    let call = ask(&server, "status").await;
    assert_eq!(describe(&server, "w").await.buffered_events, 1);
    worker.complete_workflow_task(&task, vec![]).await;
    let next = worker.workflow_task().await;
    assert!(!call.is_finished());
    worker.complete_workflow_task(&next, vec![]).await;
    let query = worker.query().await;
    assert_eq!(query.last_event_id, 12, "scheduled, started, completed, for each of the tasks, and two signals");
    assert_eq!(query.seen_event_id, 11);
    answer(&worker, &query, value("2"));
    assert_eq!(text(call.await.unwrap()), "2");
}

#[tokio::test]
async fn a_query_that_is_lost_with_its_worker_is_asked_again() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let mut other = Worker::connect(&server, hello(2), 0).await;
    let call = ask(&server, "status").await;
    worker.query().await;
    drop(worker);
    let query = other.query().await;
    answer(&other, &query, value("1"));
    assert_eq!(text(call.await.unwrap()), "1");
}

#[tokio::test]
async fn a_closed_run_is_queried_by_replay_of_its_whole_history() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let mut worker = begun(&server).await;
    signal(&server, "w", "go").await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    drop(worker);
    let ask_closed = async |server: &Server| {
        let mut worker = Worker::connect(server, hello(2), 0).await;
        let call = ask(server, "status").await;
        let query = worker.query().await;
        assert_eq!((query.last_event_id, query.seen_event_id), (9, 0));
        answer(&worker, &query, value("\"done\""));
        assert_eq!(text(call.await.unwrap()), "\"done\"");
    };
    ask_closed(&server).await;
    server.shutdown().await;
    ask_closed(&start(store, options()).await).await;
}

#[tokio::test]
async fn a_query_fails_at_once_if_nobody_can_answer_it() {
    let server = start(store().await, options()).await;
    let refusal = asked(&server, request("status")).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "workflow \"w\" not found"));

    client(&server).start_workflow(start_request("w")).await.unwrap();
    let refusal = asked(&server, request("status")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(
        refusal.message(),
        "no worker of task queue \"orders\" is connected, so nobody can answer; published state needs none"
    );

    let mut stranger = hello(3);
    stranger.workflow_types = vec!["other".into()];
    let _stranger = Worker::connect(&server, stranger, 0).await;
    let refusal = asked(&server, request("status")).await.unwrap_err();
    assert_eq!(
        refusal.message(),
        "no worker of task queue \"orders\" has the workflow type \"checkout\", so nobody can answer"
    );
}

#[tokio::test]
async fn a_query_does_not_wait_for_a_workflow_task_that_keeps_failing() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let task = worker.workflow_task().await;
        calls.push(ask(&server, "status").await);
        let failure = Some(convert::failure_to_proto(&Failure::application("Bug", "index out of bounds")));
        let failed =
            v1::WorkflowTaskFailure { token: task.token, cause: v1::WorkflowTaskFailureCause::Panic.into(), failure };
        worker.report(v1::task_result::Result::WorkflowTaskFailed(failed)).await;
    }
    calls.push(ask(&server, "status").await);
    for call in calls {
        let refusal = call.await.unwrap().unwrap_err();
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert_eq!(
            refusal.message(),
            "the run cannot be queried while its workflow task fails; it failed 2 times, at last with: index out of bounds"
        );
    }
}

#[tokio::test]
async fn what_the_worker_says_reaches_the_caller() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let call = ask(&server, "stauts").await;
    let query = worker.query().await;
    let unknown = "workflow checkout has no query \"stauts\"; it has status, total";
    answer(&worker, &query, Outcome::Refused(unknown.into()));
    let refusal = call.await.unwrap().unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, format!("query_name: {unknown}").as_str()));

    let call = ask(&server, "status").await;
    let query = worker.query().await;
    let failure = convert::failure_to_proto(&Failure::application("NoSuchItem", "item 7 was never ordered"));
    answer(&worker, &query, Outcome::Failure(failure));
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.result, None);
    assert_eq!(response.failure.unwrap().message, "item 7 was never ordered");

    let call = ask(&server, "status").await;
    let query = worker.query().await;
    answer(&worker, &query, Outcome::Unanswerable("the code does not follow its history".into()));
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_nobody_answers_is_overdue() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let call = ask(&server, "status").await;
    let query = worker.query().await;
    let refusal = call.await.unwrap().unwrap_err();
    assert_eq!(refusal.code(), Code::DeadlineExceeded);
    assert_eq!(
        refusal.message(),
        "query \"status\" was not answered within 30s: the worker that was asked has not answered"
    );
    // Too late, and harmless.
    answer(&worker, &query, value("1"));
    answer(&worker, &query, value("1"));
}

#[tokio::test]
async fn bad_requests_name_their_field_and_reach_no_worker() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let told = async |change: fn(&mut v1::QueryWorkflowRequest)| {
        let mut request = request("status");
        change(&mut request);
        let refusal = asked(&server, request).await.unwrap_err();
        (refusal.code(), refusal.message().to_owned())
    };
    let refused = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(told(|it| it.query_name.clear()).await, refused("query_name: must not be empty"));
    assert_eq!(told(|it| it.execution = None).await, refused("execution: must be set"));
    let minute =
        |it: &mut v1::QueryWorkflowRequest| it.wait = Some(convert::duration_to_proto(Duration::from_secs(61)));
    assert_eq!(told(minute).await, refused("wait: is 61 s; the limit is 60 s"));
    let large = |it: &mut v1::QueryWorkflowRequest| {
        it.input = vec![convert::payload_to_proto(&Payload::json(vec![b'1'; 3 * 1024 * 1024]))];
    };
    let (code, message) = told(large).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("input: is 3145738 bytes; the limit is 2097152 bytes"), "{message}");
    assert_eq!(history(&server, "w").await, ["WorkflowStarted"]);
}
