//! Cancellation scopes, cancellation types, and what people are shown.

use engine_sdk::error::WorkflowError;
use engine_sdk::prelude::*;

use crate::Scene;

#[activity]
async fn greet_twice(_ctx: ActivityContext, number: u32) -> Result<String, ActivityError> {
    Ok(number.to_string())
}

#[workflow]
async fn scoped(ctx: WorkflowContext, how: String) -> Result<String, WorkflowError> {
    let (outer, beside) = (ctx.scope(), ctx.scope());
    let inner = outer.scope();
    let kind = match how.as_str() {
        "try" => CancellationType::TryCancel,
        "abandon" => CancellationType::Abandon,
        _ => CancellationType::WaitForCompletion,
    };
    let within = inner.run(greet_twice, 1).cancellation(kind).start();
    let untouched = beside.run(greet_twice, 2).start();
    let of_the_run = ctx.run(greet_twice, 3).start();
    ctx.signals::<Go>().recv().await;
    outer.cancel();
    outer.cancel();
    assert!(inner.is_canceled() && !beside.is_canceled());
    let after = inner.run(greet_twice, 4).cancellation(kind).await;
    assert!(after.unwrap_err().is_canceled(), "nothing begins in a canceled scope");
    assert_eq!(inner.sleep(seconds(1)).await, Err(Canceled));
    let canceled = within.await.is_err_and(|failure| failure.is_canceled());
    untouched.detach();
    of_the_run.detach();
    Ok(format!("canceled: {canceled}"))
}

#[signal]
struct Go;

fn to_the_signal(how: &'static str) -> Scene<scoped> {
    let mut scene = Scene::new(scoped, &[how]);
    assert_eq!(scene.steps(), ["run greet_twice #1", "run greet_twice #2", "run greet_twice #3"]);
    scene.history.signal("Go", "null");
    scene
}

#[test]
fn a_scope_cancels_what_is_within_and_nothing_else() {
    let mut scene = to_the_signal("\"wait\"");
    assert_eq!(scene.steps(), ["cancel activity #1"]);
    scene.history.activity_canceled(engine_core::ids::EventId(5));
    assert_eq!(scene.steps(), ["complete \"canceled: true\""]);
}

#[test]
fn an_activity_that_is_not_waited_for_ends_at_once_for_the_code() {
    let mut scene = to_the_signal("\"try\"");
    assert_eq!(scene.steps(), ["cancel activity #1", "complete \"canceled: true\""]);
}

#[test]
fn an_abandoned_activity_goes_on() {
    let mut scene = to_the_signal("\"abandon\"");
    assert_eq!(scene.steps(), ["complete \"canceled: true\""]);
}

#[workflow]
async fn cleaned_up(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let scope = ctx.scope();
    let cleanup = ctx.detached_scope();
    let ended = scope.sleep(seconds(60)).await;
    assert_eq!(ended, Err(Canceled));
    let late = ctx.scope();
    assert!(late.is_canceled(), "made after the request, and of the run");
    cleanup.sleep(seconds(1)).await?;
    ended.map_err(WorkflowError::from)
}

#[test]
fn the_request_to_cancel_the_run_reaches_its_scopes_but_not_the_detached() {
    let mut scene = Scene::new(cleaned_up, &[]);
    assert_eq!(scene.steps(), ["sleep 60s #1"]);
    scene.history.cancel_requested("enough");
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[1]);
    assert_eq!(scene.steps(), ["canceled"]);
}

#[workflow]
async fn late_result(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let mut first = ctx.run(greet_twice, 1).cancellation(CancellationType::TryCancel).start();
    ctx.signals::<Go>().recv().await;
    first.cancel();
    let failure = first.await.unwrap_err();
    ctx.sleep(seconds(1)).await;
    Ok(failure.is_canceled().to_string())
}

#[test]
fn the_end_of_an_activity_that_the_code_gave_up_means_nothing() {
    let mut scene = Scene::new(late_result, &[]);
    let (_, ids) = scene.task();
    scene.history.signal("Go", "null");
    let (_, next) = scene.task();
    scene.history.activity_completed(ids[0], "\"late\"");
    assert!(scene.steps().is_empty());
    scene.history.timer_fired(next[1]);
    assert_eq!(scene.steps(), ["complete \"true\""]);
}

const DESK: SearchKey<str> = SearchKey::keyword("desk");
const CENTS: SearchKey<i64> = SearchKey::int("cents");

#[workflow]
async fn shown(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.upsert_search_attributes([DESK.set("3"), CENTS.remove()]);
    ctx.upsert_memo("owner", "ann");
    ctx.remove_memo("draft");
    ctx.set_current_details("waits for ann");
    ctx.sleep_for(seconds(5), "ann's coffee").await;
    ctx.run(greet_twice, 1).summary("greets ann").await?;
    Ok(())
}

#[test]
fn what_is_shown_goes_with_the_task() {
    let mut scene = Scene::new(shown, &[]);
    let (commands, ids) = scene.task();
    let texts: Vec<String> = commands.iter().map(|command| format!("{command:?}")).collect();
    assert!(texts[0].contains("\"cents\": None") && texts[0].contains("Keyword(\"3\")"), "{texts:?}");
    assert!(texts[1].contains("\"owner\": Some") && texts[2].contains("\"draft\": None"), "{texts:?}");
    assert!(texts[3].contains("waits for ann") && texts[4].contains("ann's coffee"), "{texts:?}");
    scene.history.timer_fired(ids[4]);
    assert!(format!("{:?}", scene.task().0[0]).contains("greets ann"));
}

#[workflow]
async fn badly_named(ctx: WorkflowContext, what: String) -> Result<(), WorkflowError> {
    match what.as_str() {
        "search" => ctx.upsert_search_attributes([SearchKey::int("").set(1)]),
        "patch" => assert!(!ctx.patched("")),
        _ => drop(ctx.step("", || async { Ok(()) }).start()),
    }
    Ok(())
}

#[test]
fn a_bad_name_fails_the_task_with_a_sentence() {
    let message = |what| Scene::new(badly_named, &[what]).trouble().failure.message;
    assert_eq!(message("\"search\""), "ctx.upsert_search_attributes: the name \"\" must not be empty");
    assert_eq!(message("\"patch\""), "ctx.patched: the id \"\" must not be empty");
    assert_eq!(message("\"step\""), "ctx.step(\"\") cannot begin: the name \"\" must not be empty");
}

#[workflow]
async fn changed(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    if ctx.patched("twice") {
        ctx.sleep(seconds(2)).await;
    }
    ctx.sleep(seconds(1)).await;
    assert!(ctx.patched("twice"));
    Ok(())
}

#[workflow]
async fn unchanged(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(seconds(1)).await;
    Ok(())
}

#[workflow]
async fn settled(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.deprecate_patch("twice");
    ctx.sleep(seconds(2)).await;
    ctx.sleep(seconds(1)).await;
    Ok(())
}

#[test]
fn a_change_is_taken_by_new_runs_only() {
    let mut scene = Scene::new(changed, &[]);
    assert_eq!(scene.steps(), ["patch twice", "sleep 2s #1"]);

    let mut old = Scene::new(unchanged, &[]);
    old.task();
    old.history.signal("poke", "1");
    old.history.task();
    let mut run = engine_sdk::workflow::WorkflowRun::new(engine_sdk::workflow::erase(settled));
    assert!(run.advance(scene.history.events.clone()).is_ok());
    let goes_on = crate::replay(unchanged, old.history.events.clone());
    assert!(goes_on.is_ok());

    let mut recorded_before = Scene::new(unchanged, &[]);
    let (_, ids) = recorded_before.task();
    recorded_before.history.timer_fired(ids[0]);
    recorded_before.history.task();
    let error = crate::replay(changed, recorded_before.history.events.clone());
    assert!(error.is_err(), "the last assertion of the new code does not hold for an old run");
}
