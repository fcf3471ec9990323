//! Queries that wait until a run's code has seen what they may ask about.
//!
//! A query must see every signal that was acknowledged before it. If the run has no workflow task, its code has seen all of them.
//! Else the query waits for the completion of a task that was handed out after its *bound*: the last event of the history when
//! it came, or, if events were buffered then, the last event once they have their numbers. Nothing of this is stored: a query
//! that is lost with the shard's memory is asked again by its call. Of a paused run the code is asked as it stands: what came since
//! it last ran it will not have seen.

use std::sync::Arc;

use engine_core::event::{VersioningBehavior, WorkerVersion};
use engine_core::execution::{Execution, Fact, PendingTaskState, Transition};
use engine_core::ids::EventId;
use engine_core::search::SearchAttributes;
use tokio::sync::oneshot;

use crate::limits;
use crate::shard::request::{QueryPlace, QueryTurn, ServerError};
use crate::shard::run::{HotRun, listed_version};
use crate::store::ExecutionRow;

/// A query whose turn has come, or will not.
pub(crate) type Settled = (oneshot::Sender<Result<QueryPlace, ServerError>>, Result<QueryPlace, ServerError>);

/// Queries of one run, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bound: Bound,
    turn: oneshot::Sender<Result<QueryPlace, ServerError>>,
}

/// What the code must have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Event(EventId),
    /// All that is buffered.
    Buffered,
}

/// When the code of an open or just closed run can be asked.
pub(crate) fn turn(run: &mut HotRun) -> Result<QueryTurn, ServerError> {
    let place = place(run);
    if has_nothing_to_come(&run.execution) {
        return never_ran(&run.execution).map_or(Ok(QueryTurn::Now(place)), Err);
    }
    if let Some(hopeless) = hopeless(&run.execution) {
        return Err(hopeless);
    }
    let waiting = &mut run.queries.waiting;
    if waiting.len() >= limits::QUERIES_WAITING_MAX {
        waiting.retain(|query| !query.turn.is_closed());
    }
    if waiting.len() >= limits::QUERIES_WAITING_MAX {
        return Err(ServerError::Exhausted {
            message: format!("{} queries wait for the run's workflow task, which is the limit", waiting.len()),
            retry_after: std::time::Duration::from_secs(1),
        });
    }
    let bound = match run.execution.buffered_len() {
        0 => Bound::Event(last_event_id(&run.execution)),
        _ => Bound::Buffered,
    };
    let (sender, turn) = oneshot::channel();
    waiting.push(Waiting { bound, turn: sender });
    Ok(QueryTurn::Later { place, turn })
}

/// Where the code of a closed run can be asked.
pub(crate) fn place_of_closed(row: &ExecutionRow) -> QueryPlace {
    QueryPlace {
        pin: pin_of_closed(&row.search_attributes),
        run_id: row.key.run_id,
        workflow_type: row.workflow_type.clone(),
        task_queue: row.task_queue.clone(),
        last_event_id: EventId(row.history_length),
        seen_event_id: EventId::NONE,
        preferred_worker: None,
    }
}

/// The version that a closed run was pinned to, which its row says.
fn pin_of_closed(attributes: &SearchAttributes) -> Option<Arc<WorkerVersion>> {
    let (version, behavior) = listed_version(attributes)?;
    (behavior == VersioningBehavior::Pinned).then(|| Arc::new(version))
}

/// The queries whose turn has come with a transition that the run has absorbed, and those that cannot be answered any more.
pub(crate) fn settle(run: &mut HotRun, transition: &Transition) -> Vec<Settled> {
    if run.queries.waiting.is_empty() {
        return Vec::new();
    }
    let last = last_event_id(&run.execution);
    if transition.facts.iter().any(|fact| matches!(fact, Fact::BufferFlushed)) {
        for query in &mut run.queries.waiting {
            if query.bound == Bound::Buffered {
                query.bound = Bound::Event(last);
            }
        }
    }
    let place = place(run);
    let is_over = has_nothing_to_come(&run.execution);
    let seen = run.execution.previous_started_event_id();
    let hopeless = if is_over { None } else { hopeless(&run.execution) };
    let mut settled = Vec::new();
    for query in std::mem::take(&mut run.queries.waiting) {
        let has_seen = matches!(query.bound, Bound::Event(bound) if seen > bound);
        if query.turn.is_closed() {
            continue;
        } else if is_over || has_seen {
            let answer = never_ran(&run.execution).filter(|_| is_over).map_or(Ok(place.clone()), Err);
            settled.push((query.turn, answer));
        } else if let Some(hopeless) = &hopeless {
            settled.push((query.turn, Err(hopeless.clone())));
        } else {
            run.queries.waiting.push(query);
        }
    }
    settled
}

fn last_event_id(execution: &Execution) -> EventId {
    EventId(execution.next_event_id().0 - 1)
}

fn place(run: &HotRun) -> QueryPlace {
    let started = run.execution.started();
    let is_open = run.execution.close_status().is_none();
    QueryPlace {
        pin: run.execution.pinned_to().cloned(),
        run_id: run.run_id(),
        workflow_type: started.workflow_type.as_str().to_owned(),
        task_queue: started.task_queue.as_str().to_owned(),
        last_event_id: last_event_id(&run.execution),
        seen_event_id: if is_open { run.execution.previous_started_event_id() } else { EventId::NONE },
        preferred_worker: run.sticky_worker.filter(|_| is_open),
    }
}

/// Whether the code will see nothing more for now: it has seen all there is, the run is closed, or it is paused and no worker has its
/// workflow task.
fn has_nothing_to_come(execution: &Execution) -> bool {
    execution.close_status().is_some()
        || execution.pending_workflow_task().is_none()
        || (execution.paused().is_some() && !execution.is_workflow_task_in_hand())
}

/// Why the code of a paused run cannot be asked: it has never run.
fn never_ran(execution: &Execution) -> Option<ServerError> {
    let is_new = execution.paused().is_some() && execution.previous_started_event_id() == EventId::NONE;
    is_new.then(|| {
        ServerError::Unanswerable("the run was paused before its code ran for the first time: resume it".to_owned())
    })
}

/// Why a query should not wait for the run's workflow task.
fn hopeless(execution: &Execution) -> Option<ServerError> {
    let task = execution.pending_workflow_task()?;
    if let Some(failure) = task.last_failure
        && task.attempt > limits::QUERY_TASK_FAILURES
    {
        return Some(ServerError::Unanswerable(format!(
            "the run cannot be queried while its workflow task fails; it failed {} times, at last with: {}",
            task.attempt - 1,
            failure.message
        )));
    }
    let has_begun = execution.previous_started_event_id() != EventId::NONE;
    (task.state == PendingTaskState::BackingOff && !has_begun && task.attempt == 1).then(|| {
        ServerError::Unanswerable("the run cannot be queried before it begins: its start is delayed".to_owned())
    })
}
