//! What a `Cargo.lock` says.

use std::collections::BTreeMap;

use engine_sdk::prelude::*;

/// A package that a lock file names.
#[payload]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 of its archive, in hexadecimal. Packages that come from a path or from git have none.
    pub(crate) checksum: Option<String>,
}

impl Package {
    /// The file name of its archive in cargo's cache.
    pub(crate) fn archive_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

/// Reads the text of a lock file, of any of cargo's four formats.
pub(crate) fn parse(text: &str) -> Result<Vec<Package>, toml::de::Error> {
    let file: LockFile = toml::from_str(text)?;
    let package = |entry: Entry| {
        let checksum = entry.checksum.or_else(|| {
            let key = format!("checksum {} {} ({})", entry.name, entry.version, entry.source.as_deref()?);
            file.metadata.get(&key).filter(|checksum| *checksum != "<none>").cloned()
        });
        Package { name: entry.name, version: entry.version, checksum }
    };
    Ok(file.package.into_iter().map(package).collect())
}

#[derive(Deserialize)]
struct LockFile {
    #[serde(default)]
    package: Vec<Entry>,
    /// Where the first format, of before 2020, keeps the checksums.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}
