//! Database rows to ours.

use bytes::Bytes;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use crate::store::attributes;
use crate::store::codes::status_of_code;
use crate::store::{ExecutionRow, NamespaceId, RunKey, ShardId, StoreError};

/// The columns that [`execution`] reads, of a table or alias `e`.
pub(super) const EXECUTION_COLUMNS: &str = "e.shard_id, e.namespace_id, e.workflow_id, e.run_id, e.workflow_type, \
     e.task_queue, e.status, e.started_at, e.closed_at, e.history_length, e.wake_at, e.request_id, e.attributes";

/// Reads a column, by its place.
pub(super) fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(index).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads [`EXECUTION_COLUMNS`], from the column `first` on.
pub(super) fn execution(row: &SqliteRow, first: usize) -> Result<ExecutionRow, StoreError> {
    let status: Option<i64> = column(row, first + 6)?;
    let closed_at: Option<i64> = column(row, first + 8)?;
    Ok(ExecutionRow {
        key: RunKey {
            shard: ShardId(column(row, first)?),
            namespace: NamespaceId(column(row, first + 1)?),
            workflow_id: column(row, first + 2)?,
            run_id: RunId::from_uuid(column::<Uuid>(row, first + 3)?),
        },
        workflow_type: column(row, first + 4)?,
        task_queue: column(row, first + 5)?,
        status: status.map(status_of_code).transpose()?,
        started_at: Timestamp::from_micros(column(row, first + 7)?),
        closed_at: closed_at.map(Timestamp::from_micros),
        history_length: column::<i64>(row, first + 9)?.cast_unsigned(),
        wake_at: Timestamp::from_micros(column(row, first + 10)?),
        request_id: column(row, first + 11)?,
        search_attributes: attributes::decode(column::<Option<&str>>(row, first + 12)?)?,
    })
}

pub(super) fn event_id(row: &SqliteRow, index: usize) -> Result<EventId, StoreError> {
    Ok(EventId(column::<i64>(row, index)?.cast_unsigned()))
}

pub(super) fn bytes(row: &SqliteRow, index: usize) -> Result<Bytes, StoreError> {
    Ok(Bytes::from(column::<Vec<u8>>(row, index)?))
}
