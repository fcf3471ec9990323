//! What operators do to a workflow from outside, without its code.

use engine_core::ids::{EventId, RunId};
use engine_core::payload::Payload;
use engine_proto::convert::{payload_to_proto, run_id};
use engine_proto::v1;
use serde::Serialize;

use super::{ClientError, WorkflowHandle, execution, new_request_id, parse_workflow_id, until_answered};
use crate::data;

impl<T> WorkflowHandle<T> {
    /// Stops the workflow for a while, with its time. From here on nothing of it is handed out to workers; what they have in hand
    /// goes on, and what they report is recorded. Timers, a delayed start, the timeouts of the run and of its activities stand still.
    /// Signals and results are recorded and wait; an update waits with its call; a query shows what the code has seen. After `Ok`
    /// that is durable. A workflow that is paused stays so; a closed one is an error.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::PauseWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            reason: reason.into(),
            identity: self.client.identity().to_owned(),
            request_id: new_request_id(),
        };
        let service = self.client.transport().operations();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.pause_workflow(request).await }
        });
        answer.await.map(|v1::PauseWorkflowResponse { .. }| ())
    }

    /// Lets a paused workflow go on, with what was left of its timers and timeouts. Changes nothing of one that is not paused; a
    /// closed one is an error.
    pub async fn resume(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::ResumeWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            reason: reason.into(),
            identity: self.client.identity().to_owned(),
            request_id: new_request_id(),
        };
        let service = self.client.transport().operations();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.resume_workflow(request).await }
        });
        answer.await.map(|v1::ResumeWorkflowResponse { .. }| ())
    }

    /// Goes on from an earlier point of the workflow's latest run, in a new run that begins with the history up to there and is the
    /// current one from then on; an open run is terminated in the same transaction. Returns a handle of the new run.
    ///
    /// What came after the point is forgotten, but for signals ([`ResetOptions::without_signals`]), for updates that were accepted, which
    /// the code answers again ([`ResetOptions::without_updates`]), and for answers of other workflows to what was asked before it.
    /// Requests to cancel are not carried over. Activities and timers that
    /// were open at the point are open again; activities count as scheduled now. Children that were asked for before the
    /// point deal with the new run. A handle that names a run which is not the latest gets an error.
    pub async fn reset(&self, from: ResetFrom, options: ResetOptions) -> Result<WorkflowHandle<T>, ClientError> {
        let ResetOptions { reason, exclude_signals, exclude_updates } = options;
        let (namespace, execution) = (self.client.namespace_text(), Some(self.execution()?));
        let (identity, request_id) = (self.client.identity().to_owned(), new_request_id());
        let service = self.client.transport().operations();
        let task = |point: v1::ResetPoint, event_id: u64| (i32::from(point), event_id);
        let (point, event_id) = match from {
            ResetFrom::WorkflowTask(event_id) => task(v1::ResetPoint::WorkflowTask, event_id.0),
            ResetFrom::FirstWorkflowTask => task(v1::ResetPoint::FirstWorkflowTask, 0),
            ResetFrom::LastWorkflowTask => task(v1::ResetPoint::LastWorkflowTask, 0),
            ResetFrom::FailedActivity { activity_id, result } => {
                let activity_id = activity_id.unwrap_or_default();
                let result = result.as_ref().map(payload_to_proto);
                let request = v1::RepairWorkflowRequest {
                    namespace,
                    execution,
                    activity_id,
                    result,
                    exclude_signals,
                    exclude_updates,
                    reason,
                    identity,
                    request_id,
                };
                let answer = until_answered(self.client.patience(), |_| {
                    let (mut service, request) = (service.clone(), request.clone());
                    async move { service.repair_workflow(request).await }
                });
                return self.gone_on(&answer.await?);
            }
        };
        let request = v1::ResetWorkflowRequest {
            namespace,
            execution,
            point,
            event_id,
            exclude_signals,
            exclude_updates,
            reason,
            identity,
            request_id,
        };
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.reset_workflow(request).await }
        });
        self.gone_on(&answer.await?)
    }

    fn gone_on(&self, answer: &v1::ResetWorkflowResponse) -> Result<WorkflowHandle<T>, ClientError> {
        Ok(self.clone().with_run_id(run_id("run_id", &answer.run_id)?))
    }

    /// Deletes a closed run with its history: it is listed and found no longer, and cannot be brought back. An open run is an
    /// error: terminate it first. Of a handle that names no run the latest is deleted; earlier runs of the workflow id stay.
    pub async fn delete(&self) -> Result<(), ClientError> {
        // A repeat that does not name the run would delete the one before it.
        let run_id = self.named_run().await?;
        let request = v1::DeleteWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(execution(&parse_workflow_id(&self.workflow_id)?, Some(run_id))),
        };
        let service = self.client.transport().operations();
        let mut tries = 0;
        let answer = until_answered(self.client.patience(), |attempt| {
            tries = attempt;
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.delete_workflow(request).await }
        });
        match answer.await {
            Ok(v1::DeleteWorkflowResponse { .. }) => Ok(()),
            // The try before may have deleted it.
            Err(ClientError::NotFound { .. }) if tries > 1 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The run that the handle names, or the current one.
    pub(super) async fn named_run(&self) -> Result<RunId, ClientError> {
        match self.run_id {
            Some(run_id) => Ok(run_id),
            None => Ok(self.describe().await?.summary.run_id),
        }
    }
}

/// From where a workflow is to go on: see [`WorkflowHandle::reset`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ResetFrom {
    /// The workflow task that this event starts or ends: it runs again.
    WorkflowTask(EventId),
    /// The first workflow task: everything runs again.
    FirstWorkflowTask,
    /// The last workflow task that ended: of a workflow that failed, the one in which it did. For code that was wrong and is not
    /// any more.
    LastWorkflowTask,
    /// Before the end of an activity that failed or timed out.
    FailedActivity {
        /// Its id; the one that failed last if `None`.
        activity_id: Option<String>,
        /// Ends it with this result. `None`: it runs again, as if it were scheduled now.
        result: Option<Payload>,
    },
}

impl ResetFrom {
    /// Before the end of the activity that failed last, which runs again.
    pub fn failed_activity() -> Self {
        Self::FailedActivity { activity_id: None, result: None }
    }

    /// Before the end of the activity that failed last, which is given this result instead.
    pub fn failed_activity_with<V: Serialize + ?Sized>(result: &V) -> Result<Self, ClientError> {
        Ok(Self::FailedActivity { activity_id: None, result: Some(data::encode(result)?) })
    }
}

/// How a workflow is reset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResetOptions {
    reason: String,
    exclude_signals: bool,
    exclude_updates: bool,
}

impl ResetOptions {
    /// With a reason, for people: it is in the histories of both runs.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// Leaves out the signals that came after the point.
    #[must_use]
    pub fn without_signals(mut self) -> Self {
        self.exclude_signals = true;
        self
    }

    /// Leaves out the updates that were accepted after the point.
    #[must_use]
    pub fn without_updates(mut self) -> Self {
        self.exclude_updates = true;
        self
    }
}
