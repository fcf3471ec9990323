//! Task queues: a task that meets a waiting worker, and a backlog that is worked off.

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use engine_sdk::ids::{EventId, RunId};
use engine_sdk::time::Timestamp;
use engine_server::queue::{QueueKey, QueuedTask, SessionId, SessionSpec, TaskId, TaskKind, TaskQueues};
use engine_server::store::{NamespaceId, ShardId};
use std::hint::black_box;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    for sessions in [1, 100] {
        let mut queues = with_sessions(sessions);
        for id in 1..=sessions {
            queues.grant(SessionId(id), TaskKind::Activity, 1_000_000_000);
            queues.grant(SessionId(id), TaskKind::Workflow, 1_000_000_000);
        }
        let activity = task(1, TaskKind::Activity, None);
        group.bench_function(BenchmarkId::new("offer, sessions with credits", sessions), |bencher| {
            bencher.iter(|| black_box(queues.offer(activity.clone(), NOW)));
        });
        let sticky = task(1, TaskKind::Workflow, Some(Uuid::from_u128(1)));
        group.bench_function(BenchmarkId::new("offer to the run's own session", sessions), |bencher| {
            bencher.iter(|| black_box(queues.offer(sticky.clone(), NOW)));
        });
    }
    for backlog in [100, 10_000] {
        group.throughput(Throughput::Elements(backlog));
        group.bench_function(BenchmarkId::new("offer, then grant one by one", backlog), |bencher| {
            let tasks: Vec<_> = (1..=backlog).map(|number| task(number, TaskKind::Activity, None)).collect();
            bencher.iter_batched(
                || (with_sessions(1), tasks.clone()),
                |(mut queues, tasks)| {
                    for task in tasks {
                        queues.offer(task, NOW);
                    }
                    let pushes: usize =
                        (0..backlog).map(|_| queues.grant(SessionId(1), TaskKind::Activity, 1).len()).sum();
                    assert_eq!((pushes as u64, queues.waiting()), (backlog, 0));
                    queues
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn with_sessions(sessions: u64) -> TaskQueues {
    let mut queues = TaskQueues::default();
    for id in 1..=sessions {
        let spec = SessionSpec {
            worker_id: Uuid::from_u128(u128::from(id)),
            namespace: NamespaceId(1),
            queues: vec![Arc::from("bench")],
            version: None,
            own_queues: Default::default(),
            workflow_types: ["sequence".to_owned()].into(),
            activity_types: ["echo".to_owned()].into(),
            any_workflow_type: false,
            any_activity_type: false,
        };
        queues.open_session(SessionId(id), spec);
    }
    queues
}

fn task(number: u64, kind: TaskKind, preferred_worker: Option<Uuid>) -> QueuedTask {
    let activity = if kind == TaskKind::Activity { EventId(5) } else { EventId::NONE };
    let type_name = if kind == TaskKind::Activity { "echo" } else { "sequence" };
    QueuedTask {
        id: TaskId { run_id: RunId::from_uuid(Uuid::from_u128(u128::from(number))), activity },
        shard: ShardId(1),
        namespace: NamespaceId(1),
        workflow_id: Arc::from("order-4711"),
        attempt: 1,
        type_name: Arc::from(type_name),
        queue: QueueKey { namespace: NamespaceId(1), name: Arc::from("bench"), kind, version: None },
        preferred_worker,
        pin: None,
    }
}
