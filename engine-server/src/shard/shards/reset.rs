//! How a run begins with the history of another one, up to a point.
//!
//! The call has read the base run's history from the store; here, where nothing can come in between, it is made whole with what
//! came since, the base run is terminated if it is open, and the new run begins: all of it in one batch.

use engine_core::event::{Event, ResetTo};
use engine_core::execution::{Input, Reply, Transition};
use engine_core::ids::{EventId, RequestId, RunId};
use engine_core::time::Timestamp;

use crate::shard::gather::Release;
use crate::shard::load;
use crate::shard::request::{LocalKey, ResetReply, ResetRequest, Responder, ServerError};
use crate::shard::run::HotRun;
use crate::store::{ExecutionRow, ShardId};

use super::Shards;
use super::shard::Slot;

impl Shards {
    /// Resets the latest run of a workflow id: the one in memory, else `latest`.
    pub(super) fn reset(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        request: ResetRequest,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let ResetRequest { base, history, reset, reply } = request;
        let hot = self.hot(id, key);
        let after = hot.map_or(0, |run| run.last_batch);
        let (run_id, request_id) = match (hot, latest) {
            (Some(run), _) => (run.run_id(), run.execution.started().request_id.clone()),
            (None, Some(row)) => {
                let request_id = (!row.request_id.is_empty()).then(|| RequestId::from_trusted(&row.request_id));
                (row.key.run_id, request_id)
            }
            (None, None) => return,
        };
        if reset.request_id.is_some() && reset.request_id == request_id {
            let answer = Ok(ResetReply { run_id, forked_at: EventId::NONE });
            return self.gather.release_after(after, Release::Reset(reply, answer));
        }
        let answer = if run_id == base {
            whole(hot, history).and_then(|history| Ok((reset.cut(&history)?, history)))
        } else {
            Err(ServerError::Conflict(format!(
                "run {base} is not the latest run of the workflow any more: it is {run_id}"
            )))
        };
        let (cut, mut history) = match answer {
            Ok(answer) => answer,
            Err(error) => return self.gather.release_after(after, Release::Reset(reply, Err(error))),
        };
        let new_run_id = run_id.successor(cut.forked_at, now);
        let to = ResetTo { run_id: new_run_id, forked_at: cut.forked_at };
        let is_open = hot.is_some_and(|run| run.execution.close_status().is_none());
        let end = Input::GoOnElsewhere { reason: reset.reason.clone(), identity: reset.identity.clone(), to };
        if let Some(run) = hot.filter(|_| is_open) {
            match run.execution.decide(end.clone(), now) {
                Ok(transition) => history.extend(transition.events),
                Err(rejection) => {
                    return self.gather.release_after(after, Release::Reset(reply, Err(rejection.into())));
                }
            }
        }
        // All that can be refused is refused before the base run is touched.
        let events = match reset.begin(cut, &history, new_run_id, now) {
            Ok(events) => events,
            Err(rejection) => {
                return self.gather.release_after(after, Release::Reset(reply, Err(rejection.into())));
            }
        };
        if is_open {
            self.input(id, key.clone(), end, Responder::Nobody, now);
        }
        let (facts, progress, effects) = (Vec::new(), Vec::new(), Vec::new());
        self.begin(id, key, Transition { facts, events, progress, effects, reply: Reply::Done }, now);
        let effects = self.hot(id, key).map(|run| run.execution.begun_by_reset()).unwrap_or_default();
        self.finish(id, key, effects, now);
        let answer = Ok(ResetReply { run_id: new_run_id, forked_at: cut.forked_at });
        self.gather.release_after(self.gather.number(), Release::Reset(reply, answer));
    }

    fn hot(&self, id: ShardId, key: &LocalKey) -> Option<&HotRun> {
        match self.shards.get(&id)?.slots.get(key)? {
            Slot::Hot(run) => Some(run),
            Slot::Loading(_) | Slot::Starting(_) => None,
        }
    }
}

/// The history with what the run in memory has behind it. A conflict if too much came since it was read.
fn whole(hot: Option<&HotRun>, mut history: Vec<Event>) -> Result<Vec<Event>, ServerError> {
    let Some(run) = hot else { return Ok(history) };
    let expected = history.last().map_or(EventId::FIRST, |last| last.id.next());
    let next = run.execution.next_event_id();
    let (first, encoded) = run.tail.since(expected, next);
    if first != expected {
        return Err(ServerError::Conflict(format!("run {} went on while it was read", run_id(run))));
    }
    for bytes in encoded {
        history.push(load::decode_event(&bytes).map_err(|corrupt| ServerError::Internal(corrupt.to_string()))?);
    }
    Ok(history)
}

fn run_id(run: &HotRun) -> RunId {
    run.run_id()
}
