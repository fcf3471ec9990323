//! Creating the schema and checking its version. All of it is one transaction: a crash leaves the schema as it was.
//!
//! `meta` is one row: the number of the last migration that was applied, and the number of shards.

use sqlx::SqliteConnection;

use super::connections::Connections;
use crate::store::schema::{self, Migration};
use crate::store::{DEFAULT_NAMESPACE, StoreError};

/// The migrations, oldest first. A released one is never changed.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { name: "init", statements: include_str!("../../../migrations/sqlite/0001_init.sql") },
    Migration { name: "owing", statements: include_str!("../../../migrations/sqlite/0002_owing.sql") },
    Migration { name: "attributes", statements: include_str!("../../../migrations/sqlite/0003_attributes.sql") },
    Migration { name: "schedules", statements: include_str!("../../../migrations/sqlite/0004_schedules.sql") },
    Migration { name: "batches", statements: include_str!("../../../migrations/sqlite/0005_batches.sql") },
    Migration { name: "deployments", statements: include_str!("../../../migrations/sqlite/0006_deployments.sql") },
];

pub(super) async fn migrate(connections: &Connections, shards: u32) -> Result<(), StoreError> {
    let description = connections.description();
    let explain = |error: sqlx::Error| connections.explain(&error);
    let mut writer = connections.writer().await?;
    let mut transaction = writer.begin().await.map_err(explain)?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS meta (id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, \
         shard_count INTEGER) STRICT; \
         INSERT OR IGNORE INTO meta (id, schema_version) VALUES (1, 0)",
    )
    .execute(&mut *transaction)
    .await
    .map_err(explain)?;
    let applied = applied_version(&mut transaction).await.map_err(explain)?;
    for (version, migration) in schema::pending(MIGRATIONS, applied, description)? {
        tracing::info!(version, migration = migration.name, "migrating {description}");
        sqlx::raw_sql(migration.statements).execute(&mut *transaction).await.map_err(explain)?;
        let set = sqlx::query("UPDATE meta SET schema_version = ?1").bind(version);
        set.execute(&mut *transaction).await.map_err(explain)?;
    }
    bootstrap(&mut transaction, shards).await.map_err(explain)?;
    transaction.commit().await.map_err(explain)
}

async fn applied_version(connection: &mut SqliteConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT schema_version FROM meta").fetch_one(connection).await
}

/// Creates the shards and the first namespace, unless that was done.
async fn bootstrap(connection: &mut SqliteConnection, shards: u32) -> Result<(), sqlx::Error> {
    let set = sqlx::query("UPDATE meta SET shard_count = ?1 WHERE shard_count IS NULL")
        .bind(shards)
        .execute(&mut *connection)
        .await?;
    if set.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "WITH RECURSIVE n (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id + 1 < ?1) \
         INSERT INTO shard (id, epoch) SELECT id, 0 FROM n",
    )
    .bind(shards)
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO namespace (name) VALUES (?1)").bind(DEFAULT_NAMESPACE).execute(connection).await?;
    Ok(())
}

pub(super) async fn check(connections: &Connections) -> Result<(), StoreError> {
    let mut reader = connections.reader().await?;
    let explain = |error: sqlx::Error| connections.explain(&error);
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'meta')")
        .fetch_one(&mut *reader)
        .await
        .map_err(explain)?;
    let applied = if exists { applied_version(&mut reader).await.map_err(explain)? } else { 0 };
    schema::check(MIGRATIONS, applied, connections.description())
}

pub(super) async fn shard_count(connections: &Connections) -> Result<u32, StoreError> {
    let mut reader = connections.reader().await?;
    let count: Option<u32> = sqlx::query_scalar("SELECT shard_count FROM meta")
        .fetch_one(&mut *reader)
        .await
        .map_err(|error| connections.explain(&error))?;
    count.ok_or_else(schema::not_bootstrapped)
}
