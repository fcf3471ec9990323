//! The `engine` binary as a script sees it: what it prints, and how it exits.

#![allow(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use engine_testkit::postgres::{PostgresCluster, fresh_database, shared_cluster};
use engine_testkit::process::Process;
use serde_json::Value;

/// A slow machine is not a failure; a hang is.
const DEADLINE: Duration = Duration::from_secs(60);

fn engine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.args(arguments);
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("ENGINE_") && !name.starts_with("ENGINE_TEST_"))
    {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
#[track_caller]
fn run(arguments: &[&str]) -> Output {
    engine(arguments).output().unwrap()
}

/// Runs a command that must exit with `code`, and gives what it said on standard error.
#[track_caller]
fn refused(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said: {said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    said.trim_end().to_owned()
}

/// A server process and how to reach it.
struct Server {
    process: Process,
    address: String,
}

impl Server {
    async fn start(arguments: &[&str]) -> Server {
        Self::start_at("127.0.0.1:0", arguments).await
    }

    async fn start_at(listen: &str, arguments: &[&str]) -> Server {
        let mut all = arguments.to_vec();
        all.extend(["--listen", listen, "--output", "json"]);
        let mut process = Process::spawn("server", engine(&all)).unwrap();
        let line = process.wait_for_line(DEADLINE, |line| line.starts_with("{\"address\"")).await.unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Server { process, address: ready["address"].as_str().unwrap().to_owned() }
    }

    async fn dev(file: &Path) -> Server {
        Self::start(&["dev", "--db", file.to_str().unwrap()]).await
    }

    fn listen_address(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// Asks the server something, and gives the exit code, standard output and standard error.
    #[track_caller]
    fn ask(&self, verb: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut all = vec!["workflow", verb, "--address", &self.address];
        all.extend(arguments);
        let output = run(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let (code, stdout, stderr) = self.ask(verb, &all);
        assert_eq!(code, 0, "{verb} {arguments:?} said: {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

#[tokio::test]
async fn a_schedule_is_created_looked_at_changed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::dev(&directory.path().join("engine.db")).await;
    let schedule = |verb: &str, arguments: &[&str]| -> Value {
        let mut all = vec!["schedule", verb, "--address", &server.address, "--output", "json"];
        all.extend(arguments);
        let output = run(&all);
        assert!(output.status.success(), "{verb} said: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let definition =
        ["nightly", "-t", "report", "-q", "reports", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"];
    let created = schedule("create", &[&definition[..], &["--paused", "--note", "not yet"]].concat());
    assert_eq!(created["version"], 1);
    let weekdays = [
        "weekdays",
        "-t",
        "report",
        "-q",
        "reports",
        "--calendar",
        "day-of-week=mon-fri hour=8,17",
        "--exclude",
        "month=12 day-of-month=24-26 hour=*",
        "--summary",
        "Numbers of the day",
        "--max-attempts",
        "3",
    ];
    schedule("create", &weekdays);
    // Christmas Eve of 2026 is a Thursday.
    let times = schedule("times", &["weekdays", "--after", "2026-12-23T12:00:00Z", "-n", "2"]);
    assert_eq!(times, serde_json::json!(["2026-12-23T17:00:00.000000Z", "2026-12-28T08:00:00.000000Z"]));
    schedule("trigger", &["weekdays"]);
    let deadline = Instant::now() + DEADLINE;
    let report = loop {
        assert!(Instant::now() < deadline, "a trigger starts a run");
        let started = server.json("list", &["-t", "report"]);
        if let Some(run) = started.as_array().and_then(|runs| runs.first()) {
            break run["workflow_id"].as_str().unwrap().to_owned();
        }
    };
    let history = server.json("history", &[&report]);
    let started = &history[0]["attributes"];
    assert_eq!(
        (&started["summary"], &started["retry_policy"]["maximum_attempts"]),
        (&"Numbers of the day".into(), &3.into())
    );
    schedule("delete", &["weekdays"]);
    let described = schedule("describe", &["nightly"]);
    assert_eq!((&described["paused"], &described["note"]), (&true.into(), &"not yet".into()));
    assert_eq!(described["times"], "30 2 * * * in Europe/Berlin");
    let times = schedule("times", &["nightly", "--after", "2026-03-28T12:00:00Z", "-n", "2"]);
    assert_eq!(times, serde_json::json!(["2026-03-29T01:00:00.000000Z", "2026-03-30T00:30:00.000000Z"]));

    assert_eq!(schedule("unpause", &["nightly"])["version"], 2);
    assert_eq!(schedule("pause", &["nightly", "--note", "holidays"])["version"], 3);
    schedule("trigger", &["nightly", "--overlap", "allow-all"]);
    let range =
        ["nightly", "--from", "2025-03-29T00:00:00Z", "--until", "2025-03-29T12:00:00Z", "--overlap", "allow-all"];
    schedule("backfill", &range);
    let stale = [&["schedule", "update", "--address", &server.address][..], &definition, &["--version", "1"]].concat();
    assert!(refused(&stale, 1).contains("read it again"));
    let changed = schedule("update", &[&definition[..], &["--version", "3", "--limit", "5"]].concat());
    assert_eq!(changed["version"], 4);
    let listed = schedule("list", &[]);
    assert_eq!((&listed[0]["schedule_id"], &listed[0]["workflow_type"]), (&"nightly".into(), &"report".into()));

    assert_eq!(schedule("delete", &["nightly"])["existed"], true);
    assert_eq!(schedule("delete", &["nightly"])["existed"], false);
    let gone = refused(&["schedule", "describe", "nightly", "--address", &server.address], 4);
    assert!(gone.contains("nightly"), "{gone}");
    let wrong = ["schedule", "create", "x", "-t", "t", "-q", "q", "--cron", "61 * * * *", "--address", &server.address];
    assert!(refused(&wrong, 1).contains("schedule.spec.crons[0].minute"));
}

#[tokio::test]
async fn a_workflow_is_started_seen_and_terminated_and_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("engine.db");
    let mut server = Server::dev(&file).await;
    let input = ["--type", "checkout", "--queue", "orders", "--id", "order-1", "--input", "{\"cents\":12345678901}"];
    let started = server.json("start", &input);
    assert_eq!(started["started"], true);
    let run_id = started["run_id"].as_str().unwrap().to_owned();

    let description = server.json("describe", &["order-1"]);
    assert_eq!(description["pending_workflow_task"]["state"], "SCHEDULED");
    let (_, text, _) = server.ask("describe", &["order-1"]);
    assert!(text.contains("no worker has taken it from queue orders"), "{text}");

    server.json("signal", &["order-1", "--name", "approve", "--input", "true"]);
    server.process.kill9().await.unwrap();
    let server = Server::dev(&file).await;

    let history = server.json("history", &["order-1"]);
    let types: Vec<&str> = history.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["WorkflowStarted", "WorkflowSignaled"]);
    assert_eq!(history[0]["attributes"]["input"][0]["data"]["cents"], 12_345_678_901_i64);
    assert_eq!(history[0]["attributes"]["run_id"], run_id.as_str());

    let (code, _, stderr) = server.ask("result", &["order-1", "--timeout", "0s"]);
    assert_eq!((code, stderr.as_str()), (7, "error: workflow order-1 is still running\n"));
    assert_eq!(server.json("pause", &["order-1", "--reason", "the bank is closed"])["changed"], true);
    let (_, text, _) = server.ask("describe", &["order-1"]);
    assert!(text.contains("RUNNING (paused)") && text.contains("the bank is closed"), "{text}");
    assert_eq!(server.json("list", &["-q", "Paused = true"])[0]["paused"], true);
    assert_eq!(server.json("resume", &["order-1"])["changed"], true);
    let (code, _, stderr) = server.ask("reset", &["order-1", "--last-task"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("has completed no workflow task"), "{stderr}");
    let (code, _, stderr) = server.ask("repair", &["order-1", "--result", "7"]);
    assert!(code == 1 && stderr.contains("no activity has failed in this run"), "{stderr}");
    server.json("terminate", &["order-1", "--reason", "seen enough"]);
    let (code, stdout, stderr) = server.ask("result", &["order-1"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert_eq!(stderr, "workflow order-1 terminated\n  terminated: seen enough\n");
    let list = server.json("list", &["--status", "terminated"]);
    assert_eq!(list[0]["run_id"], run_id.as_str());
    assert_eq!(server.json("delete", &["order-1"])["run_id"], run_id.as_str());
    let (code, _, stderr) = server.ask("describe", &["order-1"]);
    assert_eq!((code, stderr.as_str()), (4, "error: workflow \"order-1\" not found\n"));
}

#[tokio::test]
async fn an_update_is_described_while_it_waits_and_a_signal_goes_along_with_a_start() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    let start = ["--type", "t", "--queue", "q", "--id", "w", "--signal", "go", "--signal-input", "7"];
    assert_eq!(server.json("start", &start)["started"], true);
    assert_eq!(server.json("start", &start)["started"], false, "it goes to the run that is open");
    let history = server.json("history", &["w"]);
    let types: Vec<&str> = history.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["WorkflowStarted", "WorkflowSignaled", "WorkflowSignaled"]);
    assert_eq!(history[1]["attributes"]["input"][0]["data"], 7);

    let update = ["w", "--name", "deposit", "--update-id", "u-1", "--input", "5", "--timeout", "0s"];
    let (code, stdout, stderr) = server.ask("update", &update);
    assert_eq!((code, stdout.as_str()), (7, ""));
    assert!(stderr.contains("still waits for a worker"), "{stderr}");
    let description = server.json("describe", &["w"]);
    assert_eq!(description["pending_updates"][0]["update_id"], "u-1");
    assert_eq!(description["pending_updates"][0]["stage"], "ADMITTED");
    let (_, text, _) = server.ask("describe", &["w"]);
    assert!(text.contains("deposit") && text.contains("waits for a worker"), "{text}");
    server.json("terminate", &["w", "--reason", "seen enough"]);
    let (code, _, stderr) = server.ask("update", &update);
    assert_eq!(code, 4, "{stderr}");

    // An update that goes along with a start reaches the run that it starts, and with the same key it is the same update.
    let along = ["--type", "t", "--queue", "q", "--id", "x", "--update", "deposit", "--update-input", "5"];
    let along = [&along[..], &["--update-id", "u-1", "--timeout", "0s"]].concat();
    for did in ["started workflow x", "was running already: workflow x"] {
        let (code, stdout, stderr) = server.ask("start", &along);
        assert_eq!((code, stdout.as_str()), (7, ""));
        assert!(stderr.starts_with(did) && stderr.contains("still waits for a worker"), "{stderr}");
    }
    let pending = server.json("describe", &["x"])["pending_updates"].clone();
    assert_eq!((pending.as_array().unwrap().len(), &pending[0]["update_id"]), (1, &"u-1".into()));
    let (code, _, stderr) = server.ask("start", &["--type", "t", "--queue", "q", "--timeout", "1s"]);
    assert_eq!(code, 2, "{stderr}");
}

/// `engine deployment`, at this server.
fn deployment_words<'a>(server: &'a Server, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["deployment", "--address", &server.address][..], arguments].concat()
}

#[tokio::test]
async fn builds_are_rolled_out_and_runs_are_moved() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    let deployment = |arguments: &[&str]| -> Value {
        let output = run(&[&deployment_words(&server, arguments)[..], &["--output", "json"]].concat());
        assert!(output.status.success(), "{arguments:?} said: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let unknown = refused(&deployment_words(&server, &["set-current", "shop", "build-42"]), 4);
    assert!(unknown.contains("shop"), "{unknown}");
    // No worker of it runs here: tasks wait for one.
    let set = deployment(&["set-current", "shop", "build-42", "--allow-unknown"]);
    assert_eq!((&set["deployment"]["current_build_id"], &set["previous_build_id"]), (&"build-42".into(), &Value::Null));
    let revision = set["deployment"]["revision"].to_string();
    let ramped = ["ramp", "shop", "build-43", "--percentage", "12.34", "--allow-unknown", "--revision", &revision];
    assert_eq!(deployment(&ramped)["deployment"]["ramping_percentage"], 12.34);
    let stale = refused(&deployment_words(&server, &["unramp", "shop", "--revision", &revision]), 1);
    assert!(stale.contains("has revision"), "{stale}");
    let too_much = refused(&deployment_words(&server, &["ramp", "shop", "build-43", "--percentage", "101"]), 1);
    assert!(too_much.contains("percentage") && too_much.contains("0 to 100"), "{too_much}");
    let text = String::from_utf8(run(&deployment_words(&server, &["describe", "shop"])).stdout).unwrap();
    assert!(text.contains("build-42 ") && text.contains("CURRENT") && text.contains("12.34 %"), "{text}");
    assert_eq!(deployment(&["list"])[0]["ramping_build_id"], "build-43");

    let pinned = ["--type", "t", "--queue", "q", "--id", "w", "--pin", "shop:build-43"];
    let (code, _, said) = server.ask("start", &pinned);
    assert!(code == 1 && said.contains("does not serve"), "{said}");
    server.json("start", &pinned[..6]);
    let (code, _, said) = server.ask("move", &["w", "--pin", "shop:build-43"]);
    assert!(code == 1 && said.contains("does not serve"), "{said}");
    let moved = server.json("move", &["w", "--pin", "shop:build-43", "--allow-unknown", "--reason", "a test"]);
    assert_eq!(moved["changed"], true);
    let (_, said, _) = server.ask("move", &["w", "--pin", "shop:build-43", "--allow-unknown"]);
    assert_eq!(said, "workflow w stays with build build-43 of deployment shop already\n");
    let listed = server.json("list", &["-q", "BuildId = 'build-43'"]);
    assert_eq!(
        (&listed[0]["version"]["build_id"], &listed[0]["versioning_behavior"]),
        (&"build-43".into(), &"PINNED".into())
    );
    let (_, text, _) = server.ask("list", &[]);
    assert!(text.contains("VERSION") && text.contains("shop:build-43 (pinned)"), "{text}");
    let (_, text, _) = server.ask("describe", &["w"]);
    assert!(text.contains("stays with shop:build-43, whatever its code says"), "{text}");
    let (_, text, _) = server.ask("history", &["w"]);
    assert!(text.contains("pinned to build build-43 of deployment shop") && text.contains("a test"), "{text}");
    assert!(deployment(&["unramp", "shop"])["previous_build_id"] == "build-43");
    let kept = refused(&deployment_words(&server, &["delete-version", "shop", "build-43"]), 1);
    assert!(kept.contains("pinned to it"), "{kept}");
    server.json("move", &["w", "--as-code-says"]);
    deployment(&["delete-version", "shop", "build-43"]);

    let said = run(&deployment_words(&server, &["unset-current", "shop"])).stdout;
    let expected =
        "no build of deployment shop is current, new runs go to workers without a version; before: build-42\n";
    assert_eq!(String::from_utf8(said).unwrap(), expected);
    deployment(&["delete-version", "shop", "build-42"]);
    assert_eq!(deployment(&["list"]), Value::Array(Vec::new()));
    assert!(
        refused(&["workflow", "move", "w", "--pin", "shop", "--address", &server.address], 2)
            .contains("DEPLOYMENT:BUILD")
    );
}

#[tokio::test]
async fn a_watch_prints_what_happens_until_the_run_closes() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    server.json("start", &["--type", "t", "--queue", "q", "--id", "watched"]);
    let watch = ["workflow", "watch", "watched", "--address", &server.address];
    let mut watching = Process::spawn("watch", engine(&watch)).unwrap();
    watching.wait_for_line(DEADLINE, |line| line.contains("WorkflowStarted")).await.unwrap();
    server.json("cancel", &["watched", "--reason", "changed my mind"]);
    watching.wait_for_line(DEADLINE, |line| line.contains("reason: changed my mind")).await.unwrap();
    server.json("terminate", &["watched"]);
    watching.wait_for_line(DEADLINE, |line| line.contains("WorkflowTerminated")).await.unwrap();
    assert_eq!(watching.wait(DEADLINE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_watch_follows_the_runs_of_a_cron_until_there_is_no_other() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    // Nobody works: each run begins at a second and is over soon after.
    let cron = ["--type", "t", "--queue", "q", "--id", "cron", "--cron", "* * * * * *", "--run-timeout", "1ms"];
    server.json("start", &cron);
    let watch = ["workflow", "watch", "cron", "--follow", "--address", &server.address];
    let mut watching = Process::spawn("watch", engine(&watch)).unwrap();
    let mut runs = 0;
    let third = |line: &str| {
        runs += usize::from(line.contains("WorkflowStarted") && line.contains("cron * * * * * *"));
        runs == 3
    };
    watching.wait_for_line(DEADLINE, third).await.unwrap();
    let mut starts = 0;
    let until_third = |line: &String| {
        starts += usize::from(line.contains("WorkflowStarted"));
        starts < 3
    };
    let lines: Vec<String> = watching.output().into_iter().take_while(until_third).collect();
    let told = |wanted: &str| lines.iter().filter(|line| line.contains(wanted)).count();
    assert_eq!(
        (told("WorkflowTimedOut"), told("continued by run")),
        (2, 4),
        "in the event and between runs: {lines:?}"
    );
    server.json("terminate", &["cron"]);
    watching.wait_for_line(DEADLINE, |line| line.contains("WorkflowTerminated")).await.unwrap();
    assert_eq!(watching.wait(DEADLINE).await.unwrap().code(), Some(0));
    let (_, text, _) = server.ask("describe", &["cron"]);
    assert!(text.contains("Next runs") && text.contains("cron * * * * * *"), "{text}");
}

#[tokio::test]
async fn commands_that_wait_go_on_when_the_server_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("engine.db");
    let dev = ["dev", "--db", file.to_str().unwrap()];
    let mut server = Server::start(&dev).await;
    server.json("start", &["--type", "t", "--queue", "q", "--id", "long"]);
    let waiting = |verb: &str| {
        let arguments = ["workflow", verb, "long", "--address", &server.address];
        Process::spawn(verb, engine(&arguments)).unwrap()
    };
    let (mut watch, mut result) = (waiting("watch"), waiting("result"));
    // Both must be connected: a command that never reached a server fails at once.
    watch.wait_for_line(DEADLINE, |line| line.contains("WorkflowStarted")).await.unwrap();
    result.wait_for_line(DEADLINE, |line| line.contains("is running; waiting")).await.unwrap();

    server.process.kill9().await.unwrap();
    watch.wait_for_line(DEADLINE, |line| line.contains("is gone; trying to reach it")).await.unwrap();
    let server = Server::start_at(server.listen_address(), &dev).await;
    server.json("terminate", &["long", "--reason", "enough"]);

    watch.wait_for_line(DEADLINE, |line| line.contains("WorkflowTerminated")).await.unwrap();
    assert_eq!(watch.wait(DEADLINE).await.unwrap().code(), Some(0));
    let lines = watch.output();
    let started = lines.iter().filter(|line| line.contains("WorkflowStarted")).count();
    assert_eq!(started, 1, "nothing is printed twice: {lines:?}");
    result.wait_for_line(DEADLINE, |line| line.contains("terminated: enough")).await.unwrap();
    assert_eq!(result.wait(DEADLINE).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn requests_that_cannot_be_met_have_their_own_exit_codes() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    server.json("start", &["--type", "t", "--queue", "q", "--id", "taken"]);
    let (code, _, said) = server.ask("start", &["--type", "t", "--queue", "q", "--id", "taken"]);
    assert_eq!(code, 6);
    assert!(said.contains("already running"), "{said}");
    let (code, _, said) = server.ask("describe", &["nobody"]);
    assert_eq!((code, said.as_str()), (4, "error: workflow \"nobody\" not found\n"));
    let (code, _, said) = server.ask("list", &["--namespace", "nowhere"]);
    assert_eq!((code, said.as_str()), (4, "error: namespace \"nowhere\" not found\n"));
    let (code, _, said) = server.ask("start", &["--type", "", "--queue", "q"]);
    assert_eq!((code, said.as_str()), (1, "error: workflow_type: must not be empty\n"));
    let (code, _, said) = server.ask("start", &["--type", "", "--queue", "q", "--output", "json"]);
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, error["error"]["field"].as_str()), (1, Some("workflow_type")));
    let (code, _, said) = server.ask("start", &["--type", "t", "--queue", "q", "--input", "text"]);
    assert_eq!(code, 2);
    assert!(said.starts_with("error: --input number 1 is not JSON"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_stops_cleanly() {
    let mut server = Server::start(&["dev", "--db", ":memory:"]).await;
    server.process.signal("TERM").await.unwrap();
    assert_eq!(server.process.wait(DEADLINE).await.unwrap().code(), Some(0));
    let said = refused(&["workflow", "list", "--address", &server.address], 5);
    let expected = format!("error: cannot reach the server at {}: connection refused", server.address);
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn an_occupied_port_and_an_occupied_file_are_told_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("engine.db");
    let server = Server::dev(&file).await;
    let said = refused(&["dev", "--db", ":memory:", "--listen", server.listen_address()], 8);
    assert!(said.contains("address already in use") && said.contains("--listen 127.0.0.1:0"), "{said}");
    let said = refused(&["dev", "--db", file.to_str().unwrap(), "--listen", "127.0.0.1:0"], 8);
    assert!(said.contains("engine.db"), "{said}");
    // The one that was there first goes on.
    assert_eq!(server.json("list", &[]), Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_told_before_anything_is_served() {
    let said = refused(&["serve", "--listen", "127.0.0.1:0"], 2);
    assert!(said.starts_with("error: no database given"), "{said}");
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", "mysql://u:secret@h/d"], 8);
    assert!(said.contains("\"mysql\" is not a kind of store") && !said.contains("secret"), "{said}");
    let nobody = "postgres://engine:secret@127.0.0.1:1/engine";
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", nobody], 5);
    assert!(said.contains("127.0.0.1:1") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("engine.toml");
    std::fs::write(&config, "database_url = \"file://here\"\nlisten = \"127.0.0.1:0\"\n").unwrap();
    // Each layer names a kind of store that does not exist, so the refusal says which layer won.
    let refusal = |environment: Option<&str>, flags: &[&str]| {
        let mut command = engine(&["serve", "--config", config.to_str().unwrap()]);
        command.args(flags).envs(environment.map(|url| ("ENGINE_DATABASE_URL", url)));
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(refusal(None, &[]).starts_with("error: \"file\" is not a kind of store"));
    assert!(refusal(Some("environment:x"), &[]).starts_with("error: \"environment\" is not a kind of store"));
    let all = refusal(Some("environment:x"), &["--database-url", "flag:x"]);
    assert!(all.starts_with("error: \"flag\" is not a kind of store"), "{all}");
}

#[tokio::test]
async fn postgres_is_set_up_by_migrate_and_then_served() {
    let cluster = shared_cluster().await.unwrap();
    let url = fresh_database(cluster.url()).await.unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url], 8);
    assert!(said.contains("engine migrate"), "{said}");

    let migrate = ["migrate", "--shards", "8", "--output", "json", "--database-url", &url];
    let output = run(&migrate);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["shards"], 8);
    assert_eq!(run(&migrate).status.code(), Some(0), "a repeat changes nothing");
    let said = refused(&["migrate", "--shards", "16", "--database-url", &url], 8);
    assert!(said.contains("has 8 shards, not 16"), "{said}");

    let server = Server::start(&["serve", "--database-url", &url]).await;
    server.json("start", &["--type", "t", "--queue", "q", "--id", "on-postgres"]);
    assert_eq!(server.json("list", &[])[0]["workflow_id"], "on-postgres");
}

#[tokio::test]
async fn a_database_that_may_lose_what_it_acknowledged_is_refused_unless_it_is_allowed() {
    let cluster = PostgresCluster::start_with(&[("fsync", "off")]).await.unwrap();
    let url = cluster.url();
    let serve = ["serve", "--migrate", "--log", "error", "--listen", "127.0.0.1:0", "--database-url", &url];
    let said = refused(&serve, 8);
    assert!(said.contains("fsync") && said.contains("--allow-unsafe-database"), "{said}");
    let server = Server::start(&["serve", "--allow-unsafe-database", "--database-url", &url]).await;
    assert_eq!(server.json("list", &[]), Value::Array(Vec::new()));
}

#[tokio::test]
async fn runs_are_started_and_listed_by_search_attributes_of_a_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::dev(&directory.path().join("engine.db")).await;
    let namespace = |words: &[&str]| {
        let mut all = vec!["namespace", "--address", &server.address];
        all.extend(words);
        let output = run(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let shop = [
        "create",
        "shop",
        "--retention",
        "30days",
        "--retention-of",
        "failed=forever",
        "--search-attribute",
        "Total=int",
    ];
    assert_eq!(namespace(&shop), (0, "created namespace shop\n".to_owned(), String::new()));
    let (_, described, _) = namespace(&["describe", "shop"]);
    assert!(described.contains("Closed runs are kept  30days, failed forever\n"), "{described}");
    let (_, attributes, _) = namespace(&["search-attributes", "add", "Region=keyword", "--namespace", "shop"]);
    assert_eq!(attributes, "NAME    TYPE\nRegion  Keyword\nTotal   Int\n");

    let start = |id: &str, attribute: &str| {
        let words = ["--namespace", "shop", "-t", "order", "-q", "orders", "--id", id, "--search-attribute", attribute];
        server.ask("start", &words)
    };
    assert_eq!(start("a", "Total=5").0, 0);
    assert_eq!(start("b", "Total=7").0, 0);
    let (code, _, said) = start("c", "Totl=7");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("has no such search attribute; it has: Region, Total"), "{said}");
    let found = server.json("list", &["--namespace", "shop", "-q", "Total > 5"]);
    assert_eq!(
        (found.as_array().unwrap().len(), &found[0]["workflow_id"], &found[0]["search_attributes"]["Total"]),
        (1, &"b".into(), &7.into())
    );

    let (code, _, said) = namespace(&["delete", "shop"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("has 2 open runs"), "{said}");
    assert_eq!(namespace(&["delete", "shop", "--terminate-open-runs"]).0, 0);
    assert_eq!(namespace(&["describe", "shop"]).0, 4);
}

#[tokio::test]
async fn a_batch_is_started_looked_at_stopped_and_deleted() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    let batch = |verb: &str, arguments: &[&str]| -> Value {
        let mut all = vec!["batch", verb, "--address", &server.address, "--output", "json"];
        all.extend(arguments);
        let output = run(&all);
        assert!(output.status.success(), "{verb} said: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for id in ["a-1", "a-2", "b-1"] {
        server.json("start", &["--type", "t", "--queue", "q", "--id", id]);
    }
    let start = ["--operation", "terminate", "-q", "WorkflowId STARTS_WITH 'a-'", "--id", "clear", "--reason", "over"];
    assert_eq!(batch("start", &start)["total"], 2);
    // The result waits until the batch has reached the run.
    for id in ["a-1", "a-2"] {
        let (code, _, said) = server.ask("result", &[id]);
        assert_eq!((code, said.as_str()), (3, &*format!("workflow {id} terminated\n  terminated: over\n")));
    }
    let deadline = Instant::now() + DEADLINE;
    while batch("describe", &["clear"])["state"] != "COMPLETED" {
        assert!(Instant::now() < deadline, "it has nothing left to do");
    }
    let listed = batch("list", &[]);
    assert_eq!((&listed[0]["batch_id"], &listed[0]["done"]), (&"clear".into(), &2.into()));
    let text = run(&["batch", "describe", "clear", "--address", &server.address]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("COMPLETED") && text.contains("2 of 2") && text.contains("terminate"), "{text}");
    batch("stop", &["clear"]);
    assert_eq!(batch("delete", &["clear"])["existed"], true);
    assert_eq!(batch("delete", &["clear"])["existed"], false);
    let address = ["--address", &server.address];
    let gone = refused(&[&["batch", "stop", "clear"][..], &address].concat(), 4);
    assert!(gone.contains("clear"), "{gone}");
    let wrong = [&["batch", "start", "--operation", "cancel", "-q", ""][..], &address].concat();
    assert!(refused(&wrong, 1).starts_with("error: query: must not be empty"));
    assert_eq!(server.json("list", &["--status", "running"])[0]["workflow_id"], "b-1");
    // No worker came by: there is nothing to go back to, which the batch tells.
    let reset = ["--operation", "reset", "--from", "last-task", "-q", "WorkflowId = 'b-1'", "--id", "again"];
    assert_eq!(batch("start", &reset)["total"], 1);
    let deadline = Instant::now() + DEADLINE;
    let ended = loop {
        let found = batch("describe", &["again"]);
        if found["state"] == "COMPLETED" {
            break found;
        }
        assert!(Instant::now() < deadline, "it has nothing left to do");
    };
    assert_eq!((&ended["operation"]["from"], &ended["failed"]), (&"last-task".into(), &1.into()));
    let problem = ended["failures"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("has completed no workflow task"), "{problem}");
}

#[tokio::test]
async fn a_query_without_a_worker_and_published_state_without_values_say_so() {
    let server = Server::start(&["dev", "--db", ":memory:"]).await;
    server.json("start", &["--type", "t", "--queue", "q", "--id", "asked"]);
    let (code, stdout, stderr) = server.ask("query", &["asked", "--name", "status"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(
        stderr,
        "error: no worker of task queue \"q\" is connected, so nobody can answer; published state needs none\n"
    );
    let (code, _, stderr) = server.ask("query", &["asked", "--name", "", "--timeout", "1s"]);
    assert_eq!((code, stderr.as_str()), (1, "error: query_name: must not be empty\n"));
    let (code, _, stderr) = server.ask("published", &["asked"]);
    assert_eq!((code, stderr.as_str()), (0, "workflow asked has published nothing\n"));
    let (code, _, stderr) = server.ask("published", &["asked", "--name", "status"]);
    assert_eq!((code, stderr.as_str()), (4, "error: workflow asked has published nothing under the name \"status\"\n"));
    assert_eq!(server.json("published", &["asked"]), serde_json::json!({}));
    let (code, _, stderr) = server.ask("published", &["asked", "--at", "2"]);
    assert_eq!((code, stderr.as_str()), (1, "error: at_event_id: is 2, but the last event of the run is 1\n"));
}

#[tokio::test]
async fn activities_are_started_listed_stopped_and_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::dev(&directory.path().join("engine.db")).await;
    let ask = |words: &[&str]| {
        let mut all = vec!["activity", "--address", &server.address];
        all.extend(words);
        let output = run(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let json = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(["--output", "json"]);
        let (code, printed, said) = ask(&all);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&printed).unwrap()
    };
    assert_eq!(ask(&["list"]), (0, "no activities\n".to_owned(), String::new()));
    let start = ["start", "--type", "print", "--queue", "printer", "-i", "1", "--summary", "a letter"];
    let started = json(&[&start[..], &["--id", "letter"]].concat());
    assert_eq!((&started["activity_id"], &started["started"]), (&"letter".into(), &true.into()));
    let (code, _, said) = ask(&[&start[..], &["--id", "letter"]].concat());
    assert_eq!(code, 6);
    assert!(said.starts_with("error: activity \"letter\" is already running"), "{said}");
    let described = json(&["describe", "letter"]);
    assert_eq!(described["pending"]["state"], "SCHEDULED");
    assert_eq!((&described["summary"], &described["input"][0]["data"]), (&"a letter".into(), &1.into()));
    let (_, words, _) = ask(&["describe", "letter"]);
    assert!(words.contains("no worker has taken it"), "{words}");
    assert_eq!(ask(&["pause", "letter", "--reason", "no ink"]).1, "paused activity letter\n");
    assert_eq!(ask(&["pause", "letter"]).1, "nothing to do for activity letter\n");
    let (_, words, _) = ask(&["describe", "letter"]);
    assert!(words.contains("RUNNING (paused)") && words.contains(": no ink\n"), "{words}");
    assert!(ask(&["list", "-q", "Paused = true"]).1.contains("RUNNING (paused)"));
    assert_eq!(json(&["describe", "letter"])["pending"]["paused"]["reason"], "no ink");
    assert_eq!(ask(&["options", "letter", "--start-to-close", "5s"]).1, "changed activity letter\n");
    assert_eq!(ask(&["unpause", "letter"]).1, "unpaused activity letter\n");
    assert_eq!(json(&["list"])[0]["paused"], false);
    assert_eq!(ask(&["pause", "nothing"]).0, 4);
    assert_eq!(ask(&["result", "letter", "--timeout", "0s"]).0, 7);
    assert_eq!(ask(&["cancel", "letter", "--reason", "no stamps"]).1, "asked activity letter to stop\n");
    let (code, printed, said) = ask(&["result", "letter"]);
    assert_eq!((code, printed.as_str()), (3, ""));
    assert!(said.starts_with("activity letter canceled"), "{said}");

    // Nobody serves the queue, so it times out.
    let late = ["--id", "late", "--schedule-to-start", "1ms"];
    let (code, _, said) = ask(&[&["run"], &start[1..], &late].concat());
    assert_eq!(code, 3);
    assert!(said.contains("activity late timed out\n  schedule-to-start timeout"), "{said}");
    assert_eq!(json(&["count", "-q", "Status = 'TimedOut'"])["count"], 1);
    let (_, words, _) = ask(&["describe", "late"]);
    assert!(words.contains("Why it timed out\n  schedule-to-start timeout"), "{words}");
    let again = json(&["rerun", "letter"]);
    assert_eq!(again["repeated_run_id"], started["run_id"]);
    assert_eq!(ask(&["rerun", "letter"]).0, 1, "it is open");
    assert_eq!(ask(&["rerun", "--query", "ActivityType = 'print'"]).1, "1 of 1 run again\n");
    assert_eq!(json(&["list", "-q", "ActivityId = 'letter' AND Status = 'Running'"])[0]["run_id"], again["run_id"]);
    assert_eq!(ask(&["terminate", "letter"]).1, "terminated activity letter\n");
    assert_eq!(ask(&["describe", "nothing"]).0, 4);
    assert_eq!(server.json("list", &[]), Value::Array(Vec::new()), "they are no workflows");
}
