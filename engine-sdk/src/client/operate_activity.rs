//! What operators do to an open activity, of a workflow or standing alone: [`OpenActivity`].

use std::time::Duration;

use engine_core::event::ActivityTimeouts;
use engine_core::ids::RunId;
use engine_core::retry::RetryPolicy;
use engine_proto::convert::{activity_timeouts_to_proto, retry_policy_to_proto};
use engine_proto::v1;

use super::standalone::ActivityHandle;
use super::{Client, ClientError, WorkflowHandle, execution, parse_workflow_id, until_answered};

/// An open activity, by its id. Holds nothing on the server; made by [`WorkflowHandle::activity`] and [`ActivityHandle::open`].
///
/// What its methods do is durable once they return, and is not in the history. All of them are errors if the workflow is closed or has
/// no such open activity, or if the standalone activity has ended.
#[derive(Debug)]
pub struct OpenActivity {
    client: Client,
    /// The workflow that asked, and its run if it is named; `None` of a standalone activity.
    run: Option<(String, Option<RunId>)>,
    activity_id: String,
}

impl<T> WorkflowHandle<T> {
    /// The workflow's open activity with this id, which [`WorkflowHandle::describe`] tells. Asks the server nothing.
    pub fn activity(&self, activity_id: impl Into<String>) -> OpenActivity {
        let run = Some((self.workflow_id.clone(), self.run_id));
        OpenActivity { client: self.client.clone(), run, activity_id: activity_id.into() }
    }
}

impl<T> ActivityHandle<T> {
    /// The id's open run, to be paused, reset or given other options. Asks the server nothing.
    pub fn open(&self) -> OpenActivity {
        OpenActivity { client: self.client.clone(), run: None, activity_id: self.activity_id.clone() }
    }
}

impl OpenActivity {
    fn execution(&self) -> Result<Option<v1::WorkflowExecution>, ClientError> {
        let named =
            |(workflow_id, run_id): &(String, Option<RunId>)| Ok(execution(&parse_workflow_id(workflow_id)?, *run_id));
        self.run.as_ref().map(named).transpose()
    }

    /// Hands out no attempt of it until it is unpaused. A worker that runs one is told: its context is canceled with
    /// [`crate::activity::CancelReason::Paused`]. Its result still counts; if it stops, that attempt does not.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let client = &self.client;
        let request = v1::PauseActivityRequest {
            namespace: client.namespace_text(),
            execution: self.execution()?,
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
        let client = &self.client;
        let request = v1::UnpauseActivityRequest {
            namespace: client.namespace_text(),
            execution: self.execution()?,
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
        let client = &self.client;
        let request = v1::ResetActivityRequest {
            namespace: client.namespace_text(),
            execution: self.execution()?,
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
        let client = &self.client;
        let request = v1::UpdateActivityOptionsRequest {
            namespace: client.namespace_text(),
            execution: self.execution()?,
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
