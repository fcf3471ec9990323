//! Updates: messages that the code answers, by a handler or from a channel.
//!
//! An update comes with a workflow task, behind the task's news. If its name has a handler or a channel by then, or gets one
//! while the code runs, it is decided: its validator is asked, and it is accepted, which is recorded, or refused, which leaves no
//! trace. One whose name has none when the code stands still is refused. In a replay there are only accepted ones, and validators
//! are not asked: what was accepted stays accepted whatever they would say today.
//!
//! Handlers run beside the workflow's own code, all on one thread: before it in each round, in the order in which their updates
//! were accepted. When the workflow's code returns, handlers that still run are dropped and their senders told.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine_core::event::{UpdateOutcome, UpdateRequest, WorkflowTaskFailureCause};
use engine_core::failure::Failure;
use engine_core::ids::{UpdateId, UpdateName};
use engine_core::payload::{self, Payload};
use engine_core::replay::UpdateDelivery;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::{Shared, State, Waiters};
use crate::data::{self, DataError};
use crate::definition::{BoxFuture, Update};
use crate::error::WorkflowError;

/// What an update's handler makes of it: its result, `None` for `()`, or an error for the sender.
#[doc(hidden)]
pub type HandledUpdate = Result<Option<Payload>, WorkflowError>;

/// An update's handler without its types.
#[doc(hidden)]
pub trait UpdateHandler: Send + Sync {
    /// Whether the update is to be accepted. Must be quick, and change nothing; it cannot use the context for more than reading.
    #[expect(clippy::result_large_err, reason = "refusals are rare")]
    fn validate(&self, name: &str, input: &[Payload]) -> Result<(), Failure>;

    /// Handles an accepted update.
    fn handle(&self, name: &str, input: Vec<Payload>) -> Result<BoxFuture<HandledUpdate>, DataError>;
}

/// Where the updates of one name go.
#[derive(Clone)]
enum Receiver {
    Handler(Arc<dyn UpdateHandler>),
    /// Into the queue of the name; the function is the validator.
    Channel(Arc<Validator>),
}

type Validator = dyn Fn(&[Payload]) -> Result<(), Box<Failure>> + Send + Sync;

/// The updates of a run, as far as its code has to do with them.
#[derive(Default)]
pub(super) struct Updates {
    receivers: BTreeMap<UpdateName, Receiver>,
    /// For names that have none of their own.
    catch_all: Option<Receiver>,
    /// Of this task, not decided.
    delivered: VecDeque<UpdateDelivery>,
    /// Handlers that begin with the next round.
    begun: Vec<RunningHandler>,
    queues: BTreeMap<UpdateName, Queue>,
    /// Bytes that wait in queues.
    bytes: usize,
    /// Accepted and not answered.
    open: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(UpdateId, Vec<Payload>)>,
    waiters: Waiters,
}

/// A handler at work.
pub(super) struct RunningHandler {
    update_id: UpdateId,
    future: BoxFuture<HandledUpdate>,
}

impl Updates {
    pub(super) fn deliver(&mut self, updates: Vec<UpdateDelivery>) {
        self.delivered = updates.into();
    }

    /// Whether updates may move the code forward.
    pub(super) fn is_waiting(&self) -> bool {
        self.catch_all.is_some()
            || self.receivers.values().any(|receiver| matches!(receiver, Receiver::Handler(_)))
            || self.queues.values().any(|queue| !queue.waiters.is_empty())
    }

    /// Whether no accepted update waits for its answer.
    pub(super) fn are_answered(&self) -> bool {
        self.open == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn receiver(&self, name: &UpdateName) -> Option<Receiver> {
        self.receivers.get(name).or(self.catch_all.as_ref()).cloned()
    }

    /// The first delivered update whose name has a receiver.
    fn next_decidable(&mut self) -> Option<(UpdateDelivery, Receiver)> {
        let (at, receiver) = self
            .delivered
            .iter()
            .enumerate()
            .find_map(|(at, delivery)| Some((at, self.receiver(&delivery.request.name)?)))?;
        Some((self.delivered.remove(at)?, receiver))
    }
}

impl State {
    fn accept(&mut self, request: &UpdateRequest) {
        self.replayer.accept_update(request.clone());
        self.updates.open += 1;
        self.progress += 1;
    }

    fn answer(&mut self, update_id: UpdateId, outcome: UpdateOutcome) {
        self.replayer.complete_update(update_id, outcome);
        self.updates.open -= 1;
        self.progress += 1;
    }
}

/// Decides updates that came with the task. Returns whether any was accepted. To be called within the task, without the lock.
pub(super) fn decide(shared: &Arc<Shared>) -> bool {
    let mut is_any_accepted = false;
    while let Some((delivery, receiver)) = { shared.lock().updates.next_decidable() } {
        let UpdateDelivery { request, is_accepted } = delivery;
        if !is_accepted && let Err(failure) = validate(shared, &receiver, &request) {
            shared.lock().replayer.reject_update(request.id, *failure);
            continue;
        }
        is_any_accepted = true;
        shared.lock().accept(&request);
        match receiver {
            Receiver::Channel(_) => {
                let waiters = {
                    let mut state = shared.lock();
                    state.updates.bytes += payload::total_size(&request.input);
                    let queue = state.updates.queues.entry(request.name).or_default();
                    queue.waiting.push_back((request.id, request.input));
                    queue.waiters.take()
                };
                waiters.for_each(std::task::Waker::wake);
            }
            Receiver::Handler(handler) => match handler.handle(request.name.as_str(), request.input) {
                Ok(future) => {
                    shared.lock().updates.begun.push(RunningHandler { update_id: request.id, future });
                    shared.root.wake_now();
                }
                Err(error) => {
                    let message = format!("the input of update {:?} cannot be used: {error}", request.name.as_str());
                    shared.lock().fail_task(WorkflowTaskFailureCause::WorkerFailure, "DataError", message);
                }
            },
        }
    }
    is_any_accepted
}

fn validate(shared: &Arc<Shared>, receiver: &Receiver, request: &UpdateRequest) -> Result<(), Box<Failure>> {
    shared.root.read_only(|| match receiver {
        Receiver::Handler(handler) => handler.validate(request.name.as_str(), &request.input).map_err(Box::new),
        Receiver::Channel(validate) => validate(&request.input),
    })
}

/// Refuses updates for whose name the code has nothing. In a replay the commands differ then, which the history tells.
pub(super) fn refuse_rest(state: &mut State) {
    for UpdateDelivery { request, is_accepted } in std::mem::take(&mut state.updates.delivered) {
        if is_accepted {
            continue;
        }
        let known: Vec<&str> = state.updates.receivers.keys().map(UpdateName::as_str).collect();
        let known = if known.is_empty() { "it takes no updates".to_owned() } else { format!("it has {known:?}") };
        let message = format!("the workflow has no handler for update {:?}; {known}", request.name.as_str());
        state.replayer.reject_update(request.id, Failure::application("UnknownUpdate", message));
    }
}

/// Polls handlers, those that just began included, in the order in which their updates were accepted.
pub(super) fn poll_handlers(shared: &Arc<Shared>, running: &mut Vec<RunningHandler>, cx: &mut Context<'_>) {
    running.append(&mut shared.lock().updates.begun);
    running.retain_mut(|handler| {
        let Poll::Ready(handled) = handler.future.as_mut().poll(cx) else { return true };
        let outcome = match handled {
            Ok(result) => UpdateOutcome::Completed { result },
            Err(error) => UpdateOutcome::Failed { failure: error.into_failure() },
        };
        shared.lock().answer(handler.update_id.clone(), outcome);
        false
    });
}

fn register(shared: &Arc<Shared>, name: Option<&str>, receiver: Receiver) {
    if let Some(mut state) = shared.lock_as_code() {
        match name {
            Some(name) => drop(state.updates.receivers.insert(UpdateName::from_trusted(name), receiver)),
            None => state.updates.catch_all = Some(receiver),
        }
        drop(state);
        decide(shared);
    }
}

/// Registers a handler without types, for the name or for all names that have none of their own.
pub(super) fn register_handler(shared: &Arc<Shared>, name: Option<&str>, handler: Arc<dyn UpdateHandler>) {
    register(shared, name, Receiver::Handler(handler));
}

/// A handler made of two functions.
struct TypedHandler<U, V, H> {
    validate: V,
    handle: H,
    update: PhantomData<fn() -> U>,
}

impl<U, V, H, F> UpdateHandler for TypedHandler<U, V, H>
where
    U: Update,
    V: Fn(&U) -> Result<(), WorkflowError> + Send + Sync,
    H: Fn(U) -> F + Send + Sync,
    F: Future<Output = Result<U::Output, WorkflowError>> + Send + 'static,
{
    fn validate(&self, _name: &str, input: &[Payload]) -> Result<(), Failure> {
        let update = decode_to_validate::<U>(input).map_err(|failure| *failure)?;
        (self.validate)(&update).map_err(WorkflowError::into_failure)
    }

    fn handle(&self, _name: &str, input: Vec<Payload>) -> Result<BoxFuture<HandledUpdate>, DataError> {
        let future = (self.handle)(data::decode_signal(&input)?);
        Ok(Box::pin(async move { encode_output(&future.await?) }))
    }
}

fn decode_to_validate<U: DeserializeOwned>(input: &[Payload]) -> Result<U, Box<Failure>> {
    data::decode_signal(input).map_err(|error| {
        let message = format!("the content of the update cannot be used: {error}");
        Box::new(Failure::application("DataError", message))
    })
}

/// What an update's sender gets.
#[doc(hidden)]
pub fn encode_output<T: Serialize>(output: &T) -> HandledUpdate {
    let payload = data::encode_result(output).map_err(WorkflowError::non_retryable)?;
    Ok((payload.data.as_ref() != b"null").then_some(payload))
}

pub(super) fn on_update<U, V, H, F>(shared: &Arc<Shared>, validate: V, handle: H)
where
    U: Update,
    V: Fn(&U) -> Result<(), WorkflowError> + Send + Sync + 'static,
    H: Fn(U) -> F + Send + Sync + 'static,
    F: Future<Output = Result<U::Output, WorkflowError>> + Send + 'static,
{
    register_handler(shared, Some(U::NAME), Arc::new(TypedHandler { validate, handle, update: PhantomData }));
}

/// The updates of one type, in the order in which they were accepted. Each is accepted when it arrives, received or not, so its
/// sender waits for the code to answer it.
///
/// Several channels of one type share their updates: each is received once.
pub struct UpdateChannel<U> {
    shared: Arc<Shared>,
    name: UpdateName,
    content: PhantomData<fn() -> U>,
}

impl<U: Update> UpdateChannel<U> {
    pub(super) fn new<V>(shared: &Arc<Shared>, validate: V) -> Self
    where
        V: Fn(&U) -> Result<(), WorkflowError> + Send + Sync + 'static,
    {
        let validate = move |input: &[Payload]| {
            let update = decode_to_validate::<U>(input)?;
            validate(&update).map_err(|error| Box::new(error.into_failure()))
        };
        register(shared, Some(U::NAME), Receiver::Channel(Arc::new(validate)));
        Self { shared: Arc::clone(shared), name: UpdateName::from_trusted(U::NAME), content: PhantomData }
    }

    /// The next update. Waits until there is one. Dropping the future loses none.
    pub fn recv(&mut self) -> RecvUpdate<'_, U> {
        RecvUpdate { channel: self, key: None }
    }

    /// The next update, if one is there.
    pub fn try_recv(&mut self) -> Option<ReceivedUpdate<U>> {
        let mut state = self.shared.lock_as_code()?;
        let (update_id, input) = state.updates.queues.get_mut(&self.name)?.waiting.pop_front()?;
        state.updates.bytes -= payload::total_size(&input);
        state.progress += 1;
        match data::decode_signal(&input) {
            Ok(update) => {
                let shared = Arc::clone(&self.shared);
                Some(ReceivedUpdate { shared, update_id: Some(update_id), update })
            }
            Err(error) => {
                let message = format!("the content of update {:?} cannot be used: {error}", self.name.as_str());
                state.fail_task(WorkflowTaskFailureCause::WorkerFailure, "DataError", message);
                None
            }
        }
    }

    /// How many updates wait to be received.
    pub fn len(&self) -> usize {
        self.shared.lock().updates.queues.get(&self.name).map_or(0, |queue| queue.waiting.len())
    }

    /// Whether no update waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<U> fmt::Debug for UpdateChannel<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateChannel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The next update, made by [`UpdateChannel::recv`].
#[must_use = "an update is received when this is awaited"]
pub struct RecvUpdate<'a, U> {
    channel: &'a mut UpdateChannel<U>,
    key: Option<u64>,
}

impl<U: Update> Future for RecvUpdate<'_, U> {
    type Output = ReceivedUpdate<U>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(update) = self.channel.try_recv() {
            return Poll::Ready(update);
        }
        let Self { channel, key } = &mut *self;
        if let Some(mut state) = channel.shared.lock_as_code() {
            let queue = state.updates.queues.entry(channel.name.clone()).or_default();
            queue.waiters.register(key, cx.waker());
        }
        Poll::Pending
    }
}

impl<U> Drop for RecvUpdate<'_, U> {
    fn drop(&mut self) {
        if self.key.is_some()
            && let Some(mut state) = self.channel.shared.lock_as_code()
            && let Some(queue) = state.updates.queues.get_mut(&self.channel.name)
        {
            queue.waiters.remove(self.key);
        }
    }
}

impl<U> fmt::Debug for RecvUpdate<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvUpdate").field("name", &self.channel.name).finish_non_exhaustive()
    }
}

/// An update that the code received and has to answer. Its fields are those of the update. Dropped without an answer it fails, and
/// the sender is told so.
#[must_use = "its sender waits for an answer: `complete` or `fail` it"]
pub struct ReceivedUpdate<U> {
    shared: Arc<Shared>,
    /// `None` once it is answered.
    update_id: Option<UpdateId>,
    update: U,
}

impl<U: Update> ReceivedUpdate<U> {
    /// Answers the sender with a value. The answer is durable with this workflow task.
    pub fn complete(self, output: U::Output) {
        self.answer(Ok(output));
    }

    /// Answers the sender with an error.
    pub fn fail(self, error: impl Into<WorkflowError>) {
        self.answer(Err(error.into()));
    }

    /// Answers the sender with what a function returned.
    pub fn answer(mut self, result: Result<U::Output, WorkflowError>) {
        let outcome = match result.and_then(|output| encode_output(&output)) {
            Ok(result) => UpdateOutcome::Completed { result },
            Err(error) => UpdateOutcome::Failed { failure: error.into_failure() },
        };
        self.give(outcome);
    }
}

impl<U> ReceivedUpdate<U> {
    /// The sender's key.
    pub fn id(&self) -> &str {
        self.update_id.as_ref().map_or("", UpdateId::as_str)
    }

    fn give(&mut self, outcome: UpdateOutcome) {
        let Some(update_id) = self.update_id.take() else { return };
        if let Some(mut state) = self.shared.lock_as_code() {
            state.answer(update_id, outcome);
        }
    }
}

impl<U> Deref for ReceivedUpdate<U> {
    type Target = U;

    fn deref(&self) -> &U {
        &self.update
    }
}

impl<U> Drop for ReceivedUpdate<U> {
    fn drop(&mut self) {
        let message = "the workflow dropped the update without an answer";
        self.give(UpdateOutcome::Failed { failure: Failure::application("UpdateDropped", message) });
    }
}

impl<U: fmt::Debug> fmt::Debug for ReceivedUpdate<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedUpdate").field("id", &self.id()).field("update", &self.update).finish_non_exhaustive()
    }
}
