//! Each rule, shown to find what it is there for: a world that is right, and what it says after one thing was changed.

use engine_proto::v1;
use prost_types::Duration;

use super::promises::Outcome;
use super::*;

const SECOND: i64 = 1_000_000;

fn json(value: &serde_json::Value) -> v1::Payload {
    v1::Payload { encoding: "json/plain".into(), data: value.to_string().into(), ..Default::default() }
}

/// A run that waits for a timer, gets a signal, runs an activity in two attempts and one that may only be tried once, and
/// returns what it saw.
fn right() -> Evidence {
    let facts = vec![
        Attributes::WorkflowStarted(v1::WorkflowStarted {
            workflow_id: "w".into(),
            run_id: "r".into(),
            ..Default::default()
        }),
        scheduled(),
        started(2),
        completed(2),
        Attributes::TimerStarted(v1::TimerStarted {
            workflow_task_completed_event_id: 4,
            timer_id: "t".into(),
            duration: Some(Duration { seconds: 2, nanos: 0 }),
            summary: String::new(),
        }),
        activity(4, "1", 0),
        activity(4, "2", 1),
        Attributes::WorkflowSignaled(v1::WorkflowSignaled {
            signal_name: "s".into(),
            input: vec![json(&"s-1".into())],
            request_id: "q".into(),
            ..Default::default()
        }),
        Attributes::TimerFired(v1::TimerFired { timer_id: "t".into(), started_event_id: 5 }),
        attempt(6, 2),
        Attributes::ActivityCompleted(v1::ActivityCompleted {
            scheduled_event_id: 6,
            started_event_id: 10,
            result: Some(json(&"e-2".into())),
            ..Default::default()
        }),
        attempt(7, 1),
        Attributes::ActivityFailed(v1::ActivityFailed {
            scheduled_event_id: 7,
            started_event_id: 12,
            ..Default::default()
        }),
        scheduled(),
        started(14),
        completed(14),
        Attributes::WorkflowCompleted(v1::WorkflowCompleted {
            workflow_task_completed_event_id: 16,
            result: Some(json(&serde_json::json!({ "effects": ["e-2"], "failed": 1, "signals": ["s-1"] }))),
            new_run_id: String::new(),
        }),
    ];
    let events = (1..)
        .zip(facts)
        .map(|(id, fact)| v1::HistoryEvent {
            event_id: id,
            event_time_us: i64::try_from(id).unwrap() * SECOND,
            attributes: Some(fact),
        })
        .collect();
    let mut listed = v1::WorkflowSummary {
        workflow_id: "w".into(),
        run_id: "r".into(),
        history_length: 17,
        close_time: Some(prost_types::Timestamp { seconds: 17, nanos: 0 }),
        ..Default::default()
    };
    listed.set_status(v1::WorkflowStatus::Completed);
    Evidence {
        runs: vec![Run { workflow_id: "w".into(), run_id: "r".into(), listed: Some(listed), events }],
        effects: vec![effect("1", 1, "e-1"), effect("2", 1, "e-3"), effect("1", 2, "e-2")],
        starts: vec![Start { workflow_id: "w".into(), run_id: "r".into() }],
        losses: 0,
        signals: vec![Signal { run_id: "r".into(), payload: "\"s-1\"".into() }],
    }
}

fn scheduled() -> Attributes {
    Attributes::WorkflowTaskScheduled(v1::WorkflowTaskScheduled::default())
}

fn started(scheduled_event_id: u64) -> Attributes {
    Attributes::WorkflowTaskStarted(v1::WorkflowTaskStarted { scheduled_event_id, ..Default::default() })
}

fn completed(scheduled_event_id: u64) -> Attributes {
    Attributes::WorkflowTaskCompleted(v1::WorkflowTaskCompleted {
        scheduled_event_id,
        started_event_id: scheduled_event_id + 1,
        ..Default::default()
    })
}

fn activity(task: u64, id: &str, maximum_attempts: u32) -> Attributes {
    Attributes::ActivityScheduled(v1::ActivityScheduled {
        workflow_task_completed_event_id: task,
        activity_id: id.into(),
        retry_policy: Some(v1::RetryPolicy { maximum_attempts, ..Default::default() }),
        ..Default::default()
    })
}

fn attempt(scheduled_event_id: u64, attempt: u32) -> Attributes {
    Attributes::ActivityStarted(v1::ActivityStarted { scheduled_event_id, attempt, ..Default::default() })
}

fn effect(activity_id: &str, attempt: u32, effect: &str) -> Effect {
    Effect {
        workflow_id: "w".into(),
        run_id: "r".into(),
        activity_id: activity_id.into(),
        attempt,
        effect: effect.into(),
        pid: 1,
    }
}

/// The rules that are broken after `change`, each once.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = right();
    change(&mut evidence);
    let mut rules: Vec<Rule> = check(&evidence).into_iter().map(|violation| violation.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// The event with number `id`, to be changed.
fn event(evidence: &mut Evidence, id: u64) -> &mut v1::HistoryEvent {
    evidence.runs[0].events.iter_mut().find(|event| event.event_id == id).unwrap()
}

fn set(evidence: &mut Evidence, id: u64, fact: Attributes) {
    event(evidence, id).attributes = Some(fact);
}

/// Appends an event before the close event and its workflow task, and moves their numbers and references.
fn insert(evidence: &mut Evidence, fact: Attributes) {
    let run = &mut evidence.runs[0];
    run.events.truncate(13);
    let at = |id: u64| i64::try_from(id).unwrap() * SECOND;
    let result = Outcome { effects: vec!["e-2".into()], failed: 1, signals: vec!["s-1".into()] };
    let close = v1::WorkflowCompleted {
        workflow_task_completed_event_id: 17,
        result: Some(json(&serde_json::to_value(result).unwrap())),
        new_run_id: String::new(),
    };
    let facts = [fact, scheduled(), started(15), completed(15), Attributes::WorkflowCompleted(close)];
    for (id, fact) in (14..).zip(facts) {
        run.events.push(v1::HistoryEvent { event_id: id, event_time_us: at(id), attributes: Some(fact) });
    }
    run.listed.as_mut().unwrap().history_length = 18;
}

#[test]
fn a_world_that_is_right_breaks_no_rule() {
    assert_eq!(check(&right()), []);
    assert_right(&right());
}

#[test]
fn a_history_that_begins_otherwise_is_found() {
    assert_eq!(broken(|e| e.runs[0].run_id = "other".into()).first(), Some(&Rule::BeginsWithStart));
    assert!(broken(|e| set(e, 1, scheduled())).contains(&Rule::BeginsWithStart));
    let again = Attributes::WorkflowStarted(v1::WorkflowStarted::default());
    assert_eq!(broken(|e| insert(e, again)), [Rule::BeginsWithStart]);
}

#[test]
fn a_gap_a_repeat_and_an_event_without_content_are_found() {
    assert!(broken(|e| drop(e.runs[0].events.remove(7))).contains(&Rule::ContiguousIds));
    assert!(broken(|e| event(e, 8).event_id = 7).contains(&Rule::ContiguousIds));
    assert!(broken(|e| e.runs[0].events.swap(7, 8)).contains(&Rule::ContiguousIds));
    assert!(broken(|e| event(e, 8).attributes = None).contains(&Rule::ContiguousIds));
}

#[test]
fn an_open_run_two_close_events_and_one_that_is_not_last_are_found() {
    assert!(broken(|e| drop(e.runs[0].events.pop())).contains(&Rule::ClosedOnce));
    let terminated = || Attributes::WorkflowTerminated(v1::WorkflowTerminated::default());
    assert!(broken(|e| insert(e, terminated())).contains(&Rule::ClosedOnce));
    let behind = |e: &mut Evidence| {
        let signaled = event(e, 8).clone();
        e.runs[0].events.push(v1::HistoryEvent { event_id: 18, ..signaled });
    };
    assert!(broken(behind).contains(&Rule::ClosedOnce));
}

#[test]
fn a_torn_workflow_task_is_found() {
    assert_eq!(broken(|e| set(e, 3, started(1))), [Rule::TaskTriples]);
    assert_eq!(broken(|e| insert(e, started(14))), [Rule::TaskTriples]);
    assert_eq!(broken(|e| insert(e, scheduled())), [Rule::TaskTriples]);
    let of_another = v1::WorkflowTaskCompleted { scheduled_event_id: 2, started_event_id: 2, ..Default::default() };
    assert_eq!(broken(|e| set(e, 4, Attributes::WorkflowTaskCompleted(of_another))), [Rule::TaskTriples]);
    let failed = v1::WorkflowTaskFailed { scheduled_event_id: 2, started_event_id: 3, ..Default::default() };
    let rules = broken(|e| set(e, 4, Attributes::WorkflowTaskFailed(failed)));
    assert_eq!(rules, [Rule::CommandsOfTask], "a failed task is a task, but issues no commands");
}

#[test]
fn a_command_of_no_task_or_behind_another_event_is_found() {
    assert_eq!(broken(|e| set(e, 6, activity(3, "1", 0))), [Rule::CommandsOfTask]);
    let late = Attributes::TimerStarted(v1::TimerStarted {
        workflow_task_completed_event_id: 4,
        timer_id: "late".into(),
        duration: None,
        summary: String::new(),
    });
    assert_eq!(broken(|e| insert(e, late)), [Rule::CommandsOfTask]);
}

#[test]
fn an_activity_that_ends_twice_or_never_is_found() {
    let again = v1::ActivityTimedOut { scheduled_event_id: 6, ..Default::default() };
    assert!(broken(|e| insert(e, Attributes::ActivityTimedOut(again))).contains(&Rule::ActivityEndsOnce));
    let signaled = |e: &mut Evidence| {
        let signaled = event(e, 8).attributes.clone().unwrap();
        set(e, 11, signaled);
    };
    assert!(broken(signaled).contains(&Rule::ActivityEndsOnce));
}

#[test]
fn a_wrong_reference_is_found() {
    assert!(broken(|e| set(e, 10, attempt(5, 2))).contains(&Rule::References));
    assert!(broken(|e| set(e, 10, attempt(6, 0))).contains(&Rule::References));
    let end = |scheduled_event_id, started_event_id| {
        let result = Some(json(&"e-2".into()));
        let end = v1::ActivityCompleted { scheduled_event_id, started_event_id, result, ..Default::default() };
        Attributes::ActivityCompleted(end)
    };
    assert!(broken(|e| set(e, 11, end(6, 9))).contains(&Rule::References));
    assert!(broken(|e| set(e, 11, end(6, 0))).contains(&Rule::References), "what returned has started");
    assert!(broken(|e| set(e, 11, end(2, 10))).contains(&Rule::References));
    assert!(broken(|e| set(e, 7, activity(4, "1", 1))).contains(&Rule::References), "an id that is taken");
    let unasked = v1::ActivityCanceled { scheduled_event_id: 6, ..Default::default() };
    assert!(broken(|e| insert(e, Attributes::ActivityCanceled(unasked))).contains(&Rule::References));
    let other = v1::TimerFired { timer_id: "u".into(), started_event_id: 5 };
    assert!(broken(|e| set(e, 9, Attributes::TimerFired(other))).contains(&Rule::References));
}

#[test]
fn a_timer_that_fires_early_or_twice_is_found() {
    assert_eq!(broken(|e| event(e, 9).event_time_us = 7 * SECOND - 1), [Rule::Timers]);
    assert_eq!(broken(|e| event(e, 9).event_time_us = 7 * SECOND), [], "it may fire when it is due");
    let again = Attributes::TimerFired(v1::TimerFired { timer_id: "t".into(), started_event_id: 5 });
    assert_eq!(broken(|e| insert(e, again)), [Rule::Timers]);
}

#[test]
fn time_that_goes_back_is_found() {
    assert_eq!(broken(|e| event(e, 15).event_time_us = 2 * SECOND), [Rule::Times], "the workflow's clock");
    assert_eq!(broken(|e| event(e, 10).event_time_us = 5 * SECOND), [Rule::Times], "a start before its schedule");
    assert_eq!(broken(|e| event(e, 8).event_time_us = 0), [Rule::Times], "before the run");
    assert_eq!(broken(|e| event(e, 13).event_time_us = 18 * SECOND), [Rule::Times], "after the close");
    assert_eq!(broken(|e| event(e, 8).event_time_us = 5 * SECOND), [], "what was buffered keeps its time");
}

#[test]
fn more_attempts_than_allowed_are_found() {
    assert_eq!(broken(|e| set(e, 12, attempt(7, 2))), [Rule::AttemptLimit]);
}

#[test]
fn effects_that_the_history_does_not_tell_of_are_found() {
    assert_eq!(broken(|e| e.effects.push(effect("9", 1, "e-9"))), [Rule::EffectWithoutActivity]);
    assert_eq!(broken(|e| e.effects[0].run_id = "other".into()), [Rule::EffectWithoutActivity]);
    assert_eq!(broken(|e| e.effects[0].workflow_id = "other".into()), [Rule::EffectWithoutActivity]);
    assert_eq!(broken(|e| e.effects[0].attempt = 2), [Rule::AttemptRepeated]);
    assert_eq!(broken(|e| e.effects.push(effect("1", 3, "e-4"))), [Rule::EffectRepeated]);
    assert_eq!(broken(|e| set(e, 10, attempt(6, 1))), [Rule::EffectRepeated, Rule::ResultWithoutEffect]);
    assert_eq!(broken(|e| e.effects.push(effect("2", 2, "e-4"))), [Rule::EffectRepeated, Rule::RanTwice]);
}

#[test]
fn a_result_that_no_effect_stands_behind_is_found() {
    assert_eq!(broken(|e| drop(e.effects.pop())), [Rule::ResultWithoutEffect]);
    assert_eq!(broken(|e| e.effects[2].effect = "e-9".into()), [Rule::ResultWithoutEffect]);
    assert_eq!(broken(|e| drop(e.effects.remove(0))), [], "an attempt may be lost before its effect");
}

#[test]
fn an_outcome_that_differs_from_the_history_is_found() {
    let returns = |value: serde_json::Value| {
        broken(|e| {
            let result = Some(json(&value));
            let close =
                v1::WorkflowCompleted { workflow_task_completed_event_id: 16, result, new_run_id: String::new() };
            set(e, 17, Attributes::WorkflowCompleted(close));
        })
    };
    let outcome = |effects: &[&str], failed: usize, signals: &[&str]| serde_json::json!({ "effects": effects, "failed": failed, "signals": signals });
    assert_eq!(returns(outcome(&["e-2"], 1, &["s-1"])), []);
    for wrong in [
        outcome(&["e-1"], 1, &["s-1"]),
        outcome(&["e-2", "e-2"], 1, &["s-1"]),
        outcome(&["e-2"], 0, &["s-1"]),
        outcome(&["e-2"], 1, &[]),
        serde_json::json!("other"),
    ] {
        assert_eq!(returns(wrong), [Rule::Outcome]);
    }
}

#[test]
fn a_lost_or_doubled_start_is_found() {
    let start = |workflow_id: &str| Start { workflow_id: workflow_id.into(), run_id: "r".into() };
    assert_eq!(broken(|e| e.starts.push(start("lost"))), [Rule::StartLost]);
    assert_eq!(broken(|e| e.starts[0].run_id = "other".into()), [Rule::StartLost]);
    let doubled = |e: &mut Evidence| {
        let mut run = e.runs[0].clone();
        run.run_id = "second".into();
        e.runs.push(run);
    };
    assert!(broken(doubled).contains(&Rule::StartLost));
    assert!(broken(|e| e.runs[0].events.clear()).contains(&Rule::StartLost));
}

#[test]
fn a_lost_strayed_or_doubled_signal_is_found() {
    let signal = |run_id: &str, payload: &str| Signal { run_id: run_id.into(), payload: payload.into() };
    assert_eq!(broken(|e| e.signals.push(signal("r", "\"s-2\""))), [Rule::SignalLost]);
    assert_eq!(broken(|e| e.signals[0].run_id = "other".into()), [Rule::SignalLost]);
    let twice = |request_id: &str| {
        Attributes::WorkflowSignaled(v1::WorkflowSignaled {
            signal_name: "s".into(),
            input: vec![json(&"s-1".into())],
            request_id: request_id.into(),
            ..Default::default()
        })
    };
    assert!(broken(|e| insert(e, twice("other"))).contains(&Rule::SignalLost));
    assert!(broken(|e| insert(e, twice("other"))).contains(&Rule::SignalRepeated));
    let mut same_request = twice("q");
    if let Attributes::WorkflowSignaled(signal) = &mut same_request {
        signal.input = vec![];
    }
    assert_eq!(broken(|e| insert(e, same_request)), [Rule::SignalRepeated]);
}

#[test]
fn a_list_that_differs_from_the_history_is_found() {
    assert_eq!(broken(|e| e.runs[0].listed = None), [Rule::Listed]);
    let listed = |change: fn(&mut v1::WorkflowSummary)| broken(|e| change(e.runs[0].listed.as_mut().unwrap()));
    assert_eq!(listed(|run| run.set_status(v1::WorkflowStatus::Running)), [Rule::Listed]);
    assert_eq!(listed(|run| run.history_length = 16), [Rule::Listed]);
    assert_eq!(listed(|run| run.close_time = None), [Rule::Listed]);
    assert_eq!(listed(|run| run.workflow_id = "other".into()), [Rule::Listed]);
}
