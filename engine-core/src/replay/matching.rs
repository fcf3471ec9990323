//! A command as both sides have it, history and code, and whether they agree.
//!
//! Compared are kind, id and activity type; neither arguments nor durations nor options, which a deploy may change for runs
//! under way.

use std::fmt;

use super::slots::{Handle, Slots, Thing};
use super::{News, ReplayError};
use crate::event::{EventKind, WorkflowStarted, WorkflowTaskStarted};
use crate::ids::{ActivityId, ActivityType, EventId, TimerId};

/// What is compared of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    ScheduleActivity { id: ActivityId, activity_type: ActivityType },
    RequestCancelActivity { id: ActivityId },
    StartTimer { id: TimerId },
    CancelTimer { id: TimerId },
    CompleteWorkflow,
    FailWorkflow,
    CancelWorkflow,
}

/// A command of the code's.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) step: Step,
    pub(super) handle: Option<Handle>,
}

impl Step {
    pub(super) fn agrees(&self, other: &Step, by_id: bool) -> bool {
        if by_id { self == other } else { std::mem::discriminant(self) == std::mem::discriminant(other) }
    }

    /// Whether two steps are the same but for their numbers, which shift when a step is inserted before them.
    pub(super) fn resembles(&self, other: &Step) -> bool {
        match (self, other) {
            (
                Step::ScheduleActivity { activity_type, .. },
                Step::ScheduleActivity { activity_type: other_type, .. },
            ) => activity_type == other_type,
            _ => self.agrees(other, false),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::ScheduleActivity { id, activity_type } => write!(f, "ScheduleActivity {activity_type} (id {id})"),
            Step::RequestCancelActivity { id } => write!(f, "RequestCancelActivity (id {id})"),
            Step::StartTimer { id } => write!(f, "StartTimer (id {id})"),
            Step::CancelTimer { id } => write!(f, "CancelTimer (id {id})"),
            Step::CompleteWorkflow => f.write_str("CompleteWorkflow"),
            Step::FailWorkflow => f.write_str("FailWorkflow"),
            Step::CancelWorkflow => f.write_str("CancelWorkflow"),
        }
    }
}

/// What an event is to the worker.
pub(super) enum Recorded {
    Begun(Box<WorkflowStarted>),
    TaskScheduled,
    TaskStarted(WorkflowTaskStarted),
    TaskEnded,
    /// Of the task before.
    Command(RecordedCommand),
    /// For the task after.
    News(News),
}

/// A command's event.
pub(super) enum RecordedCommand {
    Known(Step),
    /// Names an event instead of an id.
    CancelActivity {
        at: EventId,
        scheduled_event_id: EventId,
    },
}

impl Recorded {
    pub(super) fn of(id: EventId, kind: EventKind) -> Self {
        let step = match kind {
            EventKind::ActivityScheduled(scheduled) => {
                let scheduled = *scheduled;
                Step::ScheduleActivity { id: scheduled.activity_id, activity_type: scheduled.activity_type }
            }
            EventKind::ActivityCancelRequested(requested) => {
                let scheduled_event_id = requested.scheduled_event_id;
                return Recorded::Command(RecordedCommand::CancelActivity { at: id, scheduled_event_id });
            }
            EventKind::TimerStarted(started) => Step::StartTimer { id: started.timer_id },
            EventKind::TimerCanceled(canceled) => Step::CancelTimer { id: canceled.timer_id },
            EventKind::WorkflowCompleted(_) => Step::CompleteWorkflow,
            EventKind::WorkflowFailed(_) => Step::FailWorkflow,
            EventKind::WorkflowCanceled(_) => Step::CancelWorkflow,
            EventKind::WorkflowSignaled(signaled) => return Recorded::News(News::Signaled(signaled)),
            EventKind::WorkflowCancelRequested(requested) => return Recorded::News(News::CancelRequested(requested)),
            EventKind::ActivityStarted(started) => return Recorded::News(News::ActivityStarted(started)),
            EventKind::ActivityCompleted(completed) => return Recorded::News(News::ActivityCompleted(completed)),
            EventKind::ActivityFailed(failed) => return Recorded::News(News::ActivityFailed(failed)),
            EventKind::ActivityTimedOut(timed_out) => return Recorded::News(News::ActivityTimedOut(timed_out)),
            EventKind::ActivityCanceled(canceled) => return Recorded::News(News::ActivityCanceled(canceled)),
            EventKind::TimerFired(fired) => return Recorded::News(News::TimerFired(fired)),
            EventKind::WorkflowTimedOut(_) | EventKind::WorkflowTerminated(_) => {
                return Recorded::News(News::ClosedByServer);
            }
            EventKind::WorkflowStarted(started) => return Recorded::Begun(started),
            EventKind::WorkflowTaskScheduled(_) => return Recorded::TaskScheduled,
            EventKind::WorkflowTaskStarted(started) => return Recorded::TaskStarted(started),
            EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_) => return Recorded::TaskEnded,
        };
        Recorded::Command(RecordedCommand::Known(step))
    }
}

impl RecordedCommand {
    pub(super) fn step(self, slots: &Slots) -> Result<Step, ReplayError> {
        match self {
            RecordedCommand::Known(step) => Ok(step),
            RecordedCommand::CancelActivity { at, scheduled_event_id } => match slots.by_event(scheduled_event_id) {
                Some(Thing::Activity { id }) => Ok(Step::RequestCancelActivity { id: id.clone() }),
                Some(Thing::Timer { .. }) | None => {
                    Err(ReplayError::Corrupt { event_id: at, problem: "an activity is canceled that is not open" })
                }
            },
        }
    }
}
