//! The workflows and activities under load. Payloads are about 100 bytes; steps only echo.

use engine_sdk::prelude::*;

/// The queue that the worker serves.
pub(crate) const QUEUE: &str = "bench";

/// What goes in and comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many steps.
    pub(crate) steps: u32,
    /// Fills the payload up to about 100 bytes.
    pub(crate) padding: String,
}

impl Load {
    pub(crate) fn new(steps: u32) -> Self {
        Self { steps, padding: "x".repeat(75) }
    }
}

/// One step: echoes.
#[activity(start_to_close = "10s")]
pub(crate) async fn echo(_ctx: ActivityContext, load: Load) -> Result<Load, ActivityError> {
    Ok(load)
}

/// Steps one after another. W1 has one, W2 has ten.
#[workflow]
pub(crate) async fn sequence(ctx: WorkflowContext, load: Load) -> Result<Load, WorkflowError> {
    let mut last = load;
    for _ in 0..last.steps {
        last = ctx.run(echo, last.clone()).await?;
    }
    Ok(last)
}
