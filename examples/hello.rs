//! A workflow, an activity and a client, with the whole engine in this process.
use engine_sdk::prelude::*;

#[activity]
async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
    Ok(format!("Hello, {name}!"))
}

#[workflow]
async fn hello(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
    Ok(ctx.run(greet, name).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("sqlite://hello.db").await?;
    let worker = Worker::new(engine.client(), "greetings").workflow(hello).activity(greet);
    let greeting = engine.client().workflow(hello).queue("greetings").run("world".to_owned());
    println!("{}", worker.run_until(greeting).await??);
    engine.shutdown().await;
    Ok(())
}
