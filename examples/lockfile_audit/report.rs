//! What an audit found.

use std::fmt;
use std::path::PathBuf;

use engine_sdk::prelude::*;

use crate::audit::Verdict;
use crate::lockfile::Package;

/// Every package of the lock file is in exactly one of the lists.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) lockfile: PathBuf,
    /// The archive is the one that the lock file means.
    pub(crate) verified: Vec<Verified>,
    /// Not downloaded.
    pub(crate) missing: Vec<Package>,
    /// The archive is another one.
    pub(crate) mismatched: Vec<Mismatched>,
    /// The archive could not be checked, and why.
    pub(crate) failed: Vec<(Package, String)>,
    /// The lock file has no checksum.
    pub(crate) no_checksum: Vec<Package>,
}

/// A package with the right archive.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verified {
    pub(crate) package: Package,
    pub(crate) archive: PathBuf,
    pub(crate) bytes: u64,
}

/// A package with a wrong archive.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mismatched {
    pub(crate) package: Package,
    pub(crate) archive: PathBuf,
    /// The archive's checksum.
    pub(crate) actual: String,
}

impl Report {
    pub(crate) fn new(lockfile: PathBuf, no_checksum: Vec<Package>) -> Self {
        let (verified, missing, mismatched, failed) = Default::default();
        Self { lockfile, verified, missing, mismatched, failed, no_checksum }
    }

    pub(crate) fn add(&mut self, package: Package, verdict: Result<Verdict, ActivityFailure>) {
        match verdict {
            Ok(Verdict::Verified { archive, bytes }) => self.verified.push(Verified { package, archive, bytes }),
            Ok(Verdict::Missing) => self.missing.push(package),
            Ok(Verdict::Mismatched { archive, actual }) => {
                self.mismatched.push(Mismatched { package, archive, actual });
            }
            Err(failure) => self.failed.push((package, failure.to_string())),
        }
    }

    /// Whether nothing speaks against the archives that are there.
    pub(crate) fn is_clean(&self) -> bool {
        self.mismatched.is_empty() && self.failed.is_empty()
    }

    /// The checksums of the lock file and the archives, as `sha256sum --check` reads them.
    pub(crate) fn sums(&self) -> String {
        let verified = self.verified.iter().map(|found| (&found.package, &found.archive));
        let mismatched = self.mismatched.iter().map(|found| (&found.package, &found.archive));
        let line = |(package, archive): (&Package, &PathBuf)| {
            format!("{}  {}\n", package.checksum.as_deref().unwrap_or_default(), archive.display())
        };
        verified.chain(mismatched).map(line).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.verified.iter().map(|found| found.bytes).sum();
        writeln!(f, "{}", self.lockfile.display())?;
        writeln!(f, "  verified    {:>5}   {:.1} MiB", self.verified.len(), bytes as f64 / (1024.0 * 1024.0))?;
        writeln!(f, "  missing     {:>5}   {}", self.missing.len(), names(&self.missing))?;
        writeln!(f, "  mismatched  {:>5}", self.mismatched.len())?;
        for Mismatched { package, archive, actual } in &self.mismatched {
            writeln!(f, "    {} {}: {}", package.name, package.version, archive.display())?;
            writeln!(f, "      lock file  {}", package.checksum.as_deref().unwrap_or_default())?;
            writeln!(f, "      archive    {actual}")?;
        }
        writeln!(f, "  failed      {:>5}", self.failed.len())?;
        for (package, why) in &self.failed {
            writeln!(f, "    {} {}: {why}", package.name, package.version)?;
        }
        write!(f, "  no checksum {:>5}   {}", self.no_checksum.len(), names(&self.no_checksum))
    }
}

/// The first few names; a lock file may have thousands.
fn names(packages: &[Package]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<&str> = packages.iter().take(SHOWN).map(|package| package.name.as_str()).collect();
    if packages.len() > SHOWN {
        names.push("…");
    }
    names.join(", ")
}
