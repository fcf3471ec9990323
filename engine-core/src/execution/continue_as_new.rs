//! Continue-as-new: the code goes on in a new run of its chain, with an empty history.
//!
//! | command       | what arrived unseen | events                                            | next run                    |
//! |---------------|---------------------|---------------------------------------------------|-----------------------------|
//! | ContinueAsNew | nothing             | WorkflowContinuedAsNew                            | begins in the same transaction |
//! | ContinueAsNew | signals             | WorkflowContinuedAsNew                            | … and begins with them      |
//! | ContinueAsNew | something else      | WorkflowTaskFailed(UnhandledCommand), the buffer  | — (`command`)               |
//!
//! The new run keeps workflow id, first run, execution deadline, search attributes as they are by now, and whatever the command
//! leaves unset. It is a first try: attempts of a retry policy are counted anew. Signals that the code did not receive are recorded behind the new run's
//! first event, so that none is lost however much was waiting; those that come later reach the new run.
//!
//! Invariant: a run that is closed as continued is never the latest of its workflow id.

use crate::command::{ContinueAsNew, UnreadSignal};
use crate::event::{Event, EventKind, WorkflowContinuedAsNew, WorkflowSignaled, WorkflowStarted};
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::execution::start::check_started;
use crate::execution::{Effect, Execution, NextRun, Rejection, Transition};
use crate::ids::EventId;
use crate::limits;
use crate::payload;
use crate::time::Timestamp;

impl Draft<'_> {
    /// Refuses a command whose new run could not begin.
    pub(super) fn check_continue_as_new(&self, command: &ContinueAsNew) -> Result<(), BadField> {
        let unread = command.unread_signals.len();
        if unread > limits::UNREAD_SIGNALS_MAX {
            let limit = limits::UNREAD_SIGNALS_MAX;
            return Err(BadField::new("unread_signals", format!("there are {unread}; the limit is {limit}")));
        }
        for signal in &command.unread_signals {
            check::payload_size("unread_signals", payload::total_size(&signal.input))?;
        }
        check_started(&self.next_run(command.clone()).started)
    }

    pub(super) fn continue_as_new(&mut self, command: ContinueAsNew, workflow_task_completed_event_id: EventId) {
        let next = self.next_run(command);
        let new_run_id = next.started.run_id;
        self.hand_over_buffer();
        self.close(EventKind::WorkflowContinuedAsNew(WorkflowContinuedAsNew {
            workflow_task_completed_event_id,
            new_run_id,
        }));
        self.effect(Effect::StartRun(Box::new(next)));
    }

    /// The run that follows when this one closes with the next event.
    fn next_run(&self, command: ContinueAsNew) -> NextRun {
        let ContinueAsNew {
            workflow_type,
            task_queue,
            input,
            run_timeout,
            task_timeout,
            retry_policy,
            memo,
            unread_signals,
        } = command;
        let before = &self.run.started;
        let properties = self.overlay.properties.as_ref().unwrap_or(&self.run.properties);
        let started = WorkflowStarted {
            run_id: before.run_id.successor(self.next_event_id(), self.now),
            workflow_type: workflow_type.unwrap_or_else(|| before.workflow_type.clone()),
            task_queue: task_queue.unwrap_or_else(|| before.task_queue.clone()),
            input,
            run_timeout: run_timeout.or(before.run_timeout),
            task_timeout: task_timeout.unwrap_or(before.task_timeout),
            retry_policy: retry_policy.or_else(|| before.retry_policy.clone()),
            memo: memo.unwrap_or_else(|| properties.memo.clone().into_iter().collect()),
            search_attributes: properties.search_attributes.clone(),
            execution_deadline: self.run.execution_deadline(),
            attempt: 1,
            continued_from: Some(before.run_id),
            continued_failure: None,
            last_result: before.last_result.clone(),
            versioning: self.versioning_of_next(false),
            first_task_backoff: std::time::Duration::ZERO,
            // As for a retry (`close`).
            request_id: before.parent.as_ref().and(before.request_id.clone()),
            seen_request_ids: self.run.signals.latest(),
            reset: None,
            ..WorkflowStarted::clone(before)
        };
        // What the code did not receive has lost its request id to the list above; what came meanwhile still has it.
        let identity = started.identity.clone();
        let unread = unread_signals.into_iter().map(|UnreadSignal { name, input }| WorkflowSignaled {
            name,
            input,
            identity: identity.clone(),
            request_id: None,
        });
        let signals = unread.chain(self.run.buffer.signals().cloned()).collect();
        NextRun { started, signals }
    }
}

impl Execution {
    /// Begins the next run of a chain: like [`Execution::begin`], with the signals that the run before left behind.
    pub fn begin_next(next: NextRun, now: Timestamp) -> Result<Transition, Rejection> {
        let NextRun { started, signals } = next;
        let mut transition = Execution::begin(started, now)?;
        for (number, signal) in (2..).zip(signals) {
            let kind = EventKind::WorkflowSignaled(signal);
            transition.events.push(Event { id: EventId(number), at: now, kind });
        }
        Ok(transition)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::Command;
    use crate::execution::support::*;
    use crate::failure::Failure;
    use crate::ids::{RequestId, SignalName, TaskQueueName, WorkflowType};
    use crate::payload::Payload;

    fn continued(command: ContinueAsNew) -> Command {
        Command::ContinueAsNew(Box::new(command))
    }

    fn refused(command: ContinueAsNew) -> String {
        let mut run = Run::start();
        run.turn(vec![continued(command)]);
        assert_eq!(run.execution.close_status(), None);
        run.log.last().expect("it was refused").clone()
    }

    #[test]
    fn the_run_closes_and_the_next_begins_with_what_the_command_leaves_unset() {
        let mut run = Run::start_with(|started| {
            started.retry_policy = Some(retry(3));
            started.attempt = 2;
            started.continued_failure = Some(Failure::application("Declined", "no"));
            started.execution_timeout = Some(seconds(600));
            started.run_timeout = Some(seconds(60));
            started.request_id = Some(RequestId::from_trusted("r"));
        });
        run = check(
            run,
            |run| run.turn(vec![continued(ContinueAsNew { input: vec![Payload::json("7")], ..Default::default() })]),
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 WorkflowContinuedAsNew task=4
                > Closed ContinuedAsNew
                > StartRun attempt=1 backoff=0ns
            ",
        );
        let before = run.execution.started().clone();
        let next = run.next_run.take().expect("a run follows").started;
        assert!(next.run_id > before.run_id);
        let expected = WorkflowStarted {
            run_id: next.run_id,
            input: vec![Payload::json("7")],
            attempt: 1,
            continued_from: Some(before.run_id),
            continued_failure: None,
            request_id: None,
            ..before
        };
        assert_eq!(next, expected);
    }

    #[test]
    fn options_of_the_command_take_the_place_of_the_run_s() {
        let mut run = Run::start();
        let memo = vec![("note".to_owned(), Payload::json("1"))];
        run.turn(vec![continued(ContinueAsNew {
            workflow_type: Some(WorkflowType::from_trusted("other")),
            task_queue: Some(TaskQueueName::from_trusted("elsewhere")),
            run_timeout: Some(seconds(5)),
            task_timeout: Some(seconds(6)),
            retry_policy: Some(retry(2)),
            memo: Some(memo.clone()),
            ..Default::default()
        })]);
        let next = run.next_run.take().expect("a run follows").started;
        assert_eq!((next.workflow_type.as_str(), next.task_queue.as_str()), ("other", "elsewhere"));
        assert_eq!((next.run_timeout, next.task_timeout), (Some(seconds(5)), seconds(6)));
        assert_eq!((next.retry_policy, next.memo), (Some(retry(2)), memo));
    }

    #[test]
    fn what_arrived_unseen_keeps_the_run_open_unless_it_is_signals() {
        let mut run = Run::start();
        let token = run.take_task();
        run.signal("unseen");
        run.cancel();
        check(
            run,
            |run| run.finish_task(token, vec![continued(ContinueAsNew::default())]),
            "
                ~ buffer flushed
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskFailed scheduled=2 started=3 cause=UnhandledCommand
                5 WorkflowSignaled unseen
                6 WorkflowCancelRequested stop
                > OfferWorkflowTask attempt=1
                = refused UnhandledCommand: events arrived while the task was running, and the code closed the run without having seen them
            ",
        );
    }

    #[test]
    fn signals_that_come_while_the_run_closes_are_the_next_run_s() {
        let mut run = Run::start();
        run.signal("unread");
        let token = run.take_task();
        run.send(signal("late", Some("request"))).expect("the run is open");
        let unread = UnreadSignal { name: SignalName::from_trusted("unread"), input: vec![Payload::json("1")] };
        let command = ContinueAsNew { unread_signals: vec![unread], ..Default::default() };
        let mut run = check(
            run,
            |run| run.finish_task(token, vec![continued(command)]),
            "
                ~ buffer flushed
                3 WorkflowTaskScheduled attempt=1
                4 WorkflowTaskStarted scheduled=3
                5 WorkflowTaskCompleted scheduled=3 started=4
                6 WorkflowContinuedAsNew task=5
                > Closed ContinuedAsNew
                > StartRun attempt=1 backoff=0ns
            ",
        );
        let next = run.next_run.take().expect("a run follows");
        let mut next = Run::begin_next(next, run.now).expect("the next run is valid");
        assert_eq!(
            next.history_text(),
            "1 WorkflowStarted attempt=1\n2 WorkflowSignaled unread\n3 WorkflowSignaled late"
        );
        next.log.clear();
        next.send(signal("late", Some("request"))).expect("a repeat succeeds");
        assert_eq!(next.take_log(), "= unchanged");
    }

    #[test]
    fn signals_that_the_code_did_not_receive_are_the_next_run_s_first_news() {
        let mut run = Run::start();
        run.signal("first");
        run.signal("second");
        let unread =
            |name: &str| UnreadSignal { name: SignalName::from_trusted(name), input: vec![Payload::json("1")] };
        let unread_signals = vec![unread("first"), unread("second")];
        run.turn(vec![continued(ContinueAsNew { unread_signals, ..Default::default() })]);
        let next = run.next_run.take().expect("a run follows");
        let next = Run::begin_next(next, run.now).expect("the next run is valid");
        assert_eq!(
            next.history_text(),
            "1 WorkflowStarted attempt=1\n2 WorkflowSignaled first\n3 WorkflowSignaled second"
        );
    }

    #[test]
    fn a_signal_that_is_repeated_to_the_next_run_counts_once() {
        let mut run = Run::start();
        run.send(signal("go", Some("request"))).expect("the run is open");
        run.turn(vec![continued(ContinueAsNew::default())]);
        let next = run.next_run.take().expect("a run follows");
        let mut next = Run::begin_next(next, run.now).expect("the next run is valid");
        next.log.clear();
        next.send(signal("go", Some("request"))).expect("a repeat succeeds");
        assert_eq!(next.take_log(), "= unchanged");
    }

    #[test]
    fn of_very_many_request_ids_the_latest_are_carried() {
        let mut run = Run::start();
        for n in 0..limits::SIGNAL_REQUEST_IDS_CARRIED + 5 {
            run.send(signal("go", Some(&n.to_string()))).expect("the run is open");
        }
        run.turn(vec![continued(ContinueAsNew::default())]);
        let seen = run.next_run.take().expect("a run follows").started.seen_request_ids;
        assert_eq!((seen.len(), seen[0].as_str()), (limits::SIGNAL_REQUEST_IDS_CARRIED, "5"));
    }

    #[test]
    fn a_run_that_could_not_begin_is_refused_naming_the_field() {
        let large = vec![Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX])];
        let input = refused(ContinueAsNew { input: large.clone(), ..Default::default() });
        assert!(
            input.starts_with("= refused BadCommand: commands[0] (ContinueAsNew): input: is 2097162 bytes"),
            "{input}"
        );
        let timeout = refused(ContinueAsNew { run_timeout: Some(Duration::ZERO), ..Default::default() });
        assert_eq!(
            timeout,
            "= refused BadCommand: commands[0] (ContinueAsNew): run_timeout: must be more than zero; leave it unset for no limit"
        );
        let unread = UnreadSignal { name: SignalName::from_trusted("s"), input: large };
        let signal = refused(ContinueAsNew { unread_signals: vec![unread], ..Default::default() });
        assert!(signal.contains("unread_signals: is 2097162 bytes large"), "{signal}");
    }
}
