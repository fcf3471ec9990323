//! What operators do to runs: each whole, durable, and refused with a sentence when it cannot be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore};
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

async fn reset(server: &Server, request: v1::ResetWorkflowRequest) -> Result<v1::ResetWorkflowResponse, Status> {
    let request = v1::ResetWorkflowRequest {
        namespace: "default".into(),
        execution: request.execution.clone().or(execution("w")),
        reason: "a bad deploy".into(),
        ..request
    };
    Ok(operations(server).reset_workflow(request).await?.into_inner())
}

fn from(point: v1::ResetPoint) -> v1::ResetWorkflowRequest {
    v1::ResetWorkflowRequest { point: point.into(), ..Default::default() }
}

fn fail_workflow() -> v1::Command {
    let failure = Some(convert::failure_to_proto(&Failure::application("Declined", "no")));
    v1::Command { command: Some(v1::command::Command::FailWorkflow(v1::FailWorkflowCommand { failure })) }
}

#[tokio::test]
async fn an_open_run_is_reset_with_its_signals_and_goes_on_through_a_restart() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let base = client(&server).start_workflow(start_request("w")).await.unwrap().into_inner().run_id;
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 3)]).await;
    let activity = worker.activity_task().await;
    signal(&server, "w", "one").await.unwrap();
    let task = worker.workflow_task().await;
    // Buffered while the task is in hand: it is not lost either.
    signal(&server, "w", "two").await.unwrap();
    let request = v1::ResetWorkflowRequest { request_id: "r1".into(), ..from(v1::ResetPoint::FirstWorkflowTask) };
    let answer = reset(&server, request.clone()).await.unwrap();
    assert_eq!(answer.forked_at_event_id, 4);
    let expected = [
        "WorkflowStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowSignaled",
        "WorkflowSignaled",
    ];
    assert_eq!(history(&server, "w").await, expected);
    // A repeat begins nothing, whichever run it names.
    let again = reset(&server, request.clone()).await.unwrap();
    assert_eq!((again.run_id.as_str(), again.forked_at_event_id), (answer.run_id.as_str(), 0));
    let named = Some(v1::WorkflowExecution { workflow_id: "w".into(), run_id: base.clone() });
    let again = reset(&server, v1::ResetWorkflowRequest { execution: named, ..request }).await.unwrap();
    assert_eq!(again.run_id, answer.run_id);
    // Nobody wants what the old run's workers have.
    let refused = worker.complete_activity(&activity).await.refused;
    assert_ne!(refused, "");
    let refused = worker.complete_workflow_task(&task, vec![]).await.refused;
    assert_ne!(refused, "");
    assert_eq!(listed(&server).await, [answer.run_id.as_str(), base.as_str()]);
    drop(worker);
    server.shutdown().await;

    let server = start(Arc::clone(&store), options()).await;
    assert_eq!(history(&server, "w").await, expected);
    let started = describe(&server, "w").await.started.unwrap();
    assert_eq!(started.reset.unwrap().base_run_id, base);
    let mut worker = Worker::connect(&server, hello(2), 10).await;
    let task = worker.workflow_task().await;
    assert_eq!((task.run_id.as_str(), task.first_event_id), (answer.run_id.as_str(), 1));
    assert_eq!(worker.complete_workflow_task(&task, vec![complete_workflow()]).await.refused, "");
    assert_eq!(result(&server, "w").await.status(), v1::WorkflowStatus::Completed);
}

#[tokio::test]
async fn a_failed_run_is_repaired_with_another_result() {
    let server = start(store().await, options()).await;
    let base = client(&server).start_workflow(start_request("w")).await.unwrap().into_inner().run_id;
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 1)]).await;
    let activity = worker.activity_task().await;
    let failure = Some(convert::failure_to_proto(&Failure::application("Declined", "no")));
    let failed = v1::ActivityTaskFailure { token: activity.token.clone(), failure };
    worker.report(v1::task_result::Result::ActivityFailed(failed)).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![fail_workflow()]).await;
    assert_eq!(result(&server, "w").await.status(), v1::WorkflowStatus::Failed);

    let repair = async |activity_id: &str, result: Option<&'static str>| {
        let request = v1::RepairWorkflowRequest {
            namespace: "default".into(),
            execution: execution("w"),
            activity_id: activity_id.into(),
            result: result.map(|json| convert::payload_to_proto(&Payload::json(json))),
            identity: "desk-3".into(),
            ..Default::default()
        };
        Ok::<_, Status>(operations(&server).repair_workflow(request).await?.into_inner())
    };
    let refusal = repair("b", None).await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (Code::InvalidArgument, "point: no activity with id \"b\" has failed in this run")
    );
    let answer = repair("", Some("42")).await.unwrap();
    assert_eq!(answer.forked_at_event_id, 6);
    let task = worker.workflow_task().await;
    assert_eq!(task.run_id, answer.run_id);
    assert_eq!(worker.complete_workflow_task(&task, vec![complete_workflow()]).await.refused, "");
    let expected = [
        "WorkflowStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "ActivityScheduled",
        "WorkflowRepaired",
        "ActivityStarted",
        "ActivityCompleted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "WorkflowCompleted",
    ];
    assert_eq!(history(&server, "w").await, expected);
    // Only the latest run can be reset.
    let named = Some(v1::WorkflowExecution { workflow_id: "w".into(), run_id: base.clone() });
    let old = v1::ResetWorkflowRequest { execution: named, ..from(v1::ResetPoint::LastWorkflowTask) };
    let refusal = reset(&server, old).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().starts_with(&format!("run {base} is not the latest run")), "{refusal:?}");
}

#[tokio::test]
async fn a_reset_to_where_there_is_nothing_is_refused_by_its_field() {
    let server = start(store().await, options()).await;
    let unknown = reset(&server, from(v1::ResetPoint::LastWorkflowTask)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let refused = async |request| {
        let refusal = reset(&server, request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
        refusal.message().to_owned()
    };
    assert!(refused(from(v1::ResetPoint::Unspecified)).await.starts_with("point: must be set"));
    assert!(refused(from(v1::ResetPoint::LastWorkflowTask)).await.starts_with("point: the run has completed no"));
    let both = v1::ResetWorkflowRequest { event_id: 3, ..from(v1::ResetPoint::FirstWorkflowTask) };
    assert_eq!(refused(both).await, "event_id: is for the point WORKFLOW_TASK only");
    assert_eq!(history(&server, "w").await, ["WorkflowStarted"], "a refused request changes nothing");
}

fn of_activity(activity_id: &str) -> v1::PauseActivityRequest {
    v1::PauseActivityRequest {
        namespace: "default".into(),
        execution: execution("w"),
        activity_id: activity_id.into(),
        reason: "the bank is closed".into(),
        identity: "desk-3".into(),
    }
}

async fn unpause_activity(server: &Server, activity_id: &str) -> Result<bool, Status> {
    let request = v1::UnpauseActivityRequest {
        namespace: "default".into(),
        execution: execution("w"),
        activity_id: activity_id.into(),
        reset_attempts: true,
    };
    Ok(operations(server).unpause_activity(request).await?.into_inner().changed)
}

#[tokio::test]
async fn a_paused_activity_waits_through_a_restart_and_its_worker_is_told() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 3)]).await;
    let activity = worker.activity_task().await;
    assert!(operations(&server).pause_activity(of_activity("a")).await.unwrap().into_inner().changed);
    assert!(!operations(&server).pause_activity(of_activity("a")).await.unwrap().into_inner().changed);
    let stop = worker.stop().await;
    assert_eq!((stop.reason(), &stop.token), (v1::ActivityStopReason::Paused, &activity.token));
    // Told again at a heartbeat, for whoever beats from elsewhere too.
    let beat = v1::HeartbeatActivityRequest {
        namespace: "default".into(),
        activity: Some(v1::heartbeat_activity_request::Activity::Token(activity.token.clone())),
        ..Default::default()
    };
    let told = WorkerServiceClient::new(server.service()).heartbeat_activity(beat).await.unwrap().into_inner();
    assert!(told.paused && !told.cancel_requested);
    // It stops: that is no end, and no other attempt follows.
    let stopped = v1::ActivityTaskCancellation { token: activity.token.clone(), details: None };
    let ack = worker.report(v1::task_result::Result::ActivityCanceled(stopped)).await;
    assert_eq!(ack.refused, "");
    let shown = describe(&server, "w").await.pending_activities.remove(0);
    assert_eq!((shown.paused.unwrap().reason.as_str(), shown.attempt), ("the bank is closed", 2));
    drop(worker);
    server.shutdown().await;

    let server = start(Arc::clone(&store), options()).await;
    let shown = describe(&server, "w").await.pending_activities.remove(0);
    assert_eq!(shown.paused.unwrap().identity, "desk-3");
    let options = v1::UpdateActivityOptionsRequest {
        namespace: "default".into(),
        execution: execution("w"),
        activity_id: "a".into(),
        timeouts: Some(v1::ActivityTimeouts {
            start_to_close: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
            ..Default::default()
        }),
        retry_policy: Some(v1::RetryPolicy { maximum_attempts: 9, backoff_coefficient: 2.0, ..Default::default() }),
        ..Default::default()
    };
    assert!(operations(&server).update_activity_options(options).await.unwrap().into_inner().changed);
    assert!(unpause_activity(&server, "a").await.unwrap());
    assert!(!unpause_activity(&server, "a").await.unwrap());
    let mut worker = Worker::connect(&server, hello(2), 10).await;
    let activity = worker.activity_task().await;
    assert_eq!(activity.retry_policy.clone().unwrap().maximum_attempts, 9);
    assert_eq!(activity.timeouts.unwrap().start_to_close.unwrap().seconds, 7);
    assert_eq!(worker.complete_activity(&activity).await.refused, "");
    let names = history(&server, "w").await;
    assert_eq!(names[4..], ["ActivityScheduled", "ActivityStarted", "ActivityCompleted"], "nothing else is recorded");
}

#[tokio::test]
async fn an_operation_on_an_activity_that_is_not_open_is_refused() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let refusal = operations(&server).pause_activity(of_activity("a")).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "no open activity with id \"a\""));
    let refusal = operations(&server).pause_activity(of_activity("")).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "activity_id: must not be empty"));
    terminate(&server, "w").await;
    assert_eq!(unpause_activity(&server, "a").await.unwrap_err().code(), Code::NotFound);
}

/// A reset whose commit is lost, or whose answer is: the caller repeats it, and there is one new run.
async fn one_reset_survives(fault: Fault) {
    let faulty = FaultyStore::new(store().await);
    let server = start(Arc::clone(&faulty) as Arc<dyn Store>, options()).await;
    let base = client(&server).start_workflow(start_request("w")).await.unwrap().into_inner().run_id;
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![]).await;
    drop(worker);
    signal(&server, "w", "one").await.unwrap();
    let request = v1::ResetWorkflowRequest { request_id: "r1".into(), ..from(v1::ResetPoint::LastWorkflowTask) };
    faulty.plan_next(fault);
    let lost = reset(&server, request.clone()).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    let answer = loop {
        match reset(&server, request.clone()).await {
            Ok(answer) => break answer,
            // The shard is being recovered.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(listed(&server).await, [answer.run_id.as_str(), base.as_str()]);
    let expected =
        ["WorkflowStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed", "WorkflowSignaled"];
    assert_eq!(history(&server, "w").await, expected);
}

#[tokio::test]
async fn a_reset_that_was_lost_is_repeated() {
    one_reset_survives(Fault::FailBefore).await;
}

#[tokio::test]
async fn a_reset_whose_answer_was_lost_is_not_done_twice() {
    one_reset_survives(Fault::FailAfter).await;
}
