//! The `engine` binary. All of it is in the library, so that tests can run it in their own process.

use std::process::ExitCode;

fn main() -> ExitCode {
    engine_cli::run(std::env::args_os())
}
