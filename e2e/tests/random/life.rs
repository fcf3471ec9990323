//! An engine that dies and is started again on what it stored.

use std::sync::Arc;
use std::time::Duration;

use engine_e2e::checker::{Evidence, read};
use engine_e2e::clerk::{NAMESPACE, QUEUE};
use engine_e2e::programs::Outcome;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_sdk::client::{BatchDescription, BatchState, ListFilter, RunSummary, ScheduleDescription};
use engine_sdk::prelude::*;
use engine_sdk::replay::Replayer;
use engine_sdk::transport::Transport;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use engine_server::store::{self, Store};
use engine_server::{Clock, NodeOptions, Server};
use futures::TryStreamExt;
use tower::{ServiceExt, service_fn};

use crate::messages::{Message, Promises};
use crate::program::{Ledger, MAIN, Op, program, toil};

/// How long a life may take by the machine's clock before it is said that nothing happens any more.
const PATIENCE: Duration = seconds(60);

/// Which write to the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Commit,
    Schedule,
    Batch,
}

/// Where a server dies: at which of its writes of a kind, and whether that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) write: Write,
    pub(crate) number: u64,
    pub(crate) applied: bool,
}

/// A program and what befalls it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) ops: Vec<Op>,
    /// Each with the seconds before it.
    pub(crate) messages: Vec<(u64, Message)>,
    pub(crate) crashes: Vec<Crash>,
}

/// Where it is stored.
pub(crate) enum Place {
    /// One store for all servers.
    Memory(Arc<dyn Store>),
    /// A file, opened by each server.
    File(tempfile::TempDir),
}

impl Place {
    pub(crate) async fn memory() -> Place {
        let store = store::open("memory:").await.unwrap();
        store.migrate(2).await.unwrap();
        Place::Memory(store)
    }

    pub(crate) async fn file() -> Place {
        let place = Place::File(tempfile::tempdir().unwrap());
        let store = place.open().await;
        store.migrate(2).await.unwrap();
        store.close().await;
        place
    }

    async fn open(&self) -> Arc<dyn Store> {
        match self {
            Place::Memory(store) => Arc::clone(store),
            Place::File(directory) => {
                store::open(&format!("sqlite://{}", directory.path().join("engine.db").display())).await.unwrap()
            }
        }
    }

    /// What the end of a process does.
    async fn let_go(&self, store: &Arc<dyn Store>) {
        if let Place::File(_) = self {
            store.close().await;
        }
    }
}

/// What is left when all has come to rest.
pub(crate) struct Remains {
    pub(crate) evidence: Evidence,
    pub(crate) promises: Promises,
    /// Of the program that the test started.
    pub(crate) result: Result<Outcome, WorkflowFailure>,
    /// Of the standalone activities, in the order of the promises.
    pub(crate) activities: Vec<Result<String, StandaloneFailure>>,
    pub(crate) schedules: Vec<ScheduleDescription>,
    pub(crate) batches: Vec<BatchDescription>,
}

/// Runs a case to its end.
pub(crate) async fn run(case: &Case, place: &Place) -> Remains {
    let (ledger, mut promises) = (Ledger::default(), Promises::default());
    let mut now = Clock::default().now();
    let mut zombies = Vec::new();
    let mut crashes = case.crashes.iter();
    loop {
        let store = place.open().await;
        let (faulty, gate) = (FaultyStore::new(Arc::clone(&store)), Gate::new());
        if let Some(crash) = crashes.next() {
            let fault = if crash.applied { Fault::HoldAfter } else { Fault::HoldBefore };
            match crash.write {
                Write::Commit => faulty.plan(crash.number, fault(gate.clone())),
                Write::Schedule => faulty.plan_schedule_write(crash.number, fault(gate.clone())),
                Write::Batch => faulty.plan_batch_write(crash.number, fault(gate.clone())),
            }
        }
        let clock = Clock::skipping(now);
        let life = Life { case, clock: clock.clone(), ledger: Arc::clone(&ledger), promises: &mut promises };
        let lived = Box::pin(life.live(Arc::clone(&faulty) as Arc<dyn Store>));
        let rest = tokio::select! {
            rest = tokio::time::timeout(PATIENCE, lived) => Some(rest),
            () = gate.reached() => None,
        };
        // Whoever is still about has lost the store, and with it all that it might do.
        faulty.set_outage(true);
        now = clock.now();
        match rest {
            Some(Ok(mut remains)) => {
                place.let_go(&store).await;
                remains.evidence.effects = ledger.lock().clone();
                remains.evidence.losses = u32::try_from(zombies.len()).unwrap();
                remains.promises = promises;
                return remains;
            }
            Some(Err(_)) => panic!("nothing happens any more: {:?}; {promises:?}", clock.obstacle()),
            None => {
                place.let_go(&store).await;
                zombies.push((faulty, gate));
            }
        }
    }
}

/// One server and one worker, until they die or all is done.
struct Life<'a> {
    case: &'a Case,
    clock: Clock,
    ledger: Ledger,
    promises: &'a mut Promises,
}

impl Life<'_> {
    async fn live(self, store: Arc<dyn Store>) -> Remains {
        let mut options = NodeOptions::new("random");
        options.recovery_grace = Duration::ZERO;
        options.activity_grace = Duration::ZERO;
        options.park_after = Duration::MAX;
        options.clock = self.clock.clone();
        let server = Server::start(store, options, false).await.unwrap();
        let transport = self.transport(&server);
        let client = Client::builder().queue(QUEUE).over(transport.clone()).unwrap();
        let worker = Worker::new(client.clone(), QUEUE)
            .workflow(program)
            .activity(toil)
            .state(Arc::clone(&self.ledger))
            .activity_grace(Duration::ZERO);
        let rest = worker.run_until(Box::pin(async {
            self.promises.send(self.case, &client, &self.clock).await;
            let result = client.handle_named(MAIN).result().await;
            let activities = self.activities(&client).await;
            self.come_to_rest(&client).await;
            let (schedules, batches) = (self.schedules(&client).await, self.batches(&client).await);
            let evidence = self.evidence(&client, &transport).await;
            Remains { evidence, promises: Promises::default(), result, activities, schedules, batches }
        }));
        let rest = rest.await.unwrap();
        server.shutdown().await;
        rest
    }

    /// Time stands while a call is being answered.
    fn transport(&self, server: &Server) -> Transport {
        let (service, clock) = (server.service(), self.clock.clone());
        Transport::local(service_fn(move |request| {
            let (busy, answer) = (clock.busy(), service.clone().oneshot(request));
            async move {
                let answer = answer.await;
                drop(busy);
                answer
            }
        }))
    }

    async fn activities(&self, client: &Client) -> Vec<Result<String, StandaloneFailure>> {
        let mut results = Vec::new();
        for sent in &self.promises.activities {
            results.push(client.activity_handle::<toil>(&sent.id).result().await);
        }
        results
    }

    /// Waits for what nobody waits for: the last times of schedules, what batches do, children that their parents left alone.
    async fn come_to_rest(&self, client: &Client) {
        for schedule in &self.promises.schedules {
            self.clock.advance_to(schedule.end_at + seconds(1)).await;
        }
        loop {
            let runs: Vec<RunSummary> = client.list(ListFilter::all()).try_collect().await.unwrap();
            let open = runs.iter().find(|run| run.status.is_none());
            let waits = self.schedules(client).await.iter().any(|it| it.waiting > 0 || !it.running.is_empty());
            let works = self.batches(client).await.iter().any(|batch| batch.state == BatchState::Running);
            match open {
                Some(open) => {
                    let handle = client.handle_named::<Outcome>(open.workflow_id.as_str()).with_run_id(open.run_id);
                    let _ = handle.result().await;
                }
                None if waits || works => self.clock.advance_to(self.clock.now() + seconds(1)).await,
                None => return,
            }
        }
    }

    async fn schedules(&self, client: &Client) -> Vec<ScheduleDescription> {
        let mut described = Vec::new();
        for made in &self.promises.schedules {
            described.push(client.schedule(&made.id).describe().await.unwrap());
        }
        described
    }

    async fn batches(&self, client: &Client) -> Vec<BatchDescription> {
        let mut described = Vec::new();
        for id in &self.promises.batches {
            described.push(client.batch_handle(id).describe().await.unwrap());
        }
        described
    }

    async fn evidence(&self, client: &Client, transport: &Transport) -> Evidence {
        let runs = read::runs(&mut WorkflowServiceClient::new(transport.clone()), NAMESPACE, &[]).await.unwrap();
        let report = Replayer::new().workflow(program).replay_runs(client, "WorkflowType = 'program'").await.unwrap();
        assert!(report.is_same(), "{report}");
        assert_eq!(report.runs.len(), runs.len());
        // With several runs of one workflow id the rule about starts has nothing to say.
        let is_one = runs.iter().filter(|run| run.workflow_id == MAIN).count() == 1;
        let starts = self.promises.start.iter().filter(|_| is_one).cloned().collect();
        Evidence { runs, starts, signals: self.promises.signals.clone(), ..Evidence::default() }
    }
}
