//! The workers of a test engine: one for each queue of each namespace that has some, and another when that one dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_server::Clock;
use engine_server::clock::Busy;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::code::{Code, Host};
use crate::client::Client;
use crate::worker::Worker;
use crate::worker::hooks::Hooks;

/// All workers. Time stands while a queue that is served has none.
pub(super) struct Workers {
    clock: Clock,
    code: Arc<Code>,
    /// By namespace and queue.
    queues: Mutex<BTreeMap<(String, String), ServingQueue>>,
}

struct ServingQueue {
    client: Client,
    /// The queue that the worker has for itself.
    own_queue: Option<String>,
    /// How many workers were connected in turn.
    connected: watch::Receiver<u64>,
    supervisor: AbortHandle,
}

impl Workers {
    pub(super) fn new(clock: Clock, code: Arc<Code>) -> Self {
        Self { clock, code, queues: Mutex::default() }
    }

    /// Has a worker for a queue of the client's namespace, and another when that one dies.
    pub(super) fn serve(&self, client: &Client, queue: &str) {
        let mut queues = self.queues.lock();
        let key = (client.namespace().as_str().to_owned(), queue.to_owned());
        if queues.contains_key(&key) {
            return;
        }
        let (told, connected) = watch::channel(0);
        let supervisor = self.supervise(client, queue, None, told);
        queues.insert(key, ServingQueue { client: client.clone(), own_queue: None, connected, supervisor });
    }

    /// The workers of queues of this name die, and go on as those of a host with a queue of its own.
    pub(super) fn move_to_host(&self, queue: &str, own_queue: String) {
        for ((_, name), serving) in self.queues.lock().iter_mut().filter(|((_, name), _)| name == queue) {
            serving.own_queue = Some(own_queue.clone());
            self.replace(name, serving);
        }
    }

    /// All workers die, and others take their places.
    pub(super) async fn restart(&self) {
        let before = {
            let mut queues = self.queues.lock();
            let before = queues.iter().map(|(key, serving)| (key.clone(), *serving.connected.borrow())).collect();
            queues.iter_mut().for_each(|((_, name), serving)| self.replace(name, serving));
            before
        };
        self.connected_since(&before).await;
    }

    /// Waits until every queue has its worker.
    pub(super) async fn ready(&self) {
        self.connected_since(&BTreeMap::new()).await;
    }

    /// No worker any more.
    pub(super) fn stop(&self) {
        self.queues.lock().values().for_each(|serving| serving.supervisor.abort());
    }

    fn replace(&self, queue: &str, serving: &mut ServingQueue) {
        let (told, connected) = watch::channel(*serving.connected.borrow());
        // Before the worker is dropped: until its successor is there, time stands.
        let supervisor = self.supervise(&serving.client, queue, serving.own_queue.clone(), told);
        std::mem::replace(&mut serving.supervisor, supervisor).abort();
        serving.connected = connected;
    }

    fn supervise(
        &self,
        client: &Client,
        queue: &str,
        own_queue: Option<String>,
        told: watch::Sender<u64>,
    ) -> AbortHandle {
        let busy = self.clock.busy();
        let worker = self.worker_of(client, queue, own_queue);
        tokio::spawn(supervise(worker, told, self.clock.clone(), busy)).abort_handle()
    }

    fn worker_of(&self, client: &Client, queue: &str, own_queue: Option<String>) -> impl Fn() -> Worker + Send + use<> {
        let (client, queue) = (client.clone(), queue.to_owned());
        let host = Host::new(Arc::clone(&self.code), client.clone());
        let hooks = Hooks { host: Arc::new(host), clock: self.clock.clone() };
        // Without a cache each task is replayed from the beginning.
        move || {
            let worker = Worker::new(client.clone(), queue.clone()).cache(0, 0).activity_grace(Duration::ZERO);
            worker.queues(own_queue.clone()).shutdown_grace(Duration::ZERO).test(hooks.clone())
        }
    }

    async fn connected_since(&self, before: &BTreeMap<(String, String), u64>) {
        let waits: Vec<_> = {
            let queues = self.queues.lock();
            let since = |key: &(String, String)| before.get(key).copied().unwrap_or(0);
            queues.iter().map(|(key, serving)| (since(key), serving.connected.clone())).collect()
        };
        for (since, mut connected) in waits {
            // A supervisor that is gone was stopped with the engine, or its namespace was deleted.
            let _ = connected.wait_for(|times| *times > since).await;
        }
    }
}

/// Runs a worker, and another when it dies. Time stands while there is none.
async fn supervise(worker: impl Fn() -> Worker, told: watch::Sender<u64>, clock: Clock, busy: Busy) {
    let mut busy = Some(busy);
    loop {
        let worker = worker();
        let connected = worker.connected();
        let run = worker.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                ended = &mut run => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the test engine's worker cannot work");
                        return;
                    }
                    busy = Some(clock.busy());
                    break;
                }
                () = connected.notified() => {
                    drop(busy.take());
                    told.send_modify(|times| *times += 1);
                }
            }
        }
    }
}
