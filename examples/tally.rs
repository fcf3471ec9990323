//! A workflow that lives long: it takes any number of signals, in many runs with short histories, and loses none.
use engine_sdk::client::ListFilter;
use engine_sdk::prelude::*;
use futures::{StreamExt, TryStreamExt, stream};

/// Adds up the numbers that it is sent, until it has got `wanted` of them.
#[workflow]
async fn tally(ctx: WorkflowContext, wanted: u64, mut received: u64, mut sum: u64) -> Result<u64, WorkflowError> {
    let mut numbers = ctx.signal_channel::<u64>("number");
    while received < wanted {
        sum += match numbers.try_recv() {
            Some(number) => number,
            // What comes from here on, and what was not received yet, goes to the next run.
            None if ctx.continue_as_new_suggested() => {
                return ctx.continue_as_new(tally, (wanted, received, sum)).await;
            }
            None => numbers.recv().await,
        };
        received += 1;
    }
    Ok(sum)
}

/// Sends the numbers below `count`, several at once; the tally's result and the number of its runs.
async fn add_up(engine: &Engine, count: u64) -> anyhow::Result<(u64, usize)> {
    let client = engine.client();
    let worker = Worker::new(client.clone(), "tallies").workflow(tally);
    let work = async {
        client.workflow(tally).id("tally").queue("tallies").start((count, 0, 0)).await?;
        // By its id, whichever run is current: a signal that meets a run which is closing reaches the next one.
        let handle = client.handle::<tally>("tally");
        let sends = stream::iter(0..count).map(|number| {
            let handle = handle.clone();
            async move { handle.signal_named("number", &number).await }
        });
        sends.buffer_unordered(256).try_collect::<()>().await?;
        let sum = handle.result().await?;
        let runs: Vec<_> = client.list(ListFilter::all().workflow_id("tally")).try_collect().await?;
        anyhow::Ok((sum, runs.len()))
    };
    worker.run_until(work).await?
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let engine = Engine::open("memory:").await?;
    let (sum, runs) = add_up(&engine, count).await?;
    println!("{count} signals in {runs} runs: the sum is {sum}");
    engine.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_signal_arrives_once_over_several_runs() {
        let engine = Engine::open("memory:").await.expect("memory is there");
        // The program itself sends five times as many: `cargo run --release --bin tally`.
        let count = 20_000;
        let (sum, runs) = add_up(&engine, count).await.expect("it completes");
        assert_eq!(sum, count * (count - 1) / 2);
        assert!(runs >= 2, "it continued as new: {runs} runs");
        engine.shutdown().await;
    }
}
