//! This program again, as a child: server or worker.

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// How long a child may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A child process that answers each line on its standard input with one on its output. Killed when this is dropped; it ends by
/// itself when its standard input closes, so it does not outlive a parent that was killed.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    pid: u32,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts this program with `name` as its command, and waits for nothing.
    pub(crate) fn start(name: &'static str, arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.arg(name).args(arguments).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start the {name}"))?;
        let pid = child.id().context("a child that was not waited for has an id")?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        Ok(Self { name, pid, child, input, output })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let name = self.name;
        let line = tokio::time::timeout(ANSWER_WITHIN, self.output.next_line()).await;
        let line = line.with_context(|| format!("the {name} said nothing for {ANSWER_WITHIN:?}"))??;
        line.with_context(|| format!("the {name} ended; what it said is above"))
    }

    /// Sends a line and waits for one.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<String> {
        self.input
            .write_all(format!("{question}\n").as_bytes())
            .await
            .with_context(|| format!("ask the {}", self.name))?;
        self.line().await
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("kill the {}", self.name))
    }

    /// Closes its standard input, at which it ends in good order, and waits for that.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { name, mut child, input, .. } = self;
        drop(input);
        match tokio::time::timeout(ANSWER_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => bail!("the {name} ended with an error; what it said is above"),
            Err(_) => bail!("the {name} did not end within {ANSWER_WITHIN:?}"),
        }
    }
}

/// The lines that this process is sent by its parent; ends when standard input closes.
pub(crate) fn questions() -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel(16);
    // A thread, since a read of standard input cannot be given up.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// Errors of server and worker go to standard error; RUST_LOG shows more.
pub(crate) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
