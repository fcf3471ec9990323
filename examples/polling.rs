//! Polling: asks an outside service until it has an answer, often within one attempt or seldom by retries.
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine_sdk::prelude::*;

/// The outside service, which answers from a certain question on.
pub(crate) struct Service {
    pub(crate) answers_from: u32,
    pub(crate) asked: AtomicU32,
}

impl Service {
    fn ask(&self, job: &str) -> Option<String> {
        let question = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        (question >= self.answers_from).then(|| format!("{job} is done, says answer {question}"))
    }
}

/// For seconds between questions: one attempt asks them all. Its heartbeats show that it lives; where they end, another attempt begins.
#[activity(start_to_close = "1h", heartbeat = "10s")]
pub(crate) async fn watch(ctx: ActivityContext, job: String, every: Duration) -> Result<String, ActivityError> {
    let service = ctx.state::<Service>();
    loop {
        if let Some(answer) = service.ask(&job) {
            return Ok(answer);
        }
        ctx.heartbeat("no answer yet");
        tokio::select! {
            _ = ctx.cancelled() => return Err(ctx.canceled()),
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// For minutes or days between questions: each attempt asks once. In between no worker is busy, and the history does not grow.
#[activity(start_to_close = "10s")]
pub(crate) async fn look(ctx: ActivityContext, job: String) -> Result<String, ActivityError> {
    let answer = ctx.state::<Service>().ask(&job);
    answer.ok_or_else(|| ActivityError::retryable("no answer yet"))
}

#[workflow]
pub(crate) async fn poll_often(ctx: WorkflowContext, job: String, every: Duration) -> Result<String, WorkflowError> {
    Ok(ctx.run(watch, (job, every)).await?)
}

#[workflow]
pub(crate) async fn poll_seldom(ctx: WorkflowContext, job: String, every: Duration) -> Result<String, WorkflowError> {
    let constant = RetryPolicy {
        initial_interval: every,
        maximum_interval: every,
        backoff_coefficient: 1.0,
        jitter: 0.0,
        ..RetryPolicy::default() // no limit of attempts
    };
    Ok(ctx.run(look, job).retry(constant).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let client = engine.client();
    let worker = || {
        let service = Service { answers_from: 3, asked: AtomicU32::new(0) };
        let worker = Worker::new(client.clone(), "jobs").state(service).activity(watch).activity(look);
        worker.workflow(poll_often).workflow(poll_seldom)
    };
    let often = client.workflow(poll_often).queue("jobs").run(("a film".to_owned(), millis(20)));
    println!("{}", worker().run_until(often).await??);
    let seldom = client.workflow(poll_seldom).queue("jobs").run(("a house".to_owned(), millis(200)));
    println!("{}", worker().run_until(seldom).await??);
    engine.shutdown().await;
    Ok(())
}
