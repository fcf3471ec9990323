//! The system under test: a store, a server, a worker, and this process's client.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use engine_sdk::client::Client;
use tokio::sync::Mutex;

use crate::arguments::Settings;
use crate::meter::Meter;
use crate::program::Program;
use crate::store::{PostgresCounters, Store};

/// Said of a rig that is attached to a server.
const OWN_SERVER: &str = "this workload starts and stops the server itself: leave --address away";

/// A server, a worker if one is wanted, and a client; started here, or attached to.
#[derive(Debug)]
pub(crate) struct Rig {
    settings: Settings,
    address: String,
    client: Client,
    meter: Meter,
    worker: Option<Program>,
    /// Where a server that is started here listens, also after a restart.
    listen: SocketAddr,
    // Last, so that it goes last.
    store: Store,
}

impl Rig {
    /// Opens the store and starts what is not there.
    pub(crate) async fn start(settings: &Settings, wants_worker: bool) -> Result<Self> {
        let listen = free_address()?;
        let (store, address, server) = match &settings.address {
            Some(address) => (Store::attached(settings), address.clone(), None),
            None => {
                let store = Store::open(settings).await?;
                let mut server = spawn_server(settings, &store, listen)?;
                let address = server.line().await?;
                (store, address, Some(server))
            }
        };
        let mut meter = Meter {
            server_pid: settings.server_pid.or(server.as_ref().map(Program::pid)),
            worker_pid: settings.worker_pid,
            server: server.map(|server| Arc::new(Mutex::new(server))),
            postgres: None,
        };
        if store.kind() == "postgres" {
            meter.postgres = Some(Arc::new(Mutex::new(PostgresCounters::connect(store.url()).await?)));
        }
        let client = connect(settings, &address).await?;
        let mut rig = Self { settings: settings.clone(), address, client, meter, worker: None, listen, store };
        if wants_worker && settings.worker_pid.is_none() {
            rig.start_worker().await?;
        }
        Ok(rig)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// `postgres`, `sqlite`, `memory`, or `unknown` of a server that was only attached to.
    pub(crate) fn store_kind(&self) -> &str {
        self.store.kind()
    }

    /// The store's URL, for workloads that prepare it by hand.
    pub(crate) fn store_url(&self) -> &str {
        self.store.url()
    }

    /// Where the server listens that is started here.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Starts a server process on the store, and waits for nothing.
    pub(crate) fn spawn_server(&self) -> Result<Program> {
        if self.settings.address.is_some() {
            bail!(OWN_SERVER);
        }
        spawn_server(&self.settings, &self.store, self.listen)
    }

    /// Kills the server and starts another, so that it has nothing in memory; does nothing to a server that was attached to.
    pub(crate) async fn restart_server(&mut self) -> Result<()> {
        if self.settings.address.is_none() {
            self.kill_server().await?;
            let mut server = self.spawn_server()?;
            server.line().await?;
            self.adopt_server(server).await?;
        }
        Ok(())
    }

    /// Makes a server that serves the rig's.
    pub(crate) async fn adopt_server(&mut self, server: Program) -> Result<()> {
        self.meter.server_pid = Some(server.pid());
        self.meter.server = Some(Arc::new(Mutex::new(server)));
        self.client = connect(&self.settings, &self.address).await?;
        Ok(())
    }

    /// Kills the server that was started here with SIGKILL.
    pub(crate) async fn kill_server(&mut self) -> Result<()> {
        self.meter.server_pid = None;
        let server = self.meter.server.take().context(OWN_SERVER)?;
        let server = Arc::try_unwrap(server).ok().context("the server is not asked anything meanwhile")?;
        server.into_inner().kill().await
    }

    /// Starts a worker, and waits for nothing: its first task shows that it is there.
    pub(crate) async fn start_worker(&mut self) -> Result<()> {
        let mut arguments = vec![format!("--address={}", self.address)];
        let grace = self.settings.activity_grace.map(humantime::format_duration);
        arguments.extend(grace.map(|grace| format!("--activity-grace={grace}")));
        let worker = Program::start("worker", &arguments)?;
        self.meter.worker_pid = Some(worker.pid());
        self.worker = Some(worker);
        Ok(())
    }

    /// Kills the worker that was started here with SIGKILL.
    pub(crate) async fn kill_worker(&mut self) -> Result<()> {
        self.meter.worker_pid = None;
        self.worker.take().context("this workload kills its worker: leave --worker-pid away")?.kill().await
    }

    /// Stops what was started here, in good order. An error of theirs does not undo what was measured, so it is only told.
    pub(crate) async fn stop(mut self) {
        if let Some(worker) = self.worker.take()
            && let Err(error) = worker.stop().await
        {
            eprintln!("{error:#}");
        }
        if let Some(server) = self.meter.server.take().and_then(Arc::into_inner)
            && let Err(error) = server.into_inner().stop().await
        {
            eprintln!("{error:#}");
        }
    }
}

fn spawn_server(settings: &Settings, store: &Store, listen: SocketAddr) -> Result<Program> {
    let mut arguments = vec![format!("--database-url={}", store.url()), format!("--listen={listen}")];
    arguments.extend(settings.lanes.map(|lanes| format!("--lanes={lanes}")));
    let park_after = settings.park_after.map(humantime::format_duration);
    arguments.extend(park_after.map(|after| format!("--park-after={after}")));
    Program::start("server", &arguments)
}

async fn connect(settings: &Settings, address: &str) -> Result<Client> {
    let builder = Client::builder().connections(usize::from(settings.connections));
    builder.connect(address).await.with_context(|| format!("make a client of {address}"))
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?)
}
