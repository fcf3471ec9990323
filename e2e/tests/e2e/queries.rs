//! Workflows are asked all the time while their worker and their server are killed: an answer shows every signal that was acknowledged
//! before the question, in order and once, and a question without an answer fails as one that may be repeated.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use engine_e2e::checker::{Signal, Start};
use engine_e2e::clerk::{Clerk, Promises};
use engine_e2e::dice::Dice;
use engine_e2e::world::{Server, Worker, World};
use futures::future::try_join_all;
use serde_json::json;
use tokio::sync::watch;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(150);

/// How many workflows.
const LISTENERS: u32 = 6;
/// How many notes each of them gets.
const NOTES: usize = 12;
/// How many ask each of them.
const ASKERS: usize = 2;
/// How many kills.
const KILLS: u64 = 10;

/// What is known about one workflow.
struct Listener {
    start: Start,
    /// How many of its notes were acknowledged.
    acknowledged: watch::Sender<usize>,
    /// How many notes an answer has shown.
    shown: watch::Sender<usize>,
    /// How many answers there were, from all workflows.
    answers: Arc<watch::Sender<u64>>,
}

impl Listener {
    fn text(&self, number: usize) -> String {
        format!("{} note {number}", self.start.workflow_id)
    }

    /// Sends one note after the other, each when somebody has seen the one before.
    async fn send(&self, clerk: &Clerk) -> anyhow::Result<Vec<Signal>> {
        let mut signals = Vec::new();
        for number in 0..NOTES {
            signals.extend(clerk.note(&self.start, &self.text(number)).await?);
            self.acknowledged.send_replace(number + 1);
            self.shown.subscribe().wait_for(|shown| *shown > number).await?;
        }
        Ok(signals)
    }

    /// Asks until an answer shows all notes.
    async fn ask(&self, clerk: &Clerk) -> anyhow::Result<()> {
        loop {
            let acknowledged = *self.acknowledged.borrow();
            let heard: Vec<String> = clerk.query(&self.start, "heard").await?;
            let expected: Vec<String> = (0..heard.len()).map(|number| self.text(number)).collect();
            ensure!(heard == expected, "what was sent, in order: {heard:?}");
            ensure!(heard.len() >= acknowledged, "{acknowledged} were acknowledged before it was asked: {heard:?}");
            self.shown.send_modify(|shown| *shown = heard.len().max(*shown));
            self.answers.send_modify(|answers| *answers += 1);
            if heard.len() == NOTES {
                return Ok(());
            }
        }
    }

    /// Sends, and asks meanwhile.
    async fn talk(&self, clerk: &Clerk) -> anyhow::Result<Vec<Signal>> {
        let asking = try_join_all((0..ASKERS).map(|_| self.ask(clerk)));
        let (signals, _) = tokio::try_join!(self.send(clerk), asking)?;
        Ok(signals)
    }
}

struct Scene {
    world: World,
    server: Server,
    worker: Worker,
    clerk: Clerk,
    listeners: Vec<Listener>,
    answers: Arc<watch::Sender<u64>>,
}

impl Scene {
    async fn new(database: Database) -> Scene {
        let world = World::new().unwrap();
        let server = database.server(&world).await;
        let worker = world.worker(&server, "worker").unwrap();
        let clerk = Clerk::new([server.url()]).unwrap();
        let answers = Arc::new(watch::Sender::new(0));
        let mut listeners = Vec::new();
        for number in 0..LISTENERS {
            let start = clerk.start(&format!("listener-{number}"), "listener", &[json!(NOTES)]).await.unwrap();
            let (acknowledged, shown) = (watch::Sender::new(0), watch::Sender::new(0));
            listeners.push(Listener { start, acknowledged, shown, answers: Arc::clone(&answers) });
        }
        Scene { world, server, worker, clerk, listeners, answers }
    }

    async fn kill(server: &mut Server, worker: &mut Worker, victim: u64) -> anyhow::Result<()> {
        if victim == 0 {
            server.process.kill9().await?;
            server.start_again().await
        } else {
            worker.replace().await
        }
    }

    async fn play(mut self, name: &'static str) -> anyhow::Result<()> {
        let mut dice = Dice::of_test(name);
        let Scene { world, server, worker, clerk, listeners, answers } = &mut self;
        let kills = async {
            // At least one answer for each note, each to be seen before the next is sent.
            let certain = u64::from(LISTENERS) * NOTES as u64;
            for kill in 0..KILLS {
                let count = *answers.borrow();
                let most = (certain.saturating_sub(count) / (KILLS - kill + 1)).max(1);
                let point = (count + dice.between(0, most)).min(certain);
                answers.subscribe().wait_for(|answers| *answers >= point).await?;
                Self::kill(server, worker, dice.between(0, 2)).await?;
            }
            anyhow::Ok(())
        };
        let talks = try_join_all(listeners.iter().map(|listener| listener.talk(clerk)));
        let (signals, ()) = tokio::try_join!(talks, kills)?;
        let starts = listeners.iter().map(|listener| listener.start.clone()).collect();
        world.settle(clerk, &Promises { starts, signals: signals.into_iter().flatten().collect() }).await?;
        // Closed ones still answer, by replay, to whoever asks after one more kill of each.
        for victim in 0..2 {
            Self::kill(server, worker, victim).await?;
        }
        try_join_all(listeners.iter().map(|listener| listener.ask(clerk))).await?;
        println!("{name}: {} answers", *answers.borrow());
        Ok(())
    }
}

async fn scene(name: &'static str, database: Database) {
    let scene = Scene::new(database).await;
    tokio::time::timeout(DEADLINE, scene.play(name)).await.expect("all is heard in the end").unwrap();
}

#[tokio::test]
async fn answers_show_what_was_acknowledged_through_kills_on_sqlite() {
    scene("queries_sqlite", Database::Sqlite).await;
}

#[tokio::test]
async fn answers_show_what_was_acknowledged_through_kills_on_postgres() {
    scene("queries_postgres", Database::Postgres).await;
}
