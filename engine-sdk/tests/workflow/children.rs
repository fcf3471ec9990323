//! Children, and messages to other workflows.

use engine_core::command::Command;
use engine_core::event::{ChildOutcome, EventKind, PeerEvent, PeerFailureCause};
use engine_core::failure::{Failure, FailureKind, RetryState};
use engine_core::ids::{EventId, Namespace, RunId, WorkflowId, WorkflowType};
use engine_core::payload::Payload;
use engine_core::peer::PeerCommand;
use engine_core::time::Timestamp;
use engine_sdk::prelude::*;

use crate::Scene;

fn run_id() -> RunId {
    RunId::from_parts(Timestamp::EPOCH, [3; 10])
}

fn started(initiated_event_id: EventId) -> EventKind {
    EventKind::Peer(Box::new(PeerEvent::ChildStarted {
        initiated_event_id,
        workflow_id: WorkflowId::from_trusted("c"),
        workflow_type: WorkflowType::from_trusted("ship"),
        run_id: run_id(),
    }))
}

fn closed(initiated_event_id: EventId, outcome: ChildOutcome) -> EventKind {
    EventKind::Peer(Box::new(PeerEvent::ChildClosed {
        initiated_event_id,
        started_event_id: initiated_event_id.next(),
        workflow_id: WorkflowId::from_trusted("c"),
        workflow_type: WorkflowType::from_trusted("ship"),
        run_id: run_id(),
        outcome,
    }))
}

fn signaled(initiated_event_id: EventId) -> EventKind {
    let workflow_id = WorkflowId::from_trusted("c");
    EventKind::Peer(Box::new(PeerEvent::Signaled { initiated_event_id, workflow_id, run_id: run_id() }))
}

fn completed(json: &'static str) -> ChildOutcome {
    ChildOutcome::Completed { result: Some(Payload::json(json)) }
}

#[workflow(run_timeout = "1h")]
async fn ship(_ctx: WorkflowContext, order: u32) -> Result<String, WorkflowError> {
    Ok(order.to_string())
}

#[workflow]
async fn run_one(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let call = ctx.child(ship).id("c").queue("warehouse").parent_close_policy(ParentClosePolicy::Abandon);
    Ok(call.memo("why", "rush").run(7).await?)
}

#[test]
fn a_child_runs_to_its_result() {
    let mut scene = Scene::new(run_one, &[]);
    let (commands, ids) = scene.task();
    let [Command::Peer(command)] = &commands[..] else { panic!("{commands:?}") };
    let PeerCommand::StartChild(child) = &**command else { panic!("{command:?}") };
    assert_eq!((child.workflow_id.as_str(), child.workflow_type.as_str()), ("c", "ship"));
    assert_eq!(child.task_queue.as_ref().map(|queue| queue.as_str()), Some("warehouse"));
    assert_eq!((child.input[0].data.as_ref(), child.run_timeout), (&b"7"[..], Some(hours(1))));
    assert_eq!((child.parent_close_policy, child.memo[0].0.as_str()), (ParentClosePolicy::Abandon, "why"));
    scene.history.add(started(ids[0]));
    assert!(scene.steps().is_empty());
    scene.history.add(closed(ids[0], completed("\"parcel\"")));
    assert_eq!(scene.steps(), ["complete \"parcel\""]);
    scene.replay().expect("the history is this code's");
}

#[workflow]
async fn with_handle(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let child = ctx.child(ship).start(7).await?;
    child.signal_named("hurry", &true).await?;
    Ok(child.result().await?)
}

#[test]
fn a_child_that_runs_is_signaled_and_waited_for() {
    let mut scene = Scene::new(with_handle, &[]);
    let (commands, ids) = scene.task();
    let [Command::Peer(command)] = &commands[..] else { panic!("{commands:?}") };
    let PeerCommand::StartChild(child) = &**command else { panic!("{command:?}") };
    let id = child.workflow_id.to_string();
    assert!(id.ends_with("/1"), "{id}");
    scene.history.add(started(ids[0]));
    let (commands, signals) = scene.task();
    let [Command::Peer(command)] = &commands[..] else { panic!("{commands:?}") };
    let PeerCommand::Signal(signal) = &**command else { panic!("{command:?}") };
    assert_eq!((signal.target.workflow_id.as_str(), signal.target.child_only), (id.as_str(), true));
    scene.history.add(signaled(signals[0]));
    scene.history.add(closed(ids[0], completed("\"parcel\"")));
    assert_eq!(scene.steps(), ["complete \"parcel\""]);
    scene.replay().expect("the history is this code's");
}

#[test]
fn the_failure_of_a_child_names_it_and_keeps_its_causes() {
    let mut scene = Scene::new(with_handle, &[]);
    let (_, ids) = scene.task();
    scene.history.add(EventKind::Peer(Box::new(PeerEvent::StartChildFailed {
        initiated_event_id: ids[0],
        workflow_id: WorkflowId::from_trusted("c"),
        workflow_type: WorkflowType::from_trusted("ship"),
        cause: PeerFailureCause::AlreadyStarted,
    })));
    let steps = scene.steps();
    assert!(steps[0].contains(") did not complete < the workflow id \"c\" has a run that is open"), "{steps:?}");

    let mut scene = Scene::new(run_one, &[]);
    let (_, ids) = scene.task();
    scene.history.add(started(ids[0]));
    let failure = Failure::application("Declined", "no truck");
    scene.history.add(closed(ids[0], ChildOutcome::Failed { failure, retry_state: RetryState::RetryPolicyNotSet }));
    assert_eq!(scene.steps(), ["fail child ship (c) did not complete < no truck"]);
}

#[workflow]
async fn examined(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let failure = ctx.child(ship).id("c").run(7).await.expect_err("it fails");
    assert_eq!((failure.workflow_id(), failure.workflow_type()), ("c", Some("ship")));
    assert_eq!(failure.run_id(), Some(run_id()));
    assert_eq!(failure.retry_state(), Some(RetryState::MaximumAttemptsReached));
    Err(failure.into())
}

#[test]
fn a_parent_that_fails_with_its_child_records_which_child_and_why() {
    let mut scene = Scene::new(examined, &[]);
    let (_, ids) = scene.task();
    let began = scene.history.add(started(ids[0]));
    let failure = Failure::application("Declined", "no truck");
    let retry_state = RetryState::MaximumAttemptsReached;
    scene.history.add(closed(ids[0], ChildOutcome::Failed { failure: failure.clone(), retry_state }));
    let (commands, _) = scene.task();
    let [Command::FailWorkflow { failure: recorded }] = &commands[..] else { panic!("{commands:?}") };
    let kind = FailureKind::ChildWorkflow {
        namespace: Namespace::from_trusted("default"),
        workflow_id: WorkflowId::from_trusted("c"),
        run_id: Some(run_id()),
        workflow_type: WorkflowType::from_trusted("ship"),
        initiated_event_id: ids[0],
        started_event_id: began,
        retry_state,
    };
    assert_eq!((&recorded.kind, recorded.cause.as_deref()), (&kind, Some(&failure)));
}

#[workflow]
async fn in_a_scope(ctx: WorkflowContext, cancellation: u8) -> Result<bool, WorkflowError> {
    let kinds = [ChildCancellation::Wait, ChildCancellation::Try, ChildCancellation::Abandon];
    let scope = ctx.scope();
    let child = scope.child(ship).id("c").cancellation(kinds[usize::from(cancellation)]).start(7).await?;
    let beside = ctx.scope().child(ship).id("beside").start(7).await?;
    ctx.sleep(seconds(1)).await;
    scope.cancel();
    let late = scope.child(ship).id("late").run(7).await.expect_err("nothing begins in a canceled scope");
    assert!(late.is_canceled() && late.run_id().is_none());
    let failure = child.result().await.expect_err("it was canceled");
    beside.detach();
    Ok(failure.is_canceled())
}

fn scope_scene(kind: &'static str) -> (Scene<in_a_scope>, EventId, Vec<String>) {
    let mut scene = Scene::new(in_a_scope, &[kind]);
    let (_, ids) = scene.task();
    scene.history.add(started(ids[0]));
    let (_, beside) = scene.task();
    scene.history.add(started(beside[0]));
    let (_, timers) = scene.task();
    scene.history.timer_fired(timers[0]);
    let steps = scene.steps();
    (scene, ids[0], steps)
}

#[test]
fn a_canceled_scope_does_to_its_children_what_their_cancellation_says() {
    let (mut scene, child, steps) = scope_scene("0");
    assert_eq!(steps, ["cancel c"]);
    scene.history.add(closed(child, ChildOutcome::Canceled { details: None }));
    assert_eq!(scene.steps(), ["complete true"]);
    scene.replay().expect("the history is this code's");
    assert_eq!(scope_scene("1").2, ["cancel c", "complete true"]);
    assert_eq!(scope_scene("2").2, ["complete true"]);
}

#[workflow]
async fn impatient(ctx: WorkflowContext, cancellation: u8) -> Result<bool, WorkflowError> {
    let kinds = [ChildCancellation::Wait, ChildCancellation::Try, ChildCancellation::Abandon];
    let mut child = ctx.child(ship).id("c").cancellation(kinds[usize::from(cancellation)]).start(7).await?;
    ctx.sleep(seconds(1)).await;
    child.cancel();
    let failure = child.result().await.err();
    Ok(failure.is_some_and(|failure| failure.is_canceled()))
}

fn impatient_scene(kind: &'static str) -> (Scene<impatient>, EventId, Vec<String>) {
    let mut scene = Scene::new(impatient, &[kind]);
    let (_, ids) = scene.task();
    scene.history.add(started(ids[0]));
    let (_, timers) = scene.task();
    scene.history.timer_fired(timers[0]);
    let steps = scene.steps();
    (scene, ids[0], steps)
}

#[test]
fn cancellation_waits_tries_or_leaves_the_child_alone() {
    let (mut scene, child, steps) = impatient_scene("0");
    assert_eq!(steps, ["cancel c"]);
    scene.history.add(closed(child, ChildOutcome::Canceled { details: None }));
    assert_eq!(scene.steps(), ["complete true"]);
    assert_eq!(impatient_scene("1").2, ["cancel c", "complete true"]);
    assert_eq!(impatient_scene("2").2, ["complete true"]);
}

#[workflow]
async fn dropping(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let child = ctx.child(ship).id("c").start(7).await?;
    drop(child);
    ctx.sleep(seconds(9)).await;
    Ok(())
}

#[test]
fn dropping_a_child_asks_it_to_stop() {
    let mut scene = Scene::new(dropping, &[]);
    let (_, ids) = scene.task();
    scene.history.add(started(ids[0]));
    assert_eq!(scene.steps(), ["cancel c", "sleep 9s #1"]);
}

#[workflow]
async fn messenger(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
    ctx.external("other").signal_named("go", &1).await?;
    let gone = ctx.external("gone").cancel("enough").await;
    Ok(gone.is_err_and(|failure| failure.is_not_found()))
}

#[test]
fn messages_to_others_are_sent_and_answered() {
    let mut scene = Scene::new(messenger, &[]);
    let (commands, ids) = scene.task();
    assert_eq!(commands.iter().map(crate::text).collect::<Vec<_>>(), ["signal go to other"]);
    scene.history.add(signaled(ids[0]));
    let (_, ids) = scene.task();
    scene.history.add(EventKind::Peer(Box::new(PeerEvent::CancelFailed {
        initiated_event_id: ids[0],
        workflow_id: WorkflowId::from_trusted("gone"),
        cause: PeerFailureCause::NotFound,
    })));
    assert_eq!(scene.steps(), ["complete true"]);
    scene.replay().expect("the history is this code's");
}

#[workflow]
async fn wrongly_named(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.child(ship).id("").queue("a\nb").run(7).await?;
    Ok(())
}

#[test]
fn a_call_that_cannot_be_sent_fails_the_workflow_task_naming_every_field() {
    let error = Scene::new(wrongly_named, &[]).trouble();
    assert_eq!(
        error.to_string(),
        "child ship cannot be started: queue contains a control character at byte 1, id must not be empty"
    );
}
