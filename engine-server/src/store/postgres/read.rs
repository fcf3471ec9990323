//! What runs, lists and recovery read. Each statement is one round trip, whatever the number of keys.

use engine_core::filter::Filter;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgBindIterExt;

use super::connections::Connections;
use super::rows::{EXECUTION_COLUMNS, bytes, column, event_id, execution, status};
use crate::store::search::{Bind, Dialect, Statement, group_name};
use crate::store::{
    BufferedRow, ExecutionRow, HistoryRow, ListFilter, NamespaceId, NamespaceRow, ProgressRow, RunKey, Search, ShardId,
    StoreError, StoredRun, WorkflowKey,
};

/// The place of a key in the request, and the row that it has.
fn place<T>(rows: &mut [Option<T>], ordinal: i64, row: T) {
    let index = usize::try_from(ordinal - 1).expect("ordinalities count from 1");
    rows[index] = Some(row);
}

pub(super) async fn latest_runs(
    connections: &Connections,
    keys: &[WorkflowKey],
) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
    let statement = format!(
        "SELECT k.ordinality, e.* \
         FROM unnest($1::int4[], $2::int4[], $3::text[]) WITH ORDINALITY AS k (shard_id, namespace_id, workflow_id) \
         CROSS JOIN LATERAL (SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.shard_id = k.shard_id \
             AND e.namespace_id = k.namespace_id AND e.workflow_id = k.workflow_id ORDER BY e.run_id DESC LIMIT 1) e"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(keys.iter().map(|key| key.shard.0).bind_iter())
        .bind(keys.iter().map(|key| key.namespace.0).bind_iter())
        .bind(keys.iter().map(|key| key.workflow_id.as_str()).bind_iter());
    let mut found = vec![None; keys.len()];
    for row in &connections.rows(query).await? {
        place(&mut found, column(row, 0)?, execution(row, 1)?);
    }
    Ok(found)
}

pub(super) async fn executions(
    connections: &Connections,
    keys: &[RunKey],
) -> Result<Vec<Option<ExecutionRow>>, StoreError> {
    // LATERAL with LIMIT keeps it a look-up by primary key for each of them, whatever the planner believes.
    let statement = format!(
        "SELECT k.ordinality, e.* FROM unnest($1::int4[], $2::int4[], $3::text[], $4::uuid[]) WITH ORDINALITY \
             AS k (shard_id, namespace_id, workflow_id, run_id) \
         CROSS JOIN LATERAL (SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.shard_id = k.shard_id \
             AND e.namespace_id = k.namespace_id AND e.workflow_id = k.workflow_id AND e.run_id = k.run_id LIMIT 1) e"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(keys.iter().map(|key| key.shard.0).bind_iter())
        .bind(keys.iter().map(|key| key.namespace.0).bind_iter())
        .bind(keys.iter().map(|key| key.workflow_id.as_str()).bind_iter())
        .bind(keys.iter().map(|key| key.run_id.as_uuid()).bind_iter());
    let mut found = vec![None; keys.len()];
    for row in &connections.rows(query).await? {
        place(&mut found, column(row, 0)?, execution(row, 1)?);
    }
    Ok(found)
}

/// The three tables of what belongs to runs, as one: a place, a kind (1, 2, 3), a number to order by, and bytes.
const PARTS: &str = "WITH k AS (SELECT * FROM unnest($1::int4[], $2::uuid[]) WITH ORDINALITY AS k (shard_id, run_id)) \
     SELECT k.ordinality AS place, 1 AS kind, p.number, p.bytes FROM k CROSS JOIN LATERAL \
         (SELECT h.first_event_id AS number, h.events AS bytes FROM engine.history h \
          WHERE h.shard_id = k.shard_id AND h.run_id = k.run_id OFFSET 0) p \
     UNION ALL SELECT k.ordinality, 2, p.number, p.bytes FROM k CROSS JOIN LATERAL \
         (SELECT b.position AS number, b.event AS bytes FROM engine.buffered_event b \
          WHERE b.shard_id = k.shard_id AND b.run_id = k.run_id OFFSET 0) p \
     UNION ALL SELECT k.ordinality, 3, p.number, p.bytes FROM k CROSS JOIN LATERAL \
         (SELECT a.scheduled_event_id AS number, a.progress AS bytes FROM engine.activity_progress a \
          WHERE a.shard_id = k.shard_id AND a.run_id = k.run_id OFFSET 0) p \
     ORDER BY place, kind, number";

pub(super) async fn load_runs(
    connections: &Connections,
    keys: &[RunKey],
) -> Result<Vec<Option<StoredRun>>, StoreError> {
    let runs = executions(connections, keys).await?;
    let mut runs: Vec<Option<StoredRun>> = runs
        .into_iter()
        .map(|row| Some(StoredRun { row: row?, history: Vec::new(), buffered: Vec::new(), progress: Vec::new() }))
        .collect();
    let query = sqlx::query(PARTS)
        .bind(keys.iter().map(|key| key.shard.0).bind_iter())
        .bind(keys.iter().map(|key| key.run_id.as_uuid()).bind_iter());
    for row in &connections.rows(query).await? {
        let index = usize::try_from(column::<i64>(row, 0)? - 1).expect("ordinalities count from 1");
        let Some(run) = &mut runs[index] else {
            return Err(StoreError::Corrupt(format!("run {} has a history but no row", keys[index].run_id)));
        };
        let (shard, run_id) = (keys[index].shard, keys[index].run_id);
        match column::<i32>(row, 1)? {
            1 => {
                let first_event_id = event_id(row, 2)?;
                run.history.push(HistoryRow { shard, run_id, first_event_id, events: bytes(row, 3)? });
            }
            2 => {
                let position = column(row, 2)?;
                run.buffered.push(BufferedRow { shard, run_id, position, event: bytes(row, 3)? });
            }
            _ => {
                let scheduled_event_id = event_id(row, 2)?;
                run.progress.push(ProgressRow { shard, run_id, scheduled_event_id, progress: bytes(row, 3)? });
            }
        }
    }
    Ok(runs)
}

pub(super) async fn owing_runs(
    connections: &Connections,
    shard: ShardId,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<ExecutionRow>, StoreError> {
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.status IS NOT NULL AND e.wake_at < 0 \
             AND e.shard_id = $1 AND e.run_id > $2 ORDER BY e.run_id LIMIT $3"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(shard.0)
        .bind(after.map_or(uuid::Uuid::nil(), RunId::as_uuid))
        .bind(i64::from(limit));
    connections.rows(query).await?.iter().map(|row| execution(row, 0)).collect()
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
        "(SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.status IS NULL AND e.shard_id = $1 \
             AND e.wake_at <= $2 AND (e.wake_at, e.run_id) > ($3, $4) ORDER BY e.wake_at, e.run_id LIMIT $5) \
         UNION ALL \
         (SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.status IS NULL AND e.shard_id = $1 \
             AND e.wake_at > $2 AND (e.wake_at, e.run_id) > ($3, $4) ORDER BY e.wake_at, e.run_id LIMIT 1)"
    );
    let (after_at, after_run) =
        after.unwrap_or((Timestamp::from_micros(i64::MIN), RunId::from_uuid(uuid::Uuid::nil())));
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(shard.0)
        .bind(until.as_micros())
        .bind(after_at.as_micros())
        .bind(after_run.as_uuid())
        .bind(i64::from(limit) + 1);
    let rows = connections.rows(query).await?;
    let mut rows = rows.iter().map(|row| execution(row, 0)).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.wake_at, row.key.run_id));
    let due = rows.iter().take_while(|row| row.wake_at <= until).count().min(limit as usize);
    let next = rows.get(due).map_or(Timestamp::MAX, |row| row.wake_at);
    rows.truncate(due);
    Ok((rows, next))
}

/// The running total is of the rows before, so that the first row is always within the budget. `octet_length` of a value
/// that is stored out of line does not fetch it. The look-up of the first row is written as a walk down the index: as `max` it
/// becomes a scan of all rows before when the planner does not know the run.
const FORWARD: &str = "SELECT p.first_event_id, p.events FROM (\
     SELECT h.first_event_id, h.events, sum(octet_length(h.events)) OVER (ORDER BY h.first_event_id \
         ROWS UNBOUNDED PRECEDING) - octet_length(h.events) AS before FROM engine.history h \
     WHERE h.shard_id = $1 AND h.run_id = $2 AND h.first_event_id >= coalesce((SELECT f.first_event_id \
         FROM engine.history f WHERE f.shard_id = $1 AND f.run_id = $2 AND f.first_event_id <= $3 \
         ORDER BY f.first_event_id DESC LIMIT 1), 0) \
     ORDER BY h.first_event_id LIMIT $4) p WHERE p.before = 0 OR p.before < $5 ORDER BY p.first_event_id";

const REVERSE: &str = "SELECT p.first_event_id, p.events FROM (\
     SELECT h.first_event_id, h.events, sum(octet_length(h.events)) OVER (ORDER BY h.first_event_id DESC \
         ROWS UNBOUNDED PRECEDING) - octet_length(h.events) AS before FROM engine.history h \
     WHERE h.shard_id = $1 AND h.run_id = $2 AND h.first_event_id <= $3 \
     ORDER BY h.first_event_id DESC LIMIT $4) p WHERE p.before = 0 OR p.before < $5 ORDER BY p.first_event_id DESC";

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
        .bind(i64::from(max_rows))
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX));
    let rows = connections.rows(query).await?;
    rows.iter()
        .map(|row| Ok(HistoryRow { shard, run_id, first_event_id: event_id(row, 0)?, events: bytes(row, 1)? }))
        .collect()
}

pub(super) async fn list(connections: &Connections, filter: &ListFilter) -> Result<Vec<ExecutionRow>, StoreError> {
    // One text for each combination of conditions, so that each has the plan that suits it; there are few.
    let mut statement =
        format!("SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.namespace_id = $1 AND e.run_id < $2");
    statement.push_str(match filter.status {
        None => " AND $3::int2 IS NULL",
        Some(None) => " AND e.status IS NULL AND $3::int2 IS NULL",
        Some(Some(_)) => " AND e.status = $3",
    });
    statement.push_str(match filter.workflow_type {
        None => " AND $4::text IS NULL",
        Some(_) => " AND e.workflow_type = $4",
    });
    statement.push_str(match filter.workflow_id {
        None => " AND $5::text IS NULL",
        // Naming every shard lets it use the primary key.
        Some(_) => " AND e.workflow_id = $5 AND e.shard_id = ANY (ARRAY(SELECT s.id FROM engine.shard s))",
    });
    statement.push_str(" ORDER BY e.run_id DESC LIMIT $6");
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(filter.namespace.0)
        .bind(filter.before.map_or(uuid::Uuid::max(), RunId::as_uuid))
        .bind(filter.status.flatten().map(status))
        .bind(filter.workflow_type.as_deref())
        .bind(filter.workflow_id.as_deref())
        .bind(i64::from(filter.limit));
    connections.rows(query).await?.iter().map(|row| execution(row, 0)).collect()
}

fn bound(statement: Statement) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let query = sqlx::query(AssertSqlSafe(statement.text));
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Int(number) => query.bind(number),
        Bind::Double(number) => query.bind(number),
        Bind::Text(text) => query.bind(text),
        Bind::Run(run_id) => query.bind(run_id.as_uuid()),
    })
}

pub(super) async fn search(connections: &Connections, search: &Search) -> Result<Vec<ExecutionRow>, StoreError> {
    let query = bound(Statement::list(Dialect::Postgres, EXECUTION_COLUMNS, search));
    connections.rows(query).await?.iter().map(|row| execution(row, 0)).collect()
}

pub(super) async fn count(
    connections: &Connections,
    namespace: NamespaceId,
    filter: &Filter,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = connections.rows(bound(Statement::count(Dialect::Postgres, namespace, filter))).await?;
    let group = |row| Ok((group_name(filter, column(row, 0)?)?, column::<i64>(row, 1)?.unsigned_abs()));
    rows.iter().map(group).collect()
}

pub(super) async fn namespaces(connections: &Connections) -> Result<Vec<NamespaceRow>, StoreError> {
    let query = sqlx::query("SELECT id, name, version, settings FROM engine.namespace ORDER BY id");
    let namespace = |row| {
        Ok(NamespaceRow {
            id: NamespaceId(column(row, 0)?),
            name: column(row, 1)?,
            version: column(row, 2)?,
            settings: bytes(row, 3)?,
        })
    };
    connections.rows(query).await?.iter().map(namespace).collect()
}

pub(super) async fn earliest_runs(
    connections: &Connections,
    namespace: NamespaceId,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<ExecutionRow>, StoreError> {
    let statement = format!(
        "SELECT {EXECUTION_COLUMNS} FROM engine.execution e WHERE e.namespace_id = $1 AND e.run_id > $2 \
         ORDER BY e.run_id LIMIT $3"
    );
    let query = sqlx::query(AssertSqlSafe(statement))
        .bind(namespace.0)
        .bind(after.map_or(uuid::Uuid::nil(), RunId::as_uuid))
        .bind(i64::from(limit));
    connections.rows(query).await?.iter().map(|row| execution(row, 0)).collect()
}
