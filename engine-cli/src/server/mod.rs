//! Running a server: `dev`, `serve`, `migrate`.

mod dev;
mod migrate;
mod serve;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use engine_server::store::{self, Store, StoreError};
use engine_server::{NodeOptions, Server, ServerFailure};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub(crate) use dev::run as dev;
pub(crate) use migrate::{SHARDS_DEFAULT, run as migrate};
pub(crate) use serve::run as serve;

use crate::config::{DatabaseSettings, cannot_serve};
use crate::error::{CliError, Exit};

/// Logs go to standard error, as standard output is for results.
fn start_logging(filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| CliError::usage(format!("log: {filter:?} is neither a level nor directives: {error}")))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // A program that embeds the command may have a subscriber of its own; its choice stands.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Opens the store that the settings name.
async fn open_store(settings: &DatabaseSettings) -> Result<Arc<dyn Store>, CliError> {
    store::open_with(settings.url.expose(), settings.postgres.clone()).await.map_err(store_error)
}

/// What a store's error means at start.
fn store_error(error: StoreError) -> CliError {
    match error {
        StoreError::Unavailable(problem) => CliError::new(Exit::Unavailable, problem),
        StoreError::Unusable(problem) => cannot_serve(problem),
        other @ (StoreError::Fenced(_) | StoreError::Corrupt(_) | StoreError::NamespaceExists(_)) => {
            cannot_serve(other.to_string())
        }
    }
}

fn server_error(failure: ServerFailure) -> CliError {
    match failure {
        ServerFailure::Store(error) => store_error(error),
        other @ (ServerFailure::Listen { .. } | ServerFailure::Node(_)) => cannot_serve(other.to_string()),
        other @ ServerFailure::Serve(_) => CliError::new(Exit::Failed, other.to_string()),
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let refused = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                " (is another server running there? --listen 127.0.0.1:0 takes any free port)"
            }
            std::io::ErrorKind::PermissionDenied => " (ports below 1024 are root's; choose a higher one with --listen)",
            _ => "",
        };
        cannot_serve(format!("cannot listen on {address}: {}{remedy}", plain(&error)))
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

/// An operating system's error without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Starts the server and serves until the process is asked to stop; `ready` runs once calls are accepted.
async fn serve_until_asked_to_stop(
    store: Arc<dyn Store>,
    options: NodeOptions,
    allow_unsafe: bool,
    listener: TcpListener,
    ready: impl FnOnce() -> Result<(), CliError>,
) -> Result<(), CliError> {
    // Before the start, so that a signal in between is not lost.
    let stop = asked_to_stop()?;
    let server = Server::start(store, options, allow_unsafe).await.map_err(server_error)?;
    ready()?;
    server.serve(listener, stop).await.map_err(server_error)
}

/// Ends at the first SIGTERM or SIGINT. The second ends the process at once: recovery takes care of the rest.
fn asked_to_stop() -> Result<impl Future<Output = ()> + Send, CliError> {
    let handler =
        |kind| signal(kind).map_err(|error| CliError::new(Exit::Failed, format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    Ok(async move {
        let mut next = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!("asked to stop: handing out no more tasks, waiting for those in hand");
        tokio::spawn(async move {
            next().await;
            std::process::exit(130);
        });
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}
