//! The gRPC services: messages in, core types and requests to shards out.
//!
//! | file | noun |
//! |---|---|
//! | `workflow_service` | starts, signals, reads |
//! | `worker_service` | worker streams, activities from anywhere |
//! | `history` | pages of histories, watching |
//! | `result` | waiting for a run to close |
//! | `validate` | limits of requests that the core does not see |
//! | `status` | errors as gRPC statuses; the only file that decides codes |

mod history;
mod result;
pub(crate) mod status;
pub(crate) mod validate;
pub(crate) mod worker_service;
pub(crate) mod workflow_service;
