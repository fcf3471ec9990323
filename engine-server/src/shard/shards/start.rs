//! How a run begins: as the first of its workflow id for all that is known, or after a look at what the id has.

use engine_core::event::CloseStatus;
use engine_core::execution::{Execution, Input, LatestRun, StartDecision, Transition, decide_start};
use engine_core::ids::{EventId, RequestId, RunId};
use engine_core::time::Timestamp;

use crate::shard::gather::Release;
use crate::shard::request::{LocalKey, RequestKind, Responder, ServerError, StartReply, StartRequest};
use crate::shard::run::HotRun;
use crate::store::{ExecutionRow, RunKey, ShardId};

use super::Shards;
use super::requests::subscribe;
use super::shard::{Slot, Starting};

impl Shards {
    /// Starts a run of a workflow id whose latest run is known: the one in memory, else `latest`.
    pub(super) fn start(
        &mut self,
        id: ShardId,
        key: LocalKey,
        request: StartRequest,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let StartRequest { mut started, reuse, conflict, watch, with, again, reply } = request;
        let hot = self.shards.get(&id).and_then(|shard| match shard.slots.get(&key) {
            Some(Slot::Hot(run)) => Some(run),
            Some(Slot::Loading(_) | Slot::Starting(_)) | None => None,
        });
        let after = hot.map_or(0, |run| run.last_batch);
        let row = again.and_then(|_| hot.map(|run| run.row()).or_else(|| latest.cloned()));
        let latest = match hot {
            Some(run) => Some(LatestRun {
                run_id: run.run_id(),
                status: run.execution.close_status(),
                request_id: run.execution.started().request_id.clone(),
            }),
            None => latest.map(|row| LatestRun {
                run_id: row.key.run_id,
                status: row.status,
                request_id: (!row.request_id.is_empty()).then(|| RequestId::from_trusted(&row.request_id)),
            }),
        };
        if let Some(latest) = &latest
            && started.run_id <= latest.run_id
        {
            started.run_id = latest.run_id.successor(EventId::FIRST, now);
        }
        started.first_run_id = started.run_id;
        let run_id = started.run_id;
        match decide_start(latest.as_ref(), started.request_id.as_ref(), reuse, conflict) {
            StartDecision::Existing { run_id, started_by_this_request } => {
                // A repeat may find its run closed: what came with the start came with it then.
                let is_open = latest.as_ref().is_some_and(|latest| latest.status.is_none());
                let (sent, after) = match with.filter(|_| is_open) {
                    Some(input) => self.send_with_start(id, &key, *input, now),
                    None => (Ok(()), after),
                };
                let answer = sent.map(|()| StartReply { run_id, started: started_by_this_request, news: None });
                return self.gather.release_after(after, Release::Started(reply, answer));
            }
            StartDecision::AlreadyStarted { run_id, status } => {
                let error = already_started(&key, run_id, status);
                return self.gather.release_after(after, Release::Started(reply, Err(error)));
            }
            StartDecision::Start => {
                if let Some(repeated) = again
                    && latest.as_ref().is_none_or(|latest| latest.run_id != repeated)
                {
                    let error =
                        ServerError::Refused(format!("run {repeated} is not the latest of {:?}", key.workflow_id));
                    return self.gather.release_after(after, Release::Started(reply, Err(error)));
                }
            }
            StartDecision::TerminateAndStart(_) => {
                // Checked before the old run is touched: a refused start changes nothing.
                if let Err(rejection) = Execution::begin(started.clone(), now) {
                    return self.gather.release_after(after, Release::Started(reply, Err(rejection.into())));
                }
                let input = Input::Terminate {
                    reason: "a new run was started with the id-conflict policy TERMINATE_EXISTING".into(),
                    details: None,
                    identity: started.identity.clone(),
                };
                self.input(id, key.clone(), input, Responder::Nobody, now);
            }
        }
        match Execution::begin(started, now) {
            Ok(transition) => {
                self.begin(id, &key, transition, now);
                if let Some(row) = row {
                    self.list_as_continued(&row);
                }
                let shard = self.shards.get_mut(&id).filter(|_| watch);
                let news = shard.map(|shard| subscribe(&mut shard.subscriptions, run_id));
                // In the batch of the start: either both are durable, or neither is.
                let sent = with.map_or(Ok(()), |input| self.send_with_start(id, &key, *input, now).0);
                let answer = sent.map(|()| StartReply { run_id, started: true, news });
                self.gather.release_after(self.gather.number(), Release::Started(reply, answer));
            }
            Err(rejection) => self.gather.release_after(after, Release::Started(reply, Err(rejection.into()))),
        }
    }

    /// Another run takes the place of one that closed without completing: whoever lists what failed no longer finds it. In the batch of
    /// that run's start.
    fn list_as_continued(&mut self, row: &ExecutionRow) {
        if let (Some(status), Some(at)) = (row.status, row.closed_at)
            && status != CloseStatus::Completed
        {
            self.gather.close(&row.key, CloseStatus::ContinuedAsNew, at, row.history_length);
        }
    }

    /// Gives what came with a start to the run. Returns the batch after which that may be told.
    fn send_with_start(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        input: Input,
        now: Timestamp,
    ) -> (Result<(), ServerError>, u64) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(key)) else {
            return (Err(ServerError::unavailable("the shard was lost")), 0);
        };
        match run.execution.decide(input, now) {
            Ok(transition) => (Ok(()), self.absorb(id, key, transition, now)),
            Err(rejection) => (Err(rejection.into()), run.last_batch),
        }
    }

    /// Begins a run in the place of whatever the workflow id has in memory.
    pub(super) fn begin(&mut self, id: ShardId, key: &LocalKey, beginning: Transition, now: Timestamp) {
        self.write_beginning(id, key, &beginning, now);
        self.finish(id, key, beginning.effects, now);
    }

    /// Puts a new run into its slot, and its rows into the batch. Its effects are left to do.
    fn write_beginning(&mut self, id: ShardId, key: &LocalKey, beginning: &Transition, now: Timestamp) {
        let execution = Execution::replay(beginning.events.clone()).expect("a beginning replays");
        let run_key = RunKey {
            shard: id,
            namespace: key.namespace,
            workflow_id: key.workflow_id.as_ref().to_owned(),
            run_id: execution.started().run_id,
        };
        let run = HotRun::new(run_key, execution, now);
        self.gather.new_run(run.row());
        let shard = self.shards.get_mut(&id).expect("the caller found the shard");
        if let Some(Slot::Hot(old)) = shard.slots.insert(key.clone(), Slot::Hot(Box::new(run))) {
            self.cached_bytes -= old.counted_bytes;
            shard.unregister(key, &old);
        }
        // The state has its first events already: only what follows from them is left to do.
        self.write(id, key, beginning, now);
    }

    /// Starts a run of a workflow id that is not in memory, presuming that it has no run: the store finds out while it
    /// writes, which saves a round trip for each start.
    pub(super) fn start_unseen(&mut self, id: ShardId, key: LocalKey, mut request: StartRequest, now: Timestamp) {
        request.started.first_run_id = request.started.run_id;
        let run_id = request.started.run_id;
        let Ok(beginning) = Execution::begin(request.started.clone(), now) else {
            // Refused as it is; but what the workflow id has already may be the answer.
            return self.look_up(id, key, vec![RequestKind::Start(Box::new(request))]);
        };
        self.write_beginning(id, &key, &beginning, now);
        let shard = self.shards.get_mut(&id).expect("the run was put there");
        let Some(Slot::Hot(run)) = shard.slots.remove(&key) else {
            return;
        };
        let starting = Starting { run: *run, effects: beginning.effects, request, waiting: Vec::new() };
        shard.slots.insert(key.clone(), Slot::Starting(Box::new(starting)));
        self.gather.presume_first(run_id);
        self.gather.release_after(self.gather.number(), Release::Begun(id, key, run_id));
    }

    /// The batch with an unseen start is durable: the run begins, or the start is decided with what the store has.
    pub(crate) fn begun(&mut self, id: ShardId, key: LocalKey, run_id: RunId, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if !matches!(shard.slots.get(&key), Some(Slot::Starting(starting)) if starting.run.run_id() == run_id) {
            return;
        }
        let Some(Slot::Starting(starting)) = shard.slots.remove(&key) else {
            return;
        };
        let Starting { run, effects, request, mut waiting } = *starting;
        if self.left_out.contains(&run_id) {
            waiting.insert(0, RequestKind::Start(Box::new(request)));
            return self.look_up(id, key, waiting);
        }
        shard.slots.insert(key.clone(), Slot::Hot(Box::new(run)));
        let news = request.watch.then(|| subscribe(&mut shard.subscriptions, run_id));
        self.finish(id, &key, effects, now);
        self.gather.release_after(0, Release::Started(request.reply, Ok(StartReply { run_id, started: true, news })));
        for kind in waiting {
            self.handle_hot(id, key.clone(), kind, now);
        }
    }
}

fn already_started(key: &LocalKey, run_id: RunId, status: Option<CloseStatus>) -> ServerError {
    let (id, noun) = (&key.workflow_id, key.noun());
    let message = match status {
        None => format!(
            "{noun} {id:?} is already running as run {run_id}; use its handle, or set id_conflict_policy to USE_EXISTING or TERMINATE_EXISTING"
        ),
        Some(status) => format!(
            "{noun} {id:?} has a closed run {run_id} ({status:?}) that id_reuse_policy protects; choose another {noun} id or policy"
        ),
    };
    ServerError::AlreadyStarted { run_id, message }
}
