//! W3: workflows whose activities all run at once. A round starts so many workflows together and ends with the last result.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;

use super::sequence::echo;
use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Activities at once.
#[derive(Debug, Args)]
pub(crate) struct W3 {
    /// How many activities each workflow runs at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    fan: u32,
    /// How many workflows a round starts together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    many: u32,
}

#[async_trait]
impl Workload for W3 {
    fn name(&self) -> &'static str {
        "w3"
    }

    /// A call is a round, so latencies are those of whole rounds; one round after another unless `--in-flight` says otherwise.
    /// Workflows and CPU are counted by the workflow.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        let (client, fan, many) = (rig.client(), self.fan, self.many);
        let call = move || {
            let client = client.clone();
            async move {
                let workflows = (0..many).map(|_| tokio::spawn(run_one(client.clone(), fan)));
                for workflow in workflows.collect::<Vec<_>>() {
                    workflow.await??;
                }
                Ok(())
            }
        };
        let mut outcome = load::run(Plan::new(rig.settings(), 1), rig.meter(), call).await?;
        outcome.completed *= u64::from(many);
        Ok(outcome.steps_each(fan).with("fan", f64::from(fan)).with("many", f64::from(many)))
    }
}

async fn run_one(client: Client, fan: u32) -> Result<()> {
    let load = Load::new(u64::from(fan));
    let done = client.workflow(parallel).id(fresh_id()).queue(QUEUE).run(load).await?;
    ensure!(done == Load::new(u64::from(fan)), "{} of {fan} activities returned what they were given", done.number);
    Ok(())
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(parallel)
}

/// As many steps as the load says, at once. Returns how many came back right.
#[workflow]
pub(crate) async fn parallel(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    let steps = (0..load.number).map(|index| ctx.run(echo, Load::new(index)));
    let echoed = try_join_all(steps).await?;
    let right = echoed.iter().zip(0..).filter(|(came, index)| **came == Load::new(*index)).count();
    Ok(Load::new(right as u64))
}
