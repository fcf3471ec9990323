//! The examples of `docs/testing.md`: each block of code there is here, word for word.

use std::collections::HashMap;

use engine_sdk::activity::CancelReason;
use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;
use engine_sdk::workflow::Running;

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

/// What a workflow does in one place of several, say.
async fn approved_by(ctx: &WorkflowContext, patience: std::time::Duration) -> String {
    let mut approvals = ctx.signals::<Approval>();
    select! {
        given = approvals.recv() => given.by,
        _ = ctx.sleep(patience) => format!("nobody until {:?}", ctx.now()),
    }
}

#[test]
fn a_function_that_takes_a_context_alone() {
    let wait = |ctx: WorkflowContext| async move { approved_by(&ctx, days(14)).await };
    let mut test = WorkflowContext::for_test().run(wait);
    assert_eq!(test.commands(), ["StartTimer 14d 00:00:00"]);
    test.sleep(days(13));
    assert_eq!(test.output(), None);
    test.signal(Approval { by: "desk-3".into() });
    assert_eq!(test.output().unwrap(), "desk-3");
    assert_eq!(test.commands(), ["StartTimer 14d 00:00:00", "CancelTimer 14d 00:00:00"]);
}

#[test]
fn the_test_answers_activities_and_decides_time_and_chance() {
    let pay = |ctx: WorkflowContext| async move {
        let cents = ctx.random_range(0..1000);
        let paid = ctx.run(charge_card, ("4242".to_owned(), cents)).await;
        (ctx.now(), paid.map_err(|failure| failure.reason().to_string()))
    };
    let monday = std::time::SystemTime::UNIX_EPOCH + days(4);
    let mut test = WorkflowContext::for_test().now(monday).random([u64::MAX]).run(pay);
    assert_eq!(test.commands(), [r#"ScheduleActivity charge_card "4242", 999"#]);
    assert_eq!(test.open(charge_card), [("4242".to_owned(), 999)]);
    test.fail(charge_card, ActivityError::non_retryable("the card is blocked"));
    assert_eq!(test.output().unwrap(), (monday, Err("ActivityError: the card is blocked".to_owned())));
}

#[derive(Default)]
struct Order {
    items: Vec<String>,
    paid: bool,
}

#[workflow]
impl Order {
    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<usize, WorkflowError> {
        self.wait_until(|order| order.paid).await;
        Ok(self.items.len())
    }

    #[signal]
    async fn pay(&mut self, ctx: WorkflowContext, card: String) -> Result<(), WorkflowError> {
        ctx.run(charge_card, (card, 100 * self.items.len() as u64)).await?;
        self.paid = true;
        Ok(())
    }

    #[update]
    fn add(&mut self, item: String) -> Result<usize, WorkflowError> {
        self.items.push(item);
        Ok(self.items.len())
    }

    #[update_validator(add)]
    fn may_add(&self, item: &String) -> Result<(), WorkflowError> {
        if self.items.contains(item) { Err(WorkflowError::non_retryable("one of each")) } else { Ok(()) }
    }

    #[query]
    fn open_items(&self) -> usize {
        if self.paid { 0 } else { self.items.len() }
    }
}

#[test]
fn methods_without_await_are_plain_methods() {
    let mut order = Order::default();
    assert!(order.may_add(&"tea".to_owned()).is_ok());
    assert_eq!(order.add("tea".to_owned()).unwrap(), 1);
    assert!(order.may_add(&"tea".to_owned()).is_err());
    assert_eq!(order.open_items(), 1);
}

#[test]
fn a_method_that_awaits_gets_its_state_as_running() {
    let order = Order { items: vec!["tea".to_owned()], paid: false };
    let mut test = WorkflowContext::for_test().run(|ctx| async move {
        let mut order = Running::for_test(&ctx, order);
        Order::pay(&mut order, ctx, "4242".to_owned()).await.map(|()| order.open_items())
    });
    assert_eq!(test.open(charge_card), [("4242".to_owned(), 100)]);
    test.complete(charge_card, "paid".to_owned());
    assert_eq!(test.output().unwrap().unwrap(), 0);
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
