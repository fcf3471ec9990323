//! The command line at a server with a worker: what asks a run's code, what shows a run, and what operates on one or on many does so
//! and says so.

use std::process::Output;
use std::time::Duration;

use engine_e2e::checker::Start;
use engine_e2e::clerk::{Clerk, QUEUE};
use engine_e2e::world::{Server, World, program};
use engine_proto::v1;
use engine_sdk::prelude::*;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::databases::Database;

/// Longer than any of these takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(150);

/// What is in a till.
struct Kept {
    cents: u64,
}

/// How much there would be with so much more.
#[query]
fn cents_with(kept: &Kept, more: u64) -> u64 {
    kept.cents + more
}

#[update(returns = u64)]
struct Deposit {
    cents: u64,
}

/// Takes so many deposits, answers each with what there is then, and publishes that.
#[workflow]
async fn till(ctx: WorkflowContext, deposits: u32) -> Result<u64, WorkflowError> {
    let kept = ctx.state(Kept { cents: 0 });
    ctx.answer(cents_with, &kept);
    ctx.publish("cents", &0_u64);
    let mut arriving = ctx.updates::<Deposit>();
    for _ in 0..deposits {
        let deposit = arriving.recv().await;
        let cents = kept.read().cents + deposit.cents;
        kept.write().cents = cents;
        ctx.publish("cents", &cents);
        deposit.complete(cents);
    }
    Ok(kept.read().cents)
}

#[activity(start_to_close = "60s")]
async fn order(_ctx: ActivityContext, part: String) -> Result<String, ActivityError> {
    match part.as_str() {
        "bell" => Err(ActivityError::non_retryable("nobody makes bells")),
        part => Ok(format!("a new {part}")),
    }
}

/// Orders the part from the supplier, a queue, and mends the bike once its owner has said yes.
#[workflow]
async fn mend(ctx: WorkflowContext, part: String, supplier: String) -> Result<String, WorkflowError> {
    let part = ctx.run(order, part).task_queue(supplier).activity_id("order").await?;
    let mut owners = ctx.signal_channel::<String>("go ahead");
    select! {
        owner = owners.recv() => Ok(format!("{owner}'s bike has {part}")),
        _ = ctx.cancelled() => Err(WorkflowError::canceled()),
    }
}

/// A server with a worker, and a shell before it.
struct Scene {
    _world: World,
    server: Server,
    client: Client,
}

impl Scene {
    /// Plays `play` while a worker runs.
    async fn play(play: impl AsyncFnOnce(&Scene)) {
        let world = World::new().unwrap();
        let server = Database::Sqlite.server(&world).await;
        let client = Client::connect(&server.url()).await.unwrap();
        let scene = Scene { _world: world, server, client };
        let worker = Worker::new(scene.client.clone(), QUEUE).workflow(till).workflow(mend).activity(order);
        let played = tokio::time::timeout(DEADLINE, worker.run_until(play(&scene))).await;
        played.expect("it ends").unwrap();
    }

    async fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program("e2e-engine").unwrap());
        command.args(words).args(["--address", &self.server.url(), "--identity", "ada"]).output().await.unwrap()
    }

    /// What a command that does what it is asked to prints.
    async fn said(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        assert!(output.status.success(), "{words:?} said: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.said(&[words, &["--output", "json"]].concat()).await).unwrap()
    }

    /// What `result` says of a run that did not complete; before that it may say that it waits.
    async fn failed(&self, workflow_id: &str) -> String {
        let output = self.run(&["workflow", "result", workflow_id]).await;
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]), "{workflow_id}");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn mend(&self, workflow_id: &str, part: &str, supplier: &str) -> Start {
        let start = self.client.workflow(mend).id(workflow_id).queue(QUEUE);
        let handle = start.start((part.to_owned(), supplier.to_owned())).await.unwrap();
        Start { workflow_id: workflow_id.to_owned(), run_id: handle.run_id().unwrap().to_string() }
    }

    async fn go_ahead(&self, workflow_id: &str, owner: &str) {
        let input = json!(owner).to_string();
        self.said(&["workflow", "signal", workflow_id, "--name", "go ahead", "-i", &input]).await;
    }

    /// Starts a batch over the runs whose ids begin so, and waits until it is over and has done it to all of them.
    async fn batch(&self, batch_id: &str, prefix: &str, runs: u64, operation: &[&str]) -> Value {
        let query = format!("WorkflowId STARTS_WITH '{prefix}'");
        let words = ["batch", "start", "--id", batch_id, "-q", &query, "--reason", "spring", "--rate", "1000"];
        let said = self.said(&[&words[..], &["--operation"], operation].concat()).await;
        assert_eq!(said, format!("started batch {batch_id} over {runs} runs"));
        let batch = loop {
            let batch = self.json(&["batch", "describe", batch_id]).await;
            if batch["state"] != "RUNNING" {
                break batch;
            }
        };
        let counted = (&batch["state"], &batch["total"], &batch["done"], &batch["failed"]);
        assert_eq!(counted, (&json!("COMPLETED"), &json!(runs), &json!(runs), &json!(0)), "{batch}");
        assert_eq!((&batch["reason"], &batch["identity"]), (&json!("spring"), &json!("ada")));
        batch["operation"].clone()
    }

    async fn count(&self, filter: &str) -> String {
        self.said(&["workflow", "count", "-q", filter]).await
    }
}

#[tokio::test]
async fn what_a_run_answers_and_shows_is_printed() {
    Scene::play(async |scene| {
        scene.client.workflow(till).id("till").queue(QUEUE).start(2).await.unwrap();
        let query = ["workflow", "query", "till", "--name", "cents_with", "--timeout", "60s", "-i"];
        assert_eq!(scene.said(&[&query[..], &["5"]].concat()).await, "5");
        let deposit = async |update_id: &str, cents: u64| {
            let input = json!({ "cents": cents }).to_string();
            let update = ["workflow", "update", "till", "--name", "Deposit", "--timeout", "60s", "-i", &input];
            scene.said(&[&update[..], &["--update-id", update_id]].concat()).await
        };
        assert_eq!(deposit("one", 500).await, "500");
        assert_eq!(deposit("one", 500).await, "500", "the same key is the same update");
        let first = scene.json(&["workflow", "published", "till"]).await;
        assert_eq!(first["cents"]["value"]["data"], 500, "{first}");
        assert_eq!(deposit("two", 250).await, "750");
        assert_eq!(scene.said(&["workflow", "result", "till"]).await, "750");

        // The closed run still answers, and shows what it showed.
        assert_eq!(scene.said(&[&query[..], &["50"]].concat()).await, "800");
        let published = ["workflow", "published", "till", "--name", "cents"];
        assert_eq!(scene.said(&published).await, "750");
        let at = first["cents"]["event_id"].as_u64().unwrap();
        for (at, expected) in [(at, "500"), (at - 1, "0")] {
            assert_eq!(scene.said(&[&published[..], &["--at", &at.to_string()]].concat()).await, expected, "{at}");
        }
        let table = scene.said(&["workflow", "published", "till"]).await;
        assert!(table.contains("NAME") && table.contains("cents") && table.contains("750"), "{table}");
    })
    .await;
}

#[tokio::test]
async fn a_run_goes_on_from_an_earlier_point_and_from_a_failed_activity() {
    Scene::play(async |scene| {
        let first = scene.mend("chain", "chain", QUEUE).await;
        scene.go_ahead("chain", "Ada").await;
        assert_eq!(scene.said(&["workflow", "result", "chain"]).await, "\"Ada's bike has a new chain\"");
        let reset = ["workflow", "reset", "chain", "--first-task", "--exclude-signals", "--reason", "her sister's"];
        let again = scene.json(&reset).await;
        assert_ne!(again["run_id"], first.run_id.as_str(), "{again}");
        assert!(again["forked_at_event_id"].as_u64().unwrap() > 1, "{again}");
        scene.go_ahead("chain", "Bea").await;
        let result = scene.json(&["workflow", "result", "chain"]).await;
        assert_eq!(result["result"]["data"], "Bea's bike has a new chain", "{result}");

        scene.mend("bell", "bell", QUEUE).await;
        let why = scene.failed("bell").await;
        assert!(why.contains("workflow bell failed\n") && why.contains("nobody makes bells"), "{why}");
        let repair = ["workflow", "repair", "bell", "--result", "\"a used bell\"", "--reason", "found one"];
        let said = scene.said(&repair).await;
        assert!(said.starts_with("workflow bell goes on before event ") && said.contains(", in run "), "{said}");
        scene.go_ahead("bell", "Ben").await;
        assert_eq!(scene.said(&["workflow", "result", "bell"]).await, "\"Ben's bike has a used bell\"");

        assert_eq!(scene.count("WorkflowType = 'mend'").await, "4 workflows");
        assert_eq!(scene.count("WorkflowType = 'mend' AND Status = 'Failed'").await, "1 workflow");
        let counted = scene.json(&["workflow", "count", "-q", "GROUP BY Status"]).await;
        let groups = json!([{ "value": "Completed", "count": 3 }, { "value": "Failed", "count": 1 }]);
        assert_eq!(counted, json!({ "count": 4, "groups": groups }));
    })
    .await;
}

#[tokio::test]
async fn an_open_activity_is_paused_changed_reset_and_let_go_on() {
    Scene::play(async |scene| {
        // No worker is there, so it stays open.
        let start = scene.mend("tyre", "tyre", "nobody").await;
        let clerk = Clerk::new([scene.server.url()]).unwrap();
        let is_open = |run: &v1::DescribeWorkflowResponse| (!run.pending_activities.is_empty()).then_some(());
        clerk.see(&start, is_open).await.unwrap();
        let activity = async |verb: &str, more: &[&str]| {
            let words = ["workflow", "activity", verb, "tyre", "--activity", "order"];
            scene.said(&[&words[..], more].concat()).await
        };
        let pending = async || scene.json(&["workflow", "describe", "tyre"]).await["pending_activities"][0].clone();
        assert_eq!(activity("pause", &["--reason", "strike"]).await, "paused activity order of workflow tyre");
        assert_eq!(activity("pause", &[]).await, "nothing to do for activity order of workflow tyre");
        let paused = pending().await;
        assert_eq!(paused["paused"]["reason"], "strike", "{paused}");
        let options = ["--queue", QUEUE, "--max-attempts", "7"];
        assert_eq!(activity("options", &options).await, "changed activity order of workflow tyre");
        assert_eq!(activity("options", &options).await, "nothing to do for activity order of workflow tyre");
        assert_eq!(activity("reset", &["--keep-paused"]).await, "reset activity order of workflow tyre");
        let changed = pending().await;
        let stands = (&changed["task_queue"], &changed["maximum_attempts"], &changed["paused"]["reason"]);
        assert_eq!(stands, (&json!(QUEUE), &json!(7), &json!("strike")), "{changed}");
        assert_eq!(activity("unpause", &["--reset-attempts"]).await, "unpaused activity order of workflow tyre");
        scene.go_ahead("tyre", "Ada").await;
        assert_eq!(scene.said(&["workflow", "result", "tyre"]).await, "\"Ada's bike has a new tyre\"");
    })
    .await;
}

#[tokio::test]
async fn what_is_done_to_many_runs_is_done_to_each() {
    Scene::play(async |scene| {
        for workflow_id in ["left-0", "left-1", "left-2", "sold-0", "sold-1"] {
            scene.mend(workflow_id, "tyre", QUEUE).await;
        }
        let done = scene.batch("close", "left-", 3, &["pause"]).await;
        assert_eq!(done, json!({ "kind": "PAUSE" }));
        assert_eq!(scene.count("Paused = true").await, "3 workflows");
        let done = scene.batch("agree", "left-", 3, &["signal", "--name", "go ahead", "-i", "\"Ada\""]).await;
        assert_eq!((&done["kind"], &done["signal_name"]), (&json!("SIGNAL"), &json!("go ahead")), "{done}");
        assert_eq!(scene.count("Paused = true AND Status = 'Running'").await, "3 workflows");
        assert_eq!(scene.batch("open", "left-", 3, &["resume"]).await, json!({ "kind": "RESUME" }));
        for workflow_id in ["left-0", "left-1", "left-2"] {
            let result = scene.said(&["workflow", "result", workflow_id]).await;
            assert_eq!(result, "\"Ada's bike has a new tyre\"", "{workflow_id}");
        }
        assert_eq!(scene.batch("stop", "sold-", 2, &["cancel"]).await, json!({ "kind": "CANCEL" }));
        for workflow_id in ["sold-0", "sold-1"] {
            let why = scene.failed(workflow_id).await;
            assert!(why.contains(&format!("workflow {workflow_id} canceled")), "{why}");
        }
        assert_eq!(scene.count("Status = 'Canceled'").await, "2 workflows");
        assert_eq!(scene.count("Status = 'Completed'").await, "3 workflows");
    })
    .await;
}
