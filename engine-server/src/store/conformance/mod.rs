//! What every store must do, as tests that run on any of them.
//!
//! A store's integration test says how to make an empty one ([`Subject`]) and calls [`store_conformance!`]
//! (crate::store_conformance), which turns each function of these modules into a test:
//!
//! | module | proves |
//! |---|---|
//! | [`bootstrap`] | migrations, namespaces |
//! | [`ownership`] | leases, shards, epochs, the fence |
//! | [`batches`] | what a batch writes is what is read back, all of it or nothing |
//! | [`doubt`] | what is left after a commit of unknown outcome |
//! | [`reads`] | order, pages and filters |
//! | [`schedules`] | the rows of schedules |
//! | [`deployments`] | the rows of deployments |
//! | [`batch_rows`] | the rows of batches that users start; `batches` are commits |
//!
//! The functions panic on the first broken promise, as tests do.

pub mod batch_rows;
pub mod batches;
pub mod bootstrap;
pub mod deployments;
pub mod doubt;
pub mod ownership;
pub mod reads;
pub mod schedules;
mod world;

use std::sync::Arc;

use async_trait::async_trait;

use super::Store;
pub use world::{Run, World, node};

/// One place where a store can keep data; empty and not migrated at first.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A store over the place, as another process would open it; where only one process may, the one that is open.
    async fn open(&self) -> Arc<dyn Store>;

    /// Closes all that is open and opens it again.
    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// Makes a test of each conformance function. `$subject` is an expression that gives a fresh [`Subject`]; it may `await`.
#[macro_export]
macro_rules! store_conformance {
    ($subject:expr) => {
        $crate::store_conformance! { @tests $subject;
            bootstrap::migrating_twice_changes_nothing,
            bootstrap::concurrent_migrations_wait_for_each_other,
            bootstrap::a_store_that_was_not_migrated_says_what_to_do,
            bootstrap::a_senseless_number_of_shards_is_refused,
            bootstrap::namespaces_are_numbered_and_their_names_unique,
            bootstrap::a_namespace_is_updated_by_who_saw_its_latest_version,
            ownership::a_lease_is_lost_to_a_later_incarnation,
            ownership::a_node_takes_over_what_its_name_owned_at_once,
            ownership::another_node_takes_over_only_after_the_lease_ran_out,
            ownership::released_shards_are_free_at_once,
            ownership::a_superseded_incarnation_releases_nothing,
            ownership::only_the_wanted_shards_are_taken,
            ownership::a_node_without_a_lease_acquires_nothing,
            ownership::a_batch_with_an_old_epoch_writes_nothing,
            ownership::a_batch_for_a_shard_that_is_not_there_is_fenced,
            ownership::two_owners_that_race_never_both_write,
            batches::all_that_was_written_is_read_back_byte_for_byte,
            batches::a_run_can_be_closed_and_parked_in_one_batch,
            batches::a_run_that_opens_and_closes_in_one_batch_is_never_due,
            batches::buffered_events_are_replaced_as_a_whole,
            batches::progress_is_replaced_and_deleted,
            batches::a_key_that_was_not_new_fails_the_whole_batch,
            batches::a_run_that_is_not_the_first_of_its_id_is_left_out,
            batches::a_change_of_a_missing_run_fails_the_whole_batch,
            batches::an_empty_batch_still_checks_its_epochs,
            batches::large_rows_and_large_batches_are_kept,
            batches::commits_and_rows_are_counted,
            batches::search_attributes_are_written_with_a_run_and_replaced,
            batches::deleted_runs_leave_nothing_behind,
            doubt::a_batch_that_failed_before_it_was_applied_leaves_nothing,
            doubt::a_batch_that_failed_after_it_was_applied_is_all_there,
            doubt::a_batch_that_arrives_after_the_takeover_writes_nothing,
            doubt::a_batch_under_way_is_seen_by_the_next_owner_or_fenced,
            reads::the_latest_runs_come_in_the_order_of_the_keys,
            reads::runs_are_loaded_in_the_order_of_the_keys,
            reads::due_runs_come_in_pages_and_tell_the_next_wake,
            reads::closed_runs_that_owe_messages_come_by_run_id_until_they_owe_none,
            reads::a_history_is_read_from_any_event_in_both_directions,
            reads::lists_are_filtered_and_come_in_pages,
            reads::the_earliest_runs_come_first,
            schedules::a_schedule_is_written_only_over_the_revision_that_its_writer_knows,
            schedules::a_schedule_is_not_written_under_an_old_epoch,
            schedules::due_schedules_come_in_pages_and_tell_the_next_instant,
            schedules::schedules_are_listed_by_id_in_pages,
            batch_rows::a_batch_is_written_only_over_the_revision_that_its_writer_knows,
            batch_rows::a_batch_is_not_written_under_an_old_epoch,
            batch_rows::batches_are_found_by_shard_while_they_work_and_listed_by_id,
            deployments::a_deployment_is_written_only_over_the_revision_that_its_writer_knows,
            deployments::deployments_come_by_namespace_and_name_and_go_with_their_namespace,
        }
    };
    (@tests $subject:expr; $($module:ident :: $name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let subject = $subject;
                $crate::store::conformance::$module::$name(&subject).await;
            }
        )*
    };
}
