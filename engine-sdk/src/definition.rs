//! Definitions: what `#[activity]`, `#[workflow]`, `#[signal]` and `#[update]` make of a function or type.
//!
//! A definition is a value (a unit struct named like the function) that is used the same way everywhere: called from a workflow,
//! registered on a worker, started by a client. Its input and output types are checked by the compiler at each of them. A function
//! without a body declares a definition of another program: it can be called and started, not registered.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_core::version::VersioningBehavior;

use crate::activity::ActivityContext;
use crate::data::{DataError, Recordable};
use crate::error::{ActivityError, WorkflowError};
use crate::workflow::WorkflowContext;

/// The future of a definition's code.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// An activity: a step that touches the world. Made by `#[activity]`.
///
/// It runs at least once: an attempt whose worker dies is repeated, unless `max_attempts` is 1.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "expected a function with the attribute `#[activity]`",
    note = "put `#[activity]` above the function: `#[activity] async fn name(ctx: ActivityContext, input: T) -> Result<U, ActivityError>`"
)]
pub trait Activity: Copy + Send + Sync + 'static {
    /// `()` without arguments, the argument itself if there is one, a tuple if there are several.
    type Input: Send + 'static;
    /// What it returns.
    type Output: Recordable;
    /// The name under which it is registered and recorded.
    const NAME: &'static str;

    /// The options in its attribute.
    fn options(&self) -> ActivityOptions;
    /// One payload for each argument.
    fn encode_input(input: &Self::Input) -> Result<Vec<Payload>, DataError>;
    /// The reverse of [`Activity::encode_input`].
    fn decode_input(input: Vec<Payload>) -> Result<Self::Input, DataError>;
}

/// An activity whose code is in this program, so that a worker can run it. Made by `#[activity]` on a function with a body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity that this program can run",
    label = "expected a function with a body and the attribute `#[activity]`",
    note = "a declaration (`#[activity] async fn name(…) -> …;`) names an activity of another program: its workers run it"
)]
pub trait ActivityCode: Activity {
    /// Runs the code.
    fn execute(&self, ctx: ActivityContext, input: Self::Input) -> BoxFuture<Result<Self::Output, ActivityError>>;
}

/// A workflow: code whose every step is recorded. Made by `#[workflow]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    label = "expected a function with the attribute `#[workflow]`",
    note = "put `#[workflow]` above the function: `#[workflow] async fn name(ctx: WorkflowContext, input: T) -> Result<U, WorkflowError>`"
)]
pub trait Workflow: Copy + Send + Sync + 'static {
    /// `()` without arguments, the argument itself if there is one, a tuple if there are several.
    type Input: Send + 'static;
    /// What it returns.
    type Output: Recordable;
    /// The name under which it is registered and recorded.
    const NAME: &'static str;

    /// The options in its attribute.
    fn options(&self) -> WorkflowOptions;
    /// One payload for each argument.
    fn encode_input(input: &Self::Input) -> Result<Vec<Payload>, DataError>;
    /// The reverse of [`Workflow::encode_input`].
    fn decode_input(input: Vec<Payload>) -> Result<Self::Input, DataError>;
}

/// A workflow whose code is in this program, so that a worker can run it. Made by `#[workflow]` on a function with a body or on an
/// `impl`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow that this program can run",
    label = "expected a function with a body and the attribute `#[workflow]`",
    note = "a declaration (`#[workflow] async fn name(…) -> …;`) names a workflow of another program: its workers run it"
)]
pub trait WorkflowCode: Workflow {
    /// How its runs follow the versions of their workers: `versioning = ".."` in its attribute. The worker's default if `None`.
    const VERSIONING: Option<VersioningBehavior> = None;

    /// Runs the code.
    fn execute(&self, ctx: WorkflowContext, input: Self::Input) -> BoxFuture<Result<Self::Output, WorkflowError>>;
}

/// A message to a workflow. Made by `#[signal]` on a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a signal",
    label = "expected a type with the attribute `#[signal]`",
    note = "put `#[signal]` above the type, or name the signal: `ctx.signal_channel::<T>(\"name\")`, `handle.signal_named(\"name\", value)`"
)]
pub trait Signal: Recordable {
    /// The name under which it is sent and recorded.
    const NAME: &'static str;
}

/// A signal that a method of a workflow handles. Made by `#[signal]` on a method in a `#[workflow] impl`.
pub trait MethodSignal: Copy + Send + Sync + 'static {
    /// `()` without arguments, the argument itself if there is one, a tuple if there are several.
    type Input: Send + 'static;
    /// The name under which it is sent and recorded.
    const NAME: &'static str;

    /// One payload for each argument.
    fn encode_input(input: &Self::Input) -> Result<Vec<Payload>, DataError>;
}

/// An update that a method of a workflow answers. Made by `#[update]` on a method in a `#[workflow] impl`.
pub trait MethodUpdate: Copy + Send + Sync + 'static {
    /// `()` without arguments, the argument itself if there is one, a tuple if there are several.
    type Input: Recordable;
    /// What the method answers.
    type Output: Recordable;
    /// The name under which it is sent and recorded.
    const NAME: &'static str;
}

/// A question to a workflow, answered from its state. Made by `#[query]`.
///
/// It can only read: it gets the state by shared reference, and no context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a query",
    label = "expected a function with the attribute `#[query]`",
    note = "put `#[query]` above the function: `#[query] fn name(state: &T) -> U`; by name: `handle.query_named::<U>(\"name\", ())`"
)]
pub trait Query: Copy + Send + Sync + 'static {
    /// What it reads.
    type State: Send + 'static;
    /// `()` without arguments, the argument itself if there is one, a tuple if there are several.
    type Input: Send + 'static;
    /// What it answers.
    type Output: Recordable;
    /// The name under which it is asked.
    const NAME: &'static str;

    /// One payload for each argument.
    fn encode_input(input: &Self::Input) -> Result<Vec<Payload>, DataError>;
    /// The reverse of [`Query::encode_input`].
    fn decode_input(input: Vec<Payload>) -> Result<Self::Input, DataError>;
    /// Runs the code.
    fn answer(&self, state: &Self::State, input: Self::Input) -> Result<Self::Output, WorkflowError>;
}

/// A message that a workflow answers. Made by `#[update]` on a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an update",
    label = "expected a type with the attribute `#[update]`",
    note = "put `#[update(returns = T)]` above the type, or name the update: `handle.update_named::<T>(\"name\", value)`"
)]
pub trait Update: Recordable {
    /// What the workflow answers.
    type Output: Recordable;
    /// The name under which it is sent and recorded.
    const NAME: &'static str;
}

/// How an activity is run, unless the call says otherwise. `None` leaves the choice to the engine's defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivityOptions {
    /// The queue; the workflow's own if `None`.
    pub task_queue: Option<String>,
    /// From scheduling to the end of the last attempt.
    pub schedule_to_close: Option<Duration>,
    /// From scheduling of an attempt to a worker's start; `schedule_to_close` if `None`.
    pub schedule_to_start: Option<Duration>,
    /// From a worker's start to the end of that attempt. The SDK's default is 10 minutes if neither this nor
    /// `schedule_to_close` is set.
    pub start_to_close: Option<Duration>,
    /// From one heartbeat to the next.
    pub heartbeat: Option<Duration>,
    /// How attempts follow each other; the engine's default if `None`.
    pub retry: Option<RetryPolicy>,
}

/// How a workflow is started, unless the call says otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkflowOptions {
    /// How long the whole chain of runs may take.
    pub execution_timeout: Option<Duration>,
    /// How long one run may take.
    pub run_timeout: Option<Duration>,
    /// How long one workflow task may take.
    pub task_timeout: Option<Duration>,
    /// Whether and how a failed run is followed by another.
    pub retry: Option<RetryPolicy>,
}
