//! Search attributes: registered by name and type, set at the start and by the code, and asked for in lists and counts.
use engine_sdk::prelude::*;
use futures::TryStreamExt as _;

const CENTS: SearchKey<i64> = SearchKey::int("Cents");
const REGION: SearchKey<str> = SearchKey::keyword("Region");

#[workflow]
async fn order(ctx: WorkflowContext, cents: i64) -> Result<i64, WorkflowError> {
    let reduced = cents - cents / 10;
    ctx.upsert_search_attributes([CENTS.set(reduced)]);
    Ok(reduced)
}

/// Sells three times; gives the large orders, largest first, and how many there were in each region.
async fn sell(client: Client) -> anyhow::Result<(Vec<String>, Vec<(String, u64)>)> {
    client.namespaces().update("default").search_attribute(CENTS).search_attribute(REGION).send().await?;
    for (id, region, cents) in [("a", "eu", 100), ("b", "us", 300), ("c", "eu", 500)] {
        client.workflow(order).id(id).queue("orders").search_attributes([REGION.set(region)]).run(cents).await?;
    }
    let large = client.list("Cents >= 270 ORDER BY Cents DESC");
    let show = |run: engine_sdk::client::RunSummary| {
        format!("{}: {} cents", run.workflow_id, CENTS.get(&run.search_attributes).unwrap_or_default())
    };
    let large = large.map_ok(show).try_collect().await?;
    Ok((large, client.count_by_group("GROUP BY Region").await?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    let worker = Worker::new(engine.client(), "orders").workflow(order);
    let (large, by_region) = worker.run_until(sell(engine.client())).await??;
    println!("{}; {by_region:?}", large.join(", "));
    engine.shutdown().await;
    Ok(())
}
