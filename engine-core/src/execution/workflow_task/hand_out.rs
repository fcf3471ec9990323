//! How the workflow task moves between its queue and workers. Nothing of it is written. See the table in [`super`].

use super::State;
use crate::event::{
    ContinueAsNewReasons, Event, EventKind, WorkflowTaskFailureCause, WorkflowTaskScheduled, WorkflowTaskStarted,
};
use crate::execution::draft::{Draft, Task};
use crate::execution::{Effect, Execution, Fact, Rejection, Reply, StartedWorkflowTask, Transition, WorkflowTaskToken};
use crate::failure::Failure;
use crate::limits;
use crate::time::Timestamp;

impl Execution {
    pub(in crate::execution) fn decide_start_task(
        &self,
        identity: String,
        history_size_bytes: u64,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        if self.workflow_task.state != State::Scheduled || self.is_paused() {
            return Err(stale(format!("it was offered, but {}", self.task_standing())));
        }
        let token = self.new_token(history_size_bytes, now);
        let events = self.provisional_events(&token, &identity);
        let start_to_close = self.started.task_timeout;
        let mut draft = Draft::new(self, now);
        draft.fact(Fact::WorkflowTaskStarted { token, identity });
        let updates = self.updates.requests_to_send();
        if !updates.is_empty() {
            draft.fact(Fact::UpdatesSent { token });
        }
        let task = StartedWorkflowTask { token, events, updates, start_to_close };
        Ok(draft.finish(Reply::WorkflowTask(Box::new(task))))
    }

    pub(in crate::execution) fn decide_claim_task(
        &self,
        token: WorkflowTaskToken,
        identity: String,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        if let State::Started { token: current, .. } = &self.workflow_task.state
            && *current != token
        {
            return Err(stale("another worker has it by now".to_owned()));
        }
        let mut draft = Draft::new(self, now);
        if self.workflow_task.state == State::Scheduled {
            draft.effect(Effect::WithdrawWorkflowTask);
        }
        draft.fact(Fact::WorkflowTaskStarted { token, identity });
        Ok(draft.finish(Reply::Done))
    }

    pub(in crate::execution) fn decide_release_task(
        &self,
        token: WorkflowTaskToken,
        now: Timestamp,
    ) -> Result<Transition, Rejection> {
        self.check_task_token(&token)?;
        match &self.workflow_task.state {
            State::InDoubt => {}
            State::Started { token: current, .. } if *current == token => {}
            State::Started { .. } | State::Unneeded | State::Delayed | State::Scheduled | State::Paused { .. } => {
                return Err(stale(format!("it is not at the worker that released it: {}", self.task_standing())));
            }
        }
        let mut draft = Draft::new(self, now);
        let losses = self.workflow_task.losses + 1;
        if self.workflow_task.state != State::InDoubt && losses >= limits::WORKFLOW_TASK_LOSSES_MAX {
            let failure = Failure::worker_lost(format!(
                "{losses} workers in a row vanished while they had this task: the workflow's code may be killing them"
            ));
            draft.fail_task(&token, WorkflowTaskFailureCause::WorkerFailure, failure, "");
        } else {
            draft.release_task();
        }
        Ok(draft.finish(Reply::Done))
    }

    /// A token for handing the task out at `now`.
    fn new_token(&self, history_size_bytes: u64, now: Timestamp) -> WorkflowTaskToken {
        let events = self.next_event_id.0 - 1;
        WorkflowTaskToken {
            scheduled_event_id: self.next_event_id,
            attempt: self.workflow_task.attempt,
            scheduled_at: self.workflow_task.scheduled_at,
            started_at: self.clock.max(now),
            history_at: self.clock,
            history_size_bytes,
            suggest_continue_as_new: ContinueAsNewReasons {
                history_events: events >= limits::HISTORY_EVENTS_SUGGEST,
                history_bytes: history_size_bytes >= limits::HISTORY_BYTES_SUGGEST,
                updates: self.updates.recorded_len() >= limits::UPDATES_SUGGEST,
            },
        }
    }

    /// The token and the holder of the task that a worker has or may have.
    pub(in crate::execution) fn running_task_token(&self, now: Timestamp) -> Option<(WorkflowTaskToken, String)> {
        match &self.workflow_task.state {
            State::Started { token, identity } => Some((*token, identity.clone())),
            State::InDoubt => Some((self.new_token(0, now), String::new())),
            State::Unneeded | State::Delayed | State::Scheduled | State::Paused { .. } => None,
        }
    }

    /// The `WorkflowTaskScheduled` and `WorkflowTaskStarted` that are written when the task ends.
    pub(super) fn provisional_events(&self, token: &WorkflowTaskToken, identity: &str) -> [Event; 2] {
        let scheduled = EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: self.started.task_queue.clone(),
            start_to_close: self.started.task_timeout,
            attempt: token.attempt,
        });
        let started = EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id: token.scheduled_event_id,
            identity: identity.to_owned(),
            history_size_bytes: token.history_size_bytes,
            suggest_continue_as_new: token.suggest_continue_as_new,
        });
        [
            Event { id: token.scheduled_event_id, at: token.scheduled_at, kind: scheduled },
            Event { id: token.scheduled_event_id.next(), at: token.started_at, kind: started },
        ]
    }

    /// Refuses a token that does not name the task that the run waits for.
    ///
    /// The scheduled event's number, with the time of the event before it, stands for all that came before, so a task with these
    /// and that try is the right one even if the server forgot that it had handed it out. Tries after the first are forgotten too: in doubt the number is
    /// enough.
    pub(super) fn check_task_token(&self, token: &WorkflowTaskToken) -> Result<(), Rejection> {
        let task = &self.workflow_task;
        let any_attempt = match task.state {
            State::Unneeded | State::Paused { .. } => {
                return Err(stale(format!(
                    "scheduled event {}, attempt {} came, but {}",
                    token.scheduled_event_id,
                    token.attempt,
                    self.task_standing()
                )));
            }
            State::Started { .. } => false,
            State::InDoubt => true,
            State::Delayed | State::Scheduled => !task.handed_out,
        };
        let expected = self.next_event_id;
        if token.scheduled_event_id != expected || (token.attempt != task.attempt && !any_attempt) {
            return Err(stale(format!(
                "expected scheduled event {expected}, attempt {}; got scheduled event {}, attempt {}",
                task.attempt, token.scheduled_event_id, token.attempt
            )));
        }
        if token.history_at != self.clock {
            return Err(stale(format!("scheduled event {expected} came for news that a crash lost, or is forged")));
        }
        // A token that this run gave out cannot be older than its history: the clock of the code never runs backwards.
        if token.started_at < self.clock || token.attempt == 0 {
            return Err(stale(format!(
                "a token of scheduled event {expected} cannot have these numbers: it is forged"
            )));
        }
        Ok(())
    }

    fn task_standing(&self) -> String {
        match &self.workflow_task.state {
            _ if self.closed.is_some() => "the run is closed".to_owned(),
            State::Scheduled if self.is_paused() => "the run is paused".to_owned(),
            State::Unneeded => "the run waits for no workflow task".to_owned(),
            State::Delayed => "the run's first workflow task is not due".to_owned(),
            State::Scheduled => "the task is in its queue".to_owned(),
            State::Started { identity, .. } => format!("worker {identity:?} has it"),
            State::Paused { .. } => format!("attempt {} is not due", self.workflow_task.attempt),
            State::InDoubt => "a worker may still have it".to_owned(),
        }
    }
}

impl Draft<'_> {
    /// Puts the task back into its queue, with the same try and with what was buffered numbered, so that the next worker sees
    /// it.
    fn release_task(&mut self) {
        self.fact(Fact::WorkflowTaskReleased);
        self.task = Task::Pending;
        self.flush_buffer();
        self.offer_workflow_task(self.run.workflow_task.attempt);
    }

    /// The grace after a recovery is over: offers the task if it is still in doubt. Returns whether it was.
    pub(in crate::execution) fn end_task_grace(&mut self) -> bool {
        let task = &self.run.workflow_task;
        if task.state != State::InDoubt {
            return false;
        }
        if task.delayed_until.is_some_and(|until| until > self.now || self.run.is_paused()) {
            // Nobody can have it: `Fact::GraceEnded` puts it back into its pause.
            self.task = Task::Pending;
            self.flush_buffer();
        } else {
            self.release_task();
        }
        true
    }
}

pub(super) fn stale(why: String) -> Rejection {
    Rejection::StaleTask { what: "workflow task", why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StatePublished;
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::ids::{EventId, PublishedName};
    use crate::payload::Payload;

    fn release(token: WorkflowTaskToken) -> Input {
        Input::ReleaseWorkflowTask { token }
    }

    fn claim(token: WorkflowTaskToken) -> Input {
        Input::ClaimWorkflowTask { token, identity: "worker".into() }
    }

    #[test]
    fn handing_out_writes_nothing_and_is_done_once() {
        let run = check(
            Run::start(),
            |run| {
                run.take_task();
                let _ = run.send(Input::StartWorkflowTask { identity: "other".into(), history_size_bytes: 0 });
            },
            r#"
                ~ task started attempt=1
                ! workflow task is stale: it was offered, but worker "worker" has it
            "#,
        );
        assert_eq!(run.history.len(), 1);
    }

    #[test]
    fn the_task_s_events_have_the_numbers_and_times_that_are_written_later() {
        let mut run = Run::start();
        run.advance(seconds(3));
        let input = Input::StartWorkflowTask { identity: "worker".into(), history_size_bytes: 100 };
        let Reply::WorkflowTask(task) = run.send(input).unwrap().reply else { panic!("no task") };
        run.advance(seconds(1));
        run.finish_task(task.token, vec![]);
        assert_eq!(run.history[1..3], task.events);
        assert_eq!(task.events.each_ref().map(|event| event.at), [BEGIN, BEGIN + seconds(3)]);
    }

    #[test]
    fn the_clock_of_the_code_never_runs_backwards() {
        let mut run = Run::start();
        run.advance(seconds(9));
        run.turn(vec![]);
        run.now = BEGIN;
        run.signal("a");
        run.turn(vec![]);
        let times: Vec<Timestamp> = run.history.iter().map(|event| event.at).collect();
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn a_long_history_suggests_to_continue_as_new_and_says_why() {
        let suggests = |events: u64, history_size_bytes| {
            let mut execution = Run::start().execution;
            for number in 2..=events {
                let kind = EventKind::StatePublished(StatePublished {
                    workflow_task_completed_event_id: EventId::NONE,
                    name: PublishedName::from_trusted("n"),
                    value: Payload::json("1"),
                });
                execution.apply(&Event { id: EventId(number), at: BEGIN, kind });
            }
            let start = Input::StartWorkflowTask { identity: String::new(), history_size_bytes };
            let Reply::WorkflowTask(task) = execution.decide(start, BEGIN).unwrap().reply else { panic!("no task") };
            let ContinueAsNewReasons { history_events, history_bytes, .. } = task.token.suggest_continue_as_new;
            (history_events, history_bytes)
        };
        let (events, bytes) = (limits::HISTORY_EVENTS_SUGGEST, limits::HISTORY_BYTES_SUGGEST);
        assert_eq!(suggests(events - 1, bytes - 1), (false, false));
        assert_eq!(suggests(events, bytes - 1), (true, false));
        assert_eq!(suggests(events - 1, bytes), (false, true));
    }

    #[test]
    fn a_released_task_is_offered_again_as_the_same_try_with_what_was_buffered() {
        let mut run = Run::start();
        let token = run.take_task();
        run.signal("a");
        check(
            run,
            |run| {
                run.send(release(token)).unwrap();
                run.finish_task(token, vec![complete()]);
                let _ = run.send(release(token));
            },
            "
                ~ task released
                ~ buffer flushed
                2 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                ! workflow task is stale: expected scheduled event 3, attempt 1; got scheduled event 2, attempt 1
                ! workflow task is stale: expected scheduled event 3, attempt 1; got scheduled event 2, attempt 1
            ",
        );
    }

    #[test]
    fn a_task_that_kills_worker_after_worker_fails_and_pauses() {
        let lose = |run: &mut Run| {
            let token = run.take_task();
            run.send(release(token)).unwrap();
        };
        let mut run = Run::start();
        (1..limits::WORKFLOW_TASK_LOSSES_MAX).for_each(|_| lose(&mut run));
        let run = check(
            run,
            lose,
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=WorkerFailure
                > OfferWorkflowTask attempt=2
            ",
        );
        let mut run = run;
        (1..limits::WORKFLOW_TASK_LOSSES_MAX).for_each(|_| lose(&mut run));
        check(
            run,
            lose,
            "
                ~ task started attempt=2
                ~ task attempt 2 failed cause=Some(WorkerFailure)
            ",
        );
    }

    #[test]
    fn a_second_release_does_not_touch_the_next_worker() {
        let mut run = Run::start();
        let first = run.take_task();
        run.send(release(first)).unwrap();
        run.advance(seconds(1));
        run.take_task();
        check(
            run,
            |run| {
                let _ = run.send(release(first));
                run.fail_task(first);
                let _ = run.send(claim(first));
            },
            r#"
                ! workflow task is stale: it is not at the worker that released it: worker "worker" has it
                ! workflow task is stale: another worker has it by now
                ! workflow task is stale: another worker has it by now
            "#,
        );
    }

    #[test]
    fn a_task_for_news_that_a_crash_lost_is_stale_though_its_number_fits() {
        let mut run = Run::start();
        run.turn(vec![start_timer("nap", seconds(10))]);
        let mut stored = run.clone();
        run.advance(seconds(10));
        run.due();
        let lost = run.take_task();
        stored.crash();
        stored.signal("hello");
        stored.advance(seconds(10));
        stored.take_log();
        check(
            stored,
            |run| {
                let _ = run.send(claim(lost));
                let again = run.take_task();
                run.finish_task(lost, vec![complete()]);
                run.finish_task(again, vec![complete()]);
            },
            "
                ! workflow task is stale: scheduled event 7 came for news that a crash lost, or is forged
                ~ task started attempt=1
                ! workflow task is stale: scheduled event 7 came for news that a crash lost, or is forged
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 WorkflowCompleted task=9
                > Closed Completed
            ",
        );
    }

    #[test]
    fn the_completion_of_a_released_task_is_welcome_while_its_history_still_fits() {
        let mut run = Run::start();
        let token = run.take_task();
        run.send(release(token)).unwrap();
        check(
            run,
            |run| run.finish_task(token, vec![complete()]),
            "
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowCompleted task=4
                > WithdrawWorkflowTask
                > Closed Completed
            ",
        );
    }

    #[test]
    fn a_task_in_doubt_is_claimed_and_completed() {
        let mut run = Run::start();
        let token = run.take_task();
        run.crash();
        check(
            run,
            |run| {
                run.send(claim(token)).unwrap();
                run.send(claim(token)).unwrap();
                run.send(Input::EndGrace).unwrap();
                run.finish_task(token, vec![complete()]);
            },
            "
                ~ task started attempt=1
                ~ task started attempt=1
                = unchanged
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowCompleted task=4
                > Closed Completed
            ",
        );
    }

    #[test]
    fn a_task_in_doubt_may_be_completed_without_a_claim_whatever_its_try() {
        let mut run = Run::start();
        for _ in 0..3 {
            let token = run.take_task();
            run.fail_task(token);
            run.advance(seconds(60));
            run.due();
        }
        let token = run.take_task();
        assert_eq!(token.attempt, 4);
        run.crash();
        check(
            run,
            |run| run.finish_task(token, vec![complete()]),
            "
                5 WorkflowTaskScheduled attempt=4
                6 WorkflowTaskStarted scheduled=5
                7 WorkflowTaskCompleted scheduled=5 started=6
                8 WorkflowCompleted task=7
                > Closed Completed
            ",
        );
    }

    #[test]
    fn a_task_that_nobody_claims_is_offered_after_the_grace() {
        let mut run = Run::start();
        let token = run.take_task();
        run.crash();
        run.signal("a");
        check(
            run,
            |run| {
                let _ = run.send(Input::StartWorkflowTask { identity: "eager".into(), history_size_bytes: 0 });
                run.send(Input::EndGrace).unwrap();
                let _ = run.send(claim(token));
                run.turn(vec![complete()]);
            },
            "
                ! workflow task is stale: it was offered, but a worker may still have it
                ~ task released
                ~ buffer flushed
                ~ grace ended
                2 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                ! workflow task is stale: expected scheduled event 3, attempt 1; got scheduled event 2, attempt 1
                ~ task started attempt=1
                3 WorkflowTaskScheduled attempt=1
                4 WorkflowTaskStarted scheduled=3
                5 WorkflowTaskCompleted scheduled=3 started=4
                6 WorkflowCompleted task=5
                > Closed Completed
            ",
        );
    }

    #[test]
    fn a_pause_before_the_first_task_outlives_a_recovery() {
        let mut run = Run::start_with(|started| started.first_task_backoff = seconds(60));
        run.crash();
        run.signal("a");
        check(
            run,
            |run| {
                run.send(Input::EndGrace).unwrap();
                run.advance_to_deadline();
            },
            "
                ~ buffer flushed
                ~ grace ended
                2 WorkflowSignaled a
                ~ task offered
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_forged_token_is_stale() {
        let mut run = Run::start();
        run.advance(seconds(1));
        let token = run.take_task();
        check(
            run,
            |run| {
                run.finish_task(WorkflowTaskToken { started_at: Timestamp::EPOCH, ..token }, vec![complete()]);
                run.finish_task(WorkflowTaskToken { attempt: 2, ..token }, vec![complete()]);
                run.finish_task(WorkflowTaskToken { scheduled_event_id: EventId(9), ..token }, vec![complete()]);
            },
            "
                ! workflow task is stale: a token of scheduled event 2 cannot have these numbers: it is forged
                ! workflow task is stale: expected scheduled event 2, attempt 1; got scheduled event 2, attempt 2
                ! workflow task is stale: expected scheduled event 2, attempt 1; got scheduled event 9, attempt 1
            ",
        );
    }
}
