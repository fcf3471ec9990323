//! The rules of the module, each as a fact.

use std::collections::HashSet;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn queue(kind: TaskKind) -> QueueKey {
    QueueKey { namespace: NamespaceId(1), name: Arc::from("orders"), kind }
}

fn activity(number: u64) -> QueuedTask {
    QueuedTask {
        id: TaskId { run_id: RunId::from_uuid(Uuid::from_u128(7)), activity: EventId(number) },
        shard: ShardId(3),
        namespace: NamespaceId(1),
        workflow_id: Arc::from("w"),
        attempt: 1,
        type_name: Arc::from("charge"),
        queue: queue(TaskKind::Activity),
        preferred_worker: None,
    }
}

fn workflow_task(run: u128, preferred: Option<u128>) -> QueuedTask {
    QueuedTask {
        id: TaskId { run_id: RunId::from_uuid(Uuid::from_u128(run)), activity: EventId::NONE },
        type_name: Arc::from("checkout"),
        queue: queue(TaskKind::Workflow),
        preferred_worker: preferred.map(Uuid::from_u128),
        ..activity(0)
    }
}

fn spec(worker: u128, activity_types: &[&str]) -> SessionSpec {
    SessionSpec {
        worker_id: Uuid::from_u128(worker),
        namespace: NamespaceId(1),
        queues: vec![Arc::from("orders")],
        workflow_types: HashSet::from(["checkout".to_owned()]),
        activity_types: activity_types.iter().map(|name| (*name).to_owned()).collect(),
        any_workflow_type: false,
        any_activity_type: false,
    }
}

fn with_sessions(count: u64, credits: u32) -> TaskQueues {
    let mut queues = TaskQueues::default();
    for n in 0..count {
        queues.open_session(SessionId(n), spec(u128::from(n), &["charge"]));
        assert_eq!(queues.grant(SessionId(n), TaskKind::Activity, credits), []);
    }
    queues
}

fn sessions_of(pushes: impl IntoIterator<Item = Push>) -> Vec<u64> {
    pushes.into_iter().map(|push| push.session.0).collect()
}

#[test]
fn five_tasks_and_five_workers_meet_one_to_one() {
    let mut queues = with_sessions(5, 10);
    let mut got = sessions_of((1..=5).filter_map(|n| queues.offer(activity(n), NOW)));
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn without_credits_tasks_wait_in_order_and_each_credit_releases_one() {
    let mut queues = with_sessions(1, 0);
    for n in 1..=3 {
        assert_eq!(queues.offer(activity(n), NOW), None);
    }
    let pushed: Vec<u64> =
        queues.grant(SessionId(0), TaskKind::Activity, 2).iter().map(|push| push.task.id.activity.0).collect();
    assert_eq!(pushed, [1, 2]);
    assert_eq!(queues.waiting(), 1);
}

#[test]
fn a_withdrawn_task_is_not_pushed() {
    let mut queues = with_sessions(1, 0);
    queues.offer(activity(1), NOW);
    queues.withdraw(&activity(1).id);
    assert_eq!(queues.grant(SessionId(0), TaskKind::Activity, 5), []);
    queues.offer(activity(2), NOW);
    queues.withdraw_shard(ShardId(3));
    assert_eq!((queues.grant(SessionId(0), TaskKind::Activity, 5), queues.waiting()), (vec![], 0));
}

#[test]
fn a_task_offered_twice_waits_once() {
    let mut queues = with_sessions(1, 0);
    queues.offer(activity(1), NOW);
    queues.offer(QueuedTask { attempt: 2, ..activity(1) }, NOW);
    let pushes = queues.grant(SessionId(0), TaskKind::Activity, 5);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].task.attempt, 2);
}

#[test]
fn a_workflow_task_waits_for_the_session_that_has_its_run_but_not_for_ever() {
    let mut queues = with_sessions(2, 0);
    queues.grant(SessionId(1), TaskKind::Workflow, 1);
    assert_eq!(queues.offer(workflow_task(9, Some(0)), NOW), None, "session 1 has a credit, but session 0 has the run");
    assert_eq!(queues.next_due(), Some(NOW + STICKY_PATIENCE));
    assert_eq!(queues.due(NOW), []);
    assert_eq!(sessions_of(queues.due(NOW + STICKY_PATIENCE)), [1]);

    assert_eq!(queues.offer(workflow_task(9, Some(0)), NOW), None);
    assert_eq!(sessions_of(queues.grant(SessionId(0), TaskKind::Workflow, 1)), [0]);
    assert_eq!(queues.next_due(), None);
}

#[test]
fn what_waited_for_a_closed_session_goes_to_another() {
    let mut queues = with_sessions(2, 0);
    queues.offer(workflow_task(9, Some(0)), NOW);
    queues.grant(SessionId(1), TaskKind::Workflow, 1);
    assert_eq!(sessions_of(queues.close_session(SessionId(0))), [1]);
    assert_eq!(queues.waiting(), 0);
}

#[test]
fn a_type_goes_to_a_session_that_knows_it_and_only_if_none_does_to_any() {
    let mut queues = TaskQueues::default();
    queues.open_session(SessionId(1), spec(1, &["charge"]));
    queues.open_session(SessionId(2), spec(2, &["refund"]));
    queues.grant(SessionId(2), TaskKind::Activity, 9);
    assert_eq!(queues.offer(activity(1), NOW), None, "session 1 knows the type; it is busy");
    assert_eq!(sessions_of(queues.grant(SessionId(1), TaskKind::Activity, 1)), [1]);
    queues.close_session(SessionId(1));
    assert_eq!(sessions_of(queues.offer(activity(2), NOW)), [2], "nobody knows it: let one refuse it with a reason");
}

#[test]
fn a_draining_session_gets_nothing_more() {
    let mut queues = with_sessions(2, 5);
    queues.offer(workflow_task(9, Some(0)), NOW);
    queues.grant(SessionId(1), TaskKind::Workflow, 1);
    assert_eq!(sessions_of(queues.drain(SessionId(0))), [1]);
    assert_eq!(queues.grant(SessionId(0), TaskKind::Activity, 1), []);
    assert_eq!(sessions_of(queues.offer(activity(1), NOW)), [1]);
}

#[test]
fn a_worker_for_any_type_gets_tasks_and_queries_of_all() {
    let mut queues = TaskQueues::default();
    let any = SessionSpec { workflow_types: HashSet::new(), any_workflow_type: true, ..spec(1, &[]) };
    queues.open_session(SessionId(1), any);
    assert_eq!(queues.grant(SessionId(1), TaskKind::Workflow, 1), []);
    let queue = QueueKey { namespace: NamespaceId(1), name: Arc::from("orders"), kind: TaskKind::Workflow };
    assert!(queues.is_served(&queue));
    assert_eq!(queues.sessions_with(&queue, "whatever", None), [SessionId(1)]);
    let other = QueueKey { kind: TaskKind::Activity, ..queue.clone() };
    assert!(!queues.is_served(&other), "it has no activities at all");
    queues.open_session(SessionId(2), spec(2, &[]));
    assert_eq!(queues.sessions_with(&queue, "checkout", Some(Uuid::from_u128(2))), [SessionId(2), SessionId(1)]);
    assert_eq!(queues.sessions_with(&queue, "whatever", None), [SessionId(1)]);
    queues.drain(SessionId(1));
    assert_eq!(queues.sessions_with(&queue, "whatever", None), [], "one that leaves is not asked");
}
