//! The first of several waits.

use super::{Call, Canceled, SubOrchestration, Timer, WaitEvent};
use crate::entity::{EntityCall, Lock};
use crate::payload::FromPayload;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A durable wait, as the context gives them: the engine knows when its result arrived, so that the first of several is
/// the same in every replay.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a single durable wait",
    note = "`select` compares when results arrived, which it can for calls, children, timers and events",
    note = "for other futures use `futures::select_biased!` or `tokio::select! {{ biased; .. }}`"
)]
pub trait Durable: Future + Unpin + sealed::Sealed {}

mod sealed {
    pub trait Sealed {
        fn begin(&mut self);
        fn arrival(&self) -> Option<u64>;
    }
}

macro_rules! durable {
    ($name:ident $(<$t:ident>)?) => {
        impl$(<$t: FromPayload>)? Durable for $name$(<$t>)? {}
        impl$(<$t: FromPayload>)? sealed::Sealed for $name$(<$t>)? {
            fn begin(&mut self) {
                <$name$(<$t>)?>::begin(self);
            }
            fn arrival(&self) -> Option<u64> {
                <$name$(<$t>)?>::arrival(self)
            }
        }
    };
}

durable!(Call<T>);
durable!(SubOrchestration<T>);
durable!(WaitEvent<T>);
durable!(Timer);
durable!(EntityCall<T>);
durable!(Lock);

impl Durable for Canceled {}
impl sealed::Sealed for Canceled {
    fn begin(&mut self) {}
    fn arrival(&self) -> Option<u64> {
        Canceled::arrival(self)
    }
}

/// What [`select`] gives: the result that arrived first, and the other wait, which goes on if it is kept.
#[derive(Debug)]
pub enum Either<A: Future, B: Future> {
    /// The first one's result, and the second one.
    First(A::Output, B),
    /// The second one's result, and the first one.
    Second(B::Output, A),
}

/// Waits for the first of two. The one whose result *arrived* first wins, live and in every replay.
///
/// ```
/// # use perdura::prelude::*;
/// # use std::time::Duration;
/// #[orchestration]
/// async fn approval(ctx: Orchestration) -> Result<String> {
///     match select(ctx.wait_event::<String>("decision"), ctx.timer(Duration::from_secs(3600))).await {
///         Either::First(decision, _) => decision,
///         Either::Second(..) => Ok("too late".into()),
///     }
/// }
/// ```
pub fn select<A: Durable, B: Durable>(first: A, second: B) -> Select<A, B> {
    Select(Some((first, second)))
}

/// The future of [`select`].
#[must_use = "futures do nothing until they are awaited"]
#[derive(Debug)]
pub struct Select<A, B>(Option<(A, B)>);

impl<A: Durable, B: Durable> Future for Select<A, B> {
    type Output = Either<A, B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Either<A, B>> {
        let Some((a, b)) = &mut self.0 else { panic!("a select was polled after it had given its result") };
        a.begin();
        b.begin();
        let second = match (a.arrival(), b.arrival()) {
            (Some(a), Some(b)) => b < a,
            (a, b) => a.is_none() && b.is_some(),
        };
        if !second && let Poll::Ready(output) = Pin::new(&mut *a).poll(cx) {
            return Poll::Ready(
                self.0.take().map(|(_, b)| Either::First(output, b)).expect("both are there"),
            );
        }
        if let Poll::Ready(output) = Pin::new(b).poll(cx) {
            return Poll::Ready(
                self.0.take().map(|(a, _)| Either::Second(output, a)).expect("both are there"),
            );
        }
        Poll::Pending
    }
}

/// Waits for the first of many; gives its result, its place and the others, in their order.
///
/// Each poll looks at all of them. To wait for all, use [`join_all`](crate::join_all), which does not.
///
/// # Panics
/// If there are none: that would wait for ever.
#[track_caller]
pub fn select_all<F: Durable>(waits: impl IntoIterator<Item = F>) -> SelectAll<F> {
    let waits: Vec<F> = waits.into_iter().collect();
    assert!(!waits.is_empty(), "select_all of nothing would wait for ever");
    SelectAll(waits)
}

/// The future of [`select_all`].
#[must_use = "futures do nothing until they are awaited"]
#[derive(Debug)]
pub struct SelectAll<F>(Vec<F>);

impl<F: Durable> Future for SelectAll<F> {
    type Output = (F::Output, usize, Vec<F>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.iter_mut().for_each(F::begin);
        let arrived = |(at, wait): (usize, &F)| wait.arrival().map(|order| (order, at));
        match self.0.iter().enumerate().filter_map(arrived).min() {
            Some((_, at)) => match Pin::new(&mut self.0[at]).poll(cx) {
                Poll::Ready(output) => {
                    let mut rest = std::mem::take(&mut self.0);
                    rest.remove(at);
                    Poll::Ready((output, at, rest))
                }
                Poll::Pending => Poll::Pending,
            },
            None => {
                for wait in &mut self.0 {
                    let _ = Pin::new(wait).poll(cx);
                }
                Poll::Pending
            }
        }
    }
}
