//! What a batch writes is what is read back: all of it, or nothing.

use bytes::Bytes;
use engine_core::event::CloseStatus;
use engine_core::ids::{EventId, SearchAttributeName};
use engine_core::search::{SearchAttributes, SearchValue};
use engine_core::time::Timestamp;

use super::world::bytes;
use super::{Run, Subject, World};
use crate::store::{
    Batch, BufferedRow, Epoch, ExecutionChange, ExecutionUpdate, HistoryRow, ListFilter, NamespaceId, ProgressRow,
    ShardId, StoreError,
};

/// Also after a restart.
pub async fn all_that_was_written_is_read_back_byte_for_byte(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let mut runs: Vec<_> = (0..12).map(|number| Run::new((number % 5) as i32, number)).collect();
    // An empty value, an odd length, an instant before 1970, the latest one, the largest number.
    runs[0].stored.history[1].events = Bytes::new();
    runs[1].stored.history[0].events = Bytes::from_static(b"\0");
    runs[2].stored.row.wake_at = Timestamp::MAX;
    runs[3].stored.row.started_at = Timestamp::from_micros(-1);
    runs[4].stored.row.request_id = String::new();
    runs[5].stored.buffered[1].position = i64::MAX;
    runs[6].stored.row.status = Some(CloseStatus::Terminated);
    runs[6].stored.row.closed_at = Some(Timestamp::from_micros(5));
    runs[6].stored.row.history_length = 77;
    world.write(&runs).await;
    for round in 0..2 {
        for run in &runs {
            assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored), "round {round}");
            let row = world.store.execution(run.key()).await.expect("read");
            assert_eq!(row.as_ref(), Some(&run.stored.row));
        }
        if round == 0 {
            world = world.restart(subject).await;
        }
    }
}

/// Both kinds of change reach the row.
pub async fn a_run_can_be_closed_and_parked_in_one_batch(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let mut runs = [Run::new(1, 1), Run::new(1, 2), Run::new(2, 3)];
    world.write(&runs).await;
    let close = |run: &Run, status| ExecutionUpdate {
        key: run.key().clone(),
        change: ExecutionChange::Close { status, at: Timestamp::from_micros(99), history_length: 13 },
    };
    let wake = |run: &Run, at| ExecutionUpdate {
        key: run.key().clone(),
        change: ExecutionChange::WakeAt(Timestamp::from_micros(at)),
    };
    let mut batch = world.batch();
    batch.updates = vec![
        wake(&runs[0], 7),
        close(&runs[0], CloseStatus::Failed),
        close(&runs[1], CloseStatus::TimedOut),
        wake(&runs[2], 8),
    ];
    world.store.commit(&batch).await.expect("commit");
    for (run, status) in runs.iter_mut().zip([CloseStatus::Failed, CloseStatus::TimedOut]) {
        run.stored.row.status = Some(status);
        run.stored.row.closed_at = Some(Timestamp::from_micros(99));
        run.stored.row.history_length = 13;
    }
    runs[0].stored.row.wake_at = Timestamp::from_micros(7);
    runs[2].stored.row.wake_at = Timestamp::from_micros(8);
    for run in &runs {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
    let (due, _) = world.store.due_runs(runs[0].key().shard, Timestamp::MAX, None, 10).await.expect("due");
    assert_eq!(due, [], "closed runs are never due");
    let (due, _) = world.store.due_runs(runs[2].key().shard, Timestamp::MAX, None, 10).await.expect("due");
    assert_eq!(due, [runs[2].stored.row.clone()]);
}

/// The lane folds an update into a new row.
pub async fn a_run_that_opens_and_closes_in_one_batch_is_never_due(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let mut run = Run::new(1, 1);
    run.stored.row.status = Some(CloseStatus::Completed);
    run.stored.row.closed_at = Some(Timestamp::from_micros(1));
    world.write([&run]).await;
    let (due, next) = world.store.due_runs(run.key().shard, Timestamp::MAX, None, 10).await.expect("due");
    assert_eq!((due, next), (Vec::new(), Timestamp::MAX));
    assert_eq!(world.load(run.key()).await, Some(run.stored));
}

/// Deleting comes before adding, and touches one run only.
pub async fn buffered_events_are_replaced_as_a_whole(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (mut run, other) = (Run::new(1, 1), Run::new(1, 2));
    world.write([&run, &other]).await;
    let (shard, run_id) = (run.key().shard, run.key().run_id);
    let mut batch = world.batch();
    batch.buffered_deletes = vec![(shard, run_id)];
    // One with a position that was taken until this batch.
    batch.buffered = [12, 13].map(|position| BufferedRow { shard, run_id, position, event: bytes(7, 7) }).to_vec();
    world.store.commit(&batch).await.expect("commit");
    run.stored.buffered = batch.buffered;
    assert_eq!(world.load(run.key()).await, Some(run.stored.clone()));
    assert_eq!(world.load(other.key()).await.as_ref(), Some(&other.stored));

    let batch = Batch { buffered_deletes: vec![(shard, run_id)], ..world.batch() };
    for _ in 0..2 {
        world.store.commit(&batch).await.expect("deleting nothing is fine");
    }
    run.stored.buffered.clear();
    assert_eq!(world.load(run.key()).await, Some(run.stored));
}

/// One batch may do both, to different activities.
pub async fn progress_is_replaced_and_deleted(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (mut run, other) = (Run::new(1, 1), Run::new(2, 2));
    world.write([&run, &other]).await;
    let (shard, run_id) = (run.key().shard, run.key().run_id);
    let progress =
        |event, salt| ProgressRow { shard, run_id, scheduled_event_id: EventId(event), progress: bytes(9, salt) };
    let mut batch = world.batch();
    batch.progress_deletes = vec![(shard, run_id, EventId(6)), (shard, run_id, EventId(1000))];
    batch.progress = vec![progress(8, 1), progress(5, 2)];
    for _ in 0..2 {
        world.store.commit(&batch).await.expect("a repeat changes nothing");
    }
    run.stored.progress = vec![progress(5, 2), progress(8, 1)];
    assert_eq!(world.load(run.key()).await, Some(run.stored));
    assert_eq!(world.load(other.key()).await, Some(other.stored));
}

/// A program that breaks its promise is told, and nothing of the batch is there.
pub async fn a_key_that_was_not_new_fails_the_whole_batch(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (old, fresh) = (Run::new(1, 1), Run::new(1, 2));
    world.write([&old]).await;
    let again = [
        Batch { new_runs: vec![old.stored.row.clone()], ..Batch::default() },
        Batch { history: vec![old.stored.history[2].clone()], ..Batch::default() },
        Batch { buffered: vec![old.stored.buffered[0].clone()], ..Batch::default() },
        Batch { history: vec![fresh.stored.history[0].clone(), fresh.stored.history[0].clone()], ..Batch::default() },
    ];
    for (case, again) in again.into_iter().enumerate() {
        let mut batch = Batch { shards: world.batch().shards, ..again };
        if case < 3 {
            fresh.add_to(&mut batch);
        }
        let error = world.store.commit(&batch).await.expect_err("refused");
        assert!(matches!(error, StoreError::Corrupt(_)), "case {case}: {error:?}");
        assert_eq!(world.load(fresh.key()).await, None, "case {case}");
        assert_eq!(world.load(old.key()).await.as_ref(), Some(&old.stored), "case {case}");
    }
    world.write([&fresh]).await;
}

/// A run that is presumed to be the first of its workflow id is left out if the id has a run, open or closed; the rest of the
/// batch is applied.
pub async fn a_run_that_is_not_the_first_of_its_id_is_left_out(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (open, mut closed, presumed) = (Run::new(1, 1), Run::new(2, 2), Run::new(1, 3));
    closed.stored.row.status = Some(CloseStatus::Completed);
    world.write([&open, &closed]).await;
    // Later runs of both ids, a first run of an id that differs from one of them at its end, and a run that is not presumed.
    let of_id = |id: &Run, number| {
        let mut run = Run::bare(id.key().shard.0, number);
        run.stored.row.key.workflow_id.clone_from(&id.key().workflow_id);
        run.stored.history = Run::new(id.key().shard.0, number).stored.history[..1].to_vec();
        run
    };
    let (second_of_open, second_of_closed) = (of_id(&open, 11), of_id(&closed, 12));
    let mut similar = of_id(&open, 13);
    similar.stored.row.key.workflow_id.pop();
    let looked_up = of_id(&closed, 14);
    let mut batch = world.batch();
    for run in [&second_of_open, &presumed, &second_of_closed, &similar, &looked_up] {
        run.add_to(&mut batch);
    }
    batch.presumed_first =
        [&second_of_open, &presumed, &second_of_closed, &similar].map(|run| run.key().run_id).to_vec();
    let rows = world.store.stats().rows;
    let mut left_out = world.store.commit(&batch).await.expect("commit").left_out;
    left_out.sort_unstable();
    assert_eq!(left_out, [second_of_open.key().run_id, second_of_closed.key().run_id]);
    assert_eq!(world.store.stats().rows - rows, 8 + 2 + 2, "what was left out is not counted");
    for run in [&open, &closed, &presumed, &similar, &looked_up] {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
    for run in [&second_of_open, &second_of_closed] {
        assert_eq!(world.load(run.key()).await, None);
        let key = run.key();
        let history = world.store.read_history(key.shard, key.run_id, EventId(1), false, 10, 1 << 20).await;
        assert_eq!(history.expect("read"), []);
    }
    // Nothing stays behind that would keep a later one from being written.
    let mut batch = world.batch();
    second_of_open.add_to(&mut batch);
    assert_eq!(world.store.commit(&batch).await.expect("commit"), Default::default());
}

/// As is one that changes what is not there.
pub async fn a_change_of_a_missing_run_fails_the_whole_batch(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (missing, fresh) = (Run::new(1, 1), Run::new(1, 2));
    let close =
        ExecutionChange::Close { status: CloseStatus::Completed, at: Timestamp::from_micros(1), history_length: 3 };
    let listed = ExecutionChange::SearchAttributes(SearchAttributes::new());
    for change in [close, ExecutionChange::WakeAt(Timestamp::MAX), listed] {
        let mut batch = world.batch();
        batch.updates = vec![ExecutionUpdate { key: missing.key().clone(), change }];
        fresh.add_to(&mut batch);
        let error = world.store.commit(&batch).await.expect_err("refused");
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
        assert_eq!(world.load(fresh.key()).await, None);
    }
}

/// So a lane can ask whether it still owns its shards.
pub async fn an_empty_batch_still_checks_its_epochs(subject: &dyn Subject) {
    let world = World::create(subject).await;
    world.store.commit(&world.batch()).await.expect("current");
    world.store.acquire_shards(&world.node, None).await.expect("acquire");
    assert!(matches!(world.store.commit(&world.batch()).await, Err(StoreError::Fenced(_))));
}

/// A mebibyte in one value; several thousand rows of each kind in one batch.
pub async fn large_rows_and_large_batches_are_kept(subject: &dyn Subject) {
    const RUNS: u64 = 1500;
    let world = World::create(subject).await;
    let mut large = Run::new(0, 0);
    for (index, row) in large.stored.history.iter_mut().enumerate() {
        // Not compressible, so that it takes what it takes.
        let words = (0..1 << 17).map(|word: u64| engine_core::ids::mix(word ^ (index as u64) << 32));
        row.events = words.flat_map(u64::to_be_bytes).collect();
        assert_eq!(row.events.len(), 1 << 20);
    }
    large.stored.progress[0].progress = large.stored.history[0].events.clone();
    large.stored.buffered[0].event = large.stored.history[1].events.clone();
    world.write([&large]).await;
    assert!(world.load(large.key()).await.as_ref() == Some(&large.stored), "the large run differs");

    let runs: Vec<_> = (1..=RUNS).map(|number| Run::new((number % 8) as i32, number)).collect();
    world.write(&runs).await;
    let mut batch = world.batch();
    let at = Timestamp::from_micros(3);
    for run in &runs {
        let (shard, run_id) = (run.key().shard, run.key().run_id);
        batch.updates.push(ExecutionUpdate {
            key: run.key().clone(),
            change: ExecutionChange::Close { status: CloseStatus::Completed, at, history_length: 9 },
        });
        let events = bytes(0, 1);
        batch.history.push(HistoryRow { shard, run_id, first_event_id: EventId(20), events });
        batch.buffered_deletes.push((shard, run_id));
        batch.progress_deletes.extend(run.stored.progress.iter().map(|row| (shard, run_id, row.scheduled_event_id)));
    }
    world.store.commit(&batch).await.expect("commit");
    let keys: Vec<_> = runs.iter().map(|run| run.key().clone()).collect();
    let loaded = world.store.load_runs(&keys).await.expect("load");
    for (run, loaded) in runs.iter().zip(loaded) {
        let loaded = loaded.expect("it is there");
        assert_eq!((loaded.history.len(), loaded.buffered.len(), loaded.progress.len()), (4, 0, 0));
        assert_eq!(loaded.history[..3], run.stored.history);
        assert_eq!(loaded.row.status, Some(CloseStatus::Completed));
    }
    let filter = ListFilter {
        namespace: NamespaceId(1),
        status: Some(None),
        workflow_type: None,
        workflow_id: None,
        before: None,
        limit: 10,
    };
    assert_eq!(world.store.list(&filter).await.expect("list"), [large.stored.row]);
}

/// One commit is one round trip, once its statement is known to the connection.
pub async fn commits_and_rows_are_counted(subject: &dyn Subject) {
    let world = World::create(subject).await;
    world.write([&Run::new(1, 1)]).await;
    let before = world.store.stats();
    for number in 2..=6 {
        world.write([&Run::new(1, number)]).await;
    }
    let after = world.store.stats();
    assert_eq!(after.commits - before.commits, 5);
    assert_eq!(after.round_trips - before.round_trips, 5);
    assert_eq!(after.rows - before.rows, 5 * (1 + 3 + 2 + 2));
    let stale = Batch { shards: vec![(ShardId(1), Epoch(0))], ..Batch::default() };
    assert!(world.store.commit(&stale).await.is_err());
    assert_eq!(world.store.stats().commits, after.commits, "a fenced batch is no commit");
}

/// Attributes are written with a run, replaced as a whole, and taken away.
pub async fn search_attributes_are_written_with_a_run_and_replaced(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let one = |name: &str, value| SearchAttributes::from([(SearchAttributeName::from_trusted(name), value)]);
    let mut runs = [Run::new(1, 1), Run::new(1, 2), Run::new(2, 3), Run::new(2, 4)];
    runs[1].stored.row.search_attributes = one("Total", SearchValue::Int(-5));
    runs[2].stored.row.search_attributes = one("Note", SearchValue::Text("it's \u{e4}".into()));
    world.write(&runs).await;
    for run in &runs {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
    runs[0].stored.row.search_attributes = one("Rate", SearchValue::Double(0.1));
    runs[1].stored.row.search_attributes = SearchAttributes::new();
    runs[2].stored.row.search_attributes = one("Vip", SearchValue::Bool(false));
    let mut batch = world.batch();
    for run in &runs[..3] {
        let change = ExecutionChange::SearchAttributes(run.stored.row.search_attributes.clone());
        batch.updates.push(ExecutionUpdate { key: run.key().clone(), change });
    }
    world.store.commit(&batch).await.expect("commit");
    let world = world.restart(subject).await;
    for run in &runs {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
}

/// All of a run goes, and nothing of another one: not of the same workflow id either.
pub async fn deleted_runs_leave_nothing_behind(subject: &dyn Subject) {
    let mut world = World::create(subject).await;
    let mut runs = [Run::new(1, 1), Run::new(1, 2), Run::new(2, 3)];
    runs[1].stored.row.key.workflow_id = runs[0].key().workflow_id.clone();
    world.write(&runs).await;
    let epochs: Vec<(ShardId, Epoch)> = world.epochs.iter().map(|(id, epoch)| (*id, *epoch)).collect();
    let nobody = Run::new(2, 9).key().clone();
    let keys = [runs[0].key().clone(), runs[2].key().clone(), nobody];

    let stale: Vec<_> = epochs.iter().map(|(id, epoch)| (*id, Epoch(epoch.0 - 1))).collect();
    let error = world.store.delete_runs(&stale, &keys).await.expect_err("an old epoch");
    assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");
    assert!(world.load(runs[0].key()).await.is_some(), "a fenced deletion deletes nothing");

    for _ in 0..2 {
        world.store.delete_runs(&epochs, &keys).await.expect("delete");
        assert_eq!(world.load(runs[0].key()).await, None);
        assert_eq!(world.load(runs[1].key()).await.as_ref(), Some(&runs[1].stored));
        assert_eq!(world.load(runs[2].key()).await, None);
    }
    let left = world.store.earliest_runs(NamespaceId(1), None, 10).await.expect("read");
    assert_eq!(left, [runs[1].stored.row.clone()]);
    // What was beside them is gone too: the same rows can be written again.
    world.own_everything().await;
    world.write([&runs[0], &runs[2]]).await;
    for run in &runs {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
}
