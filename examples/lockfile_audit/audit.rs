//! The workflow and its activities.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine_sdk::prelude::*;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::cargo_cache::CargoCache;
use crate::lockfile::{self, Package};
use crate::report::Report;

/// What came out for one package.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// The archive has the checksum of the lock file.
    Verified { archive: PathBuf, bytes: u64 },
    /// There is no archive.
    Missing,
    /// The archive has another checksum.
    Mismatched { archive: PathBuf, actual: String },
}

/// How far an activity is: what it tells with its heartbeats.
#[payload]
#[derive(Debug, PartialEq)]
pub(crate) struct Progress {
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
}

/// Compares the archive of every package in a lock file with its checksum, at most `at_once` packages at the same time.
#[workflow]
pub(crate) async fn audit_lockfile(
    ctx: WorkflowContext,
    lockfile: PathBuf,
    at_once: usize,
) -> Result<Report, WorkflowError> {
    let packages = ctx.run(read_lockfile, lockfile.clone()).await?;
    let (locked, others): (Vec<_>, Vec<_>) = packages.into_iter().partition(|package| package.checksum.is_some());

    let checks = locked.iter().map(|package| ctx.run(verify_archive, package.clone()));
    let verdicts = ctx.unless_cancelled(join_all_limited(at_once.max(1), checks)).await?;

    let mut report = Report::new(lockfile, others);
    for (package, verdict) in locked.into_iter().zip(verdicts) {
        report.add(package, verdict);
    }
    Ok(report)
}

/// Reads the packages from a lock file.
#[activity(start_to_close = "30s", retry(max_attempts = 3))]
pub(crate) async fn read_lockfile(_ctx: ActivityContext, path: PathBuf) -> Result<Vec<Package>, ActivityError> {
    let packages = async { anyhow::Ok(lockfile::parse(&tokio::fs::read_to_string(&path).await?)?) }.await;
    // A wrong path or a wrong file does not get better by trying again.
    packages.with_context(|| format!("cannot read {}", path.display())).map_err(ActivityError::non_retryable)
}

/// Compares the archive of one package with its checksum.
#[activity(start_to_close = "10m", heartbeat = "10s", retry(max_attempts = 5))]
pub(crate) async fn verify_archive(ctx: ActivityContext, package: Package) -> Result<Verdict, ActivityError> {
    let cache = ctx.state::<CargoCache>();
    tokio::time::sleep(cache.delay).await;

    let mut verdict = Verdict::Missing;
    // Several registries may have the package. Whichever cargo takes, it must be the right one.
    for archive in cache.archives(&package)? {
        let (bytes, actual) = sha256(&ctx, &archive).await?;
        if package.checksum.as_ref() != Some(&actual) {
            return Ok(Verdict::Mismatched { archive, actual });
        }
        verdict = Verdict::Verified { archive, bytes };
    }
    Ok(verdict)
}

/// The size of a file and its SHA-256 in hexadecimal. Never holds more than a piece of the file.
async fn sha256(ctx: &ActivityContext, path: &Path) -> Result<(u64, String), ActivityError> {
    let mut file = File::open(path).await?;
    let mut progress = Progress { bytes_done: 0, bytes_total: file.metadata().await?.len() };
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut piece).await?;
        if length == 0 {
            return Ok((progress.bytes_done, format!("{:x}", hasher.finalize())));
        }
        hasher.update(&piece[..length]);
        progress.bytes_done += length as u64;
        ctx.heartbeat(&progress);
        if ctx.is_cancelled() {
            return Err(ctx.canceled());
        }
    }
}
