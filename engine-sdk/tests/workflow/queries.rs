//! Queries over a run that stands still.

use engine_core::failure::FailureKind;
use engine_core::payload::Payload;
use engine_sdk::data::RawArguments;
use engine_sdk::prelude::*;
use engine_sdk::workflow::QueryReply;

use crate::{Scene, replay_run};

#[payload]
#[derive(Debug)]
struct Order {
    items: Vec<String>,
    paid: bool,
}

#[signal]
struct Item {
    name: String,
}

#[derive(Debug, thiserror::Error)]
#[error("there is no item {0}")]
struct NoSuchItem(usize);

#[query]
fn is_paid(order: &Order) -> bool {
    order.paid
}

/// Named otherwise than its function.
#[query(name = "item")]
fn item_at(order: &Order, index: usize, shout: bool) -> Result<String, NoSuchItem> {
    let item = order.items.get(index).ok_or(NoSuchItem(index))?;
    Ok(if shout { item.to_uppercase() } else { item.clone() })
}

#[query]
fn explode(order: &Order) -> usize {
    order.items[77].len()
}

#[activity]
async fn pay(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[workflow]
async fn collects(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let order = ctx.state(Order { items: Vec::new(), paid: false });
    ctx.answer(is_paid, &order);
    ctx.answer(item_at, &order);
    ctx.answer(explode, &order);
    let mut items = ctx.signals::<Item>();
    for _ in 0..2 {
        let item = items.recv().await;
        order.write().items.push(item.name);
    }
    ctx.run(pay, ()).await?;
    order.write().paid = true;
    Ok(())
}

fn json(reply: QueryReply) -> String {
    match reply {
        QueryReply::Value(payload) => String::from_utf8(payload.data.to_vec()).unwrap(),
        other => panic!("no value: {other:?}"),
    }
}

fn args(values: &[&'static str]) -> Vec<Payload> {
    values.iter().map(|json| Payload::json(*json)).collect()
}

#[test]
fn a_query_shows_the_state_between_tasks_and_the_same_after_a_replay() {
    let mut scene = Scene::new(collects, &[]);
    scene.steps();
    scene.history.signal("Item", r#"{"name":"pen"}"#);
    scene.steps();
    let at_first = |scene: &Scene<collects>| json(scene.run.query("item", args(&["0", "true"])));
    assert_eq!(at_first(&scene), "\"PEN\"");
    let error = scene.run.query("item", args(&["1", "false"]));
    let QueryReply::Failed(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.message, "there is no item 1");
    assert!(matches!(failure.kind, FailureKind::Application { .. }), "{failure:?}");

    // A query changes nothing: the run goes on as if none had been asked.
    scene.history.signal("Item", r#"{"name":"ink"}"#);
    let (_, ids) = scene.task();
    assert_eq!(json(scene.run.query("is_paid", vec![])), "false");
    scene.history.activity_completed(ids[0], "null");
    assert_eq!(scene.steps(), ["complete nothing"]);
    assert_eq!(json(scene.run.query("is_paid", vec![])), "true");

    // By replay of a closed history, which ends with its close event.
    let replayed = replay_run(collects, scene.history.events.clone());
    assert_eq!(json(replayed.query("is_paid", vec![])), "true");
    assert_eq!(json(replayed.query("item", args(&["1", "false"]))), "\"ink\"");
}

#[test]
fn what_cannot_be_asked_is_refused_in_a_sentence() {
    let mut scene = Scene::new(collects, &[]);
    scene.steps();
    let refused = |name: &str, args| match scene.run.query(name, args) {
        QueryReply::Refused(sentence) => sentence,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(
        refused("is_payed", vec![]),
        "workflow collects has no query \"is_payed\"; it has explode, is_paid, item"
    );
    let wrong = refused("item", args(&["\"x\"", "true"]));
    assert!(wrong.starts_with("query \"item\" cannot take its arguments: argument 1"), "{wrong}");
    let many = refused("is_paid", args(&["1"]));
    assert!(many.starts_with("query \"is_paid\" cannot take its arguments: "), "{many}");
}

#[test]
fn a_handler_that_panics_answers_with_an_error_and_harms_nothing() {
    let mut scene = Scene::new(collects, &[]);
    scene.steps();
    let QueryReply::Failed(failure) = scene.run.query("explode", vec![]) else { panic!("it answered") };
    assert!(
        failure.message.starts_with("the handler of query \"explode\" panicked: index out of bounds"),
        "{failure:?}"
    );
    assert_eq!(json(scene.run.query("is_paid", vec![])), "false");
    scene.history.signal("Item", r#"{"name":"pen"}"#);
    assert_eq!(scene.steps(), [""; 0]);
}

struct Smuggler {
    ctx: WorkflowContext,
}

#[query]
fn sleeps(smuggler: &Smuggler) -> bool {
    smuggler.ctx.sleep(seconds(1)).is_elapsed()
}

#[workflow]
async fn smuggles(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let smuggler = ctx.state(Smuggler { ctx: ctx.clone() });
    ctx.answer(sleeps, &smuggler);
    ctx.cancelled().await;
    Ok(())
}

#[test]
fn a_context_that_is_smuggled_into_the_state_is_found_out() {
    let mut scene = Scene::new(smuggles, &[]);
    scene.steps();
    let reply = scene.run.query("sleeps", vec![]);
    let expected = "the handler of query \"sleeps\" did more than read: it used a WorkflowContext";
    assert_eq!(reply, QueryReply::Broken(expected.into()));
}

#[workflow]
async fn answers_all(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    fn any(order: &Order, name: &str, args: RawArguments) -> Result<String, WorkflowError> {
        let first: String = args.get(0)?;
        Ok(format!("{name} {first} of {} items, {} arguments", order.items.len(), args.len()))
    }
    let order = ctx.state(Order { items: Vec::new(), paid: true });
    ctx.answer_any(&order, any);
    ctx.answer(is_paid, &order);
    ctx.cancelled().await;
    Ok(())
}

#[test]
fn a_catch_all_answers_what_no_other_handler_does() {
    let mut scene = Scene::new(answers_all, &[]);
    scene.steps();
    assert_eq!(json(scene.run.query("is_paid", vec![])), "true");
    assert_eq!(json(scene.run.query("whatever", args(&["\"x\"", "2"]))), "\"whatever x of 0 items, 2 arguments\"");
}

#[test]
fn a_run_that_was_closed_before_its_code_began_has_no_answer() {
    let history = crate::history::History::new(&[]);
    let reply = replay_run(collects, history.events).query("is_paid", vec![]);
    assert_eq!(reply, QueryReply::Broken("the run was closed before its code began".into()));
}

#[workflow]
async fn holds_two_guards(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let order = ctx.state(Order { items: Vec::new(), paid: true });
    assert_eq!(order.read().items.len(), order.read().items.len(), "two may read");
    order.write().paid = !order.read().paid;
    order.write().items.extend(order.read().items.clone());
    Ok(())
}

#[test]
fn guards_that_exclude_each_other_fail_the_task_in_a_sentence() {
    let error = Scene::new(holds_two_guards, &[]).trouble();
    assert!(error.to_string().contains("the workflow's state is in use: a guard of `read()`"), "{error}");
}

#[test]
fn a_query_is_an_ordinary_function_in_a_test() {
    let order = Order { items: vec!["pen".into()], paid: false };
    assert_eq!(item_at.call(&order, 0, false).unwrap(), "pen");
    assert!(!is_paid.call(&order));
}
