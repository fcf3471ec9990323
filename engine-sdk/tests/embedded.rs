//! The whole engine in this process: workflows, activities, clients and a worker, on each kind of database that needs no server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine_core::ids::EventId;
use engine_sdk::client::{ActivityTarget, ClientError, ListFilter, QueryError};
use engine_sdk::engine::{Engine, EngineError};
use engine_sdk::prelude::*;
use engine_sdk::worker::ShutdownHandle;
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

#[derive(Debug, thiserror::Error)]
#[error("card {0} was declined")]
struct CardDeclined(u32);

#[signal]
struct Approval {
    by: String,
}

/// Counts attempts.
#[derive(Default)]
struct Gateway {
    attempts: AtomicU32,
}

/// Hands the tokens of attempts to the test.
struct Desk(mpsc::UnboundedSender<Vec<u8>>);

#[activity(retry(initial_interval = "1ms"))]
async fn charge(ctx: ActivityContext, card: u32, cents: u64) -> Result<String, ActivityError> {
    if card == 0 {
        return Err(ActivityError::non_retryable(CardDeclined(card)));
    }
    if ctx.state::<Arc<Gateway>>().attempts.fetch_add(1, Ordering::Relaxed) == 0 {
        return Err(ActivityError::retryable("the gateway is busy"));
    }
    Ok(format!("{cents} from {card} at attempt {}", ctx.attempt()))
}

#[activity]
async fn ask_desk(ctx: ActivityContext) -> Result<bool, ActivityError> {
    let _ = ctx.state::<Desk>().0.send(ctx.info().token.to_vec());
    Err(ctx.complete_later())
}

#[workflow]
async fn checkout(ctx: WorkflowContext, card: u32, cents: u64) -> Result<String, WorkflowError> {
    Ok(ctx.run(charge, (card, cents)).await?)
}

#[workflow]
async fn approved_checkout(ctx: WorkflowContext, card: u32) -> Result<String, WorkflowError> {
    let mut approvals = ctx.signals::<Approval>();
    let first = approvals.recv().await;
    let paid = ctx.run(charge, (card, 5)).await?;
    let second = approvals.recv().await;
    Ok(format!("{paid}, approved by {} and {}", first.by, second.by))
}

#[workflow]
async fn desk_checkout(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
    Ok(ctx.run(ask_desk, ()).await?)
}

#[workflow]
async fn parcel(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.publish("status", "packed");
    ctx.signals::<Approval>().recv().await;
    ctx.publish("status", "sent");
    Ok(())
}

/// A worker in a task of its own.
struct Running {
    shutdown: ShutdownHandle,
    ended: JoinHandle<Result<(), engine_sdk::worker::WorkerError>>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.shutdown();
        self.ended.await.expect("the worker does not panic").expect("the worker ends well");
    }
}

fn worker(client: Client) -> Worker {
    Worker::new(client, "orders")
        .workflow(checkout)
        .workflow(approved_checkout)
        .activity(charge)
        .state(Arc::new(Gateway::default()))
}

fn run(worker: Worker) -> Running {
    Running { shutdown: worker.shutdown_handle(), ended: tokio::spawn(worker.run()) }
}

async fn sqlite(directory: &tempfile::TempDir) -> Engine {
    let url = format!("sqlite://{}", directory.path().join("engine.db").display());
    Engine::open(&url).await.expect("a file that is free")
}

#[tokio::test]
async fn a_workflow_runs_its_activities_to_a_result_or_an_error_with_its_cause() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = run(worker(client.clone()));
    let paid = client.workflow(checkout).id("order-1").queue("orders").run((7, 120)).await.unwrap();
    assert_eq!(paid, "120 from 7 at attempt 2");

    let failure = client.workflow(checkout).id("order-2").queue("orders").run((0, 1)).await.unwrap_err();
    let WorkflowFailure::Failed(error) = &failure else { panic!("{failure:?}") };
    let causes: Vec<String> = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    assert!(causes.iter().any(|cause| cause.contains("CardDeclined: card 0 was declined")), "{causes:?}");

    let twice = client.workflow(checkout).id("order-2").queue("orders");
    let again =
        twice.id_reuse_policy(engine_sdk::client::IdReusePolicy::RejectDuplicate).start((0, 1)).await.unwrap_err();
    assert!(matches!(again, ClientError::AlreadyStarted { run_id: Some(_), .. }), "{again:?}");
    let runs: Vec<_> = client.list(ListFilter::all()).try_collect().await.unwrap();
    assert_eq!(runs.iter().map(|run| run.workflow_id.as_str()).collect::<Vec<_>>(), ["order-2", "order-1"]);
    worker.stop().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_workflow_goes_on_in_another_engine_on_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let engine = sqlite(&directory).await;
    let first = run(worker(engine.client()));
    let handle = engine.client().workflow(approved_checkout).id("order-1").queue("orders").start(7).await.unwrap();
    handle.signal(Approval { by: "desk-1".into() }).await.unwrap();
    let run_id = handle.run_id().unwrap();
    // The first half is done when the payment is recorded.
    let mut events = std::pin::pin!(handle.watch());
    while let Some(event) = events.try_next().await.unwrap() {
        if event.kind.name() == "ActivityCompleted" {
            break;
        }
    }
    first.stop().await;
    engine.shutdown().await;

    let engine = sqlite(&directory).await;
    let second = run(worker(engine.client()));
    let handle = engine.client().handle::<approved_checkout>("order-1").with_run_id(run_id);
    handle.signal(Approval { by: "desk-2".into() }).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "5 from 7 at attempt 2, approved by desk-1 and desk-2");
    let names: Vec<&str> = handle.history().await.unwrap().iter().map(|event| event.kind.name()).collect();
    assert_eq!(names.iter().filter(|name| **name == "ActivityCompleted").count(), 1, "{names:?}");
    assert_eq!(handle.describe().await.unwrap().summary.history_length, names.len() as u64);
    second.stop().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn an_activity_is_completed_by_whoever_has_its_token_after_its_worker_left() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let (desk, mut tokens) = mpsc::unbounded_channel();
    let build = |desk: Desk| Worker::new(client.clone(), "desk").workflow(desk_checkout).activity(ask_desk).state(desk);
    let first = run(build(Desk(desk.clone())));
    let handle = client.workflow(desk_checkout).queue("desk").start(()).await.unwrap();
    let token = tokens.recv().await.unwrap();
    first.stop().await;
    let target = ActivityTarget::token(token);
    client.complete_activity(&target, &true).await.unwrap();
    let second = run(build(Desk(desk)));
    assert!(handle.result().await.unwrap());
    let again = client.complete_activity(&target, &true).await.unwrap_err();
    assert!(matches!(again, ClientError::Closed { .. }), "{again:?}");
    second.stop().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_terminated_and_a_canceled_workflow_say_so() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let start = |id: &str| client.workflow(approved_checkout).id(id).queue("orders").start(7);
    let stuck = start("stuck").await.unwrap();
    stuck.terminate("no worker").await.unwrap();
    let failure = stuck.result().await.unwrap_err();
    assert_eq!(failure.to_string(), "the workflow was terminated: no worker");
    let error = stuck.signal(Approval { by: "late".into() }).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    let unknown = client.handle::<checkout>("nobody").describe().await.unwrap_err();
    assert!(unknown.to_string().contains("nobody"), "{unknown}");
    let waiting = start("waiting").await.unwrap();
    waiting.cancel("changed my mind").await.unwrap();
    waiting.cancel("really").await.unwrap();
    assert!(waiting.describe().await.unwrap().cancel_requested);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_file_has_one_engine_and_a_text_that_names_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let engine = sqlite(&directory).await;
    let path = format!("sqlite://{}", directory.path().join("engine.db").display());
    let error = Engine::open(&path).await.unwrap_err();
    assert!(matches!(error, EngineError::Store(_)), "{error:?}");
    engine.shutdown().await;
    let error = Engine::open("mysql://root:secret@localhost").await.unwrap_err().to_string();
    assert!(error.contains("\"mysql\"") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn what_a_workflow_publishes_is_read_with_no_worker_running() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = Worker::new(client.clone(), "orders").workflow(parcel);
    let handle = client.workflow(parcel).queue("orders").start(()).await.unwrap();
    assert_eq!(handle.published::<String>("status").await.unwrap(), None);
    worker
        .run_until(async {
            handle.signal(Approval { by: "desk".into() }).await.unwrap();
            handle.result().await.unwrap();
        })
        .await
        .unwrap();
    assert_eq!(handle.published::<String>("status").await.unwrap().as_deref(), Some("sent"));
    let shown = handle.describe().await.unwrap().published;
    assert_eq!(shown.len(), 1);
    let before = EventId(shown[0].event_id.0 - 1);
    // The signal may have come before the first workflow task or after it: both values may be of one task.
    let earlier = handle.published_at::<String>("status", before).await.unwrap();
    assert_eq!(earlier.as_deref(), Some("packed"));
    let error = handle.published::<u32>("status").await.unwrap_err().to_string();
    assert!(error.contains("invalid type: string"), "{error}");
    let error = handle.published::<u32>("").await.unwrap_err().to_string();
    assert_eq!(error, "name must not be empty");
}

#[activity]
async fn does_anything(ctx: ActivityContext, args: RawArguments) -> Result<String, ActivityError> {
    let first: u32 = args.get(0)?;
    Ok(format!("{} of {first} and {} more", ctx.info().activity_type, args.len() - 1))
}

/// Runs the activity that its own type names.
#[workflow]
async fn interprets(ctx: WorkflowContext, args: RawArguments) -> Result<String, WorkflowError> {
    let number: u32 = args.get(0)?;
    let verb = ctx.info().workflow_type.to_string();
    Ok(ctx.run_named::<String>(&verb, (number, true)).await?)
}

#[tokio::test]
async fn types_without_code_of_their_own_go_to_the_code_for_all() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker =
        Worker::new(client.clone(), "orders").workflow(parcel).any_workflow(interprets).any_activity(does_anything);
    let run = client.workflow_named::<String>("bake").queue("orders").run(vec![serde_json::json!(7)]);
    assert_eq!(worker.run_until(run).await.unwrap().unwrap(), "bake of 7 and 1 more");
    // Alone they are enough for a worker.
    let worker = Worker::new(client.clone(), "others").any_workflow(interprets).any_activity(does_anything);
    let run = client.workflow_named::<String>("fry").queue("others").run(vec![serde_json::json!(8)]);
    assert_eq!(worker.run_until(run).await.unwrap().unwrap(), "fry of 8 and 1 more");
}

#[derive(Default)]
struct Tally {
    votes: Vec<String>,
}

#[workflow]
impl Tally {
    #[run]
    async fn run(&mut self, ctx: WorkflowContext, wanted: usize) -> Result<String, WorkflowError> {
        self.wait_until(move |tally| tally.votes.len() >= wanted).await;
        ctx.publish("votes", &self.votes);
        Ok(self.votes.join(", "))
    }

    #[signal]
    fn vote(&mut self, by: String) {
        self.votes.push(by);
    }

    /// Answers with the number of votes.
    #[update]
    fn vote_and_count(&mut self, by: String) -> usize {
        self.votes.push(by);
        self.votes.len()
    }

    #[update_validator(vote_and_count)]
    fn may_vote(&self, by: &String) -> Result<(), WorkflowError> {
        if self.votes.contains(by) {
            return Err(WorkflowError::non_retryable(format!("{by} has voted")));
        }
        Ok(())
    }

    #[query]
    fn votes(&self) -> Vec<String> {
        self.votes.clone()
    }
}

#[tokio::test]
async fn queries_are_answered_while_a_workflow_runs_and_after_it_closed_and_on_a_worker_that_never_had_it() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let handle = client.workflow(Tally::WORKFLOW).queue("orders").start(3).await.unwrap();
    let error = handle.query(Tally::VOTES, ()).await.unwrap_err();
    assert!(matches!(&error, QueryError::Unanswered { message } if message.contains("no worker")), "{error:?}");
    let worker = || Worker::new(client.clone(), "orders").workflow(Tally::WORKFLOW);
    let first = async {
        for by in ["Ada", "Grace"] {
            handle.send(Tally::VOTE, by.to_owned()).await.unwrap();
            assert_eq!(handle.query(Tally::VOTES, ()).await.unwrap().last().unwrap(), by, "the signal before is seen");
        }
    };
    worker().run_until(first).await.unwrap();
    let elsewhere = async {
        assert_eq!(handle.query(Tally::VOTES, ()).await.unwrap(), ["Ada", "Grace"]);
        let refused = handle.call(Tally::VOTE_AND_COUNT, "Ada".to_owned()).await.unwrap_err().to_string();
        assert!(refused.contains("Ada has voted"), "{refused}");
        assert_eq!(handle.call(Tally::VOTE_AND_COUNT, "Joan".to_owned()).await.unwrap(), 3);
        assert_eq!(handle.result().await.unwrap(), "Ada, Grace, Joan");
        assert_eq!(handle.query(Tally::VOTES, ()).await.unwrap(), ["Ada", "Grace", "Joan"]);
        let error = handle.query_named::<u32>("vote", ()).await.unwrap_err().to_string();
        assert_eq!(error, "query_name: workflow Tally has no query \"vote\"; it has votes");
    };
    worker().run_until(elsewhere).await.unwrap();
    assert_eq!(handle.published::<Vec<String>>("votes").await.unwrap().unwrap().len(), 3);
    let types: Vec<&str> = handle.history().await.unwrap().iter().map(|event| event.kind.name()).collect();
    assert!(types.iter().all(|name| !name.contains("Quer")), "{types:?}");
}
