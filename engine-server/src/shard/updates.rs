//! Who waits for updates of a shard's runs.
//!
//! The run keeps the update; here is only who is told what became of it. Nothing of it is stored: a caller whose news were lost
//! with the shard's memory asks again with the same update id, and the run, or its history, knows what there is to know.

use engine_core::event::UpdateOutcome;
use engine_core::execution::UpdateAnswer;
use engine_core::failure::Failure;
use engine_core::ids::{RunId, UpdateId};
use tokio::sync::watch;

use crate::hash::HashMap;

/// Watchers from which dead ones are looked for, whenever their number has doubled.
const SWEEP_FROM: usize = 64;

/// The latest that is durable of an update.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum UpdateNews {
    /// Nothing since the watcher began.
    #[default]
    Waiting,
    /// The code took it on.
    Accepted,
    /// The code refused it.
    Rejected(Failure),
    /// It has its outcome.
    Completed(UpdateOutcome),
    /// The run closed before the code saw it.
    RunClosed,
    /// The shard was lost: ask again.
    Lost,
}

impl From<UpdateAnswer> for UpdateNews {
    fn from(answer: UpdateAnswer) -> Self {
        match answer {
            UpdateAnswer::Accepted { .. } => UpdateNews::Accepted,
            UpdateAnswer::Rejected { failure } => UpdateNews::Rejected(failure),
            UpdateAnswer::Completed { outcome } => UpdateNews::Completed(outcome),
            UpdateAnswer::RunClosed => UpdateNews::RunClosed,
        }
    }
}

/// Who waits for which update.
#[derive(Debug, Default)]
pub(crate) struct UpdateWatchers(HashMap<(RunId, UpdateId), watch::Sender<UpdateNews>>);

impl UpdateWatchers {
    /// Begins to watch an update.
    pub(crate) fn watch(&mut self, run_id: RunId, update_id: UpdateId) -> watch::Receiver<UpdateNews> {
        if self.0.len() >= SWEEP_FROM && self.0.len().is_power_of_two() {
            self.0.retain(|_, sender| sender.receiver_count() > 0);
        }
        self.0.entry((run_id, update_id)).or_insert_with(|| watch::Sender::new(UpdateNews::default())).subscribe()
    }

    /// News of an update became durable.
    pub(crate) fn publish(&mut self, run_id: RunId, update_id: UpdateId, answer: UpdateAnswer) {
        let key = (run_id, update_id);
        let Some(sender) = self.0.get(&key) else { return };
        let news = UpdateNews::from(answer);
        let is_last = news != UpdateNews::Accepted;
        let is_heard = sender.send(news).is_ok();
        if is_last || !is_heard {
            self.0.remove(&key);
        }
    }

    /// The shard's memory is lost.
    pub(crate) fn lose(self) {
        self.0.into_values().for_each(|sender| drop(sender.send(UpdateNews::Lost)));
    }
}
