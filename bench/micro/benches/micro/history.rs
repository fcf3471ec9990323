//! Histories: encoding an event once, reading it back, and the server's replay of a run that it loads.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use engine_core::execution::Execution;
use engine_proto::EncodedHistory;
use engine_proto::convert::{encode_event, event_for_replay, event_from_proto};
use engine_proto::v1;
use prost::Message;
use std::hint::black_box;

use crate::run::Run;

pub(crate) fn benches(criterion: &mut Criterion) {
    let run = Run::after_steps(100);
    let encoded: Vec<_> = run.history.iter().map(encode_event).collect();
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Elements(run.history.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| run.history.iter().for_each(|event| drop(black_box(encode_event(event)))));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for bytes in &encoded {
                let message = v1::HistoryEvent::decode(bytes.clone()).expect("it was just encoded");
                drop(black_box(event_from_proto(message)));
            }
        });
    });
    group.bench_function("decode for replay", |bencher| {
        bencher.iter(|| encoded.iter().for_each(|event| drop(black_box(event_for_replay(event.clone())))));
    });
    let row = EncodedHistory { events: encoded.clone() };
    let bytes = bytes::Bytes::from(row.encode_to_vec());
    group.bench_function("split a row", |bencher| {
        bencher.iter(|| black_box(EncodedHistory::decode(bytes.clone())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("Execution::replay");
    for events in [1_000, 10_000, 50_000] {
        let history = Run::after_steps(events / 6).history;
        group.throughput(Throughput::Elements(history.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(events), &history, |bencher, history| {
            bencher.iter_batched(|| history.clone(), Execution::replay, BatchSize::LargeInput);
        });
    }
    group.finish();
}
