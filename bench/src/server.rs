//! The server process: what `engine serve` runs, and counts that it tells its parent.

use std::sync::Arc;

use anyhow::{Context, Result};
use engine_server::store::Store;
use engine_server::{NodeOptions, Server};
use serde::{Deserialize, Serialize};

use crate::arguments::ServerOptions;
use crate::program;

/// What the store counted, as the server tells it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StoreCounts {
    pub(crate) commits: u64,
    pub(crate) rows: u64,
}

/// Serves until standard input closes. Prints the address, and the store's counts for each line that it reads.
pub(crate) async fn run(options: &ServerOptions) -> Result<()> {
    program::start_logging();
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}, which another process may use", options.listen))?;
    let address = listener.local_addr()?;
    let store = engine_server::store::open(&options.database_url).await.context("open the store")?;
    store.migrate(64).await.context("migrate the store")?;
    // The same name after a restart: it gets back the shards of the process before it at once.
    let mut node = NodeOptions::new("engine-bench");
    node.lanes = options.lanes.map_or(node.lanes, usize::from);
    node.park_after = options.park_after.unwrap_or(node.park_after);
    let server = Server::start(Arc::clone(&store), node, true).await.context("start the server")?;
    println!("http://{address}");
    server.serve(listener, answer(store)).await.context("serve")
}

async fn answer(store: Arc<dyn Store>) {
    let mut questions = program::questions();
    while questions.recv().await.is_some() {
        let stats = store.stats();
        let counts = StoreCounts { commits: stats.commits, rows: stats.rows };
        println!("{}", serde_json::to_string(&counts).expect("counts are numbers"));
    }
}
