//! Schedules that start something each second while their server is killed: each time starts one workflow, those that passed while there
//! was no server too, and none starts two.

use std::collections::BTreeSet;
use std::time::Duration;

use engine_e2e::checker::{self, Start};
use engine_e2e::clerk::{Clerk, Promises, QUEUE};
use engine_e2e::dice::Dice;
use engine_e2e::programs::chain;
use engine_e2e::world::World;
use engine_sdk::client::{Client, ScheduleDescription, ScheduleHandle};
use engine_sdk::prelude::*;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(150);

/// How many schedules.
const SCHEDULES: u64 = 6;
/// How many times each of them has: all of them are described.
const TIMES: u64 = 8;
/// How many kills.
const KILLS: u64 = 6;
/// Pause between two looks at a schedule, which tells nobody when it is over.
const PAUSE: Duration = millis(50);

/// Waits until it has made all its starts, and they have ended.
async fn over(schedule: &ScheduleHandle) -> ScheduleDescription {
    loop {
        let described = schedule.describe().await.unwrap();
        if described.remaining == Some(0) && described.waiting == 0 && described.running.is_empty() {
            return described;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn scene(name: &'static str, database: Database) {
    let world = World::new().unwrap();
    let mut server = database.server(&world).await;
    let _worker = world.worker(&server, "worker").unwrap();
    let client = Client::connect(&server.url()).await.unwrap();
    let mut schedules = Vec::new();
    for number in 0..SCHEDULES {
        let policy = if number % 2 == 0 { OverlapPolicy::AllowAll } else { OverlapPolicy::BufferAll };
        let schedule = client.workflow(chain).queue(QUEUE).schedule(format!("beat-{number}"));
        let made = schedule.every(seconds(1)).limit(TIMES).overlap(policy).create((1, 1));
        schedules.push(made.await.unwrap());
    }

    let mut dice = Dice::of_test(name);
    for kill in 0..KILLS {
        // Each start has an effect.
        let count = world.progress.count();
        let most = ((SCHEDULES * TIMES).saturating_sub(count) / (KILLS - kill + 1)).max(1);
        let point = (count + dice.between(0, most)).min(SCHEDULES * TIMES);
        world.progress.reach(point).await;
        server.process.kill9().await.unwrap();
        server.start_again().await.unwrap();
    }
    let mut promises = Promises::default();
    for schedule in &schedules {
        let id = schedule.schedule_id();
        let described = over(schedule).await;
        let counters = described.counters;
        assert_eq!((counters.started, counters.refused, counters.missed, counters.dropped), (TIMES, 0, 0, 0), "{id}");
        let second = |at: engine_sdk::time::Timestamp| at.as_micros().div_euclid(1_000_000);
        let nominal: Vec<i64> = described.recent.iter().map(|start| second(start.nominal)).collect();
        let first = second(described.created_at) + 1;
        let expected: Vec<i64> = (first..).take(TIMES as usize).collect();
        assert_eq!(nominal, expected, "{id}: each second from its creation on, once");
        for start in described.recent {
            let run_id = start.run_id.expect("it was not refused").to_string();
            promises.starts.push(Start { workflow_id: start.workflow_id, run_id });
        }
    }
    let ids: BTreeSet<&str> = promises.starts.iter().map(|start| start.workflow_id.as_str()).collect();
    assert_eq!(ids.len() as u64, SCHEDULES * TIMES, "each time has a workflow id of its own");
    let clerk = Clerk::new([server.url()]).unwrap();
    clerk.all_completed(&promises).await.unwrap();
    let evidence = clerk.evidence(&promises, world.ledger().unwrap()).await.unwrap();
    checker::assert_right(&evidence);
    assert_eq!(evidence.runs.len(), ids.len(), "there are no others");
    println!("{name}: {} effects of {} starts", evidence.effects.len(), ids.len());
}

#[tokio::test]
async fn each_time_of_a_schedule_starts_one_workflow_through_kills_on_sqlite() {
    tokio::time::timeout(DEADLINE, scene("schedules_sqlite", Database::Sqlite)).await.unwrap();
}

#[tokio::test]
async fn each_time_of_a_schedule_starts_one_workflow_through_kills_on_postgres() {
    tokio::time::timeout(DEADLINE, scene("schedules_postgres", Database::Postgres)).await.unwrap();
}
