//! Worker versions through the services: which build of a program gets which runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_proto::v1;
use engine_proto::v1::VersionStatus::{Current, Drained, Draining, Inactive, Ramping};
use engine_proto::v1::VersioningBehavior::{AutoUpgrade, Pinned};
use engine_proto::v1::activity_service_client::ActivityServiceClient;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_proto::v1::deployment_service_client::DeploymentServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_server::{NodeOptions, Server};
use parking_lot::Mutex;
use prost::Message;
use support::*;
use tonic::service::Routes;
use tonic::{Code, Status};

fn deployments(server: &Server) -> DeploymentServiceClient<Routes> {
    DeploymentServiceClient::new(server.service())
}

/// The hello of a worker of a build of deployment `shop`.
fn hello_of(worker_id: u128, build_id: &str) -> v1::Hello {
    let worker = v1::WorkerMetadata {
        deployment_name: "shop".into(),
        build_id: build_id.into(),
        ..v1::WorkerMetadata::default()
    };
    v1::Hello { worker: Some(worker), ..hello(worker_id) }
}

async fn build(server: &Server, worker_id: u128, build_id: &str) -> Worker {
    Worker::connect(server, hello_of(worker_id, build_id), 100).await
}

/// Completes a task as code does that follows versions like this.
async fn complete_as(
    worker: &mut Worker,
    task: &v1::WorkflowTask,
    behavior: v1::VersioningBehavior,
    commands: Vec<v1::Command>,
) {
    let done = v1::WorkflowTaskCompletion {
        token: task.token.clone(),
        commands,
        cached: true,
        versioning_behavior: behavior.into(),
        ..Default::default()
    };
    let ack = worker.report(v1::task_result::Result::WorkflowTaskCompleted(done)).await;
    assert_eq!(ack.refused, "");
}

fn current(build_id: &str) -> v1::SetCurrentVersionRequest {
    v1::SetCurrentVersionRequest {
        namespace: "default".into(),
        deployment_name: "shop".into(),
        build_id: build_id.into(),
        identity: "desk".into(),
        ..Default::default()
    }
}

fn ramping(build_id: &str, percentage: f32) -> v1::SetRampingVersionRequest {
    v1::SetRampingVersionRequest {
        namespace: "default".into(),
        deployment_name: "shop".into(),
        build_id: build_id.into(),
        percentage,
        identity: "desk".into(),
        ..Default::default()
    }
}

async fn set_current(server: &Server, build_id: &str) -> v1::SetCurrentVersionResponse {
    deployments(server).set_current_version(current(build_id)).await.unwrap().into_inner()
}

async fn set_ramping(server: &Server, build_id: &str, percentage: f32) -> v1::SetRampingVersionResponse {
    deployments(server).set_ramping_version(ramping(build_id, percentage)).await.unwrap().into_inner()
}

async fn look(server: &Server) -> v1::Deployment {
    let request = v1::DescribeDeploymentRequest { namespace: "default".into(), deployment_name: "shop".into() };
    deployments(server).describe_deployment(request).await.unwrap().into_inner().deployment.unwrap()
}

async fn statuses(server: &Server) -> Vec<(String, v1::VersionStatus)> {
    let mut versions: Vec<_> =
        look(server).await.versions.iter().map(|it| (it.build_id.clone(), it.status())).collect();
    versions.sort();
    versions
}

fn of(statuses: &[(&str, v1::VersionStatus)]) -> Vec<(String, v1::VersionStatus)> {
    statuses.iter().map(|(build, status)| ((*build).to_owned(), *status)).collect()
}

fn version(build_id: &str) -> v1::WorkerVersion {
    v1::WorkerVersion { deployment_name: "shop".into(), build_id: build_id.into() }
}

fn pinned_to(build_id: &str) -> Option<v1::VersioningOverride> {
    Some(v1::VersioningOverride { behavior: Pinned.into(), version: Some(version(build_id)) })
}

async fn move_to(
    server: &Server,
    workflow_id: &str,
    versioning_override: Option<v1::VersioningOverride>,
) -> Result<v1::MoveWorkflowResponse, Status> {
    let request = v1::MoveWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        versioning_override,
        reason: "a bad build".into(),
        identity: "desk".into(),
        ..Default::default()
    };
    Ok(OperationServiceClient::new(server.service()).move_workflow(request).await?.into_inner())
}

async fn begin(server: &Server, workflow_id: &str) {
    client(server).start_workflow(start_request(workflow_id)).await.unwrap();
}

/// Workflow ids by a filter, in any order.
async fn found(server: &Server, query: &str) -> BTreeSet<String> {
    let request = v1::ListWorkflowsRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
    let runs = client(server).list_workflows(request).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| run.workflow_id).collect()
}

#[tokio::test]
async fn new_runs_go_to_the_current_build_and_pinned_ones_stay() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    let mut unversioned = Worker::connect(&server, hello(3), 100).await;
    assert_eq!(statuses(&server).await, of(&[("1", Inactive), ("2", Inactive)]));

    begin(&server, "before").await;
    assert_eq!(unversioned.workflow_task().await.workflow_id, "before");

    assert_eq!(set_current(&server, "1").await.previous_build_id, "");
    begin(&server, "pinned").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![schedule_activity("a", 1)]).await;
    let activity = one.activity_task().await;

    assert_eq!(set_current(&server, "2").await.previous_build_id, "1");
    begin(&server, "after").await;
    assert_eq!(two.workflow_task().await.workflow_id, "after");
    assert_eq!(statuses(&server).await, of(&[("1", Draining), ("2", Current)]));
    let old = look(&server).await.versions.into_iter().find(|it| it.build_id == "1").unwrap();
    assert_eq!((old.pinned_runs, old.following_runs, old.workers), (1, 0, 1));
    assert!(old.left_time.is_some() && old.last_current_time.is_some());
    assert_eq!(
        found(&server, "Deployment = 'shop' AND BuildId = '1' AND VersioningBehavior = 'Pinned'").await,
        ["pinned".to_owned()].into()
    );

    one.complete_activity(&activity).await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![complete_workflow()]).await;
    assert_eq!(statuses(&server).await, of(&[("1", Drained), ("2", Current)]));

    set_current(&server, "").await;
    begin(&server, "unversioned again").await;
    assert_eq!(unversioned.workflow_task().await.workflow_id, "unversioned again");
    server.shutdown().await;
}

#[tokio::test]
async fn a_run_that_follows_versions_goes_over_with_its_whole_history_and_back() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, AutoUpgrade, vec![]).await;
    let described = describe(&server, "w").await;
    let expected = v1::WorkflowVersioning {
        version: Some(version("1")),
        behavior: AutoUpgrade.into(),
        versioning_override: None,
        target: Some(version("1")),
    };
    assert_eq!(described.versioning, Some(expected));
    let summary = described.summary.unwrap();
    assert_eq!((summary.version, summary.versioning_behavior), (Some(version("1")), AutoUpgrade.into()));
    assert!(summary.search_attributes.is_empty(), "the engine's own are told by themselves");

    set_current(&server, "2").await;
    assert_eq!(describe(&server, "w").await.versioning.unwrap().target, Some(version("2")));
    signal(&server, "w", "go").await.unwrap();
    let task = two.workflow_task().await;
    assert_eq!(task.first_event_id, 1, "build 2 has never seen it");
    assert_eq!(one.evicted().await, task.run_id);
    complete_as(&mut two, &task, AutoUpgrade, vec![]).await;
    assert_eq!(look(&server).await.versions[0].following_runs, 1, "the one that was heard of last");

    set_current(&server, "1").await;
    signal(&server, "w", "go").await.unwrap();
    let task = one.workflow_task().await;
    assert_eq!(task.first_event_id, 1, "build 1 has forgotten it");
    complete_as(&mut one, &task, AutoUpgrade, vec![complete_workflow()]).await;
    assert_eq!(result(&server, "w").await.status(), v1::WorkflowStatus::Completed);
    server.shutdown().await;
}

#[tokio::test]
async fn what_waits_when_the_routing_changes_goes_to_who_has_it_now() {
    let server = start(store().await, options()).await;
    // Announced, and gone.
    drop(build(&server, 1, "1").await);
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let ids: BTreeSet<String> = (0..20).map(|n| format!("w-{n}")).collect();
    for id in &ids {
        begin(&server, id).await;
    }
    set_current(&server, "2").await;
    let mut got = BTreeSet::new();
    for _ in &ids {
        let task = two.workflow_task().await;
        assert!(got.insert(task.workflow_id.clone()), "handed out twice");
        complete_as(&mut two, &task, Pinned, vec![schedule_activity("a", 0)]).await;
    }
    assert_eq!(got, ids);
    for _ in &ids {
        let activity = two.activity_task().await;
        two.complete_activity(&activity).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_share_of_the_workflow_ids_goes_to_the_ramping_build_and_stays_while_it_grows() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let mut ramped_before = BTreeSet::new();
    for percentage in [0.0, 30.0, 100.0] {
        let answer = set_ramping(&server, "2", percentage).await;
        assert_eq!(answer.deployment.unwrap().ramping_percentage, percentage);
        assert_eq!(statuses(&server).await, of(&[("1", Current), ("2", Ramping)]));
        // Which ids are in a share of 30 % never changes (`queue/route.rs`).
        let mut ramped = BTreeSet::new();
        for number in 0..20 {
            let id = format!("order-{number}");
            begin(&server, &id).await;
            let (is_ramped, task) = tokio::select! {
                task = one.workflow_task() => (false, task),
                task = two.workflow_task() => (true, task),
            };
            assert_eq!(task.workflow_id, id);
            if is_ramped {
                ramped.insert(id);
            }
            let worker = if is_ramped { &mut two } else { &mut one };
            complete_as(worker, &task, Pinned, vec![complete_workflow()]).await;
        }
        assert!(ramped.is_superset(&ramped_before));
        match percentage {
            0.0 => assert_eq!(ramped.len(), 0),
            100.0 => assert_eq!(ramped.len(), 20),
            _ => assert!((1..20).contains(&ramped.len()), "{ramped:?}"),
        }
        ramped_before = ramped;
    }
    let answer = set_ramping(&server, "", 0.0).await;
    assert_eq!((answer.previous_build_id.as_str(), answer.previous_percentage), ("2", 100.0));
    assert_eq!(statuses(&server).await, of(&[("1", Current), ("2", Drained)]));
    server.shutdown().await;
}

#[tokio::test]
async fn an_operator_moves_a_run_to_another_build_and_lets_it_follow_its_code_again() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![]).await;

    assert!(move_to(&server, "w", pinned_to("2")).await.unwrap().changed);
    assert!(!move_to(&server, "w", pinned_to("2")).await.unwrap().changed);
    let versioning = describe(&server, "w").await.versioning.unwrap();
    assert_eq!((versioning.versioning_override, versioning.target), (pinned_to("2"), Some(version("2"))));
    assert_eq!(found(&server, "BuildId = '2'").await, ["w".to_owned()].into(), "at once, without a task");
    signal(&server, "w", "go").await.unwrap();
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, Pinned, vec![]).await;
    assert!(history(&server, "w").await.contains(&"WorkflowOptionsUpdated".to_owned()));

    let follow = v1::VersioningOverride { behavior: AutoUpgrade.into(), version: None };
    assert!(move_to(&server, "w", Some(follow)).await.unwrap().changed);
    assert_eq!(describe(&server, "w").await.versioning.unwrap().target, Some(version("1")));
    assert!(move_to(&server, "w", None).await.unwrap().changed);
    assert_eq!(describe(&server, "w").await.versioning.unwrap().target, Some(version("2")), "as its code said there");

    let refused = move_to(&server, "w", pinned_to("9")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no worker has announced build \"9\""), "{refused:?}");
    signal(&server, "w", "end").await.unwrap();
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, Pinned, vec![complete_workflow()]).await;
    assert_eq!(move_to(&server, "w", pinned_to("1")).await.unwrap_err().code(), Code::NotFound);
    server.shutdown().await;
}

#[tokio::test]
async fn a_task_that_waits_goes_along_when_its_run_is_moved() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![]).await;
    // Gone for good: what waits for build 1 would wait for ever.
    drop(one);
    signal(&server, "w", "go").await.unwrap();
    let mut two = build(&server, 2, "2").await;
    move_to(&server, "w", pinned_to("2")).await.unwrap();
    let task = two.workflow_task().await;
    assert_eq!(task.workflow_id, "w");
    complete_as(&mut two, &task, Pinned, vec![complete_workflow()]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_run_can_be_started_on_a_build_that_gets_no_runs_yet() {
    let server = start(store().await, options()).await;
    let _one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let on = |build_id| v1::StartWorkflowRequest { versioning_override: pinned_to(build_id), ..start_request("try") };
    let refused = client(&server).start_workflow(on("9")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    client(&server).start_workflow(on("2")).await.unwrap();
    let task = two.workflow_task().await;
    assert_eq!(task.workflow_id, "try");
    // The next run of its chain stays there too.
    let again = v1::command::Command::ContinueAsNew(v1::ContinueAsNewCommand::default());
    complete_as(&mut two, &task, AutoUpgrade, vec![v1::Command { command: Some(again) }]).await;
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, Pinned, vec![complete_workflow()]).await;
    assert_eq!(statuses(&server).await, of(&[("1", Current), ("2", Inactive)]));
    server.shutdown().await;
}

#[tokio::test]
async fn the_next_run_of_a_pinned_one_stays_with_its_build() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let _two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    set_current(&server, "2").await;
    let again = v1::command::Command::ContinueAsNew(v1::ContinueAsNewCommand::default());
    complete_as(&mut one, &task, Pinned, vec![v1::Command { command: Some(again) }]).await;
    let next = one.workflow_task().await;
    assert_ne!(next.run_id, task.run_id);
    assert_eq!(statuses(&server).await, of(&[("1", Draining), ("2", Current)]), "before its first task has ended");
    complete_as(&mut one, &next, Pinned, vec![complete_workflow()]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_query_is_answered_by_the_build_that_has_the_run() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![complete_workflow()]).await;
    set_current(&server, "2").await;
    let ask = || {
        let mut client = client(&server);
        let request = v1::QueryWorkflowRequest {
            namespace: "default".into(),
            execution: execution("w"),
            query_name: "state".into(),
            ..Default::default()
        };
        async move { client.query_workflow(request).await }
    };
    let answer = async |worker: &mut Worker| {
        let query = worker.query().await;
        let outcome = v1::query_answer::Outcome::Result(v1::QueryResult { value: None });
        let answer = v1::QueryAnswer { query_id: query.query_id, outcome: Some(outcome) };
        worker.send(v1::WorkerMessage { query_answers: vec![answer], ..Default::default() });
    };
    let (answered, ()) = tokio::join!(ask(), answer(&mut one));
    answered.unwrap();
    drop(one);
    // Its stream's end may not have been noticed yet: then the query is asked again, and refused.
    let refused = ask().await.unwrap_err();
    assert!(refused.message().contains("build 1 of deployment shop is connected"), "{refused:?}");

    begin(&server, "v").await;
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, AutoUpgrade, vec![]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_starts_again_routes_as_before() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let mut one = build(&server, 1, "1").await;
    let two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "pinned").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![]).await;
    set_current(&server, "2").await;
    signal(&server, "pinned", "go").await.unwrap();
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![]).await;
    drop((one, two));
    server.shutdown().await;

    let server = start(Arc::clone(&store), options()).await;
    let before = look(&server).await;
    assert_eq!((before.current_build_id.as_str(), before.revision), ("2", 4));
    signal(&server, "pinned", "go").await.unwrap();
    begin(&server, "new").await;
    let mut two = build(&server, 2, "2").await;
    let mut one = build(&server, 1, "1").await;
    assert_eq!(two.workflow_task().await.workflow_id, "new");
    assert_eq!(one.workflow_task().await.workflow_id, "pinned");
    assert_eq!(look(&server).await.revision, 4, "what is known already is not written again");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn another_server_learns_of_a_change_within_ten_seconds() {
    let store = store().await;
    let first = start(Arc::clone(&store), NodeOptions { name: "first".into(), ..options() }).await;
    let second = start(Arc::clone(&store), NodeOptions { name: "second".into(), ..options() }).await;
    let mut two = build(&first, 2, "2").await;
    let _one = build(&first, 1, "1").await;
    set_current(&first, "1").await;
    // The second owns no shard, but any server can be asked.
    assert_eq!(set_current(&second, "2").await.previous_build_id, "1");
    tokio::time::sleep(engine_server::limits::DEPLOYMENTS_REFRESH * 2).await;
    begin(&first, "w").await;
    assert_eq!(two.workflow_task().await.workflow_id, "w");
    // What would be changed over an older state is changed over the latest.
    set_ramping(&first, "1", 10.0).await;
    assert_eq!(look(&second).await.ramping_build_id, "1");
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_queue_belongs_to_one_deployment_until_its_versions_are_deleted() {
    let server = start(store().await, options()).await;
    let one = build(&server, 1, "1").await;
    let other = || {
        let mut hello = hello_of(2, "1");
        hello.worker.as_mut().unwrap().deployment_name = "bank".into();
        hello
    };
    let refused = refused(&server, other()).await;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("task queue \"orders\" belongs to deployment \"shop\""), "{refused:?}");

    let delete = async |build_id: &str| {
        let (namespace, deployment_name) = ("default".to_owned(), "shop".to_owned());
        let request = v1::DeleteVersionRequest { namespace, deployment_name, build_id: build_id.into() };
        deployments(&server).delete_version(request).await.map(drop)
    };
    assert!(delete("1").await.unwrap_err().message().contains("has 1 workers that are connected"));
    set_current(&server, "1").await;
    drop(one);
    assert!(delete("1").await.unwrap_err().message().contains("is current or ramping"));
    assert_eq!(delete("9").await.unwrap_err().code(), Code::NotFound);
    set_current(&server, "").await;
    // Until the server has noticed that the worker's stream ended.
    while let Err(refused) = delete("1").await {
        assert!(refused.message().contains("connected"), "{refused:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(delete("1").await.unwrap_err().code(), Code::NotFound);
    let mut bank = Worker::connect(&server, other(), 100).await;
    begin(&server, "w").await;
    let set = v1::SetCurrentVersionRequest { deployment_name: "bank".into(), ..current("1") };
    deployments(&server).set_current_version(set).await.unwrap();
    assert_eq!(bank.workflow_task().await.workflow_id, "w");
    let request = v1::ListDeploymentsRequest { namespace: "default".into() };
    let listed = deployments(&server).list_deployments(request).await.unwrap().into_inner().deployments;
    assert_eq!(listed.iter().map(|it| (it.name.as_str(), it.versions)).collect::<Vec<_>>(), [("bank", 1)]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_version_that_open_runs_are_pinned_to_is_not_deleted() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let _two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "w").await;
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, Pinned, vec![]).await;
    set_current(&server, "2").await;
    let (namespace, deployment_name) = ("default".to_owned(), "shop".to_owned());
    let request = v1::DeleteVersionRequest { namespace, deployment_name, build_id: "1".into() };
    let refused = deployments(&server).delete_version(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("has 1 open runs that are pinned to it"), "{refused:?}");
    server.shutdown().await;
}

/// The error with which the server refuses a worker.
async fn refused(server: &Server, hello: v1::Hello) -> Status {
    Worker::try_connect(server, hello, 1).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_worker_that_announces_nonsense_is_refused() {
    let server = start(store().await, options()).await;
    let announced = |deployment_name: &str, build_id: &str| {
        let (deployment_name, build_id) = (deployment_name.to_owned(), build_id.to_owned());
        v1::Hello { worker: Some(v1::WorkerMetadata { deployment_name, build_id, ..Default::default() }), ..hello(1) }
    };
    for (hello, message) in [
        (announced("shop", ""), "hello.worker.build_id: must not be empty"),
        (announced("shop", &"x".repeat(201)), "hello.worker.build_id: is 201 bytes long; the limit is 200 bytes"),
        (announced(&"x".repeat(201), "1"), "hello.worker.deployment_name: is 201 bytes long"),
        (announced("a\u{7}", "1"), "hello.worker.deployment_name: contains a control character"),
        (
            v1::Hello { own_task_queues: vec!["elsewhere".into()], ..hello_of(1, "1") },
            "hello.own_task_queues[0]: must be one of task_queues",
        ),
    ] {
        let refused = refused(&server, hello).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().starts_with(message), "{refused:?}");
    }
    let request = v1::ListDeploymentsRequest { namespace: "default".into() };
    assert!(deployments(&server).list_deployments(request).await.unwrap().into_inner().deployments.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn changes_of_routing_that_make_no_sense_are_refused_by_each_call_and_change_nothing() {
    let server = start(store().await, options()).await;
    let _one = build(&server, 1, "1").await;
    let _two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let before = look(&server).await;
    let (long, control) = ("x".repeat(5000), "a\u{7}".to_owned());
    let (invalid, failed) = (Code::InvalidArgument, Code::FailedPrecondition);
    let on = |namespace: &str, deployment_name: &str, build_id: &str| v1::SetCurrentVersionRequest {
        namespace: namespace.into(),
        deployment_name: deployment_name.into(),
        build_id: build_id.into(),
        ..Default::default()
    };
    for (request, code, message) in [
        (on("nowhere", "shop", "2"), Code::NotFound, "namespace \"nowhere\" not found"),
        (on("", "shop", "2"), invalid, "namespace: must not be empty"),
        (on("default", "", "2"), invalid, "deployment_name: must not be empty"),
        (on("default", &control, "2"), invalid, "deployment_name: contains a control character"),
        (on("default", &long, "2"), invalid, "deployment_name: is 5000 bytes long; the limit is 200 bytes"),
        (on("default", "shop", &long), invalid, "build_id: is 5000 bytes long; the limit is 200 bytes"),
        (on("default", "shop", &control), invalid, "build_id: contains a control character"),
        (on("default", "bank", "2"), Code::NotFound, "deployment \"bank\" not found"),
        (on("default", "shop", "9"), failed, "no worker has announced build \"9\""),
    ] {
        let v1::SetCurrentVersionRequest { namespace, deployment_name, build_id, .. } = request.clone();
        let mut calls = deployments(&server);
        let mut refusals = vec![calls.set_current_version(request).await.unwrap_err()];
        let ramp = v1::SetRampingVersionRequest {
            namespace: namespace.clone(),
            deployment_name: deployment_name.clone(),
            build_id: build_id.clone(),
            percentage: 5.0,
            ..Default::default()
        };
        refusals.push(calls.set_ramping_version(ramp).await.unwrap_err());
        let is_of_build = message.contains("build");
        if !is_of_build {
            let request = v1::DescribeDeploymentRequest {
                namespace: namespace.clone(),
                deployment_name: deployment_name.clone(),
            };
            refusals.push(calls.describe_deployment(request).await.unwrap_err());
        }
        if code != failed {
            let request = v1::DeleteVersionRequest { namespace: namespace.clone(), deployment_name, build_id };
            refusals.push(calls.delete_version(request).await.unwrap_err());
        }
        if message.starts_with("namespace") {
            refusals.push(calls.list_deployments(v1::ListDeploymentsRequest { namespace }).await.unwrap_err());
        }
        for refusal in refusals {
            assert_eq!(refusal.code(), code, "{refusal:?}");
            assert!(refusal.message().starts_with(message), "{refusal:?} does not begin with {message:?}");
        }
    }
    for (request, code, message) in [
        (ramping("2", -1.0), invalid, "percentage: is -1; it must be from 0 to 100"),
        (ramping("2", 100.5), invalid, "percentage: is 100.5; it must be from 0 to 100"),
        (ramping("2", f32::NAN), invalid, "percentage: is NaN; it must be from 0 to 100"),
        (ramping("", 5.0), invalid, "percentage: must be 0 if no build_id is set"),
        (ramping("1", 5.0), failed, "build \"1\" of deployment \"shop\" is the current one"),
        (v1::SetRampingVersionRequest { identity: long.clone(), ..ramping("2", 5.0) }, invalid, "identity: is 5000"),
        (v1::SetRampingVersionRequest { revision: 1, ..ramping("2", 5.0) }, Code::Aborted, "deployment \"shop\" has"),
    ] {
        let refusal = deployments(&server).set_ramping_version(request).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(refusal.message().starts_with(message), "{refusal:?} does not begin with {message:?}");
    }
    for (request, code, message) in [
        (v1::SetCurrentVersionRequest { identity: long.clone(), ..current("2") }, invalid, "identity: is 5000"),
        (v1::SetCurrentVersionRequest { revision: 1, ..current("2") }, Code::Aborted, "deployment \"shop\" has"),
    ] {
        let refusal = deployments(&server).set_current_version(request).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(refusal.message().starts_with(message), "{refusal:?} does not begin with {message:?}");
    }
    assert_eq!(look(&server).await, before);
    let exact = v1::SetCurrentVersionRequest { revision: before.revision, ..current("2") };
    deployments(&server).set_current_version(exact).await.unwrap();
    let unknown = v1::SetCurrentVersionRequest { allow_unknown: true, ..current("9") };
    deployments(&server).set_current_version(unknown).await.unwrap();
    assert_eq!(look(&server).await.current_build_id, "9");
    server.shutdown().await;
}

#[tokio::test]
async fn a_namespace_has_at_most_a_hundred_deployments_however_they_came() {
    let server = start(store().await, options()).await;
    let unknown = |n: usize| v1::SetCurrentVersionRequest {
        deployment_name: format!("shop-{n}"),
        allow_unknown: true,
        ..current("1")
    };
    for n in 1..=100 {
        deployments(&server).set_current_version(unknown(n)).await.unwrap();
    }
    let refusal = deployments(&server).set_current_version(unknown(101)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().starts_with("the namespace has 100 deployments, which is the limit"), "{refusal:?}");
    let ramp = v1::SetRampingVersionRequest {
        deployment_name: "shop-101".to_owned(),
        allow_unknown: true,
        ..ramping("1", 5.0)
    };
    let refusal = deployments(&server).set_ramping_version(ramp).await.unwrap_err();
    assert!(refusal.message().starts_with("the namespace has 100 deployments, which is the limit"), "{refusal:?}");
    deployments(&server).set_current_version(unknown(100)).await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn moves_that_make_no_sense_are_refused_and_change_nothing() {
    let server = start(store().await, options()).await;
    let _one = build(&server, 1, "1").await;
    begin(&server, "w").await;
    let events = history(&server, "w").await;
    let (invalid, failed) = (Code::InvalidArgument, Code::FailedPrecondition);
    let asked = || v1::MoveWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w"),
        versioning_override: pinned_to("1"),
        ..Default::default()
    };
    let said =
        |behavior: v1::VersioningBehavior, version| Some(v1::VersioningOverride { behavior: behavior.into(), version });
    let bank = v1::WorkerVersion { deployment_name: "bank".into(), build_id: "1".into() };
    for (request, code, message) in [
        (v1::MoveWorkflowRequest { namespace: "nowhere".into(), ..asked() }, Code::NotFound, "namespace \"nowhere\""),
        (v1::MoveWorkflowRequest { execution: None, ..asked() }, invalid, "execution: must be set"),
        (v1::MoveWorkflowRequest { execution: execution("nobody"), ..asked() }, Code::NotFound, "workflow \"nobody\""),
        (v1::MoveWorkflowRequest { reason: "x".repeat(5000), ..asked() }, invalid, "reason: is 5000 bytes long"),
        (v1::MoveWorkflowRequest { identity: "x".repeat(5000), ..asked() }, invalid, "identity: is 5000 bytes long"),
        (v1::MoveWorkflowRequest { request_id: "a\u{7}".into(), ..asked() }, invalid, "request_id: contains"),
        (
            v1::MoveWorkflowRequest { versioning_override: said(Pinned, None), ..asked() },
            invalid,
            "versioning_override.version: must be set",
        ),
        (
            v1::MoveWorkflowRequest { versioning_override: Some(v1::VersioningOverride::default()), ..asked() },
            invalid,
            "versioning_override.behavior: must be PINNED or AUTO_UPGRADE",
        ),
        (
            v1::MoveWorkflowRequest { versioning_override: said(AutoUpgrade, Some(version("1"))), ..asked() },
            invalid,
            "versioning_override.version: cannot go with AUTO_UPGRADE",
        ),
        (
            v1::MoveWorkflowRequest { versioning_override: pinned_to(""), ..asked() },
            invalid,
            "versioning_override.version.build_id: must not be empty",
        ),
        (
            v1::MoveWorkflowRequest { versioning_override: said(Pinned, Some(bank)), ..asked() },
            failed,
            "no worker has announced deployment \"bank\"",
        ),
        (v1::MoveWorkflowRequest { versioning_override: pinned_to("9"), ..asked() }, failed, "no worker has announced"),
    ] {
        let refusal = OperationServiceClient::new(server.service()).move_workflow(request).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(refusal.message().starts_with(message), "{refusal:?} does not begin with {message:?}");
    }
    let start = v1::StartWorkflowRequest { versioning_override: said(Pinned, None), ..start_request("v") };
    let refusal = client(&server).start_workflow(start).await.unwrap_err();
    assert_eq!(refusal.message(), "versioning_override.version: must be set");
    assert_eq!(history(&server, "w").await, events);
    assert_eq!(found(&server, "").await, ["w".to_owned()].into());
    let unknown = v1::MoveWorkflowRequest { versioning_override: pinned_to("9"), allow_unknown: true, ..asked() };
    OperationServiceClient::new(server.service()).move_workflow(unknown).await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn activities_of_a_pinned_run_go_to_its_build_and_others_by_the_routing() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    begin(&server, "pinned").await;
    let task = one.workflow_task().await;
    set_current(&server, "2").await;
    complete_as(&mut one, &task, Pinned, vec![schedule_activity("a", 3)]).await;
    let activity = one.activity_task().await;
    // Its next attempt, too.
    let failure = v1::Failure {
        kind: Some(v1::failure::Kind::Application(v1::ApplicationFailure {
            next_retry_delay: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let failed = v1::ActivityTaskFailure { token: activity.token.clone(), failure: Some(failure.clone()) };
    one.report(v1::task_result::Result::ActivityFailed(failed)).await;
    assert_eq!(one.activity_task().await.attempt, 2);

    begin(&server, "follows").await;
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, AutoUpgrade, vec![schedule_activity("a", 3)]).await;
    let activity = two.activity_task().await;
    set_current(&server, "1").await;
    let failed = v1::ActivityTaskFailure { token: activity.token.clone(), failure: Some(failure) };
    two.report(v1::task_result::Result::ActivityFailed(failed)).await;
    let next = one.activity_task().await;
    assert_eq!((next.execution.unwrap().workflow_id.as_str(), next.attempt), ("follows", 2));
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_moves_all_runs_of_a_bad_build() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let ids: BTreeSet<String> = (0..10).map(|n| format!("w-{n}")).collect();
    for id in &ids {
        begin(&server, id).await;
        let task = one.workflow_task().await;
        complete_as(&mut one, &task, Pinned, vec![]).await;
    }
    let start = |batch_id: &str, build_id: &str| {
        let to = v1::BatchMove { versioning_override: pinned_to(build_id) };
        v1::StartBatchRequest {
            namespace: "default".into(),
            batch_id: batch_id.into(),
            query: "BuildId = '1'".into(),
            operation: Some(v1::BatchOperation { operation: Some(v1::batch_operation::Operation::Move(to)) }),
            rate: 1000,
            ..Default::default()
        }
    };
    let over = async |batch_id: &str| loop {
        let request = v1::DescribeBatchRequest { namespace: "default".into(), batch_id: batch_id.into() };
        let mut calls = BatchServiceClient::new(server.service());
        let batch = calls.describe_batch(request).await.unwrap().into_inner().batch.unwrap();
        if batch.state() != v1::BatchState::Running {
            return batch;
        }
        tokio::task::yield_now().await;
    };
    let mut calls = BatchServiceClient::new(server.service());
    calls.start_batch(start("nowhere", "9")).await.unwrap();
    let refused = over("nowhere").await;
    assert_eq!((refused.done, refused.failed), (0, 10));
    assert!(refused.failures[0].problem.contains("no worker has announced build \"9\""), "{refused:?}");

    calls.start_batch(start("away", "2")).await.unwrap();
    let moved = over("away").await;
    assert_eq!((moved.done, moved.failed), (10, 0));
    assert_eq!(found(&server, "BuildId = '2' AND VersioningBehavior = 'Pinned'").await, ids);
    for id in &ids {
        signal(&server, id, "go").await.unwrap();
        let task = two.workflow_task().await;
        assert_eq!(&task.workflow_id, id);
        complete_as(&mut two, &task, Pinned, vec![complete_workflow()]).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_version_costs_a_run_one_row_when_it_changes_and_nothing_else() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let mut unversioned = Worker::connect(&server, hello(9), 100).await;
    let rows = |before: &engine_server::store::StoreStats| store.stats().rows - before.rows;

    let before = store.stats();
    begin(&server, "none").await;
    for _ in 0..3 {
        let task = unversioned.workflow_task().await;
        unversioned.complete_workflow_task(&task, vec![]).await;
        signal(&server, "none", "go").await.unwrap();
    }
    let without = rows(&before);
    let task = unversioned.workflow_task().await;
    unversioned.complete_workflow_task(&task, vec![complete_workflow()]).await;

    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    set_current(&server, "1").await;
    let before = store.stats();
    begin(&server, "w").await;
    for _ in 0..3 {
        let task = one.workflow_task().await;
        complete_as(&mut one, &task, AutoUpgrade, vec![]).await;
        signal(&server, "w", "go").await.unwrap();
    }
    assert_eq!(rows(&before), without + 1, "its first task says by which version it is listed");
    let task = one.workflow_task().await;
    complete_as(&mut one, &task, AutoUpgrade, vec![]).await;

    set_current(&server, "2").await;
    let before = store.stats();
    signal(&server, "w", "go").await.unwrap();
    let task = two.workflow_task().await;
    complete_as(&mut two, &task, AutoUpgrade, vec![]).await;
    assert_eq!(rows(&before), 3, "the signal, the task and the version that changed");
    server.shutdown().await;
}

fn start_child(workflow_id: &str, task_queue: &str) -> v1::Command {
    let child = v1::StartChild {
        workflow_id: workflow_id.into(),
        workflow_type: "checkout".into(),
        task_queue: task_queue.into(),
        parent_close_policy: v1::ParentClosePolicy::Abandon.into(),
        id_reuse_policy: v1::WorkflowIdReusePolicy::AllowDuplicate.into(),
        ..Default::default()
    };
    v1::Command { command: Some(v1::command::Command::StartChild(child)) }
}

#[tokio::test]
async fn a_child_stays_with_the_build_of_its_pinned_parent_on_the_queues_of_its_deployment() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let _two = build(&server, 2, "2").await;
    let elsewhere = v1::Hello { task_queues: vec!["bills".into()], ..hello(3) };
    let mut unversioned = Worker::connect(&server, elsewhere, 100).await;
    set_current(&server, "1").await;
    begin(&server, "parent").await;
    let task = one.workflow_task().await;
    set_current(&server, "2").await;
    complete_as(&mut one, &task, Pinned, vec![start_child("near", ""), start_child("far", "bills")]).await;
    assert_eq!(unversioned.workflow_task().await.workflow_id, "far", "a queue without a deployment");
    let mut seen = BTreeSet::new();
    while !seen.contains("near") {
        let task = one.workflow_task().await;
        seen.insert(task.workflow_id.clone());
        complete_as(&mut one, &task, Pinned, vec![]).await;
    }
    let near = describe(&server, "near").await.summary.unwrap();
    assert_eq!((near.version, near.versioning_behavior), (Some(version("1")), Pinned.into()));
    server.shutdown().await;
}

#[tokio::test]
async fn an_activity_on_its_own_follows_the_routing_of_its_queue() {
    let server = start(store().await, options()).await;
    let mut one = build(&server, 1, "1").await;
    let mut two = build(&server, 2, "2").await;
    let start = async |id: &str| {
        let second = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let request = v1::StartActivityRequest {
            namespace: "default".into(),
            activity_id: id.into(),
            activity_type: "charge".into(),
            task_queue: QUEUE.into(),
            timeouts: Some(v1::ActivityTimeouts { start_to_close: second, ..Default::default() }),
            ..Default::default()
        };
        ActivityServiceClient::new(server.service()).start_activity(request).await.unwrap();
    };
    // Nobody without a version is there: it waits.
    start("a").await;
    set_current(&server, "1").await;
    assert_eq!(one.activity_task().await.activity_id, "a");
    set_current(&server, "2").await;
    start("b").await;
    assert_eq!(two.activity_task().await.activity_id, "b");
    server.shutdown().await;
}

/// Serves one build until it is dropped: each run has an activity, and then ends.
async fn serve(mut worker: Worker, behavior: v1::VersioningBehavior, done: Arc<Mutex<Vec<String>>>) {
    loop {
        match worker.task().await {
            Task::Activity(task) => {
                done.lock().push(task.execution.clone().unwrap().workflow_id);
                worker.complete_activity(&task).await;
                worker.grant(0, 1);
            }
            Task::Workflow(task) => {
                use v1::history_event::Attributes::{ActivityCompleted, ActivityScheduled};
                let events = &task.history.as_ref().unwrap().events;
                let events = events.iter().map(|event| v1::HistoryEvent::decode(event.clone()).unwrap());
                let events: Vec<_> = events.filter_map(|event| event.attributes).collect();
                let commands = if events.iter().any(|event| matches!(event, ActivityCompleted(_))) {
                    vec![complete_workflow()]
                } else if events.iter().any(|event| matches!(event, ActivityScheduled(_))) || task.first_event_id > 1 {
                    vec![]
                } else {
                    vec![schedule_activity("a", 1)]
                };
                complete_as(&mut worker, &task, behavior, commands).await;
                worker.grant(1, 0);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_while_traffic_goes_from_one_build_to_the_other_and_back() {
    const RUNS: usize = 200;
    let server = start(store().await, options()).await;
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut workers = Vec::new();
    for (id, build_id, behavior) in [(1, "1", Pinned), (2, "2", AutoUpgrade)] {
        let worker = build(&server, id, build_id).await;
        workers.push(tokio::spawn(serve(worker, behavior, Arc::clone(&done))));
    }
    set_current(&server, "1").await;
    let ids: BTreeSet<String> = (0..RUNS).map(|n| format!("w-{n}")).collect();
    for (number, id) in ids.iter().enumerate() {
        begin(&server, id).await;
        match number % 40 {
            10 => drop(set_ramping(&server, "2", 50.0).await),
            20 => drop(set_current(&server, "2").await),
            30 => drop(set_current(&server, "1").await),
            _ => {}
        }
    }
    for id in &ids {
        assert_eq!(result(&server, id).await.status(), v1::WorkflowStatus::Completed, "{id}");
    }
    let mut done = done.lock().clone();
    done.sort();
    assert_eq!(done, ids.iter().cloned().collect::<Vec<_>>(), "each activity once: none was tried again");
    let deployment = look(&server).await;
    assert!(deployment.versions.iter().all(|it| it.pinned_runs + it.following_runs == 0), "{deployment:?}");
    for worker in &workers {
        worker.abort();
    }
    server.shutdown().await;
}
