//! Errors of activities and workflows, and what is left of them after the wire.
//!
//! | type | made by | seen by |
//! |---|---|---|
//! | [`ActivityError`] | activity code, or `?` on any error | the retry policy |
//! | [`ActivityFailure`] | the engine, when there is no further attempt | workflow code |
//! | [`WorkflowError`] | workflow code, or `?` on any error | the history, the caller of the workflow |
//! | [`RecordedError`] | any of them, read back from a history | whoever walks `source()` |
//!
//! All convert from and to [`Failure`], which is what histories hold. The type name of an error is the last segment of its
//! Rust path without generics (`CardDeclined` for `shop::errors::CardDeclined<Eur>`); it is what
//! `RetryPolicy::non_retryable_types` is matched against. Rust does not tell the types of an error's sources, so causes have
//! a message and no type name, unless they came out of a history themselves.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use engine_core::command::ContinueAsNew;
use engine_core::failure::{Failure, FailureKind};
pub use engine_core::failure::{RetryState, TimeoutKind};
use engine_core::ids::{ActivityId, ActivityType, EventId, Namespace, RunId, WorkflowId, WorkflowType};
use engine_core::limits;
use engine_core::payload::Payload;
use engine_core::replay::{CHILD_ALREADY_STARTED, PEER_NOT_FOUND};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::{self, DataError};
use crate::workflow::Canceled;

type BoxError = Box<dyn Error + Send + Sync>;

/// Why an attempt of an activity failed.
///
/// `?` turns every [`std::error::Error`] into a retryable one; like `anyhow::Error` it is therefore not an error type itself.
/// Whether it is retried follows from the activity's retry policy, unless it is [`ActivityError::non_retryable`].
pub struct ActivityError {
    failure: Box<Failure>,
}

impl ActivityError {
    /// An error that the retry policy may retry. Takes a message, any error, or a boxed error such as `anyhow::Error`.
    pub fn retryable<E: Into<BoxError> + 'static>(error: E) -> Self {
        Self { failure: Box::new(failure_of_boxed(error, "ActivityError")) }
    }

    /// An error that is never retried. Takes what [`ActivityError::retryable`] takes.
    pub fn non_retryable<E: Into<BoxError> + 'static>(error: E) -> Self {
        let mut made = Self::retryable(error);
        set_non_retryable(&mut made.failure);
        made
    }

    /// The attempt stopped because it was asked to (see `ActivityContext::is_cancelled`). Without such a request it counts as
    /// an error like others.
    pub fn canceled() -> Self {
        Self { failure: Box::new(canceled_failure("the activity was canceled")) }
    }

    /// Replaces the type name, which retry policies are matched against and which the workflow sees as
    /// [`ActivityFailure::error_type`].
    #[must_use]
    pub fn with_type(mut self, name: impl Into<String>) -> Self {
        set_type(&mut self.failure, name.into());
        self
    }

    /// Attaches a value for the workflow ([`ActivityFailure::details`]). A value that cannot be encoded is replaced by
    /// a text that says why: an error must not be lost because of its attachment.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        set_details(&mut self.failure, details);
        self
    }

    /// The next attempt comes after this time instead of the retry policy's back-off.
    #[must_use]
    pub fn next_retry_delay(mut self, delay: Duration) -> Self {
        set_next_retry_delay(&mut self.failure, delay);
        self
    }

    /// Whether it is [`ActivityError::canceled`].
    pub fn is_canceled(&self) -> bool {
        is_canceled(&self.failure)
    }

    /// What is recorded.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// What is recorded.
    pub fn into_failure(self) -> Failure {
        *self.failure
    }
}

impl<E: Error + 'static> From<E> for ActivityError {
    fn from(error: E) -> Self {
        Self { failure: Box::new(failure_of(error)) }
    }
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl fmt::Debug for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_chain(&self.failure, f)
    }
}

/// Why a workflow failed: the run closes with it, and begins again only if the workflow has a retry policy.
///
/// `?` turns every [`std::error::Error`] into one, an [`ActivityFailure`] with its whole chain.
pub struct WorkflowError {
    failure: Box<Failure>,
    /// Not an error at all: how the code goes on in a new run, or why it cannot.
    continue_as_new: Option<Result<Box<ContinueAsNew>, String>>,
}

impl WorkflowError {
    /// An error that the workflow's retry policy, if it has one, may retry. Takes a message, any error, or a boxed error
    /// such as `anyhow::Error`.
    pub fn retryable<E: Into<BoxError> + 'static>(error: E) -> Self {
        Self { failure: Box::new(failure_of_boxed(error, "WorkflowError")), continue_as_new: None }
    }

    /// An error after which no further run follows. Takes what [`WorkflowError::retryable`] takes.
    pub fn non_retryable<E: Into<BoxError> + 'static>(error: E) -> Self {
        let mut made = Self::retryable(error);
        set_non_retryable(&mut made.failure);
        made
    }

    /// The code accepted a request to cancel: the run closes as canceled, not as failed.
    pub fn canceled() -> Self {
        Self { failure: Box::new(canceled_failure("the workflow was canceled")), continue_as_new: None }
    }

    /// What ends the code because it goes on in a new run.
    pub(crate) fn continue_as_new(next: Result<Box<ContinueAsNew>, String>) -> Self {
        let failure = Failure::application("ContinueAsNew", "the workflow goes on in a new run: return this");
        Self { failure: Box::new(failure), continue_as_new: Some(next) }
    }

    /// Whether it is what [`crate::workflow::ContinueAsNew`] gave: not an error, but to be returned like one.
    pub fn is_continue_as_new(&self) -> bool {
        self.continue_as_new.is_some()
    }

    pub(crate) fn take_continue_as_new(&mut self) -> Option<Result<Box<ContinueAsNew>, String>> {
        self.continue_as_new.take()
    }

    /// Replaces the type name, which retry policies are matched against.
    #[must_use]
    pub fn with_type(mut self, name: impl Into<String>) -> Self {
        set_type(&mut self.failure, name.into());
        self
    }

    /// Attaches a value for the workflow's caller. A value that cannot be encoded is replaced by a text that says why.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        set_details(&mut self.failure, details);
        self
    }

    /// The next run of the chain comes after this time instead of the retry policy's back-off.
    #[must_use]
    pub fn next_retry_delay(mut self, delay: Duration) -> Self {
        set_next_retry_delay(&mut self.failure, delay);
        self
    }

    /// Whether it is [`WorkflowError::canceled`].
    pub fn is_canceled(&self) -> bool {
        is_canceled(&self.failure)
    }

    /// Whether it is the failure of an activity or a child that was canceled.
    pub(crate) fn is_canceled_activity(&self) -> bool {
        let is_step = matches!(&self.failure.kind, FailureKind::Activity { .. } | FailureKind::ChildWorkflow { .. });
        is_step && self.failure.cause.as_deref().is_some_and(is_canceled)
    }

    /// The value attached to [`WorkflowError::canceled`].
    pub(crate) fn into_canceled_details(self) -> Option<Payload> {
        match self.failure.kind {
            FailureKind::Canceled { details } => details,
            FailureKind::Application { .. }
            | FailureKind::Timeout { .. }
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => None,
        }
    }

    /// What is recorded.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// What is recorded.
    pub fn into_failure(self) -> Failure {
        *self.failure
    }
}

impl<E: Error + 'static> From<E> for WorkflowError {
    fn from(error: E) -> Self {
        Self { failure: Box::new(failure_of(error)), continue_as_new: None }
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl fmt::Debug for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_chain(&self.failure, f)
    }
}

/// An activity did not complete, and there is no further attempt.
///
/// Its text names the activity and why; [`Error::source`] goes on with what caused that.
#[derive(Clone, PartialEq)]
pub struct ActivityFailure {
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq)]
struct Inner {
    activity_id: ActivityId,
    activity_type: ActivityType,
    scheduled_event_id: EventId,
    attempt: u32,
    retry_state: RetryState,
    reason: RecordedError,
}

impl ActivityFailure {
    /// Wraps the recorded `reason`. `attempt` is 0 if no attempt started.
    pub fn new(
        activity_type: ActivityType,
        activity_id: ActivityId,
        scheduled_event_id: EventId,
        attempt: u32,
        retry_state: RetryState,
        reason: Failure,
    ) -> Self {
        let reason = RecordedError::from(reason);
        Self { inner: Box::new(Inner { activity_id, activity_type, scheduled_event_id, attempt, retry_state, reason }) }
    }

    /// The activity's type.
    pub fn activity_type(&self) -> &str {
        self.inner.activity_type.as_str()
    }

    /// The activity's id within the run.
    pub fn activity_id(&self) -> &str {
        self.inner.activity_id.as_str()
    }

    /// The last attempt, from 1; 0 if none started or if the number is not known any more.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// Why there was no further attempt.
    pub fn retry_state(&self) -> RetryState {
        self.inner.retry_state
    }

    /// Whether a deadline passed.
    pub fn is_timeout(&self) -> bool {
        self.timeout().is_some()
    }

    /// Which deadline passed, if one did.
    pub fn timeout(&self) -> Option<TimeoutKind> {
        match self.inner.reason.kind {
            FailureKind::Timeout { timeout, .. } => Some(timeout),
            FailureKind::Application { .. }
            | FailureKind::Canceled { .. }
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => None,
        }
    }

    /// Whether the activity stopped because the workflow asked it to.
    pub fn is_canceled(&self) -> bool {
        matches!(self.inner.reason.kind, FailureKind::Canceled { .. })
    }

    /// The type name of the error that the activity returned; `None` if it did not return one.
    pub fn error_type(&self) -> Option<&str> {
        self.inner.reason.error_type()
    }

    /// The message of the last attempt's failure.
    pub fn message(&self) -> &str {
        &self.inner.reason.message
    }

    /// The last attempt's failure.
    pub fn reason(&self) -> &RecordedError {
        &self.inner.reason
    }

    /// The value that the activity attached with [`ActivityError::with_details`]; `None` if it attached none.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, DataError> {
        self.inner.reason.details()
    }

    /// The text of each failure from the last attempt's to its root cause.
    pub fn causes(&self) -> impl Iterator<Item = &RecordedError> {
        std::iter::successors(Some(&self.inner.reason), |error| error.source.as_deref())
    }
}

impl fmt::Display for ActivityFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { activity_type, reason, .. } = &*self.inner;
        let verb = match reason.kind {
            FailureKind::Timeout { .. } => "timed out",
            FailureKind::Canceled { .. } => "was canceled",
            FailureKind::Application { .. }
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => "failed",
        };
        write!(f, "activity {activity_type} {verb}: {reason}")
    }
}

impl fmt::Debug for ActivityFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.debug_struct("ActivityFailure")
            .field("activity_type", &inner.activity_type)
            .field("activity_id", &inner.activity_id)
            .field("attempt", &inner.attempt)
            .field("retry_state", &inner.retry_state)
            .field("reason", &inner.reason)
            .finish()
    }
}

impl Error for ActivityFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.reason.source()
    }
}

impl From<ActivityFailure> for Failure {
    fn from(failure: ActivityFailure) -> Failure {
        let Inner { activity_id, activity_type, scheduled_event_id, retry_state, reason, .. } = *failure.inner;
        Failure {
            message: format!("activity {activity_type} did not complete"),
            kind: FailureKind::Activity { scheduled_event_id, activity_id, activity_type, retry_state },
            cause: Some(Box::new(reason.into())),
        }
    }
}

/// The type name of a [`PeerFailure`] that passed through a history.
const PEER_FAILURE: &str = "PeerFailure";

/// Dealing with another workflow failed: a child did not complete or could not be started, or a message could not be delivered.
///
/// Its text names the workflow; [`Error::source`] says why.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerFailure {
    workflow_id: String,
    child: Option<Box<FailedChild>>,
    reason: Box<RecordedError>,
}

/// What a parent knows of a child that did not complete, beside its workflow id.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FailedChild {
    pub(crate) namespace: Namespace,
    pub(crate) workflow_type: WorkflowType,
    pub(crate) run_id: Option<RunId>,
    pub(crate) initiated_event_id: EventId,
    pub(crate) started_event_id: EventId,
    pub(crate) retry_state: RetryState,
}

impl PeerFailure {
    pub(crate) fn new(workflow_id: String, reason: Failure) -> Self {
        Self { workflow_id, child: None, reason: Box::new(reason.into()) }
    }

    pub(crate) fn of_child(workflow_id: String, child: FailedChild, reason: Failure) -> Self {
        Self { workflow_id, child: Some(Box::new(child)), reason: Box::new(reason.into()) }
    }

    /// The other workflow's id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run that the child began with; `None` if it did not begin, or if it was a message that failed.
    pub fn run_id(&self) -> Option<RunId> {
        self.child.as_ref()?.run_id
    }

    /// The type of the child; `None` if it was a message that failed.
    pub fn workflow_type(&self) -> Option<&str> {
        self.child.as_ref().map(|child| child.workflow_type.as_str())
    }

    /// Why the child was not tried again; `None` if it was a message that failed.
    pub fn retry_state(&self) -> Option<RetryState> {
        self.child.as_ref().map(|child| child.retry_state)
    }

    /// Whether the child accepted a request to cancel.
    pub fn is_canceled(&self) -> bool {
        matches!(self.reason.kind, FailureKind::Canceled { .. })
    }

    /// Whether the child was terminated.
    pub fn is_terminated(&self) -> bool {
        matches!(self.reason.kind, FailureKind::Terminated)
    }

    /// Whether the child took longer than its timeouts allow.
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason.kind, FailureKind::Timeout { .. })
    }

    /// Whether there is no such open workflow.
    pub fn is_not_found(&self) -> bool {
        self.error_type() == Some(PEER_NOT_FOUND)
    }

    /// Whether the child's workflow id has a run that is open, or that the id-reuse policy protects.
    pub fn is_already_started(&self) -> bool {
        self.error_type() == Some(CHILD_ALREADY_STARTED)
    }

    /// The type name of the error that the child returned; `None` if it did not return one.
    pub fn error_type(&self) -> Option<&str> {
        self.reason.error_type()
    }

    /// Why.
    pub fn reason(&self) -> &RecordedError {
        &self.reason
    }

    /// The value that the child attached to its error, or to its end as canceled; `None` if it attached none.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, DataError> {
        self.reason.details()
    }
}

impl fmt::Display for PeerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workflow {} did not do what was asked: {}", self.workflow_id, self.reason)
    }
}

impl Error for PeerFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl From<PeerFailure> for Failure {
    fn from(failure: PeerFailure) -> Failure {
        let cause = Some(Box::new((*failure.reason).into()));
        let workflow_id = failure.workflow_id;
        let Some(child) = failure.child else {
            let message = format!("workflow {workflow_id} did not do what was asked");
            return Failure { cause, ..Failure::application(PEER_FAILURE, message) };
        };
        let FailedChild { namespace, workflow_type, run_id, initiated_event_id, started_event_id, retry_state } =
            *child;
        let message = format!("child {workflow_type} ({workflow_id}) did not complete");
        let workflow_id = WorkflowId::from_trusted(workflow_id);
        let kind = FailureKind::ChildWorkflow {
            namespace,
            workflow_id,
            run_id,
            workflow_type,
            initiated_event_id,
            started_event_id,
            retry_state,
        };
        Failure { message, kind, cause }
    }
}

/// An error that came out of a history: all that is left of it are type name, message, details and causes.
#[derive(Clone, PartialEq)]
pub struct RecordedError {
    message: String,
    kind: FailureKind,
    source: Option<Box<RecordedError>>,
}

impl RecordedError {
    /// The type name of the user's error; `None` if the engine made it, or if the name is not known.
    pub fn error_type(&self) -> Option<&str> {
        match &self.kind {
            FailureKind::Application { type_name, .. } if !type_name.is_empty() => Some(type_name),
            FailureKind::Application { .. }
            | FailureKind::Timeout { .. }
            | FailureKind::Canceled { .. }
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => None,
        }
    }

    /// Its message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Who made it and what it means.
    pub fn kind(&self) -> &FailureKind {
        &self.kind
    }

    /// The value that was attached to it, for a timeout the last heartbeat's details; `None` if there is none.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, DataError> {
        let details = match &self.kind {
            FailureKind::Application { details, .. } | FailureKind::Canceled { details } => details,
            FailureKind::Timeout { last_heartbeat_details, .. } => last_heartbeat_details,
            FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => &None,
        };
        details.as_ref().map(data::decode).transpose()
    }
}

impl From<Failure> for RecordedError {
    fn from(failure: Failure) -> Self {
        // Built from the root cause upwards: a chain may be as deep as its sender liked.
        let mut links = Vec::new();
        let mut next = Some(failure);
        while let Some(mut failure) = next {
            next = failure.cause.take().map(|cause| *cause);
            links.push((failure.message, failure.kind));
        }
        let (message, kind) = links.remove(0);
        let mut source = None;
        for (message, kind) in links.into_iter().rev() {
            source = Some(Box::new(RecordedError { message, kind, source }));
        }
        Self { message, kind, source }
    }
}

impl From<RecordedError> for Failure {
    fn from(error: RecordedError) -> Failure {
        let mut links = Vec::new();
        let mut next = error.source;
        while let Some(mut error) = next {
            next = error.source.take();
            links.push((error.message, error.kind));
        }
        let mut cause = None;
        for (message, kind) in links.into_iter().rev() {
            cause = Some(Box::new(Failure { message, kind, cause }));
        }
        Failure { message: error.message, kind: error.kind, cause }
    }
}

impl fmt::Display for RecordedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error_type() {
            Some(type_name) => write!(f, "{type_name}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl fmt::Debug for RecordedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        for cause in std::iter::successors(self.source.as_deref(), |error| error.source.as_deref()) {
            write!(f, ", caused by {cause}")?;
        }
        Ok(())
    }
}

impl Error for RecordedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// The last path segment of `T`'s name, without references and generics.
fn short_type_name<T: ?Sized>() -> &'static str {
    let full = type_name::<T>().trim_start_matches('&');
    let path = full.split_once('<').map_or(full, |(path, _)| path);
    path.rsplit("::").next().unwrap_or(path)
}

fn failure_of<E: Error + 'static>(error: E) -> Failure {
    let mut slot = Some(error);
    // An error that came out of a history keeps all that the history had.
    if let Some(recorded) = take::<ActivityFailure>(&mut slot) {
        return recorded.into();
    }
    if let Some(recorded) = take::<PeerFailure>(&mut slot) {
        return recorded.into();
    }
    if let Some(recorded) = take::<RecordedError>(&mut slot) {
        return recorded.into();
    }
    if let Some(cancelled) = take::<Canceled>(&mut slot) {
        return canceled_failure(&cancelled.to_string());
    }
    let error = slot.expect("only the types above are taken");
    application(short_type_name::<E>(), &error)
}

fn take<T: 'static>(slot: &mut dyn Any) -> Option<T> {
    slot.downcast_mut::<Option<T>>().and_then(Option::take)
}

fn failure_of_boxed<E: Into<BoxError> + 'static>(error: E, message_type: &str) -> Failure {
    let is_message = (&error as &dyn Any).is::<String>() || (&error as &dyn Any).is::<&'static str>();
    let boxed: BoxError = error.into();
    let boxed = match boxed.downcast::<ActivityFailure>() {
        Ok(recorded) => return (*recorded).into(),
        Err(boxed) => boxed,
    };
    let boxed = match boxed.downcast::<PeerFailure>() {
        Ok(recorded) => return (*recorded).into(),
        Err(boxed) => boxed,
    };
    let boxed = match boxed.downcast::<RecordedError>() {
        Ok(recorded) => return (*recorded).into(),
        Err(boxed) => boxed,
    };
    let type_name = if is_message { message_type } else { short_type_name::<E>() };
    application(type_name, boxed.as_ref())
}

fn application(type_name: &str, error: &(dyn Error + 'static)) -> Failure {
    Failure { cause: cause_of(error), ..Failure::application(type_name, error.to_string()) }
}

fn cause_of(error: &(dyn Error + 'static)) -> Option<Box<Failure>> {
    // Cut here as well as in the server: an error whose sources form a circle must not hang its worker.
    let sources: Vec<&(dyn Error + 'static)> =
        std::iter::successors(error.source(), |&error| error.source()).take(limits::FAILURE_CAUSES_MAX).collect();
    let mut cause = None;
    for source in sources.into_iter().rev() {
        let recorded = source
            .downcast_ref::<ActivityFailure>()
            .map(|failure| Failure::from(failure.clone()))
            .or_else(|| source.downcast_ref::<PeerFailure>().map(|failure| Failure::from(failure.clone())))
            .or_else(|| source.downcast_ref::<RecordedError>().map(|error| Failure::from(error.clone())));
        let failure = recorded.unwrap_or_else(|| Failure { cause, ..Failure::application("", source.to_string()) });
        cause = Some(Box::new(failure));
    }
    cause
}

fn canceled_failure(message: &str) -> Failure {
    Failure { message: message.to_owned(), kind: FailureKind::Canceled { details: None }, cause: None }
}

fn is_canceled(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Canceled { .. })
}

/// The application's part of `failure`, which is put on top if there is none: a changed failure of the engine's becomes
/// an error of the code's that it caused.
fn application_part(failure: &mut Failure) -> (&mut String, &mut bool, &mut Option<Payload>, &mut Option<Duration>) {
    if !matches!(failure.kind, FailureKind::Application { .. }) {
        let message = failure.message.clone();
        let inner = std::mem::replace(failure, Failure::application("", message));
        failure.cause = Some(Box::new(inner));
    }
    match &mut failure.kind {
        FailureKind::Application { type_name, non_retryable, details, next_retry_delay } => {
            (type_name, non_retryable, details, next_retry_delay)
        }
        FailureKind::Timeout { .. }
        | FailureKind::Canceled { .. }
        | FailureKind::Terminated
        | FailureKind::WorkerLost
        | FailureKind::Server { .. }
        | FailureKind::Activity { .. }
        | FailureKind::ChildWorkflow { .. } => unreachable!("made an application failure above"),
    }
}

fn set_non_retryable(failure: &mut Failure) {
    *application_part(failure).1 = true;
}

fn set_type(failure: &mut Failure, name: String) {
    *application_part(failure).0 = name;
}

fn set_details<T: Serialize + ?Sized>(failure: &mut Failure, details: &T) {
    let payload = data::encode(details).or_else(|error| data::encode(&error.to_string()));
    let payload = payload.expect("a text can be encoded");
    match &mut failure.kind {
        FailureKind::Canceled { details } => *details = Some(payload),
        FailureKind::Application { .. }
        | FailureKind::Timeout { .. }
        | FailureKind::Terminated
        | FailureKind::WorkerLost
        | FailureKind::Server { .. }
        | FailureKind::Activity { .. }
        | FailureKind::ChildWorkflow { .. } => *application_part(failure).2 = Some(payload),
    }
}

fn set_next_retry_delay(failure: &mut Failure, delay: Duration) {
    *application_part(failure).3 = Some(delay);
}

fn fmt_chain(failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (depth, link) in failure.chain().enumerate() {
        if depth > 0 {
            f.write_str(", caused by ")?;
        }
        match &link.kind {
            FailureKind::Application { type_name, .. } if !type_name.is_empty() => {
                write!(f, "{type_name}: {}", link.message)?;
            }
            FailureKind::Application { .. }
            | FailureKind::Timeout { .. }
            | FailureKind::Canceled { .. }
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => f.write_str(&link.message)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("card {number} was declined")]
    struct CardDeclined<T: fmt::Debug> {
        number: T,
        #[source]
        source: std::num::ParseIntError,
    }

    fn declined() -> CardDeclined<u32> {
        CardDeclined { number: 7, source: "x".parse::<u32>().unwrap_err() }
    }

    fn activity_failure(reason: Failure) -> ActivityFailure {
        ActivityFailure::new(
            ActivityType::from_trusted("charge_card"),
            ActivityId::from_trusted("1"),
            EventId(5),
            3,
            RetryState::MaximumAttemptsReached,
            reason,
        )
    }

    #[test]
    fn a_question_mark_keeps_type_message_and_causes() {
        fn code() -> Result<(), ActivityError> {
            Err(declined())?
        }
        let failure = code().unwrap_err().into_failure();
        assert_eq!(failure.message, "card 7 was declined");
        assert!(matches!(&failure.kind, FailureKind::Application { type_name, non_retryable: false, .. }
            if type_name == "CardDeclined"));
        let messages: Vec<&str> = failure.chain().map(|link| link.message.as_str()).collect();
        assert_eq!(messages, ["card 7 was declined", "invalid digit found in string"]);
    }

    #[test]
    fn messages_errors_and_boxed_errors_can_be_non_retryable() {
        let of = |error: ActivityError| match error.into_failure().kind {
            FailureKind::Application { type_name, non_retryable, .. } => (type_name, non_retryable),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(ActivityError::retryable("later")), ("ActivityError".into(), false));
        assert_eq!(of(ActivityError::non_retryable("no")), ("ActivityError".into(), true));
        assert_eq!(of(ActivityError::non_retryable(declined())), ("CardDeclined".into(), true));
        assert_eq!(of(ActivityError::retryable("x".to_owned()).with_type("Busy")), ("Busy".into(), false));
    }

    #[test]
    fn a_workflow_error_made_of_an_activity_failure_keeps_the_whole_chain() {
        let reason = ActivityError::from(declined()).with_details(&[1, 2]).into_failure();
        let failure = activity_failure(reason.clone());
        assert_eq!(failure.to_string(), "activity charge_card failed: CardDeclined: card 7 was declined");
        assert_eq!(failure.error_type(), Some("CardDeclined"));
        assert_eq!(failure.details::<Vec<u8>>().unwrap(), Some(vec![1, 2]));
        assert_eq!(failure.source().unwrap().to_string(), "invalid digit found in string");
        let recorded = WorkflowError::from(failure.clone()).into_failure();
        assert!(matches!(&recorded.kind, FailureKind::Activity { scheduled_event_id: EventId(5), .. }));
        assert_eq!(recorded.cause.as_deref(), Some(&reason));
        let boxed: BoxError = Box::new(failure);
        assert_eq!(WorkflowError::retryable(boxed).into_failure(), recorded);
    }

    #[test]
    fn a_recorded_error_gives_back_the_failure_it_was_made_of() {
        let mut failure = Failure::timeout(TimeoutKind::StartToClose, Some(Payload::json("4")));
        failure.cause = Some(Box::new(ActivityError::from(declined()).into_failure()));
        assert_eq!(Failure::from(RecordedError::from(failure.clone())), failure);
        let seen = activity_failure(failure);
        assert!(seen.is_timeout() && !seen.is_canceled());
        assert_eq!(seen.to_string(), "activity charge_card timed out: start-to-close timeout");
        assert_eq!(seen.causes().count(), 3);
    }

    #[test]
    fn an_error_with_endless_sources_is_cut() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Endless {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Endless)
            }
        }
        let failure = ActivityError::from(Endless).into_failure();
        assert_eq!(failure.chain().count(), limits::FAILURE_CAUSES_MAX + 1);
    }

    #[test]
    fn canceled_is_told_apart_and_details_stay_with_it() {
        let error = WorkflowError::canceled().with_details("cleaned up");
        assert!(error.is_canceled());
        let canceled = activity_failure(ActivityError::canceled().into_failure());
        assert!(canceled.is_canceled());
        assert!(WorkflowError::from(canceled).is_canceled_activity());
        assert!(!WorkflowError::from(declined()).is_canceled());
    }
}
