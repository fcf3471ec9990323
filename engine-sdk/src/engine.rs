//! The whole engine inside this process: [`Engine`].
//!
//! It is the server's library behind the same services that a remote server offers, called without a socket: clients and workers
//! know no difference.

use std::fmt;
use std::time::Duration;

use engine_server::store::{self, StoreError};
use engine_server::{NodeOptions, Server, ServerFailure};
use uuid::Uuid;

use crate::client::{Client, ClientBuilder, ClientError};
use crate::transport::Transport;

/// Into how many shards a new database is divided. It cannot be changed later.
const SHARDS: u32 = 64;

/// An engine in this process, on a database of your choice.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use engine_sdk::engine::Engine;
///
/// let engine = Engine::open("sqlite://orders.db").await?;
/// let client = engine.client();
/// // … workers and clients as with a remote server …
/// engine.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Engine {
    server: Server,
    transport: Transport,
    client: Client,
}

impl Engine {
    /// Opens an engine on `sqlite://path` (a file, made if it is not there; one process at a time), `postgres://user@host/database`
    /// or `memory:` (nothing outlives the process). The database is brought to this version's schema. When it returns, calls
    /// are accepted, and what an earlier process left unfinished goes on.
    ///
    /// # Errors
    /// In a sentence: the database cannot be reached, is another process's, has the schema of a later version, or is set up so
    /// that it would lose what it acknowledged.
    pub async fn open(url: &str) -> Result<Self, EngineError> {
        Self::builder().open(url).await
    }

    /// Begins an engine with other settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { client: Client::builder(), node_name: None, allow_unsafe: false }
    }

    /// A client of this engine.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The way to this engine, for clients of other namespaces or settings: `Client::builder().over(engine.transport())`.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// Stops: no more tasks are handed out, what was accepted is committed, the database is closed. Shut workers down first: they
    /// bring home what they have in hand.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Settings of an [`Engine`]. Made by [`Engine::builder`].
#[derive(Debug, Clone)]
pub struct EngineBuilder {
    client: ClientBuilder,
    node_name: Option<String>,
    allow_unsafe: bool,
}

impl EngineBuilder {
    /// Settings of [`Engine::client`].
    #[must_use]
    pub fn client(mut self, settings: ClientBuilder) -> Self {
        self.client = settings;
        self
    }

    /// On Postgres: a name that survives a restart and that no other process has. A process takes over at once what one of the
    /// same name owned; without a name it waits, after a crash, until that one's lease has run out (10 s).
    #[must_use]
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = Some(name.into());
        self
    }

    /// Accepts a database that is set up so that it may lose what it acknowledged (`fsync=off`): for tests.
    #[must_use]
    pub fn allow_unsafe(mut self) -> Self {
        self.allow_unsafe = true;
        self
    }

    /// Opens the engine. See [`Engine::open`].
    pub async fn open(self, url: &str) -> Result<Engine, EngineError> {
        let store = store::open(url).await.map_err(EngineError::Store)?;
        let is_shared = url.starts_with("postgres");
        store.migrate(SHARDS).await.map_err(EngineError::Store)?;
        // A file and memory have one process at a time, so all of them may have one name.
        let name = match self.node_name {
            Some(name) => name,
            None if is_shared => format!("embedded-{}", Uuid::now_v7()),
            None => "embedded".to_owned(),
        };
        let mut options = NodeOptions::new(name);
        if !is_shared {
            // Workers live in this process: nobody is left that could claim what the last one had in hand.
            options.recovery_grace = Duration::ZERO;
        }
        let server = Server::start(store, options, self.allow_unsafe).await.map_err(EngineError::Server)?;
        let transport = Transport::local(server.service());
        let client = self.client.over(transport.clone()).map_err(EngineError::Client)?;
        Ok(Engine { server, transport, client })
    }
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The URL names no database, or one that cannot be used.
    #[error(transparent)]
    Store(StoreError),
    /// The server could not start on it.
    #[error(transparent)]
    Server(ServerFailure),
    /// The client's settings are wrong.
    #[error(transparent)]
    Client(ClientError),
}
