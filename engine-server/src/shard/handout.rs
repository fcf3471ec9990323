//! Tasks on their way: from a run to its queue, from the queue to a worker, and back.

use std::sync::Arc;

use bytes::Bytes;
use engine_core::event::Event;
use engine_core::execution::{ActivityRef, Effect, Input, Reply, StartedActivity, StartedWorkflowTask};
use engine_core::ids::{EventId, RunId};
use engine_proto::token::{ActivityToken, WorkflowTaskToken};
use engine_proto::{EncodedHistory, convert, v1};

use crate::queue::{QueueKey, QueuedTask, TaskId, TaskKind};
use crate::session::{InHand, Outbound, Session};
use crate::shard::gather::{HandOut, Release};
use crate::shard::messages::Errand;
use crate::shard::request::LocalKey;
use crate::shard::run::HotRun;
use crate::store::ShardId;

/// Why an activity should stop.
pub(crate) use v1::ActivityStopReason as StopReason;

/// The message that tells a worker to stop an activity.
pub(crate) fn stop(token: Bytes, reason: StopReason) -> Outbound {
    Outbound::Stop(v1::ActivityStop { token: token.to_vec(), reason: reason.into() })
}

/// The task that an input ends, so that its holder has it no more: the activity, or [`EventId::NONE`] for the workflow task.
pub(crate) fn held_task(input: &Input) -> Option<EventId> {
    match input {
        Input::CompleteWorkflowTask { .. } | Input::FailWorkflowTask { .. } | Input::ReleaseWorkflowTask { .. } => {
            Some(EventId::NONE)
        }
        Input::CompleteActivity { activity: ActivityRef::Token(token), .. }
        | Input::FailActivity { activity: ActivityRef::Token(token), .. }
        | Input::CancelActivity { activity: ActivityRef::Token(token), .. }
        | Input::LoseActivity { token }
        | Input::ReleaseActivity { token } => Some(token.scheduled_event_id),
        Input::CompleteActivity { activity: ActivityRef::Id(_), .. }
        | Input::FailActivity { activity: ActivityRef::Id(_), .. }
        | Input::CancelActivity { activity: ActivityRef::Id(_), .. }
        | Input::Signal { .. }
        | Input::Update(_)
        | Input::RequestCancel { .. }
        | Input::GoOnElsewhere { .. }
        | Input::Pause(_)
        | Input::Resume(_)
        | Input::Move(_)
        | Input::PeerAnswered { .. }
        | Input::ChildClosed { .. }
        | Input::Terminate { .. }
        | Input::StartWorkflowTask { .. }
        | Input::ClaimWorkflowTask { .. }
        | Input::StartActivity { .. }
        | Input::ClaimActivity { .. }
        | Input::HeartbeatActivity { .. }
        | Input::OperateActivity { .. }
        | Input::EndGrace
        | Input::RecordInHand
        | Input::DeadlinePassed => None,
    }
}

/// The input that starts a task for a session.
pub(crate) fn start_input(task: &QueuedTask, session: &Session, history_size_bytes: u64) -> Input {
    let identity = session.identity.clone();
    match task.queue.kind {
        TaskKind::Workflow => Input::StartWorkflowTask { identity, history_size_bytes },
        TaskKind::Activity => {
            Input::StartActivity { scheduled_event_id: task.id.activity, attempt: task.attempt, identity }
        }
    }
}

/// What an effect lets go. [`Effect::StartRun`] is the caller's.
pub(crate) fn release(run: &mut HotRun, shard: ShardId, key: &LocalKey, effect: Effect) -> Vec<Release> {
    let run_id = run.run_id();
    let task_id = |activity| TaskId { run_id, activity };
    match effect {
        Effect::OfferWorkflowTask { task_queue, attempt } => vec![Release::Offer(QueuedTask {
            id: task_id(EventId::NONE),
            shard,
            namespace: key.namespace,
            workflow_id: Arc::clone(&key.workflow_id),
            attempt,
            type_name: run.execution.started().workflow_type.as_str().into(),
            queue: QueueKey {
                namespace: key.namespace,
                name: task_queue.as_str().into(),
                kind: TaskKind::Workflow,
                version: None,
            },
            preferred_worker: run.sticky_worker,
            pin: run.execution.pinned_to().cloned(),
        })],
        Effect::WithdrawWorkflowTask => {
            let mut releases = vec![Release::Withdraw(task_id(EventId::NONE))];
            if let Some(holder) = run.holders.remove(&EventId::NONE) {
                holder.session.take_back(&task_id(EventId::NONE));
                releases.push(Release::Send(holder.session, Outbound::Evict(run_id)));
            }
            releases
        }
        Effect::OfferActivity { scheduled_event_id, attempt, task_queue } => {
            let Some(type_name) = run.execution.activity_type(scheduled_event_id) else {
                return Vec::new();
            };
            vec![Release::Offer(QueuedTask {
                id: task_id(scheduled_event_id),
                shard,
                namespace: key.namespace,
                workflow_id: Arc::clone(&key.workflow_id),
                attempt,
                type_name: type_name.as_str().into(),
                queue: QueueKey {
                    namespace: key.namespace.home(),
                    name: task_queue.as_str().into(),
                    kind: TaskKind::Activity,
                    version: None,
                },
                preferred_worker: None,
                pin: run.execution.pinned_to().cloned(),
            })]
        }
        Effect::WithdrawActivity { scheduled_event_id, attempt: _ } => {
            let mut releases = vec![Release::Withdraw(task_id(scheduled_event_id))];
            if let Some(holder) = run.holders.remove(&scheduled_event_id) {
                holder.session.take_back(&task_id(scheduled_event_id));
                releases.push(Release::Send(holder.session, stop(holder.token, StopReason::NotWanted)));
            }
            releases
        }
        Effect::CancelActivity { scheduled_event_id, attempt: _ } => {
            ask_to_stop(run, scheduled_event_id, StopReason::CancelRequested)
        }
        Effect::PauseActivity { scheduled_event_id, attempt: _ } => {
            ask_to_stop(run, scheduled_event_id, StopReason::Paused)
        }
        Effect::Closed(_) => vec![Release::Forget(shard, key.clone(), run_id)],
        Effect::UpdateAnswered { update_id, answer } => {
            vec![Release::UpdateNews { shard, run_id, update_id, answer }]
        }
        // A run that closed in the same transition owes it as a closed run does.
        Effect::Deliver { initiated_event_id } if run.execution.close_status().is_none() => {
            let run = (shard, key.clone(), run_id);
            vec![Release::Deliver(Errand { run, initiated_event_id, parting: false, failures: 0 })]
        }
        Effect::Deliver { .. } | Effect::StartRun(_) => Vec::new(),
    }
}

/// The message that tells a worker that the news of an early task is durable.
pub(crate) fn durable(run_id: RunId, token: &Bytes) -> Outbound {
    Outbound::Durable(v1::DurableTask { run_id: run_id.to_string(), token: token.to_vec() })
}

/// Tells the worker that has the attempt to stop it.
fn ask_to_stop(run: &HotRun, scheduled_event_id: EventId, reason: StopReason) -> Vec<Release> {
    let holder = run.holders.get(&scheduled_event_id).into_iter();
    holder.map(|holder| Release::Send(Arc::clone(&holder.session), stop(holder.token.clone(), reason))).collect()
}

/// The message that hands a started task to a worker. `None` if the rules did not start it. `is_early`: what happened to the run
/// is not durable yet.
pub(crate) fn message(
    run: &HotRun,
    task: &QueuedTask,
    session: &Arc<Session>,
    reply: &Reply,
    is_early: bool,
) -> Option<HandOut> {
    let (token, message) = match reply {
        Reply::WorkflowTask(started) => workflow_task(run, task, session, started, is_early),
        Reply::ActivityTask(started) => activity_task(run, task, started),
        Reply::Done
        | Reply::Unchanged
        | Reply::Heartbeat { .. }
        | Reply::Update(_)
        | Reply::WorkflowTaskDropped
        | Reply::WorkflowTaskRefused { .. } => return None,
    };
    let in_hand = InHand { token, namespace: task.namespace, workflow_id: Arc::clone(&task.workflow_id) };
    Some(HandOut { session: Arc::clone(session), task: task.clone(), in_hand, message })
}

fn workflow_task(
    run: &HotRun,
    task: &QueuedTask,
    session: &Session,
    started: &StartedWorkflowTask,
    is_early: bool,
) -> (Bytes, Outbound) {
    let run_id = run.run_id();
    let token = WorkflowTaskToken {
        namespace_id: run.key.namespace.0,
        workflow_id: run.execution.started().workflow_id.clone(),
        run_id,
        task: started.token,
    }
    .encode();
    let from = session.cached_up_to(&run_id).unwrap_or(EventId::NONE).next();
    let (first, mut events) = run.tail.since(from, run.execution.next_event_id());
    events.extend(started.events.iter().map(|event: &Event| convert::encode_event(event)));
    let message = v1::WorkflowTask {
        token: token.to_vec(),
        workflow_id: run.key.workflow_id.clone(),
        run_id: run_id.to_string(),
        workflow_type: task.type_name.as_ref().to_owned(),
        task_queue: task.queue.name.as_ref().to_owned(),
        attempt: started.token.attempt,
        first_event_id: first.0,
        history: Some(EncodedHistory { events }),
        start_to_close: Some(convert::duration_to_proto(started.start_to_close)),
        updates: started.updates.iter().map(convert::update_request_to_proto).collect(),
        early: is_early,
    };
    (token, Outbound::WorkflowTask(Box::new(message)))
}

fn activity_task(run: &HotRun, task: &QueuedTask, started: &StartedActivity) -> (Bytes, Outbound) {
    let token = ActivityToken {
        namespace_id: run.key.namespace.0,
        workflow_id: run.execution.started().workflow_id.clone(),
        run_id: run.run_id(),
        task: started.token,
    }
    .encode();
    let message = v1::ActivityTask {
        token: token.to_vec(),
        execution: Some(v1::WorkflowExecution {
            workflow_id: run.key.workflow_id.clone(),
            run_id: run.run_id().to_string(),
        }),
        workflow_type: match run.execution.is_standalone_activity() {
            true => String::new(),
            false => run.execution.started().workflow_type.as_str().to_owned(),
        },
        activity_id: started.activity_id.as_str().to_owned(),
        activity_type: started.activity_type.as_str().to_owned(),
        task_queue: task.queue.name.as_ref().to_owned(),
        input: convert::payloads_to_proto(&started.input),
        attempt: started.token.attempt,
        scheduled_time: Some(convert::timestamp_to_proto(started.scheduled_at)),
        started_time: Some(convert::timestamp_to_proto(started.token.started_at)),
        deadline: Some(convert::timestamp_to_proto(started.deadline)),
        timeouts: Some(convert::activity_timeouts_to_proto(&started.timeouts)),
        heartbeat_details: started.heartbeat_details.as_ref().map(convert::payload_to_proto),
        last_failure: started.last_failure.as_ref().map(convert::failure_to_proto),
        retry_policy: Some(convert::retry_policy_to_proto(&started.retry_policy)),
    };
    (token, Outbound::ActivityTask(Box::new(message)))
}
