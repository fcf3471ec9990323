//! A saga: a trip is booked step by step, and what was booked is given back, the last first, if a step fails.
use std::sync::{Arc, Mutex, PoisonError};

use engine_sdk::prelude::*;

/// What the agencies were told.
#[derive(Default)]
pub(crate) struct Agencies(pub(crate) Mutex<Vec<String>>);

impl Agencies {
    fn tell(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

#[activity]
pub(crate) async fn book(ctx: ActivityContext, what: String) -> Result<(), ActivityError> {
    if what == "car" {
        return Err(ActivityError::non_retryable("there is no car left"));
    }
    ctx.state::<Arc<Agencies>>().tell(format!("booked a {what}"));
    Ok(())
}

#[activity]
pub(crate) async fn give_back(ctx: ActivityContext, what: String) -> Result<(), ActivityError> {
    ctx.state::<Arc<Agencies>>().tell(format!("gave back the {what}"));
    Ok(())
}

#[workflow]
pub(crate) async fn trip(ctx: WorkflowContext, parts: Vec<String>) -> Result<(), WorkflowError> {
    let mut booked = Vec::new();
    for part in parts {
        if let Err(failure) = ctx.run(book, part.clone()).await {
            for part in booked.into_iter().rev() {
                ctx.run(give_back, part).await?;
            }
            return Err(failure.into());
        }
        booked.push(part);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let agencies = Arc::new(Agencies::default());
    let worker = Worker::new(engine.client(), "trips").state(Arc::clone(&agencies));
    let parts = ["flight", "hotel", "car"].map(str::to_owned).to_vec();
    let travel = engine.client().workflow(trip).queue("trips").run(parts);
    let outcome = worker.workflow(trip).activity(book).activity(give_back).run_until(travel).await?;
    println!("{}", agencies.0.lock().unwrap_or_else(PoisonError::into_inner).join("; "));
    println!("{:#}", anyhow::Error::from(outcome.expect_err("the car is missing")));
    engine.shutdown().await;
    Ok(())
}
