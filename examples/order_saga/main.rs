//! An order that is charged, reserved, approved by a person within 14 days, and shipped, or else leaves no trace.
//!
//! `order_saga` does all of it in one process, with the engine inside and its state in a SQLite file. `order_saga worker` and
//! `order_saga start` do the same as two processes and a server.

mod ledger;
mod saga;
mod shop;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};
use engine_sdk::prelude::*;
use tracing_subscriber::filter::LevelFilter;

use crate::ledger::Ledger;
use crate::saga::{Decision, Order, Outcome, order_saga};
use crate::shop::{Shop, charge, refund, release, reserve, ship};

const QUEUE: &str = "orders";

/// Take orders, each as one workflow.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Engine, worker and client in this process. This is the default.
    Run(RunArgs),
    /// Only a worker, of the engine at an address.
    Worker(WorkerArgs),
    /// Only a client: place orders, decide on them, wait for what becomes of them.
    Start(StartArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    orders: OrderArgs,
    #[command(flatten)]
    shop: ShopArgs,
    /// Where the engine keeps its state.
    #[arg(long, default_value = "sqlite://order_saga.db", value_name = "URL")]
    database: String,
}

#[derive(Debug, Args)]
struct WorkerArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    shop: ShopArgs,
}

#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    orders: OrderArgs,
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// The engine's address.
    #[arg(long, default_value = "http://127.0.0.1:7400", env = "ENGINE_ADDRESS", value_name = "URL")]
    address: String,
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// How many orders.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    orders: u32,
    /// How many of them are refused; the others are approved.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    refuse: u32,
    /// What the orders' ids begin with. Default: made of the time, so that they are new orders.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How long an order waits for a decision.
    #[arg(long, default_value = "14days", value_parser = humantime::parse_duration, value_name = "DURATION")]
    patience: Duration,
}

#[derive(Debug, Args)]
struct ShopArgs {
    /// The file that stands for the outside world: it gets a line for each request.
    #[arg(long, default_value = "order_saga.ledger", value_name = "FILE")]
    ledger: PathBuf,
    /// How long the outside world takes for a request, such as 100ms.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    delay: Duration,
    /// How many requests are made at the same time.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    at_once: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match cli.role.unwrap_or(Role::Run(cli.run)) {
        Role::Run(args) => {
            let engine = Engine::open(&args.database).await?;
            let client = engine.client();
            let worker = worker(client.clone(), &args.shop)?;
            worker.run_until(place_orders(client, &args.orders)).await??;
            engine.shutdown().await;
            println!("what the outside world saw:");
            for (order, effects) in ledger::effects(&ledger::read(&args.shop.ledger)?) {
                println!("  {order}: {}", effects.join(", "));
            }
            Ok(())
        }
        Role::Worker(args) => {
            let client = Client::connect(&args.server.address).await?;
            Ok(worker(client, &args.shop)?.shutdown_on_ctrl_c().run().await?)
        }
        Role::Start(args) => place_orders(Client::connect(&args.server.address).await?, &args.orders).await,
    }
}

fn worker(client: Client, args: &ShopArgs) -> anyhow::Result<Worker> {
    let shop = Shop { ledger: Ledger::open(&args.ledger)?, delay: args.delay, answer: |_| Ok(()) };
    Ok(worker_of(client, shop).activity_slots(args.at_once))
}

fn worker_of(client: Client, shop: Shop) -> Worker {
    Worker::new(client, QUEUE)
        .workflow(order_saga)
        .activity(charge)
        .activity(refund)
        .activity(reserve)
        .activity(release)
        .activity(ship)
        .state(shop)
}

async fn place_orders(client: Client, args: &OrderArgs) -> anyhow::Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => format!("order-{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs()),
    };
    let mut orders = Vec::new();
    for number in 1..=args.orders {
        let id = format!("{name}-{number:04}");
        let order = Order { id: id.clone(), item: "a mug".to_owned(), cents: 1250 };
        orders.push(client.workflow(order_saga).id(id).queue(QUEUE).start((order, args.patience)).await?);
    }
    println!("{} orders placed", orders.len());
    for (number, order) in (1..).zip(&orders) {
        order.signal(Decision { approved: number > args.refuse, by: "the clerk".to_owned() }).await?;
    }
    println!("{} decisions sent", orders.len());
    let mut shipped = 0;
    for order in &orders {
        match order.result().await? {
            Outcome::Shipped { .. } => shipped += 1,
            Outcome::Rejected { why } => println!("{} was rejected: {why}", order.workflow_id()),
        }
    }
    println!("{shipped} orders shipped");
    Ok(())
}
