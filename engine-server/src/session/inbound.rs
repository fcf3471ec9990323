//! What comes up a worker's stream.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::command::Command;
use engine_core::event::{WorkerMetadata, WorkerVersion};
use engine_core::execution::{ActivityRef, Input};
use engine_core::failure::Failure;
use engine_core::ids::{BuildId, DeploymentName, EventId, RunId, TaskQueueName};
use engine_core::limits::PAYLOAD_BYTES_MAX;
use engine_core::payload::Payload;
use engine_core::peer::PeerCommand;
use engine_core::search::SearchAttributes;
use engine_proto::convert::{self, ConvertError};
use engine_proto::token::{ActivityToken, WorkflowTaskToken};
use engine_proto::v1::{self, task_result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::deployment::registry as deployments;
use crate::hash::HashMap;
use crate::limits;
use crate::node::NodeContext;
use crate::queue::{SessionSpec, TaskId, TaskKind};
use crate::rpc::status::{invalid, to_status};
use crate::rpc::validate;
use crate::session::registry::{claim_input, release};
use crate::session::{InHand, Outbound, Session};
use crate::shard::request::{Claim, LocalKey, Request, RequestKind, Responder, ServerError, SessionResult};
use crate::store::NamespaceId;

/// How long the claims of a returning worker may take before it is welcomed without their answers.
const CLAIMS_WAIT: Duration = Duration::from_secs(2);

/// A session whose hello was accepted.
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    pub(crate) welcome: v1::Welcome,
    pub(crate) outbound: mpsc::UnboundedReceiver<Outbound>,
    pub(crate) grace: Duration,
}

/// Reads the hello, opens the session, and lets the worker claim what it still has in hand.
pub(crate) async fn open(
    context: &Arc<NodeContext>,
    messages: &mut Streaming<v1::WorkerMessage>,
) -> Result<(Opened, v1::WorkerMessage), Status> {
    let first = tokio::time::timeout(limits::HELLO_TIMEOUT, messages.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the worker did not say hello within 10 s"))??;
    let mut first = first.ok_or_else(|| Status::invalid_argument("the stream ended before hello"))?;
    let hello = first.hello.take().ok_or_else(|| invalid("hello", "must be in the first message of a stream"))?;
    let namespace =
        context.namespaces.id(&context.store, "hello.namespace", &hello.namespace).await.map_err(to_status)?;
    let (spec, grace) = check_hello(&hello, namespace, context.options.activity_grace)?;
    if let Some(version) = &spec.version {
        let shared = spec.queues.iter().filter(|queue| !spec.own_queues.contains(*queue));
        let shared = shared.map(TaskQueueName::from_trusted).collect();
        deployments::announce(context, namespace, version, shared).await.map_err(to_status)?;
    }
    let worker_id = spec.worker_id;
    let (sender, outbound) = mpsc::unbounded_channel();
    let (session, replaced, mut had) =
        context.sessions.open(&hello, worker_id, namespace, spec.version.clone(), sender);
    if let Some(old) = replaced {
        let pushes = context.queues.lock().close_session(old.id);
        pushes.into_iter().for_each(|push| context.deliver(push));
    }
    // What the code saw in a task that is not over may be lost; the task's result will tell.
    let in_doubt: HashSet<RunId> = hello
        .workflow_tasks_in_hand
        .iter()
        .filter_map(|token| WorkflowTaskToken::decode(token.as_slice()).ok())
        .map(|token| token.run_id)
        .collect();
    for run in &hello.cached_runs {
        if let Ok(run_id) = RunId::parse(&run.run_id)
            && !in_doubt.contains(&run_id)
        {
            session.set_cached(run_id, EventId(run.last_event_id));
        }
    }
    context.queues.lock().open_session(session.id, spec);
    let refused_tasks = claim_all(context, &session, &hello, &mut had).await;
    // What it had but does not name never reached it.
    for (id, task) in had {
        release(context, id, &task).await;
    }
    let welcome = v1::Welcome {
        refused_tasks,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        keepalive: Some(convert::duration_to_proto(limits::SESSION_KEEPALIVE)),
    };
    Ok((Opened { session, welcome, outbound, grace }, first))
}

fn check_hello(hello: &v1::Hello, namespace: NamespaceId, grace: Duration) -> Result<(SessionSpec, Duration), Status> {
    let worker_id = Uuid::parse_str(&hello.worker_id).map_err(|_| invalid("hello.worker_id", "must be a UUID"))?;
    validate::people_text("hello.identity", &hello.identity).map_err(to_status)?;
    if hello.task_queues.is_empty() || hello.task_queues.len() > limits::QUEUES_PER_WORKER_MAX {
        return Err(invalid("hello.task_queues", "must name 1 to 100 queues"));
    }
    for (index, queue) in hello.task_queues.iter().enumerate() {
        let field = format!("hello.task_queues[{index}]");
        TaskQueueName::parse(queue).map_err(|e| invalid(&field, &e.to_string()))?;
    }
    if let Some((index, _)) = hello.own_task_queues.iter().enumerate().find(|(_, own)| !hello.task_queues.contains(own))
    {
        return Err(invalid(&format!("hello.own_task_queues[{index}]"), "must be one of task_queues"));
    }
    let types = hello.workflow_types.len() + hello.activity_types.len();
    let has_types = types > 0 || hello.any_workflow_type || hello.any_activity_type;
    if !has_types || types > limits::TYPES_PER_WORKER_MAX {
        return Err(invalid(
            "hello.workflow_types",
            "a worker must have 1 to 10,000 workflow and activity types in all: register at least one",
        ));
    }
    let named = [("workflow_types", &hello.workflow_types), ("activity_types", &hello.activity_types)];
    for (field, names) in named {
        for (index, name) in names.iter().enumerate() {
            let field = || format!("hello.{field}[{index}]");
            engine_core::ids::WorkflowType::parse(name).map_err(|e| invalid(&field(), &e.to_string()))?;
        }
    }
    let grace = match hello.activity_grace {
        None => grace,
        Some(asked) => {
            let asked = convert::duration_from_proto("hello.activity_grace", asked).map_err(|e| to_status(e.into()))?;
            if asked > limits::ACTIVITY_GRACE_MAX {
                let limit = limits::ACTIVITY_GRACE_MAX.as_secs();
                return Err(invalid(
                    "hello.activity_grace",
                    &format!("is {} s; the limit is {limit} s", asked.as_secs()),
                ));
            }
            asked
        }
    };
    let spec = SessionSpec {
        worker_id,
        namespace,
        queues: hello.task_queues.iter().map(|name| Arc::from(name.as_str())).collect(),
        version: announced_version(hello.worker.as_ref()).map_err(|e| to_status(e.into()))?.map(Arc::new),
        own_queues: hello.own_task_queues.iter().map(|name| Arc::from(name.as_str())).collect(),
        workflow_types: hello.workflow_types.iter().cloned().collect::<HashSet<_>>(),
        activity_types: hello.activity_types.iter().cloned().collect::<HashSet<_>>(),
        any_workflow_type: hello.any_workflow_type,
        any_activity_type: hello.any_activity_type,
    };
    Ok((spec, grace))
}

/// The version that a worker announces; `None` if it has none.
fn announced_version(worker: Option<&v1::WorkerMetadata>) -> Result<Option<WorkerVersion>, ConvertError> {
    let Some(worker) = worker.filter(|worker| !worker.deployment_name.is_empty()) else { return Ok(None) };
    Ok(Some(WorkerVersion {
        deployment: convert::required_id(
            "hello.worker.deployment_name",
            &worker.deployment_name,
            DeploymentName::parse,
        )?,
        build_id: convert::required_id("hello.worker.build_id", &worker.build_id, BuildId::parse)?,
    }))
}

/// Claims what hello names. Returns the tokens of tasks that are not the worker's any more.
async fn claim_all(
    context: &NodeContext,
    session: &Arc<Session>,
    hello: &v1::Hello,
    had: &mut HashMap<TaskId, InHand>,
) -> Vec<Vec<u8>> {
    let workflow_tasks = hello.workflow_tasks_in_hand.iter().map(|token| (TaskKind::Workflow, token));
    let activities = hello.activity_tasks_in_hand.iter().map(|token| (TaskKind::Activity, token));
    let mut refused = Vec::new();
    let mut waiting = Vec::new();
    for (kind, token) in workflow_tasks.chain(activities) {
        let Ok((id, namespace, in_hand)) = parse_token(kind, token) else {
            refused.push(token.clone());
            continue;
        };
        had.remove(&id);
        let input = claim_input(&id, &in_hand, &session.identity);
        let (Some(input), true) = (input, namespace.home() == session.namespace) else {
            refused.push(token.clone());
            continue;
        };
        let (reply, answer) = oneshot::channel();
        let shard = context.shard_of(namespace, &in_hand.workflow_id);
        let key = LocalKey { namespace, workflow_id: Arc::clone(&in_hand.workflow_id) };
        let claim = Claim { task: id, input, in_hand, session: Arc::clone(session), reply: Some(reply) };
        context.send(Request { shard, key, kind: RequestKind::Claim(Box::new(claim)) }).await;
        waiting.push(async move { (token.clone(), answer.await) });
    }
    let deadline = tokio::time::Instant::now() + CLAIMS_WAIT;
    let mut answers: FuturesUnordered<_> = waiting.into_iter().collect();
    // A claim that is still waiting for its shard is neither granted nor refused: its result will tell.
    while let Ok(Some((token, answer))) = tokio::time::timeout_at(deadline, answers.next()).await {
        if let Ok(Err(error)) = answer
            && !matches!(error, ServerError::Unavailable { .. })
        {
            refused.push(token);
        }
    }
    refused
}

fn parse_token(kind: TaskKind, token: &[u8]) -> Result<(TaskId, NamespaceId, InHand), ConvertError> {
    let bytes = Bytes::copy_from_slice(token);
    match kind {
        TaskKind::Workflow => {
            let parsed = WorkflowTaskToken::decode(token)?;
            let namespace = NamespaceId(parsed.namespace_id);
            let id = TaskId { run_id: parsed.run_id, activity: EventId::NONE };
            let in_hand = InHand { token: bytes, namespace, workflow_id: parsed.workflow_id.as_str().into() };
            Ok((id, namespace, in_hand))
        }
        TaskKind::Activity => {
            let parsed = ActivityToken::decode(token)?;
            let namespace = NamespaceId(parsed.namespace_id);
            let id = TaskId { run_id: parsed.run_id, activity: parsed.task.scheduled_event_id };
            let in_hand = InHand { token: bytes, namespace, workflow_id: parsed.workflow_id.as_str().into() };
            Ok((id, namespace, in_hand))
        }
    }
}

/// Reads the stream until it ends.
pub(crate) async fn read(
    context: &Arc<NodeContext>,
    session: &Arc<Session>,
    first: v1::WorkerMessage,
    mut messages: Streaming<v1::WorkerMessage>,
) {
    let mut message = first;
    loop {
        take(context, session, message).await;
        match messages.message().await {
            Ok(Some(next)) => message = next,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(worker = %session.identity, %status, "a worker's stream broke");
                return;
            }
        }
    }
}

async fn take(context: &Arc<NodeContext>, session: &Arc<Session>, message: v1::WorkerMessage) {
    for run_id in message.evicted_run_ids {
        if let Ok(run_id) = RunId::parse(&run_id) {
            session.evicted(&run_id);
        }
    }
    // Before the results: the details that a failed attempt had not sent come with its failure.
    for heartbeat in message.heartbeats {
        take_heartbeat(context, session, heartbeat).await;
    }
    message.query_answers.into_iter().for_each(|answer| session.answered(answer));
    for result in message.results {
        take_result(context, session, result).await;
    }
    if let Some(credits) = message.credits {
        let pushes = {
            let mut queues = context.queues.lock();
            let workflow = credits.workflow_tasks.min(limits::CREDITS_MAX);
            let mut pushes = queues.grant(session.id, TaskKind::Workflow, workflow);
            let activity = credits.activity_tasks.min(limits::CREDITS_MAX);
            pushes.extend(queues.grant(session.id, TaskKind::Activity, activity));
            pushes
        };
        pushes.into_iter().for_each(|push| context.deliver(push));
    }
    if message.drain {
        let pushes = context.queues.lock().drain(session.id);
        pushes.into_iter().for_each(|push| context.deliver(push));
        session.drain();
    }
}

async fn take_result(context: &NodeContext, session: &Arc<Session>, result: v1::TaskResult) {
    let result_id = result.result_id;
    let result = match result {
        v1::TaskResult { result: Some(task_result::Result::ActivityDetached(detached)), .. } => {
            return detach(session, result_id, &detached.token);
        }
        other => other,
    };
    match parse_result(session, result) {
        Ok((request_namespace, workflow_id, task, cached_up_to, input))
            if request_namespace.home() == session.namespace =>
        {
            let input = with_known_attributes(context, request_namespace, input).await;
            let result = SessionResult { session: Arc::clone(session), result_id, task, cached_up_to };
            let responder = Responder::Result(Box::new(result));
            let kind = RequestKind::Input { run_id: Some(task.run_id), input: Box::new(input), responder };
            let shard = context.shard_of(request_namespace, &workflow_id);
            let key = LocalKey { namespace: request_namespace, workflow_id };
            context.send(Request { shard, key, kind }).await;
        }
        Ok(_) => refuse(session, result_id, "token: belongs to another namespace".to_owned()),
        Err(error) => refuse(session, result_id, error.to_string()),
    }
}

/// The same, or a failure of the workflow task if a command uses a search attribute that the namespace does not know.
async fn with_known_attributes(context: &NodeContext, namespace: NamespaceId, input: Input) -> Input {
    let problem = match &input {
        Input::CompleteWorkflowTask { commands, .. } => unknown_attribute(context, namespace, commands).await,
        _ => None,
    };
    match (problem, input) {
        (Some(problem), Input::CompleteWorkflowTask { token, identity, .. }) => Input::FailWorkflowTask {
            token,
            cause: engine_core::event::WorkflowTaskFailureCause::BadCommand,
            failure: Failure::server(problem, true),
            identity,
        },
        (_, input) => input,
    }
}

async fn unknown_attribute(context: &NodeContext, namespace: NamespaceId, commands: &[Command]) -> Option<String> {
    for (index, command) in commands.iter().enumerate() {
        let attributes: SearchAttributes = match command {
            Command::UpsertSearchAttributes { changes } => {
                changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
            }
            Command::Peer(peer) => match peer.as_ref() {
                PeerCommand::StartChild(child) => child.search_attributes.clone(),
                _ => continue,
            },
            _ => continue,
        };
        // If nobody can say now, the task is tried again.
        let checked = context.namespaces.check_attributes(&context.store, namespace, &attributes).await;
        let problem = match checked {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(error) => error.to_string(),
        };
        return Some(format!("commands[{index}] ({}): search_attributes: {problem}", command.name()));
    }
    None
}

/// The attempt goes on elsewhere: it is no longer in this worker's hand, and does not fail when the stream breaks.
fn detach(session: &Session, result_id: u64, token: &[u8]) {
    match parse_token(TaskKind::Activity, token) {
        Ok((id, _, _)) => {
            session.take_back(&id);
            session.send(Outbound::Ack(v1::ResultAck { result_id, ..Default::default() }));
        }
        Err(error) => refuse(session, result_id, error.to_string()),
    }
}

fn refuse(session: &Session, result_id: u64, refused: String) {
    let code = tonic::Code::InvalidArgument as i32;
    session.send(Outbound::Ack(v1::ResultAck { result_id, refused, code }));
}

type ParsedResult = (NamespaceId, Arc<str>, TaskId, Option<EventId>, Input);

fn parse_result(session: &Session, result: v1::TaskResult) -> Result<ParsedResult, ConvertError> {
    let result = result.result.ok_or_else(|| ConvertError::new("results.result", "must be set"))?;
    let identity = session.identity.clone();
    match result {
        task_result::Result::WorkflowTaskCompleted(done) => {
            let token = WorkflowTaskToken::decode(&done.token)?;
            let mut worker = WorkerMetadata { flags: done.flags, ..session.worker.clone() };
            if let Some(versioning) = &mut worker.versioning
                && let Some(behavior) = convert::versioning_behavior_from_proto(done.versioning_behavior)
            {
                versioning.behavior = behavior;
            }
            let cached = done.cached.then(|| token.task.scheduled_event_id.next());
            let content = convert::commands_from_proto(done.commands)
                .and_then(|commands| Ok((commands, convert::rejected_updates_from_proto(done.rejected_updates)?)));
            let input = match content {
                Ok((commands, rejected_updates)) => Input::CompleteWorkflowTask {
                    token: token.task,
                    commands,
                    rejected_updates,
                    worker,
                    force_new_task: done.force_new_task,
                    identity,
                },
                // Refused like any invalid command: the task fails, and describe shows why.
                Err(error) => Input::FailWorkflowTask {
                    token: token.task,
                    cause: engine_core::event::WorkflowTaskFailureCause::BadCommand,
                    failure: Failure::server(error.to_string(), true),
                    identity,
                },
            };
            Ok(workflow_task(token, cached, input))
        }
        task_result::Result::WorkflowTaskFailed(failed) => {
            let token = WorkflowTaskToken::decode(&failed.token)?;
            let cause = convert::workflow_task_failure_cause_from_proto("cause", failed.cause)?;
            let failure = convert::failure_from_outside(failed.failure.unwrap_or_default())?;
            let input = Input::FailWorkflowTask { token: token.task, cause, failure, identity };
            Ok(workflow_task(token, None, input))
        }
        task_result::Result::ActivityCompleted(done) => {
            let token = ActivityToken::decode(&done.token)?;
            let activity = ActivityRef::Token(token.task);
            let result = done.result.map(convert::payload_from_proto);
            Ok(activity_task(token, complete_or_fail(activity, result, identity)))
        }
        task_result::Result::ActivityFailed(failed) => {
            let token = ActivityToken::decode(&failed.token)?;
            let failure = convert::failure_from_outside(failed.failure.unwrap_or_default())?;
            let input = Input::FailActivity { activity: ActivityRef::Token(token.task), failure, identity };
            Ok(activity_task(token, input))
        }
        task_result::Result::ActivityCanceled(canceled) => {
            let token = ActivityToken::decode(&canceled.token)?;
            let details = canceled.details.map(convert::payload_from_proto).filter(|d| d.size() <= PAYLOAD_BYTES_MAX);
            let input = Input::CancelActivity { activity: ActivityRef::Token(token.task), details, identity };
            Ok(activity_task(token, input))
        }
        task_result::Result::ActivityDetached(_) => {
            Err(ConvertError::new("results.activity_detached", "is dealt with before"))
        }
    }
}

/// A result over the limit fails the activity for good, with a reason: refusing it would leave the activity open until it times out.
pub(crate) fn complete_or_fail(activity: ActivityRef, result: Option<Payload>, identity: String) -> Input {
    let size = result.as_ref().map_or(0, Payload::size);
    if size <= PAYLOAD_BYTES_MAX {
        return Input::CompleteActivity { activity, result, identity };
    }
    let message = format!(
        "the activity's result is {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes: return a reference to it"
    );
    let mut failure = Failure::application("PayloadTooLarge", message);
    if let engine_core::failure::FailureKind::Application { non_retryable, .. } = &mut failure.kind {
        *non_retryable = true;
    }
    Input::FailActivity { activity, failure, identity }
}

fn workflow_task(token: WorkflowTaskToken, cached: Option<EventId>, input: Input) -> ParsedResult {
    let id = TaskId { run_id: token.run_id, activity: EventId::NONE };
    (NamespaceId(token.namespace_id), token.workflow_id.as_str().into(), id, cached, input)
}

fn activity_task(token: ActivityToken, input: Input) -> ParsedResult {
    let id = TaskId { run_id: token.run_id, activity: token.task.scheduled_event_id };
    (NamespaceId(token.namespace_id), token.workflow_id.as_str().into(), id, None, input)
}

async fn take_heartbeat(context: &NodeContext, session: &Arc<Session>, heartbeat: v1::ActivityHeartbeat) {
    let Ok(token) = ActivityToken::decode(&heartbeat.token) else {
        return;
    };
    let namespace = NamespaceId(token.namespace_id);
    if namespace.home() != session.namespace {
        return;
    }
    let details = heartbeat.details.map(convert::payload_from_proto).filter(|d| d.size() <= PAYLOAD_BYTES_MAX);
    let input = Input::HeartbeatActivity { activity: ActivityRef::Token(token.task), details };
    let responder = Responder::Heartbeat { session: Arc::clone(session), token: heartbeat.token.into() };
    let kind = RequestKind::Input { run_id: Some(token.run_id), input: Box::new(input), responder };
    let workflow_id: Arc<str> = token.workflow_id.as_str().into();
    let shard = context.shard_of(namespace, &workflow_id);
    let key = LocalKey { namespace, workflow_id };
    context.send(Request { shard, key, kind }).await;
}
