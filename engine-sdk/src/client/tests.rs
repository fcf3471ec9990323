//! The client against a server that the test plays.

use std::time::Duration;

use engine_core::event::{CloseStatus, ContinueAsNewReasons, Event, EventKind, WorkflowCompleted, WorkflowTaskStarted};
use engine_core::ids::{EventId, RunId};
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::{payload_to_proto, timestamp_to_proto};
use engine_proto::v1;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{ActivityTarget, ClientError, IdConflictPolicy, ListFilter, QueryError, WorkflowFailure};
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
async fn a_run_is_one_call_and_after_a_broken_one_a_start_and_a_wait_of_their_own() {
    let mut server = FakeServer::new();
    let run = |server: &FakeServer| {
        let client = server.client();
        tokio::spawn(client.workflow_named::<u32>("checkout").id("order-1").queue("orders").run(vec![json!(7)]))
    };
    let completed = || v1::GetWorkflowResultResponse {
        run_id: RUN.into(),
        status: v1::WorkflowStatus::Completed.into(),
        result: Some(payload_to_proto(&Payload::json("8"))),
        failure: None,
    };
    let one_call = run(&server);
    let (request, answer) = expect_call!(server, Start);
    assert_eq!(request.wait.map(|wait| wait.seconds), Some(20));
    let outcome = Some(completed());
    answer.send(Ok(v1::StartWorkflowResponse { run_id: RUN.into(), started: true, outcome })).unwrap();
    assert_eq!(one_call.await.unwrap().unwrap(), 8);

    let several = run(&server);
    let (first, answer) = expect_call!(server, Start);
    answer.send(Err(Status::unavailable("the connection broke"))).unwrap();
    let (second, answer) = expect_call!(server, Start);
    assert_eq!((second.wait, second.request_id), (None, first.request_id));
    answer.send(Ok(v1::StartWorkflowResponse { run_id: RUN.into(), started: true, outcome: None })).unwrap();
    let (request, answer) = expect_call!(server, Result);
    assert_eq!(request.execution.unwrap().run_id, RUN);
    answer.send(Ok(completed())).unwrap();
    assert_eq!(several.await.unwrap().unwrap(), 8);
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
    answer.send(Ok(v1::StartWorkflowResponse { run_id: RUN.into(), started: false, outcome: None })).unwrap();
    let handle = start.await.unwrap().unwrap();
    assert_eq!((handle.workflow_id(), handle.run_id(), handle.is_new()), ("order-1", Some(run_id()), false));
}

fn started(run_id: impl Into<String>) -> v1::StartWorkflowOutcome {
    let started = v1::StartWorkflowResponse { run_id: run_id.into(), started: true, outcome: None };
    v1::StartWorkflowOutcome { outcome: Some(v1::start_workflow_outcome::Outcome::Started(started)) }
}

fn refused(code: Code, details: ErrorDetails) -> v1::StartWorkflowOutcome {
    let status = Status::with_error_details(code, "refused", details);
    let status = status.details().to_vec();
    let refusal = v1::StartWorkflowRefusal { code: code.into(), message: "refused".into(), status };
    v1::StartWorkflowOutcome { outcome: Some(v1::start_workflow_outcome::Outcome::Refused(refusal)) }
}

#[tokio::test(start_paused = true)]
async fn each_start_of_many_has_an_outcome_of_its_own_and_only_the_undecided_are_repeated() {
    let mut server = FakeServer::new();
    let starts = ["a", "b", "c", "d"].map(|id| (id, vec![json!(id)]));
    let start = server.client().workflow_named::<u32>("checkout").queue("orders").start_many(starts);
    let start = tokio::spawn(start);
    let (first, answer) = expect_call!(server, StartMany);
    answer.send(Err(Status::unavailable("the server stops"))).unwrap();
    let (second, answer) = expect_call!(server, StartMany);
    assert_eq!(first, second, "with the same request ids");
    assert_eq!(first.starts.iter().map(|s| s.workflow_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let outcomes = vec![
        started(RUN),
        refused(Code::AlreadyExists, ErrorDetails::with_resource_info("run", RUN, "", "")),
        refused(Code::Unavailable, ErrorDetails::new()),
        refused(Code::ResourceExhausted, ErrorDetails::with_retry_info(Some(Duration::from_secs(1)))),
    ];
    answer.send(Ok(v1::StartWorkflowsResponse { outcomes })).unwrap();
    let (third, answer) = expect_call!(server, StartMany);
    assert_eq!(third.starts, first.starts[2..]);
    answer.send(Ok(v1::StartWorkflowsResponse { outcomes: vec![started(RUN), started(RUN)] })).unwrap();
    let outcomes = start.await.unwrap();
    for (place, id) in [(0, "a"), (2, "c"), (3, "d")] {
        let handle = outcomes[place].as_ref().unwrap();
        assert_eq!((handle.workflow_id(), handle.run_id(), handle.is_new()), (id, Some(run_id()), true));
    }
    assert!(matches!(&outcomes[1], Err(ClientError::AlreadyStarted { run_id: Some(found), .. }) if *found == run_id()));
}

#[tokio::test(start_paused = true)]
async fn many_starts_are_cut_into_requests_and_come_back_in_their_order() {
    let mut server = FakeServer::new();
    let starts = (0..2_500).map(|number| (format!("order-{number}"), Vec::new()));
    let start = server.client().workflow_named::<u32>("checkout").request_id("import-7").start_many(starts);
    let start = tokio::spawn(start);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 2_500 {
        let (request, answer) = expect_call!(server, StartMany);
        assert!(request.starts.iter().all(|start| start.request_id == "import-7"));
        let outcomes = request.starts.iter().map(|_| started(RUN)).collect();
        sizes.push(request.starts.len());
        answer.send(Ok(v1::StartWorkflowsResponse { outcomes })).unwrap();
    }
    assert_eq!(sizes, [1_000, 1_000, 500]);
    let outcomes = start.await.unwrap();
    let ids: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().workflow_id().to_owned()).collect();
    assert_eq!(ids, (0..2_500).map(|number| format!("order-{number}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stays_unanswered_fails_each_of_its_starts() {
    let server = FakeServer::new();
    let client = server.client();
    drop(server);
    let outcomes = client.workflow_named::<u32>("checkout").start_many([("a", Vec::new()), ("b", Vec::new())]).await;
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(ClientError::Unavailable { .. }))));
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
        suggest_continue_as_new: ContinueAsNewReasons::default(),
    };
    Event { id: EventId(id), at: Timestamp::from_micros(5), kind: EventKind::WorkflowTaskStarted(started) }
}

fn close_event(id: u64) -> Event {
    let completed =
        WorkflowCompleted { workflow_task_completed_event_id: EventId(id - 1), result: None, new_run_id: None };
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

#[tokio::test(start_paused = true)]
async fn a_query_tells_an_error_of_the_code_from_one_of_the_way_there() {
    let mut server = FakeServer::new();
    let client = server.client();
    let ask = || {
        let handle = client.handle_named::<()>("order-1");
        tokio::spawn(async move { handle.query_named::<u32>("total", (7,)).await })
    };
    let asked = ask();
    let (request, answer) = expect_call!(server, Query);
    assert_eq!((request.query_name.as_str(), request.input.len()), ("total", 1));
    assert_eq!(request.execution.unwrap().workflow_id, "order-1");
    let result = Some(payload_to_proto(&Payload::json("8")));
    answer.send(Ok(v1::QueryWorkflowResponse { run_id: RUN.into(), result, failure: None })).unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), 8);

    let asked = ask();
    let (_, answer) = expect_call!(server, Query);
    let failure = engine_core::failure::Failure::application("NoSuchItem", "there is no item 7");
    let failure = Some(engine_proto::convert::failure_to_proto(&failure));
    answer.send(Ok(v1::QueryWorkflowResponse { run_id: RUN.into(), result: None, failure })).unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(&error, QueryError::Failed(failure) if failure.message == "there is no item 7"), "{error:?}");

    for code in [Code::FailedPrecondition, Code::DeadlineExceeded] {
        let asked = ask();
        let (_, answer) = expect_call!(server, Query);
        answer.send(Err(Status::new(code, "no worker"))).unwrap();
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(&error, QueryError::Unanswered { message } if message == "no worker"), "{error:?}");
    }

    // The engine itself was away: asked again, since a query changes nothing.
    let asked = ask();
    let (_, answer) = expect_call!(server, Query);
    answer.send(Err(Status::unavailable("restarting"))).unwrap();
    let (_, answer) = expect_call!(server, Query);
    answer.send(Err(Status::invalid_argument("query_name: no such query"))).unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(&error, QueryError::Client(ClientError::InvalidArgument { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_published_value_is_asked_for_by_name_and_event() {
    let mut server = FakeServer::new();
    let handle = server.client().handle_named::<()>("order-1");
    let now = handle.clone();
    let now = tokio::spawn(async move { now.published::<u32>("total").await });
    let (request, answer) = expect_call!(server, Published);
    assert_eq!((request.name.as_str(), request.at_event_id), ("total", 0));
    let value = v1::PublishedValue {
        name: "total".into(),
        event_id: 9,
        time: Some(timestamp_to_proto(Timestamp::EPOCH)),
        value: Some(payload_to_proto(&Payload::json("8"))),
    };
    answer.send(Ok(v1::GetPublishedResponse { run_id: RUN.into(), values: vec![value] })).unwrap();
    assert_eq!(now.await.unwrap().unwrap(), Some(8));
    let before = tokio::spawn(async move { handle.published_at::<u32>("total", EventId(8)).await });
    let (request, answer) = expect_call!(server, Published);
    assert_eq!(request.at_event_id, 8);
    answer.send(Ok(v1::GetPublishedResponse { run_id: RUN.into(), values: vec![] })).unwrap();
    assert_eq!(before.await.unwrap().unwrap(), None);
}
