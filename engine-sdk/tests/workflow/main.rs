//! Workflow code over hand-made histories.
#![allow(clippy::unwrap_used, reason = "the workflows here are part of the tests")]

mod children;
mod closures;
mod continue_as_new;
mod history;
mod methods;
mod programs;
mod published;
mod queries;
mod replay;
mod scopes;
mod steps;
mod trouble;
mod updates;

use engine_core::command::Command;
use engine_core::event::{Event, Marker, StepOutcome, UpdateOutcome, UpdateRequest};
use engine_core::ids::EventId;
use engine_core::payload::Payload;
use engine_core::peer::PeerCommand;
use engine_sdk::definition::WorkflowCode;
use engine_sdk::workflow::{Advance, AdvanceError, WorkflowRun, WorkflowTaskError, erase};

use history::History;

/// A history, a worker that has the run in its cache, and at each step a second worker that replays it from scratch: what they
/// ask for must be the same.
struct Scene<W> {
    workflow: W,
    history: History,
    run: WorkflowRun,
    /// Updates that come with the next workflow task.
    updates: Vec<UpdateRequest>,
}

impl<W: WorkflowCode> Scene<W> {
    fn new(workflow: W, input: &[&'static str]) -> Self {
        Self { workflow, history: History::new(input), run: WorkflowRun::new(erase(workflow)), updates: Vec::new() }
    }

    /// Runs the next workflow task, compares with a replay, and records the commands.
    #[track_caller]
    fn task(&mut self) -> (Vec<Command>, Vec<EventId>) {
        let advance = self.advance().expect("the workflow task completes");
        let replayed = self.replay().expect("the replay completes");
        assert_eq!(replayed.commands, advance.commands, "a replay asks for the same");
        assert_eq!(replayed.closed, advance.closed);
        assert_eq!(replayed.rejected_updates, advance.rejected_updates);
        self.updates.clear();
        let ids = self.history.complete(&advance.commands);
        (advance.commands, ids)
    }

    /// Like [`Scene::task`]; gives the commands as text.
    #[track_caller]
    fn steps(&mut self) -> Vec<String> {
        self.task().0.iter().map(text).collect()
    }

    fn advance(&mut self) -> Result<Advance, AdvanceError> {
        let events = self.history.task();
        self.run.bring_updates(self.updates.clone());
        self.run.advance(events)
    }

    /// Runs the code over all events so far, the last of which starts a task.
    fn replay(&self) -> Result<Advance, AdvanceError> {
        let mut run = WorkflowRun::new(erase(self.workflow));
        run.bring_updates(self.updates.clone());
        run.advance(self.history.events.clone())
    }

    #[track_caller]
    fn trouble(&mut self) -> WorkflowTaskError {
        match self.advance() {
            Err(AdvanceError::TaskFailed(error)) => error,
            other => panic!("the workflow task does not fail: {other:?}"),
        }
    }
}

fn replay<W: WorkflowCode>(workflow: W, events: Vec<Event>) -> Result<Advance, AdvanceError> {
    WorkflowRun::new(erase(workflow)).advance(events)
}

fn json_of(payloads: &[Payload]) -> String {
    payloads.iter().map(|payload| String::from_utf8_lossy(&payload.data)).collect::<Vec<_>>().join(",")
}

/// A run on a worker that has seen all of these events, whatever the last one is.
fn replay_run<W: WorkflowCode>(workflow: W, events: Vec<Event>) -> WorkflowRun {
    let mut run = WorkflowRun::new(erase(workflow));
    run.advance(events).expect("the replay completes");
    run
}

fn text(command: &Command) -> String {
    match command {
        Command::ScheduleActivity(it) => format!("run {} #{}", it.activity_type, it.activity_id),
        Command::RequestCancelActivity { activity_id } => format!("cancel activity #{activity_id}"),
        Command::StartTimer { timer_id, duration, .. } => format!("sleep {duration:?} #{timer_id}"),
        Command::CancelTimer { timer_id } => format!("cancel timer #{timer_id}"),
        Command::PublishState { name, value } => {
            format!("publish {name} {}", String::from_utf8_lossy(&value.data))
        }
        Command::RecordMarker(marker) => match &**marker {
            Marker::Patch { patch_id, deprecated: false } => format!("patch {patch_id}"),
            Marker::Patch { patch_id, deprecated: true } => format!("deprecated patch {patch_id}"),
            Marker::Step(step) => {
                let end = match &step.outcome {
                    StepOutcome::Completed { result } => json(result.as_ref()),
                    StepOutcome::Failed { failure, .. } => format!("failed: {}", failure.message),
                };
                format!("step {} #{} {end}", step.name, step.step_id)
            }
        },
        Command::UpsertSearchAttributes { changes } => format!("upsert {changes:?}"),
        Command::ModifyProperties(changes) => format!("modify {changes:?}"),
        Command::AcceptUpdate(update) => format!("accept {} #{} {}", update.name, update.id, json_of(&update.input)),
        Command::CompleteUpdate { update_id, outcome } => match outcome {
            UpdateOutcome::Completed { result } => format!("answer #{update_id} {}", json(result.as_ref())),
            UpdateOutcome::Failed { failure } => format!("answer #{update_id} failed: {}", failure.message),
        },
        Command::CompleteWorkflow { result } => format!("complete {}", json(result.as_ref())),
        Command::FailWorkflow { failure } => {
            format!("fail {}", failure.chain().map(|link| link.message.as_str()).collect::<Vec<_>>().join(" < "))
        }
        Command::CancelWorkflow { .. } => "canceled".into(),
        Command::Peer(command) => match &**command {
            PeerCommand::StartChild(child) => format!("child {} #{}", child.workflow_type, child.workflow_id),
            PeerCommand::Signal(signal) => format!("signal {} to {}", signal.name, signal.target.workflow_id),
            PeerCommand::RequestCancel(cancel) => format!("cancel {}", cancel.target.workflow_id),
        },
        Command::ContinueAsNew(next) => {
            let unread: Vec<&str> = next.unread_signals.iter().map(|signal| signal.name.as_str()).collect();
            let workflow_type = next.workflow_type.as_ref().expect("the SDK names it");
            format!("continue as {workflow_type} {} unread={unread:?}", json_of(&next.input))
        }
    }
}

fn json(value: Option<&Payload>) -> String {
    value.map_or("nothing".into(), |payload| String::from_utf8_lossy(&payload.data).into_owned())
}
