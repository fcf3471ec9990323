//! The SQLite store keeps every promise of the trait, and its file to itself.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use engine_server::store::conformance::{Run, Subject, World};
use engine_server::store::sqlite::SqliteStore;
use engine_server::store::{Store, StoreError};
use engine_testkit::process::Process;
use parking_lot::Mutex;
use tempfile::TempDir;

struct InFile {
    directory: TempDir,
    open: Mutex<Weak<SqliteStore>>,
}

impl InFile {
    fn fresh() -> InFile {
        InFile { directory: TempDir::new().unwrap(), open: Mutex::default() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("engine.db")
    }
}

#[async_trait]
impl Subject for InFile {
    async fn open(&self) -> Arc<dyn Store> {
        let open = self.open.lock().upgrade();
        if let Some(open) = open {
            return open;
        }
        let store = Arc::new(SqliteStore::open(self.path()).await.unwrap());
        *self.open.lock() = Arc::downgrade(&store);
        store
    }

    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        *self.open.lock() = Weak::new();
        self.open().await
    }
}

engine_server::store_conformance!(InFile::fresh());

fn refusal(outcome: Result<SqliteStore, StoreError>) -> String {
    match outcome.unwrap_err() {
        StoreError::Unusable(text) => text,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_second_opening_in_the_same_process_is_refused() {
    let place = InFile::fresh();
    let store = SqliteStore::open(place.path()).await.unwrap();
    let text = refusal(SqliteStore::open(place.path()).await);
    assert!(text.contains("in use by another engine"), "{text}");
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    // Whatever it is called.
    let link = place.directory.path().join("other.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    refusal(SqliteStore::open(&link).await);
    store.close().await;
    assert!(matches!(store.shard_count().await, Err(StoreError::Unavailable(_))));
    SqliteStore::open(place.path()).await.unwrap();
}

/// Not a test: what another process does in the next one. Started by name, with the path in the environment.
#[tokio::test]
#[ignore = "runs only as the child of `a_second_process_is_refused_and_a_killed_one_leaves_all_it_acknowledged`"]
async fn child_that_writes_until_it_is_killed() {
    use std::io::Write;
    let path = std::env::var_os("STORE_SQLITE_CHILD").unwrap();
    let place = InFile { directory: TempDir::new().unwrap(), open: Mutex::default() };
    let store = Arc::new(SqliteStore::open(path).await.unwrap());
    *place.open.lock() = Arc::downgrade(&store);
    let world = World::create(&place).await;
    for number in 0.. {
        world.write([&Run::new((number % 8) as i32, number)]).await;
        // Not println!, which the test harness would keep for itself.
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_killed_one_leaves_all_it_acknowledged() {
    let place = InFile::fresh();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "child_that_writes_until_it_is_killed"]);
    command.env("STORE_SQLITE_CHILD", place.path());
    let mut child = Process::spawn("the child", command).unwrap();
    let patience = Duration::from_secs(60);
    child.wait_for_line(patience, |line| line.contains("acknowledged 30")).await.unwrap();
    let text = refusal(SqliteStore::open(place.path()).await);
    assert!(text.contains(&format!("(process {})", child.id().unwrap())), "{text}");
    child.kill9().await.unwrap();

    let mut world = World::create(&place).await;
    world.own_everything().await;
    let acknowledged = child.output().iter().filter(|line| line.contains("acknowledged ")).count() as u64;
    assert!(acknowledged >= 30);
    for number in 0..acknowledged {
        let run = Run::new((number % 8) as i32, number);
        assert_eq!(world.load(run.key()).await.as_ref(), Some(&run.stored), "{number} of {acknowledged}");
    }
    // The next batch may have been under way: all of it or nothing.
    let next = Run::new((acknowledged % 8) as i32, acknowledged);
    if let Some(stored) = world.load(next.key()).await {
        assert_eq!(stored, next.stored);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_a_database_is_refused_in_one_sentence() {
    let directory = TempDir::new().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "these are my notes, and not a database; they go on for a while\n".repeat(200)).unwrap();
    let said = refusal(SqliteStore::open(&text).await);
    assert!(said.contains("notes.txt") && said.contains("not a database"), "{said}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("these are my notes"), "it was left alone");
    let said = refusal(SqliteStore::open(directory.path().join("missing/engine.db")).await);
    assert!(said.contains("directory"), "{said}");
    let said = refusal(SqliteStore::open(directory.path()).await);
    assert!(said.contains("is a directory"), "{said}");
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_with_the_remedy() {
    use sqlx::{Connection, SqliteConnection};
    let place = InFile::fresh();
    let store = place.open().await;
    store.migrate(4).await.unwrap();
    let mut connection = SqliteConnection::connect(place.path().to_str().unwrap()).await.unwrap();
    for (version, expected) in [(1000, "this binary is older than the database"), (0, "run `engine migrate`")] {
        sqlx::query("UPDATE meta SET schema_version = ?1").bind(version).execute(&mut connection).await.unwrap();
        let error = store.check(false).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn closing_leaves_one_file_and_its_lock() {
    let place = InFile::fresh();
    let world = World::create(&place).await;
    world.write([&Run::new(1, 1)]).await;
    world.store.close().await;
    let mut names: Vec<_> = std::fs::read_dir(place.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["engine.db", "engine.db.lock"]);
}

#[tokio::test]
async fn a_file_of_the_version_before_is_taken_along() {
    use sqlx::{Connection, SqliteConnection};
    let place = InFile::fresh();
    let run_id = uuid::Uuid::from_u128(7);
    {
        let url = format!("sqlite://{}?mode=rwc", place.path().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let before = [
            include_str!("../migrations/sqlite/0001_init.sql"),
            include_str!("../migrations/sqlite/0002_owing.sql"),
            "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, shard_count INTEGER) STRICT; \
             INSERT INTO meta VALUES (1, 2, 8); INSERT INTO namespace (name) VALUES ('default'); \
             INSERT INTO shard (id, epoch) VALUES (0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (6, 5), (7, 5)",
        ];
        for statements in before {
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        }
        sqlx::query("INSERT INTO execution VALUES (1, 1, 'old', ?1, 'checkout', 'orders', 1, 10, 20, 3, 0, '')")
            .bind(run_id)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
    let store = place.open().await;
    assert!(store.check(false).await.unwrap_err().to_string().contains("run `engine migrate`"));
    let world = World::create(&place).await;
    old_run_is_there(&world, run_id).await;
}

/// The run that the version before wrote, and namespaces that work.
async fn old_run_is_there(world: &World, run_id: uuid::Uuid) {
    let default = world.store.namespaces().await.unwrap().remove(0);
    assert_eq!((default.name.as_str(), default.version, default.settings.len()), ("default", 1, 0));
    let rows = world.store.earliest_runs(default.id, None, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].key.workflow_id.as_str(), rows[0].key.run_id.as_uuid()), (1, "old", run_id));
    assert!(rows[0].search_attributes.is_empty());
    assert!(world.store.update_namespace(default.id, 1, b"settings").await.unwrap());
    world.write([&Run::new(1, 1)]).await;
}
