//! What a batch does to one run.

use std::sync::Arc;

use engine_core::event::{CloseStatus, PauseChange, VersioningOverride, WorkflowOptionsUpdated};
use engine_core::execution::{Input, Rejection};
use engine_core::ids::{RequestId, SignalName, TaskQueueName};
use engine_proto::{convert, v1};
use futures::future::BoxFuture;
use v1::batch_operation::Operation as Message;

use super::actor::Pause;
use super::reset::Resets;
use crate::deployment::registry as deployments;
use crate::limits;
use crate::node::NodeContext;
use crate::rpc::workflow_service::Target;
use crate::shard::request::ServerError;
use crate::store::{ExecutionRow, OWES_MESSAGES};

/// What is done to each run, ready to be done.
#[derive(Clone)]
pub(super) enum Operation {
    /// Give an open run this input.
    Give {
        input: Box<Input>,
        /// A run that closes in between has missed something; else it needs it no more.
        is_owed: bool,
    },
    /// Change which workers an open run goes to.
    Move(Box<WorkflowOptionsUpdated>),
    /// Go on from an earlier point of the run.
    Reset(Arc<Resets>),
    /// Delete a closed run.
    Delete,
}

/// How runs must stand for an operation to mean them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Closed,
    Any,
}

impl Standing {
    /// Which runs the operation is for.
    pub(crate) fn of(operation: &Message) -> Self {
        match operation {
            Message::Signal(_)
            | Message::Cancel(_)
            | Message::Terminate(_)
            | Message::Pause(_)
            | Message::Resume(_)
            | Message::Move(_) => Self::Open,
            Message::Delete(_) => Self::Closed,
            Message::Reset(_) => Self::Any,
        }
    }
}

impl Operation {
    /// What the batch does. `Err` says why it cannot be done.
    pub(super) fn of(batch: &v1::Batch) -> Result<Self, String> {
        let operation = batch.operation.clone().and_then(|operation| operation.operation);
        let (reason, identity) = (batch.reason.clone(), batch.identity.clone());
        // A batch that is made anew under an old id has begun at another time.
        let begun = batch.start_time.map(|at| format!("{}.{:09}", at.seconds, at.nanos)).unwrap_or_default();
        let name = format!("batch/{begun}/{}", batch.batch_id);
        let request_id = Some(RequestId::from_trusted(&name));
        let (input, is_owed) = match operation.ok_or("it is stored without an operation")? {
            Message::Signal(signal) => {
                let name = SignalName::parse(&signal.signal_name).map_err(|error| error.to_string())?;
                let input = convert::payloads_from_proto(signal.input);
                (Input::Signal { name, input, identity, request_id }, true)
            }
            Message::Cancel(v1::BatchCancel {}) => (Input::RequestCancel { reason, identity, request_id }, false),
            Message::Terminate(v1::BatchTerminate {}) => (Input::Terminate { reason, details: None, identity }, false),
            Message::Pause(v1::BatchPause {}) => (Input::Pause(PauseChange { reason, identity, request_id }), false),
            Message::Resume(v1::BatchResume {}) => (Input::Resume(PauseChange { reason, identity, request_id }), false),
            Message::Move(v1::BatchMove { versioning_override }) => {
                let versioning_override =
                    versioning_override.as_ref().map(convert::versioning_override_from_proto).transpose();
                let versioning_override = versioning_override.map_err(|error| error.to_string())?;
                let change = WorkflowOptionsUpdated { versioning_override, reason, identity, request_id };
                return Ok(Self::Move(Box::new(change)));
            }
            Message::Delete(v1::BatchDelete {}) => return Ok(Self::Delete),
            Message::Reset(reset) => return Ok(Self::Reset(Arc::new(Resets::new(&reset, reason, identity, &name)?))),
        };
        Ok(Self::Give { input: Box::new(input), is_owed })
    }

    /// Which runs it is for.
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Give { .. } | Self::Move(_) => Standing::Open,
            Self::Reset(_) => Standing::Any,
            Self::Delete => Standing::Closed,
        }
    }

    /// Whether the run is one that this batch began, which it does not mean. One that it began in the millisecond of its own start, or by the clock
    /// of a server that is behind, is listed with those that it means when it reads them again.
    pub(super) fn has_begun(&self, row: &ExecutionRow) -> bool {
        match self {
            Self::Reset(resets) => resets.has_begun(row),
            Self::Give { .. } | Self::Move(_) | Self::Delete => false,
        }
    }

    /// To how many runs it is done at once.
    pub(super) fn under_way_max(&self) -> usize {
        match self {
            Self::Give { .. } | Self::Move(_) | Self::Delete => limits::BATCH_RUNS_UNDER_WAY,
            Self::Reset(_) => limits::BATCH_RESETS_UNDER_WAY,
        }
    }

    /// Does it to one run, or to the run that the code of this one went on in. Tries again what the server cannot do now.
    pub(super) fn apply(
        &self,
        context: &Arc<NodeContext>,
        row: ExecutionRow,
    ) -> BoxFuture<'static, Result<(), v1::BatchFailure>> {
        let (context, operation) = (Arc::clone(context), self.clone());
        Box::pin(async move {
            let failed = v1::BatchFailure {
                workflow_id: row.key.workflow_id.clone(),
                run_id: row.key.run_id.to_string(),
                problem: String::new(),
            };
            let done = match operation {
                Self::Give { input, is_owed } => give(&context, row, &input, is_owed).await,
                Self::Move(change) => move_run(&context, row, change).await,
                Self::Reset(resets) => resets.carry_out(&context, row).await,
                Self::Delete => delete(&context, row).await,
            };
            done.map_err(|problem| v1::BatchFailure { problem, ..failed })
        })
    }
}

pub(super) fn target_of(row: &ExecutionRow) -> Target {
    Target {
        namespace: row.key.namespace,
        shard: row.key.shard,
        workflow_id: row.key.workflow_id.as_str().into(),
        run_id: Some(row.key.run_id),
    }
}

async fn move_run(
    context: &Arc<NodeContext>,
    row: ExecutionRow,
    change: Box<WorkflowOptionsUpdated>,
) -> Result<(), String> {
    if let Some(VersioningOverride::Pinned(version)) = &change.versioning_override {
        let queue = TaskQueueName::from_trusted(&row.task_queue);
        let stopping = context.stopping();
        let mut pause = Pause::default();
        while let Err(error) = deployments::check_serves(context, row.key.namespace, version, &queue).await {
            match error {
                ServerError::Unavailable { .. } if !stopping.is_cancelled() => pause.wait(&stopping).await,
                error => return Err(error.to_string()),
            }
        }
    }
    give(context, row, &Input::Move(change), false).await
}

async fn give(context: &NodeContext, row: ExecutionRow, input: &Input, is_owed: bool) -> Result<(), String> {
    let run_id = row.key.run_id;
    let mut target = target_of(&row);
    let stopping = context.stopping();
    let mut pause = Pause::default();
    loop {
        let Err(error) = target.input(context, input.clone()).await else { return Ok(()) };
        match error {
            ServerError::Unavailable { .. }
            | ServerError::Exhausted { .. }
            | ServerError::Rejected(Rejection::Exhausted(_)) => pause.wait(&stopping).await,
            ServerError::Closed { .. } if target.run_id.is_some() => {
                let earlier = target.earlier_run(context, run_id).await;
                if earlier.is_ok_and(|row| row.status == Some(CloseStatus::ContinuedAsNew)) {
                    target.run_id = None;
                } else if is_owed {
                    return Err("it closed before it was reached".to_owned());
                } else {
                    return Ok(());
                }
            }
            ServerError::Closed { .. } | ServerError::NotFound { .. } | ServerError::NotKept(_) if !is_owed => {
                return Ok(());
            }
            error => return Err(error.to_string()),
        }
    }
}

async fn delete(context: &NodeContext, row: ExecutionRow) -> Result<(), String> {
    let target = target_of(&row);
    let stopping = context.stopping();
    let mut pause = Pause::default();
    let mut problem = "the server could not say how it stands".to_owned();
    for _ in 0..limits::BATCH_DELETE_TRIES {
        match target.earlier_run(context, row.key.run_id).await {
            Ok(row) if row.status.is_none() => return Err("it is open".to_owned()),
            Ok(row) if row.wake_at <= OWES_MESSAGES => {
                problem = "it still has messages for other workflows on their way".to_owned();
            }
            Ok(row) => match context.delete_runs(vec![row.key]).await {
                Ok(0) => problem = "something about it is under way".to_owned(),
                Ok(_) => return Ok(()),
                Err(error) => problem = error.to_string(),
            },
            Err(ServerError::NotFound { .. } | ServerError::NotKept(_)) => return Ok(()),
            Err(error) => problem = error.to_string(),
        }
        pause.wait(&stopping).await;
    }
    Err(problem)
}
