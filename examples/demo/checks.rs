//! Whether it is true what the engine says. Shares no code with the examples: it reads the files and asks other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use engine_sdk::client::ListFilter;
use engine_sdk::event::CloseStatus;
use engine_sdk::prelude::*;
use futures::TryStreamExt as _;
use serde_json::Value;

/// The packages with a checksum: `name-version` and the checksum. Reads lines, as `grep` would.
pub(crate) fn locked_packages(lockfile: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(lockfile).with_context(|| format!("read {}", lockfile.display()))?;
    let mut packages = BTreeMap::new();
    for entry in text.split("[[package]]") {
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")))?;
            Some(line.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) = (value("name"), value("version"), value("checksum")) {
            packages.insert(format!("{name}-{version}"), checksum);
        }
    }
    Ok(packages)
}

/// Every workflow has completed, and there are as many as were started.
pub(crate) async fn all_completed(client: &Client, started: usize) -> anyhow::Result<()> {
    let runs: Vec<_> = client.list(ListFilter::all()).try_collect().await?;
    ensure!(runs.len() == started, "{started} workflows were started, and {} are listed", runs.len());
    for run in runs {
        ensure!(run.status == Some(CloseStatus::Completed), "{} is not completed: {:?}", run.workflow_id, run.status);
    }
    println!("    ok: {started} workflows were started, and all of them completed");
    Ok(())
}

/// The report names every package once, and `sha256sum` says the same of every archive.
pub(crate) fn archives(report: &Value, packages: &BTreeMap<String, String>, sums: &Path) -> anyhow::Result<()> {
    let list = |key: &str| report[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let (verified, missing) = (list("verified"), list("missing"));
    let reported: BTreeMap<String, String> = verified
        .iter()
        .map(|found| &found["package"])
        .chain(missing)
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or_default();
            (format!("{}-{}", text("name"), text("version")), text("checksum").to_owned())
        })
        .collect();
    ensure!(verified.len() + missing.len() == packages.len(), "the report does not name each package once");
    ensure!(reported == *packages, "the report and the lock file differ");

    for found in verified {
        let archive = found["archive"].as_str().context("the report names the archive")?;
        let name = Path::new(archive).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        ensure!(packages.contains_key(name), "{archive} is no package's archive");
    }
    let check = Command::new("sha256sum").args(["--check", "--quiet", "--strict"]).arg(sums).output();
    let check = check.context("run sha256sum")?;
    ensure!(check.status.success(), "sha256sum does not agree: {}", String::from_utf8_lossy(&check.stdout));
    let lines = std::fs::read_to_string(sums)?;
    ensure!(lines.lines().count() == verified.len(), "sha256sum was not asked about each archive");
    for line in lines.lines() {
        let (checksum, archive) = line.split_once("  ").context("a checksum and a path")?;
        let name = Path::new(archive).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        ensure!(
            packages.get(name).is_some_and(|locked| locked == checksum),
            "{name} has another checksum in the lock file"
        );
    }
    println!(
        "    ok: sha256sum agrees about all {} archives; {} packages are not downloaded here",
        verified.len(),
        missing.len()
    );
    Ok(())
}

/// How many orders the outside world has shipped so far.
pub(crate) fn shipped(ledger: &Path) -> anyhow::Result<usize> {
    let shipped = read(ledger)?.into_iter().filter(|request| request.what == "ship");
    Ok(shipped.map(|request| request.order).collect::<BTreeSet<_>>().len())
}

/// Each order was charged once, and either shipped once or given back once, by the keys that the outside world saw. Gives an
/// order for which a request was made twice, if there is one.
pub(crate) fn orders(ledger: &Path, orders: usize, refused: usize) -> anyhow::Result<Option<String>> {
    let requests = read(ledger)?;
    let mut effects = BTreeMap::<&str, BTreeMap<&str, BTreeSet<&str>>>::new();
    for request in &requests {
        effects.entry(&request.order).or_default().entry(&request.what).or_default().insert(&request.key);
    }
    ensure!(effects.len() == orders, "{} of {orders} orders reached the outside world", effects.len());
    let mut given_back = 0;
    for (order, effects) in &effects {
        ensure!(effects.values().all(|keys| keys.len() == 1), "{order} had an effect twice: {effects:?}");
        match effects.keys().copied().collect::<Vec<_>>().as_slice() {
            ["charge", "reserve", "ship"] => {}
            ["charge", "refund", "release", "reserve"] => given_back += 1,
            other => bail!("{order} ended with {other:?}"),
        }
    }
    ensure!(given_back == refused, "{given_back} orders were given back; {refused} were refused");
    println!(
        "    ok: {} orders were charged once and shipped once, {refused} charged once and refunded once",
        orders - refused
    );

    let distinct: usize = effects.values().map(BTreeMap::len).sum();
    println!(
        "    ok: {} requests had {distinct} effects; the outside world knew the repeats by their keys:",
        requests.len()
    );
    let mut seen = BTreeSet::new();
    let repeats: Vec<&Request> = requests.iter().filter(|request| !seen.insert(&request.key)).collect();
    for repeat in &repeats {
        println!("          {} of {}, attempt {}", repeat.what, repeat.order, repeat.attempt);
    }
    Ok(repeats.first().map(|repeat| repeat.order.clone()))
}

/// A line of the ledger.
#[derive(Deserialize)]
struct Request {
    order: String,
    what: String,
    key: String,
    attempt: u32,
}

fn read(ledger: &Path) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(ledger).with_context(|| format!("read {}", ledger.display()))?;
    // The last line may be half written while workers run.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("understand {line}"))).collect()
}
