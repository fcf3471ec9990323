//! What reaches a program from outside, and what was promised to whoever sent it.

use std::time::Duration;

use engine_e2e::checker::{Signal, Start};
use engine_e2e::clerk::{NAMESPACE, payload};
use engine_e2e::programs::{Note, Outcome};
use engine_proto::v1;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_sdk::client::{ClientError, IdReusePolicy, QueryError};
use engine_sdk::prelude::*;
use engine_sdk::time::Timestamp;
use engine_server::Clock;
use tonic::{Code, Status};

use crate::life::Case;
use crate::program::{Errand, MAIN, Op, Run, STAGE, program, received, toil};

/// What reaches the program, or the engine beside it, from outside.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Note,
    Update(Errand),
    Query,
    /// A pause, which ends after so many seconds.
    Pause {
        seconds: u64,
    },
    Cancel,
    /// The program's latest run goes on from an earlier point.
    Reset(From),
    /// An activity that no workflow asked for: see [`Op::Work`].
    Toil {
        failures: u32,
        attempts: u32,
    },
    /// Runs of a program at so many times.
    Schedule {
        ops: Vec<Op>,
        every: u64,
        times: u64,
        overlap: OverlapPolicy,
    },
    /// A note for every program that runs.
    NoteForAll,
}

/// From where a program goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    First,
    Last,
    /// The workflow task of that number, counted over and over.
    Task(usize),
    /// Before the failure of the activity that failed last.
    FailedActivity,
}

/// An activity that was started by itself.
#[derive(Debug, Clone)]
pub(crate) struct Toil {
    pub(crate) id: String,
    pub(crate) failures: u32,
    pub(crate) attempts: u32,
}

/// A schedule that was made.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) id: String,
    pub(crate) every: Duration,
    pub(crate) end_at: Timestamp,
    pub(crate) overlap: OverlapPolicy,
}

/// What clients were told, which outlives the server that told them.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// Whether the namespace knows what programs are listed by.
    is_prepared: bool,
    pub(crate) start: Option<Start>,
    /// How many messages are done with: acknowledged or refused.
    sent: usize,
    /// What the message that is not done with was sent with, for its repeat.
    pending: Pending,
    pub(crate) signals: Vec<Signal>,
    pub(crate) updates: Vec<String>,
    pub(crate) activities: Vec<Toil>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) batches: Vec<String>,
}

#[derive(Debug, Default)]
struct Pending {
    end_at: Option<Timestamp>,
    reset: Option<v1::ResetWorkflowRequest>,
}

impl Promises {
    /// Starts the program and sends what is to reach it, from where the server before died.
    pub(crate) async fn send(&mut self, case: &Case, client: &Client, clock: &Clock) {
        if !self.is_prepared {
            client.namespaces().update(NAMESPACE).search_attribute(STAGE).send().await.unwrap();
            self.is_prepared = true;
        }
        self.begin(case, client).await;
        while let Some((pause, message)) = case.messages.get(self.sent) {
            clock.advance_to(clock.now() + Duration::from_secs(*pause)).await;
            self.send_one(message, client, clock).await;
            self.sent += 1;
            self.pending = Pending::default();
        }
    }

    async fn begin(&mut self, case: &Case, client: &Client) {
        if self.start.is_some() {
            return;
        }
        let start = client.workflow(program).id(MAIN).id_reuse_policy(IdReusePolicy::RejectDuplicate);
        let run_id = match start.request_id("the start").start((case.ops.clone(), 0)).await {
            Ok(handle) => handle.run_id(),
            // A start that was not acknowledged, of a run that has closed meanwhile.
            Err(ClientError::AlreadyStarted { run_id, .. }) => run_id,
            Err(error) => panic!("{error}"),
        };
        let run_id = run_id.unwrap().to_string();
        self.start = Some(Start { workflow_id: MAIN.to_owned(), run_id });
    }

    async fn send_one(&mut self, message: &Message, client: &Client, clock: &Clock) {
        let handle = client.handle_named::<Outcome>(MAIN);
        let number = self.sent;
        match message {
            Message::Note => self.note(client).await,
            Message::Update(errand) => self.update(&handle, *errand).await,
            Message::Query => match handle.query(received, ()).await {
                Ok(_) => {}
                Err(QueryError::Client(error)) => panic!("query {number}: {error}"),
                Err(_) => {}
            },
            Message::Pause { seconds } => {
                allow_closed(handle.pause("as asked").await);
                clock.advance_to(clock.now() + Duration::from_secs(*seconds)).await;
                allow_closed(handle.resume("as asked").await);
            }
            Message::Cancel => allow_closed(handle.cancel("as asked").await),
            Message::Reset(from) => self.reset(*from, &handle, client).await,
            Message::Toil { failures, attempts } => self.toil(*failures, *attempts, client).await,
            Message::Schedule { ops, every, times, overlap } => {
                let every = Duration::from_secs(*every);
                let end_at = *self.pending.end_at.get_or_insert(clock.now() + every * u32::try_from(*times).unwrap());
                let schedule = Schedule { id: format!("schedule {number}"), every, end_at, overlap: *overlap };
                self.schedule(schedule, ops.clone(), client).await;
            }
            Message::NoteForAll => {
                let (id, note) = (format!("batch {number}"), Note { text: format!("note {number} for all") });
                client.batch("WorkflowType = 'program'").id(&id).signal(note).await.unwrap();
                self.batches.push(id);
            }
        }
    }

    /// Sends a note, with a request id that a repeat after a crash has too.
    async fn note(&mut self, client: &Client) {
        let number = self.sent;
        let content = serde_json::to_value(Note { text: format!("note {number}") }).unwrap();
        let request = v1::SignalWorkflowRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(main_run()),
            signal_name: "Note".to_owned(),
            input: vec![payload(&content)],
            request_id: format!("note {number}"),
            ..Default::default()
        };
        match WorkflowServiceClient::new(client.transport().clone()).signal_workflow(request).await {
            Ok(answer) => {
                let run_id = answer.into_inner().run_id;
                self.signals.push(Signal { run_id, payload: content.to_string() });
            }
            Err(status) if is_closed(&status) => {}
            Err(status) => panic!("note {number}: {status}"),
        }
    }

    async fn update(&mut self, handle: &WorkflowHandle<Outcome>, errand: Errand) {
        let id = format!("update {}", self.sent);
        match handle.update(Run { errand }).id(id.clone()).start().await {
            Ok(_) => self.updates.push(id),
            Err(UpdateFailure::Rejected(_)) if errand == Errand::BeRefused => {}
            Err(UpdateFailure::Client(ClientError::Closed { .. } | ClientError::NotFound { .. })) => {}
            Err(failure) => panic!("{id}: {failure:?}"),
        }
    }

    /// With a request id, and the same point in a repeat.
    async fn reset(&mut self, from: From, handle: &WorkflowHandle<Outcome>, client: &Client) {
        let request_id = format!("reset {}", self.sent);
        let (namespace, execution) = (NAMESPACE.to_owned(), Some(main_run()));
        let mut service = OperationServiceClient::new(client.transport().clone());
        let answer = if let From::FailedActivity = from {
            let request = v1::RepairWorkflowRequest { namespace, execution, request_id, ..Default::default() };
            service.repair_workflow(request).await
        } else {
            let request = match &self.pending.reset {
                Some(request) => request.clone(),
                None => {
                    let (point, event_id) = point(from, handle).await;
                    let point = point.into();
                    v1::ResetWorkflowRequest { namespace, execution, point, event_id, request_id, ..Default::default() }
                }
            };
            self.pending.reset = Some(request.clone());
            service.reset_workflow(request).await
        };
        match answer {
            Ok(_) => {}
            // There is no such point, or the run went on in between.
            Err(status)
                if matches!(status.code(), Code::InvalidArgument | Code::Aborted | Code::FailedPrecondition) => {}
            Err(status) => panic!("reset {}: {status}", self.sent),
        }
    }

    async fn toil(&mut self, failures: u32, attempts: u32, client: &Client) {
        let id = format!("toil {}", self.sent);
        let start = client.activity(toil).id(&id).request_id(&id).start_to_close(minutes(1));
        let retry = RetryPolicy { maximum_attempts: attempts, jitter: 0.0, ..RetryPolicy::default() };
        match start.retry(retry).id_reuse_policy(IdReusePolicy::RejectDuplicate).start((failures, false)).await {
            // A start that was not acknowledged, of one that has ended meanwhile.
            Ok(_) | Err(ClientError::AlreadyStarted { .. }) => self.activities.push(Toil { id, failures, attempts }),
            Err(error) => panic!("{id}: {error}"),
        }
    }

    async fn schedule(&mut self, schedule: Schedule, ops: Vec<Op>, client: &Client) {
        let made = client.workflow(program).schedule(&schedule.id).every(schedule.every).end_at(schedule.end_at);
        match made.overlap(schedule.overlap).create((ops, 0)).await {
            Ok(_) | Err(ClientError::AlreadyStarted { .. }) => self.schedules.push(schedule),
            Err(error) => panic!("{}: {error}", schedule.id),
        }
    }
}

fn main_run() -> v1::WorkflowExecution {
    v1::WorkflowExecution { workflow_id: MAIN.to_owned(), run_id: String::new() }
}

async fn point(from: From, handle: &WorkflowHandle<Outcome>) -> (v1::ResetPoint, u64) {
    match from {
        From::First | From::FailedActivity => (v1::ResetPoint::FirstWorkflowTask, 0),
        From::Last => (v1::ResetPoint::LastWorkflowTask, 0),
        From::Task(number) => {
            let history = handle.history().await.unwrap();
            let starts = history.iter().filter(|event| event.kind.name() == "WorkflowTaskStarted");
            let starts: Vec<u64> = starts.map(|event| event.id.0).collect();
            match starts.get(number % starts.len().max(1)) {
                Some(start) => (v1::ResetPoint::WorkflowTask, *start),
                None => (v1::ResetPoint::LastWorkflowTask, 0),
            }
        }
    }
}

fn is_closed(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition)
}

/// It may have closed before.
fn allow_closed(answer: Result<(), ClientError>) {
    match answer {
        Ok(()) | Err(ClientError::Closed { .. } | ClientError::NotFound { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}
