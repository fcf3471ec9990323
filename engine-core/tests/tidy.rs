//! Rules about the source of the whole workspace that the compiler does not check.

#![allow(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace's directory")
}

/// Every Rust source file of the workspace but the compile-fail cases, which are shown to users as they are.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the directory is readable") {
            let path = entry.expect("the entry is readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                let is_cases = name == "ui" && directory.ends_with("tests");
                if !(name.starts_with('.') || name.starts_with("target") || is_cases) {
                    directories.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found.sort();
    found
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    let bare: Vec<String> = sources()
        .iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert!(bare.is_empty(), "without a //! line at the top:\n{}", bare.join("\n"));
}

/// The crates that `package` is built from on this machine, without those of its tests and build scripts.
fn dependencies(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let names: BTreeSet<String> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(package), "{package} is not in its own tree:\n{text}");
    names
}

fn assert_apart(names: &BTreeSet<String>, package: &str, forbidden: &[&str], why: &str) {
    let found: Vec<&&str> = forbidden.iter().filter(|name| names.contains(**name)).collect();
    assert!(found.is_empty(), "{package} depends on {found:?}: {why}");
}

#[test]
fn the_core_does_no_io_asks_for_no_time_and_draws_no_random_numbers() {
    let forbidden = [
        "async-std",
        "chrono",
        "fastrand",
        "futures",
        "getrandom",
        "hyper",
        "libc",
        "mio",
        "parking_lot",
        "rand",
        "rand_core",
        "reqwest",
        "rusqlite",
        "rustix",
        "smol",
        "socket2",
        "sqlx",
        "time",
        "tokio",
        "tonic",
        "tracing",
    ];
    assert_apart(
        &dependencies("engine-core", &[]),
        "engine-core",
        &forbidden,
        "the core is a pure function of its inputs",
    );
}

#[test]
fn dependencies_point_down() {
    let ours = ["engine-proto", "engine-server", "engine-sdk", "engine-cli", "engine-testkit"];
    assert_apart(&dependencies("engine-core", &[]), "engine-core", &ours, "it knows no other crate of ours");
    let above_proto = ["engine-server", "engine-sdk", "engine-cli", "engine-testkit"];
    assert_apart(&dependencies("engine-proto", &[]), "engine-proto", &above_proto, "it knows only engine-core");
    let above_server = ["engine-sdk", "engine-cli", "engine-testkit"];
    assert_apart(&dependencies("engine-server", &[]), "engine-server", &above_server, "it never sees its clients");
    let client_only = dependencies("engine-sdk", &["--no-default-features"]);
    let server_side = ["engine-server", "sqlx", "sqlx-core", "libsqlite3-sys"];
    assert_apart(
        &client_only,
        "engine-sdk without `embedded`",
        &server_side,
        "a worker needs no server and no database",
    );
    assert_apart(
        &dependencies("engine-cli", &[]),
        "engine-cli",
        &["engine-sdk"],
        "it speaks to servers by protocol only",
    );
}

/// The names that a file gives to things: what follows a declaring keyword, and the fields of structs.
fn declared_names(source: &str) -> Vec<&str> {
    const KEYWORDS: [&str; 9] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static", "let"];
    let mut names = Vec::new();
    for line in source.lines() {
        let code = line.split("//").next().unwrap_or_default().trim_start();
        let mut words = code
            .split(|character: char| !(character.is_alphanumeric() || character == '_'))
            .filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if KEYWORDS.contains(&word) {
                names.extend(words.find(|word| *word != "mut"));
            }
        }
        let visible =
            code.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        if let Some((name, _)) = visible.split_once(": ")
            && !name.is_empty()
            && name.chars().all(|character| character.is_alphanumeric() || character == '_')
        {
            names.push(name);
        }
    }
    names
}

/// `StartTimer`, `start_timer` and `START_TIMER` are the words `start` and `timer`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut previous_is_lower = false;
    for character in name.chars() {
        if character == '_' || (character.is_uppercase() && previous_is_lower) {
            words.push(String::new());
        }
        if character != '_' {
            words.last_mut().expect("there is always one").extend(character.to_lowercase());
        }
        previous_is_lower = character.is_lowercase();
    }
    words
}

#[test]
fn names_use_the_words_of_the_glossary() {
    // Of the glossary's "not" words, those that are nobody else's: tokio may abort tasks, and a test may kill processes.
    let banned = ["orchestration", "orchestrator", "tenant", "nonce", "journal", "alarm", "subworkflow", "ttl"];
    let mut found = Vec::new();
    for path in sources() {
        let source = std::fs::read_to_string(&path).unwrap();
        for name in declared_names(&source) {
            if words(name).iter().any(|word| banned.contains(&word.as_str())) {
                found.push(format!("{}: {name}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    // This file's own example.
    found.retain(|name| !name.starts_with("engine-core/tests/tidy.rs: "));
    assert!(found.is_empty(), "GLOSSARY.md has other words for these:\n{}", found.join("\n"));
}

#[test]
fn names_are_read_from_declarations_and_split_into_words() {
    let source =
        "struct JournalEntry {\n    pub(crate) tenant_id: u32,\n}\nlet mut ttl = call(nonce); // let alarm = 1;";
    assert_eq!(declared_names(source), ["JournalEntry", "tenant_id", "ttl"]);
    assert_eq!(words("JournalEntry"), ["journal", "entry"]);
    assert_eq!(words("MAX_TTL"), ["max", "ttl"]);
}
