//! A worker of the tests' programs. Its first argument is `WorkerSettings` as JSON. SIGTERM asks it to stop; with `--check-open-runs` it checks its
//! build against the open runs instead.

use std::process::ExitCode;

use anyhow::Context;
use engine_e2e::programs;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let argument = std::env::args().nth(1).context("the argument is WorkerSettings as JSON")?;
    let settings = serde_json::from_str(&argument).context("read the settings")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let worker = programs::worker(&settings).await?;
    let shutdown = worker.shutdown_handle();
    tokio::spawn(async move {
        terminate.recv().await;
        shutdown.shutdown();
    });
    Ok(worker.run_or_check(std::env::args().skip(2)).await?)
}
