//! Restarts and stops that were asked for, or that workers survive: nothing is lost and nothing is done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use engine_e2e::checker;
use engine_e2e::clerk::{Clerk, Kind};
use engine_e2e::world::{Server, ServerSettings, World};
use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use serde_json::json;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(120);

/// Events that tell of a second attempt.
fn repeated(evidence: &checker::Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for run in &evidence.runs {
        for event in &run.events {
            let attempt = match event.attributes.as_ref() {
                Some(Attributes::ActivityStarted(started)) => started.attempt,
                Some(Attributes::WorkflowTaskScheduled(scheduled)) => scheduled.attempt,
                _ => 1,
            };
            if attempt > 1 {
                found.push(format!("{}: {event:?}", run.workflow_id));
            }
        }
    }
    found
}

/// With the graces that users have by default.
async fn patient_server(database: Database, world: &World) -> Server {
    let settings = ServerSettings::new(&database.url(world).await, "one").unwrap();
    Server::start(settings.flag("--recovery-grace", "5s").flag("--activity-grace", "5s")).await.unwrap()
}

async fn a_server_that_is_asked_to_stop(database: Database) {
    let world = World::new().unwrap();
    let mut server = patient_server(database, &world).await;
    let _workers = [world.worker(&server, "worker-0").unwrap(), world.worker(&server, "worker-1").unwrap()];
    let clerk = Clerk::new([server.url()]).unwrap();
    let placing = tokio::spawn({
        let clerk = clerk.clone();
        async move { clerk.place("stopped", 90, &Kind::SMOOTH).await }
    });
    for point in [60, 160] {
        world.progress.reach(point).await;
        server.stop().await.unwrap();
        server.start_again().await.unwrap();
    }
    let promises = placing.await.unwrap().unwrap();
    let evidence = world.settle(&clerk, &promises).await.unwrap();
    // An activity that waited for a worker may count the restart as an attempt: the next server cannot know that nobody had it.
    let done: BTreeSet<_> = evidence.effects.iter().map(|effect| (&effect.run_id, &effect.activity_id)).collect();
    assert_eq!(done.len(), evidence.effects.len(), "nothing was done twice");
    let failed = |event: &&v1::HistoryEvent| matches!(event.attributes, Some(Attributes::ActivityFailed(_)));
    let failed: Vec<_> = evidence.runs.iter().flat_map(|run| &run.events).filter(failed).collect();
    assert!(failed.is_empty(), "what may be tried only once was not given up: {failed:?}");
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_loses_and_repeats_nothing_on_sqlite() {
    tokio::time::timeout(DEADLINE, a_server_that_is_asked_to_stop(Database::Sqlite)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_loses_and_repeats_nothing_on_postgres() {
    tokio::time::timeout(DEADLINE, a_server_that_is_asked_to_stop(Database::Postgres)).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_ends_what_it_has() {
    let work = async {
        let world = World::new().unwrap();
        let server = patient_server(Database::Sqlite, &world).await;
        let mut leaving = world.worker(&server, "leaving").unwrap();
        let clerk = Clerk::new([server.url()]).unwrap();
        let placing = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.place("left", 60, &Kind::SMOOTH).await }
        });
        world.progress.reach(40).await;
        let _staying = world.worker(&server, "staying").unwrap();
        leaving.stop().await.unwrap();
        let promises = placing.await.unwrap().unwrap();
        let evidence = world.settle(&clerk, &promises).await.unwrap();
        assert_eq!(repeated(&evidence), Vec::<String>::new(), "nothing was done twice");
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap();
}

async fn work_in_hand(database: Database) {
    let world = World::new().unwrap();
    let mut server = patient_server(database, &world).await;
    let _worker = world.worker(&server, "worker").unwrap();
    let clerk = Clerk::new([server.url()]).unwrap();
    let gate = world.gate().unwrap();
    let start = clerk.start("held", "gates", &[json!(gate.path())]).await.unwrap();
    let (one, two) = (gate.arrival().await.unwrap(), gate.arrival().await.unwrap());

    server.process.kill9().await.unwrap();
    server.start_again().await.unwrap();
    // The worker has claimed both, among them the one that must never run twice.
    let claimed = |description: &v1::DescribeWorkflowResponse| {
        let activities = &description.pending_activities;
        let has = activities.iter().all(|activity| activity.state() == v1::PendingTaskState::Started);
        (activities.len() == 2 && has).then_some(())
    };
    clerk.see(&start, claimed).await.unwrap();
    one.let_pass().await.unwrap();
    two.let_pass().await.unwrap();

    let promises = engine_e2e::clerk::Promises { starts: vec![start], signals: vec![] };
    let evidence = world.settle(&clerk, &promises).await.unwrap();
    assert_eq!(repeated(&evidence), Vec::<String>::new());
    assert_eq!(evidence.effects.len(), 2);
}

#[tokio::test]
async fn work_in_hand_survives_the_kill_of_the_server_on_sqlite() {
    tokio::time::timeout(DEADLINE, work_in_hand(Database::Sqlite)).await.unwrap();
}

#[tokio::test]
async fn work_in_hand_survives_the_kill_of_the_server_on_postgres() {
    tokio::time::timeout(DEADLINE, work_in_hand(Database::Postgres)).await.unwrap();
}

#[tokio::test]
async fn what_nobody_claims_after_a_restart_runs_again_unless_it_must_not() {
    let work = async {
        let world = World::new().unwrap();
        let mut server = Database::Sqlite.server(&world).await;
        let mut worker = world.worker(&server, "worker").unwrap();
        let clerk = Clerk::new([server.url()]).unwrap();
        let gate = world.gate().unwrap();
        let start = clerk.start("abandoned", "gates", &[json!(gate.path())]).await.unwrap();
        let _lost = (gate.arrival().await.unwrap(), gate.arrival().await.unwrap());
        worker.process.kill9().await.unwrap();
        server.process.kill9().await.unwrap();
        server.start_again().await.unwrap();
        worker.start_again().unwrap();
        gate.arrival().await.unwrap().let_pass().await.unwrap();
        assert_eq!(clerk.closed(&start).await.unwrap(), v1::WorkflowStatus::Failed, "one activity may not be repeated");
        let promises = engine_e2e::clerk::Promises { starts: vec![start], signals: vec![] };
        let evidence = clerk.evidence(&promises, world.ledger().unwrap()).await.unwrap();
        checker::assert_right(&evidence);
        let attempts: Vec<u32> = evidence.effects.iter().map(|effect| effect.attempt).collect();
        assert_eq!(attempts, [2]);
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap();
}

#[tokio::test]
async fn five_activities_and_five_workers_meet_one_to_one() {
    let work = async {
        let world = World::new().unwrap();
        let server = Database::Sqlite.server(&world).await;
        let clerk = Clerk::new([server.url()]).unwrap();
        let gate = world.gate().unwrap();
        let mut workers = Vec::new();
        for number in 1..=5 {
            workers.push(world.worker(&server, &format!("worker-{number}")).unwrap());
        }
        // Each worker is there when it holds a task: five runs with two held activities each show all five.
        let mut held = Vec::new();
        for number in 1..=5 {
            clerk.start(&format!("warm-{number}"), "gates", &[json!(gate.path())]).await.unwrap();
        }
        for _ in 0..10 {
            held.push(gate.arrival().await.unwrap());
        }
        for waiting in held {
            waiting.let_pass().await.unwrap();
        }
        world.progress.reach(10).await;

        let start = clerk.start("five", "fan_out", &[json!(5), json!(200)]).await.unwrap();
        clerk.closed(&start).await.unwrap();
        let effects = world.ledger().unwrap();
        let workers: BTreeSet<u32> =
            effects.iter().filter(|effect| effect.workflow_id == "five").map(|effect| effect.pid).collect();
        assert_eq!(workers.len(), 5, "{effects:?}");
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap();
}
