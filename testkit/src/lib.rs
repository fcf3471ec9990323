//! What tests of several crates share: private Postgres clusters and child processes.
//!
//! | module | gives |
//! |---|---|
//! | [`postgres`] | a Postgres cluster of one's own, which can be killed and restarted, and databases in it |
//! | [`process`] | a child process whose output lines can be waited for |
//!
//! Nothing here outlives the test process, not even one that is killed with SIGKILL.

pub mod postgres;
pub mod process;
