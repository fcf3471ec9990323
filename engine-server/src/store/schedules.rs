//! The rows of schedules. A trait of its own because schedules are written one by one, not with batches: they change a few times a minute,
//! and what they start goes through the lanes like every start.

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::time::Timestamp;

use super::{Epoch, NamespaceId, ShardId, StoreError};

/// Names a schedule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// Its shard, a function of namespace and schedule id.
    pub shard: ShardId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its id.
    pub schedule_id: String,
}

/// The row of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its key.
    pub key: ScheduleKey,
    /// Counts its writes, from 1.
    pub revision: i64,
    /// When the engine must look at it by itself. [`Timestamp::EPOCH`]: at once when its shard is acquired. [`Timestamp::MAX`]: never.
    pub wake_at: Timestamp,
    /// An encoded `engine.v1.StoredSchedule`.
    pub schedule: Bytes,
}

/// One write of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleWrite {
    /// Which.
    pub key: ScheduleKey,
    /// The revision that it replaces; 0 if there must be no row. The new one is the next.
    pub replaces: i64,
    /// `wake_at` and the schedule; `None` deletes the row.
    pub row: Option<(Timestamp, Bytes)>,
}

/// A place in the order in which schedules are woken.
pub type WakePlace = (Timestamp, NamespaceId, String);

/// Where schedules are kept; see [`super::Store`] for what holds of all of it.
#[async_trait]
pub trait ScheduleStore {
    /// Writes, replaces or deletes one row, if `epoch` is its shard's and its revision is the expected one; `false` if that is another one.
    /// Nothing was written then, nor after [`StoreError::Fenced`]. After any other error it may have been, or may be later: the revision
    /// keeps it from undoing what was written meanwhile.
    async fn write_schedule(&self, epoch: Epoch, write: &ScheduleWrite) -> Result<bool, StoreError>;

    /// One row.
    async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRow>, StoreError>;

    /// Rows of `shards` with `wake_at <= until`, in the order of their places, after `after`, at most `limit`; and the `wake_at` of the
    /// row that comes next ([`Timestamp::MAX`] if there is none). If that is not after `until`, ask again.
    async fn due_schedules(
        &self,
        shards: &[ShardId],
        until: Timestamp,
        after: &WakePlace,
        limit: u32,
    ) -> Result<(Vec<ScheduleRow>, Timestamp), StoreError>;

    /// Schedules of a namespace by id, after `after`, at most `limit`.
    async fn list_schedules(
        &self,
        namespace: NamespaceId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError>;
}

/// The rows that are due and the next instant, of rows in order that hold one more than asked for, or the first that is not due.
pub(super) fn due_and_next(mut rows: Vec<ScheduleRow>, until: Timestamp, limit: u32) -> (Vec<ScheduleRow>, Timestamp) {
    let due = rows.iter().take_while(|row| row.wake_at <= until).count().min(limit as usize);
    let next = rows.get(due).map_or(Timestamp::MAX, |row| row.wake_at);
    rows.truncate(due);
    (rows, next)
}
