//! One run of a workflow: a fold over its history, and what inputs mean to it.
//!
//! | file | noun |
//! |---|---|
//! | `input` | what can reach a run, what it answers |
//! | `transition` | what an input does: facts, events, progress, effects |
//! | `start` | beginning a run; id-reuse and id-conflict policies |

pub mod input;
pub mod transition;

pub use input::{
    ActivityRef, ActivityToken, Input, Rejection, Reply, StartedActivity, StartedWorkflowTask, WorkflowTaskToken,
};
pub use transition::{ActivityProgress, Effect, Fact, Transition};

use crate::event::Event;
use crate::ids::EventId;
use crate::time::Timestamp;

/// One run of a workflow and its state.
///
/// Calling order: [`Execution::begin`] or [`Execution::replay`] (then [`Execution::restore`]); then for each input
/// [`Execution::decide`], and if the driver goes on with it, [`Execution::absorb`].
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {}

/// A history that this code could not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt history at event {event_id}: {problem}")]
pub struct CorruptHistory {
    /// The first event that does not fit.
    pub event_id: EventId,
    /// What is wrong with it.
    pub problem: String,
}

impl Execution {
    /// Rebuilds the state from the history. Fails only on a history that this code could not have written.
    pub fn replay(_history: &[Event]) -> Result<Execution, CorruptHistory> {
        Ok(Execution {})
    }

    /// Decides what `input` means at `now`. Changes nothing.
    pub fn decide(&self, _input: Input, _now: Timestamp) -> Result<Transition, Rejection> {
        Ok(Transition::reply(Reply::Done))
    }
}
