//! Batches on a server: what they reach, what they survive, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use engine_proto::v1;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_server::Server;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use support::*;
use tonic::Code;
use tonic::service::Routes;
use v1::batch_operation::Operation;

fn batches(server: &Server) -> BatchServiceClient<Routes> {
    BatchServiceClient::new(server.service())
}

fn start_of(batch_id: &str, operation: Operation) -> v1::StartBatchRequest {
    v1::StartBatchRequest {
        namespace: "default".into(),
        batch_id: batch_id.into(),
        query: "WorkflowId STARTS_WITH 'w-'".into(),
        operation: Some(v1::BatchOperation { operation: Some(operation) }),
        reason: "enough".into(),
        identity: "me".into(),
        rate: 1000,
    }
}

fn signal() -> Operation {
    Operation::Signal(v1::BatchSignal { signal_name: "go".into(), input: Vec::new() })
}

async fn start_runs(server: &Server, count: usize) {
    for number in 0..count {
        client(server).start_workflow(start_request(&format!("w-{number}"))).await.unwrap();
    }
}

async fn describe(server: &Server, batch_id: &str) -> v1::Batch {
    let request = v1::DescribeBatchRequest { namespace: "default".into(), batch_id: batch_id.into() };
    batches(server).describe_batch(request).await.unwrap().into_inner().batch.unwrap()
}

/// Waits until the batch stands so.
async fn until(server: &Server, batch_id: &str, reached: impl Fn(&v1::Batch) -> bool) -> v1::Batch {
    let waiting = async {
        loop {
            let batch = describe(server, batch_id).await;
            if reached(&batch) {
                return batch;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), waiting).await {
        Ok(batch) => batch,
        Err(_) => panic!("it never came: {:?}", describe(server, batch_id).await),
    }
}

async fn over(server: &Server, batch_id: &str) -> v1::Batch {
    until(server, batch_id, |batch| batch.state() != v1::BatchState::Running).await
}

async fn signals_of(server: &Server, workflow_id: &str) -> usize {
    history(server, workflow_id).await.iter().filter(|name| *name == "WorkflowSignaled").count()
}

#[tokio::test]
async fn a_batch_reaches_what_was_open_when_it_began_and_nothing_else() {
    let server = start(store().await, options()).await;
    start_runs(&server, 5).await;
    client(&server).start_workflow(start_request("other")).await.unwrap();
    let started = batches(&server).start_batch(start_of("stop", Operation::Terminate(v1::BatchTerminate {}))).await;
    assert_eq!(started.unwrap().into_inner().total, 5);
    let batch = over(&server, "stop").await;
    assert_eq!((batch.state(), batch.done, batch.failed), (v1::BatchState::Completed, 5, 0));
    assert!(batch.close_time.is_some());
    assert_eq!(history(&server, "w-3").await.last().unwrap(), "WorkflowTerminated");
    assert_eq!(history(&server, "other").await.len(), 1, "it was not meant");
    // A repeat of the request is no second batch.
    client(&server).start_workflow(start_request("w-later")).await.unwrap();
    let again = batches(&server).start_batch(start_of("stop", Operation::Terminate(v1::BatchTerminate {}))).await;
    assert_eq!(again.unwrap().into_inner().total, 5);
    assert_eq!(history(&server, "w-later").await.len(), 1);
    server.shutdown().await;
}

/// The write of its progress fails at every place, in every way: the row is read again and what it may have done is done again.
#[tokio::test]
async fn a_batch_whose_writes_are_in_doubt_reaches_each_run_once() {
    let mut worlds = tokio::task::JoinSet::new();
    for write in 1..4 {
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            worlds.spawn(async move {
                let faulty = FaultyStore::new(store().await);
                faulty.plan_batch_write(write, fault.clone());
                let server = start(faulty, options()).await;
                start_runs(&server, 4).await;
                // Two runs in a page.
                let request = v1::StartBatchRequest { rate: 2, ..start_of("go", signal()) };
                batches(&server).start_batch(request).await.unwrap();
                let batch = over(&server, "go").await;
                let counted = (batch.state(), batch.done, batch.failed);
                assert_eq!(counted, (v1::BatchState::Completed, 4, 0), "{write} {fault:?}");
                for number in 0..4 {
                    assert_eq!(signals_of(&server, &format!("w-{number}")).await, 1, "{write} {fault:?}");
                }
                server.shutdown().await;
            });
        }
    }
    worlds.join_all().await;
}

#[tokio::test]
async fn a_batch_goes_on_where_it_was_when_another_server_takes_over() {
    let store = store().await;
    let faulty = FaultyStore::new(Arc::clone(&store));
    let gate = Gate::new();
    // It has done something that is not written when the server dies.
    faulty.plan_batch_write(2, Fault::HoldBefore(gate.clone()));
    let first = start(faulty, options()).await;
    start_runs(&first, 9).await;
    let request = v1::StartBatchRequest { rate: 3, ..start_of("go", signal()) };
    batches(&first).start_batch(request).await.unwrap();
    gate.reached().await;
    let second = start(Arc::clone(&store), options()).await;
    let batch = over(&second, "go").await;
    assert_eq!((batch.state(), batch.total, batch.done), (v1::BatchState::Completed, 9, 9));
    gate.open();
    for number in 0..9 {
        assert_eq!(signals_of(&second, &format!("w-{number}")).await, 1);
    }
    assert_eq!(describe(&second, "go").await, batch, "the old server's write is fenced");
    second.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn a_batch_that_is_stopped_leaves_the_rest_alone() {
    let server = start(store().await, options()).await;
    start_runs(&server, 8).await;
    let request = v1::StartBatchRequest { rate: 1, ..start_of("slow", signal()) };
    batches(&server).start_batch(request).await.unwrap();
    until(&server, "slow", |batch| batch.done > 0).await;
    let delete = v1::DeleteBatchRequest { namespace: "default".into(), batch_id: "slow".into() };
    let refused = batches(&server).delete_batch(delete.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let stop = |reason: &str| v1::StopBatchRequest {
        namespace: "default".into(),
        batch_id: "slow".into(),
        reason: reason.into(),
    };
    batches(&server).stop_batch(stop("wrong filter")).await.unwrap();
    let batch = over(&server, "slow").await;
    assert_eq!((batch.state(), batch.stop_reason.as_str()), (v1::BatchState::Stopped, "wrong filter"));
    let mut signaled = 0;
    for number in 0..8 {
        signaled += signals_of(&server, &format!("w-{number}")).await as u64;
    }
    assert_eq!(signaled, batch.done, "what it counts is what it did");
    assert!(batch.done < 8, "{batch:?}");
    batches(&server).stop_batch(stop("again")).await.unwrap();
    assert_eq!(describe(&server, "slow").await, batch, "it is over");
    assert!(batches(&server).delete_batch(delete.clone()).await.unwrap().into_inner().existed);
    assert!(!batches(&server).delete_batch(delete).await.unwrap().into_inner().existed);
    let gone = batches(&server).stop_batch(stop("gone")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    server.shutdown().await;
}

#[tokio::test]
async fn batches_are_listed_in_pages_and_keep_their_namespace() {
    let server = start(store().await, options()).await;
    for id in ["b", "a", "c"] {
        batches(&server).start_batch(start_of(id, signal())).await.unwrap();
        assert_eq!(over(&server, id).await.state(), v1::BatchState::Completed, "there is nothing to do");
    }
    let list = |page_token: Vec<u8>| v1::ListBatchesRequest { namespace: "default".into(), page_size: 2, page_token };
    let first = batches(&server).list_batches(list(Vec::new())).await.unwrap().into_inner();
    assert_eq!(first.batches.iter().map(|batch| batch.batch_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let second = batches(&server).list_batches(list(first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(second.batches.iter().map(|batch| batch.batch_id.as_str()).collect::<Vec<_>>(), ["c"]);
    assert!(second.next_page_token.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_a_batch_is_refused_and_nothing_is_written() {
    let server = start(store().await, options()).await;
    let refused = async |request: v1::StartBatchRequest| {
        let status = batches(&server).start_batch(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let good = || start_of("x", signal());
    let cases = [
        (v1::StartBatchRequest { batch_id: String::new(), ..good() }, "batch_id: must not be empty"),
        (v1::StartBatchRequest { query: " ".into(), ..good() }, "query: must not be empty"),
        (v1::StartBatchRequest { query: "Status =".into(), ..good() }, "query: "),
        (v1::StartBatchRequest { operation: None, ..good() }, "operation: must be set"),
        (v1::StartBatchRequest { rate: 5000, ..good() }, "rate: is 5000; the limit is 1000 runs a second"),
        (v1::StartBatchRequest { reason: "x".repeat(5000), ..good() }, "reason: is 5000 bytes long"),
        (
            start_of("x", Operation::Signal(v1::BatchSignal { signal_name: String::new(), input: Vec::new() })),
            "operation.signal.signal_name: must not be empty",
        ),
    ];
    for (request, expected) in cases {
        let (code, message) = refused(request).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.starts_with(expected), "{message}");
    }
    let (code, _) = refused(v1::StartBatchRequest { namespace: "nowhere".into(), ..good() }).await;
    assert_eq!(code, Code::NotFound);
    let list = v1::ListBatchesRequest { namespace: "default".into(), ..Default::default() };
    assert!(batches(&server).list_batches(list).await.unwrap().into_inner().batches.is_empty());
    server.shutdown().await;
}
