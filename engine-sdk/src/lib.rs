//! Write durable workflows as ordinary async functions.
//!
//! A **workflow** is code whose every step is recorded: when its process dies, another worker runs it again over the recorded
//! history and goes on from the line where it stopped. An **activity** is a step that touches the world; it runs at least once,
//! with timeouts and retries. A **signal** is a message to a workflow. All three are ordinary functions and types with an
//! attribute, and values that are used the same way everywhere:
//!
//! ```no_run
//! use engine_sdk::prelude::*;
//!
//! #[activity(start_to_close = "10s", retry(max_attempts = 5))]
//! async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[workflow]
//! async fn hello(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
//!     ctx.sleep(hours(1)).await; // survives every restart
//!     Ok(ctx.run(greet, name).await?)
//! }
//!
//! # async fn main_of_the_worker() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("http://127.0.0.1:7400").await?;
//! let worker = Worker::new(client.clone(), "greetings").workflow(hello).activity(greet);
//! tokio::spawn(worker.run());
//! let greeting = client.workflow(hello).id("hello-ada").queue("greetings").run("Ada".to_owned()).await?;
//! # Ok(()) }
//! ```
//!
//! What workflow code may do is all on [`workflow::WorkflowContext`]; the module [`mod@workflow`] says what the order of things is
//! and what dropping a future means. What went wrong is in [`error`], what a value may be in [`data`].

// What the attributes generate names this crate as its users do.
extern crate self as engine_sdk;

pub mod activity;
mod backoff;
pub mod client;
pub mod data;
pub mod definition;
#[cfg(feature = "embedded")]
pub mod engine;
pub mod error;
#[cfg(test)]
mod fake_server;
pub mod prelude;
pub mod replay;
pub mod search;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod worker;
pub mod workflow;

/// What the times of schedules are made of.
pub use engine_core::schedule::{CalendarSpec, OverlapPolicy, Range};
/// What histories and failures are made of, as clients read them.
pub use engine_core::search::{SearchAttributes, SearchType, SearchValue};
pub use engine_core::version::{VersioningBehavior, VersioningOverride, WorkerVersion};
pub use engine_core::{event, failure, ids, time};
#[cfg(feature = "testing")]
pub use engine_sdk_macros::test;
pub use engine_sdk_macros::{activity, allow_nondeterminism, payload, query, signal, update, workflow};

/// What the attributes' code needs. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use engine_core::payload::Payload;
    pub use engine_core::retry::RetryPolicy;
    pub use serde;

    /// Looks into type aliases of `Result`.
    pub trait ResultType {
        type Ok;
    }

    impl<T, E> ResultType for Result<T, E> {
        type Ok = T;
    }
}
