//! The saga with the whole engine in this process: every way it can end, and each step failing once.

use std::time::Duration;

use super::*;
use crate::ledger::Request;

/// Places one order with an outside world that answers like this. Gives what became of the order, and the requests that were
/// made for it.
async fn place(
    patience: Duration,
    answer: fn(&Request) -> Result<(), ActivityError>,
    then: impl AsyncFnOnce(&WorkflowHandle<Outcome>),
) -> (Result<Outcome, WorkflowFailure>, Vec<Request>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let shop = Shop { ledger: Ledger::open(&path).unwrap(), delay: Duration::ZERO, answer };
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let outcome = worker_of(client.clone(), shop).run_until(async {
        let order = Order { id: "order-1".to_owned(), item: "a mug".to_owned(), cents: 1250 };
        let order = client.workflow(order_saga).id("order-1").queue(QUEUE).start((order, patience)).await.unwrap();
        then(&order).await;
        order.result().await
    });
    let outcome = outcome.await.unwrap();
    engine.shutdown().await;
    (outcome, ledger::read(&path).unwrap())
}

async fn approve(order: &WorkflowHandle<Outcome>) {
    order.signal(Decision { approved: true, by: "Mara".to_owned() }).await.unwrap();
}

async fn refuse(order: &WorkflowHandle<Outcome>) {
    order.signal(Decision { approved: false, by: "Mara".to_owned() }).await.unwrap();
}

#[track_caller]
fn assert_requests(requests: &[Request], expected: &[&str]) {
    let found: Vec<String> = requests.iter().map(|request| format!("{} {}", request.what, request.attempt)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_approved_order_is_shipped() {
    let (outcome, requests) = place(days(14), |_| Ok(()), approve).await;
    assert_eq!(outcome.unwrap(), Outcome::Shipped { parcel: "ship-of-order-1".to_owned() });
    assert_requests(&requests, &["charge 1", "reserve 1", "ship 1"]);
}

#[tokio::test]
async fn a_refused_order_is_undone_last_step_first() {
    let (outcome, requests) = place(days(14), |_| Ok(()), refuse).await;
    assert_eq!(outcome.unwrap(), Outcome::Rejected { why: "Mara said no".to_owned() });
    assert_requests(&requests, &["charge 1", "reserve 1", "release 1", "refund 1"]);
}

#[tokio::test]
async fn an_order_that_nobody_approves_is_undone() {
    let (outcome, requests) = place(millis(20), |_| Ok(()), async |_| ()).await;
    assert_eq!(outcome.unwrap(), Outcome::Rejected { why: "nobody approved it in time".to_owned() });
    assert_requests(&requests, &["charge 1", "reserve 1", "release 1", "refund 1"]);
}

#[tokio::test]
async fn an_order_that_is_canceled_is_undone() {
    let cancel = async |order: &WorkflowHandle<Outcome>| order.cancel("changed my mind").await.unwrap();
    let (outcome, requests) = place(days(14), |_| Ok(()), cancel).await;
    assert!(matches!(outcome, Err(WorkflowFailure::Canceled { .. })), "{outcome:?}");
    assert_requests(&requests, &["charge 1", "reserve 1", "release 1", "refund 1"]);
}

#[tokio::test]
async fn what_cannot_be_shipped_is_undone_and_the_order_says_why() {
    let no_carrier = |request: &Request| match request.what.as_str() {
        "ship" => Err(ActivityError::non_retryable("no carrier goes there")),
        _ => Ok(()),
    };
    let (outcome, requests) = place(days(14), no_carrier, approve).await;
    let Err(WorkflowFailure::Failed(why)) = outcome else { panic!("it fails, and not so: {outcome:?}") };
    let causes = std::iter::successors(std::error::Error::source(&why), |cause| cause.source());
    let why: Vec<String> = std::iter::once(why.to_string()).chain(causes.map(ToString::to_string)).collect();
    assert!(why.iter().any(|line| line.contains("no carrier goes there")), "{why:?}");
    assert_requests(&requests, &["charge 1", "reserve 1", "ship 1", "release 1", "refund 1"]);
}

/// The request arrives, the answer is lost.
fn first_answer_is_lost(request: &Request) -> Result<(), ActivityError> {
    if request.attempt == 1 { Err(ActivityError::retryable("the connection broke")) } else { Ok(()) }
}

#[tokio::test]
async fn each_step_that_fails_once_has_its_effect_once() {
    let (outcome, requests) = place(days(14), first_answer_is_lost, approve).await;
    assert_eq!(outcome.unwrap(), Outcome::Shipped { parcel: "ship-of-order-1".to_owned() });
    assert_requests(&requests, &["charge 1", "charge 2", "reserve 1", "reserve 2", "ship 1", "ship 2"]);
    assert_eq!(ledger::effects(&requests)["order-1"], ["charge", "reserve", "ship"]);
}

#[tokio::test]
async fn each_compensation_that_fails_once_has_its_effect_once() {
    let (outcome, requests) = place(days(14), first_answer_is_lost, refuse).await;
    assert_eq!(outcome.unwrap(), Outcome::Rejected { why: "Mara said no".to_owned() });
    assert_eq!(requests.len(), 8, "{requests:?}");
    assert_eq!(ledger::effects(&requests)["order-1"], ["charge", "reserve", "release", "refund"]);
}
