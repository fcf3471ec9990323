use engine_sdk::prelude::*;

#[derive(Default)]
struct Order {
    items: Vec<String>,
}

#[workflow]
impl Order {
    /// Keeps a reference into the state while others may change it.
    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<usize, WorkflowError> {
        let first = &self.items[0];
        ctx.sleep(seconds(1)).await;
        Ok(first.len())
    }

    #[signal]
    fn answers(&mut self) -> u32 {
        5
    }

    /// Only reads: the compiler says so.
    #[query]
    fn empties(&self) -> usize {
        self.items.clear();
        0
    }
}

fn main() {}
