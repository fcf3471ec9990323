//! What a long run costs: as much at its end as at its start.
//!
//! Deciding, absorbing and replaying are functions of the state they are given and of nothing else, so a step can only get dearer if the
//! state grows with the history. What is compared is all of it, as `Debug` writes it, at two points of one run whose numbers have
//! equally many digits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine_core::event::{Event, WorkerMetadata};
use engine_core::execution::{ActivityRef, Effect, Execution, Input, Reply, Transition};
use engine_core::ids::{ActivityType, EventId, SignalName, TimerId};
use engine_core::payload::Payload;
use engine_core::replay::{Outcome, Replayer};
use engine_core::time::Timestamp;
use support::{BEGIN, activity, schedule, seconds, start_attributes, start_timer};

/// Steps after which the state is looked at: event ids, activity ids and times have as many digits at both.
const EARLY: u64 = 200;
const LATE: u64 = 900;

struct Run {
    execution: Execution,
    now: Timestamp,
}

impl Run {
    fn start() -> (Self, Vec<Event>) {
        let begun = Execution::begin(start_attributes(), BEGIN).unwrap();
        let execution = Execution::replay(begun.events.clone()).unwrap();
        (Self { execution, now: BEGIN }, begun.events)
    }

    fn send(&mut self, input: Input) -> Transition {
        self.now = self.now + std::time::Duration::from_millis(1);
        let transition = self.execution.decide(input, self.now).unwrap();
        self.execution.absorb(&transition);
        transition
    }

    /// One activity, one timer that fires and one signal. Returns the events behind those of the step before.
    fn step(&mut self, number: u64) -> Vec<Event> {
        let identity = String::new;
        let start = Input::StartWorkflowTask { identity: identity(), history_size_bytes: 1_000 };
        let Reply::WorkflowTask(task) = self.send(start).reply else { panic!("a workflow task was offered") };
        let id = number.to_string();
        let completed = self.send(Input::CompleteWorkflowTask {
            token: task.token,
            commands: vec![schedule(&id), start_timer(&id, seconds(1))],
            worker: WorkerMetadata::default(),
            identity: identity(),
            force_new_task: false,
            rejected_updates: Vec::new(),
        });
        let offered = completed.effects.iter().find_map(|effect| match effect {
            Effect::OfferActivity { scheduled_event_id, .. } => Some(*scheduled_event_id),
            _ => None,
        });
        let mut events = completed.events;
        let start = Input::StartActivity { scheduled_event_id: offered.unwrap(), attempt: 1, identity: identity() };
        let Reply::ActivityTask(started) = self.send(start).reply else { panic!("an activity was offered") };
        let activity = ActivityRef::Token(started.token);
        events.extend(self.send(Input::CompleteActivity { activity, result: None, identity: identity() }).events);
        self.now = self.now + seconds(1);
        events.extend(self.send(Input::DeadlinePassed).events);
        let input = vec![Payload::json("1")];
        let name = SignalName::from_trusted("news");
        events.extend(self.send(Input::Signal { name, input, identity: identity(), request_id: None }).events);
        events
    }
}

/// The worker's half, following a history as code would that does the same in each step.
struct Code {
    replayer: Replayer,
    issued: u64,
}

impl Code {
    /// Takes the events of a step and answers its workflow task, if its completion is among them.
    fn follow(&mut self, events: Vec<Event>) {
        self.replayer.feed(events).unwrap();
        while let Some(activation) = self.replayer.next_activation().unwrap() {
            for outcome in activation.outcomes {
                if let Outcome::Resolved(handle) = outcome {
                    self.replayer.take_resolution(handle).unwrap();
                }
            }
            self.issued += 1;
            let id = self.issued.to_string();
            self.replayer.schedule_activity(None, ActivityType::from_trusted("charge"), |_, _| activity(&id));
            let timer = self.replayer.start_timer(seconds(1), String::new());
            assert_eq!(self.replayer.finish_activation().unwrap(), None, "the history has the answer");
            assert!(timer.index() < 4, "handles are used again: {}", TimerId::from_trusted(id));
        }
    }
}

#[test]
fn a_step_finds_a_state_as_small_at_the_end_of_a_long_run_as_at_its_start() {
    let (mut run, begun) = Run::start();
    let mut code = Code { replayer: Replayer::new(), issued: 0 };
    let mut pending = begun;
    let (mut sizes, mut history) = (Vec::new(), 0);
    for number in 1..=LATE {
        pending.extend(run.step(number));
        history += pending.len();
        code.follow(std::mem::take(&mut pending));
        if number == EARLY || number == LATE {
            assert_eq!(run.execution.next_event_id(), EventId(history as u64 + 1));
            let server = format!("{:?}", run.execution);
            let worker = format!("{:?}", code.replayer);
            sizes.push((server.len(), worker.len(), run.execution.memory_size()));
        }
    }
    assert_eq!(code.issued, LATE, "the code was run for each step");
    assert_eq!(sizes[0], sizes[1], "bytes of the server's state, the worker's state, and the server's estimate");
}
