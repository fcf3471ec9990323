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
fn rolling_out_leaves_a_run_with_the_build_that_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_rolling_out"), &[]);
    let expected = "Ada: Tea? Indeed.\nBob: Tea, of course. With sugar?\nAda: Milk? Indeed.\n\
                    build 2 is Current\nbuild 1 is Drained\n";
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
fn heartbeats_let_the_next_attempt_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_heartbeats"), &[]);
    assert_eq!(stdout(&output), "attempt 2 went on at row 300\n");
}

#[test]
fn timers_tell_and_give_up() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_timers"), &[]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    // How late the second one is, is up to the machine.
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "a soup in time", "a sandwich"));
    assert!(["a soup at last", "a sandwich"].contains(&lines[1]), "{lines:?}");
}

#[test]
fn saga_gives_back_what_it_booked() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_saga"), &[]);
    let (told, outcome) = stdout(&output).split_once('\n').unwrap();
    assert_eq!(told, "booked a flight; booked a hotel; gave back the hotel; gave back the flight");
    assert!(outcome.contains("there is no car left"), "{outcome}");
}

#[test]
fn repair_shop_mends_what_failed_and_clears_what_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_repair_shop"), &[]);
    let expected = [
        "1 is paused",
        "Ada's bike has a new chain",
        "the workflow failed: ",
        "Ben's bike has a used bell",
        "again: Ada's bike has a new chain",
        "3 of 3 were terminated",
    ];
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?} does not begin with {expected:?}");
    }
    assert!(lines[2].ends_with("the supplier does not answer"), "{lines:?}");
}

#[test]
fn any_type_does_what_names_say() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), env!("CARGO_BIN_EXE_any_type"), &[]);
    let expected = "how far? 1 orders so far\n\
                    paint the house (2 arguments); heat the house (2 arguments); furnish the house (2 arguments)\n";
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

/// The programs that port an idea of Temporal's examples, as the README names them.
fn ports(readme: &str) -> Vec<&str> {
    let (_, table) = readme.split_once("| theirs | here |\n|---|---|\n").expect("the README has the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).expect("each row names a program")).collect()
}

/// Lines of code: without blanks, comments and tests.
fn lines_of_code(source: &str) -> usize {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn the_ports_of_the_ideas_of_others_are_at_most_half_as_long() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let ports = ports(&readme);
    assert_eq!(ports.len(), 14, "{ports:?}");
    let read = |name: &&str| std::fs::read_to_string(folder.join(name)).unwrap();
    let lines: usize = ports.iter().map(read).map(|source| lines_of_code(&source)).sum();
    assert!(lines <= 1683 / 2, "{lines} lines");
    assert!(readme.contains(&format!("Together they have {lines} lines")), "README.md has another number than {lines}");
}

#[test]
fn every_rust_block_of_the_guides_is_in_a_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let programs: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for guide in ["messages.md", "workflows.md"] {
        let text = std::fs::read_to_string(folder.join("../docs").join(guide)).unwrap();
        let blocks: Vec<&str> = text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 4, "{guide} has {} blocks", blocks.len());
        for block in blocks {
            assert!(programs.iter().any(|program| program.contains(block)), "{guide}: in no program:\n{block}");
        }
    }
}
