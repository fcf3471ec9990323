use engine_sdk::prelude::*;

#[payload]
struct Order {
    paid: bool,
}

#[query]
async fn is_async(order: &Order) -> bool {
    order.paid
}

#[query]
fn changes(order: &mut Order) -> bool {
    order.paid = true;
    true
}

#[query]
fn with_context(ctx: WorkflowContext) -> bool {
    let _ = ctx.sleep(seconds(1));
    true
}

#[query]
fn with_context_behind(order: &Order, ctx: &WorkflowContext) -> bool {
    let _ = ctx.sleep(seconds(1));
    order.paid
}

#[query]
fn by_value(order: Order) -> bool {
    order.paid
}

#[query]
fn no_state() -> bool {
    true
}

#[query]
fn no_answer(_order: &Order) {}

#[query]
fn borrowed(_order: &Order, name: &str) -> bool {
    name.is_empty()
}

#[query]
struct NotAFunction;

fn main() {}
