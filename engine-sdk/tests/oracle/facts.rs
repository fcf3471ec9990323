//! What a history says, in the reference's words: one line for each event, with what it refers to and how things ended, and
//! without what is different each time.

use std::collections::BTreeMap;
use std::fmt;

use engine_core::event::{
    ChildOutcome, Event, EventKind, Marker, ParentClosePolicy, PeerEvent, PeerFailureCause, StepOutcome, UpdateOutcome,
    WorkflowTaskFailureCause,
};
use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use engine_core::ids::EventId;
use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) id: u64,
    /// The reference's name of its type.
    pub(crate) kind: String,
    /// References end in `_event_id`.
    pub(crate) fields: BTreeMap<String, String>,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} {}", self.id, self.kind)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Fact {
    /// An event of a fixture.
    pub(crate) fn recorded(event: &Value) -> Fact {
        let mut fields = BTreeMap::new();
        for (name, value) in event.as_object().expect("an event is an object") {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(lines) => {
                    lines.iter().map(|line| line.as_str().expect("a line of a failure")).collect::<Vec<_>>().join(" < ")
                }
                other => other.to_string(),
            };
            fields.insert(name.clone(), text);
        }
        let id = fields.remove("id").expect("an event has an id").parse().expect("an id is a number");
        let kind = fields.remove("type").expect("an event has a type");
        Fact { id, kind, fields }
    }

    /// An event of ours.
    pub(crate) fn of(event: &Event) -> Fact {
        let mut fact = Fact { id: event.id.0, kind: String::new(), fields: BTreeMap::new() };
        fact.kind = fact.describe(&event.kind).to_owned();
        fact
    }

    fn with(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        self.fields.insert(name.to_owned(), value.to_string());
        self
    }

    fn refers(&mut self, name: &str, id: EventId) -> &mut Self {
        if id != EventId::NONE {
            self.with(&format!("{name}_event_id"), id.0);
        }
        self
    }

    fn task(&mut self, id: EventId) -> &mut Self {
        self.refers("workflow_task_completed", id)
    }

    fn retry_state(&mut self, state: RetryState) -> &mut Self {
        self.with("retry_state", retry_state(state))
    }

    fn fails(&mut self, name: &str, failure: &Failure) -> &mut Self {
        self.with(name, chain(failure))
    }

    fn continued(&mut self, continued: bool) -> &mut Self {
        if continued {
            self.with("continued", true);
        }
        self
    }

    /// Fills in the fields and gives the type.
    fn describe(&mut self, kind: &EventKind) -> &'static str {
        match kind {
            EventKind::WorkflowStarted(it) => {
                self.with("attempt", it.attempt).with("workflow_type", &it.workflow_type);
                if it.continued_from.is_some() {
                    self.with("continues", true);
                }
                if let Some(failure) = &it.continued_failure {
                    self.fails("continued_failure", failure);
                }
                if let Some(parent) = &it.parent {
                    self.refers("parent_initiated", parent.initiated_event_id);
                }
                "WorkflowExecutionStarted"
            }
            EventKind::WorkflowCompleted(it) => {
                self.task(it.workflow_task_completed_event_id).continued(it.new_run_id.is_some());
                "WorkflowExecutionCompleted"
            }
            EventKind::WorkflowFailed(it) => {
                self.task(it.workflow_task_completed_event_id)
                    .fails("failure", &it.failure)
                    .retry_state(it.retry_state);
                self.continued(it.new_run_id.is_some());
                "WorkflowExecutionFailed"
            }
            EventKind::WorkflowTimedOut(it) => {
                self.retry_state(it.retry_state).continued(it.new_run_id.is_some());
                "WorkflowExecutionTimedOut"
            }
            EventKind::WorkflowCanceled(it) => {
                self.task(it.workflow_task_completed_event_id);
                "WorkflowExecutionCanceled"
            }
            EventKind::WorkflowTerminated(_) => "WorkflowExecutionTerminated",
            EventKind::WorkflowContinuedAsNew(it) => {
                self.task(it.workflow_task_completed_event_id).continued(true);
                "WorkflowExecutionContinuedAsNew"
            }
            EventKind::WorkflowCancelRequested(_) => "WorkflowExecutionCancelRequested",
            EventKind::WorkflowUpdateAdmitted(_) => "WorkflowExecutionUpdateAdmitted",
            EventKind::WorkflowRepaired(_) => "WorkflowExecutionRepaired",
            EventKind::WorkflowPaused(_) => "WorkflowExecutionPaused",
            EventKind::WorkflowResumed(_) => "WorkflowExecutionUnpaused",
            EventKind::WorkflowOptionsUpdated(_) => "WorkflowExecutionOptionsUpdated",
            EventKind::WorkflowSignaled(it) => {
                self.with("signal_name", &it.name);
                "WorkflowExecutionSignaled"
            }
            EventKind::WorkflowTaskScheduled(it) => {
                self.with("attempt", it.attempt);
                "WorkflowTaskScheduled"
            }
            EventKind::WorkflowTaskStarted(it) => {
                self.refers("scheduled", it.scheduled_event_id);
                "WorkflowTaskStarted"
            }
            EventKind::WorkflowTaskCompleted(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                "WorkflowTaskCompleted"
            }
            EventKind::WorkflowTaskFailed(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                self.with("cause", task_failure_cause(it.cause)).fails("failure", &it.failure);
                "WorkflowTaskFailed"
            }
            EventKind::WorkflowTaskTimedOut(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                self.with("timeout_type", timeout(it.timeout));
                "WorkflowTaskTimedOut"
            }
            EventKind::ActivityScheduled(it) => {
                self.task(it.workflow_task_completed_event_id).with("activity_type", &it.activity_type);
                "ActivityTaskScheduled"
            }
            EventKind::ActivityStarted(it) => {
                self.refers("scheduled", it.scheduled_event_id).with("attempt", it.attempt);
                if let Some(failure) = &it.last_failure {
                    self.fails("last_failure", failure);
                }
                "ActivityTaskStarted"
            }
            EventKind::ActivityCompleted(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                "ActivityTaskCompleted"
            }
            EventKind::ActivityFailed(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                self.fails("failure", &it.failure).retry_state(it.retry_state);
                "ActivityTaskFailed"
            }
            EventKind::ActivityTimedOut(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                self.fails("failure", &it.failure).retry_state(it.retry_state);
                "ActivityTaskTimedOut"
            }
            EventKind::ActivityCancelRequested(it) => {
                self.task(it.workflow_task_completed_event_id).refers("scheduled", it.scheduled_event_id);
                "ActivityTaskCancelRequested"
            }
            EventKind::ActivityCanceled(it) => {
                self.refers("scheduled", it.scheduled_event_id).refers("started", it.started_event_id);
                self.refers("latest_cancel_requested", it.cancel_requested_event_id);
                "ActivityTaskCanceled"
            }
            EventKind::TimerStarted(it) => {
                self.task(it.workflow_task_completed_event_id);
                "TimerStarted"
            }
            EventKind::TimerFired(it) => {
                self.refers("started", it.started_event_id);
                "TimerFired"
            }
            EventKind::TimerCanceled(it) => {
                self.task(it.workflow_task_completed_event_id).refers("started", it.started_event_id);
                "TimerCanceled"
            }
            EventKind::StatePublished(it) => {
                self.task(it.workflow_task_completed_event_id);
                "StatePublished"
            }
            EventKind::MarkerRecorded(it) => {
                self.task(it.workflow_task_completed_event_id);
                match &it.marker {
                    Marker::Patch { .. } => self.with("marker_name", "core_patch"),
                    Marker::Step(step) => {
                        if let StepOutcome::Failed { failure, .. } = &step.outcome {
                            self.fails("failure", failure);
                        }
                        self.with("marker_name", "core_local_activity")
                    }
                };
                "MarkerRecorded"
            }
            EventKind::SearchAttributesUpserted(it) => {
                self.task(it.workflow_task_completed_event_id);
                "UpsertWorkflowSearchAttributes"
            }
            EventKind::PropertiesModified(it) => {
                self.task(it.workflow_task_completed_event_id);
                "WorkflowPropertiesModified"
            }
            EventKind::WorkflowUpdateAccepted(it) => {
                self.task(it.workflow_task_completed_event_id).with("update_name", &it.update.name);
                "WorkflowExecutionUpdateAccepted"
            }
            EventKind::WorkflowUpdateCompleted(it) => {
                self.task(it.workflow_task_completed_event_id).refers("accepted", it.accepted_event_id);
                if let UpdateOutcome::Failed { failure } = &it.outcome {
                    self.fails("failure", failure);
                }
                "WorkflowExecutionUpdateCompleted"
            }
            EventKind::Peer(peer) => self.describe_peer(peer),
        }
    }

    fn describe_peer(&mut self, event: &PeerEvent) -> &'static str {
        if let Some(task) = event.command_of() {
            self.task(task);
        }
        if let Some(initiated) = event.initiated_event_id() {
            self.refers("initiated", initiated);
        }
        match event {
            PeerEvent::StartChildInitiated { child, .. } => {
                let policy = match child.parent_close_policy {
                    ParentClosePolicy::Terminate => "Terminate",
                    ParentClosePolicy::RequestCancel => "RequestCancel",
                    ParentClosePolicy::Abandon => "Abandon",
                };
                self.with("parent_close_policy", policy).with("workflow_type", &child.workflow_type);
                "StartChildWorkflowExecutionInitiated"
            }
            PeerEvent::StartChildFailed { workflow_type, cause, .. } => {
                self.with("workflow_type", workflow_type).with("cause", peer_failure_cause(*cause));
                "StartChildWorkflowExecutionFailed"
            }
            PeerEvent::ChildStarted { workflow_type, .. } => {
                self.with("workflow_type", workflow_type);
                "ChildWorkflowExecutionStarted"
            }
            PeerEvent::ChildClosed { started_event_id, workflow_type, outcome, .. } => {
                self.refers("started", *started_event_id).with("workflow_type", workflow_type);
                match outcome {
                    ChildOutcome::Completed { .. } => "ChildWorkflowExecutionCompleted",
                    ChildOutcome::Failed { failure, retry_state } => {
                        self.fails("failure", failure).retry_state(*retry_state);
                        "ChildWorkflowExecutionFailed"
                    }
                    ChildOutcome::Canceled { .. } => "ChildWorkflowExecutionCanceled",
                    ChildOutcome::TimedOut { retry_state } => {
                        self.retry_state(*retry_state);
                        "ChildWorkflowExecutionTimedOut"
                    }
                    ChildOutcome::Terminated => "ChildWorkflowExecutionTerminated",
                }
            }
            PeerEvent::SignalInitiated { signal, .. } => {
                self.with("signal_name", &signal.name).child_only(signal.target.child_only);
                "SignalExternalWorkflowExecutionInitiated"
            }
            PeerEvent::Signaled { .. } => "ExternalWorkflowExecutionSignaled",
            PeerEvent::SignalFailed { cause, .. } => {
                self.with("cause", peer_failure_cause(*cause));
                "SignalExternalWorkflowExecutionFailed"
            }
            PeerEvent::CancelInitiated { cancel, .. } => {
                self.child_only(cancel.target.child_only);
                "RequestCancelExternalWorkflowExecutionInitiated"
            }
            PeerEvent::CancelDelivered { .. } => "ExternalWorkflowExecutionCancelRequested",
            PeerEvent::CancelFailed { cause, .. } => {
                self.with("cause", peer_failure_cause(*cause));
                "RequestCancelExternalWorkflowExecutionFailed"
            }
        }
    }

    fn child_only(&mut self, child_only: bool) {
        if child_only {
            self.with("child_workflow_only", true);
        }
    }
}

fn retry_state(state: RetryState) -> &'static str {
    match state {
        RetryState::InProgress => "InProgress",
        RetryState::NonRetryableFailure => "NonRetryableFailure",
        RetryState::Timeout => "Timeout",
        RetryState::MaximumAttemptsReached => "MaximumAttemptsReached",
        RetryState::RetryPolicyNotSet => "RetryPolicyNotSet",
        RetryState::CancelRequested => "CancelRequested",
    }
}

fn timeout(kind: TimeoutKind) -> &'static str {
    match kind {
        TimeoutKind::StartToClose => "StartToClose",
        TimeoutKind::ScheduleToStart => "ScheduleToStart",
        TimeoutKind::ScheduleToClose => "ScheduleToClose",
        TimeoutKind::Heartbeat => "Heartbeat",
    }
}

fn task_failure_cause(cause: WorkflowTaskFailureCause) -> &'static str {
    match cause {
        // What went wrong in the code, the reference tells by the failure; we have names for it.
        WorkflowTaskFailureCause::WorkerFailure
        | WorkflowTaskFailureCause::Panic
        | WorkflowTaskFailureCause::UnknownWorkflowType
        | WorkflowTaskFailureCause::ForeignAwait => "WorkflowWorkerUnhandledFailure",
        WorkflowTaskFailureCause::Nondeterminism => "NonDeterministicError",
        WorkflowTaskFailureCause::BadCommand => "BadCommand",
        WorkflowTaskFailureCause::UnhandledCommand => "UnhandledCommand",
        WorkflowTaskFailureCause::ForceClosed => "ForceCloseCommand",
        WorkflowTaskFailureCause::Reset => "ResetWorkflow",
    }
}

fn peer_failure_cause(cause: PeerFailureCause) -> &'static str {
    match cause {
        PeerFailureCause::NotFound => "ExternalWorkflowExecutionNotFound",
        PeerFailureCause::AlreadyStarted => "WorkflowAlreadyExists",
        PeerFailureCause::Refused => "Refused",
    }
}

/// A failure and its causes, outermost first.
fn chain(failure: &Failure) -> String {
    let lines = failure.chain().map(|failure| match &failure.kind {
        FailureKind::Application { type_name, non_retryable, .. } => {
            format!("application {type_name}{}", if *non_retryable { " non_retryable" } else { "" })
        }
        FailureKind::Timeout { timeout: kind, .. } => format!("timeout {}", timeout(*kind)),
        FailureKind::Canceled { .. } => "canceled".to_owned(),
        FailureKind::Terminated => "terminated".to_owned(),
        FailureKind::WorkerLost => "worker_lost".to_owned(),
        FailureKind::Server { .. } => "server".to_owned(),
        FailureKind::Activity { retry_state: state, .. } => format!("activity {}", retry_state(*state)),
        FailureKind::ChildWorkflow { retry_state: state, .. } => {
            format!("child_workflow_execution {}", retry_state(*state))
        }
    });
    lines.collect::<Vec<_>>().join(" < ")
}
