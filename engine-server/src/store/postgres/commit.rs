//! One batch: one call of `engine.commit_batch`, which checks the epochs, writes, and commits.

use std::collections::HashSet;

use engine_core::event::CloseStatus;
use engine_core::ids::RunId;
use engine_core::time::Timestamp;
use sqlx::postgres::PgBindIterExt;
use uuid::Uuid;

use super::connections::{Connections, Failure};
use super::rows::{column, status};
use crate::store::attributes::encode;
use crate::store::{Batch, Committed, Epoch, ExecutionChange, RunKey, ShardId, StoreError};

const COMMIT: &str = "SELECT fenced, left_out FROM engine.commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
     $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, \
     $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50)";

type Close<'a> = (&'a RunKey, CloseStatus, Timestamp, u64);

/// The kinds of changes, apart.
#[derive(Default)]
struct Changes<'a> {
    closes: Vec<Close<'a>>,
    wakes: Vec<(&'a RunKey, Timestamp)>,
    attributes: Vec<(&'a RunKey, Option<String>)>,
}

fn split(batch: &Batch) -> Changes<'_> {
    let Changes { mut closes, mut wakes, mut attributes } = Changes::default();
    for update in &batch.updates {
        match &update.change {
            ExecutionChange::Close { status, at, history_length } => {
                closes.push((&update.key, *status, *at, *history_length));
            }
            ExecutionChange::WakeAt(at) => wakes.push((&update.key, *at)),
            ExecutionChange::SearchAttributes(all) => attributes.push((&update.key, encode(all))),
        }
    }
    Changes { closes, wakes, attributes }
}

pub(super) async fn commit(connections: &Connections, batch: &Batch) -> Result<Committed, StoreError> {
    let mut shards: Vec<(ShardId, Epoch)> = batch.shards.clone();
    // The order in which the rows are locked, also where the planner joins in the order of the array.
    shards.sort_unstable();
    let Changes { closes, wakes, attributes } = split(batch);
    // Most runs have none, and most batches no run that has any: a short array is filled up with nulls.
    let mut new_attributes: Vec<Option<String>> =
        batch.new_runs.iter().map(|row| encode(&row.search_attributes)).collect();
    new_attributes.truncate(new_attributes.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
    let presumed: HashSet<RunId> = batch.presumed_first.iter().copied().collect();
    let new_runs = || batch.new_runs.iter();
    let history = || batch.history.iter();
    let buffered = || batch.buffered.iter();
    let progress = || batch.progress.iter();
    // One array for each column. The order is that of the function's parameters.
    let query = sqlx::query(COMMIT)
        .bind(shards.iter().map(|(id, _)| id.0).bind_iter())
        .bind(shards.iter().map(|(_, epoch)| epoch.0).bind_iter())
        .bind(new_runs().map(|row| row.key.shard.0).bind_iter())
        .bind(new_runs().map(|row| row.key.namespace.0).bind_iter())
        .bind(new_runs().map(|row| row.key.workflow_id.as_str()).bind_iter())
        .bind(new_runs().map(|row| row.key.run_id.as_uuid()).bind_iter())
        .bind(new_runs().map(|row| row.workflow_type.as_str()).bind_iter())
        .bind(new_runs().map(|row| row.task_queue.as_str()).bind_iter())
        .bind(new_runs().map(|row| row.status.map(status)).bind_iter())
        .bind(new_runs().map(|row| row.started_at.as_micros()).bind_iter())
        .bind(new_runs().map(|row| row.closed_at.map(Timestamp::as_micros)).bind_iter())
        .bind(new_runs().map(|row| row.history_length.cast_signed()).bind_iter())
        .bind(new_runs().map(|row| row.wake_at.as_micros()).bind_iter())
        .bind(new_runs().map(|row| row.request_id.as_str()).bind_iter())
        .bind(new_runs().map(|row| presumed.contains(&row.key.run_id)).bind_iter())
        .bind(closes.iter().map(|(key, ..)| key.shard.0).bind_iter())
        .bind(closes.iter().map(|(key, ..)| key.namespace.0).bind_iter())
        .bind(closes.iter().map(|(key, ..)| key.workflow_id.as_str()).bind_iter())
        .bind(closes.iter().map(|(key, ..)| key.run_id.as_uuid()).bind_iter())
        .bind(closes.iter().map(|(_, closed_as, ..)| status(*closed_as)).bind_iter())
        .bind(closes.iter().map(|(_, _, at, _)| at.as_micros()).bind_iter())
        .bind(closes.iter().map(|(.., length)| length.cast_signed()).bind_iter())
        .bind(wakes.iter().map(|(key, _)| key.shard.0).bind_iter())
        .bind(wakes.iter().map(|(key, _)| key.namespace.0).bind_iter())
        .bind(wakes.iter().map(|(key, _)| key.workflow_id.as_str()).bind_iter())
        .bind(wakes.iter().map(|(key, _)| key.run_id.as_uuid()).bind_iter())
        .bind(wakes.iter().map(|(_, at)| at.as_micros()).bind_iter())
        .bind(history().map(|row| row.shard.0).bind_iter())
        .bind(history().map(|row| row.run_id.as_uuid()).bind_iter())
        .bind(history().map(|row| row.first_event_id.0.cast_signed()).bind_iter())
        .bind(history().map(|row| row.events.as_ref()).bind_iter())
        .bind(batch.buffered_deletes.iter().map(|(shard, _)| shard.0).bind_iter())
        .bind(batch.buffered_deletes.iter().map(|(_, run_id)| run_id.as_uuid()).bind_iter())
        .bind(buffered().map(|row| row.shard.0).bind_iter())
        .bind(buffered().map(|row| row.run_id.as_uuid()).bind_iter())
        .bind(buffered().map(|row| row.position).bind_iter())
        .bind(buffered().map(|row| row.event.as_ref()).bind_iter())
        .bind(batch.progress_deletes.iter().map(|(shard, ..)| shard.0).bind_iter())
        .bind(batch.progress_deletes.iter().map(|(_, run_id, _)| run_id.as_uuid()).bind_iter())
        .bind(batch.progress_deletes.iter().map(|(.., event)| event.0.cast_signed()).bind_iter())
        .bind(progress().map(|row| row.shard.0).bind_iter())
        .bind(progress().map(|row| row.run_id.as_uuid()).bind_iter())
        .bind(progress().map(|row| row.scheduled_event_id.0.cast_signed()).bind_iter())
        .bind(progress().map(|row| row.progress.as_ref()).bind_iter())
        .bind(new_attributes.iter().map(Option::as_deref).bind_iter())
        .bind(attributes.iter().map(|(key, _)| key.shard.0).bind_iter())
        .bind(attributes.iter().map(|(key, _)| key.namespace.0).bind_iter())
        .bind(attributes.iter().map(|(key, _)| key.workflow_id.as_str()).bind_iter())
        .bind(attributes.iter().map(|(key, _)| key.run_id.as_uuid()).bind_iter())
        .bind(attributes.iter().map(|(_, all)| all.as_deref()).bind_iter());
    let rows = connections.rows(query).await.map_err(|failure| match failure {
        Failure::Refused(text) => StoreError::Corrupt(format!("a batch was refused: {text}")),
        failure => failure.into(),
    })?;
    let row = rows.first().ok_or_else(|| StoreError::Unavailable("a batch got no answer".to_owned()))?;
    match column::<Option<i32>>(row, 0)? {
        None => {
            let left_out: Option<Vec<Uuid>> = column(row, 1)?;
            Ok(Committed { left_out: left_out.unwrap_or_default().into_iter().map(RunId::from_uuid).collect() })
        }
        Some(shard) => Err(StoreError::Fenced(ShardId(shard))),
    }
}

/// Deletes runs with everything beside them: one call of `engine.delete_runs`.
pub(super) async fn delete_runs(
    connections: &Connections,
    shards: &[(ShardId, Epoch)],
    runs: &[RunKey],
) -> Result<(), StoreError> {
    let mut shards = shards.to_vec();
    shards.sort_unstable();
    let query = sqlx::query("SELECT engine.delete_runs($1, $2, $3, $4, $5, $6)")
        .bind(shards.iter().map(|(id, _)| id.0).bind_iter())
        .bind(shards.iter().map(|(_, epoch)| epoch.0).bind_iter())
        .bind(runs.iter().map(|key| key.shard.0).bind_iter())
        .bind(runs.iter().map(|key| key.namespace.0).bind_iter())
        .bind(runs.iter().map(|key| key.workflow_id.as_str()).bind_iter())
        .bind(runs.iter().map(|key| key.run_id.as_uuid()).bind_iter());
    let rows = connections.rows(query).await?;
    match rows.first().map_or(Ok(None), |row| column::<Option<i32>>(row, 0))? {
        None => Ok(()),
        Some(shard) => Err(StoreError::Fenced(ShardId(shard))),
    }
}
