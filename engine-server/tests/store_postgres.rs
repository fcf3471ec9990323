//! The Postgres store keeps every promise of the trait, and is careful with servers that do not.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine_core::event::CloseStatus;
use engine_core::ids::EventId;
use engine_core::time::Timestamp;
use engine_server::store::conformance::{Run, Subject, World, node};
use engine_server::store::postgres::{PostgresOptions, PostgresStore};
use engine_server::store::{ExecutionChange, ExecutionUpdate, ShardId, Store, StoreError};
use engine_testkit::postgres::{PostgresCluster, fresh_database, shared_cluster};
use sqlx::{Connection, PgConnection};

struct Database {
    url: String,
    options: PostgresOptions,
}

impl Database {
    async fn fresh() -> Database {
        Database::within(shared_cluster().await.unwrap().url()).await
    }

    async fn within(cluster: &str) -> Database {
        Database { url: fresh_database(cluster).await.unwrap(), options: PostgresOptions::default() }
    }

    /// A connection beside the store's.
    async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

#[async_trait]
impl Subject for Database {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::connect(&self.url, self.options.clone()).await.unwrap())
    }

    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        self.open().await
    }
}

engine_server::store_conformance!(Database::fresh().await);

/// Waits until some backend waits for a lock in the database.
async fn until_somebody_waits(connection: &mut PgConnection) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *connection).await.unwrap() == 0 {
        // Lets the server breathe between two looks; the answer does not depend on it.
        sqlx::query("SELECT pg_sleep(0.005)").execute(&mut *connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_takeover_waits_for_a_batch_under_way() {
    let database = Database::fresh().await;
    let world = World::create(&database).await;
    let mut connection = database.connection().await;
    let mut watcher = database.connection().await;
    // What a batch holds until it is committed.
    let mut batch = connection.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM engine.shard WHERE id = 3 FOR SHARE").execute(&mut *batch).await.unwrap();
    let takeover = tokio::spawn({
        let (store, node) = (Arc::clone(&world.store), world.node.clone());
        async move { store.acquire_shards(&node, None).await }
    });
    until_somebody_waits(&mut watcher).await;
    assert!(!takeover.is_finished());
    batch.commit().await.unwrap();
    assert_eq!(takeover.await.unwrap().unwrap().owned.len(), world.epochs.len());
}

#[tokio::test]
async fn a_batch_that_timed_out_is_not_applied_after_the_takeover() {
    let mut database = Database::fresh().await;
    let world = World::create(&database).await;
    database.options.statement_timeout = Duration::from_millis(300);
    let hasty = database.open().await;
    // Something keeps the batch from its shard's row.
    let mut connection = database.connection().await;
    let mut obstacle = connection.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM engine.shard WHERE id = 3 FOR UPDATE").execute(&mut *obstacle).await.unwrap();
    let run = Run::new(3, 1);
    let mut batch = world.batch();
    run.add_to(&mut batch);
    let error = hasty.commit(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    obstacle.rollback().await.unwrap();

    let acquisition = world.store.acquire_shards(&world.node, Some(&[ShardId(3)])).await.unwrap();
    assert_eq!(world.load(run.key()).await, None);
    // The store is fine, and the batch stays fenced.
    assert!(matches!(hasty.commit(&batch).await, Err(StoreError::Fenced(ShardId(3)))));
    batch.shards = vec![(ShardId(3), acquisition.owned[0].epoch)];
    hasty.commit(&batch).await.unwrap();
    assert_eq!(world.load(run.key()).await, Some(run.stored));
}

/// Turns of many runs as a lane writes them: starts of unseen ids, turns, closes, wakes, buffers and progress.
async fn write_and_read(world: &World, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let run = Run::new((number % 8) as i32, number);
        let mut batch = world.batch();
        run.add_to(&mut batch);
        batch.presumed_first.push(run.key().run_id);
        world.store.commit(&batch).await.unwrap();
        let (shard, run_id) = (run.key().shard, run.key().run_id);
        let change = |change| ExecutionUpdate { key: run.key().clone(), change };
        let mut batch = world.batch();
        batch.updates.push(change(ExecutionChange::WakeAt(Timestamp::from_micros(5))));
        batch.updates.push(change(ExecutionChange::Close {
            status: CloseStatus::Completed,
            at: Timestamp::from_micros(9),
            history_length: 11,
        }));
        batch.buffered_deletes.push((shard, run_id));
        batch.progress_deletes.push((shard, run_id, EventId(5)));
        world.store.commit(&batch).await.unwrap();
        assert!(world.store.latest_runs(&[run.workflow()]).await.unwrap()[0].is_some());
        assert!(world.load(run.key()).await.is_some());
        world.store.due_runs(shard, Timestamp::MAX, None, 10).await.unwrap();
        world.store.read_history(shard, run_id, EventId(1), false, 10, 1000).await.unwrap();
    }
}

#[tokio::test]
async fn no_statement_of_the_hot_path_reads_a_whole_table_whatever_the_planner_believes() {
    let database = Database::fresh().await;
    let world = World::create(&database).await;
    let mut connection = database.connection().await;
    // A session tells of its scans when it ends, so that each round looks at those of its own store.
    let mut scans = async |world: World| -> Vec<(String, i64)> {
        world.store.close().await;
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = \
                      'client backend' AND pid <> pg_backend_pid()";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap() > 0 {
            // Lets the server breathe between two looks; the answer does not depend on it.
            sqlx::query("SELECT pg_sleep(0.005)").execute(&mut connection).await.unwrap();
        }
        let scans = "SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE relname IN ('execution', 'history', \
                     'buffered_event', 'activity_progress') ORDER BY relname";
        sqlx::query_as(scans).fetch_all(&mut connection).await.unwrap()
    };
    // To create the indexes reads the tables too, as does ANALYZE.
    let before = scans(world).await;
    assert_eq!(before.len(), 4);
    let world = World::create(&database).await;
    write_and_read(&world, 0..20).await;
    assert_eq!(scans(world).await, before, "tables that were never analysed");

    let mut analyst = database.connection().await;
    sqlx::query("ANALYZE").execute(&mut analyst).await.unwrap();
    analyst.close().await.unwrap();
    let before = scans(World::create(&database).await).await;
    let world = World::create(&database).await;
    write_and_read(&world, 20..40).await;
    assert_eq!(scans(world).await, before, "tables that the planner knows to be tiny");
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_kill_of_the_server() {
    let cluster = PostgresCluster::start().await.unwrap();
    let database = Database::within(&cluster.url()).await;
    let mut world = World::create(&database).await;
    let runs: Vec<_> = (0..50).map(|number| Run::new((number % 8) as i32, number)).collect();
    for run in &runs {
        world.write([run]).await;
    }
    cluster.kill9().await.unwrap();
    let error = world.store.commit(&world.batch()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = world.store.shard_count().await.unwrap_err();
    assert!(error.to_string().contains("cannot connect"), "{error}");
    cluster.restart().await.unwrap();
    // The same store goes on, at the first attempt.
    world.own_everything().await;
    for run in &runs {
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored));
    }
}

async fn assert_refused_for(setting: &str, database: &Database) {
    let store = database.open().await;
    store.migrate(4).await.unwrap();
    let error = store.check(false).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains(&format!("{setting} = off")), "{error}");
    assert!(error.to_string().contains("--allow-unsafe-database"), "{error}");
    store.check(true).await.unwrap();
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_acknowledges_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = PostgresCluster::start_with(&[(setting, "off")]).await.unwrap();
        assert_refused_for(setting, &Database::within(&cluster.url()).await).await;
    }
    let database = Database::fresh().await;
    let mut connection = database.connection().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut connection).await.unwrap();
    let statement = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    assert_refused_for("synchronous_commit", &database).await;
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_with_the_remedy() {
    let database = Database::fresh().await;
    let world = World::create(&database).await;
    let mut connection = database.connection().await;
    let mut set = async |version: i32| {
        let query = sqlx::query("UPDATE engine.meta SET schema_version = $1").bind(version);
        query.execute(&mut connection).await.unwrap();
    };
    set(1000).await;
    let error = world.store.check(false).await.unwrap_err();
    assert!(error.to_string().contains("this binary is older than the database"), "{error}");
    let error = world.store.migrate(4).await.unwrap_err();
    assert!(error.to_string().contains("this binary is older than the database"), "{error}");
    set(0).await;
    let error = world.store.check(false).await.unwrap_err();
    assert!(error.to_string().contains("run `engine migrate`"), "{error}");
}

#[tokio::test]
async fn a_migration_that_was_cut_short_is_completed_by_the_next() {
    let database = Database::fresh().await;
    let mut connection = database.connection().await;
    // As after a crash between the creation of the schema's bookkeeping and the first migration.
    let begun = "CREATE SCHEMA engine; CREATE TABLE engine.meta (schema_version int4 NOT NULL, shard_count int4); \
                 INSERT INTO engine.meta VALUES (0, NULL)";
    sqlx::raw_sql(begun).execute(&mut connection).await.unwrap();
    let store = database.open().await;
    assert!(matches!(store.check(false).await, Err(StoreError::Unusable(_))));
    store.migrate(4).await.unwrap();
    store.check(false).await.unwrap();
    assert_eq!(store.shard_count().await.unwrap(), 4);
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_told_without_the_password() {
    let cluster = shared_cluster().await.unwrap();
    let host = cluster.url().rsplit_once('@').unwrap().1;
    let host = host.split_once('/').unwrap().0;
    for (url, expected) in [
        (format!("postgres://postgres:hunter2@{host}/no_such_database"), "createdb"),
        ("postgres://postgres:hunter2@127.0.0.1:1/x".to_owned(), "cannot connect to Postgres database \"x\""),
        ("postgres://postgres:hunter2@127.0.0.1:notaport/x".to_owned(), "URL is not valid"),
    ] {
        let error = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let database = Database::fresh().await;
    let url = database.url.replacen("postgres@", "postgres:hunter2@", 1);
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    assert!(!format!("{store:?} {}", store.describe()).contains("hunter2"));
}

#[tokio::test]
async fn waiting_for_a_connection_is_bounded() {
    let mut database = Database::fresh().await;
    World::create(&database).await;
    database.options = PostgresOptions { max_connections: 1, statement_timeout: Duration::from_millis(300) };
    let store = database.open().await;
    let mut connection = database.connection().await;
    let mut obstacle = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE engine.meta").execute(&mut *obstacle).await.unwrap();
    let (one, two) = tokio::join!(store.shard_count(), store.shard_count());
    assert!(matches!(one, Err(StoreError::Unavailable(_))), "{one:?}");
    assert!(matches!(two, Err(StoreError::Unavailable(_))), "{two:?}");
    obstacle.rollback().await.unwrap();
    assert_eq!(store.shard_count().await.unwrap(), 8);
}

#[tokio::test]
async fn nodes_of_one_name_in_two_processes_take_turns() {
    let database = Database::fresh().await;
    let world = World::create(&database).await;
    let other = database.open().await;
    let lease = Duration::from_secs(60);
    let later = node("alpha");
    assert!(other.renew_lease(&later, lease).await.unwrap());
    assert!(!world.store.renew_lease(&world.node, lease).await.unwrap(), "its own process knows that it held it");
    assert!(other.renew_lease(&later, lease).await.unwrap());
}

#[tokio::test]
async fn a_database_of_the_version_before_is_taken_along() {
    let database = Database::fresh().await;
    let mut connection = database.connection().await;
    let before = [
        "CREATE SCHEMA engine; CREATE TABLE engine.meta (schema_version int4 NOT NULL, shard_count int4); \
         INSERT INTO engine.meta VALUES (2, 8)",
        include_str!("../migrations/postgres/0001_init.sql"),
        include_str!("../migrations/postgres/0002_owing.sql"),
        "INSERT INTO engine.namespace (name) VALUES ('default'); \
         INSERT INTO engine.shard (id, epoch) SELECT id, 5 FROM generate_series(0, 7) AS id; \
         INSERT INTO engine.execution (shard_id, namespace_id, workflow_id, run_id, workflow_type, task_queue, status, \
             started_at, closed_at, history_length, wake_at, request_id) \
         VALUES (1, 1, 'old', '00000000-0000-0000-0000-000000000007', 'checkout', 'orders', 1, 10, 20, 3, 0, '')",
    ];
    for statements in before {
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    }
    let store = database.open().await;
    assert!(store.check(false).await.unwrap_err().to_string().contains("run `engine migrate`"));
    let world = World::create(&database).await;
    let default = world.store.namespaces().await.unwrap().remove(0);
    assert_eq!((default.name.as_str(), default.version, default.settings.len()), ("default", 1, 0));
    let rows = world.store.earliest_runs(default.id, None, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].key.workflow_id.as_str()), (1, "old"));
    assert!(rows[0].search_attributes.is_empty());
    assert!(world.store.update_namespace(default.id, 1, b"settings").await.unwrap());
    world.write([&Run::new(1, 1)]).await;
}
