//! What is stored of a schedule: its definition, and how far it has come. Plain data.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::spec::ScheduleSpec;
use crate::event::CloseStatus;
use crate::ids::RunId;
use crate::limits::CATCH_UP_WINDOW_DEFAULT;
use crate::time::Timestamp;

/// What becomes of a start while an earlier one of the same schedule still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OverlapPolicy {
    /// It is left out.
    #[default]
    Skip,
    /// It waits for the end of what runs; at most one waits, further ones are left out.
    BufferOne,
    /// It waits for the end of what runs, and of all that waits before it.
    BufferAll,
    /// What runs is asked to stop; the start comes when it has. Of several, the last.
    CancelOther,
    /// What runs is terminated; the start comes then. Of several, the last.
    TerminateOther,
    /// It does not wait.
    AllowAll,
}

/// How a schedule behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulePolicies {
    /// What becomes of a start while an earlier one still runs.
    pub overlap: OverlapPolicy,
    /// How late a time may happen, after an outage. Older ones are counted as missed.
    pub catch_up_window: Duration,
    /// Whether the schedule pauses itself when a run that it started fails or times out.
    pub pause_on_failure: bool,
}

impl Default for SchedulePolicies {
    fn default() -> Self {
        Self { overlap: OverlapPolicy::Skip, catch_up_window: CATCH_UP_WINDOW_DEFAULT, pause_on_failure: false }
    }
}

/// What a schedule starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledStart {
    /// The workflow ids begin with this; the time follows.
    pub workflow_id: String,
    /// Everything else about the start, encoded by who makes it. Opaque here.
    pub request: Bytes,
}

/// What users decide about a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// When.
    pub spec: ScheduleSpec,
    /// What.
    pub start: ScheduledStart,
    /// How.
    pub policies: SchedulePolicies,
}

/// A start that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Counts the schedule's starts. The request id of the start is made of it, so that a repeat is harmless.
    pub number: u64,
    /// The time that it is for.
    pub nominal: Timestamp,
    /// How it deals with others.
    pub overlap: OverlapPolicy,
    /// Whether a person asked for it (trigger, backfill): it happens while the schedule is paused and does not count towards its limit.
    pub manual: bool,
}

/// How a run can be made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stop {
    /// Ask it to stop.
    Cancel,
    /// Stop it unasked.
    Terminate,
}

/// A run that the schedule started, not known to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Of its start.
    pub number: u64,
    /// Its workflow id.
    pub workflow_id: String,
    /// The first run of its chain.
    pub run_id: RunId,
    /// What shall be done to it.
    pub wanted: Option<Stop>,
    /// What was done to it.
    pub sent: Option<Stop>,
}

/// How a run ended, or that it did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// It closed.
    Closed {
        /// How.
        status: CloseStatus,
        /// The message of its failure, if it has one.
        message: String,
    },
    /// It is not to be found any more.
    Gone,
    /// The start was refused.
    Refused {
        /// Why.
        problem: String,
    },
}

/// One of the latest starts, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Of the start.
    pub number: u64,
    /// The time that it was for.
    pub nominal: Timestamp,
    /// When it was made.
    pub at: Timestamp,
    /// Its workflow id.
    pub workflow_id: String,
    /// The run, unless the start was refused.
    pub run_id: Option<RunId>,
    /// How it ended, if that is known.
    pub outcome: Option<StartOutcome>,
}

/// The last run that ended in one way, for those that follow: they are told its result or its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its workflow id.
    pub workflow_id: String,
    /// The first run of its chain.
    pub run_id: RunId,
}

/// Times of the past that are still to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Times named up to here are done.
    pub after: Timestamp,
    /// The last time that belongs to it.
    pub until: Timestamp,
    /// How its starts deal with others.
    pub overlap: OverlapPolicy,
}

/// What became of the times of a schedule. The numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Started.
    pub started: u64,
    /// Refused when they were to be started.
    pub refused: u64,
    /// Left out, because of the overlap policy, a pause or the limit.
    pub skipped: u64,
    /// Left out, because too many waited.
    pub dropped: u64,
    /// Older than the catch-up window when the schedule could act. After a very long outage a lower bound.
    pub missed: u64,
}

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleState {
    /// Counts the changes that people make (and pauses of the schedule's own): the conflict token.
    pub version: u64,
    /// When it was created. Part of the request ids of its starts, so that a schedule made anew under an old id repeats nothing.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub updated_at: Timestamp,
    /// Whether its times pass without a start.
    pub paused: bool,
    /// Why, for people.
    pub note: String,
    /// How many more starts it makes by itself. `None`: no limit.
    pub remaining: Option<u64>,
    /// Times named up to here are decided.
    pub done_until: Timestamp,
    /// Number of the next start.
    pub next_number: u64,
    /// Decided, but not before others end.
    pub waiting: VecDeque<Planned>,
    /// Decided, to be made now: the outbox.
    pub starting: Vec<Planned>,
    /// Made, and watched.
    pub running: Vec<Running>,
    /// Not done.
    pub backfills: VecDeque<Backfill>,
    /// Latest last.
    pub recent: VecDeque<Recent>,
    /// The last that completed.
    pub last_completed: Option<Ended>,
    /// The last, if it failed or timed out.
    pub last_failed: Option<Ended>,
    /// Totals.
    pub counters: Counters,
    /// Of the latest patches.
    pub request_ids: VecDeque<String>,
}
