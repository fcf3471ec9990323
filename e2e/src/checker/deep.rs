//! Steps and children: what one history says of itself, and what those of parents and children say of each other.

use std::collections::{BTreeMap, BTreeSet};

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use engine_proto::v1::marker;

use super::promises::json_of;
use super::{Evidence, Rule, Run, Violations};
use crate::programs::DRAWN;

pub(super) fn check(evidence: &Evidence, violations: &mut Violations) {
    let runs: BTreeMap<(&str, &str), &Run> =
        evidence.runs.iter().map(|run| ((run.workflow_id.as_str(), run.run_id.as_str()), run)).collect();
    for run in &evidence.runs {
        steps(run, violations);
        children(run, &runs, violations);
    }
}

/// A step is recorded once, and the code goes on with what was recorded.
fn steps(run: &Run, violations: &mut Violations) {
    let mut seen = BTreeSet::new();
    let (mut recorded, mut shown) = (Vec::new(), Vec::new());
    for (id, fact) in run.facts() {
        if let Some((step_id, result)) = step_of(fact) {
            violations.require(seen.insert(step_id), Rule::StepRepeated, &run.workflow_id, || {
                format!("event {id} records step {step_id} again")
            });
            recorded.extend(result);
        }
        if let Attributes::StatePublished(published) = fact
            && published.name == DRAWN
        {
            shown.extend(published.value.as_ref().and_then(json_of));
        }
    }
    let right = shown.len() <= recorded.len() && shown.iter().zip(&recorded).all(|(shown, recorded)| shown == recorded);
    violations.require(shown.is_empty() || right, Rule::StepForgotten, &run.workflow_id, || {
        format!("the code showed {shown:?}; its steps returned {recorded:?}")
    });
}

/// The number and the result of a recorded step.
fn step_of(fact: &Attributes) -> Option<(u64, Option<serde_json::Value>)> {
    let Attributes::MarkerRecorded(recorded) = fact else { return None };
    let Some(marker::Marker::Step(step)) = recorded.marker.as_ref()?.marker.as_ref() else { return None };
    Some((step.step_id, step.result.as_ref().and_then(json_of)))
}

/// A child begins and ends once for its parent, and as its own history says.
fn children(run: &Run, runs: &BTreeMap<(&str, &str), &Run>, violations: &mut Violations) {
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for (id, fact) in run.facts() {
        match fact {
            Attributes::ChildStarted(child) => {
                let first = begun.insert(child.initiated_event_id);
                let is_there = runs.contains_key(&(child.workflow_id.as_str(), child.run_id.as_str()));
                violations.require(first && is_there, Rule::ChildLost, &run.workflow_id, || {
                    format!("event {id} tells of run {} of {}, again or falsely", child.run_id, child.workflow_id)
                });
            }
            Attributes::ChildCompleted(completed) => {
                let Some(child) = &completed.child else { continue };
                let first = ended.insert(child.initiated_event_id);
                let own = runs.get(&(child.workflow_id.as_str(), child.run_id.as_str())).and_then(|run| run.close());
                let told = completed.result.as_ref();
                let right = matches!(own, Some(Attributes::WorkflowCompleted(end)) if same(end.result.as_ref(), told));
                violations.require(first && right, Rule::ChildLost, &run.workflow_id, || {
                    format!(
                        "event {id} says that {} returned {told:?}; its history ends with {own:?}",
                        child.workflow_id
                    )
                });
            }
            _ => {}
        }
    }
}

fn same(one: Option<&v1::Payload>, other: Option<&v1::Payload>) -> bool {
    one.map(|payload| &payload.data) == other.map(|payload| &payload.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clerk::payload;

    fn run(workflow_id: &str, facts: Vec<Attributes>) -> Run {
        let event = |(event_id, fact)| v1::HistoryEvent { event_id, event_time_us: 0, attributes: Some(fact) };
        let events = (1..).zip(facts).map(event).collect();
        Run { workflow_id: workflow_id.into(), run_id: format!("{workflow_id}-run"), events, ..Run::default() }
    }

    fn recorded(step_id: u64, drawn: &str) -> Attributes {
        let step = v1::StepMarker { step_id, result: Some(payload(&drawn.into())), ..Default::default() };
        let marker = Some(v1::Marker { marker: Some(marker::Marker::Step(step)) });
        Attributes::MarkerRecorded(v1::MarkerRecorded { marker, ..Default::default() })
    }

    fn shown(drawn: &str) -> Attributes {
        let value = Some(payload(&drawn.into()));
        Attributes::StatePublished(v1::StatePublished { name: DRAWN.into(), value, ..Default::default() })
    }

    fn started() -> Attributes {
        let (workflow_id, run_id) = ("c".into(), "c-run".into());
        Attributes::ChildStarted(v1::ChildStarted { initiated_event_id: 1, workflow_id, run_id, ..Default::default() })
    }

    fn ended(result: &str) -> Attributes {
        let (workflow_id, run_id) = ("c".into(), "c-run".into());
        let child = v1::ClosedChild { initiated_event_id: 1, workflow_id, run_id, ..Default::default() };
        Attributes::ChildCompleted(v1::ChildCompleted { child: Some(child), result: Some(payload(&result.into())) })
    }

    fn completed(result: &str) -> Attributes {
        let result = Some(payload(&result.into()));
        Attributes::WorkflowCompleted(v1::WorkflowCompleted { result, ..Default::default() })
    }

    fn broken(runs: Vec<Run>) -> Vec<Rule> {
        let mut violations = Violations::default();
        check(&Evidence { runs, ..Evidence::default() }, &mut violations);
        violations.found.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn what_code_shows_must_be_what_its_steps_returned_each_once() {
        let right = vec![recorded(1, "a"), shown("a"), recorded(2, "b"), shown("b")];
        assert_eq!(broken(vec![run("w", right)]), []);
        assert_eq!(broken(vec![run("w", vec![recorded(1, "a"), recorded(1, "a")])]), [Rule::StepRepeated]);
        assert_eq!(broken(vec![run("w", vec![recorded(1, "a"), shown("other")])]), [Rule::StepForgotten]);
        assert_eq!(broken(vec![run("w", vec![shown("a")])]), [Rule::StepForgotten]);
    }

    #[test]
    fn a_parent_must_know_of_its_child_what_the_child_s_history_says() {
        let child = || run("c", vec![completed("7")]);
        assert_eq!(broken(vec![run("p", vec![started(), ended("7")]), child()]), []);
        assert_eq!(broken(vec![run("p", vec![started(), ended("8")]), child()]), [Rule::ChildLost]);
        assert_eq!(broken(vec![run("p", vec![started(), ended("7"), ended("7")]), child()]), [Rule::ChildLost]);
        assert_eq!(broken(vec![run("p", vec![started()])]), [Rule::ChildLost], "there is no such run");
    }
}
