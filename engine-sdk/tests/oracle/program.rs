//! The workflow and the activity that carry out the programs of `scenarios.json`, written with our SDK.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_core::search::SearchValue;
use engine_sdk::client::IdReusePolicy;
use engine_sdk::prelude::*;
use engine_sdk::search::SearchChange;
use engine_sdk::workflow::{Sleep, StepFuture};
use serde_json::Value;

use crate::gates::Gates;

/// Times in scenarios are counted in units; the reference's are a second long.
const UNIT: Duration = millis(150);

/// So many units.
pub(crate) fn unit(count: &Value) -> Duration {
    UNIT.mul_f64(count.as_f64().expect("a number of units"))
}

pub(crate) fn text<'a>(op: &'a Value, field: &str) -> Option<&'a str> {
    op.get(field).map(|value| value.as_str().expect("a text"))
}

pub(crate) fn number(op: &Value, field: &str) -> Option<u64> {
    op.get(field).map(|value| value.as_u64().expect("a number"))
}

pub(crate) fn list(op: &Value, field: &str) -> Vec<Value> {
    op.get(field).map_or_else(Vec::new, |value| value.as_array().expect("a list").clone())
}

pub(crate) fn retry(options: &Value) -> RetryPolicy {
    RetryPolicy {
        initial_interval: options.get("backoff").map_or(UNIT, unit),
        maximum_interval: hours(10),
        maximum_attempts: u32::try_from(number(options, "max_attempts").unwrap_or_default()).unwrap(),
        jitter: 0.0,
        ..RetryPolicy::default()
    }
}

#[update]
pub(crate) struct Act {
    pub(crate) how: String,
}

#[signal(name = "go")]
pub(crate) struct Go {}

/// What queries are answered from.
pub(crate) struct Shown(&'static str);

#[query]
pub(crate) fn state(shown: &Shown) -> String {
    shown.0.to_owned()
}

/// One attempt of an activity or step.
async fn attempt(gates: &Gates, options: &Value, attempt: u64) -> Result<(), ActivityError> {
    let boom = || ActivityError::retryable("as asked").with_type("Boom");
    match text(options, "activity").or(text(options, "step")).expect("what it does") {
        "ok" => Ok(()),
        "fail" => Err(boom()),
        "fatal" => Err(ActivityError::non_retryable("as asked").with_type("Boom")),
        "flaky" if attempt <= number(options, "fails").unwrap() => Err(boom()),
        "flaky" => Ok(()),
        "wait" => {
            gates.named(text(options, "gate").unwrap()).pass().await;
            Ok(())
        }
        "hang" => std::future::pending().await,
        other => panic!("no such activity: {other}"),
    }
}

#[activity]
pub(crate) async fn act(ctx: ActivityContext, options: Value) -> Result<(), ActivityError> {
    let gates = ctx.state::<Arc<Gates>>();
    match text(&options, "activity") {
        Some(how @ ("until_canceled" | "deaf")) => {
            gates.named(text(&options, "gate").unwrap()).reach();
            ctx.cancelled().await;
            if how == "deaf" { Ok(()) } else { Err(ctx.canceled()) }
        }
        _ => attempt(gates, &options, u64::from(ctx.attempt())).await,
    }
}

/// What the code has begun and may wait for.
enum Begun {
    Activity(ActivityFuture<()>),
    Step(StepFuture<()>),
    Timer(Sleep),
    Child(ChildHandle<()>),
}

impl Begun {
    async fn end(self) -> Result<(), WorkflowError> {
        match self {
            Begun::Activity(activity) => Ok(activity.await?),
            Begun::Step(step) => Ok(step.await?),
            Begun::Timer(timer) => {
                timer.await;
                Ok(())
            }
            Begun::Child(child) => Ok(child.result().await?),
        }
    }

    /// Leaves it alone, where dropping it would cancel it: in the reference's SDK nothing happens to what nobody waits for.
    fn leave(self) {
        match self {
            Begun::Activity(activity) => activity.detach(),
            Begun::Child(child) => child.detach(),
            Begun::Timer(_) | Begun::Step(_) => {}
        }
    }
}

struct Run {
    ctx: WorkflowContext,
    gates: Arc<Gates>,
    begun: BTreeMap<String, Begun>,
}

#[workflow(name = "Program")]
pub(crate) async fn program(ctx: WorkflowContext, ops: Vec<Value>) -> Result<(), WorkflowError> {
    let shown = ctx.state(Shown("running"));
    ctx.answer(state, &shown);
    let gates = Gates::of(ctx.info().task_queue.as_str());
    let (own, of_handler) = (ctx.clone(), Arc::clone(&gates));
    ctx.on_validated_update(
        |sent: &Act| match sent.how.as_str() {
            "bad" => Err(WorkflowError::non_retryable("as asked").with_type("Bad")),
            _ => Ok(()),
        },
        move |sent: Act| {
            let (ctx, gates) = (own.clone(), Arc::clone(&of_handler));
            async move {
                match sent.how.as_str() {
                    "fail" => return Err(WorkflowError::retryable("as asked").with_type("Boom")),
                    "timer" => ctx.sleep(unit(&1.into())).await,
                    "signal" => drop(ctx.signal_channel::<Value>("proceed").recv().await),
                    "activity" => {
                        let mut run = Run { ctx, gates, begun: BTreeMap::new() };
                        run.begin(&serde_json::json!({"activity": "ok"})).await?.end().await?;
                    }
                    _ => {}
                }
                Ok(())
            }
        },
    );
    let mut run = Run { ctx, gates, begun: BTreeMap::new() };
    let end = run.execute(ops).await;
    run.begun.into_values().for_each(Begun::leave);
    end
}

impl Run {
    /// Begins an activity, a step, a timer or a child.
    async fn begin(&mut self, what: &Value) -> Result<Begun, WorkflowError> {
        if what.get("activity").is_some() {
            return Ok(Begun::Activity(self.activity(what)));
        }
        if what.get("step").is_some() {
            let (gates, options, mut count) = (Arc::clone(&self.gates), what.clone(), 0);
            let step = self.ctx.step("act", move || {
                count += 1;
                let (gates, options, this) = (Arc::clone(&gates), options.clone(), count);
                async move { attempt(&gates, &options, this).await }
            });
            return Ok(Begun::Step(step.retry(retry(what)).start()));
        }
        if let Some(units) = what.get("timer") {
            return Ok(Begun::Timer(self.ctx.sleep(unit(units))));
        }
        let child = &what["child"];
        let mut call = self.ctx.child(program).id(text(child, "id").unwrap());
        call = call.parent_close_policy(match text(child, "parent_close") {
            Some("abandon") => ParentClosePolicy::Abandon,
            Some("request_cancel") => ParentClosePolicy::RequestCancel,
            _ => ParentClosePolicy::Terminate,
        });
        call = call.cancellation(match text(child, "cancellation") {
            Some("abandon") => ChildCancellation::Abandon,
            Some("try") => ChildCancellation::Try,
            _ => ChildCancellation::Wait,
        });
        if let Some(units) = child.get("run_timeout") {
            call = call.run_timeout(unit(units));
        }
        if child.get("max_attempts").is_some() {
            call = call.retry(retry(child));
        }
        if text(child, "reuse") == Some("reject") {
            call = call.id_reuse_policy(IdReusePolicy::RejectDuplicate);
        }
        Ok(Begun::Child(call.start(list(child, "program")).await?))
    }

    fn activity(&self, what: &Value) -> ActivityFuture<()> {
        let mut call = self.ctx.run(act, what.clone()).retry(retry(what));
        call = call.cancellation(match text(what, "cancellation") {
            Some("try") => CancellationType::TryCancel,
            Some("abandon") => CancellationType::Abandon,
            _ => CancellationType::WaitForCompletion,
        });
        if let Some(queue) = text(what, "queue") {
            call = call.task_queue(queue);
        }
        if let Some(units) = what.get("start_to_close") {
            call = call.start_to_close(unit(units));
        } else if what.get("schedule_to_close").is_none() {
            call = call.start_to_close(minutes(1));
        }
        if let Some(units) = what.get("schedule_to_close") {
            call = call.schedule_to_close(unit(units));
        }
        if let Some(units) = what.get("schedule_to_start") {
            call = call.schedule_to_start(unit(units));
        }
        if let Some(units) = what.get("heartbeat") {
            call = call.heartbeat(unit(units));
        }
        call.start()
    }

    fn execute(&mut self, ops: Vec<Value>) -> Pin<Box<dyn Future<Output = Result<(), WorkflowError>> + Send + '_>> {
        Box::pin(async move {
            for op in ops {
                match self.operation(&op).await {
                    Err(error) if error.is_continue_as_new() || op.get("catch").is_none() => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
    }

    async fn operation(&mut self, op: &Value) -> Result<(), WorkflowError> {
        let ctx = self.ctx.clone();
        if let Some(what) = op.get("run") {
            self.begin(what).await?.end().await?;
        } else if let Some(what) = op.get("start") {
            let begun = self.begin(what).await?;
            self.begun.insert(text(op, "as").unwrap().to_owned(), begun);
        } else if let Some(name) = text(op, "await") {
            self.begun.remove(name).expect("it was started").end().await?;
        } else if let Some(name) = text(op, "cancel") {
            match self.begun.get_mut(name).expect("it was started") {
                Begun::Activity(activity) => activity.cancel(),
                Begun::Child(child) => child.cancel(),
                Begun::Timer(_) | Begun::Step(_) => drop(self.begun.remove(name)),
            }
        } else if let (Some(name), Some(units)) = (text(op, "wait"), op.get("within")) {
            let _ = ctx.timeout(unit(units), ctx.signal_channel::<Value>(name).recv()).await;
        } else if let Some(name) = text(op, "wait") {
            ctx.signal_channel::<Value>(name).recv().await;
        } else if op.get("until_cancelled").is_some() {
            ctx.cancelled().await;
        } else if op.get("end_canceled").is_some() {
            return Err(WorkflowError::canceled());
        } else if let Some(type_name) = text(op, "fail") {
            if u64::from(ctx.info().attempt) <= number(op, "attempts").unwrap_or(u64::MAX) {
                let is_final = op.get("non_retryable").is_some();
                let error = if is_final { WorkflowError::non_retryable } else { WorkflowError::retryable };
                return Err(error("as asked").with_type(type_name));
            }
        } else if let Some(patch) = text(op, "patched") {
            let path = if ctx.patched(patch) { "then" } else { "else" };
            self.execute(list(op, path)).await?;
        } else if let Some(patch) = text(op, "deprecate_patch") {
            ctx.deprecate_patch(patch);
        } else if let Some(label) = text(op, "upsert") {
            let value = SearchValue::Keyword(label.to_owned());
            ctx.upsert_search_attributes([SearchChange::of("Label", Some(value))]);
        } else if let Some(key) = text(op, "memo") {
            ctx.upsert_memo(key, &true);
        } else if let (Some(signal), Some(name)) = (text(op, "signal"), text(op, "child")) {
            let Some(Begun::Child(child)) = self.begun.get(name) else { panic!("{name} is no child") };
            child.signal_named(signal, &()).await?;
        } else if let Some(signal) = text(op, "signal") {
            ctx.external(text(op, "workflow").unwrap()).signal_named(signal, &()).await?;
        } else if let Some(workflow) = text(op, "request_cancel") {
            ctx.external(workflow).cancel("as asked").await?;
        } else if op.get("continue_as_new").is_some() {
            return ctx.continue_as_new(program, list(op, "continue_as_new")).await;
        } else if op.get("second_time").is_some() {
            if self.gates.passes.fetch_add(1, Ordering::Relaxed) == 1 {
                self.execute(list(op, "second_time")).await?;
            }
        } else if let Some(times) = number(op, "panic") {
            if u64::from(self.gates.panics.fetch_add(1, Ordering::Relaxed)) < times {
                panic!("as asked");
            }
        } else if op.get("handlers_finished").is_some() {
            ctx.wait_all_handlers_finished().await;
        } else {
            panic!("no such operation: {op}");
        }
        Ok(())
    }
}
