//! `engine workflow history`.

use engine_core::event::Event;
use engine_core::time::Timestamp;
use engine_proto::{EncodedHistory, v1};

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::words::Narrator;
use crate::view::{json, table, time};
use crate::workflow::args::{HistoryArgs, TimeStyle};

/// Most events that are asked for at once.
const PAGE: usize = 1000;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &HistoryArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let events = read(&mut client, arguments).await?;
    match output.format() {
        Format::Json => output.json(&events.iter().map(json::event).collect::<Vec<_>>())?,
        Format::Text => output.line(&render(&events, arguments.time, arguments.full, output.width()))?,
    }
    Ok(Exit::Done)
}

async fn read(client: &mut Client, arguments: &HistoryArgs) -> Result<Vec<Event>, CliError> {
    let limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    let mut request = v1::GetWorkflowHistoryRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        page_size: 0,
        page_token: Vec::new(),
        reverse: arguments.reverse,
        first_event_id: 0,
    };
    let mut events = Vec::new();
    loop {
        request.page_size = u32::try_from((limit - events.len()).min(PAGE)).expect("a page is small");
        let response = client.service.get_workflow_history(client::request(request.clone())).await;
        let page = response.map_err(|status| client.error(&status))?.into_inner();
        events.extend(decode(page.history)?);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || events.len() >= limit {
            events.truncate(limit);
            return Ok(events);
        }
    }
}

/// The events of a page.
pub(super) fn decode(history: Option<EncodedHistory>) -> Result<Vec<Event>, CliError> {
    history.unwrap_or_default().decode_events().map_err(|error| {
        CliError::new(Exit::Failed, format!("the server sent a history that this version cannot read: {error}"))
    })
}

/// Events as a table, in the order given.
fn render(events: &[Event], style: TimeStyle, full: bool, width: Option<u16>) -> String {
    let is_reverse = events.first().map(|event| event.id) > events.last().map(|event| event.id);
    let mut ascending: Vec<&Event> = events.iter().collect();
    if is_reverse {
        ascending.reverse();
    }
    let start = ascending.first().map_or(Timestamp::EPOCH, |event| event.at);
    let mut narrator = Narrator::new(full);
    let mut rows: Vec<Vec<String>> = ascending
        .iter()
        .map(|event| {
            vec![
                event.id.to_string(),
                instant(event.at, start, style),
                event.kind.name().to_owned(),
                narrator.tell(event),
            ]
        })
        .collect();
    if is_reverse {
        rows.reverse();
    }
    let columns = table::Columns { header: &["ID", "TIME", "EVENT", "WHAT"], right: &[0, 1], wrapping: &[3] };
    let table = table::table(columns, rows, width);
    match style {
        TimeStyle::Relative if !events.is_empty() => {
            format!("{table}\n\ntimes are since {}", time::date_time(start))
        }
        TimeStyle::Relative | TimeStyle::Absolute => table,
    }
}

fn instant(at: Timestamp, start: Timestamp, style: TimeStyle) -> String {
    match style {
        TimeStyle::Relative => time::since(start, at),
        TimeStyle::Absolute => time::date_time(at),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use engine_core::event::*;
    use engine_core::failure::{Failure, RetryState, TimeoutKind};
    use engine_core::ids::*;
    use engine_core::payload::Payload;
    use engine_core::retry::RetryPolicy;

    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn run(number: u8) -> RunId {
        RunId::from_parts(START, [number; 10])
    }

    fn started() -> WorkflowStarted {
        WorkflowStarted {
            namespace: Namespace::from_trusted("default"),
            workflow_id: WorkflowId::from_trusted("order-42"),
            run_id: run(1),
            workflow_type: WorkflowType::from_trusted("checkout"),
            task_queue: TaskQueueName::from_trusted("orders"),
            input: vec![Payload::json("{\"cents\":100}")],
            execution_timeout: None,
            run_timeout: Some(Duration::from_secs(1800)),
            task_timeout: Duration::from_secs(10),
            execution_deadline: None,
            retry_policy: None,
            attempt: 1,
            continued_from: None,
            first_run_id: run(1),
            continued_failure: None,
            last_result: None,
            versioning: None,
            cron: None,
            first_task_backoff: Duration::ZERO,
            request_id: None,
            identity: "ann@desk".into(),
            memo: Vec::new(),
            search_attributes: Default::default(),
            summary: String::new(),
            details: String::new(),
            seen_request_ids: Vec::new(),
            reset: None,
            parent: None,
            activity: None,
        }
    }

    fn task(scheduled: u64) -> [EventKind; 3] {
        [
            EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
                task_queue: TaskQueueName::from_trusted("orders"),
                start_to_close: Duration::from_secs(10),
                attempt: 1,
            }),
            EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
                scheduled_event_id: EventId(scheduled),
                identity: "worker@host".into(),
                history_size_bytes: 300,
                suggest_continue_as_new: ContinueAsNewReasons::default(),
            }),
            EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
                scheduled_event_id: EventId(scheduled),
                started_event_id: EventId(scheduled + 1),
                identity: "worker@host".into(),
                worker: WorkerMetadata { build_id: "v7".into(), ..WorkerMetadata::default() },
                force_new_task: false,
            }),
        ]
    }

    /// An order whose card is charged at the second attempt, with an approval, and a shipment that fails.
    pub(crate) fn history() -> Vec<Event> {
        let activity = |id: &str, name: &str| {
            EventKind::ActivityScheduled(Box::new(ActivityScheduled {
                workflow_task_completed_event_id: EventId(4),
                activity_id: ActivityId::from_trusted(id),
                activity_type: ActivityType::from_trusted(name),
                task_queue: TaskQueueName::from_trusted("orders"),
                input: vec![Payload::json("42")],
                timeouts: ActivityTimeouts {
                    start_to_close: Some(Duration::from_secs(30)),
                    ..ActivityTimeouts::default()
                },
                retry_policy: RetryPolicy { maximum_attempts: 2, ..RetryPolicy::default() },
                summary: String::new(),
            }))
        };
        let begun = |scheduled, attempt, last_failure| {
            EventKind::ActivityStarted(ActivityStarted {
                scheduled_event_id: EventId(scheduled),
                attempt,
                identity: "worker@host".into(),
                last_failure,
            })
        };
        let mut timeout = Failure::timeout(TimeoutKind::StartToClose, None);
        timeout.message = "30s are over".into();
        let mut kinds = vec![EventKind::WorkflowStarted(Box::new(started()))];
        kinds.extend(task(2));
        kinds.extend([
            activity("1", "charge_card"),
            EventKind::TimerStarted(TimerStarted {
                workflow_task_completed_event_id: EventId(4),
                timer_id: TimerId::from_trusted("2"),
                duration: Duration::from_secs(14 * 86_400),
                summary: "until the offer ends".into(),
            }),
            begun(5, 2, Some(Failure::application("shop::Busy", "try later"))),
            EventKind::ActivityCompleted(ActivityCompleted {
                scheduled_event_id: EventId(5),
                started_event_id: EventId(7),
                result: Some(Payload::json("\"paid\"")),
                identity: "worker@host".into(),
            }),
            EventKind::WorkflowSignaled(WorkflowSignaled {
                name: SignalName::from_trusted("approval"),
                input: vec![Payload::json("{\"by\":\"desk-3\"}")],
                identity: "bob@desk".into(),
                request_id: None,
            }),
        ]);
        kinds.extend(task(10));
        kinds.extend([
            EventKind::TimerCanceled(TimerCanceled {
                workflow_task_completed_event_id: EventId(12),
                timer_id: TimerId::from_trusted("2"),
                started_event_id: EventId(6),
            }),
            activity("3", "ship"),
            begun(14, 1, None),
            EventKind::ActivityTimedOut(ActivityTimedOut {
                scheduled_event_id: EventId(14),
                started_event_id: EventId(15),
                failure: timeout,
                retry_state: RetryState::MaximumAttemptsReached,
            }),
            EventKind::WorkflowTerminated(WorkflowTerminated {
                reason: "by\nhand".into(),
                details: None,
                identity: "ann@desk".into(),
                reset_to: None,
            }),
        ]);
        let event = |(kind, number): (EventKind, u64)| Event {
            id: EventId(number),
            at: START + Duration::from_millis(number * number * 12),
            kind,
        };
        kinds.into_iter().zip(1..).map(event).collect()
    }

    const TABLE: &str = r#"ID     TIME  EVENT                  WHAT
 1  +0.000s  WorkflowStarted        type checkout, queue orders, input {"cents":100}, run timeout 30m, by ann@desk
 2  +0.036s  WorkflowTaskScheduled  queue orders, to be done in 10s
 3  +0.096s  WorkflowTaskStarted    by worker@host
 4  +0.180s  WorkflowTaskCompleted  by worker@host, build v7
 5  +0.288s  ActivityScheduled      charge_card (1), input 42, queue orders, start-to-close 30s, at most 2 attempts
 6  +0.420s  TimerStarted           timer 2, for 14days, until the offer ends
 7  +0.576s  ActivityStarted        charge_card (1), attempt 2, by worker@host, the attempt before failed: shop::Busy: try later
 8  +0.756s  ActivityCompleted      charge_card (1), result "paid"
 9  +0.960s  WorkflowSignaled       signal approval, input {"by":"desk-3"}, by bob@desk
10  +1.188s  WorkflowTaskScheduled  queue orders, to be done in 10s
11  +1.440s  WorkflowTaskStarted    by worker@host
12  +1.716s  WorkflowTaskCompleted  by worker@host, build v7
13  +2.016s  TimerCanceled          timer 2
14  +2.340s  ActivityScheduled      ship (3), input 42, queue orders, start-to-close 30s, at most 2 attempts
15  +2.688s  ActivityStarted        ship (3), attempt 1, by worker@host
16  +3.060s  ActivityTimedOut       ship (3), start-to-close timeout: 30s are over, attempts used up
17  +3.456s  WorkflowTerminated     reason: by hand, by ann@desk

times are since 2023-11-14 22:13:20.012Z"#;

    #[test]
    fn the_table_is_pinned() {
        assert_eq!(render(&history(), TimeStyle::Relative, false, None), TABLE);
    }

    #[test]
    fn latest_first_tells_the_same_words() {
        let lines = |text: String| -> Vec<String> {
            text.lines()
                .filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()))
                .map(str::to_owned)
                .collect()
        };
        let mut reversed = history();
        reversed.reverse();
        let mut latest_first = lines(render(&reversed, TimeStyle::Relative, false, None));
        latest_first.reverse();
        assert_eq!(latest_first, lines(render(&history(), TimeStyle::Relative, false, None)));
        assert_eq!(latest_first.len(), 17);
    }
}
