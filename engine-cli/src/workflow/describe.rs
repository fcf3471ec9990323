//! `engine workflow describe`.

use engine_proto::v1;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{run, time};
use crate::workflow::args::RunArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &RunArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request =
        v1::DescribeWorkflowRequest { namespace: client.namespace.clone(), execution: client::execution(arguments) };
    let response = client.service.describe_workflow(client::request(request)).await;
    let description = response.map_err(|status| client.error(&status))?.into_inner();
    match output.format() {
        Format::Json => output.json(&run::describe_value(&description))?,
        Format::Text => output.line(&run::describe(&description, time::now(), output.width()))?,
    }
    Ok(Exit::Done)
}
