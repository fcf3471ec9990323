//! W4: how many starts are accepted when no worker is there. A call is a start, or a batch of them.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::client::ListFilter;
use engine_sdk::prelude::*;
use futures::StreamExt as _;

use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;

/// A queue that no worker serves.
const QUEUE: &str = "nobody";

/// Starts.
#[derive(Debug, Args)]
pub(crate) struct W4 {
    /// How many starts a call makes in one go. Without it each is a request of its own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
}

#[async_trait]
impl Workload for W4 {
    fn name(&self) -> &'static str {
        "w4"
    }

    fn wants_worker(&self) -> bool {
        false
    }

    /// Afterwards the open runs are listed and counted: each accepted start must be there, once.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        // A type of this measurement's own, which no worker has, and by which its runs are found again.
        let workflow_type = format!("start-{}", fresh_id());
        let accepted = Accepted::default();
        let call = {
            let starts =
                Starts { client: rig.client(), workflow_type: workflow_type.clone(), accepted: accepted.clone() };
            let batch = self.batch;
            move || {
                let starts = starts.clone();
                async move {
                    match batch {
                        None => starts.one().await,
                        Some(count) => starts.many(count).await,
                    }
                }
            }
        };
        let mut outcome = load::run(Plan::new(rig.settings(), 100), rig.meter(), call).await?;
        outcome.completed *= u64::from(self.batch.unwrap_or(1));
        let accepted = accepted.count();
        let open = count_open(&rig.client(), &workflow_type).await?;
        if open != accepted {
            eprintln!("{accepted} starts were accepted, and {open} runs are open");
            outcome.errors += open.abs_diff(accepted);
        }
        Ok(outcome)
    }
}

/// How many starts were accepted, those of the warm-up included.
#[derive(Debug, Clone, Default)]
struct Accepted(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Accepted {
    fn add(&self, starts: u64) {
        self.0.fetch_add(starts, std::sync::atomic::Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Starts workflows of one type.
#[derive(Clone)]
struct Starts {
    client: Client,
    workflow_type: String,
    accepted: Accepted,
}

impl Starts {
    async fn one(self) -> Result<()> {
        let start = self.client.workflow_named::<()>(self.workflow_type).id(fresh_id()).queue(QUEUE);
        let handle = start.start(input()?).await?;
        ensure!(handle.is_new(), "a start under a fresh id was answered with another run");
        self.accepted.add(1);
        Ok(())
    }

    async fn many(self, count: u32) -> Result<()> {
        let input = input()?;
        let start = self.client.workflow_named::<()>(self.workflow_type).queue(QUEUE);
        let outcomes = start.start_many((0..count).map(|_| (fresh_id(), input.clone()))).await;
        for outcome in outcomes {
            ensure!(outcome?.is_new(), "a start under a fresh id was answered with another run");
            self.accepted.add(1);
        }
        Ok(())
    }
}

fn input() -> Result<Vec<serde_json::Value>> {
    Ok(vec![serde_json::to_value(Load::new(1))?])
}

async fn count_open(client: &Client, workflow_type: &str) -> Result<u64> {
    let filter = ListFilter::all().open().workflow_type(workflow_type).page_size(1_000);
    let mut runs = Box::pin(client.list(filter));
    let mut count = 0;
    while let Some(run) = runs.next().await {
        run?;
        count += 1;
    }
    Ok(count)
}
