//! What operators do to a workflow from outside, without its code.

use engine_core::ids::RunId;
use engine_proto::v1;

use super::{ClientError, WorkflowHandle, execution, new_request_id, parse_workflow_id, until_answered};

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
