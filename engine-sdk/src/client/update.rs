//! Updates from a client: sending and waiting.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_proto::convert::{
    ConvertError, duration_to_proto, failure_from_proto, run_id as parse_run_id, update_outcome_from_proto,
};
use engine_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{ANSWER_WITHIN, Client, ClientError, Patience, WorkflowHandle, payload_to_proto, until_answered};
use crate::data::{self, DataError};
use crate::definition::{MethodUpdate, Update};
use crate::error::RecordedError;
use crate::event::UpdateOutcome;

/// How long one call for what becomes of an update waits at the server.
pub(super) const UPDATE_WAIT: Duration = Duration::from_secs(20);

/// Why an update has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateFailure {
    /// The code refused it, and nothing of it is recorded: its validator said no, or the code has no handler for it.
    #[error("the workflow refused the update: {0}")]
    Rejected(#[source] RecordedError),
    /// The code accepted it, and its handler returned an error, or the workflow closed before it returned.
    #[error("the update failed: {0}")]
    Failed(#[source] RecordedError),
    /// It completed, and its result is not what this program expects.
    #[error(transparent)]
    Undecodable(DataError),
    /// The engine refused the request, or could not be reached: the update may be under way.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<ConvertError> for UpdateFailure {
    fn from(error: ConvertError) -> Self {
        UpdateFailure::Client(error.into())
    }
}

/// An update that is to be sent. Await it for its result; or [`UpdateSend::start`] it, for a handle once the code has accepted it.
/// Made by [`WorkflowHandle::update`].
#[must_use = "nothing is sent before `.await` or `.start().await`"]
pub struct UpdateSend<O> {
    client: Client,
    named: Result<v1::WorkflowExecution, ClientError>,
    update_id: String,
    name: String,
    input: Result<Payload, DataError>,
    output: PhantomData<fn() -> O>,
}

impl<O> UpdateSend<O> {
    /// Your key for this update: a second one with the same key, by this or another process, is the same update, and gets its
    /// outcome, also after the workflow closed. A random UUID unless set here. 1 to 1000 bytes.
    pub fn id(mut self, update_id: impl Into<String>) -> Self {
        self.update_id = update_id.into();
        self
    }

    /// Sends it and waits until the code has accepted it, which is durable.
    pub async fn start(self) -> Result<UpdateHandle<O>, UpdateFailure> {
        let request = self.request()?;
        let handle = UpdateHandle { client: self.client, request, run_id: None, output: PhantomData };
        let answer = handle.call(v1::UpdateStage::Accepted).await?;
        let run_id = parse_run_id("run_id", &answer.run_id)?;
        if let Some(failure) = rejection(&answer)? {
            return Err(failure);
        }
        Ok(UpdateHandle { run_id: Some(run_id), ..handle })
    }

    fn request(&self) -> Result<Ask, ClientError> {
        let execution = match &self.named {
            Ok(named) => named.clone(),
            Err(error) => return Err(invalid("workflow_id", error.to_string())),
        };
        let input = match &self.input {
            Ok(payload) => vec![payload_to_proto(payload)],
            Err(error) => return Err(invalid("update", error.to_string())),
        };
        let update = v1::UpdateRequest {
            update_id: self.update_id.clone(),
            update_name: self.name.clone(),
            input,
            identity: self.client.identity().to_owned(),
        };
        Ok(Ask { execution, update_id: self.update_id.clone(), update: Some(update) })
    }
}

impl<O: DeserializeOwned + Send + 'static> IntoFuture for UpdateSend<O> {
    type Output = Result<O, UpdateFailure>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = self.request()?;
            UpdateHandle { client: self.client, request, run_id: None, output: PhantomData }.result().await
        })
    }
}

impl<O> fmt::Debug for UpdateSend<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateSend").field("name", &self.name).field("id", &self.update_id).finish_non_exhaustive()
    }
}

/// What names an update to the server.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) execution: v1::WorkflowExecution,
    pub(super) update_id: String,
    /// The whole update, if this program has it: a server that forgot it gets it again.
    pub(super) update: Option<v1::UpdateRequest>,
}

/// One update, which is answered with an `O`. Holds nothing on the server.
#[derive(Clone)]
pub struct UpdateHandle<O> {
    pub(super) client: Client,
    pub(super) request: Ask,
    pub(super) run_id: Option<RunId>,
    pub(super) output: PhantomData<fn() -> O>,
}

impl<O> UpdateHandle<O> {
    /// The update's id.
    pub fn id(&self) -> &str {
        &self.request.update_id
    }

    /// The run that has it, if that is known.
    pub fn run_id(&self) -> Option<RunId> {
        self.run_id
    }

    /// Waits for the outcome. Goes on through restarts of the server, for [`super::ClientBuilder::result_retry_for`].
    pub async fn result(&self) -> Result<O, UpdateFailure>
    where
        O: DeserializeOwned,
    {
        loop {
            let answer = self.call(v1::UpdateStage::Completed).await?;
            if let Some(failure) = rejection(&answer)? {
                return Err(failure);
            }
            if let Some(outcome) = outcome(answer) {
                return outcome;
            }
        }
    }

    /// Asks until the server tells of at least `stage`.
    async fn call(&self, stage: v1::UpdateStage) -> Result<v1::UpdateWorkflowResponse, ClientError> {
        let Ask { execution, update_id, update } = self.request.clone();
        let mut execution = execution;
        if let Some(run_id) = self.run_id {
            execution.run_id = run_id.to_string();
        }
        let patience =
            Patience { retry_for: self.client.settings().result_retry_for, answer_within: UPDATE_WAIT + ANSWER_WITHIN };
        let service = self.client.transport().workflows();
        let namespace = self.client.namespace_text();
        let wait = Some(duration_to_proto(UPDATE_WAIT));
        loop {
            let answer = match &update {
                Some(update) => {
                    let request = v1::UpdateWorkflowRequest {
                        namespace: namespace.clone(),
                        execution: Some(execution.clone()),
                        update: Some(update.clone()),
                        wait_stage: stage.into(),
                        wait,
                    };
                    until_answered(patience, |_| {
                        let (mut service, request) = (service.clone(), request.clone());
                        async move { service.update_workflow(request).await }
                    })
                    .await?
                }
                None => {
                    let request = v1::PollUpdateRequest {
                        namespace: namespace.clone(),
                        execution: Some(execution.clone()),
                        update_id: update_id.clone(),
                        wait_stage: stage.into(),
                        wait,
                    };
                    until_answered(patience, |_| {
                        let (mut service, request) = (service.clone(), request.clone());
                        async move { service.poll_update(request).await }
                    })
                    .await?
                }
            };
            if answer.stage >= stage.into() {
                return Ok(answer);
            }
        }
    }
}

impl<O> fmt::Debug for UpdateHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateHandle").field("id", &self.id()).field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

fn invalid(field: &str, message: String) -> ClientError {
    ClientError::InvalidArgument { field: field.to_owned(), message }
}

pub(super) fn rejection(answer: &v1::UpdateWorkflowResponse) -> Result<Option<UpdateFailure>, ConvertError> {
    if answer.stage != i32::from(v1::UpdateStage::Rejected) {
        return Ok(None);
    }
    let failure = answer.rejection.clone().map(failure_from_proto).transpose()?;
    let failure = failure.unwrap_or_else(|| Failure::application("", "the reason was not told"));
    Ok(Some(UpdateFailure::Rejected(failure.into())))
}

/// The outcome in an answer; `None` if there is none yet.
pub(super) fn outcome<O: DeserializeOwned>(answer: v1::UpdateWorkflowResponse) -> Option<Result<O, UpdateFailure>> {
    Some(match update_outcome_from_proto(answer.outcome?) {
        Ok(UpdateOutcome::Completed { result }) => {
            data::decode_result(result.as_ref()).map_err(UpdateFailure::Undecodable)
        }
        Ok(UpdateOutcome::Failed { failure }) => Err(UpdateFailure::Failed(failure.into())),
        Err(error) => Err(error.into()),
    })
}

impl<T> WorkflowHandle<T> {
    /// A message that the code answers: `handle.update(Deposit { cents: 100 }).await?`.
    pub fn update<U: Update>(&self, update: U) -> UpdateSend<U::Output> {
        self.update_named(U::NAME, &update)
    }

    /// Calls a method of the workflow: `handle.call(Order::PAY, card)`. See [`WorkflowHandle::update`].
    pub fn call<U: MethodUpdate>(&self, update: U, input: U::Input) -> UpdateSend<U::Output> {
        let _ = update;
        self.update_named(U::NAME, &input)
    }

    /// An update by its name, for code that this program does not have. See [`WorkflowHandle::update`].
    pub fn update_named<O>(&self, name: impl Into<String>, value: &(impl Serialize + ?Sized)) -> UpdateSend<O> {
        UpdateSend {
            client: self.client.clone(),
            named: self.execution(),
            update_id: Uuid::now_v7().to_string(),
            name: name.into(),
            input: data::encode(value),
            output: PhantomData,
        }
    }

    /// An update that was sent before, by this or another process. Asks the server nothing.
    pub fn update_handle<U: Update>(
        &self,
        update_id: impl Into<String>,
    ) -> Result<UpdateHandle<U::Output>, ClientError> {
        self.update_handle_named(update_id)
    }

    /// An update that was sent before and is answered with an `O`: of a method, or of code that this program does not have. Asks the
    /// server nothing.
    pub fn update_handle_named<O>(&self, update_id: impl Into<String>) -> Result<UpdateHandle<O>, ClientError> {
        let request = Ask { execution: self.execution()?, update_id: update_id.into(), update: None };
        Ok(UpdateHandle { client: self.client.clone(), request, run_id: self.run_id, output: PhantomData })
    }
}
