//! Code for any type: a worker that takes whatever it is sent, here for a program that declares it by name and types.
use engine_sdk::prelude::*;

/// What the other program knows of this one: names and types. The compiler refuses to register it with a worker.
mod elsewhere {
    use engine_sdk::prelude::*;

    #[activity(task_queue = "robots", start_to_close = "30s")]
    pub(crate) async fn paint(ctx: ActivityContext, thing: String, coats: u32) -> Result<String, ActivityError>;

    #[workflow]
    pub(crate) async fn renovate(ctx: WorkflowContext, thing: String) -> Result<Vec<String>, WorkflowError>;
}

/// Does what an activity's name says, whatever it is.
#[activity]
async fn any_work(ctx: ActivityContext, args: RawArguments) -> Result<String, ActivityError> {
    let thing: String = args.get(0)?;
    Ok(format!("{} {thing} ({} arguments)", ctx.info().activity_type, args.len()))
}

/// Collects what it is signaled to do, and does each by the activity of the signal's name.
#[derive(Default)]
struct AnyPlan {
    orders: Vec<String>,
}

#[workflow(name = "any_plan")]
impl AnyPlan {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext, args: RawArguments) -> Result<Vec<String>, WorkflowError> {
        let thing: String = args.get(0)?;
        self.wait_until(|plan| plan.orders.len() == 2).await;
        let mut done = vec![ctx.run(elsewhere::paint, (thing.clone(), 2)).await?];
        for order in self.orders.clone() {
            done.push(ctx.run_named(&order, (thing.clone(), 1)).await?);
        }
        Ok(done)
    }

    #[signal(any)]
    fn order(&mut self, name: String, _args: RawArguments) {
        self.orders.push(name);
    }

    #[query(any)]
    fn ask(&self, name: &str, _args: RawArguments) -> String {
        format!("{name}? {} orders so far", self.orders.len())
    }
}

async fn move_in(client: Client) -> anyhow::Result<()> {
    let house = client.workflow(elsewhere::renovate).queue("robots").start("the house".to_owned()).await?;
    house.signal_named("heat", &()).await?;
    println!("{}", house.query_named::<String>("how far", ()).await?);
    house.signal_named("furnish", &()).await?;
    println!("{}", house.result().await?.join("; "));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let robots = Worker::new(engine.client(), "robots").any_workflow(AnyPlan::WORKFLOW).any_activity(any_work);
    robots.run_until(move_in(engine.client())).await??;
    engine.shutdown().await;
    Ok(())
}
