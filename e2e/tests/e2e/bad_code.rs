//! Code that workers get wrong: the task fails with its reason in sight, the run waits for a deploy that is right, and its
//! neighbours go on.

use std::time::Duration;

use engine_e2e::checker::{self, Start, read};
use engine_e2e::clerk::{Clerk, NAMESPACE, Promises};
use engine_e2e::programs::Build;
use engine_e2e::world::{Server, Worker, World};
use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use serde_json::json;

use crate::databases::Database;

struct Scene {
    world: World,
    server: Server,
    clerk: Clerk,
}

impl Scene {
    async fn new() -> Scene {
        Scene::on(Database::Sqlite).await
    }

    async fn on(database: Database) -> Scene {
        let world = World::new().unwrap();
        let server = database.server(&world).await;
        let clerk = Clerk::new([server.url()]).unwrap();
        Scene { world, server, clerk }
    }

    fn worker_of(&self, build: Build) -> Worker {
        let settings = self.world.worker_settings(&self.server, &format!("worker-{build:?}"));
        Worker::start(engine_e2e::programs::WorkerSettings { build, ..settings }).unwrap()
    }

    fn worker_with(&self, only: &[&str]) -> Worker {
        let settings = self.world.worker_settings(&self.server, &format!("worker-with-{}", only.join("-")));
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Worker::start(engine_e2e::programs::WorkerSettings { only, ..settings }).unwrap()
    }

    /// The message and cause of the pending workflow task's last failure.
    async fn task_failure(&self, start: &Start) -> (String, v1::WorkflowTaskFailureCause) {
        let failure = |description: &v1::DescribeWorkflowResponse| {
            let task = description.pending_workflow_task.as_ref()?;
            Some((chain(task.last_failure.as_ref()?), task.last_failure_cause()))
        };
        self.clerk.see(start, failure).await.unwrap()
    }

    /// The workflow ids that lists show as stuck, each with its kind of failure.
    async fn listed_as_stuck(&self) -> Vec<(String, String)> {
        let query = "TaskFailure IS NOT NULL".to_owned();
        let list = v1::ListWorkflowsRequest { namespace: NAMESPACE.to_owned(), query, ..Default::default() };
        let answer = self.clerk.client().list_workflows(list).await.unwrap().into_inner();
        answer.workflows.into_iter().map(|run| (run.workflow_id, run.task_failure)).collect()
    }

    /// Looks at a run that is stuck until it has begun another pause, and gives by how much later that ends, with the number of the try that it is
    /// before.
    async fn next_pause(&self, start: &Start) -> (Duration, u32) {
        let pause = |description: &v1::DescribeWorkflowResponse| {
            let task = description.pending_workflow_task.as_ref()?;
            let ends = task.next_attempt_time.as_ref()?;
            let nanos = u32::try_from(ends.nanos).expect("a time of a server has them from 0 on");
            Some((task.attempt, Duration::new(u64::try_from(ends.seconds).expect("it is after 1970"), nanos)))
        };
        let (first, ends) = self.clerk.see(start, pause).await.unwrap();
        let later =
            |description: &v1::DescribeWorkflowResponse| pause(description).filter(|(attempt, _)| *attempt > first);
        let (attempt, ends_later) = self.clerk.see(start, later).await.unwrap();
        (ends_later - ends, attempt)
    }

    async fn neighbour_completes(&self) {
        let start = self.clerk.start("neighbour", "chain", &[json!(2), json!(1)]).await.unwrap();
        assert_eq!(self.clerk.closed(&start).await.unwrap(), v1::WorkflowStatus::Completed);
    }

    /// The run completes, and no rule is broken.
    async fn heals(&self, start: &Start) -> Vec<v1::HistoryEvent> {
        assert_eq!(self.clerk.closed(start).await.unwrap(), v1::WorkflowStatus::Completed);
        let promises = Promises { starts: vec![start.clone()], signals: vec![] };
        checker::assert_right(&self.clerk.evidence(&promises, self.world.ledger().unwrap()).await.unwrap());
        read::history(&mut self.clerk.client(), NAMESPACE, &start.workflow_id, &start.run_id).await.unwrap()
    }
}

/// A failure with its causes, as text.
fn chain(failure: &v1::Failure) -> String {
    let cause = failure.cause.as_ref().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
    format!("{}{cause}", failure.message)
}

/// How many failed workflow tasks were written.
fn failed_tasks(history: &[v1::HistoryEvent]) -> usize {
    history.iter().filter(|event| matches!(event.attributes, Some(Attributes::WorkflowTaskFailed(_)))).count()
}

#[tokio::test]
async fn a_workflow_type_that_no_worker_has_waits_for_one_that_has_it() {
    let scene = Scene::new().await;
    let _ignorant = scene.worker_with(&["chain", "step"]);
    let start = scene.clerk.start("w", "fan_out", &[json!(2), json!(1)]).await.unwrap();
    let (message, cause) = scene.task_failure(&start).await;
    assert_eq!(cause, v1::WorkflowTaskFailureCause::UnknownWorkflowType);
    assert!(message.contains("fan_out"), "{message}");
    scene.neighbour_completes().await;
    let _knowing = scene.worker_with(&["fan_out", "step"]);
    scene.heals(&start).await;
}

#[tokio::test]
async fn an_activity_type_that_no_worker_has_waits_for_one_that_has_it() {
    let scene = Scene::new().await;
    let _ignorant = scene.worker_with(&["chain", "stubborn", "step"]);
    let start = scene.clerk.start("w", "stubborn", &[json!(0)]).await.unwrap();
    let failure = |description: &v1::DescribeWorkflowResponse| {
        description.pending_activities.first().and_then(|activity| Some(chain(activity.last_failure.as_ref()?)))
    };
    let message = scene.clerk.see(&start, failure).await.unwrap();
    assert!(message.contains("flaky"), "{message}");
    scene.neighbour_completes().await;
    let _knowing = scene.worker_with(&["flaky"]);
    scene.heals(&start).await;
}

#[tokio::test]
async fn code_that_contradicts_the_history_shows_the_difference_and_the_old_build_heals_it() {
    contradicting_code_is_told_and_healed(Database::Sqlite).await;
}

#[tokio::test]
async fn a_run_in_postgres_that_is_stuck_is_told_and_healed_too() {
    contradicting_code_is_told_and_healed(Database::Postgres).await;
}

async fn contradicting_code_is_told_and_healed(database: Database) {
    let scene = Scene::on(database).await;
    let mut right = scene.worker_of(Build::Right);
    let start = scene.clerk.start("w", "deployed", &[]).await.unwrap();
    scene.world.progress.reach(1).await;
    let idle = |description: &v1::DescribeWorkflowResponse| {
        let waits = description.pending_workflow_task.is_none() && description.pending_activities.is_empty();
        waits.then_some(())
    };
    scene.clerk.see(&start, idle).await.unwrap();
    right.process.kill9().await.unwrap();

    let mut changed = scene.worker_of(Build::Changed);
    let signal = scene.clerk.note(&start, "go on").await.unwrap();
    assert!(signal.is_some());
    let (message, cause) = scene.task_failure(&start).await;
    assert_eq!(cause, v1::WorkflowTaskFailureCause::Nondeterminism);
    assert!(
        message.contains("ScheduleActivity step") && message.contains("StartTimer"),
        "both sides are shown: {message}"
    );
    scene.neighbour_completes().await;
    assert_eq!(scene.listed_as_stuck().await, [("w".to_owned(), "Nondeterminism".to_owned())]);
    // Not in a loop: each pause is twice as long as the one before.
    let (later_by, attempt) = scene.next_pause(&start).await;
    assert!(later_by >= Duration::from_secs(1 << (attempt - 3)), "{later_by:?} before try {attempt}");

    changed.process.kill9().await.unwrap();
    let _right = scene.worker_of(Build::Right);
    assert_eq!(failed_tasks(&scene.heals(&start).await), 1, "only the first failure in a row is written");
    assert_eq!(scene.listed_as_stuck().await, []);
}

#[tokio::test]
async fn a_panic_in_a_workflow_fails_its_task_and_a_right_build_heals_it() {
    let scene = Scene::new().await;
    let mut panicking = scene.worker_of(Build::Panicking);
    let start = scene.clerk.start("w", "deployed", &[]).await.unwrap();
    let (message, cause) = scene.task_failure(&start).await;
    assert_eq!(cause, v1::WorkflowTaskFailureCause::Panic);
    assert!(message.contains("this build panics as it should"), "{message}");
    scene.neighbour_completes().await;
    assert_eq!(scene.listed_as_stuck().await, [("w".to_owned(), "Panic".to_owned())]);
    let (later_by, attempt) = scene.next_pause(&start).await;
    assert!(later_by >= Duration::from_secs(1 << (attempt - 3)), "{later_by:?} before try {attempt}");
    panicking.process.kill9().await.unwrap();
    let _right = scene.worker_of(Build::Right);
    scene.clerk.note(&start, "go on").await.unwrap();
    scene.heals(&start).await;
    assert_eq!(scene.listed_as_stuck().await, []);
}

#[tokio::test]
async fn a_panic_in_an_activity_fails_its_attempt_only() {
    let scene = Scene::new().await;
    let mut worker = scene.worker_of(Build::Right);
    let process = worker.process.id();
    let start = scene.clerk.start("w", "clumsy", &[]).await.unwrap();
    let history = scene.heals(&start).await;
    let attempt = history.iter().find_map(|event| match &event.attributes {
        Some(Attributes::ActivityStarted(started)) => Some(started),
        _ => None,
    });
    let attempt = attempt.unwrap();
    assert_eq!(attempt.attempt, 2);
    let message = chain(attempt.last_failure.as_ref().unwrap());
    assert!(message.contains("the first attempt panics as it should"), "{message}");
    scene.neighbour_completes().await;
    assert_eq!(worker.process.id(), process);
    worker.stop().await.expect("it lives until it is asked to stop");
}
