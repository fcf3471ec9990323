//! Child processes whose output can be waited for, line by line.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// A child process. All that it prints, on either stream, is collected. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: watch::Receiver<Printed>,
    // Kept so that the readers are the only other senders: when both have ended, `open` is 0.
    _lines: Arc<watch::Sender<Printed>>,
}

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    /// How many of the two streams are still open.
    open: u8,
}

impl Process {
    /// Starts `command` with its output piped and nothing to read. `name` is for the messages of failing tests.
    pub fn spawn(name: &str, command: std::process::Command) -> anyhow::Result<Process> {
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let (sender, lines) = watch::channel(Printed { lines: Vec::new(), open: 2 });
        let sender = Arc::new(sender);
        tokio::spawn(collect(child.stdout.take().context("stdout is piped")?, Arc::clone(&sender)));
        tokio::spawn(collect(child.stderr.take().context("stderr is piped")?, Arc::clone(&sender)));
        Ok(Process { name: name.to_owned(), child, lines, _lines: sender })
    }

    /// The first line that satisfies `wanted`, printed already or still to come.
    ///
    /// Fails, with all that was printed, after `deadline` or once the process has closed its output.
    pub async fn wait_for_line(
        &mut self,
        deadline: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<String> {
        let mut seen = 0;
        let mut found = None;
        let waited = self.lines.wait_for(|printed| {
            found = printed.lines[seen..].iter().find(|line| wanted(line)).cloned();
            seen = printed.lines.len();
            found.is_some() || printed.open == 0
        });
        let why = match tokio::time::timeout(deadline, waited).await {
            Ok(_) => "ended its output",
            Err(_) => "was waited for in vain",
        };
        match found {
            Some(line) => Ok(line),
            None => bail!("{} {why} without the line; it printed:\n{}", self.name, self.output().join("\n")),
        }
    }

    /// All lines printed so far, of both streams, in the order in which they were read.
    pub fn output(&self) -> Vec<String> {
        self.lines.borrow().lines.clone()
    }

    /// All lines of both streams, once the process has closed them.
    ///
    /// Fails, with what was printed by then, after `deadline`.
    pub async fn whole_output(&mut self, deadline: Duration) -> anyhow::Result<Vec<String>> {
        let closed = self.lines.wait_for(|printed| printed.open == 0);
        let is_in_time = tokio::time::timeout(deadline, closed).await.is_ok();
        if !is_in_time {
            bail!(
                "{} still has its output open after {deadline:?}; it printed:\n{}",
                self.name,
                self.output().join("\n")
            );
        }
        Ok(self.output())
    }

    /// Process id, while it was not waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// Sends a signal, named as for `kill`, for instance `TERM`.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} has ended", self.name))?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await?;
        if !status.success() {
            bail!("`kill -{name}` of {} failed ({status})", self.name);
        }
        Ok(())
    }

    /// Waits for its end, at most until `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                bail!("{} still runs after {deadline:?}; it printed:\n{}", self.name, self.output().join("\n"))
            }
        }
    }
}

async fn collect(stream: impl AsyncRead + Unpin, printed: Arc<watch::Sender<Printed>>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Bytes, not `lines()`: output that is not UTF-8 must not end the collection.
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']).to_owned();
        printed.send_modify(|printed| printed.lines.push(text));
        line.clear();
    }
    printed.send_modify(|printed| printed.open -= 1);
}
