//! The workflow's own state, shared between its code, its query handlers and whatever else reads it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::state::Shared;

const IN_USE: &str =
    "the workflow's state is in use: a guard of `read()` or `write()` is still held in this expression or block";

/// State of a workflow that its queries can read, made by [`super::WorkflowContext::state`]. Clones are the same state.
///
/// Nothing of it is stored: it is what the code has computed, and comes back by replay. The guards of [`WorkflowState::read`] and
/// [`WorkflowState::write`] cannot be held across an `.await`: the compiler refuses it, because a workflow's future must be `Send`
/// and they are not. So whoever reads between two awaits sees the state whole.
pub struct WorkflowState<T> {
    value: Arc<RwLock<T>>,
    shared: Arc<Shared>,
}

impl<T> WorkflowState<T> {
    pub(super) fn new(shared: &Arc<Shared>, value: T) -> Self {
        Self { value: Arc::new(RwLock::new(value)), shared: Arc::clone(shared) }
    }

    /// For reading: `state.read().total`.
    ///
    /// # Panics
    /// If a guard of [`WorkflowState::write`] is held in the same expression or block. The workflow task fails with it.
    pub fn read(&self) -> StateRef<'_, T> {
        StateRef(self.value.try_read().expect(IN_USE))
    }

    /// For changing: `state.write().total += 1`. Conditions of [`super::WorkflowContext::wait_until`] are asked again.
    ///
    /// # Panics
    /// If another guard is held in the same expression or block. The workflow task fails with it.
    pub fn write(&self) -> StateMut<'_, T> {
        if let Some(mut state) = self.shared.lock_as_code() {
            state.progress += 1;
        }
        StateMut(self.value.try_write().expect(IN_USE))
    }
}

impl<T> Clone for WorkflowState<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), shared: Arc::clone(&self.shared) }
    }
}

impl<T: fmt::Debug> fmt::Debug for WorkflowState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.try_read() {
            Some(value) => f.debug_tuple("WorkflowState").field(&*value).finish(),
            None => f.write_str("WorkflowState(in use)"),
        }
    }
}

/// A look at the state. Cannot be held across an `.await`.
#[must_use = "it gives access to the state"]
pub struct StateRef<'a, T>(RwLockReadGuard<'a, T>);

/// Access to the state. Cannot be held across an `.await`.
#[must_use = "it gives access to the state"]
pub struct StateMut<'a, T>(RwLockWriteGuard<'a, T>);

impl<T> Deref for StateRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for StateMut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for StateMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for StateRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for StateMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
