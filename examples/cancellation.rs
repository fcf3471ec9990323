//! Cancellation: an activity that is asked to stop tidies up first, and the workflow does so in a detached scope.
use std::sync::{Arc, Mutex, PoisonError};

use engine_sdk::prelude::*;
use tokio::sync::Notify;

/// The place that films are copied to.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) begun: Notify,
    pub(crate) log: Mutex<Vec<String>>,
}

impl Archive {
    fn note(&self, what: String) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// A copy that takes longer than anybody waits.
#[activity(start_to_close = "12h")]
pub(crate) async fn copy(ctx: ActivityContext, film: String) -> Result<String, ActivityError> {
    let place = ctx.state::<Arc<Archive>>();
    place.begun.notify_one();
    ctx.cancelled().await; // beside the work, in a `tokio::select!`
    place.note(format!("half of {film} is deleted"));
    Err(ctx.canceled())
}

#[activity]
pub(crate) async fn release(ctx: ActivityContext, film: String) -> Result<(), ActivityError> {
    ctx.state::<Arc<Archive>>().note(format!("the place for {film} is free"));
    Ok(())
}

/// What is begun in a scope is asked to stop when the run is; the call ends when the activity has, which is why the order holds.
#[workflow]
pub(crate) async fn archive(ctx: WorkflowContext, film: String) -> Result<String, WorkflowError> {
    let copied = ctx.scope().run(copy, film.clone()).await;
    // Not reached by the run's cancellation, whenever that comes.
    ctx.detached_scope().run(release, film).await?;
    match copied {
        Err(failure) if failure.is_canceled() => Err(WorkflowError::canceled()),
        copied => Ok(copied?),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let client = engine.client();
    let place = Arc::new(Archive::default());
    let worker = Worker::new(client.clone(), "films").state(Arc::clone(&place));
    let film = client.workflow(archive).queue("films").start("Metropolis".to_owned()).await?;
    let outcome = worker.workflow(archive).activity(copy).activity(release).run_until(async {
        place.begun.notified().await;
        film.cancel("not that one").await?;
        anyhow::Ok(film.result().await)
    });
    let outcome = outcome.await??.expect_err("it was canceled");
    println!("{}; {outcome}", place.log.lock().unwrap_or_else(PoisonError::into_inner).join("; "));
    engine.shutdown().await;
    Ok(())
}
