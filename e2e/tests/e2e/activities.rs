//! Hundreds of standalone activities run while workers and the server are killed: each has an outcome, each result tells of an effect
//! that happened, what may run only once had one effect at most, and what was lost so is run again by one call.

use std::collections::BTreeMap;
use std::time::Duration;

use engine_e2e::clerk::QUEUE;
use engine_e2e::dice::Dice;
use engine_e2e::programs::{once, step};
use engine_e2e::world::World;
use engine_sdk::client::{ActivityHandle, Client, StandaloneFailure};
use futures::future::join_all;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(150);

/// How many activities of each kind.
const ACTIVITIES: u32 = 100;

/// How many kills.
const KILLS: u64 = 8;

/// Results by activity id and run; of what failed, nothing.
type Results = BTreeMap<(String, String), Option<String>>;

async fn results(handles: impl IntoIterator<Item = ActivityHandle<String>>) -> Results {
    let wait = |handle: ActivityHandle<String>| async move {
        let named = (handle.activity_id().to_owned(), handle.run_id().unwrap().to_string());
        match handle.result().await {
            Ok(effect) => (named, Some(effect)),
            Err(StandaloneFailure::Failed(_)) => (named, None),
            Err(failure) => panic!("{named:?}: {failure}"),
        }
    };
    join_all(handles.into_iter().map(wait)).await.into_iter().collect()
}

async fn scene(name: &'static str, database: Database) {
    let world = World::new().unwrap();
    let mut server = database.server(&world).await;
    let mut workers: Vec<_> =
        (0..2).map(|number| world.worker(&server, &format!("worker-{number}")).unwrap()).collect();
    let client = Client::connect(&server.url()).await.unwrap();
    let ids = |prefix: &str| -> Vec<String> { (0..ACTIVITIES).map(|n| format!("{prefix}-{n}")).collect() };
    let starts = |prefix| ids(prefix).into_iter().map(|id| (id, 2));
    let mut handles = client.activity(step).queue(QUEUE).start_many(starts("step")).await;
    handles.extend(client.activity(once).queue(QUEUE).start_many(starts("once")).await);
    let handles: Vec<_> = handles.into_iter().collect::<Result<_, _>>().unwrap();
    let waiting = tokio::spawn(results(handles));

    let mut dice = Dice::of_test(name);
    for kill in 0..KILLS {
        let count = world.progress.count();
        // Of those that may run only once some may be lost without an effect.
        let most = (u64::from(ACTIVITIES).saturating_sub(count) / (KILLS - kill + 1)).max(1);
        world.progress.reach(count + dice.between(0, most)).await;
        if dice.between(0, 3) == 0 {
            server.process.kill9().await.unwrap();
            server.start_again().await.unwrap();
        } else {
            let worker = usize::try_from(dice.between(0, 2)).unwrap();
            workers[worker].replace().await.unwrap();
        }
    }
    let mut outcomes = waiting.await.unwrap();
    let lost: Vec<String> =
        outcomes.iter().filter(|(_, effect)| effect.is_none()).map(|((id, _), _)| id.clone()).collect();
    assert!(lost.iter().all(|id| id.starts_with("once-")), "the others are tried again: {lost:?}");
    assert_eq!(client.count_activities("Status = 'Failed'").await.unwrap(), lost.len() as u64);

    let again = client.run_activities_again("").await.unwrap();
    assert_eq!((again.found, again.run_again), (lost.len() as u64, lost.len() as u64));
    let handles = lost.iter().map(|id| {
        let client = client.clone();
        async move {
            let handle = client.activity_handle::<once>(id);
            let run_id = handle.describe().await.unwrap().summary.run_id;
            handle.with_run_id(run_id)
        }
    });
    let repeated = results(join_all(handles).await).await;
    assert!(repeated.values().all(Option::is_some), "nothing was killed since: {repeated:?}");
    outcomes.extend(repeated);
    assert_eq!(client.count_activities("Status = 'Completed'").await.unwrap(), u64::from(2 * ACTIVITIES));
    assert_eq!(client.count_activities("Status = 'Failed' OR Status = 'Running'").await.unwrap(), 0);

    let ledger = world.ledger().unwrap();
    for ((id, run_id), effect) in &outcomes {
        let effects: Vec<_> = ledger.iter().filter(|line| line.activity_id == *id && line.run_id == *run_id).collect();
        if let Some(effect) = effect {
            assert!(effects.iter().any(|line| line.effect == *effect), "{id} tells of {effect}, which never happened");
        }
        if id.starts_with("once-") {
            assert!(effects.len() <= 1, "{id} ran twice: {effects:?}");
        }
    }
    println!("{name}: {} effects, {} lost and run again", ledger.len(), lost.len());
}

#[tokio::test]
async fn activities_without_workflows_survive_kills_on_sqlite() {
    tokio::time::timeout(DEADLINE, scene("activities_sqlite", Database::Sqlite)).await.unwrap();
}

#[tokio::test]
async fn activities_without_workflows_survive_kills_on_postgres() {
    tokio::time::timeout(DEADLINE, scene("activities_postgres", Database::Postgres)).await.unwrap();
}
