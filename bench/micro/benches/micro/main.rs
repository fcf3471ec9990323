//! What single parts cost, without a network, a disk or a second thread: `make bench-micro`, or
//! `cargo bench -p engine-micro -- replay` for those whose name has `replay` in it.
//!
//! Each is an operation that one workflow task, one activity or one event pays for. Where the figure is one of many (a replay of
//! 10,000 events) criterion prints the throughput in elements besides.

mod decide;
mod history;
mod queue;
mod replay;
mod run;
mod wire;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    decide::benches(&mut criterion);
    history::benches(&mut criterion);
    replay::benches(&mut criterion);
    wire::benches(&mut criterion);
    queue::benches(&mut criterion);
    criterion.final_summary();
}
