//! Updates: handlers, channels, validators, and what a replay makes of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine_core::event::UpdateRequest;
use engine_core::ids::{UpdateId, UpdateName};
use engine_core::payload::Payload;
use engine_sdk::prelude::*;

use crate::{Scene, text};

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

#[update]
struct Close {}

#[signal]
struct Audit {}

#[activity]
async fn book(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

fn update(id: &str, name: &str, json: &'static str) -> UpdateRequest {
    UpdateRequest {
        id: UpdateId::from_trusted(id),
        name: UpdateName::from_trusted(name),
        input: vec![Payload::json(json)],
        identity: "desk".into(),
    }
}

impl<W: engine_sdk::definition::WorkflowCode> Scene<W> {
    pub(crate) fn update(&mut self, id: &str, name: &str, json: &'static str) {
        self.updates.push(update(id, name, json));
    }

    /// What the task refuses, and why; it must ask for nothing.
    #[track_caller]
    pub(crate) fn refusals(&mut self) -> Vec<String> {
        let advance = self.advance().expect("the workflow task completes");
        assert_eq!(advance.commands.iter().map(text).collect::<Vec<_>>(), [""; 0]);
        self.updates.clear();
        advance.rejected_updates.iter().map(|it| format!("{}: {}", it.update_id, it.failure.message)).collect()
    }
}

/// An account: deposits are handled as they come, until it is closed.
#[workflow]
async fn account(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let balance = Arc::new(AtomicU64::new(0));
    let (own, of_handler) = (ctx.clone(), Arc::clone(&balance));
    ctx.on_validated_update(
        |deposit: &Deposit| match deposit.cents {
            0 => Err(WorkflowError::non_retryable("a deposit must be more than nothing")),
            _ => Ok(()),
        },
        move |deposit: Deposit| {
            let (ctx, balance) = (own.clone(), Arc::clone(&of_handler));
            async move {
                let booked = ctx.run(book, deposit.cents).await?;
                Ok(balance.fetch_add(booked, Ordering::Relaxed) + booked)
            }
        },
    );
    ctx.updates::<Close>().recv().await.complete(());
    ctx.wait_all_handlers_finished().await;
    Ok(balance.load(Ordering::Relaxed))
}

#[test]
fn handlers_run_beside_each_other_and_their_updates_are_answered_when_they_return() {
    let mut scene = Scene::new(account, &[]);
    assert_eq!(scene.steps(), [""; 0]);
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    scene.update("b", "Deposit", r#"{"cents":7}"#);
    let (commands, ids) = scene.task();
    assert_eq!(
        commands.iter().map(text).collect::<Vec<_>>(),
        [r#"accept Deposit #a {"cents":5}"#, r#"accept Deposit #b {"cents":7}"#, "run book #1", "run book #2"]
    );
    scene.history.activity_completed(ids[3], "7");
    assert_eq!(scene.steps(), ["answer #b 7"]);
    scene.update("c", "Close", "{}");
    assert_eq!(scene.steps(), ["accept Close #c {}", "answer #c nothing"]);
    scene.history.activity_completed(ids[2], "5");
    assert_eq!(scene.steps(), ["answer #a 12", "complete 12"]);
}

#[test]
fn an_update_that_comes_with_the_first_task_finds_the_handler_that_the_code_registers() {
    let mut scene = Scene::new(account, &[]);
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    scene.update("c", "Close", "{}");
    assert_eq!(
        scene.steps(),
        [r#"accept Deposit #a {"cents":5}"#, "accept Close #c {}", "answer #c nothing", "run book #1"]
    );
}

#[test]
fn a_refused_update_changes_nothing_and_says_why() {
    let mut scene = Scene::new(account, &[]);
    scene.task();
    scene.update("a", "Deposit", r#"{"cents":0}"#);
    scene.update("b", "Deposit", r#""much""#);
    scene.update("c", "Withdraw", "{}");
    let refusals = scene.refusals();
    assert_eq!(refusals[0], "a: a deposit must be more than nothing");
    assert!(refusals[1].starts_with("b: the content of the update cannot be used"), "{refusals:?}");
    assert_eq!(refusals[2], r#"c: the workflow has no handler for update "Withdraw"; it has ["Close", "Deposit"]"#);
}

#[test]
fn a_task_that_the_server_dropped_leaves_the_cached_code_where_it_was() {
    let mut scene = Scene::new(account, &[]);
    scene.task();
    let before = scene.history.clone();
    scene.update("a", "Deposit", r#"{"cents":0}"#);
    scene.refusals();
    // The server dropped the task: its numbers go to what follows.
    scene.history = before;
    scene.history.all_was_seen();
    scene.update("b", "Deposit", r#"{"cents":5}"#);
    assert_eq!(scene.steps(), [r#"accept Deposit #b {"cents":5}"#, "run book #1"]);
}

#[test]
fn a_task_with_a_refused_update_that_the_server_did_record_is_followed_as_well() {
    let mut scene = Scene::new(account, &[]);
    scene.task();
    scene.update("a", "Deposit", r#"{"cents":0}"#);
    scene.refusals();
    scene.history.complete(&[]);
    scene.update("b", "Deposit", r#"{"cents":5}"#);
    assert_eq!(scene.steps(), [r#"accept Deposit #b {"cents":5}"#, "run book #1"]);
}

#[workflow]
async fn strict_by_now(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let refuse = |_: &Deposit| Err(WorkflowError::non_retryable("no deposits any more"));
    ctx.on_validated_update(refuse, |deposit: Deposit| async move { Ok(deposit.cents) });
    ctx.signals::<Audit>().recv().await;
    Ok(())
}

#[test]
fn a_replay_does_not_ask_validators_again() {
    let mut scene = Scene::new(strict_by_now, &[]);
    scene.task();
    // Accepted by the code as it was.
    let events = scene.history.task();
    let deposit = update("a", "Deposit", r#"{"cents":5}"#);
    let outcome = engine_core::event::UpdateOutcome::Completed { result: Some(Payload::json("5")) };
    scene.history.complete(&[
        engine_core::command::Command::AcceptUpdate(Box::new(deposit)),
        engine_core::command::Command::CompleteUpdate { update_id: UpdateId::from_trusted("a"), outcome },
    ]);
    drop(events);
    scene.history.signal("Audit", "{}");
    scene.history.forget_what_was_seen();
    scene.run = engine_sdk::workflow::WorkflowRun::new(engine_sdk::workflow::erase(strict_by_now));
    assert_eq!(scene.steps(), ["complete nothing"]);
}

#[workflow]
async fn sloppy(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut deposits = ctx.updates::<Deposit>();
    drop(deposits.recv().await);
    let kept = deposits.recv().await;
    assert_eq!(kept.cents, 7);
    kept.fail(WorkflowError::non_retryable("no such account"));
    let held = deposits.recv().await;
    ctx.signals::<Audit>().recv().await;
    assert_eq!(held.id(), "c");
    Ok(())
}

#[test]
fn a_received_update_is_answered_once_by_value_by_error_or_by_being_dropped() {
    let mut scene = Scene::new(sloppy, &[]);
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    scene.update("b", "Deposit", r#"{"cents":7}"#);
    scene.update("c", "Deposit", r#"{"cents":9}"#);
    assert_eq!(
        scene.steps(),
        [
            r#"accept Deposit #a {"cents":5}"#,
            r#"accept Deposit #b {"cents":7}"#,
            r#"accept Deposit #c {"cents":9}"#,
            "answer #a failed: the workflow dropped the update without an answer",
            "answer #b failed: no such account",
        ]
    );
    scene.history.signal("Audit", "{}");
    assert_eq!(
        scene.steps(),
        ["answer #c failed: the workflow dropped the update without an answer", "complete nothing"]
    );
}

#[workflow]
async fn cheats(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let own = ctx.clone();
    let validate = move |_: &Deposit| {
        drop(own.sleep(seconds(1)));
        Ok(())
    };
    ctx.on_validated_update(validate, |deposit: Deposit| async move { Ok(deposit.cents) });
    ctx.signals::<Audit>().recv().await;
    Ok(())
}

#[test]
fn a_validator_that_asks_for_something_fails_the_task_with_a_sentence() {
    let mut scene = Scene::new(cheats, &[]);
    scene.task();
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    let error = scene.trouble();
    assert!(error.failure.message.contains("a validator decides by the update"), "{error}");
}

#[workflow]
async fn waits_for_state(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let total = Arc::new(Mutex::new(0));
    let of_handler = Arc::clone(&total);
    ctx.on_update(move |deposit: Deposit| {
        let total = Arc::clone(&of_handler);
        async move {
            let mut total = total.lock().unwrap();
            *total += deposit.cents;
            Ok(*total)
        }
    });
    ctx.wait_until(|| *total.lock().unwrap() >= 10).await;
    let end = *total.lock().unwrap();
    Ok(end)
}

#[test]
fn what_a_handler_changes_wakes_conditions_in_the_same_task() {
    let mut scene = Scene::new(waits_for_state, &[]);
    scene.task();
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    assert_eq!(scene.steps(), [r#"accept Deposit #a {"cents":5}"#, "answer #a 5"]);
    scene.update("b", "Deposit", r#"{"cents":6}"#);
    assert_eq!(scene.steps(), [r#"accept Deposit #b {"cents":6}"#, "answer #b 11", "complete 11"]);
}

#[workflow]
async fn hurried(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let own = ctx.clone();
    ctx.on_update(move |deposit: Deposit| {
        let ctx = own.clone();
        async move { Ok(ctx.run(book, deposit.cents).await?) }
    });
    ctx.signals::<Audit>().recv().await;
    Ok(())
}

#[test]
fn a_handler_that_still_runs_when_the_workflow_returns_is_dropped_with_what_it_waits_for() {
    let mut scene = Scene::new(hurried, &[]);
    scene.task();
    scene.update("a", "Deposit", r#"{"cents":5}"#);
    scene.task();
    scene.history.signal("Audit", "{}");
    assert_eq!(scene.steps(), ["cancel activity #1", "complete nothing"]);
}
