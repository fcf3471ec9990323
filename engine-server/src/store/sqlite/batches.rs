//! The rows of batches. A write is one transaction of the writer.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{bytes, column};
use crate::store::batches::{BatchKey, BatchRow, BatchStore, BatchWrite};
use crate::store::{Epoch, NamespaceId, ShardId, StoreError};

const COLUMNS: &str = "shard_id, namespace_id, batch_id, revision, is_active, batch";

fn read(row: &SqliteRow) -> Result<BatchRow, StoreError> {
    let is_active: i64 = column(row, 4)?;
    Ok(BatchRow {
        key: BatchKey {
            shard: ShardId(column(row, 0)?),
            namespace: NamespaceId(column(row, 1)?),
            batch_id: column(row, 2)?,
        },
        revision: column(row, 3)?,
        is_active: is_active == 1,
        batch: bytes(row, 5)?,
    })
}

#[async_trait]
impl BatchStore for SqliteStore {
    async fn write_batch(&self, epoch: Epoch, write: &BatchWrite) -> Result<bool, StoreError> {
        let explain = |error: sqlx::Error| self.connections.explain_commit(&error);
        let BatchWrite { key, replaces, row } = write;
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
            None => sqlx::query("DELETE FROM batch WHERE namespace_id = ?2 AND batch_id = ?3 AND revision = ?4"),
            Some(_) if *replaces == 0 => sqlx::query(
                "INSERT INTO batch (shard_id, namespace_id, batch_id, revision, is_active, batch) \
                 VALUES (?1, ?2, ?3, ?4 + 1, ?5, ?6) ON CONFLICT DO NOTHING",
            ),
            Some(_) => sqlx::query(
                "UPDATE batch SET revision = ?4 + 1, is_active = ?5, batch = ?6 \
                 WHERE namespace_id = ?2 AND batch_id = ?3 AND revision = ?4",
            ),
        };
        let mut query = query.bind(key.shard.0).bind(key.namespace.0).bind(key.batch_id.clone()).bind(*replaces);
        if let Some((is_active, batch)) = row {
            query = query.bind(i64::from(*is_active)).bind(batch.to_vec());
        }
        let written = query.execute(&mut *transaction).await.map_err(explain)?.rows_affected();
        transaction.commit().await.map_err(explain)?;
        Ok(written == 1)
    }

    async fn batch(&self, namespace: NamespaceId, batch_id: &str) -> Result<Option<BatchRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let statement = format!("SELECT {COLUMNS} FROM batch WHERE namespace_id = ?1 AND batch_id = ?2");
        let query = sqlx::query(AssertSqlSafe(statement)).bind(namespace.0).bind(batch_id.to_owned());
        let row = query.fetch_optional(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        row.as_ref().map(read).transpose()
    }

    async fn active_batches(&self, shards: &[ShardId]) -> Result<Vec<BatchRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let mut found = Vec::new();
        // The file is local: one look at the index for each shard.
        for shard in shards {
            let statement = format!("SELECT {COLUMNS} FROM batch WHERE is_active = 1 AND shard_id = ?1");
            let query = sqlx::query(AssertSqlSafe(statement)).bind(shard.0);
            let rows = query.fetch_all(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
            for row in &rows {
                found.push(read(row)?);
            }
        }
        found.sort_by(|a, b| (a.key.namespace, &a.key.batch_id).cmp(&(b.key.namespace, &b.key.batch_id)));
        Ok(found)
    }

    async fn list_batches(&self, namespace: NamespaceId, after: &str, limit: u32) -> Result<Vec<BatchRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let statement =
            format!("SELECT {COLUMNS} FROM batch WHERE namespace_id = ?1 AND batch_id > ?2 ORDER BY batch_id LIMIT ?3");
        let query = sqlx::query(AssertSqlSafe(statement)).bind(namespace.0).bind(after.to_owned()).bind(limit);
        let rows = query.fetch_all(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        rows.iter().map(read).collect()
    }
}
