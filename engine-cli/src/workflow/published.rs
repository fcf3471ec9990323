//! `engine workflow published`.

use engine_proto::{convert, v1};

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{payload, run, time};
use crate::workflow::args::PublishedArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &PublishedArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let name = arguments.name.clone().unwrap_or_default();
    if arguments.name.is_some() && name.is_empty() {
        return Err(CliError::usage("--name must not be empty; leave it out for all names"));
    }
    let mut client = Client::connect(connection).await?;
    let request = v1::GetPublishedRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        name: name.clone(),
        at_event_id: arguments.at.unwrap_or_default(),
    };
    let response = client.service.get_published(client::request(request)).await;
    let published = response.map_err(|status| client.error(&status))?.into_inner();
    let workflow_id = &arguments.run.workflow_id;
    match (output.format(), published.values.first()) {
        (Format::Json, _) => output.json(&run::published_value(&published.values))?,
        (Format::Text, None) if arguments.name.is_none() => {
            eprintln!("workflow {workflow_id} has published nothing");
        }
        (Format::Text, None) => {
            let nothing = format!("workflow {workflow_id} has published nothing under the name {name:?}");
            return Err(CliError::new(Exit::NotFound, nothing));
        }
        (Format::Text, Some(value)) if arguments.name.is_some() => {
            let value = convert::payload_from_proto(value.value.clone().unwrap_or_default());
            output.line(&payload::words(&value, usize::MAX))?;
        }
        (Format::Text, Some(_)) => {
            output.line(&run::published(&published.values, time::now(), output.width()))?;
        }
    }
    Ok(Exit::Done)
}
