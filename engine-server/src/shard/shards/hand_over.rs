//! A stop in order: what workers have is stored, so that whoever takes over doubts that and nothing else, and loads nothing that
//! is idle.
//!
//! Each run's row is right by itself, so a stop that is cut short leaves the rest as a crash would. From the moment at which it
//! begins nothing is handed out, or a row would be wrong; what else happens to a run makes its row say "at once" again.

use engine_core::execution::Input;
use engine_core::time::Timestamp;

use crate::shard::request::LocalKey;
use crate::store::ShardId;

use super::Shards;
use super::shard::Slot;

/// The `wake_at` of a run that is to be looked at once, and of which workers have no more than what is stored.
pub(super) const HANDED_OVER: Timestamp = Timestamp::from_micros(1);

impl Shards {
    /// From here on nothing is handed out. [`Shards::hand_over`] does the rest.
    pub(crate) fn begin_hand_over(&mut self) {
        let hot = self.shards.values().flat_map(|shard| {
            let is_hot = |slot: &Slot| match slot {
                Slot::Hot(_) => true,
                Slot::Loading(_) | Slot::Starting(_) => false,
            };
            shard.slots.iter().filter(move |(_, slot)| is_hot(slot)).map(|(key, _)| (shard.id, key.clone()))
        });
        self.handing_over = Some(hot.collect());
    }

    /// Writes what is to be known of the next runs, as many as fit into the batch. `true` once all are done.
    pub(crate) fn hand_over(&mut self, now: Timestamp) -> bool {
        while !self.gather.is_full() {
            let Some((id, key)) = self.handing_over.as_mut().and_then(Vec::pop) else {
                return true;
            };
            self.hand_over_run(id, key, now);
        }
        false
    }

    fn hand_over_run(&mut self, id: ShardId, key: LocalKey, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.shards.get(&id).and_then(|shard| shard.slots.get(&key)) else {
            return;
        };
        let is_parking = run.parking_in.is_some();
        if is_parking || run.execution.close_status().is_some() || run.execution.is_workflow_task_in_hand() {
            return;
        }
        let wake_at = if run.execution.is_idle() {
            run.execution.wake_at()
        } else {
            let Ok(transition) = run.execution.decide(Input::RecordInHand, now) else {
                return;
            };
            self.absorb(id, &key, transition, now);
            HANDED_OVER
        };
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(&key) else {
            return;
        };
        run.durable_wake_at = wake_at;
        self.gather.touch(id, shard.epoch);
        run.last_batch = self.gather.number();
        self.gather.wake_at(&run.key, wake_at);
    }
}
