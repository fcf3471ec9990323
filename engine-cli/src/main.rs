//! The `engine` binary. All of it is in the library, so that tests can run it in their own process.

use std::process::ExitCode;

/// A server allocates small things on one thread and frees them on another. On the same work this takes a sixth off the server's CPU, and
/// it gives memory back when the work is done (`docs/performance.md`).
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    engine_cli::run(std::env::args_os())
}
