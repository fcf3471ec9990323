//! The connection to a server, and what its errors mean.

use std::error::Error as _;
use std::time::Duration;

use engine_core::limits;
use engine_proto::v1;
use engine_proto::v1::activity_service_client::ActivityServiceClient;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_proto::v1::deployment_service_client::DeploymentServiceClient;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::schedule_service_client::ScheduleServiceClient;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::args::ConnectionArgs;
use crate::error::{CliError, Exit, Told};
use crate::workflow::args::RunArgs;

/// How long to try to connect. A server that lives answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take beyond what it was asked to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Room for a message's other fields beside a payload of the largest size.
const MESSAGE_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;

/// A connection to a server, and what goes into every request. Reconnects by itself.
pub(crate) struct Client {
    /// The generated client.
    pub(crate) service: WorkflowServiceClient<Channel>,
    /// The generated client of calls about namespaces, over the same connection.
    pub(crate) namespaces: NamespaceServiceClient<Channel>,
    /// The generated client for operating runs.
    pub(crate) operations: OperationServiceClient<Channel>,
    /// The generated client for standalone activities.
    pub(crate) activities: ActivityServiceClient<Channel>,
    /// The generated client for batches.
    pub(crate) batches: BatchServiceClient<Channel>,
    /// The generated client for versions of workers.
    pub(crate) deployments: DeploymentServiceClient<Channel>,
    /// The generated client for schedules.
    pub(crate) schedules: ScheduleServiceClient<Channel>,
    /// The namespace of the workflows.
    pub(crate) namespace: String,
    /// Recorded with requests.
    pub(crate) identity: String,
    /// Where the server is.
    pub(crate) address: String,
}

impl Client {
    /// Connects. Fails within seconds if nobody answers.
    pub(crate) async fn connect(arguments: &ConnectionArgs) -> Result<Self, CliError> {
        let address = arguments.address.clone();
        if address.starts_with("https://") {
            return Err(CliError::usage(format!(
                "{address}: this program speaks plain HTTP/2; use an http:// address, through a proxy or tunnel that adds TLS"
            )));
        }
        let url = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(url)
            .map_err(|error| {
                CliError::usage(format!("--address {address:?} is not a URL like http://host:7400: {error}"))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|error| unreachable(&address, &root_cause(&error)))?;
        Ok(Self {
            namespaces: NamespaceServiceClient::new(channel.clone()),
            operations: OperationServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            activities: ActivityServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            batches: BatchServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            deployments: DeploymentServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            schedules: ScheduleServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            service: WorkflowServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            namespace: arguments.namespace.clone(),
            identity: arguments.identity.clone().unwrap_or_else(default_identity),
            address,
        })
    }

    /// The error that a refused or failed call means.
    pub(crate) fn error(&self, status: &Status) -> CliError {
        if is_connection_lost(status) && status.source().is_some() {
            return unreachable(&self.address, &root_cause(status));
        }
        explain(status)
    }
}

/// A request that fails if the server does not answer in time.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    request_that_waits(message, Duration::ZERO)
}

/// A request that is asked to wait for `wait`.
pub(crate) fn request_that_waits<T>(message: T, wait: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(wait + CALL_TIMEOUT);
    request
}

/// The run that the arguments name.
pub(crate) fn execution(run: &RunArgs) -> Option<v1::WorkflowExecution> {
    Some(v1::WorkflowExecution { workflow_id: run.workflow_id.clone(), run_id: run.run_id.clone().unwrap_or_default() })
}

/// Whether the server went away, rather than answered: whether it did what was asked is unknown, and it may come back.
pub(crate) fn is_connection_lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A stream that breaks off surfaces under these codes, with the transport's error as its source. A server's answer
        // has no source.
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

fn unreachable(address: &str, reason: &str) -> CliError {
    CliError::new(
        Exit::Unavailable,
        format!(
            "cannot reach the server at {address}: {reason} (`engine dev` starts one; --address or ENGINE_ADDRESS names it)"
        ),
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // Without the operating system's number, which says nothing to most people.
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// What a server's answer means to the person who asked.
fn explain(status: &Status) -> CliError {
    let exit = match status.code() {
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists => Exit::AlreadyExists,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let details = status.get_error_details();
    let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
    let mut message = match violation {
        // The server's sentence mostly names the field already.
        Some(violation) if !status.message().contains(&violation.field) => {
            format!("{}: {}", violation.field, violation.description)
        }
        _ => status.message().to_owned(),
    };
    if message.is_empty() {
        message = format!("the server answered {:?} without a reason", status.code());
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        message.push_str(&format!(" (try again in {})", humantime::format_duration(delay)));
    }
    CliError::Told(Told { exit, message, field: violation.map(|violation| violation.field.clone()) })
}

fn default_identity() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "cli".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(error: CliError) -> Told {
        match error {
            CliError::Told(told) => told,
            CliError::OutputClosed => panic!("it says something"),
        }
    }

    #[test]
    fn a_refused_field_is_named_once() {
        let details = || ErrorDetails::with_bad_request_violation("workflow_id", "must not be empty");
        let status = Status::with_error_details(Code::InvalidArgument, "invalid request", details());
        let error = told(explain(&status));
        assert_eq!(error.message, "workflow_id: must not be empty");
        assert_eq!((error.exit, error.field.as_deref()), (Exit::Failed, Some("workflow_id")));
        let status = Status::with_error_details(Code::InvalidArgument, "workflow_id: must not be empty", details());
        assert_eq!(told(explain(&status)).message, "workflow_id: must not be empty");
    }

    #[test]
    fn codes_become_exit_codes_and_delays_become_advice() {
        assert_eq!(told(explain(&Status::not_found("no workflow \"x\""))).exit, Exit::NotFound);
        assert_eq!(told(explain(&Status::already_exists("taken"))).exit, Exit::AlreadyExists);
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let error = told(explain(&Status::with_error_details(Code::Unavailable, "shard 3 is moving", details)));
        assert_eq!(error.message, "shard 3 is moving (try again in 2s)");
        assert_eq!(error.exit, Exit::Unavailable);
        assert_eq!(told(explain(&Status::internal(""))).message, "the server answered Internal without a reason");
    }

    #[test]
    fn an_answer_of_the_server_is_told_from_a_broken_connection() {
        assert!(is_connection_lost(&Status::unavailable("draining")));
        assert!(!is_connection_lost(&Status::internal("a bug")), "an answer");
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert!(is_connection_lost(&broken), "{broken:?}");
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_one_sentence_with_the_remedy() {
        let arguments =
            ConnectionArgs { address: "http://127.0.0.1:1".into(), namespace: "default".into(), identity: None };
        let error = told(Client::connect(&arguments).await.err().unwrap());
        assert_eq!(error.exit, Exit::Unavailable);
        assert!(error.message.starts_with("cannot reach the server at http://127.0.0.1:1: "), "{}", error.message);
        assert!(error.message.contains("engine dev"), "{}", error.message);
    }
}
