//! Judges what is left when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use engine_e2e::checker::{Run, assert_right};
use engine_e2e::ledger::Effect;
use engine_e2e::programs::Outcome;
use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;
use engine_sdk::client::{BatchState, ScheduleDescription};
use engine_sdk::prelude::*;
use engine_sdk::time::Timestamp;

use crate::life::{Case, Remains};
use crate::messages::{Message, Schedule};
use crate::program::{Errand, MAIN, Op};

pub(crate) fn judge(case: &Case, remains: &Remains) {
    let mut evidence = remains.evidence.clone();
    // Those of activities without a workflow are judged below.
    evidence.effects.retain(|effect| !effect.workflow_id.is_empty());
    assert_right(&evidence);
    updates(remains);
    given_up(remains);
    activities(remains);
    for (schedule, described) in remains.promises.schedules.iter().zip(&remains.schedules) {
        times(schedule, described, remains);
    }
    batches(remains);
    outcome(case, remains);
}

/// What the program means is what became of it.
fn outcome(case: &Case, remains: &Remains) {
    let has = |wanted: fn(&Message) -> bool| case.messages.iter().any(|(_, message)| wanted(message));
    let told = match &remains.result {
        Ok(told) => told,
        Err(WorkflowFailure::Canceled { .. }) if has(|message| matches!(message, Message::Cancel)) => return,
        Err(failure) => panic!("it failed: {failure:?}"),
    };
    let has_losses = remains.evidence.losses > 0;
    let last = case.ops.rsplit(|op| matches!(op, Op::GoOn)).next().unwrap_or_default();
    let (mut certain, mut total) = ((0, 0), 0);
    expected(last, has_losses, &mut certain, &mut total);
    let errands = case.messages.iter().filter(|(_, message)| matches!(message, Message::Update(Errand::Work))).count();
    let Outcome { effects, failed, .. } = told;
    let ends = effects.len() + failed;
    assert!((total..=total + errands).contains(&ends), "{ends} activities of {total} and {errands} updates: {told:?}");
    assert!(effects.len() >= certain.0 && *failed >= certain.1, "{certain:?} are certain: {told:?}");
    if !has_losses {
        assert_eq!(*failed, certain.1, "nothing died: {told:?}");
    }
    if !has(|message| matches!(message, Message::Reset(_))) {
        let runs: Vec<&Run> = remains.evidence.runs.iter().filter(|run| run.workflow_id == MAIN).collect();
        let again = case.ops.iter().filter(|op| matches!(op, Op::GoOn)).count();
        assert_eq!(runs.len(), again + 1);
    }
}

/// An activity that is given up after more than one attempt has had so many that failed, however many were lost. (One that has only one
/// attempt may lose it before it has an effect.)
fn given_up(remains: &Remains) {
    for run in &remains.evidence.runs {
        let scheduled = |id: u64| match &run.events[usize::try_from(id).unwrap() - 1].attributes {
            Some(Attributes::ActivityScheduled(scheduled)) => scheduled,
            other => panic!("not scheduled: {other:?}"),
        };
        for event in run.events.iter().skip_while(|event| event.event_id < forked_at(run)) {
            let Some(Attributes::ActivityFailed(failed)) = &event.attributes else { continue };
            let activity = scheduled(failed.scheduled_event_id);
            let limit = activity.retry_policy.as_ref().unwrap().maximum_attempts;
            if failed.retry_state() == v1::RetryState::MaximumAttemptsReached && limit > 1 {
                let of_it =
                    |effect: &&Effect| effect.run_id == run.run_id && effect.activity_id == activity.activity_id;
                let count = remains.evidence.effects.iter().filter(of_it).count();
                assert!(count >= limit as usize, "{activity:?} was given up after {count} attempts");
            }
        }
    }
}

/// The first event that a run does not share with the one that was reset.
fn forked_at(run: &Run) -> u64 {
    match &run.events[0].attributes {
        Some(Attributes::WorkflowStarted(started)) => {
            started.reset.as_ref().map_or(0, |reset| reset.forked_at_event_id)
        }
        other => panic!("not a start: {other:?}"),
    }
}

/// An activity without a workflow ends as it should, and tells of what happened.
fn activities(remains: &Remains) {
    let losses = remains.evidence.losses;
    for (sent, result) in remains.promises.activities.iter().zip(&remains.activities) {
        let of_it = |effect: &&Effect| effect.workflow_id.is_empty() && effect.activity_id == sent.id;
        let effects: Vec<&Effect> = remains.evidence.effects.iter().filter(of_it).collect();
        let attempts: BTreeSet<u32> = effects.iter().map(|effect| effect.attempt).collect();
        assert_eq!(attempts.len(), effects.len(), "an attempt was repeated: {effects:?}");
        let most = match sent.attempts {
            0 => sent.failures + 1 + losses,
            1 => 1,
            limit => limit + losses,
        };
        assert!(effects.len() <= most as usize, "{sent:?}: {effects:?}");
        match result {
            Ok(told) => {
                assert!(effects.iter().any(|effect| effect.effect == *told), "{told} never happened: {effects:?}")
            }
            Err(StandaloneFailure::Failed(_)) if sent.attempts == 1 => assert!(losses > 0 || sent.failures > 0),
            Err(StandaloneFailure::Failed(_)) if sent.attempts > 1 => {
                assert!(effects.len() >= sent.attempts as usize, "{sent:?} was given up: {effects:?}");
                assert!(sent.failures >= sent.attempts, "{sent:?} was given up");
            }
            Err(failure) => panic!("{sent:?}: {failure}"),
        }
        if losses == 0 && sent.attempts != 0 {
            assert_eq!(result.is_err(), sent.failures >= sent.attempts, "nothing died: {sent:?}, {result:?}");
        }
    }
}

/// Each time of a schedule started one workflow, or was left out and counted because the one before still ran; none else did.
fn times(schedule: &Schedule, described: &ScheduleDescription, remains: &Remains) {
    let every = schedule.every.as_secs();
    let second = |at: Timestamp| u64::try_from(at.as_micros()).unwrap() / 1_000_000;
    let due = (second(described.created_at) / every + 1..=second(schedule.end_at) / every).map(|count| count * every);
    let due: BTreeSet<u64> = due.collect();
    let nominal: BTreeSet<u64> = described.recent.iter().map(|start| second(start.nominal)).collect();
    assert_eq!(nominal.len(), described.recent.len(), "a time started twice: {:?}", described.recent);
    assert!(nominal.is_subset(&due), "{:?} of {due:?}", described.recent);
    let started: Vec<&str> = described.recent.iter().map(|start| start.workflow_id.as_str()).collect();
    let runs = remains.evidence.runs.iter().map(|run| run.workflow_id.as_str());
    let mut runs: Vec<&str> = runs.filter(|id| id.starts_with(&schedule.id)).collect();
    runs.sort_unstable();
    assert_eq!(runs, started, "the schedule tells of other runs than there are");
    let counters = described.counters;
    assert_eq!(counters.started, started.len() as u64, "{counters:?}");
    assert_eq!(counters.started + counters.skipped, due.len() as u64, "{counters:?} of {due:?}");
    assert!(schedule.overlap == OverlapPolicy::Skip || counters.skipped == 0, "{counters:?}");
}

/// A batch is done to every run that was there from before its start until behind its end. (That it was done to none twice is a rule
/// about signals.)
fn batches(remains: &Remains) {
    for batch in &remains.batches {
        assert_eq!(batch.state, BatchState::Completed, "{batch:?}");
        let (from, until) = (batch.started_at, batch.closed_at.unwrap());
        assert!(remains.evidence.losses > 0 || from == until, "time passed while it was at work: {batch:?}");
        for failure in &batch.failures {
            let run_id = failure.run_id.to_string();
            let run = remains.evidence.runs.iter().find(|run| run.run_id == run_id).unwrap();
            let closed_at = run.events.last().unwrap().event_time_us;
            assert!(closed_at <= until.as_micros(), "{failure:?} was open: {batch:?}");
        }
        let text = format!("note {} for all", batch.batch_id.trim_start_matches("batch "));
        let text = serde_json::json!({ "text": text }).to_string();
        for run in &remains.evidence.runs {
            let begin = run.events.iter().find(|event| event.event_id >= forked_at(run)).unwrap().event_time_us;
            let end = run.events.last().unwrap().event_time_us;
            let has = run.events.iter().any(|event| {
                matches!(&event.attributes, Some(Attributes::WorkflowSignaled(signal)) if signal.input[0].data == text)
            });
            let was_there = begin < from.as_micros() && end > until.as_micros();
            assert!(has || !was_there, "{} {} was left out: {batch:?}", run.workflow_id, run.run_id);
        }
    }
}

/// How many activities of these are certain to succeed, to fail, and to do either, since a crash costs them an attempt: one that
/// has no other is failed by it, and one that would have failed once more succeeds.
fn expected(ops: &[Op], has_losses: bool, certain: &mut (usize, usize), total: &mut usize) {
    for op in ops {
        match op {
            Op::Work { failures, attempts } => {
                *total += 1;
                certain.0 += usize::from(*attempts == 0);
                certain.1 += usize::from(failures >= attempts && (*attempts == 1 || (*attempts > 1 && !has_losses)));
            }
            Op::Refuse => (*total, certain.1) = (*total + 1, certain.1 + 1),
            Op::Hurry => (*total, certain.0) = (*total + 1, certain.0 + 1),
            Op::Together(ops) => expected(ops, has_losses, certain, total),
            _ => {}
        }
    }
}

/// An update is accepted once by a run and ends at most once, and one that was acknowledged was accepted. A repeat that finds
/// another run of the chain is another update.
fn updates(remains: &Remains) {
    let mut recorded = BTreeSet::new();
    for run in &remains.evidence.runs {
        let (mut accepted, mut ended) = (BTreeMap::new(), BTreeSet::new());
        for event in &run.events {
            match event.attributes.as_ref() {
                Some(Attributes::WorkflowUpdateAccepted(update)) => {
                    let id = &update.update.as_ref().unwrap().update_id;
                    assert_eq!(accepted.insert(id, event.event_id), None, "{id} is accepted twice");
                    recorded.insert(id);
                }
                Some(Attributes::WorkflowUpdateCompleted(update)) => {
                    let id = &update.update_id;
                    assert_eq!(accepted.get(id), Some(&update.accepted_event_id), "{id} ends as another");
                    assert!(ended.insert(id), "{id} ends twice");
                }
                _ => {}
            }
        }
        if matches!(run.events.last().unwrap().attributes, Some(Attributes::WorkflowCompleted(_))) {
            assert_eq!(accepted.len(), ended.len(), "the run waited for its handlers");
        }
    }
    for id in &remains.promises.updates {
        assert!(recorded.contains(id), "{id} was acknowledged; recorded are {recorded:?}");
    }
}
