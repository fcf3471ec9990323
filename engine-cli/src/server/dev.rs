//! `engine dev`: everything in one process and one file.

use engine_server::store;
use serde_json::json;

use super::{SHARDS_DEFAULT, listen, serve_until_asked_to_stop, start_logging, store_error};
use crate::args::DevArgs;
use crate::config::{File, NodeArgs, NodeSettings};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};

pub(crate) async fn run(arguments: DevArgs, output: &mut Output) -> Result<Exit, CliError> {
    start_logging(&arguments.log)?;
    let node = NodeArgs { listen: Some(arguments.listen), ..NodeArgs::default() };
    let settings = NodeSettings::resolve(&node, &File::default())?;
    let (listener, address) = listen(settings.listen).await?;
    let url = match arguments.db.as_str() {
        ":memory:" | "memory:" => "memory:".to_owned(),
        path => format!("sqlite://{path}"),
    };
    let store = store::open(&url).await.map_err(store_error)?;
    store.migrate(SHARDS_DEFAULT).await.map_err(store_error)?;
    let database = store.describe();
    // One process at a time has the file, so whoever had its shards before is dead, on whatever port it listened.
    let options = settings.node_options("dev".to_owned());
    serve_until_asked_to_stop(store, options, false, listener, || {
        let url = format!("http://{address}");
        match output.format() {
            Format::Json => output.json_line(&json!({ "address": url, "database": database })),
            Format::Text => output.line(&welcome(&url, &database)),
        }
    })
    .await?;
    Ok(Exit::Done)
}

fn welcome(url: &str, database: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    // The command line's own default needs no flag.
    let flag = if url.ends_with(crate::config::LISTEN_DEFAULT) { String::new() } else { format!(" --address {url}") };
    format!(
        "engine {version}, development server

  address    {url}
  namespace  default
  database   {database}

Next: start a worker that connects to this address, then, in another terminal:

  engine workflow start{flag} --type hello --queue hello --id hello-1 --input '\"world\"'
  engine workflow watch{flag} hello-1
  engine workflow list{flag}

Stop with Ctrl-C. What was acknowledged is in the database; start again to go on."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_name_the_address_only_where_it_is_needed() {
        assert!(welcome("http://127.0.0.1:7400", "SQLite file x").contains("\n  engine workflow list\n"));
        let other = welcome("http://127.0.0.1:9", "SQLite file x");
        assert!(other.contains("\n  engine workflow list --address http://127.0.0.1:9\n"), "{other}");
    }
}
