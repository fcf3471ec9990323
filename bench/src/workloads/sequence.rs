//! W1 and W2: workflows whose activities follow one another. Each call starts one and waits for its result.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;

use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// One activity.
#[derive(Debug, Args)]
pub(crate) struct W1 {}

/// Several activities in a row.
#[derive(Debug, Args)]
pub(crate) struct W2 {
    /// How many activities.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
}

#[async_trait]
impl Workload for W1 {
    fn name(&self) -> &'static str {
        "w1"
    }

    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        measure(rig, 1).await
    }
}

#[async_trait]
impl Workload for W2 {
    fn name(&self) -> &'static str {
        "w2"
    }

    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        measure(rig, self.steps).await
    }
}

async fn measure(rig: &Rig, steps: u32) -> Result<Outcome> {
    let client = rig.client();
    let plan = Plan::new(rig.settings(), 100);
    let outcome = load::run(plan, rig.meter(), move || run_one(client.clone(), steps)).await?;
    Ok(outcome.steps_each(steps))
}

/// Runs one workflow of so many activities to its end, and checks its result.
pub(crate) async fn run_one(client: Client, steps: u32) -> Result<()> {
    let load = Load::new(u64::from(steps));
    let result = client.workflow(sequence).id(fresh_id()).queue(QUEUE).run(load.clone()).await?;
    ensure!(result == load, "a workflow returned another payload than it was given: {result:?}");
    Ok(())
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(sequence).activity(echo)
}

/// One step: echoes.
#[activity(start_to_close = "10s")]
pub(crate) async fn echo(_ctx: ActivityContext, load: Load) -> Result<Load, ActivityError> {
    Ok(load)
}

/// As many steps as the load says, one after another.
#[workflow]
pub(crate) async fn sequence(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    let mut last = load;
    for _ in 0..last.number {
        last = ctx.run(echo, last.clone()).await?;
    }
    Ok(last)
}
