use engine_sdk::prelude::*;

#[activity]
fn not_async(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow]
async fn no_context() -> Result<(), WorkflowError> {
    Ok(())
}

#[activity]
async fn wrong_context(_ctx: WorkflowContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity]
async fn context_by_reference(_ctx: &ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity]
async fn references(_ctx: ActivityContext, name: &str, list: &[u8]) -> Result<(), ActivityError> {
    let _ = (name, list);
    Ok(())
}

#[activity]
async fn generic<T>(_ctx: ActivityContext, value: T) -> Result<(), ActivityError> {
    let _ = value;
    Ok(())
}

#[workflow]
async fn method(self, _ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow]
async fn no_result(_ctx: WorkflowContext) {}

#[workflow]
async fn wrong_result(_ctx: WorkflowContext) -> u32 {
    5
}

#[activity]
struct NotAFunction;

fn main() {}
