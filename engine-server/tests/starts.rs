//! How starts are decided: many in one call, and those of ids that the server has not looked up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use engine_core::limits::STARTS_MAX;
use engine_proto::v1;
use engine_proto::v1::start_workflow_outcome::Outcome;
use engine_server::Server;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use support::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use v1::{WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse};

fn request(workflow_id: &str, request_id: &str) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest { request_id: request_id.into(), ..start_request(workflow_id) }
}

fn with(conflict: Conflict, request: v1::StartWorkflowRequest) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest { id_conflict_policy: conflict.into(), ..request }
}

async fn start_one(server: &Server, request: v1::StartWorkflowRequest) -> Result<v1::StartWorkflowResponse, Status> {
    client(server).start_workflow(request).await.map(tonic::Response::into_inner)
}

async fn start_many(
    server: &Server,
    starts: Vec<v1::StartWorkflowRequest>,
) -> Vec<Result<v1::StartWorkflowResponse, Status>> {
    let answer = client(server).start_workflows(v1::StartWorkflowsRequest { starts }).await.unwrap().into_inner();
    let outcome = |outcome: v1::StartWorkflowOutcome| match outcome.outcome.expect("one of the two is set") {
        Outcome::Started(started) => Ok(started),
        Outcome::Refused(refusal) => {
            Err(Status::with_details(Code::from_i32(refusal.code), refusal.message, refusal.status.into()))
        }
    };
    answer.outcomes.into_iter().map(outcome).collect()
}

async fn close(server: &Server, workflow_id: &str) {
    let request = v1::TerminateWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    client(server).terminate_workflow(request).await.unwrap();
}

/// The ids and runs of all that is listed, latest first.
async fn listed(server: &Server) -> Vec<(String, String)> {
    let list = v1::ListWorkflowsRequest { namespace: "default".into(), page_size: 1_000, ..Default::default() };
    let runs = client(server).list_workflows(list).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| (run.workflow_id, run.run_id)).collect()
}

#[tokio::test]
async fn each_start_of_many_is_decided_by_itself_and_a_repeat_of_all_changes_nothing() {
    let server = start(store().await, options()).await;
    start_one(&server, request("taken", "")).await.unwrap();
    let starts = vec![
        request("a", "1"),
        request("taken", "2"),
        v1::StartWorkflowRequest { workflow_type: String::new(), ..request("c", "3") },
        v1::StartWorkflowRequest { namespace: "nowhere".into(), ..request("d", "4") },
        request("a", "5"),
        with(Conflict::UseExisting, request("taken", "6")),
        request("b", "7"),
    ];
    let first = start_many(&server, starts.clone()).await;
    let code = |place: usize| first[place].as_ref().unwrap_err().code();
    assert_eq!(
        [1, 2, 3, 4].map(code),
        [Code::AlreadyExists, Code::InvalidArgument, Code::NotFound, Code::AlreadyExists]
    );
    assert_eq!([0, 5, 6].map(|place| first[place].as_ref().unwrap().started), [true, false, true]);
    let details = first[1].as_ref().unwrap_err().get_error_details();
    let taken = details.resource_info().unwrap();
    assert_eq!((taken.resource_type.as_str(), &taken.resource_name), ("run", &first[5].as_ref().unwrap().run_id));
    let violation = first[2].as_ref().unwrap_err().get_error_details();
    assert_eq!(violation.bad_request().unwrap().field_violations[0].field, "workflow_type");

    let before = listed(&server).await;
    assert_eq!(before.len(), 3);
    let second = start_many(&server, starts).await;
    for (place, (first, second)) in first.iter().zip(&second).enumerate() {
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second, "{place}"),
            (Err(first), Err(second)) => assert_eq!(first.code(), second.code(), "{place}"),
            (first, second) => panic!("{place}: {first:?}, then {second:?}"),
        }
    }
    assert_eq!(listed(&server).await, before);
    server.shutdown().await;
}

#[tokio::test]
async fn too_many_starts_are_refused_as_a_whole() {
    let server = start(store().await, options()).await;
    let starts: Vec<_> = (0..=STARTS_MAX).map(|number| start_request(&format!("w-{number}"))).collect();
    let refused =
        client(&server).start_workflows(v1::StartWorkflowsRequest { starts: starts.clone() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("1001 starts; the limit is 1000"), "{refused}");
    assert_eq!(listed(&server).await, []);
    let outcomes = start_many(&server, starts[1..].to_vec()).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(|started| started.started)));
    assert_eq!(listed(&server).await.len(), STARTS_MAX);
    assert_eq!(start_many(&server, Vec::new()).await.len(), 0);
    server.shutdown().await;
}

/// A server that knows of nothing that the store has.
async fn restarted(store: &Arc<dyn Store>, server: Server) -> Server {
    server.shutdown().await;
    start(Arc::clone(store), options()).await
}

#[tokio::test]
async fn a_start_of_an_id_that_is_not_in_memory_is_decided_with_what_the_store_has() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    let closed = start_one(&server, request("closed", "old")).await.unwrap().run_id;
    close(&server, "closed").await;
    let server = restarted(&store, server).await;
    // A repeat of the start of the latest run, though it is closed.
    let repeat = start_one(&server, request("closed", "old")).await.unwrap();
    assert_eq!((repeat.run_id, repeat.started), (closed.clone(), true));
    let server = restarted(&store, server).await;
    let reject =
        v1::StartWorkflowRequest { id_reuse_policy: Reuse::RejectDuplicate.into(), ..request("closed", "another") };
    assert_eq!(start_one(&server, reject).await.unwrap_err().code(), Code::AlreadyExists);
    let server = restarted(&store, server).await;
    let next = start_one(&server, request("closed", "new")).await.unwrap();
    assert!(next.started && next.run_id > closed, "{next:?} after {closed}");
    assert_eq!(history(&server, "closed").await, ["WorkflowStarted"]);
    assert_eq!(listed(&server).await, [("closed".to_owned(), next.run_id), ("closed".to_owned(), closed)]);
    server.shutdown().await;
}

#[tokio::test]
async fn what_arrives_while_a_start_is_at_the_store_waits_for_its_outcome() {
    let faulty = FaultyStore::new(store().await);
    let server = start(Arc::clone(&faulty) as Arc<dyn Store>, options()).await;
    let gate = Gate::new();
    faulty.plan_next(Fault::HoldBefore(gate.clone()));
    let (first, _, ()) = tokio::join!(
        start_one(&server, request("w", "1")),
        async {
            gate.reached().await;
            let rest = tokio::join!(
                signal(&server, "w", "approve"),
                start_one(&server, request("w", "2")),
                start_one(&server, request("w", "1")),
                async { describe(&server, "w").await.summary.unwrap().run_id }
            );
            rest.0.unwrap();
            assert_eq!(rest.1.unwrap_err().code(), Code::AlreadyExists);
            let repeat = rest.2.unwrap();
            assert_eq!((repeat.started, repeat.run_id), (true, rest.3));
        },
        async {
            gate.reached().await;
            gate.open();
        }
    );
    assert!(first.unwrap().started);
    let names = history(&server, "w").await;
    assert_eq!(names, ["WorkflowStarted", "WorkflowSignaled"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_whose_id_turns_out_to_be_taken_waits_for_the_look_and_so_does_what_came_after_it() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    start_one(&server, request("w", "old")).await.unwrap();
    close(&server, "w").await;
    server.shutdown().await;

    let faulty = FaultyStore::new(store);
    let server = start(Arc::clone(&faulty) as Arc<dyn Store>, options()).await;
    let gate = Gate::new();
    faulty.plan_next(Fault::HoldAfter(gate.clone()));
    let (started, signaled, ()) = tokio::join!(
        start_one(&server, request("w", "new")),
        async {
            gate.reached().await;
            signal(&server, "w", "approve").await
        },
        async {
            gate.reached().await;
            // In the same batch: an id that is free is not kept waiting by one that is not.
            gate.open();
        }
    );
    assert!(started.unwrap().started);
    signaled.unwrap();
    assert_eq!(history(&server, "w").await, ["WorkflowStarted", "WorkflowSignaled"]);
    assert_eq!(listed(&server).await.len(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_start_in_doubt_takes_what_waited_for_it_along_and_its_repeat_starts_once() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        let faulty = FaultyStore::new(store().await);
        let server = start(Arc::clone(&faulty) as Arc<dyn Store>, options()).await;
        faulty.plan_next(fault);
        let refused = start_one(&server, request("w", "1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let started = loop {
            match start_one(&server, request("w", "1")).await {
                Ok(started) => break started,
                Err(status) => assert_eq!(status.code(), Code::Unavailable),
            }
            tokio::task::yield_now().await;
        };
        assert!(started.started);
        assert_eq!(listed(&server).await, [("w".to_owned(), started.run_id)]);
        server.shutdown().await;
    }
}
