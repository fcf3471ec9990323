//! Updates: sending them, and waiting for what becomes of them.
//!
//! The call keeps the request: while it waits, an update that a shard lost with its memory is sent again, and one that a run left
//! unseen when it closed goes to the run that follows. After `wait` the caller is told how far it came, and asks again.

use std::sync::Arc;

use engine_core::event::{EventKind, UpdateOutcome, UpdateRequest};
use engine_core::execution::{Input, Rejection, UpdateStanding, left_behind};
use engine_core::failure::Failure;
use engine_core::ids::{EventId, RequestId, RunId, SignalName, UpdateId};
use engine_proto::convert;
use engine_proto::v1;
use tokio::time::Instant;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::workflow_service::{Target, Workflows, received};
use crate::rpc::{history, validate};
use crate::shard::load::{self, decode_event};
use crate::shard::request::{ServerError, UpdateAsk, UpdateWatch};
use crate::shard::updates::UpdateNews;
use crate::store::ExecutionRow;

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Accepted,
    Completed,
}

/// How long, and for what.
#[derive(Debug, Clone, Copy)]
struct Patience {
    stage: Stage,
    until: Instant,
}

impl Patience {
    fn parse(stage: i32, wait: Option<prost_types::Duration>) -> Result<Self, ServerError> {
        let stage = match v1::UpdateStage::try_from(stage) {
            Ok(v1::UpdateStage::Unspecified | v1::UpdateStage::Accepted) => Stage::Accepted,
            Ok(v1::UpdateStage::Completed) => Stage::Completed,
            Ok(v1::UpdateStage::Admitted | v1::UpdateStage::Rejected) | Err(_) => {
                let problem = format!("{stage} cannot be waited for: ask for ACCEPTED or COMPLETED");
                return Err(ServerError::Invalid { field: "wait_stage".into(), problem });
            }
        };
        let wait = validate::wait(wait, limits::UPDATE_WAIT_MAX)?.unwrap_or(limits::UPDATE_WAIT_DEFAULT);
        Ok(Self { stage, until: Instant::now() + wait })
    }
}

/// How far an update has come.
#[derive(Debug)]
enum Reached {
    Admitted,
    Accepted,
    Rejected(Failure),
    Completed(UpdateOutcome),
}

fn response(run_id: RunId, reached: &Reached) -> v1::UpdateWorkflowResponse {
    let (stage, outcome, rejection) = match reached {
        Reached::Admitted => (v1::UpdateStage::Admitted, None, None),
        Reached::Accepted => (v1::UpdateStage::Accepted, None, None),
        Reached::Rejected(failure) => (v1::UpdateStage::Rejected, None, Some(convert::failure_to_proto(failure))),
        Reached::Completed(outcome) => {
            (v1::UpdateStage::Completed, Some(convert::update_outcome_to_proto(outcome)), None)
        }
    };
    v1::UpdateWorkflowResponse { run_id: run_id.to_string(), stage: stage.into(), outcome, rejection }
}

fn update_request(message: Option<v1::UpdateRequest>) -> Result<UpdateRequest, ServerError> {
    let message = convert::required("update", message)?;
    let request = convert::update_request_from_proto(message).map_err(|error| error.inside("update"))?;
    validate::people_text("update.identity", &request.identity)?;
    validate::payloads("update.input", &request.input)?;
    Ok(request)
}

pub(crate) async fn update(
    context: &Arc<NodeContext>,
    request: v1::UpdateWorkflowRequest,
) -> Result<v1::UpdateWorkflowResponse, ServerError> {
    let target = Target::parse(context, &request.namespace, request.execution).await?;
    let update = update_request(request.update)?;
    let patience = Patience::parse(request.wait_stage, request.wait)?;
    wait(context, &target, &UpdateAsk::Send(Box::new(update)), patience).await
}

pub(crate) async fn poll(
    context: &Arc<NodeContext>,
    request: v1::PollUpdateRequest,
) -> Result<v1::UpdateWorkflowResponse, ServerError> {
    let target = Target::parse(context, &request.namespace, request.execution).await?;
    let update_id = convert::required_id("update_id", &request.update_id, UpdateId::parse)?;
    let patience = Patience::parse(request.wait_stage, request.wait)?;
    wait(context, &target, &UpdateAsk::Poll(update_id), patience).await
}

pub(crate) async fn signal_with_start(
    workflows: &Workflows,
    request: v1::SignalWithStartRequest,
) -> Result<v1::StartWorkflowResponse, ServerError> {
    let mut start = convert::required("start", request.start)?;
    let input = convert::payloads_from_proto(request.input);
    validate::payloads("input", &input)?;
    let signal = Input::Signal {
        name: convert::required_id("signal_name", &request.signal_name, SignalName::parse)?,
        input,
        identity: start.identity.clone(),
        request_id: convert::optional_id("start.request_id", &start.request_id, RequestId::parse)?,
    };
    use_existing(&mut start);
    let (_, answer) = workflows.begin_start(start, false, Some(Box::new(signal))).await.map_err(inside_start)?;
    let reply = received(answer.await)??;
    Ok(v1::StartWorkflowResponse { run_id: reply.run_id.to_string(), started: reply.started, outcome: None })
}

pub(crate) async fn update_with_start(
    workflows: &Workflows,
    request: v1::UpdateWithStartRequest,
) -> Result<v1::UpdateWithStartResponse, ServerError> {
    let start = convert::required("start", request.start)?;
    if start.id_conflict_policy == i32::from(v1::WorkflowIdConflictPolicy::TerminateExisting) {
        let problem = "TERMINATE_EXISTING cannot be combined with an update: use USE_EXISTING, or FAIL".to_owned();
        return Err(ServerError::Invalid { field: "start.id_conflict_policy".into(), problem });
    }
    let mut start = start;
    if start.id_conflict_policy != i32::from(v1::WorkflowIdConflictPolicy::Fail) {
        use_existing(&mut start);
    }
    let update = Box::new(update_request(request.update)?);
    let patience = Patience::parse(request.wait_stage, request.wait)?;
    let with = Some(Box::new(Input::Update(update.clone())));
    let (target, answer) = workflows.begin_start(start, false, with).await.map_err(inside_start)?;
    let reply = received(answer.await)??;
    // It is admitted; the same update id attaches to it. Naming the run would keep it from the run that follows.
    let update = wait(&workflows.context, &target, &UpdateAsk::Send(update), patience).await?;
    Ok(v1::UpdateWithStartResponse { update: Some(update), started: reply.started })
}

/// A run that is open is what the caller wants to reach, unless it said that it is to be terminated.
fn use_existing(start: &mut v1::StartWorkflowRequest) {
    if start.id_conflict_policy != i32::from(v1::WorkflowIdConflictPolicy::TerminateExisting) {
        start.id_conflict_policy = v1::WorkflowIdConflictPolicy::UseExisting.into();
    }
}

/// Fields of the start are fields of its message within the request.
fn inside_start(error: ServerError) -> ServerError {
    match error {
        ServerError::Invalid { field, problem } => ServerError::Invalid { field: format!("start.{field}"), problem },
        other => other,
    }
}

async fn wait(
    context: &Arc<NodeContext>,
    target: &Target,
    ask: &UpdateAsk,
    patience: Patience,
) -> Result<v1::UpdateWorkflowResponse, ServerError> {
    loop {
        let (run_id, standing, mut news) = match target.update(context, ask.clone()).await? {
            UpdateWatch::Open { run_id, standing, news } => (run_id, standing, news),
            UpdateWatch::Closed(row) => return of_closed(context, target, &row, ask).await,
        };
        let so_far = match standing {
            UpdateStanding::Admitted => Reached::Admitted,
            UpdateStanding::Accepted { .. } => Reached::Accepted,
            UpdateStanding::Completed { event_id } => {
                Reached::Completed(recorded(context, target, run_id, event_id).await?)
            }
            UpdateStanding::LeftBehind => Reached::Completed(left_behind()),
        };
        match so_far {
            Reached::Admitted => {}
            Reached::Accepted if patience.stage > Stage::Accepted => {}
            reached => return Ok(response(run_id, &reached)),
        }
        let stopping = context.stopping();
        let (heard, stage) = (news.clone(), patience.stage);
        let is_quiet = move || !is_enough(stage, &heard.borrow()) && heard.has_changed().is_ok();
        let _waiting = context.options.clock.wait(true, is_quiet);
        let is_lost = tokio::select! {
            heard = async { news.wait_for(|news| is_enough(patience.stage, news)).await.is_err() } => heard,
            () = tokio::time::sleep_until(patience.until) => false,
            () = stopping.cancelled() => false,
        };
        // The last word stays with the watcher when the one who said it is gone.
        let heard = match news.borrow().clone() {
            UpdateNews::Waiting | UpdateNews::Accepted if is_lost => UpdateNews::Lost,
            heard => heard,
        };
        let reached = match heard {
            UpdateNews::Waiting => so_far,
            UpdateNews::Accepted => Reached::Accepted,
            UpdateNews::Rejected(failure) => Reached::Rejected(failure),
            UpdateNews::Completed(outcome) => Reached::Completed(outcome),
            UpdateNews::Lost if Instant::now() >= patience.until => so_far,
            // Asked again, the shard or the run that follows takes it, or it is told that there is none.
            UpdateNews::Lost | UpdateNews::RunClosed => {
                tokio::task::yield_now().await;
                continue;
            }
        };
        return Ok(response(run_id, &reached));
    }
}

/// Whether the news end the wait for a stage.
fn is_enough(stage: Stage, news: &UpdateNews) -> bool {
    match news {
        UpdateNews::Waiting => false,
        UpdateNews::Accepted => stage == Stage::Accepted,
        UpdateNews::Rejected(_) | UpdateNews::Completed(_) | UpdateNews::RunClosed | UpdateNews::Lost => true,
    }
}

/// What a closed run knows of an update.
async fn of_closed(
    context: &Arc<NodeContext>,
    target: &Target,
    row: &ExecutionRow,
    ask: &UpdateAsk,
) -> Result<v1::UpdateWorkflowResponse, ServerError> {
    let run_id = row.key.run_id;
    let (store, key) = (Arc::clone(&context.store), row.key.clone());
    let stored = history::detached(async move { store.load_runs(&[key]).await }).await?;
    let missing = || ServerError::NotFound { kind: "run", name: run_id.to_string() };
    let stored = stored.into_iter().next().flatten().ok_or_else(missing)?;
    let run = load::hot_run(stored, context.now()).map_err(|e| ServerError::Internal(e.to_string()))?;
    let outcome = match (run.execution.update_standing(ask.update_id()), ask) {
        (Some(UpdateStanding::Completed { event_id }), _) => recorded(context, target, run_id, event_id).await?,
        (Some(UpdateStanding::LeftBehind | UpdateStanding::Accepted { .. } | UpdateStanding::Admitted), _) => {
            left_behind()
        }
        (None, UpdateAsk::Send(_)) => {
            return Err(ServerError::Closed { workflow_id: target.workflow_id.as_ref().to_owned() });
        }
        (None, UpdateAsk::Poll(update_id)) => return Err(unknown_update(update_id)),
    };
    Ok(response(run_id, &Reached::Completed(outcome)))
}

/// The outcome in the event that recorded it.
async fn recorded(
    context: &Arc<NodeContext>,
    target: &Target,
    run_id: RunId,
    event_id: EventId,
) -> Result<UpdateOutcome, ServerError> {
    let page = history::events(context, target.shard, run_id, event_id, 1).await?;
    let missing = || ServerError::Internal(format!("event {event_id} of run {run_id} is not the end of an update"));
    let (_, bytes) = page.into_iter().find(|(id, _)| *id == event_id).ok_or_else(missing)?;
    match decode_event(&bytes).map_err(|e| ServerError::Internal(e.to_string()))?.kind {
        EventKind::WorkflowUpdateCompleted(completed) => Ok(completed.outcome),
        _ => Err(missing()),
    }
}

pub(crate) fn unknown_update(update_id: &UpdateId) -> ServerError {
    ServerError::NotFound { kind: "update", name: update_id.as_str().to_owned() }
}

impl Target {
    /// Sends the update, or asks for it, and begins to watch it.
    async fn update(&self, context: &NodeContext, ask: UpdateAsk) -> Result<UpdateWatch, ServerError> {
        let closed = || ServerError::Closed { workflow_id: self.workflow_id.as_ref().to_owned() };
        match self.watch_update(context, ask).await? {
            Err(ServerError::NotCurrent(run_id)) => {
                Ok(UpdateWatch::Closed(Box::new(self.earlier_run(context, run_id).await?)))
            }
            Err(ServerError::Rejected(Rejection::AlreadyClosed)) => Err(closed()),
            answer => answer,
        }
    }
}
