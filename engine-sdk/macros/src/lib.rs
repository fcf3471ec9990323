//! The attributes of `engine-sdk`, where they are documented for their users.
//!
//! | file | noun |
//! |---|---|
//! | `definition` | `#[activity]` and `#[workflow]`: a function becomes a value with a trait |
//! | `signature` | what such a function must look like |
//! | `options` | what is written in the attribute |
//! | `message` | `#[signal]` and `#[payload]`: a type that can be recorded |

mod definition;
mod message;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Makes an activity of an `async fn`: a step that touches the world, run at least once, retried and timed.
///
/// ```ignore
/// #[activity(start_to_close = "30s", retry(max_attempts = 5))]
/// async fn charge_card(ctx: ActivityContext, card: Card, cents: u64) -> Result<Payment, ActivityError> { /* … */ }
/// ```
///
/// The function becomes a value of the same name that is called from workflows (`ctx.run(charge_card, (card, cents))`),
/// registered on workers, and called directly in tests (`charge_card.call(ctx, card, cents)`). Because `charge_card` is now a
/// value, a variable cannot have its name.
///
/// Options, all of which a call may change:
/// - `name = "…"`: the name under which it is recorded; the function's name unless given. Renaming a function is safe only
///   with it.
/// - `start_to_close`, `schedule_to_close`, `schedule_to_start`, `heartbeat`: durations such as `"250ms"`, `"30s"`, `"5m"`,
///   `"2h"`, `"7d"`. Without any of the first two an attempt may take 10 minutes.
/// - `task_queue = "…"`: where it is offered; the workflow's own queue unless given.
/// - `retry(max_attempts = 5, initial_interval = "1s", backoff = 2.0, max_interval = "100s", jitter = 0.1, non_retryable =
///   ["CardDeclined"])`: what is left out keeps the default, which retries without end.
#[proc_macro_attribute]
pub fn activity(attribute: TokenStream, item: TokenStream) -> TokenStream {
    definition::expand(definition::Kind::Activity, attribute.into(), item.into()).into()
}

/// Makes a workflow of an `async fn`: code whose every step is recorded.
///
/// ```ignore
/// #[workflow(execution_timeout = "30d")]
/// async fn checkout(ctx: WorkflowContext, order: Order) -> Result<Receipt, WorkflowError> { /* … */ }
/// ```
///
/// The function becomes a value of the same name that is registered on workers and started by clients.
///
/// Options, which a client may change when it starts a run:
/// - `name = "…"`: the name under which it is recorded; the function's name unless given.
/// - `execution_timeout`, `run_timeout`, `task_timeout`: durations such as `"30s"` or `"7d"`.
/// - `retry(…)` as for activities: a failed run is followed by another. Without it there is one run.
#[proc_macro_attribute]
pub fn workflow(attribute: TokenStream, item: TokenStream) -> TokenStream {
    definition::expand(definition::Kind::Workflow, attribute.into(), item.into()).into()
}

/// Makes a signal of a struct or enum: a message to a workflow.
///
/// ```ignore
/// #[signal]
/// struct Approval { by: String }
/// ```
///
/// Derives `serde::Serialize` and `serde::Deserialize`, unless a `#[derive]` below the attribute does. The signal's name is the
/// type's, or `name = "…"`.
#[proc_macro_attribute]
pub fn signal(attribute: TokenStream, item: TokenStream) -> TokenStream {
    message::signal(attribute.into(), item.into()).into()
}

/// Makes a struct or enum recordable, as argument or result: derives `serde::Serialize` and `serde::Deserialize`, unless a
/// `#[derive]` below the attribute does. Spares programs a dependency on serde.
#[proc_macro_attribute]
pub fn payload(attribute: TokenStream, item: TokenStream) -> TokenStream {
    message::payload(attribute.into(), item.into()).into()
}
