//! The rules of the module, each as a fact.

use std::collections::HashSet;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn queue(kind: TaskKind) -> QueueKey {
    QueueKey { namespace: NamespaceId(1), name: Arc::from("orders"), kind, version: None }
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
        pin: None,
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
        version: None,
        own_queues: HashSet::new(),
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
    let queue =
        QueueKey { namespace: NamespaceId(1), name: Arc::from("orders"), kind: TaskKind::Workflow, version: None };
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

mod versions {
    use engine_core::ids::{BuildId, DeploymentName};

    use super::*;

    fn version(build: &str) -> Arc<WorkerVersion> {
        let (deployment, build_id) = (DeploymentName::from_trusted("shop"), BuildId::from_trusted(build));
        Arc::new(WorkerVersion { deployment, build_id })
    }

    /// The routes of the one queue of these tests.
    fn routes(current: Option<&str>) -> Routes {
        let route = Route {
            deployment: DeploymentName::from_trusted("shop"),
            current: current.map(version),
            ramping: None,
            served_by: ["1", "2"].map(BuildId::from_trusted).into(),
        };
        Routes::from_iter([((NamespaceId(1), Arc::from("orders")), Arc::new(route))])
    }

    fn spec_of(worker: u128, build: Option<&str>) -> SessionSpec {
        SessionSpec { version: build.map(version), ..spec(worker, &["charge"]) }
    }

    /// Session 0 without a version, session 1 of build 1, session 2 of build 2; each with so many credits.
    fn with_builds(current: Option<&str>, credits: u32) -> TaskQueues {
        let mut queues = TaskQueues::default();
        assert_eq!(queues.set_routes(routes(current), NOW), []);
        for (session, build) in [(0, None), (1, Some("1")), (2, Some("2"))] {
            queues.open_session(SessionId(session), spec_of(u128::from(session), build));
            for kind in [TaskKind::Workflow, TaskKind::Activity] {
                assert_eq!(queues.grant(SessionId(session), kind, credits), []);
            }
        }
        queues
    }

    fn pinned(build: &str, task: QueuedTask) -> QueuedTask {
        QueuedTask { pin: Some(version(build)), ..task }
    }

    #[test]
    fn a_task_goes_to_the_current_version_and_that_of_a_pinned_run_to_its_own() {
        for (current, expected) in [(None, 0), (Some("1"), 1), (Some("2"), 2)] {
            let mut queues = with_builds(current, 2);
            assert_eq!(sessions_of(queues.offer(workflow_task(1, None), NOW)), [expected]);
            assert_eq!(sessions_of(queues.offer(activity(1), NOW)), [expected]);
            assert_eq!(sessions_of(queues.offer(pinned("1", workflow_task(2, None)), NOW)), [1]);
            assert_eq!(sessions_of(queues.offer(pinned("2", activity(2)), NOW)), [2]);
        }
    }

    #[test]
    fn a_task_waits_for_its_version_however_idle_the_others_are() {
        let mut queues = with_builds(Some("3"), 5);
        assert_eq!(queues.offer(workflow_task(1, None), NOW), None);
        assert_eq!(queues.offer(pinned("4", workflow_task(2, None)), NOW), None);
        assert_eq!(queues.waiting_for_workers(), 0);
        queues.open_session(SessionId(9), spec_of(9, Some("4")));
        assert_eq!(queues.waiting_for_workers(), 1);
        let pushes = queues.grant(SessionId(9), TaskKind::Workflow, 5);
        assert_eq!(pushes.iter().map(|push| push.task.id).collect::<Vec<_>>(), [workflow_task(2, None).id]);
        assert_eq!(queues.waiting(), 1);
    }

    #[test]
    fn what_waits_goes_where_the_changed_routing_says_each_once_and_in_order() {
        let mut queues = with_builds(Some("1"), 0);
        for n in 1..=3 {
            assert_eq!(queues.offer(activity(n), NOW), None);
        }
        assert_eq!(queues.offer(pinned("1", activity(4)), NOW), None);
        assert_eq!(queues.grant(SessionId(2), TaskKind::Activity, 2), []);
        let pushes = queues.set_routes(routes(Some("2")), NOW);
        assert_eq!(sessions_of(pushes.iter().cloned()), [2, 2]);
        let numbers = |pushes: &[Push]| pushes.iter().map(|push| push.task.id.activity.0).collect::<Vec<_>>();
        assert_eq!(numbers(&pushes), [1, 2]);
        assert_eq!(queues.waiting(), 2);
        assert_eq!(queues.set_routes(routes(None), NOW), []);
        assert_eq!(numbers(&queues.grant(SessionId(0), TaskKind::Activity, 5)), [3]);
        assert_eq!(numbers(&queues.grant(SessionId(1), TaskKind::Activity, 5)), [4]);
        assert_eq!(queues.waiting(), 0);
        assert_eq!(queues.set_routes(Routes::default(), NOW), [], "nothing waits");
    }

    #[test]
    fn a_queue_that_comes_to_belong_to_no_deployment_is_for_workers_without_a_version() {
        let mut queues = with_builds(Some("1"), 0);
        assert_eq!(queues.offer(pinned("1", workflow_task(1, None)), NOW), None);
        assert_eq!(queues.grant(SessionId(0), TaskKind::Workflow, 1), []);
        assert_eq!(sessions_of(queues.set_routes(Routes::default(), NOW)), [0]);
    }

    #[test]
    fn a_cache_of_another_version_is_not_waited_for_and_one_of_its_own_is() {
        let mut queues = with_builds(Some("2"), 1);
        assert_eq!(sessions_of(queues.offer(workflow_task(1, Some(1)), NOW)), [2], "worker 1 has it in its cache");
        let mut queues = with_builds(Some("1"), 0);
        assert_eq!(queues.offer(workflow_task(1, Some(1)), NOW), None);
        assert_eq!(queues.next_due(), Some(NOW + STICKY_PATIENCE), "it waits in the line of worker 1");
        assert_eq!(queues.grant(SessionId(2), TaskKind::Workflow, 1), []);
        assert_eq!(sessions_of(queues.set_routes(routes(Some("2")), NOW)), [2], "the line is offered anew too");
        assert_eq!((queues.next_due(), queues.waiting()), (None, 0));
    }

    #[test]
    fn a_build_that_only_begins_to_serve_a_queue_disturbs_nothing_that_waits_there() {
        let mut queues = with_builds(Some("1"), 0);
        assert_eq!(queues.offer(workflow_task(1, Some(1)), NOW), None);
        let mut served_by_more = routes(Some("1"));
        for route in served_by_more.values_mut() {
            Arc::make_mut(route).served_by.insert(BuildId::from_trusted("3"));
        }
        let later = NOW + STICKY_PATIENCE / 2;
        assert_eq!(queues.set_routes(served_by_more, later), []);
        assert_eq!(queues.next_due(), Some(NOW + STICKY_PATIENCE), "its patience goes on");
    }

    #[test]
    fn a_task_never_waits_in_two_places_nor_vanishes_whatever_the_routing_does() {
        let mut queues = with_builds(Some("1"), 0);
        let mut handed_out = Vec::new();
        let note = |pushes: Vec<Push>, handed_out: &mut Vec<TaskId>| {
            handed_out.extend(pushes.into_iter().map(|push| push.task.id));
        };
        for n in 1..=60_u64 {
            let task = match n % 4 {
                0 => pinned("1", activity(n)),
                1 => workflow_task(u128::from(n), Some(u128::from(n % 3))),
                2 => pinned("2", workflow_task(u128::from(n), Some(1))),
                _ => activity(n),
            };
            note(queues.offer(task, NOW).into_iter().collect(), &mut handed_out);
            let current = [None, Some("1"), Some("2")][usize::try_from(n % 3).unwrap()];
            note(queues.set_routes(routes(current), NOW), &mut handed_out);
            if n % 5 == 0 {
                let kind = if n % 2 == 0 { TaskKind::Workflow } else { TaskKind::Activity };
                note(queues.grant(SessionId(n % 3), kind, 2), &mut handed_out);
            }
            assert_eq!(queues.waiting() + handed_out.len(), usize::try_from(n).unwrap());
        }
        for session in 0..3 {
            for kind in [TaskKind::Workflow, TaskKind::Activity] {
                note(queues.grant(SessionId(session), kind, 100), &mut handed_out);
            }
        }
        handed_out.sort_unstable();
        handed_out.dedup();
        assert_eq!((queues.waiting(), handed_out.len()), (0, 60));
    }

    #[test]
    fn a_queue_of_its_own_serves_a_worker_of_any_version() {
        let mut queues = with_builds(Some("2"), 0);
        let own: Arc<str> = Arc::from("host-7");
        let mut spec = spec_of(7, Some("1"));
        spec.queues.push(Arc::clone(&own));
        spec.own_queues.insert(Arc::clone(&own));
        queues.open_session(SessionId(7), spec);
        assert_eq!(queues.grant(SessionId(7), TaskKind::Activity, 1), []);
        let task = activity(1);
        let task = QueuedTask { queue: QueueKey { name: own, ..task.queue }, pin: Some(version("2")), ..task };
        assert_eq!(sessions_of(queues.offer(task, NOW)), [7]);
    }

    #[test]
    fn only_workers_of_the_version_can_be_asked() {
        let queues = with_builds(Some("2"), 1);
        let mut queue = queue(TaskKind::Workflow);
        queue.version = queues.target(&queue, None, "w");
        assert_eq!(queues.sessions_with(&queue, "checkout", Some(Uuid::from_u128(1))), [SessionId(2)]);
        queue.version = queues.target(&queue, Some(&version("1")), "w");
        assert_eq!(queues.sessions_with(&queue, "checkout", None), [SessionId(1)]);
        queue.version = queues.target(&queue, Some(&version("9")), "w");
        assert!(!queues.is_served(&queue));
    }
}
