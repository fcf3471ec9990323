//! What a run is listed by and what people are shown of it, changed by its code; and changes of the code itself.

use std::collections::BTreeMap;
use std::panic::Location;

use engine_core::event::{PropertyChanges, WorkflowTaskFailureCause};
use engine_core::ids::PatchId;
use serde::Serialize;

use super::context::WorkflowContext;
use crate::data;
use crate::search::SearchChange;

impl WorkflowContext {
    /// Changes what the run is listed by; attributes that are not named stay as they are. Their names and types are registered in
    /// the namespace: one that is not known there, or has another type, fails the workflow task.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// const CENTS: SearchKey<i64> = SearchKey::int("cents");
    /// const DESK: SearchKey<str> = SearchKey::keyword("desk");
    /// # #[workflow]
    /// # async fn order(ctx: WorkflowContext, cents: i64) -> Result<(), WorkflowError> {
    /// ctx.upsert_search_attributes([CENTS.set(cents), DESK.remove()]);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn upsert_search_attributes(&self, changes: impl IntoIterator<Item = SearchChange>) {
        let place = Location::caller();
        let changes: Result<BTreeMap<_, _>, String> = changes.into_iter().map(SearchChange::into_parts).collect();
        let Some(mut state) = self.shared().lock_as_code() else { return };
        match changes {
            Ok(changes) => {
                state.progress += 1;
                state.replayer.at(place, |replayer| replayer.upsert_search_attributes(changes));
            }
            Err(problem) => {
                let message = format!("ctx.upsert_search_attributes: {problem}");
                state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidName", message);
            }
        }
    }

    /// Sets an entry of the run's memo: a fact for people, which runs are not listed by.
    #[track_caller]
    pub fn upsert_memo<T: Serialize + ?Sized>(&self, key: impl Into<String>, value: &T) {
        let (key, value) = (key.into(), data::encode(value));
        match value {
            Ok(value) => {
                self.modify(PropertyChanges { memo: BTreeMap::from([(key, Some(value))]), current_details: None })
            }
            Err(error) => {
                if let Some(mut state) = self.shared().lock_as_code() {
                    let message = format!("ctx.upsert_memo({key:?}): {error}");
                    state.fail_task(WorkflowTaskFailureCause::BadCommand, "DataError", message);
                }
            }
        }
    }

    /// Takes an entry of the run's memo away.
    #[track_caller]
    pub fn remove_memo(&self, key: impl Into<String>) {
        self.modify(PropertyChanges { memo: BTreeMap::from([(key.into(), None)]), current_details: None });
    }

    /// Says what the run is at, for people: shown by describe, at most 20,000 bytes. Each call is an event.
    #[track_caller]
    pub fn set_current_details(&self, details: impl Into<String>) {
        self.modify(PropertyChanges { memo: BTreeMap::new(), current_details: Some(details.into()) });
    }

    #[track_caller]
    fn modify(&self, changes: PropertyChanges) {
        let place = Location::caller();
        if let Some(mut state) = self.shared().lock_as_code() {
            state.progress += 1;
            state.replayer.at(place, |replayer| replayer.modify_properties(changes));
        }
    }

    /// Whether this run is to take the new path of a change: true for a run that gets here for the first time, which is recorded;
    /// false for one whose history was made by the code from before. The first answer holds for the whole run.
    ///
    /// Once no run of the old code is open, [`WorkflowContext::deprecate_patch`] takes its place; once no run is open that was
    /// recorded with the former, that goes too.
    ///
    /// ```
    /// # use engine_sdk::prelude::*;
    /// # #[activity]
    /// # async fn post(_ctx: ActivityContext) -> Result<(), ActivityError> { Ok(()) }
    /// # #[activity]
    /// # async fn courier(_ctx: ActivityContext) -> Result<(), ActivityError> { Ok(()) }
    /// # #[workflow]
    /// # async fn ship(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    /// if ctx.patched("ship by courier") {
    ///     ctx.run(courier, ()).await?;
    /// } else {
    ///     ctx.run(post, ()).await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn patched(&self, patch_id: &str) -> bool {
        self.patch(patch_id, false)
    }

    /// Says that the code has nothing but the new path of a change any more. Runs recorded with [`WorkflowContext::patched`] go on,
    /// and code that does not mention the change at all can replay what is recorded from here on.
    #[track_caller]
    pub fn deprecate_patch(&self, patch_id: &str) {
        self.patch(patch_id, true);
    }

    #[track_caller]
    fn patch(&self, patch_id: &str, deprecated: bool) -> bool {
        let place = Location::caller();
        let Some(mut state) = self.shared().lock_as_code() else { return false };
        match PatchId::parse(patch_id) {
            Ok(id) => {
                state.progress += 1;
                state.replayer.at(place, |replayer| replayer.patched(id, deprecated))
            }
            Err(error) => {
                let message = format!("ctx.patched: the id {patch_id:?} {error}");
                state.fail_task(WorkflowTaskFailureCause::BadCommand, "InvalidName", message);
                false
            }
        }
    }
}
