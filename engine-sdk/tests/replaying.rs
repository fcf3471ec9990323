//! New code against the histories of old: from JSON, from the engine, and at the gate of a worker. `docs/changing-code.md` has its examples
//! from here and from `changes.rs`.

use engine_sdk::definition::WorkflowCode;
use engine_sdk::prelude::*;
use engine_sdk::replay::{ReplayFailure, Replayer, Verdict, from_json, to_json};
use engine_sdk::testing::TestEngine;

#[activity]
async fn charge(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[activity]
async fn check_fraud(_ctx: ActivityContext, cents: u64) -> Result<bool, ActivityError> {
    Ok(cents < 1_000_000)
}

#[workflow(name = "checkout")]
async fn checkout_v1(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let paid = ctx.run(charge, cents).await?;
    ctx.sleep(days(14)).await;
    Ok(paid)
}

/// Old runs did not check: they do not follow this.
#[workflow(name = "checkout")]
async fn checkout_unsafe(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    if !ctx.run(check_fraud, cents).await? {
        return Err(WorkflowError::non_retryable("fraud"));
    }
    let paid = ctx.run(charge, cents).await?;
    ctx.sleep(days(14)).await;
    Ok(paid)
}

#[workflow(name = "checkout")]
async fn checkout_v2(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    if ctx.patched("check-fraud") && !ctx.run(check_fraud, cents).await? {
        return Err(WorkflowError::non_retryable("fraud"));
    }
    let paid = ctx.run(charge, cents).await?;
    ctx.sleep(days(14)).await;
    Ok(paid)
}

#[workflow(name = "checkout")]
async fn checkout_v3(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    ctx.deprecate_patch("check-fraud");
    if !ctx.run(check_fraud, cents).await? {
        return Err(WorkflowError::non_retryable("fraud"));
    }
    let paid = ctx.run(charge, cents).await?;
    ctx.sleep(days(14)).await;
    Ok(paid)
}

#[workflow]
async fn panics_at_once(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    panic!("no bread");
}

#[workflow(name = "panics_at_once")]
async fn waits_for_ever(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.signal_channel::<u64>("never").recv().await;
    Ok(())
}

/// A closed run of the first version, as a file has it.
async fn exported(env: &TestEngine) -> String {
    env.activity(charge);
    let handle = env.start(checkout_v1, 700).await.expect("it runs");
    handle.result().await.expect("it runs");
    to_json(&handle.history().await.expect("it has a history"))
}

#[engine_sdk::test]
async fn a_history_from_a_file_tells_whether_a_change_is_safe(env: TestEngine) {
    let json = exported(&env).await;
    Replayer::new().workflow(checkout_v1).replay_json(&json).unwrap();
    Replayer::new().workflow(checkout_v2).replay_json(&json).unwrap();
    let difference = Replayer::new().workflow(checkout_unsafe).replay_json(&json).unwrap_err().to_string();
    assert!(difference.contains("the workflow code does not follow its history: at event 5"), "{difference}");
    assert!(difference.contains("charge") && difference.contains("check_fraud"), "{difference}");
}

#[engine_sdk::test]
async fn what_cannot_be_replayed_is_told_in_a_sentence(env: TestEngine) {
    let json = exported(&env).await;
    let refused = |json: &str| Replayer::new().workflow(checkout_v1).replay_json(json).unwrap_err().to_string();
    assert_eq!(
        Replayer::new().replay_json(&json).unwrap_err(),
        ReplayFailure::NoCode("checkout".to_owned()),
        "a replayer without code"
    );
    assert!(refused("{}").contains("not an array of events"), "{}", refused("{}"));
    assert!(refused("[]").contains("no events"));
    let without = json.replace("\"encoded\"", "\"other\"");
    assert!(refused(&without).contains("event 1 has no `encoded`"), "{}", refused(&without));
    let garbled = json.replacen("\"encoded\": \"", "\"encoded\": \"?", 1);
    assert!(refused(&garbled).contains("event 1 has an `encoded` that is not base64"), "{}", refused(&garbled));
    let shifted = json.replacen("\"event_id\": 1,", "\"event_id\": 3,", 1);
    assert!(refused(&shifted).contains("event 3 stands where event 1 belongs"), "{}", refused(&shifted));
    let newer = json.replacen("\"format\": 1", "\"format\": 2", 1);
    assert!(
        refused(&newer).contains("event 1 is in format 2, and this build reads formats up to 1"),
        "{}",
        refused(&newer)
    );
    let missing = Replayer::new().replay_file("/nowhere/history.json").unwrap_err().to_string();
    assert!(missing.contains("cannot read /nowhere/history.json"), "{missing}");
}

#[engine_sdk::test]
async fn a_history_survives_its_way_through_a_file(env: TestEngine) {
    let json = exported(&env).await;
    let events = from_json(&json).unwrap();
    assert_eq!(to_json(&events), json);
    assert!(events.len() > 10);
}

/// The history of a run of this code, with an engine of its own.
async fn history_of<W: WorkflowCode>(workflow: W, input: W::Input) -> String {
    let env = TestEngine::new().await;
    env.activity(charge).activity(check_fraud);
    let handle = env.start(workflow, input).await.expect("it runs");
    handle.result().await.expect("it runs");
    to_json(&handle.history().await.expect("it has a history"))
}

/// Why `workflow` cannot replay it.
fn refusal_of(workflow: impl WorkflowCode, json: &str) -> String {
    Replayer::new().workflow(workflow).replay_json(json).expect_err("it does not follow").to_string()
}

#[tokio::test]
async fn a_patch_is_deprecated_and_then_forgotten() {
    let unpatched = history_of(checkout_v1, 700).await;
    let patched = history_of(checkout_v2, 700).await;
    let deprecated = history_of(checkout_v3, 700).await;

    // Runs with the patch go on with code that deprecates it. Those without do not: they are not to be open any more.
    Replayer::new().workflow(checkout_v3).replay_json(&patched).unwrap();
    assert!(refusal_of(checkout_v3, &unpatched).contains("does not follow its history"));

    // The code that knows nothing of the patch follows what ran with `deprecate_patch`, and not what ran with `patched`.
    let checkout_v4 = checkout_unsafe;
    Replayer::new().workflow(checkout_v4).replay_json(&deprecated).unwrap();
    assert!(refusal_of(checkout_v4, &patched).contains("check-fraud"));
    // Back to the build before is safe too.
    Replayer::new().workflow(checkout_v2).replay_json(&deprecated).unwrap();
}

/// An event whose attributes are under a number that no release has used so far.
fn of_a_later_kind(event_id: u8) -> String {
    use base64::Engine as _;
    let (of_event_id, of_field_1000) = ([0x08, event_id], [0xc2, 0x3e, 0x00]);
    let encoded = base64::engine::general_purpose::STANDARD.encode([&of_event_id[..], &of_field_1000[..]].concat());
    format!(r#"{{"event_id": {event_id}, "type": "WorkflowAdmired", "format": 1, "encoded": "{encoded}"}}"#)
}

#[engine_sdk::test]
async fn an_event_of_a_kind_that_came_later_is_refused_with_its_name(env: TestEngine) {
    let json = exported(&env).await;
    let next = from_json(&json).unwrap().len() + 1;
    let later = format!("{}, {}]", json.trim_end().trim_end_matches(']'), of_a_later_kind(u8::try_from(next).unwrap()));
    let refusal = Replayer::new().workflow(checkout_v1).replay_json(&later).unwrap_err().to_string();
    let expected = format!("event {next} is of type \"WorkflowAdmired\", which this build does not know");
    assert!(refusal.contains(&expected), "{refusal}");
}

#[test]
fn a_file_from_before_formats_were_written_is_read() {
    let pinned = include_str!("../../proto/tests/histories/every_event.json");
    let without = pinned.replace(r#""format":1,"#, "");
    assert_ne!(without, pinned);
    assert_eq!(from_json(&without).unwrap(), from_json(pinned).unwrap());
}

/// The kinds of events that the protocol has, by its own source.
fn kinds_of_the_protocol() -> std::collections::BTreeSet<String> {
    let (_, oneof) =
        include_str!("../../proto/engine/v1/history.proto").split_once("oneof attributes {").expect("it has one");
    let fields = oneof.split_once("\n  }").expect("it ends").0.lines().filter_map(|line| line.trim().strip_suffix(';'));
    let name = |field: &str| {
        let snake = field.split_whitespace().nth(1).expect("a type and a name").to_owned();
        snake.split('_').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect::<String>()
    };
    fields.filter(|field| !field.starts_with("//")).map(name).collect()
}

#[test]
fn an_exported_event_of_every_kind_is_read_and_written_as_it_was() {
    let pinned = include_str!("../../proto/tests/histories/every_event.json");
    let events = from_json(pinned).unwrap();
    let values = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
    assert_eq!(values(&to_json(&events)), values(pinned));
    let read: std::collections::BTreeSet<String> = events.iter().map(|event| event.kind.name().to_owned()).collect();
    let kinds = kinds_of_the_protocol();
    assert!(kinds.len() >= 40, "{kinds:?}");
    assert_eq!(kinds.difference(&read).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the file");
}

/// Three runs of the first version that wait, and one of another type.
async fn open_runs(env: &TestEngine) {
    env.activity(charge);
    for number in 0..3 {
        env.workflow(checkout_v1);
        let start = env.client().workflow(checkout_v1).id(format!("order-{number}"));
        start.start(700 + number).await.expect("it starts");
    }
    env.start(waits_for_ever, ()).await.expect("it starts");
    env.settle().await;
}

#[engine_sdk::test]
async fn a_new_build_is_checked_against_all_open_runs_before_it_takes_work(env: TestEngine) {
    open_runs(&env).await;
    let worker = Worker::new(env.client(), "orders").workflow(checkout_v2).activity(charge).activity(check_fraud);
    let report = worker.check_open_runs().await.unwrap();
    assert!(report.is_same(), "{report}");
    assert_eq!(report.runs.len(), 3);
    assert!(report.runs.iter().all(|run| run.events >= 10), "{report:?}");

    let worker = Worker::new(env.client(), "orders").workflow(checkout_unsafe).workflow(panics_at_once);
    let report = worker.check_open_runs().await.unwrap();
    assert!(!report.is_same());
    assert_eq!(report.troubled().count(), 4);
    let told = report.to_string();
    assert!(told.contains("checkout               3         0          3         0"), "{told}");
    assert!(told.contains("checkout \"order-1\", run ") && told.contains("does not follow its history"), "{told}");
    assert!(told.contains("no bread"), "{told}");
    // It looked only.
    assert_eq!(env.client().count("Status = 'Running'").await.unwrap(), 4);
}

#[engine_sdk::test]
async fn a_sample_is_the_latest_of_each_type_and_progress_counts_to_its_end(env: TestEngine) {
    open_runs(&env).await;
    let worker = Worker::new(env.client(), "orders").workflow(checkout_v2).workflow(waits_for_ever);
    let seen = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let progress = std::sync::Arc::clone(&seen);
    let report =
        worker.check_open_runs().sample(2).progress(move |done, total| progress.lock().push((done, total))).await;
    assert_eq!(report.unwrap().runs.len(), 3);
    let mut seen = seen.lock().clone();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 3), (1, 3), (2, 3), (3, 3)]);
}

#[engine_sdk::test]
async fn runs_are_replayed_by_filter_closed_ones_too(env: TestEngine) {
    open_runs(&env).await;
    exported(&env).await;
    env.settle().await;
    let replayer = Replayer::new().workflow(checkout_v1);
    let report = replayer.replay_runs(&env.client(), "Status = 'Completed'").await.unwrap();
    // The clock went on until the one was completed, and so were the others.
    assert_eq!(report.runs.len(), 4);
    assert!(report.is_same(), "{report}");
    let report = replayer.replay_runs(&env.client(), "WorkflowType = 'panics_at_once'").await.unwrap();
    assert_eq!(report.runs[0].verdict, Verdict::NoCode);
    assert!(report.to_string().contains("no code for its type"), "{report}");
    assert!(replayer.replay_runs(&env.client(), "Nonsense ==").await.is_err());
}

#[engine_sdk::test]
async fn a_program_checks_instead_of_working_when_it_is_told_to(env: TestEngine) {
    open_runs(&env).await;
    let worker = |code: fn(Worker) -> Worker| code(Worker::new(env.client(), "orders"));
    let call = |flag: &str| ["program".to_owned(), flag.to_owned()];
    let fits = worker(|worker| worker.workflow(checkout_v2)).run_or_check(call("--check-open-runs")).await.unwrap();
    let differs = worker(|worker| worker.workflow(checkout_unsafe)).run_or_check(call("--check-open-runs=2")).await;
    let wrong = worker(|worker| worker.workflow(checkout_v2)).run_or_check(call("--check-open-runs=all")).await;
    let codes = [fits, differs.unwrap(), wrong.unwrap()].map(|code| format!("{code:?}"));
    let expected = [0, 1, 2].map(|code| format!("{:?}", std::process::ExitCode::from(code)));
    assert_eq!(codes, expected);
}

#[test]
fn every_example_of_the_document_is_a_test() {
    let document = include_str!("../../docs/changing-code.md");
    let tests = [include_str!("replaying.rs"), include_str!("changes.rs")];
    let blocks: Vec<&str> = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        assert!(tests.iter().any(|file| file.contains(block.trim_end())), "in no test:\n{block}");
    }
}
