//! Child workflows: an order starts one for each parcel, hurries one of them, and waits for all.

use engine_sdk::prelude::*;

#[signal]
struct Hurry {
    by: String,
}

/// A parcel is on its way for a week, unless somebody hurries it.
#[workflow]
async fn parcel(ctx: WorkflowContext, number: u32) -> Result<String, WorkflowError> {
    let mut hurries = ctx.signals::<Hurry>();
    Ok(select! {
        hurry = hurries.recv() => format!("parcel {number}, hurried by {}", hurry.by),
        _ = ctx.sleep(days(7)) => format!("parcel {number}"),
    })
}

/// An order's parcels are workflows of their own: listed, signaled and canceled by their ids. One that is lost with its worker
/// goes on elsewhere; if the order itself is canceled or terminated, so are they.
#[workflow]
async fn order(ctx: WorkflowContext, parcels: u32) -> Result<Vec<String>, WorkflowError> {
    let mut on_their_way = Vec::new();
    for number in 1..=parcels {
        let id = format!("{}/parcel-{number}", ctx.info().workflow_id);
        on_their_way.push(ctx.child(parcel).id(id).start(number).await?);
    }
    for child in &on_their_way {
        child.signal(Hurry { by: "the order".to_owned() }).await?;
    }
    Ok(try_join_all(on_their_way.into_iter().map(ChildHandle::result)).await?)
}

async fn ship(engine: &Engine, parcels: u32) -> anyhow::Result<Vec<String>> {
    let worker = Worker::new(engine.client(), "orders").workflow(order).workflow(parcel);
    let shipped = engine.client().workflow(order).id("order-1").queue("orders").run(parcels);
    Ok(worker.run_until(shipped).await??)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("memory:").await?;
    ship(&engine, 3).await?.iter().for_each(|line| println!("{line}"));
    engine.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_waits_for_its_parcels() {
        let engine = Engine::open("memory:").await.expect("memory is there");
        let shipped = ship(&engine, 2).await.expect("it completes");
        assert_eq!(shipped, ["parcel 1, hurried by the order", "parcel 2, hurried by the order"]);
        let described = engine.client().handle::<parcel>("order-1/parcel-2").describe().await.expect("it is listed");
        let parent = described.started.parent.expect("it is a child");
        assert_eq!(parent.workflow_id.as_str(), "order-1");
        engine.shutdown().await;
    }
}
