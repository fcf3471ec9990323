//! What a schedule owes, done: workflows are started, watched and stopped through the lanes, like those of any caller. Each errand goes on
//! until it has an answer; what the server cannot do now is tried again.

use std::sync::Arc;
use std::time::Duration;

use engine_core::execution::{Input, Rejection};
use engine_core::schedule::{Ended, Obligation, Planned, Running, Schedule, ScheduleInput, StartOutcome, Stop};
use engine_proto::{convert, v1};
use futures::future::BoxFuture;
use prost::Message;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::result;
use crate::rpc::workflow_service::{Target, Workflows, received};
use crate::shard::request::ServerError;
use crate::store::NamespaceId;

/// Who starts and stops, for people.
const IDENTITY: &str = "schedule";

/// What errands need to know of their schedule.
#[derive(Debug, Clone)]
pub(super) struct Errands {
    pub(super) context: Arc<NodeContext>,
    pub(super) namespace: NamespaceId,
}

impl Errands {
    /// Does what is owed, and gives the answer as the schedule's next input. Keeps no more of the schedule than it needs: a watch may last for
    /// months.
    pub(super) fn begin(self, schedule: &Schedule, owed: Obligation) -> BoxFuture<'static, ScheduleInput> {
        match owed {
            Obligation::Start(planned) => {
                let request = request_of(schedule, &planned);
                let state = schedule.state();
                let before = Before { completed: state.last_completed.clone(), failed: state.last_failed.clone() };
                Box::pin(async move { self.start(request, before, planned).await })
            }
            Obligation::Watch(running) => Box::pin(async move { self.watch(running).await }),
            Obligation::Stop(running, stop) => {
                let reason = format!("schedule {:?} starts its next run", schedule.id());
                Box::pin(async move { self.stop(reason, running, stop).await })
            }
        }
    }

    async fn start(
        &self,
        request: Result<v1::StartWorkflowRequest, String>,
        before: Before,
        planned: Planned,
    ) -> ScheduleInput {
        let number = planned.number;
        let refused = |problem: String| ScheduleInput::Refused { number, problem };
        let request = match request {
            Ok(request) => request,
            Err(problem) => return refused(problem),
        };
        let workflows = Workflows { context: Arc::clone(&self.context) };
        let mut pause = Pause::default();
        loop {
            let made = async {
                let mut request = request.clone();
                request.last_result = self.outcome(before.completed.as_ref()).await?.and_then(|end| end.result);
                request.last_failure = self.outcome(before.failed.as_ref()).await?.and_then(|end| end.failure);
                let (_, answer) = workflows.begin_start(request, false, None).await?;
                received(answer.await)?
            };
            match made.await {
                Ok(reply) => return ScheduleInput::Started { number, run_id: reply.run_id },
                // A crash came between this start and its being noted, and the run has been continued since.
                Err(ServerError::AlreadyStarted { run_id, .. }) if !planned.manual => {
                    return ScheduleInput::Started { number, run_id };
                }
                Err(error) if is_passing(&error) => pause.wait().await,
                Err(error) => return refused(error.to_string()),
            }
        }
    }

    /// How an earlier run ended; `None` if it is not kept any more. Not stored with the schedule, whose row would grow by every result.
    async fn outcome(&self, ended: Option<&Ended>) -> Result<Option<v1::GetWorkflowResultResponse>, ServerError> {
        let Some(ended) = ended else { return Ok(None) };
        let mut target = self.target(&ended.workflow_id);
        target.run_id = Some(ended.run_id);
        match result::wait(&self.context, target, None, Duration::ZERO).await {
            Ok(end) => Ok(Some(end)),
            Err(error) if is_passing(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn target(&self, workflow_id: &str) -> Target {
        let workflow_id: Arc<str> = workflow_id.into();
        let shard = self.context.shard_of(self.namespace, &workflow_id);
        Target { namespace: self.namespace, shard, workflow_id, run_id: None }
    }

    async fn watch(&self, running: Running) -> ScheduleInput {
        let number = running.number;
        let closed = |outcome| ScheduleInput::Closed { number, outcome };
        let mut pause = Pause::default();
        loop {
            let mut target = self.target(&running.workflow_id);
            target.run_id = Some(running.run_id);
            match result::wait_for_end(&self.context, target).await {
                Ok(response) => match convert::close_status_from_proto("status", response.status) {
                    Ok(Some(status)) => {
                        let message = response.failure.map(|failure| failure.message).unwrap_or_default();
                        return closed(StartOutcome::Closed { status, message });
                    }
                    // The server stops.
                    Ok(None) => pause.wait().await,
                    Err(_) => return closed(StartOutcome::Gone),
                },
                Err(error) if is_passing(&error) => pause.wait().await,
                Err(error) => {
                    tracing::warn!(%error, workflow_id = %running.workflow_id, "a run of a schedule is not to be found");
                    return closed(StartOutcome::Gone);
                }
            }
        }
    }

    async fn stop(&self, reason: String, running: Running, stop: Stop) -> ScheduleInput {
        let mut pause = Pause::default();
        loop {
            let (identity, reason) = (IDENTITY.to_owned(), reason.clone());
            let input = match stop {
                Stop::Cancel => Input::RequestCancel { reason, identity, request_id: None },
                Stop::Terminate => Input::Terminate { reason, details: None, identity },
            };
            match self.target(&running.workflow_id).input(&self.context, input).await {
                Err(error) if is_passing(&error) => pause.wait().await,
                // Closed or gone: whoever watches it says so.
                _ => return ScheduleInput::StopSent { number: running.number, stop },
            }
        }
    }
}

/// The runs whose outcome a start is told.
struct Before {
    completed: Option<Ended>,
    failed: Option<Ended>,
}

/// A start, under names that are functions of the schedule and the time.
fn request_of(schedule: &Schedule, planned: &Planned) -> Result<v1::StartWorkflowRequest, String> {
    let mut request = v1::StartWorkflowRequest::decode(schedule.definition().start.request.clone())
        .map_err(|error| format!("what is stored of the start cannot be read: {error}"))?;
    request.workflow_id = schedule.workflow_id(planned);
    request.request_id = schedule.request_id(planned);
    // A time happens once; what a person asks for again happens again.
    let reuse = match planned.manual {
        true => v1::WorkflowIdReusePolicy::AllowDuplicate,
        false => v1::WorkflowIdReusePolicy::RejectDuplicate,
    };
    request.id_reuse_policy = reuse.into();
    if request.identity.is_empty() {
        request.identity = IDENTITY.to_owned();
    }
    Ok(request)
}

/// Whether the same request may succeed later.
fn is_passing(error: &ServerError) -> bool {
    matches!(
        error,
        ServerError::Unavailable { .. }
            | ServerError::Exhausted { .. }
            | ServerError::Rejected(Rejection::Exhausted(_))
    )
}

/// Pauses between tries, doubled up to a limit.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    async fn wait(&mut self) {
        let pause: Duration = limits::SCHEDULE_RETRY_INITIAL * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        tokio::time::sleep(pause.min(limits::SCHEDULE_RETRY_MAX)).await;
    }
}
