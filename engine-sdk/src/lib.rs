//! Write durable workflows as ordinary async functions.

// What the attributes generate names this crate as its users do.
extern crate self as engine_sdk;

pub mod activity;
mod backoff;
pub mod client;
pub mod data;
pub mod definition;
pub mod error;
#[cfg(test)]
mod fake_server;
pub mod prelude;
pub mod transport;
pub mod worker;
pub mod workflow;

pub use engine_sdk_macros::{activity, payload, signal, workflow};

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
