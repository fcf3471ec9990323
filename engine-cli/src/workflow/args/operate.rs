//! What operators do to runs.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::RunArgs;
use crate::options::VersioningArgs;

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
    /// Leave out the updates that were accepted after the point.
    #[arg(long)]
    pub(crate) exclude_updates: bool,
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
    /// Leave out the updates that were accepted after the point.
    #[arg(long)]
    pub(crate) exclude_updates: bool,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

/// Change which workers a workflow goes to.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["pin", "auto_upgrade", "as_code_says"]))]
pub(crate) struct MoveArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Where it goes.
    #[command(flatten)]
    pub(crate) versioning: VersioningArgs,
    /// As its code says: takes back what an operator, or its start, said.
    #[arg(long)]
    pub(crate) as_code_says: bool,
    /// Accept a version that no worker has announced, or that does not serve the run's queue: it waits until one does.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// What to do to an open activity.
#[derive(Debug, Subcommand)]
pub(crate) enum ActivityVerb<W: Args> {
    /// Hand out no attempt of it until it is unpaused.
    Pause {
        /// Which activity.
        #[command(flatten)]
        which: W,
        /// Why, for people.
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
    },
    /// Let it go on.
    Unpause {
        /// Which activity.
        #[command(flatten)]
        which: W,
        /// Its attempts so far count no more.
        #[arg(long)]
        reset_attempts: bool,
    },
    /// Let it begin its attempts anew, at once.
    Reset {
        /// Which activity.
        #[command(flatten)]
        which: W,
        /// It stays paused, if it is.
        #[arg(long)]
        keep_paused: bool,
        /// The next attempt does not get the details of the last heartbeat.
        #[arg(long)]
        reset_heartbeat: bool,
    },
    /// Change its timeouts, its retries or its queue, from here on.
    Options {
        /// Which activity.
        #[command(flatten)]
        which: W,
        /// What changes.
        #[command(flatten)]
        options: ActivityOptionArgs,
    },
}

/// Names an open activity.
#[derive(Debug, Args)]
pub(crate) struct ActivityArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Its id, as `describe` shows it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) activity: String,
}

/// What changes of an activity's options.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ActivityOptionArgs {
    /// Where it is offered.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// From scheduling to the end of the last attempt.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) schedule_to_close: Option<Duration>,
    /// From offering an attempt to a worker's start.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) schedule_to_start: Option<Duration>,
    /// From a worker's start to the end of that attempt.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) start_to_close: Option<Duration>,
    /// From one heartbeat to the next.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// Most attempts; 0 is no limit. The pauses between them become those of the default policy.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_attempts: Option<u32>,
}
