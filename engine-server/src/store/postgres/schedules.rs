//! The rows of schedules. Each call is one round trip.

use async_trait::async_trait;
use engine_core::time::Timestamp;
use sqlx::postgres::{PgBindIterExt, PgRow};

use super::PostgresStore;
use super::rows::{bytes, column};
use crate::store::schedules::{ScheduleKey, ScheduleRow, ScheduleStore, ScheduleWrite, WakePlace, due_and_next};
use crate::store::{Epoch, NamespaceId, ShardId, StoreError};

fn read(row: &PgRow) -> Result<ScheduleRow, StoreError> {
    Ok(ScheduleRow {
        key: ScheduleKey {
            shard: ShardId(column(row, 0)?),
            namespace: NamespaceId(column(row, 1)?),
            schedule_id: column(row, 2)?,
        },
        revision: column(row, 3)?,
        wake_at: Timestamp::from_micros(column(row, 4)?),
        schedule: bytes(row, 5)?,
    })
}

#[async_trait]
impl ScheduleStore for PostgresStore {
    async fn write_schedule(&self, epoch: Epoch, write: &ScheduleWrite) -> Result<bool, StoreError> {
        let ScheduleWrite { key, replaces, row } = write;
        let query = sqlx::query("SELECT engine.write_schedule($1, $2, $3, $4, $5, $6, $7)")
            .bind(key.shard.0)
            .bind(epoch.0)
            .bind(key.namespace.0)
            .bind(key.schedule_id.as_str())
            .bind(*replaces)
            .bind(row.as_ref().map(|(wake_at, _)| wake_at.as_micros()))
            .bind(row.as_ref().map(|(_, schedule)| schedule.as_ref()));
        let rows = self.connections.rows(query).await?;
        let answer = rows.first().map(|row| column::<i32>(row, 0)).transpose()?;
        match answer {
            Some(0) => Err(StoreError::Fenced(key.shard)),
            Some(written) => Ok(written == 1),
            None => Err(StoreError::Unavailable("a schedule's write got no answer".to_owned())),
        }
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRow>, StoreError> {
        let query = sqlx::query(
            "SELECT shard_id, namespace_id, schedule_id, revision, wake_at, schedule FROM engine.schedule \
             WHERE shard_id = $1 AND namespace_id = $2 AND schedule_id = $3",
        )
        .bind(key.shard.0)
        .bind(key.namespace.0)
        .bind(key.schedule_id.as_str());
        self.connections.rows(query).await?.first().map(read).transpose()
    }

    async fn due_schedules(
        &self,
        shards: &[ShardId],
        until: Timestamp,
        after: &WakePlace,
        limit: u32,
    ) -> Result<(Vec<ScheduleRow>, Timestamp), StoreError> {
        // From each shard one more than asked for, by its index; the first that is not due has no value to carry.
        let query = sqlx::query(
            "SELECT s.shard_id, s.namespace_id, s.schedule_id, s.revision, s.wake_at, \
                 CASE WHEN s.wake_at <= $2 THEN s.schedule ELSE ''::bytea END \
             FROM unnest($1::int4[]) AS k (id) CROSS JOIN LATERAL (( \
                 SELECT * FROM engine.schedule e WHERE e.shard_id = k.id AND e.wake_at <= $2 \
                     AND (e.wake_at, e.namespace_id, e.schedule_id) > ($3, $4, $5) \
                 ORDER BY e.wake_at, e.namespace_id, e.schedule_id LIMIT $6) UNION ALL ( \
                 SELECT * FROM engine.schedule e WHERE e.shard_id = k.id AND e.wake_at > $2 \
                     AND (e.wake_at, e.namespace_id, e.schedule_id) > ($3, $4, $5) \
                 ORDER BY e.wake_at, e.namespace_id, e.schedule_id LIMIT 1)) s \
             ORDER BY s.wake_at, s.namespace_id, s.schedule_id LIMIT $6",
        )
        .bind(shards.iter().map(|shard| shard.0).bind_iter())
        .bind(until.as_micros())
        .bind(after.0.as_micros())
        .bind(after.1.0)
        .bind(after.2.as_str())
        .bind(i64::from(limit) + 1);
        let rows = self.connections.rows(query).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(due_and_next(rows, until, limit))
    }

    async fn list_schedules(
        &self,
        namespace: NamespaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let query = sqlx::query(
            "SELECT shard_id, namespace_id, schedule_id, revision, wake_at, schedule FROM engine.schedule \
             WHERE namespace_id = $1 AND schedule_id > $2 ORDER BY schedule_id LIMIT $3",
        )
        .bind(namespace.0)
        .bind(after)
        .bind(i64::from(limit));
        self.connections.rows(query).await?.iter().map(read).collect()
    }
}
