//! W5: many senders signal one workflow. A call is a signal; the workflow counts them and returns the count.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;

use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// How many signals go before the measured ones, to another workflow.
const WARM_UP_SIGNALS: u64 = 500;

/// Signals to one workflow.
#[derive(Debug, Args)]
pub(crate) struct W5 {
    /// How many signals, in all.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    signals: u64,
}

#[async_trait]
impl Workload for W5 {
    fn name(&self) -> &'static str {
        "w5"
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// `completed`, the rate and the CPU are those of signals. `counted_per_s` ends with the workflow's result.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        send(rig, WARM_UP_SIGNALS.min(self.signals)).await?;
        send(rig, self.signals).await
    }
}

async fn send(rig: &Rig, signals: u64) -> Result<Outcome> {
    let client = rig.client();
    let counting = client.workflow(count).id(fresh_id()).queue(QUEUE).start(Load::new(signals)).await?;
    let counting = Arc::new(counting);
    let started = Instant::now();
    let call = {
        let counting = Arc::clone(&counting);
        move || {
            let counting = Arc::clone(&counting);
            async move { Ok(counting.signal(Tick(Load::new(1))).await?) }
        }
    };
    let plan = Plan::exactly(signals, rig.settings().in_flight_or(32));
    let outcome = load::run(plan, rig.meter(), call).await?;
    ensure!(outcome.errors == 0, "signals were refused, so the workflow would wait for them for ever");
    let accepted_per_s = signals as f64 / outcome.elapsed.as_secs_f64();
    let counted = counting.result().await?;
    let counted_per_s = signals as f64 / started.elapsed().as_secs_f64();
    ensure!(counted == Load::new(signals), "{signals} signals were accepted, {} were counted", counted.number);
    Ok(outcome.with("accepted_per_s", accepted_per_s).with("counted_per_s", counted_per_s))
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(count)
}

/// What is counted.
#[signal]
pub(crate) struct Tick(Load);

/// Counts as many signals as the load says.
#[workflow]
pub(crate) async fn count(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    let mut ticks = ctx.signals::<Tick>();
    let mut counted = 0;
    while counted < load.number {
        counted += ticks.recv().await.0.number;
    }
    Ok(Load::new(counted))
}
