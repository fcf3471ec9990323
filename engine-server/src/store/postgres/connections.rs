//! A few connections, and one way to run a statement on them.
//!
//! Why not sqlx's pool: it asks the server a question of its own each time a connection comes back, so every batch would
//! cost two round trips; and what happens to a connection whose statement was given up has to be certain here. A
//! connection that is in use belongs to the future that uses it. It comes back only after a complete answer; otherwise it
//! is dropped with the future, which closes its socket.
//!
//! What the server may still do with a statement that was given up: it ends by itself, since the server has the same
//! limit. A batch among them is fenced from the moment that somebody else acquires its shards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::PostgresOptions;
use crate::store::StoreError;

/// A connection that has been idle for longer is closed when another comes back: routers forget it sooner or later.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// How long a polite goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Every statement here finds its rows by an index, one key after another. That is right for any size of the tables, while
/// what the planner would pick for tables that are small today is kept by prepared statements for too long when they have grown.
/// Compiling such a plan would take longer than running it. Bitmaps are for rows in no order: with them all that is left of a long
/// history would be collected and sorted for each of its pages.
const PLANS: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// SQLSTATE of `engine.acquire_shards` for a node without a lease.
const LEASE_NOT_HELD: &str = "EN001";

/// SQLSTATE of `engine.commit_batch` for a change of a row that is not there.
const ROW_MISSING: &str = "EN002";

pub(super) struct Connections {
    options: PgConnectOptions,
    description: String,
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    permits: Semaphore,
    closed: AtomicBool,
    round_trips: AtomicU64,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// Why a statement gave no rows.
#[derive(Debug)]
pub(super) enum Failure {
    /// The node of `acquire_shards` has no lease.
    LeaseNotHeld,
    /// The server refused what the statement would write; nothing of it is there.
    Refused(String),
    /// Anything else.
    Other(StoreError),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::LeaseNotHeld => StoreError::Unusable("the node does not hold its lease".to_owned()),
            Failure::Refused(text) => StoreError::Unavailable(text),
            Failure::Other(error) => error,
        }
    }
}

impl Connections {
    pub(super) async fn open(
        options: PgConnectOptions,
        limits: &PostgresOptions,
        description: String,
    ) -> Result<Self, StoreError> {
        let timeout = limits.statement_timeout;
        let options = options.options([("statement_timeout", timeout.as_millis().to_string())]).options(PLANS);
        let connections = Self {
            options,
            description,
            timeout,
            idle: Mutex::default(),
            permits: Semaphore::new(limits.max_connections.max(1) as usize),
            closed: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
        };
        let connection = match tokio::time::timeout(timeout, PgConnection::connect_with(&connections.options)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(first_connection_failed(&connections.description, error)),
            Err(_) => {
                return Err(StoreError::Unavailable(format!(
                    "{} did not answer within {timeout:?}",
                    connections.description
                )));
            }
        };
        connections.idle.lock().push(Idle { connection, since: Instant::now() });
        Ok(connections)
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Runs one statement and gives all its rows.
    pub(super) async fn rows(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let unavailable = |text: String| Failure::Other(StoreError::Unavailable(text));
        let timed_out = |doing: &str| unavailable(format!("{} for {:?} {doing}", self.description, self.timeout));

        let permit = timeout_at(deadline, self.permits.acquire()).await;
        let permit = permit.map_err(|_| timed_out("had no connection to spare"))?;
        let _permit = permit.map_err(|_| unavailable("the store is closed".to_owned()))?;
        let reused = self.idle.lock().pop().map(|idle| idle.connection);
        let mut connection = match reused {
            Some(connection) => connection,
            None => timeout_at(deadline, PgConnection::connect_with(&self.options))
                .await
                .map_err(|_| timed_out("accepted no connection"))?
                .map_err(|error| unavailable(format!("cannot connect to {}: {error}", self.description)))?,
        };

        let prepared = connection.cached_statements_size();
        let outcome = timeout_at(deadline, query.fetch_all(&mut connection)).await;
        let preparations = connection.cached_statements_size().saturating_sub(prepared) as u64;
        self.round_trips.fetch_add(1 + preparations, Ordering::Relaxed);
        let error = match outcome {
            Ok(Ok(rows)) => {
                self.put_back(connection);
                return Ok(rows);
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(timed_out("did not answer a statement")),
        };
        match self.explain(error) {
            // The server said no in so many words; the connection is as good as before.
            failure @ (Failure::LeaseNotHeld | Failure::Refused(_)) => {
                self.put_back(connection);
                Err(failure)
            }
            Failure::Other(error) => {
                // Whatever befell this connection has probably befallen the idle ones: a restart, a failover.
                self.idle.lock().clear();
                Err(Failure::Other(error))
            }
        }
    }

    fn put_back(&self, connection: PgConnection) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        idle.retain(|idle| now - idle.since < IDLE_MAX);
        // The last used is used next, so that those beyond the need of the hour grow old.
        idle.push(Idle { connection, since: now });
    }

    fn explain(&self, error: sqlx::Error) -> Failure {
        let Some(database_error) = error.as_database_error() else {
            let at = &self.description;
            return Failure::Other(StoreError::Unavailable(format!("lost the connection to {at}: {error}")));
        };
        let code = database_error.code().unwrap_or_default().into_owned();
        let message = database_error.message();
        match code.as_str() {
            LEASE_NOT_HELD => Failure::LeaseNotHeld,
            ROW_MISSING => Failure::Refused(message.to_owned()),
            "3F000" | "42P01" | "42883" | "42703" => Failure::Other(self.no_schema(message)),
            "42501" => Failure::Other(StoreError::Unusable(format!(
                "the role of the database URL may not use the schema `engine` of {}: {message}",
                self.description
            ))),
            // Broken constraints, values that cannot be stored, limits exceeded: the same statement would fail again.
            _ if ["22", "23", "54"].contains(&code.get(..2).unwrap_or_default()) => {
                Failure::Refused(format!("{message} (SQLSTATE {code})"))
            }
            _ => Failure::Other(StoreError::Unavailable(format!("{}: {message} (SQLSTATE {code})", self.description))),
        }
    }

    fn no_schema(&self, message: &str) -> StoreError {
        StoreError::Unusable(format!(
            "{} has no schema of the engine, or not the one that this program knows ({message}): run `engine migrate`",
            self.description
        ))
    }

    /// Closes what is idle, politely; what is in use is closed when it comes back.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        let goodbyes = idle.into_iter().map(|idle| idle.connection.close());
        let _ = tokio::time::timeout(CLOSE_WITHIN, futures::future::join_all(goodbyes)).await;
    }
}

/// The sentence for people who have just configured the database.
pub(super) fn first_connection_failed(description: &str, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    let message = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    match code.as_str() {
        "3D000" => StoreError::Unusable(format!("cannot use {description}: {message}; create it with `createdb`")),
        "28P01" | "28000" => StoreError::Unusable(format!(
            "cannot use {description}: {message}; check the user and password of the database URL"
        )),
        // Starting up, shutting down, out of connections, not reachable: it may pass.
        _ => StoreError::Unavailable(format!(
            "cannot connect to {description}: {message}; check that the server runs and the URL is right"
        )),
    }
}
