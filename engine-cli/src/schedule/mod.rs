//! `engine schedule`: the verbs. Each reads its input first and connects then: to find a typing error must not need a server.

mod args;
mod read;
mod write;

pub(crate) use args::ScheduleArgs;
use args::ScheduleVerb;

use crate::error::{CliError, Exit};
use crate::output::Output;

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: ScheduleArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        ScheduleVerb::Create(create) => write::create(connection, *create, output).await,
        ScheduleVerb::Describe(id) => read::describe(connection, id, output).await,
        ScheduleVerb::List(list) => read::list(connection, &list, output).await,
        ScheduleVerb::Times(times) => read::times(connection, times, output).await,
        ScheduleVerb::Update(update) => write::update(connection, *update, output).await,
        ScheduleVerb::Pause(note) => write::pause(connection, note, output).await,
        ScheduleVerb::Unpause(note) => write::unpause(connection, note, output).await,
        ScheduleVerb::Trigger(trigger) => write::trigger(connection, trigger, output).await,
        ScheduleVerb::Backfill(backfill) => write::backfill(connection, backfill, output).await,
        ScheduleVerb::Delete(id) => write::delete(connection, id, output).await,
    }
}
