//! Everything that can reach an open run, and what it answers.

use std::time::Duration;

use crate::command::Command;
use crate::event::{
    ActivityTimeouts, ContinueAsNewReasons, Event, PauseChange, ResetTo, UpdateRequest, WorkerMetadata,
    WorkflowOptionsUpdated, WorkflowTaskFailureCause,
};
use crate::execution::PeerAnswer;
use crate::failure::Failure;
use crate::ids::{ActivityId, ActivityType, EventId, RequestId, RunId, SignalName, TaskQueueName, UpdateId};
use crate::payload::Payload;
use crate::peer::ChildOutcome;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// Everything that can reach an open run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A message for the code.
    Signal {
        /// Which kind.
        name: SignalName,
        /// Content.
        input: Vec<Payload>,
        /// Who sent it, for people.
        identity: String,
        /// A repeat with the same id changes nothing.
        request_id: Option<RequestId>,
    },
    /// A message that the code answers. A repeat with the same id changes nothing and is told where the update stands.
    Update(Box<UpdateRequest>),
    /// Ask the code to stop. A second request changes nothing.
    RequestCancel {
        /// Why, for people.
        reason: String,
        /// Who asked, for people.
        identity: String,
        /// Recorded with the request.
        request_id: Option<RequestId>,
    },
    /// Stop the run unasked.
    Terminate {
        /// Why, for people.
        reason: String,
        /// A value attached by who does it.
        details: Option<Payload>,
        /// Who does it, for people.
        identity: String,
    },
    /// Stop the run unasked, because a run that was reset to an earlier point of it goes on in its place.
    GoOnElsewhere {
        /// Why, for people.
        reason: String,
        /// Who does it, for people.
        identity: String,
        /// That run.
        to: ResetTo,
    },
    /// Stop the run for a while, with its time: nothing of it is handed out, no timeout advances. A second request changes nothing.
    Pause(PauseChange),
    /// Let a paused run go on, with what was left of its timers and timeouts. Changes nothing of a run that is not paused.
    Resume(PauseChange),
    /// Change which workers the run goes to. Changes nothing if it goes there already.
    Move(Box<WorkflowOptionsUpdated>),
    /// A worker is about to get the workflow task. Writes nothing.
    StartWorkflowTask {
        /// Who gets it, for people.
        identity: String,
        /// Size of the recorded history in bytes, which only the store's side knows.
        history_size_bytes: u64,
    },
    /// The code moved forward.
    CompleteWorkflowTask {
        /// Which task.
        token: WorkflowTaskToken,
        /// What the code asks for, in order.
        commands: Vec<Command>,
        /// Updates of this task that the code refuses. They leave no trace.
        rejected_updates: Vec<RejectedUpdate>,
        /// What ran the code.
        worker: WorkerMetadata,
        /// The code is still at work (a step runs): another task follows at once, without news, so that this one does not time
        /// out. See [`crate::limits::STEP_TIME_MAX`].
        force_new_task: bool,
        /// Who completed it, for people.
        identity: String,
    },
    /// The code could not be moved forward.
    FailWorkflowTask {
        /// Which task.
        token: WorkflowTaskToken,
        /// Why, for programs.
        cause: WorkflowTaskFailureCause,
        /// Why, for people.
        failure: Failure,
        /// Who said so, for people.
        identity: String,
    },
    /// The worker that had the task vanished, or never got it: offer it again. Leaves no trace.
    ReleaseWorkflowTask {
        /// Which task.
        token: WorkflowTaskToken,
    },
    /// A worker came back (its stream broke, or the server restarted) and still has the task.
    ClaimWorkflowTask {
        /// Which task.
        token: WorkflowTaskToken,
        /// Who has it, for people.
        identity: String,
    },
    /// A worker is about to get this attempt of an activity. When the activity may run only once the start must be
    /// durable (see [`super::Transition::progress`]) before the worker gets it.
    StartActivity {
        /// The activity.
        scheduled_event_id: EventId,
        /// The attempt that was offered.
        attempt: u32,
        /// Who gets it, for people.
        identity: String,
    },
    /// A worker came back and still runs the attempt.
    ClaimActivity {
        /// Which attempt.
        token: ActivityToken,
        /// Who has it, for people.
        identity: String,
    },
    /// The attempt returned a value.
    CompleteActivity {
        /// Which activity.
        activity: ActivityRef,
        /// What it returned.
        result: Option<Payload>,
        /// Who says so, for people.
        identity: String,
    },
    /// The attempt returned an error.
    FailActivity {
        /// Which activity.
        activity: ActivityRef,
        /// The error. A failure of kind `Canceled` is an error like others here.
        failure: Failure,
        /// Who says so, for people.
        identity: String,
    },
    /// The attempt stopped because it was asked to.
    CancelActivity {
        /// Which activity.
        activity: ActivityRef,
        /// A value that the activity attached.
        details: Option<Payload>,
        /// Who says so, for people.
        identity: String,
    },
    /// An operator deals with an open activity.
    OperateActivity {
        /// Which.
        activity_id: ActivityId,
        /// What is done.
        operation: super::ActivityOperation,
    },
    /// The attempt is alive.
    HeartbeatActivity {
        /// Which activity.
        activity: ActivityRef,
        /// Progress, handed to the next attempt if this one fails. `None` keeps the last.
        details: Option<Payload>,
    },
    /// The worker that ran the attempt vanished and its grace is over: the attempt failed.
    LoseActivity {
        /// Which attempt.
        token: ActivityToken,
    },
    /// The worker never got the attempt (the message could not be delivered): offer it again. Leaves no trace.
    ReleaseActivity {
        /// Which attempt.
        token: ActivityToken,
    },
    /// The receiver of a message that this run sent has it, or never will.
    PeerAnswered {
        /// The event that initiated it.
        initiated_event_id: EventId,
        /// What the receiver said.
        answer: PeerAnswer,
    },
    /// A child's last run closed.
    ChildClosed {
        /// The event that initiated the child.
        initiated_event_id: EventId,
        /// Its last run.
        run_id: RunId,
        /// How it ended.
        outcome: ChildOutcome,
    },
    /// The shard was recovered and workers had their time to claim what they had in hand: whatever is still in doubt is
    /// offered again.
    EndGrace,
    /// The server stops in order and hands out nothing any more: what workers have in hand becomes durable, so that whoever takes
    /// over needs to doubt nothing else ([`super::Execution::mark_recorded_in_doubt`]).
    RecordInHand,
    /// The time that [`super::Execution::next_deadline`] named has come. Does everything that is due at `now`, which may be
    /// nothing.
    DeadlinePassed,
}

/// An update that the code refused.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedUpdate {
    /// The update.
    pub update_id: UpdateId,
    /// Why.
    pub failure: Failure,
}

/// Names one handing-out of a workflow task. Holds all that the task's events need, so that a completion is understood even
/// after the server forgot that it had handed out the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowTaskToken {
    /// The number that its `WorkflowTaskScheduled` event has or would have.
    pub scheduled_event_id: EventId,
    /// Which try, from 1.
    pub attempt: u32,
    /// When the run first had news.
    pub scheduled_at: Timestamp,
    /// When it was handed out: the clock of the code during this task.
    pub started_at: Timestamp,
    /// The time of the last event of the history that goes with it. A task may be handed out before its news is durable; this
    /// tells it from the task with the same number that a crash, which lost the news, leads to.
    pub history_at: Timestamp,
    /// Recorded in `WorkflowTaskStarted`.
    pub history_size_bytes: u64,
    /// Recorded in `WorkflowTaskStarted`.
    pub suggest_continue_as_new: ContinueAsNewReasons,
}

/// Names one attempt of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityToken {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Which try, from 1.
    pub attempt: u32,
    /// When it was handed out.
    pub started_at: Timestamp,
}

/// How a caller names an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivityRef {
    /// One attempt, by the token that came with the task. A token of an older attempt is stale.
    Token(ActivityToken),
    /// Whatever attempt is current, by the activity's id: for completion from elsewhere.
    Id(ActivityId),
}

/// What an accepted input answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It took effect.
    Done,
    /// Nothing had to be done: it was a repeat, or had nothing to do.
    Unchanged,
    /// Hand this to a worker.
    WorkflowTask(Box<StartedWorkflowTask>),
    /// The completion of a workflow task could not be accepted as a whole: none of its commands took effect, the task counts
    /// as failed and is offered again. The worker must drop the run from its cache.
    WorkflowTaskRefused {
        /// [`WorkflowTaskFailureCause::BadCommand`] or [`WorkflowTaskFailureCause::UnhandledCommand`].
        cause: WorkflowTaskFailureCause,
        /// Which command, which field, which limit.
        message: String,
    },
    /// The completion had nothing to record: the task was needed for updates only, and none was accepted. Nothing is written, and
    /// the task's numbers go to the next events. What the worker has seen ends before the task.
    WorkflowTaskDropped,
    /// Where the update stands.
    Update(UpdateStanding),
    /// Hand this to a worker.
    ActivityTask(Box<StartedActivity>),
    /// The heartbeat was noted.
    Heartbeat {
        /// Whether the workflow asked the activity to stop.
        cancel_requested: bool,
        /// Whether an operator has it paused.
        paused: bool,
    },
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateStanding {
    /// In memory, waiting for a worker.
    Admitted,
    /// The code took it on.
    Accepted {
        /// Its `WorkflowUpdateAccepted`.
        event_id: EventId,
    },
    /// It has its outcome.
    Completed {
        /// Its `WorkflowUpdateCompleted`, which holds the outcome.
        event_id: EventId,
    },
    /// The run closed before the outcome: [`super::left_behind`] is the outcome.
    LeftBehind,
}

/// A workflow task that was handed out.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedWorkflowTask {
    /// Comes back with the completion.
    pub token: WorkflowTaskToken,
    /// The provisional `WorkflowTaskScheduled` and `WorkflowTaskStarted`, which the worker sees after the recorded history.
    pub events: [Event; 2],
    /// Updates that the code must accept or reject.
    pub updates: Vec<UpdateRequest>,
    /// How long the worker has.
    pub start_to_close: Duration,
}

/// An attempt of an activity that was handed out.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedActivity {
    /// Comes back with the result.
    pub token: ActivityToken,
    /// The activity's id.
    pub activity_id: ActivityId,
    /// The code to run.
    pub activity_type: ActivityType,
    /// Where it was offered.
    pub task_queue: TaskQueueName,
    /// Arguments.
    pub input: Vec<Payload>,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// Its timeouts.
    pub timeouts: ActivityTimeouts,
    /// When this attempt is over at the latest: the earlier of start-to-close and schedule-to-close.
    pub deadline: Timestamp,
    /// Its retry policy.
    pub retry_policy: RetryPolicy,
    /// The last details that an attempt before sent.
    pub heartbeat_details: Option<Payload>,
    /// Why the attempt before failed.
    pub last_failure: Option<Failure>,
}

/// Why an input was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The run is closed.
    #[error("workflow execution already completed")]
    AlreadyClosed,
    /// The task is no longer the one the run waits for: it was completed, timed out, or given to another worker.
    #[error("{what} is stale: {why}")]
    StaleTask {
        /// "workflow task" or "activity task".
        what: &'static str,
        /// Which number was expected and which came.
        why: String,
    },
    /// No open activity has this id.
    #[error("no open activity with id {0:?}")]
    UnknownActivity(ActivityId),
    /// A field of the request is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A limit is reached for now; try again later.
    #[error("{0}")]
    Exhausted(String),
}
