//! The memory store keeps every promise of the trait but to outlive its process.

use std::sync::Arc;

use async_trait::async_trait;
use engine_server::store::Store;
use engine_server::store::conformance::Subject;
use engine_server::store::memory::MemoryStore;

struct Memory(MemoryStore);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        self.open().await
    }
}

engine_server::store_conformance!(Memory(MemoryStore::new()));
