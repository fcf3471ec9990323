//! One value of everything, with every field set to something that a mistake would show, and once more with every optional
//! field left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::command::{Command, ContinueAsNew, ScheduleActivity, UnreadSignal};
use engine_core::cron::Cron;
use engine_core::event::{
    ActivityCancelRequested, ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityScheduled, ActivityStarted,
    ActivityTimedOut, ActivityTimeouts, CloseStatus, ContinueAsNewReasons, Event, EventKind, MarkerRecorded,
    PauseChange, PropertiesModified, PropertyChanges, SearchAttributesUpserted, StandaloneActivity, StatePublished,
    TimerCanceled, TimerFired, TimerStarted, UpdateOutcome, UpdateRequest, WorkerMetadata, WorkflowCancelRequested,
    WorkflowCanceled, WorkflowCompleted, WorkflowContinuedAsNew, WorkflowFailed, WorkflowSignaled, WorkflowStarted,
    WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailureCause, WorkflowTaskScheduled, WorkflowTaskStarted,
    WorkflowTaskTimedOut, WorkflowTerminated, WorkflowTimedOut, WorkflowUpdateAccepted, WorkflowUpdateCompleted,
};
use engine_core::event::{
    Fork, ResetOrigin, ResetTo, StartVersioning, TaskVersioning, VersioningBehavior, VersioningOverride, WorkerVersion,
    WorkflowOptionsUpdated, WorkflowRepaired,
};
use engine_core::execution::IdReusePolicy;
use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use engine_core::ids::{
    ActivityId, ActivityType, BuildId, DeploymentName, EventId, Namespace, PatchId, PublishedName, RequestId, RunId,
    SearchAttributeName, SignalName, StepName, TaskQueueName, TimerId, UpdateId, UpdateName, WorkflowId, WorkflowType,
};
use engine_core::marker::{Marker, StepMarker, StepOutcome};
use engine_core::payload::Payload;
use engine_core::peer::{
    CancelPeer, ChildOutcome, Parent, ParentClosePolicy, PeerCommand, PeerEvent, PeerFailureCause, PeerTarget,
    SignalPeer, StartChild,
};
use engine_core::retry::RetryPolicy;
use engine_core::search::{SearchAttributeChanges, SearchAttributes, SearchValue};
use engine_core::time::Timestamp;

pub(super) const TIMEOUT_KINDS: [TimeoutKind; 4] =
    [TimeoutKind::StartToClose, TimeoutKind::ScheduleToStart, TimeoutKind::ScheduleToClose, TimeoutKind::Heartbeat];

pub(super) const RETRY_STATES: [RetryState; 6] = [
    RetryState::InProgress,
    RetryState::NonRetryableFailure,
    RetryState::Timeout,
    RetryState::MaximumAttemptsReached,
    RetryState::RetryPolicyNotSet,
    RetryState::CancelRequested,
];

pub(super) const CAUSES: [WorkflowTaskFailureCause; 8] = [
    WorkflowTaskFailureCause::WorkerFailure,
    WorkflowTaskFailureCause::Panic,
    WorkflowTaskFailureCause::Nondeterminism,
    WorkflowTaskFailureCause::UnknownWorkflowType,
    WorkflowTaskFailureCause::ForeignAwait,
    WorkflowTaskFailureCause::BadCommand,
    WorkflowTaskFailureCause::UnhandledCommand,
    WorkflowTaskFailureCause::ForceClosed,
];

pub(super) const CLOSE_STATUSES: [Option<CloseStatus>; 7] = [
    None,
    Some(CloseStatus::Completed),
    Some(CloseStatus::Failed),
    Some(CloseStatus::Canceled),
    Some(CloseStatus::Terminated),
    Some(CloseStatus::TimedOut),
    Some(CloseStatus::ContinuedAsNew),
];

const START: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

pub(super) fn payload(text: &str) -> Payload {
    Payload {
        encoding: "json/plain".into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
        metadata: BTreeMap::from([("key-id".into(), Bytes::from_static(&[0, 255, 7]))]),
    }
}

pub(super) fn run(number: u8) -> RunId {
    RunId::from_parts(START, [number; 10])
}

pub(super) fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        initial_interval: Duration::new(3, 14),
        backoff_coefficient: 1.25,
        maximum_interval: Duration::from_secs(77),
        maximum_attempts: 9,
        non_retryable_types: vec!["CardDeclined".into(), "OutOfStock".into()],
        jitter: 0.0,
    }
}

pub(super) fn timeouts() -> ActivityTimeouts {
    ActivityTimeouts {
        schedule_to_close: Some(Duration::from_secs(400)),
        schedule_to_start: Some(Duration::from_secs(30)),
        start_to_close: Some(Duration::from_millis(1500)),
        heartbeat: Some(Duration::from_micros(1)),
    }
}

/// Each kind of failure, each timeout and retry state, and a chain of all of them.
pub(super) fn failures() -> Vec<Failure> {
    let mut kinds = vec![
        FailureKind::Application {
            type_name: "shop::Declined".into(),
            non_retryable: true,
            details: Some(payload("[1]")),
            next_retry_delay: Some(Duration::from_millis(250)),
        },
        FailureKind::Application {
            type_name: String::new(),
            non_retryable: false,
            details: None,
            next_retry_delay: None,
        },
        FailureKind::Canceled { details: Some(payload("\"why\"")) },
        FailureKind::Canceled { details: None },
        FailureKind::Terminated,
        FailureKind::WorkerLost,
        FailureKind::Server { non_retryable: true },
        FailureKind::Server { non_retryable: false },
    ];
    for timeout in TIMEOUT_KINDS {
        kinds.push(FailureKind::Timeout { timeout, last_heartbeat_details: None });
        kinds.push(FailureKind::Timeout { timeout, last_heartbeat_details: Some(payload("50")) });
    }
    for retry_state in RETRY_STATES {
        kinds.push(FailureKind::Activity {
            scheduled_event_id: EventId(5),
            activity_id: ActivityId::from_trusted("5"),
            activity_type: ActivityType::from_trusted("charge_card"),
            retry_state,
        });
    }
    for (run_id, started_event_id) in [(Some(run(8)), EventId(7)), (None, EventId::NONE)] {
        kinds.push(FailureKind::ChildWorkflow {
            namespace: Namespace::from_trusted("default"),
            workflow_id: WorkflowId::from_trusted("order-42/payment"),
            run_id,
            workflow_type: WorkflowType::from_trusted("payment"),
            initiated_event_id: EventId(5),
            started_event_id,
            retry_state: RetryState::MaximumAttemptsReached,
        });
    }
    let failure = |(index, kind)| Failure { message: format!("failure {index}: ä"), kind, cause: None };
    let mut failures: Vec<Failure> = kinds.into_iter().enumerate().map(failure).collect();
    let link = |cause: Option<Box<Failure>>, failure: &Failure| Some(Box::new(Failure { cause, ..failure.clone() }));
    failures.extend(failures[..15].iter().fold(None, link).map(|chain| *chain));
    failures
}

/// Each command, the activity once with all fields and once with the least.
pub(super) fn commands() -> Vec<Command> {
    let mut commands = vec![
        Command::ScheduleActivity(Box::new(ScheduleActivity {
            activity_id: ActivityId::from_trusted("a-1"),
            activity_type: ActivityType::from_trusted("ship"),
            task_queue: Some(TaskQueueName::from_trusted("warehouse")),
            input: vec![payload("1"), Payload::json("\"two\"")],
            timeouts: timeouts(),
            retry_policy: Some(retry_policy()),
            summary: "ships the order".into(),
        })),
        Command::ScheduleActivity(Box::new(ScheduleActivity {
            activity_id: ActivityId::from_trusted("a-2"),
            activity_type: ActivityType::from_trusted("ship"),
            task_queue: None,
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: None,
            summary: String::new(),
        })),
        Command::RequestCancelActivity { activity_id: ActivityId::from_trusted("a-1") },
        Command::StartTimer {
            timer_id: TimerId::from_trusted("t-1"),
            duration: Duration::from_secs(14 * 24 * 3600),
            summary: "until the offer ends".into(),
        },
        Command::CancelTimer { timer_id: TimerId::from_trusted("t-1") },
        Command::PublishState { name: PublishedName::from_trusted("status"), value: payload("7") },
        Command::AcceptUpdate(Box::new(update())),
        Command::CompleteUpdate {
            update_id: UpdateId::from_trusted("u-1"),
            outcome: UpdateOutcome::Completed { result: Some(payload("7")) },
        },
        Command::CompleteUpdate {
            update_id: UpdateId::from_trusted("u-1"),
            outcome: UpdateOutcome::Failed { failure: failures().remove(0) },
        },
        Command::CompleteWorkflow { result: None },
        Command::CompleteWorkflow { result: Some(payload("true")) },
        Command::CancelWorkflow { details: None },
        Command::CancelWorkflow { details: Some(payload("0")) },
        Command::Peer(Box::new(PeerCommand::StartChild(child_in_full()))),
        Command::Peer(Box::new(PeerCommand::StartChild(child_with_the_least()))),
        Command::Peer(Box::new(PeerCommand::Signal(signal_peer()))),
        Command::Peer(Box::new(PeerCommand::RequestCancel(cancel_peer()))),
        Command::ContinueAsNew(Box::default()),
        Command::ContinueAsNew(Box::new(ContinueAsNew {
            workflow_type: Some(WorkflowType::from_trusted("refund")),
            task_queue: Some(TaskQueueName::from_trusted("refunds")),
            input: vec![payload("1"), Payload::default()],
            run_timeout: Some(Duration::from_secs(60)),
            task_timeout: Some(Duration::from_secs(7)),
            retry_policy: Some(retry_policy()),
            memo: Some(vec![("a".into(), payload("1"))]),
            unread_signals: vec![UnreadSignal { name: SignalName::from_trusted("s"), input: vec![payload("2")] }],
        })),
    ];
    commands.extend(markers().into_iter().map(|marker| Command::RecordMarker(Box::new(marker))));
    commands.push(Command::UpsertSearchAttributes { changes: search_changes() });
    commands.push(Command::ModifyProperties(property_changes()));
    commands.push(Command::ModifyProperties(PropertyChanges::default()));
    commands.extend(failures().into_iter().map(|failure| Command::FailWorkflow { failure }));
    commands
}

/// A search attribute of each type.
fn search_attributes() -> SearchAttributes {
    let values = [
        SearchValue::Keyword("eu".into()),
        SearchValue::KeywordList(vec!["new".into(), "vip".into()]),
        SearchValue::KeywordList(Vec::new()),
        SearchValue::Text("a long story".into()),
        SearchValue::Int(i64::MIN),
        SearchValue::Double(0.1),
        SearchValue::Bool(false),
        SearchValue::Datetime(START),
    ];
    let name = |number| SearchAttributeName::from_trusted(format!("attribute{number}"));
    values.into_iter().enumerate().map(|(number, value)| (name(number), value)).collect()
}

fn search_changes() -> SearchAttributeChanges {
    let mut changes: SearchAttributeChanges =
        search_attributes().into_iter().map(|(name, value)| (name, Some(value))).collect();
    changes.insert(SearchAttributeName::from_trusted("gone"), None);
    changes
}

fn property_changes() -> PropertyChanges {
    PropertyChanges {
        memo: BTreeMap::from([("a".into(), Some(payload("1"))), ("b".into(), None)]),
        current_details: Some(String::new()),
    }
}

/// Each kind of marker.
fn markers() -> Vec<Marker> {
    let step = |outcome| {
        Marker::Step(StepMarker {
            step_id: 7,
            name: StepName::from_trusted("quote"),
            outcome,
            attempt: 3,
            took: Duration::from_millis(20),
        })
    };
    let failure = failures().pop().expect("there are some");
    vec![
        Marker::Patch { patch_id: PatchId::from_trusted("use-courier"), deprecated: false },
        Marker::Patch { patch_id: PatchId::from_trusted("use-courier"), deprecated: true },
        step(StepOutcome::Completed { result: Some(payload("1")) }),
        step(StepOutcome::Completed { result: None }),
        step(StepOutcome::Failed { failure, retry_state: RetryState::MaximumAttemptsReached }),
    ]
}

fn marker_events() -> impl Iterator<Item = EventKind> {
    markers().into_iter().map(|marker| {
        EventKind::MarkerRecorded(Box::new(MarkerRecorded { workflow_task_completed_event_id: EventId(4), marker }))
    })
}

fn property_events() -> [EventKind; 2] {
    let workflow_task_completed_event_id = EventId(4);
    let (changes, shown) = (search_changes(), property_changes());
    [
        EventKind::SearchAttributesUpserted(SearchAttributesUpserted { workflow_task_completed_event_id, changes }),
        EventKind::PropertiesModified(PropertiesModified { workflow_task_completed_event_id, changes: shown }),
    ]
}

fn reset_origin() -> ResetOrigin {
    ResetOrigin {
        base_run_id: run(2),
        original_run_id: run(3),
        forked_at: EventId(9),
        forks: vec![Fork { run_id: run(3), until: EventId(5) }, Fork { run_id: run(2), until: EventId(9) }],
        reason: "a bad deploy".into(),
        identity: "desk-3".into(),
    }
}

fn pause_change() -> PauseChange {
    let request_id = Some(RequestId::from_trusted("p-1"));
    PauseChange { reason: "the bank is closed".into(), identity: "desk-3".into(), request_id }
}

fn worker_version() -> Arc<WorkerVersion> {
    let (deployment, build_id) = (DeploymentName::from_trusted("shop"), BuildId::from_trusted("build-7"));
    Arc::new(WorkerVersion { deployment, build_id })
}

fn options_updated(versioning_override: Option<VersioningOverride>) -> WorkflowOptionsUpdated {
    let request_id = Some(RequestId::from_trusted("m-1"));
    WorkflowOptionsUpdated {
        versioning_override,
        reason: "build 6 is bad".into(),
        identity: "desk-3".into(),
        request_id,
    }
}

fn update() -> UpdateRequest {
    UpdateRequest {
        id: UpdateId::from_trusted("u-1"),
        name: UpdateName::from_trusted("deposit"),
        input: vec![payload("7"), Payload::default()],
        identity: "desk-3".into(),
    }
}

fn started_in_full() -> WorkflowStarted {
    WorkflowStarted {
        namespace: Namespace::from_trusted("default"),
        workflow_id: WorkflowId::from_trusted("order-42"),
        run_id: run(1),
        workflow_type: WorkflowType::from_trusted("checkout"),
        task_queue: TaskQueueName::from_trusted("orders"),
        input: vec![payload("{\"cents\":100}"), Payload::default()],
        execution_timeout: Some(Duration::from_secs(3600)),
        run_timeout: Some(Duration::from_secs(1800)),
        task_timeout: Duration::from_secs(10),
        execution_deadline: Some(START + Duration::from_secs(3600)),
        retry_policy: Some(retry_policy()),
        attempt: 2,
        continued_from: Some(run(2)),
        first_run_id: run(3),
        continued_failure: failures().pop(),
        last_result: Some(payload("41")),
        versioning: Some(Box::new(StartVersioning {
            inherited: Some(worker_version()),
            versioning_override: Some(VersioningOverride::Pinned(worker_version())),
        })),
        cron: Some(Box::new(Cron { expression: "30 2 * * *".into(), time_zone: "Europe/Berlin".into() })),
        first_task_backoff: Duration::from_millis(2500),
        request_id: Some(RequestId::from_trusted("req-1")),
        identity: "cli@host".into(),
        memo: vec![("a".into(), payload("1")), ("b".into(), Payload::default())],
        search_attributes: SearchAttributes::new(),
        summary: String::new(),
        details: String::new(),
        parent: Some(Box::new(parent())),
        activity: Some(Box::new(StandaloneActivity { timeouts: timeouts(), retry_policy: retry_policy() })),
        seen_request_ids: vec![RequestId::from_trusted("seen-1"), RequestId::from_trusted("seen-2")],
        reset: None,
    }
}

fn started_with_the_least() -> WorkflowStarted {
    WorkflowStarted {
        input: Vec::new(),
        execution_timeout: None,
        run_timeout: None,
        execution_deadline: None,
        retry_policy: None,
        attempt: 1,
        continued_from: None,
        first_run_id: run(1),
        continued_failure: None,
        last_result: None,
        versioning: None,
        cron: None,
        first_task_backoff: Duration::ZERO,
        request_id: None,
        identity: String::new(),
        memo: Vec::new(),
        parent: None,
        activity: None,
        seen_request_ids: Vec::new(),
        reset: Some(Box::new(reset_origin())),
        ..started_in_full()
    }
}

/// Each kind of event, numbered from 1.
pub(super) fn events() -> Vec<Event> {
    let mut kinds = workflow_events();
    kinds.extend(workflow_task_events());
    kinds.extend(activity_events());
    kinds.extend(timer_events());
    kinds.extend(peer_events().into_iter().map(|event| EventKind::Peer(Box::new(event))));
    kinds.extend(marker_events());
    kinds.extend(property_events());
    let event = |(kind, number): (EventKind, u64)| Event {
        id: EventId(number),
        at: START + Duration::from_micros(number),
        kind,
    };
    kinds.into_iter().zip(1..).map(event).collect()
}

fn parent() -> Parent {
    Parent { workflow_id: WorkflowId::from_trusted("parent-1"), run_id: run(8), initiated_event_id: EventId(5) }
}

fn child_in_full() -> StartChild {
    StartChild {
        workflow_id: WorkflowId::from_trusted("child-1"),
        workflow_type: WorkflowType::from_trusted("ship"),
        task_queue: Some(TaskQueueName::from_trusted("warehouse")),
        input: vec![payload("1"), Payload::default()],
        execution_timeout: Some(Duration::from_secs(3600)),
        run_timeout: Some(Duration::from_secs(1800)),
        task_timeout: Some(Duration::from_secs(7)),
        retry_policy: Some(retry_policy()),
        parent_close_policy: ParentClosePolicy::Abandon,
        id_reuse_policy: IdReusePolicy::RejectDuplicate,
        memo: vec![("a".into(), payload("1"))],
        search_attributes: search_attributes(),
        summary: "Ada's parcel".into(),
        details: "two pieces\nfragile".into(),
    }
}

fn child_with_the_least() -> StartChild {
    StartChild {
        task_queue: None,
        input: Vec::new(),
        execution_timeout: None,
        run_timeout: None,
        task_timeout: None,
        retry_policy: None,
        parent_close_policy: ParentClosePolicy::Terminate,
        id_reuse_policy: IdReusePolicy::AllowDuplicate,
        memo: Vec::new(),
        search_attributes: SearchAttributes::new(),
        summary: String::new(),
        details: String::new(),
        ..child_in_full()
    }
}

fn target(run_id: Option<RunId>) -> PeerTarget {
    PeerTarget { workflow_id: WorkflowId::from_trusted("other"), child_only: run_id.is_none(), run_id }
}

fn signal_peer() -> SignalPeer {
    SignalPeer { target: target(Some(run(4))), name: SignalName::from_trusted("go"), input: vec![payload("1")] }
}

fn cancel_peer() -> CancelPeer {
    CancelPeer { target: target(None), reason: "enough".into() }
}

fn peer_events() -> Vec<PeerEvent> {
    let completed = EventId(4);
    let (initiated_event_id, started_event_id) = (EventId(5), EventId(9));
    let (workflow_id, workflow_type) = (WorkflowId::from_trusted("child-1"), WorkflowType::from_trusted("ship"));
    let closed = |outcome| PeerEvent::ChildClosed {
        initiated_event_id,
        started_event_id,
        workflow_id: workflow_id.clone(),
        workflow_type: workflow_type.clone(),
        run_id: run(6),
        outcome,
    };
    let initiated = |child| PeerEvent::StartChildInitiated { workflow_task_completed_event_id: completed, child };
    let mut events = vec![
        initiated(child_in_full()),
        initiated(child_with_the_least()),
        PeerEvent::ChildStarted {
            initiated_event_id,
            workflow_id: workflow_id.clone(),
            workflow_type: workflow_type.clone(),
            run_id: run(6),
        },
        closed(ChildOutcome::Completed { result: Some(payload("7")) }),
        closed(ChildOutcome::Completed { result: None }),
        closed(ChildOutcome::Failed {
            failure: Failure::application("Declined", "no"),
            retry_state: RetryState::RetryPolicyNotSet,
        }),
        closed(ChildOutcome::Canceled { details: Some(payload("0")) }),
        closed(ChildOutcome::TimedOut { retry_state: RetryState::Timeout }),
        closed(ChildOutcome::Terminated),
        PeerEvent::SignalInitiated { workflow_task_completed_event_id: completed, signal: signal_peer() },
        PeerEvent::Signaled { initiated_event_id, workflow_id: workflow_id.clone(), run_id: run(4) },
        PeerEvent::CancelInitiated { workflow_task_completed_event_id: completed, cancel: cancel_peer() },
        PeerEvent::CancelDelivered { initiated_event_id, workflow_id: workflow_id.clone(), run_id: run(4) },
    ];
    for cause in [PeerFailureCause::NotFound, PeerFailureCause::AlreadyStarted, PeerFailureCause::Refused] {
        let (workflow_id, workflow_type) = (workflow_id.clone(), workflow_type.clone());
        events.extend([
            PeerEvent::SignalFailed { initiated_event_id, workflow_id: workflow_id.clone(), cause },
            PeerEvent::CancelFailed { initiated_event_id, workflow_id: workflow_id.clone(), cause },
            PeerEvent::StartChildFailed { initiated_event_id, workflow_id, workflow_type, cause },
        ]);
    }
    events
}

fn workflow_events() -> Vec<EventKind> {
    let mut kinds = vec![
        EventKind::WorkflowStarted(Box::new(started_in_full())),
        EventKind::WorkflowStarted(Box::new(started_with_the_least())),
        EventKind::WorkflowStarted(Box::new(WorkflowStarted {
            search_attributes: search_attributes(),
            summary: "order of a regular".into(),
            details: "came by phone".into(),
            ..started_in_full()
        })),
        EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id: EventId(4),
            result: Some(payload("{}")),
            new_run_id: Some(run(7)),
        }),
        EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id: EventId(4),
            result: None,
            new_run_id: None,
        }),
        EventKind::WorkflowCanceled(WorkflowCanceled {
            workflow_task_completed_event_id: EventId(4),
            details: Some(payload("{}")),
        }),
        EventKind::WorkflowCanceled(WorkflowCanceled { workflow_task_completed_event_id: EventId(4), details: None }),
        EventKind::WorkflowTerminated(WorkflowTerminated {
            reason: "by hand".into(),
            details: Some(payload("9")),
            identity: "cli".into(),
            reset_to: Some(ResetTo { run_id: run(7), forked_at: EventId(5) }),
        }),
        EventKind::WorkflowRepaired(WorkflowRepaired {
            scheduled_event_id: EventId(5),
            has_result: true,
            reason: "the bank said so".into(),
            identity: "desk-3".into(),
        }),
        EventKind::WorkflowTerminated(WorkflowTerminated {
            reason: String::new(),
            details: None,
            identity: String::new(),
            reset_to: None,
        }),
        EventKind::WorkflowContinuedAsNew(WorkflowContinuedAsNew {
            workflow_task_completed_event_id: EventId(4),
            new_run_id: run(7),
        }),
        EventKind::WorkflowCancelRequested(WorkflowCancelRequested {
            reason: "changed my mind".into(),
            identity: "cli".into(),
            request_id: Some(RequestId::from_trusted("c-1")),
        }),
        EventKind::WorkflowPaused(pause_change()),
        EventKind::WorkflowResumed(PauseChange { request_id: None, ..pause_change() }),
        EventKind::WorkflowOptionsUpdated(Box::new(options_updated(Some(
            VersioningOverride::Pinned(worker_version()),
        )))),
        EventKind::WorkflowOptionsUpdated(Box::new(options_updated(Some(VersioningOverride::AutoUpgrade)))),
        EventKind::WorkflowOptionsUpdated(Box::new(options_updated(None))),
        EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted("approval"),
            input: vec![payload("\"desk-3\"")],
            identity: "desk".into(),
            request_id: Some(RequestId::from_trusted("s-1")),
        }),
        EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted("poke"),
            input: Vec::new(),
            identity: String::new(),
            request_id: None,
        }),
    ];
    for retry_state in RETRY_STATES {
        let new_run_id = (retry_state == RetryState::InProgress).then(|| run(9));
        kinds.push(EventKind::WorkflowTimedOut(WorkflowTimedOut {
            retry_state,
            new_run_id,
            failure: failures().pop(),
        }));
    }
    for failure in failures() {
        kinds.push(EventKind::WorkflowFailed(WorkflowFailed {
            workflow_task_completed_event_id: EventId(4),
            failure,
            retry_state: RetryState::RetryPolicyNotSet,
            new_run_id: None,
        }));
    }
    kinds
}

fn workflow_task_events() -> Vec<EventKind> {
    let mut kinds = vec![
        EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: TaskQueueName::from_trusted("orders"),
            start_to_close: Duration::from_secs(10),
            attempt: 3,
        }),
        EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id: EventId(2),
            identity: "worker@host".into(),
            history_size_bytes: 1 << 33,
            suggest_continue_as_new: ContinueAsNewReasons { history_events: true, history_bytes: false, updates: true },
        }),
        EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(2),
            started_event_id: EventId(3),
            identity: "worker@host".into(),
            worker: WorkerMetadata {
                sdk_name: "engine-rust".into(),
                sdk_version: "0.1.0".into(),
                build_id: "abc".into(),
                flags: vec![1, 300],
                versioning: Some(Box::new(TaskVersioning {
                    deployment: DeploymentName::from_trusted("shop"),
                    behavior: VersioningBehavior::Pinned,
                })),
            },
            force_new_task: true,
        }),
        EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(2),
            started_event_id: EventId(3),
            identity: String::new(),
            worker: WorkerMetadata::default(),
            force_new_task: false,
        }),
    ];
    for cause in CAUSES {
        kinds.push(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id: EventId(2),
            started_event_id: EventId(3),
            cause,
            failure: Failure::server("no such type", false),
            identity: "worker@host".into(),
        }));
    }
    for timeout in TIMEOUT_KINDS {
        kinds.push(EventKind::WorkflowTaskTimedOut(WorkflowTaskTimedOut {
            scheduled_event_id: EventId(2),
            started_event_id: EventId(3),
            timeout,
        }));
    }
    kinds
}

fn activity_events() -> Vec<EventKind> {
    let failure = || failures().pop().expect("there are some");
    vec![
        EventKind::ActivityScheduled(Box::new(ActivityScheduled {
            workflow_task_completed_event_id: EventId(4),
            activity_id: ActivityId::from_trusted("5"),
            activity_type: ActivityType::from_trusted("charge_card"),
            task_queue: TaskQueueName::from_trusted("orders"),
            input: vec![payload("1"), payload("2")],
            timeouts: timeouts(),
            retry_policy: retry_policy(),
            summary: "charges the card".into(),
        })),
        EventKind::ActivityScheduled(Box::new(ActivityScheduled {
            workflow_task_completed_event_id: EventId(4),
            activity_id: ActivityId::from_trusted("6"),
            activity_type: ActivityType::from_trusted("charge_card"),
            task_queue: TaskQueueName::from_trusted("orders"),
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: RetryPolicy::default(),
            summary: String::new(),
        })),
        EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id: EventId(5),
            attempt: 7,
            identity: "worker@host".into(),
            last_failure: Some(failure()),
        }),
        EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id: EventId(5),
            attempt: 1,
            identity: String::new(),
            last_failure: None,
        }),
        EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id: EventId(5),
            started_event_id: EventId(6),
            result: Some(payload("\"paid\"")),
            identity: "worker@host".into(),
        }),
        EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id: EventId(5),
            started_event_id: EventId(6),
            result: None,
            identity: String::new(),
        }),
        EventKind::ActivityFailed(ActivityFailed {
            scheduled_event_id: EventId(5),
            started_event_id: EventId(6),
            failure: failure(),
            retry_state: RetryState::MaximumAttemptsReached,
            identity: "worker@host".into(),
        }),
        EventKind::ActivityTimedOut(ActivityTimedOut {
            scheduled_event_id: EventId(5),
            started_event_id: EventId::NONE,
            failure: Failure::timeout(TimeoutKind::ScheduleToStart, None),
            retry_state: RetryState::NonRetryableFailure,
        }),
        EventKind::ActivityCancelRequested(ActivityCancelRequested {
            workflow_task_completed_event_id: EventId(4),
            scheduled_event_id: EventId(5),
        }),
        EventKind::ActivityCanceled(ActivityCanceled {
            scheduled_event_id: EventId(5),
            started_event_id: EventId(6),
            cancel_requested_event_id: EventId(8),
            details: Some(payload("1")),
            identity: "worker@host".into(),
        }),
        EventKind::ActivityCanceled(ActivityCanceled {
            scheduled_event_id: EventId(5),
            started_event_id: EventId::NONE,
            cancel_requested_event_id: EventId(8),
            details: None,
            identity: String::new(),
        }),
    ]
}

fn timer_events() -> Vec<EventKind> {
    vec![
        EventKind::TimerStarted(TimerStarted {
            workflow_task_completed_event_id: EventId(4),
            timer_id: TimerId::from_trusted("t-1"),
            duration: Duration::new(60, 1),
            summary: "until the offer ends".into(),
        }),
        EventKind::TimerFired(TimerFired { timer_id: TimerId::from_trusted("t-1"), started_event_id: EventId(9) }),
        EventKind::TimerCanceled(TimerCanceled {
            workflow_task_completed_event_id: EventId(4),
            timer_id: TimerId::from_trusted("t-1"),
            started_event_id: EventId(9),
        }),
        EventKind::WorkflowUpdateAdmitted(Box::new(update())),
        EventKind::WorkflowUpdateAccepted(Box::new(WorkflowUpdateAccepted {
            workflow_task_completed_event_id: EventId(4),
            update: update(),
        })),
        EventKind::WorkflowUpdateCompleted(WorkflowUpdateCompleted {
            workflow_task_completed_event_id: EventId(4),
            update_id: UpdateId::from_trusted("u-1"),
            accepted_event_id: EventId(5),
            outcome: UpdateOutcome::Completed { result: None },
        }),
        EventKind::WorkflowUpdateCompleted(WorkflowUpdateCompleted {
            workflow_task_completed_event_id: EventId(4),
            update_id: UpdateId::from_trusted("u-1"),
            accepted_event_id: EventId(5),
            outcome: UpdateOutcome::Failed { failure: failures().remove(0) },
        }),
        EventKind::StatePublished(StatePublished {
            workflow_task_completed_event_id: EventId(4),
            name: PublishedName::from_trusted("status"),
            value: payload("7"),
        }),
    ]
}

/// An event whose bytes are pinned. It never changes.
pub(super) fn golden_started() -> Event {
    let kind = EventKind::WorkflowStarted(Box::new(WorkflowStarted {
        input: vec![Payload::json("{\"cents\":100}")],
        continued_failure: None,
        last_result: None,
        versioning: None,
        cron: None,
        parent: None,
        activity: None,
        seen_request_ids: Vec::new(),
        reset: None,
        ..started_in_full()
    }));
    Event { id: EventId::FIRST, at: START, kind }
}

/// An event whose bytes are pinned. It never changes.
pub(super) fn golden_failed() -> Event {
    let declined = Failure {
        message: "card declined".into(),
        kind: FailureKind::Application {
            type_name: "shop::Declined".into(),
            non_retryable: true,
            details: None,
            next_retry_delay: None,
        },
        cause: None,
    };
    let kind = EventKind::ActivityFailed(ActivityFailed {
        scheduled_event_id: EventId(5),
        started_event_id: EventId(6),
        failure: Failure { cause: Some(Box::new(declined)), ..Failure::timeout(TimeoutKind::StartToClose, None) },
        retry_state: RetryState::MaximumAttemptsReached,
        identity: "worker@host".into(),
    });
    Event { id: EventId(300), at: START, kind }
}
