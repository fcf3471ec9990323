//! The server's half of the rules: what each input costs to decide and to absorb.

use criterion::{BatchSize, Criterion};
use engine_core::execution::{Effect, Input};
use engine_sdk::ids::{EventId, SignalName};
use std::hint::black_box;

use crate::run::{Run, payload, schedule};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let mut input = |name: &str, run: &Run, input: Input| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (run.clone(), input.clone()),
                |(mut run, input)| {
                    let transition = run.execution.decide(input, run.now).expect("the input is allowed");
                    run.execution.absorb(&transition);
                    black_box((run, transition))
                },
                BatchSize::SmallInput,
            );
        });
    };

    let mut run = Run::start();
    input("start workflow task", &run, run.start_task_input());
    let task = run.take_task();
    input("complete workflow task, one activity", &run, Run::complete_task_input(task.token, vec![schedule(1)]));
    let many = (1..=1_000).map(schedule).collect();
    input("complete workflow task, 1,000 activities", &run, Run::complete_task_input(task.token, many));
    let signal = Input::Signal {
        name: SignalName::from_trusted("approve"),
        input: vec![payload()],
        identity: "client@host".to_owned(),
        request_id: None,
    };
    input("signal while the task runs", &run, signal.clone());

    let offered = run.send(Run::complete_task_input(task.token, vec![schedule(1)])).effects;
    let scheduled = activity_of(&offered);
    input("signal while idle", &run, signal);
    input("start activity", &run, Run::start_activity_input(scheduled));
    let token = run.take_activity(scheduled).token;
    input("complete activity", &run, Run::complete_activity_input(token));
    group.finish();
}

fn activity_of(effects: &[Effect]) -> EventId {
    let offered = effects.iter().find_map(|effect| match effect {
        Effect::OfferActivity { scheduled_event_id, .. } => Some(*scheduled_event_id),
        _ => None,
    });
    offered.expect("the activity is offered")
}
