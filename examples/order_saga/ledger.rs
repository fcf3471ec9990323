//! The outside world of this example: a file with one line for each request that reached it.
//!
//! It stands for the systems of a bank, a warehouse and a carrier. Like those, it is asked at least once, and knows a repeat by
//! its key: only the first request with a key has an effect.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use engine_sdk::prelude::*;

/// A file that is only appended to, by any number of processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
}

/// A line of it.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) order: String,
    /// `charge`, `reserve`, `ship`, `refund` or `release`.
    pub(crate) what: String,
    /// The same for each attempt of one activity, and for no other.
    pub(crate) key: String,
    pub(crate) attempt: u32,
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("open {}", path.display()))? })
    }

    /// Adds a line, with one write: lines of several processes do not mix.
    pub(crate) fn record(&self, request: &Request) -> io::Result<()> {
        let line = serde_json::to_string(request)? + "\n";
        (&self.file).write_all(line.as_bytes())
    }
}

/// All requests of a ledger, in the order in which they arrived.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("understand {line}"))).collect()
}

/// What happened to one order, in order, repeats left out.
pub(crate) fn effects(requests: &[Request]) -> BTreeMap<&str, Vec<&str>> {
    let mut seen = std::collections::HashSet::new();
    let mut effects = BTreeMap::<&str, Vec<&str>>::new();
    for request in requests {
        if seen.insert(&request.key) {
            effects.entry(&request.order).or_default().push(&request.what);
        }
    }
    effects
}
