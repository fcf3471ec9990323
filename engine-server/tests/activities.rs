//! Standalone activities, with a worker written by hand: their life, their ids, their lists, what becomes of them when something
//! fails, and running them again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::v1::activity_service_client::ActivityServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore};
use engine_server::store::sqlite::SqliteStore;
use support::*;
use tonic::service::Routes;
use tonic_types::StatusExt;

fn activities(server: &Server) -> ActivityServiceClient<Routes> {
    ActivityServiceClient::new(server.service())
}

fn seconds(count: u64) -> prost_types::Duration {
    convert::duration_to_proto(Duration::from_secs(count))
}

/// Two attempts, the second at once.
fn activity(id: &str) -> v1::StartActivityRequest {
    let initial_interval = Some(convert::duration_to_proto(Duration::from_micros(1)));
    v1::StartActivityRequest {
        namespace: "default".into(),
        activity_id: id.into(),
        activity_type: "charge".into(),
        task_queue: QUEUE.into(),
        input: vec![convert::payload_to_proto(&Payload::json("42"))],
        timeouts: Some(v1::ActivityTimeouts { start_to_close: Some(seconds(60)), ..Default::default() }),
        retry_policy: Some(v1::RetryPolicy { initial_interval, maximum_attempts: 2, ..Default::default() }),
        ..Default::default()
    }
}

async fn start_one(server: &Server, id: &str) -> String {
    activities(server).start_activity(activity(id)).await.unwrap().into_inner().run_id
}

async fn outcome(server: &Server, id: &str) -> v1::ActivityOutcome {
    let request =
        v1::GetActivityResultRequest { namespace: "default".into(), activity_id: id.into(), ..Default::default() };
    activities(server).get_activity_result(request).await.unwrap().into_inner()
}

async fn describe_one(server: &Server, id: &str, run_id: &str) -> v1::DescribeActivityResponse {
    let request =
        v1::DescribeActivityRequest { namespace: "default".into(), activity_id: id.into(), run_id: run_id.into() };
    activities(server).describe_activity(request).await.unwrap().into_inner()
}

async fn list(server: &Server, query: &str) -> Vec<String> {
    let request = v1::ListActivitiesRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
    let page = activities(server).list_activities(request).await.unwrap().into_inner();
    page.activities.into_iter().map(|activity| activity.activity_id).collect()
}

async fn count(server: &Server, query: &str) -> u64 {
    let request = v1::CountActivitiesRequest { namespace: "default".into(), query: query.into() };
    activities(server).count_activities(request).await.unwrap().into_inner().count
}

fn failure(task: &v1::ActivityTask) -> v1::task_result::Result {
    let failure = Some(convert::failure_to_proto(&Failure::application("Busy", "later")));
    v1::task_result::Result::ActivityFailed(v1::ActivityTaskFailure { token: task.token.clone(), failure })
}

/// Fails both attempts of so many activities, in whichever order they come.
async fn fail(worker: &mut Worker, activities: usize) {
    let mut failed = 0;
    while failed < activities {
        let task = worker.activity_task().await;
        worker.report(failure(&task)).await;
        worker.grant(0, 1);
        failed += usize::from(task.attempt == 2);
    }
}

async fn again(server: &Server, id: &str, run_id: &str) -> Result<v1::RunActivityAgainResponse, tonic::Status> {
    let request = v1::RunActivityAgainRequest {
        namespace: "default".into(),
        activity_id: id.into(),
        run_id: run_id.into(),
        identity: "desk".into(),
    };
    activities(server).run_activity_again(request).await.map(tonic::Response::into_inner)
}

async fn all_again(server: &Server, query: &str, limit: u32) -> Vec<v1::RunActivitiesAgainProgress> {
    let request = v1::RunActivitiesAgainRequest {
        namespace: "default".into(),
        query: query.into(),
        limit,
        identity: "desk".into(),
    };
    let mut stream = activities(server).run_activities_again(request).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn an_activity_runs_without_a_workflow_in_two_rows_of_history() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let before = store.stats().rows;
    start_one(&server, "a").await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.activity_task().await;
    assert_eq!((task.activity_id.as_str(), task.activity_type.as_str(), task.attempt), ("a", "charge", 1));
    assert_eq!(task.workflow_type, "", "no workflow asked");
    assert_eq!(convert::payloads_from_proto(task.input.clone()), [Payload::json("42")]);
    let pending = describe_one(&server, "a", "").await.pending.unwrap();
    assert_eq!((pending.state(), pending.worker_identity.as_str()), (v1::PendingTaskState::Started, "worker-1"));
    assert_eq!(worker.complete_activity(&task).await.refused, "");
    let done = outcome(&server, "a").await;
    assert_eq!(done.status(), v1::WorkflowStatus::Completed);
    assert_eq!(done.result.map(convert::payload_from_proto), Some(Payload::json("\"done\"")));
    // A row for the run, changed once, and two turns of history.
    assert_eq!(store.stats().rows - before, 4);
    let described = describe_one(&server, "a", "").await;
    assert_eq!((described.last_attempt, described.last_worker_identity.as_str()), (1, "worker-1"));
    assert!(described.pending.is_none());
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_can_wait_for_the_outcome() {
    let server = start(store().await, options()).await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let mut calls = activities(&server);
    let request = v1::StartActivityRequest { wait: Some(seconds(20)), ..activity("a") };
    let call = tokio::spawn(async move { calls.start_activity(request).await });
    let task = worker.activity_task().await;
    worker.complete_activity(&task).await;
    let outcome = call.await.unwrap().unwrap().into_inner().outcome.unwrap();
    assert_eq!(outcome.status(), v1::WorkflowStatus::Completed);
    server.shutdown().await;
}

#[tokio::test]
async fn ids_and_lists_of_activities_are_not_those_of_workflows() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("same")).await.unwrap();
    start_one(&server, "same").await;
    assert_eq!(list(&server, "").await, ["same"]);
    assert_eq!(list(&server, "ActivityType = 'charge' AND Status = 'Running'").await, ["same"]);
    assert_eq!(list(&server, "ActivityId = 'other'").await, [] as [&str; 0]);
    assert_eq!(count(&server, "TaskQueue = 'orders'").await, 1);
    let workflows = v1::ListWorkflowsRequest { namespace: "default".into(), ..Default::default() };
    let workflows = client(&server).list_workflows(workflows).await.unwrap().into_inner().workflows;
    assert_eq!(workflows.len(), 1);
    assert_eq!(workflows[0].workflow_type, "checkout");

    let request = v1::ListActivitiesRequest {
        namespace: "default".into(),
        query: "WorkflowId = 'x'".into(),
        ..Default::default()
    };
    let status = activities(&server).list_activities(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("there are ActivityId, ActivityType, RunId"), "{status}");
    let status = signal(&server, "other", "go").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound, "there is no workflow of the id: {status}");
    server.shutdown().await;
}

#[tokio::test]
async fn policies_decide_about_an_id_that_is_taken() {
    let server = start(store().await, options()).await;
    let mut calls = activities(&server);
    let first = start_one(&server, "a").await;
    let status = calls.start_activity(activity("a")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    assert!(status.message().starts_with("activity \"a\" is already running"), "{status}");
    let with = |conflict: v1::WorkflowIdConflictPolicy| v1::StartActivityRequest {
        id_conflict_policy: conflict.into(),
        ..activity("a")
    };
    let existing = calls.start_activity(with(v1::WorkflowIdConflictPolicy::UseExisting)).await.unwrap().into_inner();
    assert_eq!((existing.run_id.as_str(), existing.started), (first.as_str(), false));
    let other = calls.start_activity(with(v1::WorkflowIdConflictPolicy::TerminateExisting)).await.unwrap().into_inner();
    assert_ne!(other.run_id, first);
    assert_eq!(describe_one(&server, "a", &first).await.summary.unwrap().status(), v1::WorkflowStatus::Terminated);

    let repeatable = v1::StartActivityRequest { request_id: "r".into(), ..activity("b") };
    let one = calls.start_activity(repeatable.clone()).await.unwrap().into_inner();
    let two = calls.start_activity(repeatable).await.unwrap().into_inner();
    assert_eq!(one, two, "a repeat is the same start");
    server.shutdown().await;
}

#[tokio::test]
async fn many_starts_are_decided_each_by_itself() {
    let server = start(store().await, options()).await;
    let invalid = v1::StartActivityRequest { timeouts: None, ..activity("invalid") };
    let starts = vec![activity("a"), invalid, activity("a"), activity("b")];
    let request = v1::StartActivitiesRequest { starts };
    let outcomes = activities(&server).start_activities(request).await.unwrap().into_inner().outcomes;
    let codes: Vec<i32> = outcomes
        .into_iter()
        .map(|outcome| match outcome.outcome.unwrap() {
            v1::start_activity_outcome::Outcome::Started(_) => 0,
            v1::start_activity_outcome::Outcome::Refused(refusal) => refusal.code,
        })
        .collect();
    assert_eq!(codes, [0, tonic::Code::InvalidArgument as i32, tonic::Code::AlreadyExists as i32, 0]);
    assert_eq!(count(&server, "").await, 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_bad_request_names_its_field_and_writes_nothing() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let before = store.stats().commits;
    let refusal = async |request: v1::StartActivityRequest| {
        let status = activities(&server).start_activity(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        violations.into_iter().next().unwrap().field
    };
    assert_eq!(refusal(v1::StartActivityRequest { activity_id: String::new(), ..activity("a") }).await, "activity_id");
    assert_eq!(refusal(v1::StartActivityRequest { task_queue: String::new(), ..activity("a") }).await, "task_queue");
    assert_eq!(refusal(v1::StartActivityRequest { timeouts: None, ..activity("a") }).await, "start_to_close");
    assert_eq!(refusal(v1::StartActivityRequest { id_reuse_policy: 99, ..activity("a") }).await, "id_reuse_policy");
    let long = "x".repeat(401);
    assert_eq!(refusal(v1::StartActivityRequest { summary: long, ..activity("a") }).await, "summary");
    assert_eq!(store.stats().commits, before);
    let status = again(&server, "never", "").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, "activity \"never\" not found"));
    server.shutdown().await;
}

#[tokio::test]
async fn one_that_used_up_its_attempts_is_a_dead_letter_until_it_is_run_again() {
    let server = start(store().await, options()).await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let first = start_one(&server, "a").await;
    fail(&mut worker, 1).await;
    let failed = outcome(&server, "a").await;
    assert_eq!(failed.status(), v1::WorkflowStatus::Failed);
    assert_eq!(failed.failure.unwrap().message, "later");
    assert_eq!(describe_one(&server, "a", "").await.last_attempt, 2);
    assert_eq!(count(&server, "Status = 'Failed'").await, 1);

    let repeated = again(&server, "a", "").await.unwrap();
    assert_eq!(repeated.repeated_run_id, first);
    assert_eq!(again(&server, "a", &first).await.unwrap(), repeated, "a repeat of the request changes nothing");
    assert_eq!(count(&server, "Status = 'Failed'").await, 0, "it is no dead letter any more");
    let old = describe_one(&server, "a", &first).await;
    assert_eq!(old.summary.unwrap().status(), v1::WorkflowStatus::ContinuedAsNew);
    assert_eq!(old.outcome.unwrap().status(), v1::WorkflowStatus::Failed, "how it ended is not forgotten");
    assert_eq!(describe_one(&server, "a", "").await.continued_from_run_id, first);

    let status = again(&server, "a", "").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    let task = worker.activity_task().await;
    assert_eq!((task.attempt, convert::payloads_from_proto(task.input.clone())), (1, vec![Payload::json("42")]));
    worker.complete_activity(&task).await;
    assert_eq!(outcome(&server, "a").await.run_id, repeated.run_id);
    let other = again(&server, "a", &first).await.unwrap();
    assert_eq!(other.run_id, repeated.run_id, "the old run was run again once and for all");
    server.shutdown().await;
}

#[tokio::test]
async fn all_that_a_filter_means_is_run_again_in_bounds_and_with_progress() {
    let server = start(store().await, options()).await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    const MANY: usize = 120;
    for number in 0..MANY {
        start_one(&server, &format!("a-{number}")).await;
    }
    start_one(&server, "b").await;
    fail(&mut worker, MANY + 1).await;
    assert_eq!(count(&server, "Status = 'Failed'").await, MANY as u64 + 1);
    let bounded = all_again(&server, "ActivityId STARTS_WITH 'a-'", 7).await;
    let last = bounded.last().unwrap();
    assert_eq!((last.found, last.run_again, last.done), (MANY as u64, 7, true));
    let rest = all_again(&server, "ActivityId STARTS_WITH 'a-' ORDER BY StartTime", 0).await;
    assert!(rest.len() > 2, "it tells how far it has come: {rest:?}");
    assert!(rest.windows(2).all(|two| two[0].run_again <= two[1].run_again), "{rest:?}");
    let last = rest.last().unwrap();
    assert_eq!((last.found, last.run_again, last.passed_over, last.done), (MANY as u64 - 7, MANY as u64 - 7, 0, true));
    assert_eq!(list(&server, "Status = 'Failed'").await, ["b"]);
    assert_eq!(count(&server, "Status = 'Running'").await, MANY as u64);
    server.shutdown().await;
}

#[tokio::test]
async fn it_is_canceled_by_its_worker_or_at_once_if_nobody_has_it() {
    let server = start(store().await, options()).await;
    let cancel = async |id: &str| {
        let request =
            v1::CancelActivityRequest { namespace: "default".into(), activity_id: id.into(), ..Default::default() };
        activities(&server).cancel_activity(request).await.map(drop)
    };
    start_one(&server, "waits").await;
    cancel("waits").await.unwrap();
    assert_eq!(outcome(&server, "waits").await.status(), v1::WorkflowStatus::Canceled);
    cancel("waits").await.unwrap();
    assert_eq!(cancel("never").await.unwrap_err().code(), tonic::Code::NotFound);

    start_one(&server, "runs").await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.activity_task().await;
    cancel("runs").await.unwrap();
    let stop = worker.stop().await;
    assert_eq!(
        (stop.token.as_slice(), stop.reason()),
        (task.token.as_slice(), v1::ActivityStopReason::CancelRequested)
    );
    let stopped = v1::ActivityTaskCancellation { token: task.token.clone(), details: None };
    worker.report(v1::task_result::Result::ActivityCanceled(stopped)).await;
    assert_eq!(outcome(&server, "runs").await.status(), v1::WorkflowStatus::Canceled);
    assert!(describe_one(&server, "runs", "").await.cancel_requested);
    server.shutdown().await;
}

#[tokio::test]
async fn terminated_ends_it_and_its_worker_is_told() {
    let server = start(store().await, options()).await;
    start_one(&server, "a").await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.activity_task().await;
    let request = v1::TerminateActivityRequest {
        namespace: "default".into(),
        activity_id: "a".into(),
        reason: "stuck".into(),
        ..Default::default()
    };
    activities(&server).terminate_activity(request.clone()).await.unwrap();
    assert_eq!(worker.stop().await.reason(), v1::ActivityStopReason::NotWanted);
    let late = worker.complete_activity(&task).await;
    assert_ne!(late.refused, "");
    let ended = outcome(&server, "a").await;
    assert_eq!((ended.status(), ended.failure.unwrap().message.as_str()), (v1::WorkflowStatus::Terminated, "stuck"));
    let status = activities(&server).terminate_activity(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    server.shutdown().await;
}

#[tokio::test]
async fn it_is_completed_from_anywhere_by_its_id_or_token() {
    let server = start(store().await, options()).await;
    let mut calls = WorkerServiceClient::new(server.service());
    start_one(&server, "by id").await;
    let by_id = v1::ActivityById { execution: None, activity_id: "by id".into() };
    let request = v1::CompleteActivityRequest {
        namespace: "default".into(),
        activity: Some(v1::complete_activity_request::Activity::ById(by_id)),
        ..Default::default()
    };
    calls.complete_activity(request).await.unwrap();
    assert_eq!(outcome(&server, "by id").await.status(), v1::WorkflowStatus::Completed);

    start_one(&server, "by token").await;
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let token = worker.activity_task().await.token;
    let heartbeat = v1::HeartbeatActivityRequest {
        namespace: "default".into(),
        activity: Some(v1::heartbeat_activity_request::Activity::Token(token.clone())),
        details: Some(convert::payload_to_proto(&Payload::json("17"))),
    };
    assert!(!calls.heartbeat_activity(heartbeat).await.unwrap().into_inner().cancel_requested);
    let details = describe_one(&server, "by token", "").await.pending.unwrap().heartbeat_details.unwrap();
    assert_eq!(convert::payload_from_proto(details), Payload::json("17"));
    let request = v1::CompleteActivityRequest {
        namespace: "default".into(),
        activity: Some(v1::complete_activity_request::Activity::Token(token)),
        ..Default::default()
    };
    calls.complete_activity(request).await.unwrap();
    assert_eq!(outcome(&server, "by token").await.status(), v1::WorkflowStatus::Completed);
    server.shutdown().await;
}

#[tokio::test]
async fn a_worker_keeps_what_it_has_through_a_restart_of_the_server() {
    let store = store().await;
    let options = engine_server::NodeOptions { recovery_grace: Duration::from_secs(60), ..options() };
    let first = start(Arc::clone(&store), options.clone()).await;
    start_one(&first, "a").await;
    let mut worker = Worker::connect(&first, hello(1), 4).await;
    let task = worker.activity_task().await;
    first.shutdown().await;

    let second = start(Arc::clone(&store), options).await;
    let back = v1::Hello { activity_tasks_in_hand: vec![task.token.clone()], ..hello(1) };
    let mut worker = Worker::connect(&second, back, 4).await;
    assert!(worker.welcome.refused_tasks.is_empty());
    assert_eq!(worker.complete_activity(&task).await.refused, "");
    assert_eq!(outcome(&second, "a").await.status(), v1::WorkflowStatus::Completed);
    second.shutdown().await;
}

#[tokio::test]
async fn what_waits_is_offered_again_after_a_restart_and_the_worker_that_vanished_is_replaced() {
    let store = store().await;
    let first = start(Arc::clone(&store), options()).await;
    start_one(&first, "a").await;
    first.shutdown().await;

    let second = start(Arc::clone(&store), options()).await;
    let mut vanishes = Worker::connect(&second, hello(1), 4).await;
    vanishes.activity_task().await;
    drop(vanishes);
    let mut worker = Worker::connect(&second, hello(2), 4).await;
    let task = worker.activity_task().await;
    assert_eq!((task.activity_id.as_str(), task.attempt), ("a", 2));
    assert_eq!(worker.complete_activity(&task).await.refused, "");
    second.shutdown().await;
}

#[tokio::test]
async fn a_doubtful_commit_neither_loses_nor_repeats_anything() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        let store = FaultyStore::new(store().await);
        let server = start(Arc::clone(&store) as Arc<dyn Store>, options()).await;
        store.plan_next(fault.clone());
        let request = v1::StartActivityRequest { request_id: "r".into(), ..activity("a") };
        while let Err(status) = activities(&server).start_activity(request.clone()).await {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            tokio::task::yield_now().await;
        }
        assert_eq!(count(&server, "").await, 1);
        let mut worker = Worker::connect(&server, hello(1), 4).await;
        let task = worker.activity_task().await;
        store.plan_next(fault.clone());
        let done = v1::ActivityTaskCompletion { token: task.token.clone(), result: None };
        worker.result(v1::task_result::Result::ActivityCompleted(done));
        assert!(worker.ended().await);
        let back = v1::Hello { activity_tasks_in_hand: vec![task.token.clone()], ..hello(1) };
        let mut worker = Worker::connect(&server, back, 4).await;
        // Written the first time, the repeat is stale; else it is accepted.
        worker.complete_activity(&task).await;
        assert_eq!(outcome(&server, "a").await.status(), v1::WorkflowStatus::Completed, "{fault:?}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn retention_deletes_them_and_a_namespace_with_open_ones_is_not_deleted() {
    use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
    let server = start(store().await, options()).await;
    let mut namespaces = NamespaceServiceClient::new(server.service());
    let retention = Some(v1::Retention { default: Some(seconds(3600)), ..Default::default() });
    let create = v1::CreateNamespaceRequest { namespace: "jobs".into(), retention, ..Default::default() };
    namespaces.create_namespace(create).await.unwrap();
    let mut calls = activities(&server);
    let request = v1::StartActivityRequest { namespace: "jobs".into(), ..activity("a") };
    calls.start_activity(request).await.unwrap();
    let delete = v1::DeleteNamespaceRequest { namespace: "jobs".into(), ..Default::default() };
    let status = namespaces.delete_namespace(delete).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    let cancel = v1::CancelActivityRequest { namespace: "jobs".into(), activity_id: "a".into(), ..Default::default() };
    calls.cancel_activity(cancel).await.unwrap();
    assert_eq!(server.delete_expired_runs(Timestamp::EPOCH).await.unwrap(), 0);
    let far = Timestamp::from_micros(i64::MAX / 2);
    assert_eq!(server.delete_expired_runs(far).await.unwrap(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn sqlite_keeps_them_apart_and_brings_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.db");
    let open = async || {
        let store = SqliteStore::open(path.to_str().unwrap()).await.unwrap();
        store.migrate(4).await.unwrap();
        Arc::new(store) as Arc<dyn Store>
    };
    let first = start(open().await, options()).await;
    client(&first).start_workflow(start_request("same")).await.unwrap();
    start_one(&first, "same").await;
    first.shutdown().await;

    let second = start(open().await, options()).await;
    let mut worker = Worker::connect(&second, hello(1), 4).await;
    let task = worker.activity_task().await;
    worker.report(failure(&task)).await;
    let task = worker.activity_task().await;
    worker.report(failure(&task)).await;
    assert_eq!(list(&second, "Status = 'Failed' ORDER BY CloseTime").await, ["same"]);
    assert_eq!(all_again(&second, "", 0).await.last().unwrap().run_again, 1);
    assert_eq!(count(&second, "Status = 'Failed'").await, 0);
    let task = worker.activity_task().await;
    worker.complete_activity(&task).await;
    assert_eq!(outcome(&second, "same").await.status(), v1::WorkflowStatus::Completed);
    second.shutdown().await;
}

#[tokio::test]
async fn a_paused_one_is_not_handed_out_until_it_is_unpaused_and_its_options_change() {
    let server = start(store().await, options()).await;
    let mut operations = OperationServiceClient::new(server.service());
    let named = |activity_id: &str| v1::PauseActivityRequest {
        namespace: "default".into(),
        activity_id: activity_id.into(),
        reason: "the gateway is down".into(),
        ..Default::default()
    };
    let status = operations.pause_activity(named("a")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound, "{status}");
    start_one(&server, "a").await;
    start_one(&server, "b").await;
    assert!(operations.pause_activity(named("a")).await.unwrap().into_inner().changed);
    assert!(!operations.pause_activity(named("a")).await.unwrap().into_inner().changed);
    assert_eq!(list(&server, "Paused = true").await, ["a"]);
    let describe =
        v1::DescribeActivityRequest { namespace: "default".into(), activity_id: "a".into(), ..Default::default() };
    let described = activities(&server).describe_activity(describe.clone()).await.unwrap().into_inner();
    let summary = described.summary.unwrap();
    assert!(summary.paused && summary.search_attributes.is_empty(), "{summary:?}");
    assert_eq!(described.pending.unwrap().paused.unwrap().reason, "the gateway is down");
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    assert_eq!(worker.activity_task().await.activity_id, "b", "the first one is paused");

    let timeouts = v1::ActivityTimeouts { start_to_close: Some(seconds(7)), ..Default::default() };
    let options = v1::UpdateActivityOptionsRequest {
        namespace: "default".into(),
        activity_id: "a".into(),
        timeouts: Some(timeouts),
        ..Default::default()
    };
    operations.update_activity_options(options).await.unwrap();
    let unpause =
        v1::UnpauseActivityRequest { namespace: "default".into(), activity_id: "a".into(), ..Default::default() };
    assert!(operations.unpause_activity(unpause).await.unwrap().into_inner().changed);
    assert_eq!(list(&server, "Paused = true").await, [""; 0]);
    assert!(!activities(&server).describe_activity(describe).await.unwrap().into_inner().summary.unwrap().paused);
    let task = worker.activity_task().await;
    assert_eq!((task.activity_id.as_str(), task.timeouts.unwrap().start_to_close), ("a", Some(seconds(7))));
    server.shutdown().await;
}

#[tokio::test]
async fn one_that_is_paused_is_listed_as_such_after_a_restart_and_no_longer_once_it_has_ended() {
    let store = store().await;
    let first = start(Arc::clone(&store), options()).await;
    start_one(&first, "a").await;
    let pause = v1::PauseActivityRequest { namespace: "default".into(), activity_id: "a".into(), ..Default::default() };
    OperationServiceClient::new(first.service()).pause_activity(pause).await.unwrap();
    first.shutdown().await;

    let second = start(store, options()).await;
    assert_eq!(list(&second, "Paused = true").await, ["a"]);
    let terminate =
        v1::TerminateActivityRequest { namespace: "default".into(), activity_id: "a".into(), ..Default::default() };
    activities(&second).terminate_activity(terminate).await.unwrap();
    assert_eq!(list(&second, "Paused = true").await, [""; 0]);
    second.shutdown().await;
}
