//! Two servers on one database: one stands still past its lease, the other takes over, and the first, when it goes on, may not
//! write any more.

use std::time::Duration;

use engine_e2e::clerk::{Clerk, Kind, Promises};
use engine_e2e::world::{Server, ServerSettings, World};
use engine_testkit::postgres::{fresh_database, shared_cluster};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(120);

struct Pair {
    world: World,
    first: Server,
    second: Server,
}

impl Pair {
    /// The first server has all shards: it was there before the second.
    async fn start() -> Pair {
        let world = World::new().unwrap();
        let url = fresh_database(shared_cluster().await.unwrap().url()).await.unwrap();
        let settings = |name| ServerSettings::new(&url, name).unwrap().flag("--lease", "2s");
        let first = Server::start(settings("first")).await.unwrap();
        let second = Server::start(settings("second")).await.unwrap();
        Pair { world, first, second }
    }
}

#[tokio::test]
async fn a_server_that_stood_still_past_its_lease_is_fenced() {
    let work = async {
        let Pair { world, first, second } = Pair::start().await;
        let _workers = [world.worker(&first, "at-first").unwrap(), world.worker(&second, "at-second").unwrap()];
        // Asks whichever server answers.
        let clerk = Clerk::new([first.url(), second.url()]).unwrap();
        let placing = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.place("pair", 160, &Kind::ALL).await }
        });
        let mut others = Vec::new();
        // To and fro: each owner stands still in the middle of its work, and the other takes over what it had taken over.
        for (round, (still, heir)) in [(&first, &second), (&second, &first), (&first, &second)].into_iter().enumerate()
        {
            world.progress.reach(100 * (round as u64 + 1)).await;
            still.process.signal("STOP").await.unwrap();
            // The heir has the shards when it acknowledges a start.
            let at_heir = Clerk::new([heir.url()]).unwrap();
            let workflow_id = format!("while-still-{round}");
            others.push(at_heir.start(&workflow_id, "chain", &[json!(2), json!(1)]).await.unwrap());
            still.process.signal("CONT").await.unwrap();
        }
        let mut promises = placing.await.unwrap().unwrap();
        promises.starts.extend(others);
        world.settle(&clerk, &promises).await.unwrap();
    };
    tokio::time::timeout(DEADLINE, work).await.expect("all workflows complete in the end");
}

#[tokio::test]
async fn a_server_that_died_is_replaced_when_its_lease_is_over() {
    let work = async {
        let Pair { world, mut first, second } = Pair::start().await;
        let _workers = [world.worker(&first, "at-first").unwrap(), world.worker(&second, "at-second").unwrap()];
        let clerk = Clerk::new([first.url(), second.url()]).unwrap();
        let placing = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.place("heir", 90, &Kind::ALL).await }
        });
        world.progress.reach(80).await;
        first.process.kill9().await.unwrap();
        let promises: Promises = placing.await.unwrap().unwrap();
        let at_second = Clerk::new([second.url()]).unwrap();
        world.settle(&at_second, &promises).await.unwrap();
    };
    tokio::time::timeout(DEADLINE, work).await.expect("all workflows complete in the end");
}
