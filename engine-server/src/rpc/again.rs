//! Running standalone activities once more: those that used up their attempts stay listed with their reason until somebody does.
//!
//! What is run again gets a new run with what the old one was started with. The request id of that start is a function of the old run,
//! and its shard starts it only behind that run, so a repeat of the call, by the same client or another, never runs one failure
//! twice. In the same transaction the old run leaves the lists of what failed.

use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{CloseStatus, EventKind, WorkflowStarted};
use engine_core::execution::{IdConflictPolicy, IdReusePolicy};
use engine_core::filter::{Column, Comparison, Condition, Filter, Order, Subject, Value};
use engine_core::ids::{RequestId, RunId};
use engine_core::time::Timestamp;
use engine_proto::v1;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tonic::Status;

use super::activity_service::{events, target};
use super::workflow_service::{Answer, new_run_id, received, send_start};
use super::{history, validate, visibility};
use crate::limits::{AGAIN_DEFAULT, AGAIN_MAX, AGAIN_PAGE};
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::shard::request::{ServerError, StartReply, StartRequest};
use crate::store::{NamespaceId, RunKey, Search, StoredRun};

/// Runs one activity again.
pub(super) async fn one(
    context: &Arc<NodeContext>,
    request: v1::RunActivityAgainRequest,
) -> Result<v1::RunActivityAgainResponse, ServerError> {
    validate::people_text("identity", &request.identity)?;
    let target = target(context, &request.namespace, &request.activity_id, &request.run_id).await?;
    let row = target.row(context).await?;
    if row.status.is_none() {
        return Err(ServerError::Refused(format!(
            "activity {:?} has not ended: wait for it, or cancel or terminate it first",
            request.activity_id
        )));
    }
    let stored = load(context, vec![row.key.clone()]).await?;
    let missing = || ServerError::NotFound { kind: "run", name: row.key.run_id.to_string() };
    let stored = stored.into_iter().next().flatten().ok_or_else(missing)?;
    let reply = received(start(context, &stored, &request.identity).await?.await)??;
    let repeated_run_id = row.key.run_id.to_string();
    Ok(v1::RunActivityAgainResponse { run_id: reply.run_id.to_string(), repeated_run_id })
}

/// Runs again what a filter means of what failed or timed out, in steps, as long as somebody reads how far it has come.
pub(super) async fn all(
    context: &Arc<NodeContext>,
    request: v1::RunActivitiesAgainRequest,
) -> Result<BoxStream<'static, Result<v1::RunActivitiesAgainProgress, Status>>, ServerError> {
    validate::people_text("identity", &request.identity)?;
    let limit = match request.limit {
        0 => AGAIN_DEFAULT,
        limit if limit <= AGAIN_MAX => limit,
        limit => {
            let problem = format!("is {limit}; the limit is {AGAIN_MAX}: make several calls");
            return Err(ServerError::Invalid { field: "limit".into(), problem });
        }
    };
    let namespace = context.namespaces.get(&context.store, "namespace", &request.namespace).await?;
    let asked = visibility::list_filter(context, &namespace, Subject::Activities, &request.query).await?;
    let rows = namespace.id.of_activities();
    let filter = dead_letters(asked, context.now());
    let (store, counted) = (Arc::clone(&context.store), filter.clone());
    let found = history::detached(async move { store.count(rows, &counted).await }).await?;
    let found = found.iter().map(|(_, count)| count).sum();
    let (news, progress) = mpsc::channel(1);
    let task = Task {
        context: Arc::clone(context),
        rows,
        filter,
        identity: request.identity,
        left: limit,
        progress: v1::RunActivitiesAgainProgress { found, ..Default::default() },
    };
    // In a task of its own: a caller that goes away must not drop a step half-way.
    tokio::spawn(task.run(news));
    let progress = stream::unfold(progress, |mut progress| async move {
        let news = progress.recv().await?;
        Some((news.map_err(to_status), progress))
    });
    Ok(progress.boxed())
}

/// The same in the same order, but only what failed or timed out, and nothing that is started from here on: what is run again and fails
/// again is not run a third time.
fn dead_letters(asked: Filter, now: Timestamp) -> Filter {
    let statuses = [CloseStatus::Failed, CloseStatus::TimedOut].map(|status| Value::Status(Some(status)));
    let mut parts = vec![
        Condition::In(Column::Status, statuses.into()),
        Condition::Compare(Column::StartTime, Comparison::AtMost, Value::Time(now)),
    ];
    parts.extend(asked.condition);
    Filter { condition: Some(Condition::All(parts)), order: asked.order, group_by: None }
}

/// A call that runs many again.
struct Task {
    context: Arc<NodeContext>,
    rows: NamespaceId,
    filter: Filter,
    identity: String,
    left: u32,
    progress: v1::RunActivitiesAgainProgress,
}

impl Task {
    async fn run(mut self, news: mpsc::Sender<Result<v1::RunActivitiesAgainProgress, ServerError>>) {
        let order: Order = self.filter.order.clone();
        let mut after = None;
        while self.left > 0 && !news.is_closed() && !self.context.is_stopping() {
            let limit = self.left.min(AGAIN_PAGE);
            let search = Search { namespace: self.rows, filter: self.filter.clone(), after: after.take(), limit };
            let store = Arc::clone(&self.context.store);
            let page = match history::detached(async move { store.search(&search).await }).await {
                Ok(page) => page,
                Err(error) => return drop(news.send(Err(error)).await),
            };
            let Some(last) = page.last() else { break };
            after = Some((last.listed().order_key(&order), last.key.run_id));
            let is_last = page.len() < limit as usize;
            self.left -= u32::try_from(page.len()).unwrap_or(self.left);
            if let Err(error) = self.step(page.into_iter().map(|row| row.key).collect()).await {
                return drop(news.send(Err(error)).await);
            }
            if is_last {
                break;
            }
            if news.send(Ok(self.progress)).await.is_err() {
                return;
            }
        }
        self.progress.done = !self.context.is_stopping();
        news.send(Ok(self.progress)).await.ok();
    }

    /// Runs these again. All starts are with their lanes before the first answer is awaited.
    async fn step(&mut self, keys: Vec<RunKey>) -> Result<(), ServerError> {
        let mut begun: Vec<Answer<StartReply>> = Vec::with_capacity(keys.len());
        for stored in load(&self.context, keys).await?.into_iter().flatten() {
            begun.push(loop {
                match start(&self.context, &stored, &self.identity).await {
                    Err(ServerError::Exhausted { retry_after, .. }) => tokio::time::sleep(retry_after).await,
                    begun => break begun?,
                }
            });
        }
        for answer in begun {
            match received(answer.await)? {
                Ok(_) => self.progress.run_again += 1,
                Err(ServerError::AlreadyStarted { .. } | ServerError::Refused(_)) => self.progress.passed_over += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn load(context: &NodeContext, keys: Vec<RunKey>) -> Result<Vec<Option<StoredRun>>, ServerError> {
    let store = Arc::clone(&context.store);
    history::detached(async move { store.load_runs(&keys).await }).await
}

/// Sends the start that repeats a run.
async fn start(context: &NodeContext, stored: &StoredRun, identity: &str) -> Result<Answer<StartReply>, ServerError> {
    let repeated = stored.row.key.run_id;
    let first = events(stored)?.into_iter().next().map(|event| event.kind);
    let Some(EventKind::WorkflowStarted(old)) = first else {
        return Err(ServerError::Internal(format!("the history of run {repeated} has no beginning")));
    };
    let run_id = new_run_id(context.now());
    let started = WorkflowStarted {
        run_id,
        first_run_id: run_id,
        continued_from: Some(repeated),
        request_id: Some(request_id(repeated)),
        identity: identity.to_owned(),
        first_task_backoff: Duration::ZERO,
        ..*old
    };
    let (_, answer) = send_start(context, stored.row.key.namespace, |reply| StartRequest {
        started,
        reuse: IdReusePolicy::AllowDuplicate,
        conflict: IdConflictPolicy::Fail,
        watch: false,
        with: None,
        again: Some(repeated),
        reply,
    })
    .await?;
    Ok(answer)
}

fn request_id(repeated: RunId) -> RequestId {
    RequestId::from_trusted(format!("run {repeated} again"))
}
