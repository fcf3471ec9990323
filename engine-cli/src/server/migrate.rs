//! `engine migrate`: brings a database's schema up to date.

use serde_json::json;

use super::{open_store, start_logging, store_error};
use crate::args::MigrateArgs;
use crate::config::{DatabaseSettings, File, cannot_serve};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};

/// Shards of a new database, unless the command line says otherwise.
pub(crate) const SHARDS_DEFAULT: u32 = 64;

pub(crate) async fn run(arguments: MigrateArgs, output: &mut Output) -> Result<Exit, CliError> {
    let file = File::read(arguments.database.config.as_deref())?;
    let database = DatabaseSettings::resolve(&arguments.database, &file)?;
    start_logging(&database.log)?;
    let store = open_store(&database).await?;
    store.migrate(arguments.shards.unwrap_or(SHARDS_DEFAULT)).await.map_err(store_error)?;
    let shards = store.shard_count().await.map_err(store_error)?;
    let description = store.describe();
    store.close().await;
    if let Some(asked) = arguments.shards.filter(|asked| *asked != shards) {
        return Err(cannot_serve(format!(
            "{description} has {shards} shards, not {asked}: the number is chosen once, when the database is new"
        )));
    }
    match output.format() {
        Format::Json => output.json(&json!({ "database": description, "shards": shards }))?,
        Format::Text => output.line(&format!("{description} is up to date, with {shards} shards"))?,
    }
    Ok(Exit::Done)
}
