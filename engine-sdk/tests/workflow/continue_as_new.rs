//! Going on in a new run.

use engine_core::command::Command;
use engine_sdk::prelude::*;

use crate::Scene;

#[workflow]
async fn counter(ctx: WorkflowContext, mut count: u64) -> Result<u64, WorkflowError> {
    let mut clicks = ctx.signal_channel::<u64>("click");
    count += clicks.recv().await;
    ctx.continue_as_new(counter, count).await
}

#[test]
fn code_that_continues_hands_over_its_arguments_and_the_signals_that_it_did_not_receive() {
    let mut scene = Scene::new(counter, &["40"]);
    assert!(scene.steps().is_empty());
    scene.history.signal("click", "2");
    scene.history.signal("click", "3");
    scene.history.signal("other", "\"x\"");
    let (commands, _) = scene.task();
    let [Command::ContinueAsNew(next)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(next.workflow_type.as_ref().map(|name| name.as_str()), Some("counter"));
    assert_eq!(next.input[0].data.as_ref(), b"42");
    let unread: Vec<(&str, &[u8])> =
        next.unread_signals.iter().map(|signal| (signal.name.as_str(), signal.input[0].data.as_ref())).collect();
    assert_eq!(unread, [("click", &b"3"[..]), ("other", &b"\"x\""[..])]);
    // What is not asked for stays as it is.
    assert_eq!((&next.task_queue, next.run_timeout, &next.retry_policy, &next.memo), (&None, None, &None, &None));
    let advance = scene.replay().expect("the history is this code's");
    assert!(advance.closed && advance.commands.is_empty());
}

#[workflow(run_timeout = "1h", retry(max_attempts = 3))]
async fn other(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow]
async fn into_other(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let _canceled_by_the_end = ctx.sleep(hours(1));
    ctx.continue_as_new(other, ()).task_queue("elsewhere").task_timeout(seconds(20)).memo("why", "moved").await
}

#[test]
fn another_workflow_brings_the_options_of_its_attribute() {
    let mut scene = Scene::new(into_other, &[]);
    let (commands, _) = scene.task();
    let [Command::ContinueAsNew(next)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(next.run_timeout, Some(hours(1)));
    assert_eq!(next.retry_policy.as_ref().map(|policy| policy.maximum_attempts), Some(3));
    assert_eq!(next.task_timeout, Some(seconds(20)));
    assert_eq!(next.task_queue.as_ref().map(|name| name.as_str()), Some("elsewhere"));
    assert_eq!(next.memo.as_ref().map(|memo| (memo.len(), memo[0].0.as_str())), Some((1, "why")));
}

#[workflow]
async fn badly_named(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.continue_as_new_named("no\nname", (1,)).task_queue("").await
}

#[test]
fn what_cannot_begin_fails_the_workflow_task_naming_every_field() {
    let error = Scene::new(badly_named, &[]).trouble();
    assert_eq!(
        error.to_string(),
        "the workflow cannot continue as new: workflow_type contains a control character at byte 2, task_queue must not be empty"
    );
}
