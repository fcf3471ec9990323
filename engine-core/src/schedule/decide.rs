//! What an input means to a schedule.
//!
//! | input | what changes |
//! |---|---|
//! | Tick | times that have come are planned; those older than the catch-up window are counted as missed |
//! | Update | the definition; times named before it are the old one's |
//! | Pause, Unpause | times that come while it is paused are nobody's |
//! | Trigger, Backfill | starts that a person asked for |
//! | Started, Refused | a start leaves the outbox |
//! | Closed | what waited may go on; after a failure the schedule may pause |
//! | StopSent | a run was asked to stop, or terminated |
//!
//! A planned start is in exactly one place: waiting, starting, or counted (started, refused, skipped, dropped). What the world must do is
//! no list of effects but a reading of the state ([`Schedule::obligations`]): whoever restores the state after a crash finds the
//! same obligations, each safe to repeat.

use std::sync::Arc;

use super::spec::{InvalidSpec, Timetable};
use super::state::{
    Backfill, Counters, Definition, Ended, OverlapPolicy, Planned, Recent, Running, ScheduleState, StartOutcome, Stop,
};
use crate::event::CloseStatus;
use crate::ids::{RunId, mix};
use crate::limits::{
    CATCH_UP_WINDOW_MIN, DURATION_MAX, SCHEDULE_BACKFILLS_MAX, SCHEDULE_NOTE_BYTES_MAX, SCHEDULE_RECENT_MAX,
    SCHEDULE_REQUEST_IDS_MAX, SCHEDULE_RUNNING_MAX, SCHEDULE_STARTING_MAX, SCHEDULE_STEPS_MAX, SCHEDULE_WAITING_MAX,
};
use crate::time::Timestamp;

/// A schedule: its definition and how far it has come.
#[derive(Debug, Clone)]
pub struct Schedule {
    id: Arc<str>,
    definition: Arc<Definition>,
    timetable: Arc<Timetable>,
    state: ScheduleState,
}

/// What can reach a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleInput {
    /// Time has passed.
    Tick,
    /// A new definition.
    Update {
        /// All of it.
        definition: Box<Definition>,
        /// Whether the limit is replaced too, and by what.
        remaining: Option<Option<u64>>,
        /// The version that the change was made to. `None`: whichever.
        version: Option<u64>,
    },
    /// Let times pass from now on.
    Pause {
        /// Why, for people.
        note: String,
    },
    /// Go on from now on.
    Unpause {
        /// Why, for people.
        note: String,
    },
    /// Start once, now.
    Trigger {
        /// Instead of the schedule's policy.
        overlap: Option<OverlapPolicy>,
    },
    /// Start for each of its times from `from` to `until`.
    Backfill {
        /// First.
        from: Timestamp,
        /// Last.
        until: Timestamp,
        /// Instead of the schedule's policy.
        overlap: Option<OverlapPolicy>,
    },
    /// A start was made.
    Started {
        /// Which.
        number: u64,
        /// Its run.
        run_id: RunId,
    },
    /// A start cannot be made.
    Refused {
        /// Which.
        number: u64,
        /// Why.
        problem: String,
    },
    /// A run, with all that continued it, ended.
    Closed {
        /// Of its start.
        number: u64,
        /// How.
        outcome: StartOutcome,
    },
    /// A run was stopped as wanted.
    StopSent {
        /// Of its start.
        number: u64,
        /// How.
        stop: Stop,
    },
}

/// Why an input was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which.
        field: String,
        /// How; reads on from the field's name.
        problem: String,
    },
    /// Somebody else changed the schedule since it was read.
    #[error("the schedule was changed since it was read (its version is {actual}, not {expected}): read it again")]
    Conflict {
        /// The version that the change was made to.
        expected: u64,
        /// The schedule's.
        actual: u64,
    },
    /// Too much at once.
    #[error("{0}")]
    Exhausted(String),
}

impl From<InvalidSpec> for ScheduleRefusal {
    fn from(error: InvalidSpec) -> Self {
        let field = if error.field.is_empty() { "spec".to_owned() } else { format!("spec.{}", error.field) };
        Self::Invalid { field, problem: error.problem }
    }
}

/// What the world owes a schedule. Each is safe to repeat, and is owed until its answer is an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obligation {
    /// Make this start; answer [`ScheduleInput::Started`] or [`ScheduleInput::Refused`].
    Start(Planned),
    /// Tell when this run ends: [`ScheduleInput::Closed`].
    Watch(Running),
    /// Stop this run; answer [`ScheduleInput::StopSent`].
    Stop(Running, Stop),
}

/// What an obligation is about: while one is being met, it is not begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObligationKey {
    /// A start, by number.
    Start(u64),
    /// A run, by number.
    Watch(u64),
    /// A run, by number.
    Stop(u64, Stop),
}

impl Obligation {
    /// What it is about.
    pub fn key(&self) -> ObligationKey {
        match self {
            Obligation::Start(planned) => ObligationKey::Start(planned.number),
            Obligation::Watch(running) => ObligationKey::Watch(running.number),
            Obligation::Stop(running, stop) => ObligationKey::Stop(running.number, *stop),
        }
    }
}

impl Schedule {
    /// A new schedule. Its first time is after `now`.
    pub fn create(
        id: &str,
        definition: Definition,
        paused: bool,
        note: String,
        remaining: Option<u64>,
        now: Timestamp,
    ) -> Result<Schedule, ScheduleRefusal> {
        let timetable = check(id, &definition)?;
        check_note("note", &note)?;
        let state = ScheduleState {
            version: 1,
            created_at: now,
            updated_at: now,
            paused,
            note,
            remaining,
            done_until: now,
            next_number: 1,
            waiting: Default::default(),
            starting: Vec::new(),
            running: Vec::new(),
            backfills: Default::default(),
            recent: Default::default(),
            last_completed: None,
            last_failed: None,
            counters: Counters::default(),
            request_ids: Default::default(),
        };
        Ok(Schedule { id: id.into(), definition: Arc::new(definition), timetable: Arc::new(timetable), state })
    }

    /// A schedule as it was stored. Fails on what this code could not have stored.
    pub fn restore(id: &str, definition: Definition, state: ScheduleState) -> Result<Schedule, ScheduleRefusal> {
        let timetable = check(id, &definition)?;
        Ok(Schedule { id: id.into(), definition: Arc::new(definition), timetable: Arc::new(timetable), state })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What users decided.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// How far it has come.
    pub fn state(&self) -> &ScheduleState {
        &self.state
    }

    /// Its times, with no regard to pause and limit.
    pub fn timetable(&self) -> &Timetable {
        &self.timetable
    }

    /// The next times at which it acts by itself, at most `limit`: none while it is paused, and no more than its limit.
    pub fn next_times(&self, now: Timestamp, limit: usize) -> Vec<Timestamp> {
        if self.state.paused {
            return Vec::new();
        }
        let remaining = self.state.remaining.map_or(limit, |left| usize::try_from(left).unwrap_or(limit).min(limit));
        self.timetable.next_times(now.max(self.state.done_until), remaining).into_iter().map(|due| due.at).collect()
    }

    /// The workflow id of a start.
    pub fn workflow_id(&self, planned: &Planned) -> String {
        format!("{}-{}", self.definition.start.workflow_id, name_of(planned.nominal))
    }

    /// The request id of a start: the same however often it is made, and no other start's.
    pub fn request_id(&self, planned: &Planned) -> String {
        let hash = self.id.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        format!("schedule-{hash:016x}-{}-{}", self.state.created_at.as_micros(), planned.number)
    }

    /// Whether it waits for something other than time.
    pub fn is_active(&self) -> bool {
        let state = &self.state;
        !(state.starting.is_empty()
            && state.running.is_empty()
            && state.waiting.is_empty()
            && state.backfills.is_empty())
    }

    /// When it has to be asked again, by a tick. `None`: not before something else happens.
    pub fn next_tick(&self) -> Option<Timestamp> {
        if self.has_room_to_start() && self.backfill_has_room() {
            return Some(Timestamp::EPOCH);
        }
        if !self.has_room_to_start() || !self.takes_times() {
            return None;
        }
        self.timetable.next(self.state.done_until).map(|due| due.at)
    }

    /// What its row says about when it must be looked at: at once if it is active, or at its next time.
    pub fn wake_at(&self) -> Timestamp {
        if self.is_active() { Timestamp::EPOCH } else { self.next_tick().unwrap_or(Timestamp::MAX) }
    }

    /// What the world owes it.
    pub fn obligations(&self) -> impl Iterator<Item = Obligation> + '_ {
        let starts = self.state.starting.iter().map(|planned| Obligation::Start(*planned));
        let runs = self.state.running.iter().flat_map(|running| {
            let stop = running.wanted.filter(|wanted| running.sent.is_none_or(|sent| sent < *wanted));
            let stop = stop.map(|stop| Obligation::Stop(running.clone(), stop));
            stop.into_iter().chain([Obligation::Watch(running.clone())])
        });
        starts.chain(runs)
    }

    /// Whether it knows the patch already. If not, it is to be remembered with [`Schedule::remember`].
    pub fn knows_request(&self, request_id: &str) -> bool {
        !request_id.is_empty() && self.state.request_ids.iter().any(|known| known == request_id)
    }

    /// Remembers a patch, so that its repeat changes nothing.
    pub fn remember(&mut self, request_id: &str) {
        if !request_id.is_empty() {
            self.state.request_ids.push_back(request_id.to_owned());
            if self.state.request_ids.len() > SCHEDULE_REQUEST_IDS_MAX {
                self.state.request_ids.pop_front();
            }
        }
    }

    /// What follows from `input` at `now`. Changes nothing: whoever asks stores the answer, meets its obligations, and forgets all of it
    /// if storing it failed.
    pub fn decide(&self, input: ScheduleInput, now: Timestamp) -> Result<Schedule, ScheduleRefusal> {
        let mut next = self.clone();
        match input {
            ScheduleInput::Tick => {}
            ScheduleInput::Update { definition, remaining, version } => {
                next.advance(now);
                next.update(*definition, remaining, version, now)?;
            }
            ScheduleInput::Pause { note } => {
                check_note("note", &note)?;
                next.advance(now);
                next.pause(note);
            }
            ScheduleInput::Unpause { note } => {
                check_note("note", &note)?;
                if next.state.paused {
                    next.state.done_until = next.state.done_until.max(now);
                }
                next.state.paused = false;
                next.state.note = note;
                next.state.version += 1;
            }
            ScheduleInput::Trigger { overlap } => {
                if next.state.starting.len() + next.state.waiting.len() >= SCHEDULE_WAITING_MAX {
                    return Err(ScheduleRefusal::Exhausted(format!(
                        "the schedule has {SCHEDULE_WAITING_MAX} starts that are not made: wait for some of them"
                    )));
                }
                next.advance(now);
                next.plan(now, overlap.unwrap_or(self.definition.policies.overlap), true);
            }
            ScheduleInput::Backfill { from, until, overlap } => next.backfill(from, until, overlap, now)?,
            ScheduleInput::Started { number, run_id } => next.started(number, run_id, now),
            ScheduleInput::Refused { number, problem } => next.refused(number, problem, now),
            ScheduleInput::Closed { number, outcome } => next.closed(number, outcome),
            ScheduleInput::StopSent { number, stop } => {
                let running = next.state.running.iter_mut().find(|running| running.number == number);
                if let Some(running) = running {
                    running.sent = running.sent.max(Some(stop));
                }
            }
        }
        next.settle();
        next.advance(now);
        Ok(next)
    }

    // ---- what people ask for ----------------------------------------------------------------------------------------

    fn update(
        &mut self,
        definition: Definition,
        remaining: Option<Option<u64>>,
        version: Option<u64>,
        now: Timestamp,
    ) -> Result<(), ScheduleRefusal> {
        let actual = self.state.version;
        if let Some(expected) = version.filter(|version| *version != actual) {
            return Err(ScheduleRefusal::Conflict { expected, actual });
        }
        let timetable = check(&self.id, &definition)?;
        // Times that passed while the limit was used up are not caught up with.
        if definition.spec != self.definition.spec || self.state.remaining == Some(0) {
            self.state.done_until = self.state.done_until.max(now);
        }
        self.definition = Arc::new(definition);
        self.timetable = Arc::new(timetable);
        if let Some(remaining) = remaining {
            self.state.remaining = remaining;
        }
        self.state.version += 1;
        self.state.updated_at = now;
        Ok(())
    }

    fn pause(&mut self, note: String) {
        self.state.paused = true;
        self.state.note = note;
        self.state.version += 1;
    }

    fn backfill(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        overlap: Option<OverlapPolicy>,
        now: Timestamp,
    ) -> Result<(), ScheduleRefusal> {
        let wrong = |problem: &str| {
            Err(ScheduleRefusal::Invalid { field: "backfill.until".to_owned(), problem: problem.to_owned() })
        };
        if from > until {
            return wrong("is before from");
        }
        if until > now {
            return wrong("is in the future: the schedule takes those times itself");
        }
        if self.state.backfills.len() >= SCHEDULE_BACKFILLS_MAX {
            return Err(ScheduleRefusal::Exhausted(format!(
                "the schedule has {SCHEDULE_BACKFILLS_MAX} backfills that are not done: wait for some of them"
            )));
        }
        let overlap = overlap.unwrap_or(self.definition.policies.overlap);
        let after = Timestamp::from_micros(from.as_micros().saturating_sub(1));
        self.state.backfills.push_back(Backfill { after, until, overlap });
        Ok(())
    }

    // ---- what the world answers -------------------------------------------------------------------------------------

    fn take_starting(&mut self, number: u64) -> Option<Planned> {
        let index = self.state.starting.iter().position(|planned| planned.number == number)?;
        Some(self.state.starting.remove(index))
    }

    fn started(&mut self, number: u64, run_id: RunId, now: Timestamp) {
        let Some(planned) = self.take_starting(number) else {
            return;
        };
        self.state.counters.started += 1;
        let workflow_id = self.workflow_id(&planned);
        if self.state.running.len() < SCHEDULE_RUNNING_MAX {
            let running = Running { number, workflow_id: workflow_id.clone(), run_id, wanted: None, sent: None };
            self.state.running.push(running);
        }
        let nominal = planned.nominal;
        self.note_recent(Recent { number, nominal, at: now, workflow_id, run_id: Some(run_id), outcome: None });
    }

    fn refused(&mut self, number: u64, problem: String, now: Timestamp) {
        let Some(planned) = self.take_starting(number) else {
            return;
        };
        self.state.counters.refused += 1;
        let workflow_id = self.workflow_id(&planned);
        let outcome = Some(StartOutcome::Refused { problem: cut(problem) });
        self.note_recent(Recent { number, nominal: planned.nominal, at: now, workflow_id, run_id: None, outcome });
    }

    fn note_recent(&mut self, recent: Recent) {
        self.state.recent.push_back(recent);
        if self.state.recent.len() > SCHEDULE_RECENT_MAX {
            self.state.recent.pop_front();
        }
    }

    fn closed(&mut self, number: u64, mut outcome: StartOutcome) {
        let Some(index) = self.state.running.iter().position(|running| running.number == number) else {
            return;
        };
        let running = self.state.running.remove(index);
        if let StartOutcome::Closed { status, message } = &mut outcome {
            *message = cut(std::mem::take(message));
            let failed = matches!(status, CloseStatus::Failed | CloseStatus::TimedOut);
            if failed && self.definition.policies.pause_on_failure && !self.state.paused {
                let verb = if *status == CloseStatus::Failed { "failed" } else { "timed out" };
                self.pause(cut(format!("paused because workflow {:?} {verb}: {message}", running.workflow_id)));
            }
            let ended = Some(Ended { workflow_id: running.workflow_id, run_id: running.run_id });
            if *status == CloseStatus::Completed {
                self.state.last_completed.clone_from(&ended);
            }
            self.state.last_failed = ended.filter(|_| failed);
        }
        if let Some(recent) = self.state.recent.iter_mut().find(|recent| recent.number == number) {
            recent.outcome = Some(outcome);
        }
    }

    // ---- times ------------------------------------------------------------------------------------------------------

    /// Whether it takes its times by itself.
    fn takes_times(&self) -> bool {
        !self.state.paused && self.state.remaining != Some(0)
    }

    fn has_room_to_start(&self) -> bool {
        self.state.starting.len() < SCHEDULE_STARTING_MAX
    }

    /// Whether there is a backfill that may go on: those that buffer wait for room, so that nothing of them is dropped.
    fn backfill_has_room(&self) -> bool {
        let room = self.state.waiting.len() < SCHEDULE_WAITING_MAX;
        self.state.backfills.front().is_some_and(|backfill| backfill.overlap != OverlapPolicy::BufferAll || room)
    }

    /// Plans what has come, up to a bounded number of times; the next tick is due at once if there are more.
    fn advance(&mut self, now: Timestamp) {
        let mut steps = 0;
        while steps < SCHEDULE_STEPS_MAX && self.has_room_to_start() && self.backfill_has_room() {
            let backfill = self.state.backfills.front_mut().expect("there is one that has room");
            let overlap = backfill.overlap;
            match self.timetable.next(backfill.after).filter(|due| due.nominal <= backfill.until) {
                Some(due) => {
                    backfill.after = due.nominal;
                    self.plan(due.nominal, overlap, true);
                }
                None => drop(self.state.backfills.pop_front()),
            }
            steps += 1;
        }
        let window = self.definition.policies.catch_up_window;
        while self.takes_times() && self.has_room_to_start() {
            let Some(due) = self.timetable.next(self.state.done_until).filter(|due| due.at <= now) else {
                return;
            };
            if steps >= SCHEDULE_STEPS_MAX {
                // Far behind: what nobody may catch up with is not counted one by one.
                let oldest = now - window - self.timetable.jitter();
                self.state.done_until = self.state.done_until.max(Timestamp::from_micros(oldest.as_micros() - 1));
                return;
            }
            steps += 1;
            self.state.done_until = due.nominal;
            if due.at + window < now {
                self.state.counters.missed += 1;
            } else {
                self.plan(due.nominal, self.definition.policies.overlap, false);
            }
        }
    }

    fn plan(&mut self, nominal: Timestamp, overlap: OverlapPolicy, manual: bool) {
        let planned = Planned { number: self.state.next_number, nominal, overlap, manual };
        self.state.next_number += 1;
        if overlap == OverlapPolicy::AllowAll || !self.is_busy() {
            return self.begin(planned);
        }
        match overlap {
            OverlapPolicy::Skip => self.state.counters.skipped += 1,
            OverlapPolicy::BufferOne if !self.state.waiting.is_empty() => self.state.counters.skipped += 1,
            OverlapPolicy::BufferAll if self.state.waiting.len() >= SCHEDULE_WAITING_MAX => {
                self.state.counters.dropped += 1;
            }
            OverlapPolicy::BufferOne | OverlapPolicy::BufferAll | OverlapPolicy::AllowAll => {
                self.state.waiting.push_back(planned);
            }
            OverlapPolicy::CancelOther | OverlapPolicy::TerminateOther => {
                self.state.counters.skipped += self.state.waiting.len() as u64;
                self.state.waiting.clear();
                self.state.waiting.push_back(planned);
                self.settle();
            }
        }
    }

    fn is_busy(&self) -> bool {
        !(self.state.starting.is_empty() && self.state.running.is_empty() && self.state.waiting.is_empty())
    }

    fn begin(&mut self, planned: Planned) {
        if !planned.manual
            && let Some(remaining) = &mut self.state.remaining
        {
            *remaining = remaining.saturating_sub(1);
        }
        self.state.starting.push(planned);
    }

    /// Moves on what waits.
    fn settle(&mut self) {
        self.drop_what_may_not_start();
        let Some(first) = self.state.waiting.front().copied() else {
            return;
        };
        if self.state.starting.is_empty() && self.state.running.is_empty() {
            self.state.waiting.pop_front();
            self.begin(first);
            // The last start that the limit allows leaves none for those behind it.
            return self.drop_what_may_not_start();
        }
        let stop = match first.overlap {
            OverlapPolicy::CancelOther => Stop::Cancel,
            OverlapPolicy::TerminateOther => Stop::Terminate,
            OverlapPolicy::Skip | OverlapPolicy::BufferOne | OverlapPolicy::BufferAll | OverlapPolicy::AllowAll => {
                return;
            }
        };
        for running in &mut self.state.running {
            running.wanted = running.wanted.max(Some(stop));
        }
    }

    /// A pause, and a limit that is used up, are for what waits too; not for what a person asked for.
    fn drop_what_may_not_start(&mut self) {
        if !self.takes_times() {
            let waiting = self.state.waiting.len();
            self.state.waiting.retain(|planned| planned.manual);
            self.state.counters.skipped += (waiting - self.state.waiting.len()) as u64;
        }
    }
}

/// Two of the same id in the same state.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.definition == other.definition && self.state == other.state
    }
}

fn check(id: &str, definition: &Definition) -> Result<Timetable, ScheduleRefusal> {
    let invalid = |field: &str, problem: String| Err(ScheduleRefusal::Invalid { field: field.to_owned(), problem });
    let window = definition.policies.catch_up_window;
    if window < CATCH_UP_WINDOW_MIN {
        return invalid("policies.catch_up_window", format!("is {window:?}; it is at least {CATCH_UP_WINDOW_MIN:?}"));
    }
    if window > DURATION_MAX {
        return invalid("policies.catch_up_window", "is more than 100 years".to_owned());
    }
    Ok(Timetable::compile(&definition.spec, id)?)
}

fn check_note(field: &str, note: &str) -> Result<(), ScheduleRefusal> {
    if note.len() <= SCHEDULE_NOTE_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("is {} bytes long; the limit is {SCHEDULE_NOTE_BYTES_MAX} bytes", note.len());
    Err(ScheduleRefusal::Invalid { field: field.to_owned(), problem })
}

fn cut(mut text: String) -> String {
    if text.len() > SCHEDULE_NOTE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SCHEDULE_NOTE_BYTES_MAX));
    }
    text
}

/// A time as a name: RFC 3339 in UTC, `2026-11-22T08:30:00Z`.
fn name_of(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).map_or_else(|_| at.as_micros().to_string(), |at| at.to_string())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
