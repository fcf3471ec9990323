//! What operators do to runs: each whole, durable, and refused with a sentence when it cannot be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use engine_core::payload::Payload;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use support::*;
use tonic::service::Routes;
use tonic::{Code, Status};

fn operations(server: &Server) -> OperationServiceClient<Routes> {
    OperationServiceClient::new(server.service())
}

async fn terminate(server: &Server, workflow_id: &str) {
    let request = v1::TerminateWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    client(server).terminate_workflow(request).await.unwrap();
}

async fn delete(server: &Server, workflow_id: &str, run_id: &str) -> Result<String, Status> {
    let execution = Some(v1::WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() });
    let request = v1::DeleteWorkflowRequest { namespace: "default".into(), execution };
    Ok(operations(server).delete_workflow(request).await?.into_inner().run_id)
}

async fn listed(server: &Server) -> Vec<String> {
    let request = v1::ListWorkflowsRequest { namespace: "default".into(), ..Default::default() };
    let runs = client(server).list_workflows(request).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| run.run_id).collect()
}

#[tokio::test]
async fn a_closed_run_is_deleted_with_its_history_and_stays_gone() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let begin = async || client(&server).start_workflow(start_request("w")).await.unwrap().into_inner().run_id;
    let first = begin().await;
    terminate(&server, "w").await;
    let second = begin().await;

    let refusal = delete(&server, "w", "").await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(refusal.message(), format!("run {second} is open: terminate it before you delete it"));
    assert_eq!(listed(&server).await, [second.as_str(), first.as_str()], "a refused request changes nothing");

    terminate(&server, "w").await;
    assert_eq!(delete(&server, "w", "").await.unwrap(), second);
    assert_eq!(listed(&server).await, [first.as_str()]);
    assert_eq!(describe(&server, "w").await.summary.unwrap().run_id, first, "the run before is the latest now");
    let gone = delete(&server, "w", &second).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, format!("run \"{second}\" not found").as_str()));

    server.shutdown().await;
    let server = start(Arc::clone(&store), options()).await;
    assert_eq!(listed(&server).await, [first.as_str()]);
    assert_eq!(delete(&server, "w", &first).await.unwrap(), first);
    assert_eq!(listed(&server).await, [""; 0]);
    let request = v1::DescribeWorkflowRequest { namespace: "default".into(), execution: execution("w") };
    assert_eq!(client(&server).describe_workflow(request).await.unwrap_err().code(), Code::NotFound);
    // Its id is free, whatever the policy says about closed runs.
    let reject = v1::WorkflowIdReusePolicy::RejectDuplicate.into();
    let request = v1::StartWorkflowRequest { id_reuse_policy: reject, ..start_request("w") };
    assert!(client(&server).start_workflow(request).await.unwrap().into_inner().started);
}

#[tokio::test]
async fn a_request_to_delete_that_names_nothing_is_refused_by_its_field() {
    let server = start(store().await, options()).await;
    let refusal = delete(&server, "", "").await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (Code::InvalidArgument, "execution.workflow_id: must not be empty")
    );
    let refusal = delete(&server, "nobody", "").await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "workflow \"nobody\" not found"));
}

async fn pause(server: &Server, workflow_id: &str) -> Result<bool, Status> {
    let request = v1::PauseWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        reason: "the bank is closed".into(),
        identity: "desk-3".into(),
        ..Default::default()
    };
    Ok(operations(server).pause_workflow(request).await?.into_inner().changed)
}

async fn resume(server: &Server, workflow_id: &str) -> Result<bool, Status> {
    let request = v1::ResumeWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    Ok(operations(server).resume_workflow(request).await?.into_inner().changed)
}

async fn found(server: &Server, query: &str) -> Vec<(String, bool)> {
    let request = v1::ListWorkflowsRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
    let runs = client(server).list_workflows(request).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| (run.workflow_id, run.paused)).collect()
}

#[tokio::test]
async fn a_paused_run_waits_with_its_timers_through_a_restart() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    client(&server).start_workflow(start_request("other")).await.unwrap();
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let mut task = worker.workflow_task().await;
    if task.workflow_id != "w" {
        task = worker.workflow_task().await;
    }
    // The task in hand takes effect; what it asks for waits.
    assert!(pause(&server, "w").await.unwrap());
    assert!(!pause(&server, "w").await.unwrap(), "it is paused already");
    worker.complete_workflow_task(&task, vec![start_timer("t", 1), schedule_activity("a", 3)]).await;
    signal(&server, "w", "go").await.unwrap();
    drop(worker);
    server.shutdown().await;

    let server = start(Arc::clone(&store), options()).await;
    let expected = [
        "WorkflowStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "TimerStarted",
        "ActivityScheduled",
        "WorkflowPaused",
        "WorkflowSignaled",
    ];
    assert_eq!(history(&server, "w").await, expected);
    let shown = describe(&server, "w").await;
    let paused = shown.paused.unwrap();
    assert_eq!((paused.reason.as_str(), paused.identity.as_str()), ("the bank is closed", "desk-3"));
    assert_eq!((shown.pending_timers.len(), shown.pending_activities.len()), (1, 1));
    assert!(shown.search_attributes.is_empty() && shown.summary.unwrap().search_attributes.is_empty());
    assert_eq!(found(&server, "Paused = true").await, [("w".to_owned(), true)]);
    assert_eq!(found(&server, "Paused IS NULL").await, [("other".to_owned(), false)]);

    assert!(resume(&server, "w").await.unwrap());
    assert!(!resume(&server, "w").await.unwrap());
    assert_eq!(found(&server, "Paused = true").await, []);
    let mut worker = Worker::connect(&server, hello(2), 10).await;
    let activity = worker.activity_task().await;
    assert_eq!(worker.complete_activity(&activity).await.refused, "");
    loop {
        let task = worker.workflow_task().await;
        // What is numbered while a task is in hand was there before it.
        let names = history(&server, "w").await;
        let is_done = ["TimerFired", "ActivityCompleted"].iter().all(|end| names.iter().any(|name| name == end));
        if task.workflow_id == "w" && is_done {
            assert_eq!(worker.complete_workflow_task(&task, vec![complete_workflow()]).await.refused, "");
            break;
        }
        worker.complete_workflow_task(&task, vec![]).await;
    }
    assert_eq!(result(&server, "w").await.status(), v1::WorkflowStatus::Completed);
}

#[tokio::test]
async fn a_paused_run_that_is_terminated_is_paused_no_more() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    pause(&server, "w").await.unwrap();
    terminate(&server, "w").await;
    assert_eq!(found(&server, "").await, [("w".to_owned(), false)]);
    assert_eq!(pause(&server, "w").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(resume(&server, "nobody").await.unwrap_err().code(), Code::NotFound);
    let reason = "x".repeat(1001);
    let request = v1::PauseWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w"),
        reason,
        ..Default::default()
    };
    assert_eq!(operations(&server).pause_workflow(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_paused_run_answers_queries_from_what_its_code_has_seen() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let request = |name: &str| v1::QueryWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w"),
        query_name: name.into(),
        ..Default::default()
    };
    pause(&server, "w").await.unwrap();
    let refusal = client(&server).query_workflow(request("status")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(refusal.message(), "the run was paused before its code ran for the first time: resume it");
    resume(&server, "w").await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![]).await;
    pause(&server, "w").await.unwrap();
    signal(&server, "w", "go").await.unwrap();
    let mut asking = client(&server);
    let call = tokio::spawn(async move { asking.query_workflow(request("status")).await });
    let query = worker.query().await;
    assert_eq!(query.seen_event_id, 5, "what the code saw at last, before the signal");
    let value = Some(convert::payload_to_proto(&Payload::json("7")));
    let outcome = Some(v1::query_answer::Outcome::Result(v1::QueryResult { value: value.clone() }));
    let answer = v1::QueryAnswer { query_id: query.query_id, outcome };
    worker.send(v1::WorkerMessage { query_answers: vec![answer], ..Default::default() });
    assert_eq!(call.await.unwrap().unwrap().into_inner().result, value);
}
