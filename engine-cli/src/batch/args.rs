//! The command line of `engine batch`.

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{ConnectionArgs, InputArgs};
use crate::options::VersioningArgs;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: BatchVerb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum BatchVerb {
    /// Do the same to every run that a filter means. Once this returns, it goes on by itself, and no crash loses it.
    Start(StartArgs),
    /// Show how far a batch is.
    Describe(IdArgs),
    /// List batches.
    List(ListArgs),
    /// Stop a batch: runs that it has not reached are left alone.
    Stop(StopArgs),
    /// Delete what is known of a batch that is over.
    Delete(IdArgs),
}

/// What is done to each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// Send a message.
    Signal,
    /// Ask it to stop; its code decides how.
    Cancel,
    /// Close it at once; its code does not run again.
    Terminate,
    /// Stop it for a while, with its timers and timeouts.
    Pause,
    /// Let it go on, if it is paused.
    Resume,
    /// Change which workers it goes to.
    Move,
    /// Delete it with its history; for closed runs.
    Delete,
    /// Go on from an earlier point of it, in a new run; for open and closed runs.
    Reset,
}

/// From where each run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Point {
    /// The first workflow task: everything runs again.
    FirstTask,
    /// The last workflow task: of a run that failed, the one in which it did.
    LastTask,
    /// Before the end of the activity that failed or timed out last, which runs again.
    FailedActivity,
}

/// Start a batch.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Which runs: "WorkflowType = 'order' AND StartTime < '2026-11-01'". Of those, the open ones; for delete, the closed ones; for reset, all.
    #[arg(long, short = 'q', value_name = "FILTER")]
    pub(crate) query: String,
    /// What to do to each.
    #[arg(long, value_enum, value_name = "OPERATION")]
    pub(crate) operation: Operation,
    /// With --operation signal: which kind of message.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// With --operation signal: its content.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// With --operation reset: from where to go on.
    #[arg(long, value_enum, value_name = "POINT")]
    pub(crate) from: Option<Point>,
    /// With --operation reset: leave out the signals that came after the point.
    #[arg(long)]
    pub(crate) exclude_signals: bool,
    /// With --operation reset: leave out the updates that were accepted after the point.
    #[arg(long)]
    pub(crate) exclude_updates: bool,
    /// With --operation move: where each run goes.
    #[command(flatten)]
    pub(crate) versioning: VersioningArgs,
    /// With --operation move: as its code says, which takes back what an operator, or its start, said.
    #[arg(long, conflicts_with_all = ["pin", "auto_upgrade"])]
    pub(crate) as_code_says: bool,
    /// Your key for it: a repeat with the same key is the same batch. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// Why, for people; recorded in the runs, but for signal and delete.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reason: String,
    /// At most so many runs a second, at most 1000. Default: 100.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "RUNS")]
    pub(crate) rate: u32,
}

/// Names a batch.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The batch's id.
    pub(crate) batch_id: String,
}

/// List batches.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Most batches to print; 0 is all.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    pub(crate) limit: usize,
}

/// Stop a batch.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The batch's id.
    pub(crate) batch_id: String,
    /// Why, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reason: String,
}
