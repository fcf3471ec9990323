//! A worker of the tests' programs. Its one argument is `WorkerSettings` as JSON. SIGTERM asks it to stop.

use anyhow::Context;
use engine_e2e::programs;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let argument = std::env::args().nth(1).context("the argument is WorkerSettings as JSON")?;
    let settings = serde_json::from_str(&argument).context("read the settings")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let worker = programs::worker(&settings).await?;
    worker
        .run_until(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}
