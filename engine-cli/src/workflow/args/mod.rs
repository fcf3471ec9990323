//! The command line of `engine workflow`.
//!
//! | file | verbs |
//! |---|---|
//! | `start` | start |
//! | `look` | list, count, describe, history, published, query, watch, result: what changes nothing |
//! | `send` | signal, update, cancel, terminate |
//! | `operate` | pause, resume, reset, repair, move, delete, activity |

use clap::{Args, Subcommand};

use crate::args::ConnectionArgs;

mod look;
mod operate;
mod send;
mod start;

pub(crate) use look::{
    CountArgs, HistoryArgs, ListArgs, PublishedArgs, QueryArgs, ResultArgs, StatusFilter, TimeStyle, WatchArgs,
};
pub(crate) use operate::{ActivityArgs, ActivityOptionArgs, ActivityVerb, MoveArgs, PauseArgs, RepairArgs, ResetArgs};
pub(crate) use send::{CancelArgs, SignalArgs, TerminateArgs, UpdateArgs, UpdateWait};
pub(crate) use start::{ConflictPolicy, ReusePolicy, StartArgs};

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct WorkflowArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a workflow. Once this returns, no crash loses it.
    Start(Box<StartArgs>),
    /// List runs, latest start first.
    List(ListArgs),
    /// Count workflows.
    Count(CountArgs),
    /// Show where a run stands, and what it waits for.
    Describe(RunArgs),
    /// Show what happened in a run.
    History(HistoryArgs),
    /// Print what a run has published. No worker has to run.
    Published(PublishedArgs),
    /// Ask a run's code a question and print its answer. A worker has to run; the run may be closed.
    Query(QueryArgs),
    /// Print what happens in a run until it closes.
    Watch(WatchArgs),
    /// Send a message to a running workflow.
    Signal(SignalArgs),
    /// Send a message to a running workflow and print what it answers.
    Update(UpdateArgs),
    /// Stop a running workflow for a while, with its timers and timeouts.
    Pause(PauseArgs),
    /// Let a paused workflow go on, with what was left of its timers and timeouts.
    Resume(PauseArgs),
    /// Pause, unpause, reset an open activity, or change its options.
    Activity {
        /// What to do.
        #[command(subcommand)]
        verb: ActivityVerb<ActivityArgs>,
    },
    /// Go on from an earlier point of a run, in a new run.
    Reset(ResetArgs),
    /// Go on from a failed activity of a run, in a new run: it runs again, or is given a result.
    Repair(RepairArgs),
    /// Change which workers a running workflow goes to: those of a build, those that new runs go to, or as its code says.
    Move(MoveArgs),
    /// Delete a closed run and its history for good.
    Delete(RunArgs),
    /// Ask a running workflow to stop; its code decides how.
    Cancel(CancelArgs),
    /// Close a running workflow at once; its code does not run again.
    Terminate(TerminateArgs),
    /// Wait for a workflow to close and print what it returned.
    Result(ResultArgs),
}

/// Names a run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// The workflow id.
    pub(crate) workflow_id: String,
    /// One run of it. Default: the open run, else the latest.
    #[arg(long, value_name = "UUID")]
    pub(crate) run_id: Option<String>,
}
