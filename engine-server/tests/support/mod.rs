//! A server in this process and a worker written by hand: each test says exactly what goes up and down the stream.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by test binaries, each of which uses its own part"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use engine_core::payload::Payload;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_proto::{convert, v1};
use engine_server::store::Store;
use engine_server::store::memory::MemoryStore;
use engine_server::{NodeOptions, Server};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::service::Routes;

pub const QUEUE: &str = "orders";

/// No message should take longer than this to arrive; a test that waits longer is broken.
pub const SOON: Duration = Duration::from_secs(10);

pub fn options() -> NodeOptions {
    NodeOptions { recovery_grace: Duration::ZERO, activity_grace: Duration::ZERO, ..NodeOptions::new("test") }
}

pub async fn store() -> Arc<dyn Store> {
    let store = MemoryStore::new();
    store.migrate(4).await.unwrap();
    Arc::new(store)
}

pub async fn start(store: Arc<dyn Store>, options: NodeOptions) -> Server {
    Server::start(store, options, true).await.unwrap()
}

pub fn client(server: &Server) -> WorkflowServiceClient<Routes> {
    WorkflowServiceClient::new(server.service())
}

pub fn start_request(workflow_id: &str) -> v1::StartWorkflowRequest {
    v1::StartWorkflowRequest {
        namespace: "default".into(),
        workflow_id: workflow_id.into(),
        workflow_type: "checkout".into(),
        task_queue: QUEUE.into(),
        input: vec![convert::payload_to_proto(&Payload::json("42"))],
        ..Default::default()
    }
}

pub fn execution(workflow_id: &str) -> Option<v1::WorkflowExecution> {
    Some(v1::WorkflowExecution { workflow_id: workflow_id.into(), run_id: String::new() })
}

/// Event names of the whole history.
pub async fn history(server: &Server, workflow_id: &str) -> Vec<String> {
    let request = v1::GetWorkflowHistoryRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        ..Default::default()
    };
    let page = client(server).get_workflow_history(request).await.unwrap().into_inner();
    page.history.unwrap_or_default().events.iter().map(|bytes| name(bytes)).collect()
}

pub fn name(bytes: &[u8]) -> String {
    let event = convert::event_from_proto(v1::HistoryEvent::decode(bytes).unwrap()).unwrap();
    event.kind.name().to_owned()
}

/// A worker's stream.
pub struct Worker {
    up: mpsc::UnboundedSender<v1::WorkerMessage>,
    down: Streaming<v1::ServerMessage>,
    ready: VecDeque<v1::ServerMessage>,
    pub welcome: v1::Welcome,
    next_result: u64,
}

pub fn hello(worker_id: u128) -> v1::Hello {
    v1::Hello {
        namespace: "default".into(),
        identity: format!("worker-{worker_id}"),
        worker_id: uuid::Uuid::from_u128(worker_id).to_string(),
        task_queues: vec![QUEUE.into()],
        workflow_types: vec!["checkout".into()],
        activity_types: vec!["charge".into()],
        ..Default::default()
    }
}

/// A task of either kind.
pub enum Task {
    Workflow(Box<v1::WorkflowTask>),
    Activity(Box<v1::ActivityTask>),
}

impl Worker {
    pub async fn connect(server: &Server, hello: v1::Hello, credits: u32) -> Worker {
        Self::try_connect(server, hello, credits).await.unwrap()
    }

    /// The error is that with which the server refuses the hello.
    pub async fn try_connect(server: &Server, hello: v1::Hello, credits: u32) -> Result<Worker, tonic::Status> {
        let (up, messages) = mpsc::unbounded_channel();
        let first = v1::WorkerMessage {
            hello: Some(hello),
            credits: Some(v1::Credits { workflow_tasks: credits, activity_tasks: credits }),
            ..Default::default()
        };
        up.send(first).unwrap();
        let mut client = WorkerServiceClient::new(server.service());
        let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(messages);
        let mut down = client.session(stream).await.unwrap().into_inner();
        let welcome = down.message().await?.unwrap().welcome.expect("the first message is the welcome");
        Ok(Worker { up, down, ready: VecDeque::new(), welcome, next_result: 1 })
    }

    pub fn send(&self, message: v1::WorkerMessage) {
        self.up.send(message).unwrap();
    }

    pub fn grant(&self, workflow_tasks: u32, activity_tasks: u32) {
        let credits = Some(v1::Credits { workflow_tasks, activity_tasks });
        self.send(v1::WorkerMessage { credits, ..Default::default() });
    }

    async fn message(&mut self) -> v1::ServerMessage {
        tokio::time::timeout(SOON, self.down.message())
            .await
            .expect("the server sends something")
            .expect("the stream is open")
            .expect("the stream goes on")
    }

    /// Waits for something of a message, keeping the rest for later.
    async fn take<T>(&mut self, mut take: impl FnMut(&mut v1::ServerMessage) -> Option<T>) -> T {
        loop {
            for message in &mut self.ready {
                if let Some(found) = take(message) {
                    return found;
                }
            }
            let message = self.message().await;
            self.ready.push_back(message);
        }
    }

    pub async fn workflow_task(&mut self) -> v1::WorkflowTask {
        self.take(|m| (!m.workflow_tasks.is_empty()).then(|| m.workflow_tasks.remove(0))).await
    }

    pub async fn activity_task(&mut self) -> v1::ActivityTask {
        self.take(|m| (!m.activity_tasks.is_empty()).then(|| m.activity_tasks.remove(0))).await
    }

    /// The next task of either kind.
    pub async fn task(&mut self) -> Task {
        self.take(|m| {
            if !m.workflow_tasks.is_empty() {
                return Some(Task::Workflow(Box::new(m.workflow_tasks.remove(0))));
            }
            (!m.activity_tasks.is_empty()).then(|| Task::Activity(Box::new(m.activity_tasks.remove(0))))
        })
        .await
    }

    pub async fn stop(&mut self) -> v1::ActivityStop {
        self.take(|m| (!m.activity_stops.is_empty()).then(|| m.activity_stops.remove(0))).await
    }

    pub async fn query(&mut self) -> v1::QueryTask {
        self.take(|m| (!m.queries.is_empty()).then(|| m.queries.remove(0))).await
    }

    /// The next run that the worker must drop from its cache.
    pub async fn evicted(&mut self) -> String {
        self.take(|m| (!m.evict_run_ids.is_empty()).then(|| m.evict_run_ids.remove(0))).await
    }

    pub async fn drained(&mut self) {
        self.take(|m| m.drained.then_some(())).await;
    }

    async fn ack(&mut self, result_id: u64) -> v1::ResultAck {
        self.take(|m| {
            let index = m.acks.iter().position(|ack| ack.result_id == result_id)?;
            Some(m.acks.remove(index))
        })
        .await
    }

    /// Whether the server ended the stream.
    pub async fn ended(&mut self) -> bool {
        loop {
            match tokio::time::timeout(SOON, self.down.message()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None) | Err(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    pub fn result(&mut self, result: v1::task_result::Result) -> u64 {
        let result_id = self.next_result;
        self.next_result += 1;
        let results = vec![v1::TaskResult { result_id, result: Some(result) }];
        self.send(v1::WorkerMessage { results, ..Default::default() });
        result_id
    }

    /// Sends a result and waits for its acknowledgement.
    pub async fn report(&mut self, result: v1::task_result::Result) -> v1::ResultAck {
        let id = self.result(result);
        self.ack(id).await
    }

    pub async fn complete_workflow_task(
        &mut self,
        task: &v1::WorkflowTask,
        commands: Vec<v1::Command>,
    ) -> v1::ResultAck {
        let done =
            v1::WorkflowTaskCompletion { token: task.token.clone(), commands, cached: true, ..Default::default() };
        self.report(v1::task_result::Result::WorkflowTaskCompleted(done)).await
    }

    pub async fn complete_activity(&mut self, task: &v1::ActivityTask) -> v1::ResultAck {
        let result = Some(convert::payload_to_proto(&Payload::json("\"done\"")));
        let done = v1::ActivityTaskCompletion { token: task.token.clone(), result };
        self.report(v1::task_result::Result::ActivityCompleted(done)).await
    }
}

pub fn schedule_activity(id: &str, max_attempts: u32) -> v1::Command {
    let second = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let retry_policy =
        v1::RetryPolicy { maximum_attempts: max_attempts, backoff_coefficient: 2.0, ..Default::default() };
    v1::Command {
        command: Some(v1::command::Command::ScheduleActivity(v1::ScheduleActivityCommand {
            activity_id: id.into(),
            activity_type: "charge".into(),
            timeouts: Some(v1::ActivityTimeouts { start_to_close: second, ..Default::default() }),
            retry_policy: Some(retry_policy),
            ..Default::default()
        })),
    }
}

pub fn start_timer(id: &str, millis: u32) -> v1::Command {
    let duration = Some(convert::duration_to_proto(Duration::from_millis(millis.into())));
    v1::Command {
        command: Some(v1::command::Command::StartTimer(v1::StartTimerCommand {
            timer_id: id.into(),
            duration,
            ..Default::default()
        })),
    }
}

pub fn complete_workflow() -> v1::Command {
    let result = Some(convert::payload_to_proto(&Payload::json("\"all done\"")));
    v1::Command { command: Some(v1::command::Command::CompleteWorkflow(v1::CompleteWorkflowCommand { result })) }
}

pub async fn result(server: &Server, workflow_id: &str) -> v1::GetWorkflowResultResponse {
    let request =
        v1::GetWorkflowResultRequest { namespace: "default".into(), execution: execution(workflow_id), wait: None };
    client(server).get_workflow_result(request).await.unwrap().into_inner()
}

pub async fn signal(server: &Server, workflow_id: &str, name: &str) -> Result<(), tonic::Status> {
    let request = v1::SignalWorkflowRequest {
        namespace: "default".into(),
        execution: execution(workflow_id),
        signal_name: name.into(),
        ..Default::default()
    };
    client(server).signal_workflow(request).await.map(drop)
}

pub async fn describe(server: &Server, workflow_id: &str) -> v1::DescribeWorkflowResponse {
    let request = v1::DescribeWorkflowRequest { namespace: "default".into(), execution: execution(workflow_id) };
    client(server).describe_workflow(request).await.unwrap().into_inner()
}
