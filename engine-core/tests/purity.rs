//! The core stays pure: it depends on nothing that does I/O, and every file says what it is for.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_core_depends_on_nothing_that_does_io() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is readable");
    let dependencies: Vec<&str> = manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.trim().starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()))
        .collect();
    assert_eq!(dependencies, ["bytes", "thiserror", "uuid"], "a new dependency of the core is an architecture change");
    assert!(!manifest.contains("[target"), "dependencies by target would escape the list above");
    assert!(!manifest.contains("[build-dependencies]"), "a build script would escape the list above");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        assert!(text.starts_with("//! "), "{} does not open with a module doc", file.display());
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
