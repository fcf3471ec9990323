//! `engine activity`: standalone activities. Each verb reads its input first and connects then: to find a typing error must not need a
//! server.
//!
//! | file | verbs |
//! |---|---|
//! | `args` | what they take |
//! | `start` | start, run |
//! | `look` | list, count, describe, result: what changes nothing |
//! | `send` | cancel, terminate, rerun |

mod args;
mod look;
mod send;
mod start;

pub(crate) use args::ActivityArgs;
use args::ActivityVerb;

use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::workflow::activity as operate;

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: ActivityArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        ActivityVerb::Start(start) => start::start(connection, *start, output).await,
        ActivityVerb::Run(run) => start::run(connection, *run, output).await,
        ActivityVerb::List(list) => look::list(connection, list, output).await,
        ActivityVerb::Count(count) => look::count(connection, count, output).await,
        ActivityVerb::Describe(activity) => look::describe(connection, activity, output).await,
        ActivityVerb::Result(result) => look::result(connection, result, output).await,
        ActivityVerb::Cancel(stop) => send::cancel(connection, stop, output).await,
        ActivityVerb::Terminate(stop) => send::terminate(connection, stop, output).await,
        ActivityVerb::Operate(verb) => operate::run(connection, verb, output).await,
        ActivityVerb::Rerun(rerun) => send::rerun(connection, rerun, output).await,
    }
}
