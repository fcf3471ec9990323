//! What `engine workflow start` takes.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::options::WorkflowOptions;

/// What to do when the workflow id has a closed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReusePolicy {
    /// Start a new run.
    AllowDuplicate,
    /// Start a new run only if the last one did not complete.
    AllowDuplicateFailedOnly,
    /// Refuse.
    RejectDuplicate,
}

/// What to do when the workflow id has an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConflictPolicy {
    /// Refuse.
    Fail,
    /// Start nothing and answer with the open run.
    UseExisting,
    /// Terminate the open run and start a new one.
    TerminateExisting,
}

/// Start a workflow.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("waits").args(["wait", "update"]))]
pub(crate) struct StartArgs {
    /// What to start.
    #[command(flatten)]
    pub(crate) workflow: WorkflowOptions,
    /// Your key for it; only one run of it is open at a time. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// Begin a run at each of these times, one after the other: "minute hour day-of-month month day-of-week", with the second before
    /// them if there are six fields, or @hourly, @daily. Until it is canceled, terminated, or its execution timeout ends.
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "start_delay")]
    pub(crate) cron: Option<String>,
    /// With --cron: by which clock it is read, such as Europe/Berlin. Default: UTC.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, requires = "cron")]
    pub(crate) time_zone: String,
    /// What to do when the id has a closed run.
    #[arg(long, value_enum, default_value_t = ReusePolicy::AllowDuplicate, value_name = "POLICY")]
    pub(crate) id_reuse_policy: ReusePolicy,
    /// What to do when the id has an open run.
    #[arg(long, value_enum, default_value_t = ConflictPolicy::Fail, value_name = "POLICY")]
    pub(crate) id_conflict_policy: ConflictPolicy,
    /// Sends this signal along: to the run that is open, or to the one that is started, in one transaction.
    #[arg(long, value_name = "TEXT", conflicts_with = "wait")]
    pub(crate) signal: Option<String>,
    /// The signal's content, as JSON.
    #[arg(long, value_name = "JSON", requires = "signal")]
    pub(crate) signal_input: Option<String>,
    /// Sends this update along, to the run that is open or to the one that is started, and prints its answer.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["wait", "signal"])]
    pub(crate) update: Option<String>,
    /// The update's content, as JSON.
    #[arg(long, value_name = "JSON", requires = "update")]
    pub(crate) update_input: Option<String>,
    /// Your key for the update: a repeat with the same key is the same update. Default: a new UUID.
    #[arg(long, value_name = "TEXT", requires = "update")]
    pub(crate) update_id: Option<String>,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
    /// Wait for it to close and print what it returned, as `result` does.
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait or --update: wait at most so long. Default: without end; for the answer of an update 20s, and at most 60s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "waits")]
    pub(crate) timeout: Option<Duration>,
}
