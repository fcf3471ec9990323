//! Timers: what takes longer than expected is told, and goes on; what takes far too long is given up.
use std::time::Duration;

use engine_sdk::prelude::*;

#[activity(start_to_close = "12h")]
pub(crate) async fn cook(ctx: ActivityContext, takes: Duration) -> Result<String, ActivityError> {
    tokio::select! {
        () = tokio::time::sleep(takes) => Ok("a soup".to_owned()),
        _ = ctx.cancelled() => Err(ctx.canceled()),
    }
}

/// Waits for the cook; says after `patience` that it takes longer, and gives up after ten times that.
#[workflow]
pub(crate) async fn dinner(ctx: WorkflowContext, takes: Duration, patience: Duration) -> Result<String, WorkflowError> {
    let mut cooking = ctx.run(cook, takes).start();
    if let Ok(dish) = ctx.timeout(patience, &mut cooking).await {
        return Ok(format!("{} in time", dish?));
    }
    ctx.publish("status", "it takes a little longer");
    match ctx.timeout(9 * patience, cooking).await {
        Ok(dish) => Ok(format!("{} at last", dish?)),
        // The timeout dropped the activity's future, which asked it to stop.
        Err(_) => Ok("a sandwich".to_owned()),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let client = engine.client();
    let worker = Worker::new(client.clone(), "kitchen").workflow(dinner).activity(cook);
    let dinners = async {
        for (takes, patience) in [(millis(1), seconds(60)), (millis(200), millis(50)), (minutes(9), millis(5))] {
            println!("{}", client.workflow(dinner).queue("kitchen").run((takes, patience)).await?);
        }
        anyhow::Ok(())
    };
    worker.run_until(dinners).await??;
    engine.shutdown().await;
    Ok(())
}
