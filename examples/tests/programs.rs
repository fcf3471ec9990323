//! Runs the programs as their users do.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a program in a directory.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(directory).output().expect("the program was built")
}

#[track_caller]
fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).expect("it prints text")
}

#[test]
fn hello_greets_and_is_what_the_readme_shows() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_hello"), &[]);
    assert_eq!(stdout(&output), "Hello, world!\n");
    // Again, on the database of the first time.
    let output = run(directory.path(), env!("CARGO_BIN_EXE_hello"), &[]);
    assert_eq!(stdout(&output), "Hello, world!\n");
    let (_, code) = include_str!("../hello.rs").split_once('\n').unwrap();
    assert!(include_str!("../../README.md").contains(code), "README.md shows another program than examples/hello.rs");
    assert!(code.lines().count() <= 25);
}

#[test]
fn message_passing_shows_each_vote_to_the_query_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_message_passing"), &[]);
    assert_eq!(stdout(&output), "votes missing: [2, 1, 0]; accepted\n");
}

#[test]
fn bank_account_takes_each_deposit_once_and_none_of_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_bank_account"), &[]);
    let expected = "balance 500, 750, 750\nrefused: a deposit must be more than nothing\nclosed with 750\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn best_quote_takes_the_first_answer_and_gives_up_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_best_quote"), &[]);
    assert_eq!(stdout(&output), "7.50 from corner shop; 1 done\n");
}

#[test]
fn parcels_are_hurried_and_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_parcels"), &[]);
    let expected = "parcel 1, hurried by the order\nparcel 2, hurried by the order\nparcel 3, hurried by the order\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn search_attributes_are_listed_and_counted_by() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_search_attributes"), &[]);
    assert_eq!(stdout(&output), "c: 450 cents, b: 270 cents; [(\"eu\", 2), (\"us\", 1)]\n");
}

#[test]
fn nightly_reports_each_night_once_though_the_clock_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_nightly"), &[]);
    let expected = "north: report-2025-03-29T01:30:00Z\nnorth: report-2025-03-30T01:00:00Z\n\
                    north: report-2025-03-31T00:30:00Z\n10 more are known; deleted: true\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn job_queue_runs_its_dead_letters_again() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_job_queue"), &[]);
    let expected = "cat.png: 7 bytes\n\
                    dog.avif: the activity failed: ActivityError: dog.avif is in an unknown format\n\
                    eel.png: 7 bytes\n\
                    fox.avif: the activity failed: ActivityError: fox.avif is in an unknown format\n\
                    2 dead letters\n2 run again; fox.avif: 8 bytes\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn film_studio_goes_on_elsewhere_when_its_host_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_film_studio"), &[]);
    let expected = "Metropolis is on host-a\nMetropolis is on host-b\nMetropolis was rendered on host-b\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn updatable_timer_is_moved_twice() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_updatable_timer"), &[]);
    assert_eq!(stdout(&output), "rings in 9 hours\nrang after 2 moves\n");
}

#[test]
fn polling_gets_the_third_answer_either_way() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_polling"), &[]);
    assert_eq!(stdout(&output), "a film is done, says answer 3\na house is done, says answer 3\n");
}

#[test]
fn cancellation_tidies_up_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_cancellation"), &[]);
    let expected = "half of Metropolis is deleted; the place for Metropolis is free; the workflow was canceled\n";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn order_saga_tells_what_became_of_orders() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--orders", "2", "--refuse", "1", "--name", "order"];
    let output = run(directory.path(), env!("CARGO_BIN_EXE_order_saga"), &arguments);
    assert_eq!(
        stdout(&output),
        "2 orders placed\n2 decisions sent\norder-0001 was rejected: the clerk said no\n1 orders shipped\n\
         what the outside world saw:\n  order-0001: charge, reserve, release, refund\n  order-0002: charge, reserve, ship\n"
    );
}

#[test]
fn lockfile_audit_agrees_with_sha256sum() {
    let directory = tempfile::tempdir().unwrap();
    let registry = directory.path().join("registry/cache/index.example-1");
    std::fs::create_dir_all(&registry).unwrap();
    std::fs::write(registry.join("right-1.0.0.crate"), "abc").unwrap();
    std::fs::write(
        directory.path().join("Cargo.lock"),
        "[[package]]\nname = \"right\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\
         checksum = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n",
    )
    .unwrap();
    let program = env!("CARGO_BIN_EXE_lockfile_audit");
    let arguments = ["--cargo-home", ".", "--sums", "sums"];

    let output = run(directory.path(), program, &arguments);
    assert!(stdout(&output).contains("verified        1"), "{output:?}");
    let check = run(directory.path(), "sha256sum", &["--check", "sums"]);
    assert_eq!(stdout(&check), "./registry/cache/index.example-1/right-1.0.0.crate: OK\n");

    std::fs::write(registry.join("right-1.0.0.crate"), "abd").unwrap();
    let output = run(directory.path(), program, &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("mismatched      1"), "{output:?}");
    assert!(!run(directory.path(), "sha256sum", &["--check", "sums"]).status.success());
}
