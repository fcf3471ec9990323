//! Conversion between messages and core types, both ways and without loss.
//!
//! | file | noun |
//! |---|---|
//! | `error` | [`ConvertError`]: which field of a request is wrong, and how |
//! | `field` | identifiers, required fields, enums |
//! | `time` | durations and instants |
//! | `marker` | markers |
//! | `search` | search attributes, and other things that are shown of a run |
//! | `payload` | payloads |
//! | `failure` | failures, and their limits when they come from outside |
//! | `policy` | retry policies and activity timeouts |
//! | `peer` | children, and messages to other workflows |
//! | `command` | commands |
//! | `update` | updates |
//! | `event` | events |
//! | `history` | encoded histories and the rows that they are stored in |
//! | `schedule` | schedules |
//! | `status` | where a run stands |
//! | `version` | versions of workers |
//!
//! Names say the direction: `*_to_proto` always succeeds; `*_from_proto` refuses what the core could not hold and names the
//! field relative to its argument. A caller adds where it found the message with [`ConvertError::inside`].
//!
//! What is not here: limits that depend on state or on a whole request (total payload size, number of commands); the core
//! and the server's rim check them.

mod command;
mod error;
mod event;
mod failure;
mod field;
mod history;
mod marker;
mod payload;
mod peer;
mod policy;
#[cfg(test)]
mod samples;
mod schedule;
mod search;
mod status;
mod time;
mod update;
mod version;

pub use command::{command_from_proto, command_to_proto, commands_from_proto};
pub use error::ConvertError;
pub use event::{
    encode_event, event_for_replay, event_from_proto, event_to_proto, worker_metadata_from_proto,
    worker_metadata_to_proto, workflow_started_from_proto, workflow_started_to_proto,
};
pub use failure::{failure_from_outside, failure_from_proto, failure_to_proto};
pub use field::{optional_id, optional_run_id, required, required_id, run_id};
pub use history::{HISTORY_JSON_FORMAT, encode_row, event_id_of};
pub use marker::{marker_from_proto, marker_to_proto};
pub use payload::{
    memo_from_proto, memo_to_proto, payload_from_proto, payload_to_proto, payloads_from_proto, payloads_to_proto,
};
pub use peer::{parent_close_policy_to_proto, reuse_policy_from_proto, reuse_policy_to_proto};
pub use policy::{
    activity_timeouts_from_proto, activity_timeouts_to_proto, cron_from_proto, cron_to_proto, retry_policy_from_proto,
    retry_policy_to_proto,
};
pub use schedule::{
    calendar_to_proto, decode_schedule, encode_schedule, overlap_policy_from_proto, overlap_policy_to_proto,
    schedule_policies_from_proto, schedule_policies_to_proto, schedule_spec_from_proto, schedule_spec_to_proto,
    schedule_status_to_proto,
};
pub use search::{
    property_changes_from_proto, property_changes_to_proto, search_attributes_from_proto, search_attributes_to_proto,
    search_changes_from_proto, search_changes_to_proto, search_type_from_proto, search_type_to_proto,
    search_value_from_proto, search_value_to_proto,
};
pub use status::{
    close_status_from_proto, close_status_to_proto, retry_state_from_proto, retry_state_to_proto,
    timeout_kind_from_proto, timeout_kind_to_proto, workflow_task_failure_cause_from_proto,
    workflow_task_failure_cause_to_proto,
};
pub use time::{
    duration_from_proto, duration_to_proto, optional_duration_from_proto, timestamp_from_proto, timestamp_to_proto,
};
pub use update::{
    rejected_update_to_proto, rejected_updates_from_proto, update_outcome_from_proto, update_outcome_to_proto,
    update_request_from_proto, update_request_from_trusted, update_request_to_proto,
};
pub use version::{
    versioning_behavior_from_proto, versioning_behavior_to_proto, versioning_override_from_proto,
    versioning_override_to_proto, worker_version_from_proto, worker_version_to_proto,
};
