//! The ledger against the histories: what happened, against what the engine says has happened.

use std::collections::BTreeMap;

use engine_proto::v1::history_event::Attributes;

use super::activities::{self, Activity};
use super::chains;
use super::promises::json_of;
use super::{Evidence, Rule, Run, Violations};
use crate::ledger::Effect;

pub(super) fn check(evidence: &Evidence, violations: &mut Violations) {
    let mut effects: BTreeMap<(&str, &str, &str), Vec<&Effect>> = BTreeMap::new();
    for effect in &evidence.effects {
        effects.entry((&effect.workflow_id, &effect.run_id, &effect.activity_id)).or_default().push(effect);
    }
    for run in &evidence.runs {
        for activity in activities::of(run).values() {
            // It ended in the run that was reset: its effects are there.
            if activity.end_event_id.is_some_and(|end| end < chains::shared_until(run)) {
                continue;
            }
            let of_activity = effects
                .remove(&(run.workflow_id.as_str(), run.run_id.as_str(), activity.scheduled.activity_id.as_str()))
                .unwrap_or_default();
            check_activity(run, activity, &of_activity, violations);
        }
    }
    for ((workflow_id, run_id, activity_id), effects) in effects {
        let problem = format!("{} effects of activity {activity_id} of run {run_id}, which has none", effects.len());
        violations.add(Rule::EffectWithoutActivity, workflow_id, problem);
    }
}

fn check_activity(run: &Run, activity: &Activity<'_>, effects: &[&Effect], violations: &mut Violations) {
    let id = &activity.scheduled.activity_id;
    let attempts: Vec<u32> = effects.iter().map(|effect| effect.attempt).collect();
    let mut seen = attempts.clone();
    seen.sort_unstable();
    seen.dedup();
    violations.require(seen.len() == attempts.len(), Rule::AttemptRepeated, &run.workflow_id, || {
        format!("activity {id} had effects in attempts {attempts:?}")
    });
    if activity.max_attempts() == 1 {
        violations.require(effects.len() <= 1, Rule::RanTwice, &run.workflow_id, || {
            format!("activity {id} allows one attempt and ran in {attempts:?}")
        });
    }
    // One that its run did not wait for, or that ended while it waited for another attempt, may have had attempts that no event
    // tells of.
    if let (Some(_), Some(told)) = (activity.end, activity.attempt) {
        let right = effects.len() <= told as usize && attempts.iter().all(|attempt| *attempt <= told);
        violations.require(right, Rule::EffectRepeated, &run.workflow_id, || {
            format!("activity {id} had effects in attempts {attempts:?}; the history tells of {told}")
        });
    }
    if let Some(Attributes::ActivityCompleted(completed)) = activity.end {
        let told = completed.result.as_ref().and_then(json_of);
        let found = effects.iter().any(|effect| {
            told.as_ref().and_then(|told| told.as_str()) == Some(&effect.effect)
                && Some(effect.attempt) == activity.attempt
        });
        violations.require(found, Rule::ResultWithoutEffect, &run.workflow_id, || {
            format!(
                "activity {id} returned {told:?} in attempt {:?}; the ledger has {effects:?}",
                activity.attempt.unwrap_or(0)
            )
        });
    }
}
