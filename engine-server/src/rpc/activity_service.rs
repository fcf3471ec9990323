//! `ActivityService`: standalone activities. Each is a run of its own kind, so this checks requests and turns answers into messages,
//! and all else is as for workflows; the rows have the namespace number of [`NamespaceId::of_activities`](crate::store::NamespaceId::of_activities).

use std::sync::Arc;

use engine_core::event::{ActivityStarted, Event, EventKind, StandaloneActivity, WorkflowStarted};
use engine_core::execution::Input;
use engine_core::filter::Subject;
use engine_core::ids::{ActivityId, Namespace, RequestId, TaskQueueName, WorkflowId, WorkflowType};
use engine_core::limits::{STARTS_MAX, WORKFLOW_TASK_TIMEOUT_DEFAULT};
use engine_core::search::PAUSED;
use engine_core::time::Timestamp;
use engine_proto::v1::{self, activity_service_server::ActivityService};
use engine_proto::{EncodedHistory, convert};
use futures::stream::BoxStream;
use prost::Message;
use tonic::{Request as Call, Response, Status};

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::rpc::visibility::{self, PageOf};
use crate::rpc::workflow_service::{
    Answer, Target, conflict_policy, new_run_id, pending_activity, received, reuse_policy, send_start,
};
use crate::rpc::{again, history, result, validate};
use crate::shard::load;
use crate::shard::request::{Described, ServerError, StartReply, StartRequest};
use crate::store::{ExecutionRow, StoredRun};

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ActivityCalls {
    pub(crate) context: Arc<NodeContext>,
}

/// The standalone activity that a request names.
pub(crate) async fn target(
    context: &NodeContext,
    namespace: &str,
    activity_id: &str,
    run_id: &str,
) -> Result<Target, ServerError> {
    let namespace = context.namespaces.id(&context.store, "namespace", namespace).await?.of_activities();
    let activity_id = convert::required_id("activity_id", activity_id, ActivityId::parse)?;
    let run_id = convert::optional_run_id("run_id", run_id)?;
    let shard = context.shard_of(namespace, activity_id.as_str());
    Ok(Target { namespace, shard, workflow_id: activity_id.as_str().into(), run_id })
}

#[tonic::async_trait]
impl ActivityService for ActivityCalls {
    async fn start_activity(
        &self,
        call: Call<v1::StartActivityRequest>,
    ) -> Result<Response<v1::StartActivityResponse>, Status> {
        self.start(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn start_activities(
        &self,
        call: Call<v1::StartActivitiesRequest>,
    ) -> Result<Response<v1::StartActivitiesResponse>, Status> {
        self.start_many(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn describe_activity(
        &self,
        call: Call<v1::DescribeActivityRequest>,
    ) -> Result<Response<v1::DescribeActivityResponse>, Status> {
        self.describe(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn list_activities(
        &self,
        call: Call<v1::ListActivitiesRequest>,
    ) -> Result<Response<v1::ListActivitiesResponse>, Status> {
        self.list(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn count_activities(
        &self,
        call: Call<v1::CountActivitiesRequest>,
    ) -> Result<Response<v1::CountActivitiesResponse>, Status> {
        let request = call.into_inner();
        let count = async {
            let namespace = self.context.namespaces.get(&self.context.store, "namespace", &request.namespace).await?;
            visibility::count(&self.context, &namespace, Subject::Activities, &request.query).await
        };
        let (count, groups) = count.await.map_err(to_status)?;
        Ok(Response::new(v1::CountActivitiesResponse { count, groups }))
    }

    async fn get_activity_result(
        &self,
        call: Call<v1::GetActivityResultRequest>,
    ) -> Result<Response<v1::ActivityOutcome>, Status> {
        let request = call.into_inner();
        let wait = async {
            let target = target(&self.context, &request.namespace, &request.activity_id, &request.run_id).await?;
            let wait = validate::wait(request.wait, limits::RESULT_WAIT_MAX)?;
            result::wait(&self.context, target, None, wait.unwrap_or(limits::RESULT_WAIT_DEFAULT)).await
        };
        wait.await.map(|outcome| Response::new(outcome_of(outcome))).map_err(to_status)
    }

    async fn cancel_activity(
        &self,
        call: Call<v1::CancelActivityRequest>,
    ) -> Result<Response<v1::CancelActivityResponse>, Status> {
        self.cancel(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::CancelActivityResponse {}))
    }

    async fn terminate_activity(
        &self,
        call: Call<v1::TerminateActivityRequest>,
    ) -> Result<Response<v1::TerminateActivityResponse>, Status> {
        self.terminate(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::TerminateActivityResponse {}))
    }

    async fn run_activity_again(
        &self,
        call: Call<v1::RunActivityAgainRequest>,
    ) -> Result<Response<v1::RunActivityAgainResponse>, Status> {
        again::one(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    type RunActivitiesAgainStream = BoxStream<'static, Result<v1::RunActivitiesAgainProgress, Status>>;

    async fn run_activities_again(
        &self,
        call: Call<v1::RunActivitiesAgainRequest>,
    ) -> Result<Response<Self::RunActivitiesAgainStream>, Status> {
        again::all(&self.context, call.into_inner()).await.map(Response::new).map_err(to_status)
    }
}

impl ActivityCalls {
    async fn start(&self, request: v1::StartActivityRequest) -> Result<v1::StartActivityResponse, ServerError> {
        let wait = validate::wait(request.wait, limits::RESULT_WAIT_MAX)?.unwrap_or_default();
        let (mut target, answer) = self.begin_start(request, !wait.is_zero()).await?;
        let reply = received(answer.await)??;
        let mut response = start_response(&reply);
        if !wait.is_zero() {
            target.run_id = Some(reply.run_id);
            // Whatever becomes of the wait, the start took effect and is answered as such.
            let outcome = result::wait(&self.context, target, reply.news, wait).await.ok();
            let outcome = outcome.filter(|outcome| outcome.status() != v1::WorkflowStatus::Running);
            response.outcome = outcome.map(outcome_of);
        }
        Ok(response)
    }

    /// Each start by itself. All are with their lanes before the first answer is awaited, so that they share batches.
    async fn start_many(
        &self,
        request: v1::StartActivitiesRequest,
    ) -> Result<v1::StartActivitiesResponse, ServerError> {
        use v1::start_activity_outcome::Outcome;
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
                None => self.begin_start(start, false).await.map(|(_, answer)| answer),
            });
        }
        let mut outcomes = Vec::with_capacity(many);
        for start in begun {
            let reply = match start {
                Ok(answer) => received(answer.await).and_then(|reply| reply),
                Err(error) => Err(error),
            };
            let outcome = match reply {
                Ok(reply) => Outcome::Started(start_response(&reply)),
                Err(error) => {
                    let status = to_status(error);
                    Outcome::Refused(v1::StartWorkflowRefusal {
                        code: status.code().into(),
                        message: status.message().to_owned(),
                        status: status.details().to_vec(),
                    })
                }
            };
            outcomes.push(v1::StartActivityOutcome { outcome: Some(outcome) });
        }
        Ok(v1::StartActivitiesResponse { outcomes })
    }

    /// Checks a start and sends it to its lane, which answers once it is durable.
    async fn begin_start(
        &self,
        request: v1::StartActivityRequest,
        watch: bool,
    ) -> Result<(Target, Answer<StartReply>), ServerError> {
        let context = &self.context;
        let namespace = context.namespaces.id(&context.store, "namespace", &request.namespace).await?;
        let reuse = reuse_policy(request.id_reuse_policy)?;
        let conflict = conflict_policy(request.id_conflict_policy)?;
        let started = started(request, self.context.now())?;
        context
            .namespaces
            .check_attributes(&context.store, namespace, &started.search_attributes)
            .await?
            .map_err(|problem| ServerError::Invalid { field: "search_attributes".into(), problem })?;
        send_start(context, namespace.of_activities(), |reply| StartRequest {
            started,
            reuse,
            conflict,
            watch,
            with: None,
            again: None,
            reply,
        })
        .await
    }

    async fn describe(
        &self,
        request: v1::DescribeActivityRequest,
    ) -> Result<v1::DescribeActivityResponse, ServerError> {
        let target = target(&self.context, &request.namespace, &request.activity_id, &request.run_id).await?;
        match target.describe(&self.context).await? {
            Described::Open(description) => Ok(v1::DescribeActivityResponse {
                summary: Some(summary(&description.row)),
                pending: description.activities.into_iter().next().map(pending_activity),
                cancel_requested: description.cancel_requested,
                ..of_start(&description.started)
            }),
            Described::Closed(row) => self.describe_closed(*row).await,
        }
    }

    async fn describe_closed(&self, row: ExecutionRow) -> Result<v1::DescribeActivityResponse, ServerError> {
        let (store, key) = (Arc::clone(&self.context.store), row.key.clone());
        let stored = history::detached(async move { store.load_runs(&[key]).await }).await?;
        let missing = || ServerError::NotFound { kind: "run", name: row.key.run_id.to_string() };
        let stored = stored.into_iter().next().flatten().ok_or_else(missing)?;
        let mut response = v1::DescribeActivityResponse::default();
        let mut last: Option<ActivityStarted> = None;
        let mut cancel_requested = false;
        for event in events(&stored)? {
            match event.kind {
                EventKind::WorkflowStarted(started) => response = of_start(&started),
                EventKind::ActivityStarted(started) => last = Some(started),
                EventKind::WorkflowCancelRequested(_) => cancel_requested = true,
                _ if event.kind.close_status().is_some() => {
                    response.outcome = Some(outcome_of(result::outcome(row.key.run_id, event)));
                }
                _ => {}
            }
        }
        if let Some(last) = last {
            (response.last_attempt, response.last_worker_identity) = (last.attempt, last.identity);
        }
        Ok(v1::DescribeActivityResponse { summary: Some(summary(&row)), cancel_requested, ..response })
    }

    async fn list(&self, request: v1::ListActivitiesRequest) -> Result<v1::ListActivitiesResponse, ServerError> {
        let namespace = self.context.namespaces.get(&self.context.store, "namespace", &request.namespace).await?;
        let page = PageOf { query: &request.query, size: request.page_size, token: &request.page_token };
        let (rows, next_page_token) = visibility::list(&self.context, &namespace, Subject::Activities, page).await?;
        Ok(v1::ListActivitiesResponse { activities: rows.iter().map(summary).collect(), next_page_token })
    }

    async fn cancel(&self, request: v1::CancelActivityRequest) -> Result<(), ServerError> {
        let target = target(&self.context, &request.namespace, &request.activity_id, &request.run_id).await?;
        validate::people_text("reason", &request.reason)?;
        validate::people_text("identity", &request.identity)?;
        let input = Input::RequestCancel { reason: request.reason, identity: request.identity, request_id: None };
        match target.input(&self.context, input).await {
            // An earlier run of the id has ended: it has stopped.
            Err(ServerError::Closed { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn terminate(&self, request: v1::TerminateActivityRequest) -> Result<(), ServerError> {
        let target = target(&self.context, &request.namespace, &request.activity_id, &request.run_id).await?;
        validate::people_text("reason", &request.reason)?;
        validate::people_text("identity", &request.identity)?;
        let input = Input::Terminate { reason: request.reason, details: None, identity: request.identity };
        target.input(&self.context, input).await.map(drop)
    }
}

/// The first event of an activity's run.
fn started(request: v1::StartActivityRequest, now: Timestamp) -> Result<WorkflowStarted, ServerError> {
    validate::people_text("identity", &request.identity)?;
    let input = convert::payloads_from_proto(request.input);
    validate::payloads("input", &input)?;
    let memo = convert::memo_from_proto(request.memo);
    validate::memo(&memo)?;
    let retry_policy = convert::retry_policy_from_proto(request.retry_policy.unwrap_or_default())
        .map_err(|error| error.inside("retry_policy"))?;
    let timeouts = convert::activity_timeouts_from_proto(request.timeouts.unwrap_or_default())
        .map_err(|error| error.inside("timeouts"))?;
    let start_delay = convert::optional_duration_from_proto("start_delay", request.start_delay)?;
    let run_id = new_run_id(now);
    Ok(WorkflowStarted {
        namespace: convert::required_id("namespace", &request.namespace, Namespace::parse)?,
        workflow_id: convert::required_id("activity_id", &request.activity_id, WorkflowId::parse)?,
        run_id,
        workflow_type: convert::required_id("activity_type", &request.activity_type, WorkflowType::parse)?,
        task_queue: convert::required_id("task_queue", &request.task_queue, TaskQueueName::parse)?,
        input,
        execution_timeout: None,
        run_timeout: None,
        task_timeout: WORKFLOW_TASK_TIMEOUT_DEFAULT,
        execution_deadline: None,
        retry_policy: None,
        attempt: 1,
        continued_from: None,
        first_run_id: run_id,
        continued_failure: None,
        last_result: None,
        versioning: None,
        cron: None,
        first_task_backoff: start_delay.unwrap_or_default(),
        request_id: convert::optional_id("request_id", &request.request_id, RequestId::parse)?,
        identity: request.identity,
        memo,
        search_attributes: convert::search_attributes_from_proto(request.search_attributes)?,
        summary: request.summary,
        details: request.details,
        seen_request_ids: Vec::new(),
        reset: None,
        parent: None,
        activity: Some(Box::new(StandaloneActivity { timeouts, retry_policy })),
    })
}

fn start_response(reply: &StartReply) -> v1::StartActivityResponse {
    v1::StartActivityResponse { run_id: reply.run_id.to_string(), started: reply.started, outcome: None }
}

fn outcome_of(outcome: v1::GetWorkflowResultResponse) -> v1::ActivityOutcome {
    let v1::GetWorkflowResultResponse { run_id, status, result, failure } = outcome;
    v1::ActivityOutcome { run_id, status, result, failure }
}

/// The events of a run.
pub(super) fn events(stored: &StoredRun) -> Result<Vec<Event>, ServerError> {
    let corrupt = |error: &dyn std::fmt::Display| ServerError::Internal(error.to_string());
    let mut events = Vec::new();
    for row in &stored.history {
        let history = EncodedHistory::decode(row.events.clone()).map_err(|error| corrupt(&error))?;
        for bytes in &history.events {
            events.push(load::decode_event(bytes).map_err(|error| corrupt(&error))?);
        }
    }
    Ok(events)
}

fn summary(row: &ExecutionRow) -> v1::ActivitySummary {
    let mut search_attributes = convert::search_attributes_to_proto(&row.search_attributes);
    let paused = search_attributes.remove(PAUSED).is_some();
    v1::ActivitySummary {
        activity_id: row.key.workflow_id.clone(),
        run_id: row.key.run_id.to_string(),
        activity_type: row.workflow_type.clone(),
        task_queue: row.task_queue.clone(),
        status: convert::close_status_to_proto(row.status).into(),
        start_time: Some(convert::timestamp_to_proto(row.started_at)),
        close_time: row.closed_at.map(convert::timestamp_to_proto),
        search_attributes,
        paused,
    }
}

/// What the start says of an activity.
fn of_start(started: &WorkflowStarted) -> v1::DescribeActivityResponse {
    let activity = started.activity.as_deref();
    v1::DescribeActivityResponse {
        input: convert::payloads_to_proto(&started.input),
        timeouts: activity.map(|activity| convert::activity_timeouts_to_proto(&activity.timeouts)),
        retry_policy: activity.map(|activity| convert::retry_policy_to_proto(&activity.retry_policy)),
        memo: convert::memo_to_proto(&started.memo),
        text_summary: started.summary.clone(),
        details: started.details.clone(),
        identity: started.identity.clone(),
        continued_from_run_id: started.continued_from.map(|run_id| run_id.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}
