//! Closing a run, and the run that may follow it.
//!
//! | cause                        | events                                                             | next run             |
//! |------------------------------|--------------------------------------------------------------------|----------------------|
//! | CompleteWorkflow (command)   | WorkflowCompleted                                                  | by the cron          |
//! | CancelWorkflow (command)     | WorkflowCanceled                                                   | —                    |
//! | FailWorkflow (command)       | WorkflowFailed                                                     | by the retry policy, else the cron |
//! | ContinueAsNew (command)      | WorkflowContinuedAsNew (`continue_as_new`)                         | always               |
//! | Terminate                    | (forced end), WorkflowTerminated                                   | —                    |
//! | run timeout                  | (forced end), WorkflowTimedOut                                     | by the retry policy, else the cron |
//! | execution deadline           | (forced end), WorkflowTimedOut                                     | —                    |
//!
//! The forced end of a workflow task that is started or in doubt: `WorkflowTaskScheduled`, `WorkflowTaskStarted`,
//! `WorkflowTaskFailed(ForceClosed)`, then what was buffered. Without such a task the close event comes alone.
//!
//! A run whose cancellation was requested is not followed by another: that one would not know of the request.
//!
//! Of a chain with a cron, each run begins at the first time after the end of the run before, and carries the result of the last run that
//! completed and the failure of the run before. A retry comes first: only when there is no further try does the cron go on.
//! Invariant: the close event is the last, and after it nothing is open: tasks are withdrawn, rows of progress deleted.

use crate::event::{
    EventKind, WorkflowCompleted, WorkflowFailed, WorkflowStarted, WorkflowTaskFailureCause, WorkflowTimedOut,
};
use crate::execution::deadline::Source;
use crate::execution::draft::Draft;
use crate::execution::{Effect, Execution, NextRun};
use crate::failure::{Failure, RetryState, TimeoutKind};
use crate::ids::{EventId, mix};
use crate::limits;
use crate::payload::Payload;
use crate::retry::RetryDecision;
use crate::time::Timestamp;

impl Draft<'_> {
    /// Closes the run with `kind`, which must be a close event.
    pub(super) fn close(&mut self, kind: EventKind) {
        let Some(status) = kind.close_status() else { return };
        self.push(kind);
        // A task that ended in this transition was handed in by its worker; only one that is elsewhere has to be taken back.
        if self.task != super::draft::Task::Completed && self.run.workflow_task.is_offered_or_running() {
            self.effect(Effect::WithdrawWorkflowTask);
        }
        for (scheduled_event_id, activity) in self.run.activities.iter() {
            if activity.stored {
                self.progress(scheduled_event_id);
            }
            if activity.is_offered_or_running() && !self.overlay.ended_activities.contains(&scheduled_event_id) {
                self.effect(Effect::WithdrawActivity { scheduled_event_id, attempt: activity.attempt });
            }
        }
        self.leave_updates_behind();
        self.effect(Effect::Closed(status));
    }

    /// Before a close from outside: ends the workflow task, if a worker has or may have it, so that what was buffered gets its
    /// numbers.
    pub(super) fn end_task_by_force(&mut self) {
        // A task that was needed for updates only leaves no trace.
        let leaves_trace = self.run.workflow_task.is_news() || !self.run.buffer.is_empty();
        if let Some((token, identity)) = self.run.running_task_token(self.clock()).filter(|_| leaves_trace) {
            let failure = Failure::server("the run was closed while the workflow task was running", true);
            self.push_task_failed(&token, &identity, WorkflowTaskFailureCause::ForceClosed, failure, "");
        }
        self.flush_buffer();
    }

    /// Closes the run as completed, and begins the next one if it has a cron.
    pub(super) fn close_completed(&mut self, result: Option<Payload>, workflow_task_completed_event_id: EventId) {
        // Most runs have none, and their result is not copied.
        let cron = self.run.started.cron.as_ref();
        let next = cron.and_then(|_| self.next_by_cron(result.clone(), None));
        let new_run_id = next.as_ref().map(|started| started.run_id);
        self.close(EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id,
            result,
            new_run_id,
        }));
        self.start_next(next);
    }

    /// Closes the run as failed, and begins the next one if its retry policy or its cron has one.
    pub(super) fn close_failed(&mut self, failure: Failure, workflow_task_completed_event_id: EventId) {
        let (retry_state, next) = self.next_after_failure(&failure);
        let new_run_id = next.as_ref().map(|started| started.run_id);
        self.close(EventKind::WorkflowFailed(WorkflowFailed {
            workflow_task_completed_event_id,
            failure,
            retry_state,
            new_run_id,
        }));
        self.start_next(next);
    }

    /// Closes the run because its run timeout or its chain's deadline has passed.
    pub(super) fn close_timed_out(&mut self, source: Source) {
        self.end_task_by_force();
        let (retry_state, next) = match source {
            Source::Run => self.next_after_failure(&Failure::timeout(TimeoutKind::StartToClose, None)),
            Source::Execution | Source::WorkflowTask | Source::Timer(_) | Source::Activity(_) => {
                (RetryState::Timeout, None)
            }
        };
        let new_run_id = next.as_ref().map(|started| started.run_id);
        self.close(EventKind::WorkflowTimedOut(WorkflowTimedOut { retry_state, new_run_id, failure: None }));
        self.start_next(next);
    }

    /// The run that follows when this one closes with the next event because of `failure`: its next try, or the next of its cron.
    fn next_after_failure(&self, failure: &Failure) -> (RetryState, Option<Box<WorkflowStarted>>) {
        let (retry_state, next) = self.next_try(failure);
        let next = next.or_else(|| self.next_by_cron(self.run.started.last_result.clone(), Some(failure.clone())));
        (retry_state, next)
    }

    /// The next run of the cron, which knows `last_result` and `failure`.
    fn next_by_cron(&self, last_result: Option<Payload>, failure: Option<Failure>) -> Option<Box<WorkflowStarted>> {
        let started = &self.run.started;
        let at = started.cron.as_ref()?.next_after(self.now)?;
        let is_too_late = self.run.execution_deadline().is_some_and(|deadline| at >= deadline);
        if is_too_late || self.run.cancel_requested {
            return None;
        }
        Some(Box::new(WorkflowStarted {
            attempt: 1,
            continued_failure: failure,
            last_result,
            versioning: self.versioning_of_next(true),
            ..self.next_of_chain(at)
        }))
    }

    /// The run that follows this one, which closes with the next event, and whose code begins at `at`.
    fn next_of_chain(&self, at: Timestamp) -> WorkflowStarted {
        let started = &self.run.started;
        WorkflowStarted {
            run_id: started.run_id.successor(self.next_event_id(), self.now),
            continued_from: Some(started.run_id),
            execution_deadline: self.run.execution_deadline(),
            // An error may ask for any delay; a start may not.
            first_task_backoff: at.since(self.now).min(limits::DURATION_MAX),
            // A parent that repeats the start of its child must find the child, whichever try it is at.
            request_id: started.parent.as_ref().and(started.request_id.clone()),
            seen_request_ids: self.run.signals.latest(),
            reset: None,
            ..WorkflowStarted::clone(started)
        }
    }

    /// The next try of this run, which closes with the next event because of `failure`.
    fn next_try(&self, failure: &Failure) -> (RetryState, Option<Box<WorkflowStarted>>) {
        let started = &self.run.started;
        let Some(policy) = &started.retry_policy else {
            return (RetryState::RetryPolicyNotSet, None);
        };
        if self.run.cancel_requested {
            return (RetryState::CancelRequested, None);
        }
        let deadline = self.run.execution_deadline().unwrap_or(Timestamp::MAX);
        let seed = mix(started.run_id.seed());
        match policy.after_failure(failure, started.attempt, started.attempt, self.now, deadline, seed) {
            RetryDecision::GiveUp(reason) => (reason, None),
            RetryDecision::RetryAt(at) => {
                let next = WorkflowStarted {
                    attempt: started.attempt.saturating_add(1),
                    continued_failure: Some(failure.clone()),
                    versioning: self.versioning_of_next(false),
                    ..self.next_of_chain(at)
                };
                (RetryState::InProgress, Some(Box::new(next)))
            }
        }
    }

    fn start_next(&mut self, next: Option<Box<WorkflowStarted>>) {
        if let Some(started) = next {
            self.effect(Effect::StartRun(Box::new(NextRun { started: *started, signals: Vec::new() })));
        }
    }
}

impl Execution {
    pub(super) fn apply_closed(&mut self, kind: &EventKind, at: Timestamp) {
        self.closed = kind.close_status().map(|status| (status, at));
        self.workflow_task.end();
        self.activities.clear();
        self.apply_parting(kind);
        if let EventKind::WorkflowContinuedAsNew(_) = kind {
            // The next run knows them. Those of signals that were handed over are in no event of this one.
            self.signals = super::signal::SeenRequests::default();
        }
        self.timers = super::timer::Timers::default();
        self.buffer.clear();
        self.end_pauses();
        self.end_moves();
        self.updates.close();
        self.deadlines.clear();
    }

    /// When this run must be over, if it must. The pause before the first workflow task does not count.
    pub(super) fn run_deadline(&self) -> Option<Timestamp> {
        let allowed = self.started.run_timeout? + self.started.first_task_backoff;
        Some(self.deadlines.time.after(self.started_at, allowed))
    }

    /// When the whole chain must be over, if it must.
    pub(super) fn execution_deadline(&self) -> Option<Timestamp> {
        let deadline = self.started.execution_deadline?;
        Some(self.deadlines.time.moved(deadline, self.started_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Transition;
    use crate::execution::support::*;

    fn next_run(transition: &Transition) -> &WorkflowStarted {
        let started = transition.effects.iter().find_map(|effect| match effect {
            Effect::StartRun(next) => Some(&next.started),
            _ => None,
        });
        started.expect("a run follows")
    }

    #[test]
    fn a_failed_run_with_a_retry_policy_begins_its_next_try() {
        let run = Run::start_with(|started| started.retry_policy = Some(retry(3)));
        let run = check(
            run,
            |run| run.turn(vec![fail("Declined")]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowFailed task=4 retry_state=InProgress
                > Closed Failed
                > StartRun attempt=2 backoff=1s
            ",
        );
        let EventKind::WorkflowFailed(end) = &run.history.last().unwrap().kind else { panic!("not failed") };
        let follows = end.new_run_id.expect("a run follows");
        assert!(follows > run.execution.started().run_id);
    }

    #[test]
    fn the_next_try_carries_what_belongs_to_the_chain() {
        let mut run = Run::start_with(|started| {
            started.retry_policy = Some(retry(3));
            started.execution_timeout = Some(seconds(600));
            started.request_id = Some(crate::ids::RequestId::from_trusted("r"));
        });
        let token = run.take_task();
        let input = crate::execution::Input::CompleteWorkflowTask {
            token,
            commands: vec![fail("Declined")],
            rejected_updates: Vec::new(),
            worker: crate::event::WorkerMetadata::default(),
            force_new_task: false,
            identity: "worker".into(),
        };
        let transition = run.send(input).unwrap();
        let next = next_run(&transition);
        assert_eq!(next.attempt, 2);
        assert_eq!(next.first_task_backoff, seconds(1));
        assert_eq!(next.execution_deadline, Some(BEGIN + seconds(600)));
        assert_eq!(next.continued_from, Some(run.execution.started().run_id));
        assert_eq!(next.first_run_id, run.execution.started().first_run_id);
        assert_eq!(next.request_id, None);
        assert_eq!(next.continued_failure, Some(Failure::application("Declined", "no")));
        let second = Run::begin(next.clone(), run.now).expect("the start is valid");
        check(
            second,
            |run| run.advance_to_deadline(),
            "
                ~ task offered
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn the_last_try_fails_for_good_and_says_why() {
        let last = |change: fn(&mut WorkflowStarted)| {
            let mut run = Run::start_with(|started| {
                started.retry_policy = Some(retry(3));
                change(started);
            });
            run.turn(vec![fail("Declined")]);
            run.history_text().lines().last().unwrap().to_owned()
        };
        assert_eq!(last(|started| started.attempt = 3), "5 WorkflowFailed task=4 retry_state=MaximumAttemptsReached");
        assert_eq!(
            last(|started| started.retry_policy = None),
            "5 WorkflowFailed task=4 retry_state=RetryPolicyNotSet"
        );
        assert_eq!(
            last(|started| started.execution_timeout = Some(seconds(1))),
            "5 WorkflowFailed task=4 retry_state=Timeout"
        );
        assert_eq!(
            last(|started| {
                started.retry_policy.as_mut().unwrap().non_retryable_types.push("Declined".into());
            }),
            "5 WorkflowFailed task=4 retry_state=NonRetryableFailure"
        );
    }

    fn every_minute() -> Option<Box<crate::cron::Cron>> {
        Some(Box::new(crate::cron::Cron { expression: "* * * * *".to_owned(), time_zone: String::new() }))
    }

    /// Half a minute before a time of the cron, for the tests begin at one.
    fn cron_run(change: impl FnOnce(&mut WorkflowStarted)) -> Run {
        let mut run = Run::start_with(|started| {
            started.cron = every_minute();
            change(started);
        });
        run.advance_to_deadline();
        run.advance(seconds(30));
        run.log.clear();
        run
    }

    #[test]
    fn the_first_run_of_a_cron_waits_for_its_first_time() {
        let run = Run::start_with(|started| started.cron = every_minute());
        let started = run.execution.started();
        let first = started.cron.as_ref().and_then(|cron| cron.next_after(BEGIN)).expect("there is a next minute");
        assert_eq!(BEGIN + started.first_task_backoff, first);
        assert!(run.log.iter().all(|line| !line.contains("OfferWorkflowTask")), "{:?}", run.log);
        let refusal = |change: fn(&mut WorkflowStarted)| {
            let mut started = start_attributes();
            started.cron = every_minute();
            change(&mut started);
            Run::begin(started, BEGIN).map(drop).expect_err("it is refused").to_string()
        };
        assert!(
            refusal(|started| started.first_task_backoff = seconds(1))
                .starts_with("start_delay: cannot go with a cron")
        );
        assert!(
            refusal(|started| started.execution_timeout = Some(seconds(1)))
                .starts_with("execution_timeout: ends before")
        );
        let wrong = refusal(|started| started.cron.as_mut().expect("it has one").expression = "61 * * * *".to_owned());
        assert!(wrong.starts_with("cron: expression.minute: has 61-61"), "{wrong}");
    }

    #[test]
    fn a_run_of_a_cron_that_completes_is_followed_by_the_next_with_its_result() {
        let run = check(
            cron_run(|started| started.continued_failure = Some(Failure::application("Old", "gone"))),
            |run| run.turn(vec![complete()]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowCompleted task=4 continued
                > Closed Completed
                > StartRun attempt=1 backoff=30s
            ",
        );
        let EventKind::WorkflowCompleted(end) = &run.history.last().expect("it closed").kind else {
            panic!("it completed")
        };
        let next = &run.next_run.as_ref().expect("a run follows").started;
        assert_eq!((&next.last_result, &next.continued_failure), (&end.result, &None));
        assert_eq!(end.new_run_id, Some(next.run_id));
        let before = run.execution.started();
        assert_eq!((next.first_run_id, next.continued_from), (before.first_run_id, Some(before.run_id)));
        assert_eq!((&next.input, &next.cron), (&before.input, &before.cron));
    }

    #[test]
    fn a_run_of_a_cron_that_fails_hands_on_the_last_result_and_its_failure() {
        let last_result = Some(Payload::json("41"));
        let mut run = cron_run(|started| {
            started.last_result = last_result.clone();
            started.retry_policy = Some(retry(2));
            started.attempt = 2;
        });
        run.turn(vec![fail("Declined")]);
        assert!(run.history_text().ends_with("5 WorkflowFailed task=4 retry_state=MaximumAttemptsReached"));
        let next = run.next_run.take().expect("a run follows").started;
        assert_eq!((next.last_result, next.attempt), (last_result, 1));
        assert_eq!(next.continued_failure, Some(Failure::application("Declined", "no")));
        assert_eq!(next.first_task_backoff, seconds(30));
    }

    #[test]
    fn a_retry_comes_before_the_next_time_of_the_cron() {
        let mut run = cron_run(|started| started.retry_policy = Some(retry(3)));
        run.turn(vec![fail("Declined")]);
        let next = run.next_run.take().expect("a run follows").started;
        assert_eq!((next.attempt, next.first_task_backoff, next.cron), (2, seconds(1), every_minute()));
    }

    #[test]
    fn a_run_of_a_cron_that_takes_too_long_is_followed_by_the_next() {
        let mut run = cron_run(|started| started.run_timeout = Some(seconds(31)));
        run.advance_to_deadline();
        let next = run.next_run.take().expect("a run follows").started;
        assert_eq!(next.continued_failure, Some(Failure::timeout(TimeoutKind::StartToClose, None)));
    }

    #[test]
    fn a_cron_ends_with_a_request_to_cancel_a_termination_or_its_deadline() {
        let follows = |run: Run| run.next_run.is_some();
        let mut canceled = cron_run(|_| ());
        canceled.cancel();
        canceled.turn(vec![complete()]);
        assert!(!follows(canceled), "the next run would not know of the request");
        let mut terminated = cron_run(|_| ());
        let stop = crate::execution::Input::Terminate { reason: "enough".into(), details: None, identity: "me".into() };
        terminated.send(stop).expect("it is open");
        assert!(terminated.execution.close_status().is_some() && !follows(terminated));
        let mut late = cron_run(|started| {
            let first = started.cron.as_ref().and_then(|cron| cron.next_after(BEGIN)).expect("there is a next minute");
            started.execution_timeout = Some(first.since(BEGIN) + seconds(60));
        });
        late.turn(vec![complete()]);
        assert!(!follows(late), "the next time is at the deadline");
    }

    #[test]
    fn a_run_that_was_asked_to_stop_is_not_tried_again() {
        let mut run = Run::start_with(|started| started.retry_policy = Some(retry(0)));
        run.cancel();
        check(
            run,
            |run| run.turn(vec![fail("Declined")]),
            "
                ~ task started attempt=1
                3 WorkflowTaskScheduled attempt=1
                4 WorkflowTaskStarted scheduled=3
                5 WorkflowTaskCompleted scheduled=3 started=4
                6 WorkflowFailed task=5 retry_state=CancelRequested
                > Closed Failed
            ",
        );
    }

    #[test]
    fn a_run_that_takes_too_long_is_closed_and_tried_again() {
        let mut run = Run::start_with(|started| {
            started.retry_policy = Some(retry(0));
            started.run_timeout = Some(seconds(5));
        });
        run.take_task();
        run.signal("a");
        check(
            run,
            |run| run.advance_to_deadline(),
            "
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=ForceClosed
                5 WorkflowSignaled a
                6 WorkflowTimedOut retry_state=InProgress
                > WithdrawWorkflowTask
                > Closed TimedOut
                > StartRun attempt=2 backoff=1s
            ",
        );
    }

    #[test]
    fn the_pause_before_the_first_task_does_not_count_towards_the_run_timeout() {
        let run = Run::start_with(|started| {
            started.run_timeout = Some(seconds(5));
            started.first_task_backoff = seconds(60);
        });
        check(
            run,
            |run| {
                run.advance(seconds(64));
                run.due();
                run.advance(seconds(1));
                run.due();
            },
            "
                ~ task offered
                > OfferWorkflowTask attempt=1
                2 WorkflowTimedOut retry_state=RetryPolicyNotSet
                > WithdrawWorkflowTask
                > Closed TimedOut
            ",
        );
    }

    #[test]
    fn closing_takes_back_what_is_open_and_deletes_rows_of_progress() {
        let mut run = Run::start();
        run.turn(vec![schedule("queued"), schedule("running"), schedule("paused"), schedule("to cancel")]);
        run.take_activity("running");
        let token = run.take_activity("paused");
        run.fail_activity(token, Failure::application("Busy", "later"));
        run.signal("go");
        let run = check(
            run,
            |run| run.turn(vec![cancel_activity("to cancel"), schedule("unborn"), complete()]),
            "
                ~ task started attempt=1
                10 WorkflowTaskScheduled attempt=1
                11 WorkflowTaskStarted scheduled=10
                12 WorkflowTaskCompleted scheduled=10 started=11
                13 ActivityCancelRequested scheduled=8 task=12
                14 ActivityCanceled scheduled=8 started=0 requested=13
                15 ActivityScheduled unborn task=12
                16 WorkflowCompleted task=12
                % 7 deleted
                > WithdrawActivity 8 attempt=1
                > WithdrawActivity 5 attempt=1
                > WithdrawActivity 6 attempt=1
                > Closed Completed
            ",
        );
        assert!(run.progress.is_empty());
        assert_eq!(run.execution.wake_at(), Timestamp::MAX);
        assert_eq!(
            (run.execution.close_status(), run.execution.closed_at()),
            (Some(crate::event::CloseStatus::Completed), Some(BEGIN))
        );
    }
}
