//! Namespaces: what is known of them, how long their runs are kept, and how they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_core::time::Timestamp;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::v1::schedule_service_client::ScheduleServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use support::*;
use tonic::service::Routes;
use tonic::{Code, Status};

const HOUR: Duration = Duration::from_secs(3600);

fn namespaces(server: &Server) -> NamespaceServiceClient<Routes> {
    NamespaceServiceClient::new(server.service())
}

fn kept(duration: Duration) -> Option<prost_types::Duration> {
    Some(convert::duration_to_proto(duration))
}

async fn create(server: &Server, name: &str, retention: v1::Retention) -> Result<v1::Namespace, Status> {
    let request = v1::CreateNamespaceRequest {
        namespace: name.into(),
        description: "for tests".into(),
        retention: Some(retention),
        ..Default::default()
    };
    Ok(namespaces(server).create_namespace(request).await?.into_inner().namespace.unwrap())
}

async fn describe_namespace(server: &Server, name: &str) -> Result<v1::Namespace, Status> {
    let request = v1::DescribeNamespaceRequest { namespace: name.into() };
    Ok(namespaces(server).describe_namespace(request).await?.into_inner().namespace.unwrap())
}

async fn start_in(server: &Server, namespace: &str, workflow_id: &str) -> Result<String, Status> {
    let request = v1::StartWorkflowRequest { namespace: namespace.into(), ..start_request(workflow_id) };
    Ok(client(server).start_workflow(request).await?.into_inner().run_id)
}

async fn terminate(server: &Server, namespace: &str, workflow_id: &str) {
    let request = v1::TerminateWorkflowRequest {
        namespace: namespace.into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    client(server).terminate_workflow(request).await.unwrap();
}

async fn listed(server: &Server, namespace: &str) -> Vec<String> {
    let request = v1::ListWorkflowsRequest { namespace: namespace.into(), ..Default::default() };
    let runs = client(server).list_workflows(request).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| run.workflow_id).collect()
}

fn in_the_future(by: Duration) -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::EPOCH + now + by
}

#[tokio::test]
async fn a_namespace_is_created_changed_and_listed() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let created = create(&server, "sales", v1::Retention { default: kept(HOUR), ..Default::default() }).await.unwrap();
    assert_eq!((created.name.as_str(), created.description.as_str()), ("sales", "for tests"));
    assert!(created.create_time.is_some() && !created.deleting);
    let refusal = create(&server, "sales", v1::Retention::default()).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::AlreadyExists, "namespace \"sales\" already exists"));

    let request = v1::UpdateNamespaceRequest {
        namespace: "sales".into(),
        owner: Some("desk 3".into()),
        retention: Some(v1::Retention { failed: kept(2 * HOUR), ..Default::default() }),
        ..Default::default()
    };
    let changed = namespaces(&server).update_namespace(request).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!((changed.owner.as_str(), changed.description.as_str()), ("desk 3", "for tests"));
    let retention = changed.retention.unwrap();
    assert_eq!(
        (retention.default, retention.failed, retention.completed),
        (kept(Duration::ZERO), kept(2 * HOUR), None)
    );
    server.shutdown().await;

    let server = start(store, options()).await;
    assert_eq!(describe_namespace(&server, "sales").await.unwrap(), changed);
    let all = namespaces(&server).list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["default", "sales"]);
    let refusal = describe_namespace(&server, "nobody").await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "namespace \"nobody\" not found"));
}

#[tokio::test]
async fn a_bad_request_names_its_field_and_changes_nothing() {
    let server = start(store().await, options()).await;
    let retention = v1::Retention { timed_out: kept(Duration::from_secs(59)), ..Default::default() };
    let refusal = create(&server, "sales", retention).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(
        refusal.message(),
        "retention.timed_out: is 59 s; it must be from 60 s to 100 years, or zero to keep runs for ever"
    );
    assert_eq!(
        create(&server, "", v1::Retention::default()).await.unwrap_err().message(),
        "namespace: must not be empty"
    );
    let update = async |request: v1::UpdateNamespaceRequest| {
        let request = v1::UpdateNamespaceRequest { namespace: "default".into(), ..request };
        namespaces(&server).update_namespace(request).await.unwrap_err().message().to_owned()
    };
    let long = v1::UpdateNamespaceRequest { owner: Some("x".repeat(1001)), ..Default::default() };
    assert_eq!(update(long).await, "owner: is 1001 bytes long; the limit is 1000 bytes");
    let unknown = v1::UpdateNamespaceRequest {
        description: Some("half of a change".into()),
        remove_search_attributes: vec!["Total".into()],
        ..Default::default()
    };
    assert_eq!(
        update(unknown).await,
        "remove_search_attributes[0]: \"Total\" is not registered; the namespace has no search attributes"
    );
    let typeless =
        v1::UpdateNamespaceRequest { add_search_attributes: [("Total".to_owned(), 0)].into(), ..Default::default() };
    assert_eq!(update(typeless).await, "add_search_attributes[\"Total\"]: must name a type of search attributes");
    let taken = v1::UpdateNamespaceRequest {
        add_search_attributes: [("Status".to_owned(), v1::SearchAttributeType::Int.into())].into(),
        ..Default::default()
    };
    assert_eq!(
        update(taken).await,
        "add_search_attributes: Status is a column that every run has: choose another name"
    );
    assert_eq!(describe_namespace(&server, "default").await.unwrap().description, "");
    let all = namespaces(&server).list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn closed_runs_are_deleted_when_their_retention_is_over_and_open_ones_never() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let retention = v1::Retention { default: kept(HOUR), terminated: kept(3 * HOUR), ..Default::default() };
    create(&server, "sales", retention).await.unwrap();
    let run_id = start_in(&server, "sales", "terminated").await.unwrap();
    terminate(&server, "sales", "terminated").await;
    start_in(&server, "sales", "open").await.unwrap();
    start_in(&server, "default", "elsewhere").await.unwrap();
    terminate(&server, "default", "elsewhere").await;

    assert_eq!(server.delete_expired_runs(in_the_future(2 * HOUR)).await.unwrap(), 0);
    assert_eq!(listed(&server, "sales").await, ["open", "terminated"]);
    // By a server that has seen none of it begin.
    server.shutdown().await;
    let server = start(store, options()).await;
    assert_eq!(server.delete_expired_runs(in_the_future(4 * HOUR)).await.unwrap(), 1);
    assert_eq!(listed(&server, "sales").await, ["open"]);
    assert_eq!(listed(&server, "default").await, ["elsewhere"], "kept for ever");
    assert_eq!(server.delete_expired_runs(in_the_future(400_000 * HOUR)).await.unwrap(), 0);

    let request = v1::GetWorkflowHistoryRequest {
        namespace: "sales".into(),
        execution: Some(v1::WorkflowExecution { workflow_id: "terminated".into(), run_id: run_id.clone() }),
        ..Default::default()
    };
    let refusal = client(&server).get_workflow_history(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    assert_eq!(
        refusal.message(),
        format!("run {run_id} not found: there was none, or it was deleted when the namespace's retention was over")
    );
    // Its id is free.
    start_in(&server, "sales", "terminated").await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn the_earlier_runs_of_a_workflow_that_is_open_are_deleted() {
    let server = start(store().await, options()).await;
    create(&server, "sales", v1::Retention { default: kept(HOUR), ..Default::default() }).await.unwrap();
    for _ in 0..3 {
        start_in(&server, "sales", "entity").await.unwrap();
        terminate(&server, "sales", "entity").await;
    }
    let last = start_in(&server, "sales", "entity").await.unwrap();
    assert_eq!(server.delete_expired_runs(in_the_future(2 * HOUR)).await.unwrap(), 3);
    assert_eq!(listed(&server, "sales").await, ["entity"]);
    let request = v1::DescribeWorkflowRequest { namespace: "sales".into(), execution: execution("entity") };
    let described = client(&server).describe_workflow(request).await.unwrap().into_inner();
    assert_eq!(described.summary.unwrap().run_id, last);
}

#[tokio::test]
async fn a_namespace_is_deleted_once_no_run_is_open_or_with_those_that_are() {
    let server = start(store().await, options()).await;
    let delete = async |name: &str, terminate_open_runs| {
        let request = v1::DeleteNamespaceRequest { namespace: name.into(), terminate_open_runs };
        namespaces(&server).delete_namespace(request).await.map(drop)
    };
    create(&server, "sales", v1::Retention::default()).await.unwrap();
    start_in(&server, "sales", "closed").await.unwrap();
    terminate(&server, "sales", "closed").await;
    start_in(&server, "sales", "open").await.unwrap();

    let refusal = delete("sales", false).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(
        refusal.message(),
        "namespace \"sales\" has 1 open runs: wait for them, or delete it with terminate_open_runs"
    );
    start_in(&server, "sales", "still works").await.unwrap();
    let refusal = delete("default", true).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);

    delete("sales", true).await.unwrap();
    assert_eq!(start_in(&server, "sales", "late").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(delete("sales", true).await.unwrap_err().code(), Code::NotFound);
    let refusal = create(&server, "sales", v1::Retention::default()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::AlreadyExists, "its runs may still be there");
    server.shutdown().await;
}

#[tokio::test]
async fn a_namespace_with_schedules_is_not_deleted() {
    let server = start(store().await, options()).await;
    create(&server, "sales", v1::Retention::default()).await.unwrap();
    let mut schedules = ScheduleServiceClient::<Routes>::new(server.service());
    let start = v1::StartWorkflowRequest { namespace: String::new(), ..start_request("report") };
    let spec = v1::ScheduleSpec { crons: vec!["0 3 * * *".into()], ..Default::default() };
    let create_schedule = v1::CreateScheduleRequest {
        namespace: "sales".into(),
        schedule_id: "nightly".into(),
        schedule: Some(v1::Schedule { spec: Some(spec), start: Some(start), policies: None }),
        ..Default::default()
    };
    schedules.create_schedule(create_schedule).await.unwrap();

    let delete = async || {
        let request = v1::DeleteNamespaceRequest { namespace: "sales".into(), terminate_open_runs: true };
        namespaces(&server).delete_namespace(request).await.map(drop)
    };
    let refusal = delete().await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("has schedules, \"nightly\" among them"), "{refusal:?}");
    let nightly = v1::DeleteScheduleRequest { namespace: "sales".into(), schedule_id: "nightly".into() };
    schedules.delete_schedule(nightly).await.unwrap();
    delete().await.unwrap();
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_a_deleted_namespace_go_and_then_its_name_is_free() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    create(&server, "sales", v1::Retention::default()).await.unwrap();
    let id = store.namespaces().await.unwrap().pop().unwrap().id;
    for number in 0..3 {
        start_in(&server, "sales", &format!("w-{number}")).await.unwrap();
    }
    let request = v1::DeleteNamespaceRequest { namespace: "sales".into(), terminate_open_runs: true };
    namespaces(&server).delete_namespace(request).await.unwrap();
    // Virtual time: housekeeping terminates, deletes, and at last forgets the namespace.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(store.earliest_runs(id, None, 10).await.unwrap(), []);
    create(&server, "sales", v1::Retention::default()).await.unwrap();
    assert_eq!(listed(&server, "sales").await, [""; 0]);
    server.shutdown().await;
}
