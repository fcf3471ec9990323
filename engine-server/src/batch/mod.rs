//! Batches: the same done to every run that a filter means, through crashes and take-overs.
//!
//! | file | noun |
//! |---|---|
//! | `registry` | which shards this server owns, and which of their batches are at work |
//! | `actor` | one batch at work: reads runs page by page, writes how far it has come |
//! | `operation` | what is done to one run |
//! | `reset` | how one run goes on from an earlier point, once |
//!
//! A batch goes through the runs from the latest start to the earliest, beginning with those that had started when it was made. Its row
//! says which run it reached last, so that it needs no list of runs, and whoever acquires its shard goes on from there. What was done after the last
//! write is done again then, and does nothing: signals carry an id that is a function of the batch, resets one that is a function of the batch and
//! the run, the rest cannot happen twice.
//!
//! A request to stop is a write of the row over the revision that was read. The actor, whose next write finds another revision, reads the row
//! and stops; that nothing but the row passes between them makes it hold across servers and crashes.

mod actor;
mod operation;
pub(crate) mod registry;
mod reset;

pub(crate) use actor::meant;
pub(crate) use operation::Standing;
