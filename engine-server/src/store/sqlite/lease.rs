//! Nodes, shards and epochs. Each function is one transaction
//! of the only writer, so there is nothing to lock.
//!
//! The clock of the leases is the system's: the file outlives the process, and so may a lease.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{Sqlite, Transaction};
use uuid::Uuid;

use super::connections::Connections;
use super::rows::column;
use crate::store::{Acquisition, Epoch, ForeignShard, Node, OwnedShard, ShardId, StoreError};

fn now_micros() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

pub(super) async fn renew(
    connections: &Connections,
    node: &Node,
    lease: Duration,
    held_before: bool,
) -> Result<bool, StoreError> {
    let until = now_micros().saturating_add(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX));
    let mut writer = connections.writer().await?;
    let renewed = async {
        let mut transaction = writer.begin().await?;
        let result = sqlx::query(
            "INSERT INTO node (name, incarnation, lease_until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE \
             SET incarnation = excluded.incarnation, lease_until = excluded.lease_until \
             WHERE node.incarnation = excluded.incarnation OR ?4",
        )
        .bind(node.name.clone())
        .bind(node.incarnation)
        .bind(until)
        .bind(!held_before)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(result.rows_affected() == 1)
    };
    renewed.await.map_err(|error| connections.explain(&error))
}

pub(super) async fn release(connections: &Connections, node: &Node) -> Result<(), StoreError> {
    let mut writer = connections.writer().await?;
    let released = async {
        let mut transaction = writer.begin().await?;
        let deleted = sqlx::query("DELETE FROM node WHERE name = ?1 AND incarnation = ?2")
            .bind(node.name.clone())
            .bind(node.incarnation)
            .execute(&mut *transaction)
            .await?;
        if deleted.rows_affected() == 1 {
            sqlx::query(
                "UPDATE shard SET owner = NULL, owner_incarnation = NULL WHERE owner = ?1 AND owner_incarnation = ?2",
            )
            .bind(node.name.clone())
            .bind(node.incarnation)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    };
    released.await.map_err(|error| connections.explain(&error))
}

/// A shard as it was before.
struct Before {
    id: ShardId,
    epoch: Epoch,
    owner: Option<String>,
    lease_until: Option<i64>,
}

pub(super) async fn acquire(
    connections: &Connections,
    node: &Node,
    wanted: Option<&[ShardId]>,
) -> Result<Acquisition, StoreError> {
    let mut writer = connections.writer().await?;
    let explain = |error: sqlx::Error| connections.explain(&error);
    let mut transaction = writer.begin().await.map_err(explain)?;
    let holder: Option<Uuid> = sqlx::query_scalar("SELECT incarnation FROM node WHERE name = ?1")
        .bind(node.name.clone())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(explain)?;
    if holder != Some(node.incarnation) {
        return Err(crate::store::lease_not_held(node));
    }
    let rows = sqlx::query(
        "SELECT s.id, s.epoch, s.owner, n.lease_until FROM shard s LEFT JOIN node n ON n.name = s.owner ORDER BY s.id",
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(explain)?;
    let now = now_micros();
    let mut acquisition = Acquisition::default();
    for row in &rows {
        let shard = Before {
            id: ShardId(column(row, 0)?),
            epoch: Epoch(column(row, 1)?),
            owner: column(row, 2)?,
            lease_until: column(row, 3)?,
        };
        if wanted.is_some_and(|wanted| !wanted.contains(&shard.id)) {
            continue;
        }
        let lease_left = shard.lease_until.unwrap_or(0).saturating_sub(now);
        match shard.owner {
            Some(owner) if owner != node.name && lease_left > 0 => {
                let lease_left = Duration::from_micros(lease_left.unsigned_abs());
                acquisition.foreign.push(ForeignShard { id: shard.id, owner, lease_left });
            }
            _ => {
                let epoch = Epoch(shard.epoch.0 + 1);
                take(&mut transaction, shard.id, epoch, node).await.map_err(explain)?;
                acquisition.owned.push(OwnedShard { id: shard.id, epoch });
            }
        }
    }
    transaction.commit().await.map_err(explain)?;
    Ok(acquisition)
}

async fn take(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: ShardId,
    epoch: Epoch,
    node: &Node,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE shard SET epoch = ?2, owner = ?3, owner_incarnation = ?4 WHERE id = ?1")
        .bind(shard.0)
        .bind(epoch.0)
        .bind(node.name.clone())
        .bind(node.incarnation)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
