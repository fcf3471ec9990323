//! Values that anybody can read with no worker running.

use std::panic::Location;
use std::sync::Arc;

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::ids::PublishedName;
use engine_core::limits;
use serde::Serialize;

use super::state::Shared;
use crate::data;

/// Issues the value, or fails the workflow task with a sentence that says why it cannot be published: the engine would refuse it
/// too, but only with all that the task did.
#[track_caller]
pub(super) fn publish<T: Serialize + ?Sized>(shared: &Arc<Shared>, name: &str, value: &T) {
    let place = Location::caller();
    // Encoded without the lock: the value's code is the user's.
    let value = data::encode(value);
    let Some(mut state) = shared.lock_as_code() else { return };
    let cause = WorkflowTaskFailureCause::BadCommand;
    let name = match PublishedName::parse(name) {
        Ok(name) => name,
        Err(error) => {
            return state.fail_task(cause, "InvalidName", format!("ctx.publish: the name {name:?} {error}"));
        }
    };
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            return state.fail_task(cause, "DataError", format!("ctx.publish({:?}): {error}", name.as_str()));
        }
    };
    let (size, limit) = (value.size(), limits::PUBLISHED_VALUE_BYTES_MAX);
    if size > limit {
        let message = format!(
            "ctx.publish({:?}): the value is {size} bytes large; the limit is {limit} bytes: publish what people look at",
            name.as_str()
        );
        return state.fail_task(cause, "TooLarge", message);
    }
    state.progress += 1;
    state.replayer.at(place, |replayer| replayer.publish_state(name, || value));
}
