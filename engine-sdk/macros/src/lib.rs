//! The attributes of `engine-sdk`, where they are documented for their users.
//!
//! | file | noun |
//! |---|---|
//! | `definition` | `#[activity]` and `#[workflow]`: a function becomes a value with a trait |
//! | `determinism` | calls that break replay, refused |
//! | `signature` | what such a function must look like |
//! | `methods` | `#[workflow]` on an `impl`: a struct with run, signal and query methods |
//! | `options` | what is written in the attribute |
//! | `query` | `#[query]`: a function of the workflow's state |
//! | `arguments` | arguments as one value and as payloads |
//! | `test` | `#[test]`: a function that gets a test engine |
//! | `message` | `#[signal]`, `#[update]` and `#[payload]`: a type that can be recorded |

mod arguments;
mod definition;
mod determinism;
mod message;
mod methods;
mod options;
mod query;
mod signature;
mod test;

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
/// Without a body it declares an activity whose code is in another program, perhaps in another language: workflows call it with the
/// same types, only this program's workers cannot run it.
///
/// ```ignore
/// #[activity(task_queue = "payments")]
/// async fn charge_card(ctx: ActivityContext, card: Card, cents: u64) -> Result<Payment, ActivityError>;
/// ```
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
/// The function becomes a value of the same name that is registered on workers and started by clients. Without a body (`…;` in
/// place of `{ … }`) it declares a workflow whose code is in another program: clients start it and workflows run it as a child
/// with the same types, only this program's workers cannot run it.
///
/// On an `impl` it makes a workflow of a struct, which is the workflow's state, and its methods:
///
/// ```ignore
/// struct Order { items: Vec<Item>, paid: bool }
///
/// #[workflow]
/// impl Order {
///     #[init]
///     fn new(items: Vec<Item>) -> Self { Order { items, paid: false } }
///
///     #[run]
///     async fn run(&mut self, ctx: WorkflowContext) -> Result<Receipt, WorkflowError> {
///         self.wait_until(|order| order.paid).await;
///         let receipt = ctx.run(ship, self.items.clone()).await?;
///         Ok(receipt)
///     }
///
///     #[signal]
///     async fn pay(&mut self, ctx: WorkflowContext, card: Card) -> Result<(), WorkflowError> {
///         ctx.run(charge, (card, self.total())).await?;
///         self.paid = true;
///         Ok(())
///     }
///
///     #[update]
///     async fn add(&mut self, ctx: WorkflowContext, item: Item) -> Result<usize, WorkflowError> {
///         ctx.run(reserve, item.clone()).await?;
///         self.items.push(item);
///         Ok(self.items.len())
///     }
///
///     #[update_validator(add)]
///     fn may_add(&self, item: &Item) -> Result<(), TooMany> { /* an error refuses the update, which leaves no trace */ }
///
///     #[query]
///     fn total(&self) -> u64 { self.items.iter().map(|item| item.cents).sum() }
/// }
/// ```
///
/// `Order::WORKFLOW` is registered on workers and started by clients; `Order::PAY` and `Order::TOTAL` are sent and asked:
/// `handle.send(Order::PAY, card)`, `handle.call(Order::ADD, item)`, `handle.query(Order::TOTAL, ())`. They are as visible as their methods.
///
/// Methods take turns at their awaits, so `self` has plain fields in between; a reference into it cannot be kept across an
/// `.await`, which the compiler refuses. Signals may be `async` or not; `#[signal(any)]` and `#[query(any)]` take what no other
/// method does. Without `#[init]` the state is `Default::default()` and `#[run]` takes the arguments. Handlers that are under
/// way when `#[run]` returns are dropped: `ctx.wait_all_handlers_finished()` waits for them.
///
/// Calls that give something else when the workflow is replayed are refused where they are written, with what to use: the machine's
/// clock, `tokio`'s timers, tasks and `select!`, `rand`, threads, the environment, files and sockets, and going over a `HashMap` or
/// `HashSet`. [`macro@allow_nondeterminism`] allows what cannot reach a command. The closure of `ctx.step(..)` may do what it likes, as it runs
/// once, and so may queries, which leave no trace.
///
/// Options, which a client may change when it starts a run:
/// - `name = "…"`: the name under which it is recorded; the function's or struct's name unless given.
/// - `execution_timeout`, `run_timeout`, `task_timeout`: durations such as `"30s"` or `"7d"`.
/// - `retry(…)` as for activities: a failed run is followed by another. Without it there is one run.
///
/// What only the code says:
/// - `versioning = "pinned"`: a run stays with the version of its worker (`Worker::deployment`) until it closes; `versioning =
///   "auto_upgrade"`: its workflow tasks go to the version that new runs go to. The worker's default unless given.
#[proc_macro_attribute]
pub fn workflow(attribute: TokenStream, item: TokenStream) -> TokenStream {
    definition::expand(definition::Kind::Workflow, attribute.into(), item.into()).into()
}

/// Allows, within a `#[workflow]`, a call that gives something else when the workflow is replayed.
///
/// ```ignore
/// #[workflow]
/// async fn audited(ctx: WorkflowContext, rates: HashMap<String, u64>) -> Result<u64, WorkflowError> {
///     #[allow_nondeterminism] // a sum is the same in any order
///     let total = rates.values().sum();
///     Ok(total)
/// }
/// ```
///
/// It goes above a statement, an arm, an argument or a method, or between `#[workflow]` and its function, and reaches to the end of that. For
/// what cannot reach a command, a result or a published value.
#[proc_macro_attribute]
pub fn allow_nondeterminism(_attribute: TokenStream, item: TokenStream) -> TokenStream {
    let message = "`#[allow_nondeterminism]` belongs inside of a workflow: above a statement or a method, or between `#[workflow]` and its \
                   function";
    let mut output = TokenStream::from(syn::Error::new(proc_macro2::Span::call_site(), message).to_compile_error());
    output.extend(item);
    output
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

/// Makes a query of a `fn`: a question to a workflow, answered from its state.
///
/// ```ignore
/// #[query]
/// fn open_items(order: &Order, above_cents: u64) -> Vec<Item> { /* … */ }
/// ```
///
/// The function becomes a value of the same name: the workflow answers it (`ctx.answer(open_items, &order)`), clients ask it
/// (`handle.query(open_items, 500)`), tests call it (`open_items.call(&order, 500)`). It can only read: it gets the state by
/// shared reference and no context. It may return a `Result`, whose error reaches the client.
///
/// Options: `name = "…"`: the name under which it is asked; the function's name unless given.
#[proc_macro_attribute]
pub fn query(attribute: TokenStream, item: TokenStream) -> TokenStream {
    query::expand(attribute.into(), item.into()).into()
}

/// Makes an update of a struct or enum: a message that a workflow answers.
///
/// ```ignore
/// #[update(returns = u64)]
/// struct Deposit { cents: u64 }
/// ```
///
/// Derives `serde::Serialize` and `serde::Deserialize`, unless a `#[derive]` below the attribute does. Without `returns = T` the
/// answer is `()`. The update's name is the type's, or `name = "…"`.
#[proc_macro_attribute]
pub fn update(attribute: TokenStream, item: TokenStream) -> TokenStream {
    message::update(attribute.into(), item.into()).into()
}

/// Makes a test of an `async fn` that takes a `TestEngine` (feature `testing`): an engine of its own in this process, whose time skips.
///
/// ```ignore
/// #[engine_sdk::test]
/// async fn an_order_is_paid(env: TestEngine) {
///     env.mock(charge_card, |(card, cents)| Ok(Payment { card, cents }));
///     assert_eq!(env.run(checkout, order()).await.unwrap().paid, 100);
/// }
/// ```
///
/// It may return a `Result`. When it fails, the histories of all its runs are printed. It fails too if workflow code went wrong in it, or
/// does not follow its own history: `TestEngine` says more. Attributes below it, such as `#[should_panic]` and `#[ignore]`, are the test's.
///
/// Options: `timeout = "60s"`: how long it may take, by the machine's clock; a minute unless given.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(attribute.into(), item.into()).into()
}

/// Makes a struct or enum recordable, as argument or result: derives `serde::Serialize` and `serde::Deserialize`, unless a
/// `#[derive]` below the attribute does. Spares programs a dependency on serde.
#[proc_macro_attribute]
pub fn payload(attribute: TokenStream, item: TokenStream) -> TokenStream {
    message::payload(attribute.into(), item.into()).into()
}
