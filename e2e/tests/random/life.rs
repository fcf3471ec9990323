//! An engine that dies and is started again on what it stored.

use std::sync::Arc;
use std::time::Duration;

use engine_e2e::checker::{Evidence, Signal, Start, read};
use engine_e2e::clerk::{NAMESPACE, QUEUE, payload};
use engine_e2e::programs::Note;
use engine_proto::v1;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_sdk::client::{ClientError, IdReusePolicy, ListFilter, QueryError, RunSummary};
use engine_sdk::prelude::*;
use engine_sdk::replay::Replayer;
use engine_sdk::transport::Transport;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use engine_server::store::{self, Store};
use engine_server::{Clock, NodeOptions, Server};
use futures::TryStreamExt;
use tonic::Code;

use crate::program::{Errand, Ledger, Op, Run, program, received, toil};

/// The workflow id of the program; its children have ids of their own.
const MAIN: &str = "main";
/// How long a life may take by the machine's clock before it is said that nothing happens any more.
const PATIENCE: Duration = seconds(60);

/// What reaches the program from outside.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Note,
    Update(Errand),
    Query,
    /// A pause, which ends after so many seconds.
    Pause {
        seconds: u64,
    },
    Cancel,
}

/// Where a server dies: at which of its commits, and whether that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) commit: u64,
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

/// What clients were told.
#[derive(Debug, Default)]
struct Promises {
    start: Option<Start>,
    /// How many messages are done with: acknowledged or refused.
    sent: usize,
    signals: Vec<Signal>,
    updates: Vec<String>,
}

/// What is left when all has come to rest.
pub(crate) struct Remains {
    pub(crate) evidence: Evidence,
    /// Acknowledged updates.
    pub(crate) updates: Vec<String>,
    pub(crate) result: Result<engine_e2e::programs::Outcome, WorkflowFailure>,
    /// How many servers died.
    pub(crate) deaths: usize,
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
            faulty.plan(crash.commit, fault(gate.clone()));
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
            Some(Ok((mut evidence, result))) => {
                place.let_go(&store).await;
                evidence.effects = ledger.lock().clone();
                return Remains { evidence, updates: promises.updates, result, deaths: zombies.len() };
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
    async fn live(
        mut self,
        store: Arc<dyn Store>,
    ) -> (Evidence, Result<engine_e2e::programs::Outcome, WorkflowFailure>) {
        let mut options = NodeOptions::new("random");
        options.recovery_grace = Duration::ZERO;
        options.activity_grace = Duration::ZERO;
        options.park_after = Duration::MAX;
        options.clock = self.clock.clone();
        let server = Server::start(store, options, false).await.unwrap();
        let transport = Transport::local(server.service());
        let client = Client::builder().queue(QUEUE).over(transport.clone()).unwrap();
        let worker = Worker::new(client.clone(), QUEUE)
            .workflow(program)
            .activity(toil)
            .state(Arc::clone(&self.ledger))
            .activity_grace(Duration::ZERO);
        let rest = worker.run_until(Box::pin(async {
            self.start(&client).await;
            self.send(&client, &transport).await;
            let result = client.handle_named(MAIN).result().await;
            self.come_to_rest(&client).await;
            (self.evidence(&client, &transport).await, result)
        }));
        let rest = rest.await.unwrap();
        server.shutdown().await;
        rest
    }

    async fn start(&mut self, client: &Client) {
        if self.promises.start.is_some() {
            return;
        }
        let start = client.workflow(program).id(MAIN).id_reuse_policy(IdReusePolicy::RejectDuplicate);
        let run_id = match start.request_id("the start").start((self.case.ops.clone(), 0)).await {
            Ok(handle) => handle.run_id(),
            // A start that was not acknowledged, of a run that has closed meanwhile.
            Err(ClientError::AlreadyStarted { run_id, .. }) => run_id,
            Err(error) => panic!("{error}"),
        };
        let run_id = run_id.unwrap().to_string();
        self.promises.start = Some(Start { workflow_id: MAIN.to_owned(), run_id });
    }

    async fn send(&mut self, client: &Client, transport: &Transport) {
        let handle = client.handle_named::<engine_e2e::programs::Outcome>(MAIN);
        while let Some((pause, message)) = self.case.messages.get(self.promises.sent) {
            self.clock.advance_to(self.clock.now() + Duration::from_secs(*pause)).await;
            let number = self.promises.sent;
            match message {
                Message::Note => self.note(transport, number).await,
                Message::Update(errand) => {
                    let id = format!("update {number}");
                    match handle.update(Run { errand: *errand }).id(id.clone()).start().await {
                        Ok(_) => self.promises.updates.push(id),
                        Err(UpdateFailure::Rejected(_)) if *errand == Errand::BeRefused => {}
                        Err(UpdateFailure::Client(ClientError::Closed { .. } | ClientError::NotFound { .. })) => {}
                        Err(failure) => panic!("update {number}: {failure:?}"),
                    }
                }
                Message::Query => match handle.query(received, ()).await {
                    Ok(count) => assert!(count <= self.case.messages.len(), "{count} notes were not sent"),
                    Err(QueryError::Client(error)) => panic!("query {number}: {error}"),
                    Err(_) => {}
                },
                Message::Pause { seconds } => {
                    allow_closed(handle.pause("as asked").await);
                    self.clock.advance_to(self.clock.now() + Duration::from_secs(*seconds)).await;
                    allow_closed(handle.resume("as asked").await);
                }
                Message::Cancel => allow_closed(handle.cancel("as asked").await),
            }
            self.promises.sent += 1;
        }
    }

    /// Sends a note, with a request id that a repeat after a crash has too.
    async fn note(&mut self, transport: &Transport, number: usize) {
        let content = serde_json::to_value(Note { text: format!("note {number}") }).unwrap();
        let request = v1::SignalWorkflowRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(v1::WorkflowExecution { workflow_id: MAIN.to_owned(), run_id: String::new() }),
            signal_name: "Note".to_owned(),
            input: vec![payload(&content)],
            request_id: format!("note {number}"),
            ..Default::default()
        };
        match WorkflowServiceClient::new(transport.clone()).signal_workflow(request).await {
            Ok(answer) => {
                let run_id = answer.into_inner().run_id;
                self.promises.signals.push(Signal { run_id, payload: content.to_string() });
            }
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {}
            Err(status) => panic!("note {number}: {status}"),
        }
    }

    /// Waits until children are closed that their parent did not wait for.
    async fn come_to_rest(&self, client: &Client) {
        loop {
            let runs: Vec<RunSummary> = client.list(ListFilter::all()).try_collect().await.unwrap();
            let Some(open) = runs.iter().find(|run| run.status.is_none()) else { return };
            let _ = client.handle_named::<engine_e2e::programs::Outcome>(open.workflow_id.as_str()).result().await;
        }
    }

    async fn evidence(&self, client: &Client, transport: &Transport) -> Evidence {
        let runs = read::runs(&mut WorkflowServiceClient::new(transport.clone()), NAMESPACE, &[]).await.unwrap();
        let report = Replayer::new().workflow(program).replay_runs(client, "WorkflowType = 'program'").await.unwrap();
        assert!(report.is_same(), "{report}");
        assert_eq!(report.runs.len(), runs.len());
        // With several runs of one workflow id the rule about starts has nothing to say.
        let is_one = runs.iter().filter(|run| run.workflow_id == MAIN).count() == 1;
        let starts = self.promises.start.iter().filter(|_| is_one).cloned().collect();
        Evidence { runs, effects: Vec::new(), starts, signals: self.promises.signals.clone() }
    }
}

/// It may have closed before.
fn allow_closed(answer: Result<(), ClientError>) {
    match answer {
        Ok(()) | Err(ClientError::Closed { .. } | ClientError::NotFound { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}
