//! A schedule: a workflow that is started every night, here for three nights of the past, on one of which the clock is changed.
use engine_sdk::prelude::*;
use engine_sdk::time::Timestamp;
use tokio::sync::mpsc;

/// Where reports go.
struct Desk(mpsc::UnboundedSender<String>);

#[activity]
async fn deliver(ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    Ok(ctx.state::<Desk>().0.send(text)?)
}

#[workflow]
async fn report(ctx: WorkflowContext, region: String) -> Result<(), WorkflowError> {
    // The workflow's id ends with the time that it is for, in UTC.
    let id = ctx.info().workflow_id.clone();
    Ok(ctx.run(deliver, format!("{region}: {id}")).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let client = engine.client();
    let (desk, mut delivered) = mpsc::unbounded_channel();
    let worker = Worker::new(client.clone(), "reports").workflow(report).activity(deliver).state(Desk(desk));
    let work = async {
        let nightly = client
            .workflow(report)
            .id("report")
            .queue("reports")
            .schedule("nightly")
            .cron("30 2 * * *")
            .time_zone("Europe/Berlin")
            .overlap(OverlapPolicy::BufferOne)
            .pause_on_failure()
            .create("north".to_owned())
            .await?;
        // From 2025-03-29 to 2025-04-01, one after the other; on the 30th there was no half past two.
        let (from, until) = (1_743_206_400_000_000, 1_743_465_600_000_000);
        let instant = Timestamp::from_micros;
        nightly.backfill(instant(from), instant(until), OverlapPolicy::BufferAll).await?;
        for _ in 0..3 {
            println!("{}", delivered.recv().await.unwrap_or_default());
        }
        let times = nightly.describe().await?.next_times.len();
        println!("{times} more are known; deleted: {}", nightly.delete().await?);
        anyhow::Ok(())
    };
    worker.run_until(work).await??;
    engine.shutdown().await;
    Ok(())
}
