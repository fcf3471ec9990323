//! The workloads, one file each: the workflows and activities that the worker runs, and what the client does.
//!
//! To add one: a file with a struct of its options (`#[derive(Args)]`), its [`Workload`], and a `register` for the worker's part; then a
//! variant of [`Workloads`] and a line in [`register`].

mod burst;
mod cold_worker;
mod growth;
mod open_runs;
mod parallel;
mod pinned;
mod sequence;
mod signals;
mod start_up;
mod starts;
mod timers;
mod worker_killed;

use async_trait::async_trait;
use clap::Subcommand;
use engine_sdk::prelude::*;

use crate::load::Outcome;
use crate::rig::Rig;

/// One workload, with its options.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    /// As reports name it.
    fn name(&self) -> &'static str;

    /// Whether a worker runs beside the server from the start.
    fn wants_worker(&self) -> bool {
        true
    }

    /// Whether `--rate`, `--count`, `--duration` and `--warm-up` say how its calls are made. Otherwise it makes a number of calls
    /// that its own options say.
    fn takes_a_rate(&self) -> bool {
        true
    }

    /// Measures once. Called again for each repetition, with the same rig.
    async fn measure(&self, rig: &mut Rig) -> anyhow::Result<Outcome>;
}

/// All of them.
#[derive(Debug, Subcommand)]
pub(crate) enum Workloads {
    /// Workflows of one activity.
    W1(sequence::W1),
    /// Workflows of ten activities, one after another.
    W2(sequence::W2),
    /// Workflows whose activities all run at once.
    W3(parallel::W3),
    /// Starts, without a worker.
    W4(starts::W4),
    /// Signals to one workflow.
    W5(signals::W5),
    /// Workflows that sleep for the same time.
    W6(timers::W6),
    /// Open workflows: memory, and CPU while nothing happens.
    W7(open_runs::W7),
    /// The worker is killed amid W2.
    W8(worker_killed::W8),
    /// Everything is submitted at once, and some of it fails for good.
    W9(burst::W9),
    /// A worker that has seen nothing picks up a run with a long history.
    W10(cold_worker::W10),
    /// W1 in a database that grows.
    W11(growth::W11),
    /// One workflow of many steps: its end beside its start.
    W11Steps(growth::W11Steps),
    /// W1 beside an old transaction.
    W12(pinned::W12),
    /// From the start of the server's process to its first accepted start.
    Startup(start_up::Startup),
}

impl Workloads {
    pub(crate) fn as_workload(&self) -> &dyn Workload {
        match self {
            Workloads::W1(workload) => workload,
            Workloads::W2(workload) => workload,
            Workloads::W3(workload) => workload,
            Workloads::W4(workload) => workload,
            Workloads::W5(workload) => workload,
            Workloads::W6(workload) => workload,
            Workloads::W7(workload) => workload,
            Workloads::W8(workload) => workload,
            Workloads::W9(workload) => workload,
            Workloads::W10(workload) => workload,
            Workloads::W11(workload) => workload,
            Workloads::W11Steps(workload) => workload,
            Workloads::W12(workload) => workload,
            Workloads::Startup(workload) => workload,
        }
    }
}

/// Gives a worker the workflows and activities of all workloads.
pub(crate) fn register(worker: Worker) -> Worker {
    let parts = [
        sequence::register,
        parallel::register,
        signals::register,
        timers::register,
        open_runs::register,
        burst::register,
        cold_worker::register,
    ];
    parts.into_iter().fold(worker, |worker, register| register(worker))
}

/// What goes in and comes out: about 100 bytes of JSON, of which workflows read the number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many steps, for instance.
    pub(crate) number: u64,
    padding: String,
}

impl Load {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, padding: "x".repeat(73) }
    }
}

/// A workflow id that nothing else has.
pub(crate) fn fresh_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_about_100_bytes() {
        for number in [1, 1_000] {
            let length = serde_json::to_string(&Load::new(number)).unwrap().len();
            assert!((95..=105).contains(&length), "{length}");
        }
    }
}
