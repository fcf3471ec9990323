//! The client verbs, one file each. Each reads its input first and connects then: to find a typing error must not need a server.

pub(crate) mod activity;
pub(crate) mod args;
mod cancel;
mod count;
mod delete;
mod describe;
mod history;
mod list;
mod move_to;
pub(crate) mod patience;
mod pause;
mod published;
mod query;
mod reset;
mod result;
mod signal;
mod start;
mod terminate;
mod update;
mod watch;

use args::Verb;
pub(crate) use args::WorkflowArgs;
pub(crate) use start::repeatable;

use crate::error::{CliError, Exit};
use crate::output::Output;

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: WorkflowArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        Verb::Start(start) => start::run(connection, *start, output).await,
        Verb::List(list) => list::run(connection, list, output).await,
        Verb::Count(count) => count::run(connection, count, output).await,
        Verb::Describe(run) => describe::run(connection, &run, output).await,
        Verb::History(history) => history::run(connection, &history, output).await,
        Verb::Query(query) => query::run(connection, &query, output).await,
        Verb::Published(published) => published::run(connection, &published, output).await,
        Verb::Watch(watch) => watch::run(connection, &watch, output).await,
        Verb::Signal(signal) => signal::run(connection, signal, output).await,
        Verb::Update(update) => update::run(connection, update, output).await,
        Verb::Delete(run) => delete::run(connection, run, output).await,
        Verb::Activity { verb } => activity::run(connection, verb, output).await,
        Verb::Reset(arguments) => reset::reset(connection, arguments, output).await,
        Verb::Repair(arguments) => reset::repair(connection, arguments, output).await,
        Verb::Pause(pause) => pause::pause(connection, pause, output).await,
        Verb::Resume(pause) => pause::resume(connection, pause, output).await,
        Verb::Move(arguments) => move_to::run(connection, arguments, output).await,
        Verb::Cancel(cancel) => cancel::run(connection, cancel, output).await,
        Verb::Terminate(terminate) => terminate::run(connection, terminate, output).await,
        Verb::Result(result) => result::run(connection, &result, output).await,
    }
}

#[cfg(test)]
pub(crate) use history::tests::history as sample_history;
