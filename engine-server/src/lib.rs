//! The engine's server, as a library: stores, shards, task queues, worker sessions and gRPC services.

pub mod store;
