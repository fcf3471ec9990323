//! The rows of deployments: which versions of workers there are, and which of them gets what. Written when a build first connects and when an
//! operator changes the routing, by any node, so they have no shard: the revision alone keeps writers apart.

use async_trait::async_trait;
use bytes::Bytes;

use super::{NamespaceId, StoreError};

/// Names a deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentKey {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its name.
    pub name: String,
}

/// The row of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its key.
    pub key: DeploymentKey,
    /// Counts its writes, from 1.
    pub revision: i64,
    /// An encoded `engine.v1.Deployment`.
    pub deployment: Bytes,
}

/// Where deployments are kept; see [`super::Store`] for what holds of all of it.
#[async_trait]
pub trait DeploymentStore {
    /// Writes, replaces or, without a value, deletes one row, if its revision is `replaces` (0: there must be none); `false` if that is
    /// another one, and then nothing was written. After an error it may have been, or may be later: the revision keeps it from
    /// undoing what was written meanwhile.
    async fn write_deployment(
        &self,
        key: &DeploymentKey,
        replaces: i64,
        deployment: Option<Bytes>,
    ) -> Result<bool, StoreError>;

    /// One row.
    async fn deployment(&self, key: &DeploymentKey) -> Result<Option<DeploymentRow>, StoreError>;

    /// All of them, by namespace and name: [`crate::limits::DEPLOYMENTS_MAX`] in a namespace at most.
    async fn deployments(&self) -> Result<Vec<DeploymentRow>, StoreError>;
}
