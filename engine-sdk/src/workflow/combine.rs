//! Waiting for several things. All of it polls in the order of declaration, so that a replay decides as the first run did.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::iter::Enumerate;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::future;
use futures::stream::{FuturesUnordered, StreamExt};

/// The time was over first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it took longer than {0:?}")]
pub struct Elapsed(pub Duration);

/// One of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Either<L, R> {
    /// The first.
    Left(L),
    /// The second.
    Right(R),
}

/// Waits for the first of several futures of one type; gives its index and output. Among those that are ready the first wins.
/// The others are dropped, which cancels what they stood for.
///
/// # Panics
/// If there are none: nothing would ever be first.
pub fn race<F: IntoFuture>(futures: impl IntoIterator<Item = F>) -> Race<F> {
    let futures: Vec<_> = futures.into_iter().map(|future| Box::pin(future.into_future())).collect();
    assert!(!futures.is_empty(), "a race needs at least one future");
    Race { futures }
}

/// Made by [`race`].
// A type with a name, and not that of an `async fn`, which would hold the iterator too: a closure in it that takes a reference
// would make the workflow's future not general enough for `Send`.
#[must_use = "a race begins when it is awaited"]
pub struct Race<F: IntoFuture> {
    futures: Vec<Pin<Box<F::IntoFuture>>>,
}

impl<F: IntoFuture> Future for Race<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for (index, future) in self.futures.iter_mut().enumerate() {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    }
}

impl<F: IntoFuture> fmt::Debug for Race<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Race").field("futures", &self.futures.len()).finish()
    }
}

/// Waits for all futures, of which at most `limit` are under way at once; gives their outputs in the order of the futures. An
/// activity call that waits for its turn is not scheduled yet.
///
/// # Panics
/// If `limit` is zero.
pub fn join_all_limited<F: IntoFuture>(limit: usize, futures: impl IntoIterator<Item = F>) -> JoinAllLimited<F> {
    assert!(limit > 0, "at least one future must be allowed to run");
    let waiting: Vec<F> = futures.into_iter().collect();
    let outputs = std::iter::repeat_with(|| None).take(waiting.len()).collect();
    let waiting = waiting.into_iter().enumerate();
    JoinAllLimited { limit, waiting, running: FuturesUnordered::new(), outputs }
}

/// Made by [`join_all_limited`].
// A type with a name for the reason of `Race`.
#[must_use = "nothing runs before it is awaited"]
pub struct JoinAllLimited<F: IntoFuture> {
    limit: usize,
    waiting: Enumerate<vec::IntoIter<F>>,
    running: FuturesUnordered<future::Join<future::Ready<usize>, F::IntoFuture>>,
    /// By the index of the future; `None` until it is ready.
    outputs: Vec<Option<F::Output>>,
}

// What is polled is pinned inside of `running`, on the heap.
impl<F: IntoFuture> Unpin for JoinAllLimited<F> {}

impl<F: IntoFuture> Future for JoinAllLimited<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            while this.running.len() < this.limit
                && let Some((index, next)) = this.waiting.next()
            {
                this.running.push(future::join(future::ready(index), next.into_future()));
            }
            match ready!(this.running.poll_next_unpin(cx)) {
                Some((index, output)) => this.outputs[index] = Some(output),
                None => return Poll::Ready(this.outputs.drain(..).flatten().collect()),
            }
        }
    }
}

impl<F: IntoFuture> fmt::Debug for JoinAllLimited<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.len();
        f.debug_struct("JoinAllLimited")
            .field("limit", &self.limit)
            .field("waiting", &waiting)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

/// Waits for the first of several futures, drops the others (which cancels what they stood for), and runs its arm.
///
/// Arms are `pattern = future => expression`, separated by commas. Patterns must always match. Among the futures that are ready
/// the first arm wins, so that a replay takes the same one. The expressions may use `?`, `.await`, `break` and `return`; by then
/// all futures are dropped, so what they borrowed is free again.
///
/// ```
/// # use engine_sdk::prelude::*;
/// # #[signal] struct Approval { by: String }
/// # #[workflow]
/// # async fn example(ctx: WorkflowContext) -> Result<String, WorkflowError> {
/// let mut approvals = ctx.signals::<Approval>();
/// let answer = select! {
///     approval = approvals.recv() => approval.by,
///     _ = ctx.sleep(days(14)) => "nobody".to_owned(),
/// };
/// # Ok(answer) }
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)+) => { $crate::__select!(@parse () [] $($arms)+) };
}

/// `select!` in an asynchronous method of a workflow: gives the state back before it waits.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_giving_back {
    (($running:expr) $($arms:tt)+) => { $crate::__select!(@parse ($running) [] $($arms)+) };
}

// Names begin with two underscores: a binding cannot have the name of a unit struct, and every definition of the user's is one.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // Arms, one at a time.
    (@parse $before:tt [$($arms:tt)*] $pattern:pat = $future:expr => $handler:block , $($rest:tt)*) => {
        $crate::__select!(@parse $before [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse $before:tt [$($arms:tt)*] $pattern:pat = $future:expr => $handler:block $($rest:tt)*) => {
        $crate::__select!(@parse $before [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse $before:tt [$($arms:tt)*] $pattern:pat = $future:expr => $handler:expr , $($rest:tt)*) => {
        $crate::__select!(@parse $before [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse $before:tt [$($arms:tt)*] $pattern:pat = $future:expr => $handler:expr) => {
        $crate::__select!(@parse $before [$($arms)* { $pattern, $future, $handler }])
    };
    (@parse $before:tt [$({ $pattern:pat, $future:expr, $handler:expr })+]) => {
        match { $crate::__select!(@wait $before [] $({ $future })+) } {
            __selected => $crate::__select!(@handle __selected, $({ $pattern, $handler })+),
        }
    };

    // Each future is pinned under a name of its own (macro hygiene keeps the names apart), then all are polled in order.
    (@wait $before:tt [$($pinned:ident)*] { $future:expr } $($rest:tt)*) => {{
        let mut __pinned = ::std::pin::pin!(::std::future::IntoFuture::into_future($future));
        $crate::__select!(@wait $before [$($pinned)* __pinned] $($rest)*)
    }};
    (@wait () [$($pinned:ident)+]) => {
        ::std::future::poll_fn(|__cx| { $crate::__select!(@poll __cx, [$($pinned)+]) }).await
    };
    (@wait ($running:expr) [$($pinned:ident)+]) => {{
        $crate::workflow::give_back($running);
        ::std::future::poll_fn(|__cx| { $crate::__select!(@poll __cx, [$($pinned)+]) }).await
    }};

    (@poll $cx:ident, [$first:ident $($rest:ident)*]) => {
        match ::std::future::Future::poll($first.as_mut(), $cx) {
            ::std::task::Poll::Ready(__output) => {
                ::std::task::Poll::Ready($crate::workflow::Either::Left(__output))
            }
            ::std::task::Poll::Pending => {
                $crate::__select!(@poll $cx, [$($rest)*]).map($crate::workflow::Either::Right)
            }
        }
    };
    (@poll $cx:ident, []) => { ::std::task::Poll::<::std::convert::Infallible>::Pending };

    (@handle $selected:expr, { $pattern:pat, $handler:expr }) => {
        match $selected {
            $crate::workflow::Either::Left($pattern) => $handler,
        }
    };
    (@handle $selected:expr, { $pattern:pat, $handler:expr } $($rest:tt)+) => {
        match $selected {
            $crate::workflow::Either::Left($pattern) => $handler,
            $crate::workflow::Either::Right(__rest) => $crate::__select!(@handle __rest, $($rest)+),
        }
    };
}
