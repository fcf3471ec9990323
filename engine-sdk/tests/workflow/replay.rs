//! Workflow code over its history: replays, differences, time and chance, silence.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use engine_core::replay::FLAG_MATCH_IDS;
use engine_sdk::prelude::*;
use engine_sdk::workflow::{AdvanceError, WorkflowRun, erase};

use crate::{Scene, replay};

#[activity]
async fn charge_card(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[activity]
async fn check_stock(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow(name = "checkout")]
async fn checkout(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let charge = ctx.run(charge_card, 5).start();
    let (paid, ()) = join!(charge, ctx.sleep(minutes(1)));
    Ok(paid?)
}

const CHANGED: u32 = line!();

#[workflow(name = "checkout")]
async fn checkout_changed(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    ctx.run(check_stock, ()).start().detach();
    let charge = ctx.run(charge_card, 5).start();
    let (paid, ()) = join!(charge, ctx.sleep(minutes(2)));
    Ok(paid?)
}

#[test]
fn changed_code_fails_its_task_with_the_aligned_difference() {
    let mut scene = Scene::new(checkout, &[]);
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[0], "5");
    let events = scene.history.task();
    scene.run.advance(events).unwrap();
    let Err(AdvanceError::TaskFailed(error)) = replay(checkout_changed, scene.history.events.clone()) else {
        panic!("the changed code follows the history");
    };
    assert_eq!(error.cause, engine_core::event::WorkflowTaskFailureCause::Nondeterminism);
    let here = file!();
    assert_eq!(
        error.failure.message,
        format!(
            "the workflow code does not follow its history: at event 5 the history has ScheduleActivity charge_card (id 1), \
but the code asked for ScheduleActivity check_stock (id 1) at {here}:{}
commands of the workflow task completed at event 4:
   event  history                              code
>         -                                    ScheduleActivity check_stock (id 1)  {here}:{}
       5  ScheduleActivity charge_card (id 1)  ScheduleActivity charge_card (id 2)  {here}:{}
       6  StartTimer (id 1)                    StartTimer (id 1)  {here}:{}",
            CHANGED + 4,
            CHANGED + 4,
            CHANGED + 5,
            CHANGED + 6,
        )
    );
}

#[test]
fn a_closed_history_is_replayed_and_checked_to_its_end() {
    let mut scene = Scene::new(checkout, &[]);
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[0], "5");
    scene.history.timer_fired(ids[1]);
    assert_eq!(scene.steps(), ["complete 5"]);
    let advance = replay(checkout, scene.history.events.clone()).unwrap();
    assert!(advance.closed && advance.commands.is_empty());
    assert!(matches!(replay(checkout_changed, scene.history.events.clone()), Err(AdvanceError::TaskFailed(_))));
}

#[test]
fn a_run_takes_only_events_that_continue() {
    let mut scene = Scene::new(checkout, &[]);
    let first = scene.history.task();
    let advance = scene.run.advance(first.clone()).unwrap();
    assert_eq!(advance.new_flags, [FLAG_MATCH_IDS]);
    assert_eq!(scene.run.last_event_id().0, 3);
    assert!(scene.run.memory_size() > 2048);
    assert!(matches!(scene.run.advance(first), Err(AdvanceError::OutOfStep { .. })), "the same task again");
    let ids = scene.history.complete(&advance.commands);
    scene.history.activity_completed(ids[0], "5");
    let mut gap = scene.history.task();
    gap.remove(0);
    assert!(matches!(scene.run.advance(gap), Err(AdvanceError::OutOfStep { .. })));
    let advance = scene.replay().unwrap();
    assert_eq!((advance.commands, advance.new_flags), (vec![], vec![]), "the flag is recorded already");
}

#[workflow]
async fn chance(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let since = ctx.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(ctx.random_f64() < 1.0);
        let range = ctx.random_range(10..20);
        assert!((10..20).contains(&range));
        let info = ctx.info();
        seen.push(format!("{since} {} {} {range} {}", ctx.random_u64(), ctx.uuid(), info.history_length));
        ctx.sleep(seconds(1)).await;
    }
    assert_eq!(ctx.info().workflow_id.as_str(), "order-42");
    Ok(seen)
}

#[test]
fn time_and_chance_are_the_same_in_a_replay() {
    let mut scene = Scene::new(chance, &[]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    // The scene compares the result with that of a replay.
    let steps = scene.steps();
    let values: Vec<String> = serde_json::from_str(steps[0].strip_prefix("complete ").unwrap()).unwrap();
    let words: Vec<Vec<&str>> = values.iter().map(|value| value.split(' ').collect()).collect();
    assert_eq!((words[0][0], words[1][0]), ("3", "8"), "the clock is the task's start");
    assert_eq!((words[0][4], words[1][4]), ("3", "8"));
    assert_ne!(words[0][1], words[1][1]);
    assert_ne!(words[0][2], words[1][2]);
    assert_eq!(words[0][2].as_bytes()[14], b'4', "a version 4 UUID");
}

#[workflow]
async fn talkative(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    tracing::info!("one");
    ctx.sleep(seconds(1)).await;
    tracing::info!("two");
    ctx.sleep(seconds(1)).await;
    Ok(())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn tracing_is_silent_during_replay() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_target(false)
        .with_ansi(false);
    let logged = || String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
    tracing::subscriber::with_default(subscriber.finish(), || {
        let mut scene = Scene::new(talkative, &[]);
        let events = scene.history.task();
        let commands = scene.run.advance(events).unwrap().commands;
        assert_eq!(logged(), " INFO one\n");
        let ids = scene.history.complete(&commands);
        scene.history.timer_fired(ids[0]);
        scene.history.task();
        replay(talkative, scene.history.events.clone()).unwrap();
        assert_eq!(logged(), " INFO two\n", "the replayed line is not heard again");
    });
}

#[test]
fn runs_are_sent_between_threads() {
    fn check<T: Send>(_: &T) {}
    let mut run = WorkflowRun::new(erase(checkout));
    check(&run);
    let mut history = crate::history::History::new(&[]);
    let commands = run.advance(history.task()).unwrap().commands;
    let ids = history.complete(&commands);
    history.activity_completed(ids[0], "5");
    history.timer_fired(ids[1]);
    let events = history.task();
    let advance = std::thread::spawn(move || run.advance(events)).join().unwrap().unwrap();
    assert!(advance.closed);
    assert_eq!(Duration::from_secs(60), minutes(1));
}
