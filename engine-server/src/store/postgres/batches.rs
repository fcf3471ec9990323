//! The rows of batches. Each call is one round trip.

use async_trait::async_trait;
use sqlx::postgres::{PgBindIterExt, PgRow};

use super::PostgresStore;
use super::rows::{bytes, column};
use crate::store::batches::{BatchKey, BatchRow, BatchStore, BatchWrite};
use crate::store::{Epoch, NamespaceId, ShardId, StoreError};

fn read(row: &PgRow) -> Result<BatchRow, StoreError> {
    Ok(BatchRow {
        key: BatchKey {
            shard: ShardId(column(row, 0)?),
            namespace: NamespaceId(column(row, 1)?),
            batch_id: column(row, 2)?,
        },
        revision: column(row, 3)?,
        is_active: column(row, 4)?,
        batch: bytes(row, 5)?,
    })
}

#[async_trait]
impl BatchStore for PostgresStore {
    async fn write_batch(&self, epoch: Epoch, write: &BatchWrite) -> Result<bool, StoreError> {
        let BatchWrite { key, replaces, row } = write;
        let query = sqlx::query("SELECT engine.write_batch($1, $2, $3, $4, $5, $6, $7)")
            .bind(key.shard.0)
            .bind(epoch.0)
            .bind(key.namespace.0)
            .bind(key.batch_id.as_str())
            .bind(*replaces)
            .bind(row.as_ref().map(|(is_active, _)| *is_active))
            .bind(row.as_ref().map(|(_, batch)| batch.as_ref()));
        let rows = self.connections.rows(query).await?;
        let answer = rows.first().map(|row| column::<i32>(row, 0)).transpose()?;
        match answer {
            Some(0) => Err(StoreError::Fenced(key.shard)),
            Some(written) => Ok(written == 1),
            None => Err(StoreError::Unavailable("a batch's write got no answer".to_owned())),
        }
    }

    async fn batch(&self, namespace: NamespaceId, batch_id: &str) -> Result<Option<BatchRow>, StoreError> {
        let query = sqlx::query(
            "SELECT shard_id, namespace_id, batch_id, revision, is_active, batch FROM engine.batch \
             WHERE namespace_id = $1 AND batch_id = $2",
        )
        .bind(namespace.0)
        .bind(batch_id);
        self.connections.rows(query).await?.first().map(read).transpose()
    }

    async fn active_batches(&self, shards: &[ShardId]) -> Result<Vec<BatchRow>, StoreError> {
        let query = sqlx::query(
            "SELECT shard_id, namespace_id, batch_id, revision, is_active, batch FROM engine.batch \
             WHERE is_active AND shard_id = ANY($1::int4[]) ORDER BY namespace_id, batch_id",
        )
        .bind(shards.iter().map(|shard| shard.0).bind_iter());
        self.connections.rows(query).await?.iter().map(read).collect()
    }

    async fn list_batches(&self, namespace: NamespaceId, after: &str, limit: u32) -> Result<Vec<BatchRow>, StoreError> {
        let query = sqlx::query(
            "SELECT shard_id, namespace_id, batch_id, revision, is_active, batch FROM engine.batch \
             WHERE namespace_id = $1 AND batch_id > $2 ORDER BY batch_id LIMIT $3",
        )
        .bind(namespace.0)
        .bind(after)
        .bind(i64::from(limit));
        self.connections.rows(query).await?.iter().map(read).collect()
    }
}
