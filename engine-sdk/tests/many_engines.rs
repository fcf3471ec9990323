//! A test engine costs little to start and leaves nothing behind: thousands fit into one test binary. In a binary of its own, because it counts
//! what the process has. For the figures: `cargo test -p engine-sdk --test many_engines -- --nocapture`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

const ENGINES: usize = 1000;

#[workflow]
async fn reminder(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    ctx.sleep(days(30)).await;
    Ok(30)
}

/// What the process has: threads, open files, resident memory in KiB.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    threads: usize,
    files: usize,
    memory: usize,
}

fn holdings() -> Holdings {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Holdings { threads: count("/proc/self/task"), files: count("/proc/self/fd"), memory }
}

/// How long each engine took, in order of size.
struct Took {
    starts: Vec<Duration>,
    /// From the call that starts the run, in an engine that is there, to the run's result.
    runs: Vec<Duration>,
}

/// Starts engines one after the other, each on a runtime of its own as `#[engine_sdk::test]` does it, and waits a month in each.
fn months(engines: usize) -> Took {
    let (mut starts, mut runs): (Vec<Duration>, Vec<Duration>) = (0..engines)
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let began = Instant::now();
                let env = TestEngine::new().await;
                let start = began.elapsed();
                let (began, month) = (Instant::now(), env.now());
                assert_eq!(env.run(reminder, ()).await.unwrap(), 30);
                let run = began.elapsed();
                assert_eq!(env.now().since(month), days(30));
                (start, run)
            })
        })
        .unzip();
    starts.sort();
    runs.sort();
    Took { starts, runs }
}

fn at(percent: usize, sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * percent / 100]
}

#[test]
fn a_thousand_engines_start_quickly_and_leave_nothing_behind() {
    // What is made once, and what the allocator keeps.
    months(100);
    let (before, began) = (holdings(), Instant::now());
    let Took { starts, runs } = months(ENGINES);
    let (after, took) = (holdings(), began.elapsed());
    println!(
        "{ENGINES} engines, each with a workflow that sleeps for 30 days: {took:.1?}; a start takes {:.2?} (p50), {:.2?} (p99), \
         the 30 days {:.2?} (p50), {:.2?} (p99); before {before:?}, after {after:?}",
        at(50, &starts),
        at(99, &starts),
        at(50, &runs),
        at(99, &runs),
    );
    assert_eq!(after.files, before.files);
    // A few of the last engines' may be about to end.
    assert!(after.threads < before.threads + 10, "before {before:?}, after {after:?}");
    // 20 KiB an engine would be a leak of one; the rest is what the allocator does.
    assert!(after.memory < before.memory + 20 * 1024, "before {before:?}, after {after:?}");
    // The fastest quarter: a machine that does something else besides makes the others wait.
    assert!(at(25, &starts) <= millis(5), "{:?}", at(25, &starts));
    assert!(at(25, &runs) <= millis(20), "{:?}", at(25, &runs));
}
