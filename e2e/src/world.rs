//! Server and worker processes, in a directory of their own, to be killed and started again.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use engine_testkit::process::Process;
use tempfile::TempDir;

use crate::checker::{self, Evidence};
use crate::clerk::{Clerk, Promises, QUEUE};
use crate::gate::Gate;
use crate::ledger::{self, Effect};
use crate::programs::{Build, WorkerSettings};
use crate::progress::Progress;

/// How long a process may take to start on a machine that is busy with other tests.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A binary of this crate, next to the one that runs.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the program that runs")?;
    let directory = own.parent().context("a program is in a directory")?;
    // Test binaries are one level deeper.
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let path = directory.join(name);
    ensure!(path.exists(), "{} is not built: run `cargo build -p engine-e2e --bins`", path.display());
    Ok(path)
}

/// How a server is run.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The database.
    pub database_url: String,
    /// The node's name.
    pub node: String,
    /// Where it listens: the same again after a restart.
    pub address: SocketAddr,
    /// More flags of `engine serve`.
    pub flags: Vec<String>,
}

impl ServerSettings {
    /// A server on this database, under a free address, with short graces: a test should not wait for them.
    pub fn new(database_url: &str, node: &str) -> anyhow::Result<ServerSettings> {
        let flags = ["--recovery-grace", "500ms", "--activity-grace", "200ms"];
        Ok(ServerSettings {
            database_url: database_url.to_owned(),
            node: node.to_owned(),
            address: free_address()?,
            flags: flags.map(str::to_owned).to_vec(),
        })
    }

    /// With the graces and all else as users have them by default.
    pub fn as_by_default(mut self) -> Self {
        self.flags.clear();
        self
    }

    /// With another flag, or another value of one.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        // The later flag of a name counts; clap refuses both.
        if let Some(first) = self.flags.iter().position(|flag| flag == name)
            && first + 2 < self.flags.len()
        {
            self.flags.drain(first..first + 2);
        }
        self
    }

    /// The command that runs it.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(program("e2e-engine")?);
        command
            .args(["serve", "--output", "json", "--migrate", "--database-url", &self.database_url])
            .args(["--listen", &self.address.to_string(), "--node", &self.node, "--log", "warn"])
            .args(&self.flags);
        Ok(command)
    }
}

/// An address on this machine that nobody uses.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    /// How it is run.
    pub settings: ServerSettings,
    /// It, or its remains.
    pub process: Process,
}

impl Server {
    /// Starts it, and waits until it accepts calls.
    pub async fn start(settings: ServerSettings) -> anyhow::Result<Server> {
        let process = Self::run(&settings).await?;
        Ok(Server { settings, process })
    }

    async fn run(settings: &ServerSettings) -> anyhow::Result<Process> {
        let mut process = Process::spawn(&format!("server {}", settings.node), settings.command()?)?;
        process.wait_for_line(START_WITHIN, |line| line.starts_with("{\"address\"")).await?;
        Ok(process)
    }

    /// Where it is called.
    pub fn url(&self) -> String {
        format!("http://{}", self.settings.address)
    }

    /// Starts it again, on the same address, after it was killed or stopped.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = Self::run(&self.settings).await?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.signal("TERM").await?;
        let status = self.process.wait(START_WITHIN).await?;
        ensure!(status.success(), "the server ended with {status}:\n{}", self.process.output().join("\n"));
        Ok(())
    }
}

impl WorkerSettings {
    /// The command that runs it. With `--check-open-runs` behind it, it checks instead of working.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(program("e2e-worker")?);
        command.arg(serde_json::to_string(self)?);
        Ok(command)
    }
}

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    /// How it is run.
    pub settings: WorkerSettings,
    /// It, or its remains.
    pub process: Process,
}

impl Worker {
    fn run(settings: &WorkerSettings) -> anyhow::Result<Process> {
        Process::spawn(&settings.identity, settings.command()?)
    }

    /// Starts it. It connects by itself when there is a server.
    pub fn start(settings: WorkerSettings) -> anyhow::Result<Worker> {
        let process = Self::run(&settings)?;
        Ok(Worker { settings, process })
    }

    /// Starts it again.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = Self::run(&self.settings)?;
        Ok(())
    }

    /// Kills it and starts it again.
    pub async fn replace(&mut self) -> anyhow::Result<()> {
        self.process.kill9().await?;
        self.start_again()
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.signal("TERM").await?;
        let status = self.process.wait(START_WITHIN).await?;
        ensure!(status.success(), "the worker ended with {status}:\n{}", self.process.output().join("\n"));
        Ok(())
    }
}

/// What the processes of a test share: its directory, ledger and sockets.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    /// Tells of each effect.
    pub progress: Progress,
}

impl World {
    /// An empty world.
    pub fn new() -> anyhow::Result<World> {
        let directory = tempfile::Builder::new().prefix("engine-e2e-").tempdir()?;
        let progress = Progress::listen(directory.path().join("progress"))?;
        Ok(World { directory, progress })
    }

    /// A file of this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// URL of a SQLite database in it.
    pub fn sqlite(&self) -> String {
        format!("sqlite://{}", self.path("engine.db").display())
    }

    /// A gate in it.
    pub fn gate(&self) -> anyhow::Result<Gate> {
        Gate::open(self.path("gate"))
    }

    fn ledger_path(&self) -> PathBuf {
        self.path("ledger")
    }

    /// What happened so far.
    pub fn ledger(&self) -> anyhow::Result<Vec<Effect>> {
        ledger::read(&self.ledger_path())
    }

    /// Settings of a worker with all definitions.
    pub fn worker_settings(&self, server: &Server, name: &str) -> WorkerSettings {
        WorkerSettings {
            address: server.url(),
            queue: QUEUE.to_owned(),
            identity: name.to_owned(),
            ledger: self.ledger_path(),
            progress: self.progress.path().to_owned(),
            build: Build::Right,
            deployment: None,
            only: Vec::new(),
            shutdown_grace_ms: 10_000,
        }
    }

    /// A worker with all definitions.
    pub fn worker(&self, server: &Server, name: &str) -> anyhow::Result<Worker> {
        Worker::start(self.worker_settings(server, name))
    }

    /// Waits until all that was promised is completed, and checks every rule on what is left.
    pub async fn settle(&self, clerk: &Clerk, promises: &Promises) -> anyhow::Result<Evidence> {
        clerk.all_completed(promises).await?;
        let evidence = clerk.evidence(promises, self.ledger()?).await?;
        checker::assert_right(&evidence);
        Ok(evidence)
    }
}

/// Resident memory of a process, in KiB, as /proc tells it.
pub fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("the process has no memory")?;
    line.split_whitespace().nth(1).context("VmRSS has no value")?.parse().context("read VmRSS")
}

/// Processor time that a process took so far, in seconds, as /proc tells it, with that of its children that have ended and were waited for. Linux
/// counts in hundredths.
pub fn processor_seconds(process: u32) -> f64 {
    ticks(process) as f64 / 100.0
}

/// The same of a process with all below it that live.
pub fn processor_seconds_of_family(process: u32) -> anyhow::Result<f64> {
    Ok(family(process)?.into_iter().map(processor_seconds).sum())
}

/// The process and all that came of it and lives.
fn family(first: u32) -> anyhow::Result<Vec<u32>> {
    let all = std::fs::read_dir("/proc").context("list the processes")?;
    let ids: Vec<u32> = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![first];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(ids.iter().filter(|id| stat(**id).is_some_and(|stat| stat[PARENT] == parent.to_string())));
        next += 1;
    }
    Ok(found)
}

/// Fields of /proc/…/stat behind the program's name, which may contain anything. `None` if the process is gone.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    let fields = text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    (fields.len() > CHILDREN_IN_KERNEL).then_some(fields)
}

const PARENT: usize = 1;
const IN_PROGRAM: usize = 11;
const CHILDREN_IN_KERNEL: usize = 14;

fn ticks(process: u32) -> u64 {
    let Some(stat) = stat(process) else { return 0 };
    stat[IN_PROGRAM..=CHILDREN_IN_KERNEL].iter().filter_map(|field| field.parse::<u64>().ok()).sum()
}
