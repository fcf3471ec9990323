//! `--check-open-runs` as a deployment calls it: a program of its own, which says in words and by its exit code whether its build follows the
//! open runs.

use std::time::Duration;

use engine_e2e::clerk::Clerk;
use engine_e2e::programs::{Build, WorkerSettings, deployed, waiting};
use engine_e2e::world::{Server, World, program};
use engine_proto::v1;
use engine_sdk::prelude::*;
use engine_sdk::replay::{Replayer, from_json};
use engine_testkit::process::Process;
use serde_json::json;
use tokio::process::Command;

use crate::databases::Database;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with open runs.
struct Scene {
    world: World,
    server: Server,
    clerk: Clerk,
}

/// What a program said at its end.
struct Said {
    code: Option<i32>,
    text: String,
}

impl Scene {
    /// Two runs of `deployed` that wait behind their first step, and one of `waiting`.
    async fn new(database: Database) -> Scene {
        let world = World::new().unwrap();
        let server = database.server(&world).await;
        let clerk = Clerk::new([server.url()]).unwrap();
        let mut worker = world.worker(&server, "worker").unwrap();
        let starts = [("one", "deployed", vec![]), ("two", "deployed", vec![]), ("long", "waiting", vec![json!(3)])];
        for (workflow_id, workflow_type, input) in starts {
            let start = clerk.start(workflow_id, workflow_type, &input).await.unwrap();
            let has_run = if workflow_type == "deployed" { 4 + 6 } else { 4 + 3 * 6 };
            let waits = |description: &v1::DescribeWorkflowResponse| {
                let events = description.summary.as_ref()?.history_length;
                (events == has_run && description.pending_workflow_task.is_none()).then_some(())
            };
            clerk.see(&start, waits).await.unwrap();
        }
        worker.stop().await.unwrap();
        Scene { world, server, clerk }
    }

    async fn check(&self, build: Build, arguments: &[&str]) -> Said {
        let settings = self.world.worker_settings(&self.server, "checking");
        let mut command = WorkerSettings { build, ..settings }.command().unwrap();
        command.args(arguments);
        let mut program = Process::spawn("the check", command).unwrap();
        let status = program.wait(PATIENCE).await.unwrap();
        Said { code: status.code(), text: program.whole_output(PATIENCE).await.unwrap().join("\n") }
    }
}

/// A line of the table, without its padding.
#[track_caller]
fn assert_row(said: &Said, expected: &str) {
    let rows: Vec<String> =
        said.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(rows.iter().any(|row| row == expected), "no row {expected:?} in\n{}", said.text);
}

async fn a_deployment_learns_it(database: Database) {
    let scene = Scene::new(database).await;

    let said = scene.check(Build::Right, &["--check-open-runs"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_row(&said, "deployed 2 2 0 0");
    assert_row(&said, "waiting 1 1 0 0");
    assert!(said.text.contains("3 runs of 42 events in "), "{}", said.text);
    // There is no terminal, so there is no bar.
    assert!(!said.text.contains(['\r', '\x1b', '#']), "{:?}", said.text);

    let said = scene.check(Build::Changed, &["--check-open-runs"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_row(&said, "deployed 2 0 2 0");
    assert_row(&said, "waiting 1 1 0 0");
    assert!(said.text.contains("deployed \"one\", run ") && said.text.contains("deployed \"two\", run "));
    assert!(said.text.contains("StartTimer") && said.text.contains("ScheduleActivity step"), "{}", said.text);

    let said = scene.check(Build::Panicking, &["--check-open-runs=1"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_row(&said, "deployed 1 0 1 0");
    assert!(said.text.contains("deployed \"two\", run "), "the latest is the sample: {}", said.text);
    assert!(said.text.contains("this build panics as it should"), "{}", said.text);

    let said = scene.check(Build::Right, &["--check-open-runs=some"]).await;
    assert_eq!(said.code, Some(2), "{}", said.text);
    assert!(said.text.contains("takes a number of runs"), "{}", said.text);

    // It looked only: nothing was given to a worker, and the runs wait as they did.
    for workflow_id in ["one", "two", "long"] {
        let start = engine_e2e::checker::Start { workflow_id: workflow_id.to_owned(), run_id: String::new() };
        let described = scene.clerk.describe(&start).await.unwrap();
        assert!(described.pending_workflow_task.is_none(), "{described:?}");
        assert_eq!(described.summary.unwrap().task_failure, "");
    }
}

#[tokio::test]
async fn a_deployment_learns_from_the_exit_code_whether_its_build_follows_the_open_runs() {
    a_deployment_learns_it(Database::Sqlite).await;
}

#[tokio::test]
async fn a_deployment_learns_it_of_runs_in_postgres_too() {
    a_deployment_learns_it(Database::Postgres).await;
}

#[tokio::test]
async fn a_history_that_the_command_line_exports_is_replayed_from_its_file() {
    let scene = Scene::new(Database::Sqlite).await;
    for (workflow_id, events) in [("long", 22), ("one", 10)] {
        let output = Command::new(program("e2e-engine").unwrap())
            .args(["workflow", "history", workflow_id, "--output", "json", "--address", &scene.server.url()])
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = scene.world.path("exported.json");
        std::fs::write(&file, &output.stdout).unwrap();

        let replayer = || Replayer::new().workflow(waiting).workflow(deployed);
        replayer().replay_file(&file).unwrap();
        assert_eq!(from_json(&std::fs::read_to_string(&file).unwrap()).unwrap().len(), events);
        let difference = Replayer::new().workflow(renamed_waiting).workflow(renamed_deployed).replay_file(&file);
        let difference = difference.unwrap_err().to_string();
        assert!(difference.contains("StartTimer"), "{difference}");
    }
}

/// Other code under the names of the tests' workflows.
#[workflow(name = "waiting")]
async fn renamed_waiting(ctx: WorkflowContext, _rounds: u32) -> Result<(), WorkflowError> {
    ctx.sleep(seconds(1)).await;
    Ok(())
}

#[workflow(name = "deployed")]
async fn renamed_deployed(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(seconds(1)).await;
    Ok(())
}
