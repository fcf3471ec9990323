//! Steps: small work of the workflow's own, recorded with it. A scope ends what nobody waits for any more, and a filter counts.
use engine_sdk::prelude::*;

#[workflow]
async fn best_quote(ctx: WorkflowContext, shops: Vec<String>) -> Result<String, WorkflowError> {
    ctx.set_current_details(format!("asks {} shops", shops.len()));
    let scope = ctx.scope();
    let asked = shops.into_iter().map(|shop| scope.step("ask", move || ask(shop.clone())).timeout(seconds(60)));
    let (_, quote) = race(asked).await;
    scope.cancel();
    Ok(quote?)
}

async fn ask(shop: String) -> Result<String, ActivityError> {
    if shop == "closed" {
        std::future::pending::<()>().await; // Nobody picks up the phone.
    }
    Ok(format!("7.50 from {shop}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::open("sqlite://quotes.db").await?;
    let client = engine.client();
    let worker = Worker::new(client.clone(), "quotes").workflow(best_quote);
    let shops = vec!["closed".to_owned(), "corner shop".to_owned()];
    let quote = worker.run_until(client.workflow(best_quote).queue("quotes").run(shops)).await??;
    let done = client.count("WorkflowType = 'best_quote' AND Status = 'Completed'").await?;
    println!("{quote}; {done} done");
    engine.shutdown().await;
    Ok(())
}
