//! The worker process: it has the workflows and activities of all workloads.

use anyhow::{Context, Result};
use engine_sdk::prelude::*;

use crate::arguments::WorkerOptions;
use crate::{program, workloads};

/// The queue that the worker serves.
pub(crate) const QUEUE: &str = "bench";

/// Works until standard input closes.
pub(crate) async fn run(options: &WorkerOptions) -> Result<()> {
    program::start_logging();
    let client = Client::connect(&options.address).await.context("connect to the server")?;
    let mut worker = workloads::register(Worker::new(client, QUEUE));
    if let Some(grace) = options.activity_grace {
        worker = worker.activity_grace(grace);
    }
    let worker = worker.workflow_slots(2_000).activity_slots(2_000).cache(20_000, 512 << 20);
    let mut questions = program::questions();
    let stopped = async move { while questions.recv().await.is_some() {} };
    worker.run_until(stopped).await.context("work")
}
