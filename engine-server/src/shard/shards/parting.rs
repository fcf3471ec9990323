//! What runs owe others: the messages of open runs, and those that a run leaves behind when it closes.
//!
//! | the run | where the message is | until |
//! |---|---|---|
//! | open | in its state | its answer is recorded |
//! | closed | in its shard's `parting`; its row says [`OWES_MESSAGES`] | all are answered; then its row says so |
//!
//! After a crash the rows of the last kind are read back and all their messages are sent again.

use std::collections::BTreeMap;

use engine_core::execution::{Input, PeerAnswer};
use engine_core::ids::EventId;
use engine_core::peer::Outgoing;
use engine_core::time::Timestamp;

use crate::shard::gather::Release;
use crate::shard::load;
use crate::shard::messages::Errand;
use crate::shard::request::{LocalKey, Responder};
use crate::store::{OWES_MESSAGES, RunKey, ShardId, StoredRun};

use super::Shards;
use super::shard::Slot;

/// What a closed run still owes others.
#[derive(Debug)]
pub(super) struct Parting {
    key: RunKey,
    owed: BTreeMap<EventId, Outgoing>,
}

impl Shards {
    /// The run in this slot may have closed: what it owes is written down in its row, and is sent once that is durable.
    pub(super) fn part(&mut self, id: ShardId, key: &LocalKey) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        let Some(Slot::Hot(run)) = shard.slots.get_mut(key) else {
            return;
        };
        if run.execution.close_status().is_none() || shard.parting.contains_key(&run.run_id()) {
            return;
        }
        let owed: BTreeMap<EventId, Outgoing> =
            run.execution.undelivered().into_iter().filter_map(|id| Some((id, run.execution.outgoing(id)?))).collect();
        if owed.is_empty() {
            return;
        }
        self.gather.touch(id, shard.epoch);
        run.last_batch = self.gather.number();
        self.gather.wake_at(&run.key, OWES_MESSAGES);
        let (run_id, after) = (run.run_id(), run.last_batch);
        for initiated_event_id in owed.keys() {
            let run = (id, key.clone(), run_id);
            let errand = Errand { run, initiated_event_id: *initiated_event_id, parting: true, failures: 0 };
            self.gather.release_after(after, Release::Deliver(errand));
        }
        shard.parting.insert(run_id, Parting { key: run.key.clone(), owed });
    }

    /// A closed run was read back because it owes messages.
    pub(super) fn resume_parting(
        &mut self,
        id: ShardId,
        key: &LocalKey,
        stored: StoredRun,
        now: Timestamp,
    ) -> Result<(), String> {
        let run = load::hot_run(stored, now).map_err(|error| error.to_string())?;
        let Some(shard) = self.shards.get_mut(&id) else {
            return Ok(());
        };
        let execution = &run.execution;
        let owed: BTreeMap<EventId, Outgoing> =
            execution.undelivered().into_iter().filter_map(|id| Some((id, execution.outgoing(id)?))).collect();
        let run_id = run.run_id();
        for initiated_event_id in owed.keys() {
            let run = (id, key.clone(), run_id);
            let errand = Errand { run, initiated_event_id: *initiated_event_id, parting: true, failures: 0 };
            self.gather.release_after(0, Release::Deliver(errand));
        }
        shard.parting.insert(run_id, Parting { key: run.key, owed });
        Ok(())
    }

    /// What the errand's message says; `None` if it is owed no longer.
    pub(crate) fn outgoing(&self, errand: &Errand) -> Option<Outgoing> {
        let (id, key, run_id) = &errand.run;
        let shard = self.shards.get(id)?;
        if errand.parting {
            return shard.parting.get(run_id)?.owed.get(&errand.initiated_event_id).cloned();
        }
        match shard.slots.get(key)? {
            Slot::Hot(run) if run.run_id() == *run_id && run.execution.close_status().is_none() => {
                run.execution.outgoing(errand.initiated_event_id)
            }
            Slot::Hot(_) | Slot::Loading(_) | Slot::Starting(_) => None,
        }
    }

    /// The receiver of a message answered.
    pub(crate) fn answered(&mut self, errand: &Errand, answer: PeerAnswer, now: Timestamp) {
        let (id, key, run_id) = &errand.run;
        let initiated_event_id = errand.initiated_event_id;
        let Some(shard) = self.shards.get_mut(id) else {
            return;
        };
        if !errand.parting {
            let is_open = matches!(shard.slots.get(key),
                Some(Slot::Hot(run)) if run.run_id() == *run_id && run.execution.close_status().is_none());
            if is_open {
                let input = Input::PeerAnswered { initiated_event_id, answer };
                self.input(*id, key.clone(), input, Responder::Nobody, now);
            }
            return;
        }
        // Whatever the answer is: nobody is left to be told, and it will not change.
        let Some(parting) = shard.parting.get_mut(run_id) else {
            return;
        };
        parting.owed.remove(&initiated_event_id);
        if parting.owed.is_empty() {
            self.gather.touch(*id, shard.epoch);
            self.gather.wake_at(&parting.key, Timestamp::MAX);
            shard.parting.remove(run_id);
        }
    }
}
