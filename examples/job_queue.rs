//! A job queue without workflows: activities that stand alone, retried, listed, and run again once what ailed them is mended.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine_sdk::prelude::*;

/// Whether the thumbnailer understands the new picture format yet.
#[derive(Default)]
struct Codecs(AtomicBool);

#[activity(start_to_close = "10s", retry(max_attempts = 3, initial_interval = "1ms"))]
async fn thumbnail(ctx: ActivityContext, picture: String) -> Result<usize, ActivityError> {
    if picture.ends_with(".avif") && !ctx.state::<Arc<Codecs>>().0.load(Ordering::Relaxed) {
        return Err(ActivityError::retryable(format!("{picture} is in an unknown format")));
    }
    Ok(picture.len())
}

async fn work(client: Client, codecs: Arc<Codecs>) -> anyhow::Result<()> {
    let jobs = ["cat.png", "dog.avif", "eel.png", "fox.avif"].map(|name| (name, name.to_owned()));
    for job in client.activity(thumbnail).queue("pictures").start_many(jobs).await {
        let job = job?;
        match job.result().await {
            Ok(bytes) => println!("{}: {bytes} bytes", job.activity_id()),
            Err(failure) => println!("{}: {failure}", job.activity_id()),
        }
    }
    println!("{} dead letters", client.count_activities("Status = 'Failed'").await?);
    codecs.0.store(true, Ordering::Relaxed);
    let again = client.run_activities_again("ActivityType = 'thumbnail'").await?;
    let fox = client.activity_handle::<thumbnail>("fox.avif").result().await?;
    println!("{} run again; fox.avif: {fox} bytes", again.run_again);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let codecs = Arc::new(Codecs::default());
    let worker = Worker::new(engine.client(), "pictures").activity(thumbnail).state(Arc::clone(&codecs));
    worker.run_until(work(engine.client(), codecs)).await??;
    engine.shutdown().await;
    Ok(())
}
