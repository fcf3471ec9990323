//! Sees to it that no server outlives the process that started it, however that process ends.
//!
//! The guard is a shell in a process group of its own that reads from a pipe. Only this process holds the other end, so
//! the read ends when this process does, and then the shell stops the server and removes its directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{display, run_quietly};

/// What the shell does. `immediate` as SIGQUIT: the server frees its shared memory and writes nothing. The directory's
/// file names the postmaster, so a restarted one is found too; the server removes it last, and where nobody reaps
/// orphans its process stays as a zombie.
const SCRIPT: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -CONT "$pid" 2>/dev/null
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while [ -e "$1/data/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"#;

/// How long killed processes may take to leave the process table.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A running guard. Dropping it makes it act, and waits until it has.
#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
}

impl Guard {
    pub(super) fn over(directory: &Path) -> anyhow::Result<Guard> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "engine-testkit-guard"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal, or a test runner that kills the test's group, must not reach it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start the guard of {}", display(directory)))?;
        Ok(Guard { shell })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.flush();
        }
        let _ = self.shell.wait();
    }
}

/// The running postmaster of the cluster in `directory`.
pub(super) fn postmaster(directory: &Path) -> Option<u32> {
    let file = std::fs::read_to_string(directory.join("data").join("postmaster.pid")).ok()?;
    let pid = file.lines().next()?.trim().parse().ok()?;
    is_running(pid).then_some(pid)
}

/// The direct children of a process.
pub(super) fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let said = run_quietly(Command::new("ps").args(["-e", "-o", "pid=,ppid="]))?;
    Ok(said
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let (pid, ppid) = (fields.next()?.ok()?, fields.next()?.ok()?);
            (ppid == parent).then_some(pid)
        })
        .collect())
}

/// Sends a signal to processes. Those that are gone already are no error.
pub(super) fn signal(name: &str, pids: &[u32]) -> anyhow::Result<()> {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).args(pids.iter().map(u32::to_string));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("run `kill`")?;
    Ok(())
}

/// Waits until none of the processes runs; zombies do not count, their memory and sockets are gone.
pub(super) fn wait_until_gone(pids: &[u32]) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    while pids.iter().any(|pid| is_running(*pid)) {
        if Instant::now() > deadline {
            bail!("processes {pids:?} still run {GONE_WITHIN:?} after SIGKILL");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn is_running(pid: u32) -> bool {
    match run_quietly(Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()])) {
        Ok(state) => !state.trim_start().starts_with('Z'),
        Err(_) => false,
    }
}
