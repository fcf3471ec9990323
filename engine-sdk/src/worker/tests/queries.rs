//! Queries: of a run in the cache, of one that is replayed for them, and across streams.

use engine_core::payload::Payload;
use engine_proto::convert::payloads_to_proto;
use engine_proto::v1;
use engine_proto::v1::query_answer::Outcome;
use serde_json::json;

use super::workflows::{History, completion, double};
use super::{activity_task, run, value};
use crate::error::WorkflowError;
use crate::fake_server::{Call, FakeServer, FakeSession, encode};
use crate::worker::Worker;
use crate::workflow::WorkflowContext;
use crate::{query, workflow};

/// The sum, and a number on top.
#[query]
fn total(sum: &u32, more: u32) -> u32 {
    sum + more
}

#[workflow]
async fn sums(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let sum = ctx.state(0);
    ctx.answer(total, &sum);
    let mut numbers = ctx.signal_channel::<u32>("number");
    loop {
        let number = numbers.recv().await;
        *sum.write() += number;
        if number == 0 {
            return Ok(());
        }
    }
}

fn ask(history: &History, query_id: u64, seen: u64) -> v1::QueryTask {
    v1::QueryTask {
        query_id,
        workflow_id: "order-1".into(),
        run_id: history.run_id.to_string(),
        workflow_type: history.workflow_type.into(),
        query_name: "total".into(),
        input: payloads_to_proto(&[Payload::json("1000")]),
        last_event_id: history.events.len() as u64,
        seen_event_id: seen,
    }
}

async fn send(session: &mut FakeSession, query: v1::QueryTask) {
    session.send_anything(v1::ServerMessage { queries: vec![query], ..Default::default() }).await;
}

/// The next answers, which must come alone.
async fn answer(session: &mut FakeSession) -> (u64, Outcome) {
    loop {
        let mut message = session.message().await.expect("a stream");
        assert!(message.query_answers.len() <= 1, "{:?}", message.query_answers);
        if let Some(answer) = message.query_answers.pop() {
            return (answer.query_id, answer.outcome.expect("an outcome"));
        }
    }
}

#[track_caller]
fn number(outcome: Outcome) -> serde_json::Value {
    let Outcome::Result(result) = outcome else { panic!("no result: {outcome:?}") };
    serde_json::from_slice(&result.value.expect("a value").data).unwrap()
}

#[tokio::test]
async fn a_query_of_a_cached_run_is_answered_once_the_server_has_the_result_of_its_task() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(sums).activity(double));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut evicted = Vec::new();
    let mut history = History::new(1, "sums", None);
    session.workflow(history.task()).await;
    let (_, _, first) = completion(&mut session, &mut evicted).await;
    history.signal(5);
    session.workflow(history.task()).await;
    let (_, cached, second) = completion(&mut session, &mut evicted).await;
    assert!(cached);
    send(&mut session, ask(&history, 7, 3)).await;
    // What comes behind the query is done, and still no answer: the code is ahead of what is recorded.
    for token in ["a", "b", "c"] {
        session.activities([activity_task(token, "double", &[json!(21)])]).await;
        loop {
            let mut message = session.message().await.unwrap();
            assert_eq!(message.query_answers, []);
            if let Some(result) = message.results.pop() {
                session.acknowledge([result.result_id]).await;
                break assert_eq!(value(result).1, json!(42));
            }
        }
    }
    session.acknowledge([first, second]).await;
    let (query_id, outcome) = answer(&mut session).await;
    assert_eq!((query_id, number(outcome)), (7, json!(1005)));

    // The run is still in the cache: its next task carries new events only.
    history.signal(6);
    session.workflow(history.task()).await;
    let (_, _, third) = completion(&mut session, &mut evicted).await;
    session.acknowledge([third]).await;
    send(&mut session, ask(&history, 8, 11)).await;
    assert_eq!(number(answer(&mut session).await.1), json!(1011));
    assert!(evicted.is_empty());
}

#[tokio::test]
async fn a_run_that_is_not_cached_or_behind_is_replayed_up_to_where_it_is_asked() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(sums));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut history = History::new(1, "sums", None);
    history.begin_task();
    history.signal(5);
    history.begin_task();
    history.signal(0);
    history.begin_task();
    send(&mut session, ask(&history, 1, 0)).await;
    let Call::History(request, reply) = server.call().await else { panic!("a page of the history") };
    assert_eq!(request.execution.unwrap().run_id, history.run_id.to_string());
    let page = |history: &History| v1::GetWorkflowHistoryResponse {
        history: Some(encode(&history.events)),
        ..Default::default()
    };
    reply.send(Ok(page(&history))).unwrap();
    assert_eq!(number(answer(&mut session).await.1), json!(1005));

    // It was thrown away: the next query replays again.
    send(&mut session, ask(&history, 2, 3)).await;
    let Call::History(_, reply) = server.call().await else { panic!("a page of the history") };
    reply.send(Err(tonic::Status::not_found("it was deleted"))).unwrap();
    let (query_id, outcome) = answer(&mut session).await;
    let expected = "the run cannot be replayed: cannot read the history before event 12: it was deleted";
    assert_eq!((query_id, outcome), (2, Outcome::Unanswerable(expected.into())));
}

#[tokio::test]
async fn an_answer_is_for_the_stream_of_its_query() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(sums));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut history = History::new(1, "sums", None);
    history.begin_task();
    history.signal(5);
    send(&mut session, ask(&history, 1, 0)).await;
    let Call::History(_, reply) = server.call().await else { panic!("a page of the history") };
    session.break_off().await;
    let (mut session, _) = server.session().await;
    session.credits().await;
    // It is worked on behind the first one, whose answer nobody waits for.
    let mut again = ask(&history, 1, 0);
    again.input = payloads_to_proto(&[Payload::json("2000")]);
    send(&mut session, again).await;
    let page = || v1::GetWorkflowHistoryResponse { history: Some(encode(&history.events)), ..Default::default() };
    reply.send(Ok(page())).unwrap();
    let Call::History(_, reply) = server.call().await else { panic!("a page of the history") };
    reply.send(Ok(page())).unwrap();
    assert_eq!(number(answer(&mut session).await.1), json!(2000));
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_in_a_sentence() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(sums));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let unknown = History::new(1, "ships", None);
    send(&mut session, ask(&unknown, 1, 0)).await;
    let sentence = "this worker has no workflow \"ships\"; it has sums";
    assert_eq!(answer(&mut session).await, (1, Outcome::Unanswerable(sentence.into())));

    let mut history = History::new(2, "sums", None);
    history.begin_task();
    history.signal(5);
    let typo = v1::QueryTask { query_name: "totel".into(), ..ask(&history, 2, 0) };
    send(&mut session, typo).await;
    let Call::History(_, reply) = server.call().await else { panic!("a page of the history") };
    let page = v1::GetWorkflowHistoryResponse { history: Some(encode(&history.events)), ..Default::default() };
    reply.send(Ok(page)).unwrap();
    let sentence = "workflow sums has no query \"totel\"; it has total";
    assert_eq!(answer(&mut session).await, (2, Outcome::Refused(sentence.into())));
}
