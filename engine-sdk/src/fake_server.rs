//! A server that a test plays: each stream and each call of a client comes to the test, which answers it.

use std::pin::Pin;
use std::time::Duration;

use engine_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use engine_proto::v1::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use engine_proto::{EncodedHistory, v1};
use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::client::Client;
use crate::transport::Transport;

/// The test's end of the server.
pub(crate) struct FakeServer {
    sessions: mpsc::UnboundedReceiver<FakeSession>,
    calls: mpsc::UnboundedReceiver<Call>,
    service: Service,
}

/// A call that waits for the test's answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub(crate) enum Call {
    Start(v1::StartWorkflowRequest, Answer<v1::StartWorkflowResponse>),
    StartMany(v1::StartWorkflowsRequest, Answer<v1::StartWorkflowsResponse>),
    Signal(v1::SignalWorkflowRequest, Answer<v1::SignalWorkflowResponse>),
    Terminate(v1::TerminateWorkflowRequest, Answer<v1::TerminateWorkflowResponse>),
    List(v1::ListWorkflowsRequest, Answer<v1::ListWorkflowsResponse>),
    History(v1::GetWorkflowHistoryRequest, Answer<v1::GetWorkflowHistoryResponse>),
    Watch(v1::WatchWorkflowRequest, Answer<Vec<Result<v1::WatchWorkflowResponse, Status>>>),
    Result(v1::GetWorkflowResultRequest, Answer<v1::GetWorkflowResultResponse>),
    Query(v1::QueryWorkflowRequest, Answer<v1::QueryWorkflowResponse>),
    Published(v1::GetPublishedRequest, Answer<v1::GetPublishedResponse>),
    CompleteActivity(v1::CompleteActivityRequest, Answer<v1::CompleteActivityResponse>),
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Status>>;

/// The server's end of a worker's stream.
#[derive(Debug)]
pub(crate) struct FakeSession {
    incoming: Streaming<v1::WorkerMessage>,
    outgoing: mpsc::Sender<Result<v1::ServerMessage, Status>>,
    /// Credits that the worker granted and that were not used.
    pub(crate) credits: v1::Credits,
    /// Tasks sent without a result.
    pub(crate) in_hand: u32,
}

#[derive(Clone)]
struct Service {
    sessions: mpsc::UnboundedSender<FakeSession>,
    calls: mpsc::UnboundedSender<Call>,
}

impl FakeServer {
    pub(crate) fn new() -> Self {
        let (to_sessions, sessions) = mpsc::unbounded_channel();
        let (to_calls, calls) = mpsc::unbounded_channel();
        Self { sessions, calls, service: Service { sessions: to_sessions, calls: to_calls } }
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(WorkerServiceServer::new(self.service.clone()));
        routes.add_service(WorkflowServiceServer::new(self.service.clone()));
        let transport = Transport::local(routes.routes());
        Client::builder().identity("test").retry_for(Duration::from_secs(5)).over(transport).unwrap()
    }

    /// The next stream that a worker opens, with its hello. It was welcomed, without a promise to keep the stream alive.
    pub(crate) async fn session(&mut self) -> (FakeSession, v1::Hello) {
        let mut session = self.sessions.recv().await.expect("a worker");
        let hello = session.incoming.message().await.unwrap().and_then(|message| message.hello).expect("hello first");
        let welcome = Some(v1::Welcome::default());
        session.send_anything(v1::ServerMessage { welcome, ..Default::default() }).await;
        (session, hello)
    }

    /// The next call of a client.
    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("a client")
    }
}

impl FakeSession {
    pub(crate) async fn send(&mut self, message: v1::ServerMessage) {
        self.credits.activity_tasks -= message.activity_tasks.len() as u32;
        self.credits.workflow_tasks -= message.workflow_tasks.len() as u32;
        self.in_hand += (message.activity_tasks.len() + message.workflow_tasks.len()) as u32;
        self.send_anything(message).await;
    }

    /// Sends without regard to credits.
    pub(crate) async fn send_anything(&mut self, message: v1::ServerMessage) {
        self.outgoing.send(Ok(message)).await.expect("the worker listens");
    }

    pub(crate) async fn activities(&mut self, tasks: impl IntoIterator<Item = v1::ActivityTask>) {
        self.send(v1::ServerMessage { activity_tasks: tasks.into_iter().collect(), ..Default::default() }).await;
    }

    pub(crate) async fn workflow(&mut self, task: v1::WorkflowTask) {
        self.send(v1::ServerMessage { workflow_tasks: vec![task], ..Default::default() }).await;
    }

    /// The next message; `None` if the worker closed the stream.
    pub(crate) async fn message(&mut self) -> Option<v1::WorkerMessage> {
        let message = self.incoming.message().await.ok().flatten()?;
        if let Some(credits) = &message.credits {
            self.credits.activity_tasks += credits.activity_tasks;
            self.credits.workflow_tasks += credits.workflow_tasks;
        }
        self.in_hand = self.in_hand.saturating_sub(message.results.len() as u32);
        Some(message)
    }

    /// Waits until the worker has granted at least one credit.
    pub(crate) async fn credits(&mut self) -> v1::Credits {
        while self.credits == v1::Credits::default() {
            self.message().await.expect("a stream");
        }
        self.credits
    }

    /// The next result, without an acknowledgement; earlier messages without results are skipped.
    pub(crate) async fn result(&mut self) -> v1::TaskResult {
        loop {
            let mut message = self.message().await.expect("a stream");
            assert!(message.results.len() <= 1, "{:?}", message.results);
            if let Some(result) = message.results.pop() {
                return result;
            }
        }
    }

    pub(crate) async fn acknowledge(&mut self, result_ids: impl IntoIterator<Item = u64>) {
        let acks = result_ids.into_iter().map(|result_id| v1::ResultAck { result_id, ..Default::default() }).collect();
        self.send_anything(v1::ServerMessage { acks, ..Default::default() }).await;
    }

    /// Breaks the stream.
    pub(crate) async fn break_off(self) {
        self.refuse(Status::unavailable("broken by the test")).await;
    }

    /// Ends the stream with this status.
    pub(crate) async fn refuse(self, status: Status) {
        self.outgoing.send(Err(status)).await.expect("the worker listens");
    }
}

impl Service {
    async fn ask<Q, T>(&self, call: fn(Q, Answer<T>) -> Call, request: Request<Q>) -> Result<Response<T>, Status> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(call(request.into_inner(), answer)).map_err(|_| Status::unavailable("the test is over"))?;
        answered.await.map_err(|_| Status::unavailable("the test gave no answer"))?.map(Response::new)
    }
}

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = MessageStream<v1::ServerMessage>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, messages) = mpsc::channel(16);
        let session =
            FakeSession { incoming: request.into_inner(), outgoing, credits: v1::Credits::default(), in_hand: 0 };
        self.sessions.send(session).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn complete_activity(
        &self,
        request: Request<v1::CompleteActivityRequest>,
    ) -> Result<Response<v1::CompleteActivityResponse>, Status> {
        self.ask(Call::CompleteActivity, request).await
    }

    async fn fail_activity(
        &self,
        _: Request<v1::FailActivityRequest>,
    ) -> Result<Response<v1::FailActivityResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn heartbeat_activity(
        &self,
        _: Request<v1::HeartbeatActivityRequest>,
    ) -> Result<Response<v1::HeartbeatActivityResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}

#[tonic::async_trait]
impl WorkflowService for Service {
    type WatchWorkflowStream = MessageStream<v1::WatchWorkflowResponse>;

    async fn start_workflow(
        &self,
        request: Request<v1::StartWorkflowRequest>,
    ) -> Result<Response<v1::StartWorkflowResponse>, Status> {
        self.ask(Call::Start, request).await
    }

    async fn start_workflows(
        &self,
        request: Request<v1::StartWorkflowsRequest>,
    ) -> Result<Response<v1::StartWorkflowsResponse>, Status> {
        self.ask(Call::StartMany, request).await
    }

    async fn signal_workflow(
        &self,
        request: Request<v1::SignalWorkflowRequest>,
    ) -> Result<Response<v1::SignalWorkflowResponse>, Status> {
        self.ask(Call::Signal, request).await
    }

    async fn cancel_workflow(
        &self,
        _: Request<v1::CancelWorkflowRequest>,
    ) -> Result<Response<v1::CancelWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn terminate_workflow(
        &self,
        request: Request<v1::TerminateWorkflowRequest>,
    ) -> Result<Response<v1::TerminateWorkflowResponse>, Status> {
        self.ask(Call::Terminate, request).await
    }

    async fn describe_workflow(
        &self,
        _: Request<v1::DescribeWorkflowRequest>,
    ) -> Result<Response<v1::DescribeWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        self.ask(Call::List, request).await
    }

    async fn get_workflow_history(
        &self,
        request: Request<v1::GetWorkflowHistoryRequest>,
    ) -> Result<Response<v1::GetWorkflowHistoryResponse>, Status> {
        self.ask(Call::History, request).await
    }

    async fn watch_workflow(
        &self,
        request: Request<v1::WatchWorkflowRequest>,
    ) -> Result<Response<Self::WatchWorkflowStream>, Status> {
        let messages = self.ask(Call::Watch, request).await?.into_inner();
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }

    async fn get_workflow_result(
        &self,
        request: Request<v1::GetWorkflowResultRequest>,
    ) -> Result<Response<v1::GetWorkflowResultResponse>, Status> {
        self.ask(Call::Result, request).await
    }

    async fn update_workflow(
        &self,
        _: Request<v1::UpdateWorkflowRequest>,
    ) -> Result<Response<v1::UpdateWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn poll_update(
        &self,
        _: Request<v1::PollUpdateRequest>,
    ) -> Result<Response<v1::UpdateWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn signal_with_start(
        &self,
        _: Request<v1::SignalWithStartRequest>,
    ) -> Result<Response<v1::StartWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn update_with_start(
        &self,
        _: Request<v1::UpdateWithStartRequest>,
    ) -> Result<Response<v1::UpdateWithStartResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn query_workflow(
        &self,
        request: Request<v1::QueryWorkflowRequest>,
    ) -> Result<Response<v1::QueryWorkflowResponse>, Status> {
        self.ask(Call::Query, request).await
    }

    async fn count_workflows(
        &self,
        _: Request<v1::CountWorkflowsRequest>,
    ) -> Result<Response<v1::CountWorkflowsResponse>, Status> {
        Err(Status::unimplemented("not in tests"))
    }

    async fn get_published(
        &self,
        request: Request<v1::GetPublishedRequest>,
    ) -> Result<Response<v1::GetPublishedResponse>, Status> {
        self.ask(Call::Published, request).await
    }
}

/// Events as they go over the wire.
pub(crate) fn encode(events: &[engine_core::event::Event]) -> EncodedHistory {
    EncodedHistory { events: events.iter().map(engine_proto::convert::encode_event).collect() }
}
