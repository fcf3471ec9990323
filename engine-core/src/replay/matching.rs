//! A command as both sides have it, history and code, and whether they agree.
//!
//! Compared are kind, id, activity type and published name; neither arguments nor durations nor options, which a deploy may change for runs
//! under way. A replay by the build that ran compares what `values` has too.

use std::fmt;
use std::panic::Location;

use super::slots::{Handle, Slots, Thing};
use super::values::Values;
use super::{News, ReplayError};
use crate::event::{EventKind, Marker, WorkflowStarted, WorkflowTaskStarted};
use crate::ids::{
    ActivityId, ActivityType, EventId, PatchId, PublishedName, SignalName, StepName, TimerId, UpdateId, WorkflowId,
    WorkflowType,
};

/// What is compared of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    ScheduleActivity { id: ActivityId, activity_type: ActivityType },
    RequestCancelActivity { id: ActivityId },
    StartTimer { id: TimerId },
    CancelTimer { id: TimerId },
    PublishState { name: PublishedName },
    Patch { id: PatchId },
    Closure { id: u64, name: StepName },
    StartChild { id: WorkflowId, workflow_type: WorkflowType },
    SignalExternal { id: WorkflowId, name: SignalName },
    RequestCancelExternal { id: WorkflowId },
    UpsertSearchAttributes,
    ModifyProperties,
    AcceptUpdate { id: UpdateId },
    CompleteUpdate { id: UpdateId },
    CompleteWorkflow,
    FailWorkflow,
    CancelWorkflow,
    ContinueAsNew,
}

/// A command of the code's.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) step: Step,
    pub(super) handle: Option<Handle>,
    /// Where in the code it was asked for, if that is known.
    pub(super) place: Option<Place>,
    /// What it carries, if that is compared.
    pub(super) values: Option<Values>,
}

/// A place in the source of workflow code.
pub type Place = &'static Location<'static>;

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
            (Step::Closure { name, .. }, Step::Closure { name: other_name, .. }) => name == other_name,
            (Step::StartChild { workflow_type, .. }, Step::StartChild { workflow_type: other_type, .. }) => {
                workflow_type == other_type
            }
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
            Step::PublishState { name } => write!(f, "PublishState {name}"),
            Step::Patch { id } => write!(f, "Patch {id}"),
            Step::Closure { id, name } => write!(f, "RunStep {name} (id {id})"),
            Step::StartChild { id, workflow_type } => write!(f, "StartChild {workflow_type} (id {id})"),
            Step::SignalExternal { id, name } => write!(f, "SignalExternal {name} (to {id})"),
            Step::RequestCancelExternal { id } => write!(f, "RequestCancelExternal (of {id})"),
            Step::UpsertSearchAttributes => f.write_str("UpsertSearchAttributes"),
            Step::ModifyProperties => f.write_str("ModifyProperties"),
            Step::AcceptUpdate { id } => write!(f, "AcceptUpdate (id {id})"),
            Step::CompleteUpdate { id } => write!(f, "CompleteUpdate (id {id})"),
            Step::CompleteWorkflow => f.write_str("CompleteWorkflow"),
            Step::FailWorkflow => f.write_str("FailWorkflow"),
            Step::CancelWorkflow => f.write_str("CancelWorkflow"),
            Step::ContinueAsNew => f.write_str("ContinueAsNew"),
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
    /// Code that does not know the change may leave it out.
    DeprecatedPatch(Step),
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
            EventKind::StatePublished(published) => Step::PublishState { name: published.name },
            EventKind::MarkerRecorded(recorded) => match recorded.marker {
                Marker::Patch { patch_id, deprecated: false } => Step::Patch { id: patch_id },
                Marker::Patch { patch_id, deprecated: true } => {
                    return Recorded::Command(RecordedCommand::DeprecatedPatch(Step::Patch { id: patch_id }));
                }
                Marker::Step(step) => Step::Closure { id: step.step_id, name: step.name },
            },
            EventKind::Peer(peer) => match super::peers::step(&peer) {
                Some(step) => step,
                None => return Recorded::News(News::Peer(peer)),
            },
            EventKind::SearchAttributesUpserted(_) => Step::UpsertSearchAttributes,
            EventKind::PropertiesModified(_) => Step::ModifyProperties,
            EventKind::WorkflowUpdateAccepted(accepted) => Step::AcceptUpdate { id: accepted.update.id },
            EventKind::WorkflowUpdateCompleted(completed) => Step::CompleteUpdate { id: completed.update_id },
            EventKind::WorkflowCompleted(_) => Step::CompleteWorkflow,
            EventKind::WorkflowFailed(_) => Step::FailWorkflow,
            EventKind::WorkflowCanceled(_) => Step::CancelWorkflow,
            EventKind::WorkflowContinuedAsNew(_) => Step::ContinueAsNew,
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
            EventKind::WorkflowPaused(_)
            | EventKind::WorkflowResumed(_)
            | EventKind::WorkflowOptionsUpdated(_)
            | EventKind::WorkflowRepaired(_)
            | EventKind::WorkflowUpdateAdmitted(_) => {
                return Recorded::News(News::NotForCode);
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
            RecordedCommand::Known(step) | RecordedCommand::DeprecatedPatch(step) => Ok(step),
            RecordedCommand::CancelActivity { at, scheduled_event_id } => match slots.by_event(scheduled_event_id) {
                Some(Thing::Activity { id }) => Ok(Step::RequestCancelActivity { id: id.clone() }),
                Some(Thing::Timer { .. } | Thing::Step { .. } | Thing::Child { .. } | Thing::Message) | None => {
                    Err(ReplayError::Corrupt { event_id: at, problem: "an activity is canceled that is not open" })
                }
            },
        }
    }
}
