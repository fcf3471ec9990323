//! Starting a run: which request does, and what its first event holds.
//!
//! | latest run of the id            | policy                            | decision                                |
//! |---------------------------------|-----------------------------------|-----------------------------------------|
//! | none                            | any                               | start                                   |
//! | started by the same request id  | any                               | existing, by this request               |
//! | open                            | conflict: fail                    | already started                         |
//! | open                            | conflict: use existing            | existing                                |
//! | open                            | conflict: terminate existing      | terminate it and start                  |
//! | closed                          | reuse: allow duplicate            | start                                   |
//! | closed as completed             | reuse: failed only                | already started                         |
//! | closed otherwise                | reuse: failed only                | start                                   |
//! | closed                          | reuse: reject duplicate           | already started                         |
//!
//! The first workflow task is offered at once, unless `first_task_backoff` holds it back (`workflow_task`). A standalone activity has
//! its first attempt in its place (`activity::standalone`).

use std::time::Duration;

use crate::event::{CloseStatus, Event, EventKind, WorkflowStarted};
use crate::execution::activity::check_standalone;
use crate::execution::check::{self, BadField};
use crate::execution::deadline::Source;
use crate::execution::properties;
use crate::execution::{Effect, Execution, Rejection, Reply, Transition};
use crate::ids::{EventId, RequestId, RunId};
use crate::limits;
use crate::payload::{self, Payload};
use crate::time::Timestamp;

/// What to do when the latest run of a workflow id is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdReusePolicy {
    /// Start a new run.
    #[default]
    AllowDuplicate,
    /// Start a new run unless the last one completed.
    AllowDuplicateFailedOnly,
    /// Refuse.
    RejectDuplicate,
}

/// What to do when the latest run of a workflow id is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdConflictPolicy {
    /// Refuse.
    #[default]
    Fail,
    /// Start nothing and return the open run.
    UseExisting,
    /// Terminate the open run and start a new one, in one transaction.
    TerminateExisting,
}

/// What is known of the latest run of a workflow id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRun {
    /// The run.
    pub run_id: RunId,
    /// `None` while it is open.
    pub status: Option<CloseStatus>,
    /// The request that started it, if it had an id.
    pub request_id: Option<RequestId>,
}

/// What a request to start means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartDecision {
    /// Start a run.
    Start,
    /// Terminate this run and start one, in one transaction.
    TerminateAndStart(RunId),
    /// Start nothing; answer with this run.
    Existing {
        /// The run.
        run_id: RunId,
        /// Whether this request, sent before, started it.
        started_by_this_request: bool,
    },
    /// Refuse.
    AlreadyStarted {
        /// The run that is in the way.
        run_id: RunId,
        /// `None` if it is open.
        status: Option<CloseStatus>,
    },
}

/// Decides what a request to start means, given the latest run of its workflow id.
pub fn decide_start(
    latest: Option<&LatestRun>,
    request_id: Option<&RequestId>,
    reuse: IdReusePolicy,
    conflict: IdConflictPolicy,
) -> StartDecision {
    let Some(latest) = latest else { return StartDecision::Start };
    let run_id = latest.run_id;
    if request_id.is_some() && request_id == latest.request_id.as_ref() {
        return StartDecision::Existing { run_id, started_by_this_request: true };
    }
    let refused = StartDecision::AlreadyStarted { run_id, status: latest.status };
    match (latest.status, conflict, reuse) {
        (None, IdConflictPolicy::Fail, _) => refused,
        (None, IdConflictPolicy::UseExisting, _) => StartDecision::Existing { run_id, started_by_this_request: false },
        (None, IdConflictPolicy::TerminateExisting, _) => StartDecision::TerminateAndStart(run_id),
        (Some(_), _, IdReusePolicy::AllowDuplicate) => StartDecision::Start,
        (Some(CloseStatus::Completed), _, IdReusePolicy::AllowDuplicateFailedOnly) => refused,
        (
            Some(
                CloseStatus::Failed
                | CloseStatus::Canceled
                | CloseStatus::Terminated
                | CloseStatus::TimedOut
                // Its next run follows in the same transaction, so this is never the latest run.
                | CloseStatus::ContinuedAsNew,
            ),
            _,
            IdReusePolicy::AllowDuplicateFailedOnly,
        ) => StartDecision::Start,
        (Some(_), _, IdReusePolicy::RejectDuplicate) => refused,
    }
}

pub(super) fn check_started(started: &WorkflowStarted) -> Result<(), BadField> {
    check::timeout("execution_timeout", started.execution_timeout)?;
    check::timeout("run_timeout", started.run_timeout)?;
    if started.task_timeout.is_zero() {
        return Err(BadField::new("task_timeout", "must be more than zero"));
    }
    if started.task_timeout > limits::WORKFLOW_TASK_TIMEOUT_MAX {
        let (actual, limit) = (started.task_timeout.as_secs(), limits::WORKFLOW_TASK_TIMEOUT_MAX.as_secs());
        return Err(BadField::new("task_timeout", format!("is {actual} seconds long; the limit is {limit} seconds")));
    }
    check::duration("start_delay", started.first_task_backoff)?;
    if let Some(cron) = &started.cron {
        cron.check().map_err(|wrong| BadField::new("cron", wrong.to_string()))?;
    }
    if let Some(policy) = &started.retry_policy {
        policy.validate().map_err(|invalid| BadField::new("retry_policy", invalid.to_string()))?;
    }
    check_standalone(started)?;
    properties::check_search_attributes(&started.search_attributes)?;
    properties::check_text("summary", &started.summary, limits::SUMMARY_BYTES_MAX)?;
    properties::check_text("details", &started.details, limits::DETAILS_BYTES_MAX)?;
    let memo: usize = started.memo.iter().map(|(key, value)| key.len() + Payload::size(value)).sum();
    check::payload_size("input", payload::total_size(&started.input) + memo)
}

impl Execution {
    /// Begins a run: the transition holds its first event, from which [`Execution::replay`] makes the run.
    ///
    /// The run id is the caller's, and the start's policies are decided already ([`decide_start`]). `execution_deadline` is
    /// filled in from `execution_timeout` if it is not carried from a run before. The first run of a cron waits for the first time.
    pub fn begin(mut started: WorkflowStarted, now: Timestamp) -> Result<Transition, Rejection> {
        check_started(&started)?;
        if started.execution_deadline.is_none() {
            started.execution_deadline = started.execution_timeout.map(|timeout| now + timeout);
        }
        if started.continued_from.is_none()
            && let Some(cron) = &started.cron
        {
            let wrong = |field: &str, problem: &str| {
                Err(Rejection::Invalid { field: field.to_owned(), problem: problem.to_owned() })
            };
            if started.first_task_backoff > Duration::ZERO {
                return wrong("start_delay", "cannot go with a cron, whose times say when the first run begins");
            }
            let Some(first) = cron.next_after(now) else {
                return wrong("cron", "names no time in the future");
            };
            if started.execution_deadline.is_some_and(|deadline| first >= deadline) {
                return wrong("execution_timeout", "ends before the first time of the cron");
            }
            started.first_task_backoff = first.since(now);
        }
        let mut transition = Transition::reply(Reply::Done);
        if started.first_task_backoff == Duration::ZERO {
            let task_queue = started.task_queue.clone();
            transition.effects.push(match started.activity {
                None => Effect::OfferWorkflowTask { task_queue, attempt: 1 },
                Some(_) => Effect::OfferActivity { scheduled_event_id: EventId::FIRST, attempt: 1, task_queue },
            });
        }
        let kind = EventKind::WorkflowStarted(Box::new(started));
        transition.events.push(Event { id: EventId::FIRST, at: now, kind });
        Ok(transition)
    }

    /// The state after the first event of a history.
    pub(super) fn from_start(started: &WorkflowStarted, at: Timestamp) -> Execution {
        let delayed_until = (started.first_task_backoff > Duration::ZERO).then(|| at + started.first_task_backoff);
        let mut kept = Box::new(started.clone());
        kept.input.iter_mut().for_each(Payload::detach);
        kept.memo.iter_mut().for_each(|(_, value)| value.detach());
        let mut run = Execution {
            started: kept,
            started_at: at,
            next_event_id: EventId::FIRST.next(),
            clock: at,
            closed: None,
            cancel_requested: false,
            signals: super::signal::SeenRequests::default(),
            workflow_task: match started.activity {
                None => super::workflow_task::WorkflowTask::first(at, delayed_until),
                Some(_) => super::workflow_task::WorkflowTask::never(),
            },
            activities: super::activity::Activities::default(),
            timers: super::timer::Timers::default(),
            peers: super::peer::Peers::default(),
            published: super::publish::Published::default(),
            updates: super::update::Updates::default(),
            buffer: super::buffer::Buffer::default(),
            deadlines: super::deadline::Deadlines::default(),
            properties: properties::Properties::of_start(started),
            pauses: super::pause::Pauses::default(),
            versioning: super::versioning::Versioning::of_start(started),
        };
        for request_id in &started.seen_request_ids {
            run.signals.note(Some(request_id));
        }
        run.deadlines.shift(Source::Execution, None, run.execution_deadline());
        run.deadlines.shift(Source::Run, None, run.run_deadline());
        if started.activity.is_none() {
            run.deadlines.shift(Source::WorkflowTask, None, delayed_until);
        }
        run.open_standalone(started, at);
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;
    use crate::retry::RetryPolicy;

    #[test]
    fn the_table_of_starts_holds() {
        use IdConflictPolicy::{Fail, TerminateExisting, UseExisting};
        use IdReusePolicy::{AllowDuplicate, AllowDuplicateFailedOnly, RejectDuplicate};
        let run_id = RunId::from_parts(BEGIN, [1; 10]);
        let id = RequestId::from_trusted("r");
        let run = |status| LatestRun { run_id, status, request_id: Some(id.clone()) };
        let refused = |status| StartDecision::AlreadyStarted { run_id, status };
        let existing = |started_by_this_request| StartDecision::Existing { run_id, started_by_this_request };
        let (completed, failed) = (Some(CloseStatus::Completed), Some(CloseStatus::Failed));

        assert_eq!(decide_start(None, Some(&id), RejectDuplicate, Fail), StartDecision::Start);
        for status in [None, completed, failed] {
            let repeated = decide_start(Some(&run(status)), Some(&id), RejectDuplicate, TerminateExisting);
            assert_eq!(repeated, existing(true), "{status:?}");
        }
        let decide = |status, reuse, conflict| decide_start(Some(&run(status)), None, reuse, conflict);
        assert_eq!(decide(None, AllowDuplicate, Fail), refused(None));
        assert_eq!(decide(None, AllowDuplicate, UseExisting), existing(false));
        assert_eq!(decide(None, RejectDuplicate, TerminateExisting), StartDecision::TerminateAndStart(run_id));
        assert_eq!(decide(completed, AllowDuplicate, Fail), StartDecision::Start);
        assert_eq!(decide(completed, AllowDuplicateFailedOnly, UseExisting), refused(completed));
        for status in [CloseStatus::Failed, CloseStatus::Canceled, CloseStatus::Terminated, CloseStatus::TimedOut] {
            assert_eq!(decide(Some(status), AllowDuplicateFailedOnly, Fail), StartDecision::Start);
            assert_eq!(decide(Some(status), RejectDuplicate, UseExisting), refused(Some(status)));
        }
    }

    #[test]
    fn two_starts_without_request_ids_are_not_the_same() {
        let latest = LatestRun { run_id: RunId::from_parts(BEGIN, [1; 10]), status: None, request_id: None };
        let decision = decide_start(Some(&latest), None, IdReusePolicy::AllowDuplicate, IdConflictPolicy::Fail);
        assert_eq!(decision, StartDecision::AlreadyStarted { run_id: latest.run_id, status: None });
    }

    #[test]
    fn a_start_writes_one_event_and_offers_the_first_task() {
        assert_eq!(Run::start().take_log(), "1 WorkflowStarted attempt=1\n> OfferWorkflowTask attempt=1");
    }

    #[test]
    fn a_start_with_a_pause_offers_the_first_task_after_it() {
        let run = Run::start_with(|started| started.first_task_backoff = seconds(5));
        assert_eq!(run.execution.wake_at(), BEGIN + seconds(5));
        check(
            run,
            |run| run.advance_to_deadline(),
            "
                ~ task offered
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn the_chain_s_deadline_is_filled_in_once() {
        let filled = Run::start_with(|started| started.execution_timeout = Some(seconds(60)));
        assert_eq!(filled.execution.started().execution_deadline, Some(BEGIN + seconds(60)));
        let carried = Run::start_with(|started| {
            started.execution_timeout = Some(seconds(60));
            started.execution_deadline = Some(BEGIN + seconds(7));
        });
        assert_eq!(carried.execution.started().execution_deadline, Some(BEGIN + seconds(7)));
    }

    #[test]
    fn an_invalid_start_is_refused_naming_the_field_and_the_limit() {
        let refusal = |change: fn(&mut WorkflowStarted)| {
            let mut started = start_attributes();
            change(&mut started);
            Run::begin(started, BEGIN).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(|started| started.task_timeout = seconds(121)),
            "task_timeout: is 121 seconds long; the limit is 120 seconds"
        );
        assert_eq!(refusal(|started| started.task_timeout = Duration::ZERO), "task_timeout: must be more than zero");
        assert_eq!(
            refusal(|started| started.run_timeout = Some(Duration::ZERO)),
            "run_timeout: must be more than zero; leave it unset for no limit"
        );
        assert_eq!(
            refusal(|started| started.execution_timeout = Some(Duration::MAX)),
            "execution_timeout: is 18446744073709551615 seconds long; the limit is 100 years"
        );
        assert_eq!(
            refusal(|started| {
                started.retry_policy = Some(RetryPolicy { maximum_interval: Duration::MAX, ..RetryPolicy::default() });
            }),
            "retry_policy: maximum_interval must be at most 100 years"
        );
        let large = refusal(|started| {
            started.memo.push(("note".into(), Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX])));
        });
        assert!(large.starts_with("input: is 2097166 bytes large; the limit is 2097152 bytes"), "{large}");
    }
}
