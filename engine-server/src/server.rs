//! A whole server: a node and its services, to be called in this process or served on a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine_core::limits::MESSAGE_BYTES_MAX;
use engine_core::time::Timestamp;
use engine_proto::v1::activity_service_server::ActivityServiceServer;
use engine_proto::v1::batch_service_server::BatchServiceServer;
use engine_proto::v1::deployment_service_server::DeploymentServiceServer;
use engine_proto::v1::namespace_service_server::NamespaceServiceServer;
use engine_proto::v1::operation_service_server::OperationServiceServer;
use engine_proto::v1::schedule_service_server::ScheduleServiceServer;
use engine_proto::v1::worker_service_server::WorkerServiceServer;
use engine_proto::v1::workflow_service_server::WorkflowServiceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::housekeeping;
use crate::node::{Node, NodeOptions};
use crate::rpc::activity_service::ActivityCalls;
use crate::rpc::batch_service::BatchCalls;
use crate::rpc::deployment_service::DeploymentCalls;
use crate::rpc::namespace_service::NamespaceCalls;
use crate::rpc::operation_service::Operations;
use crate::rpc::schedule_service::ScheduleCalls;
use crate::rpc::worker_service::Workers;
use crate::rpc::workflow_service::Workflows;
use crate::store::{Store, StoreError};

/// How long a draining server waits for workflow tasks in hand. Activities keep running at their workers, which take them to
/// the next server.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Why a server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerFailure {
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listening address could not be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The socket failed.
    #[error("serving failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The node may not go on.
    #[error("{0}")]
    Node(String),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    node: Node,
}

impl Server {
    /// Checks the store, takes what shards are to be had, and begins to recover them. When it returns, calls are accepted.
    ///
    /// The store must be migrated ([`Store::migrate`]).
    pub async fn start(
        store: Arc<dyn Store>,
        options: NodeOptions,
        allow_unsafe: bool,
    ) -> Result<Server, ServerFailure> {
        store.check(allow_unsafe).await?;
        Ok(Server { node: Node::start(store, options).await? })
    }

    /// The services of `engine.v1`, to be called in this process: a tower service of gRPC requests.
    pub fn service(&self) -> Routes {
        let context = &self.node.context;
        let workflows = WorkflowServiceServer::new(Workflows { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let workers = WorkerServiceServer::new(Workers { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let schedules = ScheduleServiceServer::new(ScheduleCalls { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let batches = BatchServiceServer::new(BatchCalls { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let namespaces = NamespaceServiceServer::new(NamespaceCalls { context: Arc::clone(context) });
        let operations = OperationServiceServer::new(Operations { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let activities = ActivityServiceServer::new(ActivityCalls { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let deployments = DeploymentServiceServer::new(DeploymentCalls { context: Arc::clone(context) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Routes::new(workflows)
            .add_service(workers)
            .add_service(namespaces)
            .add_service(schedules)
            .add_service(batches)
            .add_service(operations)
            .add_service(activities)
            .add_service(deployments)
    }

    /// Deletes at once what the retention of its namespaces does not keep as of `now`, of the shards that this server owns, and what
    /// is left of namespaces that are being deleted. Returns how many runs were deleted. A server does this by itself all the time;
    /// this is for programs that decide when, and for tests, whose `now` may lie in the future.
    pub async fn delete_expired_runs(&self, now: Timestamp) -> Result<u64, StoreError> {
        let context = &self.node.context;
        context.namespaces.refresh(&context.store).await?;
        let round = housekeeping::round(context, now, Duration::ZERO).await;
        round.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Serves on `listener`, with health and reflection, until `shutdown` ends; then drains and stops.
    ///
    /// Returns an error if the node may not go on, for instance because another server took its name.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServerFailure> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<WorkflowServiceServer<Workflows>>().await;
        health.set_serving::<WorkerServiceServer<Workers>>().await;
        health.set_serving::<NamespaceServiceServer<NamespaceCalls>>().await;
        health.set_serving::<ScheduleServiceServer<ScheduleCalls>>().await;
        health.set_serving::<BatchServiceServer<BatchCalls>>().await;
        health.set_serving::<OperationServiceServer<Operations>>().await;
        health.set_serving::<ActivityServiceServer<ActivityCalls>>().await;
        health.set_serving::<DeploymentServiceServer<DeploymentCalls>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(engine_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors are compiled with the program");
        let routes = self.service().add_service(health_service).add_service(reflection);
        let stop = tokio_util::sync::CancellationToken::new();
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tonic::transport::Server::builder()
            // A worker whose machine vanished is noticed without waiting for TCP.
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(5)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio::pin!(serving, shutdown);
        let outcome = tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = &mut shutdown => Ok(()),
            reason = self.node.failed() => Err(ServerFailure::Node(reason)),
        };
        health.set_not_serving::<WorkflowServiceServer<Workflows>>().await;
        health.set_not_serving::<WorkerServiceServer<Workers>>().await;
        health.set_not_serving::<NamespaceServiceServer<NamespaceCalls>>().await;
        health.set_not_serving::<ScheduleServiceServer<ScheduleCalls>>().await;
        health.set_not_serving::<BatchServiceServer<BatchCalls>>().await;
        health.set_not_serving::<OperationServiceServer<Operations>>().await;
        health.set_not_serving::<ActivityServiceServer<ActivityCalls>>().await;
        health.set_not_serving::<DeploymentServiceServer<DeploymentCalls>>().await;
        let stopping = async {
            self.shutdown().await;
            stop.cancel();
        };
        // Answers to what was committed on the way out still leave; connections that linger do not hold the process.
        tokio::join!(stopping, async { tokio::time::timeout(Duration::from_secs(10), serving).await.ok() });
        outcome
    }

    /// Drains workers, commits what is gathered, stops, and gives up the lease. What was acknowledged is durable; activities in
    /// hand stay with their workers, which bring them to the next server.
    pub async fn shutdown(self) {
        self.node.drain();
        let deadline = tokio::time::Instant::now() + DRAIN_WAIT;
        while self.node.has_workflow_tasks_in_hand() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.node.stop().await;
        self.node.context.store.close().await;
    }
}
