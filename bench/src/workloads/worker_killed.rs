//! W8: the worker is killed amid W2, and another started at once. Measured: how soon after the kill the first and the last workflow
//! complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use clap::Args;
use tokio::sync::{Notify, Semaphore};

use super::Workload;
use super::sequence::run_one;
use crate::load::{Errors, Outcome, micros};
use crate::rig::Rig;

/// How long the workflows may take, all together.
const ALL_WITHIN: Duration = Duration::from_secs(150);

/// A killed worker.
#[derive(Debug, Args)]
pub(crate) struct W8 {
    /// How many workflows. The worker is killed when a third of them has completed.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    workflows: u32,
    /// How many activities each has, in a row.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: u32,
    /// How long to wait between the kill and the start of the next worker.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    down: Duration,
}

#[async_trait]
impl Workload for W8 {
    fn name(&self) -> &'static str {
        "w8"
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// Latencies are those of whole workflows, from their starts.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        run_one(rig.client(), 1).await.context("the first workflow, before the kill")?;
        let in_flight = rig.settings().in_flight_or(100);
        let turns = Arc::new(Semaphore::new(in_flight as usize));
        let progress = Arc::new(Progress::default());
        let before = rig.meter().read().await?;
        let started = Instant::now();
        let workflows: Vec<_> = (0..self.workflows)
            .map(|_| {
                let (client, steps) = (rig.client(), self.steps);
                let (turns, progress) = (Arc::clone(&turns), Arc::clone(&progress));
                tokio::spawn(async move {
                    let _turn = turns.acquire_owned().await?;
                    let began = Instant::now();
                    run_one(client, steps).await?;
                    progress.one_more();
                    anyhow::Ok((Instant::now(), micros(began.elapsed())))
                })
            })
            .collect();
        progress.reach(u64::from(self.workflows / 3)).await;
        rig.kill_worker().await?;
        let killed = Instant::now();
        tokio::time::sleep(self.down).await;
        rig.start_worker().await?;

        let errors = Errors::default();
        let deadline = tokio::time::Instant::now() + ALL_WITHIN;
        // On a slow machine nothing may be left to do when the kill strikes; then they are zero.
        let (mut latencies, mut first, mut last) = (Vec::new(), None, Duration::ZERO);
        let mut left = 0_u32;
        for workflow in workflows {
            let ended = tokio::time::timeout_at(deadline, workflow).await;
            match ended.with_context(|| format!("a workflow was not done {ALL_WITHIN:?} after the kill")) {
                Ok(ended) => match ended? {
                    Ok((ended, latency)) => {
                        latencies.push(latency);
                        if let Some(after) = ended.checked_duration_since(killed) {
                            left += 1;
                            first = Some(first.map_or(after, |first: Duration| first.min(after)));
                            last = last.max(after);
                        }
                    }
                    Err(error) => errors.count(&error),
                },
                Err(error) => errors.count(&error),
            }
        }
        let outcome = Outcome {
            completed: latencies.len() as u64,
            in_flight: u64::from(in_flight),
            elapsed: started.elapsed(),
            latencies,
            errors: errors.total(),
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            ..Outcome::default()
        };
        Ok(outcome
            .steps_each(self.steps)
            .with("first_after_kill_s", first.unwrap_or_default().as_secs_f64())
            .with("last_after_kill_s", last.as_secs_f64())
            .with("done_after_kill", f64::from(left)))
    }
}

/// How many workflows are done.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    changed: Notify,
}

impl Progress {
    fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Ends when so many are done. For one waiter.
    async fn reach(&self, count: u64) {
        while self.done.load(Ordering::Relaxed) < count {
            self.changed.notified().await;
        }
    }
}
