//! Values that a workflow publishes.

use std::collections::BTreeMap;

use engine_sdk::prelude::*;

use crate::Scene;

#[signal]
struct Next;

#[workflow]
async fn shows(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut next = ctx.signals::<Next>();
    ctx.publish("status", "begun");
    ctx.publish("progress", &BTreeMap::from([("done", 1), ("of", 2)]));
    next.recv().await;
    ctx.publish("status", &Some(7));
    Ok(())
}

#[test]
fn published_values_are_commands_in_their_order_and_replay_like_all_others() {
    let mut scene = Scene::new(shows, &[]);
    assert_eq!(scene.steps(), ["publish status \"begun\"", "publish progress {\"done\":1,\"of\":2}"]);
    scene.history.signal("Next", "null");
    assert_eq!(scene.steps(), ["publish status 7", "complete nothing"], "a replay was compared too");
}

#[workflow]
async fn shows_other_names(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.publish("state", "begun");
    ctx.publish("progress", &1);
    ctx.signals::<Next>().recv().await;
    Ok(())
}

#[test]
fn another_name_is_a_difference_and_another_value_is_none() {
    let mut scene = Scene::new(shows, &[]);
    scene.steps();
    scene.history.signal("Next", "null");
    scene.history.task();
    let events = scene.history.events.clone();
    let changed = crate::replay(shows_other_names, events.clone()).unwrap_err().to_string();
    assert!(
        changed.contains("the history has PublishState status, but the code asked for PublishState state"),
        "{changed}"
    );

    #[workflow]
    async fn shows_other_values(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        ctx.publish("status", &1);
        ctx.publish("progress", &2);
        ctx.signals::<Next>().recv().await;
        Ok(())
    }
    assert!(crate::replay(shows_other_values, events).is_ok());
}

#[workflow]
async fn shows_badly(ctx: WorkflowContext, which: u8) -> Result<(), WorkflowError> {
    match which {
        0 => ctx.publish("", &1),
        1 => ctx.publish("status", &"x".repeat(40_000)),
        _ => ctx.publish("status", &BTreeMap::from([((1, 2), 3)])),
    }
    ctx.cancelled().await;
    Ok(())
}

#[test]
fn what_cannot_be_published_fails_the_task_with_a_sentence() {
    let told = |which: &'static str| Scene::new(shows_badly, &[which]).trouble().to_string();
    assert_eq!(told("0"), "ctx.publish: the name \"\" must not be empty");
    assert_eq!(
        told("1"),
        "ctx.publish(\"status\"): the value is 40012 bytes large; the limit is 32768 bytes: publish what people look at"
    );
    let third = told("2");
    assert!(third.starts_with("ctx.publish(\"status\"): "), "{third}");
    assert!(third.contains("key must be a string"), "{third}");
}
