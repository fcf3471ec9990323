//! What an operator does to runs: pause and resume, repair with another result, reset, and the same to many as a batch.
use engine_sdk::client::{BatchState, ResetFrom, ResetOptions};
use engine_sdk::prelude::*;

#[activity(retry(max_attempts = 2, initial_interval = "1ms"))]
async fn order_part(_ctx: ActivityContext, part: String) -> Result<String, ActivityError> {
    match part.as_str() {
        "bell" => Err(ActivityError::retryable("the supplier does not answer")),
        part => Ok(format!("a new {part}")),
    }
}

/// Orders the part, and mends the bike once its owner has said yes.
#[workflow]
async fn mend(ctx: WorkflowContext, part: String) -> Result<String, WorkflowError> {
    let part = ctx.run(order_part, part).await?;
    ctx.publish("status", "waits for its owner");
    let owner = ctx.signal_channel::<String>("go ahead").recv().await;
    Ok(format!("{owner}'s bike has {part}"))
}

async fn operate(client: Client) -> anyhow::Result<()> {
    let bike = |id: &str| client.workflow(mend).id(id).queue("bikes");
    // Paused, it records what comes and does nothing. Its timers and timeouts stand still.
    let paused = bike("paused").start("chain".to_owned()).await?;
    paused.pause("the shop is closed").await?;
    paused.signal_named("go ahead", "Ada").await?;
    println!("{} is paused", client.count("Paused = true").await?);
    paused.resume("").await?;
    println!("{}", paused.result().await?);

    // Failed at a step, it goes on from there: here with a result that somebody else found.
    let failed = bike("failed").start("bell".to_owned()).await?;
    println!("{:#}", anyhow::Error::from(failed.result().await.expect_err("nobody answered")));
    let from = ResetFrom::failed_activity_with("a used bell")?;
    let mended = client.handle::<mend>("failed").reset(from, ResetOptions::because("found one")).await?;
    mended.signal_named("go ahead", "Ben").await?;
    println!("{}", mended.result().await?);

    // From its first workflow task on everything runs again; the signals that came since are there again.
    let again = client.handle::<mend>("paused").reset(ResetFrom::FirstWorkflowTask, ResetOptions::default()).await?;
    println!("again: {}", again.result().await?);

    // The same to all that a filter means, at a rate, with a button to stop it.
    for number in 1..=3 {
        bike(&format!("left-{number}")).start("tyre".to_owned()).await?;
    }
    let batch = client.batch("WorkflowId STARTS_WITH 'left-'").reason("never collected").rate(100).terminate().await?;
    for number in 1..=3 {
        client.handle::<mend>(format!("left-{number}")).result().await.expect_err("it is terminated");
    }
    while batch.describe().await?.state == BatchState::Running {
        tokio::time::sleep(millis(10)).await;
    }
    let sold = batch.describe().await?;
    println!("{} of {} were terminated", sold.done, sold.total);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = Worker::new(engine.client(), "bikes").workflow(mend).activity(order_part);
    worker.run_until(operate(engine.client())).await??;
    engine.shutdown().await;
    Ok(())
}
