//! What an event says, in words.

use std::collections::BTreeMap;

use engine_core::event::{
    ActivityScheduled, ActivityTimeouts, Event, EventKind, Marker, StepOutcome, UpdateOutcome, VersioningOverride,
    WorkerMetadata, WorkflowStarted, WorkflowTaskFailureCause,
};
use engine_core::ids::EventId;
use engine_core::payload::Payload;

use super::failure::{one_line_words, retry_state_words, timeout_words};
use super::{payload, search, text, time};

/// Tells events in order, so that an event which only names another by number can say what that one was about.
#[derive(Debug)]
pub(crate) struct Narrator {
    limit: usize,
    activities: BTreeMap<EventId, String>,
}

impl Narrator {
    /// `full`: values and messages whole, however long.
    pub(crate) fn new(full: bool) -> Self {
        Self { limit: if full { usize::MAX } else { text::SHORT }, activities: BTreeMap::new() }
    }

    /// What the event says. Call it in the order of the events.
    pub(crate) fn tell(&mut self, event: &Event) -> String {
        let parts = self.parts(event);
        let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        said.join(", ")
    }

    fn parts(&mut self, event: &Event) -> Vec<String> {
        let limit = self.limit;
        match &event.kind {
            EventKind::WorkflowStarted(it) => started(it, limit),
            EventKind::WorkflowCompleted(it) => vec![
                result(it.result.as_ref(), limit),
                it.new_run_id.map(|run| format!("continued by run {run}")).unwrap_or_default(),
            ],
            EventKind::WorkflowFailed(it) => vec![
                one_line_words(&it.failure, limit),
                retry_state_words(it.retry_state).to_owned(),
                it.new_run_id.map(|run| format!("continued by run {run}")).unwrap_or_default(),
            ],
            EventKind::WorkflowTimedOut(it) => vec![
                match &it.failure {
                    Some(failure) => one_line_words(failure, limit),
                    None => "took too long".to_owned(),
                },
                retry_state_words(it.retry_state).to_owned(),
                it.new_run_id.map(|run| format!("continued by run {run}")).unwrap_or_default(),
            ],
            EventKind::WorkflowCanceled(it) => vec![details(it.details.as_ref(), limit)],
            EventKind::WorkflowTerminated(it) => {
                let to = it.reset_to.map(|to| format!("reset to run {}", to.run_id)).unwrap_or_default();
                vec![reason(&it.reason, limit), to, details(it.details.as_ref(), limit), by(&it.identity)]
            }
            EventKind::Peer(it) => super::peer::words(it, limit),
            EventKind::WorkflowContinuedAsNew(it) => vec![format!("continued by run {}", it.new_run_id)],
            EventKind::WorkflowRepaired(it) => vec![
                self.activity(it.scheduled_event_id),
                if it.has_result { "is given another result" } else { "runs again" }.to_owned(),
                reason(&it.reason, limit),
                by(&it.identity),
            ],
            EventKind::WorkflowPaused(it) | EventKind::WorkflowResumed(it) => {
                vec![reason(&it.reason, limit), by(&it.identity)]
            }
            EventKind::WorkflowOptionsUpdated(it) => vec![
                match &it.versioning_override {
                    Some(VersioningOverride::Pinned(version)) => {
                        format!("pinned to {}", text::one_line(&version.to_string(), limit))
                    }
                    Some(VersioningOverride::AutoUpgrade) => "follows the routing".to_owned(),
                    None => "follows versions as its code says".to_owned(),
                },
                reason(&it.reason, limit),
                by(&it.identity),
            ],
            EventKind::WorkflowCancelRequested(it) => vec![reason(&it.reason, limit), by(&it.identity)],
            EventKind::WorkflowSignaled(it) => vec![
                format!("signal {}", text::one_line(it.name.as_str(), limit)),
                input(&it.input, limit),
                by(&it.identity),
            ],
            EventKind::WorkflowTaskScheduled(it) => vec![
                format!("queue {}", text::one_line(it.task_queue.as_str(), limit)),
                attempt(it.attempt),
                format!("to be done in {}", time::words(it.start_to_close)),
            ],
            EventKind::WorkflowTaskStarted(it) => vec![
                by(&it.identity),
                if it.suggest_continue_as_new.any() {
                    format!("history has become long ({})", text::size(it.history_size_bytes))
                } else {
                    String::new()
                },
            ],
            EventKind::WorkflowTaskCompleted(it) => vec![
                by(&it.identity),
                worker(&it.worker),
                if it.force_new_task { "a step is at work".to_owned() } else { String::new() },
            ],
            EventKind::WorkflowTaskFailed(it) => {
                vec![cause_words(it.cause).to_owned(), one_line_words(&it.failure, limit), by(&it.identity)]
            }
            EventKind::WorkflowTaskTimedOut(it) => vec![format!("{} timeout", timeout_words(it.timeout))],
            EventKind::ActivityScheduled(it) => {
                let name = activity_name(it);
                self.activities.insert(event.id, name.clone());
                let mut parts = vec![
                    name,
                    input(&it.input, limit),
                    format!("queue {}", text::one_line(it.task_queue.as_str(), limit)),
                    timeouts(&it.timeouts),
                    text::one_line(&it.summary, limit),
                ];
                if it.retry_policy.maximum_attempts != 0 {
                    parts.push(format!("at most {}", text::count(it.retry_policy.maximum_attempts.into(), "attempt")));
                }
                parts
            }
            EventKind::ActivityStarted(it) => vec![
                self.activity(it.scheduled_event_id),
                format!("attempt {}", it.attempt),
                by(&it.identity),
                it.last_failure
                    .as_ref()
                    .map(|failure| format!("the attempt before failed: {}", one_line_words(failure, limit)))
                    .unwrap_or_default(),
            ],
            EventKind::ActivityCompleted(it) => {
                vec![self.activity(it.scheduled_event_id), result(it.result.as_ref(), limit)]
            }
            EventKind::ActivityFailed(it) => vec![
                self.activity(it.scheduled_event_id),
                one_line_words(&it.failure, limit),
                retry_state_words(it.retry_state).to_owned(),
            ],
            EventKind::ActivityTimedOut(it) => vec![
                self.activity(it.scheduled_event_id),
                one_line_words(&it.failure, limit),
                retry_state_words(it.retry_state).to_owned(),
            ],
            EventKind::ActivityCancelRequested(it) => vec![self.activity(it.scheduled_event_id)],
            EventKind::ActivityCanceled(it) => {
                vec![self.activity(it.scheduled_event_id), details(it.details.as_ref(), limit)]
            }
            EventKind::TimerStarted(it) => {
                vec![
                    format!("timer {}", text::one_line(it.timer_id.as_str(), limit)),
                    format!("for {}", time::words(it.duration)),
                    text::one_line(&it.summary, limit),
                ]
            }
            EventKind::TimerFired(it) => vec![format!("timer {}", text::one_line(it.timer_id.as_str(), limit))],
            EventKind::WorkflowUpdateAdmitted(it) => vec![
                format!("update {}", text::one_line(it.name.as_str(), limit)),
                format!("id {}", text::one_line(it.id.as_str(), limit)),
                input(&it.input, limit),
                by(&it.identity),
            ],
            EventKind::WorkflowUpdateAccepted(it) => vec![
                format!("update {}", text::one_line(it.update.name.as_str(), limit)),
                format!("id {}", text::one_line(it.update.id.as_str(), limit)),
                input(&it.update.input, limit),
                by(&it.update.identity),
            ],
            EventKind::WorkflowUpdateCompleted(it) => {
                let outcome = match &it.outcome {
                    UpdateOutcome::Completed { result: value } => result(value.as_ref(), limit),
                    UpdateOutcome::Failed { failure } => format!("failed: {}", one_line_words(failure, limit)),
                };
                vec![format!("update id {}", text::one_line(it.update_id.as_str(), limit)), outcome]
            }
            EventKind::StatePublished(it) => {
                vec![format!("{} = {}", text::one_line(it.name.as_str(), limit), payload::words(&it.value, limit))]
            }
            EventKind::TimerCanceled(it) => vec![format!("timer {}", text::one_line(it.timer_id.as_str(), limit))],
            EventKind::MarkerRecorded(it) => marker(&it.marker, limit),
            EventKind::SearchAttributesUpserted(it) => it
                .changes
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => format!("{name} = {}", text::one_line(&search::words(value), limit)),
                    None => format!("without {name}"),
                })
                .collect(),
            EventKind::PropertiesModified(it) => {
                let memo = it.changes.memo.iter().map(|(key, value)| match value {
                    Some(value) => format!("{} = {}", text::one_line(key, limit), payload::words(value, limit)),
                    None => format!("without {}", text::one_line(key, limit)),
                });
                let details = it.changes.current_details.iter().map(|details| text::one_line(details, limit));
                memo.chain(details).collect()
            }
        }
    }

    fn activity(&self, scheduled: EventId) -> String {
        self.activities.get(&scheduled).cloned().unwrap_or_else(|| format!("the activity of event {scheduled}"))
    }
}

fn marker(marker: &Marker, limit: usize) -> Vec<String> {
    match marker {
        Marker::Patch { patch_id, deprecated } => vec![
            format!("patch {}", text::one_line(patch_id.as_str(), limit)),
            if *deprecated { "deprecated".to_owned() } else { String::new() },
        ],
        Marker::Step(step) => vec![
            format!("step {}", text::one_line(step.name.as_str(), limit)),
            if step.attempt > 1 { attempt(step.attempt) } else { String::new() },
            match &step.outcome {
                StepOutcome::Completed { result: value } => result(value.as_ref(), limit),
                StepOutcome::Failed { failure, .. } => one_line_words(failure, limit),
            },
        ],
    }
}

fn started(it: &WorkflowStarted, limit: usize) -> Vec<String> {
    vec![
        format!("type {}", text::one_line(it.workflow_type.as_str(), limit)),
        format!("queue {}", text::one_line(it.task_queue.as_str(), limit)),
        input(&it.input, limit),
        attempt(it.attempt),
        it.continued_from.map(|run| format!("continues run {run}")).unwrap_or_default(),
        it.continued_failure
            .as_ref()
            .map(|failure| format!("which failed: {}", one_line_words(failure, limit)))
            .unwrap_or_default(),
        it.last_result
            .as_ref()
            .map(|result| format!("last result {}", payload::words(result, limit)))
            .unwrap_or_default(),
        it.cron.as_ref().map(|cron| super::run::cron(&cron.expression, &cron.time_zone)).unwrap_or_default(),
        it.parent
            .as_ref()
            .map(|parent| format!("child of {}", text::one_line(parent.workflow_id.as_str(), limit)))
            .unwrap_or_default(),
        it.run_timeout.map(|timeout| format!("run timeout {}", time::words(timeout))).unwrap_or_default(),
        it.execution_timeout.map(|timeout| format!("execution timeout {}", time::words(timeout))).unwrap_or_default(),
        if it.first_task_backoff.is_zero() {
            String::new()
        } else {
            format!("begins after {}", time::words(it.first_task_backoff))
        },
        by(&it.identity),
    ]
}

fn activity_name(it: &ActivityScheduled) -> String {
    text::one_line(&format!("{} ({})", it.activity_type, it.activity_id), text::SHORT)
}

fn timeouts(it: &ActivityTimeouts) -> String {
    let named = [
        ("start-to-close", it.start_to_close),
        ("schedule-to-start", it.schedule_to_start),
        ("schedule-to-close", it.schedule_to_close),
        ("heartbeat", it.heartbeat),
    ];
    let set: Vec<String> = named
        .iter()
        .filter_map(|(name, timeout)| timeout.map(|timeout| format!("{name} {}", time::words(timeout))))
        .collect();
    set.join(", ")
}

fn worker(it: &WorkerMetadata) -> String {
    let build = text::one_line(&it.build_id, text::SHORT);
    match &it.versioning {
        Some(it) => format!("build {build} of {}", text::one_line(it.deployment.as_str(), text::SHORT)),
        None if build.is_empty() => String::new(),
        None => format!("build {build}"),
    }
}

pub(super) fn input(payloads: &[Payload], limit: usize) -> String {
    if payloads.is_empty() { String::new() } else { format!("input {}", payload::list_words(payloads, limit)) }
}

pub(super) fn result(value: Option<&Payload>, limit: usize) -> String {
    value.map_or_else(|| "no result".to_owned(), |value| format!("result {}", payload::words(value, limit)))
}

pub(super) fn details(value: Option<&Payload>, limit: usize) -> String {
    value.map(|value| format!("details {}", payload::words(value, limit))).unwrap_or_default()
}

pub(super) fn reason(text: &str, limit: usize) -> String {
    if text.is_empty() { String::new() } else { format!("reason: {}", text::one_line(text, limit)) }
}

fn by(identity: &str) -> String {
    if identity.is_empty() { String::new() } else { format!("by {}", text::one_line(identity, text::SHORT)) }
}

/// First attempts are the rule and go without saying.
fn attempt(number: u32) -> String {
    if number > 1 { format!("attempt {number}") } else { String::new() }
}

/// Why a workflow task failed.
pub(crate) fn cause_words(cause: WorkflowTaskFailureCause) -> &'static str {
    match cause {
        WorkflowTaskFailureCause::WorkerFailure => "the worker reported an error",
        WorkflowTaskFailureCause::Panic => "the workflow code panicked",
        WorkflowTaskFailureCause::Nondeterminism => "the code and the history differ",
        WorkflowTaskFailureCause::UnknownWorkflowType => "the worker does not have this workflow type",
        WorkflowTaskFailureCause::ForeignAwait => "the code awaited something that is not the workflow's own",
        WorkflowTaskFailureCause::BadCommand => "a command was invalid",
        WorkflowTaskFailureCause::UnhandledCommand => "news arrived that the code had not seen",
        WorkflowTaskFailureCause::ForceClosed => "the run was closed meanwhile",
        WorkflowTaskFailureCause::Reset => "the run begins again before it",
    }
}
