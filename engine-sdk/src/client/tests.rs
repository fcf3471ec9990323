//! The client against a server that the test plays.

use std::time::Duration;

use engine_core::event::{CloseStatus, Event, EventKind, WorkflowCompleted, WorkflowTaskStarted};
use engine_core::ids::{EventId, RunId};
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::{payload_to_proto, timestamp_to_proto};
use engine_proto::v1;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{ActivityTarget, ClientError, IdConflictPolicy, ListFilter, WorkflowFailure};
use crate::fake_server::{Call, FakeServer, encode};

const RUN: &str = "0199a3b4-0000-7000-8000-000000000001";

fn run_id() -> RunId {
    RunId::parse(RUN).unwrap()
}

/// Takes the next call, which must be of this kind.
macro_rules! expect_call {
    ($server:expr, $kind:ident) => {
        match $server.call().await {
            Call::$kind(request, answer) => (request, answer),
            other => panic!("expected {}: {other:?}", stringify!($kind)),
        }
    };
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_not_answered_is_repeated_with_the_same_request_id() {
    let mut server = FakeServer::new();
    let client = server.client();
    let start = client
        .workflow_named::<u32>("checkout")
        .id("order-1")
        .queue("orders")
        .run_timeout(Duration::from_secs(60))
        .id_conflict_policy(IdConflictPolicy::UseExisting)
        .memo("desk", &3);
    let start = tokio::spawn(start.start(vec![json!("card"), json!(7)]));
    let (first, answer) = expect_call!(server, Start);
    answer.send(Err(Status::unavailable("the server stops"))).unwrap();
    let (second, answer) = expect_call!(server, Start);
    assert_eq!(first, second);
    assert!(!first.request_id.is_empty());
    assert_eq!((first.workflow_id.as_str(), first.task_queue.as_str()), ("order-1", "orders"));
    assert_eq!(first.input.iter().map(|payload| payload.data.as_ref()).collect::<Vec<_>>(), [&b"\"card\""[..], b"7"]);
    assert_eq!(first.id_conflict_policy(), v1::WorkflowIdConflictPolicy::UseExisting);
    assert_eq!(first.memo["desk"].data.as_ref(), b"3");
    answer.send(Ok(v1::StartWorkflowResponse { run_id: RUN.into(), started: false })).unwrap();
    let handle = start.await.unwrap().unwrap();
    assert_eq!((handle.workflow_id(), handle.run_id(), handle.is_new()), ("order-1", Some(run_id()), false));
}

#[tokio::test(start_paused = true)]
async fn each_signal_has_an_id_of_its_own_and_its_repeats_have_the_same() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<()>("order-1");
    let signals = tokio::spawn(async move {
        handle.signal_named("approve", "desk-3").await?;
        handle.signal_named("approve", "desk-3").await
    });
    let (first, answer) = expect_call!(server, Signal);
    drop(answer);
    let (repeated, answer) = expect_call!(server, Signal);
    assert_eq!(first, repeated);
    answer.send(Ok(v1::SignalWorkflowResponse { run_id: RUN.into() })).unwrap();
    let (second, answer) = expect_call!(server, Signal);
    assert_ne!(first.request_id, second.request_id);
    answer.send(Err(Status::not_found("workflow execution already completed"))).unwrap();
    let error = signals.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::NotFound { .. }));
    assert_eq!(error.to_string(), "workflow execution already completed");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stays_away_is_an_error_after_the_clients_patience() {
    let server = FakeServer::new();
    let client = server.client();
    drop(server);
    let began = tokio::time::Instant::now();
    let error = client.workflow_named::<u32>("checkout").start(Vec::new()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(began.elapsed() <= Duration::from_secs(5) && began.elapsed() > Duration::from_secs(4));
}

#[tokio::test]
async fn a_taken_workflow_id_names_the_run_that_has_it() {
    let mut server = FakeServer::new();
    let start = tokio::spawn(server.client().workflow_named::<u32>("checkout").id("order-1").start(Vec::new()));
    let (_, answer) = expect_call!(server, Start);
    let details = ErrorDetails::with_resource_info("run", RUN, "", "");
    answer.send(Err(Status::with_error_details(Code::AlreadyExists, "order-1 is running", details))).unwrap();
    let error = start.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::AlreadyStarted { run_id: Some(found), .. } if found == run_id()));
}

#[tokio::test]
async fn an_empty_workflow_id_is_refused_before_it_is_sent() {
    let server = FakeServer::new();
    let error = server.client().handle_named::<()>("").cancel("test").await.unwrap_err();
    assert!(matches!(&error, ClientError::InvalidArgument { field, .. } if field == "workflow_id"));
    assert_eq!(error.to_string(), "workflow_id must not be empty");
}

#[tokio::test(start_paused = true)]
async fn a_result_is_waited_for_through_restarts_of_the_server() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<u32>("order-1").with_run_id(run_id());
    let result = tokio::spawn(async move { handle.result().await });
    let running = v1::GetWorkflowResultResponse { status: v1::WorkflowStatus::Running.into(), ..Default::default() };
    for _ in 0..3 {
        let (request, answer) = expect_call!(server, Result);
        assert_eq!(request.execution.unwrap().run_id, RUN);
        answer.send(Ok(running.clone())).unwrap();
    }
    // Longer than the client's patience with calls that change something.
    for _ in 0..100 {
        let (_, answer) = expect_call!(server, Result);
        answer.send(Err(Status::unavailable("the server is not back yet"))).unwrap();
    }
    let (_, answer) = expect_call!(server, Result);
    let result_payload = Some(payload_to_proto(&Payload::json("42")));
    let completed = v1::GetWorkflowResultResponse {
        status: v1::WorkflowStatus::Completed.into(),
        result: result_payload,
        ..Default::default()
    };
    answer.send(Ok(completed)).unwrap();
    assert_eq!(result.await.unwrap().unwrap(), 42);
}

#[tokio::test]
async fn a_refused_start_is_the_failure_of_a_run_that_was_to_be_waited_for() {
    let mut server = FakeServer::new();
    let run = tokio::spawn(server.client().workflow_named::<u32>("checkout").run(Vec::new()));
    let (request, answer) = expect_call!(server, Start);
    assert_eq!(request.task_queue, "default");
    answer.send(Err(Status::not_found("there is no namespace \"default\""))).unwrap();
    let failure = run.await.unwrap().unwrap_err();
    assert!(matches!(failure, WorkflowFailure::Client(ClientError::NotFound { .. })));
    assert_eq!(failure.to_string(), "there is no namespace \"default\"");
}

#[tokio::test(start_paused = true)]
async fn a_termination_names_its_run_and_a_repeat_of_one_that_took_effect_succeeds() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<u32>("order-1").with_run_id(run_id());
    let terminate = tokio::spawn({
        let handle = handle.clone();
        async move { handle.terminate("stuck").await }
    });
    let (request, answer) = expect_call!(server, Terminate);
    assert_eq!(request.execution.unwrap().run_id, RUN);
    drop(answer);
    let (_, answer) = expect_call!(server, Terminate);
    answer.send(Err(Status::not_found("workflow execution already completed"))).unwrap();
    terminate.await.unwrap().unwrap();

    let terminate = tokio::spawn(async move { handle.terminate("stuck").await });
    let (_, answer) = expect_call!(server, Terminate);
    answer.send(Err(Status::not_found("workflow execution already completed"))).unwrap();
    assert!(matches!(terminate.await.unwrap(), Err(ClientError::NotFound { .. })));
}

fn event(id: u64) -> Event {
    let started = WorkflowTaskStarted {
        scheduled_event_id: EventId(id - 1),
        identity: "w".into(),
        history_size_bytes: 9,
        suggest_continue_as_new: false,
    };
    Event { id: EventId(id), at: Timestamp::from_micros(5), kind: EventKind::WorkflowTaskStarted(started) }
}

fn close_event(id: u64) -> Event {
    let completed = WorkflowCompleted { workflow_task_completed_event_id: EventId(id - 1), result: None };
    Event { kind: EventKind::WorkflowCompleted(completed), ..event(id) }
}

#[tokio::test]
async fn a_history_is_read_page_by_page_and_stays_with_its_run() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<u32>("order-1");
    let history = tokio::spawn(async move { handle.history().await });
    let page = |events: &[Event], token: &[u8]| v1::GetWorkflowHistoryResponse {
        history: Some(encode(events)),
        next_page_token: token.to_vec(),
        run_id: RUN.into(),
    };
    let (request, answer) = expect_call!(server, History);
    assert_eq!(request.execution.unwrap().run_id, "");
    answer.send(Ok(page(&[event(1), event(2)], b"more"))).unwrap();
    let (request, answer) = expect_call!(server, History);
    assert_eq!((request.execution.unwrap().run_id.as_str(), request.page_token.as_slice()), (RUN, &b"more"[..]));
    answer.send(Ok(page(&[close_event(3)], b""))).unwrap();
    assert_eq!(history.await.unwrap().unwrap(), [event(1), event(2), close_event(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_after_the_last_event_that_it_saw_and_ends_after_the_close_event() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<u32>("order-1");
    let watch = tokio::spawn(handle.watch().try_collect::<Vec<Event>>());
    let message =
        |events: &[Event]| Ok(v1::WatchWorkflowResponse { history: Some(encode(events)), run_id: RUN.into() });
    let (request, answer) = expect_call!(server, Watch);
    assert_eq!(request.after_event_id, 0);
    answer.send(Ok(vec![message(&[event(1), event(2)]), Err(Status::unavailable("the server stops"))])).unwrap();
    let (request, answer) = expect_call!(server, Watch);
    assert_eq!((request.after_event_id, request.execution.unwrap().run_id.as_str()), (2, RUN));
    // A stream that just ends is one that broke.
    answer.send(Ok(vec![message(&[event(3)])])).unwrap();
    let (request, answer) = expect_call!(server, Watch);
    assert_eq!(request.after_event_id, 3);
    answer.send(Ok(vec![message(&[close_event(4)])])).unwrap();
    assert_eq!(watch.await.unwrap().unwrap(), [event(1), event(2), event(3), close_event(4)]);
}

#[tokio::test]
async fn a_watch_of_an_unknown_workflow_fails_once() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<u32>("order-1");
    let watch = tokio::spawn(handle.watch().collect::<Vec<_>>());
    let (_, answer) = expect_call!(server, Watch);
    answer.send(Err(Status::not_found("there is no workflow \"order-1\""))).unwrap();
    let seen = watch.await.unwrap();
    assert!(matches!(seen.as_slice(), [Err(ClientError::NotFound { .. })]), "{seen:?}");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page_over_pages_that_are_empty() {
    let mut server = FakeServer::new();
    let filter = ListFilter::all().closed(CloseStatus::Failed).workflow_type("checkout").page_size(2);
    let list = tokio::spawn(server.client().list(filter).try_collect::<Vec<_>>());
    let summary = |workflow_id: &str| v1::WorkflowSummary {
        workflow_id: workflow_id.into(),
        run_id: RUN.into(),
        workflow_type: "checkout".into(),
        task_queue: "orders".into(),
        status: v1::WorkflowStatus::Failed.into(),
        start_time: Some(timestamp_to_proto(Timestamp::from_micros(5))),
        ..Default::default()
    };
    let pages = [vec!["a", "b"], vec![], vec!["c"]];
    for (index, page) in pages.iter().enumerate() {
        let (request, answer) = expect_call!(server, List);
        assert_eq!((request.status(), request.page_size), (v1::WorkflowStatus::Failed, 2));
        assert_eq!(request.page_token, if index == 0 { vec![] } else { vec![index as u8] });
        let next_page_token = if index == 2 { vec![] } else { vec![index as u8 + 1] };
        let workflows = page.iter().map(|workflow_id| summary(workflow_id)).collect();
        answer.send(Ok(v1::ListWorkflowsResponse { workflows, next_page_token })).unwrap();
    }
    let runs = list.await.unwrap().unwrap();
    assert_eq!(runs.iter().map(|run| run.workflow_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((runs[0].status, runs[0].closed_at), (Some(CloseStatus::Failed), None));
}

#[tokio::test]
async fn an_activity_is_completed_by_its_id() {
    let mut server = FakeServer::new();
    let client = server.client();
    let target = ActivityTarget::id("order-1", None, "5");
    let complete = tokio::spawn(async move { client.complete_activity(&target, &true).await });
    let (request, answer) = expect_call!(server, CompleteActivity);
    assert_eq!(request.result.unwrap().data.as_ref(), b"true");
    let Some(v1::complete_activity_request::Activity::ById(by_id)) = request.activity else { panic!("by id") };
    assert_eq!((by_id.activity_id.as_str(), by_id.execution.unwrap().workflow_id.as_str()), ("5", "order-1"));
    answer.send(Ok(v1::CompleteActivityResponse {})).unwrap();
    complete.await.unwrap().unwrap();
}
