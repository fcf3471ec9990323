//! The rows of deployments. Each call is one round trip.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::rows::{bytes, column};
use crate::store::deployments::{DeploymentKey, DeploymentRow, DeploymentStore};
use crate::store::{NamespaceId, StoreError};

fn read(row: &PgRow) -> Result<DeploymentRow, StoreError> {
    Ok(DeploymentRow {
        key: DeploymentKey { namespace: NamespaceId(column(row, 0)?), name: column(row, 1)? },
        revision: column(row, 2)?,
        deployment: bytes(row, 3)?,
    })
}

#[async_trait]
impl DeploymentStore for PostgresStore {
    async fn write_deployment(
        &self,
        key: &DeploymentKey,
        replaces: i64,
        deployment: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let statement = match &deployment {
            None => {
                "DELETE FROM engine.deployment WHERE namespace_id = $1 AND name = $2 AND revision = $3 RETURNING revision"
            }
            Some(_) if replaces == 0 => {
                "INSERT INTO engine.deployment (namespace_id, name, revision, deployment) VALUES ($1, $2, $3 + 1, $4) \
                 ON CONFLICT DO NOTHING RETURNING revision"
            }
            Some(_) => {
                "UPDATE engine.deployment SET revision = $3 + 1, deployment = $4 \
                 WHERE namespace_id = $1 AND name = $2 AND revision = $3 RETURNING revision"
            }
        };
        let query = sqlx::query(statement).bind(key.namespace.0).bind(key.name.as_str()).bind(replaces);
        let rows = match &deployment {
            None => self.connections.rows(query).await?,
            Some(deployment) => self.connections.rows(query.bind(deployment.as_ref())).await?,
        };
        Ok(!rows.is_empty())
    }

    async fn deployment(&self, key: &DeploymentKey) -> Result<Option<DeploymentRow>, StoreError> {
        let query = sqlx::query(
            "SELECT namespace_id, name, revision, deployment FROM engine.deployment WHERE namespace_id = $1 AND name = $2",
        );
        let query = query.bind(key.namespace.0).bind(key.name.as_str());
        self.connections.rows(query).await?.first().map(read).transpose()
    }

    async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError> {
        let query = sqlx::query(
            "SELECT namespace_id, name, revision, deployment FROM engine.deployment ORDER BY namespace_id, name",
        );
        self.connections.rows(query).await?.iter().map(read).collect()
    }
}
