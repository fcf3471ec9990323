//! Lists of runs.

use std::collections::VecDeque;

use engine_core::event::CloseStatus;
use engine_proto::convert::close_status_to_proto;
use engine_proto::v1;
use futures::Stream;
use futures::stream;

use super::{Client, ClientError, RunSummary, until_answered};

/// Which runs to list. The default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    status: Option<Option<CloseStatus>>,
    workflow_type: String,
    workflow_id: String,
    page_size: u32,
}

impl ListFilter {
    /// All runs.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only runs that are open.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.status = Some(None);
        self
    }

    /// Only runs that ended in this way.
    #[must_use]
    pub fn closed(mut self, status: CloseStatus) -> Self {
        self.status = Some(Some(status));
        self
    }

    /// Only runs of this type.
    #[must_use]
    pub fn workflow_type(mut self, workflow_type: impl Into<String>) -> Self {
        self.workflow_type = workflow_type.into();
        self
    }

    /// Only runs of this workflow id.
    #[must_use]
    pub fn workflow_id(mut self, workflow_id: impl Into<String>) -> Self {
        self.workflow_id = workflow_id.into();
        self
    }

    /// How many runs one request asks for: 100 unless set here, at most 1000. The list is the same.
    #[must_use]
    pub fn page_size(mut self, runs: u32) -> Self {
        self.page_size = runs;
        self
    }
}

/// Where a list stands.
struct Position {
    runs: VecDeque<RunSummary>,
    page_token: Vec<u8>,
    is_last_page: bool,
}

impl Client {
    /// Lists runs, latest start first, page by page as the stream is read. Shows each acknowledged start; a run that starts
    /// while the list is read may be missed.
    pub fn list(&self, filter: ListFilter) -> impl Stream<Item = Result<RunSummary, ClientError>> + Send + use<> {
        let client = self.clone();
        let begin = Position { runs: VecDeque::new(), page_token: Vec::new(), is_last_page: false };
        stream::try_unfold(begin, move |mut position| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                // A page may be empty and not the last.
                while position.runs.is_empty() && !position.is_last_page {
                    position = client.list_page(&filter, position.page_token).await?;
                }
                Ok(position.runs.pop_front().map(|run| (run, position)))
            }
        })
    }

    async fn list_page(&self, filter: &ListFilter, page_token: Vec<u8>) -> Result<Position, ClientError> {
        let status = filter.status.map_or(v1::WorkflowStatus::Unspecified, close_status_to_proto);
        let request = v1::ListWorkflowsRequest {
            namespace: self.namespace_text(),
            status: status.into(),
            workflow_type: filter.workflow_type.clone(),
            workflow_id: filter.workflow_id.clone(),
            page_size: filter.page_size,
            page_token,
        };
        let service = self.transport().workflows();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_workflows(request).await }
        });
        let v1::ListWorkflowsResponse { workflows, next_page_token } = answer.await?;
        let runs = workflows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Position { runs, is_last_page: next_page_token.is_empty(), page_token: next_page_token })
    }
}
