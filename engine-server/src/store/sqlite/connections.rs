//! One writer, a few readers, and the lock that keeps other processes away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::MutexGuard;

use super::bulk::STATEMENTS_KEPT;
use crate::store::StoreError;

/// More would only take turns on the cores, and each has a page cache and a thread of its own.
const READERS: u32 = 4;

/// How long a read may wait for a reader.
const READER_WITHIN: Duration = Duration::from_secs(10);

/// Above this the log is cut back to it after a checkpoint; a large batch may have made it grow.
const LOG_BYTES_KEPT: &str = "67108864";

pub(super) struct Connections {
    description: String,
    /// `None` once closed.
    writer: tokio::sync::Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    /// Locked while it is open. Dropped last of the three.
    lock: Mutex<Option<File>>,
    calls: AtomicU64,
}

/// The writer, held by one at a time.
pub(super) struct Writer<'a>(MutexGuard<'a, Option<SqliteConnection>>);

impl Writer<'_> {
    /// Begins a write transaction. Dropped without a commit, even with its future, it is rolled back before whatever comes
    /// next on this connection.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
        let connection = self.0.as_mut().expect("`Connections::writer` has looked");
        connection.begin_with("BEGIN IMMEDIATE").await
    }
}

impl Connections {
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        let file = resolve(file)?;
        let description = format!("SQLite file {}", file.display());
        let lock = lock(&file)?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", LOG_BYTES_KEPT)
            .foreign_keys(false)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .disable_statement_logging();
        let mut writer = SqliteConnection::connect_with(&options)
            .await
            .map_err(|error| StoreError::Unusable(format!("cannot open {description}: {}", message(&error))))?;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut writer)
            .await
            .map_err(|error| StoreError::Unusable(format!("cannot open {description}: {}", message(&error))))?;
        if mode != "wal" {
            return Err(StoreError::Unusable(format!(
                "cannot use {description}: its file system does not support write-ahead logging (SQLite chose the \
                 journal mode {mode:?}); put the file on a local disk"
            )));
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READER_WITHIN)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.create_if_missing(false).pragma("query_only", "on"));
        Ok(Self {
            description,
            writer: tokio::sync::Mutex::new(Some(writer)),
            readers,
            lock: Mutex::new(Some(lock)),
            calls: AtomicU64::new(0),
        })
    }

    pub(super) fn description(&self) -> &str {
        &self.description
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits for the writer.
    pub(super) async fn writer(&self) -> Result<Writer<'_>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let writer = self.writer.lock().await;
        if writer.is_none() {
            return Err(StoreError::Unavailable(format!("{} is closed", self.description)));
        }
        Ok(Writer(writer))
    }

    /// Waits for a reader.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.readers.acquire().await.map_err(|error| self.explain(&error))
    }

    /// What an error means.
    pub(super) fn explain(&self, error: &sqlx::Error) -> StoreError {
        let at = &self.description;
        let text = message(error);
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        // The primary code is in the low byte; the rest says more about the same.
        match code.map(|code| code & 0xff) {
            // SQLITE_ERROR: the statements are ours, so what is wrong is the schema.
            Some(1) if text.contains("no such table") || text.contains("no such column") => {
                StoreError::Unusable(format!(
                    "{at} has no schema of the engine, or not the one that this program knows ({text}): run `engine migrate`"
                ))
            }
            // SQLITE_CORRUPT, SQLITE_NOTADB.
            Some(11 | 26) => {
                StoreError::Unusable(format!("{at} is damaged or no database ({text}): restore it from a backup"))
            }
            _ => StoreError::Unavailable(format!("{at}: {text}")),
        }
    }

    /// As [`Connections::explain`], for what a batch wrote: a constraint that it broke says that nothing was written.
    pub(super) fn explain_commit(&self, error: &sqlx::Error) -> StoreError {
        match error.as_database_error() {
            Some(broken) if broken.is_unique_violation() => {
                StoreError::Corrupt(format!("a batch was refused: {}", message(error)))
            }
            _ => self.explain(error),
        }
    }

    pub(super) async fn close(&self) {
        let writer = self.writer.lock().await.take();
        self.readers.close().await;
        // The last connection to close moves the log into the file, so that one file is all there is.
        if let Some(writer) = writer {
            let _ = writer.close().await;
        }
        self.lock.lock().take();
    }
}

fn message(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// The file's one name, however it was spelt, so that one file has one lock.
fn resolve(file: &Path) -> Result<PathBuf, StoreError> {
    let shown = file.display();
    if let Ok(existing) = file.canonicalize() {
        if existing.is_dir() {
            return Err(StoreError::Unusable(format!("cannot open the database file {shown}: it is a directory")));
        }
        return Ok(existing);
    }
    let name = file.file_name().ok_or_else(|| {
        StoreError::Unusable(format!("cannot open the database file {shown}: that is not the name of a file"))
    })?;
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = directory.canonicalize().map_err(|error| {
        StoreError::Unusable(format!("cannot create the database file {shown}: its directory cannot be used: {error}"))
    })?;
    Ok(directory.join(name))
}

/// Takes the lock on the sidecar file. Not on the file itself: SQLite's own locks are there.
fn lock(file: &Path) -> Result<File, StoreError> {
    let mut path = file.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |error: std::io::Error| {
        StoreError::Unusable(format!("cannot lock the database file {}: {}: {error}", file.display(), path.display()))
    };
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(StoreError::Unusable(format!(
                "the database file {} is in use by another engine{holder}: stop that one, or choose another file",
                file.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // For the sentence above only; the lock is what counts.
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
    Ok(lock)
}
