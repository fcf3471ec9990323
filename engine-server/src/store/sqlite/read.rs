//! What runs, lists and recovery read, each on one of the readers.

use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use super::bulk::{Bulk, Query, groups};
use super::connections::Connections;
use super::rows::{EXECUTION_COLUMNS, bytes, column, event_id, execution as execution_row};
use crate::store::codes::status_code;
use crate::store::search::{Bind, Dialect, Statement, group_name};
use crate::store::{
    BufferedRow, ExecutionRow, HistoryRow, ListFilter, NamespaceId, NamespaceRow, ProgressRow, RunKey, Search, ShardId,
    StoreError, StoredRun, WorkflowKey,
};

async fn rows(
    connections: &Connections,
    connection: &mut SqliteConnection,
    query: Query<'_>,
) -> Result<Vec<SqliteRow>, StoreError> {
    query.fetch_all(connection).await.map_err(|error| connections.explain(&error))
}

pub(super) async fn latest_runs(
    connections: &Connections,
    keys: &[WorkflowKey],
) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
    const LATEST: Bulk = Bulk {
        head: "WITH k (place, shard_id, namespace_id, workflow_id) AS (VALUES",
        row: "(?, ?, ?, ?)",
        separator: ",",
        tail: ") SELECT k.place, e.shard_id, e.namespace_id, e.workflow_id, e.run_id, e.workflow_type, e.task_queue, \
               e.status, e.started_at, e.closed_at, e.history_length, e.wake_at, e.request_id, e.attributes \
               FROM k CROSS JOIN execution e ON e.rowid = (SELECT l.rowid FROM execution l \
               WHERE l.shard_id = k.shard_id AND l.namespace_id = k.namespace_id AND l.workflow_id = k.workflow_id \
               ORDER BY l.run_id DESC LIMIT 1)",
    };
    let mut reader = connections.reader().await?;
    let mut found = vec![None; keys.len()];
    let places: Vec<_> = keys.iter().enumerate().collect();
    for group in groups(&places) {
        let query = group.iter().fold(sqlx::query(AssertSqlSafe(LATEST.text(group.len()))), |query, (place, key)| {
            query
                .bind(i64::try_from(*place).expect("a slice's length fits"))
                .bind(key.shard.0)
                .bind(key.namespace.0)
                .bind(key.workflow_id.clone())
        });
        for row in &rows(connections, &mut reader, query).await? {
            let place: u32 = column(row, 0)?;
            found[place as usize] = Some(execution_row(row, 1)?);
        }
    }
    Ok(found)
}

pub(super) async fn execution(connections: &Connections, key: &RunKey) -> Result<Option<ExecutionRow>, StoreError> {
    let mut reader = connections.reader().await?;
    execution_of(connections, &mut reader, key).await
}

async fn execution_of(
    connections: &Connections,
    connection: &mut SqliteConnection,
    key: &RunKey,
) -> Result<Option<ExecutionRow>, StoreError> {
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM execution e WHERE e.shard_id = ?1 AND e.namespace_id = ?2 \
         AND e.workflow_id = ?3 AND e.run_id = ?4"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(key.shard.0)
        .bind(key.namespace.0)
        .bind(key.workflow_id.clone())
        .bind(key.run_id.as_uuid());
    rows(connections, connection, query).await?.first().map(|row| execution_row(row, 0)).transpose()
}

pub(super) async fn load_runs(
    connections: &Connections,
    keys: &[RunKey],
) -> Result<Vec<Option<StoredRun>>, StoreError> {
    let mut reader = connections.reader().await?;
    let mut loaded = Vec::with_capacity(keys.len());
    for key in keys {
        let run = match execution_of(connections, &mut reader, key).await? {
            Some(row) => Some(parts_of(connections, &mut reader, row).await?),
            None => None,
        };
        loaded.push(run);
    }
    Ok(loaded)
}

/// All that belongs to a run, from the three tables at once: a kind, a number to order by, and bytes.
async fn parts_of(
    connections: &Connections,
    connection: &mut SqliteConnection,
    row: ExecutionRow,
) -> Result<StoredRun, StoreError> {
    let (shard, run_id) = (row.key.shard, row.key.run_id);
    let query = sqlx::query(
        "SELECT 1, first_event_id, events FROM history WHERE shard_id = ?1 AND run_id = ?2 \
         UNION ALL SELECT 2, position, event FROM buffered_event WHERE shard_id = ?1 AND run_id = ?2 \
         UNION ALL SELECT 3, scheduled_event_id, progress FROM activity_progress WHERE shard_id = ?1 AND run_id = ?2",
    );
    let mut run = StoredRun { row, history: Vec::new(), buffered: Vec::new(), progress: Vec::new() };
    for row in &rows(connections, connection, query.bind(shard.0).bind(run_id.as_uuid())).await? {
        match column::<i64>(row, 0)? {
            1 => {
                let first_event_id = event_id(row, 1)?;
                run.history.push(HistoryRow { shard, run_id, first_event_id, events: bytes(row, 2)? });
            }
            2 => {
                let position = column(row, 1)?;
                run.buffered.push(BufferedRow { shard, run_id, position, event: bytes(row, 2)? });
            }
            _ => {
                let scheduled_event_id = event_id(row, 1)?;
                run.progress.push(ProgressRow { shard, run_id, scheduled_event_id, progress: bytes(row, 2)? });
            }
        }
    }
    // Here, not in the statement: SQLite would copy all the bytes through its sorter.
    run.history.sort_by_key(|row| row.first_event_id);
    run.buffered.sort_by_key(|row| row.position);
    run.progress.sort_by_key(|row| row.scheduled_event_id);
    Ok(run)
}

pub(super) async fn owing_runs(
    connections: &Connections,
    shard: ShardId,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<ExecutionRow>, StoreError> {
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM execution e WHERE e.status IS NOT NULL AND e.wake_at < 0 \
             AND e.shard_id = ?1 AND e.run_id > ?2 ORDER BY e.run_id LIMIT ?3"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(shard.0)
        .bind(after.map_or(Uuid::nil(), RunId::as_uuid))
        .bind(i64::from(limit));
    let mut reader = connections.reader().await?;
    let rows = rows(connections, &mut reader, query).await?;
    rows.iter().map(|row| execution_row(row, 0)).collect()
}

pub(super) async fn due_runs(
    connections: &Connections,
    shard: ShardId,
    until: Timestamp,
    after: Option<(Timestamp, RunId)>,
    limit: u32,
) -> Result<(Vec<ExecutionRow>, Timestamp), StoreError> {
    // One more than asked for, and the first that is not due, so that the next instant is known either way.
    let statement = format!(
        "SELECT * FROM (SELECT {EXECUTION_COLUMNS} FROM execution e WHERE e.status IS NULL AND e.shard_id = ?1 \
             AND e.wake_at <= ?2 AND (e.wake_at, e.run_id) > (?3, ?4) ORDER BY e.wake_at, e.run_id LIMIT ?5) \
         UNION ALL \
         SELECT * FROM (SELECT {EXECUTION_COLUMNS} FROM execution e WHERE e.status IS NULL AND e.shard_id = ?1 \
             AND e.wake_at > ?2 AND (e.wake_at, e.run_id) > (?3, ?4) ORDER BY e.wake_at, e.run_id LIMIT 1)"
    );
    let (after_at, after_run) = after.unwrap_or((Timestamp::from_micros(i64::MIN), RunId::from_uuid(Uuid::nil())));
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(shard.0)
        .bind(until.as_micros())
        .bind(after_at.as_micros())
        .bind(after_run.as_uuid())
        .bind(i64::from(limit) + 1);
    let mut reader = connections.reader().await?;
    let rows = rows(connections, &mut reader, query).await?;
    let mut rows = rows.iter().map(|row| execution_row(row, 0)).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.wake_at, row.key.run_id));
    let due = rows.iter().take_while(|row| row.wake_at <= until).count().min(limit as usize);
    let next = rows.get(due).map_or(Timestamp::MAX, |row| row.wake_at);
    rows.truncate(due);
    Ok((rows, next))
}

/// The running total is of the rows before, so that the first row is always within the budget. `length` of a blob does
/// not read it.
const FORWARD: &str = "SELECT p.first_event_id, p.events FROM (\
     SELECT h.first_event_id, h.events, sum(length(h.events)) OVER (ORDER BY h.first_event_id \
         ROWS UNBOUNDED PRECEDING) - length(h.events) AS before FROM history h \
     WHERE h.shard_id = ?1 AND h.run_id = ?2 AND h.first_event_id >= coalesce((SELECT max(f.first_event_id) \
         FROM history f WHERE f.shard_id = ?1 AND f.run_id = ?2 AND f.first_event_id <= ?3), 0) \
     ORDER BY h.first_event_id LIMIT ?4) p WHERE p.before = 0 OR p.before < ?5 ORDER BY p.first_event_id";

const REVERSE: &str = "SELECT p.first_event_id, p.events FROM (\
     SELECT h.first_event_id, h.events, sum(length(h.events)) OVER (ORDER BY h.first_event_id DESC \
         ROWS UNBOUNDED PRECEDING) - length(h.events) AS before FROM history h \
     WHERE h.shard_id = ?1 AND h.run_id = ?2 AND h.first_event_id <= ?3 \
     ORDER BY h.first_event_id DESC LIMIT ?4) p WHERE p.before = 0 OR p.before < ?5 ORDER BY p.first_event_id DESC";

pub(super) async fn history(
    connections: &Connections,
    shard: ShardId,
    run_id: RunId,
    from: EventId,
    reverse: bool,
    max_rows: u32,
    max_bytes: usize,
) -> Result<Vec<HistoryRow>, StoreError> {
    let from = if reverse && !from.is_some() { i64::MAX } else { i64::try_from(from.0).unwrap_or(i64::MAX) };
    let query = sqlx::query(if reverse { REVERSE } else { FORWARD })
        .bind(shard.0)
        .bind(run_id.as_uuid())
        .bind(from)
        .bind(max_rows)
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX));
    let mut reader = connections.reader().await?;
    let rows = rows(connections, &mut reader, query).await?;
    rows.iter()
        .map(|row| Ok(HistoryRow { shard, run_id, first_event_id: event_id(row, 0)?, events: bytes(row, 1)? }))
        .collect()
}

pub(super) async fn list(connections: &Connections, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError> {
    // By workflow id there is an index if every shard is named; all else is read latest first until the page is full.
    let (index, workflow) = match filter.workflow_id {
        Some(_) => ("execution_key", "e.workflow_id = ?5 AND e.shard_id IN (SELECT s.id FROM shard s)"),
        None => ("execution_visible", "?5 IS NULL"),
    };
    let status = match filter.status {
        None => "?3 IS NULL",
        Some(None) => "e.status IS NULL AND ?3 IS NULL",
        Some(Some(_)) => "e.status = ?3",
    };
    let workflow_type = if filter.workflow_type.is_some() { "e.workflow_type = ?4" } else { "?4 IS NULL" };
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM execution e INDEXED BY {index} WHERE e.namespace_id = ?1 AND e.run_id < ?2 \
         AND {status} AND {workflow_type} AND {workflow} ORDER BY e.run_id DESC LIMIT ?6"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(filter.namespace.0)
        .bind(filter.before.map_or(Uuid::max(), RunId::as_uuid))
        .bind(filter.status.flatten().map(status_code))
        .bind(filter.workflow_type.clone())
        .bind(filter.workflow_id.clone())
        .bind(filter.limit);
    let mut reader = connections.reader().await?;
    rows(connections, &mut reader, query).await?.iter().map(|row| execution_row(row, 0)).collect()
}

fn bound(statement: Statement) -> Query<'static> {
    let query = sqlx::query(AssertSqlSafe(statement.text));
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Int(number) => query.bind(number),
        Bind::Double(number) => query.bind(number),
        Bind::Text(text) => query.bind(text),
        Bind::Run(run_id) => query.bind(run_id.as_uuid()),
    })
}

pub(super) async fn search(connections: &Connections, search: &Search) -> Result<Vec<ExecutionRow>, StoreError> {
    let query = bound(Statement::list(Dialect::Sqlite, EXECUTION_COLUMNS, search));
    let mut reader = connections.reader().await?;
    rows(connections, &mut reader, query).await?.iter().map(|row| execution_row(row, 0)).collect()
}

pub(super) async fn count(
    connections: &Connections,
    namespace: NamespaceId,
    filter: &Filter,
) -> Result<Vec<(String, u64)>, StoreError> {
    let query = bound(Statement::count(Dialect::Sqlite, namespace, filter));
    let mut reader = connections.reader().await?;
    let rows = rows(connections, &mut reader, query).await?;
    let group = |row| Ok((group_name(filter, column(row, 0)?)?, column::<i64>(row, 1)?.unsigned_abs()));
    rows.iter().map(group).collect()
}

pub(super) async fn namespaces(connections: &Connections) -> Result<Vec<NamespaceRow>, StoreError> {
    let mut reader = connections.reader().await?;
    let query = sqlx::query("SELECT id, name, version, settings FROM namespace ORDER BY id");
    let namespace = |row| {
        Ok(NamespaceRow {
            id: NamespaceId(column(row, 0)?),
            name: column(row, 1)?,
            version: column(row, 2)?,
            settings: bytes(row, 3)?,
        })
    };
    rows(connections, &mut reader, query).await?.iter().map(namespace).collect()
}

pub(super) async fn earliest_runs(
    connections: &Connections,
    namespace: NamespaceId,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<ExecutionRow>, StoreError> {
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM execution e INDEXED BY execution_visible WHERE e.namespace_id = ?1 \
         AND e.run_id > ?2 ORDER BY e.run_id LIMIT ?3"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(namespace.0)
        .bind(after.map_or(Uuid::nil(), RunId::as_uuid))
        .bind(limit);
    let mut reader = connections.reader().await?;
    rows(connections, &mut reader, query).await?.iter().map(|row| execution_row(row, 0)).collect()
}
