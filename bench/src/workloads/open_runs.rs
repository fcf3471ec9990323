//! W7: what workflows cost that are open and wait: the server's memory, and its CPU while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::prelude::*;

use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// A server and worker that used less of a core than this, in so many looks one after another, have nothing to do.
const QUIET_SHARE: f64 = 0.05;
const QUIET_FOR: u32 = 4;
const QUIET_LOOK: Duration = Duration::from_millis(500);

/// How many of the workflows are woken at the end.
const WOKEN: u64 = 100;

/// How long the worker may take, after the last start, to run all up to their wait.
const WAITS_WITHIN: Duration = Duration::from_secs(600);

/// Open workflows.
#[derive(Debug, Args)]
pub(crate) struct W7 {
    /// How many workflows are open.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    open: u64,
    /// How long to watch the idle server.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// How long to wait, once all is quiet, before memory is looked at: longer than the server keeps idle runs in memory.
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    parked_after: Duration,
}

#[async_trait]
impl Workload for W7 {
    fn name(&self) -> &'static str {
        "w7"
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// A call is a start. At the end some of the workflows are signaled, and must complete.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        let memory = |rig: &Rig| {
            let server = rig.meter().memory().server;
            server.context(
                "w7 looks at the server's process: give --server-pid with --address, and run it as the server's user",
            )
        };
        // Runs of an earlier repetition stay open, but this server has not seen them.
        rig.restart_server().await?;
        // The worker's first workflow, so that both processes have all that one takes.
        let first = start_one(rig.client(), "first-".to_owned() + &fresh_id()).await?;
        first.signal(GoOn).await?;
        first.result().await?;
        let at_rest = memory(rig)?;

        let prefix = fresh_id();
        let call = {
            let (client, prefix, next) = (rig.client(), prefix.clone(), std::sync::atomic::AtomicU64::new(0));
            let next = std::sync::Arc::new(next);
            move || {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let (client, id) = (client.clone(), format!("{prefix}-{number}"));
                async move { start_one(client, id).await.map(drop) }
            }
        };
        let plan = Plan::exactly(self.open, rig.settings().in_flight_or(100));
        let started = Instant::now();
        let mut outcome = load::run(plan, rig.meter(), call).await?;
        let woken = woken(&prefix, self.open);
        for id in &woken {
            until_it_waits(&rig.client(), id).await?;
        }
        let quiet_s = wait_until_quiet(rig, started).await?;
        tokio::time::sleep(self.parked_after).await;
        let parked = memory(rig)?;
        let idle = busy(rig, self.idle).await?;
        for id in woken {
            let workflow = rig.client().handle::<wait>(id.clone());
            workflow.signal(GoOn).await?;
            let load = workflow.result().await?;
            ensure!(load == Load::new(1), "{id} returned {load:?}");
        }
        outcome.memory = rig.meter().memory();
        Ok(outcome
            .with("open", self.open as f64)
            .with("server_at_rest_mib", at_rest)
            .with("server_open_mib", parked)
            .with("idle_server_cpu_percent", idle.server * 100.0)
            .with("idle_worker_cpu_percent", idle.worker * 100.0)
            .with("quiet_after_s", quiet_s))
    }
}

async fn start_one(client: Client, id: String) -> Result<WorkflowHandle<Load>> {
    Ok(client.workflow(wait).id(id).queue(QUEUE).start(Load::new(1)).await?)
}

/// Waits until server and worker have nothing to do; returns when that was, in seconds since `started`.
async fn wait_until_quiet(rig: &Rig, started: Instant) -> Result<f64> {
    let mut quiet = 0;
    let mut last = Instant::now();
    while quiet < QUIET_FOR {
        let busy = busy(rig, QUIET_LOOK).await?;
        if busy.server + busy.worker < QUIET_SHARE {
            quiet += 1;
        } else {
            (quiet, last) = (0, Instant::now());
        }
    }
    Ok(last.duration_since(started).as_secs_f64())
}

/// Shares of a core.
struct Busy {
    server: f64,
    worker: f64,
}

/// How much of a core server and worker use over a time.
async fn busy(rig: &Rig, time: Duration) -> Result<Busy> {
    let cpu = || {
        let cpu = rig.meter().cpu();
        Some((cpu.server?, cpu.worker.unwrap_or(0)))
    };
    let (before, started) = (cpu().context("the server's CPU cannot be seen")?, Instant::now());
    tokio::time::sleep(time).await;
    let after = cpu().context("the server has ended")?;
    let share = |after: u64, before: u64| after.saturating_sub(before) as f64 / 1e6 / started.elapsed().as_secs_f64();
    Ok(Busy { server: share(after.0, before.0), worker: share(after.1, before.1) })
}

/// Ids of some of the open workflows, evenly spread, the last among them.
fn woken(prefix: &str, open: u64) -> Vec<String> {
    let count = WOKEN.min(open);
    (1..=count).map(|index| format!("{prefix}-{}", index * open / count - 1)).collect()
}

/// Ends when the workflow's code has come to its wait.
async fn until_it_waits(client: &Client, id: &str) -> Result<()> {
    let deadline = Instant::now() + WAITS_WITHIN;
    let workflow = client.handle::<wait>(id);
    while workflow.describe().await?.pending_workflow_task.is_some() {
        ensure!(Instant::now() < deadline, "{id} still has work to do {WAITS_WITHIN:?} after the last start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(wait)
}

/// What ends the wait.
#[signal]
pub(crate) struct GoOn;

/// Waits for a signal.
#[workflow]
pub(crate) async fn wait(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    ctx.signals::<GoOn>().recv().await;
    Ok(load)
}
