//! Activity tasks: credits, results, reconnects, heartbeats, stops, shutdown.

use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::FailureKind;
use engine_proto::convert::duration_to_proto;
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tonic::Code;

use super::{activity_task, failure, run, value};
use crate::activity;
use crate::activity::{ActivityContext, CancelReason};
use crate::error::ActivityError;
use crate::fake_server::FakeServer;
use crate::worker::{Worker, WorkerError};

/// Lets activities go on one by one, and tells the test that one has begun.
struct Gate {
    open: Notify,
    began: mpsc::UnboundedSender<u32>,
}

#[activity]
async fn double(_ctx: ActivityContext, input: u32) -> Result<u32, ActivityError> {
    Ok(input * 2)
}
#[activity]
async fn gated(ctx: ActivityContext, input: u32) -> Result<u32, ActivityError> {
    let gate = ctx.state_arc::<Gate>();
    gate.began.send(ctx.attempt()).unwrap();
    gate.open.notified().await;
    Ok(input)
}
#[activity]
async fn panics(_ctx: ActivityContext, input: u32) -> Result<u32, ActivityError> {
    panic!("no room for {input}")
}
#[activity]
async fn until_stopped(ctx: ActivityContext, _input: u32) -> Result<String, ActivityError> {
    match ctx.cancelled().await {
        CancelReason::DeadlinePassed => Ok("too late".to_owned()),
        _ => Err(ctx.canceled().with_details("cleaned up")),
    }
}
#[activity]
async fn elsewhere(ctx: ActivityContext, _input: u32) -> Result<u32, ActivityError> {
    Err(ctx.complete_later())
}
#[activity]
async fn beats_then_fails(ctx: ActivityContext, beats: u32) -> Result<u32, ActivityError> {
    for beat in 0..beats {
        ctx.heartbeat(&beat);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(ActivityError::retryable("no more"))
}
#[activity]
async fn deaf(_ctx: ActivityContext, _input: u32) -> Result<u32, ActivityError> {
    std::future::pending().await
}

fn gate() -> (Arc<Gate>, mpsc::UnboundedReceiver<u32>) {
    let (began, begun) = mpsc::unbounded_channel();
    (Arc::new(Gate { open: Notify::new(), began }), begun)
}

fn task(token: &str, activity_type: &str) -> v1::ActivityTask {
    activity_task(token, activity_type, &[json!(21)])
}

#[tokio::test]
async fn credits_and_tasks_in_hand_never_exceed_the_slots() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(double).activity_slots(3));
    let (mut session, hello) = server.session().await;
    assert_eq!((hello.task_queues, hello.activity_types), (vec!["orders".to_owned()], vec!["double".to_owned()]));
    assert_eq!(session.credits().await, v1::Credits { activity_tasks: 3, workflow_tasks: 0 });
    let mut sent = 0;
    let mut answered = 0;
    while answered < 200 {
        while session.credits.activity_tasks > 0 && sent < 200 {
            sent += 1;
            session.activities([task(&sent.to_string(), "double")]).await;
        }
        let message = session.message().await.unwrap();
        answered += message.results.len();
        assert!(session.credits.activity_tasks + session.in_hand <= 3, "{session:?}");
        session.acknowledge(message.results.iter().map(|result| result.result_id)).await;
    }
}

#[tokio::test]
async fn a_reconnect_names_tasks_in_hand_and_sends_results_again_until_they_are_acknowledged() {
    let mut server = FakeServer::new();
    let (gate, mut begun) = gate();
    let worker =
        Worker::new(server.client(), "orders").activity(double).activity(gated).shared_state(Arc::clone(&gate));
    let worker = run(worker.activity_slots(5));
    let (mut session, first_hello) = server.session().await;
    session.credits().await;
    session.activities([task("slow", "gated"), task("done", "double")]).await;
    begun.recv().await.unwrap();
    let first = session.result().await;
    assert_eq!(value(first.clone()), ("done".to_owned(), json!(42)));
    session.break_off().await;

    let (mut session, hello) = server.session().await;
    assert_eq!(hello.worker_id, first_hello.worker_id);
    assert_eq!(hello.activity_tasks_in_hand, [b"slow".to_vec(), b"done".to_vec()]);
    let again = session.message().await.unwrap();
    assert_eq!(again.results, std::slice::from_ref(&first));
    // One of five slots is still taken.
    assert_eq!(session.credits.activity_tasks, 4);
    session.acknowledge([first.result_id]).await;
    gate.open.notify_one();
    let second = session.result().await;
    assert_eq!(value(second.clone()), ("slow".to_owned(), json!(21)));
    session.acknowledge([second.result_id]).await;
    session.break_off().await;

    let (mut session, hello) = server.session().await;
    assert!(hello.activity_tasks_in_hand.is_empty(), "{hello:?}");
    worker.shutdown.shutdown();
    while !session.message().await.unwrap().drain {}
    session.send(v1::ServerMessage { drained: true, ..Default::default() }).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_result_that_comes_while_there_is_no_stream_waits_for_the_next_one() {
    let mut server = FakeServer::new();
    let (gate, mut begun) = gate();
    let _worker = run(Worker::new(server.client(), "orders").activity(gated).shared_state(Arc::clone(&gate)));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("slow", "gated")]).await;
    begun.recv().await.unwrap();
    gate.open.notify_one();
    session.break_off().await;
    let (mut session, _) = server.session().await;
    assert_eq!(value(session.result().await), ("slow".to_owned(), json!(21)));
}

#[tokio::test]
async fn a_panic_fails_its_attempt_and_nothing_else() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(panics).activity(double));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "panics")]).await;
    let failure = failure(session.result().await);
    assert_eq!(failure.message, "the activity panicked: no room for 21");
    assert!(
        matches!(failure.kind, FailureKind::Application { type_name, non_retryable: false, .. } if type_name == "panic")
    );
    session.activities([task("b", "double")]).await;
    assert_eq!(value(session.result().await).1, json!(42));
}

#[tokio::test]
async fn a_task_for_unknown_code_fails_with_the_code_that_is_there() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(panics).activity(double));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "triple")]).await;
    let unknown = failure(session.result().await);
    assert_eq!(unknown.message, "this worker has no activity \"triple\"; it has double, panics");
    assert_eq!(unknown.kind, FailureKind::Server { non_retryable: false });
    session.activities([activity_task("b", "double", &[json!("x")])]).await;
    let undecodable = failure(session.result().await);
    assert!(undecodable.message.starts_with("argument 1 of type `u32` cannot be decoded"), "{}", undecodable.message);
    assert!(matches!(undecodable.kind, FailureKind::Application { non_retryable: false, .. }));
}

#[tokio::test]
async fn an_activity_that_is_asked_to_stop_closes_as_canceled() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(until_stopped));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "until_stopped"), task("b", "until_stopped")]).await;
    let stop = |token: &str, reason: v1::ActivityStopReason| v1::ActivityStop {
        token: token.as_bytes().to_vec(),
        reason: reason.into(),
    };
    let activity_stops =
        vec![stop("b", v1::ActivityStopReason::NotWanted), stop("a", v1::ActivityStopReason::CancelRequested)];
    session.send(v1::ServerMessage { activity_stops, ..Default::default() }).await;
    let result = session.result().await;
    let Some(Outcome::ActivityCanceled(canceled)) = result.result else { panic!("{result:?}") };
    assert_eq!(canceled.token, b"a");
    assert_eq!(canceled.details.unwrap().data.as_ref(), b"\"cleaned up\"");
    // The slot of the result that nobody wants is free without one.
    while session.credits.activity_tasks < 200 {
        assert_eq!(session.message().await.unwrap().results, []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_activity_is_asked_to_stop_at_its_deadline() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(until_stopped));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let began = tokio::time::Instant::now();
    session.activities([task("a", "until_stopped")]).await;
    assert_eq!(value(session.result().await).1, json!("too late"));
    assert!(began.elapsed() >= Duration::from_secs(60) && began.elapsed() < Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_throttled_and_the_last_details_go_out_with_the_failure() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(beats_then_fails));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let began = tokio::time::Instant::now();
    session.activities([activity_task("a", "beats_then_fails", &[json!(100)])]).await;
    let mut seen = Vec::new();
    loop {
        let message = session.message().await.unwrap();
        for beat in message.heartbeats {
            assert_eq!(beat.token, b"a");
            let details: u32 = serde_json::from_slice(&beat.details.unwrap().data).unwrap();
            seen.push((began.elapsed().as_secs(), details));
        }
        if let Some(result) = message.results.into_iter().next() {
            assert_eq!(failure(result).message, "no more");
            break;
        }
    }
    // At once, then each 40 % of the timeout of 10 s with the latest of the 10 beats a second, then what was left.
    assert_eq!(seen.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 4, 8, 10]);
    assert_eq!((seen[0].1, seen[3].1), (0, 99));
    assert!((38..=41).contains(&seen[1].1) && (78..=81).contains(&seen[2].1), "{seen:?}");
}

#[tokio::test]
async fn a_result_that_the_server_cannot_take_becomes_a_failure() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(double));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "double")]).await;
    let result_id = session.result().await.result_id;
    let refused = v1::ResultAck { result_id, refused: "too large".into(), code: Code::InvalidArgument.into() };
    session.send(v1::ServerMessage { acks: vec![refused], ..Default::default() }).await;
    let failure = failure(session.result().await);
    assert_eq!(failure.message, "the activity's result was refused: too large");
    assert_eq!(failure.kind, FailureKind::Server { non_retryable: true });
}

#[tokio::test]
async fn an_activity_that_goes_on_elsewhere_frees_its_slot_and_is_named_until_its_deadline() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(elsewhere).activity_slots(1));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "elsewhere")]).await;
    let result = session.result().await;
    assert!(matches!(&result.result, Some(Outcome::ActivityDetached(detached)) if detached.token == b"a"));
    session.acknowledge([result.result_id]).await;
    assert_eq!(session.credits().await.activity_tasks, 1);
    session.break_off().await;
    let (mut session, hello) = server.session().await;
    assert_eq!(hello.activity_tasks_in_hand, [b"a".to_vec()]);
    let again = session.result().await;
    assert!(matches!(again.result, Some(Outcome::ActivityDetached(detached)) if detached.token == b"a"));
}

#[tokio::test]
async fn a_shutdown_takes_no_more_tasks_and_waits_for_those_in_hand_and_their_acknowledgement() {
    let mut server = FakeServer::new();
    let (gate, mut begun) = gate();
    let worker = run(Worker::new(server.client(), "orders").activity(gated).shared_state(Arc::clone(&gate)));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "gated")]).await;
    begun.recv().await.unwrap();
    worker.shutdown.shutdown();
    let message = session.message().await.unwrap();
    assert!(message.drain && message.credits.is_none(), "{message:?}");
    gate.open.notify_one();
    let message = session.message().await.unwrap();
    assert!(!message.drain && message.credits.is_none(), "{message:?}");
    assert!(!worker.ended.is_finished());
    session.acknowledge([message.results[0].result_id]).await;
    session.send(v1::ServerMessage { drained: true, ..Default::default() }).await;
    worker.end().await.unwrap();
    assert_eq!(session.message().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_under_way_when_the_worker_drained_is_still_run() {
    let mut server = FakeServer::new();
    let worker = run(Worker::new(server.client(), "orders").activity(double));
    let (mut session, _) = server.session().await;
    session.credits().await;
    worker.shutdown.shutdown();
    assert!(session.message().await.unwrap().drain);
    session.activities([task("a", "double")]).await;
    let result = session.result().await;
    assert_eq!(value(result.clone()).1, json!(42));
    session.acknowledge([result.result_id]).await;
    // This server does not say that there are no more tasks.
    let began = tokio::time::Instant::now();
    worker.end().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_asks_activities_to_stop_after_its_grace_and_then_leaves_without_them() {
    let mut server = FakeServer::new();
    let worker = Worker::new(server.client(), "orders").activity(until_stopped).activity(deaf);
    let worker = run(worker.shutdown_grace(Duration::from_secs(20)));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "until_stopped"), task("b", "deaf")]).await;
    let began = tokio::time::Instant::now();
    worker.shutdown.shutdown();
    assert!(session.message().await.unwrap().drain);
    for (token, seconds) in [(b"a", 20), (b"b", 22)] {
        let result = session.result().await;
        assert_eq!(began.elapsed().as_secs(), seconds);
        session.acknowledge([result.result_id]).await;
        let Some(Outcome::ActivityFailed(failed)) = &result.result else { panic!("{result:?}") };
        assert_eq!(failed.token, token);
        assert_eq!(failure(result).kind, FailureKind::WorkerLost);
    }
    worker.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_word_from_the_server_is_replaced() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(double));
    let (mut session, _) = server.session().await;
    let keepalive = Some(duration_to_proto(Duration::from_secs(5)));
    let welcome = || Some(v1::Welcome { keepalive, ..Default::default() });
    session.send(v1::ServerMessage { welcome: welcome(), ..Default::default() }).await;
    let began = tokio::time::Instant::now();
    let (_next, _) = server.session().await;
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn a_task_without_credit_ends_the_stream() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").activity(deaf).activity_slots(1));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let activity_tasks = vec![task("a", "deaf"), task("b", "deaf")];
    session.send_anything(v1::ServerMessage { activity_tasks, ..Default::default() }).await;
    let (_session, hello) = server.session().await;
    assert_eq!(hello.activity_tasks_in_hand, [b"a".to_vec()]);
}

#[tokio::test]
async fn a_server_that_shuts_down_is_left_when_nothing_is_under_way() {
    let mut server = FakeServer::new();
    let (gate, mut begun) = gate();
    let _worker = run(Worker::new(server.client(), "orders").activity(gated).shared_state(Arc::clone(&gate)));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.activities([task("a", "gated")]).await;
    begun.recv().await.unwrap();
    session.send(v1::ServerMessage { drain: true, ..Default::default() }).await;
    gate.open.notify_one();
    let result = session.result().await;
    assert_eq!(session.credits.activity_tasks, 199, "no credits to a server that shuts down");
    session.acknowledge([result.result_id]).await;
    let (_session, hello) = server.session().await;
    assert!(hello.activity_tasks_in_hand.is_empty());
}

#[tokio::test]
async fn a_worker_that_the_server_refuses_for_good_returns_its_sentence() {
    let mut server = FakeServer::new();
    let worker = run(Worker::new(server.client(), "orders").activity(double));
    let (session, _) = server.session().await;
    session.refuse(tonic::Status::not_found("there is no namespace \"default\"")).await;
    let error = worker.end().await.unwrap_err();
    assert_eq!(error.to_string(), "the server refuses the worker: there is no namespace \"default\"");
}

#[tokio::test]
async fn a_worker_that_is_not_complete_says_what_is_missing() {
    let server = FakeServer::new();
    let worker = || Worker::new(server.client(), "orders");
    assert!(matches!(worker().run().await, Err(WorkerError::NothingToDo)));
    let twice = worker().activity(double).activity(double).run().await.unwrap_err();
    assert!(twice.to_string().starts_with("activity \"double\" was added to the worker twice"), "{twice}");
    let unnamed = worker().queues([""]).activity(double).run().await.unwrap_err();
    assert_eq!(unnamed.to_string(), "the queue name \"\" must not be empty");
    let idle = worker().activity(double).activity_slots(0).workflow_slots(0).run().await.unwrap_err();
    assert!(matches!(idle, WorkerError::NoSlots));
}
