//! Updates on the wire: what callers are told, what workers get, and what a lost memory costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::limits::PAYLOAD_BYTES_MAX;
use engine_core::payload::Payload;
use engine_proto::{convert, v1};
use engine_server::Server;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore};
use support::*;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn update(id: &str) -> v1::UpdateRequest {
    v1::UpdateRequest {
        update_id: id.into(),
        update_name: "deposit".into(),
        input: vec![convert::payload_to_proto(&Payload::json("5"))],
        identity: "desk".into(),
    }
}

fn request(id: &str, stage: v1::UpdateStage) -> v1::UpdateWorkflowRequest {
    v1::UpdateWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w"),
        update: Some(update(id)),
        wait_stage: stage.into(),
        wait: Some(convert::duration_to_proto(Duration::from_secs(60))),
    }
}

type Call = JoinHandle<Result<v1::UpdateWorkflowResponse, Status>>;

/// Sends an update in a task of its own; the run has it when this returns.
async fn send(server: &Server, request: v1::UpdateWorkflowRequest) -> Call {
    let mut client = client(server);
    let id = request.update.as_ref().unwrap().update_id.clone();
    let call = tokio::spawn(async move { client.update_workflow(request).await.map(tonic::Response::into_inner) });
    until_pending(server, &id).await;
    call
}

async fn until_pending(server: &Server, id: &str) {
    while !describe(server, "w").await.pending_updates.iter().any(|update| update.update_id == id) {
        tokio::task::yield_now().await;
    }
}

fn accept(id: &str) -> v1::Command {
    let command = v1::AcceptUpdateCommand { update: Some(update(id)) };
    v1::Command { command: Some(v1::command::Command::AcceptUpdate(command)) }
}

fn answer(id: &str, json: &'static str) -> v1::Command {
    let result = Some(convert::payload_to_proto(&Payload::json(json)));
    let outcome = Some(v1::update_outcome::Outcome::Completed(v1::UpdateResult { result }));
    let outcome = Some(v1::UpdateOutcome { outcome });
    let command = v1::CompleteUpdateCommand { update_id: id.into(), outcome };
    v1::Command { command: Some(v1::command::Command::CompleteUpdate(command)) }
}

fn value(response: &v1::UpdateWorkflowResponse) -> Option<String> {
    let v1::update_outcome::Outcome::Completed(completed) = response.outcome.clone()?.outcome? else { return None };
    let payload = convert::payload_from_proto(completed.result?);
    Some(String::from_utf8_lossy(&payload.data).into_owned())
}

/// A run whose first workflow task is completed.
async fn begun(server: &Server) -> Worker {
    client(server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![]).await;
    worker
}

fn ids(task: &v1::WorkflowTask) -> Vec<&str> {
    task.updates.iter().map(|update| update.update_id.as_str()).collect()
}

#[tokio::test]
async fn callers_are_answered_at_the_stage_that_they_wait_for() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let accepted = send(&server, request("u", v1::UpdateStage::Accepted)).await;
    let completed = send(&server, request("u", v1::UpdateStage::Completed)).await;
    let task = worker.workflow_task().await;
    assert_eq!(ids(&task), ["u"]);
    worker.complete_workflow_task(&task, vec![accept("u")]).await;
    let response = accepted.await.unwrap().unwrap();
    assert_eq!((response.stage(), response.outcome), (v1::UpdateStage::Accepted, None));
    assert_eq!(describe(&server, "w").await.pending_updates[0].stage(), v1::UpdateStage::Accepted);

    signal(&server, "w", "go").await.unwrap();
    let task = worker.workflow_task().await;
    assert!(task.updates.is_empty(), "an accepted update does not come again");
    worker.complete_workflow_task(&task, vec![answer("u", "7")]).await;
    let response = completed.await.unwrap().unwrap();
    assert_eq!((response.stage(), value(&response).as_deref()), (v1::UpdateStage::Completed, Some("7")));
    let again = client(&server).update_workflow(request("u", v1::UpdateStage::Accepted)).await.unwrap().into_inner();
    assert_eq!(value(&again).as_deref(), Some("7"), "a repeat finds the outcome");
    server.shutdown().await;
}

#[tokio::test]
async fn a_caller_who_waits_in_vain_is_told_how_far_it_came() {
    let server = start(store().await, options()).await;
    drop(begun(&server).await);
    let mut hurried = request("u", v1::UpdateStage::Completed);
    hurried.wait = Some(convert::duration_to_proto(Duration::ZERO));
    let response = client(&server).update_workflow(hurried).await.unwrap().into_inner();
    assert_eq!(response.stage(), v1::UpdateStage::Admitted);
    let poll = v1::PollUpdateRequest {
        namespace: "default".into(),
        execution: execution("w"),
        update_id: "u".into(),
        wait: Some(convert::duration_to_proto(Duration::ZERO)),
        ..Default::default()
    };
    let response = client(&server).poll_update(poll).await.unwrap().into_inner();
    assert_eq!(response.stage(), v1::UpdateStage::Admitted);
    server.shutdown().await;
}

#[tokio::test]
async fn a_refusal_reaches_the_caller_and_writes_nothing() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let before = history(&server, "w").await;
    let call = send(&server, request("u", v1::UpdateStage::Completed)).await;
    let task = worker.workflow_task().await;
    let failure = Some(convert::failure_to_proto(&Failure::application("Empty", "nothing to deposit")));
    let done = v1::WorkflowTaskCompletion {
        token: task.token.clone(),
        cached: true,
        rejected_updates: vec![v1::UpdateRejection { update_id: "u".into(), failure }],
        ..Default::default()
    };
    let ack = worker.report(v1::task_result::Result::WorkflowTaskCompleted(done)).await;
    assert_eq!(ack.refused, "");
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.stage(), v1::UpdateStage::Rejected);
    assert_eq!(response.rejection.unwrap().message, "nothing to deposit");
    assert_eq!(history(&server, "w").await, before);

    // The worker's copy of the run ends before the task: that is where the next one goes on.
    signal(&server, "w", "go").await.unwrap();
    let next = worker.workflow_task().await;
    assert_eq!(next.first_event_id, before.len() as u64 + 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_does_not_know_updates_refuses_them_by_saying_nothing() {
    let server = start(store().await, options()).await;
    let mut worker = begun(&server).await;
    let call = send(&server, request("u", v1::UpdateStage::Completed)).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![]).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.stage(), v1::UpdateStage::Rejected);
    assert!(response.rejection.unwrap().message.contains("it may not support updates"));
    server.shutdown().await;
}

#[tokio::test]
async fn an_update_that_a_lost_memory_forgot_is_sent_again_by_the_call_that_waits() {
    let store = FaultyStore::new(store().await);
    let server = start(Arc::clone(&store) as Arc<dyn Store>, options()).await;
    drop(begun(&server).await);
    let call = send(&server, request("u", v1::UpdateStage::Completed)).await;
    store.plan_next(Fault::FailBefore);
    assert_eq!(signal(&server, "w", "lost").await.unwrap_err().code(), Code::Unavailable);
    until_pending(&server, "u").await;
    let mut worker = Worker::connect(&server, hello(2), 10).await;
    let task = worker.workflow_task().await;
    assert_eq!(ids(&task), ["u"]);
    worker.complete_workflow_task(&task, vec![accept("u"), answer("u", "9")]).await;
    assert_eq!(value(&call.await.unwrap().unwrap()).as_deref(), Some("9"));
    server.shutdown().await;
}

#[tokio::test]
async fn outcomes_outlive_the_server_and_the_run() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let mut worker = begun(&server).await;
    let done = send(&server, request("done", v1::UpdateStage::Completed)).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![accept("done"), answer("done", "1"), accept("open")]).await;
    done.await.unwrap().unwrap();
    signal(&server, "w", "go").await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    server.shutdown().await;

    let server = start(store, options()).await;
    let ask = |id: &'static str| {
        let mut client = client(&server);
        async move { client.update_workflow(request(id, v1::UpdateStage::Completed)).await }
    };
    assert_eq!(value(&ask("done").await.unwrap().into_inner()).as_deref(), Some("1"));
    let left = ask("open").await.unwrap().into_inner();
    let Some(v1::update_outcome::Outcome::Failed(failure)) = left.outcome.unwrap().outcome else { panic!("it failed") };
    assert_eq!(failure.message, "the workflow closed before the update was completed");
    assert_eq!(ask("new").await.unwrap_err().code(), Code::NotFound);
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_brings_its_signal_or_its_update_along_in_one_transaction() {
    let server = start(store().await, options()).await;
    let start = |request_id: &str| v1::StartWorkflowRequest { request_id: request_id.into(), ..start_request("w") };
    let signaled = v1::SignalWithStartRequest { start: Some(start("r-1")), signal_name: "go".into(), input: vec![] };
    for started in [true, true] {
        let response = client(&server).signal_with_start(signaled.clone()).await.unwrap().into_inner();
        assert_eq!(response.started, started, "a repeat tells the same");
    }
    assert_eq!(history(&server, "w").await, ["WorkflowStarted", "WorkflowSignaled"]);
    let updated = v1::UpdateWithStartRequest {
        start: Some(start("r-2")),
        update: Some(update("u")),
        wait_stage: v1::UpdateStage::Accepted.into(),
        wait: None,
    };
    let mut caller = client(&server);
    let call = tokio::spawn(async move { caller.update_with_start(updated).await });
    until_pending(&server, "u").await;
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    assert_eq!(ids(&task), ["u"]);
    worker.complete_workflow_task(&task, vec![accept("u")]).await;
    let response = call.await.unwrap().unwrap().into_inner();
    assert!(!response.started);
    assert_eq!(response.update.unwrap().stage(), v1::UpdateStage::Accepted);
    server.shutdown().await;
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str, sentence: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, field, "{status:?}");
    assert!(status.message().contains(sentence), "{status:?}");
}

#[tokio::test]
async fn a_bad_request_is_refused_by_field_and_changes_nothing() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut client = client(&server);
    let good = || request("u", v1::UpdateStage::Completed);
    let with = |change: fn(&mut v1::UpdateRequest)| {
        let mut request = good();
        change(request.update.as_mut().unwrap());
        request
    };
    let answer = client.update_workflow(v1::UpdateWorkflowRequest { update: None, ..good() }).await;
    refused(answer, "update", "must be set");
    refused(client.update_workflow(with(|it| it.update_id.clear())).await, "update.update_id", "must not be empty");
    let answer = client.update_workflow(with(|it| it.update_name = "x".repeat(1001))).await;
    refused(answer, "update.update_name", "the limit is 1000 bytes");
    let answer = client.update_workflow(with(|it| it.input[0].data = vec![b'1'; PAYLOAD_BYTES_MAX].into())).await;
    refused(answer, "update.input", "the limit is 2097152 bytes");
    let waits = |stage: i32| v1::UpdateWorkflowRequest { wait_stage: stage, ..good() };
    refused(client.update_workflow(waits(1)).await, "wait_stage", "ask for ACCEPTED or COMPLETED");
    refused(client.update_workflow(waits(99)).await, "wait_stage", "ask for ACCEPTED or COMPLETED");
    let long = Some(convert::duration_to_proto(Duration::from_secs(61)));
    refused(
        client.update_workflow(v1::UpdateWorkflowRequest { wait: long, ..good() }).await,
        "wait",
        "the limit is 60 s",
    );
    let nobody = v1::UpdateWorkflowRequest { execution: execution("nobody"), ..good() };
    assert_eq!(client.update_workflow(nobody).await.unwrap_err().code(), Code::NotFound);

    let poll = |id: &str| v1::PollUpdateRequest {
        namespace: "default".into(),
        execution: execution("w"),
        update_id: id.into(),
        ..Default::default()
    };
    refused(client.poll_update(poll("")).await, "update_id", "must not be empty");
    let unknown = client.poll_update(poll("never sent")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.message(), "update \"never sent\" not found");

    let signal = v1::SignalWithStartRequest { start: Some(start_request("w")), ..Default::default() };
    refused(client.signal_with_start(signal.clone()).await, "signal_name", "must not be empty");
    let answer = client.signal_with_start(v1::SignalWithStartRequest { start: None, ..signal.clone() }).await;
    refused(answer, "start", "must be set");
    let mut nameless = signal;
    (nameless.signal_name, nameless.start.as_mut().unwrap().workflow_id) = ("go".into(), String::new());
    refused(client.signal_with_start(nameless).await, "start.workflow_id", "must not be empty");

    let mut start = start_request("w");
    start.id_conflict_policy = v1::WorkflowIdConflictPolicy::TerminateExisting.into();
    let both = v1::UpdateWithStartRequest { start: Some(start), update: Some(update("u")), ..Default::default() };
    let answer = client.update_with_start(both.clone()).await;
    refused(answer, "start.id_conflict_policy", "cannot be combined with an update");
    let mut fails = both;
    fails.start.as_mut().unwrap().id_conflict_policy = v1::WorkflowIdConflictPolicy::Fail.into();
    assert_eq!(client.update_with_start(fails).await.unwrap_err().code(), Code::AlreadyExists);

    assert_eq!(history(&server, "w").await, ["WorkflowStarted"]);
    assert_eq!(describe(&server, "w").await.pending_updates, []);
    server.shutdown().await;
}
