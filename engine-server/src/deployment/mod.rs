//! Deployments: which versions of workers there are, which task queues belong to them, and which version gets which runs.
//!
//! | file | noun |
//! |---|---|
//! | `state` | [`state::Deployment`]: a deployment, and what changes of it mean. Pure |
//! | `registry` | [`registry::Deployments`]: those that this server knows, as the store has them |
//!
//! A deployment is one row, which whoever changes it replaces as a whole over the revision that it has read; no shard owns it. A server keeps
//! all of them in memory, and the routes that follow from them in its task queues ([`crate::queue::Route`]), where tasks are matched.
//! It reads them at its start, when a worker announces what it does not know, and, while there are any, every
//! [`crate::limits::DEPLOYMENTS_REFRESH`]: for so long it may act by a routing that another server has changed.
//!
//! What is not here: what a run does with versions (`engine_core::execution`), where tasks of a queue go (`queue/route.rs`), the calls
//! (`rpc/deployment_service.rs`).

pub(crate) mod registry;
pub(crate) mod state;
