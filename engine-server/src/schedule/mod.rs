//! Schedules at the rim: who owns them, when they are looked at, and how what they owe is done. The rules are in `engine_core::schedule`.
//!
//! | file | noun |
//! |---|---|
//! | `clock` | the time by which schedules act |
//! | `registry` | which schedules are in memory, and where they are reached |
//! | `keeper` | wakes the schedules whose time has come |
//! | `actor` | one schedule in memory: decides, stores, does what is owed |
//! | `errand` | starting, watching and stopping workflows |
//!
//! Invariants:
//! - **A schedule is written by its shard's owner only**: each write carries the epoch under which the shard was acquired, and the
//!   revision that it replaces.
//! - **The intention is stored before the deed**: a start is in the row before it is made, under a request id and a workflow id that are
//!   functions of the schedule and the time. A crash in between finds it in the row and makes it again, which the engine recognizes.
//! - **Whatever is in doubt is forgotten**: after a failed write the schedule leaves memory, and is read again.
//! - A schedule is in memory while it owes something or waits for a run; else it is a row, read when its time has come.

mod actor;
mod clock;
mod errand;
mod keeper;
pub(crate) mod registry;

pub(crate) use actor::refusal;
pub use clock::ScheduleClock;
pub(crate) use keeper::keep;
