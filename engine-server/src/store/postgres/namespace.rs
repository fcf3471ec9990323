//! Namespaces: rows that change once in a while.

use bytes::Bytes;

use super::connections::Connections;
use super::rows::column;
use crate::store::{NamespaceId, NamespaceRow, StoreError};

pub(super) async fn create(connections: &Connections, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError> {
    let query = sqlx::query(
        "INSERT INTO engine.namespace (name, settings) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id",
    );
    let rows = connections.rows(query.bind(name).bind(settings)).await?;
    let row = rows.first().ok_or_else(|| StoreError::NamespaceExists(name.to_owned()))?;
    let id = NamespaceId(column(row, 0)?);
    Ok(NamespaceRow { id, name: name.to_owned(), version: 1, settings: Bytes::copy_from_slice(settings) })
}

pub(super) async fn update(
    connections: &Connections,
    id: NamespaceId,
    version: i64,
    settings: &[u8],
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "UPDATE engine.namespace SET settings = $3, version = version + 1 WHERE id = $1 AND version = $2 RETURNING id",
    );
    let rows = connections.rows(query.bind(id.0).bind(version).bind(settings)).await?;
    Ok(!rows.is_empty())
}

pub(super) async fn delete(connections: &Connections, id: NamespaceId) -> Result<(), StoreError> {
    let query = sqlx::query(
        "WITH deployments AS (DELETE FROM engine.deployment WHERE namespace_id = $1) \
         DELETE FROM engine.namespace WHERE id = $1",
    );
    connections.rows(query.bind(id.0)).await?;
    Ok(())
}
