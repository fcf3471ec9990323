//! What workflow code has recorded without the engine acting on it: which path it took, and what a step returned.
//!
//! A marker is written with the workflow task in which the code asked for it, and read back at replay.

use std::time::Duration;

use crate::failure::{Failure, RetryState};
use crate::ids::{EventId, PatchId, StepName};
use crate::payload::Payload;

/// The code had something recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkerRecorded {
    /// The workflow task that asked.
    pub workflow_task_completed_event_id: EventId,
    /// What it is.
    pub marker: Marker,
}

/// What the code had recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Marker {
    /// The code took the new path of a change.
    Patch {
        /// The change.
        patch_id: PatchId,
        /// Whether the code has nothing but the new path any more: code that does not know the change may ignore the marker.
        deprecated: bool,
    },
    /// A step of the code's is over.
    Step(StepMarker),
}

/// A closure that ran once on the workflow's worker, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepMarker {
    /// Which of the run's steps, counted from 1 in the order in which the code began them.
    pub step_id: u64,
    /// What the code calls it.
    pub name: StepName,
    /// How it ended.
    pub outcome: StepOutcome,
    /// The last attempt, from 1.
    pub attempt: u32,
    /// How long all attempts took together, by the worker's clock.
    pub took: Duration,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// It returned a value.
    Completed {
        /// What it returned.
        result: Option<Payload>,
    },
    /// It returned an error and is not tried again.
    Failed {
        /// The last attempt's failure.
        failure: Failure,
        /// Why it is not tried again.
        retry_state: RetryState,
    },
}

impl Marker {
    /// What kind of marker, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Marker::Patch { .. } => "Patch",
            Marker::Step(_) => "Step",
        }
    }
}
