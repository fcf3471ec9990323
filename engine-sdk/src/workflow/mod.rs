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
//! | `activity`, `timer`, `signal`, `wait` | the futures it may await |
//! | `combine` | `select!`, `race`, `join_all_limited`, `timeout` |
//! | `state` | what these share: the replayer and who waits for what |
//! | `waker` | wakes from inside and outside, panics |
//! | `runner` | [`WorkflowRun`]: one run on this worker |
//!
//! **Order.** Within a workflow task all news (signals, results, fired timers) is delivered before the code goes on, and
//! futures that were woken go on in the order of the history. `select!` and `race` prefer the first that is declared among
//! those that are ready; `FuturesUnordered` yields in history order.
//!
//! **Dropping.** A future that is dropped before it is ready cancels what it stood for, recorded: an activity is asked to stop,
//! a timer is canceled. What was asked for and dropped in one workflow task never happens.
//!
//! **Cancellation of the run** is a request that the code answers: [`WorkflowContext::cancelled`] resolves, and
//! [`WorkflowContext::is_cancel_requested`] is true from then on. Nothing is canceled by itself, so that clean-up needs no
//! special scope. [`WorkflowContext::unless_cancelled`] wraps what should stop, and `WorkflowError::canceled` closes the run as
//! canceled.

mod activity;
mod combine;
mod context;
mod runner;
mod signal;
mod state;
mod timer;
mod wait;
mod waker;

pub use activity::{ActivityCall, ActivityFuture};
pub use combine::{Either, Elapsed, JoinAllLimited, Race, join_all_limited, race};
pub use context::{WorkflowContext, WorkflowInfo};
pub use runner::{Advance, AdvanceError, ErasedWorkflow, WorkflowEnd, WorkflowRun, WorkflowTaskError, erase};
pub use signal::{Recv, SignalChannel};
pub use timer::Sleep;
pub use wait::Canceled;
