//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::workloads::Workloads;

#[derive(Debug, Parser)]
#[command(about = "Measures the engine under load", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure one workload.
    Run(Box<Run>),
    /// Measure all workloads, shortly, and print them beside what other engines reached.
    All(AllOptions),
    /// Start a throwaway Postgres cluster as `run` does, print its URL, stop it when standard input closes.
    Postgres,
    /// Only serve: for `run --address` under a profiler. Prints its address.
    Server(ServerOptions),
    /// Only work: for `run --address --worker-pid` under a profiler.
    Worker(WorkerOptions),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(subcommand)]
    pub(crate) workload: Workloads,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What all workloads have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// The store: postgres://…, sqlite://file or memory:. Without it a throwaway one of the kind that --store names.
    #[arg(long, global = true, env = "ENGINE_BENCH_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The kind of throwaway store. Postgres: shared_buffers=1GB, max_wal_size=1GB, fsync on, its WAL written once before.
    #[arg(long, global = true, value_enum, default_value_t = StoreKind::Postgres)]
    pub(crate) store: StoreKind,
    /// How many calls are under way at a time. Default: the workload's own.
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: Option<u32>,
    /// How long to measure.
    #[arg(long, global = true, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Measure so many calls, however long they take, in place of --duration.
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long to do the same before measuring.
    #[arg(long, global = true, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// Begin so many calls a second, whether or not earlier ones have ended, in place of keeping --in-flight under way. Latency
    /// counts from the instant at which a call was due.
    #[arg(long, global = true, value_name = "PER_SECOND", conflicts_with_all = ["in_flight", "count"], value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Measure so many times and give the median of each figure; errors are added up.
    #[arg(long, global = true, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) repeat: u32,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use the server that listens there instead of starting one: http://127.0.0.1:7400. Give --database-url as well to have the
    /// database's counts.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) address: Option<String>,
    /// Process id of the server at --address, for its CPU and memory.
    #[arg(long, global = true, value_name = "PID", requires = "address")]
    pub(crate) server_pid: Option<u32>,
    /// Process id of a running `engine-bench worker`, instead of starting one.
    #[arg(long, global = true, value_name = "PID", requires = "address")]
    pub(crate) worker_pid: Option<u32>,
    /// How many connections the client spreads its calls over.
    #[arg(long, global = true, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: u16,
    /// How many writers the started server has. Default: the server's own.
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) lanes: Option<u16>,
    /// How long an idle run stays in the started server's memory. Default: the server's own.
    #[arg(long, global = true, value_parser = humantime::parse_duration)]
    pub(crate) park_after: Option<Duration>,
    /// How long the activities of a lost worker wait for it. Default: the server's own.
    #[arg(long, global = true, value_parser = humantime::parse_duration)]
    pub(crate) activity_grace: Option<Duration>,
}

impl Settings {
    /// How many calls are to be under way, `default` unless told otherwise.
    pub(crate) fn in_flight_or(&self, default: u32) -> u32 {
        self.in_flight.unwrap_or(default)
    }
}

/// A kind of throwaway store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Postgres,
    Sqlite,
    Memory,
}

impl StoreKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            StoreKind::Postgres => "Postgres",
            StoreKind::Sqlite => "SQLite",
            StoreKind::Memory => "memory",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AllOptions {
    /// On which kind of throwaway store.
    #[arg(long, value_enum, default_value_t = StoreKind::Postgres, conflicts_with = "check")]
    pub(crate) store: StoreKind,
    /// Only these workloads: w1,w4.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOADS")]
    pub(crate) only: Vec<String>,
    /// How long to measure each.
    #[arg(long, default_value = "6s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// How long to warm up each.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// Measure each so many times and give medians.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) repeat: u32,
    /// Print each measurement's JSON line as well, on standard error.
    #[arg(long)]
    pub(crate) lines: bool,
    /// Run each small, on every kind of store, to see that it works; how fast says nothing. Uses the Postgres cluster that
    /// ENGINE_TEST_DATABASE_URL names, if it does.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    /// The store: postgres://…, sqlite://file or memory:.
    #[arg(long, env = "ENGINE_BENCH_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) lanes: Option<u16>,
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) park_after: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerOptions {
    /// The server.
    #[arg(long)]
    pub(crate) address: String,
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) activity_grace: Option<Duration>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1_000_000.0 => Ok(rate),
        _ => Err("a rate is a number of calls a second above 0, at most 1,000,000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Run, String> {
        let parsed = Arguments::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        match parsed.command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_settings_follow_the_workload() {
        let run = parse("engine-bench run w2 --steps 3 --in-flight 7 --duration 15s --warm-up 500ms --json").unwrap();
        assert_eq!(run.workload.as_workload().name(), "w2");
        assert_eq!(run.settings.in_flight, Some(7));
        assert_eq!(run.settings.duration, Duration::from_secs(15));
        assert_eq!(run.settings.warm_up, Duration::from_millis(500));
        assert!(run.settings.json);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_the_reason() {
        let refused = |words: &str| parse(words).unwrap_err();
        assert!(refused("engine-bench run w1 --rate 0").contains("a rate is a number of calls a second above 0"));
        assert!(refused("engine-bench run w1 --rate 10 --in-flight 3").contains("cannot be used with"));
        assert!(refused("engine-bench run w1 --in-flight 0").contains("0 is not in 1..=100000"));
        assert!(refused("engine-bench run w1 --server-pid 3").contains("--address <URL>"));
        assert!(refused("engine-bench run w1 --duration soon").contains("'soon'"));
        assert!(refused("engine-bench run w99").contains("w99"));
    }
}
