//! Workflows and activities of another program, declared here by name and types.

use engine_sdk::engine::Engine;
use engine_sdk::prelude::*;

/// The other program.
mod theirs {
    use engine_sdk::prelude::*;

    #[activity(name = "stock.reserve")]
    pub(crate) async fn reserve(_ctx: ActivityContext, article: String, pieces: u32) -> Result<u32, ActivityError> {
        Ok(u32::try_from(article.len()).unwrap_or(u32::MAX) * pieces)
    }

    #[workflow(name = "stock.audit")]
    pub(crate) async fn audit(_ctx: WorkflowContext, articles: Vec<String>) -> Result<usize, WorkflowError> {
        Ok(articles.len())
    }
}

/// A reservation of the other program's stock.
#[activity(name = "stock.reserve", task_queue = "stock", start_to_close = "30s")]
async fn reserve(ctx: ActivityContext, article: String, pieces: u32) -> Result<u32, ActivityError>;

#[workflow(name = "stock.audit")]
async fn audit(ctx: WorkflowContext, articles: Vec<String>) -> Result<usize, WorkflowError>;

#[workflow]
async fn order(ctx: WorkflowContext, article: String) -> Result<(u32, usize), WorkflowError> {
    let reserved = ctx.run(reserve, (article.clone(), 3)).await?;
    let audited = ctx.child(audit).queue("stock").run(vec![article]).await?;
    Ok((reserved, audited))
}

#[tokio::test]
async fn what_is_declared_is_started_and_called_with_its_types_and_run_by_the_other_program() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let other_program = Worker::new(client.clone(), "stock").workflow(theirs::audit).activity(theirs::reserve);
    let this_program = Worker::new(client.clone(), "orders").workflow(order);
    let stops = [other_program.shutdown_handle(), this_program.shutdown_handle()];
    let workers = [tokio::spawn(other_program.run()), tokio::spawn(this_program.run())];

    let started = client.workflow(audit).id("audit-1").queue("stock").run(vec!["cup".into(), "pot".into()]).await;
    assert_eq!(started.unwrap(), 2);
    let called = client.workflow(order).id("order-1").queue("orders").run("cup".into()).await;
    assert_eq!(called.unwrap(), (9, 1));

    stops.iter().for_each(engine_sdk::worker::ShutdownHandle::shutdown);
    for worker in workers {
        worker.await.expect("the worker does not panic").expect("the worker ends well");
    }
    engine.shutdown().await;
}
