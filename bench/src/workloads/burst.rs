//! W9: everything is submitted as fast as it is accepted, and then awaited: workflows of three activities, then single activities, standing
//! alone, of which some fail for good. Measured: submitted and completed per second, and the exact number that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::client::WorkflowFailure;
use engine_sdk::prelude::*;

use super::sequence::sequence;
use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Attempts of a task: the first and two retries.
const ATTEMPTS: u32 = 3;

/// Many workflows at once.
#[derive(Debug, Args)]
pub(crate) struct W9 {
    /// How many workflows of several activities.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    workflows: u64,
    /// How many activities each of them has, one after another.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    steps: u32,
    /// How many single activities. A fifth of them fails half the time, and is tried three times.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    tasks: u64,
    /// Makes each single activity that of a workflow around it, for whoever cannot do without one.
    #[arg(long)]
    tasks_in_workflows: bool,
    /// Decides which tasks fail and when. The same seed fails the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

#[async_trait]
impl Workload for W9 {
    fn name(&self) -> &'static str {
        "w9"
    }

    /// Latencies are those of the workflows' starts; completed are workflows and tasks.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        // The first workflow waits for the worker and its connection; it is not measured.
        let steps = Load::new(u64::from(self.steps));
        let first = rig.client().workflow(sequence).id(fresh_id()).queue(QUEUE).run(steps.clone()).await?;
        ensure!(first == steps, "a workflow returned another payload than it was given: {first:?}");
        let before = rig.meter().read().await?;
        let (workflows, times) = self.workflows(rig).await?;
        let (tasks, task_times, failed) = self.tasks(rig).await?;
        let expected = (0..self.tasks).filter(|number| fails_for_good(self.seed, *number)).count();
        let outcome = Outcome {
            completed: workflows.completed + tasks.completed,
            elapsed: times.completed + task_times.completed,
            errors: workflows.errors + tasks.errors + failed.abs_diff(expected as u64),
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            in_flight: workflows.in_flight,
            latencies: workflows.latencies,
            ..Outcome::default()
        };
        let per_second = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
        Ok(outcome
            .with("workflows_submitted_per_s", per_second(self.workflows, times.submitted))
            .with("workflows_completed_per_s", per_second(self.workflows, times.completed))
            .with("tasks_submitted_per_s", per_second(self.tasks, task_times.submitted))
            .with("tasks_completed_per_s", per_second(self.tasks, task_times.completed))
            .with("tasks_failed", failed as f64)
            .with("tasks_expected_to_fail", expected as f64))
    }
}

impl W9 {
    async fn workflows(&self, rig: &Rig) -> Result<(Outcome, Times)> {
        let prefix = fresh_id();
        let load = Load::new(u64::from(self.steps));
        let start = {
            let (prefix, load) = (prefix.clone(), load.clone());
            move |client: Client, number: u64| {
                let (id, load) = (format!("{prefix}-{number}"), load.clone());
                async move {
                    client.workflow(sequence).id(id).queue(QUEUE).start(load).await?;
                    Ok(())
                }
            }
        };
        let result = move |client: Client, number: u64| {
            let (id, load) = (format!("{prefix}-{number}"), load.clone());
            async move {
                let result = client.handle::<sequence>(id).result().await?;
                ensure!(result == load, "a workflow returned another payload than it was given: {result:?}");
                Ok(())
            }
        };
        submit_and_await(rig, self.workflows, start, result).await
    }

    /// Also returns how many tasks failed.
    async fn tasks(&self, rig: &Rig) -> Result<(Outcome, Times, u64)> {
        let (prefix, seed, in_workflows) = (fresh_id(), self.seed, self.tasks_in_workflows);
        let failed = Arc::new(AtomicU64::new(0));
        let start = {
            let prefix = prefix.clone();
            move |client: Client, number: u64| {
                let id = format!("{prefix}-{number}");
                async move {
                    let input = (seed, Load::new(number));
                    if in_workflows {
                        client.workflow(task).id(id).queue(QUEUE).start(input).await?;
                    } else {
                        client.activity(flaky).id(id).queue(QUEUE).start(input).await?;
                    }
                    Ok(())
                }
            }
        };
        let result = {
            let failed = Arc::clone(&failed);
            move |client: Client, number: u64| {
                let (id, failed) = (format!("{prefix}-{number}"), Arc::clone(&failed));
                async move {
                    // Of what failed only that it did.
                    let result = if in_workflows {
                        match client.handle::<task>(id).result().await {
                            Err(WorkflowFailure::Failed(_)) => None,
                            result => Some(result?),
                        }
                    } else {
                        match client.activity_handle::<flaky>(id).result().await {
                            Err(StandaloneFailure::Failed(_)) => None,
                            result => Some(result?),
                        }
                    };
                    match (result, fails_for_good(seed, number)) {
                        (Some(load), false) if load == Load::new(number) => {}
                        (None, true) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                        (other, fails) => bail!("task {number}, which is to fail: {fails}, ended as {other:?}"),
                    }
                    Ok(())
                }
            }
        };
        let (outcome, times) = submit_and_await(rig, self.tasks, start, result).await?;
        Ok((outcome, times, failed.load(Ordering::Relaxed)))
    }
}

/// How long it took from the first start on.
struct Times {
    submitted: Duration,
    completed: Duration,
}

/// Starts all by so many callers, and when all are accepted has as many read the results. The outcome is that of the starts, with the
/// errors of both.
async fn submit_and_await<S, SF, R, RF>(rig: &Rig, count: u64, start: S, result: R) -> Result<(Outcome, Times)>
where
    S: Fn(Client, u64) -> SF + Clone + Send + 'static,
    SF: Future<Output = Result<()>> + Send + 'static,
    R: Fn(Client, u64) -> RF + Clone + Send + 'static,
    RF: Future<Output = Result<()>> + Send + 'static,
{
    let plan = Plan::exactly(count, rig.settings().in_flight_or(150));
    let began = Instant::now();
    let mut outcome =
        load::run(plan, rig.meter(), numbered(rig.client(), start)).await.context("submit the workflows")?;
    let submitted = began.elapsed();
    let results = load::run(plan, rig.meter(), numbered(rig.client(), result)).await.context("await the workflows")?;
    outcome.errors += results.errors;
    outcome.completed = results.completed;
    Ok((outcome, Times { submitted, completed: began.elapsed() }))
}

/// A call for each number from 0 on.
fn numbered<C, F>(client: Client, call: C) -> impl Fn() -> F + Clone + Send + 'static
where
    C: Fn(Client, u64) -> F + Clone + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    move || call(client.clone(), next.fetch_add(1, Ordering::Relaxed))
}

/// Whether this attempt, from 1, of this task fails: half of all attempts of a fifth of the tasks.
fn fails(seed: u32, number: u64, attempt: u32) -> bool {
    let of = |what: u64| engine_core::ids::mix(engine_core::ids::mix(number ^ u64::from(seed).rotate_left(32)) ^ what);
    of(0).is_multiple_of(5) && of(u64::from(attempt)) & 1 == 1
}

fn fails_for_good(seed: u32, number: u64) -> bool {
    (1..=ATTEMPTS).all(|attempt| fails(seed, number, attempt))
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(task).activity(flaky)
}

/// One activity that may fail.
#[workflow]
pub(crate) async fn task(ctx: WorkflowContext, seed: u32, load: Load) -> Result<Load, WorkflowError> {
    Ok(ctx.run(flaky, (seed, load)).await?)
}

/// Echoes, if this attempt is not one of those that fail.
#[activity(start_to_close = "10s", retry(max_attempts = 3, initial_interval = "10ms"))]
pub(crate) async fn flaky(ctx: ActivityContext, seed: u32, load: Load) -> Result<Load, ActivityError> {
    if fails(seed, load.number, ctx.attempt()) {
        return Err(std::io::Error::other("one of the attempts that fail").into());
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_tasks_fails_half_the_time_and_an_eighth_of_those_for_good() {
        let tasks = 100_000;
        let shaky = (0..tasks).filter(|number| (1..=64).any(|attempt| fails(1, *number, attempt))).count();
        assert!((19_500..=20_500).contains(&shaky), "{shaky}");
        let failing = (0..tasks).filter(|number| fails_for_good(1, *number)).count();
        assert!((2_350..=2_650).contains(&failing), "{failing}");
        assert_ne!(failing, (0..tasks).filter(|number| fails_for_good(2, *number)).count());
    }
}
