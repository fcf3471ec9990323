//! Batches: the same done to every run that a filter means.

use std::collections::VecDeque;

use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::{self, ConvertError};
use engine_proto::v1;
use futures::{Stream, stream};
use serde::Serialize;
use v1::batch_operation::Operation;

use super::{Client, ClientError, MoveTo, new_request_id, until_answered};
use crate::data;
use crate::definition::{MethodSignal, Signal};

/// A batch about to be started, made by [`Client::batch`]. Its last method says what is done to the runs.
#[derive(Debug)]
#[must_use = "a batch is started by `.cancel()`, `.terminate()`, `.signal(…)`, `.pause()`, `.resume()`, `.move_to(…)`, `.reset(…)` or `.delete()`"]
pub struct BatchBuilder {
    client: Client,
    query: String,
    batch_id: Option<String>,
    reason: String,
    rate: u32,
}

/// A batch, by its id. Made by [`Client::batch_handle`] and by starting one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BatchHandle {
    client: Client,
    batch_id: String,
}

/// From where the runs of a batch go on, and what of what came after is left out: see [`BatchBuilder::reset`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReset {
    point: v1::BatchResetPoint,
    exclude_signals: bool,
    exclude_updates: bool,
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchState {
    /// It is at work.
    Running,
    /// It has reached every run.
    Completed,
    /// Somebody stopped it.
    Stopped {
        /// Why, for people.
        reason: String,
    },
    /// It could not go on.
    Failed {
        /// Why.
        problem: String,
    },
}

/// A run that refused what a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchFailure {
    /// Its workflow id.
    pub workflow_id: String,
    /// The run.
    pub run_id: RunId,
    /// Why.
    pub problem: String,
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchDescription {
    /// Its id.
    pub batch_id: String,
    /// Which runs.
    pub query: String,
    /// Why, for people.
    pub reason: String,
    /// Who started it, for people.
    pub identity: String,
    /// At most so many runs a second.
    pub rate: u32,
    /// Where it stands.
    pub state: BatchState,
    /// How many runs it meant at its start. Those that close before it reaches them are never reached.
    pub total: u64,
    /// To how many it was done, or that had closed by themselves in between.
    pub done: u64,
    /// How many refused it.
    pub failed: u64,
    /// The first that did, at most 10.
    pub failures: Vec<BatchFailure>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub closed_at: Option<Timestamp>,
}

impl BatchReset {
    /// From the first workflow task: everything runs again.
    pub fn first_workflow_task() -> Self {
        Self::from(v1::BatchResetPoint::FirstWorkflowTask)
    }

    /// From the last workflow task that ended: of a run that failed, the one in which it did.
    pub fn last_workflow_task() -> Self {
        Self::from(v1::BatchResetPoint::LastWorkflowTask)
    }

    /// From before the end of the activity that failed or timed out last, which runs again.
    pub fn failed_activity() -> Self {
        Self::from(v1::BatchResetPoint::FailedActivity)
    }

    /// Leaves out the signals that came after the point.
    #[must_use]
    pub fn without_signals(mut self) -> Self {
        self.exclude_signals = true;
        self
    }

    /// Leaves out the updates that were accepted after the point.
    #[must_use]
    pub fn without_updates(mut self) -> Self {
        self.exclude_updates = true;
        self
    }

    fn from(point: v1::BatchResetPoint) -> Self {
        Self { point, exclude_signals: false, exclude_updates: false }
    }
}

impl BatchBuilder {
    /// Your key for it: a repeat with the same key and content is the same batch. A random UUID unless set here.
    pub fn id(mut self, batch_id: impl Into<String>) -> Self {
        self.batch_id = Some(batch_id.into());
        self
    }

    /// Why, for people; recorded in the runs that are canceled, terminated, paused, resumed, moved or reset. At most 1000 bytes.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// At most so many runs a second: 100 unless set here, 1000 at most.
    pub fn rate(mut self, runs_per_second: u32) -> Self {
        self.rate = runs_per_second;
        self
    }

    /// Asks each run to stop; its code decides how.
    pub async fn cancel(self) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Cancel(v1::BatchCancel {})).await
    }

    /// Closes each run at once; its code does not run again.
    pub async fn terminate(self) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Terminate(v1::BatchTerminate {})).await
    }

    /// Stops each run for a while, with its timers and timeouts.
    pub async fn pause(self) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Pause(v1::BatchPause {})).await
    }

    /// Lets each run go on that is paused.
    pub async fn resume(self) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Resume(v1::BatchResume {})).await
    }

    /// Changes which workers each run goes to, as [`WorkflowHandle::move_to`](super::WorkflowHandle::move_to) does. Runs whose queue the
    /// version does not serve count as failed and stay as they are.
    ///
    /// ```no_run
    /// # use engine_sdk::client::MoveTo;
    /// # async fn mended(client: engine_sdk::client::Client) -> Result<(), engine_sdk::client::ClientError> {
    /// let broken = client.batch("Deployment = 'shop' AND BuildId = 'build-42'").reason("build 42 is bad");
    /// broken.move_to(MoveTo::version("shop", "build-43")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn move_to(self, target: MoveTo) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Move(v1::BatchMove { versioning_override: target.into_override() })).await
    }

    /// Deletes each closed run that the filter means, with its history. Open runs are left alone.
    pub async fn delete(self) -> Result<BatchHandle, ClientError> {
        self.start(Operation::Delete(v1::BatchDelete {})).await
    }

    /// Goes on from an earlier point of each run that the filter means, open or closed, in a new run: as
    /// [`WorkflowHandle::reset`](super::WorkflowHandle::reset) does, once for each. A run that is not the latest of its workflow id, or that has no
    /// such point, counts as failed and stays as it is.
    ///
    /// ```no_run
    /// # use engine_sdk::client::BatchReset;
    /// # async fn again(client: engine_sdk::client::Client) -> Result<(), engine_sdk::client::ClientError> {
    /// let failed = client.batch("WorkflowType = 'report' AND Status = 'Failed'").reason("the bank was down");
    /// failed.reset(BatchReset::failed_activity().without_signals()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn reset(self, reset: BatchReset) -> Result<BatchHandle, ClientError> {
        let BatchReset { point, exclude_signals, exclude_updates } = reset;
        self.start(Operation::Reset(v1::BatchReset { point: point.into(), exclude_signals, exclude_updates })).await
    }

    /// Sends each run a message, once.
    pub async fn signal<S: Signal>(self, signal: S) -> Result<BatchHandle, ClientError> {
        self.signal_named(S::NAME, &signal).await
    }

    /// Sends each run a signal that a method of the workflow handles: `.send(Order::PAUSE, ())`.
    pub async fn send<S: MethodSignal>(self, signal: S, input: S::Input) -> Result<BatchHandle, ClientError> {
        let _ = signal;
        let input = S::encode_input(&input)?;
        self.send_signal(S::NAME, &input).await
    }

    /// Sends each run a message by its name.
    pub async fn signal_named<V: Serialize + ?Sized>(self, name: &str, value: &V) -> Result<BatchHandle, ClientError> {
        let input = [data::encode(value)?];
        self.send_signal(name, &input).await
    }

    async fn send_signal(self, name: &str, input: &[Payload]) -> Result<BatchHandle, ClientError> {
        let signal = v1::BatchSignal { signal_name: name.to_owned(), input: convert::payloads_to_proto(input) };
        self.start(Operation::Signal(signal)).await
    }

    async fn start(self, operation: Operation) -> Result<BatchHandle, ClientError> {
        let Self { client, query, batch_id, reason, rate } = self;
        let batch_id = batch_id.unwrap_or_else(new_request_id);
        let request = v1::StartBatchRequest {
            namespace: client.namespace_text(),
            batch_id: batch_id.clone(),
            query,
            operation: Some(v1::BatchOperation { operation: Some(operation) }),
            reason,
            identity: client.identity().to_owned(),
            rate,
        };
        let service = client.transport().batches();
        let started = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.start_batch(request).await }
        });
        started.await?;
        Ok(BatchHandle { client, batch_id })
    }
}

impl BatchHandle {
    /// Its id.
    pub fn batch_id(&self) -> &str {
        &self.batch_id
    }

    /// Tells how far it is. The numbers are about a second old.
    pub async fn describe(&self) -> Result<BatchDescription, ClientError> {
        let request =
            v1::DescribeBatchRequest { namespace: self.client.namespace_text(), batch_id: self.batch_id.clone() };
        let service = self.client.transport().batches();
        let described = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_batch(request).await }
        });
        Ok(description(convert::required("batch", described.await?.batch)?)?)
    }

    /// Stops it: runs that it has not reached are left alone. Nothing happens if it is over.
    pub async fn stop(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::StopBatchRequest {
            namespace: self.client.namespace_text(),
            batch_id: self.batch_id.clone(),
            reason: reason.into(),
        };
        let service = self.client.transport().batches();
        let stopped = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.stop_batch(request).await }
        });
        stopped.await.map(drop)
    }

    /// Deletes what is known of it; it must be over. Whether there was anything.
    pub async fn delete(&self) -> Result<bool, ClientError> {
        let request =
            v1::DeleteBatchRequest { namespace: self.client.namespace_text(), batch_id: self.batch_id.clone() };
        let service = self.client.transport().batches();
        let deleted = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.delete_batch(request).await }
        });
        Ok(deleted.await?.existed)
    }
}

/// Where a list stands.
struct Position {
    batches: VecDeque<v1::Batch>,
    page_token: Vec<u8>,
    is_last_page: bool,
}

impl Client {
    /// Does the same to every run that `query` means (of those, the open ones, but for resets and deletions), in the language of [`super::ListFilter::query`] without `ORDER BY`. Runs
    /// that start later are not meant. It goes on by itself, through crashes of the server, and reaches each run once.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// # async fn stop_old(client: engine_sdk::client::Client) -> Result<(), engine_sdk::client::ClientError> {
    /// let batch = client.batch("WorkflowType = 'report' AND StartTime < '2026-11-01'").reason("superseded").cancel().await?;
    /// println!("{:?}", batch.describe().await?);
    /// # Ok(()) }
    /// ```
    pub fn batch(&self, query: impl Into<String>) -> BatchBuilder {
        BatchBuilder { client: self.clone(), query: query.into(), batch_id: None, reason: String::new(), rate: 0 }
    }

    /// The batch with this id. Asks the server nothing.
    pub fn batch_handle(&self, batch_id: impl Into<String>) -> BatchHandle {
        BatchHandle { client: self.clone(), batch_id: batch_id.into() }
    }

    /// Lists batches by id, page by page as the stream is read.
    pub fn batches(&self) -> impl Stream<Item = Result<BatchDescription, ClientError>> + Send + use<> {
        let client = self.clone();
        let begin = Position { batches: VecDeque::new(), page_token: Vec::new(), is_last_page: false };
        stream::try_unfold(begin, move |mut position| {
            let client = client.clone();
            async move {
                while position.batches.is_empty() && !position.is_last_page {
                    position = client.batch_page(position.page_token).await?;
                }
                match position.batches.pop_front() {
                    Some(found) => Ok(Some((description(found)?, position))),
                    None => Ok(None),
                }
            }
        })
    }

    async fn batch_page(&self, page_token: Vec<u8>) -> Result<Position, ClientError> {
        let request = v1::ListBatchesRequest { namespace: self.namespace_text(), page_size: 0, page_token };
        let service = self.transport().batches();
        let page = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_batches(request).await }
        });
        let page = page.await?;
        let is_last_page = page.next_page_token.is_empty();
        Ok(Position { batches: page.batches.into(), page_token: page.next_page_token, is_last_page })
    }
}

fn description(message: v1::Batch) -> Result<BatchDescription, ConvertError> {
    let state = match message.state() {
        v1::BatchState::Unspecified => return Err(ConvertError::new("state", "must be set")),
        v1::BatchState::Running => BatchState::Running,
        v1::BatchState::Completed => BatchState::Completed,
        v1::BatchState::Stopped => BatchState::Stopped { reason: message.stop_reason },
        v1::BatchState::Failed => BatchState::Failed { problem: message.problem },
    };
    let failure = |failure: v1::BatchFailure| {
        Ok(BatchFailure {
            run_id: convert::run_id("failures.run_id", &failure.run_id)?,
            workflow_id: failure.workflow_id,
            problem: failure.problem,
        })
    };
    Ok(BatchDescription {
        state,
        batch_id: message.batch_id,
        query: message.query,
        reason: message.reason,
        identity: message.identity,
        rate: message.rate,
        total: message.total,
        done: message.done,
        failed: message.failed,
        failures: message.failures.into_iter().map(failure).collect::<Result<_, ConvertError>>()?,
        started_at: convert::timestamp_from_proto("start_time", convert::required("start_time", message.start_time)?)?,
        closed_at: message.close_time.map(|at| convert::timestamp_from_proto("close_time", at)).transpose()?,
    })
}
