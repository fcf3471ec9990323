//! Measures how long a program takes to check its build against all open runs: `make gate`.
//!
//! 10,000 runs of 52 events that wait, on a server process of its own, are replayed by a worker process that is called with
//! `--check-open-runs`, as a deployment would call it. Processor time is of the processes that take part, from /proc; the machine's other
//! work is not in it, so it tells more than the clock does on a machine that is not idle.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use engine_e2e::clerk::QUEUE;
use engine_e2e::programs::{WorkerSettings, waiting};
use engine_e2e::world::{Server, ServerSettings, Worker, World, processor_seconds, processor_seconds_of_family};
use engine_sdk::prelude::*;
use engine_sdk::replay::Replayer;
use engine_testkit::postgres::{PostgresCluster, fresh_database};
use engine_testkit::process::Process;

const RUNS: u64 = 10_000;
/// Activities of each run, one after the other: four events before the first, and six with each.
const ROUNDS: u32 = 8;
const EVENTS: usize = 4 + 6 * ROUNDS as usize;
const TARGET: Duration = Duration::from_secs(10);
/// How often it is measured.
const TIMES: usize = 3;
/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let cores = std::thread::available_parallelism()?;
    println!("{RUNS} open runs of {EVENTS} events, {profile} build, {cores} cores; target {TARGET:?}\n");
    println!("{:<10} {:>8} {:>14} {:>14} {:>14}", "database", "clock", "CPU, program", "CPU, server", "CPU, Postgres");
    let world = World::new()?;
    let url = world.sqlite();
    measure("SQLite", &world, &url, None).await?;
    let cluster = PostgresCluster::start().await?;
    let url = fresh_database(&cluster.url()).await?;
    measure("Postgres", &World::new()?, &url, cluster.postmaster()).await
}

async fn measure(name: &str, world: &World, url: &str, postmaster: Option<u32>) -> anyhow::Result<()> {
    let server = Server::start(ServerSettings::new(url, "gate")?.as_by_default()).await?;
    fill(world, &server).await.context("make the open runs")?;
    let server_id = server.process.id().context("the server runs")?;
    let postgres = || postmaster.map_or(Ok(0.0), processor_seconds_of_family);
    for _ in 0..TIMES {
        // Of this process's children only those that have ended: the programs that checked.
        let own = processor_seconds(std::process::id());
        let (of_server, of_postgres) = (processor_seconds(server_id), postgres()?);
        let began = Instant::now();
        check(world, &server).await?;
        let took = began.elapsed();
        let missed = if took > TARGET { "  missed" } else { "" };
        println!(
            "{name:<10} {:>6.2} s {:>12.2} s {:>12.2} s {:>12.2} s{missed}",
            took.as_secs_f64(),
            processor_seconds(std::process::id()) - own,
            processor_seconds(server_id) - of_server,
            postgres()? - of_postgres,
        );
    }
    Ok(())
}

/// Has a worker bring the runs to where they wait, and stops it.
async fn fill(world: &World, server: &Server) -> anyhow::Result<()> {
    let client = Client::connect(&server.url()).await?;
    let mut worker = Worker::start(settings(world, server))?;
    let runs = (0..RUNS).map(|number| (format!("run-{number}"), ROUNDS));
    for started in client.workflow(waiting).queue(QUEUE).start_many(runs).await {
        started?;
    }
    // The runs still have a workflow task each behind their last activity, at the most.
    world.progress.reach(RUNS * u64::from(ROUNDS)).await;
    let replayer = Replayer::new().workflow(waiting);
    loop {
        let report = replayer.replay_runs(&client, "Status = 'Running'").await?;
        ensure!(report.is_same(), "{report}");
        if report.runs.iter().all(|run| run.events >= EVENTS) {
            ensure!(report.runs.len() as u64 == RUNS, "{report}");
            return worker.stop().await;
        }
    }
}

/// What a deployment does before the new build takes work.
async fn check(world: &World, server: &Server) -> anyhow::Result<()> {
    let mut command: Command = settings(world, server).command()?;
    command.arg("--check-open-runs");
    let mut program = Process::spawn("the check", command)?;
    let status = program.wait(PATIENCE).await?;
    let printed = program.whole_output(PATIENCE).await?.join("\n");
    ensure!(status.success(), "the check ended with {status}:\n{printed}");
    ensure!(printed.contains(&format!("{RUNS} runs of {} events", RUNS as usize * EVENTS)), "{printed}");
    Ok(())
}

fn settings(world: &World, server: &Server) -> WorkerSettings {
    let only = ["waiting", "quick"].map(str::to_owned).to_vec();
    WorkerSettings { only, ..world.worker_settings(server, "worker") }
}
