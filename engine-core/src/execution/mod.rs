//! One run of a workflow: a fold over its history, and what inputs mean to it.
//!
//! | file | noun |
//! |---|---|
//! | `input` | what can reach a run, what it answers |
//! | `transition` | what an input does: facts, events, progress, effects |
//! | `draft` | a transition while it is being decided |
//! | `start` | beginning a run; id-reuse and id-conflict policies |
//! | `signal`, `update`, `cancel`, `terminate` | what clients send |
//! | `pause` | an operator stops the run for a while, with its time |
//! | `versioning` | which workers the run goes to |
//! | `workflow_task/` | moving the code forward |
//! | `command` | what the code asks for, as a whole |
//! | `activity/`, `timer` | what the code waits for |
//! | `peer` | children, and messages to other workflows |
//! | `publish` | what the code shows to whoever asks |
//! | `marker` | what the code has recorded |
//! | `properties` | what a run is listed by and what people are shown of it |
//! | `buffer` | what arrives while the code runs |
//! | `deadline` | what happens by itself |
//! | `close`, `continue_as_new` | the end of a run, and the run that follows |
//! | `recovery` | from what is stored back to the state |
//! | `reset` | a new run that goes on from an earlier point |
//! | `describe` | what is open, for people |
//!
//! This file routes and nothing else: each noun decides and applies in its own file.

mod activity;
mod buffer;
mod cancel;
mod check;
mod close;
mod command;
mod continue_as_new;
mod deadline;
mod describe;
mod draft;
pub mod input;
mod marker;
mod pause;
mod peer;
mod properties;
mod publish;
mod recovery;
mod reset;
mod signal;
pub mod start;
mod terminate;
mod timer;
pub mod transition;
mod update;
mod versioning;
mod workflow_task;

#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;

pub use activity::{ActivityChange, ActivityOperation, ActivityOptionChanges, ActivityOptions};
pub use describe::{PendingActivity, PendingTaskState, PendingTimer, PendingWorkflowTask};
pub use input::{
    ActivityRef, ActivityToken, Input, RejectedUpdate, Rejection, Reply, StartedActivity, StartedWorkflowTask,
    UpdateStanding, WorkflowTaskToken,
};
pub use pause::Paused;
pub use peer::{PeerAnswer, PendingChild};
pub use publish::PublishedValue;
pub use reset::{Cut, Reset, ResetPoint};
pub use start::{IdConflictPolicy, IdReusePolicy, LatestRun, StartDecision, decide_start};
pub use transition::{ActivityProgress, Effect, Fact, NextRun, Transition, UpdateAnswer};
pub use update::{CLOSED_BEFORE_COMPLETION, PendingUpdate, left_behind};
pub use versioning::RunVersioning;

use crate::event::{
    CloseStatus, Event, EventKind, WorkflowCancelRequested, WorkflowSignaled, WorkflowStarted, WorkflowTerminated,
};
use crate::ids::EventId;
use crate::payload;
use crate::time::Timestamp;

/// One run of a workflow and its state.
///
/// Calling order: [`Execution::begin`], whose event makes a run by [`Execution::replay`]; or [`Execution::replay`] of a stored
/// history, then [`Execution::restore`]. Then for each input [`Execution::decide`], and if the driver goes on with it,
/// [`Execution::absorb`].
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    started: Box<WorkflowStarted>,
    started_at: Timestamp,
    next_event_id: EventId,
    /// The latest time of any event: the clock of the code never runs backwards, even if the server's does.
    clock: Timestamp,
    closed: Option<(CloseStatus, Timestamp)>,
    cancel_requested: bool,
    signals: signal::SeenRequests,
    workflow_task: workflow_task::WorkflowTask,
    activities: activity::Activities,
    timers: timer::Timers,
    peers: peer::Peers,
    published: publish::Published,
    updates: update::Updates,
    buffer: buffer::Buffer,
    deadlines: deadline::Deadlines,
    properties: properties::Properties,
    pauses: pause::Pauses,
    versioning: versioning::Versioning,
}

/// A history that this code could not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt history at event {event_id}: {problem}")]
pub struct CorruptHistory {
    /// The first event that does not fit.
    pub event_id: EventId,
    /// What is wrong with it.
    pub problem: String,
}

impl Execution {
    /// Decides what `input` means at `now`. Changes nothing: the driver absorbs the transition, commits it, and forgets the run
    /// if the commit is in doubt.
    pub fn decide(&self, input: Input, now: Timestamp) -> Result<Transition, Rejection> {
        match input {
            Input::Signal { name, input, identity, request_id } => {
                self.decide_signal(WorkflowSignaled { name, input, identity, request_id }, now)
            }
            Input::Update(request) => self.decide_update(*request, now),
            Input::RequestCancel { reason, identity, request_id } => {
                Ok(self.decide_request_cancel(WorkflowCancelRequested { reason, identity, request_id }, now))
            }
            Input::Terminate { reason, details, identity } => {
                self.decide_terminate(WorkflowTerminated { reason, details, identity, reset_to: None }, now)
            }
            Input::GoOnElsewhere { reason, identity, to } => {
                self.decide_terminate(WorkflowTerminated { reason, details: None, identity, reset_to: Some(to) }, now)
            }
            Input::Pause(change) => self.decide_pause(change, now),
            Input::Resume(change) => self.decide_resume(change, now),
            Input::Move(change) => self.decide_move(*change, now),
            Input::StartWorkflowTask { identity, history_size_bytes } => {
                self.decide_start_task(identity, history_size_bytes, now)
            }
            Input::CompleteWorkflowTask { token, commands, rejected_updates, worker, force_new_task, identity } => {
                self.decide_complete_task(token, commands, rejected_updates, worker, force_new_task, identity, now)
            }
            Input::FailWorkflowTask { token, cause, failure, identity } => {
                self.decide_fail_task(token, cause, failure, &identity, now)
            }
            Input::ReleaseWorkflowTask { token } => self.decide_release_task(token, now),
            Input::ClaimWorkflowTask { token, identity } => self.decide_claim_task(token, identity, now),
            Input::StartActivity { scheduled_event_id, attempt, identity } => {
                self.decide_start_activity(scheduled_event_id, attempt, identity, now)
            }
            Input::ClaimActivity { token, identity } => self.decide_claim_activity(token, identity, now),
            Input::CompleteActivity { activity, result, identity } => {
                self.decide_complete_activity(&activity, result, identity, now)
            }
            Input::FailActivity { activity, failure, identity } => {
                self.decide_fail_activity(&activity, failure, &identity, now)
            }
            Input::CancelActivity { activity, details, identity } => {
                self.decide_cancel_activity(&activity, details, &identity, now)
            }
            Input::OperateActivity { activity_id, operation } => {
                self.decide_operate_activity(activity_id, operation, now)
            }
            Input::HeartbeatActivity { activity, details } => self.decide_heartbeat_activity(&activity, details, now),
            Input::LoseActivity { token } => self.decide_lose_activity(token, now),
            Input::ReleaseActivity { token } => self.decide_release_activity(token, now),
            Input::PeerAnswered { initiated_event_id, answer } => {
                Ok(self.decide_peer_answered(initiated_event_id, answer, now))
            }
            Input::ChildClosed { initiated_event_id, run_id, outcome } => {
                Ok(self.decide_child_closed(initiated_event_id, run_id, outcome, now))
            }
            Input::EndGrace => Ok(self.decide_end_grace(now)),
            Input::RecordInHand => Ok(self.decide_record_in_hand(now)),
            Input::DeadlinePassed => Ok(self.decide_deadline_passed(now)),
        }
    }

    /// Takes a decided transition into the state: facts, then events.
    pub fn absorb(&mut self, transition: &Transition) {
        for fact in &transition.facts {
            self.apply_fact(fact);
        }
        for event in &transition.events {
            self.apply(event);
        }
        for scheduled_event_id in &transition.progress {
            self.note_progress_stored(*scheduled_event_id);
        }
        self.need_task_for_updates();
    }

    /// Folds one recorded event into the state. Total: what is recorded always applies.
    pub fn apply(&mut self, event: &Event) {
        self.next_event_id = event.id.next();
        self.clock = self.clock.max(event.at);
        match &event.kind {
            // The state was made from it.
            EventKind::WorkflowStarted(_) => {}
            EventKind::WorkflowCompleted(_)
            | EventKind::WorkflowFailed(_)
            | EventKind::WorkflowTimedOut(_)
            | EventKind::WorkflowCanceled(_)
            | EventKind::WorkflowTerminated(_)
            | EventKind::WorkflowContinuedAsNew(_) => self.apply_closed(&event.kind, event.at),
            EventKind::WorkflowCancelRequested(_) => {
                self.cancel_requested = true;
                self.apply_standalone_cancel_requested(event.id);
            }
            EventKind::WorkflowSignaled(signal) => self.signals.note(signal.request_id.as_ref()),
            // These change something only together with the event that ends what they began.
            EventKind::WorkflowTaskScheduled(_) | EventKind::WorkflowTaskStarted(_) | EventKind::ActivityStarted(_) => {
            }
            EventKind::WorkflowTaskCompleted(end) => self.apply_task_completed(end, event.at),
            EventKind::WorkflowTaskFailed(end) => self.apply_task_failed(end, event.at),
            EventKind::WorkflowTaskTimedOut(end) => self.apply_task_timed_out(end, event.at),
            EventKind::ActivityScheduled(scheduled) => self.apply_activity_scheduled(event.id, event.at, scheduled),
            EventKind::ActivityCancelRequested(request) => {
                self.apply_activity_cancel_requested(request.scheduled_event_id, event.id);
            }
            EventKind::ActivityCompleted(end) => self.apply_activity_ended(end.scheduled_event_id),
            EventKind::ActivityFailed(end) => self.apply_activity_ended(end.scheduled_event_id),
            EventKind::ActivityTimedOut(end) => self.apply_activity_ended(end.scheduled_event_id),
            EventKind::ActivityCanceled(end) => self.apply_activity_ended(end.scheduled_event_id),
            EventKind::TimerStarted(timer) => self.apply_timer_started(event.id, event.at, timer),
            EventKind::TimerFired(timer) => self.apply_timer_closed(timer.started_event_id),
            EventKind::TimerCanceled(timer) => self.apply_timer_closed(timer.started_event_id),
            EventKind::StatePublished(published) => self.apply_state_published(event.id, event.at, published),
            EventKind::MarkerRecorded(_) => {}
            EventKind::Peer(peer) => self.apply_peer(event.id, event.at, peer),
            EventKind::SearchAttributesUpserted(upserted) => self.apply_search_attributes(upserted),
            EventKind::PropertiesModified(modified) => self.apply_properties_modified(modified),
            EventKind::WorkflowUpdateAccepted(accepted) => self.apply_update_accepted(event.id, event.at, accepted),
            EventKind::WorkflowUpdateCompleted(end) => self.apply_update_completed(event.id, &end.update_id),
            EventKind::WorkflowRepaired(_) => self.apply_reset(event.at),
            EventKind::WorkflowUpdateAdmitted(request) => self.apply_update_readmitted(request, event.at),
            EventKind::WorkflowOptionsUpdated(change) => self.apply_options_updated(change),
            EventKind::WorkflowPaused(_) | EventKind::WorkflowResumed(_) => {
                self.apply_pause_change(&event.kind, event.at);
            }
        }
        if event.kind.is_news() {
            self.apply_news();
        }
    }

    fn apply_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::EventBuffered(event) => self.apply_buffered(event),
            Fact::BufferFlushed => self.buffer.clear(),
            Fact::WorkflowTaskStarted { token, identity } => self.apply_task_started(*token, identity),
            Fact::WorkflowTaskReleased => self.apply_task_released(),
            Fact::WorkflowTaskOffered => self.apply_task_offered(),
            Fact::WorkflowTaskDropped => self.apply_task_dropped(),
            Fact::UpdateAdmitted { request, at } => self.apply_update_admitted(request, *at),
            Fact::UpdatesSent { token } => self.apply_updates_sent(*token),
            Fact::UpdateRejected { update_id } => self.apply_update_rejected(update_id),
            Fact::WorkflowTaskAttemptFailed { attempt, cause, failure, retry_at } => {
                self.apply_attempt_failed(*attempt, *cause, failure, *retry_at);
            }
            Fact::ActivityStarted { token, identity } => self.apply_activity_started(*token, identity),
            Fact::ActivityAttemptFailed { scheduled_event_id, failure, retry_at, counted } => {
                self.apply_activity_attempt_failed(*scheduled_event_id, failure, *retry_at, *counted);
            }
            Fact::ActivityOffered { scheduled_event_id, at } => self.apply_activity_offered(*scheduled_event_id, *at),
            Fact::ActivityHeartbeat { scheduled_event_id, at, details } => {
                self.apply_activity_heartbeat(*scheduled_event_id, *at, details.as_ref());
            }
            Fact::ActivityInHandRecorded { scheduled_event_id, at, identity } => {
                self.apply_activity_in_hand_recorded(*scheduled_event_id, *at, identity);
            }
            Fact::ActivityOperated { scheduled_event_id, at, change } => {
                self.apply_activity_operated(*scheduled_event_id, *at, change);
            }
            Fact::GraceEnded => {
                self.apply_task_grace_ended();
                self.apply_activity_grace_ended();
            }
        }
    }

    /// When [`Input::DeadlinePassed`] has something to do; `None` if never by itself.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        // While the run's time stands still, only the workflow task that a worker has can be overdue.
        match self.is_paused() {
            true => self.workflow_task.start_to_close_deadline(self.started.task_timeout),
            false => self.deadlines.next(),
        }
    }

    /// What the run was started with.
    pub fn started(&self) -> &WorkflowStarted {
        &self.started
    }

    /// When it started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The number that the next event gets.
    pub fn next_event_id(&self) -> EventId {
        self.next_event_id
    }

    /// How it ended; `None` while it is open.
    pub fn close_status(&self) -> Option<CloseStatus> {
        self.closed.map(|(status, _)| status)
    }

    /// When it ended.
    pub fn closed_at(&self) -> Option<Timestamp> {
        self.closed.map(|(_, at)| at)
    }

    /// Whether it was asked to stop.
    pub fn cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// The `WorkflowTaskStarted` of the last completed workflow task: what a worker that has the run in its cache has seen.
    /// [`EventId::NONE`] if none was completed.
    pub fn previous_started_event_id(&self) -> EventId {
        self.workflow_task.previous_started_event_id
    }

    /// Whether a worker has or may have the run's workflow task.
    pub fn is_workflow_task_in_hand(&self) -> bool {
        self.workflow_task.is_running()
    }

    /// How many events wait for the running workflow task to end.
    pub fn buffered_len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no more news is on its way that can be told beforehand: no activity is open and no event buffered.
    pub fn expects_no_more_news(&self) -> bool {
        self.activities.len() == 0 && self.buffer.is_empty()
    }

    /// Whether the run may be dropped from memory: it is open, and what is stored gives the same state again. That is so when
    /// it has no news for its code, every open activity waits for its next attempt, and no update waits for a worker.
    pub fn is_idle(&self) -> bool {
        if self.is_paused_and_at_rest() {
            return self.peers.are_idle() && !self.updates.has_admitted();
        }
        self.closed.is_none()
            && self.workflow_task.is_idle()
            && self.activities.are_idle()
            && self.peers.are_idle()
            && self.buffer.is_empty()
            && !self.updates.has_admitted()
    }

    /// A lower bound of when the engine must look at the run by itself: at once ([`Timestamp::EPOCH`]) while it is not idle, at
    /// its next deadline when it is, and never ([`Timestamp::MAX`]) once it is closed. Updates that are in memory only do not
    /// count: after a crash nothing is left of them to look at.
    pub fn wake_at(&self) -> Timestamp {
        if self.is_paused() {
            let at_rest = self.is_paused_and_at_rest() && self.peers.are_idle();
            return if at_rest { Timestamp::MAX } else { Timestamp::EPOCH };
        }
        let is_idle = self.workflow_task.is_idle_on_disk()
            && self.activities.are_idle()
            && self.peers.are_idle()
            && self.buffer.is_empty();
        if self.closed.is_none() && !is_idle {
            return Timestamp::EPOCH;
        }
        let next = if self.workflow_task.is_news() { self.deadlines.next() } else { self.deadlines.next_but_task() };
        next.unwrap_or(Timestamp::MAX)
    }

    /// Gives back memory that the run does not need while it is idle. For the driver, when the run has become so.
    pub fn shrink(&mut self) {
        self.activities.shrink();
        self.deadlines.shrink();
    }

    /// About how many bytes of memory the run takes. Costs the same for any run.
    pub fn memory_size(&self) -> usize {
        // What a name, a key and two tree entries take, roughly: sizes of texts are bounded, and this is an estimate.
        const ENTRY: usize = 160;
        let started = payload::total_size(&self.started.input)
            + self.started.memo.iter().map(|(key, value)| key.len() + value.size()).sum::<usize>();
        size_of::<Execution>()
            + size_of::<WorkflowStarted>()
            + started
            + self.activities.bytes()
            + self.peers.bytes()
            + self.buffer.bytes()
            + self.published.bytes()
            + self.updates.bytes()
            + ENTRY
                * (self.activities.len()
                    + self.timers.len()
                    + 2 * self.peers.len()
                    + self.signals.len()
                    + self.deadlines.len()
                    + self.published.len()
                    + self.updates.len())
            + self.properties.bytes()
            + (ENTRY + size_of::<Event>()) * self.buffer.len()
    }
}
