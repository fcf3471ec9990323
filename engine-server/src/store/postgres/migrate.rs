//! Creating the schema, and checking that it and the server's settings are what this program needs.
//!
//! `engine.meta` is one row: the number of the last migration that was applied, and the number of shards. A migration and
//! its number are one transaction, so a crash in between leaves a schema that the next call goes on from.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::connections::{Connections, first_connection_failed};
use super::rows::column;
use crate::store::schema::{self, Migration};
use crate::store::{DEFAULT_NAMESPACE, StoreError};

/// The migrations, oldest first. A released one is never changed.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "init", statements: include_str!("../../../migrations/postgres/0001_init.sql") },
    Migration { name: "owing", statements: include_str!("../../../migrations/postgres/0002_owing.sql") },
    Migration { name: "attributes", statements: include_str!("../../../migrations/postgres/0003_attributes.sql") },
    Migration { name: "schedules", statements: include_str!("../../../migrations/postgres/0004_schedules.sql") },
    Migration { name: "batches", statements: include_str!("../../../migrations/postgres/0005_batches.sql") },
    Migration { name: "deployments", statements: include_str!("../../../migrations/postgres/0006_deployments.sql") },
];

/// Any number that no other program is likely to lock: "engine" in ASCII.
const LOCK: i64 = 0x656e_6769_6e65;

/// The first major version that the statements were written for.
const MAJOR_MIN: i32 = 15;

pub(super) async fn migrate(options: &PgConnectOptions, description: &str, shards: u32) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("42501") => StoreError::Unusable(format!(
            "cannot create the schema `engine` in {description}: {error}; the role of the database URL needs the CREATE \
             privilege on the database"
        )),
        Some(_) => StoreError::Unusable(format!("cannot migrate {description}: {error}")),
        None => StoreError::Unavailable(format!("lost the connection to {description} while migrating it: {error}")),
    };
    let mut connection =
        PgConnection::connect_with(options).await.map_err(|error| first_connection_failed(description, error))?;
    // Of the session: it goes when the connection does, so a crash leaves no lock.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await.map_err(failed)?;
    let number: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int4")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    check_server_version(number, description)?;
    let applied = applied_version(&mut connection).await.map_err(failed)?;
    let pending = schema::pending(MIGRATIONS, applied, description)?;
    for (version, migration) in pending {
        tracing::info!(version, migration = migration.name, "migrating {description}");
        apply(&mut connection, version, migration).await.map_err(failed)?;
    }
    bootstrap(&mut connection, shards).await.map_err(failed)?;
    // Closing gives up the lock.
    connection.close().await.map_err(failed)
}

/// Number of the last migration that was applied; creates the place where it is kept.
async fn applied_version(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('engine.meta') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !exists {
        sqlx::raw_sql(
            "BEGIN; \
             CREATE SCHEMA IF NOT EXISTS engine; \
             CREATE TABLE engine.meta (schema_version int4 NOT NULL, shard_count int4); \
             INSERT INTO engine.meta VALUES (0, NULL); \
             COMMIT",
        )
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query_scalar("SELECT schema_version FROM engine.meta").fetch_one(connection).await
}

async fn apply(connection: &mut PgConnection, version: i32, migration: &Migration) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(migration.statements).execute(&mut *transaction).await?;
    sqlx::query("UPDATE engine.meta SET schema_version = $1").bind(version).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Creates the shards and the first namespace, unless that was done.
async fn bootstrap(connection: &mut PgConnection, shards: u32) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let set = sqlx::query("UPDATE engine.meta SET shard_count = $1 WHERE shard_count IS NULL")
        .bind(i32::try_from(shards).unwrap_or(i32::MAX))
        .execute(&mut *transaction)
        .await?;
    if set.rows_affected() == 1 {
        sqlx::query("INSERT INTO engine.shard (id, epoch) SELECT id, 0 FROM generate_series(0, $1 - 1) AS id")
            .bind(i32::try_from(shards).unwrap_or(i32::MAX))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO engine.namespace (name) VALUES ($1)")
            .bind(DEFAULT_NAMESPACE)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

fn check_server_version(number: i32, description: &str) -> Result<(), StoreError> {
    let major = number / 10_000;
    if major < MAJOR_MIN {
        return Err(StoreError::Unusable(format!(
            "{description} is Postgres {major}; the engine needs Postgres {MAJOR_MIN} or later"
        )));
    }
    Ok(())
}

pub(super) async fn check(connections: &Connections, description: &str, allow_unsafe: bool) -> Result<(), StoreError> {
    let query = sqlx::query(
        "SELECT current_setting('server_version_num')::int4, to_regclass('engine.meta') IS NOT NULL, \
         current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')",
    );
    let rows = connections.rows(query).await?;
    let row = rows.first().ok_or_else(|| StoreError::Unavailable(format!("{description} gave no settings")))?;
    check_server_version(column(row, 0)?, description)?;
    if !allow_unsafe {
        for (index, setting) in ["fsync", "full_page_writes", "synchronous_commit"].into_iter().enumerate() {
            if column::<String>(row, 2 + index)? == "off" {
                return Err(StoreError::Unusable(format!(
                    "{description} runs with {setting} = off, so a crash of it can lose what it has acknowledged: turn \
                     {setting} on, or pass --allow-unsafe-database to accept that"
                )));
            }
        }
    }
    let mut applied = 0;
    if column(row, 1)? {
        let rows = connections.rows(sqlx::query("SELECT schema_version FROM engine.meta")).await?;
        applied = rows.first().map_or(Ok(0), |row| column(row, 0))?;
    }
    schema::check(MIGRATIONS, applied, description)
}

pub(super) async fn shard_count(connections: &Connections) -> Result<u32, StoreError> {
    let rows = connections.rows(sqlx::query("SELECT shard_count FROM engine.meta")).await?;
    let count: Option<i32> = rows.first().map_or(Ok(None), |row| column(row, 0))?;
    count.and_then(|count| u32::try_from(count).ok()).ok_or_else(schema::not_bootstrapped)
}
