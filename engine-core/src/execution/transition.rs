//! What one input does: data, until the driver has made it durable.

use crate::event::{
    CloseStatus, Event, UpdateOutcome, UpdateRequest, WorkflowSignaled, WorkflowStarted, WorkflowTaskFailureCause,
};
use crate::execution::input::Reply;
use crate::failure::Failure;
use crate::ids::{EventId, TaskQueueName, UpdateId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// What one input does. Committed whole, in one store transaction, or not at all.
///
/// It is absorbed in the order of the fields: facts, then events.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Changes that histories do not show.
    pub facts: Vec<Fact>,
    /// Events to append, numbered.
    pub events: Vec<Event>,
    /// Activities whose progress must be stored in the same transaction: upsert the row that
    /// [`super::Execution::activity_progress`] gives after absorbing, or delete the row if it gives none.
    pub progress: Vec<EventId>,
    /// What the world must do once the transition is durable.
    pub effects: Vec<Effect>,
    /// What the sender is told once the transition is durable.
    pub reply: Reply,
}

impl Transition {
    /// A transition that does nothing but answer.
    pub fn reply(reply: Reply) -> Self {
        Self { facts: Vec::new(), events: Vec::new(), progress: Vec::new(), effects: Vec::new(), reply }
    }

    /// Whether there is anything to store: if not, nothing has to be committed before effects and reply leave.
    pub fn is_durable(&self) -> bool {
        !self.events.is_empty()
            || !self.progress.is_empty()
            || self.facts.iter().any(|fact| match fact {
                Fact::EventBuffered(_) | Fact::BufferFlushed => true,
                Fact::WorkflowTaskStarted { .. }
                | Fact::WorkflowTaskReleased
                | Fact::WorkflowTaskAttemptFailed { .. }
                | Fact::WorkflowTaskOffered
                | Fact::WorkflowTaskDropped
                | Fact::UpdateAdmitted { .. }
                | Fact::UpdatesSent { .. }
                | Fact::UpdateRejected { .. }
                | Fact::ActivityStarted { .. }
                | Fact::ActivityAttemptFailed { .. }
                | Fact::ActivityOffered { .. }
                | Fact::ActivityHeartbeat { .. }
                | Fact::ActivityInHandRecorded { .. }
                | Fact::ActivityOperated { .. }
                | Fact::GraceEnded => false,
            })
    }
}

/// A change of the run's state that its history does not show, or does not show until later.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The event happened while a workflow task was running: durable at once, numbered when the task ends.
    /// Its id is [`EventId::NONE`].
    EventBuffered(Event),
    /// The buffered events got their numbers (they are among the transition's events) or were dropped.
    BufferFlushed,
    /// The workflow task was handed out or claimed. Volatile.
    WorkflowTaskStarted {
        /// As the worker has it.
        token: super::WorkflowTaskToken,
        /// Who has it.
        identity: String,
    },
    /// The workflow task came back untouched. Volatile.
    WorkflowTaskReleased,
    /// A further failure of the workflow task, which histories do not show. Volatile.
    WorkflowTaskAttemptFailed {
        /// The attempt that failed.
        attempt: u32,
        /// For describe; `None` if the attempt timed out.
        cause: Option<WorkflowTaskFailureCause>,
        /// For describe.
        failure: Failure,
        /// It is offered again then.
        retry_at: Timestamp,
    },
    /// The pause is over and the workflow task is in its queue. Volatile.
    WorkflowTaskOffered,
    /// The workflow task ended without anything to record. Volatile.
    WorkflowTaskDropped,
    /// An update came. Volatile.
    UpdateAdmitted {
        /// The request.
        request: Box<UpdateRequest>,
        /// When.
        at: Timestamp,
    },
    /// Updates went to a worker with its workflow task. Volatile.
    UpdatesSent {
        /// The task.
        token: super::WorkflowTaskToken,
    },
    /// The code refused an update. Volatile.
    UpdateRejected {
        /// The update.
        update_id: UpdateId,
    },
    /// The attempt was handed out or claimed. Volatile, unless the activity may run only once.
    ActivityStarted {
        /// As the worker has it.
        token: super::ActivityToken,
        /// Who has it.
        identity: String,
    },
    /// The attempt failed and another follows. Durable as progress.
    ActivityAttemptFailed {
        /// The activity.
        scheduled_event_id: EventId,
        /// Why.
        failure: Failure,
        /// The next attempt is offered then.
        retry_at: Timestamp,
        /// Whether the failed attempt counts towards `maximum_attempts`.
        counted: bool,
    },
    /// The pause is over, or the grace is: the current attempt is in its queue. Volatile.
    ActivityOffered {
        /// The activity.
        scheduled_event_id: EventId,
        /// When; the schedule-to-start timeout counts from here.
        at: Timestamp,
    },
    /// The attempt is alive. Durable as progress when it came with details.
    ActivityHeartbeat {
        /// The activity.
        scheduled_event_id: EventId,
        /// When it was heard.
        at: Timestamp,
        /// New details, if any.
        details: Option<Payload>,
    },
    /// That a worker has or may have the attempt is stored. Durable as progress.
    ActivityInHandRecorded {
        /// The activity.
        scheduled_event_id: EventId,
        /// When the attempt was handed out, as far as that is known.
        at: Timestamp,
        /// Who has it, as far as that is known.
        identity: String,
    },
    /// An operator changed an open activity. Durable as progress.
    ActivityOperated {
        /// The activity.
        scheduled_event_id: EventId,
        /// When.
        at: Timestamp,
        /// What changed.
        change: super::ActivityChange,
    },
    /// The grace after a recovery is over: what is still in doubt goes back to the pause that it was in. Volatile.
    GraceEnded,
}

/// What the world must do because of a transition, once it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put the run's workflow task into its queue.
    OfferWorkflowTask {
        /// The queue.
        task_queue: TaskQueueName,
        /// Which try, from 1.
        attempt: u32,
    },
    /// Take the run's workflow task back: out of its queue, or let the worker's completion be refused.
    WithdrawWorkflowTask,
    /// Put an attempt of an activity into its queue.
    OfferActivity {
        /// The activity.
        scheduled_event_id: EventId,
        /// Which try, from 1.
        attempt: u32,
        /// The queue.
        task_queue: TaskQueueName,
    },
    /// Take an attempt back: out of its queue, or tell the worker that has it that its result is no longer wanted.
    WithdrawActivity {
        /// The activity.
        scheduled_event_id: EventId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// Tell the worker that runs the attempt that the workflow asks it to stop.
    CancelActivity {
        /// The activity.
        scheduled_event_id: EventId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// Tell the worker that runs the attempt that an operator paused the activity.
    PauseActivity {
        /// The activity.
        scheduled_event_id: EventId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// Deliver the message that [`super::Execution::outgoing`] gives for this event, again and again until it is answered.
    Deliver {
        /// The event that initiated it.
        initiated_event_id: EventId,
    },
    /// Begin the next run of the chain, in the same transaction: [`super::Execution::begin_next`].
    StartRun(Box<NextRun>),
    /// Tell who waits for the update.
    UpdateAnswered {
        /// The update.
        update_id: UpdateId,
        /// What became of it.
        answer: UpdateAnswer,
    },
    /// The run closed: answer who waits for its result, and deliver what it owes others ([`super::Execution::undelivered`]).
    Closed(CloseStatus),
}

/// The next run of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct NextRun {
    /// The attributes of its first event, complete.
    pub started: WorkflowStarted,
    /// Signals that the run before did not receive or that came while it closed, in order: recorded behind the first event.
    pub signals: Vec<WorkflowSignaled>,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateAnswer {
    /// The code took it on.
    Accepted {
        /// Its `WorkflowUpdateAccepted`.
        event_id: EventId,
    },
    /// The code refused it, and no trace is left of it.
    Rejected {
        /// Why.
        failure: Failure,
    },
    /// It has its outcome.
    Completed {
        /// The outcome.
        outcome: UpdateOutcome,
    },
    /// The run closed before the code saw it.
    RunClosed,
}

/// What is stored about an open activity beside its history: only when there is something that the history does not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivityProgress {
    /// The activity.
    pub scheduled_event_id: EventId,
    /// Current attempt, from 1.
    pub attempt: u32,
    /// How many attempts count towards `maximum_attempts` before the current one.
    pub counted_attempts: u32,
    /// When the current attempt may be offered; [`Timestamp::EPOCH`] if at once.
    pub offer_at: Timestamp,
    /// Set when it was stored that the current attempt is at a worker: because the activity may run only once, or because the
    /// server stopped in order.
    pub started_at: Option<Timestamp>,
    /// Who has it then.
    pub identity: String,
    /// Why the attempt before failed.
    pub last_failure: Option<Failure>,
    /// The last heartbeat's details.
    pub heartbeat_details: Option<Payload>,
    /// Set while an operator has it paused.
    pub paused: Option<super::Paused>,
    /// How many of its attempts an operator had it forget: the pauses of the retry policy begin anew behind them.
    pub forgotten_attempts: u32,
    /// Its options, if an operator changed them.
    pub options: Option<Box<super::ActivityOptions>>,
}
