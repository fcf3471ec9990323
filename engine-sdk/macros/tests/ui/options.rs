use engine_sdk::prelude::*;

#[activity(timeout = "30s")]
async fn unknown(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow(start_to_close = "30s")]
async fn of_an_activity(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[activity(start_to_close = "30 parsecs", heartbeat = 5)]
async fn durations(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity(retry(max_attempts = "five", backoff = 0.5, jitter = 2, tries = 3, non_retryable = "Refused"))]
async fn retries(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity(retry(initial_interval = "10s", max_interval = "5s"))]
async fn intervals(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity(name = "", name = "twice", task_queue)]
async fn names(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow(versioning = "sticky")]
async fn versions(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow(versioning = Pinned)]
async fn unquoted(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow(versioning = "pinned")]
async fn of_another_program(ctx: WorkflowContext) -> Result<(), WorkflowError>;

#[activity(versioning = "pinned")]
async fn activities_have_none(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

fn main() {}
