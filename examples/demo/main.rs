//! Kills workers and a server in the middle of real work, and checks what is left.
//!
//! The work is an audit of this project's own `Cargo.lock` (see `lockfile_audit`) and 200 orders (see `order_saga`). Everything
//! runs in processes of its own, as it would in production. This program starts them, kills some with SIGKILL when the audit
//! has come far enough, and in the end compares what the engine says with what `sha256sum` and the outside world say.

mod checks;
mod processes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use engine_sdk::event::{Event, EventKind};
use engine_sdk::prelude::*;
use engine_testkit::postgres::PostgresCluster;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::processes::{Database, Programs, Server, Workers};

/// How many orders are placed, and how many of them are refused.
const ORDERS: usize = 200;
const REFUSED: usize = 10;

/// How long a process may take to end its work, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Kill workers and a server in the middle of real work, and check what is left.
#[derive(Debug, Parser)]
struct Cli {
    /// Use a throwaway Postgres cluster instead of a SQLite file.
    #[arg(long)]
    postgres: bool,
    /// The lock file to audit.
    #[arg(long, default_value = "Cargo.lock", value_name = "FILE")]
    lockfile: PathBuf,
    /// Keep the files of the demo in this directory; it is made, and must not exist.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let temporary = tempfile::tempdir()?;
    let directory = cli.keep.as_deref().unwrap_or(temporary.path());
    if cli.keep.is_some() {
        std::fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    // Stopped, and its files removed, when this is dropped.
    let cluster = if cli.postgres { Some(PostgresCluster::start().await?) } else { None };
    let database = match &cluster {
        Some(cluster) => Database::Postgres { url: cluster.url() },
        None => Database::Sqlite { file: directory.join("engine.db") },
    };
    let lockfile = std::path::absolute(&cli.lockfile)?;
    // Whether it ends well or not, the processes are killed when they are dropped.
    tokio::select! {
        ended = demo(&lockfile, &database, directory) => ended?,
        () = asked_to_stop() => bail!("stopped before the end"),
    }
    if let (Some(_), Database::Sqlite { file }) = (&cli.keep, &database) {
        println!("    The histories of this demo are kept: engine dev --db {}", file.display());
    }
    Ok(())
}

/// Ends with SIGINT or SIGTERM.
async fn asked_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime handles signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime handles signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn demo(lockfile: &Path, database: &Database, directory: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let programs = Programs::find(directory)?;
    let packages = checks::locked_packages(lockfile)?;
    let ledger = directory.join("ledger");

    let mut server = Server::start(&programs, database, None).await?;
    say(&format!("A server runs ({database}), process {}, at {}", server.process_id(), server.address));
    let mut workers = Workers::start(&programs, &server)?;
    say(&format!("Two workers run, {workers}"));

    let count = [ORDERS.to_string(), REFUSED.to_string()];
    let arguments = ["--name", "order", "--orders", &count[0], "--refuse", &count[1]];
    let mut orders = programs.client("order_saga", &server, &arguments)?;
    orders.wait_for_line(PATIENCE, |line| line.contains("decisions sent")).await?;
    let path = lockfile.to_string_lossy();
    let arguments = ["--id", "audit", "--at-once", "4", "--lockfile", &path, "--sums", "sums"];
    let mut audit = programs.client("lockfile_audit", &server, &arguments)?;
    audit.wait_for_line(PATIENCE, |line| line.contains("audit has begun")).await?;
    say(&format!("{ORDERS} orders are placed, and an audit of {} packages has begun", packages.len()));

    // The audit's history, as it grows, tells when to strike. The stream goes on by itself when the server is back.
    let client = Client::connect(&server.address).await?;
    let mut history = std::pin::pin!(client.handle_named::<Value>("audit").watch());
    let mut progress = Progress { done: 0, total: packages.len() };
    let mut kills: Vec<Kill> = Vec::new();
    while let Some(event) = history.next().await {
        let event = event?;
        if let Some(kill) = kills.last_mut() {
            kill.felt_by(&event);
        }
        if !progress.advance(&event) {
            continue;
        }
        if progress.done.is_multiple_of(20) {
            say(&format!("{progress}; {} of {ORDERS} orders shipped", checks::shipped(&ledger)?));
        }
        if kills.is_empty() && progress.done >= progress.total / 3 {
            say(&format!("{progress}: kill -9 of {workers}"));
            workers.kill().await?;
            kills.push(Kill::now("the workers"));
            workers = Workers::start(&programs, &server)?;
            say(&format!("Two others run instead, {workers}"));
        } else if kills.len() == 1 && progress.done >= progress.total * 2 / 3 {
            say(&format!("{progress}: kill -9 of the server, process {}", server.process_id()));
            server.kill().await?;
            kills.push(Kill::now("the server"));
            server = Server::start(&programs, database, Some(&server.address)).await?;
            say(&format!("It runs again, process {}", server.process_id()));
        }
    }
    ensure!(kills.len() == 2, "the audit was over before both kills: the lock file is too short for this demo");

    say("The audit is over. Its client, which waited all the time, prints the report:");
    ensure!(audit.wait(PATIENCE).await?.success(), "the audit went wrong:\n{}", audit.output().join("\n"));
    print(audit.output().iter().skip_while(|line| **line != path));
    ensure!(orders.wait(PATIENCE).await?.success(), "orders went wrong:\n{}", orders.output().join("\n"));
    say("The orders are over as well. Is all of it true?");
    checks::all_completed(&client, ORDERS + 1).await?;
    checks::archives(&client.handle_named::<Value>("audit").result().await?, &packages, &directory.join("sums"))?;
    let repeated = checks::orders(&ledger, ORDERS, REFUSED)?;
    for kill in &kills {
        println!("    {kill}");
        ensure!(kill.recovered_after.is_some(), "after a kill nothing went on");
    }

    let example = repeated.unwrap_or_else(|| format!("order-{ORDERS:04}"));
    say(&format!("What happened to one of the orders, as `engine workflow history {example}` tells it:"));
    print(&programs.history(&server, &example)?);
    say("And to the audit, from `engine workflow history audit`:");
    let lines = programs.history(&server, "audit")?;
    print(&lines[..lines.len().min(14)]);
    println!("    …");
    print(&lines[lines.len().saturating_sub(6)..]);

    workers.kill().await?;
    server.kill().await?;
    say(&format!("All is well, after {} s. Nothing is left running.", began.elapsed().as_secs()));
    println!("    To look further, from {}:", programs.directory.display());
    println!("      engine dev                  a server, in one terminal");
    println!("      lockfile_audit worker       in another: kill it, start it again");
    println!("      lockfile_audit start        in a third");
    println!("      engine workflow list | watch ID | describe ID | history ID");
    Ok(())
}

/// A line of the story.
fn say(line: &str) {
    println!("==> {line}");
}

/// What a program said.
fn print<'a>(lines: impl IntoIterator<Item = &'a String>) {
    for line in lines {
        println!("    {line}");
    }
}

/// How far the audit is, in packages.
struct Progress {
    done: usize,
    total: usize,
}

impl Progress {
    /// Whether the event is a package that was checked.
    fn advance(&mut self, event: &Event) -> bool {
        // The first activity reads the lock file and returns a list of packages; all others check one.
        let EventKind::ActivityCompleted(completed) = &event.kind else { return false };
        let result: Option<Value> =
            completed.result.as_ref().and_then(|result| serde_json::from_slice(&result.data).ok());
        let is_package = result.is_some_and(|result| !result.is_array());
        self.done += usize::from(is_package);
        is_package
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} of {} archives checked", self.done, self.total)
    }
}

/// A kill, and how long the audit felt it.
struct Kill {
    of: &'static str,
    at: SystemTime,
    /// Until the next activity completed.
    recovered_after: Option<Duration>,
    /// Until activities began again that had been in hand.
    repeated_after: Vec<Duration>,
}

impl Kill {
    fn now(of: &'static str) -> Self {
        Self { of, at: SystemTime::now(), recovered_after: None, repeated_after: Vec::new() }
    }

    fn felt_by(&mut self, event: &Event) {
        let micros = u64::try_from(event.at.as_micros()).unwrap_or_default();
        // What happened before the kill may arrive here after it.
        let Ok(after) = (SystemTime::UNIX_EPOCH + Duration::from_micros(micros)).duration_since(self.at) else {
            return;
        };
        match &event.kind {
            EventKind::ActivityStarted(started) if started.attempt > 1 => self.repeated_after.push(after),
            EventKind::ActivityCompleted(_) => self.recovered_after = self.recovered_after.or(Some(after)),
            _ => {}
        }
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.recovered_after.unwrap_or_default().as_secs_f64();
        write!(f, "ok: {seconds:.1} s after the kill of {} the audit made progress; ", self.of)?;
        match self.repeated_after.iter().max() {
            Some(last) => write!(
                f,
                "checks that were in hand and begun again: {}, after at most {:.1} s",
                self.repeated_after.len(),
                last.as_secs_f64()
            ),
            None => write!(f, "no check had to be begun again"),
        }
    }
}
