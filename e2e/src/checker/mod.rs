//! Says whether what a server and its workers left behind is right.
//!
//! It knows the engine only from outside: histories and lists as gRPC returns them ([`read`]), the ledger that the activities
//! wrote, and what clients were promised. Its rules are written anew here, from what users are told, and share no code with the
//! engine: a mistake in the engine's rules must not hide itself.
//!
//! | file | rules about |
//! |---|---|
//! | `history` | one history: numbers, order, references, times |
//! | `activities` | activities and timers of one history |
//! | `deep` | steps of a history; parents against their children |
//! | `chains` | runs that follow each other: chains and resets |
//! | `peers` | messages between workflows |
//! | `effects` | the ledger against the histories |
//! | `promises` | what clients were told: starts, signals, lists, results |
//!
//! All runs are checked as finished ones: a run that is still open is a violation too.

mod activities;
mod chains;
mod deep;
mod effects;
mod history;
mod peers;
pub mod promises;
pub mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;

use crate::ledger::Effect;

/// All that is known when everything has come to rest.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Every run of the namespace.
    pub runs: Vec<Run>,
    /// The ledger.
    pub effects: Vec<Effect>,
    /// Starts that were acknowledged to a client.
    pub starts: Vec<Start>,
    /// Signals that were acknowledged to a client.
    pub signals: Vec<Signal>,
    /// How many servers died with their workers. Each may have cost any activity one attempt that does not count towards its limit
    /// (docs/decisions/0002).
    pub losses: u32,
}

/// A run as gRPC tells of it.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The user's key.
    pub workflow_id: String,
    /// The run.
    pub run_id: String,
    /// What the list says of it. `None`: the list does not have it.
    pub listed: Option<v1::WorkflowSummary>,
    /// Its history.
    pub events: Vec<v1::HistoryEvent>,
}

/// An acknowledged start. Tests start each workflow id once, however often they had to repeat the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The user's key.
    pub workflow_id: String,
    /// The run that the server named.
    pub run_id: String,
}

/// An acknowledged signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The run that the server named.
    pub run_id: String,
    /// Its content, as JSON: different for each signal.
    pub payload: String,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The first event is WorkflowStarted and names this run; there is no other.
    BeginsWithStart,
    /// Event ids are contiguous from 1, and every event says what happened.
    ContiguousIds,
    /// There is exactly one close event, and it is the last.
    ClosedOnce,
    /// A workflow task is Scheduled, Started, and then Completed, Failed or TimedOut, adjacent, each naming those before.
    TaskTriples,
    /// The event of a command names the workflow task that issued it, and stands directly behind it and its other commands.
    CommandsOfTask,
    /// An activity ends at most once; in a completed run, exactly once.
    ActivityEndsOnce,
    /// What tells of an activity or timer names the events that it refers to, and they are what they should be.
    References,
    /// A timer fires or is canceled at most once, and never fires early.
    Timers,
    /// The workflow's clock does not go back, and nothing happens before what it refers to or after the close.
    Times,
    /// No activity has more attempts than its policy allows, those aside that were lost with their server.
    AttemptLimit,
    /// An effect belongs to an activity that was scheduled.
    EffectWithoutActivity,
    /// One attempt has its effect once.
    AttemptRepeated,
    /// An activity has no more effects than its history tells of attempts; more than one only if it tells of a second attempt.
    EffectRepeated,
    /// An activity with `max_attempts = 1` never ran twice.
    RanTwice,
    /// An activity that completed had the effect that it returned, in the attempt that the history names.
    ResultWithoutEffect,
    /// What the workflow returned is what its activities returned, what failed, and which signals it got.
    Outcome,
    /// A start that was acknowledged has a history, and started one run.
    StartLost,
    /// A signal that was acknowledged is in the history of the run that was named, once.
    SignalLost,
    /// No signal is recorded twice.
    SignalRepeated,
    /// A step is recorded once.
    StepRepeated,
    /// Code goes on with what its steps returned when they were recorded, whoever runs it.
    StepForgotten,
    /// A child begins and ends once for its parent, and ends as its own history says.
    ChildLost,
    /// The run that another one says will follow it exists, and names that one.
    Succession,
    /// A run that began by a reset has the events of the run that was reset up to the point, and behind them every signal that
    /// came after it; the run that was reset, if it was open, was terminated for it.
    Reset,
    /// A message to another workflow ends once. If it was delivered, the other has it, once; if there was nobody, nobody was there.
    PeerMessage,
    /// The list shows each run, with the status, length and search attributes that its history has.
    Listed,
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Where. Empty if no run is concerned.
    pub workflow_id: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}: {}", self.rule, self.workflow_id, self.problem)
    }
}

/// All rules on all that is known.
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Violations::default();
    for run in &evidence.runs {
        history::check(run, &mut violations);
        activities::check(run, evidence.losses, &mut violations);
        promises::check_run(run, &mut violations);
    }
    let index = chains::Index::new(evidence);
    chains::check(&index, &mut violations);
    peers::check(&index, &mut violations);
    deep::check(evidence, &mut violations);
    effects::check(evidence, &mut violations);
    promises::check(evidence, &index, &mut violations);
    violations.found
}

/// Panics, with the violations and the histories that they are in, if any rule does not hold.
pub fn assert_right(evidence: &Evidence) {
    let violations = check(evidence);
    if violations.is_empty() {
        return;
    }
    let mut text = format!("{} rules are broken:\n", violations.len());
    for violation in violations.iter().take(20) {
        text.push_str(&format!("- {violation}\n"));
    }
    let first = &violations[0].workflow_id;
    for run in evidence.runs.iter().filter(|run| run.workflow_id == *first) {
        text.push_str(&format!("history of {first}, run {}:\n", run.run_id));
        for event in &run.events {
            text.push_str(&format!("  {} {} {:?}\n", event.event_id, event.event_time_us, event.attributes));
        }
    }
    for effect in evidence.effects.iter().filter(|effect| effect.workflow_id == *first) {
        text.push_str(&format!("ledger: {effect:?}\n"));
    }
    panic!("{text}");
}

#[derive(Debug, Default)]
struct Violations {
    found: Vec<Violation>,
}

impl Violations {
    fn add(&mut self, rule: Rule, workflow_id: &str, problem: impl Into<String>) {
        self.found.push(Violation { rule, workflow_id: workflow_id.to_owned(), problem: problem.into() });
    }

    fn require(&mut self, holds: bool, rule: Rule, workflow_id: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, workflow_id, problem());
        }
    }
}

impl Run {
    /// The event with this number, if the history has it.
    fn event(&self, id: u64) -> Option<&v1::HistoryEvent> {
        // Not by position: the numbers themselves are in question.
        self.events.iter().find(|event| event.event_id == id)
    }

    fn attributes(&self, id: u64) -> Option<&Attributes> {
        self.event(id)?.attributes.as_ref()
    }

    /// Pairs of number and content, without events that have no content.
    fn facts(&self) -> impl Iterator<Item = (u64, &Attributes)> {
        self.events.iter().filter_map(|event| Some((event.event_id, event.attributes.as_ref()?)))
    }

    fn close(&self) -> Option<&Attributes> {
        self.facts().map(|(_, attributes)| attributes).find(|attributes| is_close(attributes))
    }
}

fn is_close(attributes: &Attributes) -> bool {
    matches!(
        attributes,
        Attributes::WorkflowCompleted(_)
            | Attributes::WorkflowFailed(_)
            | Attributes::WorkflowTimedOut(_)
            | Attributes::WorkflowCanceled(_)
            | Attributes::WorkflowTerminated(_)
            | Attributes::WorkflowContinuedAsNew(_)
    )
}
