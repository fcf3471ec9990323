//! Workflow tasks: the cache, what leaves it, what the cache does not have, and code that does not let go.

use std::sync::mpsc as sync_mpsc;
use std::time::Duration;

use engine_core::event::{
    ContinueAsNewReasons, Event, EventKind, TimerStarted, WorkerMetadata, WorkflowSignaled, WorkflowStarted,
    WorkflowTaskCompleted, WorkflowTaskScheduled, WorkflowTaskStarted,
};
use engine_core::ids::{EventId, Namespace, RunId, SignalName, TaskQueueName, TimerId, WorkflowId, WorkflowType};
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::failure_from_proto;
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use parking_lot::Mutex;
use serde_json::json;
use tonic::Code;

use super::{activity_task, run, value};
use crate::activity;
use crate::activity::ActivityContext;
use crate::error::{ActivityError, WorkflowError};
use crate::fake_server::{Call, FakeServer, FakeSession, encode};
use crate::worker::Worker;
use crate::workflow;
use crate::workflow::WorkflowContext;

/// Returns the sum of its argument and of two numbers that it is sent.
#[workflow]
async fn adds(ctx: WorkflowContext, start: u32) -> Result<u32, WorkflowError> {
    let mut numbers = ctx.signal_channel::<u32>("number");
    let first = numbers.recv().await;
    Ok(start + first + numbers.recv().await)
}

/// What `hangs` waits for. A workflow may not do that; that it might is the point.
static GATE: Mutex<Option<sync_mpsc::Receiver<()>>> = Mutex::new(None);

#[workflow]
async fn hangs(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let gate = GATE.lock().take();
    if let Some(gate) = gate {
        let _ = gate.recv();
    }
    Ok(())
}

/// Like `adds`, but a timer runs while it waits for the second number. Returns when it began, besides.
#[workflow]
async fn adds_with_timer(ctx: WorkflowContext, start: u32) -> Result<(u32, Duration), WorkflowError> {
    let mut numbers = ctx.signal_channel::<u32>("number");
    let first = numbers.recv().await;
    let timer = ctx.sleep(Duration::from_secs(60));
    let second = numbers.recv().await;
    drop(timer);
    let began = ctx.info().started_at.duration_since(std::time::SystemTime::UNIX_EPOCH);
    Ok((start + first + second, began?))
}

/// Runs a step for the number that it is sent, and returns what the step makes of it.
#[workflow]
async fn steps(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let number = ctx.signal_channel::<u32>("number").recv().await;
    Ok(ctx.step("double", move || async move { Ok(number * 2) }).await?)
}

#[activity]
pub(super) async fn double(_ctx: ActivityContext, input: u32) -> Result<u32, ActivityError> {
    Ok(input * 2)
}

fn run_id(number: u8) -> RunId {
    RunId::from_parts(Timestamp::from_micros(1_700_000_000_000_000), [number; 10])
}

/// Builds a run's history as the server would: each task's events follow those of the task before.
pub(super) struct History {
    pub(super) run_id: RunId,
    pub(super) workflow_type: &'static str,
    pub(super) events: Vec<Event>,
    sent: usize,
}

impl History {
    pub(super) fn new(number: u8, workflow_type: &'static str, input: Option<u32>) -> Self {
        let run_id = run_id(number);
        let started = WorkflowStarted {
            namespace: Namespace::from_trusted("default"),
            workflow_id: WorkflowId::from_trusted("order-1"),
            run_id,
            workflow_type: WorkflowType::from_trusted(workflow_type),
            task_queue: TaskQueueName::from_trusted("orders"),
            input: input.iter().map(|input| Payload::json(input.to_string())).collect(),
            execution_timeout: None,
            run_timeout: None,
            task_timeout: Duration::from_secs(10),
            execution_deadline: None,
            retry_policy: None,
            attempt: 1,
            continued_from: None,
            first_run_id: run_id,
            continued_failure: None,
            last_result: None,
            versioning: None,
            cron: None,
            first_task_backoff: Duration::ZERO,
            request_id: None,
            identity: String::new(),
            memo: Vec::new(),
            search_attributes: Default::default(),
            summary: String::new(),
            details: String::new(),
            seen_request_ids: Vec::new(),
            reset: None,
            parent: None,
            activity: None,
        };
        let mut history = Self { run_id, workflow_type, events: Vec::new(), sent: 0 };
        history.push(EventKind::WorkflowStarted(Box::new(started)));
        history
    }

    fn push(&mut self, kind: EventKind) {
        let id = EventId(self.events.len() as u64 + 1);
        self.events.push(Event { id, at: Timestamp::from_micros(1_700_000_000_000_000 + id.0 as i64), kind });
    }

    pub(super) fn begin_task(&mut self) {
        let scheduled_event_id = EventId(self.events.len() as u64 + 1);
        self.push(EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: TaskQueueName::from_trusted("orders"),
            start_to_close: Duration::from_secs(10),
            attempt: 1,
        }));
        self.push(EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id,
            identity: String::new(),
            history_size_bytes: 100,
            suggest_continue_as_new: ContinueAsNewReasons::default(),
        }));
    }

    pub(super) fn signal(&mut self, number: u32) {
        let started_event_id = EventId(self.events.len() as u64);
        self.push(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(started_event_id.0 - 1),
            started_event_id,
            identity: String::new(),
            worker: WorkerMetadata::default(),
            force_new_task: false,
        }));
        self.push(EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted("number"),
            input: vec![Payload::json(number.to_string())],
            identity: String::new(),
            request_id: None,
        }));
    }

    /// The next task, with the events that were not sent yet.
    pub(super) fn task(&mut self) -> v1::WorkflowTask {
        self.begin_task();
        let first = std::mem::replace(&mut self.sent, self.events.len());
        self.task_from(first)
    }

    fn task_from(&self, first: usize) -> v1::WorkflowTask {
        v1::WorkflowTask {
            token: format!("{}/{}", self.run_id, self.events.len()).into_bytes(),
            workflow_id: "order-1".into(),
            run_id: self.run_id.to_string(),
            workflow_type: self.workflow_type.into(),
            task_queue: "orders".into(),
            attempt: 1,
            first_event_id: first as u64 + 1,
            history: Some(encode(&self.events[first..])),
            start_to_close: None,
            updates: Vec::new(),
            early: false,
        }
    }
}

/// The next completion: its commands' names, and whether the run stayed in the cache. Adds up evicted runs.
pub(super) async fn completion(
    session: &mut FakeSession,
    evicted: &mut Vec<String>,
) -> (Vec<v1::command::Command>, bool, u64) {
    loop {
        let mut message = session.message().await.expect("a stream");
        evicted.append(&mut message.evicted_run_ids);
        let Some(result) = message.results.pop() else { continue };
        assert!(message.results.is_empty());
        match result.result {
            Some(Outcome::WorkflowTaskCompleted(completed)) => {
                let commands = completed.commands.into_iter().map(|command| command.command.unwrap()).collect();
                return (commands, completed.cached, result.result_id);
            }
            other => panic!("expected a completion: {other:?}"),
        }
    }
}

#[track_caller]
fn completed_with(commands: &[v1::command::Command]) -> serde_json::Value {
    match commands {
        [v1::command::Command::CompleteWorkflow(complete)] => {
            serde_json::from_slice(&complete.result.as_ref().unwrap().data).unwrap()
        }
        other => panic!("expected the run to complete: {other:?}"),
    }
}

#[tokio::test]
async fn a_cached_run_goes_on_with_new_events_only() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(adds));
    let (mut session, hello) = server.session().await;
    assert_eq!(hello.workflow_types, ["adds"]);
    session.credits().await;
    let mut evicted = Vec::new();
    let mut history = History::new(1, "adds", Some(5));
    session.workflow(history.task()).await;
    let (commands, cached, result_id) = completion(&mut session, &mut evicted).await;
    assert!(commands.is_empty() && cached);
    session.acknowledge([result_id]).await;
    history.signal(10);
    session.workflow(history.task()).await;
    let (commands, cached, result_id) = completion(&mut session, &mut evicted).await;
    assert!(commands.is_empty() && cached);
    session.acknowledge([result_id]).await;
    session.break_off().await;

    let (mut session, hello) = server.session().await;
    let known = v1::CachedRun { run_id: run_id(1).to_string(), last_event_id: history.events.len() as u64 };
    assert_eq!(hello.cached_runs, [known]);
    session.credits().await;
    history.signal(100);
    session.workflow(history.task()).await;
    let (commands, cached, _) = completion(&mut session, &mut evicted).await;
    assert_eq!(completed_with(&commands), json!(115));
    assert!(!cached, "a closed run needs no cache");
    assert!(evicted.is_empty(), "and the server knows that it is closed");
}

#[tokio::test]
async fn a_run_that_left_the_cache_is_reported_and_its_earlier_events_are_read_when_they_are_needed() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(adds).cache(1, usize::MAX));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut evicted = Vec::new();
    let mut first = History::new(1, "adds", Some(5));
    session.workflow(first.task()).await;
    completion(&mut session, &mut evicted).await;
    session.workflow(History::new(2, "adds", Some(6)).task()).await;
    completion(&mut session, &mut evicted).await;
    while evicted.is_empty() {
        evicted = session.message().await.unwrap().evicted_run_ids;
    }
    assert_eq!(evicted, [run_id(1).to_string()]);

    // The task was on its way when the run left.
    first.signal(10);
    session.workflow(first.task()).await;
    for (page, token) in [(0..2, vec![7]), (2..3, vec![])] {
        let Call::History(request, answer) = server.call().await else { panic!("a page of the history") };
        assert_eq!(request.execution.unwrap().run_id, run_id(1).to_string());
        let history = Some(encode(&first.events[page]));
        let response = v1::GetWorkflowHistoryResponse { history, next_page_token: token, ..Default::default() };
        answer.send(Ok(response)).unwrap();
    }
    let (commands, cached, _) = completion(&mut session, &mut evicted).await;
    assert!(commands.is_empty() && cached);
    first.signal(100);
    session.workflow(first.task()).await;
    assert_eq!(completed_with(&completion(&mut session, &mut evicted).await.0), json!(115));
}

#[tokio::test]
async fn a_cold_run_is_replayed_the_same_wherever_the_pages_of_its_history_are_cut() {
    let mut history = History::new(1, "adds_with_timer", Some(5));
    history.begin_task();
    history.signal(10);
    history.begin_task();
    history.signal(100);
    // The timer is a command of the second task: it stands before what arrived meanwhile.
    let signal = history.events.pop().unwrap();
    history.push(EventKind::TimerStarted(TimerStarted {
        workflow_task_completed_event_id: EventId(8),
        timer_id: TimerId::from_trusted("1"),
        duration: Duration::from_secs(60),
        summary: String::new(),
    }));
    history.push(signal.kind);
    let earlier = history.events.len();
    assert_eq!(earlier, 10);
    history.begin_task();

    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(adds_with_timer).cache(0, 0));
    let (mut session, _) = server.session().await;
    session.credits().await;
    for events_in_page in 1..=earlier {
        session.workflow(history.task_from(earlier)).await;
        let mut sent = 0;
        while sent < earlier {
            let Call::History(request, answer) = server.call().await else { panic!("a page of the history") };
            assert_eq!(request.page_token, if sent == 0 { Vec::new() } else { vec![sent as u8] });
            let end = earlier.min(sent + events_in_page);
            let response = v1::GetWorkflowHistoryResponse {
                history: Some(encode(&history.events[sent..end])),
                next_page_token: vec![end as u8],
                ..Default::default()
            };
            answer.send(Ok(response)).unwrap();
            sent = end;
        }
        let (commands, _, result_id) = completion(&mut session, &mut Vec::new()).await;
        let [v1::command::Command::CancelTimer(_), complete] = &commands[..] else { panic!("{commands:?}") };
        let began = json!({ "secs": 1_700_000_000, "nanos": 1_000 });
        assert_eq!(completed_with(std::slice::from_ref(complete)), json!([115, began]), "{events_in_page} in a page");
        let ack = v1::ResultAck { result_id, ..Default::default() };
        session.send(v1::ServerMessage { acks: vec![ack], ..Default::default() }).await;
    }
}

#[tokio::test]
async fn a_step_waits_until_the_news_that_led_to_it_is_durable() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(steps));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut evicted = Vec::new();
    let [mut first, mut second] = [1, 2].map(|number| History::new(number, "steps", None));
    for history in [&mut first, &mut second] {
        session.workflow(history.task()).await;
        let (_, _, result_id) = completion(&mut session, &mut evicted).await;
        session.acknowledge([result_id]).await;
    }
    first.signal(10);
    let early = v1::WorkflowTask { early: true, ..first.task() };
    session.workflow(early.clone()).await;
    second.signal(100);
    session.workflow(second.task()).await;
    let completed = |commands: &[v1::command::Command]| completed_with(&commands[1..]);
    assert_eq!(completed(&completion(&mut session, &mut evicted).await.0), json!(200));
    let durable = |task: &v1::WorkflowTask| v1::DurableTask { run_id: task.run_id.clone(), token: task.token.clone() };
    let durable_tasks = vec![durable(&early)];
    session.send(v1::ServerMessage { durable_tasks, ..Default::default() }).await;
    assert_eq!(completed(&completion(&mut session, &mut evicted).await.0), json!(20));

    // The server may have both to say at once.
    let mut third = History::new(3, "steps", None);
    session.workflow(third.task()).await;
    let (_, _, result_id) = completion(&mut session, &mut evicted).await;
    session.acknowledge([result_id]).await;
    third.signal(1000);
    let early = v1::WorkflowTask { early: true, ..third.task() };
    let durable_tasks = vec![durable(&early)];
    session.send(v1::ServerMessage { workflow_tasks: vec![early], durable_tasks, ..Default::default() }).await;
    assert_eq!(completed(&completion(&mut session, &mut evicted).await.0), json!(2000));
}

#[tokio::test]
async fn a_run_whose_result_was_refused_leaves_the_cache() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(adds));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut evicted = Vec::new();
    session.workflow(History::new(1, "adds", Some(5)).task()).await;
    let (_, _, result_id) = completion(&mut session, &mut evicted).await;
    let refused = v1::ResultAck { result_id, refused: "the task is stale".into(), code: Code::NotFound.into() };
    session.send(v1::ServerMessage { acks: vec![refused], ..Default::default() }).await;
    while evicted.is_empty() {
        evicted = session.message().await.unwrap().evicted_run_ids;
    }
    assert_eq!(evicted, [run_id(1).to_string()]);
}

#[tokio::test]
async fn a_run_that_the_server_evicts_is_replayed_from_its_whole_history() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(adds));
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut evicted = Vec::new();
    let mut history = History::new(1, "adds", Some(5));
    session.workflow(history.task()).await;
    completion(&mut session, &mut evicted).await;
    let evict_run_ids = vec![run_id(1).to_string()];
    session.send(v1::ServerMessage { evict_run_ids, ..Default::default() }).await;
    history.signal(10);
    history.task();
    history.signal(100);
    history.begin_task();
    session.workflow(history.task_from(0)).await;
    assert_eq!(completed_with(&completion(&mut session, &mut evicted).await.0), json!(115));
}

#[tokio::test]
async fn a_task_of_an_unknown_workflow_fails_with_the_code_that_is_there() {
    let mut server = FakeServer::new();
    let _worker = run(Worker::new(server.client(), "orders").workflow(hangs).workflow(adds));
    let (mut session, _) = server.session().await;
    session.credits().await;
    session.workflow(History::new(1, "ships", None).task()).await;
    let Some(Outcome::WorkflowTaskFailed(failed)) = session.result().await.result else { panic!("a failure") };
    assert_eq!(failed.cause(), v1::WorkflowTaskFailureCause::UnknownWorkflowType);
    let failure = failure_from_proto(failed.failure.unwrap()).unwrap();
    assert_eq!(failure.message, "this worker has no workflow \"ships\"; it has adds, hangs");
}

#[tokio::test]
async fn a_second_task_of_a_run_waits_for_the_first_and_one_that_is_not_wanted_gives_no_result() {
    let mut server = FakeServer::new();
    let (release, gate) = sync_mpsc::channel();
    *GATE.lock() = Some(gate);
    let worker = Worker::new(server.client(), "orders").workflow(hangs).workflow(adds).activity(double);
    let _worker = run(worker);
    let (mut session, _) = server.session().await;
    session.credits().await;
    let mut history = History::new(1, "hangs", None);
    let stuck = history.task();
    session.workflow(stuck.clone()).await;
    // Neighbours go on, on however few threads.
    let mut evicted = Vec::new();
    for number in 2..10 {
        session.workflow(History::new(number, "adds", Some(5)).task()).await;
        completion(&mut session, &mut evicted).await;
    }
    session.activities([activity_task("a", "double", &[json!(21)])]).await;
    assert_eq!(value(session.result().await).1, json!(42));
    session.break_off().await;

    let (mut session, hello) = server.session().await;
    assert!(hello.workflow_tasks_in_hand.contains(&stuck.token), "{hello:?}");
    // The results before were not acknowledged; they come again.
    while session.message().await.unwrap().results.is_empty() {}
    let welcome = Some(v1::Welcome { refused_tasks: vec![stuck.token.clone()], ..Default::default() });
    session.send_anything(v1::ServerMessage { welcome, ..Default::default() }).await;
    let again = v1::WorkflowTask { token: b"second".to_vec(), ..stuck };
    session.workflow(again).await;
    // What comes behind them is done, so the worker knows of both before the first one ends.
    session.activities([activity_task("b", "double", &[json!(1)])]).await;
    assert_eq!(value(session.result().await).1, json!(2));
    drop(release);
    let Some(Outcome::WorkflowTaskCompleted(completed)) = session.result().await.result else { panic!("a completion") };
    assert_eq!(completed.token, b"second");
}
