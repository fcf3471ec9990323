//! Queries: questions to a run's code, answered from its state between two workflow tasks.
//!
//! A handler is a function of the state and the arguments. It has no [`super::WorkflowContext`], so there is nothing with which it
//! could issue a command; one that smuggles a context in through the state is found out, and its answer is an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::failure::Failure;
use engine_core::payload::Payload;

use super::cell::WorkflowState;
use super::state::Shared;
use super::waker;
use crate::data::{self, DataError, RawArguments};
use crate::definition::Query;
use crate::error::WorkflowError;

/// What came of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryReply {
    /// The code's answer.
    Value(Payload),
    /// The code answered with an error, or panicked.
    Failed(Box<Failure>),
    /// The code has no such query, or cannot take the arguments; a sentence for who asked.
    Refused(String),
    /// The run cannot be asked, and should not be used any more; a sentence for who asked.
    Broken(String),
}

type Handler = Arc<dyn Fn(&str, Vec<Payload>) -> Result<Payload, Refusal> + Send + Sync>;

/// Why a handler gave no value.
pub(super) enum Refusal {
    Arguments(DataError),
    Failed(Box<Failure>),
}

/// The handlers of one run.
#[derive(Default)]
pub(super) struct Queries {
    by_name: BTreeMap<String, Handler>,
    /// Answers what no other does.
    any: Option<Handler>,
}

impl Queries {
    fn find(&self, name: &str) -> Option<Handler> {
        self.by_name.get(name).or(self.any.as_ref()).cloned()
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        if names.is_empty() { "no query at all".to_owned() } else { names.join(", ") }
    }
}

pub(super) fn answer<Q: Query>(shared: &Arc<Shared>, query: Q, state: &WorkflowState<Q::State>)
where
    Q::State: Sync,
{
    let state = state.clone();
    answer_from(shared, query, move |answer| answer(&state.read()));
}

/// `look` lets the handler see the state.
pub(super) fn answer_from<Q: Query>(
    shared: &Arc<Shared>,
    query: Q,
    look: impl Fn(&mut dyn FnMut(&Q::State)) + Send + Sync + 'static,
) {
    let handler: Handler = Arc::new(move |_, input| {
        let mut input = Some(Q::decode_input(input).map_err(Refusal::Arguments)?);
        let mut output = None;
        look(&mut |state| output = input.take().map(|input| query.answer(state, input)));
        let output = output.expect("a look at the state lets the handler see it");
        encode(&output.map_err(|error| Refusal::Failed(Box::new(error.into_failure())))?)
    });
    if let Some(mut state) = shared.lock_as_code() {
        state.queries.by_name.insert(Q::NAME.to_owned(), handler);
    }
}

/// `answer` answers what no other handler does.
pub(super) fn answer_any_from(
    shared: &Arc<Shared>,
    answer: impl Fn(&str, Vec<Payload>) -> Result<Payload, WorkflowError> + Send + Sync + 'static,
) {
    let handler: Handler = Arc::new(move |name, input| {
        answer(name, input).map_err(|error| Refusal::Failed(Box::new(error.into_failure())))
    });
    if let Some(mut state) = shared.lock_as_code() {
        state.queries.any = Some(handler);
    }
}

/// Without a name only by `any`: handlers with a name go before it.
pub(super) fn answer_any<T, R>(
    shared: &Arc<Shared>,
    state: &WorkflowState<T>,
    answer: fn(&T, &str, RawArguments) -> Result<R, WorkflowError>,
) where
    T: Send + Sync + 'static,
    R: serde::Serialize + 'static,
{
    let state = state.clone();
    let handler: Handler = Arc::new(move |name, input| {
        let output = answer(&state.read(), name, RawArguments::from(input));
        encode(&output.map_err(|error| Refusal::Failed(Box::new(error.into_failure())))?)
    });
    if let Some(mut state) = shared.lock_as_code() {
        state.queries.any = Some(handler);
    }
}

fn encode<T: serde::Serialize>(output: &T) -> Result<Payload, Refusal> {
    let payload = data::encode_result(output)
        .map_err(|error| Refusal::Failed(Box::new(Failure::application("DataError", error.to_string()))))?;
    let (size, limit) = (payload.size(), engine_core::limits::PAYLOAD_BYTES_MAX);
    if size > limit {
        let message = format!("the answer is {size} bytes; the limit is {limit} bytes: answer with less");
        return Err(Refusal::Failed(Box::new(Failure::application("TooLarge", message))));
    }
    Ok(payload)
}

/// Asks the run's code, which must stand still.
pub(super) fn ask(shared: &Arc<Shared>, workflow: &str, name: &str, input: Vec<Payload>) -> QueryReply {
    let (handler, known) = {
        let state = shared.lock();
        if state.info.is_none() {
            return QueryReply::Broken("the run was closed before its code began".to_owned());
        }
        (state.queries.find(name), state.queries.known())
    };
    let Some(handler) = handler else {
        return QueryReply::Refused(format!("workflow {workflow} has no query {name:?}; it has {known}"));
    };
    // Not as part of a task of the run: a context that is used here is noticed.
    let answered = waker::catch_outside(|| handler(name, input));
    if shared.root.is_foreign() {
        let message = format!("the handler of query {name:?} did more than read: it used a WorkflowContext");
        return QueryReply::Broken(message);
    }
    match answered {
        Ok(Ok(payload)) => QueryReply::Value(payload),
        Ok(Err(Refusal::Arguments(error))) => {
            QueryReply::Refused(format!("query {name:?} cannot take its arguments: {error}"))
        }
        Ok(Err(Refusal::Failed(failure))) => QueryReply::Failed(failure),
        Err(panic) => {
            let message = format!("the handler of query {name:?} panicked: {panic}");
            QueryReply::Failed(Box::new(Failure::application("Panic", message)))
        }
    }
}
