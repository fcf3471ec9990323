//! A transition while it is being decided: numbers events, buffers them while a workflow task runs, and knows what the
//! transition has done so far, since the run itself does not change until the transition is absorbed.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, EventKind};
use crate::execution::properties::Properties;
use crate::execution::{Effect, Execution, Fact, Reply, Transition};
use crate::ids::{ActivityId, EventId, PublishedName, TimerId};
use crate::time::Timestamp;

/// What the transition does to the workflow task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Nothing: news needs a task if there is none.
    Untouched,
    /// It completed: news needs a new one.
    Completed,
    /// It is offered again, or will be after a pause: news comes along with it.
    Pending,
}

/// What the commands of this transition opened and ended, on top of the run's own state.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Activities scheduled by this transition and still open.
    pub(super) scheduled_activities: BTreeMap<ActivityId, EventId>,
    /// Activities of the run that this transition ended.
    pub(super) ended_activities: BTreeSet<EventId>,
    /// Timers started by this transition and still open.
    pub(super) started_timers: BTreeMap<TimerId, EventId>,
    /// Timers of the run that this transition canceled.
    pub(super) canceled_timers: BTreeSet<EventId>,
    /// How many dealings with others this transition began.
    pub(super) initiated_peers: usize,
    /// Names under which this transition published and the run had not before.
    pub(super) published_names: BTreeSet<PublishedName>,
    /// What is shown of the run, if this transition changed it.
    pub(super) properties: Option<Properties>,
    /// What it does to updates.
    pub(super) updates: super::update::UpdateOverlay,
}

/// A transition while it is being decided.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) run: &'a Execution,
    pub(super) now: Timestamp,
    pub(super) overlay: Overlay,
    pub(super) task: Task,
    next_event_id: EventId,
    clock: Timestamp,
    buffering: bool,
    has_news: bool,
    needs_task_for_updates: bool,
    facts: Vec<Fact>,
    events: Vec<Event>,
    progress: BTreeSet<EventId>,
    effects: Vec<Effect>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(run: &'a Execution, now: Timestamp) -> Self {
        Self {
            run,
            now,
            overlay: Overlay::default(),
            task: Task::Untouched,
            next_event_id: run.next_event_id,
            clock: run.clock.max(now).max(run.deadlines.time.changed_at()),
            buffering: run.buffers_events(),
            has_news: false,
            needs_task_for_updates: false,
            facts: Vec::new(),
            events: Vec::new(),
            progress: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// An update came, which needs a workflow task although it is no news.
    pub(super) fn needs_task_for_updates(&mut self) {
        self.needs_task_for_updates = true;
    }

    /// The transition. Offers a workflow task if the run has news or updates and no task is under way.
    pub(super) fn finish(mut self, reply: Reply) -> Transition {
        let needs_task = match self.task {
            Task::Untouched => !self.run.workflow_task.is_pending(),
            Task::Completed => true,
            Task::Pending => false,
        };
        let closes = self.events.last().is_some_and(|event| event.kind.close_status().is_some());
        let has_updates = self.needs_task_for_updates || (self.task == Task::Completed && self.leaves_updates());
        let has_code = !self.run.is_standalone_activity();
        if (self.has_news || has_updates) && has_code && needs_task && !closes {
            self.offer_workflow_task(1);
        }
        Transition {
            facts: self.facts,
            events: self.events,
            progress: self.progress.into_iter().collect(),
            effects: self.effects,
            reply,
        }
    }

    /// The number that the next event gets.
    pub(super) fn next_event_id(&self) -> EventId {
        self.next_event_id
    }

    /// The present, never before an event that is already there.
    pub(super) fn clock(&self) -> Timestamp {
        self.clock
    }

    /// Appends an event that happens now.
    pub(super) fn push(&mut self, kind: EventKind) -> EventId {
        self.push_at(self.clock, kind)
    }

    /// Appends an event that happened at `at`, such as the start of an attempt that is recorded with its end.
    pub(super) fn push_at(&mut self, at: Timestamp, kind: EventKind) -> EventId {
        let id = self.next_event_id;
        self.next_event_id = id.next();
        self.clock = self.clock.max(at);
        self.has_news |= kind.is_news();
        self.events.push(Event { id, at, kind });
        id
    }

    /// The events so far.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The workflow task has ended: from here on nothing is buffered.
    pub(super) fn stop_buffering(&mut self) {
        self.buffering = false;
    }

    /// Whether what reaches the run is buffered at this point of the transition.
    pub(super) fn is_buffering(&self) -> bool {
        self.buffering
    }

    /// Records an event that reached the run from outside: buffers it while a workflow task runs, else appends it.
    pub(super) fn arrive(&mut self, kind: EventKind) {
        if self.buffering {
            self.buffer_at(self.clock, kind);
        } else {
            self.push(kind);
        }
    }

    /// Buffers an event that happened at `at`.
    pub(super) fn buffer_at(&mut self, at: Timestamp, kind: EventKind) {
        self.facts.push(Fact::EventBuffered(Event { id: EventId::NONE, at, kind }));
    }

    /// Numbers the buffered events, in the order of `buffer`'s doc, less those of timers that this transition canceled. From
    /// here on nothing is buffered.
    pub(super) fn flush_buffer(&mut self) {
        self.buffering = false;
        if self.run.buffer.is_empty() {
            return;
        }
        self.facts.push(Fact::BufferFlushed);
        for (at, kind) in self.run.buffer.in_order(&self.overlay.canceled_timers, self.next_event_id) {
            self.push_at(at, kind);
        }
    }

    /// The buffered events belong to the next run.
    pub(super) fn hand_over_buffer(&mut self) {
        self.buffering = false;
        if !self.run.buffer.is_empty() {
            self.facts.push(Fact::BufferFlushed);
        }
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Marks the activity's progress as changed.
    pub(super) fn progress(&mut self, scheduled_event_id: EventId) {
        self.progress.insert(scheduled_event_id);
    }

    /// Puts the workflow task into its queue, unless the run is paused: then it waits for the resumption.
    pub(super) fn offer_workflow_task(&mut self, attempt: u32) {
        if self.run.is_paused() {
            return;
        }
        self.effect(Effect::OfferWorkflowTask { task_queue: self.run.started.task_queue.clone(), attempt });
    }
}
