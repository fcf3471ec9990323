//! The worker's half: a history walked by the replayer alone, by the SDK with real workflow code, and from its bytes on.

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use engine_core::event::Event;
use engine_core::replay::{Handle, Outcome, Replayer};
use engine_proto::convert::{encode_event, event_for_replay};
use engine_sdk::definition::Activity as _;
use engine_sdk::ids::ActivityType;
use engine_sdk::prelude::*;
use engine_sdk::workflow::{ErasedWorkflow, WorkflowRun, erase};

use crate::run::{ACTIVITY_TYPE, Run, WORKFLOW_TYPE, schedule};

/// One step, as the histories have it. Never run: it is answered from the history.
#[activity(start_to_close = "10s")]
async fn echo(_ctx: ActivityContext, text: String) -> Result<String, ActivityError> {
    Ok(text)
}

/// The code of the histories: one activity after another, for ever.
#[workflow]
async fn sequence(ctx: WorkflowContext, text: String) -> Result<String, WorkflowError> {
    let mut last = text;
    loop {
        last = ctx.run(echo, last).await?;
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let workflow = erase(sequence);
    assert_eq!((workflow.name(), echo::NAME), (WORKFLOW_TYPE, ACTIVITY_TYPE));
    for events in [1_000, 10_000, 50_000] {
        let history = Run::history_for_worker(events);
        let encoded: Vec<_> = history.iter().map(encode_event).collect();
        let length = Throughput::Elements(history.len() as u64);

        let mut group = criterion.benchmark_group("replay: Replayer alone");
        group.throughput(length.clone());
        group.bench_with_input(BenchmarkId::from_parameter(events), &history, |bencher, history| {
            bencher.iter_batched(|| history.clone(), walk, BatchSize::LargeInput);
        });
        group.finish();

        let mut group = criterion.benchmark_group("replay: workflow code");
        group.throughput(length.clone());
        group.bench_with_input(BenchmarkId::from_parameter(events), &history, |bencher, history| {
            bencher.iter_batched(|| history.clone(), |history| run(&workflow, history), BatchSize::LargeInput);
        });
        group.finish();

        let mut group = criterion.benchmark_group("replay: bytes to workflow code");
        group.throughput(length);
        group.bench_with_input(BenchmarkId::from_parameter(events), &encoded, |bencher, encoded| {
            bencher.iter(|| {
                let decode = |bytes: &bytes::Bytes| event_for_replay(bytes.clone()).expect("it was just encoded");
                run(&workflow, encoded.iter().map(decode).collect())
            });
        });
        group.finish();
    }
}

/// Follows a history as the code of `sequence` would, with nothing around the replayer.
fn walk(history: Vec<Event>) -> Replayer {
    let mut replayer = Replayer::new();
    replayer.feed(history).expect("the history begins with its first event");
    let mut number = 0;
    let issue = |replayer: &mut Replayer, number: &mut u64| -> Handle {
        *number += 1;
        let next = *number;
        let activity_type = ActivityType::from_trusted(ACTIVITY_TYPE);
        replayer.schedule_activity(None, activity_type, |_, _| match schedule(next) {
            engine_core::command::Command::ScheduleActivity(command) => *command,
            other => panic!("it schedules an activity: {other:?}"),
        })
    };
    while let Some(activation) = replayer.next_activation().expect("the history is one of ours") {
        if activation.outcomes.is_empty() {
            issue(&mut replayer, &mut number);
        }
        for outcome in activation.outcomes {
            let Outcome::Resolved(handle) = outcome else { panic!("only activities end here: {outcome:?}") };
            replayer.take_resolution(handle).expect("it was just resolved");
            issue(&mut replayer, &mut number);
        }
        replayer.finish_activation().expect("the code follows the history");
    }
    replayer
}

/// Replays a history with the SDK and the code of `sequence`.
fn run(workflow: &Arc<dyn ErasedWorkflow>, history: Vec<Event>) -> WorkflowRun {
    let mut run = WorkflowRun::new(Arc::clone(workflow));
    let advance = run.advance(history).expect("the code follows the history");
    assert_eq!(advance.commands.len(), 1, "it goes on with the next activity");
    run
}
