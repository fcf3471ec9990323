//! Deletes what need not be kept: closed runs whose retention is over, and the runs of namespaces that are being deleted.
//!
//! A round reads each namespace that has something to delete from its earliest start on, a page of an index at a time, up to
//! the latest start that can be due: a run that is kept for a week and is due started more than a week ago. Nothing is written
//! for this when a run closes, and there is no index for it; what a round reads again in vain are old runs that are kept
//! longer than others of their namespace, and old runs that are still open.
//!
//! Each server deletes the runs of its own shards: their lane leaves out what it has in memory and names the epochs under which
//! it owns the rest, so two servers never delete side by side. A crash loses at most the round; the next one finds what is left.
//! Nothing is remembered between rounds.
//!
//! In a namespace that is being deleted open runs are terminated first, and its own row goes last, once no server can have
//! begun a run in it.

use std::sync::Arc;
use std::time::Duration;

use engine_core::execution::Input;
use engine_core::ids::RunId;
use engine_core::time::Timestamp;
use tokio::sync::oneshot;

use crate::deployment::registry as deployments;
use crate::limits;
use crate::namespaces::Namespace;
use crate::node::NodeContext;
use crate::rpc::history;
use crate::shard::request::{LocalKey, Request, RequestKind, Responder, ServerError};
use crate::store::{ExecutionRow, NamespaceId, OWES_MESSAGES, RunKey};

/// Runs round after round until the node stops.
pub(crate) async fn run(context: Arc<NodeContext>) {
    let stopping = context.stopping();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = context.housekeeping_wanted.notified() => {}
            () = tokio::time::sleep(limits::HOUSEKEEPING_INTERVAL) => {}
        }
        if let Err(error) = context.namespaces.refresh(&context.store).await {
            tracing::warn!(%error, "could not read the namespaces");
            continue;
        }
        if let Err(error) = deployments::refresh(&context).await {
            tracing::warn!(%error, "could not read the deployments");
        }
        let round = round(&context, context.now(), limits::HOUSEKEEPING_PAUSE);
        tokio::select! {
            () = stopping.cancelled() => return,
            outcome = round => match outcome {
                Ok(0) => {}
                Ok(runs) => tracing::info!(runs, "deleted runs that need not be kept"),
                Err(error) => tracing::warn!(%error, "housekeeping was cut short; the next round goes on"),
            },
        }
    }
}

/// One round, as of `now`, with a pause after each page that deleted something. Returns how many runs it deleted.
pub(crate) async fn round(context: &Arc<NodeContext>, now: Timestamp, pause: Duration) -> Result<u64, ServerError> {
    let mut deleted = 0;
    for namespace in context.namespaces.all() {
        for rows in [namespace.id, namespace.id.of_activities()] {
            deleted += sweep(context, &namespace, rows, now, pause).await?;
        }
        if namespace.settings.deleting {
            bury(context, &namespace).await?;
        }
    }
    Ok(deleted)
}

/// What is to become of a run.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Terminated,
    Deleted,
}

fn fate(row: &ExecutionRow, namespace: &Namespace, now: Timestamp) -> Fate {
    let (Some(status), Some(closed_at)) = (row.status, row.closed_at) else {
        return if namespace.settings.deleting { Fate::Terminated } else { Fate::Kept };
    };
    if row.wake_at <= OWES_MESSAGES {
        return Fate::Kept;
    }
    let is_over = || namespace.settings.retention.of(status).is_some_and(|kept| closed_at + kept <= now);
    if namespace.settings.deleting || is_over() { Fate::Deleted } else { Fate::Kept }
}

/// Goes through the runs of a namespace, or through its standalone activities: `rows` says under which number they are.
async fn sweep(
    context: &Arc<NodeContext>,
    namespace: &Namespace,
    rows: NamespaceId,
    now: Timestamp,
    pause: Duration,
) -> Result<u64, ServerError> {
    let latest_start = match namespace.settings.retention.shortest() {
        _ if namespace.settings.deleting => Timestamp::MAX,
        Some(kept) => Timestamp::from_micros(now.as_micros().saturating_sub_unsigned(micros(kept))),
        None => return Ok(0),
    };
    let (mut after, mut deleted): (Option<RunId>, u64) = (None, 0);
    loop {
        let store = Arc::clone(&context.store);
        let page =
            history::detached(async move { store.earliest_runs(rows, after, limits::HOUSEKEEPING_PAGE).await }).await?;
        let Some(last) = page.last() else {
            return Ok(deleted);
        };
        let is_last = page.len() < limits::HOUSEKEEPING_PAGE as usize || last.started_at > latest_start;
        after = Some(last.key.run_id);
        let (mut doomed, mut events): (Vec<RunKey>, u64) = (Vec::new(), 0);
        let mut touched = false;
        for row in page {
            match fate(&row, namespace, now) {
                Fate::Kept => {}
                Fate::Terminated => terminate(context, &row.key).await,
                Fate::Deleted => {
                    events += row.history_length;
                    doomed.push(row.key);
                    // One transaction deletes one large run, or many small ones.
                    if events >= limits::HOUSEKEEPING_EVENTS {
                        deleted += context.delete_runs(std::mem::take(&mut doomed)).await?;
                        (events, touched) = (0, true);
                    }
                }
            }
        }
        if !doomed.is_empty() {
            deleted += context.delete_runs(doomed).await?;
            touched = true;
        }
        if is_last {
            return Ok(deleted);
        }
        if touched {
            tokio::time::sleep(pause).await;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Terminates an open run, if its shard is this node's. Its row goes in a later round.
async fn terminate(context: &NodeContext, key: &RunKey) {
    let (reply, answer) = oneshot::channel();
    let input = Input::Terminate {
        reason: "the namespace is being deleted".to_owned(),
        details: None,
        identity: "engine housekeeping".to_owned(),
    };
    let local = LocalKey { namespace: key.namespace, workflow_id: key.workflow_id.as_str().into() };
    let kind =
        RequestKind::Input { run_id: Some(key.run_id), input: Box::new(input), responder: Responder::Call(reply) };
    context.send(Request { shard: key.shard, key: local, kind }).await;
    // A run that closed meanwhile, or whose shard is another node's, is no concern of this round.
    if let Ok(Err(error)) = answer.await {
        tracing::debug!(%error, run_id = %key.run_id, "a run of a namespace that is being deleted was not terminated");
    }
}

/// Deletes the row of a namespace whose runs are all gone. Other servers may not know yet that it is being deleted, and begin
/// runs in it: so not before they have had time to hear of it.
async fn bury(context: &Arc<NodeContext>, namespace: &Namespace) -> Result<(), ServerError> {
    let mut unburied = context.unburied.lock().await;
    let (store, id) = (Arc::clone(&context.store), namespace.id);
    let left = history::detached(async move {
        let workflows = store.earliest_runs(id, None, 1).await?;
        Ok(workflows.len() + store.earliest_runs(id.of_activities(), None, 1).await?.len())
    });
    if left.await? > 0 {
        unburied.remove(&id);
        return Ok(());
    }
    let since = *unburied.entry(id).or_insert_with(tokio::time::Instant::now);
    if since.elapsed() < 2 * limits::HOUSEKEEPING_INTERVAL {
        return Ok(());
    }
    let store = Arc::clone(&context.store);
    history::detached(async move { store.delete_namespace(id).await }).await?;
    unburied.remove(&id);
    context.namespaces.refresh(&context.store).await?;
    tracing::info!(namespace = %namespace.name, "deleted a namespace");
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine_core::event::CloseStatus;
    use engine_core::search::SearchAttributes;

    use super::*;
    use crate::namespaces::{Retention, Settings};
    use crate::store::ShardId;

    fn row(status: Option<CloseStatus>, closed_at: i64) -> ExecutionRow {
        ExecutionRow {
            key: RunKey {
                shard: ShardId(0),
                namespace: NamespaceId(1),
                workflow_id: "w".into(),
                run_id: RunId::from_uuid(uuid::Uuid::nil()),
            },
            workflow_type: "order".into(),
            task_queue: "orders".into(),
            status,
            started_at: Timestamp::EPOCH,
            closed_at: status.map(|_| Timestamp::from_micros(closed_at)),
            history_length: 3,
            wake_at: Timestamp::EPOCH,
            request_id: String::new(),
            search_attributes: SearchAttributes::new(),
        }
    }

    #[test]
    fn a_run_is_deleted_when_the_retention_of_its_outcome_is_over() {
        let retention = Retention {
            default: Duration::from_micros(100),
            failed: Some(Duration::from_micros(500)),
            canceled: Some(Duration::ZERO),
            ..Retention::default()
        };
        let settings = Settings { retention, ..Settings::default() };
        let mut namespace = Namespace { id: NamespaceId(1), name: "n".into(), version: 1, settings };
        let at = |now| Timestamp::from_micros(now);
        let completed = row(Some(CloseStatus::Completed), 1000);
        assert_eq!(fate(&completed, &namespace, at(1099)), Fate::Kept);
        assert_eq!(fate(&completed, &namespace, at(1100)), Fate::Deleted);
        let failed = row(Some(CloseStatus::Failed), 1000);
        assert_eq!(fate(&failed, &namespace, at(1499)), Fate::Kept);
        assert_eq!(fate(&failed, &namespace, at(1500)), Fate::Deleted);
        assert_eq!(fate(&row(Some(CloseStatus::Canceled), 0), &namespace, Timestamp::MAX), Fate::Kept);
        assert_eq!(fate(&row(None, 0), &namespace, Timestamp::MAX), Fate::Kept, "an open run is never touched");
        let owing = ExecutionRow { wake_at: OWES_MESSAGES, ..completed.clone() };
        assert_eq!(fate(&owing, &namespace, Timestamp::MAX), Fate::Kept, "others still wait for its messages");

        namespace.settings = Settings { deleting: true, ..Settings::default() };
        assert_eq!(fate(&completed, &namespace, at(1000)), Fate::Deleted);
        assert_eq!(fate(&row(None, 0), &namespace, at(0)), Fate::Terminated);
        assert_eq!(fate(&owing, &namespace, at(0)), Fate::Kept);
    }
}
