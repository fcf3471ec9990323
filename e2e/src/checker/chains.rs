//! Runs that follow each other: the chain of one start, and runs that go on from an earlier point of another.

use std::collections::BTreeMap;

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;

use super::{Evidence, Rule, Run, Violations};

/// All runs, to be found by what others call them.
pub(super) struct Index<'a> {
    /// By run id.
    runs: BTreeMap<&'a str, &'a Run>,
}

/// A signal as a history has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Received<'a> {
    pub(super) event_id: u64,
    pub(super) signal: &'a v1::WorkflowSignaled,
}

impl<'a> Index<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let with_history = evidence.runs.iter().filter(|run| !run.events.is_empty());
        Self { runs: with_history.map(|run| (run.run_id.as_str(), run)).collect() }
    }

    pub(super) fn get(&self, run_id: &str) -> Option<&'a Run> {
        self.runs.get(run_id).copied()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &'a Run> {
        self.runs.values().copied()
    }

    /// The run that the first events of this one come from, if it began by a reset.
    pub(super) fn base(&self, run: &Run) -> Option<&'a Run> {
        self.get(&origin(run)?.base_run_id)
    }

    /// The run in which the event was written first.
    pub(super) fn writer(&self, run: &'a Run, event_id: u64) -> &'a Run {
        match self.base(run) {
            Some(base) if event_id < shared_until(run) => self.writer(base, event_id),
            _ => run,
        }
    }

    /// The signals that were sent to this run: without those that it has from the run that was reset.
    pub(super) fn own_signals(&self, run: &'a Run) -> Vec<Received<'a>> {
        let mut own = signals(run);
        for inherited in self.base(run).map(signals).unwrap_or_default() {
            if let Some(at) = own.iter().position(|own| own.signal == inherited.signal) {
                own.remove(at);
            }
        }
        own
    }
}

/// All signals of a history.
pub(super) fn signals(run: &Run) -> Vec<Received<'_>> {
    let received = run.facts().filter_map(|(event_id, fact)| match fact {
        Attributes::WorkflowSignaled(signal) => Some(Received { event_id, signal }),
        _ => None,
    });
    received.collect()
}

fn started(run: &Run) -> Option<&v1::WorkflowStarted> {
    match run.events.first()?.attributes.as_ref()? {
        Attributes::WorkflowStarted(started) => Some(started),
        _ => None,
    }
}

fn origin(run: &Run) -> Option<&v1::ResetOrigin> {
    started(run)?.reset.as_ref()
}

/// The first event that this run does not share with the one that was reset; 0 if it did not begin by a reset.
pub(super) fn shared_until(run: &Run) -> u64 {
    origin(run).map_or(0, |origin| origin.forked_at_event_id)
}

/// The run that follows, by the close event.
fn next_run(run: &Run) -> Option<&str> {
    let next = match run.close()? {
        Attributes::WorkflowCompleted(end) => &end.new_run_id,
        Attributes::WorkflowFailed(end) => &end.new_run_id,
        Attributes::WorkflowTimedOut(end) => &end.new_run_id,
        Attributes::WorkflowContinuedAsNew(end) => &end.new_run_id,
        _ => return None,
    };
    (!next.is_empty()).then_some(next)
}

pub(super) fn check(index: &Index<'_>, violations: &mut Violations) {
    for run in index.runs() {
        succession(index, run, violations);
        if let Some(origin) = origin(run) {
            reset(index, run, origin, violations);
        }
    }
}

fn succession(index: &Index<'_>, run: &Run, violations: &mut Violations) {
    let mut require = |holds: bool, problem: String| {
        violations.require(holds, Rule::Succession, &run.workflow_id, || format!("run {} {problem}", run.run_id));
    };
    if let Some(next) = next_run(run) {
        let named = index.get(next).and_then(started).map(|next| (&next.workflow_id, &next.continued_from_run_id));
        require(named == Some((&run.workflow_id, &run.run_id)), format!("is to be continued by {next}: {named:?}"));
    }
    let Some(started) = started(run).filter(|started| !started.continued_from_run_id.is_empty()) else { return };
    // The run before knows the first of those that were reset one after the other.
    let mut first = run;
    while let Some(base) = index.base(first) {
        first = base;
    }
    let before = index.get(&started.continued_from_run_id).and_then(next_run);
    require(before == Some(&first.run_id), format!("continues one that names {before:?}"));
}

fn reset(index: &Index<'_>, run: &Run, origin: &v1::ResetOrigin, violations: &mut Violations) {
    let mut require = |holds: bool, problem: &dyn Fn() -> String| {
        violations.require(holds, Rule::Reset, &run.workflow_id, || format!("run {}: {}", run.run_id, problem()));
    };
    let Some(base) = index.base(run) else {
        return require(false, &|| format!("there is no run {}", origin.base_run_id));
    };
    let fork = origin.forked_at_event_id;
    let shared = |run: &Run| {
        let shared = run.events.iter().filter(|event| event.event_id < fork);
        shared.skip(1).cloned().collect::<Vec<_>>()
    };
    require(shared(run) == shared(base), &|| format!("the events before {fork} are not those of {}", base.run_id));
    let begins = match run.attributes(fork) {
        Some(Attributes::WorkflowTaskFailed(failed)) => failed.cause() == v1::WorkflowTaskFailureCause::Reset,
        Some(Attributes::WorkflowRepaired(_)) => true,
        _ => false,
    };
    require(begins, &|| format!("event {fork} says nothing of the reset: {:?}", run.attributes(fork)));
    if let Some(Attributes::WorkflowTerminated(end)) = base.close() {
        let names = (end.reset_to_run_id.as_str(), end.reset_forked_at_event_id) == (run.run_id.as_str(), fork);
        require(names || end.reset_to_run_id.is_empty(), &|| format!("{} goes on elsewhere: {end:?}", base.run_id));
    }
    // In the order in which they came, before anything else reached the new run.
    let later = |run| {
        let behind = signals(run).into_iter().filter(|received| received.event_id >= fork);
        behind.map(|received| received.signal.clone()).collect::<Vec<_>>()
    };
    let (kept, had) = (later(run), later(base));
    require(kept.starts_with(&had), &|| format!("behind event {fork} came {had:?}, kept are {kept:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(run_id: &str, facts: Vec<Attributes>) -> Run {
        let event = |(event_id, fact)| v1::HistoryEvent { event_id, event_time_us: 0, attributes: Some(fact) };
        let events = (1..).zip(facts).map(event).collect();
        Run { workflow_id: "w".into(), run_id: run_id.into(), events, ..Run::default() }
    }

    fn started(change: impl FnOnce(&mut v1::WorkflowStarted)) -> Attributes {
        let mut started = v1::WorkflowStarted { workflow_id: "w".into(), ..Default::default() };
        change(&mut started);
        Attributes::WorkflowStarted(started)
    }

    fn reset(base: &str) -> Attributes {
        let origin = v1::ResetOrigin { base_run_id: base.into(), forked_at_event_id: 3, ..Default::default() };
        started(|started| started.reset = Some(origin))
    }

    fn signal(name: &str) -> Attributes {
        Attributes::WorkflowSignaled(v1::WorkflowSignaled { signal_name: name.into(), ..Default::default() })
    }

    fn failed() -> Attributes {
        let cause = v1::WorkflowTaskFailureCause::Reset.into();
        Attributes::WorkflowTaskFailed(v1::WorkflowTaskFailed { cause, ..Default::default() })
    }

    fn ended(reset_to: &str) -> Attributes {
        let (reset_to_run_id, reset_forked_at_event_id) = (reset_to.into(), 3);
        let end = v1::WorkflowTerminated { reset_to_run_id, reset_forked_at_event_id, ..Default::default() };
        Attributes::WorkflowTerminated(end)
    }

    fn on(next: &str) -> Attributes {
        let end = v1::WorkflowContinuedAsNew { new_run_id: next.into(), ..Default::default() };
        Attributes::WorkflowContinuedAsNew(end)
    }

    fn after(run_id: &str) -> Attributes {
        started(|started| started.continued_from_run_id = run_id.into())
    }

    #[track_caller]
    fn broken(runs: Vec<Run>, rules: &[Rule]) {
        let mut violations = Violations::default();
        let evidence = Evidence { runs, ..Evidence::default() };
        check(&Index::new(&evidence), &mut violations);
        let found: Vec<Rule> = violations.found.iter().map(|violation| violation.rule).collect();
        assert_eq!(found, rules, "{violations:?}");
    }

    #[test]
    fn a_run_and_the_one_that_follows_it_name_each_other() {
        let first = || run("1", vec![started(|_| ()), on("2")]);
        broken(vec![first(), run("2", vec![after("1")])], &[]);
        broken(vec![first()], &[Rule::Succession]);
        broken(vec![first(), run("2", vec![started(|_| ())])], &[Rule::Succession]);
        broken(vec![first(), run("2", vec![after("1")]), run("3", vec![after("1")])], &[Rule::Succession]);
    }

    #[test]
    fn a_run_that_began_by_a_reset_has_what_it_was_reset_from() {
        let base = |end| run("1", vec![started(|_| ()), signal("a"), signal("b"), signal("c"), end]);
        let again = |second, mut behind: Vec<_>| {
            let mut facts = vec![reset("1"), second];
            facts.append(&mut behind);
            run("2", facts)
        };
        let kept = || vec![failed(), signal("b"), signal("c"), signal("d")];
        broken(vec![base(ended("2")), again(signal("a"), kept())], &[]);
        broken(vec![base(ended("")), again(signal("a"), kept())], &[]);
        broken(vec![again(signal("a"), kept())], &[Rule::Reset]);
        broken(vec![base(ended("3")), again(signal("a"), kept())], &[Rule::Reset]);
        broken(vec![base(ended("2")), again(signal("x"), kept())], &[Rule::Reset]);
        broken(vec![base(ended("2")), again(signal("a"), kept()[1..].to_vec())], &[Rule::Reset]);
        let swapped = vec![failed(), signal("c"), signal("b")];
        broken(vec![base(ended("2")), again(signal("a"), swapped)], &[Rule::Reset]);
        broken(vec![base(ended("2")), again(signal("a"), vec![failed(), signal("b")])], &[Rule::Reset]);
    }

    #[test]
    fn what_a_run_has_from_the_one_that_was_reset_was_not_sent_to_it() {
        let base = run("1", vec![started(|_| ()), signal("a"), signal("b")]);
        let again = run("2", vec![reset("1"), signal("a"), failed(), signal("b"), signal("b"), signal("c")]);
        let evidence = Evidence { runs: vec![base, again], ..Evidence::default() };
        let index = Index::new(&evidence);
        let own: Vec<u64> = index.own_signals(index.get("2").unwrap()).iter().map(|own| own.event_id).collect();
        assert_eq!(own, [5, 6]);
        assert_eq!(index.writer(index.get("2").unwrap(), 2).run_id, "1");
        assert_eq!(index.writer(index.get("2").unwrap(), 3).run_id, "2");
    }
}
