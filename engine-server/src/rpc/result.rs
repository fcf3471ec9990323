//! Waiting for a run, and those that continue it, to close.

use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{Event, EventKind};
use engine_core::failure::{Failure, FailureKind, TimeoutKind};
use engine_core::ids::{EventId, RunId};
use engine_proto::{convert, v1};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::history::detached;
use crate::rpc::workflow_service::Target;
use crate::shard::load::decode_event;
use crate::shard::request::{News, ServerError, Subscribed};

/// Waits for the outcome of the target's chain, at most `wait`. `news` are those of the target's run, if it is subscribed to.
pub(crate) async fn wait(
    context: &Arc<NodeContext>,
    target: Target,
    news: Option<watch::Receiver<News>>,
    wait: Duration,
) -> Result<v1::GetWorkflowResultResponse, ServerError> {
    let deadline = Instant::now() + wait.min(limits::RESULT_WAIT_MAX);
    wait_until(context, target, news, Some(deadline), true).await
}

/// Waits for the outcome of the target's chain, however long it takes; still open only if the server stops. For the server's own errands.
pub(crate) async fn wait_for_end(
    context: &Arc<NodeContext>,
    target: Target,
) -> Result<v1::GetWorkflowResultResponse, ServerError> {
    wait_until(context, target, None, None, false).await
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn wait_until(
    context: &Arc<NodeContext>,
    mut target: Target,
    mut news: Option<watch::Receiver<News>>,
    deadline: Option<Instant>,
    wants_time: bool,
) -> Result<v1::GetWorkflowResultResponse, ServerError> {
    loop {
        let subscribed = match (news.take(), target.run_id) {
            (Some(news), Some(run_id)) => Subscribed::Open { run_id, news },
            _ => target.subscribe(context).await?,
        };
        let (run_id, close_event) = match subscribed {
            Subscribed::Closed(row) => (row.key.run_id, close_event_of(context, &target, row.key.run_id).await?),
            Subscribed::Open { run_id, mut news } => {
                let stopping = context.stopping();
                let heard = news.clone();
                let is_quiet = move || !heard.borrow().is_last() && heard.has_changed().is_ok();
                let _waiting = context.options.clock.wait(wants_time, is_quiet);
                let closed = async {
                    let news = news.wait_for(News::is_last).await.ok()?;
                    news.closed.as_ref().map(|(_, event)| event.clone())
                };
                let closed = tokio::select! {
                    closed = closed => closed,
                    () = passed(deadline) => return Ok(still_open(run_id)),
                    () = stopping.cancelled() => return Ok(still_open(run_id)),
                };
                let Some(event) = closed else {
                    // The shard moved or was recovered: ask again about the same run.
                    target.run_id = Some(run_id);
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(still_open(run_id));
                    }
                    tokio::task::yield_now().await;
                    continue;
                };
                (run_id, decode_event(&event).map_err(|e| ServerError::Internal(e.to_string()))?)
            }
        };
        match successor(&close_event) {
            Some(next) => target.run_id = Some(next),
            None => return Ok(outcome(run_id, close_event)),
        }
    }
}

fn still_open(run_id: RunId) -> v1::GetWorkflowResultResponse {
    v1::GetWorkflowResultResponse {
        run_id: run_id.to_string(),
        status: v1::WorkflowStatus::Running.into(),
        result: None,
        failure: None,
    }
}

async fn close_event_of(context: &Arc<NodeContext>, target: &Target, run_id: RunId) -> Result<Event, ServerError> {
    let (store, shard) = (Arc::clone(&context.store), target.shard);
    let rows = detached(async move { store.read_history(shard, run_id, EventId::NONE, true, 1, 1).await }).await?;
    let missing = || ServerError::Internal(format!("the history of closed run {run_id} has no close event"));
    let row = rows.into_iter().next().ok_or_else(missing)?;
    let history: engine_proto::EncodedHistory = prost::Message::decode(row.events).map_err(|_| missing())?;
    let last = history.events.last().ok_or_else(missing)?;
    decode_event(last).map_err(|e| ServerError::Internal(e.to_string()))
}

/// The run that continues the closed one.
fn successor(close: &Event) -> Option<RunId> {
    match &close.kind {
        EventKind::WorkflowCompleted(completed) => completed.new_run_id,
        EventKind::WorkflowFailed(failed) => failed.new_run_id,
        EventKind::WorkflowTimedOut(timed_out) => timed_out.new_run_id,
        EventKind::WorkflowContinuedAsNew(continued) => Some(continued.new_run_id),
        _ => None,
    }
}

/// How a run ended, by its last event.
pub(crate) fn outcome(run_id: RunId, close: Event) -> v1::GetWorkflowResultResponse {
    let status = convert::close_status_to_proto(close.kind.close_status());
    let (result, failure) = match close.kind {
        EventKind::WorkflowCompleted(completed) => (completed.result, None),
        EventKind::WorkflowFailed(failed) => (None, Some(failed.failure)),
        EventKind::WorkflowCanceled(canceled) => {
            (None, Some(failure("workflow canceled", FailureKind::Canceled { details: canceled.details })))
        }
        EventKind::WorkflowTerminated(terminated) => (None, Some(failure(&terminated.reason, FailureKind::Terminated))),
        EventKind::WorkflowTimedOut(timed_out) => {
            (None, Some(timed_out.failure.unwrap_or_else(|| Failure::timeout(TimeoutKind::StartToClose, None))))
        }
        _ => (None, None),
    };
    v1::GetWorkflowResultResponse {
        run_id: run_id.to_string(),
        status: status.into(),
        result: result.as_ref().map(convert::payload_to_proto),
        failure: failure.as_ref().map(convert::failure_to_proto),
    }
}

fn failure(message: &str, kind: FailureKind) -> Failure {
    Failure { message: message.to_owned(), kind, cause: None }
}
