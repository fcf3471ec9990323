//! What of a history may differ from the reference's, and why: rules for all scenarios. `docs/histories.md` is the list for people.

use std::collections::BTreeMap;

use crate::facts::Fact;

/// One allowed difference.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    /// Takes the difference out of a run's histories.
    pub(crate) apply: fn(&mut Sides),
}

/// The two histories of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sides {
    /// The reference's.
    pub(crate) theirs: Vec<Fact>,
    pub(crate) ours: Vec<Fact>,
}

/// All of them, applied in this order. Each must show in at least one scenario.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference { name: "workflow tasks are written when they end", apply: tasks_are_whole },
    Difference { name: "patches are not search attributes", apply: patches_are_markers },
    Difference { name: "updates refer to their workflow task", apply: updates_refer_to_tasks },
    Difference { name: "what was admitted is accepted with its request", apply: acceptances_have_their_request },
    Difference { name: "what is told of a failed workflow task", apply: task_failures },
    Difference { name: "continuing as new waits for no signal", apply: continuing_waits_for_no_signal },
    Difference { name: "signals go on in the next run", apply: signals_go_on },
    Difference { name: "a run that follows is described by its own history", apply: next_run_is_described_there },
    Difference { name: "timers end with the code that waits for them", apply: timers_end_with_the_code },
];

/// Brings events into the order `order`, a list of positions; those that are left out go. Numbers and references follow.
fn rearrange(history: &mut Vec<Fact>, order: &[usize]) {
    let ids: BTreeMap<String, u64> =
        order.iter().zip(1..).map(|(position, id)| (history[*position].id.to_string(), id)).collect();
    *history = order.iter().map(|position| history[*position].clone()).collect();
    for (fact, id) in history.iter_mut().zip(1..) {
        fact.id = id;
        for (name, value) in &mut fact.fields {
            // The parent's history is another one.
            if name.ends_with("_event_id") && name != "parent_initiated_event_id" {
                *value = ids.get(value).map_or_else(|| format!("gone {value}"), u64::to_string);
            }
        }
    }
}

fn without(history: &mut Vec<Fact>, is_gone: impl Fn(&[Fact], usize) -> bool) {
    let order: Vec<usize> = (0..history.len()).filter(|position| !is_gone(history, *position)).collect();
    rearrange(history, &order);
}

fn forget(history: &mut [Fact], kinds: &[&str], fields: &[&str]) {
    for fact in history.iter_mut().filter(|fact| kinds.contains(&fact.kind.as_str())) {
        fact.fields.retain(|name, _| !fields.contains(&name.as_str()));
    }
}

/// The reference writes that a task was scheduled before a worker has it, so that other events come in between and a run that
/// closes before leaves it alone.
fn tasks_are_whole(Sides { theirs, .. }: &mut Sides) {
    let mut order = Vec::new();
    let mut scheduled = None;
    for (position, fact) in theirs.iter().enumerate() {
        if fact.kind == "WorkflowTaskScheduled" {
            scheduled = Some(position);
            continue;
        }
        if fact.kind == "WorkflowTaskStarted" {
            order.extend(scheduled.take());
        }
        order.push(position);
    }
    rearrange(theirs, &order);
}

/// The reference's SDK lists runs by their patches, which takes an event more for each.
fn patches_are_markers(Sides { theirs, .. }: &mut Sides) {
    let is_patch = |fact: &Fact| fact.fields.get("marker_name").is_some_and(|name| name == "core_patch");
    without(theirs, |facts, position| {
        facts[position].kind == "UpsertWorkflowSearchAttributes" && position > 0 && is_patch(&facts[position - 1])
    });
}

/// The reference names the event before which the update's message was sent.
fn updates_refer_to_tasks(Sides { theirs, ours }: &mut Sides) {
    let kinds = ["WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"];
    forget(theirs, &kinds, &["accepted_request_sequencing_event_id"]);
    forget(ours, &kinds, &["workflow_task_completed_event_id"]);
}

/// Of an update that is put to the code again after a reset, the reference has the request only where it was admitted.
fn acceptances_have_their_request(Sides { theirs, ours }: &mut Sides) {
    if theirs.iter().all(|fact| fact.kind != "WorkflowExecutionUpdateAdmitted") {
        return;
    }
    let accepted = |fact: &&mut Fact| fact.kind == "WorkflowExecutionUpdateAccepted";
    for (theirs, own) in theirs.iter_mut().filter(accepted).zip(ours.iter_mut().filter(accepted)) {
        if !theirs.fields.contains_key("update_name") {
            own.fields.remove("update_name");
        }
    }
}

/// Which failure describes an exception, a panic, or a task that the server ended, is up to each side; the cause is compared.
fn task_failures(Sides { theirs, ours }: &mut Sides) {
    forget(theirs, &["WorkflowTaskFailed"], &["failure"]);
    forget(ours, &["WorkflowTaskFailed"], &["failure"]);
}

/// Signals that a run has not received when it continues as new are the first events of the next one.
fn signals_go_on(Sides { ours, .. }: &mut Sides) {
    if ours.first().is_some_and(|fact| fact.fields.contains_key("continues")) {
        let first_task = ours.iter().position(|fact| fact.kind == "WorkflowTaskScheduled").unwrap_or_default();
        without(ours, |facts, position| position < first_task && facts[position].kind == "WorkflowExecutionSignaled");
    }
}

/// The reference runs the code once more if a signal arrives while it continues as new, though the code has decided.
fn continuing_waits_for_no_signal(Sides { theirs, .. }: &mut Sides) {
    if theirs.last().is_none_or(|last| last.kind != "WorkflowExecutionContinuedAsNew") {
        return;
    }
    let is_repeat = |fact: &Fact| fact.fields.get("cause").is_some_and(|cause| cause == "UnhandledCommand");
    let Some(failed) = theirs.iter().position(is_repeat) else { return };
    let signals = theirs[failed + 1..].iter().take_while(|fact| fact.kind == "WorkflowExecutionSignaled").count();
    // The task that failed is scheduled, started, failed.
    without(theirs, |_, position| (failed - 2..=failed + signals).contains(&position));
}

/// The reference says in the close event what the next run will be.
fn next_run_is_described_there(Sides { theirs, .. }: &mut Sides) {
    forget(theirs, &["WorkflowExecutionContinuedAsNew"], &["workflow_type"]);
}

/// Code that returns drops its sleeps, which cancels them, or withdraws those of the same task. The reference leaves them open.
fn timers_end_with_the_code(Sides { theirs, ours }: &mut Sides) {
    let Some(last_task) = ours.last().and_then(|close| close.fields.get("workflow_task_completed_event_id")).cloned()
    else {
        return;
    };
    let ends = |facts: &[Fact], id: u64, is_end: &dyn Fn(&Fact) -> bool| {
        let is_end = |fact: &&Fact| fact.kind.starts_with("Timer") && is_end(fact);
        facts.iter().filter(is_end).any(|fact| fact.fields.get("started_event_id") == Some(&id.to_string()))
    };
    let is_left_open = |facts: &[Fact], position: usize| {
        facts[position].kind == "TimerStarted" && !ends(facts, facts[position].id, &|_| true)
    };
    if !(0..theirs.len()).any(|position| is_left_open(theirs, position)) {
        return;
    }
    without(theirs, is_left_open);
    let in_last_task = |fact: &Fact| fact.fields.get("workflow_task_completed_event_id") == Some(&last_task);
    let is_dropped = |fact: &Fact| fact.kind == "TimerCanceled" && in_last_task(fact);
    without(ours, |facts, position| {
        let fact = &facts[position];
        is_dropped(fact) || (fact.kind == "TimerStarted" && ends(facts, fact.id, &is_dropped))
    });
}
