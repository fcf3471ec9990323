//! Values that the activities of a worker share, found by their type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use engine_core::ids::ActivityType;

/// One value for each type. Filled before the worker runs, then only read.
#[derive(Clone, Default)]
pub(crate) struct SharedState {
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl SharedState {
    /// Adds a value, in place of an earlier one of the same type.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: Arc<T>) {
        self.values.insert(TypeId::of::<T>(), value);
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref())
    }

    pub(crate) fn get_arc<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.values.get(&TypeId::of::<T>()).and_then(|value| Arc::clone(value).downcast().ok())
    }

    /// The sentence about a value that was not registered.
    pub(crate) fn missing<T>(&self, activity_type: &ActivityType) -> String {
        format!(
            "activity {activity_type} asks for state of type `{}`, which this worker does not have: register it with \
             `Worker::state(value)`",
            type_name::<T>()
        )
    }
}

/// The queue that its worker alone serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnQueue(pub(crate) String);

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedState").field("values", &self.values.len()).finish()
    }
}
