//! Namespaces: rows that change once in a while. Each function is one transaction of the only writer.

use bytes::Bytes;

use super::bulk::Query;
use super::connections::Connections;
use crate::store::{NamespaceId, NamespaceRow, StoreError};

pub(super) async fn create(connections: &Connections, name: &str, settings: &[u8]) -> Result<NamespaceRow, StoreError> {
    let mut writer = connections.writer().await?;
    let created = async {
        let mut transaction = writer.begin().await?;
        let id: Option<i32> = sqlx::query_scalar(
            "INSERT INTO namespace (name, settings) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING RETURNING id",
        )
        .bind(name.to_owned())
        .bind(settings.to_vec())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(id)
    };
    let id = created.await.map_err(|error| connections.explain(&error))?;
    let id = NamespaceId(id.ok_or_else(|| StoreError::NamespaceExists(name.to_owned()))?);
    Ok(NamespaceRow { id, name: name.to_owned(), version: 1, settings: Bytes::copy_from_slice(settings) })
}

pub(super) async fn update(
    connections: &Connections,
    id: NamespaceId,
    version: i64,
    settings: &[u8],
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE namespace SET settings = ?3, version = version + 1 WHERE id = ?1 AND version = ?2");
    Ok(write(connections, query.bind(id.0).bind(version).bind(settings.to_vec())).await? > 0)
}

pub(super) async fn delete(connections: &Connections, id: NamespaceId) -> Result<(), StoreError> {
    // The namespace last: a crash in between leaves what the next call deletes.
    write(connections, sqlx::query("DELETE FROM deployment WHERE namespace_id = ?1").bind(id.0)).await?;
    write(connections, sqlx::query("DELETE FROM namespace WHERE id = ?1").bind(id.0)).await.map(drop)
}

/// Runs one statement, and tells how many rows it changed.
async fn write(connections: &Connections, query: Query<'static>) -> Result<u64, StoreError> {
    let mut writer = connections.writer().await?;
    let written = async {
        let mut transaction = writer.begin().await?;
        let done = query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(done.rows_affected())
    };
    written.await.map_err(|error| connections.explain(&error))
}
