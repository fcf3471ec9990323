//! One shard: what is in memory of it, and the sets that say when to look at it.

use std::collections::BTreeSet;

use engine_core::execution::Effect;
use engine_core::ids::RunId;
use engine_core::time::Timestamp;
use tokio::sync::watch;

use crate::hash::{HashMap, HashSet};
use crate::shard::request::{LocalKey, News, RequestKind, StartRequest};
use crate::shard::run::HotRun;
use crate::shard::updates::UpdateWatchers;
use crate::store::{Epoch, ShardId, StoredRun};

use super::ShardOptions;
use super::parting::Parting;

/// One shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) epoch: Epoch,
    pub(super) slots: HashMap<LocalKey, Slot>,
    pub(super) deadlines: BTreeSet<(Timestamp, LocalKey)>,
    pub(super) idle: BTreeSet<(Timestamp, LocalKey)>,
    pub(super) subscriptions: HashMap<RunId, watch::Sender<News>>,
    pub(super) update_watchers: UpdateWatchers,
    /// What closed runs still owe others.
    pub(super) parting: HashMap<RunId, Parting>,
    /// Until then workers may claim what they had in hand.
    pub(super) grace_until: Option<Timestamp>,
    pub(super) in_doubt: Vec<LocalKey>,
    /// Whether a scan of it is under way.
    pub(super) scanning: bool,
    /// Workflow ids whose run left memory while a scan was under way: what it read of them may be older.
    pub(super) left: HashSet<LocalKey>,
    /// The earliest that a parked run must be looked at.
    pub(super) next_wake: Timestamp,
}

#[derive(Debug)]
pub(super) enum Slot {
    /// The store is being asked; what arrives meanwhile waits.
    Loading(Loading),
    /// A run is on its way to the store as the first of its workflow id; what arrives meanwhile waits.
    Starting(Box<Starting>),
    Hot(Box<HotRun>),
}

/// A workflow id whose latest run is being looked up.
#[derive(Debug, Default)]
pub(super) struct Loading {
    pub(super) waiting: Vec<RequestKind>,
    /// What a scan read of it meanwhile, for the case that the look-up fails.
    pub(super) scanned: Option<Box<StoredRun>>,
}

/// A start that nothing was looked up for. The store writes it if the workflow id has no run.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) run: HotRun,
    /// What the run has the world do, once it is known to be the first.
    pub(super) effects: Vec<Effect>,
    /// The start as it arrived, to be decided with what there is if it is not.
    pub(super) request: StartRequest,
    pub(super) waiting: Vec<RequestKind>,
}

impl Shard {
    pub(super) fn next_due(&self, options: ShardOptions) -> Option<Timestamp> {
        let grace = self.grace_until.filter(|_| !self.scanning);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let wake = (!self.scanning && self.next_wake < Timestamp::MAX).then_some(self.next_wake);
        let park = self.idle.first().map(|(touched, _)| *touched + options.park_after);
        [grace, deadline, wake, park].into_iter().flatten().min()
    }

    /// Keeps the sets of deadlines and of idle runs in step with the run.
    pub(super) fn register(&mut self, key: &LocalKey, now: Timestamp) {
        let Some(Slot::Hot(run)) = self.slots.get_mut(key) else {
            return;
        };
        let deadline = run.execution.next_deadline();
        if deadline != run.registered_deadline {
            if let Some(old) = run.registered_deadline {
                self.deadlines.remove(&(old, key.clone()));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, key.clone()));
            }
            run.registered_deadline = deadline;
        }
        let idle = run.execution.is_idle() && run.parking_in.is_none();
        if idle != run.registered_idle {
            if idle {
                run.shrink();
                run.touched_at = now;
                self.idle.insert((now, key.clone()));
            } else {
                self.idle.remove(&(run.touched_at, key.clone()));
            }
            run.registered_idle = idle;
        }
    }

    /// A run left memory.
    pub(super) fn leaves(&mut self, key: &LocalKey) {
        if self.scanning {
            self.left.insert(key.clone());
        }
    }

    /// A page of a scan was dealt with. Nothing that is read from here on is older than what left memory before.
    pub(super) fn page_ends(&mut self, is_last: bool) {
        self.left = HashSet::default();
        self.scanning = !is_last;
    }

    /// A run left its slot: nothing in the sets may lead to it.
    pub(super) fn unregister(&mut self, key: &LocalKey, run: &HotRun) {
        if let Some(deadline) = run.registered_deadline {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        if run.registered_idle {
            self.idle.remove(&(run.touched_at, key.clone()));
        }
    }
}

impl HotRun {
    /// The run changed: among the idle runs it becomes the youngest.
    pub(super) fn touched_at_changes(
        &mut self,
        idle: &mut BTreeSet<(Timestamp, LocalKey)>,
        key: &LocalKey,
        now: Timestamp,
    ) {
        if std::mem::take(&mut self.registered_idle) {
            idle.remove(&(self.touched_at, key.clone()));
        }
        self.touched_at = now;
    }
}
