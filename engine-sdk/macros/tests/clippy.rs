//! That clippy, with `docs/clippy.toml`, finds in a user's crate what the macro cannot see.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

const FRAGMENT: &str = include_str!("../../../docs/clippy.toml");

/// What the fragment is to find: `disallowed-methods` and `disallowed-macros`.
fn paths() -> Vec<&'static str> {
    FRAGMENT.lines().filter_map(|line| line.trim().strip_prefix("{ path = \"")?.split('"').next()).collect()
}

/// Runs clippy, with the fragment, over `tests/clippy/program.rs` as a crate of its own. From the versions in our own `Cargo.lock`, so that nothing
/// is downloaded.
fn clippy() -> io::Result<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clippy");
    fs::create_dir_all(&crate_dir)?;
    fs::write(crate_dir.join("clippy.toml"), FRAGMENT)?;
    fs::copy(here.join("tests/clippy/Cargo.toml.in"), crate_dir.join("Cargo.toml"))?;
    fs::copy(here.join("tests/clippy/program.rs"), crate_dir.join("program.rs"))?;
    fs::copy(here.join("../../Cargo.lock"), crate_dir.join("Cargo.lock"))?;
    let output = Command::new(env!("CARGO"))
        .args(["clippy", "--offline", "--target-dir", "target"])
        .current_dir(&crate_dir)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "clippy (`rustup component add clippy`) does not run over the program:\n{told}");
    Ok(told)
}

#[test]
fn the_fragment_finds_all_that_it_names_in_functions_and_behind_imports() {
    let told = clippy().unwrap();
    assert!(paths().len() > 30, "{:?}", paths());
    for path in paths() {
        let is_found = ["method", "macro"].iter().any(|kind| told.contains(&format!("disallowed {kind} `{path}`")));
        assert!(is_found, "{path} is not found:\n{told}");
    }
    assert!(told.contains("iteration over unordered hash-based type"), "{told}");
    assert!(!told.contains("does not refer to"), "{told}");
}
