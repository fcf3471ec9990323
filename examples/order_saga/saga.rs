//! The workflow: every step that was done is undone, last one first, if a later one cannot be done.

use std::time::Duration;

use engine_sdk::prelude::*;

use crate::shop::{Payment, Reservation, charge, refund, release, reserve, ship};

/// What somebody ordered.
#[payload]
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) item: String,
    pub(crate) cents: u64,
}

/// The answer of the person who looks at the order.
#[signal]
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) approved: bool,
    pub(crate) by: String,
}

/// What became of the order.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Shipped {
        parcel: String,
    },
    /// Somebody, or the lack of an answer, was against it. Nothing is charged or reserved any more.
    Rejected {
        why: String,
    },
}

/// Charges, reserves, asks for approval, ships. An order that is not approved within `patience` is rejected.
#[workflow]
pub(crate) async fn order_saga(
    ctx: WorkflowContext,
    order: Order,
    patience: Duration,
) -> Result<Outcome, WorkflowError> {
    let mut done = Vec::new();
    let outcome = fulfil(&ctx, &order, patience, &mut done).await;
    if !matches!(outcome, Ok(Outcome::Shipped { .. })) {
        for step in done.into_iter().rev() {
            match step {
                Done::Charged(payment) => ctx.run(refund, (order.id.clone(), payment)).await?,
                Done::Reserved(reservation) => ctx.run(release, (order.id.clone(), reservation)).await?,
            }
        }
    }
    outcome
}

/// A step that may have to be undone.
enum Done {
    Charged(Payment),
    Reserved(Reservation),
}

async fn fulfil(
    ctx: &WorkflowContext,
    order: &Order,
    patience: Duration,
    done: &mut Vec<Done>,
) -> Result<Outcome, WorkflowError> {
    let mut decisions = ctx.signals::<Decision>();

    let payment = ctx.run(charge, (order.id.clone(), order.cents)).await?;
    done.push(Done::Charged(payment));
    let reservation = ctx.run(reserve, (order.id.clone(), order.item.clone())).await?;
    done.push(Done::Reserved(reservation.clone()));

    let objection = select! {
        decision = decisions.recv() => (!decision.approved).then(|| format!("{} said no", decision.by)),
        _ = ctx.sleep(patience) => Some("nobody approved it in time".to_owned()),
        _ = ctx.cancelled() => return Err(WorkflowError::canceled()),
    };
    if let Some(why) = objection {
        return Ok(Outcome::Rejected { why });
    }
    let parcel = ctx.run(ship, (order.id.clone(), reservation)).await?;
    Ok(Outcome::Shipped { parcel })
}
