//! Checks that the archives in cargo's cache are the ones that a `Cargo.lock` means.
//!
//! `lockfile_audit` does all of it in one process, with the engine inside and its state in a SQLite file: interrupt it, start
//! it again, and it goes on where it stopped. `lockfile_audit worker` and `lockfile_audit start` do the same as two processes
//! and a server.

mod audit;
mod cargo_cache;
mod lockfile;
mod report;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use engine_sdk::client::IdConflictPolicy;
use engine_sdk::prelude::*;
use tracing_subscriber::filter::LevelFilter;

use crate::audit::{audit_lockfile, read_lockfile, verify_archive};
use crate::cargo_cache::CargoCache;
use crate::report::Report;

const QUEUE: &str = "lockfile-audit";

/// Check that the archives in cargo's cache are the ones that a Cargo.lock means.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Engine, worker and client in this process. This is the default.
    Run(RunArgs),
    /// Only a worker, of the engine at an address.
    Worker(WorkerArgs),
    /// Only a client: start an audit, wait for it, print the report.
    Start(StartArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    audit: AuditArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Where the engine keeps its state.
    #[arg(long, default_value = "sqlite://lockfile_audit.db", value_name = "URL")]
    database: String,
}

#[derive(Debug, Args)]
struct WorkerArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    audit: AuditArgs,
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// The engine's address.
    #[arg(long, default_value = "http://127.0.0.1:7400", env = "ENGINE_ADDRESS", value_name = "URL")]
    address: String,
}

#[derive(Debug, Args)]
struct AuditArgs {
    /// The lock file.
    #[arg(long, default_value = "Cargo.lock", value_name = "FILE")]
    lockfile: PathBuf,
    /// How many packages are checked at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..), value_name = "COUNT")]
    at_once: u16,
    /// The workflow id. Default: made of the lock file's path.
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    /// Write the checksums to this file too, for `sha256sum --check FILE`.
    #[arg(long, value_name = "FILE")]
    sums: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CacheArgs {
    /// Cargo's directory. Default: $CARGO_HOME, else ~/.cargo.
    #[arg(long, value_name = "DIR")]
    cargo_home: Option<PathBuf>,
    /// Wait so long before each archive, to have time to watch, such as 100ms.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    delay: std::time::Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match cli.role.unwrap_or(Role::Run(cli.run)) {
        Role::Run(args) => {
            let engine = Engine::open(&args.database).await?;
            let client = engine.client();
            let worker = worker(client.clone(), args.cache.open()?);
            let code = worker.run_until(run_audit(client, args.audit)).await??;
            engine.shutdown().await;
            Ok(code)
        }
        Role::Worker(args) => {
            let client = Client::connect(&args.server.address).await?;
            worker(client, args.cache.open()?).shutdown_on_ctrl_c().run().await?;
            Ok(ExitCode::SUCCESS)
        }
        Role::Start(args) => run_audit(Client::connect(&args.server.address).await?, args.audit).await,
    }
}

fn worker(client: Client, cache: CargoCache) -> Worker {
    Worker::new(client, QUEUE).workflow(audit_lockfile).activity(read_lockfile).activity(verify_archive).state(cache)
}

/// Prints the report. The process fails if archives are not what they should be.
async fn run_audit(client: Client, args: AuditArgs) -> anyhow::Result<ExitCode> {
    // The worker may run in another directory.
    let lockfile = std::path::absolute(&args.lockfile)?;
    let id = args.id.unwrap_or_else(|| format!("audit:{}", lockfile.display()));
    // An audit of this file that is open, because its client died, is waited for instead of started again.
    let start = client.workflow(audit_lockfile).id(&id).queue(QUEUE).id_conflict_policy(IdConflictPolicy::UseExisting);
    let handle = start.start((lockfile, usize::from(args.at_once))).await?;
    let whether = if handle.is_new() { "has begun" } else { "is under way already" };
    eprintln!("{id} {whether}; waiting for it");
    let report: Report = handle.result().await?;

    println!("{report}");
    if let Some(found) = report.verified.first() {
        println!("\nto check one by hand: sha256sum {}", found.archive.display());
        println!("the lock file says:   {}", found.package.checksum.as_deref().unwrap_or_default());
    }
    if let Some(path) = args.sums {
        write_sums(&report, &path)?;
        println!("to check all by hand: sha256sum --check --quiet {}", path.display());
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_sums(report: &Report, path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, report.sums()).with_context(|| format!("write {}", path.display()))
}

impl CacheArgs {
    fn open(self) -> anyhow::Result<CargoCache> {
        let cargo_home = self.cargo_home.map_or_else(cargo_cache::cargo_home, Ok)?;
        Ok(CargoCache::new(&cargo_home, self.delay))
    }
}
