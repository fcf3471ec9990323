//! Calls of the client that cannot be served: each is refused with one sentence about what is wrong, and changes nothing. A call that the
//! client gains without a case here fails a test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use engine_sdk::client::{
    ActivityTarget, BatchReset, ClientError, IdConflictPolicy, ListFilter, MoveTo, QueryError, ResetFrom, ResetOptions,
    Retention,
};
use engine_sdk::engine::Engine;
use engine_sdk::event::{ActivityTimeouts, CloseStatus};
use engine_sdk::ids::{EventId, RunId};
use engine_sdk::prelude::*;
use engine_sdk::search::SearchChange;
use engine_sdk::time::Timestamp;
use engine_sdk::{SearchType, SearchValue};
use futures::TryStreamExt;

#[activity]
async fn print(_ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    let _ = text;
    Ok(())
}

struct Order {
    items: Vec<String>,
}

#[workflow]
impl Order {
    #[init]
    fn new(first: String) -> Self {
        Self { items: vec![first] }
    }

    #[run]
    async fn run(&mut self, _ctx: WorkflowContext) -> Result<usize, WorkflowError> {
        self.wait_until(|order| order.items.len() > 9).await;
        Ok(self.items.len())
    }

    #[signal]
    fn add(&mut self, item: String) {
        self.items.push(item);
    }

    #[update]
    fn remove(&mut self, item: String) -> Result<(), WorkflowError> {
        self.items.retain(|it| *it != item);
        Ok(())
    }

    #[query]
    fn count(&self) -> usize {
        self.items.len()
    }
}

#[signal]
struct Go {}

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

/// How a call must be refused.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// As an invalid argument; what the field begins with.
    Field(&'static str),
    /// Because there is no such thing.
    Missing,
    /// Because the id is taken.
    Taken,
    /// For another reason, with these words.
    Words(&'static str),
}

use Refusal::{Field, Missing, Taken, Words};

/// The errors of calls, which wrap what the engine said.
trait Refused: Debug {
    fn by_client(self) -> ClientError;
}

impl Refused for ClientError {
    fn by_client(self) -> ClientError {
        self
    }
}

macro_rules! wraps_client_error {
    ($($error:ident),+) => {$(
        impl Refused for $error {
            fn by_client(self) -> ClientError {
                match self {
                    $error::Client(error) => error,
                    other => panic!("the engine did not refuse it: {other:?}"),
                }
            }
        }
    )+};
}

wraps_client_error!(WorkflowFailure, UpdateFailure, QueryError, StandaloneFailure);

/// The calls that were tried, and the answers that are wrong.
#[derive(Default)]
struct Calls {
    tried: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl Calls {
    /// `call` is the file of the client that has it, and its name.
    fn refused<T, E: Refused>(&mut self, call: &'static str, answer: Result<T, E>, expected: Refusal) {
        self.tried.insert(call);
        let Err(error) = answer else {
            return self.wrong.push(format!("{call} accepted what should be refused as {expected:?}"));
        };
        let error = error.by_client();
        let message = error.to_string();
        // A filter's syntax error shows the place on lines of its own.
        let sentence = message.split('\n').next().unwrap_or_default();
        let is_sentence = !sentence.is_empty() && sentence.len() < 400;
        let is_right = match (expected, &error) {
            (Field(field), ClientError::InvalidArgument { field: told, .. }) => {
                told.starts_with(field) && message.starts_with(told)
            }
            (Missing, ClientError::NotFound { .. }) | (Taken, ClientError::AlreadyStarted { .. }) => true,
            (Words(words), _) => message.contains(words),
            _ => false,
        };
        if !is_right || !is_sentence || message.contains("Some(") || message.contains("{ ") {
            self.wrong.push(format!("{call} should be refused as {expected:?}, and the answer is {error:?}"));
        }
    }
}

/// All that calls could have changed.
#[derive(Debug, PartialEq)]
struct Snapshot {
    history: usize,
    runs: usize,
    activities: usize,
    is_paused: bool,
    schedule: (u64, bool, usize),
    batches: usize,
    namespaces: Vec<(String, String, usize)>,
}

async fn snapshot(client: &Client) -> Snapshot {
    let schedule = client.schedule("nightly").describe().await.unwrap();
    let schedules: Vec<_> = client.schedules().try_collect().await.unwrap();
    let runs: Vec<_> = client.list(ListFilter::all()).try_collect().await.unwrap();
    let batches: Vec<_> = client.batches().try_collect().await.unwrap();
    let letter = client.activity_handle::<print>("letter").describe().await.unwrap();
    let namespaces = client.namespaces().list().await.unwrap().into_iter();
    Snapshot {
        history: client.handle_named::<()>("w").history().await.unwrap().len(),
        runs: runs.len(),
        activities: client.list_activities("").await.unwrap().len(),
        is_paused: letter.summary.is_paused || runs.iter().any(|run| run.is_paused),
        schedule: (schedule.version, schedule.paused, schedules.len()),
        batches: batches.len(),
        namespaces: namespaces.map(|it| (it.name, it.description, it.search_attributes.len())).collect(),
    }
}

fn long() -> String {
    "x".repeat(1001)
}

fn large() -> String {
    "7".repeat(2 * 1024 * 1024)
}

/// An engine with the open run `w`, the open activity `letter` and the schedule `nightly`, and no worker.
async fn world() -> (Engine, Client) {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    client.workflow(Order::WORKFLOW).id("w").start("tea".into()).await.unwrap();
    client.activity(print).id("letter").start("a".into()).await.unwrap();
    client.workflow(Order::WORKFLOW).schedule("nightly").cron("0 30 2 1 1 * 2190").create("tea".into()).await.unwrap();
    (engine, client)
}

async fn start(client: &Client, calls: &mut Calls) {
    let new = || client.workflow(Order::WORKFLOW).id("new");
    let tea = || "tea".to_owned();
    calls.refused("start::start", new().id("").start(tea()).await, Field("workflow_id"));
    calls.refused("start::start", new().id(long()).start(tea()).await, Field("workflow_id"));
    calls.refused("start::start", new().queue("").start(tea()).await, Field("task_queue"));
    calls.refused("start::start", new().start(large()).await, Field("input"));
    calls.refused("start::start", new().memo("a", &large()).start(tea()).await, Field("memo"));
    calls.refused("start::start", new().last_result(&large()).start(tea()).await, Field("last_result"));
    calls.refused("start::start", new().summary("x".repeat(401)).start(tea()).await, Field("summary"));
    calls.refused("start::start", new().details("x".repeat(20_001)).start(tea()).await, Field("details"));
    calls.refused("start::start", new().request_id(long()).start(tea()).await, Field("request_id"));
    calls.refused("start::start", new().run_timeout(days(99_999)).start(tea()).await, Field("run_timeout"));
    calls.refused("start::start", new().execution_timeout(days(99_999)).start(tea()).await, Field("execution_timeout"));
    calls.refused("start::start", new().task_timeout(seconds(121)).start(tea()).await, Field("task_timeout"));
    calls.refused("start::start", new().start_delay(days(99_999)).start(tea()).await, Field("start_delay"));
    let shrinking = RetryPolicy { backoff_coefficient: 0.5, ..RetryPolicy::default() };
    calls.refused("start::start", new().retry(shrinking).start(tea()).await, Field("retry_policy"));
    calls.refused("start::start", new().cron("61 * * * *").start(tea()).await, Field("cron"));
    calls.refused("start::start", new().cron("@daily").cron_time_zone("Moon/Sea").start(tea()).await, Field("cron"));
    calls.refused(
        "start::start",
        new().cron("@daily").start_delay(seconds(1)).start(tea()).await,
        Field("start_delay"),
    );
    let unknown = || [SearchChange::of("Totl", Some(SearchValue::Int(1)))];
    calls.refused("start::start", new().search_attributes(unknown()).start(tea()).await, Field("search_attributes"));
    calls.refused("start::start", new().id("w").start(tea()).await, Taken);
    calls.refused("start::run", new().id("").run(tea()).await, Field("workflow_id"));
    calls.refused("start::run", new().id("w").run(tea()).await, Taken);
    for outcome in new().start_many([(String::new(), tea()), (long(), tea())]).await {
        calls.refused("start::start_many", outcome, Field("workflow_id"));
    }
    calls.refused(
        "start::start",
        client.workflow_named::<()>("").id("new").start(vec![]).await,
        Field("workflow_type"),
    );

    calls.refused(
        "with_start::signal_with_start",
        new().id("").signal_with_start(tea(), Go {}).await,
        Field("start.workflow_id"),
    );
    calls.refused(
        "with_start::send_with_start",
        new().send_with_start(tea(), Order::ADD, large()).await,
        Field("input"),
    );
    let update = new().update_id("").update_with_start(tea(), Deposit { cents: 1 }).await;
    calls.refused("with_start::update_with_start", update, Field("update.update_id"));
    let terminate = new().id("w").id_conflict_policy(IdConflictPolicy::TerminateExisting);
    let update = terminate.update_with_start(tea(), Deposit { cents: 1 }).await;
    calls.refused("with_start::update_with_start", update, Field("start.id_conflict_policy"));
    calls.refused(
        "with_start::call_with_start",
        new().call_with_start(tea(), Order::REMOVE, large()).await,
        Field("update.input"),
    );
}

async fn handle(client: &Client, calls: &mut Calls) {
    let (w, nameless, nobody) =
        (client.handle_named::<()>("w"), client.handle_named::<()>(""), client.handle_named::<()>("nobody"));
    let other_run = || w.clone().with_run_id(RunId::parse("018f0000-0000-7000-8000-000000000001").unwrap());
    for (handle, expected) in [(&nameless, Field("workflow_id")), (&nobody, Missing), (&other_run(), Missing)] {
        calls.refused("handle::result", handle.result().await, expected);
        calls.refused("handle::signal", handle.signal(Go {}).await, expected);
        calls.refused("handle::send", handle.send(Order::ADD, "cup".into()).await, expected);
        calls.refused("handle::signal_named", handle.signal_named("go", &1).await, expected);
        calls.refused("handle::query", handle.query(Order::COUNT, ()).await, expected);
        calls.refused("handle::query_named", handle.query_named::<u64>("count", ()).await, expected);
        calls.refused("handle::cancel", handle.cancel("").await, expected);
        calls.refused("handle::terminate", handle.terminate("").await, expected);
        calls.refused("handle::describe", handle.describe().await, expected);
        calls.refused("handle::published", handle.published::<u64>("status").await, expected);
        calls.refused("handle::published_at", handle.published_at::<u64>("status", EventId(1)).await, expected);
        calls.refused("handle::history", handle.history().await, expected);
        calls.refused("handle::history_pages", handle.history_pages().try_collect::<Vec<_>>().await, expected);
        calls.refused("handle::watch", handle.watch().try_collect::<Vec<_>>().await, expected);
        calls.refused("operate::pause", handle.pause("").await, expected);
        calls.refused("operate::resume", handle.resume("").await, expected);
        let reset = handle.reset(ResetFrom::FirstWorkflowTask, ResetOptions::default()).await;
        calls.refused("operate::reset", reset, expected);
        calls.refused("operate::delete", handle.delete().await, expected);
        calls.refused("update::update", handle.update(Deposit { cents: 1 }).await, expected);
        calls.refused("update::start", handle.update(Deposit { cents: 1 }).start().await, expected);
        calls.refused("update::call", handle.call(Order::REMOVE, "tea".into()).await, expected);
        calls.refused("update::update_named", handle.update_named::<u64>("deposit", &1).await, expected);
        calls.refused("operate_activity::pause", handle.activity("1").pause("").await, expected);
    }
    calls.refused("handle::signal_named", w.signal_named("", &1).await, Field("signal_name"));
    calls.refused("handle::signal_named", w.signal_named("go", &large()).await, Field("input"));
    calls.refused("handle::query_named", w.query_named::<u64>("", ()).await, Field("query_name"));
    calls.refused("handle::cancel", w.cancel(long()).await, Field("reason"));
    calls.refused("handle::terminate", w.terminate(long()).await, Field("reason"));
    calls.refused("handle::published", w.published::<u64>(&long()).await, Field("name"));
    calls.refused("handle::published_at", w.published_at::<u64>("status", EventId(99)).await, Field("at_event_id"));
    calls.refused("update::update", w.update(Deposit { cents: 1 }).id("").await, Field("update.update_id"));
    calls.refused("update::update_named", w.update_named::<u64>("", &1).await, Field("update.update_name"));
    calls.refused("update::result", w.update_handle::<Deposit>("unsent").unwrap().result().await, Missing);
    calls.refused("update::result", w.update_handle::<Deposit>("").unwrap().result().await, Field("update_id"));
    calls.refused("operate::pause", w.pause(long()).await, Field("reason"));
    calls.refused("operate::resume", w.resume(long()).await, Field("reason"));
    calls.refused(
        "operate::reset",
        w.reset(ResetFrom::LastWorkflowTask, ResetOptions::default()).await,
        Field("point"),
    );
    let because = ResetOptions::because(long());
    calls.refused("operate::reset", w.reset(ResetFrom::FirstWorkflowTask, because).await, Field("reason"));
    let large = ResetFrom::failed_activity_with(&large()).unwrap();
    calls.refused("operate::reset", w.reset(large, ResetOptions::default()).await, Field("result"));
    calls.refused("operate::delete", w.delete().await, Words("open"));
}

async fn activities(client: &Client, calls: &mut Calls) {
    let new = || client.activity(print).id("new");
    let tea = || "tea".to_owned();
    calls.refused("standalone/start::start", new().id("").start(tea()).await, Field("activity_id"));
    calls.refused("standalone/start::start", new().id(long()).start(tea()).await, Field("activity_id"));
    calls.refused("standalone/start::start", new().queue("").start(tea()).await, Field("task_queue"));
    calls.refused("standalone/start::start", new().start(large()).await, Field("input"));
    calls.refused("standalone/start::start", new().memo("a", &large()).start(tea()).await, Field("memo"));
    calls.refused(
        "standalone/start::start",
        new().start_to_close(days(99_999)).start(tea()).await,
        Field("start_to_close"),
    );
    calls.refused("standalone/start::start", new().summary("x".repeat(401)).start(tea()).await, Field("summary"));
    calls.refused("standalone/start::start", new().start_delay(days(99_999)).start(tea()).await, Field("start_delay"));
    let unknown = [SearchChange::of("Totl", Some(SearchValue::Int(1)))];
    calls.refused(
        "standalone/start::start",
        new().search_attributes(unknown).start(tea()).await,
        Field("search_attributes"),
    );
    calls.refused("standalone/start::run", new().id("letter").run(tea()).await, Taken);
    for outcome in new().start_many([(String::new(), tea()), (long(), tea())]).await {
        calls.refused("standalone/start::start_many", outcome, Field("activity_id"));
    }
    let letter = client.activity_handle::<print>("letter");
    for (id, expected) in [("", Field("activity_id")), ("nobody", Missing)] {
        let handle = client.activity_handle::<print>(id);
        calls.refused("standalone/handle::result", handle.result().await, expected);
        calls.refused("standalone/handle::describe", handle.describe().await, expected);
        calls.refused("standalone/handle::cancel", handle.cancel("").await, expected);
        calls.refused("standalone/handle::terminate", handle.terminate("").await, expected);
        calls.refused("standalone/handle::run_again", handle.run_again().await, expected);
        let target = ActivityTarget::standalone(id);
        calls.refused("activities::complete_activity", client.complete_activity(&target, &1).await, expected);
        let failed = client.fail_activity(&target, ActivityError::retryable("later")).await;
        calls.refused("activities::fail_activity", failed, expected);
        calls.refused("activities::heartbeat_activity", client.heartbeat_activity(&target, &1).await, expected);
    }
    calls.refused("standalone/handle::cancel", letter.cancel(long()).await, Field("reason"));
    calls.refused("standalone/handle::terminate", letter.terminate(long()).await, Field("reason"));
    calls.refused("standalone/handle::run_again", letter.run_again().await, Words("has not ended"));
    let forged = ActivityTarget::token(b"forged".to_vec());
    calls.refused("activities::complete_activity", client.complete_activity(&forged, &1).await, Field("token"));
    let known = ActivityTarget::standalone("letter");
    calls.refused("activities::complete_activity", client.complete_activity(&known, &large()).await, Field("result"));

    let wrong = "Status = 'Blue'";
    calls.refused(
        "standalone/list::activities",
        client.activities(wrong).try_collect::<Vec<_>>().await,
        Field("query"),
    );
    calls.refused("standalone/list::list_activities", client.list_activities(wrong).await, Field("query"));
    calls.refused("standalone/list::count_activities", client.count_activities(wrong).await, Field("query"));
    let groups = client.count_activities_by_group("GROUP BY ActivityId").await;
    calls.refused("standalone/list::count_activities_by_group", groups, Field("query"));
    calls.refused("standalone/list::run_activities_again", client.run_activities_again(wrong).await, Field("query"));
    let many = client.run_activities_again_with("", 1_000_001, |_| {}).await;
    calls.refused("standalone/list::run_activities_again_with", many, Field("limit"));

    for (open, expected) in [
        (client.activity_handle::<print>("").open(), Field("activity_id")),
        (client.activity_handle::<print>("nobody").open(), Missing),
        (client.handle_named::<()>("w").activity("1"), Missing),
    ] {
        calls.refused("operate_activity::pause", open.pause("").await, expected);
        calls.refused("operate_activity::unpause", open.unpause().await, expected);
        calls.refused("operate_activity::unpause_and_reset", open.unpause_and_reset().await, expected);
        calls.refused("operate_activity::reset", open.reset().await, expected);
        calls.refused("operate_activity::set_start_to_close", open.set_start_to_close(seconds(1)).await, expected);
        calls.refused("operate_activity::set_timeouts", open.set_timeouts(ActivityTimeouts::default()).await, expected);
        calls.refused(
            "operate_activity::set_retry_policy",
            open.set_retry_policy(RetryPolicy::default()).await,
            expected,
        );
        calls.refused("operate_activity::move_to_queue", open.move_to_queue("elsewhere").await, expected);
    }
    let open = letter.open();
    calls.refused("operate_activity::pause", open.pause(long()).await, Field("reason"));
    calls.refused("operate_activity::move_to_queue", open.move_to_queue(long()).await, Field("task_queue"));
    calls.refused(
        "operate_activity::set_start_to_close",
        open.set_start_to_close(days(99_999)).await,
        Field("start_to_close"),
    );
    let shrinking = RetryPolicy { backoff_coefficient: 0.5, ..RetryPolicy::default() };
    calls.refused("operate_activity::set_retry_policy", open.set_retry_policy(shrinking).await, Field("retry_policy"));
}

async fn schedules(client: &Client, calls: &mut Calls) {
    let new = || client.workflow(Order::WORKFLOW).schedule("new").cron("@daily");
    let tea = || "tea".to_owned();
    let at = Timestamp::from_micros;
    calls.refused("schedule::create", new().cron("0 24 * * *").create(tea()).await, Field("schedule.spec.crons[1]"));
    calls.refused(
        "schedule::create",
        new().time_zone("Moon/Sea").create(tea()).await,
        Field("schedule.spec.time_zone"),
    );
    calls.refused(
        "schedule::create",
        new().every(Duration::ZERO).create(tea()).await,
        Field("schedule.spec.intervals[0].every"),
    );
    let late = new().every_with_offset(seconds(60), seconds(60)).create(tea()).await;
    calls.refused("schedule::create", late, Field("schedule.spec.intervals[0].offset"));
    calls.refused(
        "schedule::create",
        new().catch_up_window(seconds(1)).create(tea()).await,
        Field("schedule.policies.catch_up_window"),
    );
    calls.refused("schedule::create", new().note(long()).create(tea()).await, Field("note"));
    calls.refused("schedule::create", new().create(large()).await, Field("schedule.start.input"));
    let nameless = client.workflow(Order::WORKFLOW).schedule("").create(tea()).await;
    calls.refused("schedule::create", nameless, Field("schedule_id"));
    let taken = client.workflow(Order::WORKFLOW).schedule("nightly").cron("@daily").create(tea()).await;
    calls.refused("schedule::create", taken, Taken);
    calls.refused("schedule::update", new().update(tea()).await, Missing);
    let old = client.workflow(Order::WORKFLOW).schedule("nightly").cron("@daily").version(7).update(tea()).await;
    calls.refused("schedule::update", old, Words("version"));
    for (id, expected) in [("", Field("schedule_id")), ("nobody", Missing)] {
        let schedule = client.schedule(id);
        calls.refused("schedule_handle::describe", schedule.describe().await, expected);
        calls.refused("schedule_handle::times", schedule.times(at(0), 1).await, expected);
        calls.refused("schedule_handle::pause", schedule.pause("").await, expected);
        calls.refused("schedule_handle::unpause", schedule.unpause("").await, expected);
        calls.refused("schedule_handle::trigger", schedule.trigger().await, expected);
        calls.refused("schedule_handle::trigger_with", schedule.trigger_with(OverlapPolicy::Skip).await, expected);
        calls.refused(
            "schedule_handle::backfill",
            schedule.backfill(at(0), at(1), OverlapPolicy::Skip).await,
            expected,
        );
    }
    let nightly = client.schedule("nightly");
    calls.refused("schedule_handle::times", nightly.times(at(0), 1001).await, Field("limit"));
    calls.refused("schedule_handle::pause", nightly.pause(long()).await, Field("note"));
    let future = at(6_000_000_000_000_000);
    calls.refused(
        "schedule_handle::backfill",
        nightly.backfill(at(0), future, OverlapPolicy::Skip).await,
        Field("backfill.until"),
    );
    calls.refused("schedule_handle::delete", client.schedule("").delete().await, Field("schedule_id"));
}

async fn batches(client: &Client, calls: &mut Calls) {
    let new = || client.batch("WorkflowId = 'w'").id("new");
    let wrong = || client.batch("Status =").id("new");
    calls.refused("batch::cancel", client.batch("").cancel().await, Field("query"));
    calls.refused("batch::cancel", wrong().cancel().await, Field("query"));
    calls.refused("batch::cancel", new().id("").cancel().await, Field("batch_id"));
    calls.refused("batch::cancel", new().rate(1001).cancel().await, Field("rate"));
    calls.refused("batch::cancel", new().reason(long()).cancel().await, Field("reason"));
    calls.refused("batch::terminate", wrong().terminate().await, Field("query"));
    calls.refused("batch::pause", wrong().pause().await, Field("query"));
    calls.refused("batch::resume", wrong().resume().await, Field("query"));
    calls.refused("batch::delete", wrong().delete().await, Field("query"));
    calls.refused("batch::reset", wrong().reset(BatchReset::failed_activity()).await, Field("query"));
    calls.refused("batch::signal", wrong().signal(Go {}).await, Field("query"));
    calls.refused("batch::send", new().send(Order::ADD, large()).await, Field("operation.signal.input"));
    calls.refused("batch::signal_named", new().signal_named("", &1).await, Field("operation.signal.signal_name"));
    for (id, expected) in [("", Field("batch_id")), ("nobody", Missing)] {
        let batch = client.batch_handle(id);
        calls.refused("batch::describe", batch.describe().await, expected);
        calls.refused("batch::stop", batch.stop("").await, expected);
    }
    calls.refused("batch::delete", client.batch_handle("").delete().await, Field("batch_id"));
}

async fn deployments(client: &Client, calls: &mut Calls) {
    let one = || MoveTo::version("fleet", "one");
    for (handle, expected) in [("", Field("workflow_id")), ("nobody", Missing)] {
        let moved = client.handle_named::<()>(handle).move_to(one()).allow_unknown().await;
        calls.refused("versioning::move_to", moved, expected);
    }
    let w = client.handle_named::<()>("w");
    let nameless = w.move_to(MoveTo::version("", "one")).await;
    calls.refused("versioning::move_to", nameless, Field("versioning_override.version.deployment_name"));
    calls.refused("versioning::move_to", w.move_to(one()).because(long()).allow_unknown().await, Field("reason"));
    let batch = client.batch("Status =").id("new").move_to(one()).await;
    calls.refused("batch::move_to", batch, Field("query"));
    for (name, expected) in [("", Field("deployment_name")), ("nobody", Missing)] {
        let deployment = client.deployment(name);
        calls.refused("deployment/mod::describe", deployment.describe().await, expected);
        calls.refused("deployment/mod::set_current", deployment.set_current("one").await, expected);
        calls.refused("deployment/mod::unset_current", deployment.unset_current().await, expected);
        calls.refused("deployment/mod::ramp", deployment.ramp("one", 5.0).await, expected);
        calls.refused("deployment/mod::stop_ramping", deployment.stop_ramping().await, expected);
        calls.refused("deployment/mod::delete_version", deployment.delete_version("one").await, expected);
    }
    let fleet = client.deployment("fleet");
    calls.refused("deployment/mod::ramp", fleet.ramp("one", 101.0).await, Field("percentage"));
    calls.refused("deployment/mod::set_current", fleet.set_current("x".repeat(201)).await, Field("build_id"));
    calls.refused("deployment/mod::delete_version", fleet.delete_version("").await, Field("build_id"));
    let elsewhere = Client::builder().namespace("nowhere").over(client.transport().clone()).unwrap();
    calls.refused("deployment/mod::deployments", elsewhere.deployments().await, Missing);
}

async fn namespaces_and_lists(client: &Client, calls: &mut Calls) {
    let namespaces = client.namespaces();
    calls.refused("namespaces::send", namespaces.create("").send().await, Field("namespace"));
    calls.refused("namespaces::send", namespaces.create("default").send().await, Taken);
    calls.refused("namespaces::send", namespaces.create("new").description(long()).send().await, Field("description"));
    calls.refused("namespaces::send", namespaces.create("new").owner(long()).send().await, Field("owner"));
    let short = Retention::forever().closed_as(CloseStatus::Failed, seconds(1));
    calls.refused(
        "namespaces::send",
        namespaces.create("new").retention(short).send().await,
        Field("retention.failed"),
    );
    let odd = namespaces.create("new").search_attribute_named("1st", SearchType::Int).send().await;
    calls.refused("namespaces::send", odd, Field("search_attributes"));
    calls.refused("namespaces::send", namespaces.update("nowhere").send().await, Missing);
    let unknown = namespaces.update("default").without_search_attribute("Colour").send().await;
    calls.refused("namespaces::send", unknown, Field("remove_search_attributes"));
    calls.refused("namespaces::describe", namespaces.describe("nowhere").await, Missing);
    calls.refused("namespaces::delete", namespaces.delete("default").await, Field("namespace"));
    calls.refused("namespaces::delete", namespaces.delete("nowhere").await, Missing);
    calls.refused("namespaces::terminate_and_delete", namespaces.terminate_and_delete("").await, Field("namespace"));

    let wrong = "Total = 'many'";
    calls.refused("list::list", client.list(wrong).try_collect::<Vec<_>>().await, Field("query"));
    let many = ListFilter::all().page_size(1001);
    calls.refused("list::list", client.list(many).try_collect::<Vec<_>>().await, Field("page_size"));
    let nobody = ListFilter::all().workflow_id(long());
    calls.refused("list::list", client.list(nobody).try_collect::<Vec<_>>().await, Field("workflow_id"));
    calls.refused("list::count", client.count(wrong).await, Field("query"));
    calls.refused("list::count_by_group", client.count_by_group("GROUP BY WorkflowId").await, Field("query"));

    // Of a namespace that does not exist nothing is listed; a name that is none makes no client.
    let elsewhere = Client::builder().namespace("nowhere").over(client.transport().clone()).unwrap();
    calls.refused("list::count", elsewhere.count("").await, Missing);
    calls.refused("schedule_handle::schedules", elsewhere.schedules().try_collect::<Vec<_>>().await, Missing);
    calls.refused("batch::batches", elsewhere.batches().try_collect::<Vec<_>>().await, Missing);
    calls.refused("mod::over", Client::builder().namespace("").over(client.transport().clone()), Field("namespace"));
    calls.refused("mod::connect", Client::connect("no address").await, Words("no address"));
}

#[tokio::test]
async fn every_call_refuses_what_cannot_be_served_and_changes_nothing() {
    let (engine, client) = world().await;
    let before = snapshot(&client).await;
    let mut calls = Calls::default();
    Box::pin(start(&client, &mut calls)).await;
    Box::pin(handle(&client, &mut calls)).await;
    Box::pin(activities(&client, &mut calls)).await;
    Box::pin(schedules(&client, &mut calls)).await;
    Box::pin(batches(&client, &mut calls)).await;
    Box::pin(deployments(&client, &mut calls)).await;
    Box::pin(namespaces_and_lists(&client, &mut calls)).await;
    assert_eq!(snapshot(&client).await, before, "a refused call changed something");
    engine.shutdown().await;

    // What takes no argument cannot be called wrongly; making a client of settings is `over`.
    let exempt = BTreeSet::from(["namespaces::list".to_owned()]);
    assert!(calls.wrong.is_empty(), "{} answers are wrong:\n{}", calls.wrong.len(), calls.wrong.join("\n"));
    let tried: BTreeSet<String> = calls.tried.iter().map(|call| (*call).to_owned()).chain(exempt).collect();
    let untried: Vec<String> = calls_of_the_client().into_iter().filter(|call| !tried.contains(call)).collect();
    assert!(untried.is_empty(), "add cases for {untried:?}");
}

/// `file::name` of each public method of the client that talks to the engine: the async ones, and those that give a stream or an update.
fn calls_of_the_client() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client");
    let mut found = BTreeSet::new();
    for (folder, prefix) in
        [(root.clone(), ""), (root.join("standalone"), "standalone/"), (root.join("deployment"), "deployment/")]
    {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_none_or(|extension| extension != "rs") || stem == "tests" {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for part in source.split("\n    pub ").skip(1) {
                let signature = part.split('{').next().unwrap_or_default();
                let sends = ["async fn", "-> impl Stream", "-> UpdateSend", "-> RoutingChange", "-> MoveWorkflow"]
                    .iter()
                    .any(|mark| signature.contains(mark));
                if let (true, Some((_, rest))) = (sends, signature.split_once("fn ")) {
                    let name: String = rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
                    found.insert(format!("{prefix}{stem}::{name}"));
                }
            }
        }
    }
    assert!(found.len() > 80, "only {} calls were found", found.len());
    found
}
