use engine_sdk::prelude::*;

struct Receipt;

#[activity]
async fn returns_it(_ctx: ActivityContext) -> Result<Receipt, ActivityError> {
    Ok(Receipt)
}

#[workflow]
async fn takes_it(_ctx: WorkflowContext, receipt: Receipt) -> Result<(), WorkflowError> {
    let _ = receipt;
    Ok(())
}

fn main() {}
