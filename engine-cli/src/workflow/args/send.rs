//! What the verbs take that send something to a run.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::RunArgs;
use crate::args::InputArgs;

/// Send a message.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which kind of message.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: String,
    /// Its content.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

/// Send a message that is answered.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which kind of message.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: String,
    /// Its content.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Your key for it: a repeat with the same key is the same update, and prints its answer. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) update_id: Option<String>,
    /// What to wait for.
    #[arg(long, value_enum, default_value_t = UpdateWait::Completed)]
    pub(crate) wait: UpdateWait,
    /// Wait at most so long, at most 60s. The update goes on.
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// What to wait for after an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpdateWait {
    /// The workflow took it on, which is durable.
    Accepted,
    /// The workflow answered it.
    Completed,
}

/// Ask to stop.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Close at once.
#[derive(Debug, Args)]
pub(crate) struct TerminateArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}
