//! What a transition does: the run absorbs it, its rows go into the batch, its effects wait for the batch.

use engine_core::event::{Event, EventKind};
use engine_core::execution::{Effect, Execution, Fact, Transition};
use engine_core::time::Timestamp;

use crate::limits;
use crate::shard::gather::Release;
use crate::shard::handout;
use crate::shard::progress;
use crate::shard::queries;
use crate::shard::request::LocalKey;
use crate::shard::run::{Standing, encode_turn, may_be_seen_early};
use crate::store::{BufferedRow, HistoryRow, ShardId};

use super::Shards;
use super::shard::Slot;

impl Shards {
    /// Writes and absorbs a transition. Returns the batch after which its reply may leave.
    pub(super) fn absorb(&mut self, id: ShardId, key: &LocalKey, transition: Transition, now: Timestamp) -> u64 {
        let Some(Slot::Hot(run)) = self.shards.get_mut(&id).and_then(|shard| shard.slots.get_mut(key)) else {
            return 0;
        };
        run.execution.absorb(&transition);
        let queries = queries::settle(run, &transition);
        self.write(id, key, &transition, now);
        self.let_ask(id, key, queries);
        self.finish(id, key, transition.effects, now)
    }

    /// Lets queries go once what they will see is durable.
    fn let_ask(&mut self, id: ShardId, key: &LocalKey, settled: Vec<queries::Settled>) {
        let Some(Slot::Hot(run)) = self.shards.get(&id).and_then(|shard| shard.slots.get(key)) else {
            return;
        };
        for (turn, answer) in settled {
            self.gather.release_after(run.last_batch, Release::Queried(turn, answer));
        }
    }

    /// Puts what the transition makes durable into the batch. The state has absorbed it already.
    pub(super) fn write(&mut self, id: ShardId, key: &LocalKey, transition: &Transition, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return;
        };
        let gather = &mut self.gather;
        run.touched_at_changes(&mut shard.idle, key, now);
        run.parking_in = None;
        if transition.is_durable() {
            gather.touch(id, shard.epoch);
            run.last_batch = gather.number();
            if !may_be_seen_early(&transition.events, &run.execution) {
                run.task_after = run.last_batch;
            }
        }
        for fact in &transition.facts {
            match fact {
                Fact::EventBuffered(event) => {
                    let event = engine_proto::convert::encode_event(event);
                    let position = run.next_buffer_position;
                    run.next_buffer_position += 1;
                    run.has_stored_buffer = true;
                    gather.buffer(BufferedRow { shard: id, run_id: run.run_id(), position, event });
                }
                Fact::BufferFlushed => {
                    gather.flush_buffer(id, run.run_id(), std::mem::take(&mut run.has_stored_buffer));
                }
                Fact::WorkflowTaskStarted { .. }
                | Fact::WorkflowTaskReleased
                | Fact::WorkflowTaskAttemptFailed { .. }
                | Fact::WorkflowTaskOffered
                | Fact::WorkflowTaskDropped
                | Fact::UpdateAdmitted { .. }
                | Fact::UpdatesSent { .. }
                | Fact::UpdateRejected { .. }
                | Fact::ActivityStarted { .. }
                | Fact::ActivityAttemptFailed { .. }
                | Fact::ActivityOffered { .. }
                | Fact::ActivityHeartbeat { .. }
                | Fact::ActivityInHandRecorded { .. }
                | Fact::ActivityOperated { .. }
                | Fact::GraceEnded => {}
            }
        }
        for activity in &transition.progress {
            let stored = run.execution.activity_progress(*activity).map(|progress| progress::encode(&progress));
            gather.progress(id, run.run_id(), *activity, stored);
        }
        let is_upsert = |event: &Event| matches!(event.kind, EventKind::SearchAttributesUpserted(_));
        let standing = Some(Standing::of(&run.execution));
        let is_listed_otherwise = transition.is_durable() && run.listed_as != standing;
        if transition.events.iter().any(is_upsert) || is_listed_otherwise {
            run.listed_as = standing;
            gather.search_attributes(&run.key, &run.listed_by());
        }
        let Some(last) = transition.events.last() else {
            return;
        };
        let mut close_event = bytes::Bytes::new();
        for turn in transition.events.chunks(limits::TURN_EVENTS_MAX) {
            let (encoded, row) = encode_turn(turn);
            run.history_bytes += row.len() as u64;
            close_event = encoded.last().cloned().unwrap_or_default();
            for (event, bytes) in turn.iter().zip(encoded) {
                run.tail.push(event.id, bytes);
            }
            gather.history(HistoryRow { shard: id, run_id: run.run_id(), first_event_id: turn[0].id, events: row });
        }
        let status = last.kind.close_status();
        if let Some(status) = status {
            gather.close(&run.key, status, last.at, last.id.0);
        }
        if shard.subscriptions.contains_key(&run.run_id()) {
            let closed = status.map(|status| (status, close_event));
            let news = Release::News { shard: id, run_id: run.run_id(), last_event_id: last.id, closed };
            gather.release_after(run.last_batch, news);
        }
    }

    /// Turns effects into releases, keeps the shard's sets in step with the run, and begins the next run of a chain.
    pub(super) fn finish(&mut self, id: ShardId, key: &LocalKey, effects: Vec<Effect>, now: Timestamp) -> u64 {
        let Some(shard) = self.shards.get_mut(&id) else {
            return 0;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return 0;
        };
        let gather = &mut self.gather;
        // Before the effects: what is offered of a run must not leave before its row says that workers may have something of it.
        let needed = run.execution.wake_at();
        if run.execution.close_status().is_none() && needed < run.durable_wake_at {
            run.durable_wake_at = Timestamp::EPOCH;
            gather.touch(id, shard.epoch);
            run.last_batch = gather.number();
            gather.wake_at(&run.key, Timestamp::EPOCH);
        }
        let mut next_run = None;
        for effect in effects {
            let release = match effect {
                Effect::StartRun(next) => {
                    next_run = Some(next);
                    continue;
                }
                offer @ Effect::OfferWorkflowTask { .. } => {
                    for release in handout::release(run, id, key, offer) {
                        gather.release_after(run.task_after, release);
                    }
                    continue;
                }
                other => handout::release(run, id, key, other),
            };
            for release in release {
                gather.release_after(run.last_batch, release);
            }
        }
        self.part(id, key);
        let Some(shard) = self.shards.get_mut(&id) else {
            return 0;
        };
        shard.register(key, now);
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return 0;
        };
        let size = run.memory_size();
        self.cached_bytes = self.cached_bytes + size - run.counted_bytes;
        run.counted_bytes = size;
        let after = run.last_batch;
        if let Some(next) = next_run {
            match Execution::begin_next(*next, now) {
                Ok(beginning) => self.begin(id, key, beginning, now),
                Err(rejection) => {
                    tracing::error!(workflow_id = %key.workflow_id, %rejection, "the next run of a chain was refused by the rules");
                }
            }
        }
        after
    }
}
