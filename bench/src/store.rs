//! The store under the server: throwaway ones, and what a database counts by itself.

use anyhow::{Context, Result};
use engine_testkit::postgres::{PostgresCluster, fresh_database};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::arguments::{Settings, StoreKind};
use crate::meter::processes;

/// Settings of a throwaway cluster. All others are Postgres's defaults, fsync=on among them.
pub(crate) const POSTGRES_SETTINGS: [(&str, &str); 2] = [("shared_buffers", "1GB"), ("max_wal_size", "1GB")];

/// The store that a rig uses. What was made for it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    url: String,
    _cluster: Option<PostgresCluster>,
    _directory: Option<tempfile::TempDir>,
}

impl Store {
    /// The one that the settings name, or a throwaway one.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        if let Some(url) = &settings.database_url {
            return Ok(Self { url: url.clone(), _cluster: None, _directory: None });
        }
        match settings.store {
            StoreKind::Postgres => {
                let cluster = start_postgres().await?;
                let url = fresh_database(&cluster.url()).await?;
                Ok(Self { url, _cluster: Some(cluster), _directory: None })
            }
            StoreKind::Sqlite => {
                let directory = tempfile::tempdir().context("make a directory for the SQLite file")?;
                let url = format!("sqlite://{}", directory.path().join("bench.db").display());
                Ok(Self { url, _cluster: None, _directory: Some(directory) })
            }
            StoreKind::Memory => Ok(Self { url: "memory:".to_owned(), _cluster: None, _directory: None }),
        }
    }

    /// That of a server which runs already; `unknown:` if the settings do not tell it.
    pub(crate) fn attached(settings: &Settings) -> Self {
        let url = settings.database_url.clone().unwrap_or_else(|| "unknown:".to_owned());
        Self { url, _cluster: None, _directory: None }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `postgres`, `sqlite` or `memory`.
    pub(crate) fn kind(&self) -> &str {
        kind(&self.url)
    }
}

/// A URL's scheme, as stores are named in reports.
pub(crate) fn kind(url: &str) -> &str {
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        "postgresql" => "postgres",
        scheme => scheme,
    }
}

/// A throwaway cluster whose WAL has been written once.
pub(crate) async fn start_postgres() -> Result<PostgresCluster> {
    let cluster =
        PostgresCluster::start_with(&POSTGRES_SETTINGS).await.context("start a throwaway Postgres cluster")?;
    warm_wal(&cluster.url()).await.context("write the cluster's WAL once")?;
    Ok(cluster)
}

/// Writes 512 MiB of WAL and has its segments recycled: a fresh cluster makes and zeroes each segment as it first needs it, and
/// takes a fifth of the commits of one that has been in use.
async fn warm_wal(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    for _ in 0..2 {
        let filler = "SELECT repeat(md5(n::text), 32) AS filler FROM generate_series(1, 240000) n";
        sqlx::raw_sql("CREATE TABLE warm_wal (filler text)").execute(&mut connection).await?;
        sqlx::raw_sql("ALTER TABLE warm_wal ALTER filler SET STORAGE PLAIN").execute(&mut connection).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("INSERT INTO warm_wal {filler}"))).execute(&mut connection).await?;
        sqlx::raw_sql("DROP TABLE warm_wal").execute(&mut connection).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Starts a cluster, prints its URL, stops it when standard input closes.
pub(crate) async fn lend_postgres() -> Result<()> {
    let cluster = start_postgres().await?;
    println!("{}", cluster.url());
    let mut questions = crate::program::questions();
    while questions.recv().await.is_some() {}
    Ok(())
}

/// What a Postgres counts by itself, and its process.
#[derive(Debug)]
pub(crate) struct PostgresCounters {
    connection: PgConnection,
    /// If it runs on this machine.
    pub(crate) postmaster: Option<u32>,
}

/// Counts since the database was made. Postgres publishes each connection's about once a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostgresCounts {
    /// Transactions, those that only read included.
    pub(crate) commits: u64,
    /// Rows inserted, updated and deleted.
    pub(crate) rows: u64,
    /// Bytes of WAL, of the whole cluster.
    pub(crate) wal_bytes: u64,
}

impl PostgresCounters {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await.context("connect to the database for its counts")?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        // On another machine, or in another container, the number names nobody or somebody else.
        let backend = u32::try_from(backend).ok().filter(|pid| processes::name(*pid).as_deref() == Some("postgres"));
        Ok(Self { connection, postmaster: backend.and_then(processes::parent) })
    }

    pub(crate) async fn read(&mut self) -> Result<PostgresCounts> {
        let query = "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted AS rows, \
                     (SELECT wal_bytes::bigint FROM pg_stat_wal) AS wal_bytes \
                     FROM pg_stat_database WHERE datname = current_database()";
        let row = sqlx::query(query).fetch_one(&mut self.connection).await.context("read the database's counts")?;
        let number = |column: &str| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(PostgresCounts { commits: number("xact_commit")?, rows: number("rows")?, wal_bytes: number("wal_bytes")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_alike_however_their_url_is_written() {
        assert_eq!(kind("postgresql://u@h/d"), "postgres");
        assert_eq!(kind("postgres://u@h/d"), "postgres");
        assert_eq!(kind("sqlite:///tmp/x.db"), "sqlite");
        assert_eq!(kind("memory:"), "memory");
    }
}
