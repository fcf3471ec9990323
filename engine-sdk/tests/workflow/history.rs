//! Histories written by hand, as a server would.

use std::time::Duration;

use engine_core::command::Command;
use engine_core::event::*;
use engine_core::failure::{Failure, RetryState};
use engine_core::ids::*;
use engine_core::payload::Payload;
use engine_core::peer::PeerCommand;
use engine_core::replay::FLAG_MATCH_IDS;
use engine_core::retry::RetryPolicy;
use engine_core::time::Timestamp;

/// A history and the events of it that the worker has not seen. Each event is one second later than the one before.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    seen: usize,
}

impl History {
    pub(crate) fn new(input: &[&'static str]) -> Self {
        let run_id = RunId::from_parts(Timestamp::from_micros(1_000_000), [7; 10]);
        let mut history = Self { events: Vec::new(), seen: 0 };
        history.add(EventKind::WorkflowStarted(Box::new(WorkflowStarted {
            namespace: Namespace::from_trusted("default"),
            workflow_id: WorkflowId::from_trusted("order-42"),
            run_id,
            workflow_type: WorkflowType::from_trusted("test"),
            task_queue: queue(),
            input: input.iter().map(|json| Payload::json(*json)).collect(),
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
            identity: "test".into(),
            memo: Vec::new(),
            search_attributes: Default::default(),
            summary: String::new(),
            details: String::new(),
            seen_request_ids: Vec::new(),
            reset: None,
            parent: None,
            activity: None,
        })));
        history
    }

    pub(crate) fn add(&mut self, kind: EventKind) -> EventId {
        let id = EventId(self.events.len() as u64 + 1);
        self.events.push(Event { id, at: Timestamp::from_micros(id.0 as i64 * 1_000_000), kind });
        id
    }

    /// Hands out a task; gives the events that a worker with the run in its cache gets.
    pub(crate) fn task(&mut self) -> Vec<Event> {
        let scheduled_event_id = self.add(EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: queue(),
            start_to_close: Duration::from_secs(10),
            attempt: 1,
        }));
        self.add(EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id,
            identity: "test".into(),
            history_size_bytes: 100 * scheduled_event_id.0,
            suggest_continue_as_new: ContinueAsNewReasons::default(),
        }));
        let unseen = self.events[self.seen..].to_vec();
        self.seen = self.events.len();
        unseen
    }

    /// The worker has seen all that there is.
    pub(crate) fn all_was_seen(&mut self) {
        self.seen = self.events.len();
    }

    /// The next worker gets the whole history.
    pub(crate) fn forget_what_was_seen(&mut self) {
        self.seen = 0;
    }

    /// Records the answer to the task; gives the numbers of the commands' events.
    pub(crate) fn complete(&mut self, commands: &[Command]) -> Vec<EventId> {
        let started = EventId(self.events.len() as u64);
        let completed = self.add(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(started.0 - 1),
            started_event_id: started,
            identity: "test".into(),
            worker: WorkerMetadata { flags: vec![FLAG_MATCH_IDS], ..WorkerMetadata::default() },
            force_new_task: false,
        }));
        commands.iter().map(|command| self.record(completed, command)).collect()
    }

    /// The task that was handed out last fails.
    pub(crate) fn task_failed(&mut self) {
        let started = EventId(self.events.len() as u64);
        self.add(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id: EventId(started.0 - 1),
            started_event_id: started,
            cause: WorkflowTaskFailureCause::UnhandledCommand,
            failure: Failure::server("news arrived", false),
            identity: "test".into(),
        }));
    }

    fn record(&mut self, completed: EventId, command: &Command) -> EventId {
        let kind = match command.clone() {
            Command::ScheduleActivity(command) => EventKind::ActivityScheduled(Box::new(ActivityScheduled {
                workflow_task_completed_event_id: completed,
                activity_id: command.activity_id,
                activity_type: command.activity_type,
                task_queue: command.task_queue.unwrap_or_else(queue),
                input: command.input,
                timeouts: command.timeouts,
                retry_policy: command.retry_policy.unwrap_or_else(RetryPolicy::default),
                summary: command.summary,
            })),
            Command::RequestCancelActivity { activity_id } => {
                let scheduled_event_id = self.find(|kind| {
                    matches!(kind, EventKind::ActivityScheduled(scheduled) if scheduled.activity_id == activity_id)
                });
                EventKind::ActivityCancelRequested(ActivityCancelRequested {
                    workflow_task_completed_event_id: completed,
                    scheduled_event_id,
                })
            }
            Command::StartTimer { timer_id, duration, summary } => EventKind::TimerStarted(TimerStarted {
                workflow_task_completed_event_id: completed,
                timer_id,
                duration,
                summary,
            }),
            Command::RecordMarker(marker) => EventKind::MarkerRecorded(Box::new(MarkerRecorded {
                workflow_task_completed_event_id: completed,
                marker: *marker,
            })),
            Command::UpsertSearchAttributes { changes } => {
                EventKind::SearchAttributesUpserted(SearchAttributesUpserted {
                    workflow_task_completed_event_id: completed,
                    changes,
                })
            }
            Command::ModifyProperties(changes) => EventKind::PropertiesModified(PropertiesModified {
                workflow_task_completed_event_id: completed,
                changes,
            }),
            Command::CancelTimer { timer_id } => {
                let started_event_id =
                    self.find(|kind| matches!(kind, EventKind::TimerStarted(started) if started.timer_id == timer_id));
                EventKind::TimerCanceled(TimerCanceled {
                    workflow_task_completed_event_id: completed,
                    timer_id,
                    started_event_id,
                })
            }
            Command::PublishState { name, value } => {
                EventKind::StatePublished(StatePublished { workflow_task_completed_event_id: completed, name, value })
            }
            Command::AcceptUpdate(update) => EventKind::WorkflowUpdateAccepted(Box::new(WorkflowUpdateAccepted {
                workflow_task_completed_event_id: completed,
                update: *update,
            })),
            Command::CompleteUpdate { update_id, outcome } => {
                let accepted_event_id = self.find(|kind| {
                    matches!(kind, EventKind::WorkflowUpdateAccepted(accepted) if accepted.update.id == update_id)
                });
                EventKind::WorkflowUpdateCompleted(WorkflowUpdateCompleted {
                    workflow_task_completed_event_id: completed,
                    update_id,
                    accepted_event_id,
                    outcome,
                })
            }
            Command::CompleteWorkflow { result } => EventKind::WorkflowCompleted(WorkflowCompleted {
                workflow_task_completed_event_id: completed,
                result,
                new_run_id: None,
            }),
            Command::FailWorkflow { failure } => EventKind::WorkflowFailed(WorkflowFailed {
                workflow_task_completed_event_id: completed,
                failure,
                retry_state: RetryState::RetryPolicyNotSet,
                new_run_id: None,
            }),
            Command::CancelWorkflow { details } => {
                EventKind::WorkflowCanceled(WorkflowCanceled { workflow_task_completed_event_id: completed, details })
            }
            Command::Peer(command) => {
                let workflow_task_completed_event_id = completed;
                EventKind::Peer(Box::new(match *command {
                    PeerCommand::StartChild(child) => {
                        PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child }
                    }
                    PeerCommand::Signal(signal) => {
                        PeerEvent::SignalInitiated { workflow_task_completed_event_id, signal }
                    }
                    PeerCommand::RequestCancel(cancel) => {
                        PeerEvent::CancelInitiated { workflow_task_completed_event_id, cancel }
                    }
                }))
            }
            Command::ContinueAsNew(_) => EventKind::WorkflowContinuedAsNew(WorkflowContinuedAsNew {
                workflow_task_completed_event_id: completed,
                new_run_id: RunId::from_parts(Timestamp::EPOCH, [9; 10]),
            }),
        };
        self.add(kind)
    }

    fn find(&self, is_it: impl Fn(&EventKind) -> bool) -> EventId {
        self.events.iter().rev().find(|event| is_it(&event.kind)).expect("the command refers to an event").id
    }

    pub(crate) fn activity_completed(&mut self, scheduled_event_id: EventId, json: &'static str) {
        let started_event_id = self.activity_started(scheduled_event_id);
        self.add(EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id,
            started_event_id,
            result: Some(Payload::json(json)),
            identity: "test".into(),
        }));
    }

    pub(crate) fn activity_failed(&mut self, scheduled_event_id: EventId, failure: Failure, retry_state: RetryState) {
        let started_event_id = self.activity_started(scheduled_event_id);
        self.add(EventKind::ActivityFailed(ActivityFailed {
            scheduled_event_id,
            started_event_id,
            failure,
            retry_state,
            identity: "test".into(),
        }));
    }

    pub(crate) fn activity_canceled(&mut self, scheduled_event_id: EventId) {
        self.add(EventKind::ActivityCanceled(ActivityCanceled {
            scheduled_event_id,
            started_event_id: EventId::NONE,
            cancel_requested_event_id: EventId::NONE,
            details: None,
            identity: "test".into(),
        }));
    }

    fn activity_started(&mut self, scheduled_event_id: EventId) -> EventId {
        self.add(EventKind::ActivityStarted(ActivityStarted {
            scheduled_event_id,
            attempt: 3,
            identity: "test".into(),
            last_failure: None,
        }))
    }

    pub(crate) fn timer_fired(&mut self, started_event_id: EventId) {
        let EventKind::TimerStarted(started) = &self.events[started_event_id.0 as usize - 1].kind else {
            panic!("event {started_event_id} started no timer");
        };
        let timer_id = started.timer_id.clone();
        self.add(EventKind::TimerFired(TimerFired { timer_id, started_event_id }));
    }

    pub(crate) fn last_id(&self) -> EventId {
        EventId(self.events.len() as u64)
    }

    pub(crate) fn signal(&mut self, name: &str, json: &'static str) {
        self.add(EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted(name),
            input: vec![Payload::json(json)],
            identity: "test".into(),
            request_id: None,
        }));
    }

    pub(crate) fn signal_without_content(&mut self, name: &str) {
        self.add(EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted(name),
            input: Vec::new(),
            identity: "test".into(),
            request_id: None,
        }));
    }

    pub(crate) fn cancel_requested(&mut self, reason: &str) {
        self.add(EventKind::WorkflowCancelRequested(WorkflowCancelRequested {
            reason: reason.into(),
            identity: "test".into(),
            request_id: None,
        }));
    }
}

fn queue() -> TaskQueueName {
    TaskQueueName::from_trusted("orders")
}
