//! Workflow code that does what it must not.

use std::sync::{LazyLock, Mutex};

use engine_core::event::WorkflowTaskFailureCause;
use engine_sdk::prelude::*;
use engine_sdk::workflow::AdvanceError;
use futures::channel::oneshot;

use crate::Scene;

const FOREIGN: &str = "the workflow awaited something that is not the workflow's own (tokio, a socket, a channel fed from \
outside): do it in an activity, or use ctx.sleep, ctx.signals and the other futures of WorkflowContext";

#[workflow]
async fn panicking(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(seconds(1)).await;
    panic!("no {}", "number");
}

#[test]
fn a_panic_fails_the_task_with_its_text_and_place() {
    let mut scene = Scene::new(panicking, &[]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    let error = scene.trouble();
    assert_eq!(error.cause, WorkflowTaskFailureCause::Panic);
    let message = &error.failure.message;
    assert!(
        message.starts_with("the workflow panicked: no number, at engine-sdk/tests/workflow/trouble.rs:"),
        "{message}"
    );
}

#[workflow]
async fn tokio_sleep(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    #[allow_nondeterminism]
    tokio::time::sleep(seconds(1)).await;
    Ok(())
}

#[test]
fn a_tokio_timer_fails_the_task_with_a_sentence_that_names_the_remedy() {
    // Without a runtime tokio panics.
    let error = Scene::new(tokio_sleep, &[]).trouble();
    assert_eq!(error.cause, WorkflowTaskFailureCause::ForeignAwait);
    assert!(error.failure.message.starts_with(FOREIGN), "{error}");
    // With one it is merely never ready.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let error = Scene::new(tokio_sleep, &[]).trouble();
    assert_eq!((error.cause, error.failure.message.as_str()), (WorkflowTaskFailureCause::ForeignAwait, FOREIGN));
}

static OUTSIDE: LazyLock<Mutex<Option<oneshot::Sender<u32>>>> = LazyLock::new(Mutex::default);

#[workflow]
async fn fed_from_outside(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let (sender, receiver) = oneshot::channel();
    *OUTSIDE.lock().unwrap() = Some(sender);
    let (value, ()) = join!(receiver, ctx.sleep(seconds(1)));
    Ok(value?)
}

#[test]
fn a_wake_from_outside_fails_the_next_task_even_if_the_workflow_waits_for_the_engine_too() {
    let mut scene = Scene::new(fed_from_outside, &[]);
    let events = scene.history.task();
    let commands = scene.run.advance(events).unwrap().commands;
    OUTSIDE.lock().unwrap().take().unwrap().send(7).unwrap();
    let ids = scene.history.complete(&commands);
    scene.history.timer_fired(ids[0]);
    let error = scene.trouble();
    assert_eq!((error.cause, error.failure.message.as_str()), (WorkflowTaskFailureCause::ForeignAwait, FOREIGN));
}

#[workflow]
async fn own_channel(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let (sender, receiver) = oneshot::channel();
    let (value, sent) = join!(receiver, async {
        ctx.sleep(seconds(1)).await;
        sender.send(7)
    });
    sent.map_err(|value| WorkflowError::retryable(format!("nobody takes {value}")))?;
    Ok(value?)
}

#[test]
fn a_channel_between_the_workflows_own_parts_is_fine() {
    let mut scene = Scene::new(own_channel, &[]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    assert_eq!(scene.steps(), ["complete 7"]);
}

static CARRIED: LazyLock<Mutex<Option<WorkflowContext>>> = LazyLock::new(Mutex::default);

#[workflow]
async fn carries_its_context_away(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    *CARRIED.lock().unwrap() = Some(ctx.clone());
    ctx.sleep(seconds(1)).await;
    Ok(())
}

#[test]
fn a_context_that_is_used_outside_does_nothing_and_fails_the_next_task() {
    let mut scene = Scene::new(carries_its_context_away, &[]);
    let events = scene.history.task();
    let commands = scene.run.advance(events).unwrap().commands;
    let ids = scene.history.complete(&commands);
    let carried = CARRIED.lock().unwrap().take().unwrap();
    drop(carried.sleep(seconds(1)));
    scene.history.timer_fired(ids[0]);
    assert_eq!(scene.trouble().cause, WorkflowTaskFailureCause::ForeignAwait);
}

#[workflow]
async fn spinning(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    loop {
        #[allow_nondeterminism]
        tokio::task::yield_now().await;
    }
}

#[test]
fn code_that_wakes_itself_without_end_is_stopped() {
    let error = Scene::new(spinning, &[]).trouble();
    assert!(error.failure.message.contains("does not come to rest"), "{error}");
}

#[activity]
async fn number(_ctx: ActivityContext) -> Result<u32, ActivityError> {
    Ok(1)
}

#[workflow]
async fn reads_a_number(ctx: WorkflowContext, plus: u32) -> Result<u32, WorkflowError> {
    Ok(ctx.run(number, ()).await? + plus)
}

#[test]
fn values_of_the_wrong_type_fail_the_task_and_name_it() {
    let error = Scene::new(reads_a_number, &["\"x\""]).trouble();
    assert_eq!(
        error.failure.message,
        "the input of workflow reads_a_number cannot be used: argument 1 of type `u32` cannot be decoded from JSON: \
invalid type: string \"x\", expected u32 at line 1 column 3"
    );
    let mut scene = Scene::new(reads_a_number, &["1"]);
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[0], "\"y\"");
    let error = scene.trouble();
    assert!(error.failure.message.starts_with("activity number returned something else than expected"), "{error}");
}

#[workflow]
async fn bad_names(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.run(number, ()).task_queue("").activity_id("a\nb").await?;
    Ok(())
}

#[test]
fn names_that_the_engine_refuses_fail_the_task_with_the_field() {
    let error = Scene::new(bad_names, &[]).trouble();
    assert_eq!(error.cause, WorkflowTaskFailureCause::BadCommand);
    assert_eq!(
        error.failure.message,
        "the call of activity number cannot be sent: activity_id contains a control character at byte 1, task_queue must not be empty"
    );
}

#[workflow]
async fn too_many(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    join_all((0..20_001).map(|_| ctx.sleep(seconds(1)))).await;
    Ok(())
}

#[test]
fn too_many_commands_in_one_task_are_refused_with_the_limit() {
    let error = Scene::new(too_many, &[]).trouble();
    assert!(error.failure.message.contains("20001 commands") && error.failure.message.contains("20000"), "{error}");
}

#[test]
fn a_run_that_is_dropped_in_mid_air_disturbs_nothing() {
    let mut scene = Scene::new(panicking, &[]);
    scene.task();
    drop(scene.run);
    assert!(matches!(
        engine_sdk::workflow::WorkflowRun::new(engine_sdk::workflow::erase(panicking)).advance(Vec::new()),
        Err(AdvanceError::OutOfStep { .. })
    ));
}
