//! The stream between server and worker: what a message of one task, or of 64 at once, costs on either side.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine_proto::convert::{command_from_proto, encode_event};
use engine_proto::token::WorkflowTaskToken;
use engine_proto::{EncodedHistory, v1};
use engine_sdk::ids::WorkflowId;
use prost::Message;
use std::hint::black_box;

use crate::run::{Run, payload, schedule_message};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut run = Run::after_steps(1);
    let seen = run.history.len();
    let task = run.take_task();
    let token = WorkflowTaskToken {
        namespace_id: 1,
        workflow_id: WorkflowId::from_trusted("order-4711"),
        run_id: run.execution.started().run_id,
        task: task.token,
    };
    let mut events: Vec<Bytes> = run.history[seen - 3..].iter().map(encode_event).collect();
    events.extend(task.events.iter().map(encode_event));
    let workflow_task = v1::WorkflowTask {
        token: token.encode().to_vec(),
        workflow_id: "order-4711".to_owned(),
        run_id: token.run_id.to_string(),
        workflow_type: "sequence".to_owned(),
        task_queue: "bench".to_owned(),
        attempt: 1,
        first_event_id: seen as u64 - 2,
        history: Some(EncodedHistory { events }),
        start_to_close: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..v1::WorkflowTask::default()
    };
    let completed = v1::task_result::Result::WorkflowTaskCompleted(v1::WorkflowTaskCompletion {
        token: token.encode().to_vec(),
        commands: vec![schedule_message(2)],
        cached: true,
        ..v1::WorkflowTaskCompletion::default()
    });
    let activity = v1::task_result::Result::ActivityCompleted(v1::ActivityTaskCompletion {
        token: token.encode().to_vec(),
        result: Some(engine_proto::convert::payload_to_proto(&payload())),
    });

    let mut group = criterion.benchmark_group("session");
    for tasks in [1_usize, 64] {
        group.throughput(Throughput::Elements(tasks as u64));
        let down = v1::ServerMessage { workflow_tasks: vec![workflow_task.clone(); tasks], ..Default::default() };
        let bytes = Bytes::from(down.encode_to_vec());
        group.bench_function(BenchmarkId::new("encode workflow tasks", tasks), |bencher| {
            bencher.iter(|| black_box(down.encode_to_vec()));
        });
        group.bench_function(BenchmarkId::new("decode workflow tasks", tasks), |bencher| {
            bencher.iter(|| black_box(v1::ServerMessage::decode(bytes.clone())));
        });
        for (name, result) in [("workflow task results", &completed), ("activity results", &activity)] {
            let results = (1..=tasks as u64)
                .map(|result_id| v1::TaskResult { result_id, result: Some(result.clone()) })
                .collect();
            let up = v1::WorkerMessage { results, ..Default::default() };
            let bytes = Bytes::from(up.encode_to_vec());
            group.bench_function(BenchmarkId::new(format!("encode {name}"), tasks), |bencher| {
                bencher.iter(|| black_box(up.encode_to_vec()));
            });
            group.bench_function(BenchmarkId::new(format!("decode {name}"), tasks), |bencher| {
                bencher.iter(|| black_box(v1::WorkerMessage::decode(bytes.clone())));
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("convert");
    group.bench_function("workflow task token, there and back", |bencher| {
        bencher.iter(|| black_box(WorkflowTaskToken::decode(&token.encode())));
    });
    group.bench_function("command from message", |bencher| {
        let message = schedule_message(2);
        bencher.iter(|| black_box(command_from_proto(message.clone())));
    });
    group.finish();
}
