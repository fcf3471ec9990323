//! W4: how many starts are accepted when no worker is there. A call is a start.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::client::ListFilter;
use engine_sdk::prelude::*;
use futures::StreamExt as _;

use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;

/// Starts.
#[derive(Debug, Args)]
pub(crate) struct W4 {}

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
            let (client, workflow_type, accepted) = (rig.client(), workflow_type.clone(), accepted.clone());
            move || start_one(client.clone(), workflow_type.clone(), accepted.clone())
        };
        let mut outcome = load::run(Plan::new(rig.settings(), 100), rig.meter(), call).await?;
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

async fn start_one(client: Client, workflow_type: String, accepted: Accepted) -> Result<()> {
    let input = vec![serde_json::to_value(Load::new(1))?];
    let start = client.workflow_named::<()>(workflow_type).id(fresh_id()).queue("nobody-serves-this");
    let handle = start.start(input).await?;
    ensure!(handle.is_new(), "a start under a fresh id was answered with another run");
    accepted.add(1);
    Ok(())
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
