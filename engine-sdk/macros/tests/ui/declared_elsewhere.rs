use engine_sdk::prelude::*;

#[workflow]
async fn theirs(ctx: WorkflowContext, order: u32) -> Result<String, WorkflowError>;

#[activity]
async fn their_step(ctx: ActivityContext) -> Result<(), ActivityError>;

#[workflow]
async fn without_context() -> Result<(), WorkflowError>;

fn uses(client: Client) {
    let _ = client.workflow(theirs).run(7_u32);
    let _ = client.workflow(theirs).run("seven");
    let _ = Worker::new(client, "orders").workflow(theirs).activity(their_step);
}

fn main() {}
