//! One value of everything, with every field set to something that a mistake would show, and once more with every optional
//! field left out.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use engine_core::command::{Command, ScheduleActivity};
use engine_core::event::{
    ActivityCancelRequested, ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityScheduled, ActivityStarted,
    ActivityTimedOut, ActivityTimeouts, CloseStatus, Event, EventKind, TimerCanceled, TimerFired, TimerStarted,
    WorkerMetadata, WorkflowCancelRequested, WorkflowCanceled, WorkflowCompleted, WorkflowFailed, WorkflowSignaled,
    WorkflowStarted, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailureCause, WorkflowTaskScheduled,
    WorkflowTaskStarted, WorkflowTaskTimedOut, WorkflowTerminated, WorkflowTimedOut,
};
use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use engine_core::ids::{
    ActivityId, ActivityType, EventId, Namespace, RequestId, RunId, SignalName, TaskQueueName, TimerId, WorkflowId,
    WorkflowType,
};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
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

pub(super) const CLOSE_STATUSES: [Option<CloseStatus>; 6] = [
    None,
    Some(CloseStatus::Completed),
    Some(CloseStatus::Failed),
    Some(CloseStatus::Canceled),
    Some(CloseStatus::Terminated),
    Some(CloseStatus::TimedOut),
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
        })),
        Command::ScheduleActivity(Box::new(ScheduleActivity {
            activity_id: ActivityId::from_trusted("a-2"),
            activity_type: ActivityType::from_trusted("ship"),
            task_queue: None,
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: None,
        })),
        Command::RequestCancelActivity { activity_id: ActivityId::from_trusted("a-1") },
        Command::StartTimer { timer_id: TimerId::from_trusted("t-1"), duration: Duration::from_secs(14 * 24 * 3600) },
        Command::CancelTimer { timer_id: TimerId::from_trusted("t-1") },
        Command::CompleteWorkflow { result: None },
        Command::CompleteWorkflow { result: Some(payload("true")) },
        Command::CancelWorkflow { details: None },
        Command::CancelWorkflow { details: Some(payload("0")) },
    ];
    commands.extend(failures().into_iter().map(|failure| Command::FailWorkflow { failure }));
    commands
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
        first_task_backoff: Duration::from_millis(2500),
        request_id: Some(RequestId::from_trusted("req-1")),
        identity: "cli@host".into(),
        memo: vec![("a".into(), payload("1")), ("b".into(), Payload::default())],
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
        first_task_backoff: Duration::ZERO,
        request_id: None,
        identity: String::new(),
        memo: Vec::new(),
        ..started_in_full()
    }
}

/// Each kind of event, numbered from 1.
pub(super) fn events() -> Vec<Event> {
    let mut kinds = workflow_events();
    kinds.extend(workflow_task_events());
    kinds.extend(activity_events());
    kinds.extend(timer_events());
    let event = |(kind, number): (EventKind, u64)| Event {
        id: EventId(number),
        at: START + Duration::from_micros(number),
        kind,
    };
    kinds.into_iter().zip(1..).map(event).collect()
}

fn workflow_events() -> Vec<EventKind> {
    let mut kinds = vec![
        EventKind::WorkflowStarted(Box::new(started_in_full())),
        EventKind::WorkflowStarted(Box::new(started_with_the_least())),
        EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id: EventId(4),
            result: Some(payload("{}")),
        }),
        EventKind::WorkflowCompleted(WorkflowCompleted { workflow_task_completed_event_id: EventId(4), result: None }),
        EventKind::WorkflowCanceled(WorkflowCanceled {
            workflow_task_completed_event_id: EventId(4),
            details: Some(payload("{}")),
        }),
        EventKind::WorkflowCanceled(WorkflowCanceled { workflow_task_completed_event_id: EventId(4), details: None }),
        EventKind::WorkflowTerminated(WorkflowTerminated {
            reason: "by hand".into(),
            details: Some(payload("9")),
            identity: "cli".into(),
        }),
        EventKind::WorkflowTerminated(WorkflowTerminated {
            reason: String::new(),
            details: None,
            identity: String::new(),
        }),
        EventKind::WorkflowCancelRequested(WorkflowCancelRequested {
            reason: "changed my mind".into(),
            identity: "cli".into(),
            request_id: Some(RequestId::from_trusted("c-1")),
        }),
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
        kinds.push(EventKind::WorkflowTimedOut(WorkflowTimedOut { retry_state, new_run_id }));
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
            suggest_continue_as_new: true,
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
            },
        }),
        EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(2),
            started_event_id: EventId(3),
            identity: String::new(),
            worker: WorkerMetadata::default(),
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
        })),
        EventKind::ActivityScheduled(Box::new(ActivityScheduled {
            workflow_task_completed_event_id: EventId(4),
            activity_id: ActivityId::from_trusted("6"),
            activity_type: ActivityType::from_trusted("charge_card"),
            task_queue: TaskQueueName::from_trusted("orders"),
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: RetryPolicy::default(),
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
        }),
        EventKind::TimerFired(TimerFired { timer_id: TimerId::from_trusted("t-1"), started_event_id: EventId(9) }),
        EventKind::TimerCanceled(TimerCanceled {
            workflow_task_completed_event_id: EventId(4),
            timer_id: TimerId::from_trusted("t-1"),
            started_event_id: EventId(9),
        }),
    ]
}

/// An event whose bytes are pinned. It never changes.
pub(super) fn golden_started() -> Event {
    let kind = EventKind::WorkflowStarted(Box::new(WorkflowStarted {
        input: vec![Payload::json("{\"cents\":100}")],
        continued_failure: None,
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
