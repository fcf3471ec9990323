//! The test engine, tested: time that skips, mocks, faults, crashes, and what it tells of code that goes wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod crashes;
mod documented;
mod mocks;
mod operated;
mod time;
mod trouble;
mod vocabulary;

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
