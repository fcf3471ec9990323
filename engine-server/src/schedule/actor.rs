//! One schedule in memory: it reads its row, answers asks, decides, stores, and does what is owed.
//!
//! Everything that changes it comes through here one after the other: an ask, the answer of an errand, or a tick. Each decision is stored
//! before anything follows from it. When it owes nothing, waits for nothing and nobody asks, it leaves memory.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use engine_core::schedule::{ObligationKey, Schedule, ScheduleInput, ScheduleRefusal};
use engine_core::time::Timestamp;
use engine_proto::convert;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::errand::Errands;
use super::registry::{Ask, Asked};
use crate::clock::Busy;
use crate::node::NodeContext;
use crate::shard::request::ServerError;
use crate::store::{Epoch, ScheduleKey, ScheduleWrite, StoreError};

type Errand = Pin<Box<dyn Future<Output = (ObligationKey, ScheduleInput, Busy)> + Send>>;

/// The actor may not go on: what it knows is in doubt.
struct InDoubt(StoreError);

pub(super) struct Actor {
    context: Arc<NodeContext>,
    key: ScheduleKey,
    epoch: Epoch,
    inbox: mpsc::Receiver<Asked>,
    /// Of the row; 0 if there is none.
    revision: i64,
    schedule: Option<Schedule>,
    errands: FuturesUnordered<Errand>,
    under_way: BTreeSet<ObligationKey>,
}

impl Actor {
    pub(super) fn new(context: Arc<NodeContext>, key: ScheduleKey, epoch: Epoch, inbox: mpsc::Receiver<Asked>) -> Self {
        Self {
            context,
            key,
            epoch,
            inbox,
            revision: 0,
            schedule: None,
            errands: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
        }
    }

    /// Runs until it leaves memory.
    pub(super) async fn run(mut self, stop: CancellationToken, busy: Busy) {
        if let Err(InDoubt(error)) = self.live(&stop, busy).await {
            let is_fenced = matches!(error, StoreError::Fenced(_));
            self.context.schedules.in_doubt(&self.key, self.epoch, is_fenced);
            // Nobody sends any more: those who wait are told.
            self.inbox.close();
            while let Some(asked) = self.inbox.recv().await {
                asked.reply.send(Err(ServerError::unavailable(error.to_string()))).ok();
            }
            tracing::warn!(%error, schedule_id = %self.key.schedule_id, "a schedule left memory; it is read again");
        }
    }

    async fn live(&mut self, stop: &CancellationToken, busy: Busy) -> Result<(), InDoubt> {
        self.load().await?;
        // Held but for the waits.
        let mut busy = Some(busy);
        loop {
            self.owe();
            let tick = self.schedule.as_ref().and_then(Schedule::next_tick);
            let is_due = tick.is_some_and(|at| at <= self.now());
            let is_active = self.schedule.as_ref().is_some_and(Schedule::is_active);
            if !is_due && !is_active {
                let wake_at = self.schedule.as_ref().map_or(Timestamp::MAX, Schedule::wake_at);
                if self.context.schedules.retire(&self.key, self.epoch, &self.inbox, wake_at) {
                    return Ok(());
                }
            }
            let clock = self.context.schedules.clock.clone();
            let sleep = clock.sleep_until(tick);
            drop(busy.take());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((key, input, still_busy)) = self.errands.next() => {
                    busy = Some(still_busy);
                    self.under_way.remove(&key);
                    self.decide(input).await?;
                }
                Some(asked) = self.inbox.recv() => {
                    // Whoever asks is busy until it has its answer.
                    busy = Some(clock.busy());
                    self.answer(asked).await?;
                }
                still_busy = sleep => {
                    busy = Some(still_busy);
                    self.decide(ScheduleInput::Tick).await?;
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.context.schedules.clock.now()
    }

    async fn load(&mut self) -> Result<(), InDoubt> {
        let Some(row) = self.context.store.schedule(&self.key).await.map_err(InDoubt)? else {
            return Ok(());
        };
        match convert::decode_schedule(&self.key.schedule_id, &row.schedule) {
            Ok(schedule) => (self.revision, self.schedule) = (row.revision, Some(schedule)),
            Err(error) => {
                // Left alone until its shard is acquired anew: reading it again would not help.
                tracing::error!(%error, schedule_id = %self.key.schedule_id, "quarantined a schedule: it cannot be read");
                let problem = format!("schedule {:?} cannot be read: {error}", self.key.schedule_id);
                self.inbox.close();
                while let Some(asked) = self.inbox.recv().await {
                    asked.reply.send(Err(ServerError::Internal(problem.clone()))).ok();
                }
            }
        }
        Ok(())
    }

    /// Begins the errands that are owed and not under way.
    fn owe(&mut self) {
        let Some(schedule) = &self.schedule else {
            return;
        };
        for owed in schedule.obligations() {
            let key = owed.key();
            if self.under_way.insert(key) {
                let errands = Errands { context: Arc::clone(&self.context), namespace: self.key.namespace };
                let errand = errands.begin(schedule, owed);
                let busy = self.context.schedules.clock.busy();
                self.errands.push(Box::pin(async move { (key, errand.await, busy) }));
            }
        }
    }

    /// An input that is no call's. None of these is ever refused.
    async fn decide(&mut self, input: ScheduleInput) -> Result<(), InDoubt> {
        let Some(schedule) = &self.schedule else {
            return Ok(());
        };
        match schedule.decide(input, self.now()) {
            Ok(next) => self.store(Some(next)).await,
            Err(error) => {
                tracing::error!(%error, schedule_id = %self.key.schedule_id, "a schedule refused what happened");
                Ok(())
            }
        }
    }

    async fn answer(&mut self, asked: Asked) -> Result<(), InDoubt> {
        let Asked { ask, reply } = asked;
        let next = match self.decide_ask(ask) {
            Ok(Some(next)) => next,
            Ok(None) => {
                reply.send(Ok(self.schedule.clone())).ok();
                return Ok(());
            }
            Err(error) => {
                reply.send(Err(error)).ok();
                return Ok(());
            }
        };
        let deleted = if next.is_none() { self.schedule.clone() } else { None };
        match self.store(next).await {
            Ok(()) => {
                reply.send(Ok(deleted.or_else(|| self.schedule.clone()))).ok();
                Ok(())
            }
            Err(InDoubt(error)) => {
                reply.send(Err(ServerError::unavailable(error.to_string()))).ok();
                Err(InDoubt(error))
            }
        }
    }

    /// What is to be stored because of an ask: nothing, no schedule any more, or a schedule.
    fn decide_ask(&self, ask: Ask) -> Result<Option<Option<Schedule>>, ServerError> {
        let not_found = || ServerError::NotFound { kind: "schedule", name: self.key.schedule_id.clone() };
        match (ask, &self.schedule) {
            (Ask::Create(_, request_id), Some(existing)) if existing.knows_request(&request_id) => Ok(None),
            (Ask::Create(..), Some(_)) => {
                Err(ServerError::Exists { kind: "schedule", name: self.key.schedule_id.clone() })
            }
            (Ask::Create(mut schedule, request_id), None) => {
                schedule.remember(&request_id);
                Ok(Some(Some(*schedule)))
            }
            (Ask::Describe, Some(_)) => Ok(None),
            (Ask::Change(_, request_id), Some(schedule)) if schedule.knows_request(&request_id) => Ok(None),
            (Ask::Change(input, request_id), Some(schedule)) => {
                let mut next = schedule.decide(*input, self.now()).map_err(refusal)?;
                next.remember(&request_id);
                Ok(Some(Some(next)))
            }
            (Ask::Delete, Some(_)) => Ok(Some(None)),
            (Ask::Delete, None) => Ok(None),
            (Ask::Describe | Ask::Change(..), None) => Err(not_found()),
        }
    }

    async fn store(&mut self, next: Option<Schedule>) -> Result<(), InDoubt> {
        if next == self.schedule {
            return Ok(());
        }
        let row = next.as_ref().map(|schedule| (schedule.wake_at(), convert::encode_schedule(schedule).into()));
        let write = ScheduleWrite { key: self.key.clone(), replaces: self.revision, row };
        match self.context.store.write_schedule(self.epoch, &write).await {
            Ok(true) => {
                self.revision = if next.is_some() { self.revision + 1 } else { 0 };
                if next.is_none() {
                    self.errands.clear();
                    self.under_way.clear();
                }
                self.schedule = next;
                Ok(())
            }
            Ok(false) => Err(InDoubt(StoreError::Unavailable("the schedule was written meanwhile".to_owned()))),
            Err(error) => Err(InDoubt(error)),
        }
    }
}

/// A refusal of the rules, as calls see it.
pub(crate) fn refusal(error: ScheduleRefusal) -> ServerError {
    match error {
        ScheduleRefusal::Invalid { field, problem } => {
            // The parts of a definition are in the request's `schedule`.
            let is_part = field.starts_with("spec") || field.starts_with("policies");
            let field = if is_part { format!("schedule.{field}") } else { field };
            ServerError::Invalid { field, problem }
        }
        ScheduleRefusal::Conflict { .. } => ServerError::Conflict(error.to_string()),
        ScheduleRefusal::Exhausted(message) => {
            ServerError::Exhausted { message, retry_after: std::time::Duration::from_secs(1) }
        }
    }
}
