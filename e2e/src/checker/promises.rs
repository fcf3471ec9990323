//! What clients were told: starts and signals, lists, and the results of workflows.

use std::collections::{BTreeMap, BTreeSet};

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use serde::{Deserialize, Serialize};

use super::chains::Index;
use super::{Evidence, Rule, Run, Violations, activities};

/// What the workflows of the tests return: all that they saw. The order is that of the workflow code and is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What activities returned: their effects.
    pub effects: Vec<String>,
    /// How many activities failed for good.
    pub failed: usize,
    /// The signals that it received.
    pub signals: Vec<serde_json::Value>,
}

/// The value in a payload, if it is JSON.
pub(super) fn json_of(payload: &v1::Payload) -> Option<serde_json::Value> {
    serde_json::from_slice(&payload.data).ok()
}

/// The contents of signals in a history, as JSON.
fn signals_of(run: &Run) -> Vec<serde_json::Value> {
    let signals = run.facts().filter_map(|(_, fact)| match fact {
        Attributes::WorkflowSignaled(signal) => Some(signal),
        _ => None,
    });
    signals.flat_map(|signal| signal.input.iter().filter_map(json_of)).collect()
}

pub(super) fn check_run(run: &Run, violations: &mut Violations) {
    outcome(run, violations);
    listed(run, violations);
}

fn outcome(run: &Run, violations: &mut Violations) {
    let Some(Attributes::WorkflowCompleted(completed)) = run.close() else { return };
    let told = completed.result.as_ref().and_then(json_of);
    let Some(mut told) = told.clone().and_then(|told| serde_json::from_value::<Outcome>(told).ok()) else {
        return violations.add(Rule::Outcome, &run.workflow_id, format!("it returned {told:?}"));
    };
    let mut expected = Outcome { signals: signals_of(run), ..Outcome::default() };
    for activity in activities::of(run).values() {
        match activity.end {
            Some(Attributes::ActivityCompleted(completed)) => {
                let effect = completed.result.as_ref().and_then(json_of);
                expected.effects.push(effect.and_then(|effect| Some(effect.as_str()?.to_owned())).unwrap_or_default());
            }
            Some(_) => expected.failed += 1,
            None => {}
        }
    }
    for outcome in [&mut told, &mut expected] {
        outcome.effects.sort();
        outcome.signals.sort_by_key(ToString::to_string);
    }
    violations.require(told == expected, Rule::Outcome, &run.workflow_id, || {
        format!("it returned {told:?}; its history tells of {expected:?}")
    });
}

fn listed(run: &Run, violations: &mut Violations) {
    let status = match run.close() {
        Some(Attributes::WorkflowCompleted(_)) => v1::WorkflowStatus::Completed,
        Some(Attributes::WorkflowFailed(_)) => v1::WorkflowStatus::Failed,
        Some(Attributes::WorkflowTimedOut(_)) => v1::WorkflowStatus::TimedOut,
        Some(Attributes::WorkflowCanceled(_)) => v1::WorkflowStatus::Canceled,
        Some(Attributes::WorkflowTerminated(_)) => v1::WorkflowStatus::Terminated,
        Some(Attributes::WorkflowContinuedAsNew(_)) => v1::WorkflowStatus::ContinuedAsNew,
        _ => v1::WorkflowStatus::Running,
    };
    let length = if status == v1::WorkflowStatus::Running { 0 } else { run.events.len() as u64 };
    let attributes = search_attributes(run);
    let right = run.listed.as_ref().is_some_and(|listed| {
        listed.workflow_id == run.workflow_id
            && listed.status() == status
            && listed.history_length == length
            && listed.close_time.is_some() == (status != v1::WorkflowStatus::Running)
            && listed.search_attributes.iter().collect::<BTreeMap<_, _>>() == attributes.iter().collect()
    });
    violations.require(right, Rule::Listed, &run.workflow_id, || {
        let is = format!("run {} is {status:?} with {length} events and {attributes:?}", run.run_id);
        format!("{is}; the list says {:?}", run.listed)
    });
}

/// What the run is listed by, by its history.
fn search_attributes(run: &Run) -> BTreeMap<String, v1::SearchValue> {
    let mut attributes = BTreeMap::new();
    for (_, fact) in run.facts() {
        match fact {
            Attributes::WorkflowStarted(started) => attributes.extend(started.search_attributes.clone()),
            Attributes::SearchAttributesUpserted(upserted) => {
                let changes = upserted.changes.clone().unwrap_or_default();
                attributes.extend(changes.set);
                attributes.retain(|name, _| !changes.removed.contains(name));
            }
            _ => {}
        }
    }
    attributes
}

pub(super) fn check(evidence: &Evidence, index: &Index<'_>, violations: &mut Violations) {
    let mut runs_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in evidence.runs.iter().filter(|run| !run.events.is_empty()) {
        runs_of.entry(&run.workflow_id).or_default().push(&run.run_id);
    }
    for start in &evidence.starts {
        let runs = runs_of.get(start.workflow_id.as_str()).cloned().unwrap_or_default();
        violations.require(runs == [start.run_id.as_str()], Rule::StartLost, &start.workflow_id, || {
            format!("the start of run {} was acknowledged; there are runs {runs:?}", start.run_id)
        });
    }
    signals(evidence, index, violations);
}

fn signals(evidence: &Evidence, index: &Index<'_>, violations: &mut Violations) {
    // How often each payload was sent to a workflow, in which runs. The same may be sent to several workflows.
    let mut recorded: BTreeMap<(&str, String), Vec<&Run>> = BTreeMap::new();
    for run in &evidence.runs {
        for received in index.get(&run.run_id).map(|run| index.own_signals(run)).unwrap_or_default() {
            for payload in received.signal.input.iter().filter_map(json_of) {
                recorded.entry((&run.workflow_id, payload.to_string())).or_default().push(run);
            }
        }
        let mut request_ids = BTreeSet::new();
        for (id, fact) in run.facts() {
            if let Attributes::WorkflowSignaled(signal) = fact
                && !signal.request_id.is_empty()
            {
                violations.require(
                    request_ids.insert(&signal.request_id),
                    Rule::SignalRepeated,
                    &run.workflow_id,
                    || format!("event {id} repeats the signal of request {}", signal.request_id),
                );
            }
        }
    }
    for ((_, payload), runs) in &recorded {
        violations.require(runs.len() == 1, Rule::SignalRepeated, &runs[0].workflow_id, || {
            format!("the signal {payload} is recorded {} times", runs.len())
        });
    }
    for signal in &evidence.signals {
        let workflow_id = index.get(&signal.run_id).map_or("", |run| &run.workflow_id);
        let runs = recorded.get(&(workflow_id, signal.payload.clone())).map(Vec::as_slice).unwrap_or_default();
        let found = runs.iter().filter(|run| run.run_id == signal.run_id).count();
        violations.require(found == 1, Rule::SignalLost, workflow_id, || {
            format!("run {} was sent {} and has it {found} times", signal.run_id, signal.payload)
        });
    }
}
