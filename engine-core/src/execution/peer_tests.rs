//! Tests of `peer`.

use super::*;
use crate::execution::support::*;
use crate::failure::{Failure, RetryState};
use crate::payload::Payload;

fn completed() -> ChildOutcome {
    ChildOutcome::Completed { result: Some(Payload::json("7")) }
}

/// A run that asked for a child in event 5.
fn with_child(policy: ParentClosePolicy) -> Run {
    let mut run = Run::start();
    run.turn(vec![start_child_with("c", policy)]);
    run
}

#[test]
fn a_child_is_asked_for_starts_and_ends() {
    let run = check(
        Run::start(),
        |run| {
            run.turn(vec![start_child("c")]);
            run.accepted(5);
            run.turn(vec![]);
            run.child_closed(5, completed());
        },
        "
            ~ task started attempt=1
            2 WorkflowTaskScheduled attempt=1
            3 WorkflowTaskStarted scheduled=2
            4 WorkflowTaskCompleted scheduled=2 started=3
            5 StartChildInitiated c task=4
            > Deliver 5
            6 ChildStarted c initiated=5
            > OfferWorkflowTask attempt=1
            ~ task started attempt=1
            7 WorkflowTaskScheduled attempt=1
            8 WorkflowTaskStarted scheduled=7
            9 WorkflowTaskCompleted scheduled=7 started=8
            10 ChildCompleted c initiated=5 started=6
            > OfferWorkflowTask attempt=1
        ",
    );
    assert_eq!((run.execution.pending_children(), run.execution.undelivered()), (vec![], vec![]));
}

#[test]
fn a_message_that_is_owed_keeps_the_run_from_being_parked_and_survives_a_crash() {
    let mut run = with_child(ParentClosePolicy::Terminate);
    assert!(!run.execution.is_idle());
    assert_eq!(run.execution.wake_at(), Timestamp::EPOCH);
    run.crash();
    assert_eq!(run.execution.undelivered(), [EventId(5)]);
    let owed = run.execution.outgoing(EventId(5)).expect("the start is owed");
    let PeerMessage::Start { started, .. } = owed.message else { panic!("no start") };
    let parent = run.execution.started();
    assert_eq!(started.request_id.as_ref().map(ToString::to_string), Some(format!("{}/5", parent.run_id)));
    assert_eq!(
        started.parent.as_ref().map(|parent| (parent.run_id, parent.initiated_event_id)),
        Some((parent.run_id, EventId(5)))
    );
    assert_eq!((started.task_queue.as_str(), started.first_run_id), ("orders", started.run_id));
    run.accepted(5);
    run.turn(vec![]);
    assert!(run.execution.is_idle(), "a child that runs needs no attention");
}

#[test]
fn an_end_that_overtakes_the_answer_to_the_start_records_both_and_repeats_change_nothing() {
    check(
        with_child(ParentClosePolicy::Terminate),
        |run| {
            run.child_closed(5, completed());
            run.accepted(5);
            run.child_closed(5, completed());
        },
        "
            6 ChildStarted c initiated=5
            7 ChildCompleted c initiated=5 started=6
            > OfferWorkflowTask attempt=1
            = unchanged
            = unchanged
        ",
    );
}

#[test]
fn what_comes_during_a_task_is_buffered_once_and_the_end_learns_the_number_of_its_start() {
    let mut run = with_child(ParentClosePolicy::Terminate);
    run.signal("go");
    let token = run.take_task();
    check(
        run,
        |run| {
            run.child_closed(5, completed());
            run.child_closed(5, completed());
            run.accepted(5);
            run.signal("late");
            run.finish_task(token, vec![]);
        },
        "
            ~ buffered ChildStarted c initiated=5
            ~ buffered ChildCompleted c initiated=5 started=0
            = unchanged
            = unchanged
            ~ buffered WorkflowSignaled late
            ~ buffer flushed
            7 WorkflowTaskScheduled attempt=1
            8 WorkflowTaskStarted scheduled=7
            9 WorkflowTaskCompleted scheduled=7 started=8
            10 ChildStarted c initiated=5
            11 WorkflowSignaled late
            12 ChildCompleted c initiated=5 started=10
            > OfferWorkflowTask attempt=1
        ",
    );
}

#[test]
fn a_child_that_cannot_be_started_says_why() {
    let run = check(
        with_child(ParentClosePolicy::Terminate),
        |run| run.refused(5, PeerFailureCause::AlreadyStarted),
        "
            6 StartChildFailed c initiated=5 cause=AlreadyStarted
            > OfferWorkflowTask attempt=1
        ",
    );
    assert_eq!(run.execution.pending_children(), []);
}

#[test]
fn messages_to_others_are_answered_or_fail() {
    let mut run = Run::start();
    run.turn(vec![signal_peer("a"), cancel_peer("b", false), signal_peer("x"), cancel_peer("y", false)]);
    check(
        run,
        |run| {
            run.accepted(5);
            run.accepted(6);
            run.refused(7, PeerFailureCause::NotFound);
            run.refused(8, PeerFailureCause::NotFound);
            run.accepted(8);
        },
        "
            9 ExternalSignaled a initiated=5
            > OfferWorkflowTask attempt=1
            10 ExternalCancelRequested b initiated=6
            11 SignalExternalFailed x initiated=7 cause=NotFound
            12 RequestCancelExternalFailed y initiated=8 cause=NotFound
            = unchanged
        ",
    );
}

#[test]
fn a_message_to_a_child_waits_for_the_answer_to_its_start() {
    let mut run = Run::start();
    run.turn(vec![start_child("c"), cancel_peer("c", true)]);
    assert_eq!(run.execution.outgoing(EventId(6)), None);
    let run = check(
        run,
        |run| run.accepted(5),
        "
            7 ChildStarted c initiated=5
            > Deliver 6
            > OfferWorkflowTask attempt=1
        ",
    );
    let message = run.execution.outgoing(EventId(6)).expect("it can go");
    assert_eq!(message.child_of, Some(run.execution.started().run_id));
}

#[test]
fn a_run_that_closes_owes_its_children_what_their_policy_says() {
    let mut run = Run::start();
    run.turn(vec![
        start_child_with("terminate", ParentClosePolicy::Terminate),
        start_child_with("cancel", ParentClosePolicy::RequestCancel),
        start_child_with("leave", ParentClosePolicy::Abandon),
        start_child_with("never answered", ParentClosePolicy::Abandon),
        start_child_with("over", ParentClosePolicy::Terminate),
        signal_peer("other"),
    ]);
    for id in [5, 6, 7] {
        run.accepted(id);
    }
    run.child_closed(9, ChildOutcome::Terminated);
    run.turn(vec![complete()]);
    assert_eq!(run.execution.undelivered(), [5, 6, 8, 10].map(EventId));
    let input = |id| match run.execution.outgoing(EventId(id)).expect("it is owed").message {
        PeerMessage::Input(input) => *input,
        PeerMessage::Start { .. } => panic!("a start"),
    };
    assert!(matches!(input(5), Input::Terminate { reason, .. } if reason == "its parent, workflow order-1, is closed"));
    assert!(matches!(input(6), Input::RequestCancel { .. }));
    assert!(matches!(input(10), Input::Signal { .. }));
    let start = run.execution.outgoing(EventId(8)).expect("it is owed");
    assert!(matches!(start.message, PeerMessage::Start { .. }));
    run.crash();
    assert_eq!(run.execution.undelivered(), [5, 6, 8, 10].map(EventId), "a crash forgets nothing");
}

#[test]
fn a_run_that_continues_leaves_its_children_alone() {
    let mut run = with_child(ParentClosePolicy::Terminate);
    run.accepted(5);
    run.turn(vec![crate::command::Command::ContinueAsNew(Box::default())]);
    assert_eq!(run.execution.undelivered(), []);
}

fn child(change: impl FnOnce(&mut WorkflowStarted)) -> Run {
    Run::start_with(|started| {
        let (workflow_id, initiated_event_id) = (WorkflowId::from_trusted("p"), EventId(5));
        started.parent = Some(Box::new(Parent { workflow_id, run_id: peer_run(), initiated_event_id }));
        started.request_id = Some(RequestId::from_trusted("start"));
        change(started);
    })
}

fn told(run: &Run) -> Option<ChildOutcome> {
    let outgoing = run.execution.outgoing(EventId::NONE)?;
    assert_eq!((outgoing.workflow_id.as_str(), outgoing.run_id), ("p", Some(peer_run())));
    match outgoing.message {
        PeerMessage::Input(input) => match *input {
            Input::ChildClosed { initiated_event_id: EventId(5), outcome, .. } => Some(outcome),
            other => panic!("told {other:?}"),
        },
        PeerMessage::Start { .. } => panic!("a start"),
    }
}

#[test]
fn the_parent_is_told_how_the_last_run_of_the_chain_ended() {
    let mut run = child(|_| {});
    assert_eq!(told(&run), None);
    run.turn(vec![complete()]);
    assert!(matches!(told(&run), Some(ChildOutcome::Completed { .. })));

    let mut run = child(|_| {});
    run.terminate();
    assert_eq!(told(&run), Some(ChildOutcome::Terminated));

    let mut run = child(|started| started.retry_policy = Some(retry(2)));
    run.turn(vec![fail("Declined")]);
    assert_eq!(told(&run), None, "another run follows");
    let next = run.next_run.take().expect("a run follows");
    assert_eq!(next.started.request_id, run.execution.started().request_id, "a repeated start finds the child");
    let mut last = Run::begin_next(next, run.now).expect("the next run is valid");
    last.advance_to_deadline();
    last.turn(vec![fail("Declined")]);
    let failure = Failure::application("Declined", "no");
    assert_eq!(told(&last), Some(ChildOutcome::Failed { failure, retry_state: RetryState::MaximumAttemptsReached }));
}

#[test]
fn bad_commands_fail_the_task_and_reasons_are_cut() {
    let large = Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX]);
    let crate::command::Command::Peer(mut command) = start_child("c") else { panic!("no peer") };
    let PeerCommand::StartChild(child) = &mut *command else { panic!("no child") };
    child.input = vec![large];
    let mut run = Run::start();
    run.turn(vec![crate::command::Command::Peer(command)]);
    let refused = run.log.last().expect("it was refused");
    assert!(
        refused.starts_with("= refused BadCommand: commands[0] (StartChild): input: is 2097162 bytes"),
        "{refused}"
    );
    assert_eq!(run.execution.undelivered(), []);

    let mut run = Run::start();
    run.turn((0..=limits::PENDING_PEERS_MAX).map(|n| signal_peer(&n.to_string())).collect());
    assert_eq!(
        run.log.last().expect("it was refused"),
        "= refused BadCommand: commands[10000] (SignalExternal): workflow_id: 10000 children and messages to others are under way, which is the limit"
    );
}
