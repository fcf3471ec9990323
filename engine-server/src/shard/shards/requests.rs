//! What each kind of request does.

use std::sync::Arc;

use engine_core::execution::{Input, Rejection, Reply};
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::hash::HashMap;
use crate::queue::{QueuedTask, TaskKind};
use crate::session::Session;
use crate::shard::gather::Release;
use crate::shard::request::{
    Claim, Described, Description, LocalKey, MessageRequest, News, QueryTurn, Replied, RequestKind, Responder,
    ServerError, Subscribed, UpdateAsk, UpdateWatch,
};
use crate::shard::run::{Holder, HotRun};
use crate::shard::{handout, queries};
use crate::store::{ExecutionRow, ShardId};

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
            // A worker that got a task after its run was handed over would have it unknown to the next owner.
            kind @ (RequestKind::HandOut { .. } | RequestKind::Claim(_)) if self.handing_over.is_some() => {
                self.refuse(kind, &ServerError::unavailable("the server stops"));
            }
            RequestKind::Start(start) => self.start(id, key, *start, None, now),
            RequestKind::Reset(reset) => self.reset(id, &key, *reset, None, now),
            RequestKind::Input { run_id, input, responder } => {
                if let Err(error) = check_current(run, run_id) {
                    return self.gather.release_after(run.last_batch, Release::Reply(responder, Err(error)));
                }
                self.input(id, key, *input, responder, now);
            }
            RequestKind::Message(message) => {
                let input = message_input(*message, Some(run));
                match input {
                    Ok(input) => self.handle_hot(id, key, input, now),
                    Err((reply, error)) => {
                        let refused = Release::Reply(Responder::Call(reply), Err(error));
                        self.gather.release_after(run.last_batch, refused);
                    }
                }
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
            RequestKind::Update { run_id, ask, reply } => {
                if let Err(error) = check_current(run, run_id) {
                    return self.gather.release_after(run.last_batch, Release::UpdateWatched(reply, Err(error)));
                }
                let (answer, after) = self.update(id, &key, ask, now);
                self.gather.release_after(after, Release::UpdateWatched(reply, answer));
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
            RequestKind::Query { run_id, reply } => {
                let answer = check_current(run, run_id).and_then(|()| queries::turn(run));
                self.gather.release_after(run.last_batch, Release::QueryTurn(reply, answer));
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
        let not_found = || ServerError::NotFound { kind: key.noun(), name: key.workflow_id.as_ref().to_owned() };
        let closed_row = |run_id: Option<RunId>| match latest {
            None => Err(not_found()),
            Some(row) => match run_id {
                Some(wanted) if wanted != row.key.run_id => Err(ServerError::NotCurrent(wanted)),
                Some(_) | None => Ok(Box::new(row.clone())),
            },
        };
        match kind {
            RequestKind::Start(start) => self.start(id, key.clone(), *start, latest, now),
            RequestKind::Reset(reset) => match latest {
                Some(_) => self.reset(id, key, *reset, latest, now),
                None => self.gather.release_after(0, Release::Reset(reset.reply, Err(not_found()))),
            },
            RequestKind::Input { run_id, input, responder } => {
                let answer = closed_row(run_id).and_then(|row| match *input {
                    // Asking a closed run to stop is a silent success: it has stopped.
                    Input::RequestCancel { .. } => Ok(Replied { run_id: row.key.run_id, reply: Reply::Unchanged }),
                    _ => Err(ServerError::Rejected(Rejection::AlreadyClosed)),
                });
                self.gather.release_after(0, Release::Reply(responder, answer));
            }
            RequestKind::Message(message) => match message_input(*message, None) {
                Ok(input) => self.handle_absent(id, key, input, latest, now),
                Err((reply, error)) => {
                    self.gather.release_after(0, Release::Reply(Responder::Call(reply), Err(error)));
                }
            },
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
            RequestKind::Update { run_id, ask: _, reply } => {
                let answer = closed_row(run_id).map(UpdateWatch::Closed);
                self.gather.release_after(0, Release::UpdateWatched(reply, answer));
            }
            RequestKind::Subscribe { run_id, reply } => {
                let answer = closed_row(run_id).map(Subscribed::Closed);
                self.gather.release_after(0, Release::Subscribed(reply, answer));
            }
            RequestKind::Query { run_id, reply } => {
                let answer = closed_row(run_id).map(|row| QueryTurn::Now(queries::place_of_closed(&row)));
                self.gather.release_after(0, Release::QueryTurn(reply, answer));
            }
        }
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
            Responder::Result(result)
                if matches!(transition.reply, Reply::Done | Reply::Unchanged | Reply::WorkflowTaskDropped) =>
            {
                if result.task.activity == EventId::NONE {
                    run.sticky_worker = result.cached_up_to.map(|_| result.session.worker_id);
                }
            }
            Responder::Result(_) => run.sticky_worker = None,
            Responder::Call(_) | Responder::Heartbeat { .. } | Responder::Nobody => {}
        }
        if let Responder::Heartbeat { session, token } = &responder
            && let Reply::Heartbeat { cancel_requested, paused } = transition.reply
            && (cancel_requested || paused)
        {
            let reason =
                if cancel_requested { handout::StopReason::CancelRequested } else { handout::StopReason::Paused };
            let stop = handout::stop(token.clone(), reason);
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
        if task.pin.as_ref() != run.execution.pinned_to() {
            // Its run was moved while the task was on its way: it goes where it is to go now.
            let (after, kind) = (run.last_batch, task.queue.kind);
            let pin = run.execution.pinned_to().cloned();
            self.gather.release_after(after, Release::Refund(session, kind));
            return self.gather.release_after(after, Release::Offer(QueuedTask { pin, ..task }));
        }
        let is_early = run.task_after < run.last_batch && !self.gather.is_durable(run.last_batch);
        let out = handout::message(run, &task, &session, &transition.reply, is_early);
        let Some(out) = out else {
            let after = run.last_batch;
            return self.gather.release_after(after, Release::Refund(session, task.queue.kind));
        };
        let holder = Holder { session: Arc::clone(&session), token: out.in_hand.token.clone() };
        run.holders.insert(task.id.activity, holder);
        let kind = task.queue.kind;
        let task_after = run.task_after;
        let durable = handout::durable(run.run_id(), &out.in_hand.token);
        let after = self.absorb(id, &key, transition, now);
        if kind == TaskKind::Activity {
            return self.gather.release_after(after, Release::HandOut(Box::new(out)));
        }
        self.gather.release_after(task_after, Release::HandOut(Box::new(out)));
        if is_early {
            self.gather.release_after(after, Release::Send(session, durable));
        }
    }

    /// Gives an update to the run, or looks for it, and watches it. Returns the batch after which that may be told.
    fn update(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        ask: UpdateAsk,
        now: Timestamp,
    ) -> (Result<UpdateWatch, ServerError>, u64) {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(key)) else {
            return (Err(ServerError::unavailable("the shard was lost")), 0);
        };
        let (run_id, update_id) = (run.run_id(), ask.update_id().clone());
        let mut after = run.last_batch;
        let standing = match ask {
            UpdateAsk::Poll(update_id) => {
                let standing = run.execution.update_standing(&update_id);
                standing.ok_or(ServerError::NotFound { kind: "update", name: update_id.as_str().to_owned() })
            }
            UpdateAsk::Send(request) => match run.execution.decide(Input::Update(request), now) {
                Ok(transition) => {
                    let standing = match transition.reply {
                        Reply::Update(standing) => standing,
                        ref other => unreachable!("an update is answered with where it stands, not {other:?}"),
                    };
                    after = self.absorb(id, key, transition, now);
                    Ok(standing)
                }
                Err(rejection) => Err(rejection.into()),
            },
        };
        let watchers = self.shards.get_mut(&id).map(|shard| &mut shard.update_watchers);
        let answer = standing.and_then(|standing| {
            let watchers = watchers.ok_or_else(|| ServerError::unavailable("the shard was lost"))?;
            Ok(UpdateWatch::Open { run_id, standing, news: watchers.watch(run_id, update_id) })
        });
        (answer, after)
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

pub(super) fn subscribe(
    subscriptions: &mut HashMap<RunId, watch::Sender<News>>,
    run_id: RunId,
) -> watch::Receiver<News> {
    if subscriptions.len() >= 64 && subscriptions.len().is_power_of_two() {
        subscriptions.retain(|_, sender| sender.receiver_count() > 0);
    }
    subscriptions.entry(run_id).or_insert_with(|| watch::Sender::new(News::default())).subscribe()
}

/// A message as an input to the run that is there; `Err` if it is for another one's child.
fn message_input(
    message: MessageRequest,
    run: Option<&HotRun>,
) -> Result<RequestKind, (oneshot::Sender<Result<Replied, ServerError>>, ServerError)> {
    let MessageRequest { mut run_id, child_of, input, reply } = message;
    // A child's end is for the run that asked for it, or for the one that goes on in its place.
    if let (Some(run), Input::ChildClosed { initiated_event_id, .. }) = (run, &input)
        && run_id == Some(run.execution.initiator(*initiated_event_id))
    {
        run_id = None;
    }
    let parent = run.and_then(|run| run.execution.started().parent.as_deref());
    if let Some(wanted) = child_of
        && parent.is_none_or(|parent| parent.run_id != wanted)
        && run.is_some()
    {
        let error = ServerError::NotFound { kind: "child of run", name: wanted.to_string() };
        return Err((reply, error));
    }
    Ok(RequestKind::Input { run_id, input: Box::new(input), responder: Responder::Call(reply) })
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
        children: execution.pending_children(),
        timers: execution.pending_timers(),
        updates: execution.pending_updates(),
        cancel_requested: execution.cancel_requested(),
        paused: execution.paused().cloned(),
        buffered: execution.buffered_len(),
        published: execution.published().collect(),
        search_attributes: execution.search_attributes().clone(),
        memo: execution.memo().clone(),
        current_details: execution.current_details().to_owned(),
        versioning: execution.versioning(),
        pin: execution.pinned_to().cloned(),
    }))
}
