//! One batch: one transaction of the writer.

use std::collections::HashSet;

use engine_core::event::CloseStatus;
use engine_core::ids::RunId;
use engine_core::time::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::bulk::{Bulk, groups};
use super::connections::Connections;
use super::rows::column;
use crate::store::attributes;
use crate::store::codes::status_code;
use crate::store::{Batch, Committed, Epoch, ExecutionChange, RunKey, ShardId, StoreError};

const NEW_RUNS: Bulk = Bulk {
    head: "INSERT INTO execution (shard_id, namespace_id, workflow_id, run_id, workflow_type, task_queue, status, \
           started_at, closed_at, history_length, wake_at, request_id, attributes) VALUES",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    separator: ",",
    tail: "",
};
const TAKEN: Bulk = Bulk {
    head: "SELECT n.column4 FROM (VALUES",
    row: "(?, ?, ?, ?)",
    separator: ",",
    tail: ") AS n WHERE EXISTS (SELECT 1 FROM execution WHERE shard_id = n.column1 AND namespace_id = n.column2 \
           AND workflow_id = n.column3)",
};
const CLOSES: Bulk = Bulk {
    head: "UPDATE execution SET status = c.column5, closed_at = c.column6, history_length = c.column7 FROM (VALUES",
    row: "(?, ?, ?, ?, ?, ?, ?)",
    separator: ",",
    tail: ") AS c WHERE shard_id = c.column1 AND namespace_id = c.column2 AND workflow_id = c.column3 \
           AND run_id = c.column4",
};
const WAKES: Bulk = Bulk {
    head: "UPDATE execution SET wake_at = c.column5 FROM (VALUES",
    row: "(?, ?, ?, ?, ?)",
    separator: ",",
    tail: ") AS c WHERE shard_id = c.column1 AND namespace_id = c.column2 AND workflow_id = c.column3 \
           AND run_id = c.column4",
};
const ATTRIBUTES: Bulk = Bulk {
    head: "UPDATE execution SET attributes = c.column5 FROM (VALUES",
    row: "(?, ?, ?, ?, ?)",
    separator: ",",
    tail: ") AS c WHERE shard_id = c.column1 AND namespace_id = c.column2 AND workflow_id = c.column3 \
           AND run_id = c.column4",
};
const HISTORY: Bulk = Bulk {
    head: "INSERT INTO history (shard_id, run_id, first_event_id, events) VALUES",
    row: "(?, ?, ?, ?)",
    separator: ",",
    tail: "",
};
// Not `IN (VALUES …)`: for that SQLite reads the whole table.
const UNBUFFER: Bulk =
    Bulk { head: "DELETE FROM buffered_event WHERE", row: "(shard_id = ? AND run_id = ?)", separator: "OR", tail: "" };
const BUFFER: Bulk = Bulk {
    head: "INSERT INTO buffered_event (shard_id, run_id, position, event) VALUES",
    row: "(?, ?, ?, ?)",
    separator: ",",
    tail: "",
};
const PROGRESS_DONE: Bulk = Bulk {
    head: "DELETE FROM activity_progress WHERE",
    row: "(shard_id = ? AND run_id = ? AND scheduled_event_id = ?)",
    separator: "OR",
    tail: "",
};
const PROGRESS: Bulk = Bulk {
    head: "INSERT INTO activity_progress (shard_id, run_id, scheduled_event_id, progress) VALUES",
    row: "(?, ?, ?, ?)",
    separator: ",",
    tail: "ON CONFLICT (shard_id, run_id, scheduled_event_id) DO UPDATE SET progress = excluded.progress",
};

/// What a run consists of, its own row last.
const DELETES: [Bulk; 4] = [
    Bulk { head: "DELETE FROM history WHERE", row: "(shard_id = ? AND run_id = ?)", separator: "OR", tail: "" },
    UNBUFFER,
    Bulk {
        head: "DELETE FROM activity_progress WHERE",
        row: "(shard_id = ? AND run_id = ?)",
        separator: "OR",
        tail: "",
    },
    Bulk {
        head: "DELETE FROM execution WHERE",
        row: "(shard_id = ? AND run_id = ? AND namespace_id = ? AND workflow_id = ?)",
        separator: "OR",
        tail: "",
    },
];

/// Why a batch was not applied.
enum Failure {
    Store(StoreError),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Database(error)
    }
}

pub(super) async fn commit(connections: &Connections, batch: &Batch) -> Result<Committed, StoreError> {
    let mut writer = connections.writer().await?;
    // Boxed: the future holds every statement's, and its callers' callers would carry it.
    let applied = Box::pin(async {
        let mut transaction = writer.begin().await?;
        check_epochs(&mut transaction, &batch.shards).await?;
        let left_out = not_first(&mut transaction, batch).await?;
        apply(&mut transaction, &batch.without(&left_out)).await?;
        transaction.commit().await?;
        Ok(Committed { left_out })
    });
    applied.await.map_err(|failure| match failure {
        Failure::Store(error) => error,
        Failure::Database(error) => connections.explain_commit(&error),
    })
}

/// Deletes runs with everything beside them, in one transaction of the writer.
pub(super) async fn delete_runs(
    connections: &Connections,
    shards: &[(ShardId, Epoch)],
    runs: &[RunKey],
) -> Result<(), StoreError> {
    let mut writer = connections.writer().await?;
    let deleted = Box::pin(async {
        let mut transaction = writer.begin().await?;
        check_epochs(&mut transaction, shards).await?;
        let [history, buffered, progress, rows] = &DELETES;
        for beside in [history, buffered, progress] {
            beside
                .execute(&mut transaction, runs, |query, key| query.bind(key.shard.0).bind(key.run_id.as_uuid()))
                .await?;
        }
        rows.execute(&mut transaction, runs, |query, key| {
            let query = query.bind(key.shard.0).bind(key.run_id.as_uuid());
            query.bind(key.namespace.0).bind(key.workflow_id.clone())
        })
        .await?;
        transaction.commit().await?;
        Ok(())
    });
    deleted.await.map_err(|failure| match failure {
        Failure::Store(error) => error,
        Failure::Database(error) => connections.explain_commit(&error),
    })
}

async fn check_epochs(connection: &mut SqliteConnection, shards: &[(ShardId, Epoch)]) -> Result<(), Failure> {
    for group in groups(shards) {
        let places = vec!["?"; group.len()].join(",");
        let statement = format!("SELECT id, epoch FROM shard WHERE id IN ({places})");
        let query = group.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, (id, _)| query.bind(id.0));
        let rows = query.fetch_all(&mut *connection).await?;
        let mut current = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = ShardId(column(row, 0).map_err(Failure::Store)?);
            current.push((id, Epoch(column(row, 1).map_err(Failure::Store)?)));
        }
        if let Some((id, _)) = group.iter().find(|held| !current.contains(held)) {
            return Err(Failure::Store(StoreError::Fenced(*id)));
        }
    }
    Ok(())
}

/// The runs that are presumed to be the first of their workflow ids and are not.
async fn not_first(connection: &mut SqliteConnection, batch: &Batch) -> Result<Vec<RunId>, Failure> {
    let presumed: HashSet<RunId> = batch.presumed_first.iter().copied().collect();
    let keys: Vec<&RunKey> =
        batch.new_runs.iter().map(|row| &row.key).filter(|key| presumed.contains(&key.run_id)).collect();
    let mut found = Vec::new();
    for group in groups(&keys) {
        let query = group.iter().fold(sqlx::query(AssertSqlSafe(TAKEN.text(group.len()))), |query, key| {
            query.bind(key.shard.0).bind(key.namespace.0).bind(key.workflow_id.as_str()).bind(key.run_id.as_uuid())
        });
        for row in &query.fetch_all(&mut *connection).await? {
            found.push(RunId::from_uuid(column(row, 0).map_err(Failure::Store)?));
        }
    }
    Ok(found)
}

async fn apply(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), Failure> {
    NEW_RUNS
        .execute(connection, &batch.new_runs, |query, row| {
            query
                .bind(row.key.shard.0)
                .bind(row.key.namespace.0)
                .bind(row.key.workflow_id.clone())
                .bind(row.key.run_id.as_uuid())
                .bind(row.workflow_type.clone())
                .bind(row.task_queue.clone())
                .bind(row.status.map(status_code))
                .bind(row.started_at.as_micros())
                .bind(row.closed_at.map(Timestamp::as_micros))
                .bind(row.history_length.cast_signed())
                .bind(row.wake_at.as_micros())
                .bind(row.request_id.clone())
                .bind(attributes::encode(&row.search_attributes))
        })
        .await?;
    update(connection, batch).await?;
    HISTORY
        .execute(connection, &batch.history, |query, row| {
            query
                .bind(row.shard.0)
                .bind(row.run_id.as_uuid())
                .bind(row.first_event_id.0.cast_signed())
                .bind(row.events.to_vec())
        })
        .await?;
    UNBUFFER
        .execute(connection, &batch.buffered_deletes, |query, (shard, run_id)| {
            query.bind(shard.0).bind(run_id.as_uuid())
        })
        .await?;
    BUFFER
        .execute(connection, &batch.buffered, |query, row| {
            query.bind(row.shard.0).bind(row.run_id.as_uuid()).bind(row.position).bind(row.event.to_vec())
        })
        .await?;
    PROGRESS_DONE
        .execute(connection, &batch.progress_deletes, |query, (shard, run_id, event)| {
            query.bind(shard.0).bind(run_id.as_uuid()).bind(event.0.cast_signed())
        })
        .await?;
    PROGRESS
        .execute(connection, &batch.progress, |query, row| {
            query
                .bind(row.shard.0)
                .bind(row.run_id.as_uuid())
                .bind(row.scheduled_event_id.0.cast_signed())
                .bind(row.progress.to_vec())
        })
        .await?;
    Ok(())
}

async fn update(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), Failure> {
    let mut closes: Vec<(&RunKey, CloseStatus, Timestamp, u64)> = Vec::new();
    let mut wakes: Vec<(&RunKey, Timestamp)> = Vec::new();
    let mut attributes: Vec<(&RunKey, Option<String>)> = Vec::new();
    for update in &batch.updates {
        match &update.change {
            ExecutionChange::Close { status, at, history_length } => {
                closes.push((&update.key, *status, *at, *history_length));
            }
            ExecutionChange::WakeAt(at) => wakes.push((&update.key, *at)),
            ExecutionChange::SearchAttributes(all) => attributes.push((&update.key, attributes::encode(all))),
        }
    }
    let closed = CLOSES
        .execute(connection, &closes, |query, (key, status, at, history_length)| {
            query
                .bind(key.shard.0)
                .bind(key.namespace.0)
                .bind(key.workflow_id.clone())
                .bind(key.run_id.as_uuid())
                .bind(status_code(*status))
                .bind(at.as_micros())
                .bind(history_length.cast_signed())
        })
        .await?;
    let woken = WAKES
        .execute(connection, &wakes, |query, (key, at)| {
            query
                .bind(key.shard.0)
                .bind(key.namespace.0)
                .bind(key.workflow_id.clone())
                .bind(key.run_id.as_uuid())
                .bind(at.as_micros())
        })
        .await?;
    let changed = ATTRIBUTES
        .execute(connection, &attributes, |query, (key, all)| {
            query
                .bind(key.shard.0)
                .bind(key.namespace.0)
                .bind(key.workflow_id.clone())
                .bind(key.run_id.as_uuid())
                .bind(all.clone())
        })
        .await?;
    if (closed, woken, changed) == (closes.len() as u64, wakes.len() as u64, attributes.len() as u64) {
        return Ok(());
    }
    Err(Failure::Store(StoreError::Corrupt("a batch was refused: it changes a run that has no row".to_owned())))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Row};

    use super::*;

    #[tokio::test]
    async fn no_statement_of_a_batch_reads_a_whole_table() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for migration in super::super::migrate::MIGRATIONS {
            sqlx::raw_sql(migration.statements).execute(&mut connection).await.unwrap();
        }
        for bulk in [TAKEN, CLOSES, WAKES, ATTRIBUTES, UNBUFFER, PROGRESS_DONE].into_iter().chain(DELETES) {
            for rows in [1, 64] {
                let statement = format!("EXPLAIN QUERY PLAN {}", bulk.text(rows));
                let plan = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|row| row.get(3)).collect();
                let scans = ["execution", "history", "buffered_event", "activity_progress"]
                    .map(|table| format!("SCAN {table}"));
                assert!(!plan.iter().any(|step| scans.iter().any(|scan| step.starts_with(scan))), "{plan:?}");
                assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{plan:?}");
            }
        }
    }
}
