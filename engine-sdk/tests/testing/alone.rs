//! Workflow code over a context that a test made.

use std::time::SystemTime;

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

use crate::told;

#[activity]
async fn pack(_ctx: ActivityContext, item: String) -> Result<u32, ActivityError> {
    Err(ActivityError::retryable(format!("nobody packs {item}")))
}

#[workflow]
async fn ship(_ctx: WorkflowContext, parcels: u32) -> Result<String, WorkflowError> {
    Ok(format!("{parcels} under way"))
}

#[test]
fn answers_come_in_the_order_in_which_a_test_gives_them() {
    let mut test = WorkflowContext::for_test().run(|ctx| async move {
        let packed = join_all(["tea", "cups"].map(|item| ctx.run(pack, item.to_owned()))).await;
        packed.into_iter().map(|parcel| parcel.unwrap_or(0)).sum::<u32>()
    });
    assert_eq!(test.open(pack), ["tea", "cups"]);
    test.complete(pack, 2);
    assert_eq!((test.open(pack), test.output()), (vec!["cups".to_owned()], None));
    test.complete(pack, 3);
    assert_eq!(test.output(), Some(5));
    // It is over: what happens does not reach it.
    test.sleep(days(1));
    assert_eq!(test.output(), None);
}

#[test]
fn timers_fire_one_after_the_other_each_at_its_time() {
    let mut test = WorkflowContext::for_test().run(|ctx| async move {
        let began = ctx.now();
        let mut heard = Vec::new();
        for pause in [3, 1, 2] {
            ctx.sleep(hours(pause)).await;
            heard.push(ctx.now().duration_since(began).unwrap());
        }
        heard
    });
    test.sleep(hours(3));
    assert_eq!(test.commands().len(), 2);
    test.sleep(days(1));
    assert_eq!(test.output().unwrap(), [hours(3), hours(4), hours(6)]);
    assert_eq!(test.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_893_456_000 + 27 * 3600);
}

#[test]
fn children_begin_at_once_and_end_as_the_test_wants() {
    let mut test = WorkflowContext::for_test().run(|ctx| async move {
        let first = ctx.child(ship).run(1).await;
        let second = ctx.child(ship).id("second").start(2).await.unwrap();
        let sent = second.signal_named("hurry", &true).await;
        (first.unwrap(), sent.is_ok(), told(&second.result().await.unwrap_err()))
    });
    test.complete_child(ship, "one".to_owned());
    test.fail_child(ship, WorkflowError::non_retryable("lost at sea"));
    let (first, sent, second) = test.output().unwrap();
    assert_eq!((first.as_str(), sent), ("one", true));
    assert!(second.contains("lost at sea"), "{second}");
    assert_eq!(test.commands(), ["StartChild ship 1", "StartChild ship 2", "SignalExternal hurry to second true"]);
}

#[test]
fn steps_run_and_what_is_shown_is_seen() {
    let mut test = WorkflowContext::for_test().attempt(2).last_result(&41).run(|ctx| async move {
        ctx.publish("stage", "counting");
        let last: Option<u64> = ctx.last_result().unwrap();
        let more = ctx.step("more", || async { Ok(1_u64) }).await.unwrap();
        ctx.patched("later");
        (ctx.info().attempt, last.unwrap() + more)
    });
    assert_eq!(test.output(), Some((2, 42)));
    assert_eq!(test.commands(), ["PublishState stage = \"counting\"", "RunStep more = 1", "Patch later"]);
}

#[tokio::test]
async fn a_request_to_stop_reaches_the_code_within_a_runtime_too() {
    let mut test = WorkflowContext::for_test().workflow_id("order-42").run(|ctx| async move {
        let stopped = ctx.unless_cancelled(ctx.run(pack, "tea".to_owned())).await;
        let step = ctx.step("note", || async { Ok(1) }).await;
        (stopped.is_err(), step.is_ok(), ctx.cancel_reason(), ctx.info().workflow_id.to_string())
    });
    test.cancel("no tea today");
    assert_eq!(test.output(), Some((true, true, Some("no tea today".to_owned()), "order-42".to_owned())));
    assert_eq!(test.commands()[1], "RequestCancelActivity pack");
}

#[test]
fn chance_is_what_the_test_says_and_then_the_same_in_each_test() {
    let draw = |ctx: WorkflowContext| async move { (ctx.random_u64(), ctx.random_u64(), ctx.uuid()) };
    let first = WorkflowContext::for_test().random([7]).run(draw).output().unwrap();
    let second = WorkflowContext::for_test().random([7]).run(draw).output().unwrap();
    assert_eq!((first.0, first), (7, second));
}

#[test]
#[should_panic(expected = "the workflow awaited something that is not the workflow's own")]
fn what_is_foreign_fails_the_test_with_its_sentence() {
    let _ = WorkflowContext::for_test().run(|_ctx| std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "no call of activity pack is open; the code asked for [\"StartTimer 01:00:00\"]")]
fn an_answer_that_nobody_waits_for_fails_the_test() {
    let mut test = WorkflowContext::for_test().run(|ctx| async move { ctx.sleep(hours(1)).await });
    test.complete(pack, 1);
}

#[engine_sdk::test]
async fn code_that_was_tested_alone_does_the_same_in_an_engine(env: TestEngine) {
    env.mock(pack, |_| Ok(3));
    env.workflow(ship);
    #[workflow]
    async fn whole(ctx: WorkflowContext) -> Result<String, WorkflowError> {
        let parcels = ctx.run(pack, "tea".to_owned()).await?;
        Ok(ctx.child(ship).run(parcels).await?)
    }
    assert_eq!(env.run(whole, ()).await.unwrap(), "3 under way");
}
