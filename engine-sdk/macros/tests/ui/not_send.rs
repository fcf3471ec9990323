use engine_sdk::prelude::*;

#[workflow]
async fn holds_an_rc(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let shared = std::rc::Rc::new(5);
    ctx.sleep(seconds(1)).await;
    let _ = shared;
    Ok(())
}

fn main() {}
