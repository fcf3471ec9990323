//! Two builds of one program side by side: an operator says which one new runs go to, and a pinned run stays with the one that has it.
use engine_sdk::prelude::*;

#[update(returns = String)]
struct Say {
    text: String,
}

/// As build 1 has it.
#[workflow(name = "talk", versioning = "pinned")]
async fn talk_1(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut heard = ctx.updates::<Say>();
    for _ in 0..2 {
        let said = heard.recv().await;
        let answer = format!("{}? Indeed.", said.text);
        said.complete(answer);
    }
    Ok(())
}

/// As build 2 has it. It thinks before it answers: runs of build 1 could not follow that.
#[workflow(name = "talk", versioning = "pinned")]
async fn talk_2(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut heard = ctx.updates::<Say>();
    for _ in 0..2 {
        let said = heard.recv().await;
        ctx.sleep(millis(1)).await;
        let answer = format!("{}, of course. With sugar?", said.text);
        said.complete(answer);
    }
    Ok(())
}

async fn roll_out(client: Client) -> anyhow::Result<()> {
    let house = client.deployment("tea-house");
    let talk = |id: &str| client.workflow(talk_2).id(id).queue("talks").start(());
    let say = |text: &str| Say { text: text.to_owned() };
    house.set_current("1").await?;
    let ada = talk("ada").await?;
    println!("Ada: {}", ada.update(say("Tea")).await?);
    house.set_current("2").await?;
    let bob = talk("bob").await?;
    println!("Bob: {}", bob.update(say("Tea")).await?);
    println!("Ada: {}", ada.update(say("Milk")).await?);
    for version in house.describe().await?.versions {
        println!("build {} is {:?}", version.build_id, version.status);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = |build_id| Worker::new(engine.client(), "talks").deployment("tea-house", build_id);
    let (old, new) = (worker("1").workflow(talk_1), worker("2").workflow(talk_2));
    old.run_until(new.run_until(roll_out(engine.client()))).await???;
    engine.shutdown().await;
    Ok(())
}
