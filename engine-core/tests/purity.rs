//! The core stays pure: what it depends on is a short list. (What those depend on in turn: `tidy`.)

use std::fs;
use std::path::Path;

#[test]
fn the_core_depends_on_nothing_that_does_io() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("the manifest is readable");
    let dependencies: Vec<&str> = manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.trim().starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()))
        .collect();
    assert_eq!(
        dependencies,
        ["bytes", "jiff", "thiserror", "uuid"],
        "a new dependency of the core is an architecture change"
    );
    assert!(!manifest.contains("[target"), "dependencies by target would escape the list above");
    assert!(!manifest.contains("[build-dependencies]"), "a build script would escape the list above");
}
