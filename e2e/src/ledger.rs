//! The ledger: a file to which each activity of the tests appends one line when it has its effect.
//!
//! It stands for the world outside the engine. A line is on disk before the activity returns: whatever is killed afterwards, the
//! effect has happened. A process that is killed in the middle of a write leaves the beginning of a line, since the system writes page by
//! page: that effect has not happened.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One line: something that an activity did to the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The run's workflow id; empty if the activity is a standalone one.
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
        // Behind the beginning of a line that a killed process left, a line of its own.
        let line = format!("\n{}\n", serde_json::to_string(effect)?);
        // One write to a file opened for appending: lines of several processes do not mix.
        (&self.file).write_all(line.as_bytes()).context("append to the ledger")?;
        self.file.sync_data().context("sync the ledger")
    }
}

/// All whole lines, in the order in which they were written.
pub fn read(path: &Path) -> anyhow::Result<Vec<Effect>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("read the ledger {}", path.display()))?,
    };
    let mut effects = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(effect) => effects.push(effect),
            // It ends too early: whoever wrote it was killed.
            Err(error) if error.is_eof() => {}
            Err(error) => return Err(error).with_context(|| format!("the ledger has the line {line:?}")),
        }
    }
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_writers_append_is_read_line_by_line_but_for_what_a_kill_cut_off() {
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
        // The beginning of a line, written by a process that was killed in the middle of it.
        (&one.file).write_all(b"\n{\"workflow_id\":\"w\",\"activit").unwrap();
        two.append(&effect("b")).unwrap();
        one.append(&effect("c")).unwrap();
        assert_eq!(read(&path).unwrap(), [effect("a"), effect("b"), effect("c")]);
    }
}
