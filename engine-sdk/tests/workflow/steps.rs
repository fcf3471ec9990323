//! What workflow code may await, and the commands that it leads to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::command::Command;
use engine_core::failure::{Failure, FailureKind, RetryState};
use engine_core::ids::EventId;
use engine_sdk::prelude::*;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::Scene;

#[activity(start_to_close = "30s", retry(max_attempts = 5))]
async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
    Ok(format!("Hello, {name}!"))
}

#[activity]
async fn add(_ctx: ActivityContext, a: u32, b: u32) -> Result<u32, ActivityError> {
    Ok(a + b)
}

#[activity]
async fn ping(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[signal]
struct Approval {
    by: String,
}

#[workflow]
async fn hello(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
    Ok(ctx.run(greet, name).await?)
}

#[test]
fn a_workflow_runs_an_activity_and_completes_with_its_result() {
    let mut scene = Scene::new(hello, &["\"Ada\""]);
    let (commands, ids) = scene.task();
    let [Command::ScheduleActivity(command)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(command.activity_type.as_str(), "greet");
    assert_eq!(command.input[0].data.as_ref(), b"\"Ada\"");
    assert_eq!(command.timeouts.start_to_close, Some(Duration::from_secs(30)));
    assert_eq!(command.retry_policy.as_ref().unwrap().maximum_attempts, 5);
    scene.history.activity_completed(ids[0], "\"Hello, Ada!\"");
    assert_eq!(scene.steps(), ["complete \"Hello, Ada!\""]);
}

#[workflow]
async fn options(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.run(add, (1, 2)).await?;
    let call = ctx.run(add, (1, 2)).schedule_to_close(hours(1)).schedule_to_start(minutes(1)).heartbeat(seconds(5));
    call.max_attempts(2).task_queue("gpu").activity_id("mine").await?;
    ctx.run_named::<u32>("elsewhere", ("x", 7)).retry(RetryPolicy::none()).await?;
    Ok(())
}

#[test]
fn the_options_of_a_call_go_before_those_of_the_attribute() {
    let mut scene = Scene::new(options, &[]);
    let schedule = |scene: &mut Scene<options>| {
        let (commands, ids) = scene.task();
        scene.history.activity_completed(ids[0], "3");
        match commands.into_iter().next() {
            Some(Command::ScheduleActivity(command)) => *command,
            other => panic!("{other:?}"),
        }
    };
    let first = schedule(&mut scene);
    assert_eq!(first.timeouts.start_to_close, Some(Duration::from_secs(600)), "an attempt never hangs for ever");
    assert_eq!((first.retry_policy, first.task_queue), (None, None));
    assert_eq!(first.input.len(), 2);
    let second = schedule(&mut scene);
    assert_eq!((second.activity_id.as_str(), second.task_queue.unwrap().as_str()), ("mine", "gpu"));
    assert_eq!(second.timeouts.start_to_close, None);
    assert_eq!(second.timeouts.schedule_to_close, Some(Duration::from_secs(3600)));
    assert_eq!(second.timeouts.schedule_to_start, Some(Duration::from_secs(60)));
    assert_eq!(second.timeouts.heartbeat, Some(Duration::from_secs(5)));
    assert_eq!(second.retry_policy.unwrap().maximum_attempts, 2);
    let third = schedule(&mut scene);
    assert_eq!(third.activity_type.as_str(), "elsewhere");
    assert_eq!(third.activity_id.as_str(), "3", "ids count what was asked for");
    assert_eq!(third.retry_policy, Some(RetryPolicy::none()));
    assert_eq!(scene.steps(), ["complete nothing"]);
}

#[workflow]
async fn parallel(ctx: WorkflowContext) -> Result<Vec<u32>, WorkflowError> {
    let (a, b) = join!(ctx.run(add, (1, 1)), ctx.run(add, (2, 2)));
    let (c, d) = try_join!(ctx.run(add, (3, 3)), ctx.run(add, (4, 4)))?;
    let rest = join_all((0..2).map(|n| ctx.run(add, (n, n)))).await;
    let mut all = vec![a?, b?, c, d];
    for value in rest {
        all.push(value?);
    }
    Ok(all)
}

#[test]
fn joined_activities_are_scheduled_together_and_may_end_in_any_order() {
    let mut scene = Scene::new(parallel, &[]);
    for round in 0..3 {
        let (commands, ids) = scene.task();
        assert_eq!(commands.len(), 2, "round {round}: {commands:?}");
        scene.history.activity_completed(ids[1], "20");
        assert_eq!(scene.steps(), [""; 0]);
        scene.history.activity_completed(ids[0], "10");
    }
    assert_eq!(scene.steps(), ["complete [10,20,10,20,10,20]"]);
}

#[workflow]
async fn unordered(ctx: WorkflowContext) -> Result<Vec<u32>, WorkflowError> {
    let mut running: FuturesUnordered<_> = (0..40).map(|n| ctx.run(add, (n, n))).collect();
    let mut results = Vec::new();
    while let Some(result) = running.next().await {
        results.push(result?);
    }
    Ok(results)
}

#[test]
fn unordered_futures_yield_in_the_order_of_the_history() {
    let mut scene = Scene::new(unordered, &[]);
    let (_, ids) = scene.task();
    assert_eq!(ids.len(), 40);
    for id in ids[..20].iter().rev() {
        scene.history.activity_completed(*id, "1");
    }
    assert_eq!(scene.steps(), [""; 0]);
    for (id, json) in ids[20..].iter().zip(["2", "3", "4"]) {
        scene.history.activity_completed(*id, json);
    }
    assert_eq!(scene.steps(), [""; 0]);
    for id in ids[23..].iter().rev() {
        scene.history.activity_completed(*id, "5");
    }
    let expected = [vec!["1"; 20], vec!["2", "3", "4"], vec!["5"; 17]].concat().join(",");
    assert_eq!(scene.steps(), [format!("complete [{expected}]")]);
}

#[workflow]
async fn limited(ctx: WorkflowContext) -> Result<Vec<u32>, WorkflowError> {
    // Borrowed items: the workflow's future must be `Send` with them as well.
    let numbers = [0, 1, 2, 3];
    let results = join_all_limited(2, numbers.iter().map(|n| ctx.run(add, (*n, *n)))).await;
    Ok(results.into_iter().collect::<Result<_, _>>()?)
}

#[test]
fn a_limit_keeps_calls_from_being_scheduled_and_a_slow_one_holds_up_none() {
    let mut scene = Scene::new(limited, &[]);
    let (commands, first) = scene.task();
    assert_eq!(commands.len(), 2);
    scene.history.activity_completed(first[1], "1");
    let (commands, second) = scene.task();
    assert_eq!(commands.len(), 1);
    scene.history.activity_completed(second[0], "2");
    let (_, third) = scene.task();
    scene.history.activity_completed(third[0], "3");
    assert_eq!(scene.steps(), [""; 0]);
    scene.history.activity_completed(first[0], "0");
    assert_eq!(scene.steps(), ["complete [0,1,2,3]"]);
}

#[workflow]
async fn await_approval(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let mut approvals = ctx.signals::<Approval>();
    let answer = select! {
        approval = approvals.recv() => {
            let greeting = ctx.run(greet, approval.by).await?;
            // The arm may use what its future borrowed.
            format!("{greeting} {}", approvals.len())
        }
        _ = ctx.sleep(days(14)) => ctx.run(greet, "nobody".to_owned()).await?,
    };
    Ok(answer)
}

#[test]
fn select_cancels_the_timer_that_lost() {
    let mut scene = Scene::new(await_approval, &[]);
    assert_eq!(scene.steps(), ["sleep 1209600s #1"]);
    scene.history.signal("Approval", r#"{"by":"desk-3"}"#);
    scene.history.signal("Approval", r#"{"by":"desk-4"}"#);
    let (commands, ids) = scene.task();
    assert_eq!(commands.iter().map(crate::text).collect::<Vec<_>>(), ["cancel timer #1", "run greet #1"]);
    scene.history.activity_completed(ids[1], "\"Hello\"");
    assert_eq!(scene.steps(), ["complete \"Hello 1\""]);
}

#[test]
fn select_takes_the_timer_when_it_fires() {
    let mut scene = Scene::new(await_approval, &[]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    assert_eq!(scene.steps(), ["run greet #1"]);
}

#[test]
fn select_prefers_the_first_arm_and_what_it_drops_at_once_leaves_no_trace() {
    let mut scene = Scene::new(await_approval, &[]);
    scene.history.signal("Approval", r#"{"by":"early"}"#);
    assert_eq!(scene.steps(), ["run greet #1"], "the timer was started and dropped in one task");
}

#[workflow]
async fn two_channels(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    ctx.sleep(seconds(1)).await;
    let mut first = ctx.signals::<Approval>();
    let mut second = ctx.signal_channel::<Approval>("Approval");
    let one = first.recv().await.by;
    assert_eq!(second.len(), 2);
    let two = second.try_recv().unwrap().by;
    let three = first.recv().await.by;
    assert!(second.try_recv().is_none() && first.is_empty());
    Ok(format!("{one} {two} {three}"))
}

#[test]
fn signals_that_came_before_their_channel_are_kept_in_order_and_shared() {
    let mut scene = Scene::new(two_channels, &[]);
    scene.history.signal("Approval", r#"{"by":"a"}"#);
    let (_, ids) = scene.task();
    scene.history.signal("Approval", r#"{"wrong":1}"#);
    scene.history.signal("Approval", r#"{"by":"b"}"#);
    scene.history.timer_fired(ids[0]);
    scene.history.signal("Approval", r#"{"by":"c"}"#);
    let error = scene.trouble();
    assert!(
        error.failure.message.contains("left: 3"),
        "a signal that cannot be decoded counts until it is met: {error}"
    );

    let mut scene = Scene::new(two_channels, &[]);
    scene.history.signal("Approval", r#"{"wrong":1}"#);
    scene.history.signal("Approval", r#"{"by":"a"}"#);
    let (_, ids) = scene.task();
    scene.history.signal("Approval", r#"{"by":"b"}"#);
    scene.history.timer_fired(ids[0]);
    scene.history.signal("Approval", r#"{"by":"c"}"#);
    assert_eq!(scene.steps(), ["complete \"a b c\""]);
}

#[workflow]
async fn conditions(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let count = Arc::new(Mutex::new(0));
    let collect = async {
        let mut numbers = ctx.signal_channel::<u32>("number");
        loop {
            let number = numbers.recv().await;
            *count.lock().unwrap() += number;
        }
    };
    let limit = async {
        ctx.wait_until(|| *count.lock().unwrap() >= 3).await;
        // A condition that a condition makes true.
        *count.lock().unwrap() += 100;
        ctx.wait_until(|| *count.lock().unwrap() >= 200).await;
    };
    let bump = async {
        ctx.wait_until(|| *count.lock().unwrap() >= 100).await;
        *count.lock().unwrap() += 100;
        std::future::pending::<()>().await;
    };
    select! {
        () = bump => unreachable!(),
        () = collect => unreachable!(),
        result = ctx.timeout(minutes(5), limit) => result?,
    }
    let count = *count.lock().unwrap();
    Ok(count)
}

#[test]
fn a_condition_is_asked_after_everything_that_could_change_it() {
    let mut scene = Scene::new(conditions, &[]);
    assert_eq!(scene.steps(), ["sleep 300s #1"]);
    scene.history.signal("number", "2");
    assert_eq!(scene.steps(), [""; 0]);
    scene.history.signal("number", "1");
    assert_eq!(scene.steps(), ["cancel timer #1", "complete 203"]);
}

#[test]
fn a_timeout_ends_the_waiting_with_an_error() {
    let mut scene = Scene::new(conditions, &[]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    assert_eq!(scene.steps(), ["fail it took longer than 300s"]);
}

#[workflow]
async fn racing(ctx: WorkflowContext) -> Result<usize, WorkflowError> {
    let numbers = [0, 1, 2];
    let (index, result) = race(numbers.iter().map(|n| ctx.run(add, (*n, *n)))).await;
    result?;
    Ok(index)
}

#[test]
fn a_race_is_won_by_the_first_and_the_others_are_asked_to_stop() {
    let mut scene = Scene::new(racing, &[]);
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[2], "4");
    scene.history.activity_completed(ids[1], "2");
    assert_eq!(scene.steps(), ["cancel activity #1", "complete 1"]);
}

#[workflow]
async fn failing(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    match ctx.run(greet, "x".into()).await {
        Err(failure) if failure.error_type() == Some("Busy") => {
            assert_eq!(failure.attempt(), 3);
            assert_eq!(failure.retry_state(), RetryState::MaximumAttemptsReached);
            Ok(failure.to_string())
        }
        other => Ok(other?),
    }
}

#[test]
fn a_failed_activity_is_an_error_with_its_type_and_passes_on_whole() {
    let mut scene = Scene::new(failing, &[]);
    let (_, ids) = scene.task();
    let failure = ActivityError::retryable("try later").with_type("Busy").into_failure();
    scene.history.activity_failed(ids[0], failure, RetryState::MaximumAttemptsReached);
    assert_eq!(scene.steps(), ["complete \"activity greet failed: Busy: try later\""]);

    let mut scene = Scene::new(failing, &[]);
    let (_, ids) = scene.task();
    let failure = ActivityError::non_retryable("no").with_type("Refused").into_failure();
    scene.history.activity_failed(ids[0], failure, RetryState::NonRetryableFailure);
    let (commands, _) = scene.task();
    let [Command::FailWorkflow { failure: Failure { kind, cause, .. } }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert!(matches!(kind, FailureKind::Activity { scheduled_event_id: EventId(5), retry_state, .. }
        if *retry_state == RetryState::NonRetryableFailure));
    assert!(
        matches!(&cause.as_ref().unwrap().kind, FailureKind::Application { type_name, .. } if type_name == "Refused")
    );
}

#[workflow]
async fn cancellable(ctx: WorkflowContext, how: String) -> Result<String, WorkflowError> {
    match how.as_str() {
        "wrapped" => ctx.unless_cancelled(ctx.run(greet, how)).await??,
        "by hand" => {
            let mut running = ctx.run(greet, how).start();
            select! {
                result = &mut running => return Ok(result?),
                () = ctx.cancelled() => {}
            }
            running.cancel();
            running.await?
        }
        _ => {
            ctx.cancelled().await;
            assert!(ctx.is_cancel_requested());
            ctx.run(ping, ()).await?;
            return Ok(ctx.cancel_reason().unwrap_or_default());
        }
    };
    Ok("not canceled".into())
}

#[test]
fn a_wrapped_step_is_canceled_on_request_and_closes_the_run_as_canceled() {
    let mut scene = Scene::new(cancellable, &["\"wrapped\""]);
    scene.task();
    scene.history.cancel_requested("enough");
    assert_eq!(scene.steps(), ["cancel activity #1", "canceled"]);
}

#[test]
fn an_activity_that_was_canceled_on_request_closes_the_run_as_canceled() {
    let mut scene = Scene::new(cancellable, &["\"by hand\""]);
    let (_, ids) = scene.task();
    scene.history.cancel_requested("enough");
    assert_eq!(scene.steps(), ["cancel activity #1"]);
    scene.history.activity_canceled(ids[0]);
    assert_eq!(scene.steps(), ["canceled"]);
}

#[test]
fn a_request_to_cancel_stops_nothing_by_itself() {
    let mut scene = Scene::new(cancellable, &["\"clean up\""]);
    assert_eq!(scene.steps(), [""; 0]);
    scene.history.cancel_requested("enough");
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[0], "null");
    assert_eq!(scene.steps(), ["complete \"enough\""]);
}

#[workflow]
async fn starting(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let planned = ctx.run(greet, "never polled".into());
    let dropped = ctx.run(greet, "dropped at once".into()).start();
    ctx.run(ping, ()).activity_id("log").start().detach();
    let running = ctx.run(greet, "dropped later".into()).start();
    assert_eq!(running.activity_id(), "3");
    let mut withdrawn = ctx.run(greet, "withdrawn".into()).start();
    withdrawn.cancel();
    assert!(withdrawn.await.unwrap_err().is_canceled());
    drop((planned, dropped));
    ctx.sleep(seconds(1)).await;
    drop(running);
    Ok(())
}

#[test]
fn dropping_cancels_detaching_does_not_and_a_plan_is_nothing() {
    let mut scene = Scene::new(starting, &[]);
    let (commands, ids) = scene.task();
    let steps: Vec<String> = commands.iter().map(crate::text).collect();
    assert_eq!(steps, ["run ping #log", "run greet #3", "sleep 1s #1"]);
    scene.history.activity_completed(ids[0], "null");
    scene.history.timer_fired(ids[2]);
    assert_eq!(scene.steps(), ["cancel activity #3", "complete nothing"]);
}
