//! Workflow code over hand-made histories.
#![allow(clippy::unwrap_used, reason = "the workflows here are part of the tests")]

mod history;
mod programs;
mod replay;
mod steps;
mod trouble;

use engine_core::command::Command;
use engine_core::event::Event;
use engine_core::ids::EventId;
use engine_sdk::definition::Workflow;
use engine_sdk::workflow::{Advance, AdvanceError, WorkflowRun, WorkflowTaskError, erase};

use history::History;

/// A history, a worker that has the run in its cache, and at each step a second worker that replays it from scratch: what they
/// ask for must be the same.
struct Scene<W> {
    workflow: W,
    history: History,
    run: WorkflowRun,
}

impl<W: Workflow> Scene<W> {
    fn new(workflow: W, input: &[&'static str]) -> Self {
        Self { workflow, history: History::new(input), run: WorkflowRun::new(erase(workflow)) }
    }

    /// Runs the next workflow task, compares with a replay, and records the commands.
    #[track_caller]
    fn task(&mut self) -> (Vec<Command>, Vec<EventId>) {
        let advance = self.advance().expect("the workflow task completes");
        let replayed = self.replay().expect("the replay completes");
        assert_eq!(replayed.commands, advance.commands, "a replay asks for the same");
        assert_eq!(replayed.closed, advance.closed);
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
        self.run.advance(events)
    }

    /// Runs the code over all events so far, the last of which starts a task.
    fn replay(&self) -> Result<Advance, AdvanceError> {
        replay(self.workflow, self.history.events.clone())
    }

    #[track_caller]
    fn trouble(&mut self) -> WorkflowTaskError {
        match self.advance() {
            Err(AdvanceError::TaskFailed(error)) => error,
            other => panic!("the workflow task does not fail: {other:?}"),
        }
    }
}

fn replay<W: Workflow>(workflow: W, events: Vec<Event>) -> Result<Advance, AdvanceError> {
    WorkflowRun::new(erase(workflow)).advance(events)
}

fn text(command: &Command) -> String {
    match command {
        Command::ScheduleActivity(it) => format!("run {} #{}", it.activity_type, it.activity_id),
        Command::RequestCancelActivity { activity_id } => format!("cancel activity #{activity_id}"),
        Command::StartTimer { timer_id, duration } => format!("sleep {duration:?} #{timer_id}"),
        Command::CancelTimer { timer_id } => format!("cancel timer #{timer_id}"),
        Command::CompleteWorkflow { result } => {
            let json =
                result.as_ref().map_or("nothing".into(), |payload| String::from_utf8_lossy(&payload.data).into_owned());
            format!("complete {json}")
        }
        Command::FailWorkflow { failure } => {
            format!("fail {}", failure.chain().map(|link| link.message.as_str()).collect::<Vec<_>>().join(" < "))
        }
        Command::CancelWorkflow { .. } => "canceled".into(),
    }
}
