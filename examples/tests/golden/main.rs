//! Golden histories: what the examples' workflows left behind when they were run by each release, in `examples/golden/<release>/`. The code
//! of today must follow them all, so a change of the SDK or of an example that would break runs in flight is seen here first.
//!
//! `make golden` records what the release of this source does not have yet. It never writes over a file, so what an older release left stays
//! as it was left.
//!
//! | file | holds |
//! |---|---|
//! | `programs` | the programs of one file, and the ways that their workflows go |
//! | `orders`, `audits` | the same of `order_saga` and `lockfile_audit` |

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use engine_sdk::client::ListFilter;
use engine_sdk::ids::WorkflowType;
use engine_sdk::prelude::*;
use engine_sdk::replay::{Replayer, from_json, to_json};
use engine_sdk::testing::{TestEngine, run};
use futures::TryStreamExt as _;

use self::audits as lockfile_audit;
use self::orders as order_saga;
use self::programs::{PROGRAMS, Program, Record};

#[path = "../../lockfile_audit/audit.rs"]
mod audit;
mod audits;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../../lockfile_audit/cargo_cache.rs"]
mod cargo_cache;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../../order_saga/ledger.rs"]
mod ledger;
#[path = "../../lockfile_audit/lockfile.rs"]
mod lockfile;
mod orders;
mod programs;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../../lockfile_audit/report.rs"]
mod report;
#[path = "../../order_saga/saga.rs"]
mod saga;
#[path = "../../order_saga/shop.rs"]
mod shop;

/// The release that this source becomes.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Whether to record what is missing, instead of complaining.
const RECORD: &str = "BLESS";

fn examples() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(release: &str) -> PathBuf {
    examples().join("golden").join(release)
}

/// Names of what is in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whose history a file holds. Its name is the program's, the way's, and its number and type among several runs.
fn program_of(file: &str) -> Option<&'static Program> {
    let (name, _) = file.split_once('-')?;
    PROGRAMS.iter().find(|program| program.name == name)
}

/// Goes one way and gives the files that it leaves: one for each run, numbered if there are several.
fn recorded(program: &Program, path: &'static str, record: Record) -> BTreeMap<String, String> {
    let (told, runs) = std::sync::mpsc::channel();
    run(path, minutes(1), async move |env: TestEngine| {
        record(env.clone()).await;
        let client = env.client();
        let mut found: Vec<_> = client.list(ListFilter::all()).try_collect().await.unwrap();
        found.sort_by_key(|run| run.run_id);
        for run in found {
            let handle = client.handle_named::<serde_json::Value>(run.workflow_id.as_str()).with_run_id(run.run_id);
            told.send((run.workflow_type, handle.history().await.unwrap())).unwrap();
        }
    });
    let runs: Vec<_> = runs.iter().collect();
    assert!(!runs.is_empty(), "{} left nothing on its way {path}", program.name);
    let is_alone = runs.len() == 1;
    let file = |(number, (workflow_type, history)): (usize, (WorkflowType, Vec<_>))| {
        let which = if is_alone { String::new() } else { format!("@{}-{workflow_type}", number + 1) };
        (format!("{}-{path}{which}.json", program.name), to_json(&history) + "\n")
    };
    runs.into_iter().enumerate().map(file).collect()
}

/// Writes a file that is not there. One that is there stays as it is.
fn write_new(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(folder.join(name))?.write_all(text.as_bytes())
}

#[test]
fn every_way_of_every_program_is_recorded_for_this_release() {
    let folder = folder(RELEASE);
    let may_record = std::env::var_os(RECORD).is_some();
    if may_record {
        fs::create_dir_all(&folder).unwrap();
    }
    let present: BTreeSet<String> =
        if folder.is_dir() { entries(&folder).into_iter().collect() } else { BTreeSet::new() };
    let mut missing = Vec::new();
    for program in PROGRAMS {
        for (path, record) in program.paths {
            // Recorded even if it is there, so that a way that its program no longer goes is noticed before the next release.
            for (name, text) in recorded(program, path, *record) {
                (program.code)(Replayer::new()).replay_json(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
                if present.contains(&name) {
                    continue;
                }
                match may_record {
                    true => write_new(&folder, &name, &text).unwrap(),
                    false => missing.push(name),
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "examples/golden/{RELEASE} lacks these histories; record them with `make golden`:\n{}",
        missing.join("\n")
    );
}

#[test]
fn todays_code_follows_the_histories_of_all_releases() {
    let mut followed = 0;
    let mut problems = Vec::new();
    for release in entries(&examples().join("golden")) {
        for file in entries(&folder(&release)) {
            let program = program_of(&file).unwrap_or_else(|| {
                panic!("golden/{release}/{file} is of a program that `programs.rs` does not know: keep the code as long as its histories")
            });
            match (program.code)(Replayer::new()).replay_file(folder(&release).join(&file)) {
                Ok(()) => followed += 1,
                Err(difference) => problems.push(format!("golden/{release}/{file}: {difference}")),
            }
        }
    }
    assert!(
        problems.is_empty(),
        "the examples' code does not follow what it did before; runs in flight would be stuck. Patch it (docs/changing-code.md):\n\n{}",
        problems.join("\n\n")
    );
    assert!(followed >= 20, "only {followed} histories");
}

#[test]
fn every_workflow_type_of_every_program_has_a_history_in_the_newest_release() {
    let mut types_of = BTreeMap::<String, BTreeSet<String>>::new();
    for file in entries(&folder(RELEASE)) {
        let history = from_json(&fs::read_to_string(folder(RELEASE).join(&file)).unwrap()).unwrap();
        let program = program_of(&file).map(|program| program.name.to_owned()).unwrap_or_default();
        types_of.entry(program).or_default().insert(workflow_type_of(&history));
    }
    let mut lacking = Vec::new();
    let sources = sources();
    for (program, source) in &sources {
        for workflow_type in declared(source) {
            if !types_of.get(program).is_some_and(|types| types.contains(&workflow_type)) {
                lacking.push(format!("{workflow_type} of {program}"));
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "no golden history in examples/golden/{RELEASE}; add a way to tests/golden/programs.rs and `make golden`:\n{}",
        lacking.join("\n")
    );
    let declaring = sources.iter().filter(|(_, source)| !declared(source).is_empty()).count();
    assert!(declaring >= 10, "only {declaring} programs have workflows: is `declared` right?");
}

fn workflow_type_of(history: &[engine_sdk::event::Event]) -> String {
    match &history[0].kind {
        engine_sdk::event::EventKind::WorkflowStarted(started) => started.workflow_type.to_string(),
        other => panic!("a history begins with {}", other.name()),
    }
}

/// The programs' sources: a file, or all files of a folder.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for name in entries(examples()) {
        let path = examples().join(&name);
        if let Some(program) = name.strip_suffix(".rs").filter(|program| *program != "build") {
            sources.insert(program.to_owned(), fs::read_to_string(&path).unwrap());
        } else if path.join("main.rs").exists() {
            let files = entries(&path).into_iter().filter(|file| file.ends_with(".rs"));
            sources.insert(name, files.map(|file| fs::read_to_string(path.join(file)).unwrap()).collect());
        }
    }
    sources
}

/// The workflow types that a source declares: the attribute's name, or that of the function behind it.
fn declared(source: &str) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for (place, _) in source.match_indices("\n#[workflow") {
        let rest = &source[place + "\n#[workflow".len()..];
        let (attribute, item) = rest.split_once(']').unwrap();
        let named = attribute.split_once("name = \"").and_then(|(_, name)| name.split_once('"')).map(|(name, _)| name);
        let of_item = |keyword: &str| {
            let name = item.split_once(keyword)?.1;
            name.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next()
        };
        types.insert(named.or_else(|| of_item("fn ")).unwrap().to_owned());
    }
    types
}

#[test]
fn declared_workflow_types_are_found() {
    let source = "\n#[workflow]\npub(crate) async fn one(ctx: C) {}\n\n#[workflow(name = \"two\")]\nimpl Three {\n}\nfn four() {}";
    assert_eq!(declared(source), BTreeSet::from(["one", "two"].map(str::to_owned)));
}

#[test]
fn a_history_that_is_there_is_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    write_new(directory.path(), "a.json", "as it was").unwrap();
    let refused = write_new(directory.path(), "a.json", "as it is").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(directory.path().join("a.json")).unwrap(), "as it was");
}

#[test]
fn code_that_changed_fails_with_both_sides_next_to_each_other() {
    let file = folder(RELEASE).join("order_saga-shipped.json");
    // The code of another program, under the name of this one: what an unsafe change looks like.
    #[workflow(name = "order_saga")]
    async fn changed(
        ctx: WorkflowContext,
        _order: saga::Order,
        patience: std::time::Duration,
    ) -> Result<(), WorkflowError> {
        ctx.sleep(patience).await;
        Ok(())
    }
    let difference = Replayer::new().workflow(changed).replay_file(file).unwrap_err().to_string();
    assert!(difference.contains("charge") && difference.contains("StartTimer"), "{difference}");
}
