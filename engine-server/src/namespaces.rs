//! Namespaces by name. Read from the store once, and again when a name is not known.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::shard::request::ServerError;
use crate::store::{NamespaceId, Store, StoreError};

/// Namespaces by name.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    ids: RwLock<HashMap<String, NamespaceId>>,
}

impl Namespaces {
    pub(crate) async fn load(store: &Arc<dyn Store>) -> Result<Self, StoreError> {
        let namespaces = Self::default();
        namespaces.refresh(store).await?;
        Ok(namespaces)
    }

    async fn refresh(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        // In a task of its own: a caller that goes away must not drop a database future half-way.
        let store = Arc::clone(store);
        let rows = tokio::spawn(async move { store.namespaces().await })
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))??;
        *self.ids.write() = rows.into_iter().map(|row| (row.name, row.id)).collect();
        Ok(())
    }

    /// The number of a namespace; `field` is where the request names it.
    pub(crate) async fn id(&self, store: &Arc<dyn Store>, field: &str, name: &str) -> Result<NamespaceId, ServerError> {
        engine_core::ids::Namespace::parse(name)
            .map_err(|e| ServerError::Invalid { field: field.to_owned(), problem: e.to_string() })?;
        if let Some(id) = self.ids.read().get(name) {
            return Ok(*id);
        }
        self.refresh(store).await.map_err(|e| ServerError::unavailable(e.to_string()))?;
        let known = self.ids.read().get(name).copied();
        known.ok_or_else(|| ServerError::NotFound { kind: "namespace", name: name.to_owned() })
    }
}
