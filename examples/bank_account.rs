//! Updates: messages that a workflow answers, checked before they are accepted and repeatable by their id.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

#[update(returns = u64)]
struct Close {}

#[activity]
async fn book(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents) // the outside world: a ledger, a payment provider
}

#[workflow]
async fn account(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let balance = Arc::new(AtomicU64::new(0));
    let (of_handler, context) = (Arc::clone(&balance), ctx.clone());
    let refuse_nothing = |deposit: &Deposit| match deposit.cents {
        0 => Err(WorkflowError::non_retryable("a deposit must be more than nothing")),
        _ => Ok(()),
    };
    // Handlers run beside each other and beside the code below.
    ctx.on_validated_update(refuse_nothing, move |deposit: Deposit| {
        let (balance, ctx) = (Arc::clone(&of_handler), context.clone());
        async move {
            let booked = ctx.run(book, deposit.cents).await?;
            Ok(balance.fetch_add(booked, Ordering::Relaxed) + booked)
        }
    });
    let close = ctx.updates::<Close>().recv().await; // the same kind of message, received where it suits the code
    close.complete(balance.load(Ordering::Relaxed));
    ctx.wait_all_handlers_finished().await;
    Ok(balance.load(Ordering::Relaxed))
}

async fn bank(client: Client) -> anyhow::Result<()> {
    let open = || client.workflow(account).id("account-7").queue("bank");
    let (opened, first) = open().update_with_start((), Deposit { cents: 500 }).await?; // opens it if need be
    let second = opened.update(Deposit { cents: 250 }).id("transfer-42").await?;
    let again = opened.update(Deposit { cents: 250 }).id("transfer-42").await?; // a repeat is the same update
    println!("balance {first}, {second}, {again}");
    if let Err(UpdateFailure::Rejected(reason)) = opened.update(Deposit { cents: 0 }).await {
        println!("refused: {}", reason.message());
    }
    println!("closed with {}", opened.update(Close {}).await?);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = Worker::new(engine.client(), "bank").workflow(account).activity(book);
    let shutdown = worker.shutdown_handle();
    let worker = tokio::spawn(worker.run());
    bank(engine.client()).await?;
    shutdown.shutdown();
    worker.await??;
    engine.shutdown().await;
    Ok(())
}
