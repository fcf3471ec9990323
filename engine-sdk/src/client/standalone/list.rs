//! Lists and counts of standalone activities, and running many of them again.

use std::collections::VecDeque;

use engine_proto::v1;
use futures::{Stream, stream};

use super::ActivitySummary;
use crate::client::{Client, ClientError, until_answered};

/// How far [`Client::run_activities_again`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunAgainProgress {
    /// Activities that had failed or timed out when it began, of those that the filter means.
    pub found: u64,
    /// Those that run again.
    pub run_again: u64,
    /// Those that do not, because somebody else started another run of the id meanwhile.
    pub passed_over: u64,
}

/// Where a list stands.
#[derive(Default)]
struct Position {
    activities: VecDeque<ActivitySummary>,
    page_token: Vec<u8>,
    is_last_page: bool,
}

impl Client {
    /// Lists standalone activities, latest start first unless the filter says otherwise, page by page as the stream is read; all, if the
    /// filter is empty. Shows each acknowledged start; one that starts while the list is read may be missed.
    ///
    /// The filter is that of [`Client::list`] with `ActivityId` and `ActivityType` in the place of `WorkflowId` and `WorkflowType`:
    /// `ActivityType = 'resize' AND Status = 'Failed' ORDER BY CloseTime`.
    pub fn activities<F: Into<String>>(
        &self,
        filter: F,
    ) -> impl Stream<Item = Result<ActivitySummary, ClientError>> + Send + use<F> {
        stream::try_unfold((self.clone(), filter.into(), Position::default()), |(client, query, mut at)| async move {
            // A page may be empty and not the last.
            while at.activities.is_empty() && !at.is_last_page {
                at = client.activities_page(&query, at.page_token, 0).await?;
            }
            Ok(at.activities.pop_front().map(|activity| (activity, (client, query, at))))
        })
    }

    /// The same as a list of at most 1000.
    pub async fn list_activities(&self, filter: impl Into<String>) -> Result<Vec<ActivitySummary>, ClientError> {
        Ok(self.activities_page(&filter.into(), Vec::new(), 1000).await?.activities.into())
    }

    async fn activities_page(&self, query: &str, page_token: Vec<u8>, page_size: u32) -> Result<Position, ClientError> {
        let (namespace, query) = (self.namespace_text(), query.to_owned());
        let request = v1::ListActivitiesRequest { namespace, query, page_size, page_token };
        let service = self.transport().activities();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_activities(request).await }
        });
        let page = answer.await?;
        Ok(Position {
            activities: page.activities.into_iter().map(ActivitySummary::try_from).collect::<Result<_, _>>()?,
            is_last_page: page.next_page_token.is_empty(),
            page_token: page.next_page_token,
        })
    }

    /// How many standalone activities a filter means; all, if it is empty. Counts each acknowledged start.
    pub async fn count_activities(&self, filter: impl Into<String>) -> Result<u64, ClientError> {
        Ok(self.counted_activities(filter.into()).await?.count)
    }

    /// How many standalone activities a filter means, by the column that it groups by: `GROUP BY Status`. Largest first, at most 1000
    /// groups; none if the filter does not group.
    pub async fn count_activities_by_group(
        &self,
        filter: impl Into<String>,
    ) -> Result<Vec<(String, u64)>, ClientError> {
        let groups = self.counted_activities(filter.into()).await?.groups;
        Ok(groups.into_iter().map(|group| (group.value, group.count)).collect())
    }

    async fn counted_activities(&self, query: String) -> Result<v1::CountActivitiesResponse, ClientError> {
        let request = v1::CountActivitiesRequest { namespace: self.namespace_text(), query };
        let service = self.transport().activities();
        until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.count_activities(request).await }
        })
        .await
    }

    /// Runs all standalone activities again that a filter means and that failed or timed out (the dead letters), at most 10,000; each as
    /// [`ActivityHandle::run_again`](super::ActivityHandle::run_again) does. Those that fail again meanwhile are not run a third time.
    ///
    /// A connection that breaks ends it half-way with an error: call it again, none is run twice for one failure.
    pub async fn run_activities_again(&self, filter: impl Into<String>) -> Result<RunAgainProgress, ClientError> {
        self.run_activities_again_with(filter, 10_000, |_| ()).await
    }

    /// The same for at most `limit` (1,000,000 at most), telling `progress` after each step how far it has come. Dropping the future
    /// stops it after the step under way.
    pub async fn run_activities_again_with(
        &self,
        filter: impl Into<String>,
        limit: u32,
        mut progress: impl FnMut(RunAgainProgress),
    ) -> Result<RunAgainProgress, ClientError> {
        let request = v1::RunActivitiesAgainRequest {
            namespace: self.namespace_text(),
            query: filter.into(),
            limit,
            identity: self.identity().to_owned(),
        };
        let service = self.transport().activities();
        let mut messages = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.run_activities_again(request).await }
        })
        .await?;
        let broke = || ClientError::Unavailable { message: "the engine stopped before all was run again".to_owned() };
        loop {
            let message = messages.message().await.map_err(|status| ClientError::from_status(&status))?;
            let message = message.ok_or_else(broke)?;
            let so_far = RunAgainProgress {
                found: message.found,
                run_again: message.run_again,
                passed_over: message.passed_over,
            };
            progress(so_far);
            if message.done {
                return Ok(so_far);
            }
        }
    }
}
