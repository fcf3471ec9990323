//! `OperationService`: what operators do to runs from outside, without their code.

use std::sync::Arc;

use engine_core::event::{PauseChange, VersioningOverride, WorkerVersion, WorkflowOptionsUpdated};
use engine_core::execution::{ActivityOperation, ActivityOptionChanges, Input, Reply};
use engine_core::ids::{ActivityId, RequestId, TaskQueueName};
use engine_proto::convert;
use engine_proto::v1::{self, operation_service_server::OperationService};
use tonic::{Request as Call, Response, Status};

use crate::deployment::registry as deployments;
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::rpc::workflow_service::Target;
use crate::rpc::{activity_service, reset, validate};
use crate::shard::request::{Described, Replied, ServerError};
use crate::store::OWES_MESSAGES;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    pub(crate) context: Arc<NodeContext>,
}

#[tonic::async_trait]
impl OperationService for Operations {
    async fn delete_workflow(
        &self,
        call: Call<v1::DeleteWorkflowRequest>,
    ) -> Result<Response<v1::DeleteWorkflowResponse>, Status> {
        self.delete(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn pause_workflow(
        &self,
        call: Call<v1::PauseWorkflowRequest>,
    ) -> Result<Response<v1::PauseWorkflowResponse>, Status> {
        let v1::PauseWorkflowRequest { namespace, execution, reason, identity, request_id } = call.into_inner();
        let change = pause_change(reason, identity, &request_id).map_err(to_status)?;
        let replied = self.change(&namespace, execution, Input::Pause(change)).await.map_err(to_status)?;
        let changed = replied.reply == Reply::Done;
        Ok(Response::new(v1::PauseWorkflowResponse { run_id: replied.run_id.to_string(), changed }))
    }

    async fn resume_workflow(
        &self,
        call: Call<v1::ResumeWorkflowRequest>,
    ) -> Result<Response<v1::ResumeWorkflowResponse>, Status> {
        let v1::ResumeWorkflowRequest { namespace, execution, reason, identity, request_id } = call.into_inner();
        let change = pause_change(reason, identity, &request_id).map_err(to_status)?;
        let replied = self.change(&namespace, execution, Input::Resume(change)).await.map_err(to_status)?;
        let changed = replied.reply == Reply::Done;
        Ok(Response::new(v1::ResumeWorkflowResponse { run_id: replied.run_id.to_string(), changed }))
    }

    async fn move_workflow(
        &self,
        call: Call<v1::MoveWorkflowRequest>,
    ) -> Result<Response<v1::MoveWorkflowResponse>, Status> {
        let request = call.into_inner();
        let change = move_change(&request).map_err(to_status)?;
        if let Some(VersioningOverride::Pinned(version)) = &change.versioning_override
            && !request.allow_unknown
        {
            self.check_moved_to(&request, version).await.map_err(to_status)?;
        }
        let input = Input::Move(Box::new(change));
        let replied = self.change(&request.namespace, request.execution, input).await.map_err(to_status)?;
        let changed = replied.reply == Reply::Done;
        Ok(Response::new(v1::MoveWorkflowResponse { run_id: replied.run_id.to_string(), changed }))
    }

    async fn reset_workflow(
        &self,
        call: Call<v1::ResetWorkflowRequest>,
    ) -> Result<Response<v1::ResetWorkflowResponse>, Status> {
        reset::reset(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn repair_workflow(
        &self,
        call: Call<v1::RepairWorkflowRequest>,
    ) -> Result<Response<v1::ResetWorkflowResponse>, Status> {
        reset::repair(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn pause_activity(
        &self,
        call: Call<v1::PauseActivityRequest>,
    ) -> Result<Response<v1::OperateActivityResponse>, Status> {
        let v1::PauseActivityRequest { namespace, execution, activity_id, reason, identity } = call.into_inner();
        let check =
            validate::people_text("reason", &reason).and_then(|()| validate::people_text("identity", &identity));
        check.map_err(to_status)?;
        self.operate(&namespace, execution, &activity_id, ActivityOperation::Pause { reason, identity }).await
    }

    async fn unpause_activity(
        &self,
        call: Call<v1::UnpauseActivityRequest>,
    ) -> Result<Response<v1::OperateActivityResponse>, Status> {
        let v1::UnpauseActivityRequest { namespace, execution, activity_id, reset_attempts } = call.into_inner();
        let operation = ActivityOperation::Unpause { forget_attempts: reset_attempts };
        self.operate(&namespace, execution, &activity_id, operation).await
    }

    async fn reset_activity(
        &self,
        call: Call<v1::ResetActivityRequest>,
    ) -> Result<Response<v1::OperateActivityResponse>, Status> {
        let request = call.into_inner();
        let operation =
            ActivityOperation::Reset { keep_paused: request.keep_paused, forget_heartbeat: request.reset_heartbeat };
        self.operate(&request.namespace, request.execution, &request.activity_id, operation).await
    }

    async fn update_activity_options(
        &self,
        call: Call<v1::UpdateActivityOptionsRequest>,
    ) -> Result<Response<v1::OperateActivityResponse>, Status> {
        let request = call.into_inner();
        let changes = option_changes(request.task_queue, request.timeouts, request.retry_policy).map_err(to_status)?;
        let operation = ActivityOperation::ChangeOptions(Box::new(changes));
        self.operate(&request.namespace, request.execution, &request.activity_id, operation).await
    }
}

impl Operations {
    /// Refuses a version that no worker has announced with the queue of the run. Of a closed run it is not for this to speak.
    async fn check_moved_to(
        &self,
        request: &v1::MoveWorkflowRequest,
        version: &WorkerVersion,
    ) -> Result<(), ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution.clone()).await?;
        if let Described::Open(run) = target.describe(&self.context).await? {
            deployments::check_serves(&self.context, target.namespace, version, &run.started.task_queue).await?;
        }
        Ok(())
    }

    /// Deletes what housekeeping would delete one day, by the same way: the lane of the run leaves it out while it has it in
    /// memory, and names its epoch to the store.
    async fn delete(&self, request: v1::DeleteWorkflowRequest) -> Result<v1::DeleteWorkflowResponse, ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution).await?;
        let row = target.row(&self.context).await?;
        let run_id = row.key.run_id;
        if row.status.is_none() {
            return Err(ServerError::Refused(format!("run {run_id} is open: terminate it before you delete it")));
        }
        if row.wake_at <= OWES_MESSAGES {
            let why = format!("run {run_id} still has messages for other workflows on their way; try again");
            return Err(ServerError::unavailable(why));
        }
        match self.context.delete_runs(vec![row.key]).await? {
            0 => Err(ServerError::unavailable(format!("something about run {run_id} is under way; try again"))),
            _ => Ok(v1::DeleteWorkflowResponse { run_id: run_id.to_string() }),
        }
    }

    /// Does something to an open activity.
    async fn operate(
        &self,
        namespace: &str,
        execution: Option<v1::WorkflowExecution>,
        activity_id: &str,
        operation: ActivityOperation,
    ) -> Result<Response<v1::OperateActivityResponse>, Status> {
        let activity_id = convert::required_id("activity_id", activity_id, ActivityId::parse);
        let activity_id = activity_id.map_err(|error| to_status(error.into()))?;
        let target = match execution {
            Some(execution) => Target::parse(&self.context, namespace, Some(execution)).await,
            None => activity_service::target(&self.context, namespace, activity_id.as_str(), "").await,
        };
        let input = Input::OperateActivity { activity_id, operation };
        let replied = target.map_err(to_status)?.input(&self.context, input).await.map_err(to_status)?;
        let changed = replied.reply == Reply::Done;
        Ok(Response::new(v1::OperateActivityResponse { run_id: replied.run_id.to_string(), changed }))
    }

    /// Gives `input` to an open run.
    async fn change(
        &self,
        namespace: &str,
        execution: Option<v1::WorkflowExecution>,
        input: Input,
    ) -> Result<Replied, ServerError> {
        Target::parse(&self.context, namespace, execution).await?.input(&self.context, input).await
    }
}

fn move_change(request: &v1::MoveWorkflowRequest) -> Result<WorkflowOptionsUpdated, ServerError> {
    validate::people_text("reason", &request.reason)?;
    validate::people_text("identity", &request.identity)?;
    let versioning_override = request.versioning_override.as_ref().map(convert::versioning_override_from_proto);
    Ok(WorkflowOptionsUpdated {
        versioning_override: versioning_override.transpose().map_err(|e| e.inside("versioning_override"))?,
        reason: request.reason.clone(),
        identity: request.identity.clone(),
        request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
    })
}

fn pause_change(reason: String, identity: String, request_id: &str) -> Result<PauseChange, ServerError> {
    validate::people_text("reason", &reason)?;
    validate::people_text("identity", &identity)?;
    let request_id = convert::optional_id("request_id", request_id, RequestId::parse)?;
    Ok(PauseChange { reason, identity, request_id })
}

fn option_changes(
    task_queue: String,
    timeouts: Option<v1::ActivityTimeouts>,
    retry_policy: Option<v1::RetryPolicy>,
) -> Result<ActivityOptionChanges, ServerError> {
    let timeouts = timeouts.map(convert::activity_timeouts_from_proto).transpose();
    let timeouts = timeouts.map_err(|error| error.inside("timeouts"))?.unwrap_or_default();
    let retry_policy = retry_policy.map(convert::retry_policy_from_proto).transpose();
    Ok(ActivityOptionChanges {
        task_queue: convert::optional_id("task_queue", &task_queue, TaskQueueName::parse)?,
        schedule_to_close: timeouts.schedule_to_close,
        schedule_to_start: timeouts.schedule_to_start,
        start_to_close: timeouts.start_to_close,
        heartbeat: timeouts.heartbeat,
        retry_policy: retry_policy.map_err(|error| error.inside("retry_policy"))?,
    })
}
