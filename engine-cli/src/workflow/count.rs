//! `engine workflow count`.

use engine_proto::v1;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::Output;
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
    listing::print_count(count, &groups, &text::count(count, "workflow"), output)
}
