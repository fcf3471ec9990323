//! What a worker says of its version, and of how its runs follow versions.

use engine_proto::v1::task_result::Result as Outcome;
use engine_proto::v1::{self, VersioningBehavior as Said};

use super::run;
use super::workflows::{History, double};
use crate::data::RawArguments;
use crate::error::WorkflowError;
use crate::fake_server::{FakeServer, FakeSession};
use crate::worker::{Worker, WorkerError};
use crate::workflow::WorkflowContext;
use crate::{VersioningBehavior, workflow};

#[workflow(versioning = "pinned")]
async fn stays(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.signal_channel::<u32>("number").recv().await;
    Ok(())
}

#[workflow(versioning = "auto_upgrade")]
async fn follows(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.signal_channel::<u32>("number").recv().await;
    Ok(())
}

#[workflow]
async fn does_not_say(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.signal_channel::<u32>("number").recv().await;
    Ok(())
}

#[derive(Default)]
struct Parcel;

#[workflow(versioning = "pinned")]
impl Parcel {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<(), WorkflowError> {
        ctx.signal_channel::<u32>("number").recv().await;
        Ok(())
    }
}

#[workflow(versioning = "pinned")]
async fn anything(_ctx: WorkflowContext, _input: RawArguments) -> Result<(), WorkflowError> {
    Ok(())
}

/// What the worker says of how a run of this type follows versions, when it has completed the run's first task.
async fn said(session: &mut FakeSession, number: u8, workflow_type: &'static str) -> Said {
    session.workflow(History::new(number, workflow_type, None).task()).await;
    match session.result().await.result {
        Some(Outcome::WorkflowTaskCompleted(completed)) => completed.versioning_behavior(),
        other => panic!("expected a completion: {other:?}"),
    }
}

#[tokio::test]
async fn a_worker_announces_its_version_and_the_queues_that_belong_to_it_alone() {
    let mut server = FakeServer::new();
    let worker = Worker::new(server.client(), "orders").queues(["returns"]).own_queue("host-7").own_queue("host-7");
    let _worker = run(worker.deployment("shop", "build-42").activity(double));
    let (_session, hello) = server.session().await;
    let v1::WorkerMetadata { deployment_name, build_id, .. } = hello.worker.unwrap();
    assert_eq!((deployment_name.as_str(), build_id.as_str()), ("shop", "build-42"));
    assert_eq!(hello.task_queues, ["orders", "returns", "host-7"]);
    assert_eq!(hello.own_task_queues, ["host-7"]);
}

#[tokio::test]
async fn a_worker_with_a_build_alone_announces_no_version() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").build_id("build-42").activity(double));
    let (_session, hello) = server.session().await;
    let v1::WorkerMetadata { deployment_name, build_id, .. } = hello.worker.unwrap();
    assert_eq!((deployment_name.as_str(), build_id.as_str()), ("", "build-42"));
    assert!(hello.own_task_queues.is_empty());
}

#[tokio::test]
async fn each_completed_task_says_how_its_code_follows_versions() {
    let mut server = FakeServer::new();
    let worker = || Worker::new(server.client(), "orders").deployment("shop", "build-42");
    let all = worker().workflow(stays).workflow(follows).workflow(does_not_say).workflow(Parcel::WORKFLOW);
    let _worker = run(all.any_workflow(anything));
    let (mut session, _) = server.session().await;
    session.credits().await;
    assert_eq!(said(&mut session, 1, "stays").await, Said::Pinned);
    assert_eq!(said(&mut session, 2, "follows").await, Said::AutoUpgrade);
    assert_eq!(said(&mut session, 3, "does_not_say").await, Said::Unspecified);
    assert_eq!(said(&mut session, 4, "Parcel").await, Said::Pinned);
    assert_eq!(said(&mut session, 5, "of another program").await, Said::Pinned, "as the catch-all code says");
}

#[tokio::test]
async fn the_workers_default_is_for_code_that_does_not_say() {
    let mut server = FakeServer::new();
    let worker = Worker::new(server.client(), "orders").deployment("shop", "build-42");
    let worker = worker.default_versioning(VersioningBehavior::Pinned);
    let _worker = run(worker.workflow(follows).workflow(does_not_say));
    let (mut session, _) = server.session().await;
    session.credits().await;
    assert_eq!(said(&mut session, 1, "follows").await, Said::AutoUpgrade);
    assert_eq!(said(&mut session, 2, "does_not_say").await, Said::Pinned);
}

#[tokio::test]
async fn a_version_that_cannot_be_announced_is_refused_in_a_sentence() {
    let server = FakeServer::new();
    let refused = async |name: &str, build_id: &str| {
        let worker = Worker::new(server.client(), "orders").activity(double).deployment(name, build_id);
        worker.run().await.unwrap_err().to_string()
    };
    assert_eq!(refused("", "1").await, "the deployment name \"\" must not be empty");
    assert_eq!(refused("shop", "").await, "the build id \"\" must not be empty");
    let long = refused("shop", &"7".repeat(201)).await;
    assert!(long.ends_with("is 201 bytes long; the limit is 200 bytes"), "{long}");
}

#[tokio::test]
async fn a_worker_on_a_queue_of_another_deployment_ends_with_the_servers_sentence() {
    let mut server = FakeServer::new();
    let worker = run(Worker::new(server.client(), "orders").activity(double).deployment("shop", "1"));
    let (session, _) = server.session().await;
    session.refuse(tonic::Status::failed_precondition("queue orders belongs to deployment bank")).await;
    let error = worker.end().await.unwrap_err();
    assert!(matches!(error, WorkerError::Refused(_)));
    assert_eq!(error.to_string(), "the server refuses the worker: queue orders belongs to deployment bank");
}
