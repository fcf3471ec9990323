//! Hundreds of workflows run while workers, the server and the database are killed at points that chance chooses: all complete,
//! and what is left breaks no rule.

use std::time::Duration;

use engine_e2e::checker::{Start, read};
use engine_e2e::clerk::{Clerk, Kind, NAMESPACE, Promises};
use engine_e2e::dice::Dice;
use engine_e2e::world::{Server, ServerSettings, Worker, World};
use engine_proto::v1;
use engine_testkit::postgres::{PostgresCluster, fresh_database};
use tokio::task::JoinHandle;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(150);

/// How many workers serve the queue.
const WORKERS: usize = 2;

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Server,
    Postgres,
}

struct Scene {
    name: &'static str,
    world: World,
    dice: Dice,
    server: Server,
    workers: Vec<Worker>,
    clerk: Clerk,
    /// The cluster, if it may be killed.
    cluster: Option<PostgresCluster>,
}

impl Scene {
    async fn new(name: &'static str, database: Database) -> Scene {
        let world = World::new().unwrap();
        let server = database.server(&world).await;
        Self::over(name, world, server, None)
    }

    /// On a cluster of its own, which may be killed.
    async fn with_mortal_postgres(name: &'static str) -> Scene {
        let cluster = PostgresCluster::start().await.unwrap();
        let url = fresh_database(&cluster.url()).await.unwrap();
        let server = Server::start(ServerSettings::new(&url, "one").unwrap()).await.unwrap();
        Self::over(name, World::new().unwrap(), server, Some(cluster))
    }

    fn over(name: &'static str, world: World, server: Server, cluster: Option<PostgresCluster>) -> Scene {
        let workers = (0..WORKERS).map(|number| world.worker(&server, &format!("worker-{number}")).unwrap()).collect();
        let clerk = Clerk::new([server.url()]).unwrap();
        Scene { name, world, dice: Dice::of_test(name), server, workers, clerk, cluster }
    }

    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Worker => {
                let worker = self.dice.between(0, WORKERS as u64);
                self.workers[usize::try_from(worker).unwrap()].replace().await.unwrap();
            }
            Victim::Server => {
                self.server.process.kill9().await.unwrap();
                self.server.start_again().await.unwrap();
            }
            Victim::Postgres => {
                let cluster = self.cluster.as_ref().unwrap();
                cluster.kill9().await.unwrap();
                cluster.restart().await.unwrap();
            }
        }
    }

    /// Places the workflows and kills `kills` times, each time some effects after the last; then waits for the rest.
    async fn run(self, workflows: u32, kills: u32, victims: &[Victim]) {
        // What the activities of all kinds do together at least, if some that are never tried again are lost.
        let total = u64::from(workflows) / Kind::ALL.len() as u64 * 19;
        self.run_kinds(&Kind::ALL, workflows, total, workflows, kills, victims).await;
    }

    /// The same with workflows that have steps and children.
    async fn run_deep(self, workflows: u32, kills: u32, victims: &[Victim]) {
        let each = workflows / 2;
        let runs = workflows + each * Kind::CHILDREN;
        // Four of each that draws, two of each child.
        let total = u64::from(each) * 4 + u64::from(each * Kind::CHILDREN) * 2;
        self.run_kinds(&Kind::DEEP, workflows, total, runs, kills, victims).await;
    }

    /// `total`: the effects that are certain; `runs`: how many runs there are in the end.
    async fn run_kinds(
        mut self,
        kinds: &'static [Kind],
        workflows: u32,
        total: u64,
        runs: u32,
        kills: u32,
        victims: &[Victim],
    ) {
        let clerk = self.clerk.clone();
        let name = self.name;
        let placed: JoinHandle<anyhow::Result<Promises>> =
            tokio::spawn(async move { clerk.place(name, workflows, kinds).await });
        let work = async {
            for kill in 0..kills {
                // A share of what is left: there is work in hand at each kill, and some left behind the last.
                let count = self.world.progress.count();
                let most = (total.saturating_sub(count) / u64::from(kills - kill + 3)).max(2);
                let point = count + self.dice.between(1, most);
                self.world.progress.reach(point).await;
                let victim = *self.dice.pick(victims);
                self.kill(victim).await;
            }
            let at_last_kill = self.world.progress.count() as usize;
            let promises = placed.await.unwrap().unwrap();
            let evidence = self.world.settle(&self.clerk, &promises).await.unwrap();
            assert_eq!(evidence.runs.len(), runs as usize);
            let effects = evidence.effects.len();
            let repeated = evidence.effects.iter().filter(|effect| effect.attempt > 1).count();
            println!(
                "{name}: {effects} effects, {repeated} in later attempts, {at_last_kill} before the last of {kills} kills"
            );
        };
        if tokio::time::timeout(DEADLINE, work).await.is_err() {
            panic!("not all workflows complete in the end:\n{}", self.report().await);
        }
    }

    /// What is still open, and what the server said, for the message of a test that gives up.
    async fn report(&self) -> String {
        let mut client = self.clerk.client();
        let list = read::list(&mut client, NAMESPACE);
        let listed = match tokio::time::timeout(Duration::from_secs(10), list).await {
            Ok(Ok(listed)) => listed,
            other => {
                return format!("the server lists nothing: {other:?}\n{}", self.server.process.output().join("\n"));
            }
        };
        let open = listed.into_iter().filter(|run| run.status() == v1::WorkflowStatus::Running);
        let mut report = format!("{} effects so far\n", self.world.progress.count());
        for run in open.take(5) {
            let start = Start { workflow_id: run.workflow_id, run_id: run.run_id };
            report.push_str(&format!("{:?}\n", self.clerk.describe(&start).await));
        }
        let output = self.server.process.output();
        report.push_str(&output[output.len().saturating_sub(40)..].join("\n"));
        report
    }
}

#[tokio::test]
async fn workers_are_killed_on_sqlite() {
    Scene::new("workers_sqlite", Database::Sqlite).await.run(300, 20, &[Victim::Worker]).await;
}

#[tokio::test]
async fn workers_are_killed_on_postgres() {
    Scene::new("workers_postgres", Database::Postgres).await.run(300, 20, &[Victim::Worker]).await;
}

#[tokio::test]
async fn the_server_is_killed_on_sqlite() {
    Scene::new("server_sqlite", Database::Sqlite).await.run(300, 12, &[Victim::Server]).await;
}

#[tokio::test]
async fn the_server_is_killed_on_postgres() {
    Scene::new("server_postgres", Database::Postgres).await.run(300, 12, &[Victim::Server]).await;
}

#[tokio::test]
async fn postgres_is_killed() {
    Scene::with_mortal_postgres("postgres").await.run(300, 8, &[Victim::Postgres]).await;
}

#[tokio::test]
async fn anything_is_killed_on_sqlite() {
    Scene::new("anything_sqlite", Database::Sqlite).await.run(300, 16, &[Victim::Worker, Victim::Server]).await;
}

#[tokio::test]
async fn anything_is_killed_on_postgres() {
    let all = [Victim::Worker, Victim::Server, Victim::Postgres];
    Scene::with_mortal_postgres("anything_postgres").await.run(300, 16, &all).await;
}

#[tokio::test]
async fn steps_and_children_outlive_kills_on_sqlite() {
    let victims = [Victim::Worker, Victim::Server];
    Scene::new("deep_sqlite", Database::Sqlite).await.run_deep(60, 12, &victims).await;
}

#[tokio::test]
async fn steps_and_children_outlive_kills_on_postgres() {
    let victims = [Victim::Worker, Victim::Server];
    Scene::new("deep_postgres", Database::Postgres).await.run_deep(60, 12, &victims).await;
}
