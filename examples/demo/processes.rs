//! The processes of the demo. Each is killed, at the latest, when its value here is dropped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use engine_testkit::process::Process;
use serde_json::Value;

/// How long a server may take to start, on a slow machine.
const START: Duration = Duration::from_secs(60);

/// Where the programs are, and the directory that they work in.
pub(crate) struct Programs {
    pub(crate) directory: PathBuf,
    work: PathBuf,
}

impl Programs {
    /// Those that were built together with this one.
    pub(crate) fn find(work: &Path) -> anyhow::Result<Self> {
        let this = std::env::current_exe()?;
        let directory = this.parent().context("find this program's directory")?.to_owned();
        for name in ["engine", "lockfile_audit", "order_saga"] {
            let program = directory.join(name);
            ensure!(program.exists(), "{} is not there; `make demo` builds it", program.display());
        }
        Ok(Self { directory, work: work.to_owned() })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join(name));
        command.current_dir(&self.work).env_remove("ENGINE_OUTPUT");
        command
    }

    fn engine(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.command("engine").args(arguments).output()?;
        ensure!(output.status.success(), "engine {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A client of that example.
    pub(crate) fn client(&self, name: &str, server: &Server, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut command = self.command(name);
        command.args(["start", "--address", &server.address]).args(arguments);
        Process::spawn(&format!("{name} start"), command)
    }

    /// A worker of that example.
    fn worker(&self, name: &str, server: &Server, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut command = self.command(name);
        command.args(["worker", "--address", &server.address]).args(arguments);
        Process::spawn(&format!("{name} worker"), command)
    }

    /// What `engine workflow history` prints.
    pub(crate) fn history(&self, server: &Server, workflow_id: &str) -> anyhow::Result<Vec<String>> {
        let arguments = ["workflow", "history", "--address", &server.address, workflow_id];
        let output = self.command("engine").args(arguments).output()?;
        ensure!(output.status.success(), "engine workflow history: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}

/// Where the server keeps its state.
pub(crate) enum Database {
    /// A file, for `engine dev`.
    Sqlite { file: PathBuf },
    /// A database, for `engine serve`.
    Postgres { url: String },
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Sqlite { .. } => "engine dev, on a SQLite file",
            Database::Postgres { .. } => "engine serve, on Postgres",
        })
    }
}

/// A server that accepts calls.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: String,
}

impl Server {
    /// Starts one, at the address of another that is gone, or anywhere.
    pub(crate) async fn start(programs: &Programs, database: &Database, address: Option<&str>) -> anyhow::Result<Self> {
        let listen = address.map_or("127.0.0.1:0", |address| address.trim_start_matches("http://"));
        let mut command = programs.command("engine");
        command.args(["--output", "json"]);
        match database {
            Database::Sqlite { file } => command.arg("dev").arg("--db").arg(file),
            Database::Postgres { url } => {
                programs.engine(&["migrate", "--database-url", url])?;
                command.args(["serve", "--database-url", url])
            }
        };
        command.args(["--listen", listen]);
        let mut process = Process::spawn("engine", command)?;
        let line = process.wait_for_line(START, |line| line.starts_with('{')).await?;
        let ready: Value = serde_json::from_str(&line)?;
        let address = ready["address"].as_str().context("the server tells its address")?.to_owned();
        Ok(Self { process, address })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill9().await
    }
}

/// One worker of each example.
pub(crate) struct Workers {
    audit: Process,
    orders: Process,
}

impl Workers {
    /// Starts them. Their work is slowed down, so that it lasts long enough to watch it.
    pub(crate) fn start(programs: &Programs, server: &Server) -> anyhow::Result<Self> {
        let audit = programs.worker("lockfile_audit", server, &["--delay", "200ms"])?;
        let orders = ["--ledger", "ledger", "--delay", "220ms", "--at-once", "8"];
        let orders = programs.worker("order_saga", server, &orders)?;
        Ok(Self { audit, orders })
    }

    /// Kills both with SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.audit.kill9().await?;
        self.orders.kill9().await
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (audit, orders) = (self.audit.id().unwrap_or_default(), self.orders.id().unwrap_or_default());
        write!(f, "lockfile_audit worker (process {audit}) and order_saga worker (process {orders})")
    }
}
