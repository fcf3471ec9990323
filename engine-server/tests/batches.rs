//! Batches on a server: what they reach, what they survive, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_core::failure::Failure;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::{convert, v1};
use engine_server::Server;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use prost::Message as _;
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

fn reset(point: v1::BatchResetPoint, exclude_signals: bool) -> Operation {
    Operation::Reset(v1::BatchReset { point: point.into(), exclude_signals, exclude_updates: false })
}

/// The runs of a workflow id, the latest first.
async fn runs_of(server: &Server, workflow_id: &str) -> Vec<String> {
    let request = v1::ListWorkflowsRequest {
        namespace: "default".into(),
        query: format!("WorkflowId = '{workflow_id}'"),
        ..Default::default()
    };
    let runs = client(server).list_workflows(request).await.unwrap().into_inner().workflows;
    runs.into_iter().map(|run| run.run_id).collect()
}

/// Starts runs that have completed a workflow task each, every other one with its end, and got a signal before it.
async fn run_runs(server: &Server, count: usize) {
    let mut worker = Worker::connect(server, hello(1), 100).await;
    for number in 0..count {
        let workflow_id = format!("w-{number}");
        client(server).start_workflow(start_request(&workflow_id)).await.unwrap();
        let task = worker.workflow_task().await;
        assert_eq!(worker.complete_workflow_task(&task, vec![]).await.refused, "");
        support::signal(server, &workflow_id, "go").await.unwrap();
        let task = worker.workflow_task().await;
        let commands = if number % 2 == 0 { vec![complete_workflow()] } else { vec![] };
        assert_eq!(worker.complete_workflow_task(&task, commands).await.refused, "");
    }
}

/// Asserts that the workflow has been reset once, with so many signals recorded again.
async fn assert_reset_once(server: &Server, workflow_id: &str, signals: usize) {
    let runs = runs_of(server, workflow_id).await;
    assert_eq!(runs.len(), 2, "{workflow_id} has the runs {runs:?}");
    let origin = describe_run(server, workflow_id).await.reset.expect("it began by a reset");
    assert_eq!((&origin.base_run_id, origin.reason.as_str(), origin.identity.as_str()), (&runs[1], "enough", "me"));
    assert_eq!(signals_of(server, workflow_id).await, signals, "{workflow_id}");
}

async fn describe_run(server: &Server, workflow_id: &str) -> v1::WorkflowStarted {
    support::describe(server, workflow_id).await.started.unwrap()
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

/// The event that says that the run is to stop; how many times it was asked to.
async fn asked_to_stop(server: &Server, workflow_id: &str) -> (usize, Option<v1::WorkflowCancelRequested>) {
    let request = v1::GetWorkflowHistoryRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    let page = client(server).get_workflow_history(request).await.unwrap().into_inner();
    let events = page.history.unwrap_or_default().events;
    let mut requests = events.iter().filter_map(|bytes| {
        let event = v1::HistoryEvent::decode(bytes.as_ref()).unwrap();
        match event.attributes {
            Some(v1::history_event::Attributes::WorkflowCancelRequested(request)) => Some(request),
            _ => None,
        }
    });
    let first = requests.next();
    (usize::from(first.is_some()) + requests.count(), first)
}

#[tokio::test]
async fn a_batch_asks_each_open_run_to_stop_and_says_why() {
    let server = start(store().await, options()).await;
    start_runs(&server, 4).await;
    client(&server).start_workflow(start_request("other")).await.unwrap();
    let terminate =
        v1::TerminateWorkflowRequest { namespace: "default".into(), execution: execution("w-2"), ..Default::default() };
    client(&server).terminate_workflow(terminate).await.unwrap();
    let request = start_of("stop", Operation::Cancel(v1::BatchCancel {}));
    assert_eq!(batches(&server).start_batch(request).await.unwrap().into_inner().total, 3);
    let batch = over(&server, "stop").await;
    assert_eq!((batch.state(), batch.done, batch.failed), (v1::BatchState::Completed, 3, 0), "{batch:?}");
    for workflow_id in ["w-0", "w-1", "w-3"] {
        let (times, request) = asked_to_stop(&server, workflow_id).await;
        let request = request.unwrap();
        let said = (times, request.reason.as_str(), request.identity.as_str());
        assert_eq!(said, (1, "enough", "me"), "{workflow_id}");
        let summary = support::describe(&server, workflow_id).await.summary.unwrap();
        assert_eq!(summary.status(), v1::WorkflowStatus::Running, "how {workflow_id} stops is for its code to say");
    }
    for workflow_id in ["w-2", "other"] {
        assert_eq!(asked_to_stop(&server, workflow_id).await, (0, None), "{workflow_id}");
    }
    server.shutdown().await;
}

/// Also from one page to the next: at this rate the first has ten runs.
#[tokio::test]
async fn a_batch_is_no_faster_than_its_rate() {
    let server = start(store().await, options()).await;
    start_runs(&server, 12).await;
    let begun = Instant::now();
    let request = v1::StartBatchRequest { rate: 10, ..start_of("slow", signal()) };
    batches(&server).start_batch(request).await.unwrap();
    let batch = over(&server, "slow").await;
    let took = begun.elapsed();
    assert_eq!((batch.state(), batch.done, batch.rate), (v1::BatchState::Completed, 12, 10), "{batch:?}");
    assert!(took >= Duration::from_millis(1100), "eleven pauses of 100 ms: {took:?}");
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

/// Open and closed runs are reset once each, wherever a write of the progress fails.
#[tokio::test]
async fn a_batch_whose_writes_are_in_doubt_resets_each_run_once() {
    let mut worlds = tokio::task::JoinSet::new();
    for write in 1..4 {
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            worlds.spawn(async move {
                let faulty = FaultyStore::new(store().await);
                faulty.plan_batch_write(write, fault.clone());
                let server = start(faulty, options()).await;
                run_runs(&server, 4).await;
                let again = reset(v1::BatchResetPoint::FirstWorkflowTask, true);
                let request = v1::StartBatchRequest { rate: 2, ..start_of("again", again) };
                let total = batches(&server).start_batch(request).await.unwrap().into_inner().total;
                let batch = over(&server, "again").await;
                let counted = (batch.state(), total, batch.done, batch.failed);
                assert_eq!(counted, (v1::BatchState::Completed, 4, 4, 0), "{write} {fault:?} {batch:?}");
                for number in 0..4 {
                    assert_reset_once(&server, &format!("w-{number}"), 0).await;
                }
                server.shutdown().await;
            });
        }
    }
    worlds.join_all().await;
}

/// The server dies after runs were reset and before that is written. Of one of them the new run was reset by somebody else since.
#[tokio::test]
async fn a_batch_that_resets_runs_is_taken_over_and_resets_none_twice() {
    let store = store().await;
    let faulty = FaultyStore::new(Arc::clone(&store));
    let gate = Gate::new();
    faulty.plan_batch_write(2, Fault::HoldBefore(gate.clone()));
    let first = start(faulty, options()).await;
    run_runs(&first, 6).await;
    let again = reset(v1::BatchResetPoint::FirstWorkflowTask, false);
    batches(&first).start_batch(v1::StartBatchRequest { rate: 2, ..start_of("again", again) }).await.unwrap();
    gate.reached().await;
    // Two pages are done, from the latest start on. The earliest of those runs is one that the second server reaches again.
    let mut reached = Vec::new();
    for number in 0..6 {
        let workflow_id = format!("w-{number}");
        let mut runs = runs_of(&first, &workflow_id).await;
        if runs.len() == 2 {
            reached.push((runs.remove(1), workflow_id));
        }
    }
    assert_eq!(reached.len(), 4, "{reached:?}");
    let (_, twice) = reached.into_iter().min().unwrap();
    let by_hand = v1::ResetWorkflowRequest {
        namespace: "default".into(),
        execution: execution(&twice),
        point: v1::ResetPoint::FirstWorkflowTask.into(),
        ..Default::default()
    };
    OperationServiceClient::new(first.service()).reset_workflow(by_hand).await.unwrap();
    let second = start(Arc::clone(&store), options()).await;
    let batch = over(&second, "again").await;
    let counted = (batch.state(), batch.total, batch.done, batch.failed);
    assert_eq!(counted, (v1::BatchState::Completed, 6, 6, 0), "{batch:?}");
    gate.open();
    for workflow_id in (0..6).map(|number| format!("w-{number}")).filter(|id| *id != twice) {
        assert_reset_once(&second, &workflow_id, 1).await;
    }
    assert_eq!(runs_of(&second, &twice).await.len(), 3, "once by the batch, once by hand");
    second.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn a_run_that_cannot_be_reset_counts_as_failed_with_its_reason() {
    let store = store().await;
    let server = start(Arc::clone(&store), options()).await;
    client(&server).start_workflow(start_request("w-failed")).await.unwrap();
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 1)]).await;
    let activity = worker.activity_task().await;
    let failure = Some(convert::failure_to_proto(&Failure::application("Declined", "no")));
    let failed = v1::ActivityTaskFailure { token: activity.token, failure };
    worker.report(v1::task_result::Result::ActivityFailed(failed)).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    drop(worker);
    server.shutdown().await;

    let server = start(store, options()).await;
    client(&server).start_workflow(start_request("w-new")).await.unwrap();
    let earlier = client(&server).start_workflow(start_request("w-twice")).await.unwrap().into_inner().run_id;
    let terminate = v1::TerminateWorkflowRequest {
        namespace: "default".into(),
        execution: execution("w-twice"),
        ..Default::default()
    };
    client(&server).terminate_workflow(terminate).await.unwrap();
    client(&server).start_workflow(start_request("w-twice")).await.unwrap();
    let repair = reset(v1::BatchResetPoint::FailedActivity, false);
    batches(&server).start_batch(start_of("repair", repair)).await.unwrap();
    let batch = over(&server, "repair").await;
    let counted = (batch.state(), batch.total, batch.done, batch.failed);
    assert_eq!(counted, (v1::BatchState::Completed, 4, 1, 3), "{batch:?}");
    let reasons = |workflow_id: &str| -> Vec<&str> {
        let of = batch.failures.iter().filter(|failure| failure.workflow_id == workflow_id);
        of.map(|failure| failure.problem.as_str()).collect()
    };
    let nothing = "point: no activity has failed in this run: reset it to a workflow task instead";
    assert_eq!(reasons("w-new"), [nothing]);
    let mut of_twice = reasons("w-twice");
    of_twice.sort_unstable_by_key(|reason| reason.len());
    assert_eq!(of_twice[0], nothing);
    assert!(of_twice[1].starts_with(&format!("run {earlier} is not the latest run")), "{of_twice:?}");
    assert_eq!((runs_of(&server, "w-new").await.len(), runs_of(&server, "w-twice").await.len()), (1, 2));

    assert_reset_once(&server, "w-failed", 0).await;
    let mut worker = Worker::connect(&server, hello(2), 10).await;
    let activity = worker.activity_task().await;
    assert_eq!(worker.complete_activity(&activity).await.refused, "", "it runs again");
    server.shutdown().await;
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
    let large = v1::Payload { data: vec![b'7'; 65 * 1024].into(), ..Default::default() };
    let cases = [
        (v1::StartBatchRequest { batch_id: String::new(), ..good() }, "batch_id: must not be empty"),
        (v1::StartBatchRequest { query: " ".into(), ..good() }, "query: must not be empty"),
        (v1::StartBatchRequest { query: "Status =".into(), ..good() }, "query: "),
        (v1::StartBatchRequest { operation: None, ..good() }, "operation: must be set"),
        (v1::StartBatchRequest { rate: 5000, ..good() }, "rate: is 5000; the limit is 1000 runs a second"),
        (v1::StartBatchRequest { reason: "x".repeat(5000), ..good() }, "reason: is 5000 bytes long"),
        (v1::StartBatchRequest { identity: "x".repeat(5000), ..good() }, "identity: is 5000 bytes long"),
        (v1::StartBatchRequest { batch_id: "a\u{7}".into(), ..good() }, "batch_id: contains a control character"),
        (v1::StartBatchRequest { batch_id: "x".repeat(1001), ..good() }, "batch_id: "),
        (v1::StartBatchRequest { query: "WorkflowId = 'w' ORDER BY StartTime".into(), ..good() }, "query: "),
        (v1::StartBatchRequest { query: "GROUP BY Status".into(), ..good() }, "query: has GROUP BY"),
        (start_of("x", reset(v1::BatchResetPoint::Unspecified, false)), "operation.reset.point: must be set"),
        (
            start_of("x", Operation::Reset(v1::BatchReset { point: 99, ..Default::default() })),
            "operation.reset.point: must be set",
        ),
        (
            start_of(
                "x",
                Operation::Move(v1::BatchMove { versioning_override: Some(v1::VersioningOverride::default()) }),
            ),
            "operation.move.versioning_override.behavior: must be PINNED or AUTO_UPGRADE",
        ),
        (v1::StartBatchRequest { operation: Some(v1::BatchOperation::default()), ..good() }, "operation: must be set"),
        (
            start_of("x", Operation::Signal(v1::BatchSignal { signal_name: "go".into(), input: vec![large] })),
            "operation.signal.input: is ",
        ),
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

#[tokio::test]
async fn what_names_no_batch_is_refused_and_changes_none() {
    let server = start(store().await, options()).await;
    batches(&server).start_batch(start_of("x", signal())).await.unwrap();
    let known = over(&server, "x").await;
    let default = || "default".to_owned();
    for (namespace, batch_id, code, message) in [
        ("default", "", Code::InvalidArgument, "batch_id: must not be empty"),
        ("default", "a\u{7}", Code::InvalidArgument, "batch_id: contains a control character at byte 1"),
        ("nowhere", "x", Code::NotFound, "namespace \"nowhere\" not found"),
        ("default", "y", Code::NotFound, "batch \"y\" not found"),
    ] {
        let (namespace, batch_id) = (|| namespace.to_owned(), || batch_id.to_owned());
        let describe = v1::DescribeBatchRequest { namespace: namespace(), batch_id: batch_id() };
        let stop = v1::StopBatchRequest { namespace: namespace(), batch_id: batch_id(), reason: String::new() };
        let mut refusals = vec![
            batches(&server).describe_batch(describe).await.unwrap_err(),
            batches(&server).stop_batch(stop).await.unwrap_err(),
        ];
        if batch_id() != "y" {
            let delete = v1::DeleteBatchRequest { namespace: namespace(), batch_id: batch_id() };
            refusals.push(batches(&server).delete_batch(delete).await.unwrap_err());
        }
        for refusal in refusals {
            assert_eq!((refusal.code(), refusal.message()), (code, message));
        }
    }
    let long = v1::StopBatchRequest { namespace: default(), batch_id: "x".into(), reason: "x".repeat(5000) };
    let refusal = batches(&server).stop_batch(long).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().starts_with("reason: is 5000 bytes long"), "{refusal:?}");
    let list = |page_size: u32, page_token: &[u8]| v1::ListBatchesRequest {
        namespace: default(),
        page_size,
        page_token: page_token.to_vec(),
    };
    for (request, code, message) in [
        (list(1001, b""), Code::InvalidArgument, "page_size: is 1001; the limit is 1000"),
        (list(1, b"\xff"), Code::InvalidArgument, "page_token: is not a token of this call: start again without one"),
        (
            v1::ListBatchesRequest { namespace: "nowhere".into(), ..list(1, b"") },
            Code::NotFound,
            "namespace \"nowhere\" not found",
        ),
    ] {
        let refusal = batches(&server).list_batches(request).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (code, message));
    }
    assert_eq!(batches(&server).list_batches(list(0, b"")).await.unwrap().into_inner().batches, [known]);
    server.shutdown().await;
}
