//! Workflow code: what it may await, and what runs it.
//!
//! A workflow is an ordinary `async fn` whose every step is recorded. When its process dies, another worker runs the function
//! again from the top; whatever the history has is answered from there, until the line is reached where it stopped. So the
//! code must ask for the same steps in the same order each time. All that [`WorkflowContext`] offers is safe in that respect;
//! the clock, random numbers, sockets and `tokio`'s timers are not: they belong into activities.
//!
//! | file | noun |
//! |---|---|
//! | `context` | [`WorkflowContext`]: what workflow code may do |
//! | `activity`, `timer`, `signal`, `update`, `wait` | the futures it may await |
//! | `publish` | values that anybody can read with no worker running |
//! | `continue_as_new` | going on in a new run |
//! | `step` | closures that run once on the worker |
//! | `scope` | what is canceled together |
//! | `properties` | search attributes, memo, details; changes of the code |
//! | `cell`, `query` | the workflow's own state, and who may read it from outside |
//! | `methods` | workflows written as a struct with methods |
//! | `child` | child workflows |
//! | `external` | signals and requests to stop for other workflows |
//! | `combine` | `select!`, `race`, `join_all_limited`, `timeout` |
//! | `state` | what these share: the replayer and who waits for what |
//! | `waker` | wakes from inside and outside, panics |
//! | `runner` | [`WorkflowRun`]: one run on this worker |
//!
//! **Order.** Within a workflow task all news (signals, results, fired timers) is delivered before the code goes on, and
//! futures that were woken go on in the order of the history. `select!` and `race` prefer the first that is declared among
//! those that are ready; `FuturesUnordered` yields in history order.
//!
//! Updates come behind the news of their task; their handlers run beside the workflow's own code, and before it in each round.
//!
//! **Dropping.** A future that is dropped before it is ready cancels what it stood for, recorded: an activity is asked to stop,
//! a timer is canceled. What was asked for and dropped in one workflow task never happens.
//!
//! **Cancellation of the run** is a request that the code answers: [`WorkflowContext::cancelled`] resolves, and
//! [`WorkflowContext::is_cancel_requested`] is true from then on. Nothing that was begun with the context is canceled by itself, so that
//! clean-up needs no special scope; what was begun with a [`Scope`] is. [`WorkflowContext::unless_cancelled`] wraps what should stop, and `WorkflowError::canceled` closes the run as
//! canceled.

mod activity;
mod cell;
mod child;
mod combine;
mod context;
mod continue_as_new;
mod external;
mod methods;
mod properties;
mod publish;
mod query;
mod runner;
mod scope;
mod signal;
mod state;
mod step;
mod timer;
mod update;
mod wait;
mod waker;

pub(crate) use activity::timeouts as activity_timeouts;
pub use activity::{ActivityCall, ActivityFuture, CancellationType};
pub use cell::{StateMut, StateRef, WorkflowState};
pub use child::{ChildCall, ChildCancellation, ChildFuture, ChildHandle};
pub use combine::{Either, Elapsed, JoinAllLimited, Race, join_all_limited, race};
pub use context::{WorkflowContext, WorkflowInfo};
pub use continue_as_new::ContinueAsNew;
pub use external::ExternalWorkflow;
pub use methods::{
    GiveBack, Handled, HandlerOutput, MethodCall, Methods, Running, SignalHandler, UpdateFuture, UpdateMethod,
    give_back,
};
pub use query::QueryReply;
pub use runner::{Advance, AdvanceError, ErasedWorkflow, WorkflowEnd, WorkflowRun, WorkflowTaskError, erase};
pub use scope::Scope;
pub use signal::{Recv, SignalChannel};
pub use step::{StepCall, StepEnd, StepFailure, StepFuture, StepWork};
pub use timer::Sleep;
#[doc(hidden)]
pub use update::{HandledUpdate, UpdateHandler, encode_output};
pub use update::{ReceivedUpdate, RecvUpdate, UpdateChannel};
pub use wait::Canceled;
