//! [`TestEngine`]: the engine of one test, its clock, and the worker that has all of the test's code.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine_core::time::Timestamp;
use engine_server::store::{self, Store};
use engine_server::{Clock, NodeOptions, Server};
use futures::TryStreamExt;
use parking_lot::Mutex;

use super::code::Code;
use super::mock::{Mock, WorkflowMock};
use super::timeline::timeline;
use super::workers::Workers;
use crate::activity::{ActivityContext, OwnQueue};
use crate::client::{Client, ClientError, ListFilter, RunSummary, WorkflowFailure, WorkflowHandle};
use crate::definition::{Activity, ActivityCode, Workflow, WorkflowCode};
use crate::engine::EngineError;
use crate::error::{ActivityError, WorkflowError};
use crate::transport::Transport;
use crate::workflow::{WorkflowRun, erase};

/// Where its workflows run unless a test says otherwise.
const QUEUE: &str = "test";

/// Few, because each costs a look at the store when the engine starts.
const SHARDS: u32 = 4;

/// 2030-01-01T00:00:00Z: what the clock shows first.
const START: Timestamp = Timestamp::from_micros(1_893_456_000_000_000);

/// How long `advance` and `settle` wait, by the machine's clock, before they say why time stands.
const PATIENCE: Duration = Duration::from_secs(20);

/// The whole engine in the test's process, in memory, with a clock that skips: an hour of a workflow's sleep takes no time.
///
/// Made by `#[engine_sdk::test]` for a test with an argument of this type, or by [`TestEngine::new`]. Clones are the same engine; it stops
/// when the last one is dropped.
///
/// **Time** stands while anything is under way: a workflow's code, an activity, a call. It passes only while somebody waits for it, which
/// is a call that waits for a workflow's or an update's outcome ([`TestEngine::run`], `handle.result()`), or [`TestEngine::advance`]. Then it
/// skips to the next instant at which something is due: a timer, a timeout, a retry, a schedule. An activity that really waits (for a
/// socket, or for `tokio::time::sleep`) lets it stand; one that is to take time says so to the engine's clock: [`Mock::delay`],
/// [`TestEngine::pause`].
///
/// **Code**: what is run with [`TestEngine::run`] is known to the engine's worker; activities and children are added with
/// [`TestEngine::activity`] and [`TestEngine::workflow`], or replaced with [`TestEngine::mock`] and [`TestEngine::mock_workflow`]. An activity
/// that is neither fails without a retry, and the test with it.
///
/// **Every workflow task is replayed** from the beginning of its history, and at the end of an `#[engine_sdk::test]` every run once more: code
/// that does not do the same again (the machine's clock, random numbers, a hash map's order, a global) fails its first test.
#[derive(Clone)]
pub struct TestEngine {
    inner: Arc<Inner>,
}

struct Inner {
    server: Mutex<Option<Server>>,
    clock: Clock,
    client: Client,
    code: Arc<Code>,
    workers: Workers,
    /// Clients of the namespaces that have runs, as far as the test told.
    namespaces: Mutex<BTreeMap<String, Client>>,
}

/// Settings of a [`TestEngine`]. Made by [`TestEngine::builder`].
#[derive(Debug, Clone)]
pub struct TestEngineBuilder {
    start: Timestamp,
}

impl TestEngineBuilder {
    /// What the clock shows first: 2030-01-01T00:00:00Z unless set here.
    #[must_use]
    pub fn start_at(mut self, at: Timestamp) -> Self {
        self.start = at;
        self
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// If it cannot start, which a store in memory rules out.
    pub async fn build(self) -> Result<TestEngine, EngineError> {
        let store = store::open("memory:").await.map_err(EngineError::Store)?;
        Store::migrate(store.as_ref(), SHARDS).await.map_err(EngineError::Store)?;
        let clock = Clock::skipping(self.start);
        let mut options = NodeOptions::new("test");
        options.recovery_grace = Duration::ZERO;
        options.activity_grace = Duration::ZERO;
        // Runs stay in memory: leaving it would be something that waits for time.
        options.park_after = Duration::MAX;
        options.clock = clock.clone();
        let server = Server::start(store, options, false).await.map_err(EngineError::Server)?;
        let transport = Transport::test(server.service(), clock.clone());
        let client = Client::builder().queue(QUEUE).identity("test").over(transport).map_err(EngineError::Client)?;
        let code = Arc::new(Code::new(clock.clone()));
        let namespaces = Mutex::new(BTreeMap::from([(client.namespace().as_str().to_owned(), client.clone())]));
        let workers = Workers::new(clock.clone(), Arc::clone(&code));
        workers.serve(&client, QUEUE);
        let inner = Inner { server: Mutex::new(Some(server)), clock, client, code, workers, namespaces };
        Ok(TestEngine { inner: Arc::new(inner) })
    }
}

impl TestEngine {
    /// An engine with nothing in it. Needs a tokio runtime, of any kind.
    ///
    /// # Panics
    /// If it cannot start, which a store in memory rules out.
    pub async fn new() -> Self {
        Self::builder().build().await.expect("a test engine starts")
    }

    /// Begins an engine with other settings.
    pub fn builder() -> TestEngineBuilder {
        TestEngineBuilder { start: START }
    }

    /// A client of this engine, whose default queue is the one that the engine's worker serves.
    pub fn client(&self) -> Client {
        self.inner.client.clone()
    }

    // ---- code -------------------------------------------------------------------------------------------------------

    /// Adds a workflow's code, or puts it in place of a mock.
    pub fn workflow<W: WorkflowCode>(&self, workflow: W) -> &Self {
        self.inner.code.add_workflow(W::NAME, erase(workflow));
        self
    }

    /// Adds an activity's code, or puts it in place of a mock.
    pub fn activity<A: ActivityCode>(&self, activity: A) -> &Self {
        self.serve_queue_of(&activity);
        self.inner.code.add_activity(activity);
        self
    }

    /// Adds a value that activities find with `ctx.state::<T>()`, in place of an earlier one of the same type.
    pub fn state<T: Send + Sync + 'static>(&self, value: T) -> &Self {
        self.inner.code.add_state(Arc::new(value));
        self
    }

    /// Has the engine's code run for a queue of this name too. Queues that activities name in their attributes are served by themselves.
    pub fn queue(&self, name: impl Into<String>) -> &Self {
        self.inner.workers.serve(&self.inner.client, &name.into());
        self
    }

    /// Gives the engine's worker a queue of its own, as [`Worker::own_queue`](crate::worker::Worker::own_queue) does: `ctx.own_queue()` names it in activities from now on, and its
    /// tasks are done. Under another name it is another host: the one before is gone with what it had in hand, and nobody serves its queue.
    pub fn own_queue(&self, name: impl Into<String>) -> &Self {
        let name = name.into();
        self.inner.code.add_state(Arc::new(OwnQueue(name.clone())));
        self.inner.workers.move_to_host(QUEUE, name);
        self
    }

    /// A client of another namespace of this engine, which is made if it is not there. The engine's code runs there too, in workflows of the
    /// client's queue; its time is the same.
    ///
    /// # Errors
    /// If the name is not one of a namespace.
    pub async fn namespace(&self, name: &str) -> Result<Client, ClientError> {
        let known = self.inner.namespaces.lock().get(name).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        match self.client().namespaces().create(name).send().await {
            Ok(_) | Err(ClientError::AlreadyStarted { .. }) => {}
            Err(error) => return Err(error),
        }
        let transport = self.inner.client.transport().clone();
        let client = Client::builder().namespace(name).queue(QUEUE).identity("test").over(transport)?;
        self.inner.namespaces.lock().insert(name.to_owned(), client.clone());
        self.inner.workers.serve(&client, QUEUE);
        self.ready().await;
        Ok(client)
    }

    /// Runs `code` in place of an activity. Its input is what `ctx.run(activity, input)` takes: `()` without arguments, the argument if
    /// there is one, a tuple if there are several.
    pub fn mock<A: Activity>(
        &self,
        activity: A,
        code: impl Fn(A::Input) -> Result<A::Output, ActivityError> + Send + Sync + 'static,
    ) -> Mock<A> {
        self.mock_async(activity, move |_, input| std::future::ready(code(input)))
    }

    /// Like [`TestEngine::mock`], for code that uses its context or waits: `|ctx, input| async move { … }`.
    pub fn mock_async<A: Activity, F>(
        &self,
        activity: A,
        code: impl Fn(ActivityContext, A::Input) -> F + Send + Sync + 'static,
    ) -> Mock<A>
    where
        F: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        self.serve_queue_of(&activity);
        self.inner.code.mock_activity::<A, F>(code)
    }

    /// Watches an activity, and makes it fail on demand, without replacing its code.
    pub fn spy<A: ActivityCode>(&self, activity: A) -> Mock<A> {
        self.activity(activity);
        self.inner.code.watch_activity::<A>()
    }

    /// Runs `code` in place of a workflow, in tests of what starts it as a child. It is called once for each run.
    pub fn mock_workflow<W: Workflow>(
        &self,
        workflow: W,
        code: impl Fn(W::Input) -> Result<W::Output, WorkflowError> + Send + Sync + 'static,
    ) -> WorkflowMock<W> {
        let _ = workflow;
        self.inner.code.mock_workflow::<W>(code)
    }

    // ---- runs -------------------------------------------------------------------------------------------------------

    /// Starts a workflow under a random id and waits for its outcome; time passes meanwhile.
    ///
    /// # Errors
    /// The workflow's, or [`WorkflowFailure::Terminated`] with the reason if a workflow task failed: code that panics, or does not follow
    /// its history, would be tried again for ever.
    pub async fn run<W: WorkflowCode>(&self, workflow: W, input: W::Input) -> Result<W::Output, WorkflowFailure> {
        self.workflow(workflow);
        self.ready().await;
        self.client().workflow(workflow).run(input).await
    }

    /// Starts a workflow under a random id. Time stands until somebody waits. Other settings of a start are those of the
    /// [client](TestEngine::client)'s, for a workflow that was [added](TestEngine::workflow).
    ///
    /// # Errors
    /// If the input cannot be encoded or is too large.
    pub async fn start<W: WorkflowCode>(
        &self,
        workflow: W,
        input: W::Input,
    ) -> Result<WorkflowHandle<W::Output>, ClientError> {
        self.workflow(workflow);
        self.ready().await;
        self.client().workflow(workflow).start(input).await
    }

    // ---- time -------------------------------------------------------------------------------------------------------

    /// The instant, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Lets time pass. What is due meanwhile happens at its time, one after the other, with all that follows from it; when this returns, nothing
    /// is under way.
    ///
    /// # Panics
    /// If time stands for 20 s of the machine's clock, with the reason: an activity that does not end, for instance.
    pub async fn advance(&self, duration: Duration) {
        self.advance_to(self.now() + duration).await;
    }

    /// Waits until nothing is under way, without letting time pass: all that could happen by now has happened.
    ///
    /// # Panics
    /// Like [`TestEngine::advance`].
    pub async fn settle(&self) {
        self.advance_to(self.now()).await;
    }

    async fn advance_to(&self, at: Timestamp) {
        self.ready().await;
        let clock = &self.inner.clock;
        let mut moved = clock.now();
        while tokio::time::timeout(PATIENCE, clock.advance_to(at)).await.is_err() {
            // Slow is not stuck: many events may lie in between.
            if clock.now() == moved {
                let why = clock.obstacle().unwrap_or_else(|| "the engine does not answer".to_owned());
                panic!("time stands, {PATIENCE:?} after it was to pass: {why}");
            }
            moved = clock.now();
        }
    }

    /// For activities and their mocks: the attempt takes `duration` of the engine's time. [`Duration::MAX`] is for ever.
    ///
    /// # Errors
    /// [`ActivityContext::canceled`] if the attempt was asked to stop meanwhile.
    pub async fn pause(&self, ctx: &ActivityContext, duration: Duration) -> Result<(), ActivityError> {
        super::code::pause(&self.inner.clock, ctx, duration).await
    }

    // ---- trouble ----------------------------------------------------------------------------------------------------

    /// The worker dies where it stands, with all that it has in hand, and another takes its place.
    pub async fn kill_worker(&self) {
        self.ready().await;
        self.inner.workers.restart().await;
    }

    /// What went wrong with workflow code since the last call: a sentence for each workflow task that failed, and for each activity
    /// that nobody has. For tests in which that is expected; what is left at its end fails an `#[engine_sdk::test]`.
    pub fn take_problems(&self) -> Vec<String> {
        self.inner.code.take_problems()
    }

    /// Replays every run from its beginning, with the code as it is now.
    ///
    /// # Errors
    /// A text about the runs whose code does not follow their history.
    pub async fn check_replay(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        for (client, summary) in self.runs().await.map_err(|error| error.to_string())? {
            let Some(code) = self.inner.code.workflow(summary.workflow_type.as_str()) else {
                continue;
            };
            let history = handle(&client, &summary).history().await.map_err(|error| error.to_string())?;
            if let Err(error) = WorkflowRun::new(code).with_values_compared().advance(history) {
                problems.push(format!("{} {:?}: {error}", summary.workflow_type, summary.workflow_id));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    /// The histories of all runs, for people.
    pub async fn timeline(&self) -> String {
        let Ok(mut runs) = self.runs().await else {
            return "the engine does not list its runs".to_owned();
        };
        runs.sort_by_key(|(_, run)| run.run_id);
        let mut text = Vec::new();
        for (client, summary) in runs {
            match handle(&client, &summary).history().await {
                Ok(history) => text.push(timeline(&history)),
                Err(error) => text.push(format!("{}: {error}", summary.workflow_id)),
            }
        }
        text.join("\n")
    }

    pub(super) fn obstacle(&self) -> Option<String> {
        self.inner.clock.obstacle()
    }

    pub(super) fn code(&self) -> &Code {
        &self.inner.code
    }

    /// The runs of all namespaces that the test told of and that are still there, each with a client of its namespace.
    async fn runs(&self) -> Result<Vec<(Client, RunSummary)>, ClientError> {
        let clients: Vec<Client> = self.inner.namespaces.lock().values().cloned().collect();
        let mut runs = Vec::new();
        for client in clients {
            let listed: Result<Vec<RunSummary>, ClientError> = client.list(ListFilter::all()).try_collect().await;
            match listed {
                Ok(listed) => runs.extend(listed.into_iter().map(|run| (client.clone(), run))),
                Err(ClientError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }

    fn serve_queue_of<A: Activity>(&self, activity: &A) {
        if let Some(queue) = activity.options().task_queue {
            self.inner.workers.serve(&self.inner.client, &queue);
        }
    }

    /// Waits until every queue has its worker.
    pub(super) async fn ready(&self) {
        self.inner.workers.ready().await;
    }
}

fn handle(client: &Client, run: &RunSummary) -> WorkflowHandle<serde_json::Value> {
    client.handle_named(run.workflow_id.as_str()).with_run_id(run.run_id)
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.workers.stop();
        if let (Some(server), Ok(runtime)) = (self.server.lock().take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(server.shutdown());
        }
    }
}

impl fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEngine").field("clock", &self.inner.clock).finish_non_exhaustive()
    }
}
