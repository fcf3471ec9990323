//! What a run costs: read before and after, the difference is its usage.

pub(crate) mod processes;

use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::program::Program;
use crate::server::StoreCounts;
use crate::store::PostgresCounters;

/// Who can be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub(crate) server_pid: Option<u32>,
    pub(crate) worker_pid: Option<u32>,
    /// A server that was started here tells its store's counts.
    pub(crate) server: Option<Arc<Mutex<Program>>>,
    pub(crate) postgres: Option<Arc<Mutex<PostgresCounters>>>,
}

/// CPU time in microseconds; `None` of who is not there or cannot be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) server: Option<u64>,
    pub(crate) worker: Option<u64>,
    pub(crate) client: Option<u64>,
    /// Of all processes of the Postgres cluster. Without one the store's work is in the server's.
    pub(crate) database: Option<u64>,
}

/// Memory in MiB, shared pages counted in proportion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) server: Option<f64>,
    pub(crate) worker: Option<f64>,
}

/// A reading, or the difference of two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub(crate) cpu: Cpu,
    pub(crate) commits: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes_written: Option<u64>,
}

impl Meter {
    /// Postgres: its own counts; bytes are those of the WAL. Another store: what the server's store counted; bytes are those that
    /// the server process had written to disk.
    pub(crate) async fn read(&self) -> Result<Reading> {
        let mut reading = Reading { cpu: self.cpu(), ..Reading::default() };
        if let Some(postgres) = &self.postgres {
            let mut postgres = postgres.lock().await;
            let counts = postgres.read().await?;
            reading.cpu.database = postgres.postmaster.map(processes::tree_cpu_us);
            (reading.commits, reading.rows) = (Some(counts.commits), Some(counts.rows));
            reading.bytes_written = Some(counts.wal_bytes);
        } else if let Some(server) = &self.server {
            let answer = server.lock().await.ask("counts").await?;
            let counts: StoreCounts = serde_json::from_str(&answer).context("understand the server's counts")?;
            (reading.commits, reading.rows) = (Some(counts.commits), Some(counts.rows));
            reading.bytes_written = self.server_pid.and_then(processes::bytes_written);
        }
        Ok(reading)
    }

    /// What was used since `before`.
    pub(crate) async fn since(&self, before: &Reading) -> Result<Reading> {
        Ok(self.read().await?.minus(before))
    }

    /// CPU time so far, but for the database's.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            server: self.server_pid.and_then(processes::cpu_us),
            worker: self.worker_pid.and_then(processes::cpu_us),
            client: processes::cpu_us(std::process::id()),
            database: None,
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        let of = |pid: Option<u32>| pid.and_then(processes::memory_mib);
        Memory { server: of(self.server_pid), worker: of(self.worker_pid) }
    }
}

impl Reading {
    fn minus(&self, before: &Reading) -> Reading {
        let minus = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
        Reading {
            cpu: Cpu {
                server: minus(self.cpu.server, before.cpu.server),
                worker: minus(self.cpu.worker, before.cpu.worker),
                client: minus(self.cpu.client, before.cpu.client),
                database: minus(self.cpu.database, before.cpu.database),
            },
            commits: minus(self.commits, before.commits),
            rows: minus(self.rows, before.rows),
            bytes_written: minus(self.bytes_written, before.bytes_written),
        }
    }
}

impl Cpu {
    /// Shared out over `count` workflows.
    pub(crate) fn per(&self, count: u64) -> Cpu {
        let share = |time: Option<u64>| time.map(|time| time / count.max(1));
        Cpu {
            server: share(self.server),
            worker: share(self.worker),
            client: share(self.client),
            database: share(self.database),
        }
    }

    /// Of all together, as far as they can be seen.
    pub(crate) fn total(&self) -> u64 {
        [self.server, self.worker, self.client, self.database].into_iter().flatten().sum()
    }
}
