//! A message along with a start: to the run that is open, or to the one that is started for it.

use std::marker::PhantomData;

use engine_core::payload::Payload;
use engine_proto::convert::{duration_to_proto, payload_to_proto, payloads_to_proto, run_id as parse_run_id};
use engine_proto::v1;
use serde::de::DeserializeOwned;

use super::update::{Ask, UPDATE_WAIT, UpdateHandle, outcome, rejection};
use super::{
    ANSWER_WITHIN, Client, ClientError, Patience, UpdateFailure, WorkflowHandle, WorkflowStart, until_answered,
};
use crate::data;
use crate::definition::{MethodSignal, MethodUpdate, Signal, Update};

impl<I, T> WorkflowStart<I, T> {
    /// Sends `signal` to the open run of the workflow id, or starts a run with the signal in it, in one transaction. The
    /// id-conflict policy counts as `UseExisting`, unless it is `TerminateExisting`.
    pub async fn signal_with_start<S: Signal>(self, input: I, signal: S) -> Result<WorkflowHandle<T>, ClientError> {
        let message = [data::encode(&signal)?];
        self.send_message_with_start(input, S::NAME, &message).await
    }

    /// Sends a signal that a method of the workflow handles: `.send_with_start(input, Order::PAY, card)`. See
    /// [`WorkflowStart::signal_with_start`].
    pub async fn send_with_start<S: MethodSignal>(
        self,
        input: I,
        signal: S,
        message: S::Input,
    ) -> Result<WorkflowHandle<T>, ClientError> {
        let _ = signal;
        let message = S::encode_input(&message)?;
        self.send_message_with_start(input, S::NAME, &message).await
    }

    /// Sends `update` to the open run of the workflow id, or starts a run whose first workflow task brings it, and waits for its
    /// outcome. The id-conflict policy counts as `UseExisting`; `TerminateExisting` is refused. With a [`WorkflowStart::update_id`] a
    /// repeat is the same update.
    pub async fn update_with_start<U: Update>(
        self,
        input: I,
        update: U,
    ) -> Result<(WorkflowHandle<T>, U::Output), UpdateFailure> {
        let message = data::encode(&update).map_err(ClientError::from)?;
        self.ask_with_start(input, U::NAME, message).await
    }

    /// Calls a method of the workflow: `.call_with_start(input, Order::ADD, item)`. See [`WorkflowStart::update_with_start`].
    pub async fn call_with_start<U: MethodUpdate>(
        self,
        input: I,
        update: U,
        message: U::Input,
    ) -> Result<(WorkflowHandle<T>, U::Output), UpdateFailure> {
        let _ = update;
        let message = data::encode(&message).map_err(ClientError::from)?;
        self.ask_with_start(input, U::NAME, message).await
    }

    async fn send_message_with_start(
        self,
        input: I,
        name: &str,
        message: &[Payload],
    ) -> Result<WorkflowHandle<T>, ClientError> {
        let (client, start) = self.into_request(input)?;
        let workflow_id = start.workflow_id.clone();
        let request = v1::SignalWithStartRequest {
            start: Some(start),
            signal_name: name.to_owned(),
            input: payloads_to_proto(message),
        };
        let service = client.transport().workflows();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.signal_with_start(request).await }
        });
        let answer = answer.await?;
        let run_id = Some(parse_run_id("run_id", &answer.run_id)?);
        Ok(WorkflowHandle { client, workflow_id, run_id, is_new: answer.started, output: PhantomData })
    }

    async fn ask_with_start<O: DeserializeOwned>(
        mut self,
        input: I,
        name: &str,
        message: Payload,
    ) -> Result<(WorkflowHandle<T>, O), UpdateFailure> {
        let update_id = self.take_update_id();
        let (client, mut start) = self.into_request(input)?;
        if start.id_conflict_policy == i32::from(v1::WorkflowIdConflictPolicy::Fail) {
            start.id_conflict_policy = v1::WorkflowIdConflictPolicy::UseExisting.into();
        }
        let workflow_id = start.workflow_id.clone();
        let update = v1::UpdateRequest {
            update_id,
            update_name: name.to_owned(),
            input: vec![payload_to_proto(&message)],
            identity: client.identity().to_owned(),
        };
        let answer = send(&client, start, update.clone()).await?;
        let so_far = answer.update.unwrap_or_default();
        let run_id = parse_run_id("update.run_id", &so_far.run_id)?;
        let handle = WorkflowHandle {
            client: client.clone(),
            workflow_id,
            run_id: Some(run_id),
            is_new: answer.started,
            output: PhantomData,
        };
        if let Some(failure) = rejection(&so_far)? {
            return Err(failure);
        }
        if let Some(outcome) = outcome(so_far) {
            return outcome.map(|result| (handle, result));
        }
        let request = Ask { execution: handle.execution()?, update_id: update.update_id.clone(), update: Some(update) };
        let result = UpdateHandle { client, request, run_id: None, output: PhantomData }.result().await?;
        Ok((handle, result))
    }
}

async fn send(
    client: &Client,
    start: v1::StartWorkflowRequest,
    update: v1::UpdateRequest,
) -> Result<v1::UpdateWithStartResponse, ClientError> {
    let request = v1::UpdateWithStartRequest {
        start: Some(start),
        update: Some(update),
        wait_stage: v1::UpdateStage::Completed.into(),
        wait: Some(duration_to_proto(UPDATE_WAIT)),
    };
    let patience = Patience { answer_within: UPDATE_WAIT + ANSWER_WITHIN, ..client.patience() };
    let service = client.transport().workflows();
    let answer = until_answered(patience, |_| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.update_with_start(request).await }
    });
    answer.await
}
