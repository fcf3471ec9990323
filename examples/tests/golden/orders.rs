//! The ways of `order_saga`.

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

use crate::programs::Program;
use crate::saga::{Decision, Order, order_saga};
use crate::shop::{Payment, Reservation, charge, refund, release, reserve, ship};

pub(crate) const PROGRAM: Program = Program {
    name: "order_saga",
    code: |replayer| replayer.workflow(order_saga),
    paths: &[
        ("shipped", |env| {
            Box::pin(async move {
                world(&env);
                let order = place(&env).await;
                decide(&order, true).await;
                order.result().await.unwrap();
            })
        }),
        ("refused", |env| {
            Box::pin(async move {
                world(&env);
                let order = place(&env).await;
                env.settle().await;
                decide(&order, false).await;
                order.result().await.unwrap();
            })
        }),
        ("nobody-decides", |env| {
            Box::pin(async move {
                world(&env);
                place(&env).await.result().await.unwrap();
            })
        }),
        ("canceled", |env| {
            Box::pin(async move {
                world(&env);
                let order = place(&env).await;
                env.settle().await;
                order.cancel("changed my mind").await.unwrap();
                assert!(matches!(order.result().await, Err(WorkflowFailure::Canceled { .. })));
            })
        }),
        ("not-shipped", |env| {
            Box::pin(async move {
                world(&env);
                env.mock(ship, |_| Err(ActivityError::non_retryable("no carrier goes there")));
                let order = place(&env).await;
                decide(&order, true).await;
                assert!(matches!(order.result().await, Err(WorkflowFailure::Failed(_))));
            })
        }),
        ("waits-for-a-decision", |env| {
            Box::pin(async move {
                world(&env);
                place(&env).await;
                env.settle().await;
            })
        }),
    ],
};

/// An outside world that does what it is asked to.
fn world(env: &TestEngine) {
    env.mock(charge, |(order, cents)| Ok(Payment { id: format!("charge-of-{order}"), cents }));
    env.mock(reserve, |(order, item)| Ok(Reservation { id: format!("reserve-of-{order}"), item }));
    env.mock(ship, |(order, _)| Ok(format!("ship-of-{order}")));
    env.mock(refund, |_| Ok(()));
    env.mock(release, |_| Ok(()));
}

async fn place(env: &TestEngine) -> WorkflowHandle<crate::saga::Outcome> {
    let order = Order { id: "order-1".to_owned(), item: "a mug".to_owned(), cents: 1250 };
    env.start(order_saga, (order, days(14))).await.unwrap()
}

async fn decide(order: &WorkflowHandle<crate::saga::Outcome>, approved: bool) {
    order.signal(Decision { approved, by: "Mara".to_owned() }).await.unwrap();
}
