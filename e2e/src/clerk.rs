//! A client that repeats its requests until they are acknowledged, and notes what was promised to it.
//!
//! It uses the generated client, not the SDK's: what is promised is what the server says on the wire.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use engine_proto::v1;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use futures::{StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::checker::{Evidence, Run, Signal, Start, read};
use crate::ledger::Effect;

/// The namespace of all tests.
pub const NAMESPACE: &str = "default";

/// The queue of all tests.
pub const QUEUE: &str = "e2e";

/// How long one answer may take; then the request is repeated, maybe elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(20);

/// How many workflows are placed at the same time.
const AT_ONCE: usize = 8;

/// How many notes each workflow that waits for notes gets.
const NOTES: u32 = 3;

/// A client of one server, or of several on one database.
#[derive(Debug, Clone)]
pub struct Clerk {
    servers: Arc<Vec<WorkflowServiceClient<Channel>>>,
    /// The server to ask first.
    favourite: Arc<AtomicUsize>,
}

/// What was promised.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    /// Acknowledged starts.
    pub starts: Vec<Start>,
    /// Acknowledged signals.
    pub signals: Vec<Signal>,
}

impl Clerk {
    /// A client of the servers at these addresses (`http://…`), which need not be there yet.
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> anyhow::Result<Clerk> {
        let client = |address: A| -> anyhow::Result<_> {
            let endpoint = Endpoint::from_shared(address.as_ref().to_owned())?;
            Ok(WorkflowServiceClient::new(endpoint.connect_lazy()))
        };
        let servers = addresses.into_iter().map(client).collect::<Result<_, _>>()?;
        Ok(Clerk { servers: Arc::new(servers), favourite: Arc::default() })
    }

    /// The generated client of the favourite server, for single requests.
    pub fn client(&self) -> WorkflowServiceClient<Channel> {
        let favourite = self.favourite.load(Ordering::Relaxed);
        self.servers[favourite % self.servers.len()].clone()
    }

    /// Asks until there is an answer: a result, or a refusal that a repeat would not change. The second value says whether an
    /// earlier try may have taken effect.
    pub async fn insist<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        ask: impl Fn(WorkflowServiceClient<Channel>) -> F,
    ) -> (Result<T, Status>, bool) {
        let mut in_doubt = false;
        loop {
            match tokio::time::timeout(ANSWER_WITHIN, ask(self.client())).await {
                Ok(Ok(answer)) => return (Ok(answer.into_inner()), in_doubt),
                Ok(Err(status)) if !is_passing(&status) => return (Err(status), in_doubt),
                Ok(Err(_)) | Err(_) => {}
            }
            in_doubt = true;
            self.favourite.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Starts a workflow, once, however often that must be said.
    pub async fn start(&self, workflow_id: &str, workflow_type: &str, input: &[Value]) -> anyhow::Result<Start> {
        let request = v1::StartWorkflowRequest {
            request_id: uuid::Uuid::now_v7().to_string(),
            ..start_request(workflow_id, workflow_type, input)
        };
        let (answer, _) = self
            .insist(|mut client| {
                let request = request.clone();
                async move { client.start_workflow(request).await }
            })
            .await;
        let run_id = answer.with_context(|| format!("start {workflow_id}"))?.run_id;
        Ok(Start { workflow_id: workflow_id.to_owned(), run_id })
    }

    /// Sends a note to a run. `None` if it cannot be known whether the run has it.
    pub async fn note(&self, start: &Start, text: &str) -> anyhow::Result<Option<Signal>> {
        let content = json!({ "text": text });
        let request = v1::SignalWorkflowRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(execution(start)),
            signal_name: "Note".to_owned(),
            input: vec![payload(&content)],
            request_id: uuid::Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let answer = self
            .insist(|mut client| {
                let request = request.clone();
                async move { client.signal_workflow(request).await }
            })
            .await;
        match answer {
            (Ok(answer), _) => Ok(Some(Signal { run_id: answer.run_id, payload: content.to_string() })),
            (Err(status), true) if status.code() == Code::NotFound => Ok(None),
            (Err(status), _) => Err(status).with_context(|| format!("send a note to {}", start.workflow_id)),
        }
    }

    /// Asks a run until it answers, also while no worker is there to do so. Any other failure that a repeat would not change is an error.
    pub async fn query<T: DeserializeOwned>(&self, start: &Start, query_name: &str) -> anyhow::Result<T> {
        let request = v1::QueryWorkflowRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(execution(start)),
            query_name: query_name.to_owned(),
            // Less than the patience with one answer.
            wait: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            ..Default::default()
        };
        let answer = loop {
            let (answer, _) = self
                .insist(|mut client| {
                    let request = request.clone();
                    async move { client.query_workflow(request).await }
                })
                .await;
            match answer {
                Err(status) if status.code() == Code::FailedPrecondition => tokio::time::sleep(PAUSE).await,
                answer => break answer.with_context(|| format!("ask {} for {query_name}", start.workflow_id))?,
            }
        };
        let result = answer.result.with_context(|| format!("{query_name} failed: {:?}", answer.failure))?;
        serde_json::from_slice(&result.data).context("read the answer")
    }

    /// Waits until the run is closed, and gives its status.
    pub async fn closed(&self, start: &Start) -> anyhow::Result<v1::WorkflowStatus> {
        let request = v1::GetWorkflowResultRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(execution(start)),
            // Less than the patience with one answer.
            wait: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        };
        loop {
            let (answer, _) = self
                .insist(|mut client| {
                    let request = request.clone();
                    async move { client.get_workflow_result(request).await }
                })
                .await;
            let answer = answer.with_context(|| format!("wait for {}", start.workflow_id))?;
            if answer.status() != v1::WorkflowStatus::Running {
                return Ok(answer.status());
            }
        }
    }

    /// What the server knows of a run.
    pub async fn describe(&self, start: &Start) -> anyhow::Result<v1::DescribeWorkflowResponse> {
        let request =
            v1::DescribeWorkflowRequest { namespace: NAMESPACE.to_owned(), execution: Some(execution(start)) };
        let (answer, _) = self
            .insist(|mut client| {
                let request = request.clone();
                async move { client.describe_workflow(request).await }
            })
            .await;
        answer.with_context(|| format!("describe {}", start.workflow_id))
    }

    /// Asks for the state of a run until `wanted` finds in it what it looks for. There is no notification for what is not
    /// recorded as an event.
    pub async fn see<T>(
        &self,
        start: &Start,
        wanted: impl Fn(&v1::DescribeWorkflowResponse) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let description = self.describe(start).await?;
            if let Some(found) = wanted(&description) {
                return Ok(found);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} does not come to what was waited for: {description:?}", start.workflow_id);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Places `count` workflows of all kinds in `kinds`, several at a time, with the notes that they wait for.
    pub async fn place(&self, prefix: &str, count: u32, kinds: &[Kind]) -> anyhow::Result<Promises> {
        let placed = futures::stream::iter(0..count).map(|number| {
            let kind = kinds[number as usize % kinds.len()];
            self.place_one(format!("{prefix}-{number:03}-{}", kind.workflow_type()), kind)
        });
        let placed: Vec<(Start, Vec<Signal>)> = placed.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut promises = Promises::default();
        for (start, signals) in placed {
            promises.starts.push(start);
            promises.signals.extend(signals);
        }
        Ok(promises)
    }

    async fn place_one(&self, workflow_id: String, kind: Kind) -> anyhow::Result<(Start, Vec<Signal>)> {
        let start = self.start(&workflow_id, kind.workflow_type(), &kind.input()).await?;
        let mut signals = Vec::new();
        for number in 0..kind.notes() {
            signals.extend(self.note(&start, &format!("{workflow_id} note {number}")).await?);
        }
        Ok((start, signals))
    }

    /// Waits until all promised runs are completed.
    pub async fn all_completed(&self, promises: &Promises) -> anyhow::Result<()> {
        for start in &promises.starts {
            let status = self.closed(start).await?;
            if status != v1::WorkflowStatus::Completed {
                let history = read::history(&mut self.client(), NAMESPACE, &start.workflow_id, &start.run_id).await?;
                bail!("{} closed as {status:?}: {:?}", start.workflow_id, history.last());
            }
        }
        Ok(())
    }

    /// Reads all runs of the namespace, and puts them together with the ledger and the promises.
    pub async fn evidence(&self, promises: &Promises, effects: Vec<Effect>) -> anyhow::Result<Evidence> {
        let runs: Vec<Run> = read::runs(&mut self.client(), NAMESPACE, &promises.starts).await?;
        Ok(Evidence { runs, effects, starts: promises.starts.clone(), signals: promises.signals.clone(), losses: 0 })
    }
}

/// Whether a repeat of the request may fare better.
fn is_passing(status: &Status) -> bool {
    // Unknown and Internal are what a connection that breaks under a request looks like.
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

/// A payload of JSON.
pub fn payload(value: &Value) -> v1::Payload {
    v1::Payload { encoding: "json/plain".to_owned(), data: value.to_string().into(), ..Default::default() }
}

/// A start of a workflow on the tests' queue.
pub fn start_request(workflow_id: &str, workflow_type: &str, input: &[Value]) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: workflow_id.to_owned(),
        workflow_type: workflow_type.to_owned(),
        task_queue: QUEUE.to_owned(),
        input: input.iter().map(payload).collect(),
        ..Default::default()
    }
}

/// Names the run of a start.
pub fn execution(start: &Start) -> v1::WorkflowExecution {
    v1::WorkflowExecution { workflow_id: start.workflow_id.clone(), run_id: start.run_id.clone() }
}

/// Kinds of workflows that tests place in numbers: see `programs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the workflows")]
pub enum Kind {
    Chain,
    FanOut,
    Naps,
    Notes,
    Careful,
    Stubborn,
    Drawing,
    Family,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [Kind::Chain, Kind::FanOut, Kind::Naps, Kind::Notes, Kind::Careful, Kind::Stubborn];
    /// Those with steps and with children.
    pub const DEEP: [Kind; 2] = [Kind::Drawing, Kind::Family];
    /// How many children each run of [`Kind::Family`] has.
    pub const CHILDREN: u32 = 3;
    /// Those whose activities succeed at once if nothing is killed.
    pub const SMOOTH: [Kind; 5] = [Kind::Chain, Kind::FanOut, Kind::Naps, Kind::Notes, Kind::Careful];

    /// The name that workers know it by.
    pub fn workflow_type(self) -> &'static str {
        match self {
            Kind::Chain => "chain",
            Kind::FanOut => "fan_out",
            Kind::Naps => "naps",
            Kind::Notes => "notes",
            Kind::Careful => "careful",
            Kind::Stubborn => "stubborn",
            Kind::Drawing => "drawing",
            Kind::Family => "family",
        }
    }

    fn input(self) -> Vec<Value> {
        match self {
            Kind::Chain => vec![json!(4), json!(5)],
            Kind::FanOut => vec![json!(6), json!(5)],
            Kind::Naps => vec![json!(2), json!(30)],
            Kind::Notes => vec![json!(NOTES)],
            Kind::Careful => vec![json!(3), json!(5)],
            Kind::Stubborn => vec![json!(2)],
            Kind::Drawing => vec![json!(4), json!(5)],
            Kind::Family => vec![json!(Self::CHILDREN), json!(2)],
        }
    }

    /// How many notes a run of this kind waits for.
    fn notes(self) -> u32 {
        if self == Kind::Notes { NOTES } else { 0 }
    }
}
