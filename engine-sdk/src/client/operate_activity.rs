//! What operators do to an open activity of a workflow: [`OpenActivity`].

use std::time::Duration;

use engine_core::event::ActivityTimeouts;
use engine_core::retry::RetryPolicy;
use engine_proto::convert::{activity_timeouts_to_proto, retry_policy_to_proto};
use engine_proto::v1;

use super::{ClientError, WorkflowHandle, until_answered};

/// An open activity of a workflow, by its id. Holds nothing on the server; made by [`WorkflowHandle::activity`].
///
/// What its methods do is durable once they return, and is not in the history. All of them are errors if the workflow is closed or has
/// no such open activity.
#[derive(Debug)]
pub struct OpenActivity<'a, T> {
    handle: &'a WorkflowHandle<T>,
    activity_id: String,
}

impl<T> WorkflowHandle<T> {
    /// The workflow's open activity with this id, which [`WorkflowHandle::describe`] tells. Asks the server nothing.
    pub fn activity(&self, activity_id: impl Into<String>) -> OpenActivity<'_, T> {
        OpenActivity { handle: self, activity_id: activity_id.into() }
    }
}

impl<T> OpenActivity<'_, T> {
    /// Hands out no attempt of it until it is unpaused. A worker that runs one is told: its context is canceled with
    /// [`crate::activity::CancelReason::Paused`]. Its result still counts; if it stops, that attempt does not.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let client = &self.handle.client;
        let request = v1::PauseActivityRequest {
            namespace: client.namespace_text(),
            execution: Some(self.handle.execution()?),
            activity_id: self.activity_id.clone(),
            reason: reason.into(),
            identity: client.identity().to_owned(),
        };
        let service = client.transport().operations();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.pause_activity(request).await }
        });
        answer.await.map(|v1::OperateActivityResponse { .. }| ())
    }

    /// Lets it go on, if it is paused.
    pub async fn unpause(&self) -> Result<(), ClientError> {
        self.let_go_on(false).await
    }

    /// Lets it go on, if it is paused, as if it had had no attempts: those so far count no more.
    pub async fn unpause_and_reset(&self) -> Result<(), ClientError> {
        self.let_go_on(true).await
    }

    async fn let_go_on(&self, reset_attempts: bool) -> Result<(), ClientError> {
        let client = &self.handle.client;
        let request = v1::UnpauseActivityRequest {
            namespace: client.namespace_text(),
            execution: Some(self.handle.execution()?),
            activity_id: self.activity_id.clone(),
            reset_attempts,
        };
        let service = client.transport().operations();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.unpause_activity(request).await }
        });
        answer.await.map(|v1::OperateActivityResponse { .. }| ())
    }

    /// Lets it begin its attempts anew: those so far count no more, one that waits for its next attempt gets it at once, and the
    /// details of its last heartbeat are forgotten. One that is paused is not any more. The number of its attempts goes on.
    pub async fn reset(&self) -> Result<(), ClientError> {
        let client = &self.handle.client;
        let request = v1::ResetActivityRequest {
            namespace: client.namespace_text(),
            execution: Some(self.handle.execution()?),
            activity_id: self.activity_id.clone(),
            keep_paused: false,
            reset_heartbeat: true,
        };
        let service = client.transport().operations();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.reset_activity(request).await }
        });
        answer.await.map(|v1::OperateActivityResponse { .. }| ())
    }

    /// Gives it another start-to-close timeout, from here on.
    pub async fn set_start_to_close(&self, timeout: Duration) -> Result<(), ClientError> {
        let timeouts = ActivityTimeouts { start_to_close: Some(timeout), ..ActivityTimeouts::default() };
        self.change("", Some(timeouts), None).await
    }

    /// Gives it other timeouts, from here on: each counts from where it counted before. One that is `None` stays.
    pub async fn set_timeouts(&self, timeouts: ActivityTimeouts) -> Result<(), ClientError> {
        self.change("", Some(timeouts), None).await
    }

    /// Gives it another retry policy.
    pub async fn set_retry_policy(&self, policy: RetryPolicy) -> Result<(), ClientError> {
        self.change("", None, Some(policy)).await
    }

    /// Offers its attempts in another queue from here on; one that no worker has taken yet moves there.
    pub async fn move_to_queue(&self, task_queue: impl AsRef<str> + Send) -> Result<(), ClientError> {
        self.change(task_queue.as_ref(), None, None).await
    }

    async fn change(
        &self,
        task_queue: &str,
        timeouts: Option<ActivityTimeouts>,
        policy: Option<RetryPolicy>,
    ) -> Result<(), ClientError> {
        let client = &self.handle.client;
        let request = v1::UpdateActivityOptionsRequest {
            namespace: client.namespace_text(),
            execution: Some(self.handle.execution()?),
            activity_id: self.activity_id.clone(),
            task_queue: task_queue.to_owned(),
            timeouts: timeouts.as_ref().map(activity_timeouts_to_proto),
            retry_policy: policy.as_ref().map(retry_policy_to_proto),
        };
        let service = client.transport().operations();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.update_activity_options(request).await }
        });
        answer.await.map(|v1::OperateActivityResponse { .. }| ())
    }
}
