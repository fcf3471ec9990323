//! What a user relies on, with real processes: servers, workers and Postgres, killed in the middle of their work.

#![allow(clippy::unwrap_used, reason = "tests")]

mod databases;
mod kills;
