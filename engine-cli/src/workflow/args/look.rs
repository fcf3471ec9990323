//! What the verbs take that change nothing.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::RunArgs;
use crate::args::InputArgs;

/// A status to list by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFilter {
    /// Open runs.
    Running,
    /// Runs that returned a value.
    Completed,
    /// Runs that returned an error.
    Failed,
    /// Runs that accepted a request to cancel.
    Canceled,
    /// Runs that were stopped unasked.
    Terminated,
    /// Runs that took too long.
    TimedOut,
    /// Runs whose code went on in a new run.
    ContinuedAsNew,
}

/// List runs.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only runs with this status.
    #[arg(long, value_enum)]
    pub(crate) status: Option<StatusFilter>,
    /// Only runs of this type.
    #[arg(long = "type", short = 't', value_name = "NAME")]
    pub(crate) workflow_type: Option<String>,
    /// Only runs of this workflow id.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// Which runs, in which order: "WorkflowType = 'order' AND Status = 'Running' ORDER BY CloseTime DESC".
    #[arg(long, short = 'q', value_name = "FILTER", conflicts_with_all = ["status", "workflow_type", "id"])]
    pub(crate) query: Option<String>,
    /// Most runs to print; 0 is all.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT")]
    pub(crate) limit: usize,
}

/// Count workflows.
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    /// Which runs: "StartTime > '2026-11-01' GROUP BY Status". Default: all.
    #[arg(long, short = 'q', value_name = "FILTER", default_value = "")]
    pub(crate) query: String,
}

/// How instants are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeStyle {
    /// Since the start of the run.
    Relative,
    /// Date and time, UTC.
    Absolute,
}

/// Show what happened.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How times are printed.
    #[arg(long, value_enum, default_value_t = TimeStyle::Relative)]
    pub(crate) time: TimeStyle,
    /// Latest events first.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Most events to print; 0 is all.
    #[arg(long, short = 'n', default_value_t = 0, value_name = "COUNT")]
    pub(crate) limit: usize,
    /// Print values and messages whole, however long.
    #[arg(long)]
    pub(crate) full: bool,
}

/// Print what a run has published.
#[derive(Debug, Args)]
pub(crate) struct PublishedArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Only what it shows under this name: the value alone is printed.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// As it was when this event was the last. Default: as it is.
    #[arg(long, value_name = "EVENT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
}

/// Ask a run's code.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which question.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: String,
    /// Its arguments.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Wait at most so long for the answer, at most 60s.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Print what happens.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// When it is continued by another run (a retry, as new, or by its cron), go on with that one.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Begin after this event.
    #[arg(long, default_value_t = 0, value_name = "EVENT")]
    pub(crate) after: u64,
    /// Print values and messages whole, however long.
    #[arg(long)]
    pub(crate) full: bool,
    /// How long to try to reach a server that was lost.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
}

/// Wait for the outcome.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Wait at most so long; 0s answers at once. Default: without end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long to try to reach a server that was lost.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
}
