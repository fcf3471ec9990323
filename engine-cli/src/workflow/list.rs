//! `engine workflow list`.

use engine_proto::v1;
use serde_json::Value;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::{Format, Output};
use crate::view::{run, time};
use crate::workflow::args::{ListArgs, StatusFilter};

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: ListArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let request = v1::ListWorkflowsRequest {
        namespace: client.namespace.clone(),
        status: arguments.status.map_or(v1::WorkflowStatus::Unspecified, status).into(),
        workflow_type: arguments.workflow_type.unwrap_or_default(),
        workflow_id: arguments.id.unwrap_or_default(),
        page_size: 0,
        page_token: Vec::new(),
        query: arguments.query.unwrap_or_default(),
    };
    let (runs, more) = listing::pages(arguments.limit, async |page_size, page_token| {
        let request = v1::ListWorkflowsRequest { page_size, page_token, ..request.clone() };
        let response = client.service.list_workflows(client::request(request)).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        Ok((page.workflows, page.next_page_token))
    })
    .await?;
    match output.format() {
        Format::Json => output.json(&runs.iter().map(run::summary_value).collect::<Vec<Value>>())?,
        Format::Text if runs.is_empty() => output.line("no workflows")?,
        Format::Text => {
            output.line(&run::list(&runs, time::now(), output.width()))?;
            if more {
                output.line(&format!(
                    "there are more than {}: see --limit, --status, --type, --id, --query",
                    arguments.limit
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn status(filter: StatusFilter) -> v1::WorkflowStatus {
    match filter {
        StatusFilter::Running => v1::WorkflowStatus::Running,
        StatusFilter::Completed => v1::WorkflowStatus::Completed,
        StatusFilter::Failed => v1::WorkflowStatus::Failed,
        StatusFilter::Canceled => v1::WorkflowStatus::Canceled,
        StatusFilter::Terminated => v1::WorkflowStatus::Terminated,
        StatusFilter::TimedOut => v1::WorkflowStatus::TimedOut,
        StatusFilter::ContinuedAsNew => v1::WorkflowStatus::ContinuedAsNew,
    }
}
