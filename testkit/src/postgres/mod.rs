//! Private Postgres clusters: made in a temporary directory, on a free port, gone with the test process.
//!
//! A cluster acknowledges nothing before it is on disk, like a real one, so that a test may kill it and look what is left.
//! Most tests only want a database: [`fresh_database`] in the [`shared_cluster`].

mod binaries;
mod guard;

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use binaries::ServerUser;
use guard::Guard;

/// Environment variable with the URL of a cluster that all test processes share. Its role must be a superuser.
pub const SHARED_CLUSTER_VARIABLE: &str = "ENGINE_TEST_DATABASE_URL";

/// A running Postgres cluster of this process's own. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub struct PostgresCluster {
    files: Arc<Files>,
    port: u16,
    /// Arguments of `postgres`.
    settings: Vec<String>,
}

/// What is on disk, and the user that the server runs as.
#[derive(Debug)]
struct Files {
    // Declared first, so dropped first: the server must be gone before its directory is.
    _guard: Guard,
    directory: TempDir,
    binaries: PathBuf,
    user: ServerUser,
}

impl PostgresCluster {
    /// Creates and starts a cluster with `fsync` on and all other settings at their defaults, but for room for more
    /// connections.
    pub async fn start() -> anyhow::Result<PostgresCluster> {
        Self::start_with(&[]).await
    }

    /// As [`PostgresCluster::start`], with settings as `("fsync", "off")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<PostgresCluster> {
        let mut arguments = vec!["-c".to_owned(), "max_connections=200".to_owned()];
        for (name, value) in settings {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        blocking(move || {
            let files = Arc::new(Files::create()?);
            // Another process may take the port between the look and the bind; then look again.
            let mut attempts = 0;
            loop {
                attempts += 1;
                let port = free_port()?;
                let cluster = PostgresCluster { files: Arc::clone(&files), port, settings: arguments.clone() };
                match files.start_server(port, &cluster.settings) {
                    Ok(()) => return Ok(cluster),
                    Err(error) if attempts == 5 => return Err(error),
                    Err(_) => {}
                }
            }
        })
        .await
    }

    /// URL of its maintenance database, as superuser.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// URL of a database in it, as superuser.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Process id of the postmaster, if it runs.
    pub fn postmaster(&self) -> Option<u32> {
        self.files.postmaster()
    }

    /// Kills the postmaster and all its children with SIGKILL, as a power cut would. Returns when they are gone.
    pub async fn kill9(&self) -> anyhow::Result<()> {
        let files = Arc::clone(&self.files);
        blocking(move || files.kill9()).await
    }

    /// Starts the server again on the same port, after [`PostgresCluster::kill9`] or [`PostgresCluster::stop`]; a running one
    /// is stopped first. Returns when it accepts connections.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let (files, port, settings) = (Arc::clone(&self.files), self.port, self.settings.clone());
        blocking(move || {
            files.stop_server()?;
            files.start_server(port, &settings)
        })
        .await
    }

    /// Shuts the server down, cutting connections off. Its files stay until the cluster is dropped.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let files = Arc::clone(&self.files);
        blocking(move || files.stop_server()).await
    }
}

impl Files {
    fn create() -> anyhow::Result<Files> {
        let binaries = binaries::find()?;
        let user = ServerUser::choose()?;
        let directory = tempfile::Builder::new().prefix("engine-postgres-").tempdir()?;
        user.own(directory.path())?;
        let guard = Guard::over(directory.path())?;
        let files = Files { _guard: guard, directory, binaries, user };
        let data = files.data();
        // Without --no-sync it takes seconds; a cluster that a crash could tear at birth is only this process's.
        let arguments: [OsString; 8] = [
            "-D".into(),
            data.into(),
            "-U".into(),
            "postgres".into(),
            "--auth=trust".into(),
            "--encoding=UTF8".into(),
            "--locale=C".into(),
            "--no-sync".into(),
        ];
        files.run("initdb", &arguments)?;
        Ok(files)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("postgres.log")
    }

    fn postmaster(&self) -> Option<u32> {
        guard::postmaster(self.directory.path())
    }

    fn start_server(&self, port: u16, settings: &[String]) -> anyhow::Result<()> {
        let mut options = format!("-p {port} -h 127.0.0.1 -k '{}'", self.directory.path().display());
        for argument in settings {
            options.push_str(&format!(" '{argument}'"));
        }
        let arguments: [OsString; 9] = [
            "start".into(),
            "-w".into(),
            "-s".into(),
            "-D".into(),
            self.data().into(),
            "-l".into(),
            self.log().into(),
            "-o".into(),
            options.into(),
        ];
        self.run("pg_ctl", &arguments)
    }

    fn stop_server(&self) -> anyhow::Result<()> {
        if self.postmaster().is_none() {
            return Ok(());
        }
        let arguments: [OsString; 7] =
            ["stop".into(), "-w".into(), "-s".into(), "-m".into(), "fast".into(), "-D".into(), self.data().into()];
        self.run("pg_ctl", &arguments)
    }

    fn kill9(&self) -> anyhow::Result<()> {
        let postmaster = self.postmaster().context("no postmaster runs in this cluster")?;
        // The postmaster first, stopped in its tracks, so that it forks nothing while its children are counted.
        guard::signal("STOP", &[postmaster])?;
        let mut victims = guard::children(postmaster)?;
        victims.push(postmaster);
        guard::signal("KILL", &victims)?;
        guard::wait_until_gone(&victims)?;
        // They name a process that may stay as a zombie where nobody reaps orphans, and the next server would not start.
        std::fs::remove_file(self.data().join("postmaster.pid")).context("remove the dead server's lock file")?;
        for entry in std::fs::read_dir(self.directory.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
                std::fs::remove_file(entry.path()).context("remove the dead server's socket")?;
            }
        }
        Ok(())
    }

    /// Runs a program of the Postgres distribution as the server's user.
    fn run(&self, program: &str, arguments: &[OsString]) -> anyhow::Result<()> {
        let mut command = self.user.command(&self.binaries.join(program));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        // Into a file, not a pipe: the server that pg_ctl leaves behind would hold a pipe open.
        let output = tempfile::tempfile()?;
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        let status = command.status().with_context(|| format!("run {}", self.binaries.join(program).display()))?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        let mut output = output;
        std::io::Seek::rewind(&mut output)?;
        output.read_to_string(&mut said)?;
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        bail!("{program} failed ({status}):\n{said}\n{log}");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the blocking task panicked")?
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Where databases for tests are made: the cluster that [`SHARED_CLUSTER_VARIABLE`] names, else one of this process's own,
/// started at the first call. Tests must not stop it.
pub async fn shared_cluster() -> anyhow::Result<SharedCluster> {
    static OWN: OnceCell<PostgresCluster> = OnceCell::const_new();
    if let Ok(url) = std::env::var(SHARED_CLUSTER_VARIABLE) {
        return Ok(SharedCluster { url });
    }
    let cluster = OWN.get_or_try_init(PostgresCluster::start).await?;
    Ok(SharedCluster { url: cluster.url() })
}

/// A cluster that many tests use at once.
#[derive(Debug, Clone)]
pub struct SharedCluster {
    url: String,
}

impl SharedCluster {
    /// URL of its maintenance database.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Creates an empty database with a name of its own, and returns its URL. It is never dropped: the cluster is.
pub async fn fresh_database(cluster: &str) -> anyhow::Result<String> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", uuid::Uuid::now_v7().simple(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(cluster).await.context("connect to the test cluster")?;
    // Not STRATEGY FILE_COPY: it writes less, but makes two checkpoints, which took several times as long.
    let statement = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.context("create a database")?;
    connection.close().await?;
    with_database(cluster, &name)
}

/// The same URL with another database.
fn with_database(url: &str, database: &str) -> anyhow::Result<String> {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.find("://").map(|at| at + 3).context("the test cluster's URL has no scheme")?;
    let end = rest[authority..].find('/').map_or(rest.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}/{database}{query}", &rest[..end]))
}

/// Whether a server's programs can be found on this machine, for tests that skip without them.
pub fn is_available() -> bool {
    binaries::find().is_ok() || std::env::var(SHARED_CLUSTER_VARIABLE).is_ok()
}

/// Runs a program to its end and fails with what it said.
fn run_quietly(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced_and_its_options_kept() {
        let replaced = |url| with_database(url, "t").unwrap();
        assert_eq!(replaced("postgres://u@h:1/postgres"), "postgres://u@h:1/t");
        assert_eq!(replaced("postgres://u@h:1/postgres?sslmode=disable"), "postgres://u@h:1/t?sslmode=disable");
        assert_eq!(replaced("postgres://u@h:1"), "postgres://u@h:1/t");
    }
}
