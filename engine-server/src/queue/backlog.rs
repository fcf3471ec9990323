//! Tasks of one queue that wait for any session, oldest first, with an index by type so that a session that knows few
//! types need not step over what it cannot run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::QueuedTask;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    by_ticket: BTreeMap<u64, QueuedTask>,
    by_type: HashMap<Arc<str>, BTreeSet<u64>>,
}

impl Backlog {
    pub(super) fn insert(&mut self, ticket: u64, task: QueuedTask) {
        self.by_type.entry(Arc::clone(&task.type_name)).or_default().insert(ticket);
        self.by_ticket.insert(ticket, task);
    }

    pub(super) fn remove(&mut self, ticket: u64) -> Option<QueuedTask> {
        let task = self.by_ticket.remove(&ticket)?;
        if let Some(tickets) = self.by_type.get_mut(&task.type_name) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_type.remove(&task.type_name);
            }
        }
        Some(task)
    }

    /// The oldest ticket whose type fits. Asks once for each type that waits, not for each task.
    pub(super) fn first_of(&self, fits: impl Fn(&str) -> bool) -> Option<u64> {
        self.by_type.iter().filter(|(name, _)| fits(name)).filter_map(|(_, tickets)| tickets.first().copied()).min()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &QueuedTask> {
        self.by_ticket.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }
}
