//! Measures the engine: real server, real worker, this process as the client.
//!
//! `engine-bench run w1 --database-url postgres://… --in-flight 100 --duration 15s` starts server and worker as processes of their
//! own, warms up, keeps a number of workflows in flight, checks every result and prints one JSON line.

mod processes;
mod workloads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use engine_sdk::prelude::*;
use engine_server::{NodeOptions, Server};
use processes::{Process, children, cpu_us, rss_mib, wait_for_listener};
use workloads::{Load, QUEUE};

#[derive(Debug, Parser)]
#[command(about = "Measures the engine under load", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workload and print one JSON line.
    Run {
        /// Which workload.
        workload: Workload,
        /// The store: postgres://…, sqlite://… or memory:
        #[arg(long, env = "ENGINE_BENCH_DATABASE_URL")]
        database_url: String,
        /// How many workflows are open at a time.
        #[arg(long, default_value_t = 100)]
        in_flight: usize,
        /// How long to measure, in seconds.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// How long to warm up before, in seconds. A fresh Postgres creates its WAL segments meanwhile.
        #[arg(long, default_value_t = 5)]
        warm_up: u64,
        /// Address for the server.
        #[arg(long, default_value = "127.0.0.1:7491")]
        listen: String,
    },
    #[command(hide = true)]
    Server { database_url: String, listen: String },
    #[command(hide = true)]
    Worker { address: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Workload {
    /// One activity.
    W1,
    /// Ten activities, one after another.
    W2,
}

impl Workload {
    fn steps(self) -> u32 {
        match self {
            Workload::W1 => 1,
            Workload::W2 => 10,
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run { workload, database_url, in_flight, seconds, warm_up, listen } => {
            let run = Run { workload, database_url, in_flight, seconds, warm_up, listen };
            run.measure().await
        }
        Command::Server { database_url, listen } => server(&database_url, &listen).await,
        Command::Worker { address } => worker(&address).await,
    }
}

async fn server(database_url: &str, listen: &str) -> Result<()> {
    let store = engine_server::store::open(database_url).await.context("open the store")?;
    store.migrate(64).await.context("migrate the store")?;
    let listener = tokio::net::TcpListener::bind(listen).await.context("listen")?;
    let server = Server::start(store, NodeOptions::new(listen), true).await.context("start the server")?;
    server.serve(listener, std::future::pending()).await.context("serve")
}

async fn worker(address: &str) -> Result<()> {
    let client = Client::connect(address).await.context("connect")?;
    let worker = Worker::new(client, QUEUE).workflow(workloads::sequence).activity(workloads::echo);
    worker.workflow_slots(2_000).activity_slots(2_000).cache(20_000, 512 << 20).run().await.context("work")
}

struct Run {
    workload: Workload,
    database_url: String,
    in_flight: usize,
    seconds: u64,
    warm_up: u64,
    listen: String,
}

/// What the client's loops count.
#[derive(Default)]
struct Counts {
    measuring: AtomicBool,
    stopping: AtomicBool,
    completed: AtomicU64,
    errors: AtomicU64,
}

impl Run {
    async fn measure(&self) -> Result<()> {
        let server = Process::spawn(&["server", &self.database_url, &self.listen])?;
        wait_for_listener(&self.listen).await?;
        let address = format!("http://{}", self.listen);
        let worker = Process::spawn(&["worker", &address])?;
        let client = Client::builder().connections(4).connect(&address).await.context("connect")?;
        let postmaster = self.postmaster().await?;

        let counts = Arc::new(Counts::default());
        let loops: Vec<_> = (0..self.in_flight)
            .map(|_| tokio::spawn(closed_loop(client.clone(), self.workload.steps(), Arc::clone(&counts))))
            .collect();
        tokio::time::sleep(Duration::from_secs(self.warm_up)).await;
        let cpu = || {
            // Backends come and go with connections, so they are looked up anew.
            let database = postmaster.map(children).unwrap_or_default();
            [cpu_us(&[server.pid()]), cpu_us(&[worker.pid()]), cpu_us(&[std::process::id()]), cpu_us(&database)]
        };
        let before = cpu();
        let started = Instant::now();
        counts.measuring.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        counts.measuring.store(false, Ordering::Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        let after = cpu();
        counts.stopping.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for task in loops {
            latencies.extend(task.await.context("a client loop")?);
        }
        latencies.sort_unstable();
        let completed = counts.completed.load(Ordering::Relaxed);
        if completed == 0 {
            bail!("no workflow completed");
        }
        let per_workflow = |index: usize| after[index].saturating_sub(before[index]) / completed;
        let percentile = |share: f64| {
            let index = ((latencies.len() - 1) as f64 * share).round() as usize;
            latencies[index] as f64 / 1000.0
        };
        let line = serde_json::json!({
            "workload": format!("{:?}", self.workload).to_lowercase(),
            "store": self.database_url.split(':').next(),
            "in_flight": self.in_flight,
            "completed": completed,
            "workflows_per_s": (completed as f64 / elapsed).round(),
            "steps_per_s": (completed as f64 * f64::from(self.workload.steps()) / elapsed).round(),
            "p50_ms": percentile(0.5),
            "p99_ms": percentile(0.99),
            "max_ms": percentile(1.0),
            "errors": counts.errors.load(Ordering::Relaxed),
            "cpu_us_per_workflow": {
                "server": per_workflow(0), "worker": per_workflow(1), "client": per_workflow(2), "database": per_workflow(3),
            },
            "rss_mib": { "server": rss_mib(server.pid()).round(), "worker": rss_mib(worker.pid()).round() },
        });
        println!("{line}");
        Ok(())
    }

    /// The postmaster, if the store is a Postgres on this machine: the parent of every backend.
    async fn postmaster(&self) -> Result<Option<u32>> {
        if !self.database_url.starts_with("postgres") {
            return Ok(None);
        }
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&self.database_url)
            .await
            .context("connect to the database")?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(u32::try_from(backend).ok().and_then(processes::parent))
    }
}

/// Starts a workflow, waits for its result, checks it, and again. Returns latencies in microseconds.
async fn closed_loop(client: Client, steps: u32, counts: Arc<Counts>) -> Vec<u64> {
    let mut latencies = Vec::new();
    while !counts.stopping.load(Ordering::Relaxed) {
        let load = Load::new(steps);
        let started = Instant::now();
        let id = uuid::Uuid::now_v7().to_string();
        let result = client.workflow(workloads::sequence).id(id).queue(QUEUE).run(load.clone()).await;
        match result {
            Ok(answer) if answer == load => {
                if counts.measuring.load(Ordering::Relaxed) {
                    counts.completed.fetch_add(1, Ordering::Relaxed);
                    latencies.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
            }
            Ok(_) => drop(counts.errors.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                if counts.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("the first error: {error}");
                }
            }
        }
    }
    latencies
}
