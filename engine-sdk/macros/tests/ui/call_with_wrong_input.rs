use engine_sdk::prelude::*;

#[activity]
async fn charge_card(_ctx: ActivityContext, card: String, cents: u64) -> Result<(), ActivityError> {
    let _ = (card, cents);
    Ok(())
}

#[workflow]
async fn checkout(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.run(charge_card, "4711".to_owned()).await?;
    ctx.run(charge_card, ("4711".to_owned(), "5")).await?;
    ctx.run_named::<()>("charge_card", 5).await?;
    Ok(())
}

fn main() {}
