//! Nodes, shards and epochs.

use std::time::Duration;

use super::connections::{Connections, Failure};
use super::rows::column;
use crate::store::{Acquisition, Epoch, ForeignShard, Node, OwnedShard, ShardId, StoreError};

/// Takes the row if it is this incarnation's, nobody's, or another's that this one may push aside: `$4`.
const RENEW: &str = "INSERT INTO engine.node AS n (name, incarnation, lease_until) VALUES ($1, $2, engine.clock() + $3) \
     ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, lease_until = excluded.lease_until \
     WHERE n.incarnation = excluded.incarnation OR $4 RETURNING 1";

pub(super) async fn renew(
    connections: &Connections,
    node: &Node,
    lease: Duration,
    held_before: bool,
) -> Result<bool, StoreError> {
    let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
    let query = sqlx::query(RENEW).bind(&node.name).bind(node.incarnation).bind(micros).bind(!held_before);
    Ok(!connections.rows(query).await?.is_empty())
}

pub(super) async fn release(connections: &Connections, node: &Node) -> Result<(), StoreError> {
    let query = sqlx::query("SELECT engine.release_lease($1, $2)").bind(&node.name).bind(node.incarnation);
    connections.rows(query).await?;
    Ok(())
}

pub(super) async fn acquire(
    connections: &Connections,
    node: &Node,
    wanted: Option<&[ShardId]>,
) -> Result<Acquisition, StoreError> {
    let wanted: Option<Vec<i32>> = wanted.map(|shards| shards.iter().map(|shard| shard.0).collect());
    let query = sqlx::query("SELECT shard_id, epoch, owner, lease_left FROM engine.acquire_shards($1, $2, $3)")
        .bind(&node.name)
        .bind(node.incarnation)
        .bind(wanted);
    let rows = connections.rows(query).await.map_err(|failure| match failure {
        Failure::LeaseNotHeld => crate::store::lease_not_held(node),
        failure => failure.into(),
    })?;
    let mut acquisition = Acquisition::default();
    for row in &rows {
        let id = ShardId(column(row, 0)?);
        match column::<Option<i64>>(row, 1)? {
            Some(epoch) => acquisition.owned.push(OwnedShard { id, epoch: Epoch(epoch) }),
            None => {
                let lease_left = Duration::from_micros(column::<i64>(row, 3)?.try_into().unwrap_or(0));
                acquisition.foreign.push(ForeignShard { id, owner: column(row, 2)?, lease_left });
            }
        }
    }
    Ok(acquisition)
}
