//! Cargo's cache of downloaded archives, on the machine where a worker runs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::lockfile::Package;

/// State that the worker's activities share.
#[derive(Debug, Clone)]
pub(crate) struct CargoCache {
    /// Has one directory for each registry.
    root: PathBuf,
    /// How long to wait before each archive: gives people time to watch.
    pub(crate) delay: Duration,
}

impl CargoCache {
    pub(crate) fn new(cargo_home: &Path, delay: Duration) -> Self {
        Self { root: cargo_home.join("registry").join("cache"), delay }
    }

    /// The archives of a package: none if it was not downloaded, several if several registries have it.
    pub(crate) fn archives(&self, package: &Package) -> io::Result<Vec<PathBuf>> {
        let registries = match std::fs::read_dir(&self.root) {
            Ok(registries) => registries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut archives = Vec::new();
        for registry in registries {
            let archive = registry?.path().join(package.archive_name());
            if archive.try_exists()? {
                archives.push(archive);
            }
        }
        archives.sort();
        Ok(archives)
    }
}

/// Where cargo keeps its files, if the user does not say: `$CARGO_HOME`, else `~/.cargo`.
pub(crate) fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().context("find the home directory; give the directory with --cargo-home")?;
    Ok(home.join(".cargo"))
}
