//! How requests reach the engine: HTTP/2 connections to a server, or a call into an engine in the same process.
//!
//! Both are one tower service, so that the generated clients, and all that stands on them, know no difference.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::limits;
use engine_proto::v1::activity_service_client::ActivityServiceClient;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_proto::v1::deployment_service_client::DeploymentServiceClient;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::schedule_service_client::ScheduleServiceClient;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

/// A ping goes out on a connection that was silent for this long: a server that vanished without a word (a pulled cable, a
/// stopped process) is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A connection whose ping is not answered within this time is dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most connections of one client.
const CONNECTIONS_MAX: usize = 64;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The way to an engine. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

enum Inner {
    /// One HTTP/2 connection is a mutex: several share the load.
    Connections { channels: Box<[Channel]>, next: AtomicUsize, target: String },
    /// An engine in this process.
    Local(BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>),
    /// The same, by a clock that skips: it stands while a call is being answered.
    #[cfg(feature = "testing")]
    Test(BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>, engine_server::Clock),
}

impl Transport {
    /// Connections to the server at `target`, an address such as `http://127.0.0.1:7400`. They are made when they are first
    /// needed and again when they broke; requests take turns on them.
    ///
    /// # Errors
    /// If `target` is not such an address.
    pub fn connect(target: &str, connections: usize) -> Result<Self, InvalidTarget> {
        let refuse = |problem: String| InvalidTarget { target: target.to_owned(), problem };
        let uri: http::Uri = target.parse().map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => return Err(refuse(format!("the scheme {other:?} is not supported"))),
            None => return Err(refuse("it has no scheme".to_owned())),
        }
        let endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let channels = (0..connections.clamp(1, CONNECTIONS_MAX)).map(|_| endpoint.connect_lazy()).collect();
        let next = AtomicUsize::new(0);
        Ok(Self { inner: Arc::new(Inner::Connections { channels, next, target: target.to_owned() }) })
    }

    /// An engine in this process: its generated services, for instance a `tonic::service::Routes`.
    pub fn local<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let service = service.map_err(|never| match never {});
        Self { inner: Arc::new(Inner::Local(BoxCloneSyncService::new(service))) }
    }

    /// An engine in this process whose clock skips.
    #[cfg(feature = "testing")]
    pub(crate) fn test<S>(service: S, clock: engine_server::Clock) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let service = service.map_err(|never| match never {});
        Self { inner: Arc::new(Inner::Test(BoxCloneSyncService::new(service), clock)) }
    }

    pub(crate) fn workflows(&self) -> WorkflowServiceClient<Transport> {
        WorkflowServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn namespaces(&self) -> NamespaceServiceClient<Transport> {
        NamespaceServiceClient::new(self.clone())
    }

    pub(crate) fn deployments(&self) -> DeploymentServiceClient<Transport> {
        DeploymentServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn batches(&self) -> BatchServiceClient<Transport> {
        BatchServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn schedules(&self) -> ScheduleServiceClient<Transport> {
        ScheduleServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<Transport> {
        OperationServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn activities(&self) -> ActivityServiceClient<Transport> {
        ActivityServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn workers(&self) -> WorkerServiceClient<Transport> {
        WorkerServiceClient::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    /// Always ready: the connection is chosen, and waited for, by the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &*self.inner {
            Inner::Connections { channels, next, target } => {
                let channel = channels[next.fetch_add(1, Ordering::Relaxed) % channels.len()].clone();
                let answer = channel.oneshot(request);
                let target = target.clone();
                Box::pin(async move { answer.await.map_err(|error| unreachable_status(&target, &error).into()) })
            }
            Inner::Local(service) => Box::pin(service.clone().oneshot(request)),
            #[cfg(feature = "testing")]
            Inner::Test(service, clock) => {
                let (busy, answer) = (clock.busy(), service.clone().oneshot(request));
                Box::pin(async move {
                    let answer = answer.await;
                    drop(busy);
                    answer
                })
            }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.inner {
            Inner::Connections { channels, target, .. } => {
                f.debug_struct("Transport").field("target", target).field("connections", &channels.len()).finish()
            }
            Inner::Local(_) => f.write_str("Transport(local)"),
            #[cfg(feature = "testing")]
            Inner::Test(..) => f.write_str("Transport(test)"),
        }
    }
}

/// UNAVAILABLE, in a sentence whose reason is the error's root cause: the layers between say only that there is one.
fn unreachable_status(target: &str, error: &dyn std::error::Error) -> Status {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Status::unavailable(format!("the engine at {target} cannot be reached: {cause}"))
}

/// Whether a call may succeed when it is made again, because the engine could not be reached or asked for it.
///
/// A connection that breaks in the middle of an answer is reported by tonic with many codes; what tells it apart is that
/// the status was made on this side, from another error.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// An address that no client can connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot connect to {target:?}: {problem}; an engine's address looks like \"http://127.0.0.1:7400\"")]
pub struct InvalidTarget {
    target: String,
    problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_known_scheme_is_refused_with_an_example() {
        for target in ["localhost:7400", "postgres://localhost", "not an address", "127.0.0.1:7400"] {
            let error = Transport::connect(target, 1).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot connect to {target:?}: ")), "{error}");
            assert!(error.ends_with("looks like \"http://127.0.0.1:7400\""), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_unavailable_and_says_so() {
        // Bound and dropped: nobody listens on a port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = format!("http://127.0.0.1:{port}");
        let transport = Transport::connect(&target, 2).unwrap();
        let request = engine_proto::v1::DescribeWorkflowRequest::default();
        let status = transport.workflows().describe_workflow(request).await.unwrap_err();
        assert!(is_unavailable(&status));
        assert!(status.message().starts_with(&format!("the engine at {target} cannot be reached: ")), "{status}");
        assert!(status.message().contains("refused"), "{status}");
    }
}
