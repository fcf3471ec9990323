//! Waiting for several things. All of it polls in the order of declaration, so that a replay decides as the first run did.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{self, StreamExt};

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
pub async fn race<F: IntoFuture>(futures: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut futures: Vec<Pin<Box<F::IntoFuture>>> =
        futures.into_iter().map(|future| Box::pin(future.into_future())).collect();
    assert!(!futures.is_empty(), "a race needs at least one future");
    poll_fn(|cx| {
        for (index, future) in futures.iter_mut().enumerate() {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for all futures, of which at most `limit` are under way at once; gives their outputs in the order of the futures. An
/// activity call that waits for its turn is not scheduled yet.
///
/// # Panics
/// If `limit` is zero.
pub async fn join_all_limited<F: IntoFuture>(limit: usize, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    assert!(limit > 0, "at least one future must be allowed to run");
    let numbered = futures.into_iter().enumerate().map(|(index, future)| async move { (index, future.await) });
    // Not `buffered`: there a slow first future holds up those behind it.
    let mut outputs: Vec<(usize, F::Output)> = stream::iter(numbered).buffer_unordered(limit).collect().await;
    outputs.sort_unstable_by_key(|(index, _)| *index);
    outputs.into_iter().map(|(_, output)| output).collect()
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
    ($($arms:tt)+) => { $crate::__select!(@parse [] $($arms)+) };
}

// Names begin with two underscores: a binding cannot have the name of a unit struct, and every definition of the user's is one.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // Arms, one at a time.
    (@parse [$($arms:tt)*] $pattern:pat = $future:expr => $handler:block , $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse [$($arms:tt)*] $pattern:pat = $future:expr => $handler:block $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse [$($arms:tt)*] $pattern:pat = $future:expr => $handler:expr , $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* { $pattern, $future, $handler }] $($rest)*)
    };
    (@parse [$($arms:tt)*] $pattern:pat = $future:expr => $handler:expr) => {
        $crate::__select!(@parse [$($arms)* { $pattern, $future, $handler }])
    };
    (@parse [$({ $pattern:pat, $future:expr, $handler:expr })+]) => {
        match { $crate::__select!(@wait [] $({ $future })+) } {
            __selected => $crate::__select!(@handle __selected, $({ $pattern, $handler })+),
        }
    };

    // Each future is pinned under a name of its own (macro hygiene keeps the names apart), then all are polled in order.
    (@wait [$($pinned:ident)*] { $future:expr } $($rest:tt)*) => {{
        let mut __pinned = ::std::pin::pin!(::std::future::IntoFuture::into_future($future));
        $crate::__select!(@wait [$($pinned)* __pinned] $($rest)*)
    }};
    (@wait [$($pinned:ident)+]) => {
        ::std::future::poll_fn(|__cx| { $crate::__select!(@poll __cx, [$($pinned)+]) }).await
    };

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
