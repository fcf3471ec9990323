//! What operators do to runs.

use clap::Args;

use super::RunArgs;

/// Stop for a while, or go on.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Go on from an earlier point.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("point").required(true))]
pub(crate) struct ResetArgs {
    /// Which run. It must be the latest of its workflow id.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The start or the end of the workflow task that is to run again.
    #[arg(long, group = "point", value_name = "EVENT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) event: Option<u64>,
    /// Run everything again.
    #[arg(long, group = "point")]
    pub(crate) first_task: bool,
    /// Run the last workflow task again: of a run that failed, the one in which it did.
    #[arg(long, group = "point")]
    pub(crate) last_task: bool,
    /// Leave out the signals that came after the point.
    #[arg(long)]
    pub(crate) exclude_signals: bool,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

/// Go on from a failed activity.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Which run. It must be the latest of its workflow id.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which activity, by its id. Default: the one that failed last.
    #[arg(long, value_name = "TEXT")]
    pub(crate) activity: Option<String>,
    /// What it is to have returned, as JSON. Default: it runs again.
    #[arg(long, value_name = "JSON")]
    pub(crate) result: Option<String>,
    /// Leave out the signals that came after the point.
    #[arg(long)]
    pub(crate) exclude_signals: bool,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}
