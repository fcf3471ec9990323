use engine_sdk::prelude::*;

#[payload]
struct Order {
    paid: bool,
}

#[payload]
struct Other;

#[query]
fn is_paid(order: &Order) -> bool {
    order.paid
}

/// Only reads: the compiler says so.
#[query]
fn pays(order: &Order) -> bool {
    order.paid = true;
    true
}

#[workflow]
async fn answers_with_a_closure(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let order = ctx.state(Order { paid: false });
    ctx.answer(|order: &Order| order.paid, &order);
    Ok(())
}

#[workflow]
async fn answers_from_another_state(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let other = ctx.state(Other);
    ctx.answer(is_paid, &other);
    Ok(())
}

#[workflow]
async fn holds_a_guard(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let order = ctx.state(Order { paid: false });
    let mut guard = order.write();
    ctx.sleep(seconds(1)).await;
    guard.paid = true;
    Ok(())
}

async fn asks(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    let handle = client.handle::<holds_a_guard>("order-1");
    let _: u32 = handle.query(is_paid, ()).await?;
    handle.query(is_paid, 7).await?;
    Ok(())
}

fn main() {}
