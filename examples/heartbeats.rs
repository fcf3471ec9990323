//! Heartbeats: an import tells how far it is, and the next attempt goes on there.
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;

/// The disk that rows are written to. It fails at one of them, once.
pub(crate) struct Disk {
    pub(crate) written: AtomicU64,
    pub(crate) fails_at: u64,
}

#[activity(start_to_close = "1h", heartbeat = "10s", retry(initial_interval = "1ms"))]
pub(crate) async fn import(ctx: ActivityContext, rows: u64) -> Result<String, ActivityError> {
    let disk = ctx.state::<Disk>();
    let first = ctx.heartbeat_details::<u64>()?.unwrap_or_default();
    for row in first..rows {
        if row == disk.fails_at && ctx.attempt() == 1 {
            return Err(ActivityError::retryable("the disk is full"));
        }
        disk.written.fetch_add(1, Ordering::Relaxed);
        // Sent at once or a little later; the last one never gets lost with its attempt's failure.
        ctx.heartbeat(&(row + 1));
    }
    Ok(format!("attempt {} went on at row {first}", ctx.attempt()))
}

#[workflow]
pub(crate) async fn nightly_import(ctx: WorkflowContext, rows: u64) -> Result<String, WorkflowError> {
    Ok(ctx.run(import, rows).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let disk = Disk { written: AtomicU64::new(0), fails_at: 300 };
    let worker = Worker::new(engine.client(), "imports").workflow(nightly_import).activity(import).state(disk);
    let imported = engine.client().workflow(nightly_import).queue("imports").run(1000);
    println!("{}", worker.run_until(imported).await??);
    engine.shutdown().await;
    Ok(())
}
