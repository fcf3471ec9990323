//! The worker's half of the rules: walks a history, hands outcomes to workflow code, and compares the commands that the code
//! issues with those that history has.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | [`Replayer`]: history in, activations out |
//! | `issue` | what the code asks for, and takes back |
//! | `markers` | patches and steps: what history has recorded of the code's own doing |
//! | `slots` | what the code has under way: activities, timers and steps, by [`Handle`] |
//! | `matching` | a command as both sides have it, and whether they agree |
//! | `peers` | children, and messages to other workflows |
//! | `mismatch` | the aligned difference of a task's commands |
//! | `values` | arguments, durations and results, for replays by the build that ran |
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
mod markers;
mod matching;
mod mismatch;
mod peers;
mod slots;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeSet, VecDeque};

use crate::command::Command;
use crate::event::PeerEvent;
use crate::event::{
    ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityStarted, ActivityTimedOut, ContinueAsNewReasons,
    Event, EventKind, TimerFired, UpdateRequest, WorkflowCancelRequested, WorkflowSignaled, WorkflowStarted,
    WorkflowTaskStarted,
};
use crate::execution::RejectedUpdate;
use crate::failure::{Failure, RetryState};
use crate::ids::{ActivityId, EventId, SignalName};
use crate::payload::Payload;
use crate::time::Timestamp;

use markers::Markers;
pub use matching::Place;
use matching::{Issued, Recorded, RecordedCommand, Step};
pub use mismatch::Nondeterminism;
pub use peers::{CHILD_ALREADY_STARTED, PEER_NOT_FOUND};
use slots::Slots;
pub use slots::{Handle, Resolution};
pub use values::SamePayload;
use values::Values;

/// The flag of a run whose commands are matched by id and activity type, not only by kind. A history whose tasks do not have
/// it is matched by kind alone.
pub const FLAG_MATCH_IDS: u32 = 1;

/// One run's history and cursor.
#[derive(Debug)]
pub struct Replayer {
    /// What was fed and not yet walked over.
    incoming: VecDeque<Event>,
    last_event_id: EventId,
    started: Option<Box<WorkflowStarted>>,
    started_at: Timestamp,
    phase: Phase,
    clock: Timestamp,
    slots: Slots,
    /// Outcomes that came behind the commands of the task that was matched last.
    outcomes: Vec<Outcome>,
    /// What the code issued in this task; `None` where it was withdrawn.
    issued: Vec<Option<Issued>>,
    /// Where in the code the next command is asked for: see [`Replayer::at`].
    place: Option<Place>,
    /// Compares values, if they are to be compared: see [`Replayer::compare_values`].
    same_payload: Option<SamePayload>,
    /// The same for the server, filled only when there is no completion in history to compare with.
    commands: Vec<Option<Command>>,
    flags: BTreeSet<u32>,
    new_flags: Vec<u32>,
    activities: u64,
    children: u64,
    timers: u64,
    steps: u64,
    markers: Markers,
    /// The code closed the run: whatever it drops from here on stands for nothing.
    close_issued: bool,
    /// Updates of the task that goes to the server, until its activation takes them.
    brought_updates: Vec<UpdateDelivery>,
    rejected_updates: Vec<RejectedUpdate>,
    /// Whether the server may drop the task that was answered last: it brought nothing that changed the code.
    may_be_dropped: bool,
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
    /// Updates that the code must accept or reject, in order. They come behind the outcomes.
    pub updates: Vec<UpdateDelivery>,
    /// How many events the history has so far.
    pub history_length: u64,
    /// Its size in bytes.
    pub history_size_bytes: u64,
    /// Whether the code should continue as new, and why.
    pub suggest_continue_as_new: ContinueAsNewReasons,
}

/// An update on its way to the code.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateDelivery {
    /// What was sent.
    pub request: UpdateRequest,
    /// Whether the history has its acceptance: then the code must take it on, whatever its validator would say today.
    pub is_accepted: bool,
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

impl From<Nondeterminism> for ReplayError {
    fn from(difference: Nondeterminism) -> Self {
        ReplayError::Nondeterminism(Box::new(difference))
    }
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
            incoming: VecDeque::new(),
            last_event_id: EventId::NONE,
            started: None,
            started_at: Timestamp::EPOCH,
            phase: Phase::Between,
            clock: Timestamp::EPOCH,
            slots: Slots::default(),
            outcomes: Vec::new(),
            issued: Vec::new(),
            place: None,
            same_payload: None,
            commands: Vec::new(),
            flags: BTreeSet::new(),
            new_flags: Vec::new(),
            activities: 0,
            children: 0,
            timers: 0,
            steps: 0,
            markers: Markers::default(),
            close_issued: false,
            brought_updates: Vec::new(),
            rejected_updates: Vec::new(),
            may_be_dropped: false,
        }
    }

    /// Takes the next events of the history, which must follow those fed before; or those before the task that was answered last,
    /// if the server dropped it ([`Replayer::last_event_id_if_dropped`]). Changes nothing if it fails.
    ///
    /// A history may come in parts, each but the last ending before a `WorkflowTaskScheduled`: what a task's commands became
    /// follows its completion, so a part that ends elsewhere would look like a task without commands.
    pub fn feed(&mut self, events: Vec<Event>) -> Result<(), ReplayError> {
        let dropped =
            self.last_event_id_if_dropped().filter(|last| events.first().is_some_and(|event| event.id == last.next()));
        let mut expected = dropped.unwrap_or(self.last_event_id).next();
        for event in &events {
            if event.id != expected {
                return Err(ReplayError::OutOfStep { expected, actual: event.id });
            }
            expected = expected.next();
        }
        let Some(first) = events.first() else {
            return Err(ReplayError::OutOfStep { expected, actual: EventId::NONE });
        };
        if let Phase::Answered { started } = self.phase
            && dropped.is_none()
        {
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
        if let Some(last) = dropped {
            self.last_event_id = last;
            self.phase = Phase::Between;
        }
        debug_assert!(self.incoming.is_empty(), "activations are taken until there is none");
        self.incoming = events.into();
        Ok(())
    }

    /// Hands over the updates that came with the workflow task at the end of what was fed.
    pub fn bring_updates(&mut self, updates: Vec<UpdateRequest>) {
        let deliver = |request| UpdateDelivery { request, is_accepted: false };
        self.brought_updates = updates.into_iter().map(deliver).collect();
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
                Recorded::Begun(started) => (self.started, self.started_at) = (Some(started), event.at),
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
        let event = self.incoming.pop_front()?;
        self.last_event_id = event.id;
        Some(event)
    }

    /// The next event behind the completion of the task that is matched.
    fn next_of_task(&mut self) -> Option<Event> {
        self.incoming.pop_front_if(|event| !matches!(event.kind, EventKind::WorkflowTaskScheduled(_)))
    }

    /// Updates that the task which is about to be replayed accepted, in the order in which it did.
    fn accepted_updates(&self) -> Vec<UpdateDelivery> {
        let turn = self.incoming.iter().take_while(|event| !matches!(event.kind, EventKind::WorkflowTaskScheduled(_)));
        let accepted = turn.filter_map(|event| {
            let EventKind::WorkflowUpdateAccepted(accepted) = &event.kind else { return None };
            Some(UpdateDelivery { request: accepted.update.clone(), is_accepted: true })
        });
        accepted.collect()
    }

    fn begin_task(
        &mut self,
        id: EventId,
        at: Timestamp,
        started: &WorkflowTaskStarted,
    ) -> Result<Option<Activation>, ReplayError> {
        let phase = match self.incoming.front().map(|next| &next.kind) {
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
        let updates = match phase {
            Phase::Live => std::mem::take(&mut self.brought_updates),
            Phase::Replaying { .. } | Phase::Between | Phase::Answered { .. } | Phase::Closed => {
                self.accepted_updates()
            }
        };
        self.phase = phase;
        self.look_ahead();
        self.clock = self.clock.max(at);
        self.may_be_dropped = self.outcomes.is_empty();
        Ok(Some(Activation {
            now: self.clock,
            replaying: phase != Phase::Live,
            outcomes: std::mem::take(&mut self.outcomes),
            updates,
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
                let commands: Vec<Command> = self.commands.drain(..).flatten().collect();
                self.may_be_dropped &= commands.is_empty() && self.new_flags.is_empty();
                Ok(Some(commands))
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
        while let Some(event) = self.next_of_task() {
            let id = event.id;
            self.last_event_id = id;
            let values = self.same_payload.and_then(|_| Values::of_event(&event.kind));
            let step = match Recorded::of(id, event.kind) {
                Recorded::News(news) => {
                    self.absorb(id, news)?;
                    continue;
                }
                Recorded::Command(RecordedCommand::DeprecatedPatch(step))
                    if issued.get(matched).is_none_or(|own| !own.step.agrees(&step, true)) =>
                {
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
                    if let (Some(same), Some(recorded), Some(own_values)) = (self.same_payload, &values, &own.values)
                        && !own_values.agree(recorded, same)
                    {
                        let values = (recorded.to_string(), own_values.to_string());
                        let difference = self.difference(completed, id, &issued, matched, Some((id, step)));
                        return Err(difference.with_values(&values.0, &values.1).into());
                    }
                    self.bind(id, own);
                    matched += 1;
                }
                _ => return Err(self.difference(completed, id, &issued, matched, Some((id, step))).into()),
            }
        }
        if matched < issued.len() {
            let at = EventId(completed.0 + matched as u64 + 1);
            return Err(self.difference(completed, at, &issued, matched, None).into());
        }
        Ok(())
    }

    /// The command is recorded as event `id`.
    fn bind(&mut self, id: EventId, own: &Issued) {
        match own.step {
            Step::ScheduleActivity { .. }
            | Step::StartTimer { .. }
            | Step::StartChild { .. }
            | Step::SignalExternal { .. }
            | Step::RequestCancelExternal { .. } => {
                if let Some(handle) = own.handle {
                    self.slots.recorded(handle, id);
                }
            }
            Step::CancelTimer { .. } => {
                if let Some(handle) = own.handle {
                    self.slots.closed(handle);
                }
            }
            Step::RequestCancelActivity { .. }
            | Step::PublishState { .. }
            | Step::Patch { .. }
            | Step::Closure { .. }
            | Step::UpsertSearchAttributes
            | Step::ModifyProperties
            | Step::AcceptUpdate { .. }
            | Step::CompleteUpdate { .. } => {}
            Step::CompleteWorkflow | Step::FailWorkflow | Step::CancelWorkflow | Step::ContinueAsNew => {
                self.phase = Phase::Closed
            }
        }
    }

    fn difference(
        &mut self,
        completed: EventId,
        at: EventId,
        issued: &[Issued],
        matched: usize,
        first: Option<(EventId, Step)>,
    ) -> Nondeterminism {
        let mut history: Vec<(EventId, Step)> = Vec::new();
        // The matched ones are equal on both sides, up to what is not compared.
        let ids = (completed.0 + 1..).map(EventId);
        history.extend(ids.zip(issued[..matched].iter().map(|own| own.step.clone())));
        history.extend(first);
        while let Some(event) = self.next_of_task() {
            if let Recorded::Command(command) = Recorded::of(event.id, event.kind)
                && let Ok(step) = command.step(&self.slots)
            {
                history.push((event.id, step));
            }
        }
        Nondeterminism::new(completed, at, &history, issued, matched)
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
            News::Peer(peer) => return self.absorb_peer(id, *peer),
            News::NotForCode => return Ok(()),
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

    /// When the run began; [`Timestamp::EPOCH`] until that was fed.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Takes the run's arguments out of the attributes with which it began.
    pub fn take_input(&mut self) -> Vec<Payload> {
        self.started.as_mut().map(|started| std::mem::take(&mut started.input)).unwrap_or_default()
    }

    /// The last event that was walked over.
    pub fn last_event_id(&self) -> EventId {
        self.last_event_id
    }

    /// The last event that the code has seen if the server drops the task that was answered last: the one before the task. `None`
    /// if the server cannot drop it, because it changed something.
    pub fn last_event_id_if_dropped(&self) -> Option<EventId> {
        match self.phase {
            Phase::Answered { started } if self.may_be_dropped => Some(EventId(started.0.saturating_sub(2))),
            Phase::Answered { .. } | Phase::Between | Phase::Replaying { .. } | Phase::Live | Phase::Closed => None,
        }
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

    /// Whether the code asked for something in the current task, if it goes to the server.
    pub fn has_commands(&self) -> bool {
        self.commands.iter().any(Option::is_some)
    }

    /// The id under which an activity was issued, while the handle stands for one.
    pub fn activity_id(&self, handle: Handle) -> Option<&ActivityId> {
        self.slots.activity_id(handle)
    }

    /// How many activities, timers and steps are under way.
    pub fn open_count(&self) -> usize {
        self.slots.len()
    }
}

/// How an activity, step or timer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// How.
    pub resolution: Resolution,
    /// The event that began it; none if it was withdrawn before it was recorded.
    pub event_id: EventId,
    /// The last attempt of an activity or step, from 1; 0 if none started.
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
    Peer(Box<PeerEvent>),
    ClosedByServer,
    /// The run was paused or resumed, of which its code knows nothing.
    NotForCode,
}
