//! The command line: what to do, and what several commands take. The arguments of the verbs are with the verbs.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::activity::ActivityArgs;
use crate::batch::BatchArgs;
use crate::config::{DatabaseArgs, LISTEN_DEFAULT, NodeArgs};
use crate::deployment::DeploymentArgs;
use crate::error::EXIT_CODES;
use crate::namespace::NamespaceArgs;
use crate::output::Format;
use crate::schedule::ScheduleArgs;
use crate::server::SHARDS_DEFAULT;
use crate::workflow::WorkflowArgs;

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
    /// Start activities by themselves, without a workflow; look at them, stop them, run them again.
    #[command(after_help = EXIT_CODES)]
    Activity(ActivityArgs),
    /// Create, change and delete namespaces; how long runs are kept, and by what they can be listed.
    #[command(visible_alias = "ns", after_help = EXIT_CODES)]
    Namespace(NamespaceArgs),
    /// Do the same to every run that a filter means: signal, cancel, terminate, pause, resume, move, reset, delete.
    #[command(after_help = EXIT_CODES)]
    Batch(BatchArgs),
    /// Roll out builds of your program: which one new runs go to, a share for another, which ones can go.
    #[command(after_help = EXIT_CODES)]
    Deployment(DeploymentArgs),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;
    use crate::workflow::args::Verb;

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
        assert_eq!(start.workflow.input.input, ["1", "\"b\""]);
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
        assert_eq!(start.workflow.run_timeout, Some(Duration::from_secs(24 * 3600 + 1800)));
        assert!(Cli::try_parse_from(["engine", "wf", "result", "x", "--timeout", "soon"]).is_err());
    }

    #[test]
    fn help_lists_the_exit_codes() {
        assert!(Cli::command().render_long_help().to_string().contains("4  no such namespace"));
    }
}
