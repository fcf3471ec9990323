use engine_sdk::prelude::*;

#[derive(Default)]
struct NoRun;

#[workflow]
impl NoRun {
    #[signal]
    fn go(&mut self) {}
}

#[derive(Default)]
struct Wrong;

#[workflow]
impl Wrong {
    #[init]
    fn new(&self) -> Self {
        Wrong
    }

    #[run]
    fn run(&mut self) -> u32 {
        5
    }

    #[query]
    fn changes(&mut self) -> u32 {
        5
    }

    #[query]
    async fn waits(&self) -> u32 {
        5
    }

    #[query]
    fn commands(&self, ctx: WorkflowContext) -> u32 {
        let _ = ctx.sleep(seconds(1));
        5
    }

    #[signal]
    fn without_self(go: bool) {
        let _ = go;
    }

    #[signal]
    #[query]
    fn both(&self) -> u32 {
        5
    }
}

#[derive(Default)]
struct Joins;

#[workflow]
impl Joins {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<(), WorkflowError> {
        join!(ctx.sleep(seconds(1)), ctx.sleep(seconds(2)));
        Ok(())
    }
}

struct Generic<T>(T);

#[workflow]
impl<T> Generic<T> {
    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<(), WorkflowError> {
        Ok(())
    }
}

fn main() {}
