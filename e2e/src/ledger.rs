//! The ledger: a file to which each activity of the tests appends one line when it has its effect.
//!
//! It stands for the world outside the engine. A line is written whole, in one system call, and is on disk before the activity
//! returns: whatever is killed afterwards, the effect has happened.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One line: something that an activity did to the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The run's workflow id.
    pub workflow_id: String,
    /// The run.
    pub run_id: String,
    /// The activity that did it.
    pub activity_id: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// Different for each line: the activity returns it, so that a result can be traced to the effect it tells of.
    pub effect: String,
    /// The process that did it.
    pub pid: u32,
}

/// The writing end, shared by the activities of a worker. Several processes may have the same file open.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

impl Ledger {
    /// Opens the ledger, or begins one.
    pub fn open(path: &Path) -> anyhow::Result<Ledger> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Ledger { file: file.with_context(|| format!("open the ledger {}", path.display()))? })
    }

    /// Appends a line. When this returns, it survives whatever happens to this process and this machine.
    pub fn append(&self, effect: &Effect) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(effect)?;
        line.push(b'\n');
        // One write to a file opened for appending: lines of several processes do not mix.
        (&self.file).write_all(&line).context("append to the ledger")?;
        self.file.sync_data().context("sync the ledger")
    }
}

/// All lines, in the order in which they were written.
pub fn read(path: &Path) -> anyhow::Result<Vec<Effect>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("read the ledger {}", path.display()))?,
    };
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the ledger has the line {line:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_writers_append_is_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        assert_eq!(read(&path).unwrap(), []);
        let effect = |name: &str| Effect {
            workflow_id: "w".into(),
            run_id: "r".into(),
            activity_id: "1".into(),
            attempt: 1,
            effect: name.into(),
            pid: 7,
        };
        let (one, two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
        one.append(&effect("a")).unwrap();
        two.append(&effect("b")).unwrap();
        one.append(&effect("c")).unwrap();
        assert_eq!(read(&path).unwrap(), [effect("a"), effect("b"), effect("c")]);
    }
}
