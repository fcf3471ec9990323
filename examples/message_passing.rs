//! A workflow as a struct: signals change it, queries look at it, and what it publishes can be read with no worker running.
use engine_sdk::prelude::*;

#[payload]
#[derive(Debug, Clone, Default, PartialEq)]
struct Vote {
    yes: u32,
    no: u32,
}

/// Counts votes until enough have come.
struct Poll {
    wanted: u32,
    votes: Vote,
}

#[activity]
async fn announce(_ctx: ActivityContext, votes: Vote) -> Result<String, ActivityError> {
    Ok(if votes.yes > votes.no { "accepted".to_owned() } else { "rejected".to_owned() })
}

#[workflow(name = "poll")]
impl Poll {
    #[init]
    fn new(wanted: u32) -> Self {
        Self { wanted, votes: Vote::default() }
    }

    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<String, WorkflowError> {
        self.wait_until(|poll| poll.missing() == 0).await;
        ctx.publish("votes", &self.votes);
        Ok(ctx.run(announce, self.votes.clone()).await?)
    }

    #[signal]
    fn vote(&mut self, yes: bool) {
        if yes {
            self.votes.yes += 1;
        } else {
            self.votes.no += 1;
        }
    }

    #[query]
    fn missing(&self) -> u32 {
        self.wanted.saturating_sub(self.votes.yes + self.votes.no)
    }
}

/// Votes, and tells how many votes were missing after each.
async fn ask_everybody(client: Client) -> anyhow::Result<(Vec<u32>, String)> {
    let poll = client.workflow(Poll::WORKFLOW).queue("polls").start(3).await?;
    let mut missing = Vec::new();
    for yes in [true, false, true] {
        poll.send(Poll::VOTE, yes).await?;
        missing.push(poll.query(Poll::MISSING, ()).await?); // shows the vote that was just acknowledged
    }
    let result = poll.result().await?;
    let votes: Option<Vote> = poll.published("votes").await?;
    anyhow::ensure!(votes == Some(Vote { yes: 2, no: 1 }), "published {votes:?}");
    Ok((missing, result))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = Worker::new(engine.client(), "polls").workflow(Poll::WORKFLOW).activity(announce);
    let (missing, result) = worker.run_until(ask_everybody(engine.client())).await??;
    println!("votes missing: {missing:?}; {result}");
    engine.shutdown().await;
    Ok(())
}
