//! Code that a test replaces, watches and makes to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

use crate::told;

#[payload]
#[derive(Debug, Clone, PartialEq)]
struct Card {
    number: String,
}

/// In another program: only a mock can run it here.
#[activity(task_queue = "payments")]
async fn charge_card(ctx: ActivityContext, card: Card, cents: u64) -> Result<String, ActivityError>;

#[activity]
async fn ship(ctx: ActivityContext, order: u64) -> Result<u64, ActivityError> {
    ctx.state::<Stock>().0.fetch_sub(1, Ordering::Relaxed);
    Ok(order)
}

struct Stock(AtomicU64);

#[workflow]
async fn pack(_ctx: WorkflowContext, order: u64) -> Result<u64, WorkflowError> {
    Ok(order)
}

#[workflow]
async fn checkout(ctx: WorkflowContext, order: u64) -> Result<String, WorkflowError> {
    let card = Card { number: "4242".into() };
    let payment = ctx.run(charge_card, (card, 700)).await?;
    let packed = ctx.child(pack).run(order).await?;
    ctx.run(ship, packed).await?;
    Ok(payment)
}

#[engine_sdk::test]
async fn activities_and_children_are_replaced_and_their_calls_are_seen(env: TestEngine) {
    let charged = env.mock(charge_card, |(card, cents)| Ok(format!("{} paid {cents}", card.number)));
    let packed = env.mock_workflow(pack, |order| Ok(order + 1));
    packed.delay(hours(3));
    let shipped = env.mock(ship, Ok);
    let began = env.now();
    assert_eq!(env.run(checkout, 41).await.unwrap(), "4242 paid 700");
    assert_eq!(charged.calls(), [(Card { number: "4242".into() }, 700)]);
    assert_eq!(packed.calls(), [41]);
    assert_eq!(shipped.calls(), [42]);
    assert_eq!(env.now().since(began), hours(3));
}

#[engine_sdk::test]
async fn real_code_runs_with_the_tests_state_and_is_watched(env: TestEngine) {
    env.mock(charge_card, |_| Ok("paid".into()));
    env.workflow(pack).state(Stock(AtomicU64::new(5)));
    let shipped = env.spy(ship);
    shipped.lose_worker(1..=2);
    env.run(checkout, 1).await.unwrap();
    let attempts: Vec<u32> = shipped.attempts_seen().into_iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[engine_sdk::test]
async fn failures_of_mocks_are_the_workflows_to_deal_with(env: TestEngine) {
    let charged = env.mock(charge_card, |_| Err(ActivityError::non_retryable("declined").with_type("CardDeclined")));
    env.mock_workflow(pack, |_| Err(WorkflowError::non_retryable("no boxes")));
    let error = told(&env.run(checkout, 1).await.unwrap_err());
    assert!(error.contains("declined"), "{error}");
    assert_eq!(charged.attempts(), 1);
    env.mock(charge_card, |_| Ok("paid".into()));
    let error = told(&env.run(checkout, 1).await.unwrap_err());
    assert!(error.contains("no boxes"), "{error}");
}

#[engine_sdk::test]
async fn a_mock_may_look_at_its_attempt(env: TestEngine) {
    env.workflow(pack);
    env.mock(ship, Ok);
    let keys = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    env.mock_async(charge_card, move |ctx, _| {
        seen.lock().push(ctx.idempotency_key());
        async move { if ctx.attempt() < 3 { Err(ActivityError::retryable("again")) } else { Ok("paid".into()) } }
    });
    env.run(checkout, 1).await.unwrap();
    let keys = keys.lock();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key == &keys[0]), "{keys:?}");
}

#[engine_sdk::test]
async fn a_result_comes_from_the_types_of_the_definition(env: TestEngine) -> Result<(), WorkflowFailure> {
    env.mock(charge_card, |(_, cents)| Ok(cents.to_string())).delay(minutes(1));
    env.mock_workflow(pack, Ok);
    env.mock(ship, Ok);
    assert_eq!(env.run(checkout, 1).await?, "700");
    Ok(())
}
