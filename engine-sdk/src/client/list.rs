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
    query: String,
    page_size: u32,
}

impl ListFilter {
    /// All runs.
    pub fn all() -> Self {
        Self::default()
    }

    /// Runs that a filter means, in its order: `WorkflowType = 'order' AND Status = 'Running' ORDER BY CloseTime DESC`. Columns are
    /// `WorkflowId`, `WorkflowType`, `RunId`, `TaskQueue`, `Status`, `StartTime`, `CloseTime` and `HistoryLength`, and
    /// the search attributes that are registered in the namespace; `docs/filters.md` has the whole language. A `&str` is such a filter too: `client.list("Status = 'Failed'")`.
    ///
    /// It stands alone: the engine refuses it together with the other filters here.
    pub fn query(filter: impl Into<String>) -> Self {
        Self { query: filter.into(), ..Self::default() }
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

    /// Asks for as many runs at once as a request may.
    #[must_use]
    pub(crate) fn with_large_pages(self) -> Self {
        self.page_size(1000)
    }

    /// How many runs one request asks for: 100 unless set here, at most 1000. The list is the same.
    #[must_use]
    pub fn page_size(mut self, runs: u32) -> Self {
        self.page_size = runs;
        self
    }
}

impl From<&str> for ListFilter {
    fn from(filter: &str) -> Self {
        Self::query(filter)
    }
}

impl From<String> for ListFilter {
    fn from(filter: String) -> Self {
        Self::query(filter)
    }
}

/// Where a list stands.
struct Position {
    runs: VecDeque<RunSummary>,
    page_token: Vec<u8>,
    is_last_page: bool,
}

impl Client {
    /// Lists runs, latest start first unless the filter says otherwise, page by page as the stream is read. Shows each acknowledged start; a run that starts
    /// while the list is read may be missed.
    pub fn list<F: Into<ListFilter>>(
        &self,
        filter: F,
    ) -> impl Stream<Item = Result<RunSummary, ClientError>> + Send + use<F> {
        let (client, filter) = (self.clone(), filter.into());
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

    /// How many runs a filter means; all, if it is empty. Counts each acknowledged start.
    pub async fn count(&self, filter: impl Into<String>) -> Result<u64, ClientError> {
        Ok(self.counted(filter.into()).await?.count)
    }

    /// How many runs a filter means, by the column that it groups by: `Status = 'Running' GROUP BY WorkflowType`. Largest first, at
    /// most 1000 groups; none if the filter does not group.
    pub async fn count_by_group(&self, filter: impl Into<String>) -> Result<Vec<(String, u64)>, ClientError> {
        let groups = self.counted(filter.into()).await?.groups;
        Ok(groups.into_iter().map(|group| (group.value, group.count)).collect())
    }

    async fn counted(&self, query: String) -> Result<v1::CountWorkflowsResponse, ClientError> {
        let request = v1::CountWorkflowsRequest { namespace: self.namespace_text(), query };
        let service = self.transport().workflows();
        until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.count_workflows(request).await }
        })
        .await
    }

    async fn list_page(&self, filter: &ListFilter, page_token: Vec<u8>) -> Result<Position, ClientError> {
        let status = filter.status.map_or(v1::WorkflowStatus::Unspecified, close_status_to_proto);
        let request = v1::ListWorkflowsRequest {
            namespace: self.namespace_text(),
            status: status.into(),
            workflow_type: filter.workflow_type.clone(),
            workflow_id: filter.workflow_id.clone(),
            page_size: filter.page_size,
            query: filter.query.clone(),
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
