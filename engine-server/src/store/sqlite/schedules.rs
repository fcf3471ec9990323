//! The rows of schedules. A write is one transaction of the writer.

use async_trait::async_trait;
use engine_core::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{bytes, column};
use crate::store::schedules::{ScheduleKey, ScheduleRow, ScheduleStore, ScheduleWrite, WakePlace, due_and_next};
use crate::store::{Epoch, NamespaceId, ShardId, StoreError};

const COLUMNS: &str = "shard_id, namespace_id, schedule_id, revision, wake_at, schedule";

fn read(row: &SqliteRow) -> Result<ScheduleRow, StoreError> {
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
impl ScheduleStore for SqliteStore {
    async fn write_schedule(&self, epoch: Epoch, write: &ScheduleWrite) -> Result<bool, StoreError> {
        let explain = |error: sqlx::Error| self.connections.explain_commit(&error);
        let ScheduleWrite { key, replaces, row } = write;
        let mut writer = self.connections.writer().await?;
        let mut transaction = writer.begin().await.map_err(explain)?;
        let current: Option<i64> = sqlx::query_scalar("SELECT epoch FROM shard WHERE id = ?1")
            .bind(key.shard.0)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(explain)?;
        if current != Some(epoch.0) {
            return Err(StoreError::Fenced(key.shard));
        }
        let query = match row {
            None => sqlx::query(
                "DELETE FROM schedule WHERE shard_id = ?1 AND namespace_id = ?2 AND schedule_id = ?3 AND revision = ?4",
            ),
            Some(_) if *replaces == 0 => sqlx::query(
                "INSERT INTO schedule (shard_id, namespace_id, schedule_id, revision, wake_at, schedule) \
                 VALUES (?1, ?2, ?3, ?4 + 1, ?5, ?6) ON CONFLICT DO NOTHING",
            ),
            Some(_) => sqlx::query(
                "UPDATE schedule SET revision = ?4 + 1, wake_at = ?5, schedule = ?6 \
                 WHERE shard_id = ?1 AND namespace_id = ?2 AND schedule_id = ?3 AND revision = ?4",
            ),
        };
        let mut query = query.bind(key.shard.0).bind(key.namespace.0).bind(key.schedule_id.clone()).bind(*replaces);
        if let Some((wake_at, schedule)) = row {
            query = query.bind(wake_at.as_micros()).bind(schedule.to_vec());
        }
        let written = query.execute(&mut *transaction).await.map_err(explain)?.rows_affected();
        transaction.commit().await.map_err(explain)?;
        Ok(written == 1)
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let statement =
            format!("SELECT {COLUMNS} FROM schedule WHERE shard_id = ?1 AND namespace_id = ?2 AND schedule_id = ?3");
        let query =
            sqlx::query(AssertSqlSafe(statement)).bind(key.shard.0).bind(key.namespace.0).bind(key.schedule_id.clone());
        let row = query.fetch_optional(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        row.as_ref().map(read).transpose()
    }

    async fn due_schedules(
        &self,
        shards: &[ShardId],
        until: Timestamp,
        after: &WakePlace,
        limit: u32,
    ) -> Result<(Vec<ScheduleRow>, Timestamp), StoreError> {
        let mut reader = self.connections.reader().await?;
        let mut found = Vec::new();
        // The file is local: one look at the index for each shard.
        for shard in shards {
            let statement = format!(
                "SELECT * FROM (SELECT {COLUMNS} FROM schedule WHERE shard_id = ?1 AND wake_at <= ?2 \
                     AND (wake_at, namespace_id, schedule_id) > (?3, ?4, ?5) \
                     ORDER BY wake_at, namespace_id, schedule_id LIMIT ?6) \
                 UNION ALL \
                 SELECT * FROM (SELECT shard_id, namespace_id, schedule_id, revision, wake_at, x'' FROM schedule \
                     WHERE shard_id = ?1 AND wake_at > ?2 AND (wake_at, namespace_id, schedule_id) > (?3, ?4, ?5) \
                     ORDER BY wake_at, namespace_id, schedule_id LIMIT 1)"
            );
            let query = sqlx::query(AssertSqlSafe(statement))
                .bind(shard.0)
                .bind(until.as_micros())
                .bind(after.0.as_micros())
                .bind(after.1.0)
                .bind(after.2.clone())
                .bind(i64::from(limit) + 1);
            let rows = query.fetch_all(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
            for row in &rows {
                found.push(read(row)?);
            }
        }
        found.sort_by(|a, b| {
            (a.wake_at, a.key.namespace, &a.key.schedule_id).cmp(&(b.wake_at, b.key.namespace, &b.key.schedule_id))
        });
        Ok(due_and_next(found, until, limit))
    }

    async fn list_schedules(
        &self,
        namespace: NamespaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let statement = format!(
            "SELECT {COLUMNS} FROM schedule WHERE namespace_id = ?1 AND schedule_id > ?2 ORDER BY schedule_id LIMIT ?3"
        );
        let query = sqlx::query(AssertSqlSafe(statement)).bind(namespace.0).bind(after.to_owned()).bind(limit);
        let rows = query.fetch_all(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        rows.iter().map(read).collect()
    }
}
