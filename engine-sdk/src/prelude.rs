//! All that a program of workflows, activities and signals needs: `use engine_sdk::prelude::*;`.

use std::time::Duration;

pub use engine_core::peer::ParentClosePolicy;
pub use engine_core::retry::RetryPolicy;
pub use engine_core::schedule::OverlapPolicy;
pub use engine_core::version::VersioningBehavior;
pub use engine_sdk_macros::{activity, allow_nondeterminism, payload, query, signal, update, workflow};
pub use futures::future::{join_all, try_join_all};
pub use futures::{join, try_join};
pub use serde::{Deserialize, Serialize};

pub use crate::activity::ActivityContext;
pub use crate::client::{
    ActivityHandle, Client, ScheduleHandle, StandaloneFailure, UpdateFailure, WorkflowFailure, WorkflowHandle,
};
pub use crate::data::RawArguments;
#[cfg(feature = "embedded")]
pub use crate::engine::Engine;
pub use crate::error::{ActivityError, ActivityFailure, PeerFailure, WorkflowError};
pub use crate::search::SearchKey;
pub use crate::select;
pub use crate::worker::Worker;
pub use crate::workflow::{
    ActivityCall, ActivityFuture, Canceled, CancellationType, ChildCancellation, ChildHandle, ContinueAsNew, Elapsed,
    Scope, SignalChannel, UpdateChannel, WorkflowContext, WorkflowState, join_all_limited, race,
};

/// So many milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// So many seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many minutes.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// So many hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(3600))
}

/// So many times 24 hours.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 3600))
}
