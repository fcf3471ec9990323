//! One workflow: [`WorkflowHandle`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::event::Event;
use engine_core::ids::{EventId, RunId};
use engine_proto::EncodedHistory;
use engine_proto::convert::{ConvertError, duration_to_proto, event_from_proto, run_id as parse_run_id};
use engine_proto::v1;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Streaming;

use super::outcome::outcome;
use super::{
    ANSWER_WITHIN, Client, ClientError, Description, Patience, WorkflowFailure, execution, new_request_id,
    parse_workflow_id, payload_to_proto, until_answered,
};
use crate::backoff::Backoff;
use crate::data;
use crate::definition::Signal;
use crate::transport::is_unavailable;

/// How long one request for a result waits at the server.
const RESULT_WAIT: Duration = Duration::from_secs(20);

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

    /// Sends a message by its name. See [`WorkflowHandle::signal`].
    pub async fn signal_named<V: Serialize + ?Sized>(&self, name: &str, value: &V) -> Result<(), ClientError> {
        let request = v1::SignalWorkflowRequest {
            namespace: self.client.namespace_text(),
            execution: Some(self.execution()?),
            signal_name: name.to_owned(),
            input: vec![payload_to_proto(&data::encode(value)?)],
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
        let run_id = match self.run_id {
            Some(run_id) => run_id,
            None => self.describe().await?.summary.run_id,
        };
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
                let page = read_page(&client, named.clone(), page_token, EventId::FIRST).await?;
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

    fn execution(&self) -> Result<v1::WorkflowExecution, ClientError> {
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

/// Reads one page of a history, from `first` if there is no token of a page before.
async fn read_page(
    client: &Client,
    named: v1::WorkflowExecution,
    page_token: Vec<u8>,
    first: EventId,
) -> Result<v1::GetWorkflowHistoryResponse, ClientError> {
    let request = v1::GetWorkflowHistoryRequest {
        namespace: client.namespace_text(),
        execution: Some(named),
        page_size: 0,
        page_token,
        reverse: false,
        first_event_id: first.0,
    };
    let service = client.transport().workflows();
    let answer = until_answered(client.patience(), |_| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.get_workflow_history(request).await }
    });
    answer.await
}

/// Decodes the events of a page.
pub(crate) fn decode_events(history: EncodedHistory) -> Result<Vec<Event>, ConvertError> {
    history
        .events
        .into_iter()
        .enumerate()
        .map(|(index, bytes)| {
            let message = v1::HistoryEvent::decode(bytes)
                .map_err(|error| ConvertError::new(format!("history.events[{index}]"), error))?;
            event_from_proto(message).map_err(|error| error.inside(format_args!("history.events[{index}]")))
        })
        .collect()
}

impl Client {
    /// The encoded events of a run before `before`, for a worker whose cache does not have them.
    pub(crate) async fn events_before(
        &self,
        workflow_id: &str,
        run_id: &str,
        before: u64,
    ) -> Result<EncodedHistory, ClientError> {
        parse_run_id("run_id", run_id)?;
        let named = v1::WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() };
        let wanted = usize::try_from(before.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut history = EncodedHistory::default();
        let mut page_token = Vec::new();
        loop {
            let page = read_page(self, named.clone(), page_token, EventId::FIRST).await?;
            history.events.extend(page.history.unwrap_or_default().events);
            page_token = page.next_page_token;
            if history.events.len() >= wanted {
                history.events.truncate(wanted);
                return Ok(history);
            }
            if page_token.is_empty() {
                let message = format!("the history of run {run_id} ends before event {before}");
                return Err(ClientError::NotFound { what: "event".into(), name: before.to_string(), message });
            }
        }
    }
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
