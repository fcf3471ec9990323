//! Starting workflows, sending to them, reading them: [`Client`].
//!
//! | file | holds |
//! |---|---|
//! | `start` | how a workflow is started |
//! | `start_many` | many starts at once |
//! | `handle` | one workflow: its outcome, signals, cancel and terminate, its history |
//! | `operate_activity` | what operators do to one of its open activities |
//! | `operate` | what operators do to a workflow: pause, resume, reset, repair, delete |
//! | `update` | updates |
//! | `with_start` | messages along with a start |
//! | `outcome` | how a run ended |
//! | `description` | where a run stands |
//! | `list` | lists of runs |
//! | `batch` | the same done to every run that a filter means |
//! | `deployment/` | deployments: which build of a program gets which runs |
//! | `versioning` | how a run follows versions: told, and changed |
//! | `namespaces` | namespaces: retention, search attributes |
//! | `schedule` | how a schedule is made |
//! | `schedule_handle` | one schedule: where it stands, pause, trigger, backfill |
//! | `pages` | a run's history for a worker that does not have it |
//! | `activities` | activities that are completed elsewhere |
//! | `standalone/` | standalone activities: how they are started, listed, stopped and run again |
//! | `error` | why a request failed |
//! | `retry` | calls that are made until they are answered |

mod activities;
mod batch;
mod deployment;
mod description;
mod error;
mod handle;
mod list;
mod namespaces;
mod operate;
mod operate_activity;
mod outcome;
mod pages;
mod query;
mod retry;
mod schedule;
mod schedule_handle;
mod standalone;
mod start;
mod start_many;
#[cfg(test)]
mod tests;
mod update;
mod versioning;
mod with_start;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use engine_core::ids::{Namespace, RunId, WorkflowId};
use engine_core::payload::Payload;
use engine_proto::v1;
use uuid::Uuid;

pub use self::activities::ActivityTarget;
pub use self::batch::{BatchBuilder, BatchDescription, BatchFailure, BatchHandle, BatchReset, BatchState};
pub use self::deployment::{
    DeploymentDescription, DeploymentHandle, DeploymentSummary, RampingBuild, RoutingChange, RoutingChanged,
    VersionDescription, VersionStatus,
};
pub use self::description::{
    Description, Paused, PendingActivity, PendingState, PendingTimer, PendingUpdate, PendingWorkflowTask, Published,
    RunSummary,
};
pub use self::error::ClientError;
pub use self::handle::WorkflowHandle;
pub use self::list::ListFilter;
pub use self::namespaces::{NamespaceChange, NamespaceDescription, Namespaces, Retention};
pub use self::operate::{ResetFrom, ResetOptions};
pub use self::operate_activity::OpenActivity;
pub use self::outcome::WorkflowFailure;
pub(crate) use self::pages::{HistoryPages, read_whole};
pub use self::query::QueryError;
pub(crate) use self::retry::{Patience, until_answered};
pub use self::schedule::ScheduleBuilder;
pub use self::schedule_handle::{
    ScheduleDescription, ScheduleHandle, ScheduleStart, ScheduleStartOutcome, ScheduleSummary,
};
pub use self::standalone::{
    ActivityDescription, ActivityHandle, ActivityStart, ActivitySummary, RunAgainProgress, StandaloneFailure,
};
pub use self::start::{IdConflictPolicy, IdReusePolicy, WorkflowStart};
pub use self::update::{UpdateFailure, UpdateHandle, UpdateSend};
pub use self::versioning::{MoveTo, MoveWorkflow, RunVersioning};
use crate::definition::Workflow;
use crate::transport::Transport;

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A client of one namespace of an engine. Cheap to clone; clones share connections.
///
/// Calls that find no engine, or one that is too busy, are made again, with pauses, for [`ClientBuilder::retry_for`]. A call
/// that changes something carries an id that makes the repeat harmless, so it takes effect once.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    settings: Settings,
}

#[derive(Debug, Clone)]
struct Settings {
    namespace: Namespace,
    identity: String,
    queue: String,
    retry_for: Option<Duration>,
    result_retry_for: Option<Duration>,
}

impl Client {
    /// A client of the namespace `default` of the server at `target`, such as `http://127.0.0.1:7400`.
    ///
    /// The connection is made by the first call, and again whenever it broke: a server that is not there yet fails that call,
    /// not this one.
    pub async fn connect(target: &str) -> Result<Self, ClientError> {
        Self::builder().connect(target).await
    }

    /// Begins a client with other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            namespace: "default".to_owned(),
            identity: default_identity(),
            connections: 2,
            queue: "default".to_owned(),
            retry_for: Some(Duration::from_secs(30)),
            result_retry_for: None,
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.settings.namespace
    }

    /// What histories show as the author of this client's requests.
    pub fn identity(&self) -> &str {
        &self.inner.settings.identity
    }

    /// Begins a start of `workflow`: `client.workflow(checkout).id("order-42").queue("orders").start(order).await?`.
    pub fn workflow<W: Workflow>(&self, workflow: W) -> WorkflowStart<W::Input, W::Output> {
        WorkflowStart::new(self.clone(), W::NAME.to_owned(), workflow.options(), W::encode_input)
    }

    /// Begins a start of a workflow that this program does not have the code of. Its input is one JSON value for each
    /// argument; `T` is what it returns, [`serde_json::Value`] if that is not known.
    pub fn workflow_named<T>(&self, workflow_type: impl Into<String>) -> WorkflowStart<Vec<serde_json::Value>, T> {
        WorkflowStart::new(self.clone(), workflow_type.into(), Default::default(), |arguments| {
            arguments.iter().map(crate::data::encode).collect()
        })
    }

    /// The workflow with this id, whose code is `W`: `client.handle::<checkout>("order-42")`. Asks the server nothing.
    pub fn handle<W: Workflow>(&self, workflow_id: impl Into<String>) -> WorkflowHandle<W::Output> {
        self.handle_named(workflow_id)
    }

    /// The workflow with this id, which returns a `T`. Asks the server nothing.
    pub fn handle_named<T>(&self, workflow_id: impl Into<String>) -> WorkflowHandle<T> {
        WorkflowHandle {
            client: self.clone(),
            workflow_id: workflow_id.into(),
            run_id: None,
            is_new: false,
            output: PhantomData,
        }
    }

    /// The way to the engine.
    pub fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn patience(&self) -> Patience {
        Patience { retry_for: self.inner.settings.retry_for, answer_within: ANSWER_WITHIN }
    }

    fn namespace_text(&self) -> String {
        self.inner.settings.namespace.as_str().to_owned()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("transport", &self.inner.transport)
            .field("namespace", &self.inner.settings.namespace)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Client`]. Made by [`Client::builder`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    namespace: String,
    identity: String,
    connections: usize,
    queue: String,
    retry_for: Option<Duration>,
    result_retry_for: Option<Duration>,
}

impl ClientBuilder {
    /// The namespace, `default` unless set here. It must exist.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// What histories show as the author of this client's requests; the process id and host unless set here.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = identity.into();
        self
    }

    /// How many connections share the requests: 2 unless set here, at most 64. One connection carries some ten thousand
    /// requests a second.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// The queue of workflows that are started without one: `default` unless set here.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// How long a call is made again while the engine cannot be reached or is too busy: 30 s unless set here. Zero: not at
    /// all.
    #[must_use]
    pub fn retry_for(mut self, limit: Duration) -> Self {
        self.retry_for = Some(limit);
        self
    }

    /// How long [`WorkflowHandle::result`] and streams go on asking while the engine cannot be reached: without end unless set
    /// here. Time in which the engine answers does not count.
    #[must_use]
    pub fn result_retry_for(mut self, limit: Duration) -> Self {
        self.result_retry_for = Some(limit);
        self
    }

    /// A client of the server at `target`. See [`Client::connect`].
    pub async fn connect(self, target: &str) -> Result<Client, ClientError> {
        let transport = Transport::connect(target, self.connections)?;
        self.over(transport)
    }

    /// A client over a transport of another kind.
    pub fn over(self, transport: Transport) -> Result<Client, ClientError> {
        let namespace =
            Namespace::parse(&self.namespace).map_err(|error| ClientError::invalid_id("namespace", error))?;
        let settings = Settings {
            namespace,
            identity: self.identity,
            queue: self.queue,
            retry_for: self.retry_for,
            result_retry_for: self.result_retry_for,
        };
        Ok(Client { inner: Arc::new(Inner { transport, settings }) })
    }
}

/// Process id and host: enough for people to find who it was.
pub(crate) fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    format!("{}@{}", std::process::id(), if host.trim().is_empty() { "localhost" } else { host.trim() })
}

/// A key for a request that no other request has.
fn new_request_id() -> String {
    Uuid::now_v7().to_string()
}

fn execution(workflow_id: &WorkflowId, run_id: Option<RunId>) -> v1::WorkflowExecution {
    v1::WorkflowExecution {
        workflow_id: workflow_id.as_str().to_owned(),
        run_id: run_id.map(|run| run.to_string()).unwrap_or_default(),
    }
}

fn parse_workflow_id(text: &str) -> Result<WorkflowId, ClientError> {
    WorkflowId::parse(text).map_err(|error| ClientError::invalid_id("workflow_id", error))
}

fn payload_to_proto(payload: &Payload) -> v1::Payload {
    engine_proto::convert::payload_to_proto(payload)
}
