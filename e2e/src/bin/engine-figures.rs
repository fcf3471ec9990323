//! Measures how soon work goes on after something was killed, and what an idle server takes: `make figures`.
//!
//! Everything runs with default settings, as processes of the profile that this program was built with. Each figure is measured
//! several times; the table shows the median and the worst.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine_e2e::clerk::{Clerk, NAMESPACE};
use engine_e2e::gate::{Gate, Waiting};
use engine_e2e::programs::{Build, WorkerSettings};
use engine_e2e::world::{Server, ServerSettings, Worker, World, resident_kib};
use engine_proto::v1;
use engine_testkit::postgres::{PostgresCluster, fresh_database};
use serde_json::json;

/// How often each figure is measured.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("{ROUNDS} measurements each, {profile} build, default settings\n");
    println!("{:<10} {:<58} {:>9} {:>9} {:>9}", "database", "figure", "median", "worst", "target");
    let cluster = PostgresCluster::start().await?;
    for database in [Database::Sqlite, Database::Postgres(&cluster)] {
        let seconds = |limit: f64| Target { limit, unit: "s" };
        measure(&database, "worker SIGKILL to its workflow task elsewhere", seconds(0.2), workflow_task_moves).await?;
        measure(&database, "worker SIGKILL to its activity elsewhere", seconds(3.0), activity_moves).await?;
        measure(&database, "server listens again to a new workflow completed", seconds(0.5), server_returns).await?;
        measure(&database, "server listens again to work of a worker that is gone", seconds(6.0), both_die).await?;
        measure(&database, "process start to first accepted call", seconds(0.3), first_call).await?;
        let mebibytes = Target { limit: 40.0, unit: "MiB" };
        measure(&database, "resident memory of an idle server", mebibytes, idle_memory).await?;
    }
    Ok(())
}

enum Database<'a> {
    Sqlite,
    Postgres(&'a PostgresCluster),
}

struct Target {
    limit: f64,
    unit: &'static str,
}

async fn measure<F: Future<Output = anyhow::Result<f64>>>(
    database: &Database<'_>,
    figure: &str,
    target: Target,
    one: impl Fn(Scene) -> F,
) -> anyhow::Result<()> {
    let mut measured = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let scene = Scene::new(database).await?;
        let deadline = Duration::from_secs(60);
        let value = tokio::time::timeout(deadline, one(scene)).await.with_context(|| format!("{figure}: too slow"))?;
        measured.push(value.with_context(|| figure.to_owned())?);
    }
    measured.sort_by(f64::total_cmp);
    let Target { limit, unit } = target;
    let (median, worst) = (measured[ROUNDS / 2], measured[ROUNDS - 1]);
    let name = if matches!(database, Database::Sqlite) { "SQLite" } else { "Postgres" };
    let missed = if median > limit { "  missed" } else { "" };
    let show = |value: f64| if unit == "s" { format!("{value:.3} s") } else { format!("{value:.1} {unit}") };
    println!("{name:<10} {figure:<58} {:>9} {:>9} {:>9}{missed}", show(median), show(worst), show(limit));
    Ok(())
}

/// A server on a database of its own, without workers.
struct Scene {
    world: World,
    server: Server,
    clerk: Clerk,
    gate: Gate,
}

impl Scene {
    async fn new(database: &Database<'_>) -> anyhow::Result<Scene> {
        let world = World::new()?;
        let url = match database {
            Database::Sqlite => world.sqlite(),
            Database::Postgres(cluster) => fresh_database(&cluster.url()).await?,
        };
        let server = Server::start(ServerSettings::new(&url, "figures")?.as_by_default()).await?;
        let clerk = Clerk::new([server.url()])?;
        let gate = world.gate()?;
        Ok(Scene { world, server, clerk, gate })
    }

    fn worker(&self, name: &str, build: Build, only: &[&str]) -> anyhow::Result<Worker> {
        let settings = self.world.worker_settings(&self.server, name);
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Worker::start(WorkerSettings { build, only, ..settings })
    }

    /// A worker that has work in hand, and another that is connected and could do it.
    async fn worker_and_heir(&self, build: Build) -> anyhow::Result<Pair> {
        let workflow_type = if build == Build::Hanging { "deployed" } else { "held" };
        let worker = self.worker("first", build, &["deployed", "held", "step", "gated_plainly"])?;
        let input = if build == Build::Hanging { vec![] } else { vec![json!(self.gate.path())] };
        let start = self.clerk.start("in-hand", workflow_type, &input).await?;
        let mut held = None;
        if build == Build::Hanging {
            let has_task = |description: &v1::DescribeWorkflowResponse| {
                let task = description.pending_workflow_task.as_ref()?;
                (task.state() == v1::PendingTaskState::Started).then_some(())
            };
            self.clerk.see(&start, has_task).await?;
        } else {
            held = Some(self.gate.arrival().await?);
        }
        let heir = self.worker("heir", Build::Right, &[])?;
        // Only the heir has this type.
        self.completes("ready", "chain").await?;
        self.world.progress.reach(1).await;
        Ok(Pair { worker, _heir: heir, _held: held })
    }

    async fn completes(&self, workflow_id: &str, workflow_type: &str) -> anyhow::Result<()> {
        let start = self.clerk.start(workflow_id, workflow_type, &[json!(1), json!(0)]).await?;
        match self.clerk.closed(&start).await? {
            v1::WorkflowStatus::Completed => Ok(()),
            status => bail!("{workflow_id} closed as {status:?}"),
        }
    }
}

/// A worker that has work in hand, and the one that will take it over.
struct Pair {
    worker: Worker,
    _heir: Worker,
    /// The activity, if that is what the worker has.
    _held: Option<Waiting>,
}

async fn workflow_task_moves(scene: Scene) -> anyhow::Result<f64> {
    let mut pair = scene.worker_and_heir(Build::Hanging).await?;
    let before = scene.world.progress.count();
    let killed = Instant::now();
    pair.worker.process.kill9().await?;
    // The effect of the first activity that the code asks for.
    scene.world.progress.reach(before + 1).await;
    Ok(killed.elapsed().as_secs_f64())
}

async fn activity_moves(scene: Scene) -> anyhow::Result<f64> {
    let mut pair = scene.worker_and_heir(Build::Right).await?;
    let killed = Instant::now();
    pair.worker.process.kill9().await?;
    scene.gate.arrival().await?;
    Ok(killed.elapsed().as_secs_f64())
}

async fn server_returns(mut scene: Scene) -> anyhow::Result<f64> {
    let _worker = scene.worker("worker", Build::Right, &[])?;
    scene.completes("before", "chain").await?;
    scene.server.process.kill9().await?;
    scene.server.start_again().await?;
    let listens = Instant::now();
    scene.completes("after", "chain").await?;
    Ok(listens.elapsed().as_secs_f64())
}

async fn both_die(mut scene: Scene) -> anyhow::Result<f64> {
    let mut pair = scene.worker_and_heir(Build::Right).await?;
    pair.worker.process.kill9().await?;
    scene.server.process.kill9().await?;
    scene.server.start_again().await?;
    let listens = Instant::now();
    scene.gate.arrival().await?;
    Ok(listens.elapsed().as_secs_f64())
}

async fn first_call(mut scene: Scene) -> anyhow::Result<f64> {
    scene.server.stop().await?;
    let list = v1::ListWorkflowsRequest { namespace: NAMESPACE.to_owned(), ..Default::default() };
    let started = Instant::now();
    scene.server.start_again().await?;
    while scene.clerk.client().list_workflows(list.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn idle_memory(scene: Scene) -> anyhow::Result<f64> {
    let process = scene.server.process.id().context("the server runs")?;
    Ok(resident_kib(process)? as f64 / 1024.0)
}
