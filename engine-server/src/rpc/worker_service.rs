//! `WorkerService`: worker streams, and activities completed from anywhere.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine_core::execution::{ActivityRef, Input, Reply};
use engine_core::ids::ActivityId;
use engine_proto::convert;
use engine_proto::token::ActivityToken;
use engine_proto::v1::{self, worker_service_server::WorkerService};
use futures::Stream;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status, Streaming};

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::activity_service;
use crate::rpc::status::to_status;
use crate::rpc::validate;
use crate::rpc::workflow_service::Target;
use crate::session::inbound::{self, Opened};
use crate::session::outbound;
use crate::shard::request::{Replied, ServerError};
use crate::store::NamespaceId;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    pub(crate) context: Arc<NodeContext>,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = BoxStream<'static, Result<v1::ServerMessage, Status>>;

    async fn session(&self, call: Call<Streaming<v1::WorkerMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        let context = Arc::clone(&self.context);
        if context.is_stopping() {
            return Err(to_status(ServerError::unavailable("the server is stopping")));
        }
        let mut messages = call.into_inner();
        // The answer's headers go out at once: the hello may come only after them.
        let (opened, wait) = tokio::sync::oneshot::channel();
        let gone = CancellationToken::new();
        let down_gone = gone.clone();
        tokio::spawn(async move {
            let (Opened { session, welcome, outbound, grace }, first) =
                match inbound::open(&context, &mut messages).await {
                    Ok(opened) => opened,
                    Err(status) => return drop(opened.send(Err(status))),
                };
            tracing::info!(worker = %session.identity, "a worker connected");
            opened.send(Ok((welcome, outbound))).ok();
            tokio::select! {
                () = inbound::read(&context, &session, first, messages) => {}
                () = down_gone.cancelled() => {}
            }
            context.sessions.end(&context, &session, grace).await;
        });
        let down = futures::stream::once(wait);
        let down = futures::StreamExt::flat_map(down, |opened| match opened {
            Ok(Ok((welcome, queue))) => {
                let messages: BoxStream<'static, _> =
                    Box::pin(outbound::stream(welcome, queue, limits::SESSION_KEEPALIVE));
                messages
            }
            Ok(Err(status)) => Box::pin(futures::stream::iter([Err(status)])),
            Err(_) => Box::pin(futures::stream::iter([Err(Status::unavailable("the server is stopping"))])),
        });
        Ok(Response::new(Box::pin(Guarded { stream: Box::pin(down), _gone: gone.drop_guard() })))
    }

    async fn complete_activity(
        &self,
        call: Call<v1::CompleteActivityRequest>,
    ) -> Result<Response<v1::CompleteActivityResponse>, Status> {
        let request = call.into_inner();
        use v1::complete_activity_request::Activity;
        let named = request.activity.map(|activity| match activity {
            Activity::Token(token) => Named::Token(token),
            Activity::ById(by_id) => Named::Id(by_id),
        });
        validate::people_text("identity", &request.identity).map_err(to_status)?;
        let result = request.result.map(convert::payload_from_proto);
        validate::payloads("result", result.as_slice()).map_err(to_status)?;
        let identity = request.identity;
        let input = |activity| Input::CompleteActivity { activity, result, identity };
        self.activity_input(&request.namespace, named, input).await.map_err(to_status)?;
        Ok(Response::new(v1::CompleteActivityResponse {}))
    }

    async fn fail_activity(
        &self,
        call: Call<v1::FailActivityRequest>,
    ) -> Result<Response<v1::FailActivityResponse>, Status> {
        let request = call.into_inner();
        use v1::fail_activity_request::Activity;
        let named = request.activity.map(|activity| match activity {
            Activity::Token(token) => Named::Token(token),
            Activity::ById(by_id) => Named::Id(by_id),
        });
        validate::people_text("identity", &request.identity).map_err(to_status)?;
        let failure = convert::required("failure", request.failure)
            .and_then(|failure| convert::failure_from_outside(failure).map_err(|e| e.inside("failure")))
            .map_err(|e| to_status(e.into()))?;
        let identity = request.identity;
        let input = |activity| Input::FailActivity { activity, failure, identity };
        self.activity_input(&request.namespace, named, input).await.map_err(to_status)?;
        Ok(Response::new(v1::FailActivityResponse {}))
    }

    async fn heartbeat_activity(
        &self,
        call: Call<v1::HeartbeatActivityRequest>,
    ) -> Result<Response<v1::HeartbeatActivityResponse>, Status> {
        let request = call.into_inner();
        use v1::heartbeat_activity_request::Activity;
        let named = request.activity.map(|activity| match activity {
            Activity::Token(token) => Named::Token(token),
            Activity::ById(by_id) => Named::Id(by_id),
        });
        let details = request.details.map(convert::payload_from_proto);
        validate::payloads("details", details.as_slice()).map_err(to_status)?;
        let input = |activity| Input::HeartbeatActivity { activity, details };
        let replied = self.activity_input(&request.namespace, named, input).await.map_err(to_status)?;
        let (cancel_requested, paused) = match replied.reply {
            Reply::Heartbeat { cancel_requested, paused } => (cancel_requested, paused),
            ref other => unreachable!("a heartbeat is answered with what is asked of the activity, not {other:?}"),
        };
        Ok(Response::new(v1::HeartbeatActivityResponse { cancel_requested, paused }))
    }
}

/// How a request names an activity.
enum Named {
    Token(Vec<u8>),
    Id(v1::ActivityById),
}

impl Workers {
    async fn activity_input(
        &self,
        namespace: &str,
        named: Option<Named>,
        input: impl FnOnce(ActivityRef) -> Input,
    ) -> Result<Replied, ServerError> {
        match convert::required("activity", named)? {
            Named::Token(token) => {
                let asked = self.context.namespaces.id(&self.context.store, "namespace", namespace).await?;
                let token = ActivityToken::decode(&token)?;
                let namespace = NamespaceId(token.namespace_id);
                if namespace.home() != asked {
                    return Err(ServerError::Invalid {
                        field: "token".into(),
                        problem: "belongs to another namespace".into(),
                    });
                }
                let workflow_id: Arc<str> = token.workflow_id.as_str().into();
                let shard = self.context.shard_of(namespace, &workflow_id);
                let target = Target { namespace, shard, workflow_id, run_id: Some(token.run_id) };
                target.input(&self.context, input(ActivityRef::Token(token.task))).await
            }
            Named::Id(by_id) => {
                let activity_id = convert::required_id("by_id.activity_id", &by_id.activity_id, ActivityId::parse)?;
                let target = match by_id.execution {
                    Some(execution) => Target::parse(&self.context, namespace, Some(execution)).await?,
                    None => activity_service::target(&self.context, namespace, activity_id.as_str(), "").await?,
                };
                target.input(&self.context, input(ActivityRef::Id(activity_id))).await
            }
        }
    }
}

/// Tells the reader of a stream when its writer is dropped: the connection is gone.
struct Guarded<S> {
    stream: S,
    _gone: tokio_util::sync::DropGuard,
}

impl<S: Stream + Unpin> Stream for Guarded<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}
