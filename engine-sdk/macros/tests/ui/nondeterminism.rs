//! Calls that break replay are refused with what to use.

use std::collections::HashMap;
use std::time::SystemTime;

use engine_sdk::prelude::*;

#[workflow]
async fn reads_the_clock(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
    let late = SystemTime::now() > ctx.now();
    Ok(late || ctx.now().elapsed().is_ok())
}

#[workflow]
async fn waits_outside(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    use std::thread::sleep as snooze;
    select! {
        _ = tokio::time::sleep(seconds(1)) => snooze(seconds(1)),
        _ = ctx.sleep(seconds(2)) => {}
    }
    tokio::spawn(async {});
    Ok(())
}

#[workflow]
async fn chooses_by_chance(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    tokio::select! {
        _ = ctx.sleep(seconds(1)) => {}
        _ = ctx.sleep(seconds(2)) => {}
    }
    Ok(())
}

#[workflow]
async fn goes_over_hashes(_ctx: WorkflowContext, rates: HashMap<String, u64>) -> Result<u64, WorkflowError> {
    let mut total = 0;
    for (_, rate) in &rates {
        total += rate;
    }
    Ok(total)
}

#[derive(Default)]
struct Order {
    home: Option<String>,
}

#[workflow]
impl Order {
    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<(), WorkflowError> {
        self.home = std::env::var("HOME").ok();
        Ok(())
    }

    #[signal]
    fn name(&mut self) {
        self.home = Some(uuid::Uuid::new_v4().to_string() + &rand::random::<u64>().to_string());
    }

    /// Not refused.
    #[query]
    fn late(&self) -> bool {
        SystemTime::now() > SystemTime::UNIX_EPOCH
    }

    /// Not refused.
    #[update]
    #[allow_nondeterminism]
    fn look(&mut self) -> Result<bool, WorkflowError> {
        Ok(std::env::var("HOME").is_ok())
    }
}

/// Not refused.
#[workflow]
async fn on_purpose(ctx: WorkflowContext, rates: HashMap<String, u64>) -> Result<u64, WorkflowError> {
    #[allow_nondeterminism]
    let total = rates.values().sum();
    ctx.step("at", || async { Ok(SystemTime::now().elapsed().is_ok()) }).await?;
    Ok(total)
}

#[allow_nondeterminism]
fn helper() -> SystemTime {
    SystemTime::now()
}

fn main() {
    helper();
}
