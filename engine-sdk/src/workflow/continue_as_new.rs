//! Going on in a new run with an empty history.

use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::command::ContinueAsNew as Command;
use engine_core::ids::{TaskQueueName, WorkflowType};
use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use serde::Serialize;

use crate::data::{self, DataError};
use crate::definition::WorkflowOptions;
use crate::error::WorkflowError;

/// The new run in which the code is about to go on, made by [`super::WorkflowContext::continue_as_new`]. The methods change its
/// options; what they leave alone stays as it is in this run.
///
/// Awaiting it takes no time and gives the error that ends the code: return it. Nothing happens before that.
#[must_use = "the run continues only if the code returns what awaiting this gives"]
pub struct ContinueAsNew<T> {
    next: Box<Command>,
    /// What is wrong with it, for the error of the workflow task.
    problems: Vec<String>,
    memo: Vec<(String, Payload)>,
    output: PhantomData<fn() -> T>,
}

impl<T> ContinueAsNew<T> {
    pub(super) fn new(workflow_type: &str, options: WorkflowOptions, input: Result<Vec<Payload>, DataError>) -> Self {
        let mut problems = Vec::new();
        let workflow_type = match WorkflowType::parse(workflow_type) {
            Ok(workflow_type) => Some(workflow_type),
            Err(error) => {
                problems.push(format!("workflow_type {error}"));
                None
            }
        };
        let input = input.unwrap_or_else(|error| {
            problems.push(error.to_string());
            Vec::new()
        });
        let WorkflowOptions { execution_timeout: _, run_timeout, task_timeout, retry } = options;
        let next =
            Command { workflow_type, input, run_timeout, task_timeout, retry_policy: retry, ..Command::default() };
        Self { next: Box::new(next), problems, memo: Vec::new(), output: PhantomData }
    }

    /// Where the new run's workflow tasks go, and its activities unless they say otherwise.
    pub fn task_queue(mut self, name: impl AsRef<str>) -> Self {
        match TaskQueueName::parse(name) {
            Ok(name) => self.next.task_queue = Some(name),
            Err(error) => self.problems.push(format!("task_queue {error}")),
        }
        self
    }

    /// How long the new run may take.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.next.run_timeout = Some(timeout);
        self
    }

    /// How long one workflow task of the new run may take, at most 120 s.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.next.task_timeout = Some(timeout);
        self
    }

    /// Whether and how the new run is followed by another when it fails.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.next.retry_policy = Some(policy);
        self
    }

    /// Adds a fact for people. The facts given here take the place of those of this run, all of them.
    pub fn memo<V: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &V) -> Self {
        let key = key.into();
        match data::encode(value) {
            Ok(value) => self.memo.push((key, value)),
            Err(error) => self.problems.push(format!("memo {key:?}: {error}")),
        }
        self
    }
}

impl<T> IntoFuture for ContinueAsNew<T> {
    type Output = Result<T, WorkflowError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { mut next, problems, memo, .. } = self;
        if !memo.is_empty() {
            next.memo = Some(memo);
        }
        let next = if problems.is_empty() { Ok(next) } else { Err(problems.join(", ")) };
        ready(Err(WorkflowError::continue_as_new(next)))
    }
}

impl<T> fmt::Debug for ContinueAsNew<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContinueAsNew").field("workflow_type", &self.next.workflow_type).finish_non_exhaustive()
    }
}
