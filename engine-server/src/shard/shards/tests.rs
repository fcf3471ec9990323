//! What is read of a shard while it recovers, in the orders in which a busy store answers.

use std::sync::Arc;
use std::time::Duration;

use engine_core::command::{Command, ScheduleActivity};
use engine_core::event::{ActivityTimeouts, Event, VersioningOverride, WorkerMetadata, WorkerVersion, WorkflowStarted};
use engine_core::execution::{ActivityRef, Execution, Input, Reply};
use engine_core::ids::{ActivityId, ActivityType, BuildId, DeploymentName, EventId, RunId, SignalName};
use engine_core::time::Timestamp;
use engine_core::version::WorkflowOptionsUpdated;
use engine_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::{Loaded, Scan, Scanned, ShardOptions, Shards};
use crate::queue::{QueuedTask, SessionId, TaskKind};
use crate::rpc::workflow_service::started;
use crate::session::{Outbound, Session};
use crate::shard::gather::Release;
use crate::shard::request::{LocalKey, Request, RequestKind, Responder};
use crate::shard::run::{HotRun, encode_turn};
use crate::store::{Epoch, HistoryRow, NamespaceId, RunKey, ShardId, StoredRun};

const SHARD: ShardId = ShardId(1);
const NAMESPACE: NamespaceId = NamespaceId(1);
const GRACE: Duration = Duration::from_secs(2);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000_000_000) + Duration::from_secs(seconds)
}

fn key() -> LocalKey {
    LocalKey { namespace: NAMESPACE, workflow_id: "order-1".into() }
}

/// What the store has of a run that was in memory when its server died, with the first attempt of an activity offered.
fn stored() -> StoredRun {
    let run_id = RunId::from_parts(at(0), [7; 10]);
    let request = v1::StartWorkflowRequest {
        namespace: "default".into(),
        workflow_id: "order-1".into(),
        workflow_type: "checkout".into(),
        task_queue: "orders".into(),
        ..Default::default()
    };
    let started = WorkflowStarted { run_id, first_run_id: run_id, ..started(request, at(0)).unwrap() };
    let beginning = Execution::begin(started, at(0)).unwrap();
    let mut execution = Execution::replay(beginning.events.clone()).unwrap();
    let mut events: Vec<Event> = beginning.events;
    let mut send = |input: Input| {
        let transition = execution.decide(input, at(0)).unwrap();
        execution.absorb(&transition);
        events.extend(transition.events);
        transition.reply
    };
    let Reply::WorkflowTask(task) = send(Input::StartWorkflowTask { identity: String::new(), history_size_bytes: 0 })
    else {
        panic!("the run begins with a workflow task");
    };
    let timeouts = ActivityTimeouts { start_to_close: Some(Duration::from_secs(10)), ..Default::default() };
    let charge = ScheduleActivity {
        activity_id: ActivityId::from_trusted("charge"),
        activity_type: ActivityType::from_trusted("charge"),
        task_queue: None,
        input: Vec::new(),
        timeouts,
        retry_policy: None,
        summary: String::new(),
    };
    send(Input::CompleteWorkflowTask {
        token: task.token,
        commands: vec![Command::ScheduleActivity(Box::new(charge))],
        rejected_updates: Vec::new(),
        worker: WorkerMetadata::default(),
        force_new_task: false,
        identity: String::new(),
    });
    let run_key = RunKey { shard: SHARD, namespace: NAMESPACE, workflow_id: "order-1".into(), run_id };
    let history = HistoryRow { shard: SHARD, run_id, first_event_id: EventId::FIRST, events: encode_turn(&events).1 };
    let row = HotRun::new(run_key, execution, at(0)).row();
    StoredRun { row, history: vec![history], buffered: Vec::new(), progress: Vec::new() }
}

/// A shard that was just acquired, and the scan with which its recovery begins.
fn recovering() -> (Shards, Scan) {
    let options = ShardOptions { recovery_grace: GRACE, cache_bytes: 1 << 20, park_after: Duration::from_secs(3600) };
    let mut shards = Shards::new(options);
    shards.acquired(SHARD, Epoch(1), at(10));
    let scan = shards.take_scans().remove(0);
    (shards, scan)
}

fn found(runs: Vec<StoredRun>) -> Scanned {
    Scanned { runs, more_after: None, next_wake: Timestamp::MAX }
}

/// Somebody asks for the run, so that it is looked up.
fn ask(shards: &mut Shards) {
    let (reply, _) = oneshot::channel();
    let kind = RequestKind::Describe { run_id: None, reply };
    shards.handle(Request { shard: SHARD, key: key(), kind }, at(10));
    assert_eq!(shards.take_loads().len(), 1);
}

/// Writes what there is to write; the activities that are offered then, with the number of the attempt.
fn offered(shards: &mut Shards) -> Vec<u32> {
    if shards.cut().is_some() {
        shards.committed(Vec::new());
    }
    let activity = |release| match release {
        Release::Offer(QueuedTask { queue, attempt, .. }) if queue.kind == TaskKind::Activity => Some(attempt),
        _ => None,
    };
    shards.take_ready().into_iter().filter_map(activity).collect()
}

#[test]
fn what_workers_may_have_is_another_attempt_once_the_grace_is_over() {
    let (mut shards, scan) = recovering();
    shards.scanned(scan, found(vec![stored()]), at(10));
    assert_eq!(offered(&mut shards), [0; 0]);
    shards.due(at(12));
    assert_eq!(offered(&mut shards), [2]);
}

#[test]
fn a_run_that_is_read_after_the_grace_is_in_doubt_nonetheless() {
    let (mut shards, scan) = recovering();
    ask(&mut shards);
    // The scan leaves to the look-up what is being looked up.
    shards.scanned(scan, found(vec![stored()]), at(10));
    shards.due(at(12));
    shards.loaded(SHARD, key(), Loaded::Open(Box::new(stored())), at(13));
    assert_eq!(offered(&mut shards), [0; 0]);
    shards.due(at(13));
    assert_eq!(offered(&mut shards), [2]);
}

#[test]
fn a_run_whose_look_up_fails_is_what_the_scan_read_of_it() {
    let (mut shards, scan) = recovering();
    ask(&mut shards);
    shards.scanned(scan, found(vec![stored()]), at(10));
    shards.loaded(SHARD, key(), Loaded::Failed("the store is away".into()), at(11));
    shards.due(at(12));
    assert_eq!(offered(&mut shards), [2]);
    assert_eq!(shards.take_scans(), []);
}

#[test]
fn a_scan_brings_back_a_run_whose_look_up_failed_before_it() {
    let (mut shards, scan) = recovering();
    ask(&mut shards);
    shards.loaded(SHARD, key(), Loaded::Failed("the store is away".into()), at(10));
    shards.scanned(scan, found(vec![stored()]), at(11));
    shards.due(at(12));
    assert_eq!(offered(&mut shards), [2]);
}

fn send(shards: &mut Shards, input: Input) {
    let (reply, _) = oneshot::channel();
    let kind = RequestKind::Input { run_id: None, input: Box::new(input), responder: Responder::Call(reply) };
    shards.handle(Request { shard: SHARD, key: key(), kind }, at(13));
}

/// The run with its activity offered, all of it durable.
fn waiting() -> Shards {
    let (mut shards, scan) = recovering();
    shards.scanned(scan, found(vec![stored()]), at(10));
    shards.due(at(12));
    assert_eq!(offered(&mut shards), [2]);
    shards
}

fn activity_ends() -> Input {
    let activity = ActivityRef::Id(ActivityId::from_trusted("charge"));
    Input::CompleteActivity { activity, result: None, identity: String::new() }
}

fn signal() -> Input {
    let (name, input) = (SignalName::from_trusted("hurry"), Vec::new());
    Input::Signal { name, input, request_id: None, identity: String::new() }
}

fn version(build: &str) -> Arc<WorkerVersion> {
    let (deployment, build_id) = (DeploymentName::from_trusted("shop"), BuildId::from_trusted(build));
    Arc::new(WorkerVersion { deployment, build_id })
}

fn move_to(build: &str) -> Input {
    Input::Move(Box::new(WorkflowOptionsUpdated {
        versioning_override: Some(VersioningOverride::Pinned(version(build))),
        reason: String::new(),
        identity: String::new(),
        request_id: None,
    }))
}

fn session() -> Arc<Session> {
    // What is sent to it is lost: its worker hears nothing.
    let (sender, _) = mpsc::unbounded_channel();
    Arc::new(Session::new(SessionId(1), &v1::Hello::default(), uuid::Uuid::nil(), NAMESPACE, None, sender))
}

fn hand_out(shards: &mut Shards, task: QueuedTask) -> Vec<Release> {
    let kind = RequestKind::HandOut { task, session: session() };
    shards.handle(Request { shard: SHARD, key: key(), kind }, at(13));
    shards.take_ready()
}

fn commit(shards: &mut Shards) -> Vec<Release> {
    assert!(shards.cut().is_some());
    shards.committed(Vec::new());
    shards.take_ready()
}

fn workflow_task(releases: Vec<Release>) -> Option<QueuedTask> {
    releases.into_iter().find_map(|release| match release {
        Release::Offer(task) if task.queue.kind == TaskKind::Workflow => Some(task),
        _ => None,
    })
}

#[test]
fn code_sees_the_end_of_its_only_activity_while_that_is_written_and_a_signal_once_it_is() {
    let mut shards = waiting();
    send(&mut shards, activity_ends());
    assert!(workflow_task(shards.take_ready()).is_some());

    let mut shards = waiting();
    send(&mut shards, signal());
    assert!(workflow_task(shards.take_ready()).is_none());
    assert!(workflow_task(commit(&mut shards)).is_some());
}

#[test]
fn a_worker_is_told_that_a_task_is_early_and_when_its_news_is_durable() {
    let mut shards = waiting();
    send(&mut shards, activity_ends());
    let task = workflow_task(shards.take_ready()).expect("a task");
    let [Release::HandOut(out)] = &hand_out(&mut shards, task)[..] else { panic!("the task leaves, and nothing else") };
    let Outbound::WorkflowTask(task) = &out.message else { panic!("a workflow task") };
    assert!(task.early);
    let durable = commit(&mut shards).into_iter().find_map(|release| match release {
        Release::Send(_, Outbound::Durable(durable)) => Some(durable),
        _ => None,
    });
    assert_eq!(durable, Some(v1::DurableTask { run_id: task.run_id.clone(), token: task.token.clone() }));
}

#[test]
fn a_task_that_was_offered_before_its_run_was_moved_goes_to_no_worker_of_the_build_before() {
    let mut shards = waiting();
    send(&mut shards, move_to("1"));
    commit(&mut shards);
    send(&mut shards, signal());
    send(&mut shards, move_to("2"));
    let is_workflow = |task: &QueuedTask| task.queue.kind == TaskKind::Workflow;
    let offers: Vec<QueuedTask> = commit(&mut shards)
        .into_iter()
        .filter_map(|release| match release {
            Release::Offer(task) => Some(task).filter(is_workflow),
            _ => None,
        })
        .collect();
    let pins: Vec<_> = offers.iter().map(|task| task.pin.clone()).collect();
    assert_eq!(pins, [Some(version("1")), Some(version("2"))], "both leave: the first may find a worker at once");
    let [before, after] = <[QueuedTask; 2]>::try_from(offers).expect("two offers");

    let releases = hand_out(&mut shards, before);
    let [Release::Refund(_, TaskKind::Workflow), Release::Offer(again)] = &releases[..] else {
        panic!("it goes back, and is offered anew: {releases:?}")
    };
    assert_eq!(*again, after);
    let releases = hand_out(&mut shards, after);
    assert!(matches!(releases[..], [Release::HandOut(_)]), "{releases:?}");
}

#[test]
fn a_run_that_closed_since_a_scan_read_it_stays_closed() {
    let (mut shards, scan) = recovering();
    ask(&mut shards);
    shards.loaded(SHARD, key(), Loaded::Open(Box::new(stored())), at(10));
    let input = Input::Terminate { reason: "enough".into(), details: None, identity: String::new() };
    let (reply, _) = oneshot::channel();
    let responder = Responder::Call(reply);
    let kind = RequestKind::Input { run_id: None, input: Box::new(input), responder };
    shards.handle(Request { shard: SHARD, key: key(), kind }, at(10));
    assert!(shards.cut().is_some());
    shards.committed(Vec::new());
    let run_id = stored().row.key.run_id;
    shards.forget(SHARD, &key(), run_id);
    // Its page was read before.
    shards.scanned(scan, found(vec![stored()]), at(11));
    shards.due(at(12));
    assert_eq!(offered(&mut shards), [0; 0]);
    assert!(!shards.has_batch());
}
