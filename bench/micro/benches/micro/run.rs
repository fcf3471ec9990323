//! A run that the real rules drive, without a store: the source of the histories and messages that the benches work on.

use engine_proto::convert::{command_from_proto, workflow_started_from_proto};
use engine_proto::v1;
use engine_sdk::ids::EventId;
use engine_sdk::time::Timestamp;

use engine_core::command::Command;
use engine_core::event::{Event, WorkerMetadata};
use engine_core::execution::{
    ActivityRef, ActivityToken, Effect, Execution, Input, Reply, StartedActivity, StartedWorkflowTask, Transition,
    WorkflowTaskToken,
};
use engine_core::payload::Payload;
use engine_core::replay::FLAG_MATCH_IDS;

/// The workflow type of every run here, and of the code that replays it.
pub(crate) const WORKFLOW_TYPE: &str = "sequence";

/// The activity type of every step.
pub(crate) const ACTIVITY_TYPE: &str = "echo";

const BEGIN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// About 100 bytes of JSON, as an argument or a result.
pub(crate) fn payload() -> Payload {
    Payload::json(format!("\"{}\"", "x".repeat(98)))
}

fn payload_message() -> v1::Payload {
    engine_proto::convert::payload_to_proto(&payload())
}

/// The command that schedules activity `number` of its run.
pub(crate) fn schedule_message(number: u64) -> v1::Command {
    let command = v1::ScheduleActivityCommand {
        activity_id: number.to_string(),
        activity_type: ACTIVITY_TYPE.to_owned(),
        input: vec![payload_message()],
        timeouts: Some(v1::ActivityTimeouts {
            start_to_close: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            ..v1::ActivityTimeouts::default()
        }),
        ..v1::ScheduleActivityCommand::default()
    };
    v1::Command { command: Some(v1::command::Command::ScheduleActivity(command)) }
}

/// The same, as the rules have it.
pub(crate) fn schedule(number: u64) -> Command {
    command_from_proto(schedule_message(number)).expect("the command is valid")
}

/// A run and its history.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) execution: Execution,
    pub(crate) history: Vec<Event>,
    pub(crate) now: Timestamp,
}

impl Run {
    /// A run that was just started.
    pub(crate) fn start() -> Self {
        let run_id = engine_sdk::ids::RunId::from_parts(BEGIN, [7; 10]).to_string();
        let started = workflow_started_from_proto(v1::WorkflowStarted {
            namespace: "default".to_owned(),
            workflow_id: "order-4711".to_owned(),
            run_id: run_id.clone(),
            workflow_type: WORKFLOW_TYPE.to_owned(),
            task_queue: "bench".to_owned(),
            input: vec![payload_message()],
            task_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            attempt: 1,
            first_run_id: run_id,
            identity: "client@host".to_owned(),
            ..v1::WorkflowStarted::default()
        });
        let transition = Execution::begin(started.expect("the start is valid"), BEGIN).expect("the start is allowed");
        let execution = Execution::replay(transition.events.clone()).expect("one event is a history");
        Self { execution, history: transition.events, now: BEGIN }
    }

    /// Decides and absorbs an input, a millisecond after the one before.
    pub(crate) fn send(&mut self, input: Input) -> Transition {
        self.now = self.now + std::time::Duration::from_millis(1);
        let transition = self.execution.decide(input, self.now).expect("the input is allowed");
        self.execution.absorb(&transition);
        self.history.extend(transition.events.iter().cloned());
        transition
    }

    pub(crate) fn start_task_input(&self) -> Input {
        Input::StartWorkflowTask {
            identity: "worker@host".to_owned(),
            history_size_bytes: self.history.len() as u64 * 80,
        }
    }

    pub(crate) fn take_task(&mut self) -> StartedWorkflowTask {
        match self.send(self.start_task_input()).reply {
            Reply::WorkflowTask(started) => *started,
            other => panic!("a workflow task was to start: {other:?}"),
        }
    }

    pub(crate) fn complete_task_input(token: WorkflowTaskToken, commands: Vec<Command>) -> Input {
        let worker = WorkerMetadata {
            sdk_name: "engine-sdk".to_owned(),
            sdk_version: "0.1.0".to_owned(),
            build_id: String::new(),
            flags: if token.scheduled_event_id == EventId(2) { vec![FLAG_MATCH_IDS] } else { Vec::new() },
            versioning: None,
        };
        let identity = "worker@host".to_owned();
        Input::CompleteWorkflowTask {
            token,
            commands,
            worker,
            identity,
            force_new_task: false,
            rejected_updates: Vec::new(),
        }
    }

    /// One workflow task with these commands. Gives what it offered.
    pub(crate) fn turn(&mut self, commands: Vec<Command>) -> Transition {
        let token = self.take_task().token;
        self.send(Self::complete_task_input(token, commands))
    }

    pub(crate) fn start_activity_input(scheduled_event_id: EventId) -> Input {
        Input::StartActivity { scheduled_event_id, attempt: 1, identity: "worker@host".to_owned() }
    }

    pub(crate) fn take_activity(&mut self, scheduled_event_id: EventId) -> StartedActivity {
        match self.send(Self::start_activity_input(scheduled_event_id)).reply {
            Reply::ActivityTask(started) => *started,
            other => panic!("an activity was to start: {other:?}"),
        }
    }

    pub(crate) fn complete_activity_input(token: ActivityToken) -> Input {
        Input::CompleteActivity {
            activity: ActivityRef::Token(token),
            result: Some(payload()),
            identity: "worker@host".to_owned(),
        }
    }

    /// Schedules activity `number` and completes it.
    pub(crate) fn step(&mut self, number: u64) {
        let offered = self.turn(vec![schedule(number)]).effects;
        let scheduled = offered.iter().find_map(|effect| match effect {
            Effect::OfferActivity { scheduled_event_id, .. } => Some(*scheduled_event_id),
            _ => None,
        });
        let token = self.take_activity(scheduled.expect("the activity is offered")).token;
        self.send(Self::complete_activity_input(token));
    }

    /// A run after `steps` activities, one after another. Six events each.
    pub(crate) fn after_steps(steps: u64) -> Self {
        let mut run = Self::start();
        (1..=steps).for_each(|number| run.step(number));
        run
    }

    /// The run's history of at least `events` events, as a worker gets it: up to the start of its workflow task.
    pub(crate) fn history_for_worker(events: u64) -> Vec<Event> {
        let mut run = Self::after_steps(events.div_ceil(6));
        let task = run.take_task();
        run.history.extend(task.events);
        run.history
    }
}
