//! The `engine` command, built with these tests so that they need no other crate's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    engine_cli::run(std::env::args_os())
}
