//! W10: a worker that has seen nothing picks up a run with a long history. Measured: from the signal that wakes the run to its completion,
//! in which the worker reads and replays the whole history, beside the same of a run with hardly any.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;

use super::open_runs::GoOn;
use super::sequence::{echo, run_one};
use super::{Load, Workload, fresh_id};
use crate::load::{Outcome, micros};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Events of one step: the workflow task's three, and the activity's three.
const EVENTS_PER_STEP: u64 = 6;

/// How long the run may take to come to its long history.
const PREPARED_WITHIN: Duration = Duration::from_secs(600);

/// A cold worker.
#[derive(Debug, Args)]
pub(crate) struct W10 {
    /// How many events the history has.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(20..=1_000_000))]
    events: u64,
    /// How many cold workers pick it up, one after another; each with a run of its own. Their median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    workers: u32,
}

#[async_trait]
impl Workload for W10 {
    fn name(&self) -> &'static str {
        "w10"
    }

    /// Latencies are those from the signal to the result.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        run_one(rig.client(), 1).await.context("the first workflow, which waits for the worker")?;
        let steps = self.events.div_ceil(EVENTS_PER_STEP);
        let mut runs = Vec::new();
        for _ in 0..self.workers {
            runs.push((start(rig.client(), 1).await?, start(rig.client(), steps).await?));
        }
        let mut events = 0;
        for (short, long) in &runs {
            wait_until_prepared(short, 1).await?;
            events = wait_until_prepared(long, steps).await?;
        }
        let before = rig.meter().read().await?;
        let (mut short_times, mut long_times, mut replay_cpu) = (Vec::new(), Vec::new(), Vec::new());
        let started = Instant::now();
        for (short, long) in &runs {
            rig.kill_worker().await?;
            rig.start_worker().await?;
            run_one(rig.client(), 1).await.context("the new worker's first workflow")?;
            short_times.push(wake(short, 1).await?);
            let cpu = |rig: &Rig| rig.meter().cpu().worker;
            let cpu_before = cpu(rig);
            long_times.push(wake(long, steps).await?);
            replay_cpu.extend(cpu(rig).zip(cpu_before).map(|(after, before)| after.saturating_sub(before)));
        }
        let outcome = Outcome {
            completed: u64::from(self.workers),
            in_flight: 1,
            elapsed: started.elapsed(),
            latencies: long_times.iter().copied().map(micros).collect(),
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            ..Outcome::default()
        };
        short_times.sort_unstable();
        long_times.sort_unstable();
        replay_cpu.sort_unstable();
        let long = long_times[long_times.len() / 2].as_secs_f64();
        let worker_cpu = replay_cpu.get(replay_cpu.len() / 2).map_or(0.0, |micros| *micros as f64 / 1e3);
        Ok(outcome
            .with("events", events as f64)
            .with("first_command_ms", long * 1e3)
            .with("short_history_ms", short_times[short_times.len() / 2].as_secs_f64() * 1e3)
            .with("events_per_s", events as f64 / long)
            .with("worker_cpu_ms", worker_cpu))
    }
}

async fn start(client: Client, steps: u64) -> Result<WorkflowHandle<Load>> {
    Ok(client.workflow(long_history).id(fresh_id()).queue(QUEUE).start(Load::new(steps)).await?)
}

/// Waits until the run has taken its steps and waits for its signal; returns how many events it has.
async fn wait_until_prepared(run: &WorkflowHandle<Load>, steps: u64) -> Result<u64> {
    let deadline = Instant::now() + PREPARED_WITHIN;
    loop {
        let description = run.describe().await?;
        // Begun, each step's activity done, and the last workflow task, which waits.
        let expected = 1 + EVENTS_PER_STEP * steps + 3;
        if description.summary.history_length == expected {
            return Ok(expected);
        }
        ensure!(
            Instant::now() < deadline,
            "{} has {} events after {PREPARED_WITHIN:?}, not {expected}",
            run.workflow_id(),
            description.summary.history_length
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wake(run: &WorkflowHandle<Load>, steps: u64) -> Result<Duration> {
    let began = Instant::now();
    run.signal(GoOn).await?;
    let load = run.result().await?;
    let time = began.elapsed();
    ensure!(load == Load::new(steps), "{} returned {load:?}", run.workflow_id());
    Ok(time)
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(long_history)
}

/// As many steps as the load says, one after another; then waits for a signal.
#[workflow]
pub(crate) async fn long_history(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    let mut last = load;
    for _ in 0..last.number {
        last = ctx.run(echo, last.clone()).await?;
    }
    ctx.signals::<GoOn>().recv().await;
    Ok(last)
}
