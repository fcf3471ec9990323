//! The rules of durable workflows, as pure functions of state, input and time.
//!
//! Two halves, neither of which does I/O, asks for the time or draws random numbers:
//! - [`execution`]: the server's half. [`execution::Execution`] folds a history into state and decides what an input means.
//! - [`replay`]: the worker's half. It walks a history, hands outcomes to workflow code and compares the commands that the
//!   code issues with those that history has.
//!
//! What is not here: encoding (crate `engine-proto`), storage, task queues and sessions (`engine-server`), futures
//! (`engine-sdk`).
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod command;
pub mod cron;
pub mod event;
pub mod execution;
pub mod failure;
pub mod filter;
pub mod ids;
pub mod limits;
pub mod marker;
pub mod payload;
pub mod peer;
pub mod replay;
pub mod retry;
pub mod schedule;
pub mod search;
pub mod time;
pub mod version;

// The tests of this crate and those in `tests/` share their helpers, which name the crate from outside.
#[cfg(test)]
extern crate self as engine_core;
