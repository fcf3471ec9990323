//! What the test engine tells of code that goes wrong.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_sdk::prelude::*;
use engine_sdk::testing::{TestEngine, run, timeline};

use crate::told;

#[activity]
async fn notify(_ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    let _ = text;
    Ok(())
}

static CALLS: AtomicU64 = AtomicU64::new(0);

const FICKLE: u32 = line!();

/// Does something else each time that it is run.
#[workflow]
async fn fickle(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        ctx.run(notify, "even".to_owned()).await?;
    } else {
        ctx.sleep(hours(1)).await;
    }
    Ok(())
}

static LAST_CALLS: AtomicU64 = AtomicU64::new(0);

/// Its last workflow task is its first, so only the replay at the end sees it.
#[workflow]
async fn fickle_at_the_end(_ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    match LAST_CALLS.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Ok(7),
        _ => Err(WorkflowError::non_retryable("odd")),
    }
}

/// What a macro does not see, because it is called through a function.
mod world {
    use std::collections::HashMap;
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};

    pub(super) fn clock() -> String {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().to_string()
    }

    pub(super) fn chance() -> u64 {
        RandomState::new().hash_one(0)
    }

    pub(super) fn shelf() -> HashMap<String, u32> {
        (0..64).map(|n| (format!("shelf {n}"), n)).collect()
    }

    pub(super) fn global() -> u64 {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        COUNT.fetch_add(1, Ordering::Relaxed)
    }
}

#[workflow]
async fn tells_the_time(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(ctx.run(notify, world::clock()).await?)
}

#[workflow]
async fn naps_at_random(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(seconds(1 + world::chance() % 1_000_000)).await;
    Ok(())
}

#[workflow]
async fn empties_shelves(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    for shelf in world::shelf().into_keys() {
        ctx.run(notify, shelf).await?;
    }
    Ok(())
}

#[workflow]
async fn publishes_a_count(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.publish("count", &world::global());
    ctx.sleep(days(1)).await;
    Ok(())
}

#[workflow]
async fn begins_a_child_at_random(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.child(greets).run(world::chance().to_string()).await?;
    Ok(())
}

#[workflow]
async fn returns_a_count(_ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    Ok(world::global())
}

#[workflow]
async fn passes_a_map_on(ctx: WorkflowContext) -> Result<usize, WorkflowError> {
    Ok(ctx.run(count, world::shelf()).await?)
}

#[activity]
async fn count(_ctx: ActivityContext, shelves: std::collections::HashMap<String, u32>) -> Result<usize, ActivityError> {
    Ok(shelves.len())
}

/// How a test ends that runs this workflow.
fn end_of_a_test_of<W: engine_sdk::definition::WorkflowCode<Input = ()>>(workflow: W) -> String {
    panic_of(move || {
        run("values", seconds(60), async move |env: TestEngine| {
            env.activity(notify);
            env.workflow(greets);
            let _ = env.run(workflow, ()).await;
        });
    })
}

#[test]
fn the_same_commands_with_other_values_fail_their_first_test() {
    for (end, command) in [
        (end_of_a_test_of(tells_the_time), "ScheduleActivity notify (id 1)"),
        (end_of_a_test_of(naps_at_random), "StartTimer (id 1)"),
        (end_of_a_test_of(empties_shelves), "ScheduleActivity notify (id "),
        (end_of_a_test_of(publishes_a_count), "PublishState count"),
        (end_of_a_test_of(begins_a_child_at_random), "StartChild greets"),
        (end_of_a_test_of(returns_a_count), "CompleteWorkflow"),
    ] {
        let (history, code) = end.split_once("but the code asked for").expect("both sides are told");
        assert!(history.contains(command) && history.contains(" with ") && code.contains(command), "{end}");
    }
}

#[engine_sdk::test]
async fn a_map_as_an_argument_is_the_same_in_whatever_order_it_is_written(env: TestEngine) {
    env.activity(count);
    assert_eq!(env.run(passes_a_map_on, ()).await.unwrap(), 64);
}

#[workflow]
async fn panics(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(hours(1)).await;
    panic!("no bread");
}

#[workflow]
async fn greets(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
    ctx.run(notify, name.clone()).await?;
    ctx.sleep(days(2)).await;
    Ok(format!("hello {name}"))
}

/// The panic of a test, as text.
fn panic_of(test: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(AssertUnwindSafe(test)).expect_err("the test fails");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[engine_sdk::test]
async fn code_that_does_not_do_the_same_again_fails_its_first_test(env: TestEngine) {
    env.activity(notify);
    let error = env.run(fickle, ()).await.unwrap_err().to_string();
    assert!(error.starts_with("the workflow was terminated: a workflow task failed"), "{error}");
    let problems = env.take_problems();
    assert!(problems[0].contains("does not follow its history"), "{problems:?}");
    // The difference, aligned.
    assert!(problems[0].contains("history") && problems[0].contains("notify"), "{problems:?}");
    // And where the code asked for what it should not have.
    let asked = format!("the code asked for StartTimer (id 1) at {}:{}", file!(), FICKLE + 8);
    assert!(problems[0].contains(&asked), "{problems:?}");
}

#[test]
fn the_last_task_of_a_run_is_replayed_when_the_test_ends() {
    let text = panic_of(|| {
        run("replays", seconds(60), async |env: TestEngine| {
            let _ = env.run(fickle_at_the_end, ()).await;
        });
    });
    assert!(text.contains("does not follow its own history"), "{text}");
    assert!(text.contains("fickle_at_the_end"), "{text}");
}

#[engine_sdk::test]
async fn a_panic_ends_the_wait_with_its_text(env: TestEngine) {
    let error = env.run(panics, ()).await.unwrap_err().to_string();
    assert!(error.contains("no bread"), "{error}");
    assert!(env.take_problems()[0].contains("no bread"));
    // Nobody asked for the rest.
    let _ = env.take_problems();
}

#[test]
fn a_test_that_passes_fails_if_workflow_code_went_wrong() {
    let text = panic_of(|| {
        run("passes", seconds(60), async |env: TestEngine| {
            let _ = env.run(panics, ()).await;
        });
    });
    assert!(text.contains("workflow code went wrong") && text.contains("no bread"), "{text}");
}

#[test]
fn an_activity_that_nobody_has_is_named() {
    let text = panic_of(|| {
        run("unknown", seconds(60), async |env: TestEngine| {
            let error = told(&env.run(greets, "Ada".to_owned()).await.unwrap_err());
            assert!(error.contains("has no code for it"), "{error}");
        });
    });
    assert!(text.contains("env.mock(notify, |input| Ok(..))"), "{text}");
}

#[test]
fn a_test_that_waits_for_what_never_comes_says_why_time_stands() {
    #[workflow]
    async fn waits(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        ctx.signal_channel::<u64>("never").recv().await;
        Ok(())
    }
    let text = panic_of(|| {
        run("waits", millis(500), async |env: TestEngine| {
            let _ = env.run(waits, ()).await;
        });
    });
    assert!(text.contains("did not end within 500ms"), "{text}");
    assert!(text.contains("needs something from outside, such as a signal"), "{text}");
}

/// For the test below.
#[engine_sdk::test]
#[ignore = "it fails, as it should"]
async fn fails(env: TestEngine) {
    env.mock(notify, |_| Ok(()));
    assert_eq!(env.run(greets, "Ada".to_owned()).await.unwrap(), "good bye Ada");
}

#[test]
fn a_test_that_fails_prints_the_histories_of_its_runs() {
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new(this).args(["--exact", "trouble::fails", "--ignored"]).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("what happened ----\ngreets \""), "{told}");
    assert!(told.contains("ActivityCompleted         notify") && told.contains("timer 1 for 2d 00:00:00"), "{told}");
    assert!(told.contains("WorkflowCompleted         \"hello Ada\"") && told.contains("good bye Ada"), "{told}");
}

#[engine_sdk::test]
async fn a_history_reads_as_a_timeline(env: TestEngine) {
    env.mock(notify, |_| Ok(())).fail(1..=1, || ActivityError::retryable("line busy"));
    env.workflow(greets);
    let handle = env.client().workflow(greets).id("greeting").start("Ada".to_owned()).await.unwrap();
    handle.result().await.unwrap();
    let told = timeline(&handle.history().await.unwrap());
    let lines: Vec<&str> = told.lines().skip(1).collect();
    let expected = [
        "     1          00:00:00  WorkflowStarted           \"Ada\"",
        "     5          00:00:00  ActivityScheduled         notify \"Ada\"",
    ];
    assert_eq!(&lines[..2], expected, "{told}");
    assert!(lines[2].contains("notify, attempt 2; the one before: line busy"), "{told}");
    assert!(told.contains("timer 1 for 2d 00:00:00"), "{told}");
    assert!(lines.last().unwrap().contains("WorkflowCompleted") && told.contains("\"hello Ada\""), "{told}");
    assert!(told.starts_with("greets \"greeting\", run "), "{told}");
    assert!(env.timeline().await.contains("greets \"greeting\""));
}
