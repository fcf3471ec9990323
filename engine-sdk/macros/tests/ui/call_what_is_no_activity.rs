use engine_sdk::prelude::*;

async fn plain(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow]
async fn other(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow]
async fn checkout(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.run(plain, ()).await?;
    ctx.run(other, ()).await?;
    Ok(())
}

fn main() {}
