//! Running workflows and activities: [`Worker`].
//!
//! | file | holds |
//! |---|---|
//! | `session` | the loop that owns the worker's state |
//! | `link` | the stream to the server, and the pauses between two of them |
//! | `slots` | room for tasks, and credits that promise it |
//! | `outbox` | results, from the end of a task until the server has them |
//! | `activity_tasks` | activities that run |
//! | `workflow_tasks` | workflow tasks that run, and the cache of runs |
//! | `queries` | questions to runs' code |
//! | `cache` | which runs stay in memory |
//! | `pool` | threads for workflow code |
//! | `registry` | the code by its names |
//! | `event` | what tasks and threads tell the loop |
//! | `shutdown`, `options` | what they say |
//! | `check`, `progress_bar` | the code against all open runs, before it takes work; how far that is |
//! | `hooks` | what a test engine changes |

mod activity_tasks;
mod cache;
mod catch_up;
mod check;
mod event;
#[cfg(feature = "testing")]
pub(crate) mod hooks;
mod link;
mod options;
mod outbox;
mod pool;
mod progress_bar;
mod queries;
pub(crate) mod registry;
mod session;
mod shutdown;
mod slots;
mod steps;
#[cfg(test)]
mod tests;
mod workflow_tasks;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine_core::ids::{BuildId, DeploymentName, InvalidId, TaskQueueName};
use engine_core::version::VersioningBehavior;
use tokio::sync::Notify;
use uuid::Uuid;

use self::options::Options;
use self::registry::Registry;
use self::session::Session;
pub use self::shutdown::ShutdownHandle;
use crate::activity::{OwnQueue, SharedState};
use crate::client::{Client, ClientError};
use crate::data::RawArguments;
use crate::definition::{ActivityCode, WorkflowCode};

/// Recorded with each completed workflow task.
const SDK_NAME: &str = "engine-sdk-rust";

/// How long activities have to stop once they were asked to at shutdown, and results to be acknowledged after that.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// Most queues of one worker.
const QUEUES_MAX: usize = 100;

/// Runs the tasks of one or more queues in this process.
///
/// ```no_run
/// # use engine_sdk::{client::Client, worker::Worker};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("http://127.0.0.1:7400").await?;
/// Worker::new(client, "orders").shutdown_on_ctrl_c().run().await?;
/// # Ok(()) }
/// ```
///
/// It opens one stream to the server and opens it again, for ever, when it breaks. Tasks in hand go on meanwhile; results are
/// kept until the server has them.
#[derive(Debug)]
#[must_use = "a worker does nothing before `.run().await`"]
pub struct Worker {
    client: Client,
    queues: Vec<String>,
    own_queues: Vec<String>,
    registry: Registry,
    state: SharedState,
    identity: Option<String>,
    deployment: Option<String>,
    build_id: String,
    workflow_slots: u32,
    activity_slots: u32,
    cache_runs: usize,
    cache_bytes: usize,
    activity_grace: Option<Duration>,
    shutdown_grace: Duration,
    shutdown: ShutdownHandle,
    on_ctrl_c: bool,
    /// Told when the server knows the worker for the first time.
    connected: Arc<Notify>,
    #[cfg(feature = "testing")]
    hooks: Option<hooks::Hooks>,
}

impl Worker {
    /// A worker of one queue, in the client's namespace.
    pub fn new(client: Client, queue: impl Into<String>) -> Self {
        Self {
            client,
            queues: vec![queue.into()],
            own_queues: Vec::new(),
            registry: Registry::default(),
            state: SharedState::default(),
            identity: None,
            deployment: None,
            build_id: String::new(),
            workflow_slots: 200,
            activity_slots: 200,
            cache_runs: 10_000,
            cache_bytes: 256 * 1024 * 1024,
            activity_grace: None,
            shutdown_grace: Duration::from_secs(10),
            shutdown: ShutdownHandle::default(),
            on_ctrl_c: false,
            connected: Arc::default(),
            #[cfg(feature = "testing")]
            hooks: None,
        }
    }

    /// Serves these queues as well. At most 100 together.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        for queue in queues.into_iter().map(Into::into) {
            if !self.queues.contains(&queue) {
                self.queues.push(queue);
            }
        }
        self
    }

    /// Serves this queue as well, which no other worker serves, and tells activities its name: `ctx.own_queue()`. A series of activities
    /// stays on one host if the first returns that name and the others are scheduled with `.task_queue(name)`.
    ///
    /// The name is that of what they share: the host's, if it is on the host's disk and outlives the worker; a UUID, if it is in the
    /// process. Tasks in the queue wait for a worker of this name, so give them a schedule-to-start timeout, and begin the series anew
    /// elsewhere when it strikes.
    ///
    /// It belongs to no [deployment](Worker::deployment): what waits there is for this worker, whatever its build.
    pub fn own_queue(mut self, queue: impl Into<String>) -> Self {
        let queue = queue.into();
        if !self.own_queues.contains(&queue) {
            self.own_queues.push(queue.clone());
        }
        self.state.insert(Arc::new(OwnQueue(queue.clone())));
        self.queues([queue])
    }

    /// Adds a workflow's code. Its tasks come to this worker only if it is added.
    pub fn workflow<W: WorkflowCode>(mut self, workflow: W) -> Self {
        self.registry.add_workflow(workflow);
        self
    }

    /// Adds an activity's code. Its tasks come to this worker only if it is added.
    pub fn activity<A: ActivityCode>(mut self, activity: A) -> Self {
        self.registry.add_activity(activity);
        self
    }

    /// Runs workflows of any type that has no code of its own here. The code finds the type in `ctx.info().workflow_type`, and its
    /// arguments undecoded. Tasks of all types come to this worker.
    pub fn any_workflow<W: WorkflowCode<Input = RawArguments>>(mut self, workflow: W) -> Self {
        self.registry.set_any_workflow(workflow);
        self
    }

    /// Runs activities of any type that has no code of its own here. The code finds the type in `ctx.info().activity_type`, and
    /// its arguments undecoded. Tasks of all types come to this worker.
    pub fn any_activity<A: ActivityCode<Input = RawArguments>>(mut self, activity: A) -> Self {
        self.registry.set_any_activity(activity);
        self
    }

    /// Adds a value that activities find with `ctx.state::<T>()`, in place of an earlier one of the same type.
    pub fn state<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.shared_state(Arc::new(value))
    }

    /// Like [`Worker::state`], for a value that is shared with other code.
    pub fn shared_state<T: Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.state.insert(value);
        self
    }

    /// How many workflow tasks it has in hand at most: 200 unless set here. They compute on a thread for each core.
    pub fn workflow_slots(mut self, slots: u32) -> Self {
        self.workflow_slots = slots;
        self
    }

    /// How many activities it runs at a time: 200 unless set here.
    pub fn activity_slots(mut self, slots: u32) -> Self {
        self.activity_slots = slots;
        self
    }

    /// How many runs, of how many bytes together, stay in memory between their tasks: 10,000 of 256 MiB unless set here. A run
    /// that is not in memory is replayed from its history. Zero keeps none.
    pub fn cache(mut self, runs: usize, bytes: usize) -> Self {
        self.cache_runs = runs;
        self.cache_bytes = bytes;
        self
    }

    /// How long this worker's activities are waited for when its stream breaks, before they are tried elsewhere: the
    /// server's default (2 s) unless set here, at most 10 minutes.
    pub fn activity_grace(mut self, grace: Duration) -> Self {
        self.activity_grace = Some(grace);
        self
    }

    /// How long activities may go on when the worker shuts down, before they are asked to stop: 10 s unless set here.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// This worker is the build `build_id` of the program `name`, and takes part in rolling out builds: several run side by side, and an
    /// operator says which one new runs go to (`client.deployment(name).set_current(build_id)`, `engine deployment set-current`). Until this
    /// build is current or ramping it gets no new runs, only those that are pinned or moved to it. `docs/versions.md` tells more.
    ///
    /// From the first time that a worker announces itself so, its queues belong to the deployment, and a worker of another deployment is
    /// refused there. Both texts have at most 200 bytes. Workers with the same build must have the same code.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// # #[workflow] async fn checkout(ctx: WorkflowContext) -> Result<u64, WorkflowError> { Ok(7) }
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = Worker::new(client, "orders").deployment("shop", "build-42").workflow(checkout);
    /// worker.default_versioning(VersioningBehavior::Pinned).run().await?;
    /// # Ok(()) }
    /// ```
    pub fn deployment(mut self, name: impl Into<String>, build_id: impl Into<String>) -> Self {
        self.deployment = Some(name.into());
        self.build_id(build_id)
    }

    /// How runs follow versions whose code does not say (`#[workflow(versioning = "pinned")]`): auto-upgrade unless set here. Means nothing
    /// without a [deployment](Worker::deployment).
    pub fn default_versioning(mut self, behavior: VersioningBehavior) -> Self {
        self.registry.set_versioning_default(behavior);
        self
    }

    /// The build of your program, recorded with each workflow task that it completes. By itself it decides nothing: see
    /// [`Worker::deployment`].
    pub fn build_id(mut self, build_id: impl Into<String>) -> Self {
        self.build_id = build_id.into();
        self
    }

    /// What histories show as the author of this worker's work; the client's identity unless set here.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Shuts down when the process gets Ctrl-C (SIGINT).
    pub fn shutdown_on_ctrl_c(mut self) -> Self {
        self.on_ctrl_c = true;
        self
    }

    /// Takes code, state and time from a test engine.
    #[cfg(feature = "testing")]
    pub(crate) fn test(mut self, hooks: hooks::Hooks) -> Self {
        self.registry.set_test(hooks.clone());
        self.hooks = Some(hooks);
        self
    }

    /// Told when the server knows the worker for the first time.
    #[cfg(feature = "testing")]
    pub(crate) fn connected(&self) -> Arc<Notify> {
        Arc::clone(&self.connected)
    }

    /// What asks this worker to shut down, from anywhere.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        self.shutdown.clone()
    }

    /// Works until it is asked to shut down, and then ends what it has in hand: see [`Worker::shutdown_grace`].
    ///
    /// # Errors
    /// If the worker is not complete (no code, a bad queue name), or the server refuses it for good: an unknown namespace, for
    /// instance. A server that cannot be reached is no error; it is waited for.
    pub async fn run(self) -> Result<(), WorkerError> {
        let shutdown = self.shutdown.clone();
        let on_ctrl_c = self.on_ctrl_c;
        let session = self.into_session()?;
        let work = session.run(shutdown.clone());
        if !on_ctrl_c {
            return work.await;
        }
        let interrupted = async {
            match tokio::signal::ctrl_c().await {
                Ok(()) => shutdown.shutdown(),
                Err(error) => tracing::warn!(%error, "cannot listen for Ctrl-C"),
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => result,
            () = interrupted => unreachable!("it never ends"),
        }
    }

    /// Like [`Worker::run`], and shuts down when `until` is ready; gives what `until` gave. If the worker is asked to shut down
    /// otherwise, `until` is still waited for. `until` begins when the server knows the worker, so its queries find one.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// # #[workflow] async fn checkout(ctx: WorkflowContext) -> Result<u64, WorkflowError> { Ok(7) }
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let order = client.workflow(checkout).queue("orders").run(());
    /// let receipt = Worker::new(client, "orders").workflow(checkout).run_until(order).await??;
    /// # Ok(()) }
    /// ```
    pub fn run_until<T>(self, until: impl Future<Output = T>) -> impl Future<Output = Result<T, WorkerError>> {
        let shutdown = self.shutdown.clone();
        let connected = Arc::clone(&self.connected);
        // Both are boxed, before the future that the caller awaits begins: they are large, and would make it twice as large.
        let until = Box::pin(async move {
            tokio::select! {
                () = connected.notified() => {}
                () = shutdown.requested() => {}
            }
            let output = until.await;
            shutdown.shutdown();
            Ok(output)
        });
        let work = Box::pin(self.run());
        async move {
            // The worker first: what is wrong with it is told before `until` begins.
            let ((), output) = tokio::try_join!(work, until)?;
            Ok(output)
        }
    }

    fn into_session(self) -> Result<Session, WorkerError> {
        if let Some(name) = self.registry.duplicate() {
            return Err(WorkerError::Duplicate { name: name.to_owned() });
        }
        if !self.registry.has_workflows() && !self.registry.has_activities() {
            return Err(WorkerError::NothingToDo);
        }
        if self.workflow_slots + self.activity_slots == 0 {
            return Err(WorkerError::NoSlots);
        }
        if self.queues.len() > QUEUES_MAX {
            return Err(WorkerError::TooManyQueues { actual: self.queues.len() });
        }
        let queues = self.queues.iter().map(|queue| {
            TaskQueueName::parse(queue).map_err(|source| WorkerError::InvalidQueue { queue: queue.clone(), source })
        });
        let queues = queues.collect::<Result<_, _>>()?;
        let deployment = self.deployment.as_deref().map(|name| version(name, &self.build_id)).transpose()?;
        let options = Options {
            queues,
            own_queues: self.own_queues,
            deployment,
            identity: self.identity.unwrap_or_else(|| self.client.identity().to_owned()),
            worker_id: Uuid::now_v7(),
            build_id: self.build_id,
            workflow_slots: self.workflow_slots,
            activity_slots: self.activity_slots,
            cache_runs: self.cache_runs,
            cache_bytes: self.cache_bytes,
            activity_grace: self.activity_grace,
            shutdown_grace: self.shutdown_grace,
        };
        let session = Session::new(options, self.client, self.registry, self.state, self.connected);
        #[cfg(feature = "testing")]
        let session = session.test(self.hooks);
        Ok(session)
    }
}

/// The deployment, if its name and the build can be announced.
fn version(name: &str, build_id: &str) -> Result<DeploymentName, WorkerError> {
    let wrong = |what, text: &str, source| WorkerError::InvalidVersion { what, text: text.to_owned(), source };
    BuildId::parse(build_id).map_err(|source| wrong("build id", build_id, source))?;
    DeploymentName::parse(name).map_err(|source| wrong("deployment name", name, source))
}

/// Why a worker does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// It has neither workflows nor activities.
    #[error("the worker has nothing to do: add its code with `.workflow(..)` and `.activity(..)`")]
    NothingToDo,
    /// It has no slots at all.
    #[error("the worker has no slots: `workflow_slots` and `activity_slots` are both 0")]
    NoSlots,
    /// Two definitions have one name.
    #[error(
        "{name} was added to the worker twice: names must be unique, `#[workflow(name = \"..\")]` gives another one"
    )]
    Duplicate {
        /// What, and its name.
        name: String,
    },
    /// A queue's name is not one.
    #[error("the queue name {queue:?} {source}")]
    InvalidQueue {
        /// The name.
        queue: String,
        /// What is wrong with it.
        source: InvalidId,
    },
    /// The name of its deployment, or its build id, is not one.
    #[error("the {what} {text:?} {source}")]
    InvalidVersion {
        /// Which of the two.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: InvalidId,
    },
    /// It has too many queues.
    #[error("the worker has {actual} queues; the limit is 100")]
    TooManyQueues {
        /// How many it has.
        actual: usize,
    },
    /// The server will not have it.
    #[error("the server refuses the worker: {0}")]
    Refused(#[source] ClientError),
}
