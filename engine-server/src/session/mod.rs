//! Worker sessions: one bidirectional stream for each worker process.
//!
//! | file | noun |
//! |---|---|
//! | `handle` | a stream as the rest of the server sees it, with what is in the worker's hand |
//! | `registry` | all streams, and tasks whose stream broke |
//! | `inbound` | what comes up a stream |
//! | `outbound` | what goes down, gathered into few messages |
//!
//! A task is in exactly one of these: the queues, one session's hand, or the registry's lost tasks (an activity whose stream
//! broke and whose grace runs). Whoever removes it from there deals with it.

mod handle;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod registry;

pub(crate) use handle::{InHand, NotAsked, Outbound, Session};
