//! Reads what a server knows, over gRPC and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use engine_proto::v1;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use prost::Message;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};

use super::{Run, Start};

/// All runs of a namespace with their histories: those that the list has, and those that were acknowledged.
pub async fn runs<T>(
    client: &mut WorkflowServiceClient<T>,
    namespace: &str,
    starts: &[Start],
) -> anyhow::Result<Vec<Run>>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let mut listed = BTreeMap::new();
    for summary in list(client, namespace).await? {
        ensure!(
            listed.insert(summary.run_id.clone(), summary.clone()).is_none(),
            "the list has run {} twice",
            summary.run_id
        );
    }
    let mut names: BTreeSet<(String, String)> =
        listed.values().map(|summary| (summary.workflow_id.clone(), summary.run_id.clone())).collect();
    names.extend(starts.iter().map(|start| (start.workflow_id.clone(), start.run_id.clone())));
    let mut runs = Vec::with_capacity(names.len());
    for (workflow_id, run_id) in names {
        let events = history(client, namespace, &workflow_id, &run_id).await?;
        runs.push(Run { listed: listed.remove(&run_id), workflow_id, run_id, events });
    }
    Ok(runs)
}

/// All that the list has, page by page.
pub async fn list<T>(client: &mut WorkflowServiceClient<T>, namespace: &str) -> anyhow::Result<Vec<v1::WorkflowSummary>>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let mut request =
        v1::ListWorkflowsRequest { namespace: namespace.to_owned(), page_size: 100, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = client.list_workflows(request.clone()).await.context("list workflows")?.into_inner();
        all.extend(page.workflows);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

/// A whole history, page by page. Empty if the server does not have the run: that is for the rules to judge.
pub async fn history<T>(
    client: &mut WorkflowServiceClient<T>,
    namespace: &str,
    workflow_id: &str,
    run_id: &str,
) -> anyhow::Result<Vec<v1::HistoryEvent>>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let execution = v1::WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() };
    let mut request = v1::GetWorkflowHistoryRequest {
        namespace: namespace.to_owned(),
        execution: Some(execution),
        // Small, so that paging is exercised.
        page_size: 20,
        ..Default::default()
    };
    let mut events = Vec::new();
    loop {
        let page = match client.get_workflow_history(request.clone()).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(events),
            Err(status) => return Err(status).with_context(|| format!("read the history of {workflow_id}")),
        };
        for bytes in page.history.unwrap_or_default().events {
            events.push(v1::HistoryEvent::decode(bytes).context("decode an event")?);
        }
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.page_token = page.next_page_token;
    }
}
