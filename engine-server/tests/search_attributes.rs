//! Search attributes: registered in the namespace, set by starts and by workflows, and what lists and counts find by them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use engine_core::failure::Failure;
use engine_core::ids::SearchAttributeName;
use engine_core::search::{SearchAttributes, SearchValue};
use engine_proto::v1::SearchAttributeType as Type;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use support::*;
use tonic::{Code, Status};

async fn register(server: &Server, types: &[(&str, Type)]) -> Result<(), Status> {
    let request = v1::UpdateNamespaceRequest {
        namespace: "default".into(),
        add_search_attributes: types.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).into())).collect(),
        ..Default::default()
    };
    NamespaceServiceClient::new(server.service()).update_namespace(request).await.map(drop)
}

fn values(values: &[(&str, SearchValue)]) -> BTreeMap<String, v1::SearchValue> {
    let values = values.iter().map(|(name, value)| (SearchAttributeName::from_trusted(name), value.clone()));
    convert::search_attributes_to_proto(&values.collect::<SearchAttributes>())
}

fn start_with(workflow_id: &str, attributes: &[(&str, SearchValue)]) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest { search_attributes: values(attributes), ..start_request(workflow_id) }
}

fn upsert(set: &[(&str, SearchValue)], removed: &[&str]) -> v1::Command {
    let removed = removed.iter().map(|name| (*name).to_owned()).collect();
    let changes = v1::SearchAttributeChanges { set: values(set), removed };
    v1::Command { command: Some(v1::command::Command::UpsertSearchAttributes(changes)) }
}

async fn list(server: &Server, query: &str) -> Result<Vec<v1::WorkflowSummary>, Status> {
    let request = v1::ListWorkflowsRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
    Ok(client(server).list_workflows(request).await?.into_inner().workflows)
}

async fn ids(server: &Server, query: &str) -> Vec<String> {
    list(server, query).await.unwrap().into_iter().map(|run| run.workflow_id).collect()
}

#[tokio::test]
async fn runs_are_found_by_what_they_were_started_with_and_by_what_their_code_says() {
    let store = store().await;
    let server = start(std::sync::Arc::clone(&store), options()).await;
    register(&server, &[("Total", Type::Int), ("Region", Type::Keyword), ("Vip", Type::Bool)]).await.unwrap();
    let region = |name: &str| SearchValue::Keyword(name.into());
    for (id, total, name) in [("a", 5, "eu"), ("b", 7, "us"), ("c", 9, "eu")] {
        let attributes = [("Total", SearchValue::Int(total)), ("Region", region(name))];
        client(&server).start_workflow(start_with(id, &attributes)).await.unwrap();
    }
    client(&server).start_workflow(start_request("d")).await.unwrap();
    assert_eq!(ids(&server, "Total > 5 ORDER BY Total DESC").await, ["c", "b"]);
    assert_eq!(ids(&server, "Total IS NULL").await, ["d"]);
    let shown = list(&server, "WorkflowId = 'b'").await.unwrap().remove(0).search_attributes;
    assert_eq!(shown, values(&[("Total", SearchValue::Int(7)), ("Region", region("us"))]));

    let mut worker = Worker::connect(&server, hello(1), 10).await;
    for _ in 0..4 {
        let task = worker.workflow_task().await;
        let commands = match task.workflow_id.as_str() {
            "a" => vec![upsert(&[("Vip", SearchValue::Bool(true)), ("Total", SearchValue::Int(50))], &[])],
            "b" => vec![upsert(&[], &["Total"]), complete_workflow()],
            _ => vec![],
        };
        worker.complete_workflow_task(&task, commands).await;
    }
    let read = async |server: &Server| {
        assert_eq!(ids(server, "Total > 5 ORDER BY Total").await, ["c", "a"]);
        assert_eq!(ids(server, "Vip = true AND Region IN ('eu')").await, ["a"]);
        assert_eq!(ids(server, "Status = 'Completed' AND Total IS NULL AND Region = 'us'").await, ["b"]);
        let request = v1::CountWorkflowsRequest { namespace: "default".into(), query: "GROUP BY Region".into() };
        let counted = client(server).count_workflows(request).await.unwrap().into_inner();
        let groups: Vec<_> = counted.groups.iter().map(|group| (group.value.as_str(), group.count)).collect();
        assert_eq!((counted.count, groups), (4, vec![("eu", 2), ("", 1), ("us", 1)]));
        assert_eq!(describe(server, "a").await.search_attributes.len(), 3);
    };
    read(&server).await;
    drop(worker);
    server.shutdown().await;
    let server = start(store, options()).await;
    read(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_registered_is_refused_with_what_is() {
    let server = start(store().await, options()).await;
    let start = async |attributes: &[(&str, SearchValue)]| {
        let refusal = client(&server).start_workflow(start_with("w", attributes)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        refusal.message().to_owned()
    };
    let total = [("Total", SearchValue::Int(5))];
    assert_eq!(
        start(&total).await,
        "search_attributes: Total is not registered: the namespace has no search attributes; register it first"
    );
    register(&server, &[("Total", Type::Double), ("Region", Type::Keyword)]).await.unwrap();
    assert_eq!(start(&total).await, "search_attributes: Total is registered as Double, and the value is of type Int");
    assert_eq!(
        start(&[("total", SearchValue::Double(5.0))]).await,
        "search_attributes: total is not registered in the namespace, which has Region (Keyword), Total (Double); register it first"
    );
    assert!(start(&[("Region", SearchValue::Keyword("a\0".into()))]).await.contains("contains a NUL character"));
    assert_eq!(ids(&server, "").await, [""; 0], "nothing was started");

    let refusal = list(&server, "Status = 'Failed' AND Totl > 5").await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal.message().contains("and the search attributes Region (Keyword), Total (Double), at column 23\n"),
        "{refusal:?}"
    );
    let picture = refusal.message().lines().last().unwrap();
    assert_eq!(picture, format!("  {}^", " ".repeat(22)));
}

#[tokio::test]
async fn a_workflow_that_sets_what_is_not_registered_fails_its_task_until_it_is() {
    let server = start(store().await, options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let commands = || vec![upsert(&[("Total", SearchValue::Int(5))], &["Gone"])];
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, commands()).await;
    let task = worker.workflow_task().await;
    let pending = describe(&server, "w").await.pending_workflow_task.unwrap();
    assert_eq!(
        pending.last_failure.unwrap().message,
        "commands[0] (UpsertSearchAttributes): search_attributes: Total is not registered: the namespace has no search \
         attributes; register it first"
    );
    register(&server, &[("Total", Type::Int)]).await.unwrap();
    worker.complete_workflow_task(&task, commands()).await;
    assert_eq!(ids(&server, "Total = 5").await, ["w"]);
}

#[tokio::test]
async fn an_attribute_that_is_registered_anew_has_no_old_values() {
    let server = start(store().await, options()).await;
    register(&server, &[("Total", Type::Int)]).await.unwrap();
    client(&server).start_workflow(start_with("w", &[("Total", SearchValue::Int(5))])).await.unwrap();
    let refusal = register(&server, &[("Total", Type::Keyword)]).await.unwrap_err();
    assert_eq!(
        refusal.message(),
        "add_search_attributes: Total is registered as Int: remove it before it becomes Keyword"
    );
    let refusal = register(&server, &[("TOTAL", Type::Int)]).await.unwrap_err();
    assert_eq!(refusal.message(), "add_search_attributes: TOTAL and Total, which is registered, differ in case alone");
    let request = v1::UpdateNamespaceRequest {
        namespace: "default".into(),
        add_search_attributes: BTreeMap::from([("Total".to_owned(), Type::Keyword.into())]),
        remove_search_attributes: vec!["Total".into()],
        ..Default::default()
    };
    NamespaceServiceClient::new(server.service()).update_namespace(request).await.unwrap();
    assert_eq!(ids(&server, "Total IS NULL").await, ["w"]);
    assert_eq!(ids(&server, "Total = '5'").await, [""; 0]);
    assert_eq!(describe(&server, "w").await.search_attributes.len(), 1, "the run keeps what it has");
}

#[tokio::test]
async fn a_run_whose_code_fails_is_listed_as_stuck_until_a_task_succeeds() {
    let store = store().await;
    let server = start(std::sync::Arc::clone(&store), options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    let failed = v1::WorkflowTaskFailure {
        token: task.token,
        cause: v1::WorkflowTaskFailureCause::Nondeterminism.into(),
        failure: Some(convert::failure_to_proto(&Failure::server("the code schedules no activity here", false))),
    };
    assert_eq!(worker.report(v1::task_result::Result::WorkflowTaskFailed(failed)).await.refused, "");
    let stuck = list(&server, "TaskFailure = 'Nondeterminism'").await.unwrap();
    assert_eq!(stuck.iter().map(|run| run.task_failure.as_str()).collect::<Vec<_>>(), ["Nondeterminism"]);
    drop(worker);

    let second = start(store, options()).await;
    drop(server);
    assert_eq!(list(&second, "TaskFailure IS NOT NULL").await.unwrap().len(), 1);
    let mut worker = Worker::connect(&second, hello(2), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    assert_eq!(list(&second, "TaskFailure IS NOT NULL").await.unwrap(), []);
    assert_eq!(list(&second, "TaskFailure IS NULL").await.unwrap()[0].task_failure, "");
    second.shutdown().await;
}
