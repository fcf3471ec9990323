//! `engine workflow watch`.

use engine_core::event::{Event, EventKind};
use engine_core::ids::RunId;
use engine_core::time::Timestamp;
use engine_proto::v1;

use super::history::decode;
use super::patience::Patience;
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::words::Narrator;
use crate::view::{json, time};
use crate::workflow::args::WatchArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &WatchArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let mut printer = Printer { narrator: Narrator::new(arguments.full), start: None };
    let mut patience = Patience::new(arguments.patience);
    let mut request = v1::WatchWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        after_event_id: arguments.after,
    };
    loop {
        match stream(&mut client, &mut request, &mut printer, &mut patience, output).await? {
            Ended::Closed(successor) => {
                if let (Some(run), Format::Text) = (successor, output.format()) {
                    output.line(&format!("continued by run {run}"))?;
                }
                let Some(run) = successor.filter(|_| arguments.follow) else { return Ok(Exit::Done) };
                request.after_event_id = 0;
                if let Some(execution) = &mut request.execution {
                    execution.run_id = run.to_string();
                }
                printer.start = None;
            }
            Ended::Lost(status) => patience.failed(&client, &status).await?,
        }
    }
}

enum Ended {
    /// The run closed; the run that continues it, if one does.
    Closed(Option<RunId>),
    /// The stream ended before the run did.
    Lost(tonic::Status),
}

/// Prints one stream to its end. `request` moves on with what was printed, so that the next stream continues there.
async fn stream(
    client: &mut Client,
    request: &mut v1::WatchWorkflowRequest,
    printer: &mut Printer,
    patience: &mut Patience,
    output: &mut Output,
) -> Result<Ended, CliError> {
    // Without a deadline: a run may be open for months.
    let mut stream = match client.service.watch_workflow(request.clone()).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Ended::Lost(status)),
    };
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Ended::Lost(tonic::Status::unavailable("the server ended the stream"))),
            Err(status) => return Ok(Ended::Lost(status)),
        };
        patience.heard();
        // The current run may change while the stream is lost; we go on with the one that we have begun with.
        if let Some(execution) = &mut request.execution
            && execution.run_id.is_empty()
        {
            execution.run_id = message.run_id;
        }
        for event in decode(message.history)? {
            printer.print(&event, output)?;
            request.after_event_id = event.id.0;
            if event.kind.close_status().is_some() {
                return Ok(Ended::Closed(successor(&event.kind)));
            }
        }
    }
}

fn successor(close: &EventKind) -> Option<RunId> {
    match close {
        EventKind::WorkflowCompleted(it) => it.new_run_id,
        EventKind::WorkflowFailed(it) => it.new_run_id,
        EventKind::WorkflowTimedOut(it) => it.new_run_id,
        EventKind::WorkflowContinuedAsNew(it) => Some(it.new_run_id),
        _ => None,
    }
}

struct Printer {
    narrator: Narrator,
    start: Option<Timestamp>,
}

impl Printer {
    fn print(&mut self, event: &Event, output: &mut Output) -> Result<(), CliError> {
        match output.format() {
            Format::Json => output.json_line(&json::event(event)),
            Format::Text => output.line(&self.line(event)),
        }
    }

    /// Columns of fixed width, since nobody knows what comes: wide enough for any event's name.
    fn line(&mut self, event: &Event) -> String {
        let start = *self.start.get_or_insert(event.at);
        let (id, at, name) = (event.id, time::since(start, event.at), event.kind.name());
        format!("{id:>5}  {at:>11}  {name:<23}  {}", self.narrator.tell(event)).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine_core::event::{TimerFired, TimerStarted};
    use engine_core::ids::{EventId, TimerId};

    use super::*;

    #[test]
    fn lines_align_as_they_come() {
        let mut printer = Printer { narrator: Narrator::new(false), start: None };
        let timer_id = TimerId::from_trusted("1");
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let set = Event {
            id: EventId(9),
            at,
            kind: EventKind::TimerStarted(TimerStarted {
                workflow_task_completed_event_id: EventId(8),
                timer_id: timer_id.clone(),
                duration: Duration::from_secs(60),
                summary: String::new(),
            }),
        };
        let fired = Event {
            id: EventId(10),
            at: at + Duration::from_secs(60),
            kind: EventKind::TimerFired(TimerFired { timer_id, started_event_id: EventId(9) }),
        };
        assert_eq!(printer.line(&set), "    9      +0.000s  TimerStarted             timer 1, for 1m");
        assert_eq!(printer.line(&fired), "   10   +1m00.000s  TimerFired               timer 1");
    }
}
