//! Measures the engine: a real server and a real worker in processes of their own, this process as the client.
//!
//! `engine-bench run w1 --in-flight 100` starts a throwaway Postgres cluster, a server and a worker, warms up, keeps workflows in
//! flight, checks every result and prints what it measured; `--json` prints it as one line.
//!
//! | file | what |
//! |---|---|
//! | `arguments` | the command line |
//! | `workloads/` | one file each: the workflows that the worker runs, and what the client does |
//! | `rig` | the system under test: store, server, worker, client; started here or attached to |
//! | `load` | callers: closed loop, or open-loop arrival at a rate |
//! | `meter` | CPU, memory, commits, rows, bytes, before and after |
//! | `report` | the line, its medians, the table for people |
//! | `suite/` | all workloads, beside what other engines reached |
//! | `program`, `server`, `worker` | the processes that the rig starts: this program again |
//! | `store` | throwaway stores, and how a database's own counts are read |

mod arguments;
mod load;
mod meter;
mod program;
mod report;
mod rig;
mod server;
mod store;
mod suite;
mod worker;
mod workloads;

use std::process::ExitCode;

use anyhow::Result;
use arguments::{Arguments, Command};
use clap::Parser as _;
use report::Line;
use rig::Rig;

/// As in the `engine` binary, whose server is measured.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => measure(&run).await,
        Command::All(options) => suite::run(&options).await,
        Command::Postgres => store::lend_postgres().await,
        Command::Server(options) => server::run(&options).await,
        Command::Worker(options) => worker::run(&options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one workload as often as asked, and prints the medians.
async fn measure(run: &arguments::Run) -> Result<()> {
    let workload = run.workload.as_workload();
    anyhow::ensure!(
        workload.takes_a_rate() || (run.settings.rate.is_none() && run.settings.count.is_none()),
        "{} makes a number of calls that its own options say: leave --rate and --count away",
        workload.name()
    );
    let mut rig = Rig::start(&run.settings, workload.wants_worker()).await?;
    let mut lines = Vec::new();
    for _ in 0..run.settings.repeat {
        let outcome = workload.measure(&mut rig).await?;
        lines.push(Line::new(workload.name(), rig.store_kind(), &outcome));
    }
    rig.stop().await;
    let line = Line::median(&lines)?;
    if run.settings.json {
        println!("{}", serde_json::to_string(&line)?);
    } else {
        print!("{}", report::for_people(&line, lines.len()));
    }
    anyhow::ensure!(line.errors == 0, "{} of the answers were errors or wrong; the first are told above", line.errors);
    Ok(())
}
