//! The engine's server, as a library: stores, shards, task queues, worker sessions and gRPC services.
//!
//! [`Server`] puts them together. `ARCHITECTURE.md` at the root of the repository tells the way of a request through them.

mod batch;
pub mod clock;
mod deployment;
mod hash;
mod housekeeping;
pub mod limits;
mod namespaces;
mod node;
pub mod queue;
mod rpc;
mod schedule;
mod server;
mod session;
mod shard;
pub mod store;

pub use clock::Clock;
pub use node::NodeOptions;
pub use schedule::ScheduleClock;
pub use server::{Server, ServerFailure};
pub use shard::shard_of;
