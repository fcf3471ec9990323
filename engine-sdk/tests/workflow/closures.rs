//! Steps: closures that run once on the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine_sdk::error::{ActivityError, WorkflowError};
use engine_sdk::prelude::*;
use engine_sdk::workflow::{Advance, StepWork};

use crate::{Scene, text};

/// Runs steps to their ends, with time that passes by itself.
fn run(steps: Vec<StepWork>) -> Vec<engine_sdk::workflow::StepEnd> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut ends = Vec::new();
        for step in steps {
            ends.extend(step.run().await);
        }
        ends
    })
}

fn texts(advance: &Advance) -> Vec<String> {
    advance.commands.iter().map(text).collect()
}

impl<W: engine_sdk::definition::WorkflowCode> Scene<W> {
    /// Runs a task with all its steps, and compares with what a replay of the recorded history does.
    fn task_with_steps(&mut self) -> Vec<String> {
        let mut advance = self.advance().unwrap();
        while advance.waits_for_steps {
            for end in run(std::mem::take(&mut advance.steps)) {
                advance = self.run.end_step(end).unwrap();
            }
        }
        self.history.complete(&advance.commands);
        texts(&advance)
    }
}

#[workflow]
async fn priced(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let rate = ctx.step("rate", || async { Ok(3_u64) }).await?;
    let sum = ctx.step("sum", move || async move { Ok(cents * rate) }).await?;
    ctx.sleep(seconds(1)).await;
    let tip = ctx.step("tip", || async { Ok(1_u64) }).await?;
    Ok(sum + tip)
}

#[test]
fn a_step_travels_with_its_task_and_does_not_run_again() {
    let mut scene = Scene::new(priced, &["7"]);
    assert_eq!(scene.task_with_steps(), ["step rate #1 3", "step sum #2 21", "sleep 1s #1"]);
    let timer = scene.history.last_id();
    scene.history.timer_fired(timer);
    let advance = scene.advance().unwrap();
    assert!(advance.waits_for_steps && advance.commands.is_empty() && !advance.has_commands);
    assert_eq!(advance.steps.len(), 1, "only the one that the history does not have");

    let replayed = scene.replay().unwrap();
    assert_eq!(replayed.steps.len(), 1, "and so it is for a worker that replays");
    let end = run(advance.steps).pop().unwrap();
    let advance = scene.run.end_step(end).unwrap();
    assert_eq!(texts(&advance), ["step tip #3 1", "complete 22"]);
    assert!(advance.closed);
}

#[workflow]
async fn raced(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let slow = ctx.step("slow", || async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok("slow".to_owned())
    });
    let quick = ctx.step("quick", || async { Ok("quick".to_owned()) });
    select! {
        first = slow => Ok(first?),
        first = quick => Ok(first?),
    }
}

#[test]
fn a_step_that_is_given_up_leaves_no_trace() {
    let mut scene = Scene::new(raced, &[]);
    let mut advance = scene.advance().unwrap();
    let quick = advance.steps.pop().unwrap();
    let end = run(vec![quick]).pop().unwrap();
    let ended = scene.run.end_step(end).unwrap();
    assert_eq!(texts(&ended), ["step quick #2 \"quick\"", "complete \"quick\""]);
    assert!(run(advance.steps).is_empty(), "what was given up is stopped");
}

#[test]
fn a_task_may_be_answered_while_a_step_is_at_work() {
    let mut scene = Scene::new(priced, &["7"]);
    let first = scene.advance().unwrap();
    let extended = scene.run.extend().unwrap();
    assert!(extended.force_new_task && extended.commands.is_empty());
    scene.history.complete(&extended.commands);
    let waiting = scene.advance().unwrap();
    assert!(waiting.waits_for_steps && waiting.steps.is_empty(), "the step goes on");
    let end = run(first.steps).pop().unwrap();
    let mut advance = scene.run.end_step(end).unwrap();
    let end = run(std::mem::take(&mut advance.steps)).pop().unwrap();
    advance = scene.run.end_step(end).unwrap();
    assert_eq!(texts(&advance), ["step rate #1 3", "step sum #2 21", "sleep 1s #1"]);
    scene.history.complete(&advance.commands);
    scene.history.signal("poke", "1");
    let events = scene.history.clone();
    scene.advance().unwrap();
    let mut events = events;
    events.forget_what_was_seen();
    assert!(crate::replay(priced, events.task()).unwrap().steps.is_empty(), "all steps are in the history");
}

#[test]
fn the_end_of_a_step_of_another_copy_of_the_run_means_nothing() {
    let mut scene = Scene::new(priced, &["7"]);
    let first = scene.advance().unwrap();
    let mut other = engine_sdk::workflow::WorkflowRun::new(engine_sdk::workflow::erase(priced));
    let theirs = other.advance(scene.history.events.clone()).unwrap();
    let end = run(theirs.steps).pop().unwrap();
    let unmoved = scene.run.end_step(end).unwrap();
    assert!(unmoved.waits_for_steps);
    drop(scene);
    assert!(run(first.steps).is_empty(), "a run that leaves takes its steps with it");
}

static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn tried(ctx: WorkflowContext, what: String) -> Result<String, WorkflowError> {
    let attempts = Arc::new(AtomicU32::new(0));
    let ended = match what.as_str() {
        "later" => {
            ctx.step("busy", move || {
                let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                async move {
                    ATTEMPTS.fetch_max(attempt, Ordering::Relaxed);
                    if attempt < 3 { Err(ActivityError::retryable("busy")) } else { Ok("done".to_owned()) }
                }
            })
            .await
        }
        "never" => {
            let step = ctx.step("busy", || async { Err::<String, _>(ActivityError::retryable("busy")) });
            step.max_attempts(2).await
        }
        "slow" => {
            let step = ctx.step("busy", || async {
                std::future::pending::<()>().await;
                Ok(String::new())
            });
            step.timeout(seconds(2)).retry(RetryPolicy::none()).await
        }
        _ => {
            let step =
                ctx.step("busy", || async { if true { panic!("expected by this test") } else { Ok(String::new()) } });
            step.retry(RetryPolicy::none()).await
        }
    };
    Ok(ended.unwrap_or_else(|failure| format!("{failure} after {}", failure.attempt())))
}

#[test]
fn a_step_has_its_own_retries_and_time() {
    let result = |what| Scene::new(tried, &[what]).task_with_steps();
    assert_eq!(result("\"later\""), ["step busy #1 \"done\"", "complete \"done\""]);
    assert_eq!(ATTEMPTS.load(Ordering::Relaxed), 3);
    assert_eq!(
        result("\"never\""),
        ["step busy #1 failed: busy", "complete \"step busy failed: ActivityError: busy after 2\""]
    );
    assert_eq!(result("\"slow\"")[1], "complete \"step busy timed out: start-to-close timeout after 1\"");
    assert_eq!(
        result("\"panic\"")[1],
        "complete \"step busy failed: panic: the step panicked: expected by this test after 1\""
    );
}

#[workflow]
async fn canceled_step(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
    let scope = ctx.scope();
    let mut step = scope.step("slow", || async {
        std::future::pending::<()>().await;
        Ok(())
    });
    select! {
        _ = &mut step => return Ok(false),
        _ = ctx.step("quick", || async { Ok(()) }) => scope.cancel(),
    }
    Ok(step.await.unwrap_err().is_canceled())
}

#[test]
fn a_scope_gives_its_steps_up() {
    let mut scene = Scene::new(canceled_step, &[]);
    let mut advance = scene.advance().unwrap();
    let quick = advance.steps.pop().unwrap();
    let end = run(vec![quick]).pop().unwrap();
    assert_eq!(texts(&scene.run.end_step(end).unwrap()), ["step quick #2 nothing", "complete true"]);
    assert!(run(advance.steps).is_empty());
}
