//! What may change in code while runs of the code before are open, besides its commands: names, arguments and results, queries and validators.
//! `docs/changing-code.md` has examples from here.

use engine_sdk::definition::WorkflowCode;
use engine_sdk::prelude::*;
use engine_sdk::replay::{ReplayFailure, Replayer, to_json};
use engine_sdk::testing::TestEngine;

/// Why `workflow` cannot replay it.
fn refusal_of(workflow: impl WorkflowCode, json: &str) -> String {
    Replayer::new().workflow(workflow).replay_json(json).expect_err("it does not follow").to_string()
}

#[activity]
async fn pack(_ctx: ActivityContext, item: String) -> Result<String, ActivityError> {
    Ok(format!("a box with {item}"))
}

#[signal]
struct Label {
    to: String,
}

#[workflow]
async fn ship(ctx: WorkflowContext, item: String) -> Result<String, WorkflowError> {
    let parcel = ctx.run(pack, item).await?;
    let label = ctx.signals::<Label>().recv().await;
    ctx.sleep(days(1)).await;
    Ok(format!("{parcel} for {}", label.to))
}

#[activity(name = "pack")]
async fn wrap(_ctx: ActivityContext, item: String) -> Result<String, ActivityError> {
    Ok(format!("a box with {item}"))
}

#[signal(name = "Label")]
struct Address {
    to: String,
}

#[workflow(name = "ship")]
async fn deliver(ctx: WorkflowContext, item: String) -> Result<String, WorkflowError> {
    let parcel = ctx.run(wrap, item).await?;
    let address = ctx.signals::<Address>().recv().await;
    ctx.sleep(days(1)).await;
    Ok(format!("{parcel} for {}", address.to))
}

/// The functions and the signal of `ship` under names that no run knows.
mod renamed {
    use super::*;

    #[activity]
    async fn bundle(_ctx: ActivityContext, item: String) -> Result<String, ActivityError> {
        Ok(item)
    }

    #[signal]
    struct Recipient {
        to: String,
    }

    #[workflow]
    pub(super) async fn send(ctx: WorkflowContext, item: String) -> Result<String, WorkflowError> {
        ctx.sleep(days(1)).await;
        Ok(item)
    }

    #[workflow(name = "ship")]
    pub(super) async fn ship_with_another_activity(
        ctx: WorkflowContext,
        item: String,
    ) -> Result<String, WorkflowError> {
        let parcel = ctx.run(bundle, item).await?;
        let label = ctx.signals::<Label>().recv().await;
        ctx.sleep(days(1)).await;
        Ok(format!("{parcel} for {}", label.to))
    }

    #[workflow(name = "ship")]
    pub(super) async fn ship_with_another_signal(ctx: WorkflowContext, item: String) -> Result<String, WorkflowError> {
        let parcel = ctx.run(pack, item).await?;
        let recipient = ctx.signals::<Recipient>().recv().await;
        ctx.sleep(days(1)).await;
        Ok(format!("{parcel} for {}", recipient.to))
    }
}

#[engine_sdk::test]
async fn what_is_renamed_keeps_the_name_that_runs_know(env: TestEngine) {
    env.activity(pack);
    let handle = env.start(ship, "tea".to_owned()).await.unwrap();
    handle.signal(Label { to: "Ada".to_owned() }).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "a box with tea for Ada");
    let json = to_json(&handle.history().await.unwrap());

    Replayer::new().workflow(deliver).replay_json(&json).unwrap();

    let no_code = Replayer::new().workflow(renamed::send).replay_json(&json).unwrap_err();
    assert_eq!(no_code, ReplayFailure::NoCode("ship".to_owned()));
    let difference = refusal_of(renamed::ship_with_another_activity, &json);
    assert!(difference.contains("ScheduleActivity pack") && difference.contains("bundle"), "{difference}");
    // Nobody sends it a Recipient, so it never comes to the timer.
    let difference = refusal_of(renamed::ship_with_another_signal, &json);
    assert!(difference.contains("StartTimer"), "{difference}");
}

#[payload]
struct Parcel {
    item: String,
}

#[payload]
struct Weight {
    grams: u64,
}

#[activity]
async fn weigh(_ctx: ActivityContext, _item: String) -> Result<Weight, ActivityError> {
    Ok(Weight { grams: 400 })
}

#[workflow]
async fn post(ctx: WorkflowContext, parcel: Parcel) -> Result<u64, WorkflowError> {
    let weight = ctx.run(weigh, parcel.item).await?;
    ctx.sleep(days(2)).await;
    Ok(weight.grams)
}

#[payload]
struct ParcelV2 {
    item: String,
    #[serde(default)]
    express: bool,
}

#[payload]
struct WeightV2 {
    grams: u64,
    #[serde(default)]
    fragile: bool,
}

#[activity(name = "weigh")]
async fn weigh_v2(_ctx: ActivityContext, _item: String) -> Result<WeightV2, ActivityError> {
    Ok(WeightV2 { grams: 400, fragile: true })
}

#[workflow(name = "post")]
async fn post_v2(ctx: WorkflowContext, parcel: ParcelV2) -> Result<u64, WorkflowError> {
    let weight = ctx.run(weigh_v2, parcel.item).await?;
    ctx.sleep(if parcel.express || weight.fragile { days(1) } else { days(2) }).await;
    Ok(weight.grams)
}

/// With fields that the histories of `post` do not have.
mod without_default {
    use super::*;

    #[payload]
    pub(super) struct StrictParcel {
        item: String,
        express: bool,
    }

    #[payload]
    struct StrictWeight {
        grams: u64,
        fragile: bool,
    }

    #[activity(name = "weigh")]
    async fn weigh(_ctx: ActivityContext, _item: String) -> Result<StrictWeight, ActivityError> {
        Ok(StrictWeight { grams: 400, fragile: true })
    }

    #[workflow(name = "post")]
    pub(super) async fn post_with_argument(ctx: WorkflowContext, parcel: StrictParcel) -> Result<u64, WorkflowError> {
        let weight = ctx.run(super::weigh, parcel.item).await?;
        ctx.sleep(if parcel.express { days(1) } else { days(2) }).await;
        Ok(weight.grams)
    }

    #[workflow(name = "post")]
    pub(super) async fn post_with_result(ctx: WorkflowContext, parcel: Parcel) -> Result<u64, WorkflowError> {
        let weight = ctx.run(weigh, parcel.item).await?;
        ctx.sleep(if weight.fragile { days(1) } else { days(2) }).await;
        Ok(weight.grams)
    }
}

#[engine_sdk::test]
async fn arguments_and_results_get_fields_with_a_default(env: TestEngine) {
    env.activity(weigh);
    let handle = env.start(post, Parcel { item: "tea".to_owned() }).await.unwrap();
    handle.result().await.unwrap();
    let json = to_json(&handle.history().await.unwrap());

    Replayer::new().workflow(post_v2).replay_json(&json).unwrap();
    let refusal = refusal_of(without_default::post_with_argument, &json);
    assert!(refusal.contains("missing field `express`"), "{refusal}");
    let refusal = refusal_of(without_default::post_with_result, &json);
    assert!(refusal.contains("activity weigh") && refusal.contains("missing field `fragile`"), "{refusal}");
}

/// What the activity is given besides its input, and what the code does between two commands.
#[workflow(name = "post")]
async fn post_on_scales(ctx: WorkflowContext, parcel: Parcel) -> Result<u64, WorkflowError> {
    let item = parcel.item.trim().to_owned();
    let weight = ctx.run(weigh, item).task_queue("scales").schedule_to_close(hours(1)).max_attempts(3).await?;
    if weight.grams == 0 {
        return Err(WorkflowError::non_retryable("nothing weighs nothing"));
    }
    ctx.sleep(days(2)).await;
    Ok(weight.grams)
}

#[workflow(name = "post")]
async fn post_at_once(ctx: WorkflowContext, parcel: Parcel) -> Result<u64, WorkflowError> {
    Ok(ctx.run(weigh, parcel.item).await?.grams)
}

#[workflow(name = "post")]
async fn post_waits_first(ctx: WorkflowContext, parcel: Parcel) -> Result<u64, WorkflowError> {
    ctx.sleep(days(2)).await;
    Ok(ctx.run(weigh, parcel.item).await?.grams)
}

#[engine_sdk::test]
async fn commands_must_stay_and_what_is_between_them_may_change(env: TestEngine) {
    env.activity(weigh);
    let handle = env.start(post, Parcel { item: "tea".to_owned() }).await.unwrap();
    handle.result().await.unwrap();
    let json = to_json(&handle.history().await.unwrap());
    Replayer::new().workflow(post_on_scales).replay_json(&json).unwrap();
    let one_less = refusal_of(post_at_once, &json);
    assert!(one_less.contains("StartTimer") && one_less.contains("does not follow its history"), "{one_less}");
    let another_order = refusal_of(post_waits_first, &json);
    assert!(another_order.contains("the history has ScheduleActivity weigh (id 1), but the code asked for StartTimer"));
}

#[derive(Default)]
struct Basket {
    items: Vec<String>,
}

#[workflow]
impl Basket {
    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<usize, WorkflowError> {
        self.wait_until(|basket| basket.items.len() == 3).await;
        Ok(self.items.len())
    }

    #[update]
    fn add(&mut self, item: String) -> Result<usize, WorkflowError> {
        self.items.push(item);
        Ok(self.items.len())
    }

    #[query]
    fn content(&self) -> String {
        self.items.join(", ")
    }
}

#[derive(Default)]
struct BasketV2 {
    items: Vec<String>,
}

#[workflow(name = "Basket")]
impl BasketV2 {
    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<usize, WorkflowError> {
        self.wait_until(|basket| basket.items.len() == 3).await;
        Ok(self.items.len())
    }

    #[update]
    fn add(&mut self, item: String) -> Result<usize, WorkflowError> {
        self.items.push(item);
        Ok(self.items.len())
    }

    #[update_validator(add)]
    fn may_add(&self, item: &String) -> Result<(), WorkflowError> {
        if self.items.contains(item) { Err(WorkflowError::non_retryable("one of each")) } else { Ok(()) }
    }

    #[query]
    fn content(&self) -> String {
        format!("{} items", self.items.len())
    }
}

#[engine_sdk::test]
async fn queries_and_validators_of_new_code_apply_to_old_runs(env: TestEngine) {
    let handle = env.start(Basket::WORKFLOW, ()).await.unwrap();
    for count in 1..=2 {
        assert_eq!(handle.call(Basket::ADD, "tea".to_owned()).await.unwrap(), count);
    }
    assert_eq!(handle.query(Basket::CONTENT, ()).await.unwrap(), "tea, tea");

    env.kill_worker().await;
    env.workflow(BasketV2::WORKFLOW);
    assert_eq!(handle.query(BasketV2::CONTENT, ()).await.unwrap(), "2 items");
    // Two teas stay: what was accepted is not asked for again.
    let refused = handle.call(BasketV2::ADD, "tea".to_owned()).await.unwrap_err().to_string();
    assert!(refused.contains("one of each"), "{refused}");
    assert_eq!(handle.call(BasketV2::ADD, "milk".to_owned()).await.unwrap(), 3);
    assert_eq!(handle.result().await.unwrap(), 3);
}
