//! The `engine` command: a server for development, a server, migrations, and what a client asks of it.
//!
//! | module | noun |
//! |---|---|
//! | `args` | the command line |
//! | `options` | what a started workflow is: shared by starts and schedules |
//! | `config` | a server's settings: file, environment, flags |
//! | `server` | `dev`, `serve`, `migrate` |
//! | `workflow` | the client verbs, one file each |
//! | `activity` | the verbs of standalone activities |
//! | `namespace` | the verbs about namespaces |
//! | `schedule` | the verbs of schedules |
//! | `batch` | the verbs of batches |
//! | `deployment` | the verbs about versions of workers |
//! | `client` | the connection to a server, and what its errors mean |
//! | `view` | how values look: tables for people, JSON for programs |
//! | `error` | exit codes and the one sentence that goes with each |
//! | `listing` | what lists, counts and waits have in common |
//! | `output` | standard output, a terminal or a pipe |
//!
//! What is not here: any rule of workflows (`engine-core`), and any part of a running server (`engine-server`).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

mod activity;
mod args;
mod batch;
mod client;
mod config;
mod deployment;
mod error;
mod listing;
mod namespace;
mod options;
mod output;
mod schedule;
mod server;
mod view;
mod workflow;

use args::{Cli, Command};
use error::{CliError, Exit};
use output::Output;

/// Runs the command that `arguments` (the program's name first) ask for, and returns the exit code of the process. Prints results to
/// standard output and errors, one sentence each, to standard error.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Standard error may be closed; there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let format = cli.output;
    match execute(cli) {
        Ok(exit) => exit.into(),
        Err(error) => error.report(format),
    }
}

fn execute(cli: Cli) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start the async runtime: {error}")))?;
    let mut output = Output::stdout(cli.output);
    runtime.block_on(async {
        match cli.command {
            Command::Dev(arguments) => server::dev(arguments, &mut output).await,
            Command::Serve(arguments) => server::serve(arguments, &mut output).await,
            Command::Migrate(arguments) => server::migrate(arguments, &mut output).await,
            Command::Workflow(arguments) => workflow::run(arguments, &mut output).await,
            Command::Activity(arguments) => activity::run(arguments, &mut output).await,
            Command::Namespace(arguments) => namespace::run(arguments, &mut output).await,
            Command::Deployment(arguments) => deployment::run(arguments, &mut output).await,
            Command::Batch(arguments) => batch::run(arguments, &mut output).await,
            Command::Schedule(arguments) => schedule::run(arguments, &mut output).await,
        }
    })
}
