//! What the attributes make of functions and types.
#![allow(clippy::unwrap_used, reason = "the definitions here are part of the tests")]

use std::time::Duration;

use engine_core::payload::Payload;
use engine_sdk::activity::ActivityContext;
use engine_sdk::data;
use engine_sdk::definition::{Activity, ActivityCode, ActivityOptions, Signal, Workflow, WorkflowOptions};
use engine_sdk::error::{ActivityError, WorkflowError};
use engine_sdk::prelude::{RetryPolicy, WorkflowContext, activity, payload, signal, workflow};

#[payload]
#[derive(Debug, PartialEq)]
struct Card {
    number: String,
}

/// Charges a card.
#[activity(
    name = "shop.charge",
    start_to_close = "30s",
    schedule_to_close = "2h",
    schedule_to_start = "5m",
    heartbeat = "250ms",
    task_queue = "payments",
    retry(max_attempts = 5, initial_interval = "2s", backoff = 3, jitter = 0.5, non_retryable = ["CardDeclined"])
)]
#[expect(unused_variables, reason = "attributes below ours belong to the code")]
async fn charge(_ctx: ActivityContext, Card { number }: Card, mut cents: u64) -> Result<String, ActivityError> {
    let unused = ();
    cents += 1;
    Ok(format!("{number} {cents}"))
}

#[activity]
async fn r#match(_ctx: ActivityContext) -> std::io::Result<()> {
    Err(std::io::Error::other("full"))
}

type NumberResult = Result<u8, std::num::ParseIntError>;

#[activity]
async fn parse(_ctx: ActivityContext, text: String) -> NumberResult {
    text.parse()
}

/// Names that generated code might have used for itself.
#[activity]
async fn input(_ctx: ActivityContext, ctx: u8, writer: u8, reader: u8) -> Result<u8, ActivityError> {
    Ok(ctx + writer + reader)
}

#[workflow(execution_timeout = "30d", run_timeout = "7d", task_timeout = "20s", retry(max_interval = "500ms"))]
async fn monthly(_ctx: WorkflowContext, months: Vec<u32>) -> Result<usize, WorkflowError> {
    Ok(months.len())
}

#[workflow]
async fn plain(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[signal]
#[derive(Debug, PartialEq)]
enum Decision {
    Approve { by: String },
    Reject,
}

#[signal(name = "nudge")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Nudge;

#[test]
fn options_and_names_come_from_the_attribute() {
    assert_eq!(charge::NAME, "shop.charge");
    let retry = RetryPolicy {
        initial_interval: Duration::from_secs(2),
        backoff_coefficient: 3.0,
        maximum_interval: Duration::from_secs(200),
        maximum_attempts: 5,
        non_retryable_types: vec!["CardDeclined".into()],
        jitter: 0.5,
    };
    assert_eq!(
        charge.options(),
        ActivityOptions {
            task_queue: Some("payments".into()),
            schedule_to_close: Some(Duration::from_secs(7200)),
            schedule_to_start: Some(Duration::from_secs(300)),
            start_to_close: Some(Duration::from_secs(30)),
            heartbeat: Some(Duration::from_millis(250)),
            retry: Some(retry),
        }
    );
    assert_eq!((r#match::NAME, r#match.options()), ("match", ActivityOptions::default()));
    let options = monthly.options();
    assert_eq!(options.execution_timeout, Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(options.run_timeout, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(options.task_timeout, Some(Duration::from_secs(20)));
    let retry = options.retry.unwrap();
    assert_eq!(retry.validate(), Ok(()), "a cap below the default first interval lowers that too");
    assert_eq!(retry.maximum_interval, Duration::from_millis(500));
    assert_eq!((plain::NAME, plain.options()), ("plain", WorkflowOptions::default()));
}

#[test]
fn arguments_are_recorded_one_payload_each() {
    let encoded = charge::encode_input(&(Card { number: "4711".into() }, 5)).unwrap();
    assert_eq!(encoded, [Payload::json(r#"{"number":"4711"}"#), Payload::json("5")]);
    assert_eq!(charge::decode_input(encoded).unwrap(), (Card { number: "4711".into() }, 5));
    let encoded = monthly::encode_input(&vec![1, 2]).unwrap();
    assert_eq!(encoded, [Payload::json("[1,2]")]);
    assert_eq!(monthly::decode_input(encoded).unwrap(), [1, 2]);
    assert_eq!(plain::encode_input(&()).unwrap(), []);
    plain::decode_input(Vec::new()).unwrap();
    let error = charge::decode_input(vec![Payload::json("{}")]).unwrap_err();
    assert!(error.to_string().contains("argument 1 of type `definitions::Card`"), "{error}");
    assert_eq!(error.argument(), Some(1));
    assert!(charge::decode_input(vec![Payload::json("1"); 3]).is_err());
}

#[tokio::test]
async fn a_definition_can_be_called_and_any_error_type_will_do() {
    let ctx = ActivityContext::for_test().build();
    let result = charge.call(ctx.clone(), Card { number: "4711".into() }, 5).await;
    assert_eq!(result.unwrap(), "4711 6");
    assert_eq!(r#match.call(ctx.clone()).await.unwrap_err().kind(), std::io::ErrorKind::Other);
    let error = r#match.execute(ctx.clone(), ()).await.unwrap_err();
    assert_eq!(format!("{error:?}"), "Error: full");
    let error = parse.execute(ctx.clone(), "x".into()).await.unwrap_err();
    assert_eq!(format!("{error:?}"), "ParseIntError: invalid digit found in string");
    assert_eq!(input.execute(ctx, (1, 2, 3)).await.unwrap(), 6);
}

#[test]
fn signals_are_recorded_under_their_name() {
    assert_eq!((Decision::NAME, Nudge::NAME), ("Decision", "nudge"));
    let sent = data::encode(&Decision::Approve { by: "desk-3".into() }).unwrap();
    assert_eq!(data::decode_signal::<Decision>(&[sent]).unwrap(), Decision::Approve { by: "desk-3".into() });
    assert_eq!(data::decode_signal::<Decision>(&[Payload::json("\"Reject\"")]).unwrap(), Decision::Reject);
    assert!(data::decode_signal::<Nudge>(&[]).is_ok());
}
