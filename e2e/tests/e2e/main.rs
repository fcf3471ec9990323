//! What a user relies on, with real processes: servers, workers and Postgres, killed in the middle of their work.

#![allow(clippy::unwrap_used, reason = "tests")]

mod activities;
mod bad_code;
mod bad_requests;
mod bad_servers;
mod commands;
mod databases;
mod kills;
mod open_runs;
mod queries;
mod restarts;
mod schedules;
mod two_servers;
mod versions;
