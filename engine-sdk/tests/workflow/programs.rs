//! Random programs over random histories: a worker that keeps the run in its cache and one that replays it from scratch must ask
//! for the same at every step, whatever the code combines and in whatever order things end.

use std::collections::BTreeMap;

use engine_core::command::Command;
use engine_core::failure::RetryState;
use engine_core::ids::{EventId, mix};
use engine_sdk::prelude::*;
use engine_sdk::workflow::{WorkflowRun, erase};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::Scene;

/// A sequence of choices that a seed stands for.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % sides
    }
}

#[activity]
async fn work(_ctx: ActivityContext, number: u64) -> Result<u64, ActivityError> {
    Ok(number)
}

#[workflow]
async fn program(ctx: WorkflowContext, seed: u64) -> Result<Vec<String>, WorkflowError> {
    let mut dice = Dice(seed);
    let mut log = Vec::new();
    let mut numbers = ctx.signal_channel::<u64>("number");
    let mut running: Vec<ActivityFuture<u64>> = Vec::new();
    for number in 0..12 {
        let many = dice.roll(5) + 2;
        let line = match dice.roll(13) {
            0 => format!("{:?}", ctx.run(work, number).await),
            1 => format!("slept {:?}", ctx.sleep(seconds(number)).await),
            2 => format!("{:?}", join_all((0..many).map(|n| ctx.run(work, n))).await),
            3 => format!("{:?}", race((0..many).map(|n| ctx.run(work, n))).await),
            4 => select! {
                signal = numbers.recv() => format!("signal {signal}"),
                _ = ctx.sleep(seconds(1)) => {
                    let waiting = numbers.len();
                    format!("no signal, {waiting} {:?}", ctx.run(work, 1).await)
                }
            },
            5 => {
                running.extend((0..many).map(|n| ctx.run(work, n).start()));
                "started".to_owned()
            }
            6 => {
                running.truncate(1);
                "dropped".to_owned()
            }
            7 => match running.pop() {
                Some(mut future) => {
                    future.cancel();
                    format!("canceled {:?}", future.await)
                }
                None => "nothing to cancel".to_owned(),
            },
            8 => format!("{:?}", ctx.timeout(seconds(5), ctx.run(work, number)).await),
            9 => {
                let mut some: FuturesUnordered<BoxFuture<'_, String>> = FuturesUnordered::new();
                for n in 0..many {
                    some.push(if n % 2 == 0 {
                        ctx.run(work, n).map(|result| format!("{result:?}")).boxed()
                    } else {
                        ctx.sleep(seconds(n)).map(|()| "timer".to_owned()).boxed()
                    });
                }
                format!("{:?} {:?}", some.next().await, some.next().await)
            }
            10 => match running.pop() {
                Some(future) => format!("{:?}", future.await),
                None => "nothing runs".to_owned(),
            },
            11 => {
                format!("{:?} {}", ctx.timeout(seconds(3), ctx.wait_until(|| numbers.len() > 1)).await, numbers.len())
            }
            _ => format!("{:?}", join_all_limited(2, (0..many).map(|n| ctx.run(work, n))).await),
        };
        log.push(format!("{line} {} {:?}", ctx.random_range(0..100), ctx.now()));
    }
    if let Some(future) = running.pop() {
        future.detach();
    }
    Ok(log)
}

/// What the world still has to end.
#[derive(Default)]
struct World {
    activities: BTreeMap<String, (EventId, bool)>,
    timers: BTreeMap<String, EventId>,
}

impl World {
    fn note(&mut self, commands: &[Command], ids: &[EventId]) -> bool {
        for (command, id) in commands.iter().zip(ids) {
            match command {
                Command::ScheduleActivity(scheduled) => {
                    self.activities.insert(scheduled.activity_id.to_string(), (*id, false));
                }
                Command::RequestCancelActivity { activity_id } => {
                    self.activities.get_mut(activity_id.as_str()).expect("only open activities are canceled").1 = true;
                }
                Command::StartTimer { timer_id, .. } => {
                    self.timers.insert(timer_id.to_string(), *id);
                }
                Command::CancelTimer { timer_id } => {
                    self.timers.remove(timer_id.as_str()).expect("only open timers are canceled");
                }
                Command::PublishState { .. } | Command::AcceptUpdate(_) | Command::CompleteUpdate { .. } => {}
                Command::RecordMarker(_) | Command::UpsertSearchAttributes { .. } | Command::ModifyProperties(_) => {}
                Command::CompleteWorkflow { .. }
                | Command::FailWorkflow { .. }
                | Command::CancelWorkflow { .. }
                | Command::ContinueAsNew(_) => return true,
                Command::Peer(_) => {}
            }
        }
        false
    }

    /// Lets something happen.
    fn turn<W>(&mut self, dice: &mut Dice, scene: &mut Scene<W>) {
        let open = (self.activities.len() + self.timers.len()) as u64;
        let choice = dice.roll(open + 1);
        if choice == open {
            scene.history.signal("number", "5");
        } else if let Some(name) = self.timers.keys().nth(choice as usize).cloned() {
            let id = self.timers.remove(&name).expect("it was found");
            scene.history.timer_fired(id);
        } else {
            let position = choice as usize - self.timers.len();
            let name = self.activities.keys().nth(position).cloned().expect("there are that many");
            let (id, cancel_requested) = self.activities.remove(&name).expect("it was found");
            match dice.roll(4) {
                0 => {
                    let failure = ActivityError::retryable("no luck").into_failure();
                    scene.history.activity_failed(id, failure, RetryState::MaximumAttemptsReached);
                }
                1 | 2 if cancel_requested => scene.history.activity_canceled(id),
                _ => scene.history.activity_completed(id, "1"),
            }
        }
    }
}

#[test]
fn cached_and_replayed_runs_of_random_programs_agree_at_every_step() {
    let mut tasks = 0;
    for seed in 0..300_u64 {
        let input: &'static str = Box::leak(seed.to_string().into_boxed_str());
        let mut scene = Scene::new(program, &[input]);
        let mut dice = Dice(mix(seed));
        let mut world = World::default();
        loop {
            if dice.roll(6) == 0 {
                // A task that fails leaves a worker's copy of the run ahead of the history: it begins again.
                scene.history.task();
                scene.history.task_failed();
                world.turn(&mut dice, &mut scene);
                scene.history.forget_what_was_seen();
                scene.run = WorkflowRun::new(erase(program));
            }
            // The scene compares with a replay.
            let (commands, ids) = scene.task();
            tasks += 1;
            if world.note(&commands, &ids) {
                break;
            }
            for _ in 0..=dice.roll(3) {
                world.turn(&mut dice, &mut scene);
            }
        }
        let whole = crate::replay(program, scene.history.events.clone()).expect("the closed history is followed");
        assert!(whole.closed, "seed {seed}");
    }
    assert!(tasks > 3000, "the programs are too short to mean much: {tasks} tasks");
}
