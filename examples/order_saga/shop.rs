//! The activities: what the saga asks of the outside world, and how to take it back.

use std::time::Duration;

use engine_sdk::prelude::*;

use crate::ledger::{Ledger, Request};

/// State that the worker's activities share.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) ledger: Ledger,
    /// How long the outside world takes to answer.
    pub(crate) delay: Duration,
    /// What it answers, once the request is in the ledger.
    pub(crate) answer: fn(&Request) -> Result<(), ActivityError>,
}

/// A card was charged.
#[payload]
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) cents: u64,
}

/// An item is put aside.
#[payload]
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    pub(crate) id: String,
    pub(crate) item: String,
}

#[activity(start_to_close = "10s", retry(initial_interval = "200ms"))]
pub(crate) async fn charge(ctx: ActivityContext, order: String, cents: u64) -> Result<Payment, ActivityError> {
    let id = ask(&ctx, "charge", order).await?;
    Ok(Payment { id, cents })
}

#[activity(start_to_close = "10s", retry(initial_interval = "200ms"))]
pub(crate) async fn reserve(ctx: ActivityContext, order: String, item: String) -> Result<Reservation, ActivityError> {
    let id = ask(&ctx, "reserve", order).await?;
    Ok(Reservation { id, item })
}

#[activity(start_to_close = "10s", retry(initial_interval = "200ms"))]
pub(crate) async fn ship(ctx: ActivityContext, order: String, _goods: Reservation) -> Result<String, ActivityError> {
    ask(&ctx, "ship", order).await
}

#[activity(start_to_close = "10s", retry(initial_interval = "200ms"))]
pub(crate) async fn refund(ctx: ActivityContext, order: String, _payment: Payment) -> Result<(), ActivityError> {
    ask(&ctx, "refund", order).await.map(drop)
}

#[activity(start_to_close = "10s", retry(initial_interval = "200ms"))]
pub(crate) async fn release(ctx: ActivityContext, order: String, _goods: Reservation) -> Result<(), ActivityError> {
    ask(&ctx, "release", order).await.map(drop)
}

/// Makes one request to the outside world. An attempt that dies after it is followed by one that makes it again, with the same
/// key: that is why it has one.
async fn ask(ctx: &ActivityContext, what: &str, order: String) -> Result<String, ActivityError> {
    let shop = ctx.state::<Shop>();
    let request = Request { order, what: what.to_owned(), key: ctx.idempotency_key(), attempt: ctx.attempt() };
    shop.ledger.record(&request)?;
    tokio::time::sleep(shop.delay).await;
    (shop.answer)(&request)?;
    Ok(format!("{what}-of-{}", request.order))
}
