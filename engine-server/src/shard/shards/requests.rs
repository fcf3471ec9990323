//! What each kind of request does.

use std::collections::HashMap;
use std::sync::Arc;

use engine_core::event::WorkflowStarted;
use engine_core::execution::{Execution, Input, Rejection, Reply};
use engine_core::execution::{LatestRun, StartDecision, decide_start};
use engine_core::ids::{EventId, RequestId, RunId};
use engine_core::time::Timestamp;
use tokio::sync::watch;

use crate::queue::QueuedTask;
use crate::session::Session;
use crate::shard::gather::Release;
use crate::shard::handout;
use crate::shard::request::{
    Claim, Described, Description, LocalKey, News, Replied, RequestKind, Responder, ServerError, StartReply,
    StartRequest, Subscribed,
};
use crate::shard::run::{Holder, HotRun};
use crate::store::{ExecutionRow, RunKey, ShardId};

use super::Shards;
use super::shard::Slot;

impl Shards {
    pub(super) fn handle_hot(&mut self, id: ShardId, key: LocalKey, kind: RequestKind, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(&key) else {
            return;
        };
        match kind {
            RequestKind::Start(start) => self.start(id, key, *start, None, now),
            RequestKind::Input { run_id, input, responder } => {
                if let Err(error) = check_current(run, run_id) {
                    return self.gather.release_after(run.last_batch, Release::Reply(responder, Err(error)));
                }
                self.input(id, key, *input, responder, now);
            }
            RequestKind::HandOut { task, session } => {
                if run.run_id() != task.id.run_id {
                    return self.gather.release_after(0, Release::Refund(session, task.queue.kind));
                }
                self.hand_out(id, key, task, session, now);
            }
            RequestKind::Claim(claim) => {
                if let Err(error) = check_current(run, Some(claim.task.run_id)) {
                    let after = run.last_batch;
                    return self.gather.release_after(after, Release::Claimed(claim, Err(error)));
                }
                self.claim(id, key, claim, now);
            }
            RequestKind::Describe { run_id, reply } => {
                let answer = check_current(run, run_id).map(|()| describe(run));
                self.gather.release_after(run.last_batch, Release::Described(reply, answer));
            }
            RequestKind::Subscribe { run_id, reply } => {
                let answer = check_current(run, run_id).map(|()| {
                    if run.execution.close_status().is_some() {
                        Subscribed::Closed(Box::new(run.row()))
                    } else {
                        let run_id = run.run_id();
                        Subscribed::Open { run_id, news: subscribe(&mut shard.subscriptions, run_id) }
                    }
                });
                let after = run.last_batch;
                self.gather.release_after(after, Release::Subscribed(reply, answer));
            }
        }
    }

    /// What a request means to a workflow id whose latest run is closed, or that has none.
    pub(super) fn handle_absent(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        kind: RequestKind,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let not_found = || ServerError::NotFound { kind: "workflow", name: key.workflow_id.as_ref().to_owned() };
        let closed_row = |run_id: Option<RunId>| match latest {
            None => Err(not_found()),
            Some(row) => match run_id {
                Some(wanted) if wanted != row.key.run_id => Err(ServerError::NotCurrent(wanted)),
                Some(_) | None => Ok(Box::new(row.clone())),
            },
        };
        match kind {
            RequestKind::Start(start) => self.start(id, key.clone(), *start, latest, now),
            RequestKind::Input { run_id, input, responder } => {
                let answer = closed_row(run_id).and_then(|row| match *input {
                    // Asking a closed run to stop is a silent success: it has stopped.
                    Input::RequestCancel { .. } => Ok(Replied { run_id: row.key.run_id, reply: Reply::Unchanged }),
                    _ => Err(ServerError::Rejected(Rejection::AlreadyClosed)),
                });
                self.gather.release_after(0, Release::Reply(responder, answer));
            }
            RequestKind::HandOut { task, session } => {
                self.gather.release_after(0, Release::Refund(session, task.queue.kind));
            }
            RequestKind::Claim(claim) => {
                let error = closed_row(Some(claim.task.run_id)).err();
                let error = error.unwrap_or(ServerError::Rejected(Rejection::AlreadyClosed));
                self.gather.release_after(0, Release::Claimed(claim, Err(error)));
            }
            RequestKind::Describe { run_id, reply } => {
                let answer = closed_row(run_id).map(Described::Closed);
                self.gather.release_after(0, Release::Described(reply, answer));
            }
            RequestKind::Subscribe { run_id, reply } => {
                let answer = closed_row(run_id).map(Subscribed::Closed);
                self.gather.release_after(0, Release::Subscribed(reply, answer));
            }
        }
    }

    pub(super) fn start(
        &mut self,
        id: ShardId,
        key: LocalKey,
        request: StartRequest,
        latest: Option<&ExecutionRow>,
        now: Timestamp,
    ) {
        let StartRequest { mut started, reuse, conflict, reply } = request;
        let hot = self.shards.get(&id).and_then(|shard| match shard.slots.get(&key) {
            Some(Slot::Hot(run)) => Some(run),
            Some(Slot::Loading(_)) | None => None,
        });
        let after = hot.map_or(0, |run| run.last_batch);
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
                let answer = Ok(StartReply { run_id, started: started_by_this_request });
                return self.gather.release_after(after, Release::Started(reply, answer));
            }
            StartDecision::AlreadyStarted { run_id, status } => {
                let error = already_started(&key, run_id, status);
                return self.gather.release_after(after, Release::Started(reply, Err(error)));
            }
            StartDecision::Start => {}
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
        match self.begin(id, &key, started, now) {
            Ok(()) => {
                let answer = Ok(StartReply { run_id, started: true });
                self.gather.release_after(self.gather.number(), Release::Started(reply, answer));
            }
            Err(rejection) => self.gather.release_after(after, Release::Started(reply, Err(rejection.into()))),
        }
    }

    /// Begins a run in the place of whatever the workflow id has in memory.
    pub(super) fn begin(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        started: WorkflowStarted,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let run_key = RunKey {
            shard: id,
            namespace: key.namespace,
            workflow_id: key.workflow_id.as_ref().to_owned(),
            run_id: started.run_id,
        };
        let transition = Execution::begin(started, now)?;
        let execution = Execution::replay(transition.events.clone()).expect("a first event replays");
        let run = HotRun::new(run_key, execution, now);
        self.gather.new_run(run.row());
        let shard = self.shards.get_mut(&id).expect("the caller found the shard");
        if let Some(Slot::Hot(old)) = shard.slots.insert(key.clone(), Slot::Hot(Box::new(run))) {
            self.cached_bytes -= old.counted_bytes;
            shard.unregister(key, &old);
        }
        // The state has its first event already: only what follows from it is left to do.
        self.write(id, key, &transition, now);
        self.finish(id, key, transition.effects, now);
        Ok(())
    }

    pub(super) fn input(&mut self, id: ShardId, key: LocalKey, input: Input, responder: Responder, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        let run_id = run.run_id();
        let held = handout::held_task(&input);
        let transition = match run.execution.decide(input, now) {
            Ok(transition) => transition,
            Err(rejection) => {
                let after = run.last_batch;
                return self.gather.release_after(after, Release::Reply(responder, Err(rejection.into())));
            }
        };
        if let Some(activity) = held {
            run.holders.remove(&activity);
        }
        match &responder {
            Responder::Result(result) if matches!(transition.reply, Reply::Done | Reply::Unchanged) => {
                if result.task.activity == EventId::NONE {
                    run.sticky_worker = result.cached_up_to.map(|_| result.session.worker_id);
                }
            }
            Responder::Result(_) => run.sticky_worker = None,
            Responder::Call(_) | Responder::Heartbeat { .. } | Responder::Nobody => {}
        }
        if let Responder::Heartbeat { session, token } = &responder
            && transition.reply == (Reply::Heartbeat { cancel_requested: true })
        {
            let stop = handout::stop(token.clone(), handout::StopReason::CancelRequested);
            self.gather.release_after(run.last_batch, Release::Send(Arc::clone(session), stop));
        }
        let reply = transition.reply.clone();
        let after = self.absorb(id, &key, transition, now);
        self.gather.release_after(after, Release::Reply(responder, Ok(Replied { run_id, reply })));
    }

    pub(super) fn hand_out(
        &mut self,
        id: ShardId,
        key: LocalKey,
        task: QueuedTask,
        session: Arc<Session>,
        now: Timestamp,
    ) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        let input = handout::start_input(&task, &session, run.history_bytes);
        let Ok(transition) = run.execution.decide(input, now) else {
            let after = run.last_batch;
            return self.gather.release_after(after, Release::Refund(session, task.queue.kind));
        };
        let out = handout::message(run, &task, &session, &transition.reply);
        let Some(out) = out else {
            let after = run.last_batch;
            return self.gather.release_after(after, Release::Refund(session, task.queue.kind));
        };
        run.holders.insert(task.id.activity, Holder { session, token: out.in_hand.token.clone() });
        let after = self.absorb(id, &key, transition, now);
        self.gather.release_after(after, Release::HandOut(Box::new(out)));
    }

    /// A worker came back with a task in hand.
    pub(super) fn claim(&mut self, id: ShardId, key: LocalKey, claim: Box<Claim>, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(&key)) else {
            return;
        };
        match run.execution.decide(claim.input.clone(), now) {
            Ok(transition) => {
                let holder = Holder { session: Arc::clone(&claim.session), token: claim.in_hand.token.clone() };
                run.holders.insert(claim.task.activity, holder);
                let after = self.absorb(id, &key, transition, now);
                self.gather.release_after(after, Release::Claimed(claim, Ok(())));
            }
            Err(rejection) => {
                let after = run.last_batch;
                self.gather.release_after(after, Release::Claimed(claim, Err(rejection.into())));
            }
        }
    }
}

fn subscribe(subscriptions: &mut HashMap<RunId, watch::Sender<News>>, run_id: RunId) -> watch::Receiver<News> {
    if subscriptions.len() >= 64 && subscriptions.len().is_power_of_two() {
        subscriptions.retain(|_, sender| sender.receiver_count() > 0);
    }
    subscriptions.entry(run_id).or_insert_with(|| watch::Sender::new(News::default())).subscribe()
}

/// Whether a request that names a run means the current one.
fn check_current(run: &HotRun, wanted: Option<RunId>) -> Result<(), ServerError> {
    match wanted {
        Some(wanted) if wanted != run.run_id() => Err(ServerError::NotCurrent(wanted)),
        Some(_) | None => Ok(()),
    }
}

fn describe(run: &HotRun) -> Described {
    let execution = &run.execution;
    if execution.close_status().is_some() {
        return Described::Closed(Box::new(run.row()));
    }
    Described::Open(Box::new(Description {
        row: run.row(),
        started: execution.started().clone(),
        history_length: execution.next_event_id().0 - 1,
        history_bytes: run.history_bytes,
        workflow_task: execution.pending_workflow_task(),
        activities: execution.pending_activities(),
        timers: execution.pending_timers(),
        cancel_requested: execution.cancel_requested(),
        buffered: execution.buffered_len(),
    }))
}

fn already_started(key: &LocalKey, run_id: RunId, status: Option<engine_core::event::CloseStatus>) -> ServerError {
    let id = &key.workflow_id;
    let message = match status {
        None => format!(
            "workflow {id:?} is already running as run {run_id}; use its handle, or set id_conflict_policy to USE_EXISTING or TERMINATE_EXISTING"
        ),
        Some(status) => format!(
            "workflow {id:?} has a closed run {run_id} ({status:?}) that id_reuse_policy protects; choose another workflow id or policy"
        ),
    };
    ServerError::AlreadyStarted { run_id, message }
}
