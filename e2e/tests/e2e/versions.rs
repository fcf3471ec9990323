//! Two builds of one program side by side: workflows are started all the time while new runs go from one build to the other and back,
//! and a worker and the server are killed in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_e2e::checker::{Evidence, Run, Signal, Start};
use engine_e2e::clerk::{Clerk, Promises, QUEUE};
use engine_e2e::programs::{Build, WorkerSettings, follows, stays_changed, stays_right};
use engine_e2e::world::{Server, Worker, World};
use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use engine_sdk::client::{Client, DeploymentDescription, MoveTo, VersionStatus};
use engine_sdk::replay::Replayer;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::databases::Database;

/// Longer than this takes on a slow machine that does other work too.
const DEADLINE: Duration = Duration::from_secs(180);

const DEPLOYMENT: &str = "e2e";
const OLD: &str = "Right";
const NEW: &str = "Changed";

/// Most workflows that are started one after the other, beside those of each phase.
const STREAM_MAX: usize = 150;

const KINDS: [&str; 2] = ["stays", "follows"];

struct Scene {
    world: World,
    server: Server,
    clerk: Clerk,
    client: Client,
    promises: Promises,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new().unwrap();
        let server = Database::Postgres.server(&world).await;
        let clerk = Clerk::new([server.url()]).unwrap();
        let client = Client::connect(&server.url()).await.unwrap();
        Scene { world, server, clerk, client, promises: Promises::default() }
    }

    fn worker(&self, build: Build) -> Worker {
        let settings = self.world.worker_settings(&self.server, &format!("worker-{build:?}"));
        let deployment = Some(DEPLOYMENT.to_owned());
        Worker::start(WorkerSettings { build, deployment, ..settings }).unwrap()
    }

    /// Asks until the deployment is as it is wanted. What workers announce is told to nobody.
    async fn see(&self, wanted: impl Fn(&DeploymentDescription) -> bool) -> DeploymentDescription {
        loop {
            match self.client.deployment(DEPLOYMENT).describe().await {
                Ok(deployment) if wanted(&deployment) => return deployment,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn set_current(&self, build_id: &str) {
        self.client.deployment(DEPLOYMENT).set_current(build_id).await.unwrap();
    }

    fn keep(&mut self, placed: Vec<(Start, Signal)>) -> Vec<Start> {
        let (starts, signals): (Vec<Start>, Vec<Signal>) = placed.into_iter().unzip();
        self.promises.starts.extend(starts.iter().cloned());
        self.promises.signals.extend(signals);
        starts
    }

    /// Starts a workflow that stays with the new build, whichever is current.
    async fn trial(&self) -> (Start, Signal) {
        let trial = self.client.workflow(stays_changed).id("trial-stays").queue(QUEUE).pinned_to(DEPLOYMENT, NEW);
        let run_id = trial.start(2).await.unwrap().run_id().unwrap().to_string();
        first_step(&self.clerk, Start { workflow_id: "trial-stays".to_owned(), run_id }).await.unwrap()
    }
}

/// Places workflows of both kinds and waits until each has done the first of its two steps.
async fn place(clerk: &Clerk, phase: &str, count: usize) -> Vec<(Start, Signal)> {
    let placed = futures::stream::iter(0..count).map(|number| {
        let kind = KINDS[number % KINDS.len()];
        place_one(clerk, format!("{phase}-{number:02}-{kind}"), kind)
    });
    placed.buffer_unordered(8).try_collect().await.unwrap()
}

async fn place_one(clerk: &Clerk, workflow_id: String, kind: &str) -> anyhow::Result<(Start, Signal)> {
    let start = clerk.start(&workflow_id, kind, &[json!(2)]).await?;
    first_step(clerk, start).await
}

/// Sends the first note, and waits until nothing is left to do but to wait for the second.
async fn first_step(clerk: &Clerk, start: Start) -> anyhow::Result<(Start, Signal)> {
    let note = clerk.note(&start, &format!("{} begins", start.workflow_id)).await?.expect("the run is open");
    let waits = |run: &v1::DescribeWorkflowResponse| {
        (run.pending_workflow_task.is_none() && run.pending_activities.is_empty() && run.pending_timers.is_empty())
            .then_some(())
    };
    clerk.see(&start, waits).await?;
    Ok((start, note))
}

/// The builds that completed a run's workflow tasks, in order.
fn builds(run: &Run) -> Vec<&str> {
    let workers = run.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::WorkflowTaskCompleted(completed)) => completed.worker.as_ref(),
        _ => None,
    });
    workers
        .map(|worker| {
            assert_eq!(worker.deployment_name, DEPLOYMENT, "{}", run.workflow_id);
            worker.build_id.as_str()
        })
        .collect()
}

/// The set of builds of each of these runs.
fn builds_of<'a>(evidence: &'a Evidence, starts: &[Start], kind: &str) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let wanted = |run: &&Run| {
        starts.iter().any(|start| start.run_id == run.run_id && start.workflow_id.ends_with(&format!("-{kind}")))
    };
    let runs = evidence.runs.iter().filter(wanted);
    runs.map(|run| (run.workflow_id.as_str(), builds(run).into_iter().collect())).collect()
}

#[track_caller]
fn all_have(builds: &BTreeMap<&str, BTreeSet<&str>>, expected: &[&str]) {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    assert!(!builds.is_empty());
    let others: Vec<_> = builds.iter().filter(|(_, builds)| **builds != expected).collect();
    assert!(others.is_empty(), "expected {expected:?}: {others:?}");
}

async fn from_one_build_to_the_other_and_back() {
    let mut scene = Scene::new().await;
    let (mut old, new) = (scene.worker(Build::Right), scene.worker(Build::Changed));
    let serves = |deployment: &DeploymentDescription, build_id: &str| {
        deployment.version(build_id).is_some_and(|version| version.workers > 0)
    };
    scene.see(|deployment| serves(deployment, OLD) && serves(deployment, NEW)).await;
    scene.set_current(OLD).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let stream = tokio::spawn({
        let (clerk, is_over) = (scene.clerk.clone(), Arc::clone(&is_over));
        async move {
            let mut placed = Vec::new();
            while placed.len() < STREAM_MAX && !is_over.load(Ordering::Relaxed) {
                let kind = KINDS[placed.len() % KINDS.len()];
                placed.push(place_one(&clerk, format!("stream-{:03}-{kind}", placed.len()), kind).await?);
            }
            anyhow::Ok(placed)
        }
    });

    let first = place(&scene.clerk, "first", 10).await;
    let first = scene.keep(first);
    let trial = scene.trial().await;
    let trial = scene.keep(vec![trial]);

    // A share, while a worker of the old build dies.
    scene.client.deployment(DEPLOYMENT).ramp(NEW, 50.0).await.unwrap();
    let killed_at = scene.world.progress.count() + 8;
    let (ramped, ()) = tokio::join!(place(&scene.clerk, "ramped", 24), async {
        scene.world.progress.reach(killed_at).await;
        old.replace().await.unwrap();
    });
    let ramped = scene.keep(ramped);

    // All, while the server dies.
    scene.set_current(NEW).await;
    let killed_at = scene.world.progress.count() + 3;
    let Scene { world, server, clerk, .. } = &mut scene;
    let (forth, ()) = tokio::join!(place(clerk, "forth", 12), async {
        world.progress.reach(killed_at).await;
        server.process.kill9().await.unwrap();
        server.start_again().await.unwrap();
    });
    let forth = scene.keep(forth);
    let routed = scene.see(|deployment| serves(deployment, OLD) && serves(deployment, NEW)).await;
    assert_eq!(routed.current.as_ref().map(|build_id| build_id.as_str()), Some(NEW), "what the server said is durable");
    let drains = routed.version(OLD).unwrap();
    assert!(drains.status == VersionStatus::Draining && drains.pinned_runs >= 5, "{drains:?}");

    // And back.
    scene.set_current(OLD).await;
    let back = place(&scene.clerk, "back", 10).await;
    let back = scene.keep(back);
    let moved = back.iter().find(|start| start.workflow_id.ends_with("-follows")).unwrap();
    let moved = scene.client.handle_named::<serde_json::Value>(moved.workflow_id.as_str());
    moved.move_to(MoveTo::version(DEPLOYMENT, NEW)).because("a test").await.unwrap();
    let drains = scene.see(|_| true).await.version(NEW).unwrap().clone();
    assert!(drains.status == VersionStatus::Draining && drains.pinned_runs >= 8, "{drains:?}");

    is_over.store(true, Ordering::Relaxed);
    let stream = scene.keep(stream.await.unwrap().unwrap());
    for start in scene.promises.starts.clone() {
        let note = scene.clerk.note(&start, &format!("{} ends", start.workflow_id)).await.unwrap();
        scene.promises.signals.push(note.expect("each run waits for its second note"));
    }
    let evidence = scene.world.settle(&scene.clerk, &scene.promises).await.unwrap();

    // Pinned runs were completed wholly by the build that began them.
    all_have(&builds_of(&evidence, &first, "stays"), &[OLD]);
    all_have(&builds_of(&evidence, &trial, "stays"), &[NEW]);
    all_have(&builds_of(&evidence, &forth, "stays"), &[NEW]);
    all_have(&builds_of(&evidence, &back, "stays"), &[OLD]);
    let ramped = builds_of(&evidence, &ramped, "stays");
    assert_eq!(ramped.values().flatten().copied().collect::<BTreeSet<_>>(), BTreeSet::from([OLD, NEW]), "{ramped:?}");
    let streamed = builds_of(&evidence, &stream, "stays");
    assert!(ramped.values().chain(streamed.values()).all(|builds| builds.len() == 1), "{ramped:?} {streamed:?}");
    // Those that follow went over, and back.
    all_have(&builds_of(&evidence, &forth, "follows"), &[OLD, NEW]);
    for run in evidence.runs.iter().filter(|run| run.workflow_id.ends_with("-follows")) {
        let last = if run.workflow_id == moved.workflow_id() { NEW } else { OLD };
        assert_eq!(builds(run).last(), Some(&last), "{}", run.workflow_id);
    }
    // No task came to code that does not follow its run's history.
    let differs = |event: &&v1::HistoryEvent| match &event.attributes {
        Some(Attributes::WorkflowTaskFailed(failed)) => failed.cause() == v1::WorkflowTaskFailureCause::Nondeterminism,
        _ => false,
    };
    assert_eq!(evidence.runs.iter().flat_map(|run| &run.events).find(differs), None);

    let replayed = [
        (Replayer::new().workflow(stays_right), format!("WorkflowType = 'stays' AND BuildId = '{OLD}'")),
        (Replayer::new().workflow(stays_changed), format!("WorkflowType = 'stays' AND BuildId = '{NEW}'")),
        (Replayer::new().workflow(follows), "WorkflowType = 'follows'".to_owned()),
    ];
    let mut runs = 0;
    for (code, filter) in replayed {
        let report = code.replay_runs(&scene.client, filter).await.unwrap();
        assert!(report.is_same() && !report.runs.is_empty(), "{report}");
        runs += report.runs.len();
    }
    assert_eq!(runs, evidence.runs.len(), "each run is listed by the version that completed it");

    // The last pinned run of the new build is closed.
    let drained = scene.see(|deployment| deployment.version(NEW).is_some_and(|it| it.pinned_runs == 0)).await;
    assert_eq!(drained.version(NEW).unwrap().status, VersionStatus::Drained);
    assert_eq!(drained.version(OLD).unwrap().status, VersionStatus::Current);
    drop(new);
}

#[tokio::test]
async fn traffic_goes_from_one_build_to_the_other_and_back_and_nothing_is_lost() {
    tokio::time::timeout(DEADLINE, from_one_build_to_the_other_and_back()).await.unwrap();
}
