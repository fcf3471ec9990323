//! The examples of `docs/testing.md`: each block of code there is here, word for word.

use std::collections::HashMap;

use engine_sdk::activity::CancelReason;
use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

#[activity(start_to_close = "30s", retry(max_attempts = 3, initial_interval = "1m"))]
async fn charge_card(ctx: ActivityContext, card: String, cents: u64) -> Result<String, ActivityError> {
    ctx.heartbeat("asked the bank");
    let gateway = ctx.state::<Gateway>();
    if ctx.is_cancelled() {
        return Err(ctx.canceled());
    }
    Ok(gateway.charge(&card, cents))
}

#[signal]
struct Approval {
    by: String,
}

#[workflow]
async fn checkout(ctx: WorkflowContext, cents: u64) -> Result<String, WorkflowError> {
    let payment = ctx.run(charge_card, ("4242".to_owned(), cents)).await?;
    let mut approvals = ctx.signals::<Approval>();
    let by = select! {
        given = approvals.recv() => given.by,
        _ = ctx.sleep(days(14)) => "nobody".to_owned(),
    };
    Ok(format!("{payment}, approved by {by}"))
}

struct Gateway;

impl Gateway {
    fn charge(&self, card: &str, cents: u64) -> String {
        format!("{card} paid {cents}")
    }
}

#[engine_sdk::test]
async fn an_order_that_nobody_approves(env: TestEngine) {
    let charged = env.mock(charge_card, |(card, cents)| Ok(format!("{card} paid {cents}")));
    let began = env.now();
    let receipt = env.run(checkout, 700).await.unwrap();
    assert_eq!(receipt, "4242 paid 700, approved by nobody");
    assert_eq!(env.now().since(began), days(14));
    assert_eq!(charged.calls(), [("4242".to_owned(), 700)]);
}

#[engine_sdk::test]
async fn an_order_that_is_approved_in_time(env: TestEngine) {
    env.activity(charge_card).state(Gateway);
    let handle = env.start(checkout, 700).await.unwrap();
    env.advance(days(13)).await;
    handle.signal(Approval { by: "desk-3".into() }).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "4242 paid 700, approved by desk-3");
}

#[engine_sdk::test]
async fn the_third_attempt_may_succeed(env: TestEngine) {
    let charged = env.mock(charge_card, |_| Ok("paid".into()));
    charged.fail(1..=1, || ActivityError::retryable("the bank is busy")); // the first attempt fails
    charged.lose_worker(2..=2); // the second does its work, and its worker dies
    charged.delay(seconds(20)); // each takes 20 s of the engine's time
    env.run(checkout, 700).await.unwrap();
    assert_eq!(charged.attempts(), 3);
}

#[engine_sdk::test]
async fn a_bank_that_does_not_answer(env: TestEngine) {
    env.mock(charge_card, |_| Ok("paid".into())).delay(std::time::Duration::MAX);
    // Three attempts of 30 s time out.
    assert!(env.run(checkout, 700).await.is_err());
}

#[engine_sdk::test]
async fn a_checkout_survives_whatever_dies(env: TestEngine) {
    env.activity(charge_card).state(Gateway);
    env.crash_at_every_await(checkout, 700).await;
    env.every_activity_twice(checkout, 700).await;
    env.every_activity_fails_once(checkout, 700).await;
}

#[workflow]
async fn audited(ctx: WorkflowContext, rates: HashMap<String, u64>) -> Result<u64, WorkflowError> {
    let began = std::time::SystemTime::UNIX_EPOCH;
    let seconds = ctx.step("audit log", move || async move { Ok(began.elapsed()?.as_secs()) }).await?;
    #[allow_nondeterminism] // a sum is the same in any order
    let total: u64 = rates.values().sum();
    Ok(if seconds > 0 { total } else { 0 })
}

#[engine_sdk::test]
async fn what_is_allowed_on_purpose_follows_its_history(env: TestEngine) {
    let rates = HashMap::from([("EUR".to_owned(), 110), ("CHF".to_owned(), 95)]);
    assert_eq!(env.run(audited, rates).await.unwrap(), 205);
}

#[tokio::test]
async fn the_activity_alone() {
    let test = ActivityContext::for_test().state(Gateway);
    let (heartbeats, stop) = (test.heartbeats(), test.stopper());
    let ctx = test.build();
    assert_eq!(charge_card.call(ctx.clone(), "4242".into(), 700).await.unwrap(), "4242 paid 700");
    assert_eq!(heartbeats(), ["asked the bank"]);
    stop(CancelReason::Requested);
    assert!(charge_card.call(ctx, "4242".into(), 700).await.unwrap_err().is_canceled());
}

#[tokio::test]
async fn an_engine_on_a_runtime_of_your_own() {
    let env = TestEngine::new().await;
    env.activity(charge_card).state(Gateway);
    let client = env.client();
    env.workflow(checkout);
    let receipt = client.workflow(checkout).id("order-42").run(700).await.unwrap();
    assert_eq!(receipt, "4242 paid 700, approved by nobody");
    env.check_replay().await.unwrap();
    assert_eq!(env.take_problems(), [""; 0]);
}

#[test]
fn every_example_of_the_document_is_a_test_of_this_file() {
    let (document, tests) = (include_str!("../../../docs/testing.md"), include_str!("documented.rs"));
    let blocks: Vec<&str> = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 6, "{} blocks", blocks.len());
    for block in blocks {
        assert!(tests.contains(block.trim_end()), "not in this file:\n{block}");
    }
}
