//! A series of activities that stays on one host: each worker has a queue of its own beside the shared one.
use std::sync::Arc;
use std::time::Duration;

use engine_sdk::prelude::*;
use tokio::sync::Notify;

/// Fetches a film to this host's disk, and says which host that is.
#[activity]
async fn download(ctx: ActivityContext, film: String) -> Result<String, ActivityError> {
    let host = ctx.own_queue().expect("workers of films have one").to_owned();
    println!("{film} is on {host}");
    ctx.state::<Arc<Notify>>().notify_one();
    Ok(host)
}

/// Works on the file that [`download`] left here.
#[activity]
async fn render(ctx: ActivityContext, film: String) -> Result<String, ActivityError> {
    Ok(format!("{film} was rendered on {}", ctx.info().task_queue))
}

/// Downloads, waits for the director, and renders where the film is; if that host is gone by then, on another one.
#[workflow]
async fn produce(ctx: WorkflowContext, film: String, patience: Duration) -> Result<String, WorkflowError> {
    let mut host = ctx.run(download, film.clone()).await?;
    ctx.signal_channel::<String>("director").recv().await;
    loop {
        match ctx.run(render, film.clone()).task_queue(host).schedule_to_start(patience).await {
            Err(failure) if failure.is_timeout() => host = ctx.run(download, film.clone()).await?,
            rendered => return Ok(rendered?),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let client = engine.client();
    let downloaded = Arc::new(Notify::new());
    let worker = |host: &str| {
        let worker = Worker::new(client.clone(), "films").own_queue(host).state(Arc::clone(&downloaded));
        worker.workflow(produce).activity(download).activity(render)
    };
    let film = client.workflow(produce).queue("films").start(("Metropolis".to_owned(), millis(50))).await?;
    worker("host-a").run_until(downloaded.notified()).await?;
    // That host is gone when the director speaks.
    film.signal_named("director", "action!").await?;
    println!("{}", worker("host-b").run_until(film.result()).await??);
    engine.shutdown().await;
    Ok(())
}
