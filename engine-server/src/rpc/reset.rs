//! Going on from an earlier point of a run: reads its history and hands it to its lane, which decides.

use std::sync::Arc;

use engine_core::event::Event;
use engine_core::execution::{Reset, ResetPoint};
use engine_core::ids::{ActivityId, EventId, RequestId, RunId};
use engine_proto::{EncodedHistory, convert, v1};
use prost::Message as _;
use tokio::sync::oneshot;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::workflow_service::{Target, received};
use crate::rpc::{history, validate};
use crate::shard::load;
use crate::shard::request::{RequestKind, ResetReply, ResetRequest, ServerError};

pub(crate) async fn reset(
    context: &Arc<NodeContext>,
    request: v1::ResetWorkflowRequest,
) -> Result<v1::ResetWorkflowResponse, ServerError> {
    let point = match request.point() {
        v1::ResetPoint::WorkflowTask => ResetPoint::WorkflowTask(EventId(request.event_id)),
        v1::ResetPoint::FirstWorkflowTask => ResetPoint::FirstWorkflowTask,
        v1::ResetPoint::LastWorkflowTask => ResetPoint::LastWorkflowTask,
        v1::ResetPoint::Unspecified => {
            let problem = "must be set: WORKFLOW_TASK with event_id, FIRST_WORKFLOW_TASK or LAST_WORKFLOW_TASK".into();
            return Err(ServerError::Invalid { field: "point".into(), problem });
        }
    };
    if request.event_id != 0 && !matches!(point, ResetPoint::WorkflowTask(_)) {
        let problem = "is for the point WORKFLOW_TASK only".into();
        return Err(ServerError::Invalid { field: "event_id".into(), problem });
    }
    let reset = Reset {
        point,
        excludes_signals: request.exclude_signals,
        excludes_updates: request.exclude_updates,
        reason: request.reason,
        identity: request.identity,
        request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
    };
    let target = Target::parse(context, &request.namespace, request.execution).await?;
    asked_for(context, &target, &reset).await
}

pub(crate) async fn repair(
    context: &Arc<NodeContext>,
    request: v1::RepairWorkflowRequest,
) -> Result<v1::ResetWorkflowResponse, ServerError> {
    let result = request.result.map(convert::payload_from_proto);
    validate::payloads("result", result.as_slice())?;
    let activity_id = convert::optional_id("activity_id", &request.activity_id, ActivityId::parse)?;
    let reset = Reset {
        point: ResetPoint::FailedActivity { activity_id, result },
        excludes_signals: request.exclude_signals,
        excludes_updates: request.exclude_updates,
        reason: request.reason,
        identity: request.identity,
        request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
    };
    let target = Target::parse(context, &request.namespace, request.execution).await?;
    asked_for(context, &target, &reset).await
}

async fn asked_for(
    context: &Arc<NodeContext>,
    target: &Target,
    reset: &Reset,
) -> Result<v1::ResetWorkflowResponse, ServerError> {
    validate::people_text("reason", &reset.reason)?;
    validate::people_text("identity", &reset.identity)?;
    let ResetReply { run_id, forked_at } = carry_out(context, target, reset).await?;
    Ok(v1::ResetWorkflowResponse { run_id: run_id.to_string(), forked_at_event_id: forked_at.0 })
}

/// Resets the run, the latest if `target` names none. A repeat of the request that began the latest run begins none.
pub(crate) async fn carry_out(
    context: &Arc<NodeContext>,
    target: &Target,
    reset: &Reset,
) -> Result<ResetReply, ServerError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match once(context, target, reset.clone()).await {
            // The run went on between reading and deciding.
            Err(ServerError::Conflict(_)) if tries < limits::RESET_TRIES => {}
            Err(ServerError::Conflict(problem)) => return Err(ServerError::unavailable(problem)),
            answer => return answer,
        }
    }
}

async fn once(context: &Arc<NodeContext>, target: &Target, reset: Reset) -> Result<ResetReply, ServerError> {
    let latest = Target { run_id: None, ..target.clone() }.row(context).await?;
    let base = latest.key.run_id;
    // A repeat names the run that it was to reset, which is not the latest any more.
    let is_repeat = reset.request_id.as_ref().is_some_and(|id| id.as_str() == latest.request_id);
    if let Some(wanted) = target.run_id.filter(|wanted| *wanted != base && !is_repeat) {
        target.earlier_run(context, wanted).await?;
        let problem =
            format!("run {wanted} is not the latest run of its workflow id: {base} is, and only that can be reset");
        return Err(ServerError::Refused(problem));
    }
    let history = if is_repeat { Vec::new() } else { read(context, target, base).await? };
    let (reply, answer) = oneshot::channel();
    let request = ResetRequest { base, history, reset, reply };
    context.send(target.request(RequestKind::Reset(Box::new(request)))).await;
    received(answer.await)?
}

/// The whole history of a run, as it is in the store.
async fn read(context: &Arc<NodeContext>, target: &Target, run_id: RunId) -> Result<Vec<Event>, ServerError> {
    let (store, key) = (Arc::clone(&context.store), target.run_key(run_id));
    let stored = history::detached(async move { store.load_runs(&[key]).await }).await?;
    let missing = || ServerError::NotFound { kind: "run", name: run_id.to_string() };
    let stored = stored.into_iter().next().flatten().ok_or_else(missing)?;
    let bytes: u64 = stored.history.iter().map(|row| row.events.len() as u64).sum();
    if bytes > limits::RESET_BYTES_MAX {
        let (size, limit) = (bytes / (1024 * 1024), limits::RESET_BYTES_MAX / (1024 * 1024));
        return Err(ServerError::Refused(format!(
            "the history of run {run_id} is {size} MiB long; one of more than {limit} MiB cannot be reset: start a new run"
        )));
    }
    let corrupt = |problem: String| ServerError::Internal(problem);
    let mut events = Vec::new();
    for row in stored.history {
        let encoded = EncodedHistory::decode(row.events).map_err(|error| corrupt(error.to_string()))?;
        for bytes in encoded.events {
            events.push(load::decode_event(&bytes).map_err(|error| corrupt(error.to_string()))?);
        }
    }
    Ok(events)
}
