//! `engine workflow count`.

use engine_proto::v1;
use serde_json::{Value, json};

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::text;
use crate::workflow::args::CountArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: CountArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::CountWorkflowsRequest { namespace: client.namespace.clone(), query: arguments.query };
    let response = client.service.count_workflows(client::request(request)).await;
    let v1::CountWorkflowsResponse { count, groups } = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => {
            let groups: Vec<Value> =
                groups.iter().map(|group| json!({ "value": group.value, "count": group.count })).collect();
            output.json(&json!({ "count": count, "groups": groups }))?;
        }
        Format::Text if groups.is_empty() => output.line(&text::count(count, "workflow"))?,
        Format::Text => {
            for group in groups {
                output.line(&format!("{:>10}  {}", group.count, text::one_line(&group.value, text::SHORT)))?;
            }
            output.line(&format!("{count:>10}  in all"))?;
        }
    }
    Ok(Exit::Done)
}
