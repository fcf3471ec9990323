//! Copies the programs of one file to where `tests/golden` includes them into modules of its own, to reach their workflows without making
//! those public for it.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    // A program that is added or removed changes it.
    println!("cargo::rerun-if-changed=Cargo.toml");
    let out = env::var("OUT_DIR")?;
    for entry in fs::read_dir(".")? {
        let path = entry?.path();
        let is_program = path.extension().is_some_and(|extension| extension == "rs");
        let Some(name) = path.file_name().filter(|name| is_program && *name != "build.rs") else { continue };
        println!("cargo::rerun-if-changed={}", Path::new(name).display());
        fs::write(Path::new(&out).join(name), without_its_head_and_tests(&fs::read_to_string(&path)?))?;
    }
    Ok(())
}

/// What may stand within a module: its first lines become plain comments, so that the numbers of the others stay; tests are left out, as they run
/// with the program.
fn without_its_head_and_tests(program: &str) -> String {
    let lines = program.lines().take_while(|line| *line != "#[cfg(test)]");
    lines
        .map(|line| line.strip_prefix("//!").map_or_else(|| format!("{line}\n"), |head| format!("//{head}\n")))
        .collect()
}
