//! What time does: graces end, deadlines pass, parked runs wake, old ones are parked.

use engine_core::execution::{Effect, Input};
use engine_core::time::Timestamp;

use crate::limits;
use crate::shard::gather::Release;
use crate::shard::load;
use crate::shard::request::{LocalKey, Responder};
use crate::store::{ShardId, StoredRun};

use super::hand_over::HANDED_OVER;
use super::shard::Slot;
use super::{Scan, Shards};

impl Shards {
    pub(super) fn end_grace(&mut self, id: ShardId, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if shard.scanning || shard.grace_until.is_none_or(|until| until > now) {
            return;
        }
        shard.grace_until = None;
        for key in std::mem::take(&mut shard.in_doubt) {
            self.input(id, key, Input::EndGrace, Responder::Nobody, now);
        }
    }

    pub(super) fn fire_deadlines(&mut self, id: ShardId, now: Timestamp) {
        while let Some(shard) = self.shards.get_mut(&id) {
            match shard.deadlines.first() {
                Some((at, _)) if *at <= now => {}
                Some(_) | None => return,
            }
            let Some((at, key)) = shard.deadlines.pop_first() else {
                return;
            };
            let Some(Slot::Hot(run)) = shard.slots.get_mut(&key) else {
                continue;
            };
            run.registered_deadline = None;
            self.input(id, key.clone(), Input::DeadlinePassed, Responder::Nobody, now);
            // A decision that left its own deadline in the past would spin here for ever.
            if let Some(Slot::Hot(run)) = self.shards.get(&id).and_then(|shard| shard.slots.get(&key)) {
                debug_assert!(run.registered_deadline.is_none_or(|next| next > at), "a due deadline was dealt with");
            }
        }
    }

    pub(super) fn wake_parked(&mut self, id: ShardId, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        if !shard.scanning && shard.next_wake <= now {
            shard.scanning = true;
            shard.next_wake = Timestamp::MAX;
            self.wanted_scans.push(Scan::due(id, now));
        }
    }

    pub(super) fn park_old(&mut self, id: ShardId, now: Timestamp) {
        loop {
            let Some(shard) = self.shards.get(&id) else {
                return;
            };
            let Some((touched, key)) = shard.idle.first() else {
                return;
            };
            if *touched + self.options.park_after > now || self.gather.is_full() {
                return;
            }
            let key = key.clone();
            self.park(id, &key, now);
        }
    }

    /// Begins to park an idle run: its row is made to say when to look at it, and once that is durable it leaves memory.
    pub(super) fn park(&mut self, id: ShardId, key: &LocalKey, now: Timestamp) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return;
        };
        shard.idle.remove(&(run.touched_at, key.clone()));
        run.registered_idle = false;
        let wake_at = run.execution.wake_at();
        let over_budget = self.cached_bytes > self.options.cache_bytes;
        if !over_budget && wake_at < now + limits::PARK_HORIZON {
            return;
        }
        if run.durable_wake_at != wake_at {
            run.durable_wake_at = wake_at;
            self.gather.touch(id, shard.epoch);
            run.last_batch = self.gather.number();
            self.gather.wake_at(&run.key, wake_at);
        }
        run.parking_in = Some(run.last_batch);
        let run_id = run.run_id();
        let after = run.last_batch;
        // It counts as gone from here on, so that trimming does not pick ever more runs while this batch is on its way.
        self.cached_bytes -= std::mem::take(&mut run.counted_bytes);
        self.gather.release_after(after, Release::Parked(id, key.clone(), run_id));
    }

    /// Puts a run that was read back into memory, and offers what waits in it.
    pub(super) fn revive(&mut self, id: ShardId, stored: StoredRun, now: Timestamp) -> Result<(), String> {
        let shard = self.shards.get_mut(&id).ok_or("the shard was lost")?;
        let key =
            LocalKey { namespace: stored.row.key.namespace, workflow_id: stored.row.key.workflow_id.as_str().into() };
        let mut run = load::hot_run(stored, now).map_err(|e| e.to_string())?;
        // A row that says "at once" belonged to a run in memory, whose tasks workers may have in hand.
        let (in_doubt, mut effects) = if run.durable_wake_at == Timestamp::EPOCH {
            run.execution.mark_in_doubt();
            (true, Vec::new())
        } else {
            let in_doubt = run.durable_wake_at == HANDED_OVER && run.execution.mark_recorded_in_doubt();
            (in_doubt, run.execution.offers())
        };
        if in_doubt {
            // It may be read when the grace is over: then it ends at once, but after the claims that waited for the run.
            shard.grace_until.get_or_insert(now);
            shard.in_doubt.push(key.clone());
        }
        let owed = run.execution.undelivered().into_iter();
        effects.extend(owed.map(|initiated_event_id| Effect::Deliver { initiated_event_id }));
        shard.slots.insert(key.clone(), Slot::Hot(Box::new(run)));
        self.finish(id, &key, effects, now);
        Ok(())
    }
}
