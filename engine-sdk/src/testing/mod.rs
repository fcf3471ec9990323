//! Tests of workflows: a [`TestEngine`], whose time skips, and code that is replaced, watched and made to fail.
//!
//! ```
//! use engine_sdk::prelude::*;
//! use engine_sdk::testing::TestEngine;
//!
//! #[activity]
//! async fn remind(_ctx: ActivityContext, customer: String) -> Result<(), ActivityError> {
//!     Err(ActivityError::non_retryable(format!("{customer} must not get mail from a test")))
//! }
//!
//! #[workflow]
//! async fn trial(ctx: WorkflowContext, customer: String) -> Result<String, WorkflowError> {
//!     ctx.sleep(days(30)).await;
//!     ctx.run(remind, customer.clone()).await?;
//!     Ok(format!("{customer} was reminded"))
//! }
//!
//! # /* A doc test has no test harness; the attribute is what tests use.
//! #[engine_sdk::test]
//! async fn a_trial_ends_after_thirty_days(env: TestEngine) {
//! # */ engine_sdk::testing::run("doc", std::time::Duration::from_secs(60), |env: TestEngine| async move {
//!     let reminded = env.mock(remind, |_customer| Ok(()));
//!     let began = env.now();
//!     assert_eq!(env.run(trial, "Ada".to_owned()).await.unwrap(), "Ada was reminded");
//!     assert_eq!(env.now().since(began), days(30));
//!     assert_eq!(reminded.calls(), ["Ada"]);
//! # });
//! # /*
//! }
//! # */
//! ```
//!
//! | file | noun |
//! |---|---|
//! | `engine` | [`TestEngine`]: the engine and its clock |
//! | `workers` | its workers, and those that take their places |
//! | `code` | what the worker runs, and what went wrong |
//! | `mock` | [`Mock`]: code that is replaced, watched, made to fail |
//! | `crash` | a workflow run again for each point at which something may go wrong |
//! | `harness` | what `#[engine_sdk::test]` calls |
//! | `run` | [`TestRun`]: a workflow context without an engine, for unit tests |
//! | `script` | its history, written by hand |
//! | `timeline` | histories for people |

mod code;
mod crash;
mod engine;
mod harness;
mod mock;
mod run;
mod script;
mod timeline;
mod workers;

pub use self::engine::{TestEngine, TestEngineBuilder};
#[doc(hidden)]
pub use self::harness::{TestOutcome, run};
pub use self::mock::{Call, Mock, WorkflowMock};
pub use self::run::{TestRun, TestRunBuilder};
pub use self::timeline::timeline;
