//! The audit on made-up lock files and archives, with the whole engine in this process.

use std::time::Duration;

use engine_sdk::activity::CancelReason;
use tempfile::TempDir;

use super::*;
use crate::audit::Verdict;
use crate::lockfile::Package;
use crate::report::{Mismatched, Verified};

/// SHA-256 of `abc`, from the standard that defines it (FIPS 180-4).
const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// Of a million times `a`, from the same place.
const OF_A_MILLION: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
/// Of `abd`.
const OF_ABD: &str = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9";

/// A cargo home with one registry.
struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(home.registry()).unwrap();
        home
    }

    fn registry(&self) -> PathBuf {
        self.directory.path().join("registry").join("cache").join("index.example-1")
    }

    fn add(&self, archive: &str, content: &[u8]) -> PathBuf {
        let path = self.registry().join(archive);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn lockfile(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("Cargo.lock");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn cache(&self) -> CargoCache {
        CargoCache::new(self.directory.path(), Duration::ZERO)
    }

    async fn audit(&self, lockfile: &Path) -> Result<Report, WorkflowFailure> {
        let engine = Engine::open("memory:").await.unwrap();
        let worker = worker(engine.client(), self.cache());
        let report = engine.client().workflow(audit_lockfile).queue(QUEUE).run((lockfile.to_owned(), 2));
        let report = worker.run_until(report).await.unwrap();
        engine.shutdown().await;
        report
    }
}

fn package(name: &str, checksum: Option<&str>) -> Package {
    Package { name: name.to_owned(), version: "1.0.0".to_owned(), checksum: checksum.map(str::to_owned) }
}

#[tokio::test]
async fn each_package_is_told_to_be_what_it_is() {
    let home = Home::new();
    let right = home.add("right-1.0.0.crate", b"abc");
    let tampered = home.add("tampered-1.0.0.crate", b"abd");
    home.add("right-2.0.0.crate", b"another version, which the lock file does not name");
    let entry = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
    let locked = |name: &str| format!("{}source = \"registry\"\nchecksum = \"{OF_ABC}\"\n", entry(name));
    let lockfile = home.lockfile(&format!(
        "version = 4\n{}{}{}{}",
        entry("local"),
        locked("missing"),
        locked("right"),
        locked("tampered")
    ));

    let report = home.audit(&lockfile).await.unwrap();
    let expected = Report {
        lockfile,
        verified: vec![Verified { package: package("right", Some(OF_ABC)), archive: right.clone(), bytes: 3 }],
        missing: vec![package("missing", Some(OF_ABC))],
        mismatched: vec![Mismatched {
            package: package("tampered", Some(OF_ABC)),
            archive: tampered.clone(),
            actual: OF_ABD.to_owned(),
        }],
        failed: Vec::new(),
        no_checksum: vec![package("local", None)],
    };
    assert_eq!(report, expected);
    assert!(!report.is_clean());
    assert_eq!(report.sums(), format!("{OF_ABC}  {}\n{OF_ABC}  {}\n", right.display(), tampered.display()));
}

#[tokio::test]
async fn a_file_that_is_no_lock_file_fails_at_once_and_by_name() {
    let home = Home::new();
    for lockfile in [home.lockfile("package = 7"), home.directory.path().join("none.lock")] {
        let failure = home.audit(&lockfile).await.unwrap_err();
        let WorkflowFailure::Failed(error) = &failure else { panic!("it fails, and not so: {failure:?}") };
        assert!(format!("{error:?}").contains(&lockfile.display().to_string()), "{error:?}");
    }
}

#[tokio::test]
async fn a_large_archive_is_read_in_pieces_with_a_heartbeat_for_each() {
    let home = Home::new();
    let archive = home.add("large-1.0.0.crate", &vec![b'a'; 1_000_000]);
    let test = ActivityContext::for_test().state(home.cache());
    let heartbeats = test.heartbeats();

    let verdict = verify_archive.call(test.build(), package("large", Some(OF_A_MILLION))).await.unwrap();
    assert_eq!(verdict, Verdict::Verified { archive, bytes: 1_000_000 });
    let done: Vec<u64> = heartbeats().iter().map(|progress| progress["bytes_done"].as_u64().unwrap()).collect();
    assert!(done.len() >= 16, "{done:?}");
    assert!(done.is_sorted(), "{done:?}");
    assert_eq!(done.last(), Some(&1_000_000));
}

#[tokio::test]
async fn a_check_stops_when_it_is_asked_to() {
    let home = Home::new();
    home.add("large-1.0.0.crate", &vec![b'a'; 1_000_000]);
    let test = ActivityContext::for_test().state(home.cache());
    test.stopper()(CancelReason::Requested);
    let error = verify_archive.call(test.build(), package("large", Some(OF_A_MILLION))).await.unwrap_err();
    assert!(error.is_canceled());
}

#[tokio::test]
async fn one_wrong_copy_among_several_is_found() {
    let home = Home::new();
    home.add("twice-1.0.0.crate", b"abc");
    let mirror = home.registry().with_file_name("mirror.example-1");
    std::fs::create_dir(&mirror).unwrap();
    std::fs::write(mirror.join("twice-1.0.0.crate"), b"abd").unwrap();
    let context = ActivityContext::for_test().state(home.cache()).build();
    let verdict = verify_archive.call(context, package("twice", Some(OF_ABC))).await.unwrap();
    assert_eq!(verdict, Verdict::Mismatched { archive: mirror.join("twice-1.0.0.crate"), actual: OF_ABD.to_owned() });
}

#[test]
fn checksums_of_the_first_lock_file_format_are_found() {
    let text = format!(
        "[[package]]\nname = \"old\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n\
         [[package]]\nname = \"local\"\nversion = \"1.0.0\"\n\
         [metadata]\n\"checksum old 1.0.0 (registry+x)\" = \"{OF_ABC}\"\n"
    );
    assert_eq!(lockfile::parse(&text).unwrap(), [package("old", Some(OF_ABC)), package("local", None)]);
}
