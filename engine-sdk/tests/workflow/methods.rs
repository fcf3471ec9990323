//! Workflows written as a struct with methods.

use engine_core::payload::Payload;
use engine_sdk::data::RawArguments;
use engine_sdk::definition::MethodSignal;
use engine_sdk::prelude::*;
use engine_sdk::workflow::QueryReply;

use crate::{Scene, replay_run};

#[activity]
async fn charge(_ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
    Ok(cents)
}

#[activity]
async fn ship(_ctx: ActivityContext, items: Vec<String>) -> Result<(), ActivityError> {
    let _ = items;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("only {0} items")]
struct TooFew(usize);

/// An order that is collected, paid and shipped.
struct Order {
    items: Vec<String>,
    paid: u64,
    log: Vec<String>,
}

#[workflow(name = "order")]
impl Order {
    #[init]
    fn new(first: String, log: Vec<String>) -> Self {
        Self { items: vec![first], paid: 0, log }
    }

    /// Waits for money, then ships.
    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
        self.note("begun");
        let timer = ctx.sleep(hours(1));
        select! {
            _ = self.wait_until(|order| order.paid >= 10) => self.note("paid"),
            _ = timer => {
                self.note("late");
                return Err(WorkflowError::non_retryable(TooFew(self.items.len())));
            }
        }
        ctx.run(ship, self.items.clone()).await?;
        self.twice("shipped", &ctx).await;
        ctx.wait_all_handlers_finished().await;
        Ok(self.log.clone())
    }

    #[signal]
    fn add(&mut self, item: String) {
        self.items.push(item);
        let count = self.items.len();
        self.note(&format!("{count} items"));
    }

    /// Charges, while other methods go on.
    #[signal]
    async fn pay(&mut self, ctx: WorkflowContext, cents: u64) -> Result<(), WorkflowError> {
        self.note(&format!("charging {cents}"));
        let paid = ctx.run(charge, cents).await?;
        self.paid += paid;
        Ok(())
    }

    #[signal(any)]
    fn other(&mut self, name: String, content: RawArguments) {
        self.note(&format!("{name} with {} values", content.len()));
    }

    #[query]
    fn total(&self) -> u64 {
        self.paid
    }

    #[query(name = "item")]
    fn item_at(&self, index: usize) -> Result<String, TooFew> {
        self.items.get(index).cloned().ok_or(TooFew(self.items.len()))
    }

    #[query(any)]
    fn whatever(&self, name: &str, args: RawArguments) -> String {
        format!("{name}/{}", args.len())
    }

    fn note(&mut self, what: &str) {
        self.log.push(what.to_owned());
    }

    /// A method for the others: it gives the state back at its own awaits.
    async fn twice(&mut self, what: &str, ctx: &WorkflowContext) {
        self.note(what);
        ctx.sleep(seconds(1)).await;
        self.note(what);
    }
}

fn scene() -> Scene<impl engine_sdk::definition::WorkflowCode<Output = Vec<String>>> {
    Scene::new(Order::WORKFLOW, &["\"pen\"", "[]"])
}

fn ask(reply: QueryReply) -> String {
    match reply {
        QueryReply::Value(payload) => String::from_utf8(payload.data.to_vec()).unwrap(),
        other => panic!("no value: {other:?}"),
    }
}

#[test]
fn methods_take_turns_at_their_awaits_and_see_plain_fields_in_between() {
    let mut scene = scene();
    assert_eq!(scene.steps(), ["sleep 3600s #1"]);
    scene.history.signal("pay", "4");
    scene.history.signal("add", "\"ink\"");
    scene.history.signal("pay", "6");
    scene.history.signal("nobody", "7");
    // In the order of the history, across their names.
    let (commands, ids) = scene.task();
    assert_eq!(commands.iter().map(crate::text).collect::<Vec<_>>(), ["run charge #1", "run charge #2"]);
    assert_eq!(ask(scene.run.query("total", vec![])), "0");
    assert_eq!(ask(scene.run.query("item", vec![Payload::json("1")])), "\"ink\"");
    assert_eq!(ask(scene.run.query("mood", vec![])), "\"mood/0\"");
    let QueryReply::Failed(failure) = scene.run.query("item", vec![Payload::json("2")]) else { panic!("it answered") };
    assert_eq!(failure.message, "only 2 items");

    scene.history.activity_completed(ids[1], "6");
    assert_eq!(scene.steps(), [""; 0]);
    assert_eq!(ask(scene.run.query("total", vec![])), "6");
    scene.history.activity_completed(ids[0], "4");
    let (commands, ids) = scene.task();
    assert_eq!(commands.iter().map(crate::text).collect::<Vec<_>>(), ["cancel timer #1", "run ship #3"]);
    scene.history.activity_completed(ids[1], "null");
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    let log = r#"["begun","charging 4","2 items","charging 6","nobody with 1 values","paid","shipped","shipped"]"#;
    assert_eq!(scene.steps(), [format!("complete {log}")]);
    let replayed = replay_run(Order::WORKFLOW, scene.history.events.clone());
    assert_eq!(ask(replayed.query("total", vec![])), "10");
}

#[test]
fn signals_that_come_with_the_start_are_handled_after_the_state_is_made() {
    let mut scene = scene();
    scene.history.signal("add", "\"ink\"");
    scene.history.signal("add", "7");
    assert_eq!(scene.steps(), ["sleep 3600s #1"], "a content that is no text is skipped");
    assert_eq!(ask(scene.run.query("item", vec![Payload::json("1")])), "\"ink\"");
    let QueryReply::Failed(_) = scene.run.query("item", vec![Payload::json("2")]) else { panic!("it answered") };
}

#[test]
fn handlers_that_are_under_way_keep_the_run_open_only_if_it_waits_for_them() {
    let mut scene = scene();
    scene.steps();
    scene.history.signal("pay", "10");
    let (_, first) = scene.task();
    scene.history.activity_completed(first[0], "10");
    let (_, ids) = scene.task();
    scene.history.activity_completed(ids[1], "null");
    let (_, timer) = scene.task();
    scene.history.signal("pay", "1");
    let (_, late) = scene.task();
    scene.history.timer_fired(timer[0]);
    assert_eq!(scene.steps(), [""; 0], "the last charge is waited for");
    scene.history.activity_completed(late[0], "1");
    assert!(scene.steps()[0].starts_with("complete "));
}

#[derive(Default)]
struct Fails {
    tries: u32,
}

#[workflow]
impl Fails {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext, tries: u32) -> Result<(), WorkflowError> {
        self.tries = tries;
        ctx.cancelled().await;
        Ok(())
    }

    #[signal]
    async fn stop(&mut self, ctx: WorkflowContext) -> Result<(), TooFew> {
        ctx.sleep(seconds(1)).await;
        Err(TooFew(self.tries as usize))
    }
}

#[test]
fn without_init_the_state_is_the_default_and_a_failing_handler_fails_the_workflow() {
    let mut scene = Scene::new(Fails::WORKFLOW, &["3"]);
    assert_eq!(scene.steps(), [""; 0]);
    scene.history.signal_without_content("stop");
    let (_, ids) = scene.task();
    scene.history.timer_fired(ids[0]);
    assert_eq!(scene.steps(), ["fail only 3 items"]);
}

#[test]
fn definitions_of_methods_have_their_names_and_types() {
    fn name<S: MethodSignal<Input = String>>(_: S) -> &'static str {
        S::NAME
    }
    assert_eq!(name(Order::ADD), "add");
    fn asked<Q: engine_sdk::definition::Query<State = Order, Input = usize, Output = String>>(_: Q) -> &'static str {
        Q::NAME
    }
    assert_eq!(asked(Order::ITEM_AT), "item");
    let order = Order::new("pen".into(), vec![]);
    assert_eq!((order.total(), order.item_at(0).unwrap().as_str()), (0, "pen"), "plain methods in a test");
}

#[derive(Default)]
struct Account {
    balance: u64,
    limit: u64,
}

#[workflow]
impl Account {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        ctx.cancelled().await;
        ctx.wait_all_handlers_finished().await;
        Ok(self.balance)
    }

    #[signal]
    fn raise_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Charges, and answers with the balance after it.
    #[update]
    async fn deposit(&mut self, ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
        let paid = ctx.run(charge, cents).await?;
        self.balance += paid;
        Ok(self.balance)
    }

    #[update_validator(deposit)]
    fn may_deposit(&self, cents: &u64) -> Result<(), TooFew> {
        if *cents > self.limit { Err(TooFew(self.limit as usize)) } else { Ok(()) }
    }

    #[update]
    fn swap(&mut self, balance: u64, limit: u64) -> (u64, u64) {
        (std::mem::replace(&mut self.balance, balance), std::mem::replace(&mut self.limit, limit))
    }
}

#[test]
fn updates_are_answered_by_methods_behind_the_signals_that_came_before() {
    fn types<U: engine_sdk::definition::MethodUpdate<Input = (u64, u64), Output = (u64, u64)>>(_: U) -> &'static str {
        U::NAME
    }
    assert_eq!(types(Account::SWAP), "swap");
    let mut scene = Scene::new(Account::WORKFLOW, &[]);
    scene.steps();
    scene.history.signal("raise_limit", "9");
    scene.update("b", "deposit", "7");
    scene.update("c", "swap", "[100,3]");
    // The validator saw the signal before it; the swap does not wait for the charge.
    let (commands, ids) = scene.task();
    let asked: Vec<String> = commands.iter().map(crate::text).collect();
    assert_eq!(asked, ["accept deposit #b 7", "accept swap #c [100,3]", "run charge #1", "answer #c [0,9]"]);
    scene.history.activity_completed(ids[2], "7");
    assert_eq!(scene.steps(), ["answer #b 107"]);
    scene.history.cancel_requested("enough");
    scene.update("d", "deposit", "3");
    let (commands, ids) = scene.task();
    assert_eq!(commands.len(), 2, "the run waits for its handlers: {commands:?}");
    scene.history.activity_completed(ids[1], "3");
    assert_eq!(scene.steps(), ["answer #d 110", "complete 110"]);

    let mut scene = Scene::new(Account::WORKFLOW, &[]);
    scene.steps();
    scene.update("a", "deposit", "5");
    scene.update("b", "swap", "[1]");
    let refusals = scene.refusals();
    assert_eq!(refusals[0], "a: only 0 items");
    assert!(refusals[1].starts_with("b: "), "{refusals:?}");
}
