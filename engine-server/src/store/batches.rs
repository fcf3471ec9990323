//! The rows of batches. A trait of its own because they are written one by one, like those of schedules: a batch is written about once a
//! second, and what it does goes through the lanes.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Epoch, NamespaceId, ShardId, StoreError};

/// Names a batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// Its shard, a function of namespace and batch id.
    pub shard: ShardId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its id.
    pub batch_id: String,
}

/// The row of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its key.
    pub key: BatchKey,
    /// Counts its writes, from 1.
    pub revision: i64,
    /// Whether it is at work: whoever acquires its shard goes on with it.
    pub is_active: bool,
    /// An encoded `engine.v1.StoredBatch`.
    pub batch: Bytes,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchWrite {
    /// Which.
    pub key: BatchKey,
    /// The revision that it replaces; 0 if there must be no row. The new one is the next.
    pub replaces: i64,
    /// Whether it is at work, and the batch; `None` deletes the row.
    pub row: Option<(bool, Bytes)>,
}

/// Where batches are kept; see [`super::Store`] for what holds of all of it.
#[async_trait]
pub trait BatchStore {
    /// Writes, replaces or deletes one row, if `epoch` is its shard's and its revision is the expected one; `false` if that is another one.
    /// Nothing was written then, nor after [`StoreError::Fenced`]. After any other error it may have been, or may be later: the revision
    /// keeps it from undoing what was written meanwhile.
    async fn write_batch(&self, epoch: Epoch, write: &BatchWrite) -> Result<bool, StoreError>;

    /// One row.
    async fn batch(&self, namespace: NamespaceId, batch_id: &str) -> Result<Option<BatchRow>, StoreError>;

    /// The batches of `shards` that are at work. They are few: [`crate::limits::BATCHES_MAX`] in a namespace.
    async fn active_batches(&self, shards: &[ShardId]) -> Result<Vec<BatchRow>, StoreError>;

    /// Batches of a namespace by id, after `after`, at most `limit`.
    async fn list_batches(&self, namespace: NamespaceId, after: &str, limit: u32) -> Result<Vec<BatchRow>, StoreError>;
}
