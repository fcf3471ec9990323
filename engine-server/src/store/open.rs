//! From a URL to a store.

use std::sync::Arc;

use super::memory::MemoryStore;
use super::postgres::{PostgresOptions, PostgresStore};
use super::sqlite::SqliteStore;
use super::{Store, StoreError};

/// Opens the store that `url` names: `postgres://user@host:port/database`, `sqlite://path/to/file.db` (made if it is missing), or
/// `memory:` (gone with the process).
///
/// Nothing is migrated. A SQLite file belongs to one process at a time; opening it in a second one fails with a sentence.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, PostgresOptions::default()).await
}

/// As [`open`]; `postgres` says how to use the database if it is Postgres.
pub async fn open_with(url: &str, postgres: PostgresOptions) -> Result<Arc<dyn Store>, StoreError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match scheme {
        "postgres" | "postgresql" => Ok(Arc::new(PostgresStore::connect(url, postgres).await?)),
        "sqlite" => {
            let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
            Ok(Arc::new(SqliteStore::open(path).await?))
        }
        "memory" => Ok(Arc::new(MemoryStore::new())),
        // The URL may hold a password: only its scheme is shown.
        other => Err(StoreError::Unusable(format!(
            "{other:?} is not a kind of store; use postgres://user@host:5432/database, sqlite://file.db or memory:"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_scheme_is_refused_without_showing_the_url() {
        let error = open("mysql://root:secret@host/db").await.map(drop).unwrap_err().to_string();
        assert!(error.contains("\"mysql\" is not a kind of store"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn memory_opens() {
        assert!(open("memory:").await.is_ok());
    }
}
