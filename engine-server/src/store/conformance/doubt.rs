//! Commits of unknown outcome. Their shards are acquired anew and reloaded, and then there is all of the batch or nothing
//! of it, for good.

use std::sync::Arc;

use super::{Run, Subject, World};
use crate::store::faulty::{Fault, FaultyStore, Gate};
use crate::store::{Store, StoreError};

/// A world whose store has a fault for its next commit.
async fn faulty(subject: &dyn Subject, fault: Fault) -> (World, Arc<FaultyStore>) {
    let mut world = World::create(subject).await;
    let store = FaultyStore::new(Arc::clone(&world.store));
    world.store = Arc::clone(&store) as Arc<dyn Store>;
    store.plan_next(fault);
    (world, store)
}

/// Writes a run and expects not to learn what came of it.
async fn write_in_doubt(world: &World, run: &Run) {
    let mut batch = world.batch();
    run.add_to(&mut batch);
    let error = world.store.commit(&batch).await.expect_err("in doubt");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

/// Nothing, and the same rows can be written after a reload.
pub async fn a_batch_that_failed_before_it_was_applied_leaves_nothing(subject: &dyn Subject) {
    let (mut world, _) = faulty(subject, Fault::FailBefore).await;
    let run = Run::new(1, 1);
    write_in_doubt(&world, &run).await;
    world.own_everything().await;
    assert_eq!(world.load(run.key()).await, None);
    world.write([&run]).await;
    assert_eq!(world.load(run.key()).await, Some(run.stored));
}

/// All, so whoever reloads goes on from there.
pub async fn a_batch_that_failed_after_it_was_applied_is_all_there(subject: &dyn Subject) {
    let (mut world, _) = faulty(subject, Fault::FailAfter).await;
    let run = Run::new(1, 1);
    write_in_doubt(&world, &run).await;
    world.own_everything().await;
    assert_eq!(world.load(run.key()).await, Some(run.stored));
}

/// A packet that the network kept for a while. Reloading would be worth nothing otherwise.
pub async fn a_batch_that_arrives_after_the_takeover_writes_nothing(subject: &dyn Subject) {
    let gate = Gate::new();
    let (mut world, store) = faulty(subject, Fault::ApplyLate(gate.clone())).await;
    let run = Run::new(1, 1);
    write_in_doubt(&world, &run).await;
    world.own_everything().await;
    assert_eq!(world.load(run.key()).await, None);
    gate.open();
    assert!(!store.late_outcome().await, "it was applied after its shards had been acquired anew");
    assert_eq!(world.load(run.key()).await, None);
}

/// Many times, commit and takeover at the same moment: whichever comes first, the new owner's view is the last word.
pub async fn a_batch_under_way_is_seen_by_the_next_owner_or_fenced(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let other = subject.open().await;
    for number in 0..40 {
        let run = Run::new((number % 8) as i32, number);
        let mut batch = world.batch();
        run.add_to(&mut batch);
        let takeover = async {
            let acquisition = other.acquire_shards(&world.node, None).await.expect("acquire");
            let loaded = other.load_runs(std::slice::from_ref(run.key())).await.expect("load").remove(0);
            (acquisition, loaded)
        };
        let (committed, (acquisition, loaded)) = tokio::join!(world.store.commit(&batch), takeover);
        match committed {
            Ok(_) => assert_eq!(loaded.as_ref(), Some(&run.stored), "round {number}"),
            Err(StoreError::Fenced(_)) => assert_eq!(loaded, None, "round {number}"),
            Err(error) => panic!("round {number}: {error}"),
        }
        assert_eq!(world.load(run.key()).await, loaded, "round {number}: no change after the takeover");
        world.epochs = acquisition.owned.into_iter().map(|shard| (shard.id, shard.epoch)).collect();
    }
}
