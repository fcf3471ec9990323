//! Signals: messages to the workflow code, in the order in which they were made durable.
//!
//! | run    | request id         | events                          |
//! |--------|--------------------|---------------------------------|
//! | open   | unknown, or none   | WorkflowSignaled (or buffered)  |
//! | open   | seen before        | — (answers `Unchanged`)         |
//! | closed | unknown, or none   | — (refused: already closed)     |
//! | closed | seen before        | — (answers `Unchanged`)         |
//!
//! A signal is never refused because the run is about to close: while a workflow task runs it is buffered, and a completion that
//! would close the run over it fails (`workflow_task`). During the pause before the first task a signal is recorded, and the
//! pause goes on.

use std::collections::{BTreeSet, VecDeque};

use crate::event::{EventKind, WorkflowSignaled};
use crate::execution::check;
use crate::execution::draft::Draft;
use crate::execution::{Execution, Rejection, Reply, Transition};
use crate::ids::RequestId;
use crate::limits;
use crate::payload;
use crate::time::Timestamp;

/// The request ids of the last signals, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SeenRequests {
    order: VecDeque<RequestId>,
    known: BTreeSet<RequestId>,
}

impl SeenRequests {
    /// Remembers `request_id`, at the cost of the oldest when there are too many. A buffered signal passes here twice, when it
    /// arrives and when it is numbered, and counts once.
    pub(super) fn note(&mut self, request_id: Option<&RequestId>) {
        let Some(request_id) = request_id else { return };
        if !self.known.insert(request_id.clone()) {
            return;
        }
        self.order.push_back(request_id.clone());
        if self.order.len() > limits::SIGNAL_REQUEST_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Those that the next run of the chain must know, oldest first: what was sent to this run may be repeated to that one.
    pub(super) fn latest(&self) -> Vec<RequestId> {
        let skipped = self.order.len().saturating_sub(limits::SIGNAL_REQUEST_IDS_CARRIED);
        self.order.iter().skip(skipped).cloned().collect()
    }
}

impl Execution {
    pub(super) fn decide_signal(&self, signal: WorkflowSignaled, now: Timestamp) -> Result<Transition, Rejection> {
        // Before the check for a closed run: the sender of a signal that got through must not be told that it did not.
        if signal.request_id.as_ref().is_some_and(|id| self.signals.known.contains(id)) {
            return Ok(Transition::reply(Reply::Unchanged));
        }
        if self.closed.is_some() {
            return Err(Rejection::AlreadyClosed);
        }
        let size = payload::total_size(&signal.input);
        check::payload_size("input", size)?;
        self.check_buffer_room(size)?;
        let mut draft = Draft::new(self, now);
        draft.arrive(EventKind::WorkflowSignaled(signal));
        Ok(draft.finish(Reply::Done))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::execution::Input;
    use crate::execution::support::*;
    use crate::ids::SignalName;
    use crate::payload::Payload;

    /// A run that waits for a timer.
    fn idle() -> Run {
        let mut run = Run::start();
        run.turn(vec![start_timer("t", seconds(60))]);
        run
    }

    #[test]
    fn a_signal_to_an_idle_run_is_recorded_and_asks_for_a_workflow_task() {
        check(
            idle(),
            |run| {
                run.signal("a");
                run.signal("b");
            },
            "
                6 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                7 WorkflowSignaled b
            ",
        );
    }

    #[test]
    fn a_signal_during_a_workflow_task_is_buffered_and_numbered_behind_its_commands() {
        check(
            idle(),
            |run| {
                run.signal("a");
                let token = run.take_task();
                run.signal("b");
                run.finish_task(token, vec![start_timer("u", seconds(5))]);
            },
            "
                6 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                ~ task started attempt=1
                ~ buffered WorkflowSignaled b
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 TimerStarted u task=9 duration=5s
                11 WorkflowSignaled b
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_repeated_signal_changes_nothing_even_when_buffered_or_after_the_close() {
        check(
            idle(),
            |run| {
                let _ = run.send(signal("a", Some("r1")));
                let _ = run.send(signal("a", Some("r1")));
                let token = run.take_task();
                let _ = run.send(signal("a", Some("r2")));
                let _ = run.send(signal("a", Some("r2")));
                run.finish_task(token, vec![]);
                let _ = run.send(signal("a", Some("r2")));
                run.turn(vec![complete()]);
                let _ = run.send(signal("a", Some("r2")));
                let _ = run.send(signal("a", Some("r3")));
            },
            "
                6 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                = unchanged
                ~ task started attempt=1
                ~ buffered WorkflowSignaled a
                = unchanged
                ~ buffer flushed
                7 WorkflowTaskScheduled attempt=1
                8 WorkflowTaskStarted scheduled=7
                9 WorkflowTaskCompleted scheduled=7 started=8
                10 WorkflowSignaled a
                > OfferWorkflowTask attempt=1
                = unchanged
                ~ task started attempt=1
                11 WorkflowTaskScheduled attempt=1
                12 WorkflowTaskStarted scheduled=11
                13 WorkflowTaskCompleted scheduled=11 started=12
                14 WorkflowCompleted task=13
                > Closed Completed
                = unchanged
                ! workflow execution already completed
            ",
        );
    }

    #[test]
    fn a_signal_during_the_first_pause_is_recorded_and_does_not_end_it() {
        check(
            Run::start_with(|started| started.first_task_backoff = seconds(5)),
            |run| {
                run.signal("a");
                run.advance(seconds(5));
                run.due();
            },
            "
                2 WorkflowSignaled a
                ~ task offered
                > OfferWorkflowTask attempt=1
            ",
        );
    }

    #[test]
    fn a_signal_over_the_payload_limit_is_refused_with_the_limit() {
        let mut run = idle();
        let input = vec![Payload::json(vec![b'1'; limits::PAYLOAD_BYTES_MAX])];
        let large =
            Input::Signal { name: SignalName::from_trusted("a"), input, identity: String::new(), request_id: None };
        let message = run.send(large).unwrap_err().to_string();
        assert!(message.starts_with("input: is 2097162 bytes large; the limit is 2097152 bytes"), "{message}");
    }

    #[test]
    fn a_full_buffer_refuses_signals_until_the_task_ends() {
        let mut run = idle();
        run.signal("go");
        let token = run.take_task();
        let data = Bytes::from(vec![b'1'; limits::PAYLOAD_BYTES_MAX / 2]);
        let large = || Input::Signal {
            name: SignalName::from_trusted("large"),
            input: vec![Payload::json(data.clone())],
            identity: String::new(),
            request_id: None,
        };
        let accepted = (0..100).take_while(|_| run.send(large()).is_ok()).count();
        assert_eq!(accepted, 63, "as many as fit into 64 MiB, with their encoding's name");
        assert!(run.log.last().unwrap().contains("the limit is 67108864 bytes"), "{:?}", run.log.last());
        run.finish_task(token, vec![]);
        assert!(run.send(large()).is_ok());
    }

    #[test]
    fn only_the_last_request_ids_are_remembered_and_one_that_passes_twice_counts_once() {
        let id = |number: usize| RequestId::from_trusted(number.to_string());
        let mut seen = SeenRequests::default();
        for number in 0..limits::SIGNAL_REQUEST_IDS_MAX {
            seen.note(Some(&id(number)));
            seen.note(Some(&id(number)));
        }
        assert_eq!(seen.len(), limits::SIGNAL_REQUEST_IDS_MAX);
        seen.note(Some(&id(limits::SIGNAL_REQUEST_IDS_MAX)));
        assert_eq!(seen.len(), limits::SIGNAL_REQUEST_IDS_MAX);
        assert!(!seen.known.contains(&id(0)) && seen.known.contains(&id(1)));
    }
}
