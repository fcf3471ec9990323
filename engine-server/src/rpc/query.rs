//! Asking a run's code: when it may be asked, who can answer, and what the answer means.
//!
//! The call itself keeps the query: nothing is stored, and whatever is lost on the way (the shard's memory, a worker's stream) is
//! asked again until `wait` is over.

use std::sync::Arc;
use std::time::Duration;

use engine_core::ids::QueryName;
use engine_core::limits::PAYLOAD_BYTES_MAX;
use engine_proto::convert;
use engine_proto::v1::{self, query_answer::Outcome};
use tokio::time::Instant;

use crate::limits;
use crate::node::NodeContext;
use crate::queue::{QueueKey, TaskKind};
use crate::rpc::validate;
use crate::rpc::workflow_service::Target;
use crate::session::{NotAsked, Session};
use crate::shard::request::{QueryPlace, QueryTurn, ServerError};

/// Pause before a query that was lost is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What a query waits for, for who waited in vain.
#[derive(Debug, Clone, Copy)]
enum WaitsFor {
    Shard,
    WorkflowTask,
    Answer,
}

pub(crate) async fn query(
    context: &Arc<NodeContext>,
    request: v1::QueryWorkflowRequest,
) -> Result<v1::QueryWorkflowResponse, ServerError> {
    let target = Target::parse(context, &request.namespace, request.execution).await?;
    let name = convert::required_id("query_name", &request.query_name, QueryName::parse)?;
    let input = convert::payloads_from_proto(request.input);
    validate::payloads("input", &input)?;
    let wait = validate::wait(request.wait, limits::QUERY_WAIT_MAX)?.unwrap_or(limits::QUERY_WAIT_DEFAULT);
    let task = v1::QueryTask {
        workflow_id: target.workflow_id.as_ref().to_owned(),
        query_name: name.as_str().to_owned(),
        input: convert::payloads_to_proto(&input),
        ..Default::default()
    };
    let mut waits_for = WaitsFor::Shard;
    let stopping = context.stopping();
    let asking = ask(context, &target, task, &mut waits_for);
    let answered = tokio::select! {
        answered = tokio::time::timeout_at(Instant::now() + wait, asking) => answered,
        () = stopping.cancelled() => return Err(ServerError::unavailable("the server is stopping")),
    };
    answered.unwrap_or_else(|_| {
        let why = match waits_for {
            WaitsFor::Shard => "the run is not ready yet",
            WaitsFor::WorkflowTask => "the run's workflow task, which has to end first, has not ended",
            WaitsFor::Answer => "the worker that was asked has not answered",
        };
        Err(ServerError::Overdue(format!("query {:?} was not answered within {wait:?}: {why}", name.as_str())))
    })
}

async fn ask(
    context: &Arc<NodeContext>,
    target: &Target,
    task: v1::QueryTask,
    waits_for: &mut WaitsFor,
) -> Result<v1::QueryWorkflowResponse, ServerError> {
    loop {
        *waits_for = WaitsFor::Shard;
        let place = match target.query_turn(context).await? {
            QueryTurn::Now(place) => place,
            QueryTurn::Later { place, turn } => {
                // Without a worker the task would not end either.
                workers(context, target, &place)?;
                *waits_for = WaitsFor::WorkflowTask;
                match turn.await {
                    Ok(turn) => turn?,
                    // The shard lost its memory.
                    Err(_) => {
                        tokio::time::sleep(ASK_AGAIN).await;
                        continue;
                    }
                }
            }
        };
        let task = v1::QueryTask {
            run_id: place.run_id.to_string(),
            workflow_type: place.workflow_type.clone(),
            last_event_id: place.last_event_id.0,
            seen_event_id: place.seen_event_id.0,
            ..task.clone()
        };
        *waits_for = WaitsFor::Answer;
        let mut busy = 0;
        let mut asked = None;
        for worker in workers(context, target, &place)? {
            match worker.ask(task.clone()) {
                Ok(answer) => {
                    asked = Some(answer);
                    break;
                }
                Err(NotAsked::Busy) => busy += 1,
                Err(NotAsked::Gone) => {}
            }
        }
        match asked {
            Some(answer) => {
                if let Ok(answer) = answer.await {
                    return response(place, answer);
                }
            }
            None if busy > 0 => {
                let limit = limits::QUERIES_IN_HAND_MAX;
                return Err(ServerError::Exhausted {
                    message: format!("each worker that could answer has {limit} queries in hand"),
                    retry_after: Duration::from_secs(1),
                });
            }
            None => {}
        }
        // The stream broke, or was about to: another worker, or the same one after it came back.
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Those that can be asked, in order of preference. An error if there is none.
fn workers(context: &NodeContext, target: &Target, place: &QueryPlace) -> Result<Vec<Arc<Session>>, ServerError> {
    let (namespace, name) = (target.namespace, Arc::from(place.task_queue.as_str()));
    let mut queue = QueueKey { namespace, name, kind: TaskKind::Workflow, version: None };
    let (ids, is_served) = {
        let queues = context.queues.lock();
        queue.version = queues.target(&queue, place.pin.as_ref(), &target.workflow_id);
        (queues.sessions_with(&queue, &place.workflow_type, place.preferred_worker), queues.is_served(&queue))
    };
    let workers: Vec<Arc<Session>> = ids.into_iter().filter_map(|id| context.sessions.get(id)).collect();
    if !workers.is_empty() {
        return Ok(workers);
    }
    let QueryPlace { task_queue, workflow_type, .. } = place;
    let of_version = queue.version.map(|version| format!(" and {version}")).unwrap_or_default();
    Err(ServerError::Unanswerable(if is_served {
        format!(
            "no worker of task queue {task_queue:?}{of_version} has the workflow type {workflow_type:?}, so nobody can answer"
        )
    } else {
        format!(
            "no worker of task queue {task_queue:?}{of_version} is connected, so nobody can answer; published state needs none"
        )
    }))
}

fn response(place: QueryPlace, answer: v1::QueryAnswer) -> Result<v1::QueryWorkflowResponse, ServerError> {
    let run_id = place.run_id.to_string();
    match answer.outcome {
        Some(Outcome::Result(result)) => {
            let result = result.value.map(convert::payload_from_proto);
            let size = result.as_ref().map_or(0, engine_core::payload::Payload::size);
            if size > PAYLOAD_BYTES_MAX {
                return Err(ServerError::Unanswerable(format!(
                    "the answer is {size} bytes; the limit is {PAYLOAD_BYTES_MAX} bytes"
                )));
            }
            let result = result.as_ref().map(convert::payload_to_proto);
            Ok(v1::QueryWorkflowResponse { run_id, result, failure: None })
        }
        Some(Outcome::Failure(failure)) => {
            let failure = convert::failure_from_outside(failure)?;
            let failure = Some(convert::failure_to_proto(&failure));
            Ok(v1::QueryWorkflowResponse { run_id, result: None, failure })
        }
        Some(Outcome::Refused(problem)) => Err(ServerError::Invalid { field: "query_name".into(), problem }),
        Some(Outcome::Unanswerable(problem)) => Err(ServerError::Unanswerable(problem)),
        None => Err(ServerError::Unanswerable("the worker's answer says nothing".into())),
    }
}
