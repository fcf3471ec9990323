//! How a workflow is started.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_proto::convert::{
    duration_to_proto, payloads_to_proto, retry_policy_to_proto, run_id as parse_run_id, search_value_to_proto,
};
use engine_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::handle::RESULT_WAIT;
use super::outcome::outcome;
use super::start_many::{Answers, Starts, start_many};
use super::{
    Client, ClientError, MoveTo, ScheduleBuilder, WorkflowFailure, WorkflowHandle, new_request_id, payload_to_proto,
    until_answered,
};
use crate::data::{self, DataError};
use crate::definition::WorkflowOptions;
use crate::search::SearchChange;

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
    search: Vec<SearchChange>,
    summary: String,
    details: String,
    start_delay: Option<Duration>,
    cron: Option<v1::Cron>,
    last_result: Option<Result<Payload, DataError>>,
    update_id: Option<String>,
    versioning_override: Option<v1::VersioningOverride>,
    output: PhantomData<fn() -> T>,
}

impl<I, T> WorkflowStart<I, T> {
    pub(crate) fn new(
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
            search: Vec::new(),
            summary: String::new(),
            details: String::new(),
            start_delay: None,
            cron: None,
            last_result: None,
            update_id: None,
            versioning_override: None,
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

    /// What the run is listed by: names and types that are registered in the namespace. See [`crate::search::SearchKey`].
    pub fn search_attributes(mut self, attributes: impl IntoIterator<Item = SearchChange>) -> Self {
        self.search.extend(attributes);
        self
    }

    /// One line about the run, for people. At most 400 bytes.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// More about the run, for people. At most 20,000 bytes.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The first workflow task waits this long. Signals that come meanwhile are recorded and do not end the wait; the run's timeout
    /// counts from its end.
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.start_delay = Some(delay);
        self
    }

    /// The run begins at the next time that the expression names (`30 2 * * *`, `@daily`; see `docs/schedules.md` for its fields), and when
    /// it is closed, the next run of the chain begins at the next, until the workflow is canceled or terminated or its execution timeout
    /// ends. Each run knows what the one before returned: [`WorkflowContext::last_result`](crate::workflow::WorkflowContext::last_result).
    /// A result of the handle is that of the last run. Not together with [`WorkflowStart::start_delay`].
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.cron.get_or_insert_default().expression = expression.into();
        self
    }

    /// The time zone by whose clock [`WorkflowStart::cron`] is read, such as `Europe/Berlin`. UTC unless set.
    pub fn cron_time_zone(mut self, name: impl Into<String>) -> Self {
        self.cron.get_or_insert_default().time_zone = name.into();
        self
    }

    /// What the run is told that the run before it returned, for chains that you make yourself.
    pub fn last_result<V: Serialize + ?Sized>(mut self, result: &V) -> Self {
        self.last_result = Some(data::encode(result));
        self
    }

    /// It stays with this build of a deployment, whatever its code says: for trying a build with one run before new runs go there. Holds
    /// for the runs that continue it, until it is [moved](WorkflowHandle::move_to). Refused if no worker has announced the build.
    pub fn pinned_to(mut self, deployment: impl Into<String>, build_id: impl Into<String>) -> Self {
        self.versioning_override = MoveTo::version(deployment, build_id).into_override();
        self
    }

    /// Its workflow tasks go to the version that new runs go to, whatever its code says.
    pub fn auto_upgraded(mut self) -> Self {
        self.versioning_override = MoveTo::AutoUpgrade.into_override();
        self
    }

    /// How long the whole chain of runs may take: the first, those that retry it, and those of its cron. No limit unless set.
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

    /// Your key for the update that goes along with the start: see [`UpdateSend::id`](super::UpdateSend::id). A random UUID unless set.
    /// For [`WorkflowStart::update_with_start`] and [`WorkflowStart::call_with_start`] alone.
    pub fn update_id(mut self, update_id: impl Into<String>) -> Self {
        self.update_id = Some(update_id.into());
        self
    }

    pub(super) fn take_update_id(&mut self) -> String {
        self.update_id.take().unwrap_or_else(|| Uuid::now_v7().to_string())
    }

    /// Adds a fact for people, shown with the run and not indexed.
    pub fn memo<V: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &V) -> Self {
        self.memo.push((key.into(), data::encode(value)));
        self
    }

    /// Starts it. After `Ok` the start is durable and the run is listed; it runs as soon as a worker serves its queue.
    pub async fn start(self, input: I) -> Result<WorkflowHandle<T>, ClientError> {
        self.start_and_wait(input, None).await.map(|(handle, _)| handle)
    }

    /// Starts it and waits for what it returns, in one call if that takes less than 20 s. See [`WorkflowHandle::result`].
    pub async fn run(self, input: I) -> Result<T, WorkflowFailure>
    where
        T: DeserializeOwned,
    {
        let (handle, answer) = self.start_and_wait(input, Some(RESULT_WAIT)).await?;
        match answer.and_then(outcome) {
            Some(outcome) => outcome,
            None => handle.result().await,
        }
    }

    /// Starts it, and gives the outcome if that is known within `wait`.
    async fn start_and_wait(
        self,
        input: I,
        wait: Option<Duration>,
    ) -> Result<(WorkflowHandle<T>, Option<v1::GetWorkflowResultResponse>), ClientError> {
        let (client, workflow_id, template) = self.template()?;
        let workflow_id = workflow_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        let request = template.request(workflow_id.clone(), &input)?;
        let service = client.transport().workflows();
        let mut patience = client.patience();
        patience.answer_within += wait.unwrap_or_default();
        let answer = until_answered(patience, |attempt| {
            let mut service = service.clone();
            let mut request = request.clone();
            // A connection that broke while the run was open says nothing of the start: the next try asks for that alone.
            request.wait = wait.filter(|_| attempt == 1).map(duration_to_proto);
            async move { service.start_workflow(request).await }
        });
        let mut response = answer.await?;
        let outcome = response.outcome.take();
        Ok((handle(&client, workflow_id, response)?, outcome))
    }

    /// Starts many workflows with these settings, each with an id and an input of its own: far cheaper than one by one.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// # #[workflow]
    /// # async fn checkout(_ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> { Ok(cents) }
    /// # async fn import(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let orders = (1..=5_000).map(|number| (format!("order-{number}"), 100 * number));
    /// for started in client.workflow(checkout).queue("orders").start_many(orders).await {
    ///     println!("{} runs", started?.workflow_id());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The outcomes come in the order of the starts. Each start is decided by itself: one that is refused keeps no other from
    /// starting. What an `Ok` stands for is durable. As many starts as fit go in one request, and requests, or single
    /// starts in them, that find the engine away or too busy are made again as for [`WorkflowStart::start`]. A
    /// [`WorkflowStart::request_id`] is that of every start, each with its own workflow id, so the whole call can be
    /// repeated by another process; a [`WorkflowStart::id`] means nothing here.
    pub async fn start_many<K: Into<String>>(
        self,
        starts: impl IntoIterator<Item = (K, I)>,
    ) -> Vec<Result<WorkflowHandle<T>, ClientError>> {
        let starts = starts.into_iter().map(|(workflow_id, input)| (workflow_id.into(), input));
        match self.template() {
            Ok((client, _, template)) => {
                let requests = starts.map(|(id, input)| template.request(id, &input).map_err(ClientError::from));
                let outcomes = start_many::<Workflows>(&client, requests).await;
                let handles =
                    outcomes.into_iter().map(|outcome| outcome.and_then(|(id, run)| handle(&client, id, run)));
                handles.collect()
            }
            Err(error) => {
                let problem = error.to_string();
                let refused = |_| Err(ClientError::InvalidArgument { field: "memo".into(), message: problem.clone() });
                starts.map(refused).collect()
            }
        }
    }

    /// The request that starts it, for calls that carry it along with something else.
    pub(super) fn into_request(self, input: I) -> Result<(Client, v1::StartWorkflowRequest), ClientError> {
        let (client, workflow_id, template) = self.template()?;
        let workflow_id = workflow_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        Ok((client, template.request(workflow_id, &input)?))
    }

    /// Begins a schedule of this id, which starts this workflow at its times:
    /// `client.workflow(report).schedule("nightly").cron("0 2 * * *").create(()).await?`.
    ///
    /// The workflow ids are the one set here, or the schedule's if there is none, followed by the time. Policies for ids and a
    /// [`WorkflowStart::request_id`] mean nothing here: each time starts once.
    pub fn schedule(self, schedule_id: impl Into<String>) -> ScheduleBuilder<I, T> {
        ScheduleBuilder::new(self, schedule_id.into())
    }

    /// The start that a schedule makes again and again.
    pub(super) fn into_scheduled(
        self,
        schedule_id: &str,
        input: &I,
    ) -> Result<(Client, v1::StartWorkflowRequest), ClientError> {
        let (client, workflow_id, template) = self.template()?;
        let mut request = template.request(workflow_id.unwrap_or_else(|| schedule_id.to_owned()), input)?;
        request.request_id.clear();
        request.id_reuse_policy = 0;
        request.id_conflict_policy = 0;
        Ok((client, request))
    }

    /// What the starts of one call have in common, and the workflow id if one was set.
    fn template(self) -> Result<(Client, Option<String>, Template<I>), DataError> {
        let settings = self.client.settings();
        let WorkflowOptions { execution_timeout, run_timeout, task_timeout, retry } = self.options;
        let mut search_attributes = std::collections::BTreeMap::new();
        for change in self.search {
            // The server says what is wrong with a name.
            let SearchChange { name, value } = change;
            if let Some(value) = value {
                search_attributes.insert(name, search_value_to_proto(&value));
            }
        }
        let mut memo = std::collections::BTreeMap::new();
        for (key, value) in self.memo {
            memo.insert(key, payload_to_proto(&value?));
        }
        let request = v1::StartWorkflowRequest {
            namespace: self.client.namespace_text(),
            workflow_id: String::new(),
            workflow_type: self.workflow_type,
            task_queue: self.queue.unwrap_or_else(|| settings.queue.clone()),
            input: Vec::new(),
            execution_timeout: execution_timeout.map(duration_to_proto),
            run_timeout: run_timeout.map(duration_to_proto),
            task_timeout: task_timeout.map(duration_to_proto),
            retry_policy: retry.as_ref().map(retry_policy_to_proto),
            id_reuse_policy: reuse_to_proto(self.id_reuse_policy).into(),
            id_conflict_policy: conflict_to_proto(self.id_conflict_policy).into(),
            request_id: self.request_id.unwrap_or_default(),
            identity: settings.identity.clone(),
            memo,
            search_attributes,
            summary: self.summary,
            details: self.details,
            start_delay: self.start_delay.map(duration_to_proto),
            cron: self.cron,
            last_result: self.last_result.transpose()?.as_ref().map(payload_to_proto),
            versioning_override: self.versioning_override,
            ..v1::StartWorkflowRequest::default()
        };
        Ok((self.client, self.workflow_id, Template { request, encode: self.encode }))
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

/// A start without its workflow id and input.
pub(super) struct Template<I> {
    request: v1::StartWorkflowRequest,
    encode: fn(&I) -> Result<Vec<Payload>, DataError>,
}

impl<I> Template<I> {
    /// The request, with a request id that its repeats have too.
    pub(super) fn request(&self, workflow_id: String, input: &I) -> Result<v1::StartWorkflowRequest, DataError> {
        let mut request = self.request.clone();
        request.workflow_id = workflow_id;
        request.input = payloads_to_proto(&(self.encode)(input)?);
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        Ok(request)
    }
}

/// Starts of workflows, many in one call.
struct Workflows;

impl Starts for Workflows {
    type Request = v1::StartWorkflowRequest;
    type Started = v1::StartWorkflowResponse;

    fn id(start: &Self::Request) -> &str {
        &start.workflow_id
    }

    async fn send(client: &Client, starts: Vec<Self::Request>) -> Result<Answers<Self::Started>, ClientError> {
        use v1::start_workflow_outcome::Outcome;
        let request = v1::StartWorkflowsRequest { starts };
        let service = client.transport().workflows();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.start_workflows(request).await }
        });
        let outcomes = answer.await?.outcomes.into_iter().map(|outcome| {
            outcome.outcome.map(|outcome| match outcome {
                Outcome::Started(started) => Ok(started),
                Outcome::Refused(refusal) => Err(refusal),
            })
        });
        Ok(outcomes.collect())
    }
}

/// The handle of a workflow that was started.
pub(super) fn handle<T>(
    client: &Client,
    workflow_id: String,
    started: v1::StartWorkflowResponse,
) -> Result<WorkflowHandle<T>, ClientError> {
    let run_id: RunId = parse_run_id("run_id", &started.run_id)?;
    let client = client.clone();
    Ok(WorkflowHandle { client, workflow_id, run_id: Some(run_id), is_new: started.started, output: PhantomData })
}

pub(super) fn reuse_to_proto(policy: IdReusePolicy) -> v1::WorkflowIdReusePolicy {
    match policy {
        IdReusePolicy::AllowDuplicate => v1::WorkflowIdReusePolicy::AllowDuplicate,
        IdReusePolicy::AllowDuplicateFailedOnly => v1::WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
        IdReusePolicy::RejectDuplicate => v1::WorkflowIdReusePolicy::RejectDuplicate,
    }
}

pub(super) fn conflict_to_proto(policy: IdConflictPolicy) -> v1::WorkflowIdConflictPolicy {
    match policy {
        IdConflictPolicy::Fail => v1::WorkflowIdConflictPolicy::Fail,
        IdConflictPolicy::UseExisting => v1::WorkflowIdConflictPolicy::UseExisting,
        IdConflictPolicy::TerminateExisting => v1::WorkflowIdConflictPolicy::TerminateExisting,
    }
}
