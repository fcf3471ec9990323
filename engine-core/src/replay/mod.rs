//! The worker's half of the rules: walks a history, hands outcomes to workflow code, and compares the commands that the code
//! issues with those that history has.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | [`Replayer`]: history in, activations out |
//! | `issue` | what the code asks for, and takes back |
//! | `slots` | what the code has under way: activities and timers, by [`Handle`] |
//! | `matching` | a command as both sides have it, and whether they agree |
//! | `mismatch` | the aligned difference of a task's commands |
//!
//! A history is walked in workflow tasks. What happened since the task before is handed over together
//! ([`Activation::outcomes`], in history order), the code runs until nothing moves, and what it issued meanwhile is the task's
//! answer: compared, if history has the task's completion, else sent to the server. A task that failed or timed out moved
//! nothing, so its events are skipped and its outcomes belong to the next task.
//!
//! Calling order: [`Replayer::feed`], then until it gives `None`: [`Replayer::next_activation`], any number of commands,
//! [`Replayer::finish_activation`].
//!
//! Invariants:
//! - a handle is reused only after its outcome was taken, or nobody wants it any more and history has closed it;
//! - a command that was issued and withdrawn in the same task leaves no trace, but keeps its number: ids depend only on the
//!   order in which the code asks.

mod issue;
mod matching;
mod mismatch;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::iter::Peekable;

use crate::command::Command;
use crate::event::{
    ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityStarted, ActivityTimedOut, Event, EventKind,
    TimerFired, WorkflowCancelRequested, WorkflowSignaled, WorkflowStarted, WorkflowTaskStarted,
};
use crate::failure::{Failure, RetryState};
use crate::ids::{ActivityId, EventId, SignalName};
use crate::payload::Payload;
use crate::time::Timestamp;

use matching::{Issued, Recorded, Step};
pub use mismatch::Nondeterminism;
use slots::Slots;
pub use slots::{Handle, Resolution};

/// The flag of a run whose commands are matched by id and activity type, not only by kind. A history whose tasks do not have
/// it is matched by kind alone.
pub const FLAG_MATCH_IDS: u32 = 1;

/// One run's history and cursor.
#[derive(Debug)]
pub struct Replayer {
    incoming: Peekable<std::vec::IntoIter<Event>>,
    last_event_id: EventId,
    started: Option<Box<WorkflowStarted>>,
    phase: Phase,
    clock: Timestamp,
    slots: Slots,
    /// Outcomes that came behind the commands of the task that was matched last.
    outcomes: Vec<Outcome>,
    /// What the code issued in this task; `None` where it was withdrawn.
    issued: Vec<Option<Issued>>,
    /// The same for the server, filled only when there is no completion in history to compare with.
    commands: Vec<Option<Command>>,
    flags: BTreeSet<u32>,
    new_flags: Vec<u32>,
    activities: u64,
    timers: u64,
    /// The code closed the run: whatever it drops from here on stands for nothing.
    close_issued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two tasks.
    Between,
    /// The code runs; history has the completion.
    Replaying { completed: EventId },
    /// The code runs; its commands go to the server.
    Live,
    /// The commands went to the server; the next event must be the completion of this task.
    Answered { started: EventId },
    /// The history has its close event.
    Closed,
}

/// One workflow task from the code's point of view.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    /// The clock of the code during this task. It never goes backwards.
    pub now: Timestamp,
    /// Whether history has the task's commands already.
    pub replaying: bool,
    /// What happened since the task before, in history order.
    pub outcomes: Vec<Outcome>,
    /// How many events the history has so far.
    pub history_length: u64,
    /// Its size in bytes.
    pub history_size_bytes: u64,
    /// Whether the history has become long enough that the code should continue as new.
    pub suggest_continue_as_new: bool,
}

/// News for the code.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A message arrived.
    Signaled {
        /// Which kind.
        name: SignalName,
        /// Content.
        input: Vec<Payload>,
    },
    /// The run was asked to stop.
    CancelRequested {
        /// Why, for people.
        reason: String,
    },
    /// What the handle stands for is over: [`Replayer::take_resolution`] says how.
    Resolved(Handle),
}

/// Why a history could not be followed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The code and the history differ.
    #[error(transparent)]
    Nondeterminism(Box<Nondeterminism>),
    /// The events do not continue what was fed before: begin again with the whole history.
    #[error("the history goes on at event {actual}, but event {expected} was expected")]
    OutOfStep {
        /// The event that would continue.
        expected: EventId,
        /// The event that came.
        actual: EventId,
    },
    /// The server could not have written this history.
    #[error("corrupt history at event {event_id}: {problem}")]
    Corrupt {
        /// The first event that does not fit.
        event_id: EventId,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Default for Replayer {
    fn default() -> Self {
        Self::new()
    }
}

impl Replayer {
    /// A run of which nothing is known yet.
    pub fn new() -> Self {
        Self {
            incoming: Vec::new().into_iter().peekable(),
            last_event_id: EventId::NONE,
            started: None,
            phase: Phase::Between,
            clock: Timestamp::EPOCH,
            slots: Slots::default(),
            outcomes: Vec::new(),
            issued: Vec::new(),
            commands: Vec::new(),
            flags: BTreeSet::new(),
            new_flags: Vec::new(),
            activities: 0,
            timers: 0,
            close_issued: false,
        }
    }

    /// Takes the next events of the history, which must follow those fed before. Changes nothing if it fails.
    pub fn feed(&mut self, events: Vec<Event>) -> Result<(), ReplayError> {
        let mut expected = self.last_event_id.next();
        for event in &events {
            if event.id != expected {
                return Err(ReplayError::OutOfStep { expected, actual: event.id });
            }
            expected = expected.next();
        }
        let Some(first) = events.first() else {
            return Err(ReplayError::OutOfStep { expected, actual: EventId::NONE });
        };
        if let Phase::Answered { started } = self.phase {
            // Anything else means that the answer was not taken: the code is ahead of the history and cannot go back.
            let is_answer = matches!(&first.kind, EventKind::WorkflowTaskCompleted(completed)
                if completed.started_event_id == started);
            if !is_answer {
                return Err(ReplayError::OutOfStep { expected: started, actual: first.id });
            }
        }
        if self.started.is_none() && !matches!(first.kind, EventKind::WorkflowStarted(_)) {
            return Err(ReplayError::Corrupt { event_id: first.id, problem: "the first event is not WorkflowStarted" });
        }
        debug_assert!(self.incoming.len() == 0, "activations are taken until there is none");
        self.incoming = events.into_iter().peekable();
        Ok(())
    }

    /// Walks to the next workflow task whose code must run. `None` at the end of what was fed, or of the run.
    pub fn next_activation(&mut self) -> Result<Option<Activation>, ReplayError> {
        if let Phase::Answered { .. } = self.phase
            && let Some(event) = self.next_event()
        {
            // `feed` saw to it that this is the completion of the answered task. Its flags are the ones set here.
            self.match_commands(event.id)?;
        }
        while let Some(event) = self.next_event() {
            let id = event.id;
            let corrupt = |problem| Err(ReplayError::Corrupt { event_id: id, problem });
            match Recorded::of(id, event.kind) {
                Recorded::Begun(_) if self.started.is_some() => return corrupt("a second WorkflowStarted"),
                Recorded::Begun(started) => self.started = Some(started),
                Recorded::TaskScheduled => {}
                Recorded::TaskStarted(started) => {
                    if let Some(activation) = self.begin_task(id, event.at, &started)? {
                        return Ok(Some(activation));
                    }
                }
                Recorded::TaskEnded => return corrupt("a workflow task ends that had not started"),
                Recorded::Command(_) => return corrupt("a command's event does not follow its workflow task"),
                Recorded::News(news) => self.absorb(id, news)?,
            }
        }
        Ok(None)
    }

    fn next_event(&mut self) -> Option<Event> {
        let event = self.incoming.next()?;
        self.last_event_id = event.id;
        Some(event)
    }

    fn begin_task(
        &mut self,
        id: EventId,
        at: Timestamp,
        started: &WorkflowTaskStarted,
    ) -> Result<Option<Activation>, ReplayError> {
        let phase = match self.incoming.peek().map(|next| &next.kind) {
            None => Phase::Live,
            Some(EventKind::WorkflowTaskCompleted(completed)) => {
                self.flags.extend(&completed.worker.flags);
                Phase::Replaying { completed: id.next() }
            }
            Some(EventKind::WorkflowTaskFailed(_) | EventKind::WorkflowTaskTimedOut(_)) => {
                self.next_event();
                return Ok(None);
            }
            Some(_) => {
                return Err(ReplayError::Corrupt { event_id: id.next(), problem: "a workflow task does not end" });
            }
        };
        if matches!(phase, Phase::Replaying { .. }) {
            self.next_event();
        }
        self.phase = phase;
        self.clock = self.clock.max(at);
        Ok(Some(Activation {
            now: self.clock,
            replaying: phase != Phase::Live,
            outcomes: std::mem::take(&mut self.outcomes),
            history_length: id.0,
            history_size_bytes: started.history_size_bytes,
            suggest_continue_as_new: started.suggest_continue_as_new,
        }))
    }

    /// Ends the task: what the code issued is compared with history, or returned for the server if history does not have it.
    pub fn finish_activation(&mut self) -> Result<Option<Vec<Command>>, ReplayError> {
        match self.phase {
            Phase::Replaying { completed } => {
                self.match_commands(completed)?;
                Ok(None)
            }
            Phase::Live => {
                self.use_flag(FLAG_MATCH_IDS);
                self.phase = Phase::Answered { started: self.last_event_id };
                Ok(Some(self.commands.drain(..).flatten().collect()))
            }
            Phase::Between | Phase::Answered { .. } | Phase::Closed => Ok(None),
        }
    }

    /// Compares what the code issued with the events behind the completion `completed`, and notes under which events the
    /// code's activities and timers are recorded.
    fn match_commands(&mut self, completed: EventId) -> Result<(), ReplayError> {
        self.phase = Phase::Between;
        let by_id = self.flags.contains(&FLAG_MATCH_IDS);
        let issued: Vec<Issued> = self.issued.drain(..).flatten().collect();
        let mut matched = 0;
        while let Some(event) =
            self.incoming.next_if(|event| !matches!(event.kind, EventKind::WorkflowTaskScheduled(_)))
        {
            let id = event.id;
            self.last_event_id = id;
            let step = match Recorded::of(id, event.kind) {
                Recorded::News(news) => {
                    self.absorb(id, news)?;
                    continue;
                }
                Recorded::Command(command) => command.step(&self.slots)?,
                Recorded::Begun(_) | Recorded::TaskScheduled | Recorded::TaskStarted(_) | Recorded::TaskEnded => {
                    let problem = "it does not belong behind a completed workflow task";
                    return Err(ReplayError::Corrupt { event_id: id, problem });
                }
            };
            match issued.get(matched) {
                Some(own) if own.step.agrees(&step, by_id) => {
                    self.bind(id, own);
                    matched += 1;
                }
                _ => return Err(self.difference(completed, id, &issued, matched, Some((id, step)))),
            }
        }
        if matched < issued.len() {
            let at = EventId(completed.0 + matched as u64 + 1);
            return Err(self.difference(completed, at, &issued, matched, None));
        }
        Ok(())
    }

    /// The command is recorded as event `id`.
    fn bind(&mut self, id: EventId, own: &Issued) {
        match own.step {
            Step::ScheduleActivity { .. } | Step::StartTimer { .. } => {
                if let Some(handle) = own.handle {
                    self.slots.recorded(handle, id);
                }
            }
            Step::CancelTimer { .. } => {
                if let Some(handle) = own.handle {
                    self.slots.closed(handle);
                }
            }
            Step::RequestCancelActivity { .. } => {}
            Step::CompleteWorkflow | Step::FailWorkflow | Step::CancelWorkflow => self.phase = Phase::Closed,
        }
    }

    fn difference(
        &mut self,
        completed: EventId,
        at: EventId,
        issued: &[Issued],
        matched: usize,
        first: Option<(EventId, Step)>,
    ) -> ReplayError {
        let mut history: Vec<(EventId, Step)> = Vec::new();
        // The matched ones are equal on both sides, up to what is not compared.
        let ids = (completed.0 + 1..).map(EventId);
        history.extend(ids.zip(issued[..matched].iter().map(|own| own.step.clone())));
        history.extend(first);
        while let Some(event) =
            self.incoming.next_if(|event| !matches!(event.kind, EventKind::WorkflowTaskScheduled(_)))
        {
            if let Recorded::Command(command) = Recorded::of(event.id, event.kind)
                && let Ok(step) = command.step(&self.slots)
            {
                history.push((event.id, step));
            }
        }
        let code: Vec<Step> = issued.iter().map(|own| own.step.clone()).collect();
        ReplayError::Nondeterminism(Box::new(Nondeterminism::new(completed, at, &history, &code, matched)))
    }

    /// Takes note of something that was not the code's doing.
    fn absorb(&mut self, id: EventId, news: News) -> Result<(), ReplayError> {
        let unknown = |problem| ReplayError::Corrupt { event_id: id, problem };
        let (of, resolution) = match news {
            News::Signaled(WorkflowSignaled { name, input, .. }) => {
                self.outcomes.push(Outcome::Signaled { name, input });
                return Ok(());
            }
            News::CancelRequested(WorkflowCancelRequested { reason, .. }) => {
                self.outcomes.push(Outcome::CancelRequested { reason });
                return Ok(());
            }
            News::ActivityStarted(ActivityStarted { scheduled_event_id, attempt, .. }) => {
                return self
                    .slots
                    .attempt_started(scheduled_event_id, attempt)
                    .ok_or_else(|| unknown("an activity starts that was not scheduled"));
            }
            News::ClosedByServer => {
                self.phase = Phase::Closed;
                return Ok(());
            }
            News::ActivityCompleted(ActivityCompleted { scheduled_event_id, result, .. }) => {
                (scheduled_event_id, Resolution::Completed { result })
            }
            News::ActivityFailed(ActivityFailed { scheduled_event_id, failure, retry_state, .. })
            | News::ActivityTimedOut(ActivityTimedOut { scheduled_event_id, failure, retry_state, .. }) => {
                (scheduled_event_id, Resolution::Failed { failure: Box::new(failure), retry_state })
            }
            News::ActivityCanceled(ActivityCanceled { scheduled_event_id, details, .. }) => {
                (scheduled_event_id, Resolution::canceled(details))
            }
            News::TimerFired(TimerFired { started_event_id, .. }) => (started_event_id, Resolution::Fired),
        };
        match self.slots.resolve(of, resolution) {
            Some(Some(handle)) => self.outcomes.push(Outcome::Resolved(handle)),
            Some(None) => {}
            None => return Err(unknown("something ends that had not begun")),
        }
        Ok(())
    }

    /// The attributes with which the run began, once they were fed.
    pub fn started(&self) -> Option<&WorkflowStarted> {
        self.started.as_deref()
    }

    /// Takes the run's arguments out of the attributes with which it began.
    pub fn take_input(&mut self) -> Vec<Payload> {
        self.started.as_mut().map(|started| std::mem::take(&mut started.input)).unwrap_or_default()
    }

    /// The last event that was walked over.
    pub fn last_event_id(&self) -> EventId {
        self.last_event_id
    }

    /// Whether the current task's commands are compared with history, not sent.
    pub fn is_replaying(&self) -> bool {
        matches!(self.phase, Phase::Replaying { .. })
    }

    /// Whether the code issued a closing command, or history has a close event.
    pub fn is_closed(&self) -> bool {
        self.close_issued || self.phase == Phase::Closed
    }

    /// All behaviour flags of the run so far.
    pub fn flags(&self) -> &BTreeSet<u32> {
        &self.flags
    }

    /// The flags that were set since the last call: they are recorded with the task's completion.
    pub fn take_new_flags(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.new_flags)
    }

    /// The id under which an activity was issued, while the handle stands for one.
    pub fn activity_id(&self, handle: Handle) -> Option<&ActivityId> {
        self.slots.activity_id(handle)
    }

    /// How many activities and timers are under way.
    pub fn open_count(&self) -> usize {
        self.slots.len()
    }
}

/// How an activity or timer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// How.
    pub resolution: Resolution,
    /// The event that began it; none if it was withdrawn before it was recorded.
    pub event_id: EventId,
    /// The last attempt of an activity, from 1; 0 if none started.
    pub attempt: u32,
}

impl Resolution {
    fn canceled(details: Option<Payload>) -> Self {
        let kind = crate::failure::FailureKind::Canceled { details };
        let failure = Failure { message: "canceled on request".to_owned(), kind, cause: None };
        Resolution::Failed { failure: Box::new(failure), retry_state: RetryState::CancelRequested }
    }
}

/// What happened to a run that was not its code's doing.
enum News {
    Signaled(WorkflowSignaled),
    CancelRequested(WorkflowCancelRequested),
    ActivityStarted(ActivityStarted),
    ActivityCompleted(ActivityCompleted),
    ActivityFailed(ActivityFailed),
    ActivityTimedOut(ActivityTimedOut),
    ActivityCanceled(ActivityCanceled),
    TimerFired(TimerFired),
    ClosedByServer,
}
