//! Requests that cannot be served: each gets the right code, one sentence, and details that name the field or the remedy; and
//! the server goes on serving others.

use engine_e2e::checker::Start;
use engine_e2e::clerk::{Clerk, execution, payload, start_request};
use engine_e2e::world::{Server, World};
use engine_proto::v1;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::databases::Database;

struct Scene {
    world: World,
    server: Server,
    clerk: Clerk,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new().unwrap();
        let server = Database::Sqlite.server(&world).await;
        let clerk = Clerk::new([server.url()]).unwrap();
        Scene { world, server, clerk }
    }

    async fn start(&self, request: v1::StartWorkflowRequest) -> Result<v1::StartWorkflowResponse, Status> {
        self.clerk.client().start_workflow(request).await.map(tonic::Response::into_inner)
    }

    /// The server still serves: a workflow runs to its end.
    async fn serves_others(&self, _worker: &engine_e2e::world::Worker) {
        let start = self.clerk.start("bystander", "chain", &[json!(1), json!(1)]).await.unwrap();
        assert_eq!(self.clerk.closed(&start).await.unwrap(), v1::WorkflowStatus::Completed);
    }

    fn worker(&self) -> engine_e2e::world::Worker {
        self.world.worker(&self.server, "worker").unwrap()
    }
}

/// One sentence for people: short, on one line, without the marks of a debug print.
#[track_caller]
fn is_sentence(message: &str) {
    assert!(!message.is_empty() && message.len() < 400, "{message:?}");
    assert!(!message.contains('\n') && !message.contains("Some(") && !message.contains("{ "), "{message:?}");
}

/// INVALID_ARGUMENT that names `field` and says `what` about it.
#[track_caller]
fn is_invalid(status: &Status, field: &str, what: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    is_sentence(status.message());
    assert!(status.message().contains(field) && status.message().contains(what), "{status:?}");
    let details = status.get_details_bad_request().expect("it has a BadRequest");
    assert_eq!(details.field_violations.len(), 1);
    assert_eq!(details.field_violations[0].field, field);
}

/// A code with a ResourceInfo of this kind.
#[track_caller]
fn is_about(status: &Status, code: Code, kind: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    is_sentence(status.message());
    assert_eq!(status.get_details_resource_info().expect("it has a ResourceInfo").resource_type, kind, "{status:?}");
}

#[tokio::test]
async fn names_that_are_empty_too_long_or_unknown_are_refused_by_field() {
    let scene = Scene::new().await;
    let good = || start_request("w", "chain", &[json!(1), json!(1)]);
    let long = "x".repeat(1001);
    type Change = fn(&mut v1::StartWorkflowRequest, String);
    let fields: [(&str, Change); 4] = [
        ("workflow_id", |request, name| request.workflow_id = name),
        ("workflow_type", |request, name| request.workflow_type = name),
        ("task_queue", |request, name| request.task_queue = name),
        ("namespace", |request, name| request.namespace = name),
    ];
    for (field, change) in fields {
        for (name, what) in [("", "empty"), (long.as_str(), "1000"), ("a\u{0}b", "control")] {
            let mut request = good();
            change(&mut request, name.to_owned());
            is_invalid(&scene.start(request).await.unwrap_err(), field, what);
        }
    }
    let elsewhere = v1::StartWorkflowRequest { namespace: "elsewhere".into(), ..good() };
    let status = scene.start(elsewhere).await.unwrap_err();
    is_about(&status, Code::NotFound, "namespace");
    assert!(status.message().contains("elsewhere"), "{status:?}");
    let unnamed = v1::DescribeWorkflowRequest { namespace: "default".into(), execution: None };
    is_invalid(&scene.clerk.client().describe_workflow(unnamed).await.unwrap_err(), "execution", "");
    let no_run = Start { workflow_id: "w".into(), run_id: "not-a-uuid".into() };
    let describe = v1::DescribeWorkflowRequest { namespace: "default".into(), execution: Some(execution(&no_run)) };
    is_invalid(&scene.clerk.client().describe_workflow(describe).await.unwrap_err(), "execution.run_id", "UUID");
    scene.serves_others(&scene.worker()).await;
}

#[tokio::test]
async fn payloads_over_the_limit_are_refused_with_the_limit() {
    let scene = Scene::new().await;
    let limit = 2 * 1024 * 1024;
    let large = json!("x".repeat(limit));
    let status = scene.start(start_request("w", "chain", std::slice::from_ref(&large))).await.unwrap_err();
    is_invalid(&status, "input", "2097152");
    let worker = scene.worker();
    let start = scene.clerk.start("w", "notes", &[json!(1)]).await.unwrap();
    let mut signal = v1::SignalWorkflowRequest {
        namespace: "default".into(),
        execution: Some(execution(&start)),
        signal_name: "Note".into(),
        input: vec![payload(&large)],
        ..Default::default()
    };
    let status = scene.clerk.client().signal_workflow(signal.clone()).await.unwrap_err();
    is_invalid(&status, "input", "2097152");
    signal.signal_name = String::new();
    signal.input = vec![];
    is_invalid(&scene.clerk.client().signal_workflow(signal).await.unwrap_err(), "signal_name", "empty");
    scene.serves_others(&worker).await;
}

#[tokio::test]
async fn a_start_of_an_id_in_use_follows_its_policies() {
    use v1::{WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse};
    let scene = Scene::new().await;
    let worker = scene.worker();
    let first = scene.clerk.start("w", "notes", &[json!(1)]).await.unwrap();
    let request = |conflict: Conflict, reuse: Reuse| {
        let mut request = start_request("w", "notes", &[json!(1)]);
        request.set_id_conflict_policy(conflict);
        request.set_id_reuse_policy(reuse);
        request
    };
    let status = scene.start(request(Conflict::Fail, Reuse::AllowDuplicate)).await.unwrap_err();
    is_about(&status, Code::AlreadyExists, "run");
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, first.run_id);
    let same = scene.start(request(Conflict::UseExisting, Reuse::AllowDuplicate)).await.unwrap();
    assert_eq!((same.run_id.as_str(), same.started), (first.run_id.as_str(), false));
    let second = scene.start(request(Conflict::TerminateExisting, Reuse::AllowDuplicate)).await.unwrap();
    assert!(second.started && second.run_id != first.run_id);
    assert_eq!(scene.clerk.closed(&first).await.unwrap(), v1::WorkflowStatus::Terminated);

    let second = Start { workflow_id: "w".into(), run_id: second.run_id };
    scene.clerk.note(&second, "the note").await.unwrap();
    assert_eq!(scene.clerk.closed(&second).await.unwrap(), v1::WorkflowStatus::Completed);
    for reuse in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
        is_about(&scene.start(request(Conflict::Fail, reuse)).await.unwrap_err(), Code::AlreadyExists, "run");
    }
    let third = scene.start(request(Conflict::Fail, Reuse::AllowDuplicate)).await.unwrap();
    assert!(third.started);
    scene.serves_others(&worker).await;
}

#[tokio::test]
async fn a_message_to_a_run_that_is_closed_or_unknown_is_refused() {
    let scene = Scene::new().await;
    let worker = scene.worker();
    let start = scene.clerk.start("w", "chain", &[json!(1), json!(1)]).await.unwrap();
    scene.clerk.closed(&start).await.unwrap();
    let signal = |start: &Start| v1::SignalWorkflowRequest {
        namespace: "default".into(),
        execution: Some(execution(start)),
        signal_name: "Note".into(),
        ..Default::default()
    };
    let status = scene.clerk.client().signal_workflow(signal(&start)).await.unwrap_err();
    is_about(&status, Code::NotFound, "workflow_execution");
    assert!(status.message().contains("already completed"), "{status:?}");
    let terminate = v1::TerminateWorkflowRequest {
        namespace: "default".into(),
        execution: Some(execution(&start)),
        ..Default::default()
    };
    let status = scene.clerk.client().terminate_workflow(terminate).await.unwrap_err();
    is_about(&status, Code::NotFound, "workflow_execution");
    let cancel = v1::CancelWorkflowRequest {
        namespace: "default".into(),
        execution: Some(execution(&start)),
        ..Default::default()
    };
    scene.clerk.client().cancel_workflow(cancel).await.expect("there is nothing to cancel");

    let nobody = Start { workflow_id: "nobody".into(), run_id: String::new() };
    let status = scene.clerk.client().signal_workflow(signal(&nobody)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("nobody"), "{status:?}");
    is_sentence(status.message());
    scene.serves_others(&worker).await;
}

#[tokio::test]
async fn an_activity_is_completed_only_by_a_token_that_is_right() {
    let scene = Scene::new().await;
    let worker = scene.worker();
    let mut workers = WorkerServiceClient::connect(scene.server.url()).await.unwrap();
    let request = |activity| v1::CompleteActivityRequest {
        namespace: "default".into(),
        activity: Some(activity),
        result: Some(payload(&json!("forged"))),
        ..Default::default()
    };
    use v1::complete_activity_request::Activity;
    let forged = workers.complete_activity(request(Activity::Token(b"forged".to_vec()))).await.unwrap_err();
    assert_eq!(forged.code(), Code::InvalidArgument, "{forged:?}");
    is_sentence(forged.message());
    assert!(forged.message().contains("not a token of this server"), "{forged:?}");

    let gate = scene.world.gate().unwrap();
    let start = scene.clerk.start("w", "gates", &[json!(gate.path())]).await.unwrap();
    let (one, two) = (gate.arrival().await.unwrap(), gate.arrival().await.unwrap());
    let by_id = |activity_id: &str| {
        Activity::ById(v1::ActivityById { execution: Some(execution(&start)), activity_id: activity_id.into() })
    };
    let unknown = workers.complete_activity(request(by_id("no-such"))).await.unwrap_err();
    is_about(&unknown, Code::NotFound, "activity");
    one.let_pass().await.unwrap();
    two.let_pass().await.unwrap();
    assert_eq!(scene.clerk.closed(&start).await.unwrap(), v1::WorkflowStatus::Completed);
    let late = workers.complete_activity(request(by_id("1"))).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound, "{late:?}");
    is_sentence(late.message());
    scene.serves_others(&worker).await;
}
