//! Leases, shards, epochs, and the fence that they are for.

use std::sync::Arc;
use std::time::Duration;

use engine_core::ids::EventId;

use super::world::{LONG, SHARDS, bytes};
use super::{Run, Subject, World, node};
use crate::store::{Batch, Epoch, HistoryRow, Node, RunKey, ShardId, Store, StoreError};

/// The old one is told, at its next renewal, and can acquire nothing any more.
pub async fn a_lease_is_lost_to_a_later_incarnation(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let renew = async |node: &Node| world.store.renew_lease(node, LONG).await.expect("renew");
    let later = node(&world.node.name);
    assert!(renew(&world.node).await);
    assert!(renew(&later).await);
    assert!(!renew(&world.node).await);
    assert!(renew(&later).await, "the refusal took nothing from the later one");
    let error = world.store.acquire_shards(&world.node, None).await.expect_err("superseded");
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains("alpha"), "{error}");
}

/// No lease has to run out first, and the batches of the dead one are fenced.
pub async fn a_node_takes_over_what_its_name_owned_at_once(subject: &dyn Subject) {
    let old = World::create(subject).await;
    let mut new = World { store: subject.open().await, node: node("alpha"), epochs: old.epochs.clone() };
    new.own_everything().await;
    assert_eq!(new.epochs.len(), SHARDS as usize);
    for (shard, epoch) in &new.epochs {
        assert!(*epoch > old.epochs[shard]);
    }
    let error = old.store.commit(&old.batch()).await.expect_err("fenced");
    assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");
    new.store.commit(&new.batch()).await.expect("the new owner writes");
}

/// Meanwhile it learns who owns them and for how long.
pub async fn another_node_takes_over_only_after_the_lease_ran_out(subject: &dyn Subject) {
    let alpha = World::create(subject).await;
    let (store, beta) = (subject.open().await, node("beta"));
    assert!(store.renew_lease(&beta, LONG).await.expect("take"));
    let acquisition = store.acquire_shards(&beta, None).await.expect("acquire");
    assert_eq!(acquisition.owned, []);
    let ids: Vec<_> = acquisition.foreign.iter().map(|shard| shard.id.0).collect();
    assert_eq!(ids, (0..SHARDS.cast_signed()).collect::<Vec<_>>());
    for shard in &acquisition.foreign {
        assert_eq!(shard.owner, "alpha");
        assert!(shard.lease_left <= LONG && shard.lease_left > LONG / 2, "{:?}", shard.lease_left);
    }
    alpha.store.commit(&alpha.batch()).await.expect("alpha is not disturbed");

    // A lease of no length has run out.
    assert!(alpha.store.renew_lease(&alpha.node, Duration::ZERO).await.expect("renew"));
    let acquisition = store.acquire_shards(&beta, None).await.expect("acquire");
    assert_eq!(acquisition.owned.len(), SHARDS as usize);
    let error = alpha.store.commit(&alpha.batch()).await.expect_err("fenced");
    assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");

    // A lease does not bring back what was lost.
    assert!(alpha.store.renew_lease(&alpha.node, LONG).await.expect("renew"));
    let acquisition = alpha.store.acquire_shards(&alpha.node, None).await.expect("acquire");
    assert_eq!(acquisition.owned, []);
    assert_eq!(acquisition.foreign[0].owner, "beta");
}

/// A node that goes away in peace keeps nobody waiting.
pub async fn released_shards_are_free_at_once(subject: &dyn Subject) {
    let alpha = World::create(subject).await;
    alpha.store.release_lease(&alpha.node).await.expect("release");
    alpha.store.release_lease(&alpha.node).await.expect("release again");
    let beta = node("beta");
    assert!(alpha.store.renew_lease(&beta, LONG).await.expect("take"));
    let acquisition = alpha.store.acquire_shards(&beta, None).await.expect("acquire");
    assert_eq!((acquisition.owned.len(), acquisition.foreign.len()), (SHARDS as usize, 0));
    let error = alpha.store.commit(&alpha.batch()).await.expect_err("fenced");
    assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");
}

/// Its successor's shards are not its to give up.
pub async fn a_superseded_incarnation_releases_nothing(subject: &dyn Subject) {
    let old = World::create(subject).await;
    let mut new = World { store: subject.open().await, node: node("alpha"), epochs: old.epochs.clone() };
    new.own_everything().await;
    old.store.release_lease(&old.node).await.expect("release");
    let beta = node("beta");
    assert!(new.store.renew_lease(&beta, LONG).await.expect("take"));
    let acquisition = new.store.acquire_shards(&beta, None).await.expect("acquire");
    assert_eq!((acquisition.owned.len(), acquisition.foreign.len()), (0, SHARDS as usize));
    new.store.commit(&new.batch()).await.expect("commit");
}

/// The others keep their epochs. A shard that one owns already gets a new one.
pub async fn only_the_wanted_shards_are_taken(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let wanted = [ShardId(2), ShardId(5), ShardId(1000), ShardId(-1)];
    let acquisition = world.store.acquire_shards(&world.node, Some(&wanted)).await.expect("acquire");
    let owned: Vec<_> = acquisition.owned.iter().map(|shard| (shard.id, shard.epoch)).collect();
    let bumped = |id: i32| (ShardId(id), Epoch(world.epochs[&ShardId(id)].0 + 1));
    assert_eq!(owned, [bumped(2), bumped(5)]);
    assert_eq!(acquisition.foreign, []);
    let nothing = world.store.acquire_shards(&world.node, Some(&[])).await.expect("acquire");
    assert_eq!((nothing.owned.len(), nothing.foreign.len()), (0, 0));

    let mut batch = world.batch();
    batch.shards.retain(|(id, _)| !wanted.contains(id));
    world.store.commit(&batch).await.expect("the others' epochs are as before");
    batch.shards = vec![(ShardId(5), world.epochs[&ShardId(5)])];
    let error = world.store.commit(&batch).await.expect_err("fenced");
    assert!(matches!(error, StoreError::Fenced(ShardId(5))), "{error:?}");
}

/// A lease first, then shards: otherwise nobody could ever take them away again.
pub async fn a_node_without_a_lease_acquires_nothing(subject: &dyn Subject) {
    let store = subject.open().await;
    store.migrate(SHARDS).await.expect("migrate");
    let alpha = node("alpha");
    let error = store.acquire_shards(&alpha, None).await.expect_err("no lease");
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    let beta = node("beta");
    assert!(store.renew_lease(&beta, LONG).await.expect("take"));
    let acquisition = store.acquire_shards(&beta, None).await.expect("acquire");
    assert_eq!(acquisition.owned.len(), SHARDS as usize);
}

/// Not even to the shards whose epochs are current.
pub async fn a_batch_with_an_old_epoch_writes_nothing(subject: &dyn Subject) {
    let world = World::create(subject).await;
    world.store.acquire_shards(&world.node, Some(&[ShardId(3)])).await.expect("acquire");
    let (current, stale) = (Run::new(1, 1), Run::new(3, 2));
    let mut batch = world.batch();
    current.add_to(&mut batch);
    stale.add_to(&mut batch);
    let error = world.store.commit(&batch).await.expect_err("fenced");
    assert!(matches!(error, StoreError::Fenced(ShardId(3))), "{error:?}");
    assert_eq!(world.load(current.key()).await, None);
    assert_eq!(world.load(stale.key()).await, None);

    // An epoch from the future is as wrong as one from the past.
    batch.shards = vec![(ShardId(1), Epoch(world.epochs[&ShardId(1)].0 + 1))];
    assert!(matches!(world.store.commit(&batch).await, Err(StoreError::Fenced(ShardId(1)))));
    assert_eq!(world.load(current.key()).await, None);
}

/// Shards are made at bootstrap, never by writing.
pub async fn a_batch_for_a_shard_that_is_not_there_is_fenced(subject: &dyn Subject) {
    let world = World::create(subject).await;
    for id in [SHARDS.cast_signed(), -1] {
        let batch = Batch { shards: vec![(ShardId(id), Epoch(0))], ..Batch::default() };
        let error = world.store.commit(&batch).await.expect_err("fenced");
        assert!(matches!(error, StoreError::Fenced(shard) if shard.0 == id), "{error:?}");
    }
}

/// Two processes of one name take the shards from each other as fast as they can, and each appends to the same history
/// while it believes it owns it. What was acknowledged is there, once, and nothing else.
pub async fn two_owners_that_race_never_both_write(subject: &dyn Subject) {
    const APPENDS: u64 = 60;
    let world = World::create(subject).await;
    let run = Run::bare(4, 1);
    world.write([&run]).await;
    let other: Arc<dyn Store> = subject.open().await;
    let (one, two) = tokio::join!(
        tokio::spawn(append_until(Arc::clone(&world.store), run.key().clone(), APPENDS)),
        tokio::spawn(append_until(other, run.key().clone(), APPENDS)),
    );
    let (one, two) = (one.expect("no panic"), two.expect("no panic"));

    let history = world.load(run.key()).await.expect("the run is there").history;
    let ids: Vec<_> = history.iter().map(|row| row.first_event_id.0).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "contiguous: nobody wrote from a stale view");
    assert_eq!(history.len() as u64, one + two, "each acknowledged append, once");
    assert!(history.len() as u64 >= APPENDS);
}

/// Acquires, loads, appends until fenced, and again, until the history has `goal` rows. Gives the number of its own appends.
async fn append_until(store: Arc<dyn Store>, key: RunKey, goal: u64) -> u64 {
    let mut appended = 0;
    loop {
        let me = node("alpha");
        assert!(store.renew_lease(&me, LONG).await.expect("a new incarnation takes the lease"));
        let acquisition = match store.acquire_shards(&me, Some(&[key.shard])).await {
            Ok(acquisition) => acquisition,
            // The other one has started again in between.
            Err(StoreError::Unusable(_)) => continue,
            Err(error) => panic!("acquire: {error}"),
        };
        let epoch = acquisition.owned[0].epoch;
        let loaded = store.load_runs(std::slice::from_ref(&key)).await.expect("load").remove(0);
        let mut length = loaded.expect("the run is there").history.len() as u64;
        // A few per term, so that terms change hands often.
        for _ in 0..4 {
            if length >= goal {
                return appended;
            }
            let row = HistoryRow {
                shard: key.shard,
                run_id: key.run_id,
                first_event_id: EventId(length + 1),
                events: bytes(length, 0),
            };
            let batch = Batch { shards: vec![(key.shard, epoch)], history: vec![row], ..Batch::default() };
            match store.commit(&batch).await {
                Ok(_) => {
                    length += 1;
                    appended += 1;
                }
                Err(StoreError::Fenced(shard)) => {
                    assert_eq!(shard, key.shard);
                    break;
                }
                Err(error) => panic!("commit: {error}"),
            }
        }
    }
}
