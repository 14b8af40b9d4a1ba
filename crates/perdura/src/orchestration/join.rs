//! All of many waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Waits for all futures and gives their results in the order of the futures. A turn looks only at those for which
/// something arrived, so ten thousand calls cost ten thousand looks, not ten thousand squared.
///
/// ```
/// # use perdura::prelude::*;
/// # #[activity]
/// # async fn price(sku: String) -> Result<u64> {
/// #     Ok(sku.len() as u64)
/// # }
/// #[orchestration]
/// async fn total(ctx: Orchestration, skus: Vec<String>) -> Result<u64> {
///     let prices = join_all(skus.into_iter().map(|sku| ctx.call(price, sku))).await;
///     prices.into_iter().sum()
/// }
/// ```
pub fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> JoinAll<F> {
    let members: Vec<Member<F>> = futures.into_iter().map(|f| Member::Running(Box::pin(f))).collect();
    let ready = Arc::new(Ready::default());
    ready.state().members = (0..members.len()).collect();
    JoinAll { left: members.len(), wakers: Vec::new(), members, ready }
}

/// The future of [`join_all`].
#[must_use = "futures do nothing until they are awaited"]
pub struct JoinAll<F: Future> {
    members: Vec<Member<F>>,
    wakers: Vec<Waker>,
    left: usize,
    ready: Arc<Ready>,
}

enum Member<F: Future> {
    Running(Pin<Box<F>>),
    Done(Option<F::Output>),
}

impl<F: Future> Unpin for JoinAll<F> {}

/// Which members have been woken, in order.
#[derive(Default)]
struct Ready(Mutex<ReadyState>);

#[derive(Default)]
struct ReadyState {
    members: Vec<usize>,
    parent: Option<Waker>,
}

impl Ready {
    fn state(&self) -> std::sync::MutexGuard<'_, ReadyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct MemberWaker {
    member: usize,
    ready: Arc<Ready>,
}

impl Wake for MemberWaker {
    fn wake(self: Arc<Self>) {
        let parent = {
            let mut state = self.ready.state();
            state.members.push(self.member);
            state.parent.clone()
        };
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.wakers.is_empty() {
            let waker = |member| Waker::from(Arc::new(MemberWaker { member, ready: this.ready.clone() }));
            this.wakers = (0..this.members.len()).map(waker).collect();
        }
        let woken = {
            let mut state = this.ready.state();
            if !state.parent.as_ref().is_some_and(|parent| parent.will_wake(cx.waker())) {
                state.parent = Some(cx.waker().clone());
            }
            std::mem::take(&mut state.members)
        };
        for at in woken {
            let Member::Running(future) = &mut this.members[at] else { continue };
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&this.wakers[at])) {
                this.members[at] = Member::Done(Some(output));
                this.left -= 1;
            }
        }
        if this.left > 0 {
            return Poll::Pending;
        }
        let output = |member| match member {
            Member::Done(output) => output,
            Member::Running(_) => None,
        };
        Poll::Ready(std::mem::take(&mut this.members).into_iter().filter_map(output).collect())
    }
}
