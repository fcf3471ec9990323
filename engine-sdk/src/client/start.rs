//! How a workflow is started.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_proto::convert::{duration_to_proto, payloads_to_proto, retry_policy_to_proto, run_id as parse_run_id};
use engine_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{Client, ClientError, WorkflowFailure, WorkflowHandle, new_request_id, payload_to_proto, until_answered};
use crate::data::{self, DataError};
use crate::definition::WorkflowOptions;

/// What to do when the workflow id has a closed run, and none that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdReusePolicy {
    /// Start a new run.
    #[default]
    AllowDuplicate,
    /// Start a new run only if the last one failed, timed out, was canceled or terminated.
    AllowDuplicateFailedOnly,
    /// Refuse.
    RejectDuplicate,
}

/// What to do when the workflow id has an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdConflictPolicy {
    /// Refuse.
    #[default]
    Fail,
    /// Start nothing; the handle is that of the open run.
    UseExisting,
    /// Terminate the open run and start a new one, in one transaction.
    TerminateExisting,
}

/// A start of a workflow: settings, then [`WorkflowStart::start`] or [`WorkflowStart::run`]. Made by [`Client::workflow`].
///
/// `I` is the workflow's input: `()` without arguments, the argument if there is one, a tuple if there are several. `T` is what
/// it returns.
#[must_use = "nothing is started before `.start(input).await` or `.run(input).await`"]
pub struct WorkflowStart<I, T> {
    client: Client,
    workflow_type: String,
    encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    workflow_id: Option<String>,
    queue: Option<String>,
    options: WorkflowOptions,
    id_reuse_policy: IdReusePolicy,
    id_conflict_policy: IdConflictPolicy,
    request_id: Option<String>,
    /// The error of a value that could not be encoded waits here for the start.
    memo: Vec<(String, Result<Payload, DataError>)>,
    output: PhantomData<fn() -> T>,
}

impl<I, T> WorkflowStart<I, T> {
    pub(super) fn new(
        client: Client,
        workflow_type: String,
        options: WorkflowOptions,
        encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    ) -> Self {
        Self {
            client,
            workflow_type,
            encode,
            workflow_id: None,
            queue: None,
            options,
            id_reuse_policy: IdReusePolicy::default(),
            id_conflict_policy: IdConflictPolicy::default(),
            request_id: None,
            memo: Vec::new(),
            output: PhantomData,
        }
    }

    /// Your key for what the workflow does, such as an order number: at most one run of it is open at a time. A random UUID
    /// unless set here. 1 to 1000 bytes.
    pub fn id(mut self, workflow_id: impl Into<String>) -> Self {
        self.workflow_id = Some(workflow_id.into());
        self
    }

    /// Where workers look for it; the client's default queue unless set here.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// How long the whole chain of runs may take: the first and those that retry it. No limit unless set.
    pub fn execution_timeout(mut self, timeout: Duration) -> Self {
        self.options.execution_timeout = Some(timeout);
        self
    }

    /// How long one run may take. No limit unless set.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.options.run_timeout = Some(timeout);
        self
    }

    /// How long one workflow task may take: 10 s unless set, at most 120 s. Code that takes longer between two awaits is
    /// given to another worker.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.options.task_timeout = Some(timeout);
        self
    }

    /// Whether and how a run that fails or times out is followed by another. It is not, unless set.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// What to do when the workflow id has a closed run.
    pub fn id_reuse_policy(mut self, policy: IdReusePolicy) -> Self {
        self.id_reuse_policy = policy;
        self
    }

    /// What to do when the workflow id has an open run.
    pub fn id_conflict_policy(mut self, policy: IdConflictPolicy) -> Self {
        self.id_conflict_policy = policy;
        self
    }

    /// Makes the start safe to repeat across processes: a second start with the same key, while the run that the first
    /// one started is the current one, returns that run. Repeats by this client are safe without it.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Adds a fact for people, shown with the run and not indexed.
    pub fn memo<V: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &V) -> Self {
        self.memo.push((key.into(), data::encode(value)));
        self
    }

    /// Starts it. After `Ok` the start is durable and the run is listed; it runs as soon as a worker serves its queue.
    pub async fn start(self, input: I) -> Result<WorkflowHandle<T>, ClientError> {
        let settings = self.client.settings();
        let workflow_id = self.workflow_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        let WorkflowOptions { execution_timeout, run_timeout, task_timeout, retry } = self.options;
        let mut memo = std::collections::BTreeMap::new();
        for (key, value) in self.memo {
            memo.insert(key, payload_to_proto(&value?));
        }
        let request = v1::StartWorkflowRequest {
            namespace: self.client.namespace_text(),
            workflow_id: workflow_id.clone(),
            workflow_type: self.workflow_type,
            task_queue: self.queue.unwrap_or_else(|| settings.queue.clone()),
            input: payloads_to_proto(&(self.encode)(&input)?),
            execution_timeout: execution_timeout.map(duration_to_proto),
            run_timeout: run_timeout.map(duration_to_proto),
            task_timeout: task_timeout.map(duration_to_proto),
            retry_policy: retry.as_ref().map(retry_policy_to_proto),
            id_reuse_policy: reuse_to_proto(self.id_reuse_policy).into(),
            id_conflict_policy: conflict_to_proto(self.id_conflict_policy).into(),
            request_id: self.request_id.unwrap_or_else(new_request_id),
            identity: settings.identity.clone(),
            memo,
        };
        let service = self.client.transport().workflows();
        let answer = until_answered(self.client.patience(), |_| {
            let mut service = service.clone();
            let request = request.clone();
            async move { service.start_workflow(request).await }
        });
        let v1::StartWorkflowResponse { run_id, started } = answer.await?;
        let run_id: RunId = parse_run_id("run_id", &run_id)?;
        Ok(WorkflowHandle {
            client: self.client,
            workflow_id,
            run_id: Some(run_id),
            is_new: started,
            output: PhantomData,
        })
    }

    /// Starts it and waits for what it returns. See [`WorkflowHandle::result`].
    pub async fn run(self, input: I) -> Result<T, WorkflowFailure>
    where
        T: DeserializeOwned,
    {
        self.start(input).await?.result().await
    }
}

impl<I, T> fmt::Debug for WorkflowStart<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowStart")
            .field("workflow_type", &self.workflow_type)
            .field("workflow_id", &self.workflow_id)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

fn reuse_to_proto(policy: IdReusePolicy) -> v1::WorkflowIdReusePolicy {
    match policy {
        IdReusePolicy::AllowDuplicate => v1::WorkflowIdReusePolicy::AllowDuplicate,
        IdReusePolicy::AllowDuplicateFailedOnly => v1::WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
        IdReusePolicy::RejectDuplicate => v1::WorkflowIdReusePolicy::RejectDuplicate,
    }
}

fn conflict_to_proto(policy: IdConflictPolicy) -> v1::WorkflowIdConflictPolicy {
    match policy {
        IdConflictPolicy::Fail => v1::WorkflowIdConflictPolicy::Fail,
        IdConflictPolicy::UseExisting => v1::WorkflowIdConflictPolicy::UseExisting,
        IdConflictPolicy::TerminateExisting => v1::WorkflowIdConflictPolicy::TerminateExisting,
    }
}
