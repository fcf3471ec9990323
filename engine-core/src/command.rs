//! What workflow code asks for, in the imperative. A completed workflow task carries them in order; each becomes one
//! event, in that order.

use std::time::Duration;

use crate::event::ActivityTimeouts;
use crate::failure::Failure;
use crate::ids::{ActivityId, ActivityType, TaskQueueName, TimerId};
use crate::payload::Payload;
use crate::retry::RetryPolicy;

/// One request of the workflow code.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Run an activity: becomes `ActivityScheduled`.
    ScheduleActivity(Box<ScheduleActivity>),
    /// Ask an activity to stop: becomes `ActivityCancelRequested`.
    RequestCancelActivity {
        /// The activity.
        activity_id: ActivityId,
    },
    /// Wake me later: becomes `TimerStarted`.
    StartTimer {
        /// Unique among the run's open timers.
        timer_id: TimerId,
        /// How long from the task's completion.
        duration: Duration,
    },
    /// Do not wake me: becomes `TimerCanceled`, even if the timer fired while the task was running.
    CancelTimer {
        /// The timer.
        timer_id: TimerId,
    },
    /// Close the run as completed.
    CompleteWorkflow {
        /// What the code returned.
        result: Option<Payload>,
    },
    /// Close the run as failed, or begin its next try.
    FailWorkflow {
        /// The error that the code returned.
        failure: Failure,
    },
    /// Close the run as canceled.
    CancelWorkflow {
        /// A value that the code attached.
        details: Option<Payload>,
    },
}

/// All about an activity that is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleActivity {
    /// Unique among the run's open activities.
    pub activity_id: ActivityId,
    /// The code to run.
    pub activity_type: ActivityType,
    /// Where to offer it; the run's own queue if `None`.
    pub task_queue: Option<TaskQueueName>,
    /// Arguments.
    pub input: Vec<Payload>,
    /// At least one of start-to-close and schedule-to-close must be set.
    pub timeouts: ActivityTimeouts,
    /// The default policy if `None`.
    pub retry_policy: Option<RetryPolicy>,
}

impl Command {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            Command::ScheduleActivity(_) => "ScheduleActivity",
            Command::RequestCancelActivity { .. } => "RequestCancelActivity",
            Command::StartTimer { .. } => "StartTimer",
            Command::CancelTimer { .. } => "CancelTimer",
            Command::CompleteWorkflow { .. } => "CompleteWorkflow",
            Command::FailWorkflow { .. } => "FailWorkflow",
            Command::CancelWorkflow { .. } => "CancelWorkflow",
        }
    }

    /// Whether the command closes the run. Such a command is the last of its task.
    pub fn closes(&self) -> bool {
        match self {
            Command::CompleteWorkflow { .. } | Command::FailWorkflow { .. } | Command::CancelWorkflow { .. } => true,
            Command::ScheduleActivity(_)
            | Command::RequestCancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. } => false,
        }
    }
}
