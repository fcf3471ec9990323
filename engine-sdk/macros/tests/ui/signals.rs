use engine_sdk::prelude::*;

#[payload]
struct Plain;

#[signal]
struct Generic<T>(T);

#[signal(title = "approval")]
struct Approval;

#[signal]
fn function() {}

#[workflow]
async fn waits(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.signals::<Plain>().recv().await;
    Ok(())
}

fn main() {}
