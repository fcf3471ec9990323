//! Numbers, order and times of one history, and its workflow tasks.

use engine_proto::v1::history_event::Attributes;

use super::{Rule, Run, Violations, is_close};

pub(super) fn check(run: &Run, violations: &mut Violations) {
    begins_with_start(run, violations);
    contiguous_ids(run, violations);
    closed_once(run, violations);
    task_triples(run, violations);
    commands_of_task(run, violations);
    times(run, violations);
}

fn begins_with_start(run: &Run, violations: &mut Violations) {
    let rule = Rule::BeginsWithStart;
    match run.events.first().and_then(|event| event.attributes.as_ref()) {
        Some(Attributes::WorkflowStarted(started)) => {
            let named = (started.workflow_id.as_str(), started.run_id.as_str());
            violations.require(named == (&run.workflow_id, &run.run_id), rule, &run.workflow_id, || {
                format!("the history of run {} begins with the start of {} {}", run.run_id, named.0, named.1)
            });
        }
        other => violations.add(rule, &run.workflow_id, format!("the first event is {other:?}")),
    }
    let starts = run.facts().filter(|(_, fact)| matches!(fact, Attributes::WorkflowStarted(_))).count();
    violations.require(starts == 1, rule, &run.workflow_id, || format!("it starts {starts} times"));
}

fn contiguous_ids(run: &Run, violations: &mut Violations) {
    for (expected, event) in (1..).zip(&run.events) {
        if event.event_id != expected || event.attributes.is_none() {
            let problem = format!("event {expected} of the history is {event:?}");
            return violations.add(Rule::ContiguousIds, &run.workflow_id, problem);
        }
    }
}

fn closed_once(run: &Run, violations: &mut Violations) {
    let closes: Vec<u64> = run.facts().filter(|(_, fact)| is_close(fact)).map(|(id, _)| id).collect();
    let last = run.events.last().map_or(0, |event| event.event_id);
    violations.require(closes == [last], Rule::ClosedOnce, &run.workflow_id, || {
        format!("close events are {closes:?}, the last event is {last}")
    });
}

/// What an event of a workflow task says of the events before it.
fn task_ends(fact: &Attributes) -> Option<(u64, u64)> {
    match fact {
        Attributes::WorkflowTaskCompleted(end) => Some((end.scheduled_event_id, end.started_event_id)),
        Attributes::WorkflowTaskFailed(end) => Some((end.scheduled_event_id, end.started_event_id)),
        Attributes::WorkflowTaskTimedOut(end) => Some((end.scheduled_event_id, end.started_event_id)),
        _ => None,
    }
}

fn task_triples(run: &Run, violations: &mut Violations) {
    let at = |index: usize| run.events.get(index).and_then(|event| event.attributes.as_ref());
    let mut index = 0;
    while index < run.events.len() {
        let id = run.events[index].event_id;
        let Some(fact) = at(index) else {
            index += 1;
            continue;
        };
        if matches!(fact, Attributes::WorkflowTaskScheduled(_)) {
            let started =
                matches!(at(index + 1), Some(Attributes::WorkflowTaskStarted(start)) if start.scheduled_event_id == id);
            let ended = at(index + 2).and_then(task_ends) == Some((id, id + 1));
            violations.require(started && ended, Rule::TaskTriples, &run.workflow_id, || {
                format!("behind WorkflowTaskScheduled {id} come {:?} and {:?}", at(index + 1), at(index + 2))
            });
            index += if started && ended { 3 } else { 1 };
            continue;
        }
        let stray = matches!(fact, Attributes::WorkflowTaskStarted(_)) || task_ends(fact).is_some();
        violations.require(!stray, Rule::TaskTriples, &run.workflow_id, || {
            format!("event {id} belongs to no workflow task: {fact:?}")
        });
        index += 1;
    }
}

/// The workflow task that issued the command whose event this is.
fn issuer(fact: &Attributes) -> Option<u64> {
    match fact {
        Attributes::ActivityScheduled(event) => Some(event.workflow_task_completed_event_id),
        Attributes::ActivityCancelRequested(event) => Some(event.workflow_task_completed_event_id),
        Attributes::TimerStarted(event) => Some(event.workflow_task_completed_event_id),
        Attributes::TimerCanceled(event) => Some(event.workflow_task_completed_event_id),
        Attributes::StatePublished(event) => Some(event.workflow_task_completed_event_id),
        Attributes::MarkerRecorded(event) => Some(event.workflow_task_completed_event_id),
        Attributes::SearchAttributesUpserted(event) => Some(event.workflow_task_completed_event_id),
        Attributes::PropertiesModified(event) => Some(event.workflow_task_completed_event_id),
        Attributes::StartChildInitiated(event) => Some(event.workflow_task_completed_event_id),
        Attributes::SignalExternalInitiated(event) => Some(event.workflow_task_completed_event_id),
        Attributes::RequestCancelExternalInitiated(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowUpdateAccepted(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowUpdateCompleted(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowCompleted(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowFailed(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowCanceled(event) => Some(event.workflow_task_completed_event_id),
        Attributes::WorkflowContinuedAsNew(event) => Some(event.workflow_task_completed_event_id),
        _ => None,
    }
}

fn commands_of_task(run: &Run, violations: &mut Violations) {
    // The task whose command events may still come.
    let mut open = 0;
    for (id, fact) in run.facts() {
        match (fact, issuer(fact)) {
            (_, Some(task)) => {
                violations.require(task == open && task != 0, Rule::CommandsOfTask, &run.workflow_id, || {
                    format!("event {id} names workflow task {task} as its issuer, but follows {open}: {fact:?}")
                })
            }
            (Attributes::WorkflowTaskCompleted(_), None) => open = id,
            // An activity that nobody has is canceled by the command itself.
            (Attributes::ActivityCanceled(end), None) if end.cancel_requested_event_id + 1 == id => {}
            (_, None) => open = 0,
        }
    }
}

/// Events that are recorded later than they happened keep the time at which they happened, so times as a whole are not in order.
/// The clock of the workflow is, and so is every event and what it refers to.
fn times(run: &Run, violations: &mut Violations) {
    let mut clock = i64::MIN;
    let close = run.events.iter().find(|event| event.attributes.as_ref().is_some_and(is_close));
    let first = run.events.first().map_or(i64::MIN, |event| event.event_time_us);
    for event in &run.events {
        let at = event.event_time_us;
        let mut require = |holds: bool, problem: &str| {
            violations.require(holds, Rule::Times, &run.workflow_id, || {
                format!("event {}, at {at}, {problem}: {:?}", event.event_id, event.attributes)
            });
        };
        require(at >= first, "is older than its run");
        require(close.is_none_or(|close| close.event_time_us >= at), "happened after the close");
        let Some(fact) = &event.attributes else { continue };
        for referred in referred(fact).into_iter().filter(|id| *id != 0) {
            let before = run.event(referred).is_none_or(|referred| referred.event_time_us <= at);
            require(before, &format!("happened before event {referred}, to which it refers"));
        }
        if matches!(fact, Attributes::WorkflowTaskStarted(_)) {
            require(at >= clock, "sets the clock of the workflow back");
            clock = clock.max(at);
        }
    }
}

/// The events that an event names.
fn referred(fact: &Attributes) -> Vec<u64> {
    let mut ids: Vec<u64> = issuer(fact).into_iter().collect();
    match fact {
        Attributes::WorkflowTaskStarted(event) => ids.push(event.scheduled_event_id),
        Attributes::ActivityStarted(event) => ids.push(event.scheduled_event_id),
        Attributes::ActivityCompleted(event) => ids.extend([event.scheduled_event_id, event.started_event_id]),
        Attributes::ActivityFailed(event) => ids.extend([event.scheduled_event_id, event.started_event_id]),
        Attributes::ActivityTimedOut(event) => ids.extend([event.scheduled_event_id, event.started_event_id]),
        Attributes::ActivityCanceled(event) => ids.extend([event.scheduled_event_id, event.cancel_requested_event_id]),
        Attributes::ActivityCancelRequested(event) => ids.push(event.scheduled_event_id),
        Attributes::TimerFired(event) => ids.push(event.started_event_id),
        Attributes::TimerCanceled(event) => ids.push(event.started_event_id),
        Attributes::WorkflowUpdateCompleted(event) => ids.push(event.accepted_event_id),
        _ => {}
    }
    if let Some((scheduled, started)) = task_ends(fact) {
        ids.extend([scheduled, started]);
    }
    ids
}
