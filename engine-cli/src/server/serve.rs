//! `engine serve`: a server on a database.

use serde_json::json;

use super::{host_name, listen, open_store, serve_until_asked_to_stop, start_logging, store_error};
use crate::args::ServeArgs;
use crate::config::{DatabaseSettings, File, NodeSettings};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};

pub(crate) async fn run(arguments: ServeArgs, output: &mut Output) -> Result<Exit, CliError> {
    let file = File::read(arguments.database.config.as_deref())?;
    let database = DatabaseSettings::resolve(&arguments.database, &file)?;
    let settings = NodeSettings::resolve(&arguments.node, &file)?;
    start_logging(&database.log)?;
    let (listener, address) = listen(settings.listen).await?;
    let store = open_store(&database).await?;
    if arguments.migrate {
        store.migrate(arguments.shards).await.map_err(store_error)?;
    }
    let description = store.describe();
    // The address alone is not enough: servers on several machines may all listen on 0.0.0.0:7400.
    let options = settings.node_options(format!("{}@{address}", host_name()));
    let name = options.name.clone();
    serve_until_asked_to_stop(store, options, settings.allow_unsafe_database, listener, || {
        let url = format!("http://{address}");
        match output.format() {
            Format::Json => output.json_line(&json!({ "address": url, "database": description, "node": name })),
            Format::Text => output.line(&format!(
                "engine {} serves at {url}, on {description}, as node {name}",
                env!("CARGO_PKG_VERSION")
            )),
        }
    })
    .await?;
    Ok(Exit::Done)
}
