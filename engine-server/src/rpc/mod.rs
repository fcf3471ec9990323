//! The gRPC services: messages in, core types and requests to shards out.
//!
//! | file | noun |
//! |---|---|
//! | `workflow_service` | starts, signals, reads |
//! | `activity_service` | standalone activities |
//! | `again` | standalone activities that run once more |
//! | `worker_service` | worker streams, activities from anywhere |
//! | `batch_service` | the same done to every run that a filter means |
//! | `deployment_service` | deployments: which build gets which runs |
//! | `namespace_service` | namespaces: what is known of them, registered attributes, retention |
//! | `operation_service` | what operators do to runs: deletion, pauses, activities |
//! | `reset` | going on from an earlier point of a run |
//! | `history` | pages of histories, watching |
//! | `published` | what a run has published, now and as of any event |
//! | `query` | asking a run's code |
//! | `result` | waiting for a run to close |
//! | `schedule_service` | schedules |
//! | `update` | sending updates and waiting for them; signals and updates with a start |
//! | `visibility` | lists and counts by a filter |
//! | `validate` | limits of requests that the core does not see |
//! | `status` | errors as gRPC statuses; the only file that decides codes |

pub(crate) mod activity_service;
mod again;
pub(crate) mod batch_service;
pub(crate) mod deployment_service;
pub(crate) mod history;
pub(crate) mod namespace_service;
pub(crate) mod operation_service;
mod published;
mod query;
pub(crate) mod reset;
pub(crate) mod result;
pub(crate) mod schedule_service;
pub(crate) mod status;
mod update;
pub(crate) mod validate;
mod visibility;
pub(crate) mod worker_service;
pub(crate) mod workflow_service;
