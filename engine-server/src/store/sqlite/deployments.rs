//! The rows of deployments. A write is one transaction of the writer.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{bytes, column};
use crate::store::deployments::{DeploymentKey, DeploymentRow, DeploymentStore};
use crate::store::{NamespaceId, StoreError};

fn read(row: &SqliteRow) -> Result<DeploymentRow, StoreError> {
    Ok(DeploymentRow {
        key: DeploymentKey { namespace: NamespaceId(column(row, 0)?), name: column(row, 1)? },
        revision: column(row, 2)?,
        deployment: bytes(row, 3)?,
    })
}

#[async_trait]
impl DeploymentStore for SqliteStore {
    async fn write_deployment(
        &self,
        key: &DeploymentKey,
        replaces: i64,
        deployment: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let explain = |error: sqlx::Error| self.connections.explain_commit(&error);
        let mut writer = self.connections.writer().await?;
        let mut transaction = writer.begin().await.map_err(explain)?;
        let query = match &deployment {
            None => sqlx::query("DELETE FROM deployment WHERE namespace_id = ?1 AND name = ?2 AND revision = ?3"),
            Some(_) if replaces == 0 => sqlx::query(
                "INSERT INTO deployment (namespace_id, name, revision, deployment) VALUES (?1, ?2, ?3 + 1, ?4) \
                 ON CONFLICT DO NOTHING",
            ),
            Some(_) => sqlx::query(
                "UPDATE deployment SET revision = ?3 + 1, deployment = ?4 \
                 WHERE namespace_id = ?1 AND name = ?2 AND revision = ?3",
            ),
        };
        let mut query = query.bind(key.namespace.0).bind(key.name.clone()).bind(replaces);
        if let Some(deployment) = deployment {
            query = query.bind(deployment.to_vec());
        }
        let written = query.execute(&mut *transaction).await.map_err(explain)?.rows_affected();
        transaction.commit().await.map_err(explain)?;
        Ok(written == 1)
    }

    async fn deployment(&self, key: &DeploymentKey) -> Result<Option<DeploymentRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let query = sqlx::query(
            "SELECT namespace_id, name, revision, deployment FROM deployment WHERE namespace_id = ?1 AND name = ?2",
        );
        let query = query.bind(key.namespace.0).bind(key.name.clone());
        let row = query.fetch_optional(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        row.as_ref().map(read).transpose()
    }

    async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError> {
        let mut reader = self.connections.reader().await?;
        let query =
            sqlx::query("SELECT namespace_id, name, revision, deployment FROM deployment ORDER BY namespace_id, name");
        let rows = query.fetch_all(&mut *reader).await.map_err(|error| self.connections.explain(&error))?;
        rows.iter().map(read).collect()
    }
}
