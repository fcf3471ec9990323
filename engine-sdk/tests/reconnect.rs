//! Clients and a worker over a socket, while their server goes away and comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine_sdk::prelude::*;
use engine_server::store::Store;
use engine_server::store::memory::MemoryStore;
use engine_server::{NodeOptions, Server};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Lets activities go on when the test says so.
struct Gate {
    began: mpsc::UnboundedSender<u32>,
    open: tokio::sync::Semaphore,
}

#[activity]
async fn gated(ctx: ActivityContext, number: u32) -> Result<u32, ActivityError> {
    let gate = ctx.state::<Arc<Gate>>();
    gate.began.send(number)?;
    gate.open.acquire().await?.forget();
    Ok(number + ctx.attempt())
}

#[workflow]
async fn waits(ctx: WorkflowContext, number: u32) -> Result<u32, WorkflowError> {
    let first = ctx.run(gated, number).await?;
    Ok(ctx.run(gated, first).await?)
}

struct Serving {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn serve(store: &Arc<MemoryStore>, listener: TcpListener) -> Serving {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    store.migrate(4).await.expect("a store that can be migrated");
    let server = Server::start(store, NodeOptions::new("test"), true).await.expect("a server that starts");
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async move {
        let _ = server.serve(listener, async move { drop(stopped.await) }).await;
    });
    Serving { stop, ended }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    // The connections of the server before may linger.
    socket.set_reuseaddr(true).expect("a socket option");
    socket.bind(address).expect("a free address");
    socket.listen(64).expect("a free address")
}

#[tokio::test]
async fn work_in_hand_survives_a_restart_of_the_server() {
    let store = Arc::new(MemoryStore::new());
    let listener = listen("127.0.0.1:0".parse().unwrap());
    let address = listener.local_addr().unwrap();
    let serving = serve(&store, listener).await;
    let client = Client::connect(&format!("http://{address}")).await.unwrap();
    let (began, mut begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { began, open: tokio::sync::Semaphore::new(0) });
    let worker = Worker::new(client.clone(), "numbers").workflow(waits).activity(gated).state(Arc::clone(&gate));
    let shutdown = worker.shutdown_handle();
    let worker = tokio::spawn(worker.run());
    let mut results = Vec::new();
    for number in 0..20 {
        let handle =
            client.workflow(waits).id(format!("n{number}")).queue("numbers").start(number * 100).await.unwrap();
        results.push(tokio::spawn(async move { handle.result().await }));
    }
    for _ in 0..20 {
        begun.recv().await.unwrap();
    }
    serving.stop.send(()).unwrap();
    // Half of the activities end while there may be no server.
    gate.open.add_permits(10);
    serving.ended.await.unwrap();
    let refused = Client::builder().retry_for(Duration::ZERO).connect(&format!("http://{address}")).await.unwrap();
    let error = refused.handle::<waits>("n1").describe().await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("the engine at http://{address} cannot be reached")), "{error}");

    let serving = serve(&store, listen(address)).await;
    gate.open.add_permits(30);
    for (number, result) in results.into_iter().enumerate() {
        // Each activity was done once, at its first attempt: what was in hand was kept.
        assert_eq!(result.await.unwrap().unwrap(), number as u32 * 100 + 2);
    }
    shutdown.shutdown();
    worker.await.unwrap().unwrap();
    serving.stop.send(()).unwrap();
    serving.ended.await.unwrap();
}
