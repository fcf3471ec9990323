//! Every workload on every store, small, with the server, worker and client that users measure with. What is checked is that answers are
//! right, never how long they took.

use std::process::Command;

/// Prints its table past the test harness, so that it is in the log also when all is well.
#[test]
fn every_workload_works_on_every_store() {
    let status = Command::new(env!("CARGO_BIN_EXE_engine-bench")).args(["all", "--check"]).status().unwrap();
    assert!(status.success(), "engine-bench all --check: {status}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let refused = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engine-bench"));
        command.args(words.split(' ')).env_remove("ENGINE_BENCH_DATABASE_URL");
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{words}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("run startup --address http://127.0.0.1:9");
    assert!(said.contains("this workload starts and stops the server itself: leave --address away"), "{said}");
    let said = refused("run w1 --database-url mysql://h/d");
    assert!(said.contains("\"mysql\" is not a kind of store"), "{said}");
    let said = refused("run w8 --rate 10");
    assert!(said.contains("w8 makes a number of calls that its own options say: leave --rate"), "{said}");
    let said = refused("all --only w77");
    assert!(said.contains("no workload on Postgres is named w77"), "{said}");
}
