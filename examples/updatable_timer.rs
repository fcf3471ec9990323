//! A timer that is moved while it runs: a message chooses another instant, and a query tells which.
use std::time::SystemTime;

use engine_sdk::prelude::*;

/// Rings at an instant that may be moved until it has come.
pub(crate) struct Reminder {
    rings_at: SystemTime,
    moves: u32,
}

#[workflow(name = "reminder")]
impl Reminder {
    #[init]
    fn new(rings_at: SystemTime) -> Self {
        Self { rings_at, moves: 0 }
    }

    /// Gives how often it was moved.
    #[run]
    pub(crate) async fn run(&mut self, ctx: WorkflowContext) -> Result<u32, WorkflowError> {
        loop {
            let at = self.rings_at;
            ctx.publish("rings_at", &at); // for lists and pages: it can be read with no worker running
            let left = at.duration_since(ctx.now()).unwrap_or_default(); // nothing, if that has passed
            let moved = self.wait_until(move |reminder| reminder.rings_at != at);
            if ctx.timeout(left, moved).await.is_err() {
                return Ok(self.moves);
            }
        }
    }

    #[signal]
    pub(crate) fn move_to(&mut self, at: SystemTime) {
        self.rings_at = at;
        self.moves += 1;
    }

    #[query]
    pub(crate) fn rings_at(&self) -> SystemTime {
        self.rings_at
    }
}

async fn oversleep(client: Client) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let reminder = client.workflow(Reminder::WORKFLOW).queue("reminders").start(now + hours(8)).await?;
    reminder.send(Reminder::MOVE_TO, now + hours(9)).await?;
    let at = reminder.query(Reminder::RINGS_AT, ()).await?;
    println!("rings in {} hours", at.duration_since(now)?.as_secs() / 3600);
    reminder.send(Reminder::MOVE_TO, now).await?;
    println!("rang after {} moves", reminder.result().await?);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = Worker::new(engine.client(), "reminders").workflow(Reminder::WORKFLOW);
    worker.run_until(oversleep(engine.client())).await??;
    engine.shutdown().await;
    Ok(())
}
