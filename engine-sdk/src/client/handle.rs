//! One workflow: [`WorkflowHandle`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::event::Event;
use engine_core::ids::{EventId, PublishedName, RunId};
use engine_core::payload::Payload;
use engine_proto::EncodedHistory;
use engine_proto::convert::{
    ConvertError, duration_to_proto, event_from_proto, failure_from_proto, payload_from_proto, payloads_to_proto,
};
use engine_proto::v1;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Streaming;

use super::outcome::outcome;
use super::query::QueryError;
use super::{
    ANSWER_WITHIN, Client, ClientError, Description, Patience, Published, WorkflowFailure, execution, new_request_id,
    parse_workflow_id, until_answered,
};
use crate::backoff::Backoff;
use crate::data::{self, Arguments};
use crate::definition::{MethodSignal, Query, Signal};
use crate::transport::is_unavailable;

/// How long a query waits for its answer.
const QUERY_WAIT: Duration = Duration::from_secs(10);

/// How long one request for a result waits at the server.
pub(super) const RESULT_WAIT: Duration = Duration::from_secs(20);

/// One workflow, which returns a `T`. Cheap to clone; holds nothing on the server.
///
/// A handle that a start returned names one run; one from [`Client::handle`] the workflow id's current run, whichever that
/// is when a method is called.
pub struct WorkflowHandle<T> {
    pub(super) client: Client,
    pub(super) workflow_id: String,
    pub(super) run_id: Option<RunId>,
    pub(super) is_new: bool,
    pub(super) output: PhantomData<fn() -> T>,
}

impl<T> WorkflowHandle<T> {
    /// The same workflow, but only this run.
    #[must_use]
    pub fn with_run_id(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// The workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run, if the handle names one.
    pub fn run_id(&self) -> Option<RunId> {
        self.run_id
    }

    /// Whether the start that returned this handle began a run, rather than finding one by its policies.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Waits until the workflow is closed and returns what its code returned. Of a run that was retried, the outcome is that of
    /// the chain's last run. Goes on through restarts of the server, for [`super::ClientBuilder::result_retry_for`].
    pub async fn result(&self) -> Result<T, WorkflowFailure>
    where
        T: DeserializeOwned,
    {
        let request = v1::GetWorkflowResultRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            wait: Some(duration_to_proto(RESULT_WAIT)),
        };
        let patience =
            Patience { retry_for: self.client.settings().result_retry_for, answer_within: RESULT_WAIT + ANSWER_WITHIN };
        let service = self.client.transport().workflows();
        loop {
            let answer = until_answered(patience, |_| {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.get_workflow_result(request).await }
            });
            if let Some(outcome) = outcome(answer.await?) {
                return outcome;
            }
        }
    }

    /// Sends a message. After `Ok` it is durable, and the run will see it once.
    pub async fn signal<S: Signal>(&self, signal: S) -> Result<(), ClientError> {
        self.signal_named(S::NAME, &signal).await
    }

    /// Sends a signal that a method of the workflow handles: `handle.send(Order::PAY, card)`. After `Ok` it is durable, and the
    /// method will be called once.
    pub async fn send<S: MethodSignal>(&self, signal: S, input: S::Input) -> Result<(), ClientError> {
        let _ = signal;
        self.send_signal(S::NAME, &S::encode_input(&input)?).await
    }

    /// Sends a message by its name. See [`WorkflowHandle::signal`].
    pub async fn signal_named<V: Serialize + ?Sized>(&self, name: &str, value: &V) -> Result<(), ClientError> {
        self.send_signal(name, &[data::encode(value)?]).await
    }

    async fn send_signal(&self, name: &str, input: &[Payload]) -> Result<(), ClientError> {
        let request = v1::SignalWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            signal_name: name.to_owned(),
            input: payloads_to_proto(input),
            request_id: new_request_id(),
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().workflows();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.signal_workflow(request).await }
        });
        answer.await.map(|_| ())
    }

    /// Asks the workflow's code a question. The answer shows every signal that was acknowledged before. A worker must have the
    /// code; the workflow may be closed. Nothing is recorded.
    pub async fn query<Q: Query>(&self, query: Q, input: Q::Input) -> Result<Q::Output, QueryError> {
        let _ = query;
        self.ask(Q::NAME, Q::encode_input(&input)?).await
    }

    /// Asks a question by its name. `args` is a tuple: `()`, `(one,)`, `(one, two)`. See [`WorkflowHandle::query`].
    pub async fn query_named<V: DeserializeOwned>(&self, name: &str, args: impl Arguments) -> Result<V, QueryError> {
        self.ask(name, args.encode()?).await
    }

    async fn ask<V: DeserializeOwned>(&self, name: &str, input: Vec<Payload>) -> Result<V, QueryError> {
        let request = v1::QueryWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            query_name: name.to_owned(),
            input: payloads_to_proto(&input),
            wait: Some(duration_to_proto(QUERY_WAIT)),
        };
        let patience =
            Patience { retry_for: self.client.settings().retry_for, answer_within: QUERY_WAIT + ANSWER_WITHIN };
        let service = self.client.transport().workflows();
        let answer = until_answered(patience, |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.query_workflow(request).await }
        });
        let answer = answer.await.map_err(QueryError::from_refusal)?;
        match answer.failure {
            Some(failure) => Err(QueryError::Failed(failure_from_proto(failure).map_err(ClientError::from)?)),
            None => Ok(data::decode_result(answer.result.map(payload_from_proto).as_ref())?),
        }
    }

    /// Asks the workflow to stop; its code decides what to do. A second request, and one to a closed workflow, succeed and
    /// change nothing.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::CancelWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            reason: reason.into(),
            request_id: new_request_id(),
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().workflows();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.cancel_workflow(request).await }
        });
        answer.await.map(|v1::CancelWorkflowResponse {}| ())
    }

    /// Closes the workflow at once; its code does not run again. After `Ok` that is durable. A closed workflow is an error.
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        // The request has no id of its own. Naming the run keeps a repeat from closing a run that started meanwhile.
        let run_id = self.named_run().await?;
        let request = v1::TerminateWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(execution(&parse_workflow_id(&self.workflow_id)?, Some(run_id))),
            reason: reason.into(),
            details: None,
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().workflows();
        let mut tries = 0;
        let answer = until_answered(self.client.patience(), |attempt| {
            tries = attempt;
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.terminate_workflow(request).await }
        });
        match answer.await {
            Ok(v1::TerminateWorkflowResponse {}) => Ok(()),
            // The try before may have closed it; closed is what was asked for.
            Err(ClientError::NotFound { .. } | ClientError::Closed { .. }) if tries > 1 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells where the workflow stands: what waits for a worker, what runs, what failed and why.
    pub async fn describe(&self) -> Result<Description, ClientError> {
        let request =
            v1::DescribeWorkflowRequest { namespace: self.client.namespace_text(), execution: Some(self.execution()?) };
        let service = self.client.transport().workflows();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_workflow(request).await }
        });
        Ok(answer.await?.try_into()?)
    }

    /// What the workflow shows under this name, `None` if nothing. No worker has to run, and the workflow may be closed.
    pub async fn published<V: DeserializeOwned>(&self, name: &str) -> Result<Option<V>, ClientError> {
        self.published_value(name, EventId::NONE).await
    }

    /// What the workflow showed under this name when event `at` was its last.
    pub async fn published_at<V: DeserializeOwned>(&self, name: &str, at: EventId) -> Result<Option<V>, ClientError> {
        self.published_value(name, at).await
    }

    async fn published_value<V: DeserializeOwned>(&self, name: &str, at: EventId) -> Result<Option<V>, ClientError> {
        // An empty name would ask for all of them.
        PublishedName::parse(name).map_err(|problem| ClientError::invalid_id("name", problem))?;
        let request = v1::GetPublishedRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            name: name.to_owned(),
            at_event_id: at.0,
        };
        let service = self.client.transport().workflows();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.get_published(request).await }
        });
        let Some(value) = answer.await?.values.into_iter().next() else { return Ok(None) };
        Ok(Some(data::decode(&Published::try_from(value)?.value)?))
    }

    /// The whole history so far.
    pub async fn history(&self) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        let mut pages = std::pin::pin!(self.history_pages());
        while let Some(page) = pages.next().await {
            events.extend(page?);
        }
        Ok(events)
    }

    /// The history so far, page by page as the stream is read: one that is too long for memory can be read too.
    pub fn history_pages(&self) -> impl Stream<Item = Result<Vec<Event>, ClientError>> + Send + use<T> {
        let named = self.execution();
        let client = self.client.clone();
        stream::try_unfold(Some((named, Vec::new())), move |position| {
            let client = client.clone();
            async move {
                let Some((named, page_token)) = position else { return Ok(None) };
                let named = named?;
                let page = read_page(&client, named.clone(), page_token, 0).await?;
                // The later pages are of the same run, even if another one starts meanwhile.
                let named = v1::WorkflowExecution { run_id: page.run_id, ..named };
                let next = (!page.next_page_token.is_empty()).then_some((Ok(named), page.next_page_token));
                Ok(Some((decode_events(page.history.unwrap_or_default())?, next)))
            }
        })
    }

    /// The history so far and then each event as it is recorded; ends after the run's close event. Goes on through restarts of
    /// the server, for [`super::ClientBuilder::result_retry_for`], without losing or repeating an event.
    pub fn watch(&self) -> impl Stream<Item = Result<Event, ClientError>> + Send + use<T> {
        let watch = Watch {
            client: self.client.clone(),
            named: self.execution(),
            after: EventId::NONE,
            messages: None,
            waiting: Vec::new().into_iter(),
            is_over: false,
        };
        stream::try_unfold(watch, |mut watch| async move { Ok(watch.next().await?.map(|event| (event, watch))) })
    }

    pub(super) fn execution(&self) -> Result<v1::WorkflowExecution, ClientError> {
        Ok(execution(&parse_workflow_id(&self.workflow_id)?, self.run_id))
    }
}

/// Where a watcher stands.
struct Watch {
    client: Client,
    named: Result<v1::WorkflowExecution, ClientError>,
    after: EventId,
    messages: Option<Streaming<v1::WatchWorkflowResponse>>,
    waiting: std::vec::IntoIter<Event>,
    is_over: bool,
}

impl Watch {
    async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
        loop {
            if let Some(event) = self.waiting.next() {
                self.is_over = event.kind.close_status().is_some();
                self.after = event.id;
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            let mut messages = match self.messages.take() {
                Some(messages) => messages,
                None => self.open().await?,
            };
            match messages.message().await {
                Ok(Some(message)) => {
                    if let Ok(named) = &mut self.named {
                        named.run_id = message.run_id;
                    }
                    self.waiting = decode_events(message.history.unwrap_or_default())?.into_iter();
                    self.messages = Some(messages);
                }
                // A stream that ends before the close event is one that broke.
                Ok(None) => tokio::time::sleep(backoff.pause()).await,
                Err(status) if is_unavailable(&status) => tokio::time::sleep(backoff.pause()).await,
                Err(status) => return Err(ClientError::from_status(&status)),
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming<v1::WatchWorkflowResponse>, ClientError> {
        let named = match &self.named {
            Ok(named) => named.clone(),
            Err(_) => return Err(std::mem::replace(&mut self.named, Ok(Default::default())).expect_err("just matched")),
        };
        let request = v1::WatchWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(named),
            after_event_id: self.after.0,
        };
        let patience = Patience { retry_for: self.client.settings().result_retry_for, answer_within: ANSWER_WITHIN };
        let service = self.client.transport().workflows();
        until_answered(patience, |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.watch_workflow(request).await }
        })
        .await
    }
}

/// Reads one page of a history, of at most `page_size` events (0: as many as the server likes), from the first event if there is
/// no token of a page before.
pub(super) async fn read_page(
    client: &Client,
    named: v1::WorkflowExecution,
    page_token: Vec<u8>,
    page_size: u32,
) -> Result<v1::GetWorkflowHistoryResponse, ClientError> {
    let request = v1::GetWorkflowHistoryRequest {
        namespace: client.namespace_text(),
        execution: Some(named),
        page_size,
        page_token,
        reverse: false,
        first_event_id: EventId::FIRST.0,
    };
    let service = client.transport().workflows();
    let answer = until_answered(client.patience(), |_| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.get_workflow_history(request).await }
    });
    answer.await
}

/// Decodes the events of a page.
fn decode_events(history: EncodedHistory) -> Result<Vec<Event>, ConvertError> {
    // Collecting into a `Result` would not know how many there are.
    let mut events = Vec::with_capacity(history.events.len());
    for (index, bytes) in history.events.into_iter().enumerate() {
        let message = v1::HistoryEvent::decode(bytes)
            .map_err(|error| ConvertError::new(format!("history.events[{index}]"), error))?;
        events.push(event_from_proto(message).map_err(|error| error.inside(format_args!("history.events[{index}]")))?);
    }
    Ok(events)
}

impl<T> Clone for WorkflowHandle<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id,
            is_new: self.is_new,
            output: PhantomData,
        }
    }
}

impl<T> fmt::Debug for WorkflowHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowHandle")
            .field("workflow_id", &self.workflow_id)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}
