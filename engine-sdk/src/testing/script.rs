//! A history that is written by hand: what a test makes happen, and what the code asked for.

use std::time::Duration;

use engine_core::command::Command;
use engine_core::event::*;
use engine_core::failure::{Failure, RetryState};
use engine_core::ids::*;
use engine_core::payload::Payload;
use engine_core::peer::{ChildOutcome, PeerCommand, PeerEvent};
use engine_core::retry::RetryPolicy;
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;

use super::timeline::{failure, since, value, values};

const IDENTITY: &str = "test";

/// The event that began something which is not over.
pub(super) type Open = EventId;

/// The history of one run.
pub(super) struct Script {
    events: Vec<Event>,
    now: Timestamp,
    /// Events that the code has got.
    seen: usize,
    /// Whether something happened that the code does not know.
    has_news: bool,
    /// The code returned: nothing can happen to it any more.
    is_closed: bool,
    /// What the code asked for, as text.
    asked: Vec<String>,
}

impl Script {
    pub(super) fn new(now: Timestamp, workflow_id: WorkflowId, attempt: u32, last_result: Option<Payload>) -> Self {
        let run_id = RunId::from_parts(now, [1; 10]);
        let started = WorkflowStarted {
            namespace: Namespace::from_trusted("test"),
            workflow_id,
            run_id,
            workflow_type: WorkflowType::from_trusted("test_workflow"),
            task_queue: queue(),
            input: Vec::new(),
            execution_timeout: None,
            run_timeout: None,
            task_timeout: Duration::from_secs(10),
            execution_deadline: None,
            retry_policy: None,
            attempt,
            continued_from: None,
            first_run_id: run_id,
            continued_failure: None,
            last_result,
            cron: None,
            first_task_backoff: Duration::ZERO,
            request_id: None,
            identity: IDENTITY.to_owned(),
            memo: Vec::new(),
            search_attributes: SearchAttributes::new(),
            summary: String::new(),
            details: String::new(),
            seen_request_ids: Vec::new(),
            parent: None,
            reset: None,
            activity: None,
            versioning: None,
        };
        let (has_news, is_closed) = (true, false);
        let mut script = Self { events: Vec::new(), now, seen: 0, has_news, is_closed, asked: Vec::new() };
        script.add(EventKind::WorkflowStarted(Box::new(started)));
        script
    }

    /// What the code asked for so far, as text.
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Something happens.
    fn tell(&mut self, kind: EventKind) -> EventId {
        self.has_news = true;
        self.add(kind)
    }

    fn add(&mut self, kind: EventKind) -> EventId {
        let id = EventId(self.events.len() as u64 + 1);
        self.events.push(Event { id, at: self.now, kind });
        id
    }

    // ---- workflow tasks ---------------------------------------------------------------------------------------------

    /// Whether the code has something to do.
    pub(super) fn has_news(&self) -> bool {
        self.has_news && !self.is_closed
    }

    /// The events that the code gets with the next task.
    pub(super) fn begin_task(&mut self) -> Vec<Event> {
        let (task_queue, start_to_close) = (queue(), Duration::from_secs(10));
        let scheduled = WorkflowTaskScheduled { task_queue, start_to_close, attempt: 1 };
        let scheduled_event_id = self.add(EventKind::WorkflowTaskScheduled(scheduled));
        self.add(EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id,
            identity: IDENTITY.to_owned(),
            history_size_bytes: 0,
            suggest_continue_as_new: ContinueAsNewReasons::default(),
        }));
        let events = self.events[self.seen..].to_vec();
        self.seen = self.events.len();
        self.has_news = false;
        events
    }

    /// Records what the code asked for. Its children begin and its messages arrive at once, which is news.
    pub(super) fn complete_task(&mut self, commands: Vec<Command>, flags: &[u32]) {
        let started = self.events.len() as u64;
        let completed = self.add(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(started - 1),
            started_event_id: EventId(started),
            identity: IDENTITY.to_owned(),
            worker: WorkerMetadata { flags: flags.to_vec(), ..WorkerMetadata::default() },
            force_new_task: false,
        }));
        let mut answers = Vec::new();
        for command in commands {
            if command.closes() {
                self.is_closed = true;
                continue;
            }
            self.asked.push(self.text(&command));
            let kind = self.recorded(completed, command);
            let id = EventId(self.events.len() as u64 + 1);
            answers.extend(answer(id, &kind));
            self.add(kind);
        }
        for answer in answers {
            self.tell(answer);
        }
    }

    fn recorded(&self, completed: EventId, command: Command) -> EventKind {
        let workflow_task_completed_event_id = completed;
        match command {
            Command::ScheduleActivity(command) => EventKind::ActivityScheduled(Box::new(ActivityScheduled {
                workflow_task_completed_event_id,
                activity_id: command.activity_id,
                activity_type: command.activity_type,
                task_queue: command.task_queue.unwrap_or_else(queue),
                input: command.input,
                timeouts: command.timeouts,
                retry_policy: command.retry_policy.unwrap_or_else(RetryPolicy::default),
                summary: command.summary,
            })),
            Command::RequestCancelActivity { activity_id } => {
                let scheduled_event_id = self.activity(&activity_id).map_or(EventId::NONE, |(id, _)| id);
                EventKind::ActivityCancelRequested(ActivityCancelRequested {
                    workflow_task_completed_event_id,
                    scheduled_event_id,
                })
            }
            Command::StartTimer { timer_id, duration, summary } => {
                EventKind::TimerStarted(TimerStarted { workflow_task_completed_event_id, timer_id, duration, summary })
            }
            Command::CancelTimer { timer_id } => {
                let started_event_id = self.timer(&timer_id).map_or(EventId::NONE, |(id, _)| id);
                EventKind::TimerCanceled(TimerCanceled { workflow_task_completed_event_id, timer_id, started_event_id })
            }
            Command::PublishState { name, value } => {
                EventKind::StatePublished(StatePublished { workflow_task_completed_event_id, name, value })
            }
            Command::RecordMarker(marker) => {
                let marker = *marker;
                EventKind::MarkerRecorded(Box::new(MarkerRecorded { workflow_task_completed_event_id, marker }))
            }
            Command::UpsertSearchAttributes { changes } => {
                EventKind::SearchAttributesUpserted(SearchAttributesUpserted {
                    workflow_task_completed_event_id,
                    changes,
                })
            }
            Command::ModifyProperties(changes) => {
                EventKind::PropertiesModified(PropertiesModified { workflow_task_completed_event_id, changes })
            }
            Command::Peer(command) => EventKind::Peer(Box::new(match *command {
                PeerCommand::StartChild(child) => {
                    PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child }
                }
                PeerCommand::Signal(signal) => PeerEvent::SignalInitiated { workflow_task_completed_event_id, signal },
                PeerCommand::RequestCancel(cancel) => {
                    PeerEvent::CancelInitiated { workflow_task_completed_event_id, cancel }
                }
            })),
            Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. }
            | Command::CompleteWorkflow { .. }
            | Command::FailWorkflow { .. }
            | Command::CancelWorkflow { .. }
            | Command::ContinueAsNew(_) => unreachable!("no update comes, and closing commands are not recorded"),
        }
    }

    // ---- what a test makes happen -----------------------------------------------------------------------------------

    pub(super) fn signal(&mut self, name: &str, content: Payload) {
        self.tell(EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted(name),
            input: vec![content],
            identity: IDENTITY.to_owned(),
            request_id: None,
        }));
    }

    pub(super) fn cancel(&mut self, reason: &str) {
        let (reason, identity) = (reason.to_owned(), IDENTITY.to_owned());
        let requested = WorkflowCancelRequested { reason, identity, request_id: None };
        self.tell(EventKind::WorkflowCancelRequested(requested));
    }

    /// The timer that is due first, and by `until`.
    pub(super) fn next_timer(&self, until: Timestamp) -> Option<Open> {
        let open = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TimerStarted(started) => Some((event.at + started.duration, event.id)),
            _ => None,
        });
        let over = |id: EventId| {
            self.events.iter().any(|event| match &event.kind {
                EventKind::TimerFired(fired) => fired.started_event_id == id,
                EventKind::TimerCanceled(canceled) => canceled.started_event_id == id,
                _ => false,
            })
        };
        open.filter(|(due, id)| *due <= until && !over(*id)).min().map(|(_, id)| id)
    }

    /// The timer's time has come.
    pub(super) fn fire(&mut self, timer: Open) {
        let event = &self.events[timer.0 as usize - 1];
        let EventKind::TimerStarted(started) = &event.kind else { unreachable!("an open timer began") };
        let (due, timer_id) = (event.at + started.duration, started.timer_id.clone());
        self.wait_until(due);
        self.tell(EventKind::TimerFired(TimerFired { timer_id, started_event_id: timer }));
    }

    /// Time passes.
    pub(super) fn wait_until(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
    }

    /// The calls of an activity that are not answered, with their inputs, oldest first.
    pub(super) fn open_activities(&self, name: &str) -> Vec<(Open, Vec<Payload>)> {
        let over = |id: EventId| {
            self.events.iter().any(|event| match &event.kind {
                EventKind::ActivityCompleted(completed) => completed.scheduled_event_id == id,
                EventKind::ActivityFailed(failed) => failed.scheduled_event_id == id,
                _ => false,
            })
        };
        let scheduled = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::ActivityScheduled(it) if it.activity_type.as_str() == name => Some((event.id, it.input.clone())),
            _ => None,
        });
        scheduled.filter(|(id, _)| !over(*id)).collect()
    }

    pub(super) fn activity_completed(&mut self, scheduled_event_id: Open, result: Payload) {
        let started_event_id = self.activity_started(scheduled_event_id);
        let result = (result.data.as_ref() != b"null").then_some(result);
        let identity = IDENTITY.to_owned();
        let completed = ActivityCompleted { scheduled_event_id, started_event_id, result, identity };
        self.tell(EventKind::ActivityCompleted(completed));
    }

    pub(super) fn activity_failed(&mut self, scheduled_event_id: Open, failure: Failure, retry_state: RetryState) {
        let started_event_id = self.activity_started(scheduled_event_id);
        let identity = IDENTITY.to_owned();
        let failed = ActivityFailed { scheduled_event_id, started_event_id, failure, retry_state, identity };
        self.tell(EventKind::ActivityFailed(failed));
    }

    fn activity_started(&mut self, scheduled_event_id: Open) -> EventId {
        let (identity, last_failure) = (IDENTITY.to_owned(), None);
        self.tell(EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id,
            attempt: 1,
            identity,
            last_failure,
        }))
    }

    /// The oldest child of this type that is not over.
    pub(super) fn open_child(&self, name: &str) -> Option<Open> {
        let is_over = |id: EventId| {
            self.peer_events().any(|(_, event)| {
                matches!(event, PeerEvent::ChildClosed { initiated_event_id, .. } if *initiated_event_id == id)
            })
        };
        let mut initiated = self.peer_events().filter_map(|(id, event)| match event {
            PeerEvent::StartChildInitiated { child, .. } if child.workflow_type.as_str() == name => Some(id),
            _ => None,
        });
        initiated.find(|id| !is_over(*id))
    }

    pub(super) fn child_closed(&mut self, child: Open, outcome: Result<Payload, Failure>) {
        let begun = self.peer_events().find_map(|(id, event)| match event {
            PeerEvent::ChildStarted { initiated_event_id, workflow_id, workflow_type, run_id }
                if *initiated_event_id == child =>
            {
                Some((id, workflow_id.clone(), workflow_type.clone(), *run_id))
            }
            _ => None,
        });
        let (started_event_id, workflow_id, workflow_type, run_id) = begun.expect("a child begins at once");
        let outcome = match outcome {
            Ok(result) => ChildOutcome::Completed { result: (result.data.as_ref() != b"null").then_some(result) },
            Err(failure) => ChildOutcome::Failed { failure, retry_state: RetryState::RetryPolicyNotSet },
        };
        self.tell(EventKind::Peer(Box::new(PeerEvent::ChildClosed {
            initiated_event_id: child,
            started_event_id,
            workflow_id,
            workflow_type,
            run_id,
            outcome,
        })));
    }

    fn peer_events(&self) -> impl Iterator<Item = (EventId, &PeerEvent)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Peer(peer) => Some((event.id, peer.as_ref())),
            _ => None,
        })
    }

    // ---- what the code asked for ------------------------------------------------------------------------------------

    fn activity(&self, activity_id: &ActivityId) -> Option<(EventId, &ActivityScheduled)> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            EventKind::ActivityScheduled(scheduled) if scheduled.activity_id == *activity_id => {
                Some((event.id, scheduled.as_ref()))
            }
            _ => None,
        })
    }

    fn timer(&self, timer_id: &TimerId) -> Option<(EventId, &TimerStarted)> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            EventKind::TimerStarted(started) if started.timer_id == *timer_id => Some((event.id, started)),
            _ => None,
        })
    }

    fn text(&self, command: &Command) -> String {
        let what = match command {
            Command::ScheduleActivity(call) => format!("{} {}", call.activity_type, values(&call.input)),
            Command::RequestCancelActivity { activity_id } => {
                self.activity(activity_id).map_or_else(String::new, |(_, call)| call.activity_type.to_string())
            }
            Command::StartTimer { duration, .. } => since(*duration),
            Command::CancelTimer { timer_id } => {
                self.timer(timer_id).map_or_else(String::new, |(_, timer)| since(timer.duration))
            }
            Command::PublishState { name, value: shown } => format!("{name} = {}", value(shown)),
            Command::RecordMarker(marker) => {
                return match marker.as_ref() {
                    Marker::Patch { patch_id, .. } => format!("Patch {patch_id}"),
                    Marker::Step(step) => match &step.outcome {
                        StepOutcome::Completed { result } => {
                            let result = result.as_ref().map_or_else(|| "null".to_owned(), value);
                            format!("RunStep {} = {result}", step.name)
                        }
                        StepOutcome::Failed { failure: error, .. } => {
                            format!("RunStep {} failed: {}", step.name, failure(error))
                        }
                    },
                };
            }
            Command::UpsertSearchAttributes { changes } => {
                changes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Command::ModifyProperties(changes) => {
                let keys = changes.memo.keys().map(String::as_str);
                keys.chain(changes.current_details.as_deref()).collect::<Vec<_>>().join(", ")
            }
            Command::Peer(command) => match command.as_ref() {
                PeerCommand::StartChild(child) => format!("{} {}", child.workflow_type, values(&child.input)),
                PeerCommand::Signal(signal) => {
                    format!("{} to {} {}", signal.name, signal.target.workflow_id, values(&signal.input))
                }
                PeerCommand::RequestCancel(cancel) => format!("of {}", cancel.target.workflow_id),
            },
            Command::AcceptUpdate(_)
            | Command::CompleteUpdate { .. }
            | Command::CompleteWorkflow { .. }
            | Command::FailWorkflow { .. }
            | Command::CancelWorkflow { .. }
            | Command::ContinueAsNew(_) => String::new(),
        };
        format!("{} {what}", command.name()).trim_end().to_owned()
    }
}

/// What follows at once from something that the code asked for: a child begins, a message arrives.
fn answer(initiated_event_id: EventId, kind: &EventKind) -> Option<EventKind> {
    let EventKind::Peer(peer) = kind else { return None };
    let run_id = RunId::from_parts(Timestamp::EPOCH, [2; 10]);
    let answer = match peer.as_ref() {
        PeerEvent::StartChildInitiated { child, .. } => PeerEvent::ChildStarted {
            initiated_event_id,
            workflow_id: child.workflow_id.clone(),
            workflow_type: child.workflow_type.clone(),
            run_id,
        },
        PeerEvent::SignalInitiated { signal, .. } => {
            PeerEvent::Signaled { initiated_event_id, workflow_id: signal.target.workflow_id.clone(), run_id }
        }
        PeerEvent::CancelInitiated { cancel, .. } => {
            PeerEvent::CancelDelivered { initiated_event_id, workflow_id: cancel.target.workflow_id.clone(), run_id }
        }
        _ => return None,
    };
    Some(EventKind::Peer(Box::new(answer)))
}

fn queue() -> TaskQueueName {
    TaskQueueName::from_trusted("test")
}
