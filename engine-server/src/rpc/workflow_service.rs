//! `WorkflowService`: checks requests, sends them to shards, turns answers into messages.

use std::sync::Arc;

use engine_core::event::{StartVersioning, VersioningOverride, WorkflowStarted};
use engine_core::execution::{
    Execution, IdConflictPolicy, IdReusePolicy, Input, PendingActivity, PendingChild, PendingTaskState, PendingTimer,
    PendingUpdate, PendingWorkflowTask, Rejection, RunVersioning,
};
use engine_core::ids::{EventId, Namespace, RequestId, RunId, SignalName, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::limits::{STARTS_MAX, WORKFLOW_TASK_TIMEOUT_DEFAULT};
use engine_core::search::{BUILD_ID, DEPLOYMENT, PAUSED, SearchValue, TASK_FAILURE, VERSIONING_BEHAVIOR};
use engine_core::time::Timestamp;
use engine_proto::convert::{self, ConvertError};
use engine_proto::v1::{self, workflow_service_server::WorkflowService};
use tokio::sync::oneshot;
use tonic::{Request as Call, Response, Status};

use crate::deployment::registry as deployments;
use crate::limits;
use crate::node::NodeContext;
use crate::queue::{QueueKey, TaskKind};
use crate::rpc::status::to_status;
use crate::rpc::{history, published, query, result, update, validate, visibility};
use crate::shard::request::{
    Described, Description, LocalKey, QueryTurn, Replied, Request, RequestKind, Responder, ServerError, StartReply,
    StartRequest, Subscribed, UpdateAsk, UpdateWatch,
};
use crate::shard::run::listed_version;
use crate::shard::{load, progress, queries};
use crate::store::{ExecutionRow, ListFilter, NamespaceId, RunKey, ShardId};

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Workflows {
    pub(crate) context: Arc<NodeContext>,
}

/// A workflow that a request names.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) namespace: NamespaceId,
    pub(crate) shard: ShardId,
    pub(crate) workflow_id: Arc<str>,
    pub(crate) run_id: Option<RunId>,
}

impl Target {
    pub(crate) async fn parse(
        context: &NodeContext,
        namespace: &str,
        execution: Option<v1::WorkflowExecution>,
    ) -> Result<Target, ServerError> {
        let namespace = context.namespaces.id(&context.store, "namespace", namespace).await?;
        let execution = convert::required("execution", execution)?;
        let workflow_id = convert::required_id("execution.workflow_id", &execution.workflow_id, WorkflowId::parse)?;
        let run_id = convert::optional_run_id("execution.run_id", &execution.run_id)?;
        let shard = context.shard_of(namespace, workflow_id.as_str());
        Ok(Target { namespace, shard, workflow_id: workflow_id.as_str().into(), run_id })
    }

    fn key(&self) -> LocalKey {
        LocalKey { namespace: self.namespace, workflow_id: Arc::clone(&self.workflow_id) }
    }

    pub(crate) fn request(&self, kind: RequestKind) -> Request {
        Request { shard: self.shard, key: self.key(), kind }
    }

    pub(crate) fn run_key(&self, run_id: RunId) -> RunKey {
        let workflow_id = self.workflow_id.as_ref().to_owned();
        RunKey { shard: self.shard, namespace: self.namespace, workflow_id, run_id }
    }

    /// The row of a run that is not the current one.
    pub(crate) async fn earlier_run(&self, context: &NodeContext, run_id: RunId) -> Result<ExecutionRow, ServerError> {
        let (store, key) = (Arc::clone(&context.store), self.run_key(run_id));
        let row = history::detached(async move { store.execution(&key).await }).await?;
        let namespace = context.namespaces.by_id(self.namespace);
        let keeps_all = namespace.is_none_or(|namespace| !namespace.settings.retention.deletes());
        row.ok_or_else(|| match keeps_all {
            true => ServerError::NotFound { kind: "run", name: run_id.to_string() },
            false => ServerError::NotKept(run_id),
        })
    }

    /// Gives `input` to the run.
    pub(crate) async fn input(&self, context: &NodeContext, input: Input) -> Result<Replied, ServerError> {
        let (reply, answer) = oneshot::channel();
        let kind =
            RequestKind::Input { run_id: self.run_id, input: Box::new(input), responder: Responder::Call(reply) };
        context.send(self.request(kind)).await;
        let closed = || ServerError::Closed { workflow_id: self.workflow_id.as_ref().to_owned() };
        match received(answer.await)? {
            Err(ServerError::NotCurrent(run_id)) => {
                self.earlier_run(context, run_id).await?;
                Err(closed())
            }
            Err(ServerError::Rejected(Rejection::AlreadyClosed)) => Err(closed()),
            answer => answer,
        }
    }

    /// Subscribes to news of the run, or tells how it closed.
    pub(crate) async fn subscribe(&self, context: &NodeContext) -> Result<Subscribed, ServerError> {
        let (reply, answer) = oneshot::channel();
        context.send(self.request(RequestKind::Subscribe { run_id: self.run_id, reply })).await;
        match received(answer.await)? {
            Err(ServerError::NotCurrent(run_id)) => {
                Ok(Subscribed::Closed(Box::new(self.earlier_run(context, run_id).await?)))
            }
            answer => answer,
        }
    }

    /// Sends an update, or asks for one, and begins to watch it.
    pub(crate) async fn watch_update(
        &self,
        context: &NodeContext,
        ask: UpdateAsk,
    ) -> Result<Result<UpdateWatch, ServerError>, ServerError> {
        let (reply, answer) = oneshot::channel();
        context.send(self.request(RequestKind::Update { run_id: self.run_id, ask, reply })).await;
        received(answer.await)
    }

    pub(crate) async fn describe(&self, context: &NodeContext) -> Result<Described, ServerError> {
        let (reply, answer) = oneshot::channel();
        context.send(self.request(RequestKind::Describe { run_id: self.run_id, reply })).await;
        match received(answer.await)? {
            Err(ServerError::NotCurrent(run_id)) => {
                Ok(Described::Closed(Box::new(self.earlier_run(context, run_id).await?)))
            }
            answer => answer,
        }
    }

    /// When the run's code can be asked.
    pub(crate) async fn query_turn(&self, context: &NodeContext) -> Result<QueryTurn, ServerError> {
        let (reply, answer) = oneshot::channel();
        context.send(self.request(RequestKind::Query { run_id: self.run_id, reply })).await;
        match received(answer.await)? {
            Err(ServerError::NotCurrent(run_id)) => {
                Ok(QueryTurn::Now(queries::place_of_closed(&self.earlier_run(context, run_id).await?)))
            }
            answer => answer,
        }
    }

    /// The row of the run, as the store has it.
    pub(crate) async fn row(&self, context: &NodeContext) -> Result<ExecutionRow, ServerError> {
        if let Some(run_id) = self.run_id {
            return self.earlier_run(context, run_id).await;
        }
        let store = Arc::clone(&context.store);
        let key = crate::store::WorkflowKey {
            shard: self.shard,
            namespace: self.namespace,
            workflow_id: self.workflow_id.as_ref().to_owned(),
        };
        let rows = history::detached(async move { store.latest_runs(&[key]).await }).await?;
        let not_found =
            || ServerError::NotFound { kind: self.key().noun(), name: self.workflow_id.as_ref().to_owned() };
        rows.into_iter().next().flatten().ok_or_else(not_found)
    }
}

/// Where a lane will answer.
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, ServerError>>;

/// The answer of a lane. A lane that stopped drops its callers.
pub(crate) fn received<T>(answer: Result<T, oneshot::error::RecvError>) -> Result<T, ServerError> {
    answer.map_err(|_| ServerError::unavailable("the server is stopping"))
}

#[tonic::async_trait]
impl WorkflowService for Workflows {
    async fn start_workflow(
        &self,
        call: Call<v1::StartWorkflowRequest>,
    ) -> Result<Response<v1::StartWorkflowResponse>, Status> {
        self.start(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn start_workflows(
        &self,
        call: Call<v1::StartWorkflowsRequest>,
    ) -> Result<Response<v1::StartWorkflowsResponse>, Status> {
        self.start_many(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn signal_workflow(
        &self,
        call: Call<v1::SignalWorkflowRequest>,
    ) -> Result<Response<v1::SignalWorkflowResponse>, Status> {
        let replied = self.signal(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::SignalWorkflowResponse { run_id: replied.run_id.to_string() }))
    }

    async fn update_workflow(
        &self,
        call: Call<v1::UpdateWorkflowRequest>,
    ) -> Result<Response<v1::UpdateWorkflowResponse>, Status> {
        update::update(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn poll_update(
        &self,
        call: Call<v1::PollUpdateRequest>,
    ) -> Result<Response<v1::UpdateWorkflowResponse>, Status> {
        update::poll(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn signal_with_start(
        &self,
        call: Call<v1::SignalWithStartRequest>,
    ) -> Result<Response<v1::StartWorkflowResponse>, Status> {
        update::signal_with_start(self, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn update_with_start(
        &self,
        call: Call<v1::UpdateWithStartRequest>,
    ) -> Result<Response<v1::UpdateWithStartResponse>, Status> {
        update::update_with_start(self, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn cancel_workflow(
        &self,
        call: Call<v1::CancelWorkflowRequest>,
    ) -> Result<Response<v1::CancelWorkflowResponse>, Status> {
        self.cancel(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::CancelWorkflowResponse {}))
    }

    async fn terminate_workflow(
        &self,
        call: Call<v1::TerminateWorkflowRequest>,
    ) -> Result<Response<v1::TerminateWorkflowResponse>, Status> {
        self.terminate(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::TerminateWorkflowResponse {}))
    }

    async fn describe_workflow(
        &self,
        call: Call<v1::DescribeWorkflowRequest>,
    ) -> Result<Response<v1::DescribeWorkflowResponse>, Status> {
        let request = call.into_inner();
        self.describe(request).await.map(Response::new).map_err(to_status)
    }

    async fn list_workflows(
        &self,
        call: Call<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        self.list(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn count_workflows(
        &self,
        call: Call<v1::CountWorkflowsRequest>,
    ) -> Result<Response<v1::CountWorkflowsResponse>, Status> {
        let request = call.into_inner();
        let count = async {
            let namespace = self.context.namespaces.get(&self.context.store, "namespace", &request.namespace).await?;
            visibility::count_workflows(&self.context, &namespace, &request.query).await
        };
        count.await.map(Response::new).map_err(to_status)
    }

    async fn get_workflow_history(
        &self,
        call: Call<v1::GetWorkflowHistoryRequest>,
    ) -> Result<Response<v1::GetWorkflowHistoryResponse>, Status> {
        let mut request = call.into_inner();
        let target =
            Target::parse(&self.context, &request.namespace, request.execution.take()).await.map_err(to_status)?;
        history::page(&self.context, target, &request).await.map(Response::new).map_err(to_status)
    }

    type WatchWorkflowStream = futures::stream::BoxStream<'static, Result<v1::WatchWorkflowResponse, Status>>;

    async fn watch_workflow(
        &self,
        call: Call<v1::WatchWorkflowRequest>,
    ) -> Result<Response<Self::WatchWorkflowStream>, Status> {
        let request = call.into_inner();
        let target = Target::parse(&self.context, &request.namespace, request.execution).await.map_err(to_status)?;
        // A run that does not exist is told at once, not in the stream.
        target.subscribe(&self.context).await.map_err(to_status)?;
        let events = history::watch(Arc::clone(&self.context), target, EventId(request.after_event_id));
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_workflow_result(
        &self,
        call: Call<v1::GetWorkflowResultRequest>,
    ) -> Result<Response<v1::GetWorkflowResultResponse>, Status> {
        let request = call.into_inner();
        let target = Target::parse(&self.context, &request.namespace, request.execution).await.map_err(to_status)?;
        let wait = validate::wait(request.wait, limits::RESULT_WAIT_MAX).map_err(to_status)?;
        let wait = wait.unwrap_or(limits::RESULT_WAIT_DEFAULT);
        result::wait(&self.context, target, None, wait).await.map(Response::new).map_err(to_status)
    }

    async fn query_workflow(
        &self,
        call: Call<v1::QueryWorkflowRequest>,
    ) -> Result<Response<v1::QueryWorkflowResponse>, Status> {
        query::query(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn get_published(
        &self,
        call: Call<v1::GetPublishedRequest>,
    ) -> Result<Response<v1::GetPublishedResponse>, Status> {
        let mut request = call.into_inner();
        let target =
            Target::parse(&self.context, &request.namespace, request.execution.take()).await.map_err(to_status)?;
        published::get(&self.context, target, &request).await.map(Response::new).map_err(to_status)
    }
}

impl Workflows {
    async fn start(&self, request: v1::StartWorkflowRequest) -> Result<v1::StartWorkflowResponse, ServerError> {
        let wait = validate::wait(request.wait, limits::RESULT_WAIT_MAX)?.unwrap_or_default();
        let (mut target, answer) = self.begin_start(request, !wait.is_zero(), None).await?;
        let reply = received(answer.await)??;
        let mut response = start_response(&reply);
        if !wait.is_zero() {
            target.run_id = Some(reply.run_id);
            // Whatever becomes of the wait, the start took effect and is answered as such.
            let outcome = result::wait(&self.context, target, reply.news, wait).await.ok();
            response.outcome = outcome.filter(|outcome| outcome.status() != v1::WorkflowStatus::Running);
        }
        Ok(response)
    }

    /// Each start by itself. All are with their lanes before the first answer is awaited, so that they share batches.
    async fn start_many(&self, request: v1::StartWorkflowsRequest) -> Result<v1::StartWorkflowsResponse, ServerError> {
        let many = request.starts.len();
        if many > STARTS_MAX {
            let problem = format!("has {many} starts; the limit is {STARTS_MAX} in one call: make several calls");
            return Err(ServerError::Invalid { field: "starts".into(), problem });
        }
        let mut begun = Vec::with_capacity(many);
        for start in request.starts {
            begun.push(match start.wait {
                Some(_) => Err(ServerError::Invalid {
                    field: "wait".into(),
                    problem: "cannot be set in a call of many starts: ask for each result".into(),
                }),
                None => self.begin_start(start, false, None).await.map(|(_, answer)| answer),
            });
        }
        let mut outcomes = Vec::with_capacity(many);
        for start in begun {
            let reply = match start {
                Ok(answer) => received(answer.await).and_then(|reply| reply),
                Err(error) => Err(error),
            };
            outcomes.push(v1::StartWorkflowOutcome { outcome: Some(outcome(reply)) });
        }
        Ok(v1::StartWorkflowsResponse { outcomes })
    }

    /// Checks a start and sends it to its lane, which answers once it is durable. `with` reaches the run in the same transaction.
    pub(crate) async fn begin_start(
        &self,
        request: v1::StartWorkflowRequest,
        watch: bool,
        with: Option<Box<Input>>,
    ) -> Result<(Target, Answer<StartReply>), ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", &request.namespace).await?;
        let reuse = reuse_policy(request.id_reuse_policy)?;
        let conflict = conflict_policy(request.id_conflict_policy)?;
        let started = started(request, self.context.now())?;
        self.context
            .namespaces
            .check_attributes(&self.context.store, namespace, &started.search_attributes)
            .await?
            .map_err(|problem| ServerError::Invalid { field: "search_attributes".into(), problem })?;
        let said = started.versioning.as_ref().and_then(|it| it.versioning_override.as_ref());
        if let Some(VersioningOverride::Pinned(version)) = said {
            deployments::check_serves(&self.context, namespace, version, &started.task_queue).await?;
        }
        send_start(&self.context, namespace, |reply| StartRequest {
            started,
            reuse,
            conflict,
            watch,
            with,
            again: None,
            reply,
        })
        .await
    }

    async fn signal(&self, request: v1::SignalWorkflowRequest) -> Result<Replied, ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution).await?;
        validate::people_text("identity", &request.identity)?;
        let input = convert::payloads_from_proto(request.input);
        validate::payloads("input", &input)?;
        let input = Input::Signal {
            name: convert::required_id("signal_name", &request.signal_name, SignalName::parse)?,
            input,
            identity: request.identity,
            request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
        };
        target.input(&self.context, input).await
    }

    async fn cancel(&self, request: v1::CancelWorkflowRequest) -> Result<(), ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution).await?;
        validate::people_text("reason", &request.reason)?;
        validate::people_text("identity", &request.identity)?;
        let input = Input::RequestCancel {
            reason: request.reason,
            identity: request.identity,
            request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
        };
        match target.input(&self.context, input).await {
            // An earlier run of the id is closed: it has stopped.
            Err(ServerError::Closed { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn terminate(&self, request: v1::TerminateWorkflowRequest) -> Result<(), ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution).await?;
        validate::people_text("reason", &request.reason)?;
        validate::people_text("identity", &request.identity)?;
        let details = request.details.map(convert::payload_from_proto);
        validate::payloads("details", details.as_slice())?;
        let input = Input::Terminate { reason: request.reason, details, identity: request.identity };
        target.input(&self.context, input).await.map(drop)
    }

    async fn describe(
        &self,
        request: v1::DescribeWorkflowRequest,
    ) -> Result<v1::DescribeWorkflowResponse, ServerError> {
        let target = Target::parse(&self.context, &request.namespace, request.execution).await?;
        match target.describe(&self.context).await? {
            Described::Open(description) => {
                let queue = QueueKey {
                    namespace: target.namespace,
                    name: description.started.task_queue.as_str().into(),
                    kind: TaskKind::Workflow,
                    version: None,
                };
                let to = self.context.queues.lock().target(&queue, description.pin.as_ref(), &target.workflow_id);
                let mut told = description_to_proto(*description);
                if let Some(to) = to {
                    told.versioning.get_or_insert_default().target = Some(convert::worker_version_to_proto(&to));
                }
                Ok(told)
            }
            Described::Closed(row) => self.describe_closed(*row).await,
        }
    }

    async fn describe_closed(&self, row: ExecutionRow) -> Result<v1::DescribeWorkflowResponse, ServerError> {
        let (store, key) = (Arc::clone(&self.context.store), row.key.clone());
        let stored = history::detached(async move { store.load_runs(&[key]).await }).await?;
        let missing = || ServerError::NotFound { kind: "run", name: row.key.run_id.to_string() };
        let stored = stored.into_iter().next().flatten().ok_or_else(missing)?;
        let run = load::hot_run(stored, self.context.now()).map_err(|e| ServerError::Internal(e.to_string()))?;
        let execution: &Execution = &run.execution;
        Ok(v1::DescribeWorkflowResponse {
            summary: Some(summary(&row)),
            history_size_bytes: run.history_bytes,
            started: Some(convert::workflow_started_to_proto(execution.started())),
            cancel_requested: execution.cancel_requested(),
            published: execution.published().map(|value| published::to_proto(&value)).collect(),
            search_attributes: convert::search_attributes_to_proto(execution.search_attributes()),
            memo: execution.memo().iter().map(|(key, value)| (key.clone(), convert::payload_to_proto(value))).collect(),
            current_details: execution.current_details().to_owned(),
            versioning: versioning(&execution.versioning()),
            ..Default::default()
        })
    }

    async fn list(&self, request: v1::ListWorkflowsRequest) -> Result<v1::ListWorkflowsResponse, ServerError> {
        let namespace = self.context.namespaces.get(&self.context.store, "namespace", &request.namespace).await?;
        if !request.query.is_empty() {
            let (rows, next_page_token) = visibility::list_workflows(&self.context, &namespace, &request).await?;
            return Ok(v1::ListWorkflowsResponse { workflows: rows.iter().map(summary).collect(), next_page_token });
        }
        let size = validate::page_size(request.page_size, limits::LIST_PAGE_DEFAULT, limits::LIST_PAGE_MAX)?;
        let before = match request.page_token.as_slice() {
            [] => None,
            token => Some(RunId::from_uuid(uuid::Uuid::from_slice(token).map_err(|_| ServerError::Invalid {
                field: "page_token".into(),
                problem: "is not a token of this call: start again without one".into(),
            })?)),
        };
        let status = match request.status {
            0 => None,
            status => Some(convert::close_status_from_proto("status", status)?),
        };
        let workflow_type = convert::optional_id("workflow_type", &request.workflow_type, WorkflowType::parse)?;
        let workflow_id = convert::optional_id("workflow_id", &request.workflow_id, WorkflowId::parse)?;
        let filter = ListFilter {
            namespace: namespace.id,
            status,
            workflow_type: workflow_type.map(|name| name.as_str().to_owned()),
            workflow_id: workflow_id.map(|id| id.as_str().to_owned()),
            before,
            limit: size,
        };
        let store = Arc::clone(&self.context.store);
        let rows = history::detached(async move { store.list(&filter).await }).await?;
        let next_page_token = match rows.last() {
            Some(last) if rows.len() == size as usize => last.key.run_id.as_uuid().as_bytes().to_vec(),
            Some(_) | None => Vec::new(),
        };
        Ok(v1::ListWorkflowsResponse { workflows: rows.iter().map(summary).collect(), next_page_token })
    }
}

/// Sends a start, which is made with where its answer goes, to its lane. `namespace` is that of its key.
pub(crate) async fn send_start(
    context: &NodeContext,
    namespace: NamespaceId,
    make: impl FnOnce(oneshot::Sender<Result<StartReply, ServerError>>) -> StartRequest,
) -> Result<(Target, Answer<StartReply>), ServerError> {
    let (reply, answer) = oneshot::channel();
    let start = make(reply);
    let workflow_id: Arc<str> = start.started.workflow_id.as_str().into();
    let shard = context.shard_of(namespace, &workflow_id);
    let target = Target { namespace, workflow_id, shard, run_id: None };
    context.send_start(target.request(RequestKind::Start(Box::new(start)))).await?;
    Ok((target, answer))
}

/// A run id that sorts by its time.
pub(crate) fn new_run_id(now: Timestamp) -> RunId {
    let mut random = [0; 10];
    random.copy_from_slice(&uuid::Uuid::now_v7().as_bytes()[6..]);
    RunId::from_parts(now, random)
}

/// Checks a start that is to be made later, as if it came now.
pub(crate) fn check_start(request: v1::StartWorkflowRequest, now: Timestamp) -> Result<(), ServerError> {
    Execution::begin(started(request, now)?, now)?;
    Ok(())
}

/// The first event of the run that a request asks for, under a new run id.
pub(crate) fn started(request: v1::StartWorkflowRequest, now: Timestamp) -> Result<WorkflowStarted, ServerError> {
    validate::people_text("identity", &request.identity)?;
    let input = convert::payloads_from_proto(request.input);
    let memo = convert::memo_from_proto(request.memo);
    validate::payloads("input", &input)?;
    validate::memo(&memo)?;
    let last_result = request.last_result.map(convert::payload_from_proto);
    if let Some(last_result) = &last_result {
        validate::payloads("last_result", std::slice::from_ref(last_result))?;
    }
    let retry_policy = request
        .retry_policy
        .map(convert::retry_policy_from_proto)
        .transpose()
        .map_err(|error| error.inside("retry_policy"))?;
    let versioning_override = request
        .versioning_override
        .map(|message| convert::versioning_override_from_proto(&message))
        .transpose()
        .map_err(|error| error.inside("versioning_override"))?;
    let duration = |field, value| convert::optional_duration_from_proto(field, value);
    let run_id = new_run_id(now);
    Ok(WorkflowStarted {
        namespace: convert::required_id("namespace", &request.namespace, Namespace::parse)?,
        workflow_id: convert::required_id("workflow_id", &request.workflow_id, WorkflowId::parse)?,
        run_id,
        workflow_type: convert::required_id("workflow_type", &request.workflow_type, WorkflowType::parse)?,
        task_queue: convert::required_id("task_queue", &request.task_queue, TaskQueueName::parse)?,
        input,
        execution_timeout: duration("execution_timeout", request.execution_timeout)?,
        run_timeout: duration("run_timeout", request.run_timeout)?,
        task_timeout: duration("task_timeout", request.task_timeout)?.unwrap_or(WORKFLOW_TASK_TIMEOUT_DEFAULT),
        execution_deadline: None,
        retry_policy,
        attempt: 1,
        continued_from: None,
        first_run_id: run_id,
        continued_failure: request
            .last_failure
            .map(convert::failure_from_outside)
            .transpose()
            .map_err(|error| error.inside("last_failure"))?,
        last_result,
        cron: request.cron.map(convert::cron_from_proto).map(Box::new),
        first_task_backoff: duration("start_delay", request.start_delay)?.unwrap_or_default(),
        request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
        identity: request.identity,
        memo,
        search_attributes: convert::search_attributes_from_proto(request.search_attributes)?,
        summary: request.summary,
        details: request.details,
        seen_request_ids: Vec::new(),
        reset: None,
        parent: None,
        activity: None,
        versioning: versioning_override
            .map(|it| Box::new(StartVersioning { inherited: None, versioning_override: Some(it) })),
    })
}

fn start_response(reply: &StartReply) -> v1::StartWorkflowResponse {
    v1::StartWorkflowResponse { run_id: reply.run_id.to_string(), started: reply.started, outcome: None }
}

/// What became of one start of many.
fn outcome(reply: Result<StartReply, ServerError>) -> v1::start_workflow_outcome::Outcome {
    use v1::start_workflow_outcome::Outcome;
    match reply {
        Ok(reply) => Outcome::Started(start_response(&reply)),
        Err(error) => {
            let status = to_status(error);
            Outcome::Refused(v1::StartWorkflowRefusal {
                code: status.code().into(),
                message: status.message().to_owned(),
                status: status.details().to_vec(),
            })
        }
    }
}

pub(crate) fn reuse_policy(number: i32) -> Result<IdReusePolicy, ConvertError> {
    use v1::WorkflowIdReusePolicy as Message;
    match Message::try_from(number) {
        Ok(Message::Unspecified | Message::AllowDuplicate) => Ok(IdReusePolicy::AllowDuplicate),
        Ok(Message::AllowDuplicateFailedOnly) => Ok(IdReusePolicy::AllowDuplicateFailedOnly),
        Ok(Message::RejectDuplicate) => Ok(IdReusePolicy::RejectDuplicate),
        Err(_) => Err(ConvertError::new("id_reuse_policy", format!("{number} is not a policy"))),
    }
}

pub(crate) fn conflict_policy(number: i32) -> Result<IdConflictPolicy, ConvertError> {
    use v1::WorkflowIdConflictPolicy as Message;
    match Message::try_from(number) {
        Ok(Message::Unspecified | Message::Fail) => Ok(IdConflictPolicy::Fail),
        Ok(Message::UseExisting) => Ok(IdConflictPolicy::UseExisting),
        Ok(Message::TerminateExisting) => Ok(IdConflictPolicy::TerminateExisting),
        Err(_) => Err(ConvertError::new("id_conflict_policy", format!("{number} is not a policy"))),
    }
}

fn summary(row: &ExecutionRow) -> v1::WorkflowSummary {
    let mut search_attributes = convert::search_attributes_to_proto(&row.search_attributes);
    let paused = search_attributes.remove(PAUSED).is_some();
    search_attributes.remove(TASK_FAILURE);
    let (version, behavior) = listed_version(&row.search_attributes).unzip();
    [DEPLOYMENT, BUILD_ID, VERSIONING_BEHAVIOR].into_iter().for_each(|own| drop(search_attributes.remove(own)));
    let task_failure = row.search_attributes.iter().find_map(|(name, value)| match value {
        SearchValue::Keyword(kind) if name.as_str() == TASK_FAILURE => Some(kind.clone()),
        _ => None,
    });
    v1::WorkflowSummary {
        workflow_id: row.key.workflow_id.clone(),
        run_id: row.key.run_id.to_string(),
        workflow_type: row.workflow_type.clone(),
        task_queue: row.task_queue.clone(),
        status: convert::close_status_to_proto(row.status).into(),
        start_time: Some(convert::timestamp_to_proto(row.started_at)),
        close_time: row.closed_at.map(convert::timestamp_to_proto),
        history_length: row.history_length,
        search_attributes,
        paused,
        task_failure: task_failure.unwrap_or_default(),
        version: version.as_ref().map(convert::worker_version_to_proto),
        versioning_behavior: behavior.map_or(0, |it| convert::versioning_behavior_to_proto(it).into()),
    }
}

/// How a run follows versions; `None` if it has met none.
fn versioning(versioning: &RunVersioning) -> Option<v1::WorkflowVersioning> {
    let RunVersioning { version, behavior, versioning_override } = versioning;
    (*versioning != RunVersioning::default()).then(|| v1::WorkflowVersioning {
        version: version.as_deref().map(convert::worker_version_to_proto),
        behavior: behavior.map_or(0, |it| convert::versioning_behavior_to_proto(it).into()),
        versioning_override: versioning_override.as_ref().map(convert::versioning_override_to_proto),
        target: None,
    })
}

fn description_to_proto(description: Description) -> v1::DescribeWorkflowResponse {
    let mut summary = summary(&description.row);
    summary.history_length = description.history_length;
    v1::DescribeWorkflowResponse {
        summary: Some(summary),
        history_size_bytes: description.history_bytes,
        started: Some(convert::workflow_started_to_proto(&description.started)),
        pending_workflow_task: description.workflow_task.map(pending_workflow_task),
        pending_activities: description.activities.into_iter().map(pending_activity).collect(),
        pending_children: description.children.into_iter().map(pending_child).collect(),
        pending_timers: description.timers.into_iter().map(pending_timer).collect(),
        pending_updates: description.updates.iter().map(pending_update).collect(),
        cancel_requested: description.cancel_requested,
        buffered_events: u32::try_from(description.buffered).unwrap_or(u32::MAX),
        published: description.published.iter().map(published::to_proto).collect(),
        search_attributes: convert::search_attributes_to_proto(&description.search_attributes),
        memo: description.memo.iter().map(|(key, value)| (key.clone(), convert::payload_to_proto(value))).collect(),
        versioning: versioning(&description.versioning),
        current_details: description.current_details,
        paused: description.paused.as_ref().map(progress::paused_to_proto),
    }
}

fn state(state: PendingTaskState) -> v1::PendingTaskState {
    match state {
        PendingTaskState::Scheduled => v1::PendingTaskState::Scheduled,
        PendingTaskState::Started => v1::PendingTaskState::Started,
        PendingTaskState::BackingOff => v1::PendingTaskState::BackingOff,
        PendingTaskState::CancelRequested => v1::PendingTaskState::CancelRequested,
        PendingTaskState::InDoubt => v1::PendingTaskState::InDoubt,
    }
}

fn pending_workflow_task(task: PendingWorkflowTask) -> v1::PendingWorkflowTask {
    let cause = task.last_failure_cause.map(convert::workflow_task_failure_cause_to_proto);
    v1::PendingWorkflowTask {
        state: state(task.state).into(),
        task_queue: task.task_queue.as_str().to_owned(),
        scheduled_time: Some(convert::timestamp_to_proto(task.scheduled_at)),
        started_time: task.started_at.map(convert::timestamp_to_proto),
        attempt: task.attempt,
        last_failure: task.last_failure.as_ref().map(convert::failure_to_proto),
        last_failure_cause: cause.unwrap_or_default().into(),
        worker_identity: task.worker_identity,
        next_attempt_time: task.next_attempt_at.map(convert::timestamp_to_proto),
    }
}

pub(crate) fn pending_activity(activity: PendingActivity) -> v1::PendingActivity {
    v1::PendingActivity {
        activity_id: activity.activity_id.as_str().to_owned(),
        activity_type: activity.activity_type.as_str().to_owned(),
        state: state(activity.state).into(),
        scheduled_event_id: activity.scheduled_event_id.0,
        task_queue: activity.task_queue.as_str().to_owned(),
        attempt: activity.attempt,
        maximum_attempts: activity.maximum_attempts,
        scheduled_time: Some(convert::timestamp_to_proto(activity.scheduled_at)),
        started_time: activity.started_at.map(convert::timestamp_to_proto),
        next_attempt_time: activity.next_attempt_at.map(convert::timestamp_to_proto),
        last_heartbeat_time: activity.last_heartbeat_at.map(convert::timestamp_to_proto),
        heartbeat_details: activity.heartbeat_details.as_ref().map(convert::payload_to_proto),
        last_failure: activity.last_failure.as_ref().map(convert::failure_to_proto),
        worker_identity: activity.worker_identity,
        paused: activity.paused.as_ref().map(progress::paused_to_proto),
        timeouts: Some(convert::activity_timeouts_to_proto(&activity.timeouts)),
        retry_policy: Some(convert::retry_policy_to_proto(&activity.retry_policy)),
        summary: activity.summary,
    }
}

fn pending_child(child: PendingChild) -> v1::PendingChild {
    v1::PendingChild {
        workflow_id: child.workflow_id.as_str().to_owned(),
        workflow_type: child.workflow_type.as_str().to_owned(),
        initiated_event_id: child.initiated_event_id.0,
        run_id: child.run_id.map(|run_id| run_id.to_string()).unwrap_or_default(),
        parent_close_policy: convert::parent_close_policy_to_proto(child.parent_close_policy).into(),
    }
}

fn pending_timer(timer: PendingTimer) -> v1::PendingTimer {
    v1::PendingTimer {
        timer_id: timer.timer_id.as_str().to_owned(),
        started_event_id: timer.started_event_id.0,
        fire_time: Some(convert::timestamp_to_proto(timer.fire_at)),
        summary: timer.summary,
    }
}

fn pending_update(update: &PendingUpdate) -> v1::PendingUpdate {
    let is_accepted = update.accepted_event_id.is_some();
    let stage = if is_accepted { v1::UpdateStage::Accepted } else { v1::UpdateStage::Admitted };
    v1::PendingUpdate {
        update_id: update.update_id.as_str().to_owned(),
        update_name: update.name.as_str().to_owned(),
        stage: stage.into(),
        accepted_event_id: update.accepted_event_id.0,
        since: Some(convert::timestamp_to_proto(update.since)),
    }
}
