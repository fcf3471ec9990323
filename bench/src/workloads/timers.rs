//! W6: many workflows sleep for the same time. Measured: until all are done, and how late they wake, as the worker sees it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;
use tokio::sync::Semaphore;

use super::{Load, Workload, fresh_id};
use crate::load::{Errors, Outcome};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Workflows that sleep.
#[derive(Debug, Args)]
pub(crate) struct W6 {
    /// How many workflows.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sleepers: u32,
    /// How long each sleeps.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    sleep: Duration,
}

#[async_trait]
impl Workload for W6 {
    fn name(&self) -> &'static str {
        "w6"
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// Latencies are the lateness; `--in-flight` says how many starts are under way at a time.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        // The first workflow waits for the worker and its connection; it is not measured.
        sleep_once(rig.client(), Duration::from_millis(1), Arc::new(Semaphore::new(1))).await?;
        let starting = rig.settings().in_flight_or(200);
        let starts = Arc::new(Semaphore::new(starting as usize));
        let errors = Errors::default();
        let before = rig.meter().read().await?;
        let started = Instant::now();
        let sleeps = (0..self.sleepers).map(|_| sleep_once(rig.client(), self.sleep, Arc::clone(&starts)));
        let sleeps: Vec<_> = sleeps.map(tokio::spawn).collect();
        let mut latencies = Vec::with_capacity(sleeps.len());
        for sleep in sleeps {
            match sleep.await? {
                Ok(lateness) => latencies.push(lateness),
                Err(error) => errors.count(&error),
            }
        }
        let elapsed = started.elapsed();
        let outcome = Outcome {
            completed: latencies.len() as u64,
            in_flight: u64::from(self.sleepers),
            elapsed,
            latencies,
            errors: errors.total(),
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            ..Outcome::default()
        };
        Ok(outcome.with("total_s", elapsed.as_secs_f64()))
    }
}

/// Starts a workflow that sleeps; returns how late it woke, in microseconds.
async fn sleep_once(client: Client, sleep: Duration, starts: Arc<Semaphore>) -> Result<u64> {
    let turn = starts.acquire_owned().await?;
    let load = Load::new(u64::try_from(sleep.as_millis()).unwrap_or(u64::MAX));
    let handle = client.workflow(sleeper).id(fresh_id()).queue(QUEUE).start(load).await?;
    drop(turn);
    let lateness = handle.result().await?;
    ensure!(lateness >= 0, "a timer fired {} µs early", -lateness);
    Ok(lateness.unsigned_abs())
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(sleeper)
}

/// Sleeps as many milliseconds as the load says, and returns how many microseconds late it woke by the worker's clock, counted from
/// when the code asked for the timer.
#[workflow]
pub(crate) async fn sleeper(ctx: WorkflowContext, load: Load) -> Result<i64, WorkflowError> {
    let sleep = Duration::from_millis(load.number);
    // The clock, against all rules: what it says is only returned. In a replay it would say something else, and `asked` too.
    let asked = SystemTime::now();
    ctx.sleep(sleep).await;
    let woke = SystemTime::now();
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Ok(match woke.duration_since(asked + sleep) {
        Ok(late) => micros(late),
        Err(early) => -micros(early.duration()),
    })
}
