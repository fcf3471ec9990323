//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{DatabaseArgs, LISTEN_DEFAULT, NodeArgs};
use crate::error::EXIT_CODES;
use crate::namespace::NamespaceArgs;
use crate::output::Format;
use crate::schedule::ScheduleArgs;
use crate::server::SHARDS_DEFAULT;

/// Durable workflows: run a server, and talk to one.
#[derive(Debug, Parser)]
#[command(name = "engine", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// How results and errors are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "ENGINE_OUTPUT")]
    pub(crate) output: Format,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server for development: one process, one file, nothing to set up.
    #[command(after_help = EXIT_CODES)]
    Dev(DevArgs),
    /// Run a server on a database.
    #[command(after_help = EXIT_CODES)]
    Serve(ServeArgs),
    /// Bring a database's schema up to date, or set it up.
    #[command(after_help = EXIT_CODES)]
    Migrate(MigrateArgs),
    /// Start workflows, send to them, look at them.
    #[command(visible_alias = "wf", after_help = EXIT_CODES)]
    Workflow(WorkflowArgs),
    /// Create, change and delete namespaces; how long runs are kept, and by what they can be listed.
    #[command(visible_alias = "ns", after_help = EXIT_CODES)]
    Namespace(NamespaceArgs),
    /// Start workflows at times: create schedules, look at them, change them.
    #[command(after_help = EXIT_CODES)]
    Schedule(ScheduleArgs),
}

/// A server for development.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The SQLite file; it is made if it does not exist. `:memory:` keeps nothing.
    #[arg(long, default_value = "engine.db", env = "ENGINE_DB", value_name = "FILE")]
    pub(crate) db: String,
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = LISTEN_DEFAULT, env = "ENGINE_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    /// What to log: a level, or directives as in "info,engine_server=debug".
    #[arg(long, default_value = "warn", env = "ENGINE_LOG", value_name = "FILTER")]
    pub(crate) log: String,
}

/// A server on a database.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Which database.
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// How it behaves.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Do first what `engine migrate` does.
    #[arg(long)]
    pub(crate) migrate: bool,
    /// With --migrate: shards of a new database.
    #[arg(long, default_value_t = SHARDS_DEFAULT, value_name = "COUNT", requires = "migrate")]
    pub(crate) shards: u32,
}

/// Set up a database.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Which database.
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Shards of a new database: a part of the workflow ids that has one writer at a time. Chosen once. Default: 64.
    #[arg(long, value_name = "COUNT")]
    pub(crate) shards: Option<u32>,
}

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

/// Whom to ask.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionArgs {
    /// The server.
    #[arg(long, global = true, default_value = "http://127.0.0.1:7400", env = "ENGINE_ADDRESS", value_name = "URL")]
    pub(crate) address: String,
    /// The namespace of the workflows.
    #[arg(long, global = true, default_value = "default", env = "ENGINE_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: String,
    /// Recorded with what you ask for, for people. Default: user@host.
    #[arg(long, global = true, env = "ENGINE_IDENTITY", value_name = "TEXT")]
    pub(crate) identity: Option<String>,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a workflow. Once this returns, no crash loses it.
    Start(StartArgs),
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

/// Values for the workflow.
#[derive(Debug, Clone, Args)]
pub(crate) struct InputArgs {
    /// An argument, as JSON. Repeat it for several: --input 42 --input '"text"' --input '{"a":1}'.
    #[arg(long, short, value_name = "JSON")]
    pub(crate) input: Vec<String>,
    /// A file whose content, one JSON document, is the argument; `-` is standard input. Repeat it for several.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) input_file: Vec<String>,
}

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
pub(crate) struct StartArgs {
    /// The name under which workers have the code.
    #[arg(long = "type", short = 't', value_name = "NAME")]
    pub(crate) workflow_type: String,
    /// Where workers look for it.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) queue: String,
    /// Your key for it; only one run of it is open at a time. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// Arguments.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// How long it may take with all its retries, such as 2h or "1day 30m". Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) execution_timeout: Option<Duration>,
    /// How long one run may take. Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) run_timeout: Option<Duration>,
    /// How long one workflow task may take. Default: 10s, at most 2m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) task_timeout: Option<Duration>,
    /// Run it again if it fails, at most so many times in all; 0 is without end. Default: once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_attempts: Option<u32>,
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
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
    /// A fact for people, kept with the run: --memo 'ticket="A-7"'. The value is JSON.
    #[arg(long, value_name = "KEY=JSON")]
    pub(crate) memo: Vec<String>,
    /// What it is listed by: --search-attribute Total=42. Its type is the registered one; words of a list stand between commas.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) search_attribute: Vec<String>,
    /// Wait for it to close and print what it returned, as `result` does.
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: wait at most so long.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
}

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_behind_the_verb() {
        let cli = Cli::try_parse_from(
            "engine workflow describe order-42 --namespace shop --address http://db:1 --output json".split(' '),
        )
        .unwrap();
        assert_eq!(cli.output, Format::Json);
        let Command::Workflow(arguments) = cli.command else { panic!("it is a workflow command") };
        assert_eq!(
            (arguments.connection.namespace.as_str(), arguments.connection.address.as_str()),
            ("shop", "http://db:1")
        );
        let Verb::Describe(run) = arguments.verb else { panic!("it is describe") };
        assert_eq!((run.workflow_id.as_str(), run.run_id), ("order-42", None));
    }

    #[test]
    fn inputs_keep_their_order_and_exclude_files() {
        let cli = Cli::try_parse_from(["engine", "wf", "start", "-t", "t", "-q", "q", "-i", "1", "--input", "\"b\""])
            .unwrap();
        let Command::Workflow(WorkflowArgs { verb: Verb::Start(start), .. }) = cli.command else {
            panic!("it is start")
        };
        assert_eq!(start.input.input, ["1", "\"b\""]);
        let both = ["engine", "wf", "start", "-t", "t", "-q", "q", "-i", "1", "--input-file", "x"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let words = ["engine", "wf", "start", "-t", "t", "-q", "q", "--run-timeout", "1day 30m"];
        let Command::Workflow(WorkflowArgs { verb: Verb::Start(start), .. }) =
            Cli::try_parse_from(words).unwrap().command
        else {
            panic!("it is start")
        };
        assert_eq!(start.run_timeout, Some(Duration::from_secs(24 * 3600 + 1800)));
        assert!(Cli::try_parse_from(["engine", "wf", "result", "x", "--timeout", "soon"]).is_err());
    }

    #[test]
    fn help_lists_the_exit_codes() {
        assert!(Cli::command().render_long_help().to_string().contains("4  no such namespace"));
    }
}
