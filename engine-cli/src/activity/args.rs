//! The command line of `engine activity`.

use std::time::Duration;

use clap::{Args, Subcommand};
use engine_proto::v1;

use crate::args::{ConnectionArgs, InputArgs};
use crate::workflow::activity::Which;
use crate::workflow::args::{ActivityVerb as OperateVerb, ConflictPolicy, ReusePolicy};

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct ActivityArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: ActivityVerb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum ActivityVerb {
    /// Start an activity by itself, without a workflow. Once this returns, no crash loses it.
    Start(Box<StartArgs>),
    /// Start an activity, wait for it to end and print what it returned.
    Run(Box<RunArgs>),
    /// List activities, latest start first.
    List(ListArgs),
    /// Count activities.
    Count(CountArgs),
    /// Show where an activity stands, or how it ended.
    Describe(NamedArgs),
    /// Wait for an activity to end and print what it returned.
    Result(ResultArgs),
    /// Ask an activity to stop. One that no worker has ends at once; else its code decides how.
    Cancel(StopArgs),
    /// End an activity at once.
    Terminate(StopArgs),
    /// Run activities once more that have ended: one by its id, or all that a filter means and that failed or timed out.
    Rerun(RerunArgs),
    #[command(flatten)]
    Operate(OperateVerb<OpenArgs>),
}

/// Names an open activity.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpenArgs {
    /// The activity's id.
    pub(crate) activity_id: String,
}

impl Which for OpenArgs {
    fn execution(&self) -> Option<v1::WorkflowExecution> {
        None
    }

    fn activity_id(&self) -> &str {
        &self.activity_id
    }

    fn workflow_id(&self) -> Option<&str> {
        None
    }
}

/// Names an activity.
#[derive(Debug, Clone, Args)]
pub(crate) struct NamedArgs {
    /// The activity's id.
    pub(crate) activity_id: String,
    /// One run of it. Default: the open run, else the latest.
    #[arg(long, value_name = "UUID")]
    pub(crate) run_id: Option<String>,
}

/// Start an activity.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The name under which workers have the code.
    #[arg(long = "type", short = 't', value_name = "NAME")]
    pub(crate) activity_type: String,
    /// Where workers look for it.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) queue: String,
    /// Arguments.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Your key for it; only one run of it is open at a time. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// How long one attempt may take, such as 90s or 2h. Default: 10m, unless --schedule-to-close is given.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) start_to_close: Option<Duration>,
    /// How long it may take with all its attempts. Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) schedule_to_close: Option<Duration>,
    /// How long an attempt may wait for a worker. Default: --schedule-to-close.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) schedule_to_start: Option<Duration>,
    /// How long it may be silent. Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// Most attempts in all; 0 is without end.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) max_attempts: u32,
    /// The pause before the second attempt; each further pause is twice as long. Default: 1s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) retry_interval: Option<Duration>,
    /// No pause is longer. Default: 100 times the first.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) retry_interval_max: Option<Duration>,
    /// The first attempt waits so long.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) start_delay: Option<Duration>,
    /// What to do when the id has a run that has ended.
    #[arg(long, value_enum, default_value_t = ReusePolicy::AllowDuplicate, value_name = "POLICY")]
    pub(crate) id_reuse_policy: ReusePolicy,
    /// What to do when the id has an open run.
    #[arg(long, value_enum, default_value_t = ConflictPolicy::Fail, value_name = "POLICY")]
    pub(crate) id_conflict_policy: ConflictPolicy,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
    /// One line about it, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) summary: String,
    /// More about it, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) details: String,
    /// A fact for people, kept with it: --memo 'ticket="A-7"'. The value is JSON.
    #[arg(long, value_name = "KEY=JSON")]
    pub(crate) memo: Vec<String>,
    /// What it is listed by: --search-attribute Total=42. Its type is the registered one; words of a list stand between commas.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) search_attribute: Vec<String>,
}

/// Start an activity and wait for it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What to start.
    #[command(flatten)]
    pub(crate) start: StartArgs,
    /// Wait at most so long. Default: without end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// List activities.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Which activities, in which order: "ActivityType = 'charge' AND Status = 'Failed' ORDER BY CloseTime DESC". Default: all.
    #[arg(long, short = 'q', value_name = "FILTER", default_value = "")]
    pub(crate) query: String,
    /// Most activities to print; 0 is all.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT")]
    pub(crate) limit: usize,
}

/// Count activities.
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    /// Which activities: "StartTime > '2026-11-01' GROUP BY Status". Default: all.
    #[arg(long, short = 'q', value_name = "FILTER", default_value = "")]
    pub(crate) query: String,
}

/// Wait for an activity.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// Which activity.
    #[command(flatten)]
    pub(crate) activity: NamedArgs,
    /// Wait at most so long; 0 does not wait. Default: without end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Stop an activity.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Which activity.
    #[command(flatten)]
    pub(crate) activity: NamedArgs,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Run activities again.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["activity_id", "query"]))]
pub(crate) struct RerunArgs {
    /// The activity's id. Its latest run must have ended.
    pub(crate) activity_id: Option<String>,
    /// All activities that failed or timed out of those that this filter means; "" is all of them.
    #[arg(long, short = 'q', value_name = "FILTER")]
    pub(crate) query: Option<String>,
    /// With --query: at most so many.
    #[arg(long, short = 'n', default_value_t = 10_000, value_name = "COUNT")]
    pub(crate) limit: u32,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Cli;

    #[test]
    fn rerun_takes_an_id_or_a_filter_and_not_both() {
        let parse = |words: &[&str]| Cli::try_parse_from(["engine", "activity", "rerun"].iter().chain(words)).map(drop);
        assert!(parse(&["a"]).is_ok() && parse(&["--query", ""]).is_ok());
        assert!(parse(&[]).is_err() && parse(&["a", "--query", ""]).is_err());
    }
}
